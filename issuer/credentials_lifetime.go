package issuer

import (
	"fmt"
	"time"

	"chancery/claims"
	"chancery/store"
)

// DefaultTTL is the lifetime of a credential where neither the request, the template
// nor the operator's policy says another.
const DefaultTTL = 90 * 24 * time.Hour

// terms are what the operator and the guardrails ask of what is issued in an account.
type terms struct {
	policy store.Policy
	// levels are empty where no guardrails hold: on the system account.
	levels claims.Levels
}

// bound is the longest lifetime that the template, which may be nil, and the guardrails
// allow; 0 is none.
func (t terms) bound(template *Template) time.Duration {
	most := t.levels.MaxTTL()
	if template != nil && template.MaxTTL > 0 && (most == 0 || template.MaxTTL < most) {
		return template.MaxTTL
	}
	return most
}

// lifetime is how long a credential of this request lives, 0 for ever.
func (in IssueInput) lifetime(t terms, template *Template) time.Duration {
	if in.NoExpiry || in.TTL > 0 {
		return in.TTL
	}
	ttl := DefaultTTL
	switch {
	case template != nil && template.MaxTTL > 0:
		ttl = template.MaxTTL
	case t.policy.DefaultTTL > 0:
		ttl = time.Duration(t.policy.DefaultTTL) * time.Second
	}
	return within(ttl, t.bound(template))
}

// within is ttl, cut to the bound if there is one.
func within(ttl, bound time.Duration) time.Duration {
	if bound > 0 {
		return min(ttl, bound)
	}
	return ttl
}

func (in IssueInput) checkLifetime(t terms, template *Template, reason string) claims.Problems {
	var out claims.Problems
	add := func(pointer, code, detail string) {
		out = append(out, claims.Problem{Pointer: pointer, Code: code, Blocking: true, Detail: detail})
	}
	limited := func(pointer string, ttl time.Duration) {
		if most := t.levels.MaxTTL(); template != nil && template.MaxTTL > 0 && (most == 0 || template.MaxTTL < most) {
			if ttl == 0 || ttl > template.MaxTTL {
				add(pointer, "out_of_range", fmt.Sprintf("The template allows a lifetime of at most %d seconds.", int64(template.MaxTTL/time.Second)))
			}
			return
		}
		out = append(out, t.levels.CheckTTL(pointer, ttl)...)
	}
	if in.TTL > 0 {
		limited("/ttl_seconds", in.TTL)
	}
	if !in.NoExpiry {
		return out
	}
	if in.TTL > 0 {
		add("/no_expiry", "contradiction", "Give either a lifetime or no expiry.")
	}
	limited("/no_expiry", 0)
	if blank(reason) {
		add("/reason", "required", "A credential that never expires needs a reason: only a revocation ends it.")
	}
	return out
}
