package issuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

func (h *house) list(t testing.TB, c issuer.Caller, q issuer.AuditQuery) []issuer.AuditEntry {
	t.Helper()
	h.sequence(t)
	out, err := h.ListAudit(t.Context(), c, q, issuer.AuditPage{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// An entry comes with the names that there are, and what changed in the field's words.
func TestListAudit(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.advance(time.Second)
		did(h.UpdateAccount(t.Context(), because(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = 500 })).well(t)
		h.advance(time.Second)
		did(h.UpdateAccount(t.Context(), because(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = 12 })).well(t)
		e := h.list(t, auditor, issuer.AuditQuery{})[0]
		if e.Action != "update" || e.AccountName != "ORDERS" || e.OperatorName != "acme" || e.TargetName != "ORDERS" || e.Reason != "a ticket" ||
			len(e.Changes) != 1 || e.Changes[0].Text != "Connections: 500 → 12" || e.AccountID != w.account.ID || e.OperatorID != w.operator.ID {
			t.Errorf("%+v", e)
		}
		h.advance(time.Second)
		did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow.Add("orders.>") })).well(t)
		e = h.list(t, auditor, issuer.AuditQuery{TargetKind: "template", Action: "update"})[0]
		if !strings.Contains(fmt.Sprint(e.Changes), "orders.>") || e.TargetName != "device" || !strings.Contains(e.Changes[0].Text+e.Changes[len(e.Changes)-1].Text, "ublish") {
			t.Errorf("%+v", e.Changes)
		}
		for name, c := range map[string]struct {
			q    issuer.AuditQuery
			want int
		}{
			"an account":            {issuer.AuditQuery{Account: "ORDERS", Action: "update", TargetKind: "account"}, 2},
			"an account by its key": {issuer.AuditQuery{Account: w.account.ID, Action: "create", TargetKind: "account"}, 1},
			"an operator":           {issuer.AuditQuery{Operator: "acme", Action: "create", TargetKind: "account"}, 1},
			"a target":              {issuer.AuditQuery{Target: w.device.ID}, 1},
			"a request":             {issuer.AuditQuery{RequestID: "req_none"}, 0},
			"text":                  {issuer.AuditQuery{Search: "TICKET"}, 2},
			"later":                 {issuer.AuditQuery{From: h.time().Add(time.Second)}, 0},
		} {
			if got := h.list(t, owner, c.q); len(got) != c.want {
				t.Errorf("%s: %d entries, want %d", name, len(got), c.want)
			}
		}
		wants(t, second(h.ListAudit(t.Context(), owner, issuer.AuditQuery{Account: "NONE"}, issuer.AuditPage{Limit: 1})), issuer.KindNotFound)
		wants(t, second(h.ListAudit(t.Context(), owner, issuer.AuditQuery{Operator: "none"}, issuer.AuditPage{Limit: 1})), issuer.KindNotFound)
		wants(t, second(h.GetAuditEntry(t.Context(), owner, "999999")), issuer.KindNotFound)
	})
}

// Every change of something in an account says in which, so its administrator sees those and no others; what was tried
// from outside shows there too.
func TestWhoSeesWhichEntries(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := prepared(t, h)
		h.raw.Run(t, `DELETE FROM people WHERE name <> 'dora'`)
		for _, name := range order(useCases()) {
			if c := useCases()[name]; !c.reads {
				h.advance(time.Second)
				if err := c.run(t, h, issuer.Op{Caller: owner, RequestID: name, Reason: "because"}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		eve := issuer.Caller{ID: "per_eve", Kind: issuer.CallerPerson, Grants: []issuer.Grant{{Role: string(issuer.RoleOwner), Scope: issuer.Scope{Operator: "OELSEWHERE"}}}}
		if _, err := h.GetAccount(t.Context(), eve, w.account.ID); err == nil {
			t.Error("eve got in")
		}
		for _, e := range h.list(t, owner, issuer.AuditQuery{}) {
			placed := slices.Contains([]string{"account", "user", "users", "credential", "revocation"}, e.TargetKind)
			if placed && e.Outcome == "done" && (e.AccountID == "" || e.OperatorID == "") {
				t.Errorf("%s of %s (%s) belongs to account %q and operator %q", e.Action, e.TargetKind, e.RequestID, e.AccountID, e.OperatorID)
			}
			if e.TargetKind == "operator" && e.Outcome == "done" && e.OperatorID == "" {
				t.Errorf("%s of an operator (%s) belongs to none", e.Action, e.RequestID)
			}
		}
		scope := issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}
		admin := issuer.Caller{ID: "per_admin", Kind: issuer.CallerPerson, Grants: []issuer.Grant{{Role: string(issuer.RoleAccountAdmin), Scope: scope}}}
		mine := h.list(t, admin, issuer.AuditQuery{})
		if all := h.list(t, owner, issuer.AuditQuery{Account: w.account.ID}); len(mine) != len(all) || len(mine) < 10 {
			t.Errorf("the account's administrator sees %d entries of %d", len(mine), len(all))
		}
		denied := false
		for _, e := range mine {
			if e.AccountID != w.account.ID {
				t.Errorf("the administrator of ORDERS sees %+v", e.AuditEntry)
			}
			denied = denied || e.Actor == eve.ID && e.Outcome == "denied"
		}
		if !denied {
			t.Error("who was kept out does not show")
		}
		other := h.list(t, owner, issuer.AuditQuery{Account: "OURS"})[0]
		wants(t, second(h.GetAuditEntry(t.Context(), admin, fmt.Sprint(other.Seq))), issuer.KindNotFound)
		if _, err := h.GetAuditEntry(t.Context(), admin, mine[0].ID); err != nil {
			t.Errorf("an own entry: %v", err)
		}
		wants(t, second(h.VerifyAudit(t.Context(), admin, nil)), issuer.KindForbidden)
		template := issuer.Caller{ID: "per_t", Kind: issuer.CallerPerson, Grants: []issuer.Grant{{Role: string(issuer.RoleOwner), Scope: issuer.Scope{Operator: w.operator.ID, Account: w.account.ID, Template: w.template.ID}}}}
		if got := h.list(t, template, issuer.AuditQuery{}); len(got) != 0 {
			t.Errorf("who has a template sees %d entries", len(got))
		}
	})
}

