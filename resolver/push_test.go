package resolver_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

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
	sync, err := r.Sync(t.Context(), a.id)
	if err != nil || !sync.Done() || states(sync)["n2"] != claims.DeliveryNotLoaded {
		t.Errorf("after the restart: %+v, %v", sync, err)
	}
}

// slowFetch holds back answers about an account after their bytes were read.
type slowFetch struct {
	http.Handler
	path string
	// begun receives one for each answer that is held back until go is closed or
	// receives.
	begun, release chan struct{}
}

func (s *slowFetch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, s.path) {
		s.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	s.Handler.ServeHTTP(rec, r)
	s.begun <- struct{}{}
	<-s.release
	w.WriteHeader(rec.Code)
	_, _ = rec.Body.WriteTo(w)
}

// TestFetchThatOvertakesAPush lets a server fetch the old JWT just before the push
// and load it afterwards: it answers "skipped", and then lets the revoked user in.
// The second reading finds it.
func TestFetchThatOvertakesAPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Settle: time.Second})
	servers := w.serve(1)
	a := w.account("a")
	u := w.user(a, "u")
	slow := &slowFetch{Handler: r.Handler(), path: a.id, begun: make(chan struct{}), release: make(chan struct{})}
	w.use(slow)
	connected := make(chan *client)
	go func() {
		c, err := w.dial(servers[0], u)
		if err != nil {
			t.Errorf("connecting during the push: %v", err)
		}
		connected <- c
	}()
	await(t, "the fetch", slow.begun)
	version := w.revoke(a, u)
	if got := states(w.wait(a, version))["n1"]; got != claims.DeliveryNotLoaded {
		t.Errorf("state while the fetch is under way: %s", got)
	}
	close(slow.release)
	c := <-connected
	await(t, "the end of the revoked user's connection", c.closed)
	w.settled()
	if w.held(servers[0], a) != w.token(a) {
		t.Error("the server has the older JWT")
	}
}

// TestFetchThatRollsBack is the same for an account that is loaded: a second fetch,
// begun before the push, puts the old JWT back after the new one was proven.
// nats-server does not order them (server.go: fetchAccount).
func TestFetchThatRollsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Settle: time.Second})
	servers := w.serve(1)
	a := w.account("a")
	u := w.user(a, "u")
	slow := &slowFetch{Handler: r.Handler(), path: a.id, begun: make(chan struct{}), release: make(chan struct{})}
	w.use(slow)
	connected := make(chan error)
	for range 2 {
		go func() {
			_, err := w.dial(servers[0], u)
			connected <- err
		}()
		await(t, "a fetch", slow.begun)
	}
	slow.release <- struct{}{}
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	old := w.token(a)
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 5 })
	if got := states(w.wait(a, version))["n1"]; got != claims.DeliveryInEffect {
		t.Errorf("state before the second fetch ends: %s", got)
	}
	slow.release <- struct{}{}
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	if w.held(servers[0], a) != old {
		t.Error("the server was not rolled back; if a newer nats-server orders fetches, the second reading may go")
	}
	w.settled()
	if w.held(servers[0], a) != w.token(a) {
		t.Error("the server has the older JWT")
	}
}

// TestSilentServer has a server on the roster that answers nothing: the change is in
// force on the other one at once, the missing one is named, and it is given up when
// it stays silent.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Ping: 100 * time.Millisecond, Silence: time.Second})
	n1 := w.serve(1)[0]
	a := w.account("a")
	u := w.user(a, "u")
	c := w.connect(n1, u)
	_, ghost := newPair(t, claims.KindServer)
	stats := fmt.Sprintf(`{"server":{"id":%q,"name":"ghost","ver":"2.15.2"},"statsz":{}}`, ghost)
	if err := w.tool(n1).Publish("$SYS.SERVER."+ghost+".STATSZ", []byte(stats)); err != nil {
		t.Fatal(err)
	}
	w.awaitRoster(2, 1)
	version := w.revoke(a, u)
	await(t, "the end of the connection", c.closed)
	eventually(t, "the proof of one of two", func() bool {
		sync, err := r.Sync(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		return sync.State() == "partial" && states(sync)["ghost"] == claims.DeliverySent && states(sync)["n1"] == claims.DeliveryInEffect
	})
	w.wait(a, version)
	if servers := r.Servers(w.operator); len(servers) != 1 || servers[0].Name != "n1" {
		t.Errorf("roster %v", servers)
	}
}

// TestRefusal shows a server's own words, and goes on once it is repaired.
func TestRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	a := w.account("a")
	w.connect(n1, w.user(a, "u"))
	trusted, trustedID := w.pair, w.issuer
	w.pair, w.issuer = newPair(t, claims.KindOperator)
	w.edit(a, func(*claims.Account) {})
	w.pair, w.issuer = trusted, trustedID
	eventually(t, "the server's refusal", func() bool {
		sync, err := r.Sync(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		return sync.State() == "error" && strings.Contains(sync.Servers[0].Error, "account validation failed")
	})
	w.wait(a, w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 3 }))
}

// TestTooLarge names the limit when a JWT does not fit into a message.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	w.serverWith("n1", func(o *server.Options) { o.MaxPayload = 1500 })
	w.await(1)
	a := w.account("a")
	w.edit(a, func(c *claims.Account) { c.Settings.Description = strings.Repeat("x", 1500) })
	eventually(t, "the error", func() bool {
		sync, err := r.Sync(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		return sync.State() == "error" && strings.Contains(sync.Servers[0].Error, "max_payload")
	})
	w.wait(a, w.edit(a, func(c *claims.Account) { c.Settings.Description = "" }))
}

// TestIdentityComesLater starts before there are credentials to connect with.
func TestIdentityComesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	cfg := w.config()
	identity := cfg.Identity
	sealed := make(chan struct{})
	asked := make(chan struct{}, 1000)
	cfg.Identity = func(ctx context.Context, id string) (resolver.Identity, error) {
		select {
		case <-sealed:
			return identity(ctx, id)
		default:
			asked <- struct{}{}
			return resolver.Identity{}, fmt.Errorf("sealed")
		}
	}
	r := w.startWith(cfg, resolver.Hurry{})
	w.server("n1")
	r.Wake()
	await(t, "the first attempt", asked)
	await(t, "the second attempt", asked)
	a := w.account("a")
	if sync, err := r.Sync(t.Context(), a.id); err != nil || sync.Connected || sync.State() != "no_servers" {
		t.Errorf("sync without a connection: %+v, %v", sync, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if sync, err := r.Wait(ctx, a.id, a.version); err != nil || sync.Done() {
		t.Errorf("wait without a connection: %+v, %v", sync, err)
	}
	close(sealed)
	w.await(1)
	w.wait(a, a.version)
}

// TestServerRestartsAlone loses the only server and finds the next one.
func TestServerRestartsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	port := n1.Addr().(*net.TCPAddr).Port
	a := w.account("a")
	w.wait(a, a.version)
	w.stop(n1)
	eventually(t, "the loss of the connection", func() bool {
		sync, err := r.Sync(t.Context(), a.id)
		return err == nil && !sync.Connected
	})
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 3 })
	w.serverWith("n1", func(o *server.Options) { o.Port = port })
	w.await(1)
	w.wait(a, version)
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
