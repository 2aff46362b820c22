// Package storetest hands each test its own migrated database, on SQLite and on
// a real PostgreSQL.
//
// It owns the throw-away databases and, where no PostgreSQL is given in
// CHANCERY_TEST_POSTGRES_URL, a private server started from the installed
// binaries, one for each test binary and gone with it even after a kill -9.
//
// It never touches a database that it did not create, and never lets a test pass
// quietly for want of PostgreSQL: the test is skipped with a reason, and fails
// when CI=true.
//
// Called by the tests of store and of every package above it, from an external
// test package (store_test) where an import cycle would arise; by no other code.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chancery/store"
)

const (
	sqlite     = "sqlite"
	postgreSQL = "postgres"

	// memory is where Linux keeps files in memory. Other systems have no such folder.
	memory = "/dev/shm"
)

// Dialects returns the names of the databases that every store test runs on.
func Dialects() []string { return []string{sqlite, postgreSQL} }

// Main is the whole of a package's TestMain: it runs the tests, stops the private
// PostgreSQL, fails the run when a goroutine outlived it but for those in known, and exits.
func Main(m *testing.M, known ...goleak.Option) {
	code := m.Run()
	shared.stop()
	if n := shared.skipped.Load(); n > 0 {
		fmt.Fprintf(os.Stderr, "!!! %d tests SKIPPED: %v\n", n, errNoPostgres)
	}
	if code == 0 {
		if err := goleak.Find(known...); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines outlived the tests: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Each runs f as one subtest for each dialect, on a fresh store.
func Each(t *testing.T, f func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Run(sqlite, func(t *testing.T) { f(t, SQLite(t)) })
	t.Run(postgreSQL, func(t *testing.T) { f(t, Postgres(t)) })
}

// SQLite returns a fresh store on a SQLite file; it is closed when the test ends.
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	return open(t, URL(t, sqlite))
}

// Postgres returns a fresh store on PostgreSQL; it is closed when the test ends.
// Without PostgreSQL the test ends here, skipped or failed.
func Postgres(t testing.TB) *store.Store {
	t.Helper()
	return open(t, URL(t, postgreSQL))
}

// URL returns the address of a fresh, migrated database of the dialect, which is
// removed when the test ends. Any number of stores may be opened on it.
func URL(t testing.TB, dialect string) string {
	t.Helper()
	switch dialect {
	case sqlite:
		return copySQLite(t)
	case postgreSQL:
		return shared.clone(t)
	}
	t.Fatalf("no dialect %q", dialect)
	return ""
}

// Clone returns the address of a copy of the database at url, which came from URL and
// which nobody has open; the copy is removed when the test ends.
func Clone(t testing.TB, url string) string {
	t.Helper()
	path, ok := strings.CutPrefix(url, "sqlite://")
	if !ok {
		return shared.copyOf(t, url)
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Fatal("the database to copy is still open")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return writeSQLite(t, content)
}

// EmptyURL is URL without the migrations.
func EmptyURL(t testing.TB, dialect string) string {
	t.Helper()
	switch dialect {
	case sqlite:
		return sqliteURL(filepath.Join(inMemory(t), "chancery.db"))
	case postgreSQL:
		return shared.empty(t)
	}
	t.Fatalf("no dialect %q", dialect)
	return ""
}

// inMemory returns a folder that is removed when the test ends, in memory where the
// system keeps one: the store syncs every commit, which took two thirds of the tests'
// time, and what a test stores need not survive a power cut.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory, "chancery-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func sqliteURL(path string) string { return "sqlite://" + filepath.ToSlash(path) }

// copySQLite writes a copy of the migrated template, which costs a tenth of migrating anew.
func copySQLite(t testing.TB) string {
	t.Helper()
	template, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	return writeSQLite(t, template)
}

// writeSQLite writes a database file of its own for the test.
func writeSQLite(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(inMemory(t), "chancery.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return sqliteURL(path)
}

// sqliteTemplate holds the bytes of a migrated database. The last Close of a database folds its write-ahead
// log into the file, so the one file is all of it.
var sqliteTemplate = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "chancery-sqlite-")
	if err != nil {
		return nil, fmt.Errorf("making the directory of the SQLite template: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "template.db")
	if err := migrate(context.Background(), sqliteURL(path)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return nil, errors.New("closing the store left a write-ahead log behind")
	}
	return os.ReadFile(path)
})

func config(url string) store.Config {
	return store.Config{URL: url, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), config(url))
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// migrate brings the empty database at url to the newest schema.
func migrate(ctx context.Context, url string) error {
	s, err := store.Open(ctx, config(url))
	if err != nil {
		return fmt.Errorf("opening the template: %w", err)
	}
	if err := errors.Join(s.Migrate(ctx), s.Close()); err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	return nil
}
