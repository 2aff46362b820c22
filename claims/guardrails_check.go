package claims

import (
	"slices"
	"strconv"
	"strings"
)

const (
	// maxGuardrailTags and maxPrefixes bound the lists of guardrails.
	maxGuardrailTags = 16
	maxPrefixes      = 64
	// maxQuota is the highest quota: what JSON carries without loss.
	maxQuota = 1 << 53
	// minTTL and maxTTL bound a lifetime, in seconds.
	minTTL = 60
	maxTTL = 100 * 365 * 24 * 3600
)

// CheckGuardrails returns what is wrong with guardrails, those of an operator or those
// of an account, which may have less. They are as Normal returns them.
func CheckGuardrails(g Guardrails, operator bool) Problems {
	var out Problems
	if g.MaxTTL != 0 && (g.MaxTTL < minTTL || g.MaxTTL > maxTTL) {
		out = append(out, blocking("/credential_max_ttl_seconds", "out_of_range", "A lifetime is 0 for none, or 60 seconds to 100 years."))
	}
	out = append(out, checkTagKeys("/required_user_tags", g.UserTags)...)
	out = append(out, checkTagKeys("/required_account_tags", g.AccountTags)...)
	if len(g.AccountTags) > 0 && !operator {
		out = append(out, blocking("/required_account_tags", "not_applicable", "Tags of accounts are asked for by the operator's guardrails."))
	}
	if len(g.Subjects) > maxPrefixes {
		out = append(out, blocking("/subject_prefixes", "too_many", "At most 64 prefixes are allowed."))
	}
	for n, s := range g.Subjects {
		out = append(out, checkPrefix(Point("/subject_prefixes", n), s)...)
	}
	known := Quotas(operator)
	for q, n := range g.Quotas {
		switch pointer := Point("/quotas", string(q)); {
		case !slices.Contains(known, q):
			out = append(out, blocking("/quotas", "not_applicable", "This quota is none of an account's: it belongs into the operator's guardrails."))
		case n < 0 || n > maxQuota:
			out = append(out, blocking(pointer, "out_of_range", "A quota is 0 for none at all, or a number up to 2^53. To set no bound, leave it out."))
		}
	}
	return out
}

func checkTagKeys(pointer string, keys []string) Problems {
	var out Problems
	if len(keys) > maxGuardrailTags {
		out = append(out, blocking(pointer, "too_many", "At most 16 tags can be asked for."))
	}
	for n, k := range keys {
		switch {
		case LooksLikeSeed(k):
			out = append(out, seedIn(Point(pointer, n))...)
		case !IsToken(k):
			out = append(out, blocking(Point(pointer, n), "invalid_tag", "This is the key of a tag, such as team for team:orders: letters, digits, _ and - only, up to 64 characters."))
		}
	}
	return out
}

func checkPrefix(pointer, s string) Problems {
	if s == Inboxes || s == Responses {
		return nil
	}
	literal, dot := strings.CutSuffix(s, ".")
	if problems := checkSubject(pointer, literal, false, false); problems.Blocking() {
		return problems
	}
	if !dot || strings.ContainsAny(s, "*>") {
		return Problems{blocking(pointer, "invalid_prefix", "A prefix is whole tokens without wildcards and ends in a dot, such as orders. for all that orders.> matches. The names are inboxes and responses.")}
	}
	return nil
}

// Rules says in sentences what the guardrails ask for.
func (g Guardrails) Rules() []string {
	var out []string
	if g.MaxTTL > 0 {
		out = append(out, "Credentials live for at most "+wholly(g.MaxTTL)+".")
	}
	if g.NoBearer {
		out = append(out, "Bearer users are refused.")
	}
	for _, key := range g.UserTags {
		out = append(out, "Users need a tag "+key+":…")
	}
	for _, key := range g.AccountTags {
		out = append(out, "Accounts need a tag "+key+":…")
	}
	if g.Subjects != nil {
		out = append(out, "Users may use, and accounts export, "+strings.TrimPrefix(Level{Guardrails: g}.below(), "allow "))
		if slices.Contains(g.Subjects, Responses) {
			out = append(out, "Users may be allowed to answer requests, on whatever subject these name.")
		}
	}
	for _, f := range quotaFields() {
		if n, bounded := g.Quotas[f.quota]; bounded {
			out = append(out, "At most "+f.amount(n)+" "+f.counted+".")
		}
	}
	return out
}

// DiffGuardrails returns what changes from one state of guardrails to another.
func DiffGuardrails(before, after Guardrails) []FieldChange {
	var out []FieldChange
	add := func(pointer, field, from, to string) {
		if from != to {
			out = append(out, FieldChange{Pointer: pointer, Field: field, Before: from, After: to})
		}
	}
	ttl := func(n int64) string {
		if n == 0 {
			return "no bound"
		}
		return wholly(n)
	}
	bearer := map[bool]string{false: "allowed", true: "refused"}
	list := func(l []string, none string) string {
		if len(l) == 0 {
			return none
		}
		return shownText(strings.Join(l, ", "))
	}
	add("/credential_max_ttl_seconds", "Longest lifetime of credentials", ttl(before.MaxTTL), ttl(after.MaxTTL))
	add("/no_bearer", "Bearer users", bearer[before.NoBearer], bearer[after.NoBearer])
	add("/required_user_tags", "Tags of users", list(before.UserTags, "none needed"), list(after.UserTags, "none needed"))
	add("/required_account_tags", "Tags of accounts", list(before.AccountTags, "none needed"), list(after.AccountTags, "none needed"))
	add("/subject_prefixes", "Subjects", list(before.Subjects, "all"), list(after.Subjects, "all"))
	for _, f := range quotaFields() {
		amount := func(g Guardrails) string {
			if n, bounded := g.Quotas[f.quota]; bounded {
				return f.amount(n)
			}
			return "no bound"
		}
		add(Point("/quotas", string(f.quota)), f.name, amount(before), amount(after))
	}
	return out
}

// QuotaName is what people call a quota; Bytes tells that it is an amount of bytes.
func QuotaName(q Quota) (name string, bytes bool) {
	for _, f := range quotaFields() {
		if f.quota == q {
			return f.name, f.bytes
		}
	}
	return strconv.Quote(string(q)), false
}
