package issuer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// on is a grant of a role.
func on(r issuer.Role, scope ...string) issuer.Grant {
	g := issuer.Grant{Role: string(r)}
	for n, s := range scope {
		*[]*string{&g.Operator, &g.Account, &g.Template}[n] = s
	}
	return g
}

// may is a person with grants, who is on no list.
func may(grants ...issuer.Grant) issuer.Op {
	return issuer.Op{Caller: issuer.Caller{ID: "per_x", Name: "eve", Kind: issuer.CallerPerson, Grants: grants}, RequestID: "req_x"}
}

func (h *house) person(t testing.TB, name string, grants ...issuer.Grant) issuer.Person {
	t.Helper()
	return did(h.CreatePerson(t.Context(), op(), issuer.PersonInput{Name: name, Grants: grants})).well(t)
}

func TestPeople(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		ada := h.person(t, "ada", issuer.Everything(issuer.RoleOwner)...)
		entries := len(h.audited(t))
		bob := h.person(t, "bob", on(issuer.RoleIssuer, "acme", "ORDERS", "device"), on(issuer.RoleAuditor, "", "ORDERS"))
		if got := bob.Held[0].Words() + "; " + bob.Held[1].Words(); got != "Issuer of template device in account ORDERS of acme; Auditor of account ORDERS of acme" {
			t.Error(got)
		}
		if bob.Grants[0] != on(issuer.RoleIssuer, w.operator.ID, w.account.ID, w.template.ID) {
			t.Errorf("%+v", bob.Grants)
		}
		if e := h.audited(t)[entries:]; len(e) != 1 || e[0].Target != bob.ID || !strings.Contains(e[0].Detail, "Issuer of template device in account ORDERS of acme") {
			t.Errorf("on record is %+v", e)
		}
		wants(t, second(h.CreatePerson(t.Context(), op(), issuer.PersonInput{Name: "bob", Grants: issuer.Everything(issuer.RoleAuditor)})), issuer.KindConflict)

		way := did(h.InvitePerson(t.Context(), op(), "bob")).well(t)
		other := did(h.InvitePerson(t.Context(), op(), "ada")).well(t)
		in, err := h.UseLink(t.Context(), issuer.Op{RequestID: "r"}, way.Link, "")
		if err != nil || in.ID != bob.ID || len(in.Grants) != 2 {
			t.Fatalf("%+v, %v", in, err)
		}
		if _, err := h.UseLink(t.Context(), issuer.Op{RequestID: "r"}, other.Link, ""); err != nil {
			t.Errorf("the link of one person ended that of another: %v", err)
		}

		// A token that bob made goes on, and the plan says so.
		mine := did(h.CreateToken(t.Context(), issuer.Op{Caller: issuer.Caller{ID: bob.ID, Kind: issuer.CallerPerson, Grants: issuer.Everything(issuer.RoleOwner)}}, issuer.TokenInput{Name: "bobs", Grants: issuer.Everything(issuer.RoleAuditor), TTL: time.Hour})).well(t)
		unused := did(h.InvitePerson(t.Context(), op(), bob.ID)).well(t)
		entries = len(h.audited(t))
		out := did(h.UpdatePerson(t.Context(), op(), "bob", func(e *issuer.PersonEdit) { e.State = "disabled" }))
		if off := out.well(t); off.State != "disabled" || off.Version != 2 || len(out.Plan.Warnings) != 1 || !strings.Contains(out.Plan.Warnings[0].Detail, "bobs ("+mine.ID+")") {
			t.Errorf("%+v: %+v", off, out.Plan)
		}
		if e := h.audited(t)[entries:]; len(e) != 1 || !strings.Contains(e[0].Detail, `"from":"active","to":"disabled"`) {
			t.Errorf("on record is %+v", e)
		}
		wants(t, second(h.Person(t.Context(), bob.ID)), issuer.KindUnauthenticated)
		wants(t, second(h.UseLink(t.Context(), issuer.Op{RequestID: "r"}, unused.Link, "")), issuer.KindUnauthenticated)
		wants(t, second(h.InvitePerson(t.Context(), op(), "bob")), issuer.KindConflict)
		if _, err := h.Authenticate(t.Context(), mine.Text, issuer.Origin{}); err != nil {
			t.Errorf("a token ends with its maker: %v", err)
		}

		did(h.UpdatePerson(t.Context(), op(), "bob", func(e *issuer.PersonEdit) { e.State, e.Grants = "active", e.Grants[:1] })).well(t)
		back, err := h.Person(t.Context(), bob.ID)
		if err != nil || len(back.Grants) != 1 {
			t.Errorf("%+v, %v", back, err)
		}
		stale := op()
		stale.ExpectedVersion = 1
		wants(t, second(h.UpdatePerson(t.Context(), stale, "bob", func(e *issuer.PersonEdit) { e.State = "disabled" })), issuer.KindStale)
		list, err := h.ListPeople(t.Context(), auditor, issuer.Page{Limit: 10, Search: "b"})
		if err != nil || len(list) != 1 || list[0].Name != "bob" {
			t.Errorf("%+v, %v", list, err)
		}
		list, err = h.ListPeople(t.Context(), may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID)).Caller, issuer.Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID != bob.ID {
			t.Errorf("an account admin sees %+v, %v", list, err)
		}
		if e := wants(t, second(h.GetPerson(t.Context(), may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID)).Caller, "ada")), issuer.KindNotFound); e.Code != "person_not_found" {
			t.Errorf("%+v", e)
		}
		for name, edit := range map[string]func(e *issuer.PersonEdit){
			"/state":         func(e *issuer.PersonEdit) { e.State = "asleep" },
			"/grants":        func(e *issuer.PersonEdit) { e.Grants = nil },
			"/grants/0/role": func(e *issuer.PersonEdit) { e.Grants = []issuer.Grant{on("king")} },
			"/grants/0":      func(e *issuer.PersonEdit) { e.Grants = []issuer.Grant{on(issuer.RoleOperatorAdmin, "acme", "ORDERS")} },
		} {
			if e := wants(t, second(h.UpdatePerson(t.Context(), op(), ada.ID, edit)), issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Pointer != name {
				t.Errorf("%s: %+v", name, e.Problems)
			}
		}
	})
}

