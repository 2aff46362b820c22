package custody_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/custody"
)

// place is where the key's seed belongs.
func place(k *custody.Key) custody.Identity {
	return custody.Identity{Kind: "account", Role: "signing", Public: k.Public(), OperatorID: "OPERATOR", AccountID: "ACCOUNT"}
}

// A sealed seed opens in its own place and in no other: every field of it counts.
func TestSealedToItsPlace(t *testing.T) {
	t.Parallel()
	set, k, other := ok(custody.NewKeyset())(t), key(t, claims.KindAccount), key(t, claims.KindAccount)
	at := place(k)
	sealed := ok(set.Seal(k, at))(t)
	if open := ok(set.Open(sealed, at))(t); open.Public() != k.Public() {
		t.Errorf("it opened to %s", open.Public())
	}
	if custody.DataKey(sealed) != set.Info().Primary || !bytes.HasPrefix(sealed, custody.Mark(set.Info().Primary)) {
		t.Error("it does not tell its data key")
	}
	moved := map[string]custody.Identity{}
	for _, value := range []string{"", "operator", "identity", "X", other.Public()} {
		for name, change := range map[string]func(d *custody.Identity){
			"kind": func(d *custody.Identity) { d.Kind = value }, "role": func(d *custody.Identity) { d.Role = value }, "public key": func(d *custody.Identity) { d.Public = value },
			"operator": func(d *custody.Identity) { d.OperatorID = value }, "account": func(d *custody.Identity) { d.AccountID = value },
		} {
			d := at
			change(&d)
			moved[name+" "+value] = d
		}
	}
	// Fields run into each other nowhere.
	moved["shifted"] = custody.Identity{Kind: "account|signing", Role: k.Public(), Public: k.Public(), OperatorID: "OPERATOR", AccountID: "ACCOUNT"}
	moved["joined"] = custody.Identity{Kind: "account", Role: "signing", Public: k.Public(), OperatorID: "OPERATOR|ACCOUNT"}
	refused := 0
	for name, d := range moved {
		if open, err := set.Open(sealed, d); err == nil || open != nil {
			t.Errorf("%s: it opens elsewhere", name)
			continue
		}
		refused++
	}
	t.Logf("%d of %d other places refused", refused, len(moved))
	for n := range sealed {
		bent := bytes.Clone(sealed)
		bent[n] ^= 1
		if _, err := set.Open(bent, at); err == nil {
			t.Errorf("with byte %d bent it opens", n)
		}
		if _, err := set.Open(sealed[:n], at); err == nil {
			t.Errorf("cut to %d bytes it opens", n)
		}
	}
	if _, err := set.Seal(k, place(other)); err == nil {
		t.Error("a key was sealed under another's name")
	}
	at.OperatorID = "a|b"
	if _, err := set.Seal(k, at); err == nil {
		t.Error("a key was sealed under a name with a separator")
	}
}

// A secret opens under its own name and in its own keyset only, never as a seed, and in no other form.
func TestSecrets(t *testing.T) {
	t.Parallel()
	set, other := ok(custody.NewKeyset())(t), ok(custody.NewKeyset())(t)
	secret := []byte("behind every challenge")
	sealed := ok(set.SealSecret(secret, "challenges"))(t)
	if got := ok(set.OpenSecret(sealed, "challenges"))(t); !bytes.Equal(got, secret) || bytes.Contains(sealed, secret) {
		t.Errorf("%q opens to %q", sealed, got)
	}
	if _, err := set.OpenSecret(sealed, "links"); err == nil {
		t.Error("it opens under another name")
	}
	for _, sealed := range [][]byte{nil, sealed[:4], ok(other.SealSecret(secret, "challenges"))(t)} {
		if _, err := set.OpenSecret(sealed, "challenges"); !errors.Is(err, custody.ErrUnknownDataKey) {
			t.Errorf("%x: %v", sealed, err)
		}
	}
	for n := range sealed {
		bent := bytes.Clone(sealed)
		bent[n] ^= 1
		if _, err := set.OpenSecret(bent, "challenges"); err == nil {
			t.Errorf("with byte %d bent it opens", n)
		}
	}
	k := key(t, claims.KindAccount)
	if _, err := set.OpenSecret(ok(set.Seal(k, place(k)))(t), "challenges"); err == nil {
		t.Error("a seed opens as a secret")
	}
	if _, err := set.Open(sealed, place(k)); err == nil {
		t.Error("a secret opens as a seed")
	}
}

