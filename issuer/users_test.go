package issuer_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

// A change of a user is checked as a new one is, leaves alone what was issued, and says so.
func TestUpdateUser(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		edit := func(f func(*issuer.UserEdit)) result[issuer.User] {
			return did(h.UpdateUser(t.Context(), op(), "ORDERS", "d1", f))
		}
		plan, err := h.UpdateUser(t.Context(), dryRun(), "ORDERS", "d1", func(e *issuer.UserEdit) { e.Tags = []string{"Region:US"} })
		if err != nil || len(plan.Plan.Changes) != 1 || len(plan.Plan.Warnings) != 1 || plan.Plan.Warnings[0].Code != "issued_before" || plan.Value.Tags[0] != "region:us" {
			t.Errorf("%+v, %v", plan, err)
		}
		if u := edit(func(e *issuer.UserEdit) { e.Tags = []string{"region:us"} }).well(t); u.Version != 2 {
			t.Errorf("%+v", u)
		}
		if c := decode[*jwt.UserClaims](t, h.issue(t, w, "d1", issuer.IssueInput{}).JWT.Reveal()); c.User.Tags[0] != "region:us" {
			t.Errorf("issued with %v", c.User.Tags)
		}
		stale := op()
		stale.ExpectedVersion = 1
		h.unchanged(t, func() {
			wants(t, second(h.UpdateUser(t.Context(), stale, "ORDERS", "d1", func(*issuer.UserEdit) {})), issuer.KindStale)
			wants(t, edit(func(e *issuer.UserEdit) { e.Template = "" }).err, issuer.KindInvalid)
			wants(t, edit(func(e *issuer.UserEdit) { e.Template = "nothing" }).err, issuer.KindInvalid)
			wants(t, edit(func(e *issuer.UserEdit) { e.Permissions = ownPermissions() }).err, issuer.KindInvalid)
			wants(t, edit(func(e *issuer.UserEdit) { e.Tags = []string{"region:*"} }).err, issuer.KindInvalid)
			if u := edit(func(*issuer.UserEdit) {}).well(t); u.Version != 2 {
				t.Errorf("nothing changed, and it is version %d", u.Version)
			}
		}, "audit", "sequencer")
		own := edit(func(e *issuer.UserEdit) { e.Template, e.Permissions = "", ownPermissions() }).well(t)
		if c := h.issue(t, w, "d1", issuer.IssueInput{}); own.TemplateID != "" || c.Signer == w.template.Keys[0].ID || c.TemplateID != "" {
			t.Errorf("%+v", c.Credential)
		}
	})
}

// Chancery's own user, and the last one that answers an auth callout, are not shut out by a slip.
func TestUserGuards(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		if _, err := h.SystemCredential(t.Context(), op(), "acme", "x"); err != nil {
			t.Fatal(err)
		}
		two := h.issue(t, w, "ada@example.com", issuer.IssueInput{})
		backup := did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "backup", Permissions: ownPermissions(), Issue: &issuer.IssueInput{TTL: time.Hour}})).well(t)
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) {
			s.Authorization.AuthUsers = jwt.StringList{w.ada.Issued.PublicKey, two.PublicKey, backup.Issued.PublicKey}
		})).well(t)
		sys := w.operator.Settings.SystemAccount
		try := func(o issuer.Op, account, user string) map[string]error {
			return map[string]error{
				"disable": second(h.DisableUser(t.Context(), o, account, user)), "delete": second(h.DeleteUser(t.Context(), o, account, user)),
				"reissue": second(h.Reissue(t.Context(), o, account, user, issuer.IssueInput{})),
			}
		}
		guarded := func(account, user string, g issuer.Guard) {
			t.Helper()
			h.unchanged(t, func() {
				for name, err := range try(op(), account, user) {
					if e := wants(t, err, issuer.KindConflict); e.Code != "would_lock_out" || e.Guard != g {
						t.Errorf("%s: %+v", name, e)
					}
				}
			})
			over := dryRun()
			over.Override = []issuer.Guard{g}
			for name, err := range try(over, account, user) {
				if err != nil {
					t.Errorf("%s overridden: %v", name, err)
				}
			}
		}
		guarded(sys, issuer.SystemUserName, issuer.GuardSystemUser)
		for name, err := range try(dryRun(), "ORDERS", "ada@example.com") {
			if err != nil {
				t.Errorf("%s while another answers: %v", name, err)
			}
		}
		h.advance(2 * time.Hour) // the other's credential is over
		guarded("ORDERS", "ada@example.com", issuer.GuardCalloutUser)
		did(h.Roll(t.Context(), op(), "ORDERS", "ada@example.com", issuer.RollInput{OldKey: two.PublicKey, Grace: time.Hour})).well(t)
	})
}

// Users are found across accounts by what is on record of them and of their credentials.
func TestFindUsers(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		bearer := ownPermissions()
		bearer.BearerToken = true
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "bearer", Permissions: bearer, Issue: &issuer.IssueInput{}})).well(t)
		did(h.CreateUser(t.Context(), because(), "ORDERS", issuer.UserInput{Name: "forever", Permissions: ownPermissions(), Issue: &issuer.IssueInput{NoExpiry: true}})).well(t)
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "off", Permissions: ownPermissions()})).well(t)
		did(h.DisableUser(t.Context(), op(), "ORDERS", "off")).well(t)
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "gone", Permissions: ownPermissions()})).well(t)
		did(h.DeleteUser(t.Context(), op(), "ORDERS", "gone")).well(t)
		other := h.furnishAs(t, "zeta", "PAYMENTS")
		for name, c := range map[string]struct {
			filter issuer.UserFilter
			search string
			want   []string
		}{
			"all of an account":  {issuer.UserFilter{Account: "ORDERS"}, "", []string{"ada@example.com", "bearer", "d1", "forever", "off"}},
			"by name everywhere": {issuer.UserFilter{}, "D1", []string{"d1", "d1"}},
			"of a template":      {issuer.UserFilter{Account: "PAYMENTS", Template: "device"}, "", []string{"d1"}},
			"with a tag":         {issuer.UserFilter{Account: "ORDERS", Tag: "Region:EU"}, "", []string{"d1"}},
			"with half a tag":    {issuer.UserFilter{Account: "ORDERS", Tag: "region"}, "", nil},
			"disabled":           {issuer.UserFilter{State: "disabled"}, "", []string{"off"}},
			"bearers":            {issuer.UserFilter{Bearer: true}, "", []string{"bearer"}},
			"for ever":           {issuer.UserFilter{NoExpiry: true}, "", []string{"forever"}},
			"expiring":           {issuer.UserFilter{Account: "ORDERS", ExpiringBefore: h.time().Add(2 * time.Hour)}, "", []string{"d1"}},
			"signed by a key":    {issuer.UserFilter{SignedBy: other.template.Keys[0].ID}, "", []string{"d1"}},
		} {
			var got []string
			for page := (issuer.Page{Limit: 2, Search: c.search}); ; {
				list, err := h.FindUsers(t.Context(), owner, c.filter, page)
				if err != nil {
					t.Fatal(err)
				}
				if len(list) == 0 {
					break
				}
				for _, u := range list {
					got = append(got, u.Name)
				}
				page.AfterName, page.AfterID = list[len(list)-1].Name, list[len(list)-1].ID
			}
			if len(got) != len(c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
				continue
			}
			for n := range got {
				if got[n] != c.want[n] {
					t.Errorf("%s: %v, want %v", name, got, c.want)
				}
			}
		}
	})
}
