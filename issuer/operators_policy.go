package issuer

import (
	"fmt"
	"strconv"
	"time"

	"chancery/claims"
)

const policyPath = "/policy"

func isPolicy(c Change) bool {
	return len(c.Path) > len(policyPath) && c.Path[:len(policyPath)+1] == policyPath+"/"
}

// policyField is one rule of a policy, as people know it.
type policyField struct {
	pointer, name string
	get           func(p Policy) int64
	// most is the highest value, least the lowest beside 0.
	least, most int64
	show        func(n int64) string
	outOfRange  string
}

// mostServers bounds the number of servers that an operator can expect.
const mostServers = 10_000

const (
	minute = 60
	hour   = 60 * minute
	year   = 365 * 24 * hour
)

// policyFields are the rules of a policy that are numbers.
func policyFields() []policyField {
	const lifetime = "A lifetime is 0 for none, or 60 seconds to 100 years."
	const age = "The age of a key is 0 for never, or one hour to 10 years, in seconds."
	return []policyField{
		{"/policy/credential_ttl_seconds", "Lifetime of credentials", func(p Policy) int64 { return p.DefaultTTL }, minute, 100 * year, lasting, lifetime},
		{"/policy/operator_key_age_seconds", "Operator keys are rotated after", func(p Policy) int64 { return p.OperatorKeyAge }, hour, 10 * year, lasting, age},
		{"/policy/account_key_age_seconds", "Account keys are rotated after", func(p Policy) int64 { return p.AccountKeyAge }, hour, 10 * year, lasting, age},
		{"/policy/template_key_age_seconds", "Template keys are rotated after", func(p Policy) int64 { return p.TemplateKeyAge }, hour, 10 * year, lasting, age},
		{"/policy/rotation_overlap_seconds", "Overlap of rotated keys", func(p Policy) int64 { return p.Overlap }, 1, year, lasting, "The overlap of a rotation is 0 to one year, in seconds."},
		{"/policy/renewal_percent", "Renewed by holders in the last", func(p Policy) int64 { return p.Renewal }, 1, 90, percent, "The part of the lifetime in which a holder may renew is 0 for never, or 1 to 90 percent."},
		{"/policy/servers_expected", "Servers expected", func(p Policy) int64 { return p.Servers }, 1, mostServers, number, "The number of servers is 0 for not set, or 1 to 10,000."},
	}
}

func checkPolicy(p Policy) claims.Problems {
	out := claims.CheckGuardrails(p.Guardrails, true).At(policyPath)
	for _, f := range policyFields() {
		if n := f.get(p); n != 0 && (n < f.least || n > f.most) {
			out = append(out, claims.Problem{Pointer: f.pointer, Code: "out_of_range", Detail: f.outOfRange, Blocking: true})
		}
	}
	switch p.ForeignNewer {
	case "", claims.DriftKeep, claims.DriftAdopt:
	default:
		out = append(out, claims.Problem{Pointer: foreignPointer, Code: "unknown_value", Detail: "What becomes of newer JWTs by others is report, keep or adopt.", Blocking: true})
	}
	if p.MaxTTL > 0 && p.DefaultTTL > p.MaxTTL {
		out = append(out, claims.Problem{Pointer: "/policy/credential_ttl_seconds", Code: "out_of_range", Detail: "The lifetime of credentials is longer than the longest one.", Blocking: true})
	}
	for _, age := range []int64{p.OperatorKeyAge, p.AccountKeyAge, p.TemplateKeyAge} {
		if age > 0 && p.Overlap >= age {
			out = append(out, claims.Problem{Pointer: "/policy/rotation_overlap_seconds", Code: "out_of_range", Detail: "The overlap must be shorter than the age at which keys are rotated.", Blocking: true})
			break
		}
	}
	return out
}

func diffPolicies(before, after Policy) []claims.FieldChange {
	var out []claims.FieldChange
	for _, f := range policyFields() {
		if a, b := f.get(before), f.get(after); a != b {
			out = append(out, claims.FieldChange{Pointer: f.pointer, Field: f.name, Before: f.show(a), After: f.show(b)})
		}
	}
	if a, b := before.ForeignNewer, after.ForeignNewer; a != b {
		out = append(out, claims.FieldChange{Pointer: foreignPointer, Field: "Newer JWTs by others", Before: ForeignWords(a), After: ForeignWords(b)})
	}
	for _, c := range claims.DiffGuardrails(before.Guardrails, after.Guardrails) {
		c.Pointer = policyPath + c.Pointer
		out = append(out, c)
	}
	return out
}

const foreignPointer = "/policy/foreign_newer"

// ForeignWords says what becomes of newer JWTs by others.
func ForeignWords(d claims.DriftDecision) string {
	switch d {
	case claims.DriftKeep:
		return "ours is kept"
	case claims.DriftAdopt:
		return "theirs is adopted"
	}
	return "reported"
}

// lasting writes seconds in the largest unit that divides them.
func lasting(n int64) string {
	if n == 0 {
		return "not set"
	}
	for _, u := range []struct {
		size int64
		name string
	}{{24 * hour, "days"}, {hour, "hours"}, {minute, "minutes"}} {
		if n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return (time.Duration(n) * time.Second).String()
}

func number(n int64) string {
	if n == 0 {
		return "not set"
	}
	return strconv.FormatInt(n, 10)
}

func percent(n int64) string {
	if n == 0 {
		return "not set"
	}
	return fmt.Sprintf("%d %% of the lifetime", n)
}
