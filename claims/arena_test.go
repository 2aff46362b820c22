package claims_test

import (
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// patience is how long a test waits for what a server surely does.
const patience = 20 * time.Second

// arena is one or more real nats-servers that trust an operator which is not strict, and a way to push claims to them.
type arena struct {
	operator, signing, system pair
	claims                    *jwt.OperatorClaims
	// resolver is what one server, or all of a cluster, ask for accounts.
	resolver server.AccountResolver
	servers  []*server.Server
	admin    *nats.Conn
}

func newArena(t *testing.T, servers int, resolver server.AccountResolver, more ...pair) *arena {
	t.Helper()
	a := &arena{operator: newPair(t, claims.KindOperator), signing: newPair(t, claims.KindOperator), system: newPair(t, claims.KindAccount), resolver: resolver}
	a.claims = jwt.NewOperatorClaims(a.operator.id)
	a.claims.SystemAccount, a.claims.Issuer = a.system.id, a.operator.id
	a.claims.SigningKeys.Add(a.signing.id)
	for _, key := range more {
		a.claims.SigningKeys.Add(key.id)
	}
	system := jwt.NewAccountClaims(a.system.id)
	system.Name = "SYS"
	a.store(t, system)
	for range servers {
		a.start(t)
	}
	a.connectAdmin(t)
	return a
}

// start starts one more server of the cluster; a copy of the operator's claims keeps its signing keys.
func (a *arena) start(t *testing.T) {
	t.Helper()
	oc := *a.claims
	options := &server.Options{
		ServerName: "n" + newPair(t, claims.KindServer).id[1:9], Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AuthTimeout: patience.Seconds(), SystemAccount: a.system.id,
		TrustedOperators: []*jwt.OperatorClaims{&oc}, AccountResolver: a.resolver, LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: -1},
		Cluster: server.ClusterOpts{Name: "arena", Host: "127.0.0.1", Port: -1, NoAdvertise: true},
	}
	if len(a.servers) > 0 {
		options.Routes = server.RoutesFromStr("nats://" + a.servers[0].ClusterAddr().String())
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	a.servers = append(a.servers, s)
}

// connectAdmin returns when every server hears the requests of the system account.
func (a *arena) connectAdmin(t *testing.T) {
	t.Helper()
	key := newPair(t, claims.KindUser)
	u := jwt.NewUserClaims(key.id)
	token, err := u.Encode(a.system)
	if err != nil {
		t.Fatal(err)
	}
	a.admin, err = nats.Connect(a.servers[0].ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, key.Sign), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.admin.Close)
	for end := time.Now().Add(patience); len(a.ask(t, "$SYS.REQ.SERVER.PING", nil, 1)) < len(a.servers); {
		if time.Now().After(end) {
			t.Fatal("the servers do not find each other")
		}
	}
}

// ask returns the answers, at least n, that came before the last server's.
func (a *arena) ask(t *testing.T, subject string, body []byte, n int) [][]byte {
	t.Helper()
	inbox := a.admin.NewInbox()
	sub, err := a.admin.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := a.admin.PublishRequest(subject, inbox, body); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(out) < len(a.servers) {
		m, err := sub.NextMsg(patience / 10)
		if err != nil {
			break
		}
		out = append(out, m.Data)
	}
	if len(out) < n {
		t.Fatalf("%d answers to %s, want %d", len(out), subject, n)
	}
	return out
}

