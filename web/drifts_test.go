package web_test

import (
	"context"
	"testing"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
	"chancery/web"
)

// drift records that servers hold a newer JWT of ORDERS, and returns its identity.
func (h *house) drift() string {
	h.t.Helper()
	a, err := h.issuer.GetAccount(h.t.Context(), issuer.System("test"), "ORDERS")
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

// TestDriftPages shows no drift, then one, and keeps ours.
func TestDriftPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	b.get("/operators/acme/drift").want(200).has("No drift", "never")
	id := h.drift()
	b.get("/operators/acme/drift").want(200).has("A newer JWT by somebody else", "ORDERS", "Connections: 10 → 500", "Waits for you")
	url := "/operators/acme/drift/" + id
	b.get(url).want(200).has("Keep ours", "Adopt theirs", "Ignore", "Connections")
	b.get(url + "/decision?as=keep").want(200).has("Keep ours")
	plan := b.post(url+"/decision", map[string][]string{"decision": {"keep"}, "reason": {"ours is right"}}).want(200)
	plan.has("Decide")
	b.submit(plan).want(303)
	b.get(url).want(200).has("Keep ours", "Being healed")
}
