package issuer_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// awaitClosed waits until the server has closed the connection.
func awaitClosed(t *testing.T, what string, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Errorf("%s: the connection is still open", what)
	}
}

// live is a world on a real server, with Chancery's own connection and one client.
func (h *house) live(t *testing.T) (w world, s *server.Server, admin *nats.Conn) {
	t.Helper()
	h.advance(time.Since(h.time())) // a server has its own clock
	w = h.furnishAs(t, "live", "LIVE")
	s = h.run(t, w)
	system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
	if err != nil {
		t.Fatal(err)
	}
	if admin, err = connect(t, s, system.Creds); err != nil {
		t.Fatal(err)
	}
	return w, s, admin
}

// A suspended account refuses who comes and throws out who is there; resumed, it has exactly the limits it had, and
// what was set meanwhile.
func TestSuspensionOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		w, s, admin := h.live(t)
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(a *issuer.AccountEdit) { a.Limits.Conn, a.Limits.LeafNodeConn = 7, 3 })).well(t)
		h.push(t, admin, w.account.ID)
		before := decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT)
		closed := make(chan struct{})
		if _, err := connect(t, s, w.device.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(closed) })); err != nil {
			t.Fatal(err)
		}
		plan, err := h.SuspendAccount(t.Context(), dryRun(), w.account.ID)
		if err != nil || len(plan.Plan.Changes) != 3 || plan.Value.State != "suspended" {
			t.Errorf("plan %+v, %v", plan.Plan, err)
		}
		a := did(h.SuspendAccount(t.Context(), op(), w.account.ID)).well(t)
		if l := decode[*jwt.AccountClaims](t, a.JWT).Limits; a.State != "suspended" || l.Conn != 0 || l.LeafNodeConn != 0 {
			t.Errorf("suspended: %s %+v", a.State, l)
		}
		h.push(t, admin, w.account.ID)
		awaitClosed(t, "suspended", closed)
		for name, creds := range map[string]claims.Secret{"device": w.device.Issued.Creds, "ada": w.ada.Issued.Creds} {
			if _, err := connect(t, s, creds); err == nil {
				t.Errorf("%s is admitted to a suspended account", name)
			}
		}
		if e := wants(t, second(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})), issuer.KindConflict); e.Code != "not_active" {
			t.Errorf("%+v", e)
		}
		a = did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(a *issuer.AccountEdit) { a.Limits.Subs = 99 })).well(t)
		if l := decode[*jwt.AccountClaims](t, a.JWT).Limits; l.Conn != 0 || l.Subs != 99 {
			t.Errorf("edited while suspended: %+v", l)
		}
		again := did(h.SuspendAccount(t.Context(), op(), w.account.ID)).well(t)
		if again.JWTVersion != a.JWTVersion {
			t.Error("suspending twice signed twice")
		}
		a = did(h.ResumeAccount(t.Context(), op(), w.account.ID)).well(t)
		before.Limits.Subs = 99
		if diff := cmp.Diff(before.Limits, decode[*jwt.AccountClaims](t, a.JWT).Limits); diff != "" || a.State != "active" {
			t.Errorf("resumed (-want +got):\n%s", diff)
		}
		h.push(t, admin, w.account.ID)
		for name, creds := range map[string]claims.Secret{"device": w.device.Issued.Creds, "ada": w.ada.Issued.Creds} {
			if _, err := connect(t, s, creds); err != nil {
				t.Errorf("%s after the suspension: %v", name, err)
			}
		}
	})
}

