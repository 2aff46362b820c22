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
			case <-time.After(5 * time.Second):
				return false
			}
		}
		return nc.FlushTimeout(5*time.Second) != nil
	}
	for _, refusal := range []error{nats.ErrAuthorization, nats.ErrMaxAccountConnectionsExceeded, nats.ErrAccountAuthExpired, nats.ErrAuthExpired, nats.ErrMaxSubscriptionsExceeded} {
		if errors.Is(err, refusal) || strings.Contains(err.Error(), "maximum subscriptions exceeded") {
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

func accountVerdicts(t *testing.T) map[string]verdict {
	other, foreign := newPair(t, claims.KindAccount).id, newPair(t, claims.KindAccount)
	user := newPair(t, claims.KindUser).id
	xkey := curveKey(t)
	stream, service := jwt.ExportType(jwt.Stream), jwt.ExportType(jwt.Service)
	in := func(edit func(*jwt.Import)) *jwt.Import {
		m := jwt.Import{Subject: "a.*", Account: other, Type: stream}
		edit(&m)
		return &m
	}
	srv := func(edit func(*jwt.Import)) *jwt.Import {
		return in(func(m *jwt.Import) { m.Type = service; edit(m) })
	}
	activation := func(edit func(*claims.Activation)) string {
		a := claims.Activation{Account: other, Exporter: other, Subject: "a.*", Kind: stream}
		edit(&a)
		return sign(t, checked(t)(claims.BuildActivation(a)), foreign, time.Now().Unix()).Token
	}
	withToken := func(edit func(*claims.Activation)) func(*claims.Account) {
		return func(a *claims.Account) {
			token := activation(func(x *claims.Activation) { x.Account = a.ID; edit(x) })
			imported(in(func(m *jwt.Import) { m.Token = token }))(a)
		}
	}
	settings := func(edit func(*jwt.Account)) func(*claims.Account) {
		return func(a *claims.Account) { edit(&a.Settings) }
	}
	limits := func(edit func(*jwt.OperatorLimits)) func(*claims.Account) {
		return func(a *claims.Account) { edit(&a.Settings.Limits) }
	}
	long := strings.Repeat("x", claims.MaxTextLength+1)
	half := jwt.WeightedMapping{Subject: "b", Weight: 50}
	out := map[string]verdict{
		"nothing":                      {edit: func(*claims.Account) {}},
		"a name":                       {func(a *claims.Account) { a.Name = "a/b" }, "/name", "invalid_name", true, [2]string{}},
		"a tag":                        {settings(func(s *jwt.Account) { s.Tags = jwt.TagList{"a b"} }), "/tags/0", "invalid_tag", true, [2]string{}},
		"a control character in aud":   {func(a *claims.Account) { a.Audience = "a\x01" }, "/audience", "invalid_text", true, [2]string{}},
		"an end before 1970":           {func(a *claims.Account) { a.Expires = -5 }, "/expires_at", "out_of_range", true, [2]string{}},
		"a start before 1970":          {func(a *claims.Account) { a.NotBefore = -5 }, "/not_before", "out_of_range", true, [2]string{}},
		"a start after the end":        {func(a *claims.Account) { a.Expires, a.NotBefore = 4_000_000_000, 4_000_000_001 }, "/not_before", "never_valid", true, [2]string{}},
		"connections":                  {limits(func(l *jwt.OperatorLimits) { l.Conn = -2 }), "/limits/connections", "out_of_range", true, [2]string{}},
		"leaf connections":             {limits(func(l *jwt.OperatorLimits) { l.LeafNodeConn = -2 }), "/limits/leaf_connections", "out_of_range", true, [2]string{}},
		"subscriptions":                {limits(func(l *jwt.OperatorLimits) { l.Subs = -2 }), "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"data":                         {limits(func(l *jwt.OperatorLimits) { l.Data = -2 }), "/limits/data_bytes", "out_of_range", true, [2]string{}},
		"payload":                      {limits(func(l *jwt.OperatorLimits) { l.Payload = -2 }), "/limits/payload_bytes", "out_of_range", true, [2]string{}},
		"imports":                      {limits(func(l *jwt.OperatorLimits) { l.Imports = -2 }), "/limits/imports", "out_of_range", true, [2]string{}},
		"exports":                      {limits(func(l *jwt.OperatorLimits) { l.Exports = -2 }), "/limits/exports", "out_of_range", true, [2]string{}},
		"jetstream disk":               {limits(func(l *jwt.OperatorLimits) { l.DiskStorage = -2 }), "/jetstream/disk_bytes", "out_of_range", true, [2]string{}},
		"a tier of ten":                {tiers(jwt.JetStreamTieredLimits{"R10": {DiskStorage: 1}}), "/jetstream/tiers", "invalid_tier", true, [2]string{}},
		"a tier without a name":        {tiers(jwt.JetStreamTieredLimits{"": {DiskStorage: 1}}), "/jetstream/tiers", "invalid_tier", true, [2]string{}},
		"a tier's limit":               {tiers(jwt.JetStreamTieredLimits{"R1": {DiskStorage: -2}}), "/jetstream/tiers/R1/disk_bytes", "out_of_range", true, [2]string{}},
		"tiers and flat limits":        {func(a *claims.Account) { tiers(jwt.JetStreamTieredLimits{"R1": {}})(a); a.Settings.Limits.Streams = 1 }, "/jetstream/tiers", "exclusive", true, [2]string{}},
		"a long description":           {settings(func(s *jwt.Account) { s.Description = long }), "/description", "too_long", true, [2]string{}},
		"a bell in the description":    {settings(func(s *jwt.Account) { s.Description = "\a" }), "/description", "invalid_text", true, [2]string{}},
		"a link without a scheme":      {settings(func(s *jwt.Account) { s.InfoURL = "example.com" }), "/info_url", "invalid_url", true, [2]string{}},
		"a link with a password":       {settings(func(s *jwt.Account) { s.InfoURL = "https://u:p@example.com" }), "/info_url", "invalid_url", true, [2]string{}},
		"a default subject":            {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a..b"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default wildcard in a word": {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a*"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default queue to publish":   {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a q"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default function":           {settings(func(s *jwt.Account) { s.DefaultPermissions.Sub.Deny = jwt.StringList{"{{name()}}"} }), "/default_permissions/subscribe/deny/0", "invalid_subject", true, [2]string{}},
		"a default response":           {settings(func(s *jwt.Account) { s.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }), "/default_permissions/responses/max", "out_of_range", true, [2]string{}},
		"a signing key of an operator": {func(a *claims.Account) {
			a.Keys = append(a.Keys, claims.SigningKey{ID: newPair(t, claims.KindOperator).id})
		}, "/signing_keys/2", "invalid_key", true, [2]string{}},
		"a signing key that is a seed":    {func(a *claims.Account) { a.Keys = append(a.Keys, claims.SigningKey{ID: aSeed}) }, "/signing_keys/2", "seed_not_accepted", true, [2]string{}},
		"a signing key twice":             {func(a *claims.Account) { a.Keys = append(a.Keys, a.Keys[0]) }, "/signing_keys/2", "duplicate", true, [2]string{}},
		"a revocation of nobody":          {func(a *claims.Account) { a.Revocations = map[string]int64{"ada": 1} }, "/revocations", "invalid_key", true, [2]string{}},
		"a revocation before 1970":        {func(a *claims.Account) { a.Revocations = map[string]int64{user: -1} }, "/revocations", "out_of_range", true, [2]string{}},
		"a trace to many":                 {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a.*"} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace to nowhere":              {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace to a*":                   {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a*"} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace of 101 percent":          {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a", Sampling: 101} }), "/trace/sampling", "out_of_range", true, [2]string{}},
		"cluster traffic":                 {settings(func(s *jwt.Account) { s.ClusterTraffic = "owners" }), "/cluster_traffic", "unknown_value", true, [2]string{}},
		"callout accounts without users":  {settings(func(s *jwt.Account) { s.Authorization.AllowedAccounts = jwt.StringList{"*"} }), "/authorization/auth_users", "required", true, [2]string{}},
		"a callout user that is none":     {settings(func(s *jwt.Account) { s.Authorization.AuthUsers = jwt.StringList{user, "*"} }), "/authorization/auth_users/1", "invalid_key", true, [2]string{}},
		"a callout account that is none":  {settings(func(s *jwt.Account) { s.Authorization = callout(user, "ada") }), "/authorization/allowed_accounts/0", "invalid_key", true, [2]string{}},
		"a callout to all and one":        {settings(func(s *jwt.Account) { s.Authorization = callout(user, "*", other) }), "/authorization/allowed_accounts", "exclusive", true, [2]string{}},
		"an xkey without callout":         {settings(func(s *jwt.Account) { s.Authorization.XKey = xkey }), "/authorization/xkey", "no_effect", false, [2]string{}},
		"an xkey of an account":           {settings(func(s *jwt.Account) { s.Authorization = callout(user); s.Authorization.XKey = other }), "/authorization/xkey", "invalid_key", true, [2]string{}},
		"an xkey that is a seed":          {settings(func(s *jwt.Account) { s.Authorization = callout(user); s.Authorization.XKey = aSeed }), "/authorization/xkey", "seed_not_accepted", true, [2]string{}},
		"a mapping of a..b":               {mapped("a..b", half), "/mappings/0/source", "invalid_subject", true, [2]string{}},
		"a mapping of a*":                 {mapped("a*", half), "/mappings/0/source", "invalid_subject", true, [2]string{}},
		"a mapping to a..b":               {mapped("a", jwt.WeightedMapping{Subject: "a..b"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to nothing":            {mapped("a", jwt.WeightedMapping{}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to a wildcard":         {mapped("a.*", jwt.WeightedMapping{Subject: "b.*"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to $2 of one":          {mapped("a.*", jwt.WeightedMapping{Subject: "b.$2"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping by a function of none": {mapped("a.*", jwt.WeightedMapping{Subject: "b.{{reverse(1)}}"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping with a blank":          {mapped("a.*", jwt.WeightedMapping{Subject: "b.{{wildcard( 1 )}}"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping twice to one":          {mapped("a", half, jwt.WeightedMapping{Subject: "b", Weight: 50, Cluster: "east"}), "/mappings/0/destinations/1/subject", "duplicate", true, [2]string{}},
		"a mapping of 200 percent":        {mapped("a", jwt.WeightedMapping{Subject: "b"}, jwt.WeightedMapping{Subject: "c"}), "/mappings/0/destinations", "too_heavy", true, [2]string{}},
		"a mapping too heavy in one":      {mapped("a", jwt.WeightedMapping{Subject: "b", Cluster: "x", Weight: 60}, jwt.WeightedMapping{Subject: "c", Cluster: "x", Weight: 60}), "/mappings/0/destinations", "too_heavy", true, [2]string{}},
		"a mapping that is a seed":        {mapped("a", jwt.WeightedMapping{Subject: aSeed}), "/mappings/0/destinations/0/subject", "seed_not_accepted", true, [2]string{}},
		"a mapping that is long":          {mapped("a", jwt.WeightedMapping{Subject: jwt.Subject(strings.Repeat("x", 1025))}), "/mappings/0/destinations/0/subject", "too_long", true, [2]string{}},
		"a mapping to a bell":             {mapped("a", jwt.WeightedMapping{Subject: "b", Cluster: "\a"}), "/mappings/0/destinations/0/cluster", "invalid_text", true, [2]string{}},
	}
	maps.Copy(out, exportVerdicts(t, stream, service))
	maps.Copy(out, importVerdicts(newPair(t, claims.KindAccount).id, in, srv))
	maps.Copy(out, templateVerdicts())
	maps.Copy(out, map[string]verdict{
		"a token of somebody else":  {withToken(func(x *claims.Activation) { x.Exporter = newPair(t, claims.KindAccount).id }), "/imports/0/token", "token_wrong_issuer", true, [2]string{}},
		"a token for somebody else": {withToken(func(x *claims.Activation) { x.Account = newPair(t, claims.KindAccount).id }), "/imports/0/token", "token_wrong_account", true, [2]string{}},
		"a token of the other kind": {withToken(func(x *claims.Activation) { x.Kind = service }), "/imports/0/token", "token_wrong_kind", true, [2]string{}},
		"a token for less":          {withToken(func(x *claims.Activation) { x.Subject = "a.b" }), "/imports/0/token", "token_wrong_subject", true, [2]string{}},
		"a token that is none":      {imported(in(func(m *jwt.Import) { m.Token = "x.y.z" })), "/imports/0/token", "invalid_token", true, [2]string{}},
		"a token that is a seed":    {imported(in(func(m *jwt.Import) { m.Token = aSeed })), "/imports/0/token", "seed_not_accepted", true, [2]string{}},
		"a token that has expired":  {withToken(func(x *claims.Activation) { x.Expires = 1 }), "", "", false, [2]string{}},
		"a token for more":          {withToken(func(x *claims.Activation) { x.Subject = ">" }), "", "", false, [2]string{}},
	})
	return out
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

func callout(user string, accounts ...string) jwt.ExternalAuthorization {
	return jwt.ExternalAuthorization{AuthUsers: jwt.StringList{user}, AllowedAccounts: accounts}
}

func exportVerdicts(t *testing.T, stream, service jwt.ExportType) map[string]verdict {
	latency := func(subject jwt.Subject, sampling jwt.SamplingRate) *jwt.ServiceLatency {
		return &jwt.ServiceLatency{Results: subject, Sampling: sampling}
	}
	both := func(exports ...*jwt.Export) func(*claims.Account) {
		return func(a *claims.Account) { a.Settings.Exports = exports }
	}
	allowing := func(n int64, wildcards bool) func(*claims.Account) {
		return func(a *claims.Account) {
			exported(jwt.Export{Subject: "a.*", Type: stream})(a)
			a.Settings.Limits.Exports, a.Settings.Limits.WildcardExports = n, wildcards
		}
	}
	return map[string]verdict{
		"every kind of export": {edit: both(
			&jwt.Export{Name: "all", Subject: "s.*.>", Type: stream, AccountTokenPosition: 2, Advertise: true, Revocations: jwt.RevocationList{newPair(t, claims.KindAccount).id: 5, "*": 3}},
			&jwt.Export{Subject: "r", Type: service, ResponseType: jwt.ResponseTypeSingleton, ResponseThreshold: time.Second, Latency: latency("lat", 5), TokenReq: true, AllowTrace: true},
			&jwt.Export{Subject: "q", Type: service, ResponseType: jwt.ResponseTypeChunked}, &jwt.Export{Subject: "h", Type: service, Latency: latency("lat", jwt.Headers)},
		)},
		"no export at all":                {both(nil), "/exports/0", "required", true, [2]string{`[null]`, `[null]`}},
		"an export of no kind":            {exported(jwt.Export{Subject: "a"}), "/exports/0/type", "unknown_value", true, [2]string{`"type":"stream"`, `"type":"bogus"`}},
		"latency of 101 percent":          {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b", 101)}), "/exports/0/latency/sampling", "out_of_range", true, [2]string{`"sampling":5`, `"sampling":101`}},
		"an export of a..b":               {exported(jwt.Export{Subject: "a..b", Type: stream}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export of a*":                 {exported(jwt.Export{Subject: "a*", Type: stream}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export of >.a":                {exported(jwt.Export{Subject: ">.a", Type: service}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export with a bell":           {exported(jwt.Export{Name: "\a", Subject: "a", Type: stream}), "/exports/0/name", "invalid_text", true, [2]string{}},
		"an export's link":                {exported(jwt.Export{Subject: "a", Type: stream, Info: jwt.Info{InfoURL: "x"}}), "/exports/0/info_url", "invalid_url", true, [2]string{}},
		"a revocation of a user":          {exported(jwt.Export{Subject: "a", Type: stream, Revocations: jwt.RevocationList{newPair(t, claims.KindUser).id: 5}}), "/exports/0/revocations", "invalid_key", true, [2]string{}},
		"a stream with responses":         {exported(jwt.Export{Subject: "a", Type: stream, ResponseType: jwt.ResponseTypeStream}), "/exports/0/response_type", "not_allowed", true, [2]string{}},
		"a stream with a threshold":       {exported(jwt.Export{Subject: "a", Type: stream, ResponseThreshold: time.Second}), "/exports/0/response_threshold", "not_allowed", true, [2]string{}},
		"a stream with traces":            {exported(jwt.Export{Subject: "a", Type: stream, AllowTrace: true}), "/exports/0/allow_trace", "not_allowed", true, [2]string{}},
		"a stream with latency":           {exported(jwt.Export{Subject: "a", Type: stream, Latency: latency("b", 5)}), "/exports/0/latency", "not_allowed", true, [2]string{}},
		"a service of other responses":    {exported(jwt.Export{Subject: "a", Type: service, ResponseType: "singleton"}), "/exports/0/response_type", "unknown_value", true, [2]string{}},
		"a threshold below zero":          {exported(jwt.Export{Subject: "a", Type: service, ResponseThreshold: -1}), "/exports/0/response_threshold", "out_of_range", true, [2]string{}},
		"latency to many":                 {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b.>", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency to nowhere":              {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency to b*":                   {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b*", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency of chunks":               {exported(jwt.Export{Subject: "a", Type: service, ResponseType: jwt.ResponseTypeChunked, Latency: latency("b", 5)}), "/exports/0/latency", "no_effect", false, [2]string{}},
		"a token position too far":        {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 3}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position at a word":      {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 1}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position without a *":    {exported(jwt.Export{Subject: "a.b", Type: stream, AccountTokenPosition: 1}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position and a token":    {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 2, TokenReq: true}), "/exports/0/token_required", "no_effect", false, [2]string{}},
		"an export within another":        {both(&jwt.Export{Subject: "a.>", Type: stream}, &jwt.Export{Subject: "a.b", Type: stream}), "/exports/1/subject", "overlap", true, [2]string{}},
		"an export twice":                 {both(&jwt.Export{Subject: "a", Type: service}, &jwt.Export{Subject: "a", Type: service}), "/exports/1/subject", "overlap", true, [2]string{}},
		"exports that meet":               {both(&jwt.Export{Subject: "a.*", Type: stream}, &jwt.Export{Subject: "*.b", Type: stream}), "/exports/1/subject", "overlap", false, [2]string{}},
		"a stream and a service":          {edit: both(&jwt.Export{Subject: "a", Type: stream}, &jwt.Export{Subject: "a", Type: service})},
		"more exports than allowed":       {allowing(0, true), "/exports", "too_many", true, [2]string{}},
		"a wildcard where counted":        {allowing(5, false), "/exports/0/subject", "not_allowed", true, [2]string{}},
		"a wildcard where not counted":    {allowing(-1, false), "/exports/0/subject", "not_allowed", true, [2]string{}},
		"as many exports, with wildcards": {edit: allowing(1, true)},
	}
}

func importVerdicts(second string, in, srv func(func(*jwt.Import)) *jwt.Import) map[string]verdict {
	local := func(subject jwt.Subject, s jwt.RenamingSubject) func(*jwt.Import) {
		return func(m *jwt.Import) { m.Subject, m.LocalSubject = subject, s }
	}
	to := func(subject, s jwt.Subject) func(*jwt.Import) {
		return func(m *jwt.Import) { m.Subject, m.To = subject, s } //nolint:staticcheck // what is deprecated is still read
	}
	few := func(a *claims.Account) { imported(in(func(*jwt.Import) {}))(a); a.Settings.Limits.Imports = 0 }
	long := jwt.RenamingSubject(strings.Repeat("x", 1025))
	return map[string]verdict{
		"imports": {edit: imported(
			in(local("x.*.*", "y.$2.$1")), in(local("y.*.>", "z.*.>")), in(local("z", "w")), srv(local("x.*.*", "lx.$2.$1")), srv(local("y.*", "ly.*")), srv(func(m *jwt.Import) { m.Subject, m.Share = "zz", true }),
			in(func(m *jwt.Import) { m.Subject, m.AllowTrace = "t", true }),
		)},
		"an import of no kind":            {imported(in(func(m *jwt.Import) { m.Type = 0 })), "/imports/0/type", "unknown_value", true, [2]string{`"type":"stream"`, `"type":"bogus"`}},
		"no import at all":                {imported(nil), "/imports/0", "required", true, [2]string{`[null]`, `[null]`}},
		"more imports than allowed":       {few, "/imports", "too_many", true, [2]string{}},
		"an import of a..b":               {imported(in(func(m *jwt.Import) { m.Subject = "a..b" })), "/imports/0/subject", "invalid_subject", true, [2]string{}},
		"an import of *a":                 {imported(in(func(m *jwt.Import) { m.Subject = "*a" })), "/imports/0/subject", "invalid_subject", true, [2]string{}},
		"an import from nobody":           {imported(in(func(m *jwt.Import) { m.Account = "" })), "/imports/0/account", "invalid_key", true, [2]string{}},
		"an import from no account":       {imported(in(func(m *jwt.Import) { m.Account = "ada" })), "/imports/0/account", "invalid_key", true, [2]string{}},
		"an import from oneself":          {func(a *claims.Account) { imported(in(func(m *jwt.Import) { m.Account = a.ID }))(a) }, "/imports/0/account", "not_allowed", true, [2]string{}},
		"an import with a bell":           {imported(in(func(m *jwt.Import) { m.Name = "\a" })), "/imports/0/name", "invalid_text", true, [2]string{}},
		"a service with traces":           {imported(srv(func(m *jwt.Import) { m.AllowTrace = true })), "/imports/0/allow_trace", "not_allowed", true, [2]string{}},
		"a stream that shares":            {imported(in(func(m *jwt.Import) { m.Share = true })), "/imports/0/share", "not_allowed", true, [2]string{}},
		"a field to":                      {imported(in(to("a", "b"))), "/imports/0/to", "deprecated", false, [2]string{}},
		"a field to of a service":         {imported(srv(to("a.*", "b.*"))), "/imports/0/to", "deprecated", false, [2]string{}},
		"a local subject of a..b":         {imported(in(local("a", "b..c"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local wildcard too many":       {imported(in(local("a.*", "b.*.*"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local wildcard missing":        {imported(in(local("a.*", "b"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local $2 of one":               {imported(srv(local("a.*", "b.$2"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local > missing":               {imported(in(local("a.>", "b"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local $1 twice":                {imported(in(local("a.*.*", "b.$1.$1"))), "", "", false, [2]string{}},
		"a local b*":                      {imported(in(local("a", "b*"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local seed":                    {imported(in(local("a", jwt.RenamingSubject(aSeed)))), "/imports/0/local_subject", "seed_not_accepted", true, [2]string{}},
		"a local subject too long":        {imported(in(local("a", long))), "/imports/0/local_subject", "too_long", true, [2]string{}},
		"a stream twice":                  {imported(in(local("a", "b")), in(local("a", "c"))), "/imports/1/subject", "duplicate", true, [2]string{}},
		"a service twice":                 {imported(srv(local("a", "b")), srv(local("c", "b"))), "/imports/1/local_subject", "overlap", true, [2]string{}},
		"a service within another":        {imported(srv(local("a.>", "l.>")), srv(local("c", "l.x"))), "/imports/1/local_subject", "overlap", true, [2]string{}},
		"services of two that meet":       {imported(srv(local("a.*", "l.*")), srv(func(m *jwt.Import) { local("c", "l.x")(m); m.Account = second })), "/imports/1/local_subject", "overlap", false, [2]string{}},
		"a local subject with a function": {imported(in(local("a.*", "b.{{wildcard(1)}}"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
	}
}

// templateVerdicts are problems of the template of key 1, which no server validates before a user comes.
func templateVerdicts() map[string]verdict {
	pub := func(subjects ...string) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Pub.Allow = subjects }
	}
	deny := func(subjects ...string) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Sub.Deny = subjects }
	}
	times := func(zone string, ranges ...jwt.TimeRange) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Times, p.Locale = ranges, zone }
	}
	always := []jwt.TimeRange{{Start: "00:00:00", End: "12:00:00"}, {Start: "12:00:00", End: "00:00:00"}}
	const at = "/signing_keys/1/template"
	out := map[string]verdict{
		"a name": {func(a *claims.Account) {
			scopedTo(pub("a"))(a)
			a.Keys[1].Template.Name = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"
		}, at + "/name", "seed_not_accepted", true, [2]string{}},
		"a description":                   {func(a *claims.Account) { scopedTo(pub("a"))(a); a.Keys[1].Template.Description = "\a" }, at + "/description", "invalid_text", true, [2]string{}},
		"a subject":                       {scopedTo(pub("a..b")), at + "/permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"an unknown function":             {scopedTo(pub("a.{{nope()}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a function in capitals":          {scopedTo(pub("a.{{TAG(x)}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a function in capitals, denied":  {scopedTo(deny("a.{{TAG(x)}}")), at + "/permissions/subscribe/deny/0", "unknown_function", true, [2]string{}},
		"braces":                          {scopedTo(pub("a.{{}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a subject beside a function":     {scopedTo(pub("{{name()}}", "a..b")), at + "/permissions/publish/allow/1", "invalid_subject", true, [2]string{}},
		"a denied subject":                {scopedTo(deny("a..b")), at + "/permissions/subscribe/deny/0", "invalid_subject", true, [2]string{}},
		"a denied one beside a function":  {scopedTo(deny("{{name()}}", "a..b")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a denied a* beside a function":   {scopedTo(deny("{{name()}}", "a*")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a queue beside a function":       {scopedTo(func(p *jwt.UserPermissionLimits) { p.Sub.Allow = jwt.StringList{"{{name()}}", "a q"} }), at + "/permissions/subscribe/allow/1", "invalid_subject", true, [2]string{}},
		"a denied queue and a function":   {scopedTo(deny("{{name()}}", "a q")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a network first":                 {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"x", "127.0.0.0/8"} }), at + "/source_cidrs/0", "invalid_cidr", true, [2]string{}},
		"a network last":                  {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"127.0.0.0/8", "x"} }), at + "/source_cidrs/1", "invalid_cidr", true, [2]string{}},
		"a network with host bits":        {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"127.0.0.1/8"} }), at + "/source_cidrs/0", "host_bits", false, [2]string{}},
		"a time":                          {scopedTo(times("", append(always[:2:2], jwt.TimeRange{Start: "x", End: "12:00:00"})...)), at + "/times/2", "invalid_time", true, [2]string{}},
		"an empty time":                   {scopedTo(times("", jwt.TimeRange{Start: "12:00:00", End: "12:00:00"})), at + "/times/0", "invalid_time", true, [2]string{}},
		"an empty time and others":        {scopedTo(times("", append(always[:2:2], jwt.TimeRange{Start: "12:00:00", End: "12:00:00"})...)), at + "/times/2", "invalid_time", true, [2]string{}},
		"a zone":                          {scopedTo(times("Mars/Olympus", always...)), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"a zone without times":            {scopedTo(times("Mars/Olympus")), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"a local zone":                    {scopedTo(times("Local", always...)), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"an unknown connection type":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"PIGEON"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"one connection type of two":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"PIGEON", "STANDARD"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"a connection type in small":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"standard"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"a limit below -1":                {scopedTo(func(p *jwt.UserPermissionLimits) { p.Subs = -2 }), at + "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"a limit that is rounded":         {scopedTo(func(p *jwt.UserPermissionLimits) { p.Subs = 1<<53 + 1 }), at + "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"a limit that cannot be read":     {scopedTo(func(p *jwt.UserPermissionLimits) { p.Data = math.MaxInt64 }), at + "/limits/data_bytes", "out_of_range", true, [2]string{}},
		"responses below -1":              {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }), at + "/permissions/responses/max", "out_of_range", true, [2]string{}},
		"a time of responses below zero":  {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: -1} }), at + "/permissions/responses/ttl_seconds", "out_of_range", true, [2]string{}},
		"a time of responses too precise": {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: 1<<60 + 1} }), at + "/permissions/responses/ttl_seconds", "out_of_range", true, [2]string{}},
	}
	named := map[string]verdict{}
	for name, v := range out {
		named["a template's "+name] = v
	}
	return named
}
