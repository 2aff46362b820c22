package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
)

// generator makes a store of nsc as years of use leave it. The keys follow from the
// seed; jwt.Encode takes the time from the clock.
type generator struct {
	t     testing.TB
	from  *rand.ChaCha8
	store *nsc.Store
	// outside are the paths of creds of users whom nobody may let in.
	outside map[string]bool
}

func newGenerator(t testing.TB) *generator {
	return &generator{t: t, from: rand.NewChaCha8([32]byte{5}), outside: map[string]bool{}, store: &nsc.Store{Name: "grown", Keys: map[string]claims.Secret{}}}
}

// key makes a pair and keeps its seed.
func (g *generator) key(prefix nkeys.PrefixByte) (nkeys.KeyPair, string) {
	pair, err := nkeys.CreatePairWithRand(prefix, g.from)
	must(g.t, err)
	public, err := pair.PublicKey()
	must(g.t, err)
	seed, err := pair.Seed()
	must(g.t, err)
	g.store.Keys[public] = claims.NewSecret(string(seed))
	return pair, public
}

func (g *generator) sign(c jwt.Claims, with nkeys.KeyPair) claims.Token {
	text, err := c.Encode(with)
	must(g.t, err)
	token, err := claims.Read(text)
	must(g.t, err)
	return token
}

// generated is what a generated store is for.
type generated struct {
	accounts, users int
	// serverURL is where the operator's JWT says that accounts are served; may be "".
	serverURL string
	natsURLs  []string
}

// make fills the store: accounts with users evenly spread, the system account
// with one among them.
func (g *generator) make(of generated) {
	identity, id := g.key(nkeys.PrefixByteOperator)
	signer, signingKey := g.key(nkeys.PrefixByteOperator)
	_, system := g.key(nkeys.PrefixByteAccount)
	o := jwt.NewOperatorClaims(id)
	o.Name, o.SystemAccount, o.StrictSigningKeyUsage, o.AccountServerURL = "grown", system, true, of.serverURL
	o.SigningKeys.Add(signingKey)
	o.OperatorServiceURLs.Add(of.natsURLs...)
	o.Tags.Add("env:test")
	g.store.Operator = nsc.Operator{Name: "grown", Token: g.sign(o, identity)}
	var exporter string
	teams, users := of.accounts-1, of.users-1
	for n := range teams {
		exporter = g.account(signer, n, users/teams+extra(n, users%teams), exporter)
	}
	sys := jwt.NewAccountClaims(system)
	sys.Name = "SYS"
	pair, plain := g.key(nkeys.PrefixByteAccount)
	sys.SigningKeys.Add(plain)
	a := nsc.Account{Name: "SYS", Token: g.sign(sys, signer)}
	a.Users = append(a.Users, g.user(pair, sys.Subject, "sys", func(*jwt.UserClaims) {}))
	g.store.Accounts = append(g.store.Accounts, a)
}

// extra spreads what is left of a division over the first ones.
func extra(n, rest int) int {
	if n < rest {
		return 1
	}
	return 0
}

// account adds one with its users and returns its key. Every fifth imports the service
// that the one before exports; every third has a scoped key.
func (g *generator) account(operator nkeys.KeyPair, n, users int, before string) string {
	_, id := g.key(nkeys.PrefixByteAccount)
	plain, plainKey := g.key(nkeys.PrefixByteAccount)
	scoped, scopedKey := g.key(nkeys.PrefixByteAccount)
	c := jwt.NewAccountClaims(id)
	c.Name = fmt.Sprintf("TEAM%03d", n)
	c.Limits.Conn, c.Limits.Subs = int64(100+n), int64(10*n+1)
	c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: int64(n) << 20, DiskStorage: int64(n) << 30, Streams: 10, Consumer: 100}
	c.Tags.Add(fmt.Sprintf("team:t%d", n))
	c.SigningKeys.Add(plainKey)
	if n%3 == 0 {
		s := jwt.NewUserScope()
		s.Key, s.Role, s.Template.Pub.Allow = scopedKey, "device", jwt.StringList{"devices.{{name()}}.>"}
		c.SigningKeys.AddScopedSigner(s)
	}
	c.Exports.Add(&jwt.Export{Name: "status", Subject: jwt.Subject(fmt.Sprintf("status.t%d", n)), Type: jwt.Service})
	if n%5 == 4 {
		c.Imports.Add(&jwt.Import{Name: "status", Account: before, Subject: jwt.Subject(fmt.Sprintf("status.t%d", n-1)), LocalSubject: "neighbour.status", Type: jwt.Service})
	}
	a := nsc.Account{Name: c.Name}
	for i := range users {
		name := fmt.Sprintf("u%02d", i)
		switch {
		case n%3 == 0 && i%2 == 0:
			a.Users = append(a.Users, g.user(scoped, id, name, func(u *jwt.UserClaims) { u.SetScoped(true); u.Tags.Add("region:eu") }))
		case i == 3:
			a.Users = append(a.Users, g.user(plain, id, name, func(*jwt.UserClaims) {}))
			c.RevokeAt(a.Users[i].Claims().Subject, time.Now().Add(time.Minute))
			g.outside[c.Name+"/"+name] = true
		case i == 5:
			a.Users = append(a.Users, g.user(plain, id, name, func(u *jwt.UserClaims) { u.BearerToken = true }))
		default:
			a.Users = append(a.Users, g.user(plain, id, name, func(u *jwt.UserClaims) {
				u.Pub.Allow.Add(fmt.Sprintf("t%d.>", n))
				u.Sub.Allow.Add("_INBOX.>", "neighbour.>")
			}))
		}
	}
	a.Token = g.sign(c, operator)
	g.store.Accounts = append(g.store.Accounts, a)
	return id
}

func (g *generator) user(signer nkeys.KeyPair, account, name string, more func(*jwt.UserClaims)) nsc.User {
	pair, public := g.key(nkeys.PrefixByteUser)
	c := jwt.NewUserClaims(public)
	c.Name, c.IssuerAccount = name, account
	more(c)
	token := g.sign(c, signer)
	seed, err := pair.Seed()
	must(g.t, err)
	creds, err := jwt.FormatUserConfig(token.Text, seed)
	must(g.t, err)
	return nsc.User{Name: name, Token: token, Creds: claims.NewSecret(string(creds))}
}

// writeTo writes the store where nsc keeps it below the home directory and returns
// nsc's data directory.
func (g *generator) writeTo(home string) string {
	files, err := g.store.Files()
	must(g.t, err)
	data := filepath.Join(home, ".local/share/nats/nsc")
	for _, f := range files {
		at := filepath.Join(data, filepath.FromSlash(f.Path))
		must(g.t, os.MkdirAll(filepath.Dir(at), 0o700))
		must(g.t, os.WriteFile(at, []byte(f.Data.Reveal()), f.Mode))
	}
	return data
}

func TestGeneratedStore(t *testing.T) {
	t.Parallel()
	g := newGenerator(t)
	g.make(generated{accounts: 12, users: 100})
	data := g.writeTo(t.TempDir())
	s, err := nsc.Read(nsc.Dirs{Stores: os.DirFS(filepath.Join(data, "stores")), Keys: os.DirFS(filepath.Join(data, "keys"))}, "grown")
	must(t, err)
	users := 0
	for _, a := range s.Accounts {
		users += len(a.Users)
	}
	if len(s.Accounts) != 12 || users != 100 || len(s.Problems) != 0 || len(g.outside) == 0 {
		t.Errorf("%d accounts, %d users, problems %v", len(s.Accounts), users, s.Problems)
	}
}
