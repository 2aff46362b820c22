package resolver_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

func TestPushIsProvenOnEachServer(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		r := w.start(resolver.Hurry{Settle: 300 * time.Millisecond})
		servers := w.serve(3)
		a := w.account("demo")
		u := w.user(a, "u")
		w.connect(servers[0], u)
		w.connect(servers[1], u)

		begin := time.Now()
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 10 })
		sync := w.wait(a, version)
		t.Logf("edit to proof on three servers: %v", time.Since(begin))

		want := map[string]claims.DeliveryState{"n1": claims.DeliveryInEffect, "n2": claims.DeliveryInEffect, "n3": claims.DeliveryNotLoaded}
		if diff := cmp.Diff(want, states(sync)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		for _, d := range sync.Servers {
			if d.Version != version || d.Sent.IsZero() || d.Acknowledged.IsZero() || d.Proven.IsZero() || d.Error != "" {
				t.Errorf("delivery %+v", d)
			}
		}
		w.settled()
		again, err := r.Sync(t.Context(), a.id)
		if err != nil || !again.Done() || again.State() != "in_effect" || again.IssuedAt == 0 {
			t.Errorf("sync after settling: %+v, %v", again, err)
		}
		var rows []store.Delivery
		err = s.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			rows, err = tx.ListDeliveries(ctx, a.id)
			return err
		})
		if err != nil || len(rows) != 3 {
			t.Fatalf("rows %+v, %v", rows, err)
		}
		for _, row := range rows {
			if row.Version != version || row.State != string(want[row.ServerName]) || row.Proven.IsZero() {
				t.Errorf("row %+v", row)
			}
		}
	})
}

// TestRevocation closes live connections on all servers, is in force where the
// client never was, and survives the restart of a server.
func TestRevocation(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		w.start(resolver.Hurry{})
		servers := w.serve(3)
		a := w.account("demo")
		bad, good := w.user(a, "bad"), w.user(a, "good")
		var live, staying []*client
		for _, n := range servers {
			live = append(live, w.connect(n, bad))
			staying = append(staying, w.connect(n, good))
		}
		begin := time.Now()
		version := w.revoke(a, bad)
		for i, c := range live {
			await(t, fmt.Sprintf("the end of connection %d", i+1), c.closed)
		}
		t.Logf("revocation to the last of three connections closed: %v", time.Since(begin))
		w.wait(a, version)
		for _, n := range servers {
			if _, err := w.dial(n, bad); err == nil {
				t.Errorf("%s lets the revoked user in", n.Name())
			}
		}
		for i, c := range staying {
			if err := c.FlushTimeout(patience); err != nil {
				t.Errorf("the other user's connection %d: %v", i+1, err)
			}
		}
		w.stop(servers[2])
		restarted := w.server("n3", servers[0])
		w.await(3)
		if _, err := w.dial(restarted, bad); err == nil {
			t.Error("the restarted server lets the revoked user in")
		}
		w.connect(restarted, good)
		w.wait(a, version)
	})
}

// TestQuickVersions edits one account from several goroutines. The newest is in
// effect at the end, and no push that any server heard was older than the one
// before.
func TestQuickVersions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		w.start(resolver.Hurry{})
		second := w.config()
		second.Owner = "replica"
		w.replica(second)
		servers := w.serve(3)
		a := w.account("demo")
		u := w.user(a, "u")
		for _, n := range servers {
			w.connect(n, u)
		}
		heard := w.hear(servers[1])
		var edits sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			edits.Go(func() {
				for range 5 {
					mu.Lock() // the fixture's copy of the claims
					w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs++ })
					mu.Unlock()
				}
			})
		}
		edits.Wait()
		w.wait(a, a.version)
		for _, n := range servers {
			if w.held(n, a) != w.token(a) {
				t.Errorf("%s does not have the newest", n.Name())
			}
		}
		last, pushes := int64(0), heard()
		for _, token := range pushes {
			c, err := jwt.DecodeAccountClaims(token)
			if err != nil {
				t.Fatal(err)
			}
			if c.Subject != a.id {
				continue
			}
			if c.IssuedAt < last {
				t.Errorf("an older version was pushed: iat %d after %d", c.IssuedAt, last)
			}
			last = c.IssuedAt
		}
		if last == 0 {
			t.Error("no push was heard")
		}
	})
}

// TestOwedByACrash pushes what an earlier run committed and never pushed, also what
// it had leased when it was killed.
func TestOwedByACrash(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		first := w.start(resolver.Hurry{})
		servers := w.serve(1)
		a, b := w.account("a"), w.account("b")
		ua, ub := w.user(a, "u"), w.user(b, "u")
		ca, cb := w.connect(servers[0], ua), w.connect(servers[0], ub)
		first.Stop()
		va := w.revoke(a, ua)
		w.write(func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ClaimOwed(ctx, w.operator, "test", time.Hour, 100)
			return err
		})
		vb := w.revoke(b, ub)
		w.start(resolver.Hurry{})
		w.await(1)
		await(t, "the leased push", ca.closed)
		await(t, "the push that was never begun", cb.closed)
		w.wait(a, va)
		w.wait(b, vb)
	})
}

