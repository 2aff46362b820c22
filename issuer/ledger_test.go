package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chancery/issuer"
)

// ledgerRows is every row of the ledger, by identity, as it is stored.
func (h *house) ledgerRows(t testing.TB) map[string]string {
	t.Helper()
	rows, ids := map[int]string{}, map[int]string{}
	h.raw.Cells(t, func(table string, row int, column string, value any) {
		if table != "credentials" {
			return
		}
		rows[row] += fmt.Sprintf("%s=%x|", column, value)
		if column == "id" {
			ids[row] = fmt.Sprint(value)
		}
	})
	out := map[string]string{}
	for n, r := range rows {
		out[ids[n]] = r
	}
	return out
}

// Whatever happens to users and credentials: what is in the ledger stays there byte for byte.
func TestLedgerIsNeverRewritten(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.policy(t, `{"renewal_percent":100}`)
		me := newHolder(t)
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "own", Permissions: ownPermissions(), Issue: &issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me)}})).well(t)
		mine := did(h.Renew(t.Context(), op(), "ORDERS", "own", issuer.RenewInput{})).well(t)
		link := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{Delivery: issuer.DeliverLink})).well(t).Link
		h.advance(time.Second) // the last part of its life begins with its first second
		steps := []struct {
			name  string
			added int
			run   func() error
		}{
			{"issue", 1, func() error { return second(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})) }},
			{"use a link", 1, func() error {
				_, _, err := h.UseCredentialLink(t.Context(), op(), link)
				return err
			}},
			{"renew", 1, func() error { return second(h.Renew(t.Context(), op(), "ORDERS", "d1", issuer.RenewInput{})) }},
			{"renew by holder", 1, func() error {
				_, err := h.RenewByHolder(t.Context(), issuer.Op{}, issuer.RenewalInput{JWT: mine.JWT, Proof: *h.proof(t, me)})
				return err
			}},
			{"roll", 1, func() error {
				return second(h.Roll(t.Context(), op(), "ORDERS", "own", issuer.RollInput{Grace: time.Minute}))
			}},
			{"roll off", 0, func() error { h.advance(time.Minute); return h.Upkeep(t.Context()) }},
			{"reissue", 1, func() error { return second(h.Reissue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})) }},
			{"update", 0, func() error {
				return second(h.UpdateUser(t.Context(), op(), "ORDERS", "d1", func(e *issuer.UserEdit) { e.Tags = []string{"region:us"} }))
			}},
			{"disable", 0, func() error { return second(h.DisableUser(t.Context(), op(), "ORDERS", "d1")) }},
			{"enable", 0, func() error { return second(h.EnableUser(t.Context(), op(), "ORDERS", "d1")) }},
			{"bulk", 1, func() error {
				return second(h.CreateUsers(t.Context(), op(), "ORDERS", []issuer.UserInput{{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}}))
			}},
			{"revoke", 0, func() error {
				return second(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody}))
			}},
			{"expire", 0, func() error { h.advance(200 * 24 * time.Hour); return h.Upkeep(t.Context()) }},
			{"delete", 0, func() error { return second(h.DeleteUser(t.Context(), op(), "ORDERS", "d1")) }},
			{"again by the same name", 1, func() error {
				return second(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "d1", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}))
			}},
			{"delete again", 0, func() error { return second(h.DeleteUser(t.Context(), op(), "ORDERS", "d1")) }},
		}
		for _, s := range steps {
			before := h.ledgerRows(t)
			if err := s.run(); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
			after := h.ledgerRows(t)
			if len(after) != len(before)+s.added {
				t.Errorf("%s: %d entries became %d", s.name, len(before), len(after))
			}
			for id, row := range before {
				if after[id] != row {
					t.Errorf("%s rewrote %s:\n%s\n%s", s.name, id, row, after[id])
				}
			}
		}
		t.Logf("%d steps left %d old entries as they were", len(steps), len(h.ledgerRows(t)))
	})
}

// The ledger of an account is found by every filter, page by page, and tells what has become of each entry.
func TestLedgerFilters(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		short := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{TTL: time.Minute})).well(t)
		revoked := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})).well(t)
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: revoked.PublicKey})).well(t)
		h.advance(2 * time.Minute)
		old := w.ada.Issued
		did(h.Roll(t.Context(), op(), "ORDERS", "ada@example.com", issuer.RollInput{Grace: time.Hour})).well(t)
		find := func(f issuer.LedgerFilter) (ids []string) {
			for before := ""; ; {
				page, err := h.FindCredentials(t.Context(), owner, "ORDERS", f, issuer.LedgerPage{Before: before, Limit: 1})
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					return ids
				}
				before = page[0].ID
				ids = append(ids, before)
				if f.Status != "" && page[0].Status != f.Status {
					t.Errorf("%s is %s, asked for %s", before, page[0].Status, f.Status)
				}
				if page[0].PublicKey == old.PublicKey && page[0].RollsOff != h.time().Add(time.Hour) {
					t.Errorf("rolls off at %v", page[0].RollsOff)
				}
			}
		}
		count := func(name string, f issuer.LedgerFilter, want int, has string) {
			t.Helper()
			got := find(f)
			if len(got) != want || has != "" && !strings.Contains(strings.Join(got, " "), has) {
				t.Errorf("%s: %d entries, want %d with %s", name, len(got), want, has)
			}
		}
		count("all", issuer.LedgerFilter{}, 5, "")
		count("of a user", issuer.LedgerFilter{User: "d1"}, 3, "")
		count("of a template", issuer.LedgerFilter{Template: "device"}, 3, "")
		count("of a signer", issuer.LedgerFilter{Signer: w.template.Keys[0].ID}, 3, "")
		count("of a key", issuer.LedgerFilter{PublicKey: old.PublicKey}, 1, old.ID)
		count("by jti", issuer.LedgerFilter{JTI: short.JTI}, 1, short.ID)
		count("expired", issuer.LedgerFilter{Status: issuer.StatusExpired}, 1, short.ID)
		count("revoked", issuer.LedgerFilter{Status: issuer.StatusRevoked}, 1, revoked.ID)
		count("active", issuer.LedgerFilter{Status: issuer.StatusActive}, 3, old.ID)
		count("expiring", issuer.LedgerFilter{ExpiringBefore: h.time().Add(time.Hour)}, 2, w.device.Issued.ID)
		for state, status := range map[string]issuer.Status{"disabled": issuer.StatusKeyDisabled, "retired": issuer.StatusKeyRetired} {
			h.raw.Run(t, `UPDATE keys SET state = '`+state+`' WHERE template_id <> ''`)
			count(state, issuer.LedgerFilter{Status: status}, 1, w.device.Issued.ID)
			count("active beside "+state, issuer.LedgerFilter{Status: issuer.StatusActive}, 2, old.ID)
		}
	})
}