// Somebody owns everything, whatever is done and at once: the last one stays.
func TestLastOwnerStays(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ada, bob := h.person(t, "ada", on(issuer.RoleOwner)), h.person(t, "bob", on(issuer.RoleOwner), on(issuer.RoleAuditor))
		edits := []func(*issuer.PersonEdit){
			func(e *issuer.PersonEdit) { e.State = "disabled" },
			func(e *issuer.PersonEdit) { e.Grants = []issuer.Grant{on(issuer.RoleAuditor)} },
		}
		for round := range 10 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			refused := 0
			for n, p := range []issuer.Person{ada, bob} {
				wg.Go(func() {
					_, err := h.UpdatePerson(t.Context(), op(), p.ID, edits[(round+n)%2])
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						refused++
						if e := issuer.AsError(err); e.Code != "last_owner" {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if refused != 1 {
				t.Errorf("round %d: %d of 2 were refused", round, refused)
			}
			if needs, err := h.NeedsSetup(t.Context()); err != nil || needs {
				t.Fatalf("nobody owns everything any more: %v", err)
			}
			for _, p := range []issuer.Person{ada, bob} {
				did(h.UpdatePerson(t.Context(), op(), p.ID, func(e *issuer.PersonEdit) { e.State, e.Grants = "active", []issuer.Grant{on(issuer.RoleOwner)} })).well(t)
			}
		}
	})
}

// Nobody gives more than they have: a grant passes where the giver has all of its permissions on all of its place.
func TestNobodyGivesMore(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.furnishAs(t, "zeta", "PARTS")
		o, a, x := w.operator.ID, w.account.ID, w.template.ID
		makers := map[string]issuer.Grant{
			"owner": on(issuer.RoleOwner), "owner of acme": on(issuer.RoleOwner, o), "operator admin": on(issuer.RoleOperatorAdmin, o),
			"account admin": on(issuer.RoleAccountAdmin, o, a), "issuer": on(issuer.RoleIssuer, o, a, x), "auditor": on(issuer.RoleAuditor),
		}
		// What each may give, by a token.
		gives := map[string][]string{
			"owner": {"*"},
			"owner of acme": {
				"owner@acme", "operator_admin@acme", "account_admin@acme", "issuer@acme", "auditor@acme",
				"owner@acme/ORDERS", "account_admin@acme/ORDERS", "issuer@acme/ORDERS", "auditor@acme/ORDERS", "issuer@acme/ORDERS/device",
			},
			"operator admin": {
				"operator_admin@acme", "account_admin@acme", "issuer@acme", "auditor@acme",
				"account_admin@acme/ORDERS", "issuer@acme/ORDERS", "auditor@acme/ORDERS", "issuer@acme/ORDERS/device",
			},
			"account admin": {"account_admin@acme/ORDERS", "issuer@acme/ORDERS", "auditor@acme/ORDERS", "issuer@acme/ORDERS/device"},
		}
		places := [][]string{{}, {"acme"}, {"acme", "ORDERS"}, {"acme", "ORDERS", "device"}, {"zeta"}, {"zeta", "PARTS"}, {"zeta", "PARTS", "device"}}
		n := 0
		for maker, has := range makers {
			for _, role := range issuer.Roles() {
				for _, place := range places {
					g := on(role, place...)
					if !role.Fits(g.Scope) {
						continue
					}
					name := strings.TrimSuffix(string(role)+"@"+strings.Join(place, "/"), "@")
					want := slices.Contains(gives[maker], name) || slices.Contains(gives[maker], "*")
					o := may(has)
					o.DryRun = true
					_, err := h.CreateToken(t.Context(), o, issuer.TokenInput{Name: "x", Grants: []issuer.Grant{g}, TTL: time.Hour})
					n++
					if (err == nil) != want {
						t.Errorf("%s gives %s: %v", maker, name, err)
					}
					if e := issuer.AsError(err); err != nil && (e.Kind != issuer.KindForbidden && e.Kind != issuer.KindNotFound || len(place) > 0 && place[0] == "zeta" && maker != "auditor" && maker != "issuer" && e.Kind != issuer.KindNotFound) {
						t.Errorf("%s gives %s: %v", maker, name, err)
					}
				}
			}
		}
		t.Logf("%d of %d grants are given or refused as they should", n, n)

		// With a grant among others that is too much nothing is given.
		_, err := h.CreateToken(t.Context(), may(makers["account admin"]), issuer.TokenInput{Name: "x", Grants: []issuer.Grant{on(issuer.RoleIssuer, "", "ORDERS"), on(issuer.RoleOperatorAdmin, "acme")}, TTL: time.Hour})
		if e := wants(t, err, issuer.KindForbidden); e.Code != "more_than_yours" && e.Code != "forbidden" {
			t.Errorf("%+v", e)
		}
		// Nobody lifts themselves up, or takes over who may do more.
		zed := h.person(t, "zed", on(issuer.RoleOwner, "acme"))
		boss := h.person(t, "boss", on(issuer.RoleOwner))
		self := issuer.Op{Caller: issuer.Caller{ID: zed.ID, Name: "zed", Kind: issuer.CallerPerson, Grants: zed.Grants}}
		wants(t, second(h.UpdatePerson(t.Context(), self, "zed", func(e *issuer.PersonEdit) { e.Grants = append(e.Grants, on(issuer.RoleOwner)) })), issuer.KindForbidden)
		wants(t, second(h.InvitePerson(t.Context(), self, boss.ID)), issuer.KindNotFound)
		wants(t, second(h.UpdatePerson(t.Context(), self, boss.ID, func(e *issuer.PersonEdit) { e.State = "disabled" })), issuer.KindNotFound)
		// What they have may be handed on.
		did(h.CreatePerson(t.Context(), self, issuer.PersonInput{Name: "deputy", Grants: []issuer.Grant{on(issuer.RoleOwner, "acme")}})).well(t)
	})
}

