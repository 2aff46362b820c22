package issuer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// onRecord returns the one entry of a request.
func (h *house) onRecord(t testing.TB, request string) store.AuditEntry {
	t.Helper()
	list := slices.DeleteFunc(h.audited(t), func(e store.AuditEntry) bool { return e.RequestID != request })
	if len(list) != 1 {
		t.Fatalf("%d entries of request %s", len(list), request)
	}
	return list[0]
}

// Who owns an account makes no further one of its operator: neither a new one nor a copy.
func TestAccountOwnerMakesNoAccount(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		o := may(on(issuer.RoleOwner, w.operator.ID, w.account.ID))
		h.unchanged(t, func() {
			wants(t, second(h.CloneAccount(t.Context(), o, "ORDERS", issuer.AccountCloneInput{Name: "MORE"})), issuer.KindForbidden)
			wants(t, second(h.CreateAccount(t.Context(), o, issuer.AccountInput{Operator: "acme", Name: "MORE", Settings: claims.NewAccountSettings()})), issuer.KindForbidden)
		}, "audit", "sequencer")
		// What is made of a copy is on record where it is.
		copying := op()
		copying.RequestID = "copying"
		made := did(h.CloneAccount(t.Context(), copying, "ORDERS", issuer.AccountCloneInput{Name: "MORE"})).well(t)
		if e := h.onRecord(t, "copying"); e.Action != "clone" || e.AccountID != made.ID || e.OperatorID != w.operator.ID {
			t.Errorf("on record: %+v", e)
		}
	})
}

// An answer is repeated only to who may still ask.
func TestReplayNeedsTheGrant(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "OTHER", Settings: claims.NewAccountSettings()})).well(t)
		o := may(on(issuer.RoleIssuer, w.operator.ID, w.account.ID, w.template.ID))
		o.IdempotencyKey, o.Fingerprint = "k", []byte("issue")
		ask := func() (issuer.Outcome[issuer.Issued], error) {
			return h.Issue(t.Context(), o, "ORDERS", "d1", issuer.IssueInput{TTL: time.Minute})
		}
		did(ask()).well(t)
		if out, err := ask(); err != nil || !out.Replayed {
			t.Errorf("again: %v, replayed %v", err, out.Replayed)
		}
		o.RequestID = "again"
		o.Caller.Grants = []issuer.Grant{on(issuer.RoleIssuer, other.OperatorID, other.ID)}
		out, err := ask()
		wants(t, err, issuer.KindNotFound)
		if out.Value.PublicKey != "" {
			t.Errorf("answered with %+v", out.Value.Credential)
		}
		if e := h.onRecord(t, "again"); e.Outcome != "denied" || e.AccountID != w.account.ID {
			t.Errorf("on record: %+v", e)
		}
	})
}

// A change is on record at the account that it changes, whatever else it names.
func TestPlacesOnRecord(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "PARTS", Settings: claims.NewAccountSettings()})).well(t)
		did(h.CreateExport(t.Context(), op(), other.ID, jwt.Export{Subject: "feed.>", Type: jwt.Stream})).well(t)
		o := op()
		o.RequestID = "import"
		did(h.CreateImport(t.Context(), o, "ORDERS", jwt.Import{Account: "PARTS", Subject: "feed.>", Type: jwt.Stream, Name: "f"})).well(t)
		o.RequestID = "share"
		did(h.Share(t.Context(), o, issuer.ShareInput{Exporter: "PARTS", Importer: "ORDERS", Flows: []claims.Flow{{Kind: jwt.Stream, Subject: "more.>"}}})).well(t)
		ada := h.person(t, "ann", on(issuer.RoleAuditor, "", w.account.ID))
		o.RequestID = "person"
		did(h.UpdatePerson(t.Context(), o, ada.ID, func(e *issuer.PersonEdit) { e.Grants = []issuer.Grant{on(issuer.RoleAuditor, "", other.ID)} })).well(t)
		stray := did(h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "bound", Grants: []issuer.Grant{on(issuer.RoleIssuer, "", w.account.ID)}, TTL: time.Hour, Networks: []string{"10.0.0.0/8"}})).well(t)
		wants(t, second(h.Authenticate(t.Context(), stray.Text, issuer.Origin{RequestID: "stray"})), issuer.KindUnauthenticated)
		link := did(h.InvitePerson(t.Context(), op(), ada.ID)).well(t)
		if _, err := h.UseLink(t.Context(), issuer.Op{RequestID: "sign in"}, link.Link, ""); err != nil {
			t.Fatal(err)
		}
		places := map[string][]string{}
		for _, e := range h.audited(t) {
			places[e.RequestID] = append(places[e.RequestID], e.AccountID)
		}
		for request, want := range map[string][]string{
			"import": {w.account.ID}, "share": {w.account.ID, other.ID}, "person": {""}, "stray": {w.account.ID}, "sign in": {other.ID},
		} {
			got := places[request]
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s is on record at %v, want %v", request, got, want)
			}
		}
	})
}

