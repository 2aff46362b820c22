package claims_test

import (
	"encoding/json"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// Lowering the connections of an account on two servers closes as many as predicted at least and at most: each
// server counts for itself first, then they balance it, and now and then more than needed.
func TestBlastOnCluster(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, new(server.MemAccResolver))
	good := 0
	limits := []int64{0, 1, 2, 3, 4, 6}
	for _, limit := range limits {
		c := a.prepare(t, nil, append(three(plainKey), append(three(plainKey), three(plainKey)...)...)[:6])
		gone := make(chan struct{}, len(c.guests))
		for _, g := range c.guests {
			go func() { <-g.closed; gone <- struct{}{} }()
		}
		before := copied(t, c.AccountClaims).(*jwt.AccountClaims)
		c.Limits.Conn = limit
		blast := claims.BlastRadius(before, c.AccountClaims, c.live)
		a.push(t, c.AccountClaims)
		closed, left := 0, 0
		if blast.Closed == 0 && blast.AtLeast > 0 { // neither server is above it alone: they notice when the next one leaves
			c.guests[5].Close()
			<-gone
			left++
		}
		for end := time.After(patience); closed < blast.AtLeast-left; closed++ {
			select {
			case <-gone:
			case <-end:
				t.Fatalf("limit %d: %d were closed, predicted at least %d", limit, closed, blast.AtLeast)
			}
		}
		for n, g := range c.guests {
			if blast.Impacts[c.index(n)].Fate == claims.FateStays && !g.open() {
				t.Errorf("limit %d: one that should stay was closed with %q", limit, g.wire.says())
			}
			if f := blast.Impacts[c.index(n)].Fate; f == claims.FateRefused && !g.ended() {
				t.Errorf("limit %d: one that should be closed was not", limit)
			}
		}
		closed = 0
		for _, g := range c.guests {
			if !g.open() {
				closed++
			}
		}
		if closed < blast.AtLeast || closed > blast.AtMost || blast.AtLeast != above(6, limit) {
			t.Errorf("limit %d: %d were closed, predicted %d to %d", limit, closed, blast.AtLeast, blast.AtMost)
			continue
		}
		t.Logf("limit %d for 3 + 3 connections: predicted %d to %d, closed %d", limit, blast.AtLeast, blast.AtMost, closed)
		good++
	}
	t.Logf("connections on a cluster: %d of %d limits within what was predicted", good, len(limits))
}

func above(n int, limit int64) int { return max(0, n-int(limit)) }

