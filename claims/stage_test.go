package claims_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// journal is the log of a server.
type journal struct {
	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed at the next line
}

func (j *journal) add(format string, v ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, v...))
	close(j.grown)
	j.grown = make(chan struct{})
}

func (j *journal) Noticef(format string, v ...any) { j.add(format, v...) }
func (j *journal) Warnf(format string, v ...any)   { j.add(format, v...) }
func (j *journal) Fatalf(format string, v ...any)  { j.add(format, v...) }
func (j *journal) Errorf(format string, v ...any)  { j.add(format, v...) }
func (j *journal) Debugf(format string, v ...any)  { j.add(format, v...) }
func (j *journal) Tracef(format string, v ...any)  { j.add(format, v...) }

func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// wait returns the first line from the given one on that matches, or "" when there is none in time.
func (j *journal) wait(from int, pattern string) string {
	re, deadline := regexp.MustCompile(pattern), time.After(patience)
	for {
		j.mu.Lock()
		lines, grown := j.lines[from:], j.grown
		j.mu.Unlock()
		for _, l := range lines {
			if re.MatchString(l) {
				return l
			}
		}
		select {
		case <-grown:
		case <-deadline:
			return ""
		}
	}
}

// stage is a world with a listener of every kind, whose log is kept.
type stage struct {
	*world
	log     *journal
	options *server.Options
	proxy   pair
	pinned  []string
	// provoked collects the checks that failed as they should, when it is set.
	provoked *sync.Map
}

func newStage(t *testing.T, edits ...func(*server.Options)) *stage {
	t.Helper()
	s := &stage{log: &journal{grown: make(chan struct{})}, proxy: newPair(t, claims.KindServer)}
	s.world = newWorld(t, append([]func(*server.Options){func(o *server.Options) {
		o.ServerName, o.JetStream, o.StoreDir = "stage", true, t.TempDir()
		o.Websocket = server.WebsocketOpts{Host: "127.0.0.1", Port: -1, NoTLS: true}
		o.MQTT = server.MQTTOpts{Host: "127.0.0.1", Port: -1}
		o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: -1}
		o.Proxies = &server.ProxiesConfig{Trusted: []*server.ProxyConfig{{Key: s.proxy.id}}}
		s.options = o
	}}, edits...)...)
	s.server.SetLogger(s.log, true, false)
	return s
}

// trial is a connection and all that leads to it. Its parts are changed before it is run.
type trial struct {
	account                                 *jwt.AccountClaims
	user                                    *jwt.UserClaims
	accountSigner, identity, signer, holder pair
	kind                                    string
	proxied                                 bool
	// what is stored in the resolver and sent to the server instead of the right text
	mangleAccount, mangleToken func(string) string
	// live are connections that are there already
	live int
}

// newTrial is a connection with which nothing is wrong.
func (s *stage) newTrial(t *testing.T) *trial {
	t.Helper()
	c := &trial{
		accountSigner: s.signing, identity: newPair(t, claims.KindAccount), signer: newPair(t, claims.KindAccount),
		holder: newPair(t, claims.KindUser), kind: jwt.ConnectionTypeStandard,
	}
	c.account = jwt.NewAccountClaims(c.identity.id)
	c.account.Name, c.account.Account = "acme", claims.NewAccountSettings()
	c.account.Limits.MemoryStorage, c.account.Limits.DiskStorage = -1, -1 // MQTT needs it
	c.account.SigningKeys = jwt.SigningKeys{c.signer.id: nil}
	c.user = jwt.NewUserClaims(c.holder.id)
	c.user.Name, c.user.IssuerAccount = "ada", c.account.Subject
	c.mangleAccount = func(s string) string { return s }
	c.mangleToken = c.mangleAccount
	return c
}

// scoped gives the trial's user a template.
func (c *trial) scoped(p jwt.UserPermissionLimits) {
	scope := jwt.NewUserScope()
	scope.Key, scope.Role, scope.Template = c.signer.id, "device", p
	c.account.SigningKeys = jwt.SigningKeys{}
	c.account.SigningKeys.AddScopedSigner(scope)
	c.user.SetScoped(true)
}

// outcome is what the client and the log say.
type outcome struct {
	err  error
	from int // the first line of the log
}

// play stores the account and attempts the connection.
func (s *stage) play(t *testing.T, c *trial) (claims.Explanation, outcome) {
	t.Helper()
	token, account := c.encode(t)
	if account != "" {
		s.store(t, c.account.Subject, account)
	}
	for range c.live {
		if err := s.enter(t, c, token); err != nil {
			t.Fatal(err)
		}
	}
	return s.attempt(t, c, token)
}

// attempt asks Explain and connects, with what is in the resolver.
func (s *stage) attempt(t *testing.T, c *trial, token string) (claims.Explanation, outcome) {
	t.Helper()
	e := claims.Explain(s.seen(t, c, token))
	from := s.log.len()
	return e, outcome{err: s.enter(t, c, token), from: from}
}

