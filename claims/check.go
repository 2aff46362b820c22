package claims

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
)

// Checked is claims that passed their check; only the Check functions make one,
// and only checked claims can be encoded.
type Checked struct {
	claims jwt.Claims
	// carried goes into the JWT beside the claims.
	carried Carried
}

// libraryProblems runs nats-io/jwt's own validation, which a nats-server runs too,
// and keeps what does not depend on the clock: the library reads the system's
// clock, Chancery is given its own.
func libraryProblems(c jwt.Claims) Problems {
	if a, ok := c.(*jwt.AccountClaims); ok && a.Trace != nil {
		trace := *a.Trace
		defer func() { *a.Trace = trace }() // the library fills in the sampling
	}
	vr := jwt.CreateValidationResults()
	c.Validate(vr)
	var out Problems
	for _, i := range vr.Issues {
		if i.TimeCheck {
			continue
		}
		out = append(out, Problem{Code: "refused_by_server", Blocking: i.Blocking, Server: i.Blocking, Detail: sentence(i.Description)})
	}
	return out
}

// sentence makes a library message presentable and removes what may be a value
// of the caller: all from the first quotation mark to the last, since a value may
// hold some itself, and all after a colon.
func sentence(s string) string {
	s = unquoted(unquoted(s, `"`, `"`), " '", "'")
	s, _, _ = strings.Cut(s, ": ")
	out := strings.TrimSpace(Redact(s))
	if out == "" {
		return "A nats-server would refuse these claims."
	}
	first, size := utf8.DecodeRuneInString(out)
	return string(unicode.ToUpper(first)) + out[size:] + "."
}

func unquoted(s, opening, closing string) string {
	from, to := strings.Index(s, opening), strings.LastIndex(s, closing)
	if from < 0 {
		return s
	}
	rest := ""
	if to > from+len(opening)-1 {
		rest = s[to+len(closing):]
	}
	return s[:from] + strings.Repeat(" ", len(opening)-1) + "…" + rest
}

// libraryRefuses tells whether a part of claims fails nats-io/jwt's validation,
// which a nats-server runs over operator-signed and user JWTs.
func libraryRefuses(validate func(*jwt.ValidationResults)) bool {
	vr := jwt.CreateValidationResults()
	validate(vr)
	return vr.IsBlocking(false)
}

// serverProblems returns what a nats-server refuses claims for.
func serverProblems(c jwt.Claims) Problems {
	own, ok := ownProblems(c)
	if !ok {
		return Problems{blocking("/nats/type", "unsupported_type", "A JWT of this type is made by a server or a callout service for one connection and is not signed anew.")}
	}
	out := slices.DeleteFunc(own, func(p Problem) bool { return !p.Server })
	if _, operator := c.(*jwt.OperatorClaims); operator || len(out) > 0 {
		return out // a server does not run the library's validation over an operator
	}
	return slices.DeleteFunc(libraryProblems(c), func(p Problem) bool { return !p.Server })
}

// ownProblems runs the checks of what Chancery makes itself; ok is false for types
// that it does not make.
func ownProblems(c jwt.Claims) (problems Problems, ok bool) {
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		return CheckOperator(OperatorOf(v)), true
	case *jwt.AccountClaims:
		return CheckAccount(AccountOf(v)), true
	case *jwt.UserClaims:
		u := UserOf(v)
		u.Account = Above(v) // left out where the identity key signs
		return CheckUser(u), true
	case *jwt.ActivationClaims:
		a := ActivationOf(v)
		a.Exporter = Above(v)
		return CheckActivation(a), true
	}
	return nil, false
}
