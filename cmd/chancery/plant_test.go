package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store/storetest"
)

// plant is a control plane as `chancery serve` wires it, and the nats-servers that
// trust its operator.
type plant struct {
	t        *testing.T
	app      *app
	token    string
	operator issuer.Operator
	log      *lockedBuffer
	// databaseURL leads to its database past everything that a test may close.
	databaseURL string
	// stopDatabase makes every query fail from then on.
	stopDatabase func()

	// authTimeout is how many seconds a server waits for a client to say who it is, and for the answer to a callout.
	authTimeout float64

	mu      sync.Mutex
	servers []*server.Server
}

func eachPlant(t *testing.T, f func(p *plant)) { eachPlantOn(t, storetest.Dialects(), f) }

func eachPlantOn(t *testing.T, databases []string, f func(p *plant)) {
	for _, d := range databases {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			f(newPlant(t, d))
		})
	}
}

// newPlant has the operator acme.
func newPlant(t *testing.T, dialect string) *plant {
	t.Helper()
	return newPlantWith(t, dialect, func(*appConfig) {})
}

// newPlantWith is newPlant with another configuration.
func newPlantWith(t *testing.T, dialect string, adjust func(*appConfig)) *plant {
	t.Helper()
	return newPlantOf(t, dialect, adjust, func(p *plant, op issuer.Op) {
		out, err := p.app.issuer.CreateOperator(t.Context(), op, issuer.OperatorInput{Name: "acme"})
		must(t, err)
		p.operator = out.Value
	})
}

// newPlantOf has what furnish puts there before the start.
func newPlantOf(t *testing.T, dialect string, adjust func(*appConfig), furnish func(p *plant, op issuer.Op)) *plant {
	t.Helper()
	p := &plant{t: t, log: &lockedBuffer{}, authTimeout: 20}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", lastLines(p.log.String(), 60))
		}
	})
	dsn := storetest.URL(t, dialect)
	p.databaseURL = dsn
	if dialect == "postgres" {
		gate := newGate(t, dsn)
		dsn, p.stopDatabase = gate.dsn, gate.close
	} else {
		p.stopDatabase = func() { must(t, p.app.store.Close()) }
	}
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	cfg := appConfig{
		databaseURL: dsn, dataDir: t.TempDir(), kek: kek, publicURL: "http://" + l.Addr().String(), listener: l,
		natsURLs: p.natsURLs, now: time.Now, log: newLogger(p.log, slog.LevelDebug, false),
	}
	adjust(&cfg)
	p.app, err = openApp(t.Context(), cfg)
	must(t, err)
	op := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	furnish(p, op)
	made, err := p.app.issuer.CreateToken(t.Context(), op, issuer.TokenInput{Name: "test", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	must(t, err)
	p.token = made.Value.Text.Reveal()
	must(t, p.app.start(t.Context()))
	t.Cleanup(func() {
		for _, s := range p.running() {
			stopNATS(s)
		}
		_ = p.app.stop() // a test may have taken its database away
	})
	return p
}

// away is the answer to a change while the database is away, and a part of what it says.
// The file of SQLite is never away.
func (p *plant) away() (status int, says string) {
	if p.app.store.Dialect() == "postgres" {
		return http.StatusServiceUnavailable, "The database cannot be reached."
	}
	return http.StatusInternalServerError, "on our side"
}

func (p *plant) running() []*server.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*server.Server(nil), p.servers...)
}

func (p *plant) natsURLs() []string {
	var urls []string
	for _, s := range p.running() {
		urls = append(urls, s.ClientURL())
	}
	return urls
}

// startServers starts a cluster of n and waits until the control plane has all of
// them in its roster.
func (p *plant) startServers(n int) {
	p.t.Helper()
	for range n {
		p.startServer()
	}
	p.awaitRoster(n)
}

func (p *plant) startServer() *server.Server {
	p.t.Helper()
	return p.startNamed(fmt.Sprintf("n%d-%d", len(p.running())+1, time.Now().UnixNano()))
}

func (p *plant) startNamed(name string) *server.Server {
	p.t.Helper()
	running := p.running()
	s, err := startNATS(natsServerConfig{
		name: name, operatorJWT: p.operator.JWT, resolverURL: p.app.cfg.publicURL + "/jwt/v1/accounts/",
		log: slog.New(slog.DiscardHandler),
		adjust: func(o *server.Options) {
			o.JetStream, o.AuthTimeout = false, p.authTimeout
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
			for _, r := range running {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", r.ClusterAddr().Port)})
			}
		},
	})
	must(p.t, err)
	p.mu.Lock()
	p.servers = append(p.servers, s)
	p.mu.Unlock()
	p.app.resolver.Wake()
	return s
}

