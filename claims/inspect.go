package claims

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Trust tells whether the one above vouches for a JWT.
type Trust string

// The answers about trust.
const (
	TrustYes     Trust = "trusted"
	TrustNo      Trust = "not_trusted"
	TrustUnknown Trust = "unknown"
)

// Link is one step from a JWT up to its operator.
type Link struct {
	// Of and By are what is signed and who is to have signed it: "user d1", "account
	// ORDERS". By is "" where that is not known.
	Of, By string
	Trust  Trust
	// Why is a sentence.
	Why string
}

// Above returns the public key of the account that claims stand below, "" when they
// are an account's or an operator's own, or a server's request.
func Above(c jwt.Claims) string {
	account := ""
	switch v := c.(type) {
	case *jwt.UserClaims:
		account = v.IssuerAccount
	case *jwt.ActivationClaims:
		account = v.IssuerAccount
	case *jwt.AuthorizationResponseClaims:
		account = v.IssuerAccount
	default:
		return ""
	}
	if account == "" {
		account = c.Claims().Issuer
	}
	return keyOrNothing(KindAccount, account)
}

// Chain returns the links from claims up to the operator: account is the one that
// Above names, operator the one that is to have signed accounts; nil where it is not
// known. What the claims themselves say, such as when they expire, is not asked.
func Chain(c jwt.Claims, account *jwt.AccountClaims, operator *jwt.OperatorClaims) []Link {
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		return []Link{operatorLink(v)}
	case *jwt.AccountClaims:
		return []Link{accountLink(v, operator)}
	case *jwt.AuthorizationRequestClaims:
		return []Link{{Of: named("authorization request", v.Name), Trust: TrustUnknown, Why: "It is signed by a nats-server; the operator has no part in that."}}
	}
	links := []Link{memberLink(c, account, operator != nil && operator.StrictSigningKeyUsage)}
	if account != nil {
		links = append(links, accountLink(account, operator))
	}
	return links
}

func named(what, name string) string { return strings.TrimSpace(what + " " + shownText(name)) }

func operatorLink(o *jwt.OperatorClaims) Link {
	l := Link{Of: named("operator", o.Name), By: named("operator", o.Name), Trust: TrustYes, Why: "It is signed by itself; a nats-server trusts it if its configuration names it."}
	if o.Issuer != o.Subject && !slices.Contains(o.SigningKeys, o.Issuer) {
		l.Trust, l.Why = TrustNo, "It is signed by a key that is none of its own."
	}
	return l
}

func accountLink(a *jwt.AccountClaims, o *jwt.OperatorClaims) Link {
	l := Link{Of: named("account", a.Name)}
	if o == nil {
		l.Trust, l.Why = TrustUnknown, "The operator is not known here; the account is signed by "+keyName(a.Issuer)+"."
		return l
	}
	l.By, l.Trust = named("operator", o.Name), TrustNo
	switch {
	case slices.Contains(o.SigningKeys, a.Issuer):
		l.Trust, l.Why = TrustYes, "It is signed by the operator's signing key "+keyName(a.Issuer)+"."
	case a.Issuer == o.Subject && !o.StrictSigningKeyUsage:
		l.Trust, l.Why = TrustYes, "It is signed by the operator's identity key."
	case a.Issuer == o.Subject:
		l.Why = "It is signed by the operator's identity key, which strict signing key usage forbids."
	case a.Issuer == a.Subject:
		l.Why = "It is signed by itself; the operator has not signed it."
	default:
		l.Why = "It is signed by " + keyName(a.Issuer) + ", which is none of the operator's keys."
	}
	return l
}

// memberLink is the link of what an account issues: a user, an activation, an answer.
func memberLink(c jwt.Claims, a *jwt.AccountClaims, strict bool) Link {
	data := c.Claims()
	l := Link{Of: named(strings.ReplaceAll(string(c.ClaimType()), "_", " "), data.Name)}
	if a == nil {
		l.Trust, l.Why = TrustUnknown, "The account "+keyName(Above(c))+" is not known here."
		return l
	}
	l.By, l.Trust = named("account", a.Name), TrustNo
	scope, known := a.SigningKeys.GetScope(data.Issuer)
	role := scopeOf(scope)
	switch {
	case known && role != nil:
		l.Trust, l.Why = TrustYes, "It is signed by the account's key "+keyName(data.Issuer)+" of the template "+shownText(role.Role)+"."
	case known:
		l.Trust, l.Why = TrustYes, "It is signed by the account's signing key "+keyName(data.Issuer)+"."
	case data.Issuer == a.Subject && !strict:
		l.Trust, l.Why = TrustYes, "It is signed by the account's identity key."
	case data.Issuer == a.Subject:
		l.Why = "It is signed by the account's identity key, which the operator's strict signing key usage forbids."
	default:
		l.Why = "It is signed by " + keyName(data.Issuer) + ", which is none of the account's keys."
	}
	return l
}

// Problems returns everything that is wrong with a token by itself at a time: what it
// holds that would be lost, what a nats-server or Chancery refuses, and whether it is
// within its time. Chancery's own rules, such as those for names, are not Server.
func (t Token) Problems(at time.Time) Problems {
	var out Problems
	for _, pointer := range t.Unknown {
		out = append(out, warning(pointer, "unknown_field", "nats-io/jwt does not know this field: a nats-server ignores it, and signing anew would lose it."))
	}
	var own Problems
	switch v := t.Claims.(type) {
	case *jwt.OperatorClaims:
		own = CheckOperator(OperatorOf(v))
	case *jwt.AccountClaims:
		own = CheckAccount(AccountOf(v))
	case *jwt.UserClaims:
		u := UserOf(v)
		u.Account = accountOf(v) // left out where an identity key signs
		own = CheckUser(u)
	case *jwt.ActivationClaims:
		a := ActivationOf(v)
		a.Exporter = Above(v)
		own = CheckActivation(a)
	}
	if len(own) == 0 {
		own = libraryProblems(t.Claims)
	}
	out = append(out, own...)
	data := t.Claims.Claims()
	if data.Expires > 0 && at.Unix() > data.Expires {
		out = append(out, refused("/exp", "expired", "The JWT expired at "+moment(data.Expires)+"."))
	}
	if data.NotBefore > at.Unix() {
		out = append(out, refused("/nbf", "not_yet_valid", "The JWT is not valid before "+moment(data.NotBefore)+"."))
	}
	return out
}
