package nsc_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/claims/nsc"
)

// Q7: what is exported, imported and exported again is byte for byte the same, whatever
// names, keys and settings there are and whichever seeds are missing.
func TestQ7ExportImportExport(t *testing.T) {
	t.Parallel()
	cases, files := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		s := drawStore(r)
		first := write(t, s)
		again := read(t, first, s.Name)
		if len(again.Problems) > 0 {
			r.Fatalf("%+v", again.Problems)
		}
		second := write(t, again)
		if diff := cmp.Diff(first, second); diff != "" {
			r.Fatal(diff)
		}
		if diff := cmp.Diff(s.Keys, again.Keys, secrets); diff != "" {
			r.Fatal(diff)
		}
		cases, files = cases+1, files+len(first)
	})
	t.Logf("Q7: %d of %d stores byte-equal, %d files", cases, cases, files)
}

// names are what CheckName lets through and a file may be called.
var names = rapid.StringMatching(`[A-Za-z0-9äß日_@.+:-]([A-Za-z0-9äß日 _@.+:-]{0,12}[A-Za-z0-9_])?`).
	Filter(func(s string) bool { return !claims.CheckName("", s).Blocking() })

// maker draws the keys of a store and keeps the seeds that nsc is to have.
type maker struct {
	*rapid.T
	keys map[string]claims.Secret
}

func (m maker) key(prefix nkeys.PrefixByte) (nkeys.KeyPair, string) {
	raw := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(m.T, "seed")
	var pair nkeys.KeyPair
	seed, err := nkeys.EncodeSeed(prefix, raw)
	if err == nil {
		pair, err = nkeys.FromSeed(seed)
	}
	if err != nil {
		m.Fatal(err)
	}
	id, err := pair.PublicKey()
	if err != nil {
		m.Fatal(err)
	}
	if rapid.Bool().Draw(m.T, "kept here") {
		m.keys[id] = claims.NewSecret(string(seed))
	}
	return pair, id
}

func (m maker) token(c jwt.Claims, by nkeys.KeyPair) claims.Token {
	text, err := c.Encode(by)
	if err != nil {
		m.Fatal(err)
	}
	t, err := claims.Read(text)
	if err != nil {
		m.Fatal(err)
	}
	return t
}

func drawStore(r *rapid.T) *nsc.Store {
	m := maker{r, map[string]claims.Secret{}}
	identity, id := m.key(nkeys.PrefixByteOperator)
	signing, signingID := m.key(nkeys.PrefixByteOperator)
	o := jwt.NewOperatorClaims(id)
	o.Name = names.Draw(r, "operator")
	o.SigningKeys.Add(signingID)
	o.StrictSigningKeyUsage = rapid.Bool().Draw(r, "strict")
	s := &nsc.Store{
		Name: o.Name, Managed: rapid.Bool().Draw(r, "managed"), Keys: m.keys,
		Operator: nsc.Operator{Name: o.Name, Token: m.token(o, identity)},
	}
	for _, name := range rapid.SliceOfNDistinct(names, 0, 3, strings.ToLower).Draw(r, "accounts") {
		s.Accounts = append(s.Accounts, m.account(name, signing))
	}
	return s
}

func (m maker) account(name string, operator nkeys.KeyPair) nsc.Account {
	_, id := m.key(nkeys.PrefixByteAccount)
	signing, signingID := m.key(nkeys.PrefixByteAccount)
	scoped, scopedID := m.key(nkeys.PrefixByteAccount)
	c := jwt.NewAccountClaims(id)
	c.Name = name
	c.SigningKeys.Add(signingID)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = scopedID, "device"
	scope.Template.Sub.Allow.Add("cmd.{{name()}}")
	c.SigningKeys.AddScopedSigner(scope)
	if rapid.Bool().Draw(m.T, "callout") {
		_, xkey := m.key(nkeys.PrefixByteCurve)
		_, user := m.key(nkeys.PrefixByteUser)
		delete(m.keys, user) // named by nobody of the store
		c.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{user}, XKey: xkey}
	}
	a := nsc.Account{Name: name, Token: m.token(c, operator)}
	for i, user := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(m.T, "users") {
		pair, userID := m.key(nkeys.PrefixByteUser)
		uc := jwt.NewUserClaims(userID)
		uc.Name, uc.IssuerAccount = user, id
		by := signing
		if i%2 == 1 {
			uc.SetScoped(true)
			by = scoped
		}
		u := nsc.User{Name: user, Token: m.token(uc, by)}
		if rapid.Bool().Draw(m.T, "creds") {
			seed, err := pair.Seed()
			if err != nil {
				m.Fatal(err)
			}
			u.Creds = claims.FormatCreds(u.Token.Text, claims.NewSecret(string(seed)))
		}
		a.Users = append(a.Users, u)
	}
	return a
}

// FuzzStore: whatever is in the files, reading ends, keeps to its bounds, and no problem
// repeats a seed; what is read can be written and read again.
func FuzzStore(f *testing.F) {
	data := unpack(f, "acme")
	get := func(p string) []byte { return data[p].Data }
	f.Add("acme", get("stores/acme/.nsc"), get("stores/acme/acme.jwt"), "ORDERS", get(orders), "d1", get(d1), get(d1Cred), get(d1Key))
	f.Add("vault", []byte("{}"), get(d1), "..", get(orders), "a\\b", []byte("eyJ.."), []byte("-----BEGIN"), get(d1Cred))
	f.Add("x", []byte(`{"managed":true,"name":"../y"}`), []byte(""), "\x1b[2J", []byte("\xff"), string(get(d1Key)), get(orders), get(d1Key), []byte(""))
	seed := strings.TrimSpace(string(get(d1Key)))
	base := unpack(f, "vault")
	f.Fuzz(func(t *testing.T, operator string, info, oc []byte, account string, ac []byte, user string, uc, creds, key []byte) {
		files := maps.Clone(base)
		put := func(format string, text []byte, a ...any) {
			if len(text) < 1<<16 {
				p := fmt.Sprintf(format, a...)
				files[p] = &fstest.MapFile{Data: text, Mode: 0o600}
			}
		}
		put("stores/%s/.nsc", info, operator)
		put("stores/%s/%s.jwt", oc, operator, operator)
		put("stores/%s/accounts/%s/%s.jwt", ac, operator, account, account)
		put("stores/%s/accounts/%s/users/%s.jwt", uc, operator, account, user)
		put("keys/creds/%s/%s/%s.creds", creds, operator, account, user)
		put("%s", key, d1Key)
		s, err := nsc.Read(dirs(t, files), operator)
		if err != nil {
			if claims.LooksLikeSeed(err.Error()) {
				t.Errorf("the error holds a seed: %v", err)
			}
			return
		}
		if len(s.Problems) > nsc.MaxProblems+1 {
			t.Errorf("%d problems", len(s.Problems))
		}
		if printed := fmt.Sprintf("%+v", s.Problems); claims.LooksLikeSeed(printed) || strings.Contains(printed, seed) {
			t.Errorf("a problem holds a seed: %s", printed)
		}
		if printed := fmt.Sprintf("%+v", s); strings.Contains(printed, seed) && !strings.Contains(operator+account+user, seed) {
			t.Error("the store prints a seed")
		}
		out, err := s.Files()
		if err != nil || s.Operator.Claims() == nil {
			return
		}
		if len(out) > len(files)+1 {
			t.Errorf("%d files of %d", len(out), len(files))
		}
		if diff := cmp.Diff(write(t, s), write(t, read(t, write(t, s), s.Name))); diff != "" {
			t.Error(diff)
		}
	})
}