// leaf connects a leaf node's server to a hub and returns when that lists it.
func (a *arena) leaf(t *testing.T, c *blastCase, to *server.Server) {
	t.Helper()
	key := newPair(t, claims.KindUser)
	u := jwt.NewUserClaims(key.id)
	u.IssuerAccount = c.Subject
	token, err := u.Encode(c.plain)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := a.admin.SubscribeSync("$SYS.ACCOUNT." + c.Subject + ".CONNECT")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.admin.Flush(); err != nil {
		t.Fatal(err)
	}
	listens, err := to.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	hub := &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(listens.LeafNode.Port))}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true,
		LeafNode: server.LeafNodeOpts{ReconnectInterval: time.Hour, Remotes: []*server.RemoteLeafOpts{{
			URLs: []*url.URL{hub},
			SignatureCB: func(nonce []byte) (string, []byte, error) {
				signature, err := key.Sign(nonce)
				return token, signature, err
			},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	leafEvent(t, sub) // a client's may still come before
}

// leafEvent waits for the next event of a leaf node and returns its reason.
func leafEvent(t *testing.T, sub *nats.Subscription) string {
	t.Helper()
	for {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		var event struct {
			Client struct{ Kind string }
			Reason string
		}
		if err := json.Unmarshal(m.Data, &event); err != nil {
			t.Fatal(err)
		}
		if event.Client.Kind == "Leafnode" {
			return event.Reason
		}
	}
}

// A leaf node is closed for what closes a client, and counts among the connections; its own limit closes none.
func TestBlastOfLeafNodes(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, new(server.MemAccResolver))
	for name, r := range map[string]struct {
		after  func(*blastCase)
		fate   claims.Fate
		reason string
	}{
		"leaf nodes lowered":  {func(c *blastCase) { c.Limits.LeafNodeConn = 0 }, stays, ""},
		"connections lowered": {func(c *blastCase) { c.Limits.Conn = 1 }, refusedNow, "Maximum Account Connections Exceeded"},
		"enough connections":  {func(c *blastCase) { c.Limits.Conn = 2 }, stays, ""},
		"everybody revoked":   {func(c *blastCase) { c.Revocations = jwt.RevocationList{"*": time.Now().Unix()} }, refusedNow, "Credentials Revoked"},
		"key removed":         {func(c *blastCase) { delete(c.SigningKeys, c.plain.id) }, refusedNow, "Authentication Failure"},
	} {
		c := a.prepare(t, nil, []visitor{{name: "client", signer: identityKey}})
		a.leaf(t, c, a.servers[0])
		live := a.live(t, c.Subject)
		n := 0
		if live[0].Type != claims.TypeLeaf {
			n = 1
		}
		if len(live) != 2 || live[n].Type != claims.TypeLeaf || live[n].User == nil {
			t.Fatalf("%s: %+v", name, live)
		}
		sub, err := a.admin.SubscribeSync("$SYS.ACCOUNT." + c.Subject + ".DISCONNECT")
		if err != nil {
			t.Fatal(err)
		}
		before := copied(t, c.AccountClaims).(*jwt.AccountClaims)
		r.after(c)
		blast := claims.BlastRadius(before, c.AccountClaims, live)
		if blast.Impacts[n].Fate != r.fate {
			t.Errorf("%s: predicted %+v", name, blast.Impacts[n].Effect)
		}
		a.push(t, c.AccountClaims)
		if r.reason == "" {
			if now := a.live(t, c.Subject); len(now) != 2 {
				t.Errorf("%s: %d connections are left", name, len(now))
			}
			continue
		}
		if reason := leafEvent(t, sub); reason != r.reason {
			t.Errorf("%s: closed for %s", name, reason)
		}
	}
}

// A limit of leaf nodes that all servers of a cluster exceed together is noticed when the account's connections next
// change.
func TestBlastOfLeafNodesOnCluster(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, new(server.MemAccResolver))
	c := a.prepare(t, nil, []visitor{{name: "client", signer: plainKey}})
	for _, s := range a.servers {
		a.leaf(t, c, s)
	}
	sub, err := a.admin.SubscribeSync("$SYS.ACCOUNT." + c.Subject + ".DISCONNECT")
	if err != nil {
		t.Fatal(err)
	}
	before := copied(t, c.AccountClaims).(*jwt.AccountClaims)
	c.Limits.LeafNodeConn = 1
	blast := claims.BlastRadius(before, c.AccountClaims, a.live(t, c.Subject))
	if blast.Uncertain != 2 || blast.AtLeast != 1 || blast.AtMost != 2 {
		t.Errorf("predicted %+v", blast)
	}
	a.push(t, c.AccountClaims)
	a.join(t, a.servers[0], c.Subject, visitor{name: "one more", signer: c.plain})
	if reason := leafEvent(t, sub); reason != "Maximum Account Connections Exceeded" {
		t.Errorf("a leaf node was closed for %s", reason)
	}
	if !c.guests[0].open() {
		t.Error("the client was closed")
	}
}

