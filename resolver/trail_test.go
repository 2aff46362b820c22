package resolver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// answered asks beside the test; the channel has the body.
func answered(h http.Handler, a *account) <-chan string {
	out := make(chan string, 1)
	go func() { out <- get(h, http.MethodGet, "/jwt/v1/accounts/"+a.id).Body.String() }()
	return out
}

// TestRestartWaitsForTheStore restarts from a snapshot that lacks a revocation, before a
// store that has it: nothing older is answered, whatever is asked first.
func TestRestartWaitsForTheStore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		sequencer := store.NewSequencer(s)
		sequencer.Start()
		t.Cleanup(sequencer.Stop)
		w := newWorld(t, s)
		a, b := w.account("a"), w.account("b")
		dir := t.TempDir()
		first := w.startWith(w.saving(dir), resolver.Hurry{})
		w.saved(dir)
		w.edit(b, func(c *claims.Account) { c.Settings.Limits.Conn++ }) // after the base file
		eventually(t, "the edit is followed", func() bool { return first.Version(b.id) == b.version })
		eventually(t, "the changes are numbered", func() bool { return resolver.SavedChange(dir) > 0 })
		first.Stop()
		older := w.token(a)
		w.revoke(a, w.user(a, "gone"))

		cfg := w.saving(dir)
		cfg.Store, cfg.Awaits = nil, true
		r, err := resolver.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Stop)
		r.Hurry(resolver.Hurry{Await: patience})
		if found, err := r.OpenSnapshot(t.Context()); !found || err != nil {
			t.Fatalf("the snapshot has nothing to serve: %v", err)
		}
		h := r.Handler()
		known, same := answered(h, a), answered(h, b)
		select {
		case <-known:
			t.Fatal("an account is answered before the store was asked")
		case <-time.After(50 * time.Millisecond):
		}
		r.Use(s)
		if err := r.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-known; got != w.token(a) {
			t.Errorf("what was revoked before the start is not in what is answered; it is from the snapshot: %v", got == older)
		}
		if got := <-same; got != w.token(b) {
			t.Error("an account that did not change is not answered")
		}
		// The other parts take their time; what is committed meanwhile is followed.
		late := w.account("late")
		version := w.revoke(a, w.user(a, "gone too"))
		eventually(t, "what is committed before Start is served", func() bool { return r.Version(a.id) == version && r.Version(late.id) == late.version })
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		version = w.revoke(a, w.user(a, "gone as well"))
		r.Wake()
		eventually(t, "what is committed after Start is served", func() bool { return r.Version(a.id) == version })
	})
}

// TestDiskLagsBehindTheTrail has the disk lose a version, and take lines again but no new
// base file: it does not say that it has what was changed since, so that a restart asks for
// all of it.
func TestDiskLagsBehindTheTrail(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	sequencer := store.NewSequencer(s)
	sequencer.Start()
	t.Cleanup(sequencer.Stop)
	w := newWorld(t, s)
	a := w.account("a")
	dir := t.TempDir()
	r := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	edit := func() {
		t.Helper()
		before := r.Followed()
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Conn++ })
		eventually(t, "the edit is followed", func() bool { return r.Version(a.id) == version && r.Followed() > before })
	}
	edit()
	if err := os.Mkdir(filepath.Join(dir, "base.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Unsave(); err != nil {
		t.Fatal(err)
	}
	last := r.Followed()
	edit() // this one is lost
	eventually(t, "the new base file fails", func() bool { return r.Rewrite() != nil })
	edit()
	edit() // by now the disk was told of the one before
	if got := resolver.SavedChange(dir); got > last {
		t.Errorf("the disk has lost a version after change %d and says that it has all up to %d", last, got)
	}
}

// TestRefusedIsNotForgotten restarts again and again without a store from a snapshot in which
// an account is damaged: it is never taken for one that does not exist, though the files
// grow to be written anew.
func TestRefusedIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a, b := w.account("a"), w.account("b")
	dir := t.TempDir()
	first := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	first.Stop()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, bytes.ReplaceAll(text, []byte(w.token(a)), []byte("x"+w.token(a)[1:])), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 12 { // more than there may be journals
		r, found := w.alone(dir, w.operator)
		eventually(t, "the snapshot is verified", func() bool { return !r.Snapshot().Unverified })
		for x, want := range map[*account]int{a: http.StatusServiceUnavailable, b: http.StatusOK} {
			if got := get(r.Handler(), http.MethodGet, "/jwt/v1/accounts/"+x.id); !found || got.Code != want {
				t.Fatalf("start %d: %s is answered with %d", n, x.claims.Name, got.Code)
			}
		}
		r.Stop()
	}
}

// TestRestartWithoutTheStore serves the snapshot when the store was waited for in vain.
func TestRestartWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	dir := t.TempDir()
	first := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	first.Stop()
	cfg := w.saving(dir)
	cfg.Store, cfg.Awaits = nil, true
	r, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	r.Hurry(resolver.Hurry{Await: 100 * time.Millisecond})
	begun := time.Now()
	if found, err := r.OpenSnapshot(t.Context()); !found || err != nil {
		t.Fatalf("the snapshot has nothing to serve: %v", err)
	}
	if got := <-answered(r.Handler(), a); got != w.token(a) || time.Since(begun) < 100*time.Millisecond {
		t.Errorf("it is answered after %v with %q", time.Since(begun), got)
	}
}

