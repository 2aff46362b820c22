package claims

import (
	"cmp"

	"github.com/nats-io/jwt/v2"
)

// LinkState is what is known of one link of a chain of trust.
type LinkState string

// The states of a link.
const (
	LinkTrusted LinkState = "trusted"
	LinkBroken  LinkState = "broken"
	// LinkUnknown is a link whose upper end is not known here.
	LinkUnknown LinkState = "unknown"
)

// Link is one link of a chain of trust, from a JWT to what signed it.
type Link struct {
	Kind Kind
	// Key is the identity of who signed; Name is empty when that is not known.
	Key, Name string
	// Signer is the key that signed: the identity itself or a signing key of it.
	Signer string
	// Role is the role of a scoped signing key.
	Role  string
	State LinkState
	// Why says it in a sentence.
	Why string
}

// Above returns the public key of the account that claims say they were issued by:
// of users, activations and answers of an auth callout. It is "" for all else.
func Above(c jwt.Claims) string {
	account := ""
	switch v := c.(type) {
	case *jwt.UserClaims:
		account = accountOf(v)
	case *jwt.ActivationClaims:
		account = cmp.Or(v.IssuerAccount, v.Issuer)
	case *jwt.AuthorizationResponseClaims:
		account = cmp.Or(v.IssuerAccount, v.Issuer)
	}
	return keyOrNothing(KindAccount, account)
}

// Chain follows the signatures of c up to the operator: of a user or activation by
// its account, of an account by its operator. account finds an account's claims by
// its key and operators lists whom servers trust; what either does not know makes a
// link unknown. The signature of c itself is checked where it is read.
func Chain(c jwt.Claims, account func(id string) *jwt.AccountClaims, operators []*jwt.OperatorClaims) []Link {
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		return []Link{operatorSelf(v)}
	case *jwt.AccountClaims:
		return []Link{byOperator(v, operators)}
	case *jwt.UserClaims, *jwt.ActivationClaims, *jwt.AuthorizationResponseClaims:
		return underAccount(v, account, operators)
	}
	return nil
}

func operatorSelf(o *jwt.OperatorClaims) Link {
	l := Link{Kind: KindOperator, Key: o.Subject, Name: o.Name, Signer: o.Issuer, State: LinkTrusted, Why: "It signed itself, as an operator does. Servers trust it when their configuration names it."}
	if o.Issuer != o.Subject {
		l.State, l.Why = LinkBroken, "An operator's JWT is signed by its own identity key; this one is not."
	}
	return l
}

// byOperator finds the operator that signed an account.
func byOperator(a *jwt.AccountClaims, operators []*jwt.OperatorClaims) Link {
	l := Link{Kind: KindOperator, Signer: a.Issuer, State: LinkUnknown, Why: "No operator that is known here has this key."}
	if IsPublicKey(KindAccount, a.Issuer) {
		l.State, l.Why = LinkBroken, "The account signed itself. No server trusts it until an operator has signed it."
		return l
	}
	for _, o := range operators {
		switch {
		case a.Issuer == o.Subject && o.StrictSigningKeyUsage:
			return Link{
				Kind: KindOperator, Key: o.Subject, Name: o.Name, Signer: a.Issuer, State: LinkBroken,
				Why: "The operator's identity key signed, but the operator demands signing keys (strict). Sign the account with a signing key.",
			}
		case a.Issuer == o.Subject:
			return Link{Kind: KindOperator, Key: o.Subject, Name: o.Name, Signer: a.Issuer, State: LinkTrusted, Why: "The operator's identity key signed."}
		case o.SigningKeys.Contains(a.Issuer):
			return Link{Kind: KindOperator, Key: o.Subject, Name: o.Name, Signer: a.Issuer, State: LinkTrusted, Why: "A signing key of the operator signed."}
		}
	}
	return l
}

func underAccount(c jwt.Claims, account func(string) *jwt.AccountClaims, operators []*jwt.OperatorClaims) []Link {
	issuer := c.Claims().Issuer
	_, user := c.(*jwt.UserClaims)
	// A server looks for the key of an activation only where the account is named
	// (accounts.go: isIssuerClaimTrusted).
	activation, _ := c.(*jwt.ActivationClaims)
	named := activation != nil && activation.IssuerAccount != ""
	l := Link{Kind: KindAccount, Key: Above(c), Signer: issuer, State: LinkUnknown, Why: "The account is not known here."}
	a := account(l.Key)
	if a == nil {
		return []Link{l}
	}
	l.Name = a.Name
	top := byOperator(a, operators)
	scope, signs := a.SigningKeys.GetScope(issuer)
	role, scoped := scope.(*jwt.UserScope)
	switch {
	case scoped && !user:
		// A nats-server takes an activation from any signing key of the exporter.
		l.State, l.Role, l.Why = LinkTrusted, role.Role, "A scoped signing key of the account signed."
	case scoped:
		l.State, l.Role, l.Why = LinkTrusted, role.Role, "A scoped signing key of the account signed: its template rules."
	case signs:
		l.State, l.Why = LinkTrusted, "A signing key of the account signed."
	case issuer != a.Subject:
		l.State, l.Why = LinkBroken, "The account does not have this signing key, or no longer."
	case (user || named) && strictOperator(top, operators):
		l.State, l.Why = LinkBroken, "The account's identity key signed, but the operator demands signing keys (strict)."
	default:
		l.State, l.Why = LinkTrusted, "The account's identity key signed."
	}
	return []Link{l, top}
}

func strictOperator(l Link, operators []*jwt.OperatorClaims) bool {
	for _, o := range operators {
		if o.Subject == l.Key {
			return o.StrictSigningKeyUsage
		}
	}
	return false
}