// callout answers the auth callouts of an account with users of the target, issued by its key called other.
func (a *arena) callout(t *testing.T, c, target *blastCase, service pair) {
	t.Helper()
	p := claims.NewPermissionLimits()
	// Later than any revocation of this test.
	token := sign(t, checked(t)(claims.BuildUser(claims.User{ID: service.id, Name: "service", Account: c.Subject, Permissions: &p})), c.plain, time.Now().Unix()+3600).Token
	nc, err := nats.Connect(a.servers[0].ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, service.Sign))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	answer := func(m *nats.Msg) error {
		request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			return err
		}
		u := jwt.NewUserClaims(request.UserNkey)
		u.Name, u.IssuerAccount = "visitor", target.Subject
		response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
		response.Audience, response.IssuerAccount = request.Server.ID, c.Subject
		if response.Jwt, err = u.Encode(target.other); err != nil {
			return err
		}
		token, err := response.Encode(c.plain)
		if err != nil {
			return err
		}
		return m.Respond([]byte(token))
	}
	if _, err := nc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		if err := answer(m); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Of who came through an auth callout a server lists neither JWT nor key.
func TestBlastOfCallouts(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, new(server.MemAccResolver))
	everybody := func(c *blastCase) { c.Revocations = jwt.RevocationList{"*": time.Now().Unix()} }
	for name, r := range map[string]struct {
		// elsewhere puts the visitor into another account than the callout's.
		elsewhere bool
		after     func(*blastCase)
		fate      claims.Fate
	}{
		"everybody revoked":           {false, everybody, refusedNow},
		"everybody revoked elsewhere": {true, everybody, reconnects},
		"everybody before that":       {false, func(c *blastCase) { c.Revocations = jwt.RevocationList{"*": time.Now().Unix() - 3600} }, uncertain},
		"a key revoked":               {true, func(c *blastCase) { c.Revocations = jwt.RevocationList{aUser(t).ID: time.Now().Unix()} }, uncertain},
		"its signer removed":          {true, func(c *blastCase) { delete(c.SigningKeys, c.other.id) }, refusedNow},
		"another key removed":         {false, func(c *blastCase) { delete(c.SigningKeys, c.scoped.id) }, stays},
		"bearer tokens refused":       {true, func(c *blastCase) { c.Limits.DisallowBearer = true }, stays},
		"subscriptions lowered":       {true, func(c *blastCase) { c.Limits.Subs = 2 }, reconnects},
		"the callout turned off":      {false, func(c *blastCase) { c.Authorization = jwt.ExternalAuthorization{} }, stays},
	} {
		service := newPair(t, claims.KindUser)
		withKey := func(c *blastCase) { c.SigningKeys.Add(c.other.id) }
		target := a.prepare(t, withKey, nil)
		door := a.prepare(t, func(c *blastCase) {
			withKey(c)
			c.Authorization.AuthUsers.Add(service.id)
			c.Authorization.AllowedAccounts.Add(target.Subject)
		}, nil)
		if !r.elsewhere {
			target = door
		}
		a.callout(t, door, target, service)
		g := a.join(t, a.servers[0], door.Subject, visitor{name: "sentinel", signer: door.plain, edit: bearerUser, subs: 2})
		target.guests, target.live = []*guest{g}, a.live(t, target.Subject)
		n := target.index(0)
		if x := target.live[n]; x.User != nil || x.UserKey != "visitor" || x.IssuerKey != target.other.id {
			t.Fatalf("%s: listed as %+v", name, x)
		}
		before := copied(t, target.AccountClaims).(*jwt.AccountClaims)
		r.after(target)
		impact := claims.BlastRadius(before, target.AccountClaims, target.live).Impacts[n]
		a.push(t, target.AccountClaims)
		if what := observe(g, impact); what != "" || impact.Fate != r.fate {
			t.Errorf("%s: %s, predicted %+v", name, what, impact.Effect)
		}
	}
}

