package claims

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// ownReason closes a connection whatever others there are.
func (u *update) ownReason(c Connection) Effect {
	for _, ask := range []func(Connection) Effect{u.refusedBearer, u.revoked, u.signer, u.subscriptions} {
		if v := ask(c); v.Fate != "" {
			return v
		}
	}
	return Effect{}
}

// exceeds tells whether the server has as many older connections as are allowed.
func (u *update) exceeds(n int) bool {
	limit := u.after.Limits.Conn
	return limit >= 0 && int64(u.ranks[n].older) >= limit
}

// exceeded is said of the newest. The server counts those which it closes for
// another reason a moment later, and these make room.
func (u *update) exceeded(server string) Effect {
	v := Effect{
		FateRefused, "The account may have no more than " + plural(u.after.Limits.Conn, "connection") + "; the oldest stay.",
		tooManyConnections,
	}
	for n, c := range u.live {
		if c.ServerID == server && !u.exceeds(n) && u.ownReason(c).Fate != "" {
			v.Fate = FateReconnects
			v.Why += " Others are closed for another reason, so it may find room."
			break
		}
	}
	return v
}

// bearer tells whether the connection needs no key. A server lists the JWT of
// everybody but of bearer users and of those an auth callout let in, and the latter
// have no public key to show.
func (c Connection) bearer() bool {
	if c.User != nil {
		return c.User.Bearer
	}
	return IsPublicKey(KindUser, c.UserKey)
}

// callout tells whether an auth callout let the connection in.
func (c Connection) callout() bool { return c.User == nil && !IsPublicKey(KindUser, c.UserKey) }

func (u *update) refusedBearer(c Connection) Effect {
	if u.after.Limits.DisallowBearer && c.bearer() {
		return Effect{FateRefused, "The account refuses bearer tokens.", "Authorization Violation"}
	}
	return Effect{}
}

// revoked compares with the issue time, or where that is not known with the time of
// the connection: nothing is used before it is issued.
func (u *update) revoked(c Connection) Effect {
	const says = "User Authentication Revoked"
	for _, subject := range []string{jwt.All, c.UserKey} {
		upTo, ok := u.after.Revocations[subject]
		switch {
		case !ok:
		case c.callout() && c.Since.Unix() <= upTo && u.after.HasExternalAuthorization():
			return Effect{FateRefused, "Its credential is revoked, and so is the one that it shows to the auth callout, unless that is newer.", says}
		case c.callout() && c.Since.Unix() <= upTo:
			return Effect{FateReconnects, "Its credential is revoked; the auth callout that let it in issues a new one each time.", says}
		case c.User != nil && c.User.IssuedAt <= upTo, c.User == nil && c.Since.Unix() <= upTo:
			return Effect{FateRefused, "Its credential is revoked.", says}
		case c.User == nil && upTo > u.before.Revocations[subject]:
			return Effect{FateUncertain, "It is closed if its credential was issued before the time of the revocation; the server does not tell when that was.", says}
		}
	}
	if c.callout() && u.revokesUnknown() {
		return Effect{FateUncertain, "It was let in by an auth callout under a key that only the callout service knows; that key may be the one that is revoked.", says}
	}
	return Effect{}
}

// revokesUnknown tells whether a key is newly revoked that no connection shows.
func (u *update) revokesUnknown() bool {
	for key, upTo := range u.after.Revocations {
		if key != jwt.All && upTo > u.before.Revocations[key] && !slices.ContainsFunc(u.live, func(c Connection) bool { return c.UserKey == key }) {
			return true
		}
	}
	return false
}

// signer asks for the key that issued the user JWT. Users of the account's identity
// key are left alone.
func (u *update) signer(c Connection) Effect {
	if c.IssuerKey == u.after.Subject || c.IssuerKey == "" {
		return Effect{}
	}
	scope, ok := u.after.SigningKeys[c.IssuerKey]
	old, is := asRead(u.before.SigningKeys[c.IssuerKey]), asRead(scope)
	says := ""
	if old != nil && !c.callout() {
		says = tooManySubscriptions // without the template its own limits are 0, which the server mostly finds first
	}
	switch {
	case !ok:
		return Effect{FateRefused, "The signing key of its credential is removed.", says}
	case same(old, is):
		return Effect{}
	case is == nil:
		return Effect{FateRefused, "The signing key of its credential carries no template any more, and the credential allows nothing by itself.", says}
	case old == nil:
		return Effect{FateRefused, "The signing key of its credential carries a template now, and the credential has permissions of its own.", ""}
	}
	if why := shutOut(is, u.after, c); why != "" {
		return Effect{FateRefused, why, ""}
	}
	return Effect{FateReconnects, "Its template " + cmp.Or(is.Role, "without a name") + " changes.", ""}
}

