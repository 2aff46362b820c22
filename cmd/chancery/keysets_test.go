package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// hostArgs are the settings of serveArgs, for commands that work on the database itself, and where its key is.
func hostArgs(t *testing.T, dsn string) (args []string, kekFile string) {
	t.Helper()
	serve, _ := serveArgs(t, dsn)
	for n, a := range serve {
		if a == "--kek-file" {
			kekFile = serve[n+1]
		}
	}
	return serve[1:], kekFile
}

// onStore runs f on the database, which nobody else holds.
func onStore(t *testing.T, dsn string, f func(s *store.Store, i *issuer.Issuer)) {
	t.Helper()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	i, err := issuer.Open(t.Context(), issuer.Config{Store: s, Now: time.Now, Logger: slog.New(slog.DiscardHandler), KEK: kek})
	must(t, err)
	f(s, i)
	must(t, s.Close())
}

// sealMany seals n seeds in rows of their own.
func sealMany(t *testing.T, dsn string, n int) {
	t.Helper()
	onStore(t, dsn, func(s *store.Store, _ *issuer.Issuer) {
		must(t, s.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			row, err := tx.GetKeyset(ctx, "seeds")
			must(t, err)
			kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
			must(t, err)
			keys, err := custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}.Open(kek)
			must(t, err)
			for range n {
				open, err := custody.NewKey(claims.KindAccount, rand.Reader)
				must(t, err)
				k := store.Key{ID: open.Public(), Kind: "account", Role: "signing", OperatorID: "O", AccountID: "A", State: "current", Custody: "sealed"}
				k.Sealed, err = keys.Seal(open, custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: "O", AccountID: "A"})
				must(t, err)
				k.DataKey = custody.DataKey(k.Sealed)
				must(t, tx.CreateKey(ctx, k))
			}
			return nil
		}))
	})
}

// readableSeeds opens every seed with the key that the test began with.
func readableSeeds(t *testing.T, dsn string) (n, dataKeys int) {
	t.Helper()
	onStore(t, dsn, func(s *store.Store, i *issuer.Issuer) {
		kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
		must(t, err)
		status, err := i.KeysetStatus(t.Context(), issuer.System("test"))
		must(t, err)
		dataKeys = len(status.DataKeys)
		var row store.Keyset
		var all []store.Key
		must(t, s.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			if row, err = tx.GetKeyset(ctx, "seeds"); err == nil {
				all, err = tx.KeysToReseal(ctx, 1, nil, "", 1<<20)
			}
			return err
		}))
		keys, err := custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}.Open(kek)
		must(t, err)
		for _, k := range all {
			if open, err := keys.Open(k.Sealed, custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: k.OperatorID, AccountID: k.AccountID}); err != nil {
				t.Errorf("%s: %v", k.ID, err)
			} else {
				open.Wipe()
				n++
			}
		}
	})
	return n, dataKeys
}

// C14: the command is killed with kill -9 in the middle of its work, again and again: every seed stays readable, and
// one that is let run finishes it.
func TestKillRotation(t *testing.T) {
	t.Parallel()
	const seeds, kills = 800, 5
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			alone(t)
			dsn := storetest.URL(t, d)
			sealed := 0
			onStore(t, dsn, func(*store.Store, *issuer.Issuer) {}) // makes the keyset
			sealMany(t, dsn, seeds)
			args, _ := hostArgs(t, dsn)
			raw := storetest.OpenRaw(t, dsn)
			cut := 0
			for n := range kills {
				var before int64
				must(t, raw.QueryRowContext(t.Context(), `SELECT version FROM keysets`).Scan(&before))
				cmd, _, _ := child(t, append([]string{"key", "rotate-data-key"}, args...)...)
				eventually(t, "the rotation is under way", func() bool {
					var version, old int64
					must(t, raw.QueryRowContext(t.Context(), `SELECT version, (SELECT count(*) FROM keys WHERE data_key <> (SELECT data_key FROM keys GROUP BY data_key ORDER BY count(*) DESC LIMIT 1)) FROM keysets`).Scan(&version, &old))
					return version > before+1 || version > before && (n == 0 || old >= int64(n*100))
				})
				must(t, cmd.Process.Signal(syscall.SIGKILL))
				_ = cmd.Wait()
				readable, dataKeys := readableSeeds(t, dsn)
				sealed += readable
				if readable != seeds {
					t.Errorf("kill %d: %d of %d readable", n, readable, seeds)
				}
				if dataKeys == 2 {
					cut++
				}
			}
			code, out, errs := inProcess(t, append([]string{"key", "rotate-data-key", "--json"}, args...)...)
			var status issuer.KeysetStatus
			must(t, json.Unmarshal([]byte(out), &status))
			if readable, dataKeys := readableSeeds(t, dsn); code != 0 || len(status.DataKeys) != 1 || status.DataKeys[0].Seeds != seeds || readable != seeds || dataKeys != 1 {
				t.Errorf("in the end: exit code %d, %+v, %d readable, %s", code, status, readable, errs)
			}
			if cut == 0 {
				t.Error("no kill came in the middle of a rotation")
			}
			t.Logf("%d kills, %d in the middle of a rotation; %d of %d times a seed was readable after a kill; %d of %d readable in the end", kills, cut, sealed, kills*seeds, seeds, seeds)
		})
	}
}

