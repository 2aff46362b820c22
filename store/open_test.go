package store_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/store"
	"chancery/store/storetest"
)

func config(url string) store.Config {
	return store.Config{URL: url, Now: func() time.Time { return epoch }, Logger: slog.New(slog.DiscardHandler)}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]store.Config{
		"nothing":                {},
		"no clock":               {URL: "sqlite:///tmp/x.db", Logger: slog.New(slog.DiscardHandler)},
		"no logger":              {URL: "sqlite:///tmp/x.db", Now: time.Now},
		"no URL":                 config(""),
		"another database":       config("mysql://MARKER@localhost/x"),
		"no file":                config("sqlite://"),
		"a folder for a file":    config("sqlite://" + t.TempDir()),
		"a path below a file":    config("sqlite://" + filepath.Join(os.Args[0], "x.db")),
		"a broken URL":           config("postgres://u:MARKER@[::1/x"),
		"a port that is none":    config("postgres://u:MARKER@localhost:port/x"),
		"nobody at the address":  config("postgres://u:MARKER@127.0.0.1:1/x?connect_timeout=2"),
		"an unknown setting":     config("postgres://u:MARKER@127.0.0.1:1/x?sslmode=MARKER"),
		"a broken pool size":     config("postgres://u:MARKER@127.0.0.1:1/x?pool_max_conns=many"),
		"a host that is not one": config("postgres://u:MARKER@no.such.host.invalid/x?connect_timeout=2"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := store.Open(t.Context(), c)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if strings.Contains(err.Error(), "MARKER") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

// A wrong password is told as such, without the password.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(storetest.URL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("nobody_here", "MARKER")
	s, err := store.Open(t.Context(), config(u.String()))
	if err == nil {
		_ = s.Close()
		t.Log("this server lets everybody in")
		return
	}
	if strings.Contains(err.Error(), "MARKER") {
		t.Errorf("the password is in the error: %v", err)
	}
}

// One process at a time holds a SQLite file; the next one may have it when the first is done, however it ended.
func TestFileIsHeld(t *testing.T) {
	t.Parallel()
	address := storetest.URL(t, "sqlite")
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), holdFile+"="+address)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 5)
	if _, err := out.Read(ready); err != nil || string(ready) != "held\n" {
		t.Fatalf("%q, %v", ready, err)
	}
	if s, err := store.Open(t.Context(), config(address)); !errors.Is(err, store.ErrHeld) {
		if err == nil {
			_ = s.Close()
		}
		t.Errorf("beside another process: %v, want %v", err, store.ErrHeld)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // killed
	s, err := store.Open(t.Context(), config(address))
	if err != nil {
		t.Fatalf("after the other one was killed: %v", err)
	}
	if second, err := store.Open(t.Context(), config(address)); !errors.Is(err, store.ErrHeld) {
		if err == nil {
			_ = second.Close()
		}
		t.Errorf("twice in one process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	s, err = store.Open(t.Context(), config(address))
	if err != nil {
		t.Fatalf("after it was closed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// holdFile makes this test binary open a database, say so, and wait to be killed.
const holdFile = "CHANCERY_TEST_HOLD"

func hold(address string) {
	word := "held\n"
	if _, err := store.Open(context.Background(), config(address)); err != nil {
		word = err.Error()
	}
	_, _ = os.Stdout.WriteString(word)
	select {}
}

// A file may be called anything, is nobody else's to read, and after Close is all there is.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.db", "with space.db", "per%cent%20.db", "question?mode=memory", "hash#tag.db", "sub/folder/x.db", "ünï.db", "a&b=c.db", "file:x.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), filepath.FromSlash(name))
			s, err := store.Open(t.Context(), config("sqlite://"+path))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return tx.CreatePerson(ctx, store.Person{ID: "per_1", Name: "ada"}, "test")
			}); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			if err != nil || len(files) < 2 {
				t.Fatalf("%v, %v", files, err)
			}
			for _, f := range files {
				if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s: %v, %v", f, info.Mode(), err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a write-ahead log is left: %v", err)
			}
		})
	}
}
