package claims

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Fate is what becomes of a live connection.
type Fate string

// The fates. Reconnects means closed, and it may get in again at once; Refused means
// closed and kept out, with the credential it has. Uncertain says why in Why.
const (
	FateStays      Fate = "stays"
	FateReconnects Fate = "reconnects"
	FateRefused    Fate = "refused"
	FateUncertain  Fate = "uncertain"
)

// Effect is a fate with its reason.
type Effect struct {
	Fate Fate
	// Why is a sentence for people, the same for all that share it. It is empty for
	// what merely stays.
	Why string
	// ServerSays is the text of the -ERR that the client is sent before it is closed;
	// empty for none.
	ServerSays string
}

// The server's words (errors.go).
const (
	tooManyConnections   = "maximum account active connections exceeded"
	tooManySubscriptions = "maximum subscriptions exceeded"
)

// Impact is what becomes of one connection.
type Impact struct {
	Connection Connection
	Effect
}

// Blast is what a change does to the live connections.
type Blast struct {
	// Impacts holds one entry for each connection, in the order they were given.
	Impacts []Impact
	// Closed is how many are closed for sure, Refused how many of these are kept
	// out, Uncertain how many may be closed.
	Closed, Refused, Uncertain int
	// AtLeast and AtMost bound how many are closed in the end. They differ where
	// servers balance a limit among themselves, and where the server does not tell
	// enough about a connection.
	AtLeast, AtMost int
	// Expires is the Unix second at which every connection of the account is closed
	// with "Account Authentication Expired", 0 for never.
	Expires int64
}

// Reason is a verdict with the number of connections it has.
type Reason struct {
	Effect
	Connections int
}

// Reasons returns the verdicts that have something to say, the most frequent first.
func (b Blast) Reasons() []Reason {
	var out []Reason
	for _, i := range b.Impacts {
		n := slices.IndexFunc(out, func(r Reason) bool { return r.Effect == i.Effect })
		switch {
		case i.Why == "":
		case n < 0:
			out = append(out, Reason{i.Effect, 1})
		default:
			out[n].Connections++
		}
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return cmp.Compare(b.Connections, a.Connections) })
	return out
}

// BlastRadius predicts what an update from before to after does to the account's
// live connections on servers that have before in effect (accounts.go:
// updateAccountClaimsWithRefresh). A nil after stands for the account's deletion.
// What changes about time alone, such as the expiry of a user, is not predicted.
func BlastRadius(before, after *jwt.AccountClaims, live []Connection) Blast {
	out := Blast{Impacts: make([]Impact, len(live))}
	u := update{before: orNew(before), after: after, live: live}
	if after != nil {
		out.Expires = after.Expires
		u.rank()
	}
	for n := range live {
		v := u.verdict(n)
		out.Impacts[n] = Impact{live[n], v}
		switch v.Fate {
		case FateRefused:
			out.Refused++
			out.Closed++
		case FateReconnects:
			out.Closed++
		case FateUncertain:
			out.Uncertain++
		}
	}
	out.AtLeast, out.AtMost = max(out.Closed, u.over, u.overLeafs), out.Closed+out.Uncertain
	return out
}

// update is one update of an account's claims.
type update struct {
	before, after *jwt.AccountClaims
	live          []Connection
	// ranks and leafRanks hold the place of each connection among those of its
	// server: how many are older, and how many newer.
	ranks, leafRanks []rank
	// over and overLeafs are how many connections all servers of a cluster hold
	// above the limit; 0 when one server holds all.
	over, overLeafs int
}

type rank struct{ older, newer int }

// rank sorts the connections of each server by age. A server counts its leaf nodes
// among the connections (accounts.go: MaxTotalConnectionsReached).
func (u *update) rank() {
	var servers int
	u.ranks, servers = ranked(u.live, func(Connection) bool { return true })
	u.leafRanks, _ = ranked(u.live, func(c Connection) bool { return c.Type == TypeLeaf })
	if servers < 2 {
		return
	}
	leafs := 0
	for _, c := range u.live {
		if c.Type == TypeLeaf {
			leafs++
		}
	}
	u.over = above(len(u.live), u.after.Limits.Conn)
	u.overLeafs = above(leafs, u.after.Limits.LeafNodeConn)
}

// above returns how many of n are more than the limit.
func above(n int, limit int64) int {
	if limit < 0 || int64(n) <= limit {
		return 0
	}
	return n - int(limit)
}

// ranked returns the rank of each connection that counts, and how many servers hold
// the connections.
func ranked(live []Connection, counts func(Connection) bool) ([]rank, int) {
	byServer := map[string][]int{}
	for n, c := range live {
		if counts(c) {
			byServer[c.ServerID] = append(byServer[c.ServerID], n)
		}
	}
	out := make([]rank, len(live))
	for _, list := range byServer {
		slices.SortFunc(list, func(a, b int) int {
			return cmp.Or(live[a].Since.Compare(live[b].Since), cmp.Compare(live[a].CID, live[b].CID))
		})
		for place, n := range list {
			out[n] = rank{older: place, newer: len(list) - 1 - place}
		}
	}
	return out, len(byServer)
}

// verdict asks in the server's order: the first reason that closes a connection is
// the one it is told.
func (u *update) verdict(n int) Effect {
	c := u.live[n]
	if u.after == nil {
		return Effect{FateRefused, "The account is deleted.", "Account Authentication Expired"}
	}
	if u.exceeds(n) {
		return u.exceeded(c.ServerID)
	}
	if v := u.ownReason(c); v.Fate != "" {
		return v
	}
	if u.ranks[n].newer < u.over {
		return Effect{FateUncertain, "The servers together hold more connections than allowed; they balance it among themselves, the newest of each first.", tooManyConnections}
	}
	if c.Type == TypeLeaf && u.leafRanks[n].newer < u.overLeafs {
		return Effect{FateUncertain, "The servers together hold more leaf nodes than allowed; they balance it among themselves, the newest of each first.", tooManyConnections}
	}
	return u.stays(c)
}

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
	old, is := scopeOf(u.before.SigningKeys[c.IssuerKey]), scopeOf(scope)
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
	if s := scopeOf(u.after.SigningKeys[c.IssuerKey]); s != nil && !c.callout() {
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

// LockedOut is an account that servers refuse after their restart.
type LockedOut struct {
	Account *jwt.AccountClaims
	// Why is a sentence for people.
	Why string
}

// OperatorBlast returns the accounts that stop working with the operator's new JWT.
// A nats-server reads it at its start only (reload.go refuses to change trusted
// operators), so nothing happens before each server is restarted; then these
// accounts are refused until they are signed again.
func OperatorBlast(after *jwt.OperatorClaims, accounts []*jwt.AccountClaims) []LockedOut {
	var out []LockedOut
	for _, a := range accounts {
		switch {
		case slices.Contains(after.SigningKeys, a.Issuer):
		case a.Issuer != after.Subject:
			out = append(out, LockedOut{a, "The account is signed by a key that the operator does not list any more."})
		case after.StrictSigningKeyUsage:
			out = append(out, LockedOut{a, "The account is signed by the operator's identity key, which strict signing key usage forbids."})
		}
	}
	return out
}

// AccountClaims returns a copy of account claims that passed their check, and
// whether they are some.
func (c Checked) AccountClaims() (*jwt.AccountClaims, bool) {
	a, ok := c.claims.(*jwt.AccountClaims)
	if !ok {
		return nil, false
	}
	raw, err := json.Marshal(a)
	out := new(jwt.AccountClaims)
	return out, err == nil && json.Unmarshal(raw, out) == nil
}
