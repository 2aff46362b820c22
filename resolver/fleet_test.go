package resolver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// expect sets how many servers there are to be.
func (w *world) expect(n int64) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		o, err := tx.GetOperator(ctx, w.operator)
		if err != nil {
			return err
		}
		o.Policy.Servers = n
		return tx.UpdateOperator(ctx, o)
	})
}

// until returns when the fleet is as ok says.
func (w *world) until(what string, ok func(f claims.Fleet) bool) claims.Fleet {
	w.t.Helper()
	for end := time.Now().Add(patience); ; {
		f, err := w.r.Load().Fleet(w.t.Context(), w.operator, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if ok(f) {
			return f
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: the fleet is %s: %+v", what, f.State(), f)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// metric returns the value of a gauge of the operator, -1 when it is not told.
func (w *world) metric(reg *prometheus.Registry, name string) float64 {
	w.t.Helper()
	if err := w.r.Load().SurveyOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// One server fewer than expected is an alarm: what is proven on the others is not done,
// a revocation waits until the missing one is back, and then it does not any more.
func TestOneServerFewerThanExpected(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("ORDERS")
	u := w.user(a, "leaver")
	cfg := w.config()
	cfg.Metrics = reg
	w.startWith(cfg, resolver.Hurry{Settle: 50 * time.Millisecond, Ping: 200 * time.Millisecond, Silence: time.Second})
	w.expect(3)
	servers := w.serve(3)
	for _, s := range servers {
		w.connect(s, u)
	}
	w.until("all have it", func(f claims.Fleet) bool { return f.State() == "in_step" && f.OldestChange.IsZero() })
	if got := [...]float64{w.metric(reg, "chancery_servers_expected"), w.metric(reg, "chancery_servers_reachable"), w.metric(reg, "chancery_servers_confirmed")}; got != [...]float64{3, 3, 3} {
		t.Errorf("expected, reachable, confirmed are %v", got)
	}

	w.stop(servers[2])
	w.awaitRoster(2, 2)
	f := w.until("one is missed", func(f claims.Fleet) bool { return f.State() == "servers_missing" })
	if len(f.Missing) != 1 || f.Missing[0].Name != "n3" || f.Absent() != 1 || f.Suggested != 3 || f.Confirmed != f.Accounts {
		t.Errorf("the fleet is %+v", f)
	}
	before := time.Now()
	version := w.revoke(a, u)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := w.r.Load().Wait(ctx, a.id, version)
	if err != nil || !s.Reached() || s.Done() || s.State() != "servers_missing" || s.InEffect() != 2 || s.Missing() != 1 {
		t.Errorf("the revocation is %s, in effect on %d, missing %d, %v", s.State(), s.InEffect(), s.Missing(), err)
	}
	// The row of the revocation, as issuer writes it beside the JWT.
	w.write(func(ctx context.Context, tx *store.Tx) error {
		return tx.CreateRevocations(ctx, []store.Revocation{{ID: "rev_1", AccountID: a.id, Subject: u.id, Before: before.Unix(), Actor: "test", RequestID: "test"}})
	})
	f = w.until("the revocation waits", func(f claims.Fleet) bool { return !f.OldestRevocation.IsZero() })
	if f.OldestRevocationAccount != a.id || f.OldestChange.After(f.OldestRevocation) {
		t.Errorf("the oldest revocation is of %s, since %v, the oldest change since %v", f.OldestRevocationAccount, f.OldestRevocation, f.OldestChange)
	}
	age := w.metric(reg, "chancery_oldest_unconfirmed_revocation_seconds")
	if later := w.metric(reg, "chancery_oldest_unconfirmed_revocation_seconds"); age <= 0 || later <= age || w.metric(reg, "chancery_servers_reachable") != 2 {
		t.Errorf("the oldest revocation waits %v s, then %v s", age, later)
	}

	// After the second reading it is owed all the same: the missing one may have something else.
	eventually(t, "the second reading", func() bool {
		var due time.Time
		err := w.store.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			if owed, err := tx.IsOwed(ctx, a.id); err != nil || !owed {
				t.Fatalf("the revocation is owed no more, %v", err)
			}
			due, _, err = tx.NextOwed(ctx, w.operator)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(due) > 30*time.Second
	})

	back := w.server("n3", servers[0])
	w.await(3)
	w.until("it is proven", func(f claims.Fleet) bool { return f.State() == "in_step" && f.OldestRevocation.IsZero() })
	if c, err := w.dial(back, u); err == nil {
		c.Close()
		t.Error("the revoked user is let in")
	}
	if got := w.metric(reg, "chancery_oldest_unconfirmed_revocation_seconds"); got != 0 {
		t.Errorf("the oldest revocation waits %v s", got)
	}
	t.Logf("servers confirmed: %v of %v", w.metric(reg, "chancery_servers_confirmed"), w.metric(reg, "chancery_servers_expected"))
}

// A page of the deliveries of thousands of accounts takes as many questions as one of ten.
func TestDeliveriesOfManyAccounts(t *testing.T) {
	t.Parallel()
	for d, open := range map[string]func(testing.TB) *store.Store{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			const accounts, servers = 5000, 21
			s := open(t)
			w := newWorld(t, s)
			w.write(func(ctx context.Context, tx *store.Tx) error {
				for n := range accounts {
					id := fmt.Sprintf("A%055d", n)
					if err := tx.CreateAccount(ctx, store.Account{ID: id, OperatorID: w.operator, Name: fmt.Sprintf("acct-%04d", n), State: "active", Settings: w.system.claims.Settings}); err != nil {
						return err
					}
				}
				for n := range 40 {
					if err := tx.PutDelivery(ctx, store.Delivery{AccountID: fmt.Sprintf("A%055d", n*100), ServerID: fmt.Sprintf("N%02d", n%servers), Version: 5, State: "error", Error: "no"}); err != nil {
						return err
					}
				}
				return nil
			})
			var list []store.Marks
			q := store.MarksQuery{OperatorID: w.operator}
			for n := range servers {
				q.Servers = append(q.Servers, fmt.Sprintf("N%02d", n))
			}
			began := time.Now()
			if err := s.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
				list, err = tx.ListMarks(ctx, q)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			failed := 0
			for _, m := range list {
				for n, state := range m.States {
					if state == "error" && strings.HasSuffix(m.AccountID, "00") && n == int(list0(m.AccountID)/100)%servers {
						failed++
					} else if state != "" && m.AccountID != w.system.id {
						t.Errorf("%s is %q on %d", m.AccountID, state, n)
					}
				}
			}
			if len(list) != accounts+1 || failed != 40 || len(list[0].States) != servers {
				t.Errorf("%d accounts, %d refusals, %d servers", len(list), failed, len(list[0].States))
			}
			t.Logf("%s: %d accounts x %d servers in 2 questions, %v", d, len(list), servers, time.Since(began).Round(time.Millisecond))
		})
	}
}

// list0 is the number in an account's identity.
func list0(id string) (n int64) {
	_, _ = fmt.Sscanf(strings.TrimLeft(id[1:], "0"), "%d", &n)
	return n
}
