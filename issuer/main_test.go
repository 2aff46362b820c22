package issuer_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// patience bounds what surely happens, on a busy machine too.
const patience = 30 * time.Second

// house is an issuer on a real database with a clock that stands still until it is moved.
type house struct {
	*issuer.Issuer
	clock
	store *store.Store
	raw   *storetest.Raw
	url   string
	kek   custody.KEK
	// woken counts the calls of Wake.
	// connected is the one live connection; kicked counts attempts to close it, which
	// end with unkicked.
	connected atomic.Pointer[claims.LiveConnection]
	kicked    atomic.Int64
	unkicked  error
	woken     atomic.Int64
	// checkpoints is the file with those of the audit log.
	checkpoints *issuer.FileLog
	// faults makes statements fail; nil for none.
	faults atomic.Pointer[faults]
}

func (h *house) fault(statement string, done bool) error {
	if f := h.faults.Load(); f != nil {
		return f.ask(statement, done)
	}
	return nil
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) unix() int64 { return c.time().Unix() }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// each runs f in an empty house on each dialect.
func each(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			f(t, newHouse(t, dialect))
		})
	}
}

// eachWorld is each with a world in it.
func eachWorld(t *testing.T, f func(t *testing.T, h *house, w world)) {
	t.Helper()
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			ready := furnished[dialect]
			ready.once.Do(func() { ready.make(t, dialect) })
			if ready.house == nil {
				t.Fatal("the world could not be made, as another test says")
			}
			f(t, ready.house.copied(t), ready.world)
		})
	}
}

// furnished are houses with a world in them, left for each test to have a copy: making one takes a dozen changes. It is
// a variable because the tests of a binary have no common parent that could hold it.
var furnished = map[string]*furnishedHouse{"sqlite": {}, "postgres": {}}

type furnishedHouse struct {
	once  sync.Once
	house *house
	world world
}

func (f *furnishedHouse) make(t *testing.T, dialect string) {
	t.Helper()
	h := newHouse(t, dialect)
	f.world = h.furnish(t)
	h.leave(t)
	h.url = storetest.Keep(t, h.url)
	f.house = h
}

func newHouse(t testing.TB, dialect string) *house {
	t.Helper()
	kek, err := custody.NewKEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return houseAt(t, storetest.URL(t, dialect), kek, time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))
}

func houseAt(t testing.TB, url string, kek custody.KEK, now time.Time) *house {
	t.Helper()
	h := &house{url: url, kek: kek, clock: clock{now: now}, checkpoints: issuer.NewFileLog(filepath.Join(t.TempDir(), "checkpoints"))}
	t.Cleanup(func() {
		if err := h.checkpoints.Close(); err != nil {
			t.Error(err)
		}
	})
	h.store = h.openStore(t, &h.clock)
	h.raw = storetest.OpenRaw(t, h.url)
	h.Issuer = h.open(t, h.store, kek)
	return h
}

// leave closes the house, for copies to be made of it.
func (h *house) leave(t testing.TB) {
	t.Helper()
	if err := errors.Join(h.raw.Close(), h.store.Close()); err != nil {
		t.Fatal(err)
	}
}

// copied is a house of its own with what is in the one that was left.
func (h *house) copied(t testing.TB) *house {
	t.Helper()
	c := houseAt(t, storetest.Clone(t, h.url), h.kek, h.time())
	c.connected.Store(h.connected.Load())
	return c
}

func (h *house) openStore(t testing.TB, c *clock) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: h.url, Now: c.time, Logger: slog.New(slog.DiscardHandler), Fault: h.fault})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open returns a further issuer on the store.
func (h *house) open(t testing.TB, s *store.Store, kek custody.KEK) *issuer.Issuer {
	t.Helper()
	i, err := issuer.Open(t.Context(), h.config(s, kek))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (h *house) config(s *store.Store, kek custody.KEK) issuer.Config {
	return issuer.Config{
		Store: s, Now: h.time, Logger: slog.New(slog.DiscardHandler), KEK: kek, Wake: func() { h.woken.Add(1) }, Checkpoints: h.checkpoints,
		Connection: func(server string, cid uint64) (claims.LiveConnection, bool) {
			c := h.connected.Load()
			if c == nil || c.ServerName != server || c.CID != cid {
				return claims.LiveConnection{}, false
			}
			return *c, true
		},
		Kick: func(context.Context, string, string, uint64) error { h.kicked.Add(1); return h.unkicked },
		SystemPermissions: jwt.Permissions{
			Pub: jwt.Permission{Allow: jwt.StringList{"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"}}, Sub: jwt.Permission{Allow: jwt.StringList{"_INBOX.>"}},
		},
	}
}

var (
	owner   = issuer.Caller{ID: "per_owner", Name: "ada", Kind: issuer.CallerPerson, Grants: issuer.Everything(issuer.RoleOwner)}
	auditor = issuer.Caller{ID: "per_auditor", Name: "bob", Kind: issuer.CallerPerson, Grants: issuer.Everything(issuer.RoleAuditor)}
)

// op is the circumstances of what an owner does.
func op() issuer.Op { return issuer.Op{Caller: owner, RequestID: "req_1"} }

// because is op with a reason.
func because() issuer.Op {
	o := op()
	o.Reason = "a ticket"
	return o
}

// dryRun is op, stopped after the plan.
func dryRun() issuer.Op { return issuer.Op{Caller: owner, RequestID: "req_1", DryRun: true} }

// world is an operator with an account, a template that uses names and tags, and two users with credentials.
type world struct {
	operator issuer.Operator
	account  issuer.Account
	template issuer.TemplateWithKeys
	// device follows the template, ada has permissions of her own.
	device, ada issuer.UserWithCredential
}

func (h *house) furnish(t testing.TB) world {
	t.Helper()
	return h.furnishAs(t, "acme", "ORDERS")
}

func (h *house) furnishAs(t testing.TB, operator, account string) (w world) {
	t.Helper()
	w.operator = did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: operator, ServiceURLs: []string{"nats://127.0.0.1:4222"}, Tags: []string{"Prod"}})).well(t)
	w.account = did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: operator, Name: account, Settings: claims.NewAccountSettings()})).well(t)
	w.template = did(h.CreateTemplate(t.Context(), op(), w.account.ID, deviceTemplate())).well(t)
	w.device = did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "d1", Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{TTL: time.Hour}})).well(t)
	w.ada = did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "ada@example.com", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
	return w
}

