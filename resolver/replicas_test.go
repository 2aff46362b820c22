package resolver_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// openReplica opens the store of another process on the same database.
func openReplica(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestReplicasMissNothing commits from four writers while the connections by which two
// other replicas hear of it are cut at random: every account arrives in its last
// version, at once where the connection stands and with the poll where not.
func TestReplicasMissNothing(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "postgres")
	w := newWorld(t, openReplica(t, dsn))
	const writers, edits = 4, 25
	accounts := make([]*account, writers)
	for n := range accounts {
		accounts[n] = w.account(strings.Repeat("a", n+1))
	}
	replica := func(listens bool) *resolver.Resolver {
		s := openReplica(t, dsn)
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

// told passes log records on and reports those that mention something.
type told struct {
	slog.Handler
	mention string
	heard   chan struct{}
}

func (h told) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), h.mention) {
			select {
			case h.heard <- struct{}{}:
			default:
			}
		}
		return true
	})
	return h.Handler.Handle(ctx, r)
}

func (h told) WithAttrs(list []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(list)
	return h
}

// TestLeaseHasRunOut has a replica stand still between its claim of a row and the push,
// for longer than its lease, while another one takes the row over: it publishes nothing
// when it goes on.
func TestLeaseHasRunOut(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "sqlite")
	s := openReplica(t, dsn)
	raw := storetest.OpenRaw(t, dsn)
	w := newWorld(t, s)
	var still, armed atomic.Int64
	gaveUp := make(chan struct{}, 1)
	cfg := w.config()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(still.Load())) }
	cfg.Logger = slog.New(told{cfg.Logger.Handler(), "the lease has run out", gaveUp})
	w.startWith(cfg, resolver.Hurry{Settle: 100 * time.Millisecond})
	servers := w.serve(1)
	a := w.account("a")
	w.connect(servers[0], w.user(a, "u"))
	w.wait(a, a.version)
	w.settled()
	pushes := w.hear(servers[0])
	s.OnCommit(func() { // the claim is a commit, and nothing is sent before this returns
		if armed.Load() == 1 && raw.Run(t, `UPDATE outbox SET lease_owner = 'heir', lease_epoch = lease_epoch + 1, lease_until_us = lease_until_us + 3600000000
			WHERE account_id = $1 AND lease_owner = 'test'`, a.id) == 1 {
			armed.Store(0)
			still.Store(int64(20 * time.Second))
		}
	})
	armed.Store(1)
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 7 })
	held := func() bool { return w.held(servers[0], a) == w.token(a) }
	eventually(t, "it gave up, or pushed", func() bool { return len(gaveUp) == 1 || held() })
	if list := pushes(); len(list) > 0 || held() {
		t.Errorf("it pushed %d times after its lease", len(list))
	}
	raw.Run(t, `UPDATE outbox SET lease_owner = '', lease_until_us = 0, not_before_us = 0`)
	w.wait(a, version)
}

// revokeHeld revokes a user while a replica has the push of the account in hand.
func (w *world) revokeHeld(a *account, u user, owner string, lease time.Duration) {
	w.t.Helper()
	a.claims.Revocations[u.id] = time.Now().Unix()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		if err := w.put(ctx, tx, a); err != nil {
			return err
		}
		_, err := tx.ClaimOwed(ctx, w.operator, owner, lease, 100)
		return err
	})
}

// TestHolderIsGone revokes while a replica has the account in hand that goes away: behind
// one that was killed it takes the rest of its lease, one that is stopped gives its work
// back and says so.
func TestHolderIsGone(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "postgres")
	w := newWorld(t, openReplica(t, dsn))
	w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
	servers := w.serve(1)
	a := w.account("a")
	one, two := w.user(a, "one"), w.user(a, "two")
	first, second := w.connect(servers[0], one), w.connect(servers[0], two)
	w.wait(a, a.version)
	w.settled()

	begin := time.Now()
	w.revokeHeld(a, one, "killed", resolver.Lease())
	await(t, "the end of the connection", first.closed)
	t.Logf("revocation to closed behind a replica that was killed: %v, with a lease of %v", time.Since(begin).Round(time.Millisecond), resolver.Lease())
	w.settled()

	// The heir never polls: it acts when it is told.
	cfg := w.config()
	cfg.Store, cfg.Owner = openReplica(t, dsn), "heir"
	heir, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	heir.Hurry(resolver.Hurry{Poll: time.Hour})
	if err := heir.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(heir.Stop)
	ctx, cancel := context.WithCancel(t.Context())
	var hearing sync.WaitGroup
	hearing.Go(func() { cfg.Store.Listen(ctx, heir.Wake) })
	t.Cleanup(func() { cancel(); hearing.Wait() })
	late, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if !heir.AwaitServers(late, w.operator, 1, 1) {
		t.Fatal("the heir does not know the server")
	}
	raw := storetest.OpenRaw(t, dsn)
	eventually(t, "the heir listens", func() bool {
		var n int
		if err := raw.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chancery listen' AND datname = current_database()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	w.settled()
	w.revokeHeld(a, two, "test", time.Hour)
	begin = time.Now()
	w.r.Load().Stop()
	if err := w.store.Close(); err != nil { // what it says last is said
		t.Fatal(err)
	}
	await(t, "the end of the other connection", second.closed)
	t.Logf("stop of the holder to closed: %v", time.Since(begin).Round(time.Millisecond))
}

// TestLongPushKeepsItsClaim waits for a server that does not answer for longer than a
// lease: what came of it is recorded, for nobody has claimed the account meanwhile.
func TestLongPushKeepsItsClaim(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "sqlite")
	w := newWorld(t, openReplica(t, dsn))
	w.start(resolver.Hurry{Lease: time.Second})
	n1 := w.serve(1)[0]
	a := w.account("a")
	w.wait(a, a.version)
	g := w.haunt(w.tool(n1), "ghost", "")
	w.awaitRoster(2, 2)
	g.manner <- "mute"
	w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 5 })
	raw := storetest.OpenRaw(t, dsn)
	eventually(t, "an attempt is on record", func() bool {
		var attempts int
		err := raw.QueryRowContext(t.Context(), `SELECT attempts FROM outbox WHERE account_id = $1`, a.id).Scan(&attempts)
		if err != nil {
			t.Fatal(err)
		}
		return attempts > 0
	})
}
