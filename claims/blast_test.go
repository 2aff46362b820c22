package claims_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

// blastRow is a change and who is connected when it is made.
type blastRow struct {
	name string
	// before and after edit the account.
	before, after func(*blastCase)
	users         []visitor
	// fates are those of the users, in order, as a server showed them.
	fates []claims.Fate
	// check looks at what the clients that stay can do.
	check func(*testing.T, *blastCase)
}

type blastCase struct {
	*jwt.AccountClaims
	guests                         []*guest
	live                           []claims.Connection
	identity, plain, scoped, other pair
	// scope is the template that the key scoped carries.
	scope *jwt.UserScope
}

// The signers of a row's users; run replaces them by the account's.
var plainKey, scopedKey, identityKey = pair{id: "plain"}, pair{id: "scoped"}, pair{id: "identity"}

const (
	stays      = claims.FateStays
	reconnects = claims.FateReconnects
	refusedNow = claims.FateRefused
	uncertain  = claims.FateUncertain
)

func nothing(*blastCase) {}

func scopedUser(c *jwt.UserClaims) { c.SetScoped(true) }

func bearerUser(c *jwt.UserClaims) { c.BearerToken = true }

func ownUser(c *jwt.UserClaims) { c.Pub.Allow.Add("own.>") }

func three(signer pair) []visitor {
	return []visitor{{name: "a", signer: signer}, {name: "b", signer: signer}, {name: "c", signer: signer}}
}

// everyKind is a user of each signer.
func everyKind() []visitor {
	return []visitor{{name: "plain", signer: plainKey}, {name: "scoped", signer: scopedKey, edit: scopedUser}, {name: "identity", signer: identityKey}}
}

