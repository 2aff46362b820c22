package issuer_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
)

// made is a store of nsc that a test makes.
type made struct {
	nsc.Store
	operator nkeys.KeyPair
	// pairs are all keys by their public key.
	pairs map[string]nkeys.KeyPair
	at    int64
}

// pair makes a key pair, whose seed the store has.
func (m *made) pair(t testing.TB, prefix nkeys.PrefixByte) (nkeys.KeyPair, string) {
	t.Helper()
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
	m.pairs[public], m.Keys[public] = kp, claims.NewSecret(string(seed))
	return kp, public
}

// token signs claims as jwt/v2 would, with an issue time.
func (m *made) token(t testing.TB, c jwt.Claims, by nkeys.KeyPair) claims.Token {
	t.Helper()
	token, err := claims.Read(signedAt(t, c, by, m.at))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signedAt signs claims with an issue time, which jwt/v2 takes from the clock.
func signedAt(t testing.TB, c jwt.Claims, by nkeys.KeyPair, at int64) string {
	t.Helper()
	token, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return remade(t, token, by, func(payload map[string]any) { payload["iat"] = at })
}

// remade is a JWT with another payload, signed anew.
func remade(t testing.TB, token string, by nkeys.KeyPair, edit func(payload map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var payload map[string]any
	if err := d.Decode(&payload); err != nil {
		t.Fatal(err)
	}
	edit(payload)
	if raw, err = json.Marshal(payload); err != nil {
		t.Fatal(err)
	}
	input := parts[0] + "." + base64.RawURLEncoding.EncodeToString(raw)
	signature, err := by.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// makeStore makes an operator that is not strict, with nothing in it.
func makeStore(t testing.TB, name string, at time.Time) *made {
	t.Helper()
	m := &made{pairs: map[string]nkeys.KeyPair{}, at: at.Unix() - 1000}
	m.Name, m.Keys = name, map[string]claims.Secret{}
	var public string
	m.operator, public = m.pair(t, nkeys.PrefixByteOperator)
	c := jwt.NewOperatorClaims(public)
	c.Name = name
	m.Store.Operator = nsc.Operator{Name: name, Token: m.token(t, c, m.operator)}
	return m
}

// account adds an account as edit, which may be nil, makes it.
func (m *made) account(t testing.TB, name string, edit func(*jwt.AccountClaims)) *nsc.Account {
	t.Helper()
	_, public := m.pair(t, nkeys.PrefixByteAccount)
	c := jwt.NewAccountClaims(public)
	c.Name = name
	if edit != nil {
		edit(c)
	}
	m.Accounts = append(m.Accounts, nsc.Account{Name: fmt.Sprintf("%s-%d", "A", len(m.Accounts)), Token: m.token(t, c, m.operator)})
	return &m.Accounts[len(m.Accounts)-1]
}

// user adds a user that the account's identity signs.
func (m *made) user(t testing.TB, a *nsc.Account, name string, edit func(*jwt.UserClaims)) nsc.User {
	t.Helper()
	kp, public := m.pair(t, nkeys.PrefixByteUser)
	c := jwt.NewUserClaims(public)
	c.Name = name
	if edit != nil {
		edit(c)
	}
	token := m.token(t, c, m.pairs[a.Claims().Subject])
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	u := nsc.User{Name: fmt.Sprintf("u-%d", len(a.Users)), Token: token, Creds: claims.FormatCreds(token.Text, claims.NewSecret(string(seed)))}
	a.Users = append(a.Users, u)
	return u
}

// archive packs the store, with other files beside it.
func (m *made) archive(t testing.TB, more map[string]string) []byte {
	t.Helper()
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, files, more)
}

// addUser adds a user to the account at a place.
func (m *made) addUser(at int, file string, token claims.Token, creds claims.Secret) {
	a := &m.Accounts[at]
	a.Users = append(a.Users, nsc.User{Name: file, Token: token, Creds: creds})
}