// TestServerThatKeptRunning heals a server which missed a push that nobody owes any
// more: it was cut off while the others were served.
func TestServerThatKeptRunning(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		first := w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
		servers := w.serve(1)
		a := w.account("a")
		u := w.user(a, "u")
		c := w.connect(servers[0], u)
		w.settled()
		first.Stop()
		old := w.held(servers[0], a)
		version := w.revoke(a, u)
		w.forgive()
		if w.held(servers[0], a) != old {
			t.Fatal("the server is not behind")
		}
		w.start(resolver.Hurry{})
		w.await(1)
		await(t, "the end of the connection", c.closed)
		w.wait(a, version)
	})
}

// TestServerThatHoldsSomethingElse is not shown to have a change that it was not sent yet,
// since another replica holds its push: what it has loaded is not what it would fetch.
func TestServerThatHoldsSomethingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	first := w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
	servers := w.serve(1)
	a := w.account("a")
	u := w.user(a, "u")
	c := w.connect(servers[0], u)
	w.settled()
	first.Stop()
	version := w.revoke(a, u)
	w.write(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ClaimOwed(ctx, w.operator, "another", time.Hour, 100)
		return err
	})
	w.start(resolver.Hurry{})
	w.await(1)
	if s := w.sync(a); s.Version != version || s.Reached() || states(s)["n1"] != claims.DeliveryPending {
		t.Errorf("of a server that holds an older version: %+v", s)
	}
	w.write(func(ctx context.Context, tx *store.Tx) error { return tx.FreeOwed(ctx, "another") })
	await(t, "the end of the connection", c.closed)
	w.wait(a, version)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := w.r.Load().Wait(ctx, a.id, version+1); err != nil || s.Reached() {
		t.Errorf("of a version that the store does not have: %+v, %v", s, err)
	}
}

// TestRestartedServerOwesNothing does without a push for a server that holds
// nothing.
func TestRestartedServerOwesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
	servers := w.serve(2)
	a := w.account("a")
	w.connect(servers[0], w.user(a, "u"))
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 5 })
	w.wait(a, version)
	w.settled()
	before := r.Servers(w.operator)
	w.stop(servers[1])
	w.server("n2", servers[0])
	w.await(2)
	if diff := cmp.Diff(before, r.Servers(w.operator)); diff == "" {
		t.Error("the roster still shows the stopped server")
	}
	eventually(t, "it is known that the server holds nothing", func() bool { // the way to the servers may be lost once more
		sync, err := r.Sync(t.Context(), a.id)
		return err == nil && sync.Done() && states(sync)["n2"] == claims.DeliveryNotLoaded
	})
}

// TestWaitOnTheOtherReplica waits on a replica that does not push.
func TestWaitOnTheOtherReplica(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		w.start(resolver.Hurry{})
		w.serve(2)
		a := w.account("a")
		cfg := w.config()
		cfg.Owner = "replica"
		other := w.replica(cfg)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if !other.AwaitServers(ctx, w.operator, 2, 2) {
			t.Fatal("the replica does not know the servers")
		}
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 3 })
		for _, r := range []*resolver.Resolver{w.r.Load(), other} {
			if sync, err := r.Wait(ctx, a.id, version); err != nil || !sync.Done() {
				t.Errorf("wait: %+v, %v", sync, err)
			}
		}
	})
}

// TestTwoOperators keeps a connection, a roster and a base path for each.
func TestTwoOperators(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		first, second := newWorld(t, s), newWorld(t, s)
		one, two := first.config(), second.config()
		both := one
		both.URLs = func(o store.Operator) []string { return append(one.URLs(o), two.URLs(o)...) }
		both.Identity = func(ctx context.Context, id string, refused bool) (resolver.Identity, error) {
			if id == second.operator {
				return two.Identity(ctx, id, refused)
			}
			return one.Identity(ctx, id, refused)
		}
		r := first.startWith(both, resolver.Hurry{})
		second.r.Store(r)
		second.use(r.Handler())
		second.base = "/o/" + second.operator + "/jwt/v1"
		for _, w := range []*world{first, second} {
			n := w.serve(2)
			a := w.account("a") // one name, two operators
			u := w.user(a, "u")
			c := w.connect(n[0], u)
			version := w.revoke(a, u)
			await(t, "the end of the connection", c.closed)
			if got := len(w.wait(a, version).Servers); got != 2 {
				t.Errorf("%d servers, want 2", got)
			}
		}
	})
}