// stopServer stops one server and forgets it.
func (p *plant) stopServer(gone *server.Server) {
	stopNATS(gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.servers {
		if s == gone {
			p.servers = append(p.servers[:i:i], p.servers[i+1:]...)
			return
		}
	}
}

func (p *plant) awaitRoster(n int) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("a roster of %d servers", n), func() bool { return len(p.app.resolver.Servers(p.operator.ID)) == n })
}

// eventually waits for what no signal tells, at most a minute, which a machine that is busy with other tests may take.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll(t, 5*time.Millisecond, time.Minute, what, holds)
}

func poll(t *testing.T, pause, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	late := time.After(limit)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// crowded is held by the test that has hundreds of accounts or a thousand clients in motion: two of them at once would
// measure each other. It is a variable because the tests of a binary have no common parent that could hold it.
var crowded sync.Mutex

// alone waits until no other test with a crowd runs.
func alone(t *testing.T) {
	t.Helper()
	crowded.Lock()
	t.Cleanup(crowded.Unlock)
}

// inTheEnd waits until a crowd's accounts are signed anew or every server has them, at most a minute: a thousand of them
// took 15 s with the race detector on two busy cores. It asks seldom, for asking costs the process that does the work.
func inTheEnd(t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll(t, 200*time.Millisecond, time.Minute, what, holds)
}

// call uses the REST API, waits until the change is in effect on every server, and
// fails on any answer but success.
func (p *plant) call(method, path, body string, answer any) {
	p.t.Helper()
	must(p.t, callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{method, path, body, "wait=20"}, answer))
}

type request struct{ method, path, body, prefer string }

func callAPI(ctx context.Context, base, token string, r request, answer any) error {
	req, err := http.NewRequestWithContext(ctx, r.method, base+"/api/v1"+r.path, strings.NewReader(r.body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", r.prefer)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s answered %d: %s", r.method, r.path, resp.StatusCode, raw)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

// issued is what the tests need of a new credential.
type issued struct {
	PublicKey string `json:"public_key"`
	Creds     string `json:"creds"`
}

// issue issues a credential to the user of makeOrders and returns the path of its creds file.
func (p *plant) issue() (issued, string) {
	p.t.Helper()
	var c issued
	p.call("POST", "/accounts/ORDERS/users/d1/credentials", "{}", &c)
	path := filepath.Join(p.t.TempDir(), "d1.creds")
	must(p.t, writeSecret(path, claims.NewSecret(c.Creds)))
	return c, path
}

// session is a client's connection and what becomes of it.
type session struct {
	*nats.Conn
	closed chan struct{}
	errs   chan error
	// ended is when it was closed, once closed is.
	ended time.Time
}

func connect(s *server.Server, creds string) (*session, error) {
	c := &session{closed: make(chan struct{}), errs: make(chan error, 64)}
	opts := []nats.Option{
		nats.UserCredentials(creds), nats.NoReconnect(), nats.Timeout(20 * time.Second), nats.ClosedHandler(func(*nats.Conn) { c.ended = time.Now(); close(c.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case c.errs <- err:
			default:
			}
		}),
	}
	nc, err := nats.Connect(s.ClientURL(), opts...)
	c.Conn = nc
	return c, err
}

// mustConnect connects and closes when the test ends.
func (p *plant) mustConnect(s *server.Server, creds string) *session {
	p.t.Helper()
	c, err := connect(s, creds)
	if err != nil {
		p.t.Fatalf("connecting to %s: %v", s.Name(), err)
	}
	p.t.Cleanup(c.Close)
	return c
}

func (p *plant) mustRefuse(s *server.Server, creds string) {
	p.t.Helper()
	c, err := connect(s, creds)
	if err == nil {
		c.Close()
		p.t.Errorf("%s let a revoked client in", s.Name())
		return
	}
	if !errors.Is(err, nats.ErrAuthorization) {
		p.t.Errorf("%s: %v, want an authorization error", s.Name(), err)
	}
}

func (c *session) mustClose(t *testing.T) {
	t.Helper()
	select {
	case <-c.closed:
	case <-time.After(30 * time.Second):
		t.Error("the connection is still open")
	}
}

// gate stands before PostgreSQL and can be closed: connections are cut and new
// ones refused, as when the database stops.
type gate struct {
	dsn string
	l   net.Listener
	// behind is the address of the server.
	behind string
	mu     sync.Mutex
	conns  []net.Conn
	done   sync.WaitGroup
}

func newGate(t *testing.T, dsn string) *gate {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	g := &gate{}
	g.l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.behind = u.Host
	u.Host = g.l.Addr().String()
	g.dsn = u.String()
	g.done.Go(func() { g.accept(g.behind) })
	t.Cleanup(g.close)
	return g
}

func (g *gate) accept(behind string) {
	for {
		in, err := g.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", behind)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		g.conns = append(g.conns, in, out)
		g.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			g.done.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				_ = way[0].Close()
			})
		}
	}
}

func (g *gate) close() {
	_ = g.l.Close()
	g.mu.Lock()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.done.Wait()
}
