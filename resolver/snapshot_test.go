package resolver_test

import (
	"encoding/base64"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// saving is config with a snapshot.
func (w *world) saving(dir string) resolver.Config {
	cfg := w.config()
	cfg.Snapshot = dir
	return cfg
}

// alone is a resolver that has nothing but a snapshot.
func (w *world) alone(dir string, anchors ...string) (*resolver.Resolver, bool) {
	w.t.Helper()
	cfg := w.config()
	cfg.Store, cfg.Snapshot, cfg.Anchors = nil, dir, anchors
	r, err := resolver.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Stop)
	found, err := r.OpenSnapshot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r, found
}

// saved waits until the base file is there, which is what a kill may then find.
func (w *world) saved(dir string) {
	w.t.Helper()
	eventually(w.t, "a snapshot", func() bool {
		_, err := os.Stat(filepath.Join(dir, "base"))
		return err == nil
	})
}

// TestSnapshotServesAlone edits after the snapshot was written, copies the folder as it
// is at that moment, as a kill leaves it, and serves from the copy.
func TestSnapshotServesAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		a, b := w.account("a"), w.account("b")
		dir, copied := t.TempDir(), t.TempDir()
		r := w.startWith(w.saving(dir), resolver.Hurry{})
		w.saved(dir)
		version := w.revoke(a, w.user(a, "gone"))
		late := w.account("late")
		eventually(t, "the edits are served", func() bool { return r.Version(a.id) == version && r.Version(late.id) == late.version })
		// What was served at this moment is on the disk at this moment.
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		alone, found := w.alone(copied, w.operator)
		if !found {
			t.Fatal("the snapshot has nothing to serve")
		}
		h := alone.Handler()
		for _, x := range []*account{a, b, late, w.system} {
			if got := get(h, http.MethodGet, "/jwt/v1/accounts/"+x.id); got.Code != 200 || got.Body.String() != w.token(x) {
				t.Errorf("%s is answered with %d", x.claims.Name, got.Code)
			}
		}
		_, stranger := newPair(t, claims.KindAccount)
		for path, want := range map[string]int{
			"/jwt/v1/accounts/": 200, "/jwt/v1/operator": 200, "/o/" + w.operator + "/jwt/v1/accounts/" + a.id: 200,
			"/jwt/v1/accounts/" + stranger: 404,
		} {
			if got := get(h, http.MethodGet, path); got.Code != want {
				t.Errorf("%s is answered with %d, want %d", path, got.Code, want)
			}
		}
		if state := alone.Snapshot(); state.FromStore || state.Saved.IsZero() || state.Refused > 0 || state.Failing != "" {
			t.Errorf("the snapshot is %+v", state)
		}
		// Another trust anchor believes none of it.
		_, other := newPair(t, claims.KindOperator)
		if alone, found := w.alone(copied, other); found || get(alone.Handler(), http.MethodGet, "/jwt/v1/accounts/"+a.id).Code != 503 {
			t.Error("a snapshot of an operator that is not trusted is served")
		}
	})
}

// TestServedOnceOnTheDisk holds the disk up: a version that it has not taken is not served,
// since it would be lost with the power.
func TestServedOnceOnTheDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	dir := t.TempDir()
	r := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	eventually(t, "the base file is finished", func() bool { return !r.Snapshot().Saved.IsZero() })
	waiting, release := r.HoldDisk()
	version := w.revoke(a, w.user(a, "gone"))
	eventually(t, "somebody waits for the disk", waiting)
	if got := r.Version(a.id); got >= version {
		t.Errorf("version %d is served before it is on the disk", got)
	}
	release()
	eventually(t, "it is served", func() bool { return r.Version(a.id) == version })
}

