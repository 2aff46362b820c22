package claims_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// What a real server is not brought to within a test is held against its rule alone. The account allows five
// clients and five leaf nodes.
func TestExplainAtTheBorders(t *testing.T) {
	t.Parallel()
	daylight := func(location string) func(*jwt.UserClaims, *jwt.AccountClaims) {
		return func(u *jwt.UserClaims, _ *jwt.AccountClaims) { // the attempt is at 14:13:20 UTC
			u.Times, u.Locale = []jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}, location
		}
	}
	line := func(more int) func(*claims.Attempt, *claims.ServerView) {
		return func(a *claims.Attempt, v *claims.ServerView) { v.MaxControlLine = len(a.Token) + more }
	}
	zone := func(z *time.Location) func(*claims.Attempt, *claims.ServerView) {
		return func(_ *claims.Attempt, v *claims.ServerView) { v.Zone = z }
	}
	room := func(clients, leafs int) func(*claims.Attempt, *claims.ServerView) {
		return func(_ *claims.Attempt, v *claims.ServerView) { v.Connections, v.LeafNodes = clients, leafs }
	}
	byMQTT := func(a *claims.Attempt, _ *claims.ServerView) { a.Type, a.SignedBy = jwt.ConnectionTypeMqttWS, "" }
	same, far := func(*jwt.UserClaims, *jwt.AccountClaims) {}, time.FixedZone("far", 10*3600)
	for name, c := range map[string]struct {
		edit  func(*jwt.UserClaims, *jwt.AccountClaims)
		know  func(*claims.Attempt, *claims.ServerView)
		check string
		want  claims.Result
	}{
		"a JWT as long as the line":   {same, line(0), "connect_line", claims.ResultUnknown},
		"a JWT longer than the line":  {same, line(-1), "connect_line", claims.ResultFail},
		"room for the rest":           {same, line(596), "connect_line", claims.ResultPass},
		"a byte too few for the rest": {same, line(595), "connect_line", claims.ResultUnknown},
		"no account is pinned":        {same, func(_ *claims.Attempt, v *claims.ServerView) { v.Pinned = []string{} }, "account_pinned", claims.ResultFail},
		"below -1, and none is known": {func(_ *jwt.UserClaims, a *jwt.AccountClaims) { a.Limits.Conn = -2 }, room(-1, -1), "connection_limit", claims.ResultFail},
		"leaf nodes fill the rest":    {same, room(2, 3), "connection_limit", claims.ResultUnknown},
		"leaf nodes leave a place":    {same, room(2, 2), "connection_limit", claims.ResultPass},
		"no subscriptions, MQTT":      {func(u *jwt.UserClaims, _ *jwt.AccountClaims) { u.Subs = 0 }, byMQTT, "subscription_limit", claims.ResultPass},
		"no bearer, MQTT":             {same, byMQTT, "nonce_signed", claims.ResultFail},
		"day where the server is":     {daylight(""), zone(time.UTC), "connect_hours", claims.ResultPass},
		"night where the server is":   {daylight(""), zone(far), "connect_hours", claims.ResultFail},
		"Local, day at the server":    {daylight("Local"), zone(time.UTC), "connect_hours", claims.ResultPass},
		"Local, night at the server":  {daylight("Local"), zone(far), "connect_hours", claims.ResultFail},
		"Local, and no zone is known": {daylight("Local"), zone(nil), "connect_hours", claims.ResultUnknown},
		"the account of others":       {func(_ *jwt.UserClaims, a *jwt.AccountClaims) { a.Subject = newPair(t, claims.KindAccount).id }, room(0, 0), "not_revoked", claims.ResultNotReached},
	} {
		a, v := restricted(t, c.edit)
		c.know(&a, &v)
		if got := resultOf(claims.Explain(a, v), c.check); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Connections of one moment are told apart by their number, servers by themselves, and those whose JWT is not
// listed by what is new.
func TestBlastAtTheBorders(t *testing.T) {
	t.Parallel()
	since := time.Unix(1_790_000_000, 0)
	signer, key := newPair(t, claims.KindAccount), newPair(t, claims.KindUser).id
	user := func(issued int64) *claims.ConnectedUser {
		return &claims.ConnectedUser{Subscriptions: -1, IssuedAt: issued}
	}
	template := jwt.NewUserScope()
	template.Key, template.Template = signer.id, claims.NewPermissionLimits()
	template.Template.Subs = 1
	nothing := func(*jwt.AccountClaims) {}
	for name, c := range map[string]struct {
		both, after func(*jwt.AccountClaims)
		live        []claims.Connection
		want        []claims.Fate
	}{
		"two of one moment": {
			nothing, func(a *jwt.AccountClaims) { a.Limits.Conn = 1 },
			[]claims.Connection{{CID: 9, Since: since, User: user(1)}, {CID: 8, Since: since, User: user(1)}},
			[]claims.Fate{refusedNow, stays},
		},
		"room is made on another server": {
			nothing, func(a *jwt.AccountClaims) { a.Limits.Conn = 1; a.Revocations = jwt.RevocationList{key: 5} },
			[]claims.Connection{{CID: 1, ServerID: "1", User: user(9)}, {CID: 2, ServerID: "1", User: user(9)}, {CID: 3, ServerID: "2", UserKey: key, User: user(5)}},
			[]claims.Fate{uncertain, refusedNow, refusedNow},
		},
		"a revocation that was there": {
			func(a *jwt.AccountClaims) { a.Revocations = jwt.RevocationList{key: 5} }, func(a *jwt.AccountClaims) { a.Description = "new" },
			[]claims.Connection{{UserKey: key, Since: since}},
			[]claims.Fate{stays},
		},
		"a template's limit is not that of a callout's user": {
			func(a *jwt.AccountClaims) { a.SigningKeys.AddScopedSigner(template) }, func(a *jwt.AccountClaims) { a.Description = "new" },
			[]claims.Connection{{UserKey: "guest", IssuerKey: signer.id, Since: since, Subscriptions: 1}},
			[]claims.Fate{stays},
		},
	} {
		before := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
		c.both(before)
		after := copied(t, before).(*jwt.AccountClaims)
		c.after(after)
		var got []claims.Fate
		for _, i := range claims.BlastRadius(before, after, c.live).Impacts {
			got = append(got, i.Fate)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// An activation is valid from the second of nbf until before that of exp (nats-server: checkActivation).
func TestActivationsAtTheBorders(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_790_000_000, 0)
	for name, c := range map[string]struct {
		edit func(*claims.Activation)
		want string
	}{
		"expires now":          {func(a *claims.Activation) { a.Expires = now.Unix() }, "token_expired"},
		"expires in a second":  {func(a *claims.Activation) { a.Expires = now.Unix() + 1 }, ""},
		"valid from now":       {func(a *claims.Activation) { a.NotBefore = now.Unix() }, ""},
		"valid from in second": {func(a *claims.Activation) { a.NotBefore = now.Unix() + 1 }, "token_not_yet_valid"},
	} {
		s := newShare(t, jwt.Stream)
		s.token(t, s.signer, c.edit)
		exporter, importer := unchecked(s.exporter), unchecked(s.importer)
		exporter.Exports, importer.Imports = jwt.Exports{s.export}, jwt.Imports{s.imp}
		got := ""
		for _, p := range claims.CheckSharing(importer, func(string) *jwt.AccountClaims { return exporter }, now) {
			got += p.Code
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What is exported as a service closes no circle of streams.
func TestCyclesOfOneKind(t *testing.T) {
	t.Parallel()
	a, b := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id), jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Imports = jwt.Imports{{Subject: "x", Account: b.Subject, Type: jwt.Stream}}
	b.Imports = jwt.Imports{{Subject: "x", Account: a.Subject, Type: jwt.Stream}}
	for kind, want := range map[jwt.ExportType]int{jwt.Stream: 2, jwt.Service: 0} {
		a.Exports, b.Exports = jwt.Exports{{Subject: "x", Type: kind}}, jwt.Exports{{Subject: "x", Type: kind}}
		if got := claims.CheckCycles([]*jwt.AccountClaims{a, b}); len(got) != want {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// A JWT is valid in the second of its exp; that of an operator outlives it on a server.
func TestTokensAtTheBorders(t *testing.T) {
	t.Parallel()
	operator := newPair(t, claims.KindOperator)
	o := jwt.NewOperatorClaims(operator.id)
	o.Expires = 1_790_000_000
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Expires = o.Expires
	for name, c := range map[string]struct {
		claims          jwt.Claims
		after           int64
		expired, server bool
	}{
		"operator, at exp": {o, 0, false, false}, "operator, after": {o, 1, true, false},
		"account, at exp": {a, 0, false, false}, "account, after": {a, 1, true, true},
	} {
		text, err := c.claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		token, err := claims.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		expired, server := false, false
		for _, p := range token.Problems(time.Unix(o.Expires+c.after, 0)) {
			if p.Code == "expired" {
				expired, server = true, p.Server
			}
		}
		if expired != c.expired || server != c.server {
			t.Errorf("%s: expired %v, for a server %v", name, expired, server)
		}
	}
}

// The deepest nesting that is read, and one more.
func TestNestingAtTheBorder(t *testing.T) {
	t.Parallel()
	operator := newPair(t, claims.KindOperator)
	text, err := jwt.NewOperatorClaims(operator.id).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	for depth, ok := range map[int]bool{64: true, 65: false} {
		var nested any = 1
		for range depth - 1 {
			nested = map[string]any{"x": nested}
		}
		_, err := claims.Read(resigned(t, tampered(text, func(m map[string]any) { m["x"] = nested }), operator))
		if (err == nil) != ok {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}

// The id tells apart what differs at the very end of the payload.
func TestIDCoversTheWholePayload(t *testing.T) {
	t.Parallel()
	signer := newPair(t, claims.KindOperator)
	a := anAccount(t)
	ids := map[string]bool{}
	for _, tag := range []string{"a", "b"} {
		a.Settings.Tags = jwt.TagList{tag}
		ids[sign(t, checked(t)(claims.BuildAccount(a)), signer, 1_790_000_000).ID] = true
	}
	if len(ids) != 2 {
		t.Errorf("%v", ids)
	}
}

// An identity key that is a signing key too signs under a strict operator.
func TestChainOfAListedIdentity(t *testing.T) {
	t.Parallel()
	operator, signing := newPair(t, claims.KindOperator), newPair(t, claims.KindOperator)
	o := jwt.NewOperatorClaims(operator.id)
	o.StrictSigningKeyUsage = true
	o.SigningKeys.Add(signing.id)
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Issuer = signing.id
	u := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
	u.Issuer = a.Subject
	for want, keys := range map[claims.LinkState]jwt.SigningKeys{claims.LinkBroken: {}, claims.LinkTrusted: {a.Subject: nil}} {
		a.SigningKeys = keys
		links := claims.Chain(u, func(string) *jwt.AccountClaims { return a }, []*jwt.OperatorClaims{o})
		if links[0].State != want {
			t.Errorf("%+v", links[0])
		}
	}
}

// A template's network behind one that a server reads, and Chancery does not write, is not the server's problem.
func TestNetworksOfATemplate(t *testing.T) {
	t.Parallel()
	for first, want := range map[string]bool{"127.0.0.0/08": false, "y": true} {
		p := claims.NewPermissionLimits()
		p.Src = jwt.CIDRList{first, "x"}
		if got := claims.CheckPermissionLimits(p, true); len(got) != 2 || got[1].Server != want {
			t.Errorf("%s: %+v", first, got)
		}
	}
}

// described returns the lines of a label.
func described(c jwt.Claims, at int64, label string) (out []claims.Line) {
	for _, s := range claims.Describe(c, time.Unix(at, 0)) {
		for _, l := range s.Lines {
			if l.Label == label {
				out = append(out, l)
			}
		}
	}
	return out
}

func TestDescribeAtTheBorders(t *testing.T) {
	t.Parallel()
	const exp = 1_790_000_000
	exporter := newPair(t, claims.KindAccount)
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Expires = exp
	activation := jwt.NewActivationClaims(a.Subject)
	activation.ImportSubject, activation.ImportType, activation.Expires = "x", jwt.Stream, exp
	token, err := activation.Encode(exporter)
	if err != nil {
		t.Fatal(err)
	}
	a.Imports = jwt.Imports{{Subject: "x", Account: exporter.id, Type: jwt.Stream, Token: token}}
	a.Revocations = jwt.RevocationList{}
	for i := range 101 {
		a.Revocations[newPair(t, claims.KindUser).id] = int64(i)
	}
	u := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
	u.Resp = &jwt.ResponsePermission{}
	for _, c := range []struct {
		claims      jwt.Claims
		at          int64
		label, want string
	}{
		{a, exp, "Expires", "now"},
		{a, exp + 1, "Expires", "expired 1 second ago"},
		{a, exp, "Activation token", "it expires 2026-09-21 14:13:20 UTC"},
		{a, exp + 1, "Activation token", "it expired 2026-09-21 14:13:20 UTC"},
	} {
		if got := described(c.claims, c.at, c.label); len(got) != 1 || got[0].Note != c.want {
			t.Errorf("%s: %+v, want %s", c.label, got, c.want)
		}
	}
	if got := described(a, exp, "Revoked"); len(got) != 101 || got[100].Value != "1 more" {
		t.Errorf("%d revocations", len(got))
	}
	if got := described(u, exp, "May publish"); len(got) != 1 || got[0].Value != "nothing but replies" {
		t.Errorf("%+v", got)
	}
}

// The longest text that is shown whole, and one subject imported twice.
func TestDiffAtTheBorders(t *testing.T) {
	t.Parallel()
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	from := newPair(t, claims.KindAccount).id
	a.Imports = jwt.Imports{{Subject: "x", LocalSubject: "y", Account: from, Type: jwt.Service}, {Subject: "x", LocalSubject: "z", Account: from, Type: jwt.Service}}
	b := copied(t, a).(*jwt.AccountClaims)
	b.Imports[0].Share = true
	b.Description = strings.Repeat("d", 100)
	changes := claims.DiffAccounts(a, b)
	if len(changes) != 2 || changes[0].After != b.Description || changes[1].Before != "off" || changes[1].After != "on" {
		t.Errorf("%+v", changes)
	}
}

// A strict server takes an activation of the identity key where that alone says who issued it, and of a scoped key.
func TestChainOfActivations(t *testing.T) {
	t.Parallel()
	o := jwt.NewOperatorClaims(newPair(t, claims.KindOperator).id)
	o.StrictSigningKeyUsage = true
	o.SigningKeys.Add(newPair(t, claims.KindOperator).id)
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Issuer = o.SigningKeys[0]
	scope := jwt.NewUserScope()
	scope.Key = newPair(t, claims.KindAccount).id
	a.SigningKeys.AddScopedSigner(scope)
	for name, c := range map[string]struct {
		issuer, account, why string
		state                claims.LinkState
	}{
		"identity":        {a.Subject, "", "The account's identity key signed.", claims.LinkTrusted},
		"identity, named": {a.Subject, a.Subject, "The account's identity key signed, but the operator demands signing keys (strict).", claims.LinkBroken},
		"scoped":          {scope.Key, a.Subject, "A scoped signing key of the account signed.", claims.LinkTrusted},
	} {
		x := jwt.NewActivationClaims(newPair(t, claims.KindAccount).id)
		x.Issuer, x.IssuerAccount = c.issuer, c.account
		links := claims.Chain(x, func(string) *jwt.AccountClaims { return a }, []*jwt.OperatorClaims{o})
		if links[0].State != c.state || links[0].Why != c.why {
			t.Errorf("%s: %+v", name, links[0])
		}
	}
}