// An import is no way to ask about the exports of an account that the caller does not see: what is not there, what is
// of another operator, what is exported to others only and what is not exported at all look the same.
func TestImportsTellNothingOfStrangers(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		far := h.furnishAs(t, "stranger", "FAR")
		near := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "NEAR", Settings: claims.NewAccountSettings()})).well(t)
		e := did(h.CreateExport(t.Context(), op(), near.ID, jwt.Export{Subject: "secret.>", Type: jwt.Stream, TokenReq: true})).well(t)
		gone := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "GONE", Settings: claims.NewAccountSettings()})).well(t)
		o := may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID))
		add := func(name, exporter, subject, token string) string {
			return did(h.CreateImport(t.Context(), o, "ORDERS", jwt.Import{Name: name, Account: exporter, Subject: jwt.Subject(subject), LocalSubject: jwt.RenamingSubject(name + ".>"), Type: jwt.Stream, Token: token})).well(t).ID
		}
		ids := []string{add("nobody", newAccountKey(t), "x.>", ""), add("far", far.account.ID, "x.>", ""), add("gone", gone.ID, "x.>", ""), add("none", near.ID, "x.>", ""), add("private", near.ID, "secret.a.>", "")}
		v := op()
		v.ExpectedVersion = h.account(t, gone.ID).Version
		did(h.DeleteAccount(t.Context(), v, gone.ID)).well(t)
		edges, err := h.ListImports(t.Context(), o.Caller, "ORDERS", issuer.Page{Limit: 10})
		if err != nil || len(edges) != len(ids) {
			t.Fatalf("%d edges, %v", len(edges), err)
		}
		for _, x := range edges {
			if x.State != issuer.EdgeBroken || x.Problem == nil || x.Problem.Code != "not_offered" || x.ExportID != "" || x.Access != "" || x.Exporter.Name != "" {
				t.Errorf("%s: %s, %+v, export %q, access %q", x.Body.Name, x.State, x.Problem, x.ExportID, x.Access)
			}
		}
		// Who has a token of the exporter may know what became of it.
		act := did(h.IssueActivation(t.Context(), op(), near.ID, e.ID, issuer.ActivationInput{Importer: w.account.ID})).well(t)
		invited := add("invited", near.ID, "secret.>", act.Token)
		did(h.RevokeActivation(t.Context(), op(), near.ID, e.ID, w.account.ID)).well(t)
		x, err := h.GetImport(t.Context(), o.Caller, "ORDERS", invited)
		if err != nil || x.Problem == nil || x.Problem.Code != "token_revoked" || x.ExportID != "" {
			t.Errorf("%+v, %v", x, err)
		}
		// Who sees all of it is told.
		var codes []string
		edges, err = h.ListImports(t.Context(), owner, "ORDERS", issuer.Page{Limit: 10})
		for _, x := range edges {
			codes = append(codes, x.Problem.Code)
		}
		slices.Sort(codes)
		if want := "exporter_deleted exporter_unknown no_export other_operator token_required token_revoked"; err != nil || strings.Join(codes, " ") != want {
			t.Errorf("the owner is told %v, %v", codes, err)
		}
		// The exporter learns who imports, and not what is made of it.
		g, err := h.AccountSharing(t.Context(), may(on(issuer.RoleAccountAdmin, w.operator.ID, near.ID)).Caller, near.ID, issuer.GraphQuery{Limit: 10})
		if err != nil || len(g.Edges) != 3 {
			t.Fatalf("%d edges, %v", len(g.Edges), err)
		}
		for _, x := range g.Edges {
			if x.Importer.ID != w.account.ID || x.Importer.Name != "" || x.Body.Name != "" || x.Body.LocalSubject != "" {
				t.Errorf("%+v", x)
			}
		}
	})
}