func blastRows() []blastRow {
	revoke := func(n int, shift time.Duration) func(*blastCase) {
		return func(c *blastCase) {
			x := c.live[c.index(n)]
			c.Revocations = jwt.RevocationList{x.UserKey: x.User.IssuedAt + int64(shift/time.Second)}
		}
	}
	everybody := func(c *blastCase) { c.Revocations = jwt.RevocationList{"*": time.Now().Unix()} }
	fate := func(f ...claims.Fate) []claims.Fate { return f }
	return []blastRow{
		{name: "user revoked in the second of its issue", after: revoke(0, 0), users: three(plainKey), fates: fate(refusedNow, stays, stays)},
		{name: "user revoked a second before its issue", after: revoke(0, -time.Second), users: three(plainKey), fates: fate(stays, stays, stays)},
		{name: "everybody revoked", after: everybody, users: everyKind(), fates: fate(refusedNow, refusedNow, refusedNow)},
		{name: "everybody revoked, bearer", after: everybody, users: []visitor{{name: "b", signer: plainKey, edit: bearerUser}}, fates: fate(refusedNow)},
		{name: "bearer revoked for a time before it connected", after: func(c *blastCase) {
			c.Revocations = jwt.RevocationList{c.live[c.index(0)].UserKey: time.Now().Unix() - 3600}
		}, users: []visitor{{name: "b", signer: plainKey, edit: bearerUser}}, fates: fate(uncertain)},
		{name: "connections lowered", after: func(c *blastCase) { c.Limits.Conn = 1 }, users: three(plainKey), fates: fate(stays, refusedNow, refusedNow)},
		{name: "connections lowered to as many as there are", after: func(c *blastCase) { c.Limits.Conn = 3 }, users: three(plainKey), fates: fate(stays, stays, stays)},
		{name: "connections lowered to none", after: func(c *blastCase) { c.Limits.Conn = 0 }, users: three(plainKey), fates: fate(refusedNow, refusedNow, refusedNow)},
		{name: "connections lowered and the oldest revoked", after: func(c *blastCase) { revoke(0, 0)(c); c.Limits.Conn = 2 }, users: three(plainKey), fates: fate(refusedNow, stays, reconnects)},
		{
			name: "subscriptions lowered below", after: func(c *blastCase) { c.Limits.Subs = 2 },
			users: []visitor{{name: "a", signer: plainKey, subs: 1}, {name: "b", signer: plainKey, subs: 3}}, fates: fate(stays, reconnects),
		},
		{
			name: "subscriptions lowered to as many", after: func(c *blastCase) { c.Limits.Subs = 2 },
			users: []visitor{{name: "a", signer: plainKey, subs: 1}, {name: "b", signer: plainKey, subs: 2}}, fates: fate(stays, reconnects),
		},
		{
			name: "another field while a user is at its own subscription limit", after: func(c *blastCase) { c.Description = "new" },
			users: []visitor{{name: "a", signer: plainKey, subs: 2, edit: func(c *jwt.UserClaims) { c.Limits.Subs = 2 }}}, fates: fate(reconnects),
		},
		{
			name: "another field while a user is at its template's subscription limit", before: func(c *blastCase) { c.scope.Template.Subs = 2 }, after: func(c *blastCase) { c.Description = "new" },
			users: []visitor{{name: "a", signer: scopedKey, subs: 2, edit: scopedUser}, {name: "b", signer: scopedKey, subs: 1, edit: scopedUser}}, fates: fate(reconnects, stays),
		},
		{
			name: "template allows 0 subscriptions, which its encoding drops", after: func(c *blastCase) { c.scope.Template.Subs = 0 },
			users: []visitor{{name: "a", signer: scopedKey, subs: 2, edit: scopedUser}}, fates: fate(stays),
		},
		{
			name: "subscriptions lowered for a user with a limit of its own", after: func(c *blastCase) { c.Limits.Subs = 3 },
			users: []visitor{{name: "a", signer: plainKey, subs: 3, edit: func(c *jwt.UserClaims) { c.Limits.Subs = 9 }}}, fates: fate(reconnects),
		},
		{
			name: "template changed for bearers", before: func(c *blastCase) { c.scope.Template.BearerToken = true }, after: func(c *blastCase) { c.scope.Template.Pub.Deny.Add("x") },
			users: everyKind(), fates: fate(stays, reconnects, stays),
		},
		{name: "payload lowered", after: func(c *blastCase) { c.Limits.Payload = 10 }, users: three(plainKey), fates: fate(stays, stays, stays), check: tooLarge},
		{name: "data lowered", after: func(c *blastCase) { c.Limits.Data = 1 }, users: three(plainKey), fates: fate(stays, stays, stays)},
		{name: "plain key removed", after: func(c *blastCase) { delete(c.SigningKeys, c.plain.id) }, users: everyKind(), fates: fate(refusedNow, stays, stays)},
		{name: "scoped key removed", after: func(c *blastCase) { delete(c.SigningKeys, c.scoped.id) }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "a bearer refused and revoked", after: func(c *blastCase) { c.Limits.DisallowBearer = true; everybody(c) }, users: []visitor{{name: "b", signer: plainKey, edit: bearerUser}}, fates: fate(refusedNow)},
		{name: "a user revoked with its key", after: func(c *blastCase) { everybody(c); delete(c.SigningKeys, c.plain.id) }, users: three(plainKey), fates: fate(refusedNow, refusedNow, refusedNow)},
		{
			name: "another field, with a template on the identity key", before: func(c *blastCase) {
				s := *c.scope
				s.Key, s.Template.Subs = c.identity.id, 2
				c.SigningKeys.AddScopedSigner(&s)
			},
			after: func(c *blastCase) { c.Description = "new" }, users: []visitor{{name: "a", signer: identityKey, subs: 2}}, fates: fate(stays),
		},
		{name: "key added", after: func(c *blastCase) { c.SigningKeys.Add(c.other.id) }, users: everyKind(), fates: fate(stays, stays, stays)},
		{name: "template changed", after: func(c *blastCase) { c.scope.Template.Pub.Allow.Add("x") }, users: everyKind(), fates: fate(stays, reconnects, stays)},
		{name: "template's description changed", after: func(c *blastCase) { c.scope.Description = "new" }, users: everyKind(), fates: fate(stays, reconnects, stays)},
		{
			name: "template's subjects in another order", before: func(c *blastCase) { c.scope.Template.Pub.Allow.Add("a", "b") },
			after: func(c *blastCase) { c.scope.Template.Pub.Allow = jwt.StringList{"b", "a"} }, users: everyKind(), fates: fate(stays, reconnects, stays),
		},
		{name: "template shuts out the address", after: func(c *blastCase) { c.scope.Template.Src.Set("10.0.0.0/8") }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "template allows the address", after: func(c *blastCase) { c.scope.Template.Src.Set("127.0.0.0/8") }, users: everyKind(), fates: fate(stays, reconnects, stays)},
		{name: "template shuts out the type", after: func(c *blastCase) { c.scope.Template.AllowedConnectionTypes.Add("MQTT") }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "template allows the type", after: func(c *blastCase) { c.scope.Template.AllowedConnectionTypes.Add("standard") }, users: everyKind(), fates: fate(stays, reconnects, stays)},
		{name: "template wants a proxy", after: func(c *blastCase) { c.scope.Template.ProxyRequired = true }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "template denies by a tag that is missing", after: func(c *blastCase) { c.scope.Template.Pub.Deny.Add("x.{{tag(region)}}") }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "template allows by a tag that is missing", after: func(c *blastCase) { c.scope.Template.Pub.Allow.Add("x.{{tag(region)}}") }, users: everyKind(), fates: fate(stays, reconnects, stays)},
		{name: "template taken off its key", after: func(c *blastCase) { c.SigningKeys[c.scoped.id] = nil }, users: everyKind(), fates: fate(stays, refusedNow, stays)},
		{name: "template put onto a plain key", after: func(c *blastCase) { s := *c.scope; s.Key = c.plain.id; c.SigningKeys.AddScopedSigner(&s) }, users: everyKind(), fates: fate(refusedNow, stays, stays)},
		{
			name: "bearer tokens refused", after: func(c *blastCase) { c.Limits.DisallowBearer = true },
			users: []visitor{{name: "b", signer: plainKey, edit: bearerUser}, {name: "a", signer: plainKey}}, fates: fate(refusedNow, stays),
		},
		{
			name: "bearer tokens refused, bearer by template", before: func(c *blastCase) { c.scope.Template.BearerToken = true }, after: func(c *blastCase) { c.Limits.DisallowBearer = true },
			users: []visitor{{name: "b", signer: scopedKey, edit: scopedUser}}, fates: fate(stays), check: notAgain,
		},
		{
			name: "default permissions changed", after: func(c *blastCase) { c.DefaultPermissions.Pub.Deny.Add("x") },
			users: []visitor{{name: "none", signer: plainKey}, {name: "own", signer: plainKey, edit: ownUser}}, fates: fate(stays, stays), check: func(t *testing.T, c *blastCase) {
				if mayPublish(t, c.guests[0].Conn, "x") || !mayPublish(t, c.guests[1].Conn, "own.x") {
					t.Error("the permissions did not change at once")
				}
			},
		},
		{name: "user issued again", after: nothing, users: three(plainKey), fates: fate(stays, stays, stays)},
		{name: "everything else", after: func(c *blastCase) {
			c.Name, c.Tags, c.ClusterTraffic, c.Trace = "new", jwt.TagList{"x"}, "owner", &jwt.MsgTrace{Destination: "t"}
			c.Limits.Imports, c.Limits.Exports, c.Limits.LeafNodeConn = 5, 5, 0
			c.Mappings = jwt.Mapping{"m": {{Subject: "n"}}}
		}, users: everyKind(), fates: fate(stays, stays, stays)},
	}
}

