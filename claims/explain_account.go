package claims

import (
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"
)

func (r *replay) accountPinned() finding {
	id := accountOf(r.user)
	if r.view.Pinned == nil {
		return pass("Assumed: the server pins no accounts, which few do.")
	}
	if slices.Contains(r.view.Pinned, id) {
		return pass("The server pins " + keyName(id) + ".")
	}
	for _, o := range r.view.Operators {
		if o.SystemAccount == id { // the server adds it by itself
			return pass("The system account is always served.")
		}
	}
	return fail(keyName(id)+" is not among the resolver_pinned_accounts of the server.",
		"Connect to a server that serves the account, or add it to resolver_pinned_accounts.")
}

func (r *replay) accountFound() finding {
	id := accountOf(r.user)
	if !IsPublicKey(KindAccount, id) {
		return fail("The issuer account in the user JWT is no public key of an account, and a server does not look it up.", "Issue new credentials.")
	}
	if r.view.Account != "" {
		return pass("The JWT of " + keyName(id) + " is there.")
	}
	if r.user.IssuerAccount == "" {
		return fail("The user JWT names no issuer account, so the server looked for an account with the identity of its signer, "+keyName(id)+", and found none.",
			"If that key is a signing key, issue new credentials that name the account.", "If it is the account's identity, push the account's JWT.")
	}
	return fail("The resolver has no JWT of the account "+keyName(id)+".", "Push the account's JWT.",
		"If the account was deleted, the user needs another account.")
}

func (r *replay) accountDecodes() finding {
	if r.view.Account == "" {
		return finding{result: ResultNotReached}
	}
	account, err := jwt.DecodeAccountClaims(r.view.Account)
	if err != nil {
		return fail("What the resolver hands out is no account JWT with a right signature: "+whyUnread(err), "Push the account's JWT again.")
	}
	r.account = account
	return pass("The signature of " + keyName(account.Issuer) + " is right.")
}

func (r *replay) accountTrusted() finding {
	issuer := r.account.Issuer
	if len(r.view.Operators) == 0 {
		return unknown("The account is signed by " + keyName(issuer) + "; which operators the server trusts is not known.")
	}
	for _, o := range r.view.Operators {
		switch {
		case slices.Contains(o.SigningKeys, issuer):
			return pass(keyName(issuer) + " is a signing key of the operator " + Redact(o.Name) + ".")
		case issuer != o.Subject:
		case o.StrictSigningKeyUsage:
			return fail("The account is signed by the identity key of the operator "+Redact(o.Name)+", which requires signing keys (strict_signing_key_usage).",
				"Sign the account with a signing key of the operator and push it.")
		default:
			return pass(keyName(issuer) + " is the identity key of the operator " + Redact(o.Name) + ".")
		}
	}
	return fail("The account is signed by "+keyName(issuer)+", which is no key of a trusted operator.",
		"Sign the account again with a current signing key of the operator and push it.",
		"If the operator's keys changed, give the servers the new operator JWT and restart them.")
}

func (r *replay) accountValid() finding {
	for _, p := range libraryProblems(r.account) {
		if p.Blocking {
			return fail("The account's JWT is malformed. "+p.Detail, "Correct the account and push it.")
		}
	}
	return r.inTime("The account's JWT", r.account.ClaimsData, "Renew the account and push it.")
}

func (r *replay) accountMatches() finding {
	if id := accountOf(r.user); r.account.Subject != id {
		f := fail("The resolver hands out the JWT of "+keyName(r.account.Subject)+" when asked for "+keyName(id)+".", "Push the account's JWT again.")
		r.account = nil
		return f
	}
	return pass("It is.")
}

// strict tells whether the operator that signed the account requires signing keys.
// A server looks at the operator's signing keys only.
func (r *replay) strict() bool {
	return slices.ContainsFunc(r.view.Operators, func(o *jwt.OperatorClaims) bool {
		return o.StrictSigningKeyUsage && slices.Contains(o.SigningKeys, r.account.Issuer)
	})
}

func (r *replay) issuerKnown() finding {
	issuer, strict := r.user.Issuer, r.strict()
	_, listed := r.account.SigningKeys.GetScope(issuer)
	// An identity key that is listed too is known either way.
	if !listed && (issuer != r.account.Subject || strict) {
		if issuer == r.account.Subject {
			return fail("The user is signed by the account's identity key, and the operator requires signing keys (strict_signing_key_usage).",
				"Issue new credentials with a signing key of the account.")
		}
		return fail(keyName(issuer)+", which signed the user, is no signing key of the account.",
			"Issue new credentials with a current signing key of the account.",
			"If the key was just added, push the account's JWT to the server.")
	}
	r.bound = true
	if !listed && len(r.view.Operators) == 0 {
		return unknown("The user is signed by the account's identity key; whether the operator requires signing keys is not known.")
	}
	if !listed || issuer == r.account.Subject && !strict {
		return pass("The user is signed by the account's identity key.")
	}
	if s := r.scope(); s != nil {
		return pass(keyName(issuer) + " is a scoped signing key of the account with the role " + Redact(s.Role) + ".")
	}
	return pass(keyName(issuer) + " is a signing key of the account.")
}

// scope returns the template that rules the user, or nil.
func (r *replay) scope() *jwt.UserScope {
	if r.user.Issuer == r.account.Subject && !r.strict() {
		return nil // the server overwrites a scope of the identity key
	}
	s, _ := r.account.SigningKeys.GetScope(r.user.Issuer)
	scope, _ := s.(*jwt.UserScope)
	return scope
}

func (r *replay) scopeEmpty() finding {
	switch {
	case r.scope() == nil:
		return pass("The user has no template.")
	case r.user.HasEmptyPermissions():
		return pass("The template alone rules.")
	}
	return fail("The user is signed by a scoped signing key, but its JWT has permissions or limits of its own.",
		"Issue new credentials without permissions, or with a signing key that has no template.")
}

func (r *replay) templateExpands() finding {
	r.permissions = EffectivePermissions(r.user, r.account)
	scope := r.scope()
	if scope == nil {
		return pass("The user has no template.")
	}
	r.user.UserPermissionLimits = scope.Template
	if p := r.permissions.Refusal; p != nil {
		return fail("The template cannot be applied to this user. "+p.Detail, "Give the user or the account what the template asks for, or correct the template.")
	}
	if n := len(r.permissions.Publish.Dropped) + len(r.permissions.Subscribe.Dropped); n > 0 {
		return pass(fmt.Sprintf("It does, but %d of its allow rules are dropped.", n))
	}
	return pass("It does.")
}

// accountNotExpired comes after the same question about the JWT: it differs in the
// second of exp only, which the JWT survives and the account does not.
func (r *replay) accountNotExpired() finding {
	exp, now := r.account.Expires, r.attempt.At.Unix()
	if exp > 0 && exp <= now {
		return fail(fmt.Sprintf("The account expired at %s.", stamp(exp)), "Renew the account and push it.")
	}
	return pass("It has not.")
}