// What a data key sealed opens as long as the keyset has that data key, and not after.
func TestDataKeys(t *testing.T) {
	t.Parallel()
	first, k := ok(custody.NewKeyset())(t), key(t, claims.KindOperator)
	at := place(k)
	old := ok(first.Seal(k, at))(t)
	second := ok(first.Add())(t)
	if a, b := first.Info(), second.Info(); len(a.DataKeys) != 1 || len(b.DataKeys) != 2 || b.DataKeys[0] != a.Primary || b.DataKeys[1] != b.Primary || a.Primary == b.Primary {
		t.Errorf("data keys %+v became %+v", a, b)
	}
	anew := ok(second.Reseal(old, at))(t)
	if custody.DataKey(anew) != second.Info().Primary {
		t.Error("it was not sealed with the new data key")
	}
	if _, err := second.Drop(second.Info().Primary); err == nil {
		t.Error("the primary data key was dropped")
	}
	third := ok(second.Drop(first.Info().Primary))(t)
	for n, c := range []struct {
		set    *custody.Keyset
		sealed []byte
		want   error
	}{{first, old, nil}, {second, old, nil}, {second, anew, nil}, {third, anew, nil}, {third, old, custody.ErrUnknownDataKey}, {first, anew, custody.ErrUnknownDataKey}, {first, nil, custody.ErrUnknownDataKey}} {
		if _, err := c.set.Open(c.sealed, at); !errors.Is(err, c.want) {
			t.Errorf("%d: %v, want %v", n, err, c.want)
		}
	}
	if _, err := first.WrapAgain(); err == nil {
		t.Error("a keyset that was never wrapped was wrapped again")
	}
}

// A keyset opens with the key that wrapped it alone, and tells its data keys without.
func TestWrapping(t *testing.T) {
	t.Parallel()
	set := ok(ok(custody.NewKeyset())(t).Add())(t)
	words := ok(custody.NewPassphrase("correct horse battery staple\r\n"))(t)
	keys := map[string]custody.KEK{
		"a key": kek(t), "another key": kek(t), "a passphrase": words, "another passphrase": ok(custody.NewPassphrase("correct horse battery stable"))(t), "nothing": {},
	}
	for with, k := range keys {
		if k.Empty() {
			continue
		}
		wrapped := ok(set.Wrap(k))(t)
		if diff := cmp.Diff(set.Info(), ok(wrapped.Info())(t)); diff != "" {
			t.Error(diff)
		}
		for by, other := range keys {
			want := custody.ErrWrongKEK
			if by == with {
				want = nil
			}
			if _, err := wrapped.Open(other); !errors.Is(err, want) {
				t.Errorf("wrapped with %s, opened with %s: %v", with, by, err)
			}
		}
		// Changed and wrapped again it opens with the same key, which has kept its name.
		again := ok(ok(ok(wrapped.Open(k))(t).Add())(t).WrapAgain())(t)
		if n := len(ok(again.Open(k))(t).Info().DataKeys); n != 3 || again.KEKID != wrapped.KEKID {
			t.Errorf("%d data keys, wrapped with %s and then %s", n, wrapped.KEKID, again.KEKID)
		}
		for n := range wrapped.Bytes {
			bent := custody.Wrapped{KEKID: wrapped.KEKID, Bytes: bytes.Clone(wrapped.Bytes)}
			if bent.Bytes[n] ^= 1; strings.HasPrefix(wrapped.KEKID, "passphrase") && n%128 != 17 {
				continue // each try derives a key
			}
			if set, err := bent.Open(k); err == nil && !slices.Equal(set.Info().DataKeys, ok(wrapped.Info())(t).DataKeys) {
				t.Errorf("%s: with byte %d bent it opens to other data keys", with, n)
			}
		}
	}
	// The same passphrase makes another key each time: its salt is new.
	if a, b := ok(set.Wrap(words))(t), ok(set.Wrap(words))(t); a.KEKID == b.KEKID || !strings.HasPrefix(a.KEKID, "passphrase-") {
		t.Errorf("%s and %s", a.KEKID, b.KEKID)
	}
}