// TestStandingStillAgain stops the process while it catches up: what it read before is not
// enough to answer from.
func TestStandingStillAgain(t *testing.T) {
	t.Parallel()
	r, err := resolver.New(newWorld(t, storetest.SQLite(t)).config())
	if err != nil {
		t.Fatal(err)
	}
	first := r.StandStill()
	second := r.StandStill()
	if first(); !r.Late() {
		t.Error("answers do not wait for what was committed while the process stood still again")
	}
	if second(); r.Late() {
		t.Error("answers wait for ever")
	}
}

// TestStoppedWhileCatchingUp stops the process within a look for what memory lacks: what
// came meanwhile is not in it, so that answers wait for the next one.
func TestStoppedWhileCatchingUp(t *testing.T) {
	t.Parallel()
	var stood atomic.Int64
	cfg := newWorld(t, storetest.SQLite(t)).config()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(stood.Load())) }
	r, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	caughtUp := r.StandStill()
	stood.Add(int64(30 * time.Second))
	if caughtUp(); !r.Late() {
		t.Error("answers do not wait for what was committed while the process stood still")
	}
	again := r.StandStill()
	if again(); r.Late() {
		t.Error("answers wait for ever")
	}
}

// TestStoppedUntilTheLimit stops the process while answers wait, until after they had
// waited long enough: they wait once more, for nobody looked yet for what came meanwhile.
func TestStoppedUntilTheLimit(t *testing.T) {
	t.Parallel()
	var looks atomic.Int64
	cfg := newWorld(t, storetest.SQLite(t)).config()
	begun := time.Now()
	cfg.Now = func() time.Time {
		if looks.Add(1) == 1 {
			return begun
		}
		return begun.Add(time.Minute)
	}
	r, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	looks.Store(0)
	r.Await(time.Millisecond)
	eventually(t, "nobody waits for a store that is away", func() bool { return !r.Late() })
	// The limit is set twice, and each time it has passed it is asked whether the process stood still.
	if n := looks.Load(); n < 4 {
		t.Errorf("the clock was looked at %d times: answers did not wait once more", n)
	}
}

// TestStoppedAnywhere stops the process at each of the moments at which it looks at the
// clock: none of the stops is taken for a sign of life.
func TestStoppedAnywhere(t *testing.T) {
	t.Parallel()
	cfg := newWorld(t, storetest.SQLite(t)).config()
	for stop := int64(2); stop <= 4; stop++ {
		t.Run(fmt.Sprint("at look ", stop), func(t *testing.T) {
			t.Parallel()
			var looks atomic.Int64
			cfg := cfg
			cfg.Now = func() time.Time {
				now := time.Now()
				if looks.Add(1) >= stop {
					now = now.Add(time.Minute)
				}
				return now
			}
			r, err := resolver.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			looks.Store(0)
			ctx, cancel := context.WithCancel(t.Context())
			var beating sync.WaitGroup
			beating.Go(func() { r.Beat(ctx) })
			defer beating.Wait()
			defer cancel()
			eventually(t, "the stop", func() bool { return looks.Load() >= stop })
			eventually(t, "answers wait", r.Late)
		})
	}
}

// TestRestoredWhileFollowed restores the database under a resolver that runs: it is noticed,
// and everything is looked at again. Changes that follow have numbers that were followed
// before.
func TestRestoredWhileFollowed(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "sqlite")
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	sequencer := store.NewSequencer(s)
	sequencer.Start()
	t.Cleanup(sequencer.Stop)
	w := newWorld(t, s)
	a := w.account("a")
	before, older := w.token(a), a.version
	r := w.startWith(w.saving(t.TempDir()), resolver.Hurry{Poll: 50 * time.Millisecond})
	was := r.Followed()
	version := w.revoke(a, w.user(a, "gone"))
	eventually(t, "the revocation is followed", func() bool { return r.Version(a.id) == version && r.Followed() > was })
	raw := storetest.OpenRaw(t, dsn)
	raw.Run(t, `UPDATE accounts SET jwt = $1, jwt_version = $2 WHERE id = $3`, before, older, a.id)
	raw.Run(t, `DELETE FROM changes WHERE seq > 1`)
	raw.Run(t, `UPDATE sequencer SET change_seq = 1`)
	eventually(t, "the account is known to be behind", func() bool { return r.Snapshot().Behind == 1 })
	if r.Version(a.id) != version {
		t.Error("the restored database undid a revocation")
	}
}

// TestStandingStill has the clock jump, as it does for a process that was stopped, after
// a revocation that nobody told it of: the first answer has it. When the store is away,
// memory is answered all the same.
func TestStandingStill(t *testing.T) { //nolint:paralleltest // it counts allocations
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	var stood atomic.Int64
	cfg := w.config()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(stood.Load())) }
	r, err := resolver.New(cfg) // nobody wakes it
	if err != nil {
		t.Fatal(err)
	}
	r.Hurry(resolver.Hurry{Poll: time.Hour})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	h := r.Handler()
	for n := range 5 {
		before := w.token(a)
		version := w.revoke(a, w.user(a, "gone"))
		if got := <-answered(h, a); got != before {
			t.Fatalf("the commit was told of: version %d, %d", r.Version(a.id), version)
		}
		stood.Add(int64(30 * time.Second))
		if got := <-answered(h, a); got != w.token(a) {
			t.Fatalf("round %d: after a stop the account is answered as it was before", n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { r.Late() }); n != 0 {
		t.Errorf("looking at the time allocates %v times", n)
	}
	newest := w.token(a)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	stood.Add(int64(30 * time.Second))
	begun := time.Now()
	if got := <-answered(h, a); got != newest || time.Since(begun) > 5*time.Second {
		t.Errorf("without the store an account is answered after %v with %q", time.Since(begun), got)
	}
}
