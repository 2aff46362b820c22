package claims_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// pairing is a user and its account, with a scoped key that issued the user if it is a template's.
type pairing struct {
	user    *jwt.UserClaims
	account *jwt.AccountClaims
	scope   *jwt.UserScope
}

func newPairing(edit func(*pairing)) pairing {
	p := pairing{user: jwt.NewUserClaims("U"), account: jwt.NewAccountClaims("A"), scope: jwt.NewUserScope()}
	p.user.Name, p.user.IssuerAccount, p.user.Issuer = "ada", "A", "AK"
	p.user.User.Tags = jwt.TagList{"region:eu", "region:us", "zone:1"}
	p.account.Name, p.account.Account.Tags = "tenant", jwt.TagList{"env:prod"}
	p.scope.Key = "AT"
	p.account.SigningKeys.AddScopedSigner(p.scope)
	p.account.SigningKeys.Add("AK")
	edit(&p)
	return p
}

func (p pairing) effective() claims.Effective { return claims.EffectivePermissions(p.user, p.account) }

// templated makes the user one of the template with these permissions.
func templated(permissions jwt.Permissions) func(*pairing) {
	return func(p *pairing) { p.user.Issuer, p.scope.Template.Permissions = "AT", permissions }
}

func own(permissions jwt.Permissions) func(*pairing) {
	return func(p *pairing) { p.user.Permissions = permissions }
}

func publish(allow, deny string) jwt.Permissions {
	return jwt.Permissions{Pub: jwt.Permission{Allow: lines(allow), Deny: lines(deny)}}
}