// A keyset that is opened again, as it is while its row is locked, costs no second derivation: each takes 64 MiB.
func TestPassphraseIsDerivedOnce(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	words := ok(custody.NewPassphrase("correct horse battery staple"))(t)
	wrapped := ok(ok(custody.NewKeyset())(t).Wrap(words))(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		ok(wrapped.Open(words))(t)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 32 {
		t.Errorf("opening three times took %d MiB", n)
	}
	// Another salt is another key.
	other := ok(ok(custody.NewKeyset())(t).Wrap(words))(t)
	for _, w := range []custody.Wrapped{wrapped, other, wrapped} {
		ok(w.Open(words))(t)
	}
	if wrapped.KEKID == other.KEKID {
		t.Error("two derivations have the same key")
	}
}

// Parameters that would take all memory or all day are refused before they are tried.
func TestDerivationIsBounded(t *testing.T) {
	t.Parallel()
	words := ok(custody.NewPassphrase("correct horse battery staple"))(t)
	salt := base64.RawStdEncoding.EncodeToString(make([]byte, 16))
	for _, header := range []string{
		"$argon2id$v=19$m=1048577,t=3,p=4$" + salt, "$argon2id$v=19$m=65536,t=17,p=4$" + salt, "$argon2id$v=19$m=65536,t=3,p=17$" + salt, "$argon2id$v=19$m=65536,t=0,p=4$" + salt,
		"$argon2id$v=19$m=65536,t=3,p=0$" + salt, "$argon2id$v=19$m=7,t=3,p=1$" + salt, "$argon2id$v=19$m=65536,t=3,p=4$" + salt[:8], "$argon2id$v=19$m=99999999999,t=3,p=4$" + salt,
		"$argon2id$v=19$m=065536,t=3,p=4$" + salt, "$argon2id$v=19$m=65536,t=3,p=4$!!!", "$argon2i$v=19$m=65536,t=3,p=4$" + salt, "$", "$argon2id$v=19$m=65536,t=3,p=4$" + salt + " x",
	} {
		for _, end := range []string{"\n", "\nrest", ""} {
			w := custody.Wrapped{KEKID: "passphrase-0000000000000000", Bytes: []byte(header + end)}
			if _, err := w.Open(words); !errors.Is(err, custody.ErrDamaged) {
				t.Errorf("%s: %v", header, err)
			}
			if _, err := w.Info(); !errors.Is(err, custody.ErrDamaged) {
				t.Errorf("%s: %v", header, err)
			}
		}
	}
	if _, err := (custody.Wrapped{Bytes: []byte("\xff\xff")}).Info(); !errors.Is(err, custody.ErrDamaged) {
		t.Error("bytes that are no keyset have data keys")
	}
}

func TestKEKText(t *testing.T) {
	t.Parallel()
	k := kek(t)
	again := ok(custody.ParseKEK(k.Text().Reveal() + "\n"))(t)
	if again.ID() != k.ID() || k.ID() == kek(t).ID() || k.Empty() || !(custody.KEK{}).Empty() {
		t.Errorf("%s read again is %s", k.ID(), again.ID())
	}
	for name, text := range map[string]string{
		"nothing": "", "too short": "c2hvcnQ=", "too long": base64.StdEncoding.EncodeToString(make([]byte, 33)), "no base64": "MARKER!" + strings.Repeat("A", 37), "hex": strings.Repeat("ab", 32),
	} {
		if _, err := custody.ParseKEK(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := custody.NewKEK(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key of 31 bytes")
	}
	for _, text := range []string{"", "fifteen letters", "MARKER", "fifteen letters\n\n", strings.Repeat("x", 1025)} {
		if _, err := custody.NewPassphrase(text); err == nil || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%q as passphrase: %v", text, err)
		}
	}
	raw := ok(custody.NewKEK(bytes.NewReader(bytes.Repeat([]byte{0x41}, 32))))(t)
	words := ok(custody.NewPassphrase(strings.Repeat("A", 32)))(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{raw, &raw, words, &words, struct{ k custody.KEK }{raw}} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, "AAAA") || strings.Contains(out, "41414141") || strings.Contains(out, "65 65 65") {
				t.Errorf("%s shows the key: %s", verb, out)
			}
		}
	}
}