// tooLarge is a message that the client does not know to be too large: it was not told.
func tooLarge(t *testing.T, c *blastCase) {
	g := c.guests[2]
	if g.MaxPayload() < 100 {
		t.Errorf("the client was told of %d bytes", g.MaxPayload())
	}
	if err := g.Publish("x", make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if !g.ended() || g.wire.says() != "Maximum Payload Violation" || !c.guests[1].open() {
		t.Errorf("the server says %q", g.wire.says())
	}
}

func notAgain(t *testing.T, c *blastCase) {
	if c.guests[0].returns() {
		t.Error("a new connection is let in")
	}
}

// prepare makes an account and connects the users of the row to the arena's servers in turn.
func (a *arena) prepare(t *testing.T, before func(*blastCase), users []visitor) *blastCase {
	t.Helper()
	c := &blastCase{
		identity: newPair(t, claims.KindAccount), plain: newPair(t, claims.KindAccount), scoped: newPair(t, claims.KindAccount), other: newPair(t, claims.KindAccount),
		scope: jwt.NewUserScope(),
	}
	c.AccountClaims = jwt.NewAccountClaims(c.identity.id)
	c.Name = "tenant"
	c.scope.Key, c.scope.Role = c.scoped.id, "device"
	c.SigningKeys.Add(c.plain.id)
	c.SigningKeys.AddScopedSigner(c.scope)
	if before != nil {
		before(c)
	}
	a.store(t, c.AccountClaims)
	for n, u := range users {
		u.signer = map[string]pair{"plain": c.plain, "scoped": c.scoped, "identity": c.identity}[u.signer.id]
		c.guests = append(c.guests, a.join(t, a.servers[n%len(a.servers)], c.Subject, u))
	}
	c.live = a.live(t, c.Subject)
	if len(c.live) != len(users) {
		t.Fatalf("%d of %d users are listed: %+v", len(c.live), len(users), c.live)
	}
	return c
}

// index finds a guest among the live connections.
func (c *blastCase) index(n int) int {
	return slices.IndexFunc(c.live, func(x claims.Connection) bool { return x.CID == c.guests[n].cid && x.ServerID == c.guests[n].server })
}

// Each row of what a change does to connected clients is provoked on a real server, and what was predicted is
// compared with what happens to each connection: whether it is closed, with which words, and whether it gets in again.
func TestBlastRadius(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, new(server.MemAccResolver))
	rows, good, connections, right := blastRows(), 0, 0, 0
	var left []*guest
	for _, r := range rows {
		c := a.prepare(t, r.before, r.users)
		before := copied(t, c.AccountClaims).(*jwt.AccountClaims)
		r.after(c)
		blast := claims.BlastRadius(before, c.AccountClaims, c.live)
		a.push(t, c.AccountClaims)
		closed, wrong := 0, 0
		for n, g := range c.guests {
			connections++
			impact := blast.Impacts[c.index(n)]
			if what := observe(g, impact); what != "" || impact.Fate != r.fates[n] {
				t.Errorf("%s: %s: %s, predicted %+v", r.name, g.Opts.Name, what, impact.Effect)
				wrong++
				continue
			}
			right++
			if g.IsClosed() {
				closed++
			} else if r.check == nil {
				left = append(left, g)
			}
		}
		if closed < blast.AtLeast || closed > blast.AtMost {
			t.Errorf("%s: %d connections were closed, predicted %d to %d", r.name, closed, blast.AtLeast, blast.AtMost)
			wrong++
		}
		if r.check != nil {
			r.check(t, c)
		}
		if wrong == 0 {
			good++
		}
	}
	for _, g := range left { // nor was any closed a moment later
		if !g.open() {
			t.Errorf("%s: closed with %q", g.Opts.Name, g.wire.says())
		}
	}
	t.Logf("blast radius: %d of %d rows, %d of %d connections", good, len(rows), right, connections)
}

