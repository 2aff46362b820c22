package nsc_test

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
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
	pool := newPool(t)
	var cases, files atomic.Int64
	t.Cleanup(func() { t.Logf("Q7: %d of %d stores byte-equal, %d files", cases.Load(), cases.Load(), files.Load()) })
	check := func(r *rapid.T) {
		s := drawStore(r, pool)
		first := write(t, s)
		again := read(t, first, s.Name)
		if len(again.Problems) > 0 {
			r.Fatalf("%+v", again.Problems)
		}
		if second := write(t, again); !sameFiles(first, second) {
			r.Fatal(cmp.Diff(first, second))
		}
		if len(s.Keys) != len(again.Keys) {
			r.Fatal(cmp.Diff(s.Keys, again.Keys, secrets))
		}
		cases.Add(1)
		files.Add(int64(len(first)))
	}
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range q7Rounds / 4 {
				rapid.Check(t, check)
			}
		})
	}
}

func sameFiles(a, b fstest.MapFS) bool {
	return maps.EqualFunc(a, b, func(x, y *fstest.MapFile) bool { return x.Mode == y.Mode && string(x.Data) == string(y.Data) })
}

// poolKey is a key that is made once, since making it takes longer than using it.
type poolKey struct {
	pair nkeys.KeyPair
	id   string
	seed claims.Secret
}

// newPool makes more keys of each kind than a store can have.
func newPool(t *testing.T) map[nkeys.PrefixByte][]poolKey {
	t.Helper()
	pool := map[nkeys.PrefixByte][]poolKey{}
	for _, prefix := range []nkeys.PrefixByte{nkeys.PrefixByteOperator, nkeys.PrefixByteAccount, nkeys.PrefixByteUser, nkeys.PrefixByteCurve} {
		for range 32 {
			pair, err := nkeys.CreatePair(prefix)
			if err != nil {
				t.Fatal(err)
			}
			id, err := pair.PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			seed, err := pair.Seed()
			if err != nil {
				t.Fatal(err)
			}
			pool[prefix] = append(pool[prefix], poolKey{pair, id, claims.NewSecret(string(seed))})
		}
	}
	return pool
}

// names are what CheckName lets through and a file may be called. A generator of rapid
// belongs to one goroutine.
func names() *rapid.Generator[string] {
	return rapid.StringMatching(`[A-Za-z0-9äß日_@.+:-]([A-Za-z0-9äß日 _@.+:-]{0,12}[A-Za-z0-9_])?`).
		Filter(func(s string) bool { return !claims.CheckName("", s).Blocking() })
}

// maker draws the keys of a store, each once, and keeps the seeds that nsc is to have.
type maker struct {
	*rapid.T
	pool map[nkeys.PrefixByte][]poolKey
	used map[nkeys.PrefixByte]int
	keys map[string]claims.Secret
}

func (m maker) key(prefix nkeys.PrefixByte) poolKey {
	k := m.pool[prefix][m.used[prefix]]
	m.used[prefix]++
	if rapid.Bool().Draw(m.T, "kept here") {
		m.keys[k.id] = k.seed
	}
	return k
}

func (m maker) token(c jwt.Claims, by nkeys.KeyPair) claims.Token {
	text, err := c.Encode(by)
	if err != nil {
		m.Fatal(err)
	}
	return claims.Token{Text: text} // reading it again is what is tested
}

func drawStore(r *rapid.T, pool map[nkeys.PrefixByte][]poolKey) *nsc.Store {
	m := maker{r, pool, map[nkeys.PrefixByte]int{}, map[string]claims.Secret{}}
	identity, signing := m.key(nkeys.PrefixByteOperator), m.key(nkeys.PrefixByteOperator)
	o := jwt.NewOperatorClaims(identity.id)
	o.Name = names().Draw(r, "operator")
	o.SigningKeys.Add(signing.id)
	o.StrictSigningKeyUsage = rapid.Bool().Draw(r, "strict")
	s := &nsc.Store{
		Name: o.Name, Managed: rapid.Bool().Draw(r, "managed"), Keys: m.keys,
		Operator: nsc.Operator{Name: o.Name, Token: m.token(o, identity.pair)},
	}
	for _, name := range rapid.SliceOfNDistinct(names(), 0, 3, strings.ToLower).Draw(r, "accounts") {
		s.Accounts = append(s.Accounts, m.account(name, signing.pair))
	}
	return s
}

func (m maker) account(name string, operator nkeys.KeyPair) nsc.Account {
	id, signing, scoped := m.key(nkeys.PrefixByteAccount).id, m.key(nkeys.PrefixByteAccount), m.key(nkeys.PrefixByteAccount)
	c := jwt.NewAccountClaims(id)
	c.Name = name
	c.SigningKeys.Add(signing.id)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = scoped.id, "device"
	scope.Template.Sub.Allow.Add("cmd.{{name()}}")
	c.SigningKeys.AddScopedSigner(scope)
	if rapid.Bool().Draw(m.T, "callout") {
		xkey, user := m.key(nkeys.PrefixByteCurve).id, m.key(nkeys.PrefixByteUser).id
		delete(m.keys, user) // named by nobody of the store
		c.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{user}, XKey: xkey}
	}
	a := nsc.Account{Name: name, Token: m.token(c, operator)}
	for i, user := range rapid.SliceOfNDistinct(names(), 0, 3, rapid.ID[string]).Draw(m.T, "users") {
		key := m.key(nkeys.PrefixByteUser)
		uc := jwt.NewUserClaims(key.id)
		uc.Name, uc.IssuerAccount = user, id
		by := signing
		if i%2 == 1 {
			uc.SetScoped(true)
			by = scoped
		}
		u := nsc.User{Name: user, Token: m.token(uc, by.pair)}
		if rapid.Bool().Draw(m.T, "creds") {
			u.Creds = claims.FormatCreds(u.Token.Text, key.seed)
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
