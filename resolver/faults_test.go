package resolver_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

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
	select {
	case s.begun <- struct{}{}:
	case <-r.Context().Done():
		return // the server gave up
	}
	select {
	case <-s.release:
	case <-r.Context().Done():
		return
	}
	w.WriteHeader(rec.Code)
	_, _ = rec.Body.WriteTo(w)
}

// TestFetchThatOvertakesAPush lets a server fetch the old JWT just before the push
// and load it afterwards: it answers "skipped", and then lets the revoked user in.
// The second reading finds it.
func TestFetchThatOvertakesAPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Settle: 3 * time.Second})
	servers := w.serve(1)
	a := w.account("a")
	u := w.user(a, "u")
	slow := &slowFetch{Handler: r.Handler(), path: a.id, begun: make(chan struct{}), release: make(chan struct{}, 1)}
	w.use(slow)
	connected := make(chan *client, 1)
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
	if c := receive(t, connected); c != nil {
		await(t, "the end of the revoked user's connection", c.closed)
	}
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
	r := w.start(resolver.Hurry{Settle: 3 * time.Second})
	servers := w.serve(1)
	a := w.account("a")
	u := w.user(a, "u")
	slow := &slowFetch{Handler: r.Handler(), path: a.id, begun: make(chan struct{}), release: make(chan struct{}, 1)}
	w.use(slow)
	connected := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := w.dial(servers[0], u)
			connected <- err
		}()
		await(t, "a fetch", slow.begun)
	}
	slow.release <- struct{}{}
	if err := receive(t, connected); err != nil {
		t.Fatal(err)
	}
	old := w.token(a)
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 5 })
	if got := states(w.wait(a, version))["n1"]; got != claims.DeliveryInEffect {
		t.Errorf("state before the second fetch ends: %s", got)
	}
	heard := w.hear(servers[0])
	slow.release <- struct{}{}
	if err := receive(t, connected); err != nil {
		t.Fatal(err)
	}
	// The first look at a server that joined may come as late as this, and mend it at once by a push.
	if w.held(servers[0], a) != old && !slices.Contains(heard(), w.token(a)) {
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
	r := w.start(resolver.Hurry{Ping: 100 * time.Millisecond, Silence: 3 * time.Second})
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
	// A push that waits for the ghost must not hold up the next one.
	w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 5 })
	eventually(t, "the push", func() bool { return w.held(n1, a) == w.token(a) })
	begin := time.Now()
	version := w.revoke(a, u)
	await(t, "the end of the connection", c.closed)
	t.Logf("revocation behind a push that waits for a silent server: %v", time.Since(begin))
	eventually(t, "the proof of one of two", func() bool {
		sync := w.sync(a)
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
	w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	a := w.account("a")
	w.connect(n1, w.user(a, "u"))
	trusted, trustedID := w.pair, w.issuer
	w.pair, w.issuer = newPair(t, claims.KindOperator)
	w.edit(a, func(*claims.Account) {})
	w.pair, w.issuer = trusted, trustedID
	eventually(t, "the server's refusal", func() bool {
		sync := w.sync(a)
		return sync.State() == "error" && strings.Contains(sync.Servers[0].Error, "account validation failed")
	})
	w.wait(a, w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 3 }))
}

// TestTooLarge names the limit when a JWT does not fit into a message.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{})
	w.serverWith("n1", func(o *server.Options) { o.MaxPayload = 1500 })
	w.await(1)
	a := w.account("a")
	w.edit(a, func(c *claims.Account) { c.Settings.Description = strings.Repeat("x", 1500) })
	eventually(t, "the error", func() bool {
		sync := w.sync(a)
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
	cfg.Identity = func(ctx context.Context, id string, refused bool) (resolver.Identity, error) {
		select {
		case <-sealed:
			return identity(ctx, id, refused)
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
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
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
	w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	port := n1.Addr().(*net.TCPAddr).Port
	a := w.account("a")
	w.wait(a, a.version)
	w.stop(n1)
	eventually(t, "the loss of the connection", func() bool { return !w.sync(a).Connected })
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 3 })
	w.serverWith("n1", func(o *server.Options) {
		o.Port = port
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}
	})
	w.await(1)
	w.wait(a, version)
}

// TestURLsChange moves the operator to another server.
func TestURLsChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Ping: 50 * time.Millisecond, Silence: 300 * time.Millisecond})
	w.serverWith("before", nil)
	w.await(1)
	w.setURLs()
	eventually(t, "the disconnect", func() bool { return w.sync(w.system).State() == "no_servers" })
	after := w.serverWith("after", nil)
	r.Wake()
	eventually(t, "the new roster", func() bool {
		list := r.Servers(w.operator)
		return len(list) == 1 && list[0].ID == after.ID()
	})
	a := w.account("a")
	w.wait(a, a.version)
}

// receive returns what comes through a channel.
func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}