// What time alone does: no claims change.
func TestTimeClosesConnections(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, new(server.MemAccResolver))
	soon := func() time.Time { return time.Now().UTC().Add(2 * time.Second) }
	var end int64
	c := a.prepare(t, nil, []visitor{
		{name: "expires", signer: plainKey, edit: func(c *jwt.UserClaims) { end = soon().Unix(); c.Expires = end }},
		{name: "connect hours end", signer: plainKey, edit: func(c *jwt.UserClaims) {
			c.Locale = "UTC"
			c.Times = []jwt.TimeRange{{Start: soon().Add(-time.Hour).Format(time.TimeOnly), End: soon().Format(time.TimeOnly)}}
		}},
		{name: "connect hours of a template end", signer: scopedKey, edit: scopedUser},
		{name: "never", signer: plainKey},
	})
	if x := c.live[c.index(0)].User; x == nil || x.Expires == 0 {
		t.Errorf("the expiry is not listed: %+v", x)
	}
	for _, g := range c.guests[:2] {
		closed := g.ended()
		// Within the second of its end a JWT still lets in, to be closed at once (jwt: claims.go, Validate).
		<-time.After(time.Until(time.Unix(end+1, 0)))
		if !closed || g.wire.says() != "User Authentication Expired" || g.returns() {
			t.Errorf("%s: closed with %q", g.Opts.Name, g.wire.says())
		}
	}
	before := copied(t, c.AccountClaims).(*jwt.AccountClaims)
	c.Expires = soon().Unix()
	blast := claims.BlastRadius(before, c.AccountClaims, a.live(t, c.Subject))
	a.store(t, c.AccountClaims) // who comes after the end makes the server ask again
	a.push(t, c.AccountClaims)
	for _, g := range c.guests[2:] {
		if !g.open() {
			t.Errorf("%s: closed with %q before its time", g.Opts.Name, g.wire.says())
		}
	}
	if blast.Closed+blast.Uncertain != 0 || blast.Expires != c.Expires {
		t.Errorf("predicted %+v", blast)
	}
	for _, g := range c.guests[2:] {
		if !g.ended() || g.wire.says() != "Account Authentication Expired" || time.Now().Unix() < c.Expires || g.returns() {
			t.Errorf("%s: closed with %q", g.Opts.Name, g.wire.says())
		}
	}
}

// Deleting an account from a full resolver closes everybody.
func TestBlastOfDeletion(t *testing.T) {
	t.Parallel()
	full, err := server.NewDirAccResolver(t.TempDir(), 0, time.Hour, server.HardDelete)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(full.Close)
	a := newArena(t, 1, full)
	c := a.prepare(t, nil, everyKind())
	order := jwt.NewGenericClaims(a.operator.id)
	order.Data["accounts"] = []string{c.Subject}
	token, err := order.Encode(a.operator)
	if err != nil {
		t.Fatal(err)
	}
	blast := claims.BlastRadius(c.AccountClaims, nil, c.live)
	a.ask(t, "$SYS.REQ.CLAIMS.DELETE", []byte(token), 1)
	if blast.Refused != 3 || blast.AtLeast != 3 || blast.AtMost != 3 {
		t.Errorf("predicted %+v", blast)
	}
	for n, g := range c.guests {
		if what := observe(g, blast.Impacts[c.index(n)]); what != "" {
			t.Errorf("%s: %s, predicted %+v", g.Opts.Name, what, blast.Impacts[c.index(n)].Effect)
		}
	}
}

// A server hears of an operator's signing keys when it starts, and not before.
func TestOperatorBlast(t *testing.T) {
	t.Parallel()
	second := newPair(t, claims.KindOperator)
	for name, r := range map[string]struct {
		edit func(o *jwt.OperatorClaims)
		// locked is who is locked out: signed by the first key, the second, the identity key.
		locked [3]bool
	}{
		"a signing key removed": {func(o *jwt.OperatorClaims) { o.SigningKeys = jwt.StringList{second.id} }, [3]bool{true, false, false}},
		"strict":                {func(o *jwt.OperatorClaims) { o.StrictSigningKeyUsage = true }, [3]bool{false, false, true}},
		"another field":         {func(o *jwt.OperatorClaims) { o.AccountServerURL = "https://example.com" }, [3]bool{}},
	} {
		a := newArena(t, 1, new(server.MemAccResolver), second)
		var cases []*blastCase
		var accounts []*jwt.AccountClaims
		for _, key := range []pair{a.signing, second, a.operator} {
			a.signing = key
			c := a.prepare(t, nil, three(plainKey)[:1])
			c.Issuer = key.id
			cases, accounts = append(cases, c), append(accounts, c.AccountClaims)
		}
		a.signing = second
		a.store(t, jwt.NewAccountClaims(a.system.id))
		r.edit(a.claims)
		predicted := map[*jwt.AccountClaims]bool{}
		for _, x := range claims.OperatorBlast(a.claims, accounts) {
			predicted[x.Account] = x.Why != ""
		}
		for n, c := range cases {
			if !c.guests[0].open() || !c.guests[0].returns() {
				t.Errorf("%s: account %d fails before the restart", name, n)
			}
		}
		a.servers[0].Shutdown()
		a.servers = nil
		a.start(t)
		for n, c := range cases {
			if predicted[c.AccountClaims] != r.locked[n] {
				t.Errorf("%s: account %d: predicted %v", name, n, predicted[c.AccountClaims])
			}
			if in := a.letsIn(t, c); in == r.locked[n] {
				t.Errorf("%s: account %d works after the restart: %v", name, n, in)
			}
		}
	}
}

