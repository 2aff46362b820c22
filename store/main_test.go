package store_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/store"
	"chancery/store/storetest"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(holdFile); address != "" {
		hold(address)
	}
	storetest.Main(m)
}

// db is a store with a clock that stands still until it is moved, and a way to its rows.
type db struct {
	*store.Store
	*clock
	raw *storetest.Raw
	url string
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

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var epoch = time.Date(2026, 11, 21, 10, 0, 0, 123_456_789, time.UTC)

// each runs f on a fresh database of each dialect.
func each(t *testing.T, f func(t *testing.T, d *db)) {
	t.Helper()
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			d := &db{clock: &clock{now: epoch}, url: storetest.URL(t, dialect)}
			d.Store = open(t, d.url, d.clock)
			d.raw = storetest.OpenRaw(t, d.url)
			f(t, d)
		})
	}
}

func open(t testing.TB, url string, c *clock) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Now: c.time, Logger: slog.New(slog.DiscardHandler)})
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

// write commits what f does or fails the test.
func (d *db) write(t testing.TB, f func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := d.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// fails wants f to fail with an error that is target, and the database as it was.
func (d *db) fails(t testing.TB, target error, f func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	before := d.raw.Dump(t)
	if err := d.Write(t.Context(), f); !errors.Is(err, target) {
		t.Errorf("%v, want %v", err, target)
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(d.raw.Dump(t), "\n")); diff != "" {
		t.Errorf("something was stored (-before +after):\n%s", diff)
	}
}

// get reads one value or fails the test.
func get[T any](t testing.TB, d *db, f func(ctx context.Context, tx *store.Tx) (T, error)) T {
	t.Helper()
	v, err := try(t, d, f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func try[T any](t testing.TB, d *db, f func(ctx context.Context, tx *store.Tx) (T, error)) (v T, err error) {
	t.Helper()
	err = d.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		v, err = f(ctx, tx)
		return err
	})
	return v, err
}

// tenant makes an operator with an account; both have the name in their identities.
func (d *db) tenant(t testing.TB, name string) (operator, account string) {
	t.Helper()
	operator, account = "O-"+name, "A-"+name
	d.write(t, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.CreateOperator(ctx, store.Operator{ID: operator, Name: "op " + name, State: "active", Custody: "sealed"}); err != nil {
			return err
		}
		return tx.CreateAccount(ctx, anAccount(operator, account, name))
	})
	return operator, account
}

func anAccount(operator, id, name string) store.Account {
	return store.Account{ID: id, OperatorID: operator, Name: name, State: "active", Settings: claims.NewAccountSettings()}
}

// user adds a user to the account.
func (d *db) user(t testing.TB, account, id string) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error {
		p := claims.NewPermissionLimits()
		return tx.CreateUser(ctx, store.User{ID: id, AccountID: account, Name: "name of " + id, Permissions: &p, State: "active"})
	})
}