// TestSnapshotIsOldOrNew truncates and flips a small snapshot at every fourth byte, from
// another one each time; CHANCERY_EVERY_BYTE=1 tries all of them. Truncated,
// as a write that was cut short, an account is served as it was at some time; flipped,
// as a disk that rots, it is served as it is or not at all. It is never served older
// than the base file has it.
func TestSnapshotIsOldOrNew(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	w := newWorld(t, s)
	a, b := w.account("a"), w.account("b")
	dir := t.TempDir()
	r := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	if err := r.Rewrite(); err != nil {
		t.Fatal(err)
	}
	signed := map[string]bool{w.token(a): true, w.token(b): true, w.token(w.system): true}
	first := map[string]int64{a.id: a.version, b.id: b.version, w.system.id: w.system.version}
	for n := range 3 {
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Conn = int64(n) })
		eventually(t, "the edit", func() bool { return r.Version(a.id) == version })
		signed[w.token(a)] = true
	}
	version := w.edit(b, func(c *claims.Account) { c.Settings.Limits.Conn = 1 })
	eventually(t, "the edit", func() bool { return r.Version(b.id) == version })
	signed[w.token(b)] = true
	r.Stop()
	newest := map[string]int64{a.id: a.version, b.id: b.version, w.system.id: w.system.version}

	step := 4
	if os.Getenv("CHANCERY_EVERY_BYTE") != "" {
		step = 1
	}
	start := rand.IntN(step)
	work := t.TempDir()
	cases, whole, refused := 0, 0, 0
	try := func(name string, text []byte, rots bool) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		served, lost, nameless, err := resolver.ReadSnapshot(work)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cases++
		unsure := map[string]bool{}
		for _, id := range lost {
			unsure[id] = true
		}
		for id, want := range newest {
			got, ok := served[id]
			switch {
			case ok && !signed[got.Token]:
				t.Fatalf("%s of %d bytes: %.8s is served as it never was", name, len(text), id)
			case ok && got.Version == want:
				whole++
			case !ok && (unsure[id] || nameless):
				refused++
			case !rots && ok && got.Version >= first[id] && got.Version < want:
			default:
				t.Fatalf("%s of %d bytes: %.8s is served in version %d, want %d; lost %t, nameless %t", name, len(text), id, got.Version, want, unsure[id], nameless)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string][]byte{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = text
	}
	for name, text := range texts {
		for other, text := range texts {
			if err := os.WriteFile(filepath.Join(work, other), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(name, "journal-") {
			for n := start; n < len(text); n += step {
				try(name, text[:n], false)
			}
		}
		flipped := make([]byte, len(text))
		for n := start; n < len(text); n += step {
			copy(flipped, text)
			flipped[n] ^= 1 << rand.IntN(8)
			try(name, flipped, true)
		}
		try(name, text, true)
	}
	// A base file that is being written is not looked at.
	for n := 0; n < len(texts["base"]); n += 97 {
		try("base.new", texts["base"][:n], true)
	}
	t.Logf("snapshot: %d of %d damages leave every account as it was or refused: %d newest, %d refused, of %d", cases, cases, whole, refused, cases*len(newest))
}

// TestSnapshotKeepsARestoredDatabaseFromUndoing restores the database to before a
// revocation while the resolver is away.
func TestSnapshotKeepsARestoredDatabaseFromUndoing(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.URL(t, d)
			s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			w := newWorld(t, s)
			a, b := w.account("a"), w.account("b")
			dir := t.TempDir()
			before, older := w.token(a), a.version
			r := w.startWith(w.saving(dir), resolver.Hurry{})
			w.saved(dir)
			version := w.revoke(a, w.user(a, "gone"))
			eventually(t, "the revocation is served", func() bool { return r.Version(a.id) == version })
			revoked := w.token(a)
			lost := w.account("made after the backup")
			eventually(t, "the new account is served", func() bool { return r.Version(lost.id) == lost.version })
			made := w.token(lost)
			r.Stop()
			raw := storetest.OpenRaw(t, dsn)
			for _, table := range []string{"jwts WHERE subject", "outbox WHERE account_id", "accounts WHERE id"} {
				raw.Run(t, `DELETE FROM `+table+` = $1`, lost.id)
			}
			raw.Run(t, `UPDATE accounts SET jwt = $1, jwt_version = $2 WHERE id = $3`, before, older, a.id)
			raw.Run(t, `DELETE FROM jwts WHERE subject = $1 AND jwt_version > $2`, a.id, older)

			cfg := w.saving(dir)
			metrics := prometheus.NewRegistry()
			cfg.Metrics = metrics
			again := w.startWith(cfg, resolver.Hurry{})
			if got := get(again.Handler(), http.MethodGet, "/jwt/v1/accounts/"+a.id); got.Body.String() != revoked {
				t.Error("the restored database undid a revocation")
			}
			if got := get(again.Handler(), http.MethodGet, "/jwt/v1/accounts/"+b.id); got.Body.String() != w.token(b) {
				t.Errorf("an account that the database has as it was is answered with %d", got.Code)
			}
			if got := get(again.Handler(), http.MethodGet, "/jwt/v1/accounts/"+lost.id); got.Body.String() != made {
				t.Errorf("an account that the database lost is answered with %d", got.Code)
			}
			eventually(t, "both accounts are known to be behind", func() bool {
				return again.Snapshot().Behind == 2 && gauge(t, metrics, "chancery_database_behind") == 2
			})
			// A new version that is later than what was served ends the alarm.
			for w.edit(a, func(c *claims.Account) { c.Settings.Limits.Conn++ }) <= version {
			}
			eventually(t, "the alarm of that one ends", func() bool { return again.Snapshot().Behind == 1 })
		})
	}
}

