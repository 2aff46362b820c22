package claims_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// compose signs a payload as it is, so that it may hold what nats-io/jwt would not write.
func compose(t testing.TB, payload string, by pair) string {
	t.Helper()
	return composeWith(t, `{"typ":"JWT","alg":"ed25519-nkey"}`, payload, by)
}

func composeWith(t testing.TB, header, payload string, by pair) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := by.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + encode(signature)
}

// unchecked is the account's claims with none of our checks.
func unchecked(a claims.Account) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(a.ID)
	c.Name, c.Audience, c.Expires, c.NotBefore, c.Account = a.Name, a.Audience, a.Expires, a.NotBefore, a.Settings
	c.SigningKeys, c.Revocations = jwt.SigningKeys{}, jwt.RevocationList{}
	maps.Copy(c.Revocations, a.Revocations)
	for _, k := range a.Keys {
		if k.Template == nil {
			c.SigningKeys.Add(k.ID)
			continue
		}
		scope := jwt.NewUserScope()
		scope.Key, scope.Role, scope.Description, scope.Template = k.ID, k.Template.Name, k.Template.Description, k.Template.Permissions
		c.SigningKeys.AddScopedSigner(scope)
	}
	return c
}

// verdict is one problem, and the JWT that shows what a server makes of it.
type verdict struct {
	edit          func(*claims.Account)
	pointer, code string
	blocking      bool
	// swap replaces text of the payload, for what cannot be written otherwise.
	swap [2]string
}

// wantVerdict fails unless the problems are the one wanted; it returns what we say of the server.
func wantVerdict(t *testing.T, problems claims.Problems, v verdict) bool {
	t.Helper()
	if v.code == "" {
		if len(problems) > 0 {
			t.Errorf("%+v", problems)
		}
		return false
	}
	server := false
	for _, p := range problems {
		server = server || p.Server
		if p.Pointer != v.pointer || p.Code != v.code || p.Blocking != v.blocking {
			t.Errorf("%+v, want %s at %s, blocking %v", p, v.code, v.pointer, v.blocking)
		}
		if p.Server && !p.Blocking {
			t.Errorf("a server refuses what we let through: %+v", p)
		}
	}
	if len(problems) == 0 {
		t.Errorf("no problem, want %s at %s", v.code, v.pointer)
	}
	return server
}

func exported(e jwt.Export) func(*claims.Account) {
	return func(a *claims.Account) { a.Settings.Exports = jwt.Exports{&e} }
}

func imported(imports ...*jwt.Import) func(*claims.Account) {
	return func(a *claims.Account) { a.Settings.Imports = imports }
}

func mapped(source jwt.Subject, to ...jwt.WeightedMapping) func(*claims.Account) {
	return func(a *claims.Account) { a.Settings.Mappings = jwt.Mapping{source: to} }
}

func scopedTo(edit func(*jwt.UserPermissionLimits)) func(*claims.Account) {
	return func(a *claims.Account) {
		x := claims.Template{Name: "t", Permissions: limited(edit)}
		a.Keys[1].Template = &x
	}
}

// TestServerRefusesAccounts holds each problem of an account against a real server: Server is true exactly when the
// account's user cannot connect. Key 0 of the account is plain, key 1 is scoped.
func TestServerRefusesAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := accountVerdicts(t)
	agreed := 0
	for name, v := range cases {
		ok := t.Run(name, func(t *testing.T) {
			plain, scoped := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
			template := claims.Template{Name: "t", Permissions: claims.NewPermissionLimits()}
			a := claims.Account{
				ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings(),
				Keys: []claims.SigningKey{{ID: plain.id}, {ID: scoped.id, Template: &template}},
			}
			v.edit(&a)
			problems := claims.CheckAccount(a)
			want := wantVerdict(t, problems, v)
			if _, built := claims.BuildAccount(a); built.Blocking() != v.blocking {
				t.Errorf("built with %+v", built)
			}
			c := unchecked(a)
			if c.Subject == "" {
				t.Fatal("no account")
			}
			var token string
			if v.swap[0] != "" {
				writable(c)
				c.Issuer, c.IssuedAt, c.Type, c.Version = w.signing.id, time.Now().Unix(), jwt.AccountClaim, 2
				raw, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				token = compose(t, strings.Replace(string(raw), v.swap[0], v.swap[1], 1), w.signing)
			} else {
				var err error
				if token, err = c.Encode(w.signing); err != nil {
					t.Fatal(err)
				}
			}
			w.store(t, a.ID, token)
			u := claims.User{Name: "ada", Account: a.ID}
			signer := scoped
			if !strings.HasPrefix(v.pointer, "/signing_keys/1/template") {
				p := claims.NewPermissionLimits()
				u.Permissions, signer = &p, plain
			}
			nc, err := w.connect(t, u, signer)
			if refuses := refuses(t, nc, err, want); refuses != want {
				t.Errorf("the server refuses: %v (%v); we say %v: %+v", refuses, err, want, problems)
			}
		})
		if ok {
			agreed++
		}
	}
	fmt.Printf("account problems as a server judges them: %d of %d\n", agreed, len(cases))
}

