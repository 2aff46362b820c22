package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"chancery/issuer"
)

// A batch makes what can be made, says of the rest why not, and can be sent again.
func TestBulk(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		p := h.served(t)
		me, other := newHolder(t), newHolder(t)
		ask := func(in issuer.IssueInput) *issuer.IssueInput { return &in }
		device := func(name string, in *issuer.IssueInput) issuer.UserInput {
			return issuer.UserInput{Name: name, Template: "device", Tags: []string{"region:eu"}, Issue: in}
		}
		batch := []issuer.UserInput{
			device("b0", ask(issuer.IssueInput{TTL: time.Hour})),
			device("b1", ask(issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me)})),
			device("b2", nil),
			device("b0", ask(issuer.IssueInput{})),
			device("b3", ask(issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me)})),
			device("b4", ask(issuer.IssueInput{PublicKey: other.key})),
			device("b5", ask(issuer.IssueInput{PublicKey: other.key, Proof: me.answer(t, h.proof(t, other).Nonce)})),
			device("b6", ask(issuer.IssueInput{TTL: 48 * time.Hour})),
			device(">", ask(issuer.IssueInput{})),
			device("d1", ask(issuer.IssueInput{})),
			{Name: "b7", Template: "nothing"},
			{Name: "b8", Permissions: widePermissions(), Issue: &issuer.IssueInput{}},
			{Name: "b9", Permissions: ownPermissions(), Issue: ask(issuer.IssueInput{Delivery: issuer.DeliverLink})},
		}
		codes := []string{"", "", "", "name_taken", "key_in_use", "invalid", "invalid", "invalid", "invalid", "name_taken", "invalid", "invalid", ""}
		check := func(o issuer.Op, batch []issuer.UserInput, codes []string) []issuer.BulkResult {
			t.Helper()
			out, err := h.CreateUsers(t.Context(), o, "LIVE", batch)
			if err != nil || len(out) != len(codes) {
				t.Fatalf("%d results, %v", len(out), err)
			}
			for n, r := range out {
				code := ""
				if r.Err != nil {
					code = issuer.AsError(r.Err).Code
				}
				if code != codes[n] {
					t.Errorf("line %d: %q, want %q: %v", n, code, codes[n], r.Err)
				}
			}
			return out
		}
		h.unchanged(t, func() {
			for _, r := range check(dryRun(), batch, codes) {
				if r.Issued != nil {
					t.Error("a dry run issued something")
				}
			}
		})
		entries := len(h.audited(t))
		out := check(op(), batch, codes)
		if news := h.audited(t)[entries:]; len(news) != 1 || news[0].Detail != `{"changes":[{"path":"/users","from":null,"to":4}]}` {
			t.Errorf("on record is %+v", news)
		}
		p.wantIn(t, "a key made here", out[0].Issued.Creds)
		if i := out[1].Issued; i.PublicKey != me.key || !i.Creds.Empty() || i.JWT.Empty() || out[2].Issued != nil || out[12].Issued.Link.Empty() {
			t.Errorf("%+v", i)
		}
		if _, _, err := h.UseCredentialLink(t.Context(), op(), out[12].Issued.Link); err != nil {
			t.Error(err)
		}
		ledger, err := h.FindCredentials(t.Context(), owner, "LIVE", issuer.LedgerFilter{JTI: out[0].Issued.JTI}, issuer.LedgerPage{Limit: 2})
		if err != nil || len(ledger) != 1 || ledger[0].ID != out[0].Issued.ID || ledger[0].UserName != "b0" || ledger[0].Status != issuer.StatusActive {
			t.Errorf("%+v, %v", ledger, err)
		}

		h.unchanged(t, func() { // sent again; keys that are made here cannot be told apart
			check(op(), []issuer.UserInput{batch[1], batch[0]}, []string{"already_issued", "name_taken"})
		}, "audit", "sequencer")
		did(h.Revoke(t.Context(), op(), "LIVE", issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
		p.sync(t)
		p.wantOut(t, "a revoked one of a batch", out[0].Issued.Creds)
		after := check(op(), []issuer.UserInput{device("c0", ask(issuer.IssueInput{}))}, []string{""})
		p.wantIn(t, "one that was issued in the second of the revocation", after[0].Issued.Creds)

		_, err = h.CreateUsers(t.Context(), op(), "LIVE", make([]issuer.UserInput, issuer.BulkBatch+1))
		wants(t, err, issuer.KindInvalid)
	})
}

// A batch of the largest size comes out in order, each with a key, a jti and an identity of its own.
func TestBulkInOrder(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		var batch []issuer.UserInput
		for n := range issuer.BulkBatch {
			batch = append(batch, issuer.UserInput{Name: fmt.Sprintf("n%04d", n), Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{}})
		}
		out, err := h.CreateUsers(t.Context(), op(), "ORDERS", batch)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for n, r := range out {
			if r.Err != nil || r.Name != batch[n].Name || r.Issued.UserID != r.ID {
				t.Fatalf("line %d: %+v, %v", n, r.User, r.Err)
			}
			for _, unique := range []string{r.ID, r.Issued.ID, r.Issued.JTI, r.Issued.PublicKey} {
				if seen[unique] {
					t.Errorf("%s is there twice", unique)
				}
				seen[unique] = true
			}
		}
		stored := 0
		for after := (issuer.Page{Limit: 100, Search: "n0"}); ; {
			page, err := h.FindUsers(t.Context(), owner, issuer.UserFilter{Account: "ORDERS"}, after)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				if u.Active != 1 || u.AccountName != "ORDERS" || u.Expires != out[stored].Issued.Expires {
					t.Fatalf("%+v", u)
				}
				stored++
			}
			after.AfterName, after.AfterID = page[len(page)-1].Name, page[len(page)-1].ID
		}
		if stored != len(batch) {
			t.Errorf("%d of %d are stored", stored, len(batch))
		}
	})
}