// Q13: whatever is sealed, rotated, sealed anew, wrapped and reopened, in any order, every seed opens in its place and
// in no other, and a data key goes only when nothing needs it.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	keks := []custody.KEK{kek(t), kek(t), kek(t)}
	seeds, steps := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		type seed struct {
			key    *custody.Key
			at     custody.Identity
			sealed []byte
		}
		must := func(err error) {
			if err != nil {
				r.Fatal(err)
			}
		}
		set, err := custody.NewKeyset()
		must(err)
		by := keks[0]
		var all []seed
		check := func() {
			for n, s := range all {
				open, err := set.Open(s.sealed, s.at)
				if err != nil || open.Public() != s.key.Public() {
					r.Fatalf("seed %d of %d: %v", n, len(all), err)
				}
				if other := all[(n+1)%len(all)]; len(all) > 1 {
					if _, err := set.Open(s.sealed, other.at); err == nil {
						r.Fatalf("seed %d opens in the place of another", n)
					}
				}
			}
		}
		r.Repeat(map[string]func(r *rapid.T){
			"seal": func(r *rapid.T) {
				k := key(t, rapid.SampledFrom([]claims.Kind{claims.KindOperator, claims.KindAccount}).Draw(r, "kind"))
				s := seed{key: k, at: custody.Identity{
					Kind: rapid.SampledFrom([]string{"operator", "account"}).Draw(r, "kind name"), Role: rapid.SampledFrom([]string{"identity", "signing"}).Draw(r, "role"),
					Public: k.Public(), OperatorID: rapid.SampledFrom([]string{"O1", "O2"}).Draw(r, "operator"), AccountID: rapid.SampledFrom([]string{"", "A1"}).Draw(r, "account"),
				}}
				s.sealed, err = set.Seal(k, s.at)
				must(err)
				all, seeds = append(all, s), seeds+1
			},
			"seal anew": func(r *rapid.T) {
				if len(all) == 0 {
					r.Skip()
				}
				s := &all[rapid.IntRange(0, len(all)-1).Draw(r, "seed")]
				s.sealed, err = set.Reseal(s.sealed, s.at)
				must(err)
			},
			"rotate": func(*rapid.T) { set, err = set.Add(); must(err) },
			"drop": func(r *rapid.T) {
				id := rapid.SampledFrom(set.Info().DataKeys).Draw(r, "data key")
				if id == set.Info().Primary || slices.ContainsFunc(all, func(s seed) bool { return custody.DataKey(s.sealed) == id }) {
					r.Skip()
				}
				set, err = set.Drop(id)
				must(err)
			},
			"wrap with another key": func(r *rapid.T) {
				by = rapid.SampledFrom(keks).Draw(r, "key")
				w, err := set.Wrap(by)
				must(err)
				set, err = w.Open(by)
				must(err)
			},
			"wrap again": func(r *rapid.T) {
				w, err := set.WrapAgain()
				if err != nil {
					r.Skip()
				}
				set, err = w.Open(by)
				must(err)
			},
			"": func(*rapid.T) { steps++; check() },
		})
	})
	t.Logf("%d seeds readable through %d steps", seeds, steps)
}