// Nothing that opens anything is on record: no seed, no JWT, no token, whatever was done, and whatever was written into
// the fields that people fill in.
func TestNoSecretsOnRecord(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		h.raw.Run(t, `DELETE FROM people WHERE name <> 'dora'`)
		kp, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := kp.Seed()
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, name := range order(useCases()) {
			if c := useCases()[name]; !c.reads {
				h.advance(time.Second)
				if err := c.run(t, h, issuer.Op{Caller: owner, RequestID: name, Reason: "because", IdempotencyKey: "key-" + name, Fingerprint: []byte(name)}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				done++
			}
		}
		// A seed where a text belongs, and where a name of something is asked for.
		for _, text := range []string{string(seed), strayUser, "chy_pat_" + strings.Repeat("0", 49)} {
			_, _ = h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Description = text })
			_, _ = h.GetAccount(t.Context(), issuer.Caller{}, text)
			_, _ = h.Revoke(t.Context(), issuer.Op{Caller: owner, Reason: text}, "ORDERS", issuer.RevokeInput{Subject: "ada@example.com"})
			_, _ = h.CreateAccount(t.Context(), issuer.Op{Caller: owner, IdempotencyKey: text, Fingerprint: []byte("x")}, issuer.AccountInput{Operator: "acme", Name: "X", Settings: claims.NewAccountSettings()})
		}
		rows := h.audited(t)
		for _, e := range rows {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if text := string(raw); claims.Redact(text) != text || strings.Contains(text, string(seed)) {
				t.Errorf("%s of %s: %s", e.Action, e.TargetKind, claims.Redact(text))
			}
		}
		t.Logf("%d of %d use cases left nothing secret in %d entries", done, done, len(rows))
	})
}

// What is exported is all of it, in order and in parts, and what lists say is what exports say.
func TestExportAudit(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudits(ctx, store.AuditEntry{Action: "x", TargetKind: "account", Detail: "{}", OperatorID: w.operator.ID}, slices.Repeat([]string{w.account.ID}, 1200))
		})
		if err != nil {
			t.Fatal(err)
		}
		all := h.list(t, owner, issuer.AuditQuery{Account: "ORDERS"})
		if len(all) != 1000 {
			t.Fatalf("%d entries", len(all))
		}
		var got []int64
		parts := 0
		err = h.ExportAudit(t.Context(), auditor, issuer.AuditQuery{Account: "ORDERS"}, func(list []issuer.AuditEntry) error {
			parts++
			if len(list) > 500 {
				t.Errorf("a part of %d", len(list))
			}
			for _, e := range list {
				got = append(got, e.Seq)
			}
			// What is done meanwhile is not part of it: an export ends.
			did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
			h.sequence(t)
			return nil
		})
		if err != nil || parts != 3 || len(got) < 1200 || got[len(got)-1] != all[0].Seq || !slices.IsSorted(got) {
			t.Errorf("%d entries in %d parts up to %d, %v", len(got), parts, got[len(got)-1], err)
		}
		stop := fmt.Errorf("the disk is full")
		if err := h.ExportAudit(t.Context(), auditor, issuer.AuditQuery{}, func([]issuer.AuditEntry) error { return stop }); err == nil || !strings.Contains(err.Error(), "full") {
			t.Errorf("%v", err)
		}
	})
}

// An entry says how far what it signed got, by server: at its version, a later one, or not yet.
func TestDeliveriesThatFollowed(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		change := func(request string) {
			o := op()
			o.RequestID = request
			h.advance(time.Second)
			did(h.UpdateAccount(t.Context(), o, "ORDERS", func(s *issuer.AccountEdit) { s.Description = request })).well(t)
		}
		change("req_first")
		version := h.account(t, "ORDERS").JWTVersion
		deliver := func(server string, version int64) {
			err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return tx.PutDelivery(ctx, store.Delivery{AccountID: w.account.ID, ServerID: "N" + server, ServerName: server, Version: version, State: "in_effect", Proven: h.time()})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		deliver("n1", version)
		deliver("n2", version-1)
		change("req_second")
		deliver("n3", version+1)
		e := h.list(t, owner, issuer.AuditQuery{RequestID: "req_first"})[0]
		r, err := h.GetAuditEntry(t.Context(), auditor, e.ID)
		if err != nil || len(r.Deliveries) != 1 || r.More != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		d := r.Deliveries[0]
		if d.AccountName != "ORDERS" || d.Version != version || len(d.Servers) != 3 || d.Servers[0].Version != version || d.Servers[1].Version >= version || d.Servers[2].Version <= version {
			t.Errorf("%+v", d)
		}
		issued := h.list(t, owner, issuer.AuditQuery{TargetKind: "credential"})[0]
		if r, err := h.GetAuditEntry(t.Context(), owner, fmt.Sprint(issued.Seq)); err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