// A deleted account leaves a tombstone that throws everybody out and admits nobody; its name is free, its users are
// gone from all lists, and nothing of it can be changed.
func TestTombstoneOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		w, s, admin := h.live(t)
		closed := make(chan struct{})
		if _, err := connect(t, s, w.device.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(closed) })); err != nil {
			t.Fatal(err)
		}
		wants(t, second(h.DeleteAccount(t.Context(), op(), w.account.ID)), issuer.KindUnconditional)
		plan, err := h.DeleteAccount(t.Context(), dryRun(), w.account.ID)
		if err != nil || plan.Plan.Credentials != 2 {
			t.Errorf("plan %+v, %v", plan.Plan, err)
		}
		named := op()
		named.ExpectedVersion = h.account(t, w.account.ID).Version
		a := did(h.DeleteAccount(t.Context(), named, w.account.ID)).well(t)
		c := decode[*jwt.AccountClaims](t, a.JWT)
		if a.State != "deleted" || c.Limits.Conn != 0 || c.Limits.LeafNodeConn != 0 || len(c.SigningKeys) != 0 || c.Revocations[jwt.All] < h.unix() {
			t.Errorf("tombstone: %s %+v", a.State, c.Account)
		}
		h.push(t, admin, w.account.ID)
		awaitClosed(t, "deleted", closed)
		for name, creds := range map[string]claims.Secret{"device": w.device.Issued.Creds, "ada": w.ada.Issued.Creds} {
			if _, err := connect(t, s, creds); err == nil {
				t.Errorf("%s is admitted to a deleted account", name)
			}
		}
		if _, err := h.GetAccount(t.Context(), owner, "LIVE"); err == nil {
			t.Error("found by its name")
		}
		users, err := h.ListUsers(t.Context(), owner, w.account.ID, issuer.Page{Limit: 10})
		if err != nil || len(users) != 0 {
			t.Errorf("%d users are left, %v", len(users), err)
		}
		list, err := h.ListAccounts(t.Context(), owner, "", issuer.Page{Limit: 10})
		if err != nil || slices.ContainsFunc(list, func(x issuer.Account) bool { return x.ID == w.account.ID }) {
			t.Errorf("it is still listed, %v", err)
		}
		refused := 0
		edits := map[string]func() error{
			"update": func() error {
				return second(h.UpdateAccount(t.Context(), op(), w.account.ID, func(*issuer.AccountEdit) {}))
			},
			"suspend": func() error { return second(h.SuspendAccount(t.Context(), op(), w.account.ID)) },
			"resume":  func() error { return second(h.ResumeAccount(t.Context(), op(), w.account.ID)) },
			"delete":  func() error { return second(h.DeleteAccount(t.Context(), named, w.account.ID)) },
			"revoke": func() error {
				return second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "*"}))
			},
			"issue": func() error { return second(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})) },
			"user": func() error {
				return second(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "x", Permissions: ownPermissions()}))
			},
			"template": func() error { return second(h.CreateTemplate(t.Context(), op(), w.account.ID, deviceTemplate())) },
		}
		for name, edit := range edits {
			if e := wants(t, edit(), issuer.KindConflict); e.Code == "account_deleted" {
				refused++
			} else {
				t.Errorf("%s: %+v", name, e)
			}
		}
		t.Logf("%d of %d changes of a tombstone refused", refused, len(edits))
		again := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "live", Name: "LIVE", Settings: claims.NewAccountSettings()})).well(t)
		if again.ID == w.account.ID {
			t.Error("the tombstone came back")
		}
	})
}

// The switch lets through what takes rights away and nothing else; clients and pushes go on.
func TestSigningSwitchOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		w, s, admin := h.live(t)
		off := op()
		off.Reason = "suspected leak"
		state := did(h.SetSigning(t.Context(), off, "live", false)).well(t)
		read, err := h.SigningSwitch(t.Context(), auditor, "live")
		if diff := cmp.Diff(state, read); err != nil || diff != "" || read.Enabled || read.Reason != "suspected leak" || read.By != owner.ID {
			t.Errorf("%+v, %v\n%s", read, err, diff)
		}
		did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "later", Permissions: ownPermissions()})).well(t) // signs nothing
		refused := 0
		gives := map[string]func(o issuer.Op) error{
			"an account": func(o issuer.Op) error {
				return second(h.CreateAccount(t.Context(), o, issuer.AccountInput{Operator: "live", Name: "NEW", Settings: claims.NewAccountSettings()}))
			},
			"limits": func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, w.account.ID, func(a *issuer.AccountEdit) { a.Limits.Conn = 9 }))
			},
			"a template": func(o issuer.Op) error {
				return second(h.UpdateTemplate(t.Context(), o, w.account.ID, "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow.Add("more") }))
			},
			"the operator": func(o issuer.Op) error {
				return second(h.UpdateOperator(t.Context(), o, "live", setURLs([]string{"nats://n9:4222"})))
			},
			"a resumption": func(o issuer.Op) error { return second(h.ResumeAccount(t.Context(), o, "LIVE")) },
			"a credential": func(o issuer.Op) error {
				return second(h.Issue(t.Context(), o, w.account.ID, "d1", issuer.IssueInput{}))
			},
		}
		closed := make(chan struct{})
		nc, err := connect(t, s, w.device.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
		if err != nil {
			t.Fatal(err)
		}
		did(h.SuspendAccount(t.Context(), op(), "LIVE")).well(t)
		h.push(t, admin, w.account.ID)
		awaitClosed(t, "suspended with signing off", closed)
		if !nc.IsClosed() {
			t.Error("suspended, and still connected")
		}
		cells := 0
		for name, change := range gives {
			for _, o := range []issuer.Op{op(), dryRun()} {
				if name == "a credential" && o.DryRun {
					continue // refused first because the account is suspended
				}
				cells++
				e := wants(t, change(o), issuer.KindConflict)
				if e.Code == "signing_off" || name == "a credential" && e.Code == "not_active" {
					refused++
				} else {
					t.Errorf("%s (dry run %v): %+v", name, o.DryRun, e)
				}
			}
		}
		t.Logf("%d of %d changes that give rights refused", refused, cells)
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1"})).well(t)
		if _, err := h.SystemCredential(t.Context(), op(), "live", "again"); err != nil {
			t.Errorf("Chancery's own credential: %v", err)
		}
		named := op()
		named.ExpectedVersion = h.account(t, "LIVE").Version

		// What is owed waits for the switch.
		h.raw.Run(t, `UPDATE accounts SET resign_us = 1 WHERE id = '`+w.account.ID+`'`)
		version := h.account(t, w.account.ID).JWTVersion
		if err := h.Upkeep(t.Context()); err != nil || h.account(t, w.account.ID).JWTVersion != version {
			t.Errorf("signed with the switch off: %v", err)
		}
		did(h.SetSigning(t.Context(), op(), "live", true)).well(t)
		if err := h.Upkeep(t.Context()); err != nil || h.account(t, w.account.ID).JWTVersion != version+1 {
			t.Errorf("not signed with the switch on: %v", err)
		}
		did(h.ResumeAccount(t.Context(), op(), "LIVE")).well(t)
		h.push(t, admin, w.account.ID)
		if _, err := connect(t, s, w.ada.Issued.Creds); err != nil {
			t.Errorf("after the switch: %v", err)
		}
		if _, err := connect(t, s, w.device.Issued.Creds); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("revoked while signing was off: %v", err)
		}
		did(h.SetSigning(t.Context(), op(), "live", false)).well(t)
		named.ExpectedVersion = h.account(t, "LIVE").Version
		did(h.DeleteAccount(t.Context(), named, "LIVE")).well(t)
	})
}