// observe returns what is otherwise than predicted, "" for nothing.
func observe(g *guest, predicted claims.Impact) string {
	if predicted.Fate == claims.FateUncertain {
		return ""
	}
	if predicted.Fate == claims.FateStays {
		if !g.open() {
			return fmt.Sprintf("closed with %q", g.wire.says())
		}
		return ""
	}
	if !g.ended() {
		return "still open"
	}
	// With the key of a template the server may close before it has spoken.
	silent := g.wire.says() == "" && strings.HasPrefix(predicted.Why, "The signing key of its credential")
	if says := g.wire.says(); says != predicted.ServerSays && !silent {
		return fmt.Sprintf("closed with %q", says)
	}
	if got := g.returns(); got != (predicted.Fate == claims.FateReconnects) {
		return fmt.Sprintf("gets in again: %v", got)
	}
	return ""
}

// The reasons are those of many first, and what merely stays has none.
func TestBlastReasons(t *testing.T) {
	t.Parallel()
	signer, other := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	before := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	before.SigningKeys.Add(signer.id, other.id)
	after := copied(t, before).(*jwt.AccountClaims)
	delete(after.SigningKeys, other.id)
	after.Limits.DisallowBearer = true
	user := &claims.ConnectedUser{Subscriptions: -1}
	live := []claims.Connection{
		{CID: 1, IssuerKey: other.id, User: user},
		{CID: 2, IssuerKey: signer.id, User: user},
		{CID: 3, IssuerKey: signer.id, User: &claims.ConnectedUser{Subscriptions: -1, Bearer: true}},
		{CID: 4, IssuerKey: signer.id, UserKey: newPair(t, claims.KindUser).id},
	}
	live = append(live, claims.Connection{CID: 5, IssuerKey: signer.id, User: live[2].User}, claims.Connection{CID: 6, IssuerKey: other.id, User: user})
	want := []claims.Reason{
		{Effect: claims.Effect{Fate: claims.FateRefused, Why: "The account refuses bearer tokens.", ServerSays: "Authorization Violation"}, Connections: 3},
		{Effect: claims.Effect{Fate: claims.FateRefused, Why: "The signing key of its credential is removed."}, Connections: 2},
	}
	if diff := cmp.Diff(want, claims.BlastRadius(before, after, live).Reasons()); diff != "" {
		t.Error(diff)
	}
}