func (a *arena) encode(t *testing.T, c *jwt.AccountClaims) string {
	t.Helper()
	token, err := c.Encode(a.signing)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (a *arena) store(t *testing.T, c *jwt.AccountClaims) {
	t.Helper()
	if err := a.resolver.Store(c.Subject, a.encode(t, c)); err != nil {
		t.Fatal(err)
	}
}

// push returns when every server has the account's new claims in effect.
func (a *arena) push(t *testing.T, c *jwt.AccountClaims) {
	t.Helper()
	for _, answer := range a.ask(t, "$SYS.REQ.ACCOUNT."+c.Subject+".CLAIMS.UPDATE", []byte(a.encode(t, c)), len(a.servers)) {
		var body struct{ Error *struct{ Description string } }
		if err := json.Unmarshal(answer, &body); err != nil || body.Error != nil {
			t.Fatalf("%s, %v", answer, err)
		}
	}
}

// live is the account's connections as the servers list them.
func (a *arena) live(t *testing.T, account string) []claims.Connection {
	t.Helper()
	var out []claims.Connection
	for _, s := range a.servers {
		page, err := s.Connz(&server.ConnzOptions{Username: true, Account: account, Limit: 1024})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Conns {
			x := claims.Connection{
				CID: c.Cid, ServerID: s.ID(), ServerName: s.Name(), UserKey: c.AuthorizedUser, IssuerKey: c.IssuerKey, Client: c.Name, Host: c.IP, Type: c.Type,
				Since: c.Start, Subscriptions: int64(c.NumSubs), User: claims.NewConnectedUser(c.JWT),
			}
			if c.Kind != "Client" {
				x.Type = claims.TypeLeaf
			}
			out = append(out, x)
		}
	}
	return out
}

// guest is a client and what it sees of its end.
type guest struct {
	*nats.Conn
	cid    uint64
	server string
	closed chan struct{}
	dial   func() (*guest, error)
	wire   *wire
}

// wire keeps what a server says.
type wire struct {
	net.Conn
	mu   sync.Mutex
	said []byte
}

func (w *wire) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	w.Conn = c
	return w, nil
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, p[:n]...)
	return n, err
}

var errRE = regexp.MustCompile(`-ERR '([^']*)'`)

// says is the last error the server sent, "" for none.
func (w *wire) says() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := errRE.FindAllSubmatch(w.said, -1)
	if len(all) == 0 {
		return ""
	}
	return string(all[len(all)-1][1])
}

// visitor is the credential of a guest.
type visitor struct {
	name   string
	signer pair
	edit   func(*jwt.UserClaims)
	subs   int
}

// join connects with a new credential and returns once all subscriptions are made.
func (a *arena) join(t *testing.T, s *server.Server, account string, u visitor) *guest {
	t.Helper()
	key := newPair(t, claims.KindUser)
	c := jwt.NewUserClaims(key.id)
	c.Name = u.name
	if u.signer.id != account {
		c.IssuerAccount = account
	}
	if u.edit != nil {
		u.edit(c)
	}
	token, err := c.Encode(u.signer)
	if err != nil {
		t.Fatal(err)
	}
	sign := nats.UserJWT(func() (string, error) { return token, nil }, key.Sign)
	if c.BearerToken {
		sign = nats.UserJWT(func() (string, error) { return token, nil }, func([]byte) ([]byte, error) { return nil, nil })
	}
	return a.enter(t, s, u.subs, sign, nats.Name(u.name))
}

func (a *arena) enter(t *testing.T, s *server.Server, subs int, opts ...nats.Option) *guest {
	t.Helper()
	dial := func() (*guest, error) {
		g := &guest{closed: make(chan struct{}), wire: new(wire)}
		nc, err := nats.Connect(s.ClientURL(), append(slices.Clone(opts), nats.NoReconnect(), nats.Timeout(patience), nats.SetCustomDialer(g.wire),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.ClosedHandler(func(*nats.Conn) { close(g.closed) }))...)
		if err != nil {
			return nil, err
		}
		g.Conn = nc
		t.Cleanup(nc.Close)
		return g, nil
	}
	g, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	g.dial, g.server = dial, g.ConnectedServerId()
	if g.cid, err = g.GetClientID(); err != nil {
		t.Fatal(err)
	}
	for n := range subs {
		if _, err := g.SubscribeSync("in." + string(rune('a'+n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.FlushTimeout(patience); err != nil || g.LastError() != nil {
		t.Fatalf("%v, %v", err, g.LastError())
	}
	return g
}

// open tells whether the connection is still there, by asking the server.
func (g *guest) open() bool { return g.FlushTimeout(patience) == nil }

// ended waits until the server closed the connection.
func (g *guest) ended() bool {
	select {
	case <-g.closed:
		return true
	case <-time.After(patience):
		return false
	}
}

// returns tells whether the client gets in again with what it has, and may subscribe.
func (g *guest) returns() bool {
	again, err := g.dial()
	if err != nil {
		return false
	}
	defer again.Close()
	_, err = again.SubscribeSync("in.again")
	return err == nil && again.FlushTimeout(patience) == nil && !strings.Contains(again.wire.says(), "xceeded")
}
