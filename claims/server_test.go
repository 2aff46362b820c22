package claims_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// world is an operator as Chancery makes them, strict, and a real nats-server that trusts it.
type world struct {
	operator, signing pair
	resolver          server.MemAccResolver
	server            *server.Server
}

// newWorld starts the server with the options that edits change.
func newWorld(t testing.TB, edits ...func(*server.Options)) *world {
	t.Helper()
	w := &world{operator: newPair(t, claims.KindOperator), signing: newPair(t, claims.KindOperator)}
	system := newPair(t, claims.KindAccount)
	now := time.Now().Unix()
	o := claims.Operator{ID: w.operator.id, Name: "acme", SigningKeys: []string{w.signing.id}}
	o.Settings.StrictSigningKeyUsage, o.Settings.SystemAccount = true, system.id
	signed := sign(t, checked(t)(claims.BuildOperator(o)), w.operator, now)
	oc, err := jwt.DecodeOperatorClaims(signed.Token)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(t, claims.Account{ID: system.id, Name: "SYS", System: true, Settings: claims.NewAccountSettings()})
	options := &server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true,
		TrustedOperators: []*jwt.OperatorClaims{oc}, SystemAccount: system.id, AccountResolver: &w.resolver,
	}
	for _, edit := range edits {
		edit(options)
	}
	w.server, err = server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go w.server.Start()
	t.Cleanup(func() { w.server.Shutdown(); w.server.WaitForShutdown() })
	if !w.server.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	return w
}

// serve makes the account known; a server fetches it once, so each test case has an account of its own.
func (w *world) serve(t testing.TB, a claims.Account) {
	t.Helper()
	signed := sign(t, checked(t)(claims.BuildAccount(a)), w.signing, time.Now().Unix())
	w.store(t, a.ID, signed.Token)
}

func (w *world) store(t testing.TB, id, token string) {
	t.Helper()
	if err := w.resolver.Store(id, token); err != nil {
		t.Fatal(err)
	}
}

// connect issues a credential to a new key and connects with it.
func (w *world) connect(t *testing.T, u claims.User, signer pair) (*nats.Conn, error) {
	t.Helper()
	key := newPair(t, claims.KindUser)
	u.ID = key.id
	token := sign(t, checked(t)(claims.BuildUser(u)), signer, time.Now().Unix()).Token
	return w.dial(t, token, key)
}

func (w *world) dial(t *testing.T, token string, key pair) (*nats.Conn, error) {
	t.Helper()
	nc, err := nats.Connect(w.server.ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, key.Sign),
		nats.NoReconnect(), nats.Timeout(patience), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// mayPublish and maySubscribe ask the server; a refusal arrives before the answer to the flush.
func mayPublish(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	if err := nc.Publish(subject, nil); err != nil {
		t.Fatal(err)
	}
	return !refused(t, nc)
}

func maySubscribe(t *testing.T, nc *nats.Conn, subject, queue string) bool {
	t.Helper()
	if _, err := nc.QueueSubscribeSync(subject, queue); err != nil {
		t.Fatal(err)
	}
	return !refused(t, nc)
}

// refused works once for each connection: the client keeps the last error.
func refused(t *testing.T, nc *nats.Conn) bool {
	t.Helper()
	_ = nc.FlushTimeout(patience) // reports the refusal itself
	err := nc.LastError()
	if err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatalf("flushing: %v", err)
	}
	return err != nil
}

// A user, its account and the operator, all of our making, are accepted by a server that trusts nothing else,
// and its permissions hold.
func TestServerAcceptsTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain, scoped := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	template := aTemplate()
	a := anAccount(t)
	// The exporters of the imports do not exist, and JetStream is off on this server.
	a.Settings.Imports, a.Settings.Limits.JetStreamTieredLimits = nil, nil
	a.Revocations = map[string]int64{newPair(t, claims.KindUser).id: time.Now().Unix()}
	a.Keys = []claims.SigningKey{{ID: plain.id}, {ID: scoped.id, Template: &template}}
	w.serve(t, a)

	own := claims.NewPermissionLimits()
	own.Pub.Allow, own.Sub.Allow = jwt.StringList{"a.b"}, jwt.StringList{"jobs.* workers"}
	user := claims.User{Name: "ada@example.com", Account: a.ID, Permissions: &own}
	device := claims.User{Name: "d1", Account: a.ID, Tags: []string{"region:eu"}}
	for name, c := range map[string]struct {
		user   claims.User
		signer pair
		try    func(*testing.T, *nats.Conn) bool
		want   bool
	}{
		"own publish":                {user, plain, func(t *testing.T, nc *nats.Conn) bool { return mayPublish(t, nc, "a.b") }, true},
		"own publish elsewhere":      {user, plain, func(t *testing.T, nc *nats.Conn) bool { return mayPublish(t, nc, "a.c") }, false},
		"own queue subscription":     {user, plain, func(t *testing.T, nc *nats.Conn) bool { return maySubscribe(t, nc, "jobs.x", "workers") }, true},
		"without the queue group":    {user, plain, func(t *testing.T, nc *nats.Conn) bool { return maySubscribe(t, nc, "jobs.x", "") }, false},
		"templated publish":          {device, scoped, func(t *testing.T, nc *nats.Conn) bool { return mayPublish(t, nc, "devices.eu.d1.temp") }, true},
		"templated publish elsewere": {device, scoped, func(t *testing.T, nc *nats.Conn) bool { return mayPublish(t, nc, "devices.eu.d2.temp") }, false},
		"templated subscription":     {device, scoped, func(t *testing.T, nc *nats.Conn) bool { return maySubscribe(t, nc, "cmd.d1", "") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := w.connect(t, c.user, c.signer)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.try(t, nc); got != c.want {
				t.Errorf("allowed: %v, want %v", got, c.want)
			}
		})
	}
	t.Run("a key that is not in the account", func(t *testing.T) {
		if _, err := w.connect(t, user, newPair(t, claims.KindAccount)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%v, want a refusal", err)
		}
	})
}

// The longest user JWT that is issued still fits into the CONNECT line of a server with its defaults.
func TestServerReadsTheLongestUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer := newPair(t, claims.KindAccount)
	a := claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: signer.id}}}
	w.serve(t, a)
	p := claims.NewPermissionLimits()
	u := claims.User{Name: "wide", Account: a.ID, Permissions: &p}
	for {
		p.Pub.Allow = append(p.Pub.Allow, "subject.number."+newPair(t, claims.KindUser).id)
		u.ID = newPair(t, claims.KindUser).id
		c, err := claims.Encode(checked(t)(claims.BuildUser(u)), claims.Stamp{Issuer: signer.id, IssuedAt: time.Now().Unix()})
		if err != nil {
			t.Fatal(err)
		}
		if c.CheckSize().Blocking() {
			p.Pub.Allow = p.Pub.Allow[:len(p.Pub.Allow)-1]
			break
		}
	}
	nc, err := w.connect(t, u, signer)
	if err != nil {
		t.Fatal(err)
	}
	if !mayPublish(t, nc, p.Pub.Allow[len(p.Pub.Allow)-1]) {
		t.Error("the last subject is missing")
	}
}
