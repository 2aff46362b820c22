package nsc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
)

// What nsc made is read without a problem and written again byte for byte.
func TestReadAndWriteAreByteEqual(t *testing.T) {
	t.Parallel()
	equal, total := 0, 0
	for operator := range archives {
		original := unpack(t, operator)
		s := read(t, original, operator)
		if len(s.Problems) > 0 {
			t.Errorf("%s: %+v", operator, s.Problems)
		}
		written := write(t, s)
		total += len(original)
		for p, f := range original {
			got := written[p]
			if got == nil {
				t.Errorf("%s is not written", p)
			} else if string(got.Data) != string(f.Data) || got.Mode != f.Mode {
				t.Errorf("%s is written differently", p)
			} else {
				equal++
			}
			delete(written, p)
		}
		for p := range written {
			t.Errorf("%s is written and was not there", p)
		}
		if diff := cmp.Diff(s, read(t, write(t, s), operator), secrets); diff != "" {
			t.Errorf("%s, read again: %s", operator, diff)
		}
	}
	t.Logf("read and write: %d of %d files byte-equal", equal, total)
}

func TestStoreKnowsWhatItHolds(t *testing.T) {
	t.Parallel()
	acme := read(t, unpack(t, "acme"), "acme")
	if acme.Managed || acme.Operator.Claims().Name != "acme" || len(acme.Missing) > 0 {
		t.Errorf("%+v %+v", acme.Operator, acme.Missing)
	}
	var names []string
	for _, a := range acme.Accounts {
		for _, u := range a.Users {
			names = append(names, a.Name+"/"+u.Name)
			if u.Creds.Empty() {
				t.Errorf("%s/%s: no creds", a.Name, u.Name)
			}
		}
	}
	want := "AUTH/callout AUTH/sentinel BILLING/clerk ORDERS/d1 ORDERS/d2 ORDERS/leaver ORDERS/office ORDERS/svc ORDERS/temp SHIPPING/truck SYS/sys"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	kinds := map[byte]int{}
	for key := range acme.Keys {
		kinds[key[0]]++
	}
	if diff := cmp.Diff(map[byte]int{'O': 2, 'A': 8, 'U': 11, 'X': 1}, kinds); diff != "" {
		t.Error(diff)
	}
	vault := read(t, unpack(t, "vault"), "vault")
	if diff := cmp.Diff([]nsc.Missing{{Key: vault.Operator.Claims().Subject, Use: nsc.UseIdentity}}, vault.Missing); diff != "" {
		t.Error(diff)
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	maps.Copy(data, unpack(t, "vault"))
	data["stores/not-a-store/x.jwt"] = data["stores/acme/acme.jwt"]
	data["stores/a-file"] = data["stores/acme/acme.jwt"]
	names, err := nsc.Operators(dirs(t, data).Stores)
	if err != nil || !slices.Equal(names, []string{"acme", "vault"}) {
		t.Errorf("%q, %v", names, err)
	}
	// The keys of both are in one directory; each store takes its own.
	if got, want := len(read(t, data, "vault").Keys), len(read(t, unpack(t, "vault"), "vault").Keys); got != want {
		t.Errorf("%d keys, want %d", got, want)
	}
	for _, name := range []string{"nobody", "", "..", "../stores/acme", "not-a-store"} {
		if _, err := nsc.Read(dirs(t, data), name); !errors.Is(err, nsc.ErrNoStore) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := nsc.Operators(dirs(t, unpackNothing).Stores); !errors.Is(err, nsc.ErrNoStore) {
		t.Errorf("no directory: %v", err)
	}
}

// Every JWT of both stores can be issued again with nothing but its stamp changed.
func TestEveryJWTKeepsItsMeaning(t *testing.T) {
	t.Parallel()
	kept, total := 0, 0
	for operator := range archives {
		s := read(t, unpack(t, operator), operator)
		for name, token := range tokens(s) {
			total++
			again := reissue(t, s, token)
			before, after := payload(t, token.Text), payload(t, again)
			for _, stamp := range []string{"iat", "jti", "iss"} {
				delete(before, stamp)
				delete(after, stamp)
			}
			dropShadowed(before)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s: %s", name, diff)
				continue
			}
			kept++
		}
	}
	t.Logf("re-encoded: %d of %d JWTs keep their meaning", kept, total)
}

// dropShadowed removes what nsc writes beside tiers and nats-io/jwt, hence every
// nats-server, reads as if it were not there: flat JetStream limits.
func dropShadowed(payload map[string]any) {
	body, _ := payload["nats"].(map[string]any)
	limits, _ := body["limits"].(map[string]any)
	if limits["tiered_limits"] == nil {
		return
	}
	for _, flat := range []string{
		"mem_storage", "disk_storage", "streams", "consumer", "max_ack_pending", "mem_max_stream_bytes", "disk_max_stream_bytes", "max_bytes_required",
	} {
		delete(limits, flat)
	}
}

func tokens(s *nsc.Store) map[string]claims.Token {
	out := map[string]claims.Token{s.Name: s.Operator.Token}
	for _, a := range s.Accounts {
		out[s.Name+"/"+a.Name] = a.Token
		for _, u := range a.Users {
			out[s.Name+"/"+a.Name+"/"+u.Name] = u.Token
		}
	}
	return out
}

// reissue signs the claims of a token again, by its issuer, or by a new key of the
// issuer's kind where the store does not have that.
func reissue(t *testing.T, s *nsc.Store, token claims.Token) string {
	t.Helper()
	checked, problems := token.Checked()
	if problems.Blocking() {
		t.Fatalf("%+v", problems)
	}
	issuer := token.Claims.Claims().Issuer
	var pair nkeys.KeyPair
	var err error
	if seed, ok := s.Keys[issuer]; ok {
		pair, err = nkeys.FromSeed([]byte(seed.Reveal()))
	} else {
		pair, err = nkeys.CreatePair(nkeys.Prefix(issuer))
	}
	if err != nil {
		t.Fatal(err)
	}
	by, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: by, IssuedAt: token.Claims.Claims().IssuedAt + 1})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := pair.Sign(unsigned.SigningInput())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := unsigned.Sign(signature)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Token
}

