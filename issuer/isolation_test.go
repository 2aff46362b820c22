package issuer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/issuer"
)

// Q11: taking a grant, or a part of its place, or a role's permissions away never enables what was refused before.
func TestFewerGrantsEnableNothing(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := prepared(t, h)
		cases := useCases()
		names := order(cases)
		scopes := []issuer.Scope{
			{},
			{Operator: w.operator.ID},
			{Operator: w.operator.ID, Account: w.account.ID},
			{Operator: w.operator.ID, Account: w.account.ID, Template: w.template.ID},
			{Operator: w.operator.ID, Account: h.account(t, "OURS").ID},
		}
		// narrower has the roles of which all permissions are in the role.
		narrower := map[issuer.Role][]issuer.Role{}
		for _, r := range issuer.Roles() {
			for _, s := range issuer.Roles() {
				if !slices.ContainsFunc(issuer.Permissions(), func(p issuer.Permission) bool { return s.Allows(p) && !r.Allows(p) }) {
					narrower[r] = append(narrower[r], s)
				}
			}
		}
		calls, allowed, lost := 0, 0, 0
		try := func(r *rapid.T, name string, grants []issuer.Grant) bool {
			o := may(grants...)
			o.DryRun, o.Reason = true, "because"
			err := cases[name].run(t, h, o)
			e := issuer.AsError(err)
			calls++
			if err != nil && e.Kind == issuer.KindInternal {
				r.Fatalf("%s with %+v: %v", name, grants, err)
			}
			return err == nil || e.Kind != issuer.KindForbidden && e.Kind != issuer.KindNotFound
		}
		rapid.Check(t, func(r *rapid.T) {
			var more, fewer []issuer.Grant
			for range rapid.IntRange(1, 3).Draw(r, "grants") {
				role := rapid.SampledFrom(issuer.Roles()).Draw(r, "role")
				at := rapid.SampledFrom(scopes).Draw(r, "scope")
				more = append(more, issuer.Grant{Role: string(role), Scope: at})
				switch rapid.SampledFrom([]string{"keep", "drop", "narrow", "weaken"}).Draw(r, "what") {
				case "keep":
					fewer = append(fewer, more[len(more)-1])
				case "narrow":
					within := slices.DeleteFunc(slices.Clone(scopes), func(s issuer.Scope) bool { return !at.Covers(s) })
					fewer = append(fewer, issuer.Grant{Role: string(role), Scope: rapid.SampledFrom(within).Draw(r, "within")})
				case "weaken":
					fewer = append(fewer, issuer.Grant{Role: string(rapid.SampledFrom(narrower[role]).Draw(r, "weaker")), Scope: at})
				}
			}
			for range 5 {
				name := rapid.SampledFrom(names).Draw(r, "use case")
				before, after := try(r, name, more), try(r, name, fewer)
				if after && !before {
					r.Fatalf("%s is refused with %+v and allowed with %+v", name, more, fewer)
				}
				if before {
					allowed++
				}
				if before && !after {
					lost++
				}
			}
		})
		t.Logf("%d calls: %d were allowed, %d of them not any more with fewer grants, none the other way", calls, allowed, lost)
		if allowed == 0 || lost == 0 {
			t.Error("the test is about nothing")
		}
	})
}

// neighbour is an account under the same operator, with a template, users, credentials, revocations and shares, of which
// the admin of another account shall move nothing.
type neighbour struct {
	account issuer.Account
	refs    []string
	ids     []string
}

func (h *house) neighbour(t *testing.T, name string) neighbour {
	t.Helper()
	n := neighbour{account: did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: name, Settings: claims.NewAccountSettings()})).well(t)}
	x := did(h.CreateTemplate(t.Context(), op(), n.account.ID, deviceTemplate())).well(t)
	u := did(h.CreateUser(t.Context(), op(), n.account.ID, issuer.UserInput{Name: "n1", Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{}})).well(t)
	v := did(h.CreateUser(t.Context(), op(), n.account.ID, issuer.UserInput{Name: "n2", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
	did(h.Revoke(t.Context(), op(), n.account.ID, issuer.RevokeInput{Subject: "n2"})).well(t)
	e := did(h.CreateExport(t.Context(), op(), n.account.ID, jwt.Export{Name: "feed", Subject: "feed.>", Type: jwt.Stream})).well(t)
	k := did(h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "theirs", Grants: []issuer.Grant{on(issuer.RoleIssuer, "", n.account.ID)}, TTL: time.Hour})).well(t)
	p := h.person(t, "nia", on(issuer.RoleAccountAdmin, "", n.account.ID))
	n.refs = []string{name, n.account.ID, "n1", "n2", u.ID, v.ID, "device", x.ID, u.Issued.PublicKey, x.Keys[0].ID, e.ID, k.ID, p.ID, "nia", "acme", n.account.OperatorID, issuer.Everybody}
	n.ids = []string{n.account.ID, u.ID, v.ID, x.ID, e.ID, k.ID, p.ID}
	return n
}

// rows are all that speak of the neighbour, and the operator's own.
func (h *house) rows(t *testing.T, n neighbour) []string {
	t.Helper()
	return slices.DeleteFunc(strings.Split(h.raw.Dump(t, "audit", "sequencer", "replays"), "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "operators ") && !slices.ContainsFunc(n.ids, func(id string) bool { return strings.Contains(line, id) })
	})
}