func (c *trial) encode(t *testing.T) (token, account string) {
	t.Helper()
	token, err := c.user.Encode(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	account, err = c.account.Encode(c.accountSigner)
	if err != nil {
		t.Fatal(err)
	}
	return c.mangleToken(token), c.mangleAccount(account)
}

// seen is what a control plane knows of it.
func (s *stage) seen(t *testing.T, c *trial, token string) (claims.Attempt, claims.ServerView) {
	t.Helper()
	a := claims.Attempt{Token: token, SignedBy: c.holder.id, Host: "127.0.0.1", Type: c.kind, Proxied: &c.proxied, At: time.Now()}
	if c.kind == jwt.ConnectionTypeInProcess {
		a.Host = ""
	}
	v := claims.ServerView{Operators: s.options.TrustedOperators, Pinned: s.pinned, DefaultSentinel: s.options.DefaultSentinel, Zone: time.Local}
	id := claims.AccountLookedUp(token, v.DefaultSentinel)
	v.Account, _ = s.resolver.Fetch(id) // an error is an account that is not there
	stat, err := s.server.AccountStatz(&server.AccountStatzOptions{Accounts: []string{id}, IncludeUnused: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range stat.Accounts {
		v.Connections, v.LeafNodes = x.Conns, x.LeafNodes
	}
	return a, v
}

// enter connects in the way of the trial and returns why it could not.
func (s *stage) enter(t *testing.T, c *trial, token string) error {
	t.Helper()
	switch c.kind {
	case jwt.ConnectionTypeMqtt:
		return s.enterMQTT(t, token)
	case jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS:
		return s.enterLeaf(t, c, token)
	}
	if c.proxied || c.kind == jwt.ConnectionTypeInProcess {
		return s.enterRaw(t, c, token)
	}
	options := []nats.Option{nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if token != "" {
		options = append(options, nats.UserJWT(func() (string, error) { return token, nil }, c.holder.Sign))
	}
	url := s.server.ClientURL()
	if c.kind == jwt.ConnectionTypeWebsocket {
		url = s.server.WebsocketURL()
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return err
	}
	t.Cleanup(nc.Close)
	if _, err := nc.SubscribeSync("a"); err != nil {
		return err
	}
	if err := nc.FlushTimeout(patience); err != nil {
		return err
	}
	return nc.LastError()
}

// enterRaw speaks as a client behind a proxy that signs for it, which nats.go does not, or as one in the server's
// process, where nats.go waits ten seconds when it is refused.
func (s *stage) enterRaw(t *testing.T, c *trial, token string) error {
	t.Helper()
	dial := func() (net.Conn, error) { return net.Dial("tcp", s.server.Addr().String()) }
	if c.kind == jwt.ConnectionTypeInProcess {
		dial = s.server.InProcessConn
	}
	nc, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	in := bufio.NewReader(nc)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	signed := func(by pair) string {
		sig, err := by.Sign([]byte(info.Nonce))
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sig)
	}
	fields := map[string]any{"jwt": token, "sig": signed(c.holder), "protocol": 1}
	if c.proxied {
		fields["proxy_sig"] = signed(s.proxy)
	}
	connect, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	// A pipe has no buffer, and the server may refuse what it has not read to the end.
	go fmt.Fprintf(nc, "CONNECT %s\r\nPING\r\n", connect)
	for {
		line, err := in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			return err
		}
		if strings.HasPrefix(line, "-ERR") {
			return fmt.Errorf("%s", strings.TrimSpace(line))
		}
	}
}

// enterMQTT sends the token as the password, as MQTT clients do.
func (s *stage) enterMQTT(t *testing.T, token string) error {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.options.MQTT.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	field := func(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }
	body := append(field("MQTT"), 4, 0xC2, 0, 60) // level 4; user, password, clean session; 60 s
	for _, f := range []string{"device-1", "device", token} {
		body = append(body, field(f)...)
	}
	packet := []byte{0x10}
	for n := len(body); ; n >>= 7 {
		if n < 128 {
			packet = append(packet, byte(n))
			break
		}
		packet = append(packet, byte(n&0x7f)|0x80)
	}
	if _, err := nc.Write(append(packet, body...)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := bufio.NewReader(nc).Read(answer); err != nil {
		return err
	}
	if answer[3] != 0 {
		return fmt.Errorf("CONNACK %d", answer[3])
	}
	return nil
}

// enterLeaf connects a second server as leaf node.
func (s *stage) enterLeaf(t *testing.T, c *trial, token string) error {
	t.Helper()
	creds := filepath.Join(t.TempDir(), "leaf.creds")
	if token == "" { // nothing to send
		creds = ""
	} else if err := os.WriteFile(creds, []byte(claims.FormatCreds(token, c.holder.seed(t)).Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	scheme, port := "nats", s.options.LeafNode.Port
	if c.kind == jwt.ConnectionTypeLeafnodeWS {
		scheme, port = "ws", s.options.Websocket.Port
	}
	from := s.log.len()
	leaf, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, LeafNode: server.LeafNodeOpts{
			ReconnectInterval: time.Minute,
			Remotes:           []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: scheme, Host: fmt.Sprintf("127.0.0.1:%d", port)}}, Credentials: creds}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go leaf.Start()
	t.Cleanup(func() { leaf.Shutdown(); leaf.WaitForShutdown() })
	// A line about a connection before this one may come late; leaf nodes are numbered as lid or lid_wss.
	line := s.log.wait(from, ` - lid[a-z_]*:\d+ - .*(Adding deny .* for account|authentication error|maximum account active connections exceeded)`)
	if strings.Contains(line, "Adding deny") { // the first it does with a leaf node that is in
		return nil
	}
	return fmt.Errorf("the server logs %q", line)
}

// tampered edits the payload of a JWT, whose signature is then wrong.
func tampered(token string, edit func(map[string]any)) string {
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token
	}
	var m map[string]any
	if json.Unmarshal(payload, &m) != nil {
		return token
	}
	edit(m)
	payload, err = json.Marshal(m)
	if err != nil {
		return token
	}
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
}

// resigned replaces the signature.
func resigned(t interface{ Fatal(...any) }, token string, by pair) string {
	i := strings.LastIndexByte(token, '.')
	signature, err := by.Sign([]byte(token[:i]))
	if err != nil {
		t.Fatal(err)
	}
	return token[:i+1] + base64.RawURLEncoding.EncodeToString(signature)
}