func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A managed store has the operator of somebody else, perhaps under another name.
func TestManagedStore(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	s := read(t, data, "acme")
	s.Name, s.Managed, s.Operator.Name = "prod", true, "prod"
	for _, key := range append([]string{s.Operator.Claims().Subject}, s.Operator.Claims().SigningKeys...) {
		delete(s.Keys, key)
	}
	again := read(t, write(t, s), "prod")
	if !again.Managed || len(again.Missing) != 2 || again.Operator.Claims().Name != "acme" {
		t.Errorf("%+v", again)
	}
	if len(again.Problems) != 1 || again.Problems[0].Code != "name_differs" {
		t.Errorf("%+v", again.Problems)
	}
}

// A store without the directory of keys is read; everything is missing but nothing is wrong.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	s, err := nsc.Read(nsc.Dirs{Stores: dirs(t, unpack(t, "acme")).Stores}, "acme")
	if err != nil || len(s.Problems) > 0 || len(s.Missing) != 22 || len(s.Keys) > 0 {
		t.Errorf("%v, %+v, %d missing", err, s.Problems, len(s.Missing))
	}
	if files, err := s.Files(); err != nil || slices.ContainsFunc(files, func(f nsc.File) bool { return strings.HasPrefix(f.Path, "keys/") }) {
		t.Errorf("%v", err)
	}
}

// A creds file holds a user's seed as well as a .nk file does.
func TestSeedInCredsIsNotMissing(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	for p := range data {
		if strings.HasPrefix(p, "keys/keys/U/") {
			delete(data, p)
		}
	}
	delete(data, "keys/creds/acme/ORDERS/d1.creds")
	s := read(t, data, "acme")
	if len(s.Missing) != 1 || s.Missing[0].User != "d1" || s.Missing[0].Account != "ORDERS" || s.Missing[0].Use != nsc.UseIdentity {
		t.Errorf("%+v", s.Missing)
	}
}

