package claims

import (
	"cmp"
	"encoding/json"
	"slices"

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
