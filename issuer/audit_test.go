package issuer_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"chancery/issuer"
	"chancery/store"
)

// audited returns the audit log, numbered up to now.
func (h *house) audited(t testing.TB) []store.AuditEntry {
	t.Helper()
	h.sequence(t)
	var out []store.AuditEntry
	h.in(t, func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = tx.ListAudit(ctx, 0, 10_000)
		return err
	})
	return out
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// An edit is on record with what it changed from and to.
func TestAuditTellsWhatChanged(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn, s.Description = 5, "x" })).well(t)
		entries := h.audited(t)
		e := entries[slices.IndexFunc(entries, func(e store.AuditEntry) bool { return e.Action == "update" })]
		var detail struct{ Changes []issuer.Change }
		if err := json.Unmarshal([]byte(e.Detail), &detail); err != nil {
			t.Fatal(err)
		}
		want := `[{"path":"/description","from":null,"to":"x","text":"Description: x"},{"path":"/limits/conn","from":-1,"to":5,"text":"Connections: unlimited → 5"}]`
		if got, _ := json.Marshal(detail.Changes); string(got) != want || e.Target != w.account.ID || e.TargetKind != "account" {
			t.Errorf("%s of %s, want %s", got, e.Target, want)
		}
	})
}

// failAudit makes every further insert into the audit log fail.
func (h *house) failAudit(t *testing.T) {
	t.Helper()
	if h.store.Dialect() == "sqlite" {
		h.raw.Run(t, `CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is full'); END`)
		return
	}
	h.raw.Run(t, `CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log is full'; END $$`)
	h.raw.Run(t, `CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()`)
}

// What cannot be recorded is not done: nothing signed or stored, nobody woken. Reading goes on.
func TestNothingWithoutAudit(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		h.raw.Run(t, `DELETE FROM people WHERE name <> 'dora'`)
		h.failAudit(t)
		woken := h.woken.Load()
		h.unchanged(t, func() {
			for name, c := range useCases() {
				err := c.run(t, h, op())
				if c.reads {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				if e := issuer.AsError(err); err == nil || e.Kind != issuer.KindInternal || strings.Contains(e.Message+e.Hint, "full") {
					t.Errorf("%s: %v", name, err)
				}
				// Nor is anybody let through because the denial cannot be recorded.
				if err := c.run(t, h, issuer.Op{Caller: auditor}); err == nil {
					t.Errorf("%s by an auditor went through", name)
				}
			}
		})
		if h.woken.Load() != woken {
			t.Error("the resolver was woken")
		}
	})
}