// Tokens and people are for who may do so on all of what these may do, and so is a page of the log.
func TestGrantsAreOfAllTheirPlaces(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "PARTS", Settings: claims.NewAccountSettings()})).well(t)
		here, there := on(issuer.RoleAuditor, w.operator.ID, w.account.ID), on(issuer.RoleAuditor, w.operator.ID, other.ID)
		admin := may(on(issuer.RoleOwner, w.operator.ID, w.account.ID))
		both := did(h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "both", Grants: []issuer.Grant{here, there}, TTL: time.Hour})).well(t)
		ann := h.person(t, "ann", here, there)
		// Whichever of the two comes first.
		for _, o := range []issuer.Op{admin, may(on(issuer.RoleOwner, w.operator.ID, other.ID))} {
			wants(t, second(h.GetToken(t.Context(), o.Caller, both.ID)), issuer.KindNotFound)
			wants(t, second(h.RevokeToken(t.Context(), o, both.ID)), issuer.KindNotFound)
		}
		wants(t, second(h.GetPerson(t.Context(), admin.Caller, ann.ID)), issuer.KindNotFound)
		tokens, err := h.ListTokens(t.Context(), admin.Caller, issuer.TokenFilter{}, issuer.LedgerPage{Limit: 10})
		if err != nil || len(tokens) != 0 {
			t.Errorf("%d tokens, %v", len(tokens), err)
		}
		people, err := h.ListPeople(t.Context(), admin.Caller, issuer.Page{Limit: 10})
		if err != nil || len(people) != 0 {
			t.Errorf("%d people, %v", len(people), err)
		}
		// The log of an account is that of no other one of its operator.
		admins := may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID))
		h.sequence(t)
		log, err := h.ListAudit(t.Context(), admins.Caller, issuer.AuditQuery{}, issuer.AuditPage{Limit: 100})
		if err != nil || len(log) == 0 {
			t.Fatalf("%d entries, %v", len(log), err)
		}
		for _, e := range log {
			if e.AccountID != w.account.ID {
				t.Errorf("an entry of %q is listed", e.AccountID)
			}
		}
	})
}

// What is held against the whole of a place is not done for who has a part of it, and nothing is told on the way.
func TestPartsAreNotTheWhole(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		one := may(on(issuer.RoleIssuer, w.operator.ID, w.account.ID, w.template.ID))
		wants(t, second(h.ListKeys(t.Context(), one.Caller, issuer.KeyOwner{Account: "ORDERS"})), issuer.KindForbidden)
		wants(t, second(h.GetUser(t.Context(), one.Caller, "ORDERS", "ada@example.com")), issuer.KindNotFound)
		wants(t, second(h.GetUser(t.Context(), one.Caller, "ORDERS", "nobody")), issuer.KindNotFound)
		toOwn := func(e *issuer.UserEdit) { e.Template, e.Permissions = "", ownPermissions() }
		wants(t, second(h.UpdateUser(t.Context(), one, "ORDERS", "d1", toOwn)), issuer.KindForbidden)
		made, err := h.CreateUsers(t.Context(), one, "ORDERS", []issuer.UserInput{
			{Name: "b1", Template: "device", Tags: []string{"region:eu"}}, {Name: "b2", Permissions: ownPermissions()},
		})
		if err != nil || len(made) != 2 || made[0].Err != nil {
			t.Fatalf("%+v, %v", made, err)
		}
		wants(t, made[1].Err, issuer.KindForbidden)
		wants(t, second(h.SetOperatorGuardrails(t.Context(), may(on(issuer.RoleOwner, w.operator.ID, w.account.ID)), "acme", claims.Guardrails{})), issuer.KindForbidden)
		admin := may(on(issuer.RoleAccountAdmin, w.operator.ID, w.account.ID))
		wants(t, second(h.UpdateAccount(t.Context(), admin, "ORDERS", func(e *issuer.AccountEdit) { e.ClusterTraffic = "owner" })), issuer.KindForbidden)
		above := may(on(issuer.RoleOperatorAdmin, w.operator.ID))
		wants(t, second(h.CreateToken(t.Context(), above, issuer.TokenInput{Name: "x", Grants: []issuer.Grant{on(issuer.RoleOwner, "acme")}, TTL: time.Hour})), issuer.KindForbidden)
	})
}