// asRead returns the template of a signing key as a server reads it, nil for a plain
// key: a limit of 0 is unlimited, see differ.template.
func asRead(s jwt.Scope) *jwt.UserScope {
	scope := scopeOf(s)
	if scope == nil {
		return nil
	}
	out := *scope
	for _, limit := range []*int64{&out.Template.Subs, &out.Template.Data, &out.Template.Payload} {
		if *limit == 0 {
			*limit = jwt.NoLimit
		}
	}
	return &out
}

// shutOut returns why the template refuses who is connected now, "" when it does
// not. Connect hours are not asked: they depend on the time.
func shutOut(s *jwt.UserScope, a *jwt.AccountClaims, c Connection) string {
	switch t := s.Template; {
	case t.ProxyRequired:
		return "Its template lets it in through a trusted proxy only."
	case len(t.Src) > 0 && !SourceAllowed(t.Src, c.Host):
		return "Its template does not allow the address it connects from."
	case len(t.AllowedConnectionTypes) > 0 && !typeAllowed(c.Type, t.AllowedConnectionTypes):
		return "Its template does not allow its type of connection."
	}
	if c.User == nil {
		return ""
	}
	use := CheckTemplateUse(Template{Permissions: s.Template}, Account{Name: a.Name, Settings: a.Account}, c.User.Name, c.User.Tags)
	if slices.ContainsFunc(use, func(p Problem) bool { return p.Blocking && (p.Code == "missing_tag" || p.Code == "too_many") }) {
		return "Its template cannot be filled in with its tags."
	}
	return ""
}

// typeAllowed compares with all types of the JWT that a server lists as this one.
func typeAllowed(listed string, allowed []string) bool {
	types := map[string][]string{
		"nats":      {jwt.ConnectionTypeStandard, jwt.ConnectionTypeInProcess},
		"websocket": {jwt.ConnectionTypeWebsocket},
		"mqtt":      {jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS},
		TypeLeaf:    {jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS},
	}
	return slices.ContainsFunc(types[listed], func(t string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, t) })
	})
}

// subscriptions compares as the server does at each update, whatever changed: who
// holds exactly as many as allowed is closed (client.go: subsAtLimit).
func (u *update) subscriptions(c Connection) Effect {
	limit := int64(jwt.NoLimit)
	if c.User != nil {
		limit = c.User.Subscriptions
	}
	if s := asRead(u.after.SigningKeys[c.IssuerKey]); s != nil && !c.callout() && c.IssuerKey != u.after.Subject {
		limit = s.Template.Subs
	}
	limit = lower(limit, u.after.Limits.Subs)
	if limit < 0 || c.Subscriptions < limit {
		return Effect{}
	}
	return Effect{
		FateReconnects, "It holds as many subscriptions as it may have, or more: any update of the account closes such a connection, and it may not subscribe to as much again.",
		tooManySubscriptions,
	}
}

// lower returns the stricter of two limits.
func lower(a, b int64) int64 {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return min(a, b)
}

// stays says what a connection that stays notices.
func (u *update) stays(c Connection) Effect {
	var why []string
	if l := u.after.Limits.Payload; lower(u.before.Limits.Payload, l) != u.before.Limits.Payload {
		why = append(why, "It is not told of the new limit: a message of more than "+size(l)+" closes it (Maximum Payload Violation).")
	}
	s := scopeOf(u.after.SigningKeys[c.IssuerKey])
	if u.after.Limits.DisallowBearer && s != nil && s.Template.BearerToken {
		why = append(why, "It is a bearer by its template: an update does not close those, but the next connection is refused.")
	}
	own := c.User == nil || c.User.Permissions || s != nil && !same(s.Template.Permissions, jwt.Permissions{})
	if !own && !same(u.before.DefaultPermissions, u.after.DefaultPermissions) {
		why = append(why, "Its permissions change at once, since it has none of its own.")
	}
	return Effect{Fate: FateStays, Why: strings.Join(why, " ")}
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}
