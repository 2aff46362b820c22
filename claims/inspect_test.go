package claims_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// family is an operator with an account and who that account issues.
type family struct {
	operator, operatorKey, account, accountKey, scopedKey, stranger pair
	o                                                               *jwt.OperatorClaims
	a                                                               *jwt.AccountClaims
}

func newFamily(t *testing.T) *family {
	t.Helper()
	f := &family{
		operator: newPair(t, claims.KindOperator), operatorKey: newPair(t, claims.KindOperator),
		account: newPair(t, claims.KindAccount), accountKey: newPair(t, claims.KindAccount), scopedKey: newPair(t, claims.KindAccount),
		stranger: newPair(t, claims.KindAccount),
	}
	f.o = jwt.NewOperatorClaims(f.operator.id)
	f.o.Name = "acme"
	f.o.SigningKeys.Add(f.operatorKey.id)
	f.o = reread(t, f.o, f.operator)
	f.a = jwt.NewAccountClaims(f.account.id)
	f.a.Name = "orders"
	f.a.SigningKeys.Add(f.accountKey.id)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = f.scopedKey.id, "device"
	scope.Template.Pub.Allow.Add("d.{{name()}}", "x.{{tag(none)}}")
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Second}
	f.a.SigningKeys.AddScopedSigner(scope)
	f.a = reread(t, f.a, f.operatorKey)
	return f
}

// reread returns claims as they are decoded, signed by a key.
func reread[C jwt.Claims](t *testing.T, c C, by nkeys.KeyPair) C {
	t.Helper()
	token, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	read, err := claims.Read(token)
	if err != nil {
		t.Fatal(err)
	}
	return read.Claims.(C)
}

func (f *family) user(t *testing.T, by pair) *jwt.UserClaims {
	t.Helper()
	c := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
	c.Name = "ada"
	if by.id != f.account.id {
		c.IssuerAccount = f.account.id
	}
	return reread(t, c, by)
}

func TestChain(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	strict := *f.o
	strict.StrictSigningKeyUsage = true
	foreign := *f.o
	foreign.Issuer = newPair(t, claims.KindOperator).id
	byIdentity, bySelf, byStranger := *f.a, *f.a, *f.a
	byIdentity.Issuer, bySelf.Issuer, byStranger.Issuer = f.operator.id, f.account.id, newPair(t, claims.KindOperator).id
	activation := jwt.NewActivationClaims(f.stranger.id)
	activation.ImportSubject, activation.ImportType = "a", jwt.Stream
	response := jwt.NewAuthorizationResponseClaims(newPair(t, claims.KindUser).id)
	response.Jwt, response.IssuerAccount = "x", f.account.id
	for name, c := range map[string]struct {
		of      jwt.Claims
		account *jwt.AccountClaims
		by      *jwt.OperatorClaims
		// trust of each link, and what one of them says.
		want, why string
	}{
		"an operator":              {f.o, nil, nil, "trusted", "signed by itself"},
		"another's operator":       {&foreign, nil, nil, "not_trusted", "none of its own"},
		"an account":               {f.a, nil, f.o, "trusted", "the operator's signing key"},
		"by the identity":          {&byIdentity, nil, f.o, "trusted", "the operator's identity key."},
		"by the identity, strict":  {&byIdentity, nil, &strict, "not_trusted", "strict"},
		"by itself":                {&bySelf, nil, f.o, "not_trusted", "signed by itself"},
		"by a stranger":            {&byStranger, nil, f.o, "not_trusted", "none of the operator's keys"},
		"without an operator":      {f.a, nil, nil, "unknown", "not known here"},
		"a user":                   {f.user(t, f.accountKey), f.a, f.o, "trusted trusted", "the account's signing key"},
		"a user of a template":     {f.user(t, f.scopedKey), f.a, f.o, "trusted trusted", "of the template device"},
		"by the account itself":    {f.user(t, f.account), f.a, f.o, "trusted trusted", "the account's identity key."},
		"the same, strict":         {f.user(t, f.account), f.a, &strict, "not_trusted trusted", "strict"},
		"a user by a stranger":     {f.user(t, f.stranger), f.a, f.o, "not_trusted trusted", "none of the account's keys"},
		"of an unknown account":    {f.user(t, f.accountKey), nil, f.o, "unknown", "is not known here"},
		"a user without operator":  {f.user(t, f.accountKey), f.a, nil, "trusted unknown", "the operator is not known"},
		"an activation":            {reread(t, activation, f.account), f.a, f.o, "trusted trusted", "identity key"},
		"an authorization answer":  {reread(t, response, f.accountKey), f.a, f.o, "trusted trusted", "signing key"},
		"an authorization request": {jwt.NewAuthorizationRequestClaims("A"), nil, f.o, "unknown", "nats-server"},
	} {
		var trust []string
		why := ""
		for _, l := range claims.Chain(c.of, c.account, c.by) {
			trust = append(trust, string(l.Trust))
			why += l.Why
			if l.Of == "" || (l.By == "") != (l.Trust == claims.TrustUnknown) || !strings.HasSuffix(l.Why, ".") {
				t.Errorf("%s: %+v", name, l)
			}
		}
		if got := strings.Join(trust, " "); got != c.want || !strings.Contains(strings.ToLower(why), strings.ToLower(c.why)) {
			t.Errorf("%s: %s, want %s: %s", name, got, c.want, why)
		}
	}
}