// Q12: whatever an account's admin does, with whatever names and identities, leaves every row of another account as it is.
func TestAccountsAreApart(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := h.furnish(t)
		n := h.neighbour(t, "PARTS")
		own := []string{"ORDERS", w.account.ID, "d1", "ada@example.com", w.device.ID, "device", w.template.ID, w.device.Issued.PublicKey, w.template.Keys[0].ID}
		admin := may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID))
		before := h.rows(t, n)
		done, refused, tried := 0, 0, 0
		rapid.Check(t, func(r *rapid.T) {
			if tried++; tried > borders { // each looks at every row eight times
				return
			}
			for step := range 8 {
				h.advance(2 * time.Second)
				pick := func(label string) string {
					if rapid.IntRange(0, 3).Draw(r, label+" of mine") > 0 {
						return rapid.SampledFrom(own).Draw(r, label)
					}
					return rapid.SampledFrom(n.refs).Draw(r, label)
				}
				account := rapid.SampledFrom([]string{"ORDERS", "ORDERS", "ORDERS", "PARTS", n.account.ID}).Draw(r, "account")
				what := rapid.SampledFrom(deeds()).Draw(r, "deed")
				o := admin
				o.RequestID, o.Reason = fmt.Sprint("req_", step), "because"
				err := what(t, h, o, account, pick)
				switch e := issuer.AsError(err); {
				case err == nil:
					done++
				case e.Kind == issuer.KindInternal:
					r.Fatal(err)
				default:
					refused++
				}
				if diff := cmp.Diff(before, h.rows(t, n)); diff != "" {
					r.Fatalf("rows of the other account changed (-before +after):\n%s", diff)
				}
			}
		})
		t.Logf("%d deeds done and %d refused left %d rows of the other account as they were", done, refused, len(before))
		if done == 0 || refused == 0 || len(before) < 10 {
			t.Error("the test is about nothing")
		}
	})
}

// deed is one thing that an account's admin may try.
type deed = func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error

func deeds() []deed {
	return []deed{
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.CreateUser(t.Context(), o, account, issuer.UserInput{Name: fmt.Sprint("x", len(pick("name"))), Template: pick("template"), Issue: &issuer.IssueInput{}}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.UpdateUser(t.Context(), o, account, pick("user"), func(e *issuer.UserEdit) { e.Template = pick("template"); e.Permissions = nil }))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.Issue(t.Context(), o, account, pick("user"), issuer.IssueInput{PublicKey: pick("key")}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.Issue(t.Context(), o, account, pick("user"), issuer.IssueInput{}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.Revoke(t.Context(), o, account, issuer.RevokeInput{Subject: pick("subject")}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.Unrevoke(t.Context(), o, account, pick("subject")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, _ func(string) string) error {
			return second(h.Compact(t.Context(), o, account))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.DisableUser(t.Context(), o, account, pick("user")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.EnableUser(t.Context(), o, account, pick("user")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.UpdateTemplate(t.Context(), o, account, pick("template"), func(in *issuer.TemplateInput) { in.Body.Description = fmt.Sprint(len(pick("text"))) }))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			in := issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: account}, Template: pick("template")}, To: issuer.TemplateHome{Account: pick("home")}, Name: "copy"}
			return second(h.CloneTemplate(t.Context(), o, in))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.AddKey(t.Context(), o, issuer.KeyOwner{Account: account, Template: pick("template")}, issuer.KeyInput{MakeCurrent: true}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.SetKeyState(t.Context(), o, issuer.KeyOwner{Account: account, Template: pick("template")}, pick("key"), issuer.KeyStateInput{State: issuer.KeyDisabled}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.CompromiseKey(t.Context(), o, issuer.KeyOwner{Account: account}, pick("key")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.CreateExport(t.Context(), o, account, jwt.Export{Name: "x", Subject: "x.>", Type: jwt.Stream}))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.DeleteExport(t.Context(), o, account, pick("export")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.CreateToken(t.Context(), o, issuer.TokenInput{Name: "x", Grants: []issuer.Grant{on(issuer.RoleIssuer, "", pick("place"), "")}, TTL: time.Hour}))
		},
		func(t *testing.T, h *house, o issuer.Op, _ string, pick func(string) string) error {
			return second(h.RevokeToken(t.Context(), o, pick("token")))
		},
		func(t *testing.T, h *house, o issuer.Op, _ string, pick func(string) string) error {
			return second(h.UpdatePerson(t.Context(), o, pick("person"), func(e *issuer.PersonEdit) { e.State = "disabled" }))
		},
		func(t *testing.T, h *house, o issuer.Op, _ string, pick func(string) string) error {
			return second(h.InvitePerson(t.Context(), o, pick("person")))
		},
		func(t *testing.T, h *house, o issuer.Op, _ string, pick func(string) string) error {
			return second(h.UpdateOperator(t.Context(), o, pick("operator"), setURLs([]string{"tls://elsewhere"})))
		},
		func(t *testing.T, h *house, o issuer.Op, _ string, pick func(string) string) error {
			return second(h.SetSigning(t.Context(), o, pick("operator"), false))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.DeleteTemplate(t.Context(), o, account, pick("template")))
		},
		func(t *testing.T, h *house, o issuer.Op, account string, pick func(string) string) error {
			return second(h.DeleteUser(t.Context(), o, account, pick("user")))
		},
	}
}