// The three commands say what they did, and what is needed from then on; repeated they do no harm.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.URL(t, d)
			onStore(t, dsn, func(_ *store.Store, i *issuer.Issuer) {
				_, err := i.CreateOperator(t.Context(), issuer.Op{Caller: issuer.System("test")}, issuer.OperatorInput{Name: "acme"})
				must(t, err)
			})
			args, kekFile := hostArgs(t, dsn)
			newFile := filepath.Join(t.TempDir(), "new")
			must(t, os.WriteFile(newFile, []byte(kekText(t, "n")), 0o600))
			words := filepath.Join(t.TempDir(), "words")
			must(t, os.WriteFile(words, []byte("six words that nobody will guess\n"), 0o600))
			oldID, newID := kekID(t, "k"), kekID(t, "n")
			said := func(wantCode int, want string, command ...string) string {
				t.Helper()
				code, out, errs := inProcess(t, append(append([]string{"key"}, command...), args...)...)
				if code != wantCode || !strings.Contains(out+errs, want) {
					t.Errorf("%v: exit code %d, %s%s, want %d and %q", command, code, out, errs, wantCode, want)
				}
				return out
			}
			said(0, oldID, "status")
			said(0, ": 3 seeds", "status")
			said(0, "3 seeds would be sealed anew", "rotate-data-key", "--dry-run")
			said(0, "3 seeds were sealed anew", "rotate-data-key")
			said(0, `"seeds": 3`, "rotate-data-key", "--json")
			said(exitUsage, "the new key-encryption key is missing", "rewrap")
			said(exitUsage, "new_kek_file: these exclude each other", "rewrap", "--new-kek-file", newFile, "--new-kek-passphrase-file", words)
			said(0, "can be wrapped with the new key-encryption key", "rewrap", "--dry-run", "--new-kek-file", newFile)
			said(0, "wrapped with the key-encryption key "+newID, "rewrap", "--new-kek-file", newFile)
			said(0, "already", "rewrap", "--new-kek-file", newFile) // with the old key in the configuration
			// The old key does not do any more, and all say which one is needed.
			said(exitNo, newID, "status")
			said(exitFailure, newID, "rotate-data-key")
			said(exitFailure, newID, "rewrap", "--new-kek-passphrase-file", words)
			must(t, os.WriteFile(kekFile, []byte(kekText(t, "n")), 0o600))
			said(0, "the key given opens it", "status")
			// A server's file is left alone, and a seed that is lost is told of.
			if d == "sqlite" {
				s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
				must(t, err)
				said(exitFailure, "stop the server first", "rotate-data-key")
				must(t, s.Close())
			}
			raw := storetest.OpenRaw(t, dsn)
			raw.Run(t, `CREATE TABLE kept AS SELECT id, sealed FROM keys`)
			raw.Run(t, `UPDATE keys SET sealed = $1 WHERE kind = 'account' AND sealed IS NOT NULL`, append(custody.Mark(7), 1, 2, 3))
			said(exitNo, "LOST", "status")
			raw.Run(t, `UPDATE keys SET sealed = (SELECT k.sealed FROM kept k WHERE k.id = keys.id)`)
			said(0, "wrapped with the key-encryption key passphrase-", "rewrap", "--new-kek-passphrase-file", words)
			for n, a := range args {
				if a == "--kek-file" {
					args[n], args[n+1] = "--kek-passphrase-file", words
				}
			}
			var status keysetAnswer
			must(t, json.Unmarshal([]byte(said(0, "", "status", "--json")), &status))
			if !status.Open || !strings.HasPrefix(status.KEKID, "passphrase-") || len(status.DataKeys) != 1 || status.DataKeys[0].Seeds != 3 {
				t.Errorf("%+v", status)
			}
			said(0, "3 seeds were sealed anew", "rotate-data-key")
			said(0, status.KEKID, "status")

			args = append(args, "--kek-file", newFile)
			said(exitUsage, "kek_file: these exclude each other: kek_file, kek_passphrase_file", "status")
		})
	}
}

func kekID(t *testing.T, letter string) string {
	t.Helper()
	kek, err := custody.ParseKEK(kekText(t, letter))
	must(t, err)
	return kek.ID()
}

// What is not a terminal gets a line every five seconds.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	now := time.Unix(0, 0)
	p := newProgress(environment{stderr: &out}, "seeds")
	p.now, p.last = func() time.Time { return now }, now
	for n := range int64(12) {
		now = now.Add(time.Second)
		p.show(n*100, 1200)
	}
	p.end()
	if want := "seeds  400/1200\nseeds  900/1200\n"; out.String() != want || p.done != 1100 {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out = lockedBuffer{}
	p.w, p.terminal = &out, true
	p.show(1, 2)
	p.show(2, 2)
	p.end()
	if want := fmt.Sprintf("\r%s\r%s\n", "seeds  1/2", "seeds  2/2"); out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
