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
