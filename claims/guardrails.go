package claims

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Guardrails bound what may be made in accounts: those of an operator in all of its
// accounts, those of an account in it alone. The zero value bounds nothing. They are
// Chancery's own and no part of any JWT.
type Guardrails struct {
	// MaxTTL is the longest lifetime of credentials in seconds; 0 is no bound. With a
	// bound nothing is issued that never expires.
	MaxTTL int64 `json:"credential_max_ttl_seconds,omitempty"`
	// NoBearer refuses bearer users and templates: whoever sees such a JWT can connect.
	NoBearer bool `json:"no_bearer,omitempty"`
	// UserTags and AccountTags are the keys of tags key:value that every user and every
	// account has to have. AccountTags are an operator's only.
	UserTags    []string `json:"required_user_tags,omitempty"`
	AccountTags []string `json:"required_account_tags,omitempty"`
	// Subjects are the prefixes, each ending in a dot, below which users may publish and
	// subscribe and accounts export, and the names Inboxes and Responses. Empty allows
	// every subject.
	Subjects []string `json:"subject_prefixes,omitempty"`
	// Quotas are how many there may be; what is not named is not bounded.
	Quotas map[Quota]int64 `json:"quotas,omitempty"`
}

// Quota names what is counted.
type Quota string

// The quotas. The first one and the totals are an operator's only.
const (
	// QuotaAccounts counts an operator's accounts beside its system account.
	QuotaAccounts Quota = "accounts"
	// QuotaUsers and QuotaTemplates count what is in one account; shared templates are
	// the operator's.
	QuotaUsers     Quota = "users_per_account"
	QuotaTemplates Quota = "templates_per_account"
	// QuotaSigningKeys counts the keys of an account, with those of its templates, that
	// are not retired.
	QuotaSigningKeys Quota = "signing_keys_per_account"
	QuotaExports     Quota = "exports_per_account"
	QuotaImports     Quota = "imports_per_account"
	// QuotaCredentials counts the keys of a user with a credential that has not expired
	// and is not revoked: a renewed credential is not a second one.
	QuotaCredentials Quota = "credentials_per_user"
	// The totals are sums of the limits that an operator's accounts have been given;
	// with one, no account is unlimited. What a JetStream tier allows counts once for
	// each replica, since a nats-server scales such a limit up (wouldExceedLimits).
	TotalConnections Quota = "total_connections"
	TotalDisk        Quota = "total_jetstream_disk_bytes"
	TotalMemory      Quota = "total_jetstream_memory_bytes"
)

// quotaField is a quota as people know it.
type quotaField struct {
	quota Quota
	name  string
	// counted says in a sentence what may be at most so many.
	counted  string
	operator bool
	bytes    bool
}

func quotaFields() []quotaField {
	return []quotaField{
		{QuotaAccounts, "Accounts", "accounts of the operator", true, false},
		{QuotaUsers, "Users of an account", "users of an account", false, false},
		{QuotaTemplates, "Templates of an account", "templates of an account's own", false, false},
		{QuotaSigningKeys, "Signing keys of an account", "signing keys of an account that are not retired", false, false},
		{QuotaExports, "Exports of an account", "exports of an account", false, false},
		{QuotaImports, "Imports of an account", "imports of an account", false, false},
		{QuotaCredentials, "Credentials of a user", "keys of a user with unexpired credentials", false, false},
		{TotalConnections, "Connections of all accounts", "connections of all accounts together", true, false},
		{TotalDisk, "JetStream disk of all accounts", "of JetStream disk of all accounts together", true, true},
		{TotalMemory, "JetStream memory of all accounts", "of JetStream memory of all accounts together", true, true},
	}
}

// Quotas returns all quotas, or those that an account can have, in the order in which
// people read them.
func Quotas(operator bool) []Quota {
	var out []Quota
	for _, f := range quotaFields() {
		if operator || !f.operator {
			out = append(out, f.quota)
		}
	}
	return out
}

// IsZero tells whether nothing is bounded.
func (g Guardrails) IsZero() bool {
	return g.MaxTTL == 0 && !g.NoBearer && len(g.UserTags)+len(g.AccountTags)+len(g.Subjects)+len(g.Quotas) == 0
}

// Equal tells whether two guardrails bound the same; no order counts in their lists.
func (g Guardrails) Equal(other Guardrails) bool {
	a, b := g.Normal(), other.Normal()
	return a.MaxTTL == b.MaxTTL && a.NoBearer == b.NoBearer && slices.Equal(a.UserTags, b.UserTags) && slices.Equal(a.AccountTags, b.AccountTags) &&
		slices.Equal(a.Subjects, b.Subjects) && maps.Equal(a.Quotas, b.Quotas)
}

// Normal returns the guardrails as they are kept: lists sorted and without repeats,
// keys of tags in lower case as tags are, prefixes ending in a dot.
func (g Guardrails) Normal() Guardrails {
	g.UserTags, g.AccountTags = sortedSet(NormalizeTags(g.UserTags)), sortedSet(NormalizeTags(g.AccountTags))
	var subjects []string
	for _, s := range g.Subjects {
		s = strings.TrimSpace(s)
		if strings.HasSuffix(s, ".>") {
			s = strings.TrimSuffix(s, ">")
		}
		subjects = append(subjects, s)
	}
	g.Subjects = sortedSet(subjects)
	if len(g.Quotas) == 0 {
		g.Quotas = nil
	}
	return g
}

