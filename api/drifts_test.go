package api_test

import (
	"context"
	"testing"

	"chancery/api"
	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// drift records that servers hold a newer JWT of an account, and returns its identity.
func (h *house) drift(account string) string {
	h.t.Helper()
	a, err := h.issuer.GetAccount(h.t.Context(), issuer.System("test"), account)
	must(h.t, err)
	rec := store.Drift{
		OperatorID: a.OperatorID, AccountID: a.ID, AccountName: a.Name, Kind: claims.DriftNewer, Seen: claims.SeenPushed,
		JWT: a.JWT, IssuedAt: a.IssuedAt, Diff: []store.DriftChange{{Pointer: "/limits/conn", Field: "Connections", Ours: "10", Theirs: "500", Text: "Connections: 10 → 500"}},
	}
	must(h.t, h.store.Write(h.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		rec, _, err = tx.PutDrift(ctx, rec)
		return err
	}))
	return rec.ID
}

// TestDrifts lists drift page by page, reads one, and decides on it.
func TestDrifts(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		h.want(post, accounts, `{"name":"BILLING","operator":"acme"}`, 201)
		first, second := h.drift("ORDERS"), h.drift("BILLING")
		var page api.DriftPage
		h.want(get, "/operators/acme/drifts?limit=1&state=open", "", 200).into(h.t, &page)
		if len(page.Items) != 1 || page.Items[0].ID != second || page.NextCursor == "" {
			h.t.Fatalf("the first page is %+v, want %s", page, second)
		}
		h.want(get, "/operators/acme/drifts?limit=1&state=open&cursor="+page.NextCursor, "", 200).into(h.t, &page)
		if len(page.Items) != 1 || page.Items[0].ID != first || page.NextCursor != "" || page.Items[0].JWT != "" {
			h.t.Fatalf("the second page is %+v, want %s", page, first)
		}
		var d api.Drift
		h.want(get, "/drifts/"+first, "", 200).into(h.t, &d)
		if d.JWT == "" || len(d.Changes) != 1 || d.Changes[0].Text != "Connections: 10 → 500" || d.State != "open" {
			h.t.Errorf("the drift is %+v", d)
		}
		h.want(post, "/drifts/"+first+"/decision", `{"decision":"sell"}`, 422)
		h.want(post, "/drifts/"+first+"/decision?dry_run=true", `{"decision":"keep"}`, 200).into(h.t, &d)
		if d.Plan == nil || len(d.Plan.Changes) == 0 {
			h.t.Errorf("no plan: %+v", d)
		}
		h.want(post, "/drifts/"+first+"/decision", `{"decision":"keep","reason":"ours is right"}`, 200)
		h.want(post, "/drifts/"+second+"/decision", `{"decision":"ignore"}`, 200).into(h.t, &d)
		if d.State != "ignored" || d.Decision != "ignore" {
			h.t.Errorf("the drift is %+v", d)
		}
		h.want(post, "/drifts/"+second+"/decision", `{"decision":"keep"}`, 409)
	})
}
