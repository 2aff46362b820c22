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

// bound is the longest lifetime that the template, which may be nil, and the policy
// allow; 0 is none.
func bound(p store.Policy, template *Template) time.Duration {
	most := time.Duration(p.MaxTTL) * time.Second
	if template != nil && template.MaxTTL > 0 && (most == 0 || template.MaxTTL < most) {
		return template.MaxTTL
	}
	return most
}

// lifetime is how long a credential of this request lives, 0 for ever.
func (in IssueInput) lifetime(p store.Policy, template *Template) time.Duration {
	if in.NoExpiry || in.TTL > 0 {
		return in.TTL
	}
	ttl := DefaultTTL
	switch {
	case template != nil && template.MaxTTL > 0:
		ttl = template.MaxTTL
	case p.DefaultTTL > 0:
		ttl = time.Duration(p.DefaultTTL) * time.Second
	}
	return within(ttl, bound(p, template))
}

// within is ttl, cut to the bound if there is one.
func within(ttl, bound time.Duration) time.Duration {
	if bound > 0 {
		return min(ttl, bound)
	}
	return ttl
}

func (in IssueInput) checkLifetime(p store.Policy, template *Template, reason string) claims.Problems {
	most, whose := bound(p, template), "operator's policy"
	if template != nil && most == template.MaxTTL {
		whose = "template"
	}
	var out claims.Problems
	add := func(pointer, code, detail string) {
		out = append(out, claims.Problem{Pointer: pointer, Code: code, Blocking: true, Detail: detail})
	}
	if most > 0 && in.TTL > most {
		add("/ttl_seconds", "out_of_range", fmt.Sprintf("The %s allows a lifetime of at most %d seconds.", whose, int64(most/time.Second)))
	}
	if !in.NoExpiry {
		return out
	}
	if in.TTL > 0 {
		add("/no_expiry", "contradiction", "Give either a lifetime or no expiry.")
	}
	if most > 0 {
		add("/no_expiry", "out_of_range", fmt.Sprintf("The %s allows a lifetime of at most %d seconds.", whose, int64(most/time.Second)))
	}
	if blank(reason) {
		add("/reason", "required", "A credential that never expires needs a reason: only a revocation ends it.")
	}
	return out
}
