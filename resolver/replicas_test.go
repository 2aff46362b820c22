package resolver_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestReplicasMissNothing commits from four writers while the connections by which two
// other replicas hear of it are cut at random: every account arrives in its last
// version, at once where the connection stands and with the poll where not.
func TestReplicasMissNothing(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "postgres")
	open := func() *store.Store {
		s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	w := newWorld(t, open())
	const writers, edits = 4, 25
	accounts := make([]*account, writers)
	for n := range accounts {
		accounts[n] = w.account(strings.Repeat("a", n+1))
	}
	replica := func(listens bool) *resolver.Resolver {
		s := open()
		cfg := w.config()
		cfg.Store, cfg.Follow = s, true
		r, err := resolver.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var hearing sync.WaitGroup
		if listens {
			hearing.Go(func() { s.Listen(ctx, r.Wake) })
		}
		t.Cleanup(func() { cancel(); hearing.Wait(); r.Stop() })
		return r
	}
	one, two, polling := replica(true), replica(true), replica(false)

	raw := storetest.OpenRaw(t, dsn)
	cut := func() int64 {
		return raw.Run(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chancery listen' AND datname = current_database()`)
	}
	listening := func() bool {
		var n int
		if err := raw.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chancery listen' AND datname = current_database()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 2
	}
	eventually(t, "both replicas listen", listening)
	var wg sync.WaitGroup
	for _, a := range accounts {
		wg.Go(func() {
			for range edits {
				w.edit(a, func(c *claims.Account) { c.Settings.Limits.Conn++ })
			}
		})
	}
	cuts, done := int64(0), make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-time.After(rand.N(40 * time.Millisecond)): // a disturbance at random, nothing waits for it
			cuts += cut()
		}
	}
	arrived := 0
	for _, r := range []*resolver.Resolver{one, two} {
		for _, a := range accounts {
			eventually(t, "the last version in memory", func() bool { return r.Version(a.id) == a.version })
			arrived++
		}
	}
	eventually(t, "both replicas listen again", listening)
	latency := func(r *resolver.Resolver, n int) time.Duration {
		var all []time.Duration
		for range n {
			version := w.edit(accounts[0], func(c *claims.Account) { c.Settings.Limits.Conn++ })
			begun := time.Now()
			eventually(t, "the version in memory", func() bool { return r.Version(accounts[0].id) >= version })
			all = append(all, time.Since(begun))
		}
		slices.Sort(all)
		return all[n/2]
	}
	heard, polled := latency(one, 15), latency(polling, 5)
	t.Logf("replicas: %d of %d accounts in memory of both after %d commits of %d writers and %d cut connections; p50 from commit to memory %v by notification, %v by poll",
		arrived, 2*len(accounts), writers*edits, writers, cuts, heard.Round(time.Millisecond), polled.Round(time.Millisecond))
	if heard >= polled {
		t.Error("a notification is no faster than the poll")
	}
}
