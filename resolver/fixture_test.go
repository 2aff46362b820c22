package resolver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

func TestMain(m *testing.M) {
	if way := os.Getenv(startChild); way != "" {
		if err := runStartChild(way); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	storetest.Main(m)
}

// patience bounds what must happen; a test never waits that long when it passes.
const patience = 20 * time.Second

// world is an operator with a store, a resolver in front of it, and nats-servers
// that resolve through it.
type world struct {
	t     testing.TB
	store *store.Store
	pair  nkeys.KeyPair
	// operator is the public key, issuer the one that signs.
	operator, issuer string
	claims           *jwt.OperatorClaims
	system           *account
	// front is what the servers fetch from; its handler outlives a resolver.
	front *httptest.Server
	// base is the path of the operator there.
	base    string
	handler atomic.Pointer[http.Handler]
	r       atomic.Pointer[resolver.Resolver]

	mu   sync.Mutex
	urls []string
}

// account is an account's keys and what its next JWT will say.
type account struct {
	id      string
	pair    nkeys.KeyPair
	claims  claims.Account
	version int64
}

// user is a client's credentials.
type user struct {
	id    string
	token string
	pair  nkeys.KeyPair
}

func newPair(t testing.TB, kind claims.Kind) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := nkeys.CreatePair(kind.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	id, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, id
}

// newWorld stores an operator and its system account. No resolver runs yet.
func newWorld(t testing.TB, s *store.Store) *world {
	t.Helper()
	w := &world{t: t, store: s, base: "/jwt/v1"}
	w.pair, w.operator = newPair(t, claims.KindOperator)
	w.issuer = w.operator
	pair, id := newPair(t, claims.KindAccount)
	w.system = &account{id: id, pair: pair, claims: claims.Account{ID: id, Name: "SYS", System: true, Settings: claims.NewAccountSettings()}}
	w.write(func(ctx context.Context, tx *store.Tx) error {
		settings := jwt.Operator{SystemAccount: id}
		name := "op-" + strings.ToLower(w.operator[1:9])
		if err := tx.CreateOperator(ctx, store.Operator{ID: w.operator, Name: name, State: "active", Custody: "sealed", Settings: settings}); err != nil {
			return err
		}
		o, err := tx.LockOperator(ctx, w.operator)
		if err != nil {
			return err
		}
		checked, problems := claims.BuildOperator(claims.Operator{ID: w.operator, Name: name, Settings: settings})
		if problems.Blocking() {
			return fmt.Errorf("%v", problems)
		}
		signed := w.sign(checked, o.IssuedAt)
		if w.claims, err = jwt.DecodeOperatorClaims(signed.Token); err != nil {
			return err
		}
		return tx.PutJWT(ctx, store.JWT{
			Subject: w.operator, Kind: "operator", OperatorID: w.operator, Version: o.JWTVersion, IssuedAt: signed.IssuedAt,
			JTI: signed.ID, Signer: w.operator, Actor: "test", RequestID: "test", Token: signed.Token,
		})
	})
	w.create(w.system)
	s.OnCommit(func() {
		if r := w.r.Load(); r != nil {
			r.Wake()
		}
	})
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if h := w.handler.Load(); h != nil {
			(*h).ServeHTTP(rw, req)
			return
		}
		http.Error(rw, "no resolver", http.StatusServiceUnavailable)
	}))
	t.Cleanup(w.front.Close)
	return w
}

func (w *world) write(f func(ctx context.Context, tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Write(context.Background(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sign(checked claims.Checked, last int64) claims.Signed {
	w.t.Helper()
	unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: w.issuer, IssuedAt: claims.NextIssuedAt(time.Now(), last)})
	if err != nil {
		w.t.Fatal(err)
	}
	signature, err := w.pair.Sign(unsigned.SigningInput())
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := unsigned.Sign(signature)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// account stores a new account.
func (w *world) account(name string) *account {
	w.t.Helper()
	pair, id := newPair(w.t, claims.KindAccount)
	a := &account{id: id, pair: pair, claims: claims.Account{ID: id, Name: name, Settings: claims.NewAccountSettings(), Revocations: map[string]int64{}}}
	w.create(a)
	return a
}

func (w *world) create(a *account) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		err := tx.CreateAccount(ctx, store.Account{
			ID: a.id, OperatorID: w.operator, Name: a.claims.Name, State: "active", System: a.claims.System, Settings: a.claims.Settings,
		})
		if err != nil {
			return err
		}
		return w.put(ctx, tx, a)
	})
}

// edit changes the account, stores its next version and returns it. The resolver,
// if one runs, is woken by the commit.
func (w *world) edit(a *account, f func(*claims.Account)) int64 {
	w.t.Helper()
	f(&a.claims)
	w.write(func(ctx context.Context, tx *store.Tx) error { return w.put(ctx, tx, a) })
	return a.version
}

// revoke refuses what was issued to the users up to now.
func (w *world) revoke(a *account, users ...user) int64 {
	w.t.Helper()
	return w.edit(a, func(c *claims.Account) {
		for _, u := range users {
			c.Revocations[u.id] = time.Now().Unix()
		}
	})
}