func sortedSet(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// With returns what holds in an account with guardrails of its own under the
// operator's: the stricter of both. No prefix at all, where both bound subjects,
// comes out as a list that is empty and not nil: then no subject is allowed.
func (g Guardrails) With(account Guardrails) Guardrails {
	out := Guardrails{
		MaxTTL: g.MaxTTL, NoBearer: g.NoBearer || account.NoBearer, UserTags: sortedSet(slices.Concat(g.UserTags, account.UserTags)),
		AccountTags: g.AccountTags, Subjects: meetPrefixes(g.Subjects, account.Subjects), Quotas: maps.Clone(g.Quotas),
	}
	if out.MaxTTL == 0 || account.MaxTTL > 0 && account.MaxTTL < out.MaxTTL {
		out.MaxTTL = account.MaxTTL
	}
	for q, n := range account.Quotas {
		if most, bounded := out.Quotas[q]; !bounded || n < most {
			if out.Quotas == nil {
				out.Quotas = map[Quota]int64{}
			}
			out.Quotas[q] = n
		}
	}
	return out
}

// Levels are the guardrails that hold for an account or template: first the
// operator's, then the account's own. None bounds nothing.
type Levels []Level

// Level is guardrails with whose they are: operator or account.
type Level struct {
	Whose string
	Guardrails
}

// OutsideGuardrails is the code of what guardrails refuse.
const OutsideGuardrails = "outside_guardrails"

// outside is what a level refuses; rule goes on after "The operator's guardrails".
func (l Level) outside(pointer, rule string) Problem {
	return blocking(pointer, OutsideGuardrails, "The "+l.Whose+"'s guardrails "+rule+" Whoever administers the operator can change them.")
}

// MaxTTL is the longest lifetime of credentials, 0 for no bound.
func (l Levels) MaxTTL() time.Duration {
	var most int64
	for _, x := range l {
		if x.MaxTTL > 0 && (most == 0 || x.MaxTTL < most) {
			most = x.MaxTTL
		}
	}
	return time.Duration(most) * time.Second
}

// CheckTTL returns what is wrong with a lifetime, 0 for ever.
func (l Levels) CheckTTL(pointer string, ttl time.Duration) Problems {
	for _, x := range l {
		if most := time.Duration(x.MaxTTL) * time.Second; most > 0 && (ttl == 0 || ttl > most) && most == l.MaxTTL() {
			return Problems{x.outside(pointer, "let a credential live for at most "+wholly(x.MaxTTL)+".")}
		}
	}
	return nil
}

// CheckUserTags returns the tags that a user lacks.
func (l Levels) CheckUserTags(pointer string, tags []string) Problems {
	var out Problems
	for n, x := range l {
		for _, key := range x.UserTags {
			if len(TagValues(tags, key)) == 0 && !slices.ContainsFunc(l[:n], func(o Level) bool { return slices.Contains(o.UserTags, key) }) {
				out = append(out, x.outside(pointer, "want a tag "+key+":… on every user."))
			}
		}
	}
	return out
}

// CheckAccountTags returns the tags that an account lacks.
func (l Levels) CheckAccountTags(pointer string, tags []string) Problems {
	var out Problems
	for _, x := range l {
		for _, key := range x.AccountTags {
			if len(TagValues(tags, key)) == 0 {
				out = append(out, x.outside(pointer, "want a tag "+key+":… on every account."))
			}
		}
	}
	return out
}

// CheckQuota returns what is wrong with there being n of what a quota counts; n below
// zero stands for a limit that is none.
func (l Levels) CheckQuota(pointer string, q Quota, n int64) Problems {
	for _, x := range l {
		most, bounded := x.Quotas[q]
		if !bounded || n >= 0 && n <= most || l.Most(q) < most {
			continue
		}
		for _, f := range quotaFields() {
			if f.quota == q {
				return Problems{x.outside(pointer, "allow at most "+f.amount(most)+" "+f.counted+".")}
			}
		}
	}
	return nil
}

// Most is the lowest bound of a quota, -1 for none.
func (l Levels) Most(q Quota) int64 {
	most := int64(-1)
	for _, x := range l {
		if n, bounded := x.Quotas[q]; bounded && (most < 0 || n < most) {
			most = n
		}
	}
	return most
}

func (f quotaField) amount(n int64) string {
	if f.bytes {
		return size(n)
	}
	return count(n)
}

// wholly writes seconds in the largest unit that divides them.
func wholly(n int64) string {
	const minute, hour, day = 60, 3600, 24 * 3600
	for _, u := range []struct {
		size int64
		name string
	}{{day, "day"}, {hour, "hour"}, {minute, "minute"}, {1, "second"}} {
		if n%u.size != 0 {
			continue
		}
		if n /= u.size; n == 1 {
			return "1 " + u.name
		}
		return count(n) + " " + u.name + "s"
	}
	return ""
}