// TestSnapshotOnADiskThatFails serves a change all the same, says so, and recovers.
func TestSnapshotOnADiskThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	dir := t.TempDir()
	r := w.startWith(w.saving(dir), resolver.Hurry{})
	w.saved(dir)
	eventually(t, "the base file is finished", func() bool { return !r.Snapshot().Saved.IsZero() })
	if err := r.Unsave(); err != nil {
		t.Fatal(err)
	}
	version := w.revoke(a, w.user(a, "gone"))
	eventually(t, "the revocation is served", func() bool { return r.Version(a.id) == version })
	eventually(t, "the snapshot is written anew", func() bool {
		served, _, _, err := resolver.ReadSnapshot(dir)
		return err == nil && served[a.id].Version == version && r.Snapshot().Failing == ""
	})
}

// TestSnapshotBelievesSignatures puts into a snapshot what whoever may write to the folder
// can: no JWT is served that a key of the operator did not sign, for this account and
// second.
func TestSnapshotBelievesSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a, b := w.account("a"), w.account("b")
	stranger, strangerKey := newPair(t, claims.KindOperator)
	signer, signerKey := newPair(t, claims.KindOperator)
	operator := func(by nkeys.KeyPair, strict bool, keys ...string) store.Operator {
		c := jwt.NewOperatorClaims(w.operator)
		c.StrictSigningKeyUsage = strict
		c.SigningKeys.Add(keys...)
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return store.Operator{ID: w.operator, Name: "op", JWT: token, JWTVersion: 1, IssuedAt: c.IssuedAt}
	}
	account := func(by nkeys.KeyPair) store.Served {
		c := jwt.NewAccountClaims(a.id)
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return store.Served{AccountID: a.id, OperatorID: w.operator, Version: 1, IssuedAt: c.IssuedAt, Token: token}
	}
	// renamed has a header that nats-io/jwt does not write, and reads.
	renamed := func(s store.Served, by nkeys.KeyPair) store.Served {
		input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ed25519-nkey","typ":"JWT"}`)) + "." + strings.Split(s.Token, ".")[1]
		signature, err := by.Sign([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		s.Token = input + "." + base64.RawURLEncoding.EncodeToString(signature)
		return s
	}
	usual := operator(w.pair, false, signerKey)
	own := account(w.pair)
	otherAccount, otherSecond, changed := own, own, own
	otherAccount.AccountID = b.id
	otherSecond.IssuedAt++
	changed.Token = own.Token[:strings.LastIndexByte(own.Token, '.')] + account(signer).Token[strings.LastIndexByte(own.Token, '.'):]
	good := 0
	cases := []struct {
		name     string
		operator store.Operator
		account  store.Served
		want     bool
	}{
		{"by the identity", usual, own, true},
		{"by a signing key", usual, account(signer), true},
		{"with another header", usual, renamed(own, w.pair), true},
		{"by a stranger", usual, account(stranger), false},
		{"by a stranger, with another header", usual, renamed(account(stranger), stranger), false},
		{"with a signature of something else", usual, changed, false},
		{"of another account", usual, otherAccount, false},
		{"of another second", usual, otherSecond, false},
		{"by the identity of a strict operator", operator(w.pair, true, signerKey), own, false},
		{"by a signing key of a strict operator", operator(w.pair, true, signerKey), account(signer), true},
		{"of an operator that a stranger signed", operator(stranger, false, strangerKey), account(stranger), false},
	}
	for _, c := range cases {
		dir := t.TempDir()
		if err := resolver.WriteSnapshot(dir, c.operator, slices.Values([]store.Served{c.account})); err != nil {
			t.Fatal(err)
		}
		r, _ := w.alone(dir, w.operator)
		got := get(r.Handler(), http.MethodGet, "/o/"+w.operator+"/jwt/v1/accounts/"+c.account.AccountID)
		if served := got.Code == http.StatusOK && got.Body.String() == c.account.Token; served != c.want {
			t.Errorf("%s: it is answered with %d", c.name, got.Code)
			continue
		}
		good++
	}
	t.Logf("signatures: %d of %d", good, len(cases))
}

func gauge(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