func deviceTemplate() issuer.TemplateInput {
	p := claims.NewPermissionLimits()
	p.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
	p.Sub.Allow = jwt.StringList{"cmd.{{name()}}", "_INBOX.>"}
	return issuer.TemplateInput{Body: claims.Template{Name: "device", Permissions: p}, MaxTTL: 24 * time.Hour}
}

func ownPermissions() *jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	p.Pub.Allow, p.Sub.Allow = jwt.StringList{"orders.>"}, jwt.StringList{"_INBOX.>"}
	return &p
}

// result is what a change came to.
type result[T any] struct {
	issuer.Outcome[T]
	err error
}

func did[T any](out issuer.Outcome[T], err error) result[T] { return result[T]{out, err} }

// well returns the object or fails the test.
func (r result[T]) well(t testing.TB) T {
	t.Helper()
	if r.err != nil {
		t.Fatalf("%v: %+v", r.err, issuer.AsError(r.err).Problems)
	}
	return r.Value
}

// wants an error of the kind and returns it, as a value for its fields.
func wants(t testing.TB, err error, kind issuer.Kind) issuer.Error {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want kind %d", kind)
		return issuer.Error{}
	}
	e := issuer.AsError(err)
	if e.Kind != kind {
		t.Errorf("error %v, want kind %d", err, kind)
	}
	return *e
}

// unchanged wants every row to be as it was once f is through.
func (h *house) unchanged(t testing.TB, f func(), without ...string) {
	t.Helper()
	before := h.raw.Dump(t, without...)
	f()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.raw.Dump(t, without...), "\n")); diff != "" {
		t.Errorf("the database changed (-before +after):\n%s", diff)
	}
}

// in runs f with the store's transaction, for what the issuer does not show.
func (h *house) in(t testing.TB, f func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := h.store.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// account reads an account or fails the test.
func (h *house) account(t testing.TB, ref string) issuer.Account {
	t.Helper()
	a, err := h.GetAccount(t.Context(), owner, ref)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newUserKey makes a key that only its holder has.
func newUserKey(t testing.TB) string {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAccountKey makes a key of an account that only its holder has.
func newAccountKey(t testing.TB) string {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pointer[T any](v T) *T { return &v }

// dryOf is op, stopped after the plan.
func dryOf(o issuer.Op) issuer.Op {
	o.DryRun = true
	return o
}

// start is when the house's clock began, in Unix seconds.
func (h *house) start() int64 { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC).Unix() }

// crowd gives the operator n further accounts, each with a plain key and a template, signed for the first time by the
// upkeep.
func (h *house) crowd(t testing.TB, w world, n int) {
	t.Helper()
	const batch = 500
	for first := 0; first < n; first += batch {
		err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			for i := first; i < min(first+batch, n); i++ {
				if err := addAccount(ctx, t, tx, w.operator.ID, fmt.Sprintf("C%05d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.raw.Run(t, `UPDATE accounts SET jwt = 'none yet', resign_us = 1 WHERE jwt = ''`)
	if err := h.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func addAccount(ctx context.Context, t testing.TB, tx *store.Tx, operator, name string) error {
	a := store.Account{ID: newAccountKey(t), OperatorID: operator, Name: name, State: "active", Settings: claims.NewAccountSettings()}
	if err := tx.CreateAccount(ctx, a); err != nil {
		return err
	}
	x := store.Template{ID: "tpl_" + name, OperatorID: operator, AccountID: a.ID, Body: deviceTemplate().Body}
	if err := tx.CreateTemplate(ctx, x); err != nil {
		return err
	}
	for _, template := range []string{"", x.ID} {
		k := store.Key{ID: newAccountKey(t), Kind: "account", Role: "signing", OperatorID: operator, AccountID: a.ID, TemplateID: template, State: "current", Custody: "public_only"}
		if err := tx.CreateKey(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// holder is somebody with a user key of their own.
type holder struct {
	pair nkeys.KeyPair
	key  string
}

func newHolder(t testing.TB) holder {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return holderOf(t, kp)
}

func holderOf(t testing.TB, kp nkeys.KeyPair) holder {
	t.Helper()
	key, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return holder{kp, key}
}

// proof answers a fresh challenge to the holder's key.
func (h *house) proof(t testing.TB, x holder) *issuer.Proof {
	t.Helper()
	c, err := h.Challenge(t.Context(), x.key)
	if err != nil {
		t.Fatal(err)
	}
	return x.answer(t, c.Nonce)
}

func (x holder) answer(t testing.TB, nonce string) *issuer.Proof {
	t.Helper()
	signature, err := x.pair.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	return &issuer.Proof{Nonce: nonce, Signature: base64.RawURLEncoding.EncodeToString(signature)}
}
