package resolver_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestDamagedInTheDatabase damages stored JWTs after they were signed. What was served
// stays in force, in this process and after a restart with its snapshot; where there is
// nothing, nothing is served. What is damaged is not sent to servers, which are told of
// by name, and a new signature ends it.
func TestDamagedInTheDatabase(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "sqlite")
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := newWorld(t, s)
	dir := t.TempDir()
	cfg := w.saving(dir)
	metrics := prometheus.NewRegistry()
	cfg.Metrics = metrics
	r := w.startWith(cfg, resolver.Hurry{Settle: 300 * time.Millisecond})
	n1 := w.serve(1)[0]
	a, b := w.account("a"), w.account("b")
	first, second := w.token(a), w.token(b)
	w.connect(n1, w.user(a, "u"))
	w.wait(a, a.version)
	w.wait(b, b.version)
	w.settled()
	w.saved(dir)
	body := func(r *resolver.Resolver, of *account) (int, string) {
		t.Helper()
		got := get(r.Handler(), http.MethodGet, "/jwt/v1/accounts/"+of.id)
		return got.Code, got.Body.String()
	}
	heard := w.hear(n1)

	// The version that is served, one byte of its payload: it is pushed as it was.
	raw := storetest.OpenRaw(t, dsn)
	at := strings.IndexByte(first, '.') + 100
	flipped := first[:at] + string(first[at]^1) + first[at+1:]
	raw.Run(t, `UPDATE accounts SET jwt = $1 WHERE id = $2`, flipped, a.id)
	w.owe(a)
	r.Wake()
	w.settled()
	if s := w.sync(a); !s.Done() || gauge(t, metrics, "chancery_damaged_accounts") != 1 {
		t.Errorf("the version that is served, damaged: %+v", s)
	}
	// The next version, before anybody has seen it.
	w.write(func(ctx context.Context, tx *store.Tx) error {
		row, _, err := tx.LockAccount(ctx, b.id)
		if err != nil {
			return err
		}
		b.version = row.JWTVersion
		return tx.PutJWT(ctx, store.JWT{
			Subject: b.id, Kind: "account", OperatorID: w.operator, Version: row.JWTVersion, IssuedAt: row.IssuedAt + 1,
			JTI: "JTI", Signer: w.operator, Actor: "test", RequestID: "test", Token: second[:len(second)-20],
		})
	})
	eventually(t, "people are told why it is not in effect", func() bool {
		s := w.sync(b)
		return s.State() == "error" && strings.Contains(s.Servers[0].Error, "damaged in the database")
	})
	for _, what := range []string{"running", "restarted"} {
		now := w.r.Load()
		if what == "restarted" {
			now.Stop()
			now = w.startWith(w.saving(dir), resolver.Hurry{})
		}
		for of, token := range map[*account]string{a: first, b: second} {
			if code, got := body(now, of); code != http.StatusOK || got != token {
				t.Errorf("%s: account %s is answered %d, not as it was", what, of.claims.Name, code)
			}
		}
	}
	for _, token := range heard() {
		if token = strings.TrimSpace(token); token != first && token != second && token != w.token(w.system) {
			t.Errorf("servers were sent %q", token)
		}
	}
	if w.held(n1, a) != first {
		t.Error("the server lost the account")
	}

	// Nothing was served before.
	cfg = w.config()
	metrics = prometheus.NewRegistry()
	cfg.Metrics, cfg.Owner = metrics, "new"
	w.r.Load().Stop()
	fresh := w.startWith(cfg, resolver.Hurry{})
	if code, _ := body(fresh, b); code != http.StatusServiceUnavailable || gauge(t, metrics, "chancery_damaged_accounts") == 0 {
		t.Errorf("a damaged account that was never served is answered %d", code)
	}
	w.await(1)
	for _, x := range []*account{a, b} {
		w.wait(x, w.edit(x, func(c *claims.Account) { c.Settings.Limits.Subs = 7 }))
		if code, got := body(fresh, x); code != http.StatusOK || got != w.token(x) {
			t.Errorf("account %s, signed anew, is answered %d", x.claims.Name, code)
		}
	}
	if n := gauge(t, metrics, "chancery_damaged_accounts"); n != 0 {
		t.Errorf("%v accounts are damaged after a new signature", n)
	}
}