func (w *world) put(ctx context.Context, tx *store.Tx, a *account) error {
	row, _, err := tx.LockAccount(ctx, a.id)
	if err != nil {
		return err
	}
	checked, problems := claims.BuildAccount(a.claims)
	if problems.Blocking() {
		return fmt.Errorf("%v", problems)
	}
	signed := w.sign(checked, row.IssuedAt)
	a.version = row.JWTVersion
	return tx.PutJWT(ctx, store.JWT{
		Subject: a.id, Kind: "account", OperatorID: w.operator, Version: row.JWTVersion, IssuedAt: signed.IssuedAt,
		JTI: signed.ID, Signer: w.operator, Actor: "test", RequestID: "test", Token: signed.Token,
	})
}

// user issues credentials of the account.
func (w *world) user(a *account, name string) user { return w.userWith(a, name, jwt.Permissions{}) }

func (w *world) userWith(a *account, name string, p jwt.Permissions) user {
	w.t.Helper()
	pair, id := newPair(w.t, claims.KindUser)
	c := jwt.NewUserClaims(id)
	c.Name, c.Permissions = name, p
	token, err := c.Encode(a.pair)
	if err != nil {
		w.t.Fatal(err)
	}
	return user{id: id, token: token, pair: pair}
}

func (u user) option() nats.Option {
	return nats.UserJWT(func() (string, error) { return u.token, nil }, u.pair.Sign)
}

// config of a resolver of this world.
func (w *world) config() resolver.Config {
	system := w.userWith(w.system, "chancery", resolver.SystemPermissions())
	return resolver.Config{
		Store: w.store, Now: time.Now, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Owner: "test",
		Identity: func(context.Context, string, bool) (resolver.Identity, error) {
			return resolver.Identity{JWT: func() (string, error) { return system.token, nil }, Sign: system.pair.Sign}, nil
		},
		URLs: func(o store.Operator) []string {
			if o.ID != w.operator {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.urls
		},
	}
}

// start runs a resolver and lets the servers fetch from it.
func (w *world) start(h resolver.Hurry) *resolver.Resolver { return w.startWith(w.config(), h) }

func (w *world) startWith(cfg resolver.Config, h resolver.Hurry) *resolver.Resolver {
	w.t.Helper()
	r, err := resolver.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Hurry(h)
	if err := r.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Stop)
	w.use(r.Handler())
	w.r.Store(r)
	return r
}

// replica runs a second resolver on the same store, which serves nobody.
func (w *world) replica(cfg resolver.Config) *resolver.Resolver {
	w.t.Helper()
	r, err := resolver.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Stop)
	w.store.OnCommit(r.Wake)
	return r
}

// forgive empties the outbox, as if all had been pushed.
func (w *world) forgive() {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		list, err := tx.ClaimOwed(ctx, w.operator, "nobody", time.Hour, 1000)
		for _, o := range list {
			if err == nil {
				err = tx.SettleOwed(ctx, o)
			}
		}
		return err
	})
}

// use lets the servers fetch from h.
func (w *world) use(h http.Handler) { w.handler.Store(&h) }

// wait waits for a version to be in effect everywhere.
func (w *world) wait(a *account, version int64) claims.Sync {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	s, err := w.r.Load().Wait(ctx, a.id, version)
	if err != nil {
		w.t.Fatal(err)
	}
	if !s.Done() {
		w.t.Fatalf("account %s version %d is not in effect everywhere: %+v", a.claims.Name, version, s)
	}
	return s
}

// token returns the current JWT of an account.
func (w *world) token(a *account) string {
	w.t.Helper()
	var served store.Served
	err := w.store.Read(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		served, err = tx.GetServed(ctx, a.id)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return served.Token
}

// sync returns how far an account got.
func (w *world) sync(a *account) claims.Sync {
	w.t.Helper()
	s, err := w.r.Load().Sync(w.t.Context(), a.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// states returns the delivery states of a sync by server name.
func states(s claims.Sync) map[string]claims.DeliveryState {
	out := map[string]claims.DeliveryState{}
	for _, d := range s.Servers {
		out[d.ServerName] = d.State
	}
	return out
}

// settled waits until nothing is owed any more.
func (w *world) settled() {
	w.t.Helper()
	committed := make(chan struct{}, 1)
	w.store.OnCommit(func() {
		select {
		case committed <- struct{}{}:
		default:
		}
	})
	late := time.After(patience)
	for {
		n := w.owed()
		if n == 0 {
			return
		}
		select {
		case <-committed:
		case <-late:
			w.t.Fatalf("%d accounts are still owed", n)
		}
	}
}

// owed returns how many accounts are owed to servers.
func (w *world) owed() (n int64) {
	w.t.Helper()
	err := w.store.Read(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		n, _, err = tx.CountOwed(ctx, "")
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

// eventually waits for what gives no signal of its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// owe makes accounts owed once more, as a sweep does.
func (w *world) owe(list ...*account) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		var ids []string
		for _, a := range list {
			ids = append(ids, a.id)
		}
		return tx.OweAgain(ctx, ids)
	})
}
