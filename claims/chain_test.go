package claims_test

import (
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

func TestChain(t *testing.T) {
	t.Parallel()
	lax, strict := newPair(t, claims.KindOperator), newPair(t, claims.KindOperator)
	signing := newPair(t, claims.KindOperator)
	account, plain, scoped := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	user := newPair(t, claims.KindUser).id
	operator := func(id pair, strict bool, by pair) *jwt.OperatorClaims {
		c := jwt.NewOperatorClaims(id.id)
		c.Name, c.StrictSigningKeyUsage = "acme", strict
		c.SigningKeys.Add(signing.id)
		c.Issuer = by.id
		return c
	}
	anAccount := func(issuer string) *jwt.AccountClaims {
		c := jwt.NewAccountClaims(account.id)
		c.Name, c.Issuer = "ORDERS", issuer
		c.SigningKeys.Add(plain.id)
		scope := jwt.NewUserScope()
		scope.Key, scope.Role = scoped.id, "device"
		c.SigningKeys.AddScopedSigner(scope)
		return c
	}
	aUser := func(issuer, of string) jwt.Claims {
		c := jwt.NewUserClaims(user)
		c.Issuer, c.IssuerAccount = issuer, of
		return c
	}
	activation := func(issuer, of string) jwt.Claims {
		c := jwt.NewActivationClaims(newPair(t, claims.KindAccount).id)
		c.Issuer, c.IssuerAccount = issuer, of
		return c
	}
	operators := []*jwt.OperatorClaims{operator(lax, false, lax), operator(strict, true, strict)}
	const (
		trusted = claims.LinkTrusted
		broken  = claims.LinkBroken
		unknown = claims.LinkUnknown
	)
	for name, c := range map[string]struct {
		claims jwt.Claims
		// issuer signed the account that is known.
		issuer string
		want   []claims.LinkState
		role   string
	}{
		"operator":                          {operator(lax, false, lax), "", []claims.LinkState{trusted}, ""},
		"operator signed by another":        {operator(lax, false, signing), "", []claims.LinkState{broken}, ""},
		"account by signing key":            {anAccount(signing.id), "", []claims.LinkState{trusted}, ""},
		"account by identity, lax":          {anAccount(lax.id), "", []claims.LinkState{trusted}, ""},
		"account by identity, strict":       {anAccount(strict.id), "", []claims.LinkState{broken}, ""},
		"account signed by itself":          {anAccount(account.id), "", []claims.LinkState{broken}, ""},
		"account by a stranger":             {anAccount(newPair(t, claims.KindOperator).id), "", []claims.LinkState{unknown}, ""},
		"user by signing key":               {aUser(plain.id, account.id), signing.id, []claims.LinkState{trusted, trusted}, ""},
		"user by scoped key":                {aUser(scoped.id, account.id), signing.id, []claims.LinkState{trusted, trusted}, "device"},
		"user by identity, lax":             {aUser(account.id, ""), lax.id, []claims.LinkState{trusted, trusted}, ""},
		"user by identity, strict":          {aUser(account.id, ""), strict.id, []claims.LinkState{broken, broken}, ""},
		"user by a removed key":             {aUser(newPair(t, claims.KindAccount).id, account.id), signing.id, []claims.LinkState{broken, trusted}, ""},
		"user of a self-signed account":     {aUser(plain.id, account.id), account.id, []claims.LinkState{trusted, broken}, ""},
		"user of an account that is gone":   {aUser(plain.id, newPair(t, claims.KindAccount).id), signing.id, []claims.LinkState{unknown}, ""},
		"activation by scoped key":          {activation(scoped.id, account.id), signing.id, []claims.LinkState{trusted, trusted}, "device"},
		"activation by identity":            {activation(account.id, ""), signing.id, []claims.LinkState{trusted, trusted}, ""},
		"a type that is not part of chains": {jwt.NewGenericClaims("x"), "", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			known := func(id string) *jwt.AccountClaims {
				if id != account.id {
					return nil
				}
				return anAccount(c.issuer)
			}
			links := claims.Chain(c.claims, known, operators)
			if len(links) != len(c.want) {
				t.Fatalf("%+v, want %v", links, c.want)
			}
			for i, l := range links {
				if l.State != c.want[i] || l.Why == "" || l.Signer == "" {
					t.Errorf("link %d: %+v, want %s", i, l, c.want[i])
				}
			}
			if len(links) > 0 && links[0].Role != c.role {
				t.Errorf("role %q, want %q", links[0].Role, c.role)
			}
		})
	}
}

// Where every link is trusted, and only there, a strict server lets the user in.
func TestChainAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := jwt.NewOperatorClaims(w.operator.id)
	o.StrictSigningKeyUsage = true
	o.SigningKeys.Add(w.signing.id)
	agreed, total := 0, 0
	for _, top := range []pair{w.signing, w.operator, newPair(t, claims.KindOperator)} {
		identity, plain, scoped := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
		for _, signer := range []pair{identity, plain, scoped, newPair(t, claims.KindAccount)} {
			a := jwt.NewAccountClaims(identity.id)
			a.Name = "orders"
			a.SigningKeys.Add(plain.id)
			scope := jwt.NewUserScope()
			scope.Key, scope.Role = scoped.id, "device"
			a.SigningKeys.AddScopedSigner(scope)
			token, err := a.Encode(top)
			if err != nil {
				t.Fatal(err)
			}
			w.store(t, a.Subject, token)
			key := newPair(t, claims.KindUser)
			u := jwt.NewUserClaims(key.id)
			u.Name, u.IssuerAccount = "ada", a.Subject
			u.SetScoped(signer.id == scoped.id)
			text, err := u.Encode(signer)
			if err != nil {
				t.Fatal(err)
			}
			trusted := true
			for _, l := range claims.Chain(u, func(string) *jwt.AccountClaims { return a }, []*jwt.OperatorClaims{o}) {
				trusted = trusted && l.State == claims.LinkTrusted
			}
			nc, err := w.dial(t, text, key)
			if err == nil {
				nc.Close()
			}
			if total++; trusted != (err == nil) {
				t.Errorf("trusted: %v, the server: %v", trusted, err)
				continue
			}
			agreed++
		}
	}
	t.Logf("chain: %d of %d as the server has it", agreed, total)
}