// What stands in the way of what a caller may not do anyway is not told: it would tell of what others have.
func TestRefusalsTellNothing(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "SECRET", Settings: claims.NewAccountSettings()})).well(t)
		admin := may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID))
		operator := may(on(issuer.RoleOperatorAdmin, w.operator.ID))
		h.furnishAs(t, "zeta", "PARTS")
		for what, pair := range map[string][2]error{
			"the name of an account": {
				second(h.CreateAccount(t.Context(), admin, issuer.AccountInput{Name: "SECRET", Settings: claims.NewAccountSettings()})),
				second(h.CreateAccount(t.Context(), admin, issuer.AccountInput{Name: "FREE", Settings: claims.NewAccountSettings()})),
			},
			"the name of an operator": {
				second(h.CreateOperator(t.Context(), operator, issuer.OperatorInput{Name: "zeta"})),
				second(h.CreateOperator(t.Context(), operator, issuer.OperatorInput{Name: "free"})),
			},
		} {
			if a, b := issuer.AsError(pair[0]), issuer.AsError(pair[1]); pair[0] == nil || fmt.Sprint(*a) != fmt.Sprint(*b) || a.Kind != issuer.KindForbidden {
				t.Errorf("%s: %+v, and where it is free %+v", what, pair[0], pair[1])
			}
		}
	})
}