// letsIn tries a new user of the account.
func (a *arena) letsIn(t *testing.T, c *blastCase) bool {
	t.Helper()
	key := newPair(t, claims.KindUser)
	u := jwt.NewUserClaims(key.id)
	u.IssuerAccount = c.Subject
	token, err := u.Encode(c.plain)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(a.servers[0].ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, key.Sign), nats.NoReconnect())
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// What accounts share is taken away from connected clients at once, and closes none of them.
func TestSharingChangesKeepConnections(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, new(server.MemAccResolver))
	for name, edit := range map[string]func(exporter, importer *blastCase) *blastCase{
		"export removed": func(e, _ *blastCase) *blastCase { e.Exports = nil; return e },
		"activation revoked": func(e, i *blastCase) *blastCase {
			e.Exports[0].Revocations = jwt.RevocationList{i.Subject: time.Now().Unix() + 1}
			return e
		},
		"import removed": func(_, i *blastCase) *blastCase { i.Imports = nil; return i },
	} {
		e := a.prepare(t, func(c *blastCase) { c.Exports = jwt.Exports{{Subject: "orders.>", Type: jwt.Stream, TokenReq: true}} }, three(plainKey)[:1])
		i := a.prepare(t, func(c *blastCase) {
			activation := jwt.NewActivationClaims(c.Subject)
			activation.ImportSubject, activation.ImportType = "orders.>", jwt.Stream
			token, err := activation.Encode(e.identity)
			if err != nil {
				t.Fatal(err)
			}
			c.Imports = jwt.Imports{{Subject: "orders.>", Account: e.Subject, Type: jwt.Stream, Token: token}}
		}, three(plainKey)[:1])
		from, to := e.guests[0], i.guests[0]
		sub, err := to.SubscribeSync("orders.>")
		if err != nil || to.Flush() != nil {
			t.Fatal(err)
		}
		// arrives tells whether what the exporter publishes comes, before what the importer itself does.
		arrives := func() bool {
			t.Helper()
			for _, step := range []func() error{
				func() error { return from.Publish("orders.1", []byte("theirs")) }, from.Flush,
				func() error { return to.Publish("orders.2", []byte("own")) },
			} {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			theirs := false
			for {
				m, err := sub.NextMsg(patience)
				if err != nil {
					t.Fatal(err)
				}
				if string(m.Data) == "own" {
					return theirs
				}
				theirs = true
			}
		}
		if !arrives() {
			t.Fatalf("%s: nothing arrives before the change", name)
		}
		var before [2]*jwt.AccountClaims
		before[0], before[1] = copied(t, e.AccountClaims).(*jwt.AccountClaims), copied(t, i.AccountClaims).(*jwt.AccountClaims)
		changed := edit(e, i)
		for n, c := range []*blastCase{e, i} {
			if blast := claims.BlastRadius(before[n], c.AccountClaims, c.live); blast.AtMost != 0 {
				t.Errorf("%s: predicted %+v", name, blast)
			}
		}
		a.push(t, changed.AccountClaims)
		if arrives() {
			t.Errorf("%s: it still arrives", name)
		}
	}
}