// What the chain says of a user is what a server does with it.
func TestChainAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // strict
	f := newFamily(t)
	o := jwt.NewOperatorClaims(w.operator.id)
	o.StrictSigningKeyUsage = true
	o.SigningKeys.Add(w.signing.id)
	agreed, total := 0, 0
	for _, signer := range []pair{w.signing, w.operator, newPair(t, claims.KindOperator)} {
		for _, by := range []pair{f.accountKey, f.scopedKey, f.stranger, f.account} {
			a := *f.a // a server fetches an account once: each case has its own
			identity := newPair(t, claims.KindAccount)
			a.Subject = identity.id
			if by.id == f.account.id {
				by = identity
			}
			token, err := a.Encode(signer)
			if err != nil {
				t.Fatal(err)
			}
			w.store(t, a.Subject, token)
			key := newPair(t, claims.KindUser)
			u := jwt.NewUserClaims(key.id)
			u.Name, u.IssuerAccount = "ada", a.Subject
			u.SetScoped(by.id == f.scopedKey.id)
			text, err := u.Encode(by)
			if err != nil {
				t.Fatal(err)
			}
			trusted := true
			for _, l := range claims.Chain(u, &a, o) {
				trusted = trusted && l.Trust == claims.TrustYes
			}
			nc, err := w.dial(t, text, key)
			if err == nil {
				nc.Close()
			}
			total++
			if trusted != (err == nil) {
				t.Errorf("trusted: %v, the server: %v", trusted, err)
				continue
			}
			agreed++
		}
	}
	t.Logf("chain: %d of %d as the server has it", agreed, total)
}

func TestTokenProblems(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	at := time.Unix(1_800_000_000, 0)
	user := func(edit func(*jwt.UserClaims)) claims.Token {
		c := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
		c.Name = "ada"
		edit(c)
		return readBack(t, c, f.account)
	}
	activation := jwt.NewActivationClaims(f.stranger.id)
	activation.ImportSubject, activation.ImportType = "a", jwt.Stream
	request := jwt.NewAuthorizationRequestClaims(f.account.id)
	unknown := user(func(*jwt.UserClaims) {})
	unknown.Unknown = []string{"/nats/new"}
	for name, c := range map[string]struct {
		token claims.Token
		want  string
	}{
		"nothing":           {user(func(*jwt.UserClaims) {}), ""},
		"its last second":   {user(func(c *jwt.UserClaims) { c.Expires = at.Unix(); c.NotBefore = at.Unix() }), ""},
		"expired":           {user(func(c *jwt.UserClaims) { c.Expires = at.Unix() - 1 }), "/exp expired server"},
		"not yet":           {user(func(c *jwt.UserClaims) { c.NotBefore = at.Unix() + 1 }), "/nbf not_yet_valid server"},
		"a name of ours":    {user(func(c *jwt.UserClaims) { c.Name = "a/b" }), "/name invalid_name"},
		"an unknown field":  {unknown, "/nats/new unknown_field"},
		"an operator":       {readBack(t, f.o, f.operator), ""},
		"an account":        {readBack(t, f.a, f.operator), ""},
		"an activation":     {readBack(t, activation, f.account), ""},
		"a callout request": {readBack(t, request, newPair(t, claims.KindServer)), " refused_by_server server"},
	} {
		var got []string
		for _, p := range c.token.Problems(at) {
			s := p.Pointer + " " + p.Code
			if p.Server {
				s += " server"
			}
			got = append(got, s)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func readBack(t *testing.T, c jwt.Claims, by pair) claims.Token {
	t.Helper()
	token, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	read, err := claims.Read(token)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestDescribeEffective(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	device := f.user(t, f.scopedKey)
	got := inWords(claims.DescribeEffective(claims.EffectivePermissions(device, f.a)))
	for _, want := range []string{
		"They are: the template's", "May publish: d.ada\n", "Left out: x.{{tag(none)}} (", "May subscribe to: everything", "Replies: 1 for each request (within 1s)", "can publish to 1 subject",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	refused := inWords(claims.DescribeEffective(claims.Effective{Refusal: &claims.Problem{Detail: "Because.", Pointer: "/x"}}))
	if refused != "Permissions in effect\n  Refused: Because. (/x)\n" {
		t.Error(refused)
	}
	own := f.user(t, f.accountKey)
	own.Pub.Deny = jwt.StringList{"a", "b"}
	own.Sub.Allow = jwt.StringList{"jobs workers"}
	got = inWords(claims.DescribeEffective(claims.EffectivePermissions(own, f.a)))
	for _, want := range []string{"They are: the user's own", "May publish: everything", "May not publish: a, b", "May subscribe to: jobs workers"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, fmt.Sprint(got))
		}
	}
}
