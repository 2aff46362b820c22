package claims_test

import (
	"encoding/base32"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"chancery/claims"
)

// Every kind of key in the place of every other, and what only looks like a key.
func TestPublicKeys(t *testing.T) {
	t.Parallel()
	kinds := []claims.Kind{claims.KindOperator, claims.KindAccount, claims.KindUser, claims.KindServer}
	prefixes := map[string]nkeys.PrefixByte{
		"operator": nkeys.PrefixByteOperator, "account": nkeys.PrefixByteAccount, "user": nkeys.PrefixByteUser,
		"server": nkeys.PrefixByteServer, "cluster": nkeys.PrefixByteCluster, "curve": nkeys.PrefixByteCurve,
	}
	count := 0
	for _, kind := range kinds {
		for name, prefix := range prefixes {
			kp, err := nkeys.CreatePair(prefix)
			if err != nil {
				t.Fatal(err)
			}
			public, err := kp.PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			seed, err := kp.Seed()
			if err != nil {
				t.Fatal(err)
			}
			count += 2
			if got, want := claims.IsPublicKey(kind, public), name == string(kind); got != want {
				t.Errorf("%s for %s: %v", name, kind, got)
			}
			if problems := claims.CheckPublicKey("/key", kind, public); problems.Blocking() == (name == string(kind)) {
				t.Errorf("%s for %s: %+v", name, kind, problems)
			}
			problems := claims.CheckPublicKey("/key", kind, string(seed))
			if len(problems) != 1 || problems[0].Code != "seed_not_accepted" || strings.Contains(problems[0].Detail, string(seed)) {
				t.Errorf("the seed of %s for %s: %+v", name, kind, problems)
			}
		}
		key := newPair(t, kind).id
		last := key[len(key)-1:]
		other := "A"
		if last == other {
			other = "B"
		}
		for name, s := range map[string]string{
			"nothing": "", "small letters": strings.ToLower(key), "one letter short": key[:55], "one letter more": key + "A", "a wrong checksum": key[:55] + other,
			"a blank before": " " + key, "a line end": key + "\n", "another first letter": "Z" + key[1:], "digits outside base32": key[:10] + "01" + key[12:],
			"a look-alike": "\u0410" + key[1:], "full width": strings.Replace(key, key[:1], string(rune(key[0])+0xfee0), 1), "padding": key[:55] + "=",
			"only the letter": key[:1], "a NUL": key[:20] + "\x00" + key[21:],
		} {
			count++
			if claims.IsPublicKey(kind, s) {
				t.Errorf("%s: %s is a key", kind, name)
			}
			if problems := claims.CheckPublicKey("/key", kind, s); len(problems) != 1 || problems[0].Code != "invalid_key" || problems[0].Pointer != "/key" {
				t.Errorf("%s: %s: %+v", kind, name, problems)
			}
		}
	}
	if claims.IsPublicKey("curve", newPair(t, claims.KindUser).id) {
		t.Error("a kind that is none has keys")
	}
	if count < 100 {
		t.Errorf("%d keys", count)
	}
}

// A key is one if nkeys says so, with any character changed.
func TestPublicKeysAgreeWithNkeys(t *testing.T) {
	t.Parallel()
	kinds := []claims.Kind{claims.KindOperator, claims.KindAccount, claims.KindUser, claims.KindServer}
	rapid.Check(t, func(t *rapid.T) {
		prefix := nkeys.PrefixByte(rapid.Byte().Draw(t, "prefix"))
		if rapid.Bool().Draw(t, "a kind's") {
			prefix = rapid.SampledFrom(kinds).Draw(t, "kind").Prefix()
		}
		raw := append([]byte{byte(prefix)}, rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "raw")...)
		raw = binary.LittleEndian.AppendUint16(raw, crc16(raw))
		s := []byte(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			s[rapid.IntRange(0, len(s)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "to")
		}
		for _, kind := range kinds {
			plain := !strings.ContainsAny(string(s), "\r\n")
			want := plain && nkeys.IsValidPublicKey(string(s)) && nkeys.Prefix(string(s)) == kind.Prefix()
			if got := claims.IsPublicKey(kind, string(s)); got != want {
				t.Fatalf("%q is a key of %s: %v, want %v", s, kind, got, want)
			}
		}
	})
}