func TestEffectivePermissions(t *testing.T) {
	t.Parallel()
	const pub, sub = "/permissions/publish", "/permissions/subscribe"
	type rules = []claims.Rule
	for name, c := range map[string]struct {
		edit func(*pairing)
		want claims.Effective
	}{
		"nothing at all": {func(*pairing) {}, claims.Effective{Origin: claims.OriginNone}},
		"own": {own(jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{"a", "{{name()}}"}}, Sub: jwt.Permission{Deny: jwt.StringList{"b.> q"}}}), claims.Effective{
			Origin: claims.OriginUser,
			Publish: claims.RuleSet{Restricted: true, Allow: rules{
				{Subject: "a", Origin: claims.OriginUser, Source: "a", Pointer: pub + "/allow/0"},
				{Subject: "{{name()}}", Origin: claims.OriginUser, Source: "{{name()}}", Pointer: pub + "/allow/1"},
			}},
			Subscribe: claims.RuleSet{Deny: rules{{Subject: "b.>", Queue: "q", Deny: true, Origin: claims.OriginUser, Source: "b.> q", Pointer: sub + "/deny/0"}}},
		}},
		"the account's defaults": {func(p *pairing) { p.account.DefaultPermissions = publish("", "x") }, claims.Effective{
			Origin:  claims.OriginDefault,
			Publish: claims.RuleSet{Deny: rules{{Subject: "x", Deny: true, Origin: claims.OriginDefault, Source: "x", Pointer: "/default_permissions/publish/deny/0"}}},
		}},
		"an empty template takes the defaults": {func(p *pairing) { templated(jwt.Permissions{})(p); p.account.DefaultPermissions = publish("", "x") }, claims.Effective{
			Origin:  claims.OriginDefault,
			Publish: claims.RuleSet{Deny: rules{{Subject: "x", Deny: true, Origin: claims.OriginDefault, Source: "x", Pointer: "/default_permissions/publish/deny/0"}}},
		}},
		"a template": {templated(publish("a.{{tag(region)}}\nb.{{tag(none)}}\nc q\nd", "{{account-tag(env)}}.{{account-name()}}")), claims.Effective{
			Origin: claims.OriginTemplate,
			Publish: claims.RuleSet{
				Restricted: true, Expansions: 4,
				Allow: rules{
					{Subject: "a.eu", Origin: claims.OriginTemplate, Source: "a.{{tag(region)}}", Pointer: pub + "/allow/0"},
					{Subject: "a.us", Origin: claims.OriginTemplate, Source: "a.{{tag(region)}}", Pointer: pub + "/allow/0"},
					{Subject: "d", Origin: claims.OriginTemplate, Source: "d", Pointer: pub + "/allow/3"},
				},
				Deny: rules{{Subject: "prod.tenant", Deny: true, Origin: claims.OriginTemplate, Source: "{{account-tag(env)}}.{{account-name()}}", Pointer: pub + "/deny/0"}},
				Dropped: []claims.Dropped{
					{Source: "b.{{tag(none)}}", Pointer: pub + "/allow/1", Why: "The template uses the tag none:… of the user; without it the allow rules that use it are dropped."},
					{Source: "c q", Pointer: pub + "/allow/2", Why: "In a list that uses template functions a nats-server drops what has a queue group, or refuses the connection if it is a deny list. Write the subject without its queue group."},
				},
			},
		}},
		"nothing left of a template": {templated(publish("a.{{tag(none)}}", "")), claims.Effective{
			Origin: claims.OriginTemplate,
			Publish: claims.RuleSet{
				Restricted: true, Expansions: 1,
				Deny:    rules{{Subject: ">", Deny: true, Origin: claims.OriginServer, Source: ">", Pointer: pub + "/allow"}},
				Dropped: []claims.Dropped{{Source: "a.{{tag(none)}}", Pointer: pub + "/allow/0", Why: "The template uses the tag none:… of the user; without it the allow rules that use it are dropped."}},
			},
		}},
		"nothing left, and all denied anyway": {templated(publish("a. {{name()}}", ">")), claims.Effective{
			Origin: claims.OriginTemplate,
			Publish: claims.RuleSet{
				Restricted: true, Expansions: 1,
				Deny:    rules{{Subject: ">", Deny: true, Origin: claims.OriginTemplate, Source: ">", Pointer: pub + "/deny/0"}},
				Dropped: []claims.Dropped{{Source: "a. {{name()}}", Pointer: pub + "/allow/0", Why: "With this user's values it is no valid subject, so a nats-server drops it."}},
			},
		}},
		"nothing checks a template": {templated(publish(">.a", "a q\n.b")), claims.Effective{
			Origin: claims.OriginTemplate,
			Publish: claims.RuleSet{
				Restricted: true,
				Deny:       rules{{Subject: "a", Deny: true, Origin: claims.OriginTemplate, Source: "a q", Pointer: pub + "/deny/0"}},
				Dropped: []claims.Dropped{
					{Source: ">.a", Pointer: pub + "/allow/0", Why: "It is no valid subject, so a nats-server ignores it."},
					{Source: ".b", Pointer: pub + "/deny/1", Why: "It is no valid subject, so a nats-server ignores it."},
				},
			},
		}},
		"the account of an auth callout": {func(p *pairing) { p.account.Authorization.AuthUsers.Add("U") }, claims.Effective{
			Origin:  claims.OriginNone,
			Publish: claims.RuleSet{Deny: rules{{Subject: "$SYS.REQ.USER.AUTH", Deny: true, Origin: claims.OriginServer, Source: "$SYS.REQ.USER.AUTH"}}},
		}},
		"responses": {own(jwt.Permissions{Resp: &jwt.ResponsePermission{}}), claims.Effective{
			Origin: claims.OriginUser, Publish: claims.RuleSet{Restricted: true}, Responses: &jwt.ResponsePermission{MaxMsgs: 1, Expires: 2 * time.Minute},
		}},
		"responses without a bound": {own(jwt.Permissions{Resp: &jwt.ResponsePermission{MaxMsgs: -1, Expires: -1}}), claims.Effective{
			Origin: claims.OriginUser, Publish: claims.RuleSet{Restricted: true}, Responses: &jwt.ResponsePermission{MaxMsgs: -1, Expires: -1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, newPairing(c.edit).effective(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A refusal points at the first entry that a server stumbles over, in the server's order.
func TestRefusals(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("{{tag(region)}}.", 12) + "{{tag(region)}}"
	for name, c := range map[string]struct {
		edit          func(*pairing)
		pointer, code string
	}{
		"an unknown function": {templated(publish("a\n{{nope()}}", "")), "/permissions/publish/allow/1", "unknown_function"},
		"a missing tag":       {templated(publish("", "a\n{{tag(none)}}")), "/permissions/publish/deny/1", "missing_tag"},
		"a queue group":       {templated(publish("", "{{name()}}\na q")), "/permissions/publish/deny/1", "invalid_subject"},
		"too many":            {templated(publish("a\nb\n"+many, "")), "/permissions/publish/allow/2", "too_many"},
		"subscribe comes first": {templated(jwt.Permissions{
			Pub: jwt.Permission{Allow: jwt.StringList{"{{nope()}}"}}, Sub: jwt.Permission{Deny: jwt.StringList{"{{tag(none)}}"}},
		}), "/permissions/subscribe/deny/0", "missing_tag"},
		"malformed": {own(publish("a", "b\na..b")), "/permissions/publish/deny/1", "refused_by_server"},
		"malformed defaults, whoever asks": {
			func(p *pairing) {
				own(publish("a", ""))(p)
				p.account.DefaultPermissions.Sub.Allow = jwt.StringList{"a", "a b c"}
			},
			"/default_permissions/subscribe/allow/1", "refused_by_server",
		},
	} {
		e := newPairing(c.edit).effective()
		if e.Refusal == nil || e.Refusal.Pointer != c.pointer || e.Refusal.Code != c.code || !e.Refusal.Blocking {
			t.Errorf("%s: %+v, want %s at %s", name, e.Refusal, c.code, c.pointer)
			continue
		}
		d, _ := e.Can(claims.Subscribe, "a", "")
		if d.Access != claims.AccessDenied || d.Why != e.Refusal.Detail {
			t.Errorf("%s: %+v", name, d)
		}
		if list := e.Capabilities(); len(list) != 1 || list[0].Can || !strings.HasPrefix(list[0].Text, "cannot connect: ") {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

// A server refuses the account whose defaults are malformed, and so everybody in it.
func TestServerRefusesMalformedDefaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := anOpenAccount(t, func(a *jwt.AccountClaims) { a.DefaultPermissions.Sub.Allow = jwt.StringList{"a b c"} })
	w.store(t, s.account.Subject, encode(t, s.account, w.signing))
	u := jwt.NewUserClaims(s.admin.id)
	u.IssuerAccount = s.account.Subject
	u.Pub.Allow = jwt.StringList{"a"}
	if _, err := w.dial(t, encode(t, u, s.plain), s.admin); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%v: the rule can go", err)
	}
}

// anOpenAccount is an account without users, after an edit.
func anOpenAccount(t *testing.T, edit func(*jwt.AccountClaims)) scene {
	t.Helper()
	s := scene{account: jwt.NewAccountClaims(newPair(t, claims.KindAccount).id), admin: newPair(t, claims.KindUser), plain: newPair(t, claims.KindAccount)}
	s.account.SigningKeys.Add(s.plain.id)
	edit(s.account)
	return s
}

// nats-io/jwt writes no empty lists, but other encoders may: for a server an empty allow list allows nothing.
func TestEmptyAllowList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := anOpenAccount(t, func(*jwt.AccountClaims) {})
	w.store(t, s.account.Subject, encode(t, s.account, w.signing))
	for name, c := range map[string]struct {
		body map[string]any
		want bool
	}{
		"beside a deny list":      {map[string]any{"pub": map[string]any{"allow": []string{}, "deny": []string{"x"}}}, false},
		"alone":                   {map[string]any{"pub": map[string]any{"allow": []string{}}, "sub": map[string]any{"allow": []string{"a"}}}, true},
		"absent":                  {map[string]any{"pub": map[string]any{"deny": []string{"x"}}}, true},
		"beside a subscribe deny": {map[string]any{"sub": map[string]any{"allow": []string{}, "deny": []string{"x"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			key := newPair(t, claims.KindUser)
			g := jwt.NewGenericClaims(key.id)
			g.Data = map[string]any{"type": "user", "version": 2, "issuer_account": s.account.Subject, "subs": -1, "data": -1, "payload": -1}
			for k, v := range c.body {
				g.Data[k] = v
			}
			token := encode(t, g, s.plain)
			nc, err := w.dial(t, token, key)
			if err != nil {
				t.Fatal(err)
			}
			u, err := jwt.DecodeUserClaims(token)
			if err != nil {
				t.Fatal(err)
			}
			e := claims.EffectivePermissions(u, s.account)
			if got := mayPublish(t, nc, "a"); got != c.want || can(t, e, claims.Publish, "a") != c.want {
				t.Errorf("the server: %v, want %v; we: %+v", got, c.want, e)
			}
		})
	}
}

// What would come to more subjects than any memory holds is refused before one of them is made.
func TestExpansionDoesNotExplode(t *testing.T) {
	t.Parallel()
	p := newPairing(templated(publish(strings.Repeat("{{tag(x)}}.", 40)+"{{tag(x)}}", "")))
	for i := range 60 {
		p.user.User.Tags = append(p.user.User.Tags, fmt.Sprintf("x:%d", i))
	}
	if e := p.effective(); e.Refusal == nil || e.Refusal.Code != "too_many" {
		t.Fatalf("%+v", e.Refusal)
	}
}

func TestWho(t *testing.T) {
	t.Parallel()
	members := crowd(t, 100)
	plain := newPairing(own(publish("", "devices.>")))
	open := newPairing(func(p *pairing) { p.account.DefaultPermissions = publish("devices.eu.>", "") })
	fixed := newPairing(templated(publish("devices.*.*.temp", "")))
	for name, p := range map[string]pairing{"plain": plain, "open": open, "fixed": fixed} {
		for range 2 {
			members = append(members, claims.Member{Account: p.account.Name, User: name, UserClaims: p.user, AccountClaims: p.account})
		}
	}
	got, problems := claims.Who(members, claims.Publish, "devices.eu.device-7.temp", "")
	if len(problems) > 0 || len(got) != len(members) {
		t.Fatalf("%d of %d, %+v", len(got), len(members), problems)
	}
	var allowed []string
	for i, s := range got {
		want, _ := claims.EffectivePermissions(members[i].UserClaims, members[i].AccountClaims).Can(claims.Publish, "devices.eu.device-7.temp", "")
		if diff := cmp.Diff(want, s.Decision); diff != "" || s.User != members[i].User {
			t.Errorf("%s as %s (-alone +together)\n%s", members[i].User, s.User, diff)
		}
		if s.Access == claims.AccessAllowed {
			allowed = append(allowed, s.User)
		}
	}
	if slices.Sort(allowed); !slices.Equal(allowed, []string{"device-7", "fixed", "fixed", "open", "open"}) {
		t.Errorf("%v", allowed)
	}
	if _, problems := claims.Who(members, claims.Publish, "*", ""); !problems.Blocking() {
		t.Error("published to a wildcard")
	}
}