// refuses tells whether a server refused a connection or, when that is expected, closed it soon after: too few
// subscriptions are told after 20 ms.
func refuses(t *testing.T, nc *nats.Conn, err error, expected bool) bool {
	t.Helper()
	if err == nil {
		if expected {
			closed := nc.StatusChanged(nats.CLOSED)
			defer nc.RemoveStatusListener(closed)
			if nc.IsClosed() {
				return true
			}
			select {
			case <-closed:
				return true
			case <-time.After(patience):
				return false
			}
		}
		return nc.FlushTimeout(patience) != nil
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrMaxAccountConnectionsExceeded) {
		return true
	}
	// What is said while the client still connects comes in the server's words.
	for _, words := range []string{"maximum subscriptions exceeded", "authentication expired"} {
		if strings.Contains(strings.ToLower(err.Error()), words) {
			return true
		}
	}
	t.Fatalf("connecting: %v", err)
	return false
}

// TestServerRefusesUsers does the same for users with permissions of their own.
func TestServerRefusesUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer := newPair(t, claims.KindAccount)
	a := claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: signer.id}}}
	w.serve(t, a)
	cases := userVerdicts()
	agreed := 0
	for name, v := range cases {
		ok := t.Run(name, func(t *testing.T) {
			p, key := claims.NewPermissionLimits(), newPair(t, claims.KindUser)
			u := claims.User{ID: key.id, Name: "ada", Account: a.ID, Permissions: &p}
			v.edit(&u)
			want := wantVerdict(t, claims.CheckUser(u), verdict{pointer: v.pointer, code: v.code, blocking: v.blocking})
			if _, built := claims.BuildUser(u); built.Blocking() != v.blocking {
				t.Errorf("built with %+v", built)
			}
			c := jwt.NewUserClaims(u.ID)
			c.Name, c.IssuerAccount, c.Audience, c.Expires, c.NotBefore = u.Name, u.Account, u.Audience, u.Expires, u.NotBefore
			c.User.Tags, c.UserPermissionLimits = u.Tags, *u.Permissions
			token, err := c.Encode(signer)
			if err != nil {
				t.Fatal(err)
			}
			nc, err := w.dial(t, token, key)
			if refuses := refuses(t, nc, err, want); refuses != want {
				t.Errorf("the server refuses: %v (%v); we say %v", refuses, err, want)
			}
		})
		if ok {
			agreed++
		}
	}
	fmt.Printf("user problems as a server judges them: %d of %d\n", agreed, len(cases))
}

type userVerdict struct {
	edit          func(*claims.User)
	pointer, code string
	blocking      bool
}