// crc16 is CRC-16/XMODEM, bit by bit.
func crc16(b []byte) (crc uint16) {
	for _, v := range b {
		for bit := 7; bit >= 0; bit-- {
			top := crc>>15 ^ uint16(v>>bit&1)
			crc = crc<<1 ^ top*0x1021
		}
	}
	return crc
}

func TestRedact(t *testing.T) {
	t.Parallel()
	user, account := newPair(t, claims.KindUser), newPair(t, claims.KindAccount)
	seed := user.seed(t).Reveal()
	token := sign(t, checked(t)(claims.BuildUser(aUser(t))), account, 1).Token
	creds := claims.FormatCreds(token, user.seed(t)).Reveal()
	api := "chy_pat_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijklm"
	for name, text := range map[string]string{
		"a seed":                   seed,
		"a seed in a sentence":     "the key is " + seed + ", keep it",
		"a seed after a word":      "seed_" + seed + "_end",
		"a seed within a word":     "x" + seed + "y",
		"a seed in JSON":           `{"seed":"` + seed + `"}`,
		"a seed in a URL":          "https://example.com/?s=" + seed + "&x",
		"a seed in small letters":  strings.ToLower(seed),
		"an account's seed":        account.seed(t).Reveal(),
		"a user JWT":               "Authorization: " + token,
		"a creds file":             creds,
		"a creds file on one line": strings.ReplaceAll(creds, "\n", `\n`),
		"an API token":             "Bearer " + api,
		"an API token in a URL":    "/x?token=" + api + "#y",
		"a link":                   "https://example.com/in#" + strings.Replace(api, "pat", "link", 1),
	} {
		out := claims.Redact(text)
		for _, secret := range []string{seed, strings.ToLower(seed), account.seed(t).Reveal(), token, api, strings.Replace(api, "pat", "link", 1)} {
			if strings.Contains(out, secret) {
				t.Errorf("%s is left in %q", name, out)
			}
		}
		if !strings.Contains(out, "redacted]") {
			t.Errorf("%s: nothing was redacted: %q", name, out)
		}
	}
	for _, harmless := range []string{"", "chy_", "account " + account.id + " of user " + user.id, "usr_0123456789abcdefghijklmnop", "eyJ.a.b", strings.Repeat("a", 64)} {
		if got := claims.Redact(harmless); got != harmless {
			t.Errorf("%q became %q", harmless, got)
		}
	}
}

// No private key is left, whatever stands around it.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"", aSeed, "x" + aSeed + aSeed, aSeed[:57], "eyJ" + aSeed + ".eyJ" + aSeed + ".x", "chy_pat_" + aSeed, strings.ToLower(aSeed) + "\n", "S" + aSeed, "SU" + aSeed[:40] + aSeed} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := claims.Redact(s)
		if claims.LooksLikeSeed(out) {
			t.Errorf("%q became %q", s, out)
		}
		if redacted := strings.Count(out, "[seed redacted]") > strings.Count(s, "[seed redacted]"); claims.LooksLikeSeed(s) != redacted {
			t.Errorf("%q looks like a seed: %v, redacted: %v", s, !redacted, redacted)
		}
	})
}

// What is redacted as a seed and what is refused as one is the same, also with one letter changed to those at the
// borders of the alphabet, or with one less.
func TestLooksLikeSeed(t *testing.T) {
	t.Parallel()
	good, count := 0, 0
	for _, seed := range []string{aSeed, strings.ToLower(aSeed), aSeed[:2] + strings.ToLower(aSeed[2:])} {
		for n := range seed {
			for _, c := range []byte("@AZ[`az{1278OoXxSs-\x00\x80\xff") {
				bent := "S" + seed[:n] + string([]byte{c}) + seed[n+1:] + "s"
				count++
				if got, want := claims.LooksLikeSeed(bent), strings.Contains(claims.Redact(bent), "[seed redacted]"); got != want {
					t.Errorf("%q looks like a seed: %v, want %v", bent, got, want)
					continue
				}
				good++
			}
			if short := seed[:n] + seed[n+1:]; claims.LooksLikeSeed(short) != strings.Contains(claims.Redact(short), "[seed redacted]") {
				t.Errorf("%q", short)
			}
		}
	}
	t.Logf("%d of %d texts are judged as they are redacted", good, count)
}

// curveKey is the public key of a new curve key.
func curveKey(t testing.TB) string {
	t.Helper()
	kp, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