func TestWritingRefuses(t *testing.T) {
	t.Parallel()
	seed := read(t, unpack(t, "vault"), "vault").Keys
	one := slices.Sorted(maps.Keys(seed))[0]
	cases := map[string]func(*nsc.Store){
		"a store outside":         func(s *nsc.Store) { s.Name = "../acme" },
		"an operator outside":     func(s *nsc.Store) { s.Operator.Name = "a/b" },
		"an account called ..":    func(s *nsc.Store) { s.Accounts[0].Name = ".." },
		"an account called .":     func(s *nsc.Store) { s.Accounts[0].Name = "." },
		"an account with a \\":    func(s *nsc.Store) { s.Accounts[0].Name = `..\..\x` },
		"an account without name": func(s *nsc.Store) { s.Accounts[0].Name = "" },
		"an account with a space": func(s *nsc.Store) { s.Accounts[0].Name = "a " },
		"a user outside":          func(s *nsc.Store) { s.Accounts[0].Users[0].Name = "../../../x" },
		"a user with a NUL":       func(s *nsc.Store) { s.Accounts[0].Users[0].Name = "a\x00" },
		"no UTF-8":                func(s *nsc.Store) { s.Accounts[0].Users[0].Name = "a\xff" },
		"a very long name":        func(s *nsc.Store) { s.Accounts[0].Users[0].Name = strings.Repeat("x", 250) },
		"a seed as a name":        func(s *nsc.Store) { s.Accounts[0].Name = seed[one].Reveal() },
		"two users of one name":   func(s *nsc.Store) { s.Accounts[0].Users = append(s.Accounts[0].Users, s.Accounts[0].Users[0]) },
		"names that differ in capitals only": func(s *nsc.Store) {
			a := s.Accounts[0]
			a.Name = strings.ToLower(a.Name)
			s.Accounts = append(s.Accounts, a)
		},
		"an operator without JWT": func(s *nsc.Store) { s.Operator.Token = claims.Token{} },
		"an account without JWT":  func(s *nsc.Store) { s.Accounts[0].Token = claims.Token{} },
		"a seed of another key":   func(s *nsc.Store) { s.Keys["OAN5QT5FWZLIOIKXXVBHEPDMT5VWHK6OFGQTKC4LXYSI652LZT3DXINB"] = seed[one] },
		"a key that is a path":    func(s *nsc.Store) { s.Keys["../../x"] = seed[one] },
		"a seed that is none":     func(s *nsc.Store) { s.Keys[one] = claims.NewSecret("x") },
	}
	refused := 0
	for name, edit := range cases {
		s := read(t, unpack(t, "acme"), "acme")
		edit(s)
		files, err := s.Files()
		if err == nil || files != nil {
			t.Errorf("%s is written", name)
			continue
		}
		if claims.LooksLikeSeed(err.Error()) {
			t.Errorf("%s: the error holds a seed", name)
		}
		refused++
	}
	t.Logf("refused: %d of %d", refused, len(cases))
}

// What belongs to no claims has none.
func TestClaimsOfNothing(t *testing.T) {
	t.Parallel()
	if (nsc.Operator{}).Claims() != nil || (nsc.Account{}).Claims() != nil || (nsc.User{}).Claims() != nil {
		t.Error("claims of nothing")
	}
	if got := read(t, unpack(t, "acme"), "acme").Accounts[0].Claims().Type; got != jwt.AccountClaim {
		t.Error(got)
	}
}

// A key that two JWTs name is missing once.
func TestKeyNamedTwiceIsMissingOnce(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	for p := range data {
		if strings.HasPrefix(p, "keys/") {
			delete(data, p)
		}
	}
	const d1 = "stores/acme/accounts/ORDERS/users/d1.jwt"
	before := len(read(t, data, "acme").Missing)
	data["stores/acme/accounts/ORDERS/users/d9.jwt"] = data[d1]
	if after := len(read(t, data, "acme").Missing); after != before {
		t.Errorf("%d are missing, and %d with a copy of a user", before, after)
	}
}