// What would lock Chancery or an account's callout out is held up until somebody insists.
func TestGuardsOfAccounts(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		system := w.operator.Settings.SystemAccount
		version := func(id string) issuer.Op {
			o := op()
			o.ExpectedVersion = h.account(t, id).Version
			return o
		}
		callout := func(keys ...string) func(*issuer.AccountEdit) {
			return func(a *issuer.AccountEdit) { a.Authorization = jwt.ExternalAuthorization{AuthUsers: keys} }
		}
		cases := []struct {
			name  string
			guard issuer.Guard
			run   func(o issuer.Op) error
		}{
			{"no connections", issuer.GuardSystemAccount, func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, system, func(a *issuer.AccountEdit) { a.Limits.Conn = 0 }))
			}},
			{"one connection", issuer.GuardSystemAccount, func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, system, func(a *issuer.AccountEdit) { a.Limits.Conn = 1 }))
			}},
			{"few subscriptions", issuer.GuardSystemAccount, func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, system, func(a *issuer.AccountEdit) { a.Limits.Conn, a.Limits.Subs = -1, 2 }))
			}},
			{"small messages", issuer.GuardSystemAccount, func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, system, func(a *issuer.AccountEdit) { a.Limits.Subs, a.Limits.Payload = -1, 100 }))
			}},
			{"suspension", issuer.GuardSystemAccount, func(o issuer.Op) error { return second(h.SuspendAccount(t.Context(), o, system)) }},
			{"a callout by a stranger", issuer.GuardCalloutUnanswered, func(o issuer.Op) error {
				return second(h.UpdateAccount(t.Context(), o, "ORDERS", callout(newUserKey(t))))
			}},
			{"a callout", issuer.GuardSystemAccount, func(o issuer.Op) error {
				if len(o.Override) > 0 {
					o.Override = append(o.Override, issuer.GuardCalloutUnanswered)
				}
				return second(h.UpdateAccount(t.Context(), o, system, callout(newUserKey(t))))
			}},
		}
		held := 0
		for _, c := range cases {
			h.advance(2 * time.Second)
			var e issuer.Error
			h.unchanged(t, func() { e = wants(t, c.run(op()), issuer.KindConflict) }, "sequencer")
			if e.Code != "would_lock_out" || e.Guard != c.guard {
				t.Errorf("%s: %+v", c.name, e)
				continue
			}
			insists := op()
			insists.Override = []issuer.Guard{c.guard}
			if err := c.run(insists); err != nil {
				t.Errorf("%s, overridden: %v", c.name, err)
				continue
			}
			held++
		}
		t.Logf("%d of %d held up and overridden", held, len(cases))

		insists := version(system)
		insists.Override = []issuer.Guard{issuer.GuardSystemAccount}
		if e := wants(t, second(h.DeleteAccount(t.Context(), insists, system)), issuer.KindConflict); e.Code != "system_account" || e.Guard != "" {
			t.Errorf("deletion: %+v", e)
		}

		// A callout that somebody can answer is none of the guard's business.
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", callout(newUserKey(t), w.ada.Issued.PublicKey))).well(t)
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: w.ada.Issued.PublicKey})).well(t)
		e := wants(t, second(h.UpdateAccount(t.Context(), op(), "ORDERS", callout(w.ada.Issued.PublicKey))), issuer.KindConflict)
		if e.Guard != issuer.GuardCalloutUnanswered {
			t.Errorf("a revoked answerer: %+v", e)
		}
	})
}
