package claims

import (
	"cmp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// permissionLimits compares what a user or a template may do.
func (d *differ) permissionLimits(a, b jwt.UserPermissionLimits) {
	d.permissions(a.Permissions, b.Permissions)
	d.limit("/subs", "Subscriptions", a.Subs, b.Subs, count)
	d.limit("/payload", "Largest message", a.Payload, b.Payload, size)
	d.limit("/data", "Data", a.Data, b.Data, size)
	d.only("/src", "source networks", "may connect", "from", [2][]string{a.Src, b.Src})
	d.only("/times", "connect hours", "may connect", "during", [2][]string{hours(a.Times), hours(b.Times)})
	d.text("/times_location", "Time zone of connect hours", a.Locale, b.Locale)
	d.only("/allowed_connection_types", "connection types", "may connect", "by", [2][]string{a.AllowedConnectionTypes, b.AllowedConnectionTypes})
	d.flag("/bearer_token", "Bearer token", a.BearerToken, b.BearerToken)
	d.flag("/proxy_required", "Proxy required", a.ProxyRequired, b.ProxyRequired)
}

func hours(times []jwt.TimeRange) []string {
	var out []string
	for _, t := range times {
		out = append(out, t.Start+" to "+t.End)
	}
	return out
}

// only compares lists of which an empty one allows everything, so that removing
// the last entry allows more, not less.
func (d *differ) only(pointer, field, verb, preposition string, lists [2][]string) {
	a, b := lists[0], lists[1]
	removed, added := apart(a, b)
	where := func(list []string) string { return preposition + " " + strings.Join(list, ", ") }
	switch {
	case len(removed)+len(added) == 0:
	case len(a) == 0:
		d.add(pointer, field, d.was("any"), strings.Join(b, ", "), d.label+verb+" only "+where(b))
	case len(b) == 0:
		d.add(pointer, field, strings.Join(a, ", "), "any", d.label+verb+" without a bound; it was only "+where(a))
	default:
		d.entries(pointer, field, a, b, func(x string, is bool) string {
			if is {
				return d.label + verb + " " + preposition + " " + x + " too"
			}
			return d.label + verb + " no longer " + preposition + " " + x
		})
	}
}

func (d *differ) permissions(a, b jwt.Permissions) {
	d.subjects("/pub", "publish", a.Pub, b.Pub, [2]string{unlisted(a.Resp), unlisted(b.Resp)})
	d.subjects("/sub", "subscribe to", a.Sub, b.Sub, [2]string{unlisted(nil), unlisted(nil)})
	d.responses(a.Resp, b.Resp)
}

// unlisted is what may be published without a list of what is allowed: with
// responses, nothing but those (auth.go: publish becomes deny all).
func unlisted(r *jwt.ResponsePermission) string {
	if r != nil {
		return "only replies"
	}
	return "everything"
}

// subjects compares one direction. Without an entry in allow all is the subject of
// deny alone.
func (d *differ) subjects(pointer, verb string, a, b jwt.Permission, all [2]string) {
	field, _, _ := strings.Cut(verb, " ")
	removed, added := apart(a.Allow, b.Allow)
	list := func(s []string) string { return strings.Join(s, ", ") }
	switch {
	case len(removed)+len(added) == 0:
	case d.fresh:
		d.add(pointer+"/allow", field+" allow", "", list(b.Allow), d.label+"may "+verb+" only "+list(b.Allow))
	case len(a.Allow) == 0:
		d.add(pointer+"/allow", field+" allow", all[0], list(b.Allow), d.label+"may "+verb+" only "+list(b.Allow)+" from now on, it was "+all[0])
	case len(b.Allow) == 0:
		d.add(pointer+"/allow", field+" allow", list(a.Allow), all[1], d.label+"may "+verb+" "+all[1]+", it was only "+list(a.Allow))
	default:
		d.entries(pointer+"/allow", field+" allow", a.Allow, b.Allow, func(x string, is bool) string {
			if is {
				return d.label + "may now " + verb + " " + x
			}
			return d.label + "may no longer " + verb + " " + x
		})
	}
	d.entries(pointer+"/deny", field+" deny", a.Deny, b.Deny, func(x string, is bool) string {
		if is {
			return d.label + "is now denied to " + verb + " " + x
		}
		return d.label + "is no longer denied to " + verb + " " + x
	})
}

func (d *differ) responses(a, b *jwt.ResponsePermission) {
	d.flag("/resp", "Responses", a != nil, b != nil)
	x, y := orNew(a), orNew(b)
	d.text("/resp/max", "Responses to one request", responseCount(a, x.MaxMsgs), responseCount(b, y.MaxMsgs))
	d.text("/resp/ttl", "Time for responses", answerTime(a, x.Expires), answerTime(b, y.Expires))
}

// What 0 stands for: server/const.go, DEFAULT_ALLOW_RESPONSE_MAX_MSGS and
// DEFAULT_ALLOW_RESPONSE_EXPIRATION.
func responseCount(r *jwt.ResponsePermission, n int) string {
	switch {
	case r == nil:
		return ""
	case n == 0:
		return "1 (0)"
	}
	return count(int64(n))
}

func answerTime(r *jwt.ResponsePermission, d time.Duration) string {
	if r == nil {
		return ""
	}
	return cmp.Or(duration(d), "2m0s (0)")
}