func userVerdicts() map[string]userVerdict {
	own := func(edit func(*jwt.UserPermissionLimits)) func(*claims.User) {
		return func(u *claims.User) { edit(u.Permissions) }
	}
	pub := func(s string) func(*claims.User) {
		return own(func(p *jwt.UserPermissionLimits) { p.Pub.Allow = jwt.StringList{s} })
	}
	sub := func(s string) func(*claims.User) {
		return own(func(p *jwt.UserPermissionLimits) { p.Sub.Deny = jwt.StringList{s} })
	}
	source := func(s ...string) func(*claims.User) {
		return own(func(p *jwt.UserPermissionLimits) { p.Src = s })
	}
	times := func(zone string, ranges ...jwt.TimeRange) func(*claims.User) {
		return own(func(p *jwt.UserPermissionLimits) { p.Times, p.Locale = ranges, zone })
	}
	types := func(s ...string) func(*claims.User) {
		return own(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = s })
	}
	day := []jwt.TimeRange{{Start: "00:00:00", End: "12:00:00"}, {Start: "12:00:00", End: "00:00:00"}}
	with := func(r jwt.TimeRange) []jwt.TimeRange { return append(day[:2:2], r) }
	const allow0, deny0 = "/permissions/publish/allow/0", "/permissions/subscribe/deny/0"
	return map[string]userVerdict{
		"nothing": {func(*claims.User) {}, "", "", false},
		"everything": {own(func(p *jwt.UserPermissionLimits) {
			p.Src, p.Times, p.AllowedConnectionTypes, p.Locale = jwt.CIDRList{"127.0.0.0/8"}, day, jwt.StringList{"STANDARD"}, "Asia/Tokyo"
		}), "", "", false},
		"a bearer":                       {own(func(p *jwt.UserPermissionLimits) { p.BearerToken = true }), "", "", false},
		"a name":                         {func(u *claims.User) { u.Name = "a/b" }, "/name", "invalid_name", true},
		"a tag":                          {func(u *claims.User) { u.Tags = []string{"a b"} }, "/tags/0", "invalid_tag", true},
		"an account that is none":        {func(u *claims.User) { u.Account = "ada" }, "/account", "invalid_key", true},
		"an audience":                    {func(u *claims.User) { u.Audience = "\a" }, "/audience", "invalid_text", true},
		"an end before 1970":             {func(u *claims.User) { u.Expires = -5 }, "/expires_at", "out_of_range", true},
		"a start before 1970":            {func(u *claims.User) { u.NotBefore = -5 }, "/not_before", "out_of_range", true},
		"a start after the end":          {func(u *claims.User) { u.Expires, u.NotBefore = 4_000_000_000, 4_000_000_001 }, "/not_before", "never_valid", true},
		"an empty subject":               {pub(""), allow0, "invalid_subject", true},
		"a..b":                           {pub("a..b"), allow0, "invalid_subject", true},
		"a*":                             {pub("a*"), allow0, "invalid_subject", true},
		">.a":                            {sub(">.a"), deny0, "invalid_subject", true},
		"a tab":                          {pub("a\tb"), allow0, "invalid_subject", true},
		"a queue to publish":             {pub("a q"), allow0, "invalid_subject", true},
		"a queue to subscribe":           {sub("a q"), "", "", false},
		"two queues":                     {sub("a q r"), deny0, "invalid_queue", true},
		"a bad queue":                    {sub("a q."), deny0, "invalid_queue", true},
		"a queue q*":                     {sub("a q*"), deny0, "invalid_queue", true},
		"a function":                     {pub("{{nope()}}"), allow0, "invalid_subject", true},
		"a long subject":                 {pub(strings.Repeat("x", 1025)), allow0, "too_long", true},
		"a seed":                         {pub(aSeed), allow0, "seed_not_accepted", true},
		"responses below -1":             {own(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }), "/permissions/responses/max", "out_of_range", true},
		"a time of responses below zero": {own(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: -1} }), "/permissions/responses/ttl_seconds", "out_of_range", true},
		"subscriptions":                  {own(func(p *jwt.UserPermissionLimits) { p.Subs = -2 }), "/limits/subscriptions", "out_of_range", true},
		"data":                           {own(func(p *jwt.UserPermissionLimits) { p.Data = -2 }), "/limits/data_bytes", "out_of_range", true},
		"payload":                        {own(func(p *jwt.UserPermissionLimits) { p.Payload = -2 }), "/limits/payload_bytes", "out_of_range", true},
		"the largest": {own(func(p *jwt.UserPermissionLimits) {
			p.Subs, p.Payload, p.Data = math.MaxInt64, math.MaxInt64, math.MaxInt64
		}), "", "", false},
		"a network":                  {source("127.0.0.0/8", "x"), "/source_cidrs/1", "invalid_cidr", true},
		"a network with a zone":      {source("127.0.0.0/8", "fe80::1%eth0/64"), "/source_cidrs/1", "invalid_cidr", true},
		"a network in octal":         {source("127.0.0.0/8", "10.0.0.0/08"), "/source_cidrs/1", "invalid_cidr", true},
		"a network with host bits":   {source("127.0.0.1/8"), "/source_cidrs/0", "host_bits", false},
		"a time":                     {times("", with(jwt.TimeRange{Start: "x", End: "12:00:00"})...), "/times/2", "invalid_time", true},
		"a time without an end":      {times("", with(jwt.TimeRange{Start: "12:00:00"})...), "/times/2", "invalid_time", true},
		"an empty time":              {times("", jwt.TimeRange{Start: "12:00:00", End: "12:00:00"}), "/times/0", "invalid_time", true},
		"an empty time and others":   {times("", with(jwt.TimeRange{Start: "12:00:00", End: "12:00:00"})...), "/times/2", "invalid_time", true},
		"a zone":                     {times("Mars/Olympus"), "/times_location", "invalid_time_zone", true},
		"a local zone":               {times("Local", day...), "/times_location", "invalid_time_zone", true},
		"an unknown connection type": {types("PIGEON"), "/connection_types/0", "unknown_value", true},
		"one connection type of two": {types("STANDARD", "PIGEON"), "/connection_types/1", "unknown_value", true},
		"a connection type in small": {types("standard"), "/connection_types/0", "unknown_value", true},
	}
}

// Why a template must not have a limit of 0: what nats-io/jwt writes for it, it reads as unlimited.
func TestZeroInATemplateIsUnlimited(t *testing.T) {
	t.Parallel()
	template := claims.Template{Name: "t", Permissions: limited(func(p *jwt.UserPermissionLimits) { p.Payload = 0 })}
	key := newPair(t, claims.KindAccount).id
	token, err := unchecked(claims.Account{
		ID: newPair(t, claims.KindAccount).id, Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: key, Template: &template}},
	}).Encode(newPair(t, claims.KindOperator))
	if err != nil {
		t.Fatal(err)
	}
	c, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.SigningKeys[key].(*jwt.UserScope).Template.Payload; got != jwt.NoLimit {
		t.Errorf("the payload limit is %d: the check can go", got)
	}
}

// writable replaces what nats-io/jwt does not write.
func writable(c *jwt.AccountClaims) {
	for _, e := range c.Exports {
		if e != nil && e.Type == jwt.Unknown {
			e.Type = jwt.Stream
		}
		if e != nil && e.Latency != nil && e.Latency.Sampling > 100 {
			e.Latency.Sampling = 5
		}
	}
	for _, m := range c.Imports {
		if m != nil && m.Type == jwt.Unknown {
			m.Type = jwt.Stream
		}
	}
}
