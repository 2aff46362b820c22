package claims_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

func levels(operator, account claims.Guardrails) claims.Levels {
	return claims.Levels{{Whose: "operator", Guardrails: operator}, {Whose: "account", Guardrails: account}}
}

// A prefix is whole tokens; what a template function stands for is none of them.
func TestSubjectPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix, subject string
		within          bool
	}{
		{"orders.", "orders.new", true},
		{"orders.", "orders.>", true},
		{"orders.", "orders.*.x", true},
		{"orders.", "orders.{{name()}}", true},
		{"orders.", "orders.{{ tag(region) }}.> workers", true},
		{"orders.", "orders", false},
		{"orders.", "ordersx.new", false},
		{"orders.", "Orders.new", false},
		{"orders.", ">", false},
		{"orders.", "*.new", false},
		{"orders.", "{{name()}}.new", false},
		{"orders.", "{{ name() }}.new", false},
		{"orders.", "billing.orders.new", false},
		{"orders.eu.", "orders.eu.new", true},
		{"orders.eu.", "orders.*.new", false},
		{"orders.eu.", "orders.>", false},
		{"orders.eu.", "orders.{{tag(region)}}.new", false},
		{"$JS.API.", "$JS.API.INFO", true},
		{"$JS.API.", "$JS.ACK.x", false},
		{"x.", "{{name()}}.y", false},
		{claims.Inboxes, "_INBOX.>", true},
		{claims.Inboxes, "_INBOX_d1.>", true},
		{claims.Inboxes, "_INBOX_{{name()}}.>", true},
		{claims.Inboxes, "_INBOXES.>", false},
		{claims.Inboxes, "_INBOX{{name()}}.>", false},
		{claims.Inboxes, "_INBOX", false},
		{claims.Inboxes, "*.>", false},
		{claims.Inboxes, "inboxes.x", false},
		{claims.Responses, "responses.x", false},
	} {
		l := levels(claims.Guardrails{Subjects: []string{c.prefix}}, claims.Guardrails{})
		p := claims.NewPermissionLimits()
		p.Pub.Allow, p.Sub.Deny = jwt.StringList{c.subject}, jwt.StringList{">"}
		if problems := l.CheckPermissions(p, jwt.Permissions{}); problems.Blocking() == c.within {
			t.Errorf("%s within %s: %+v", c.subject, c.prefix, problems)
		}
		if problems := l.CheckExport("/subject", c.subject); c.prefix != claims.Inboxes && problems.Blocking() == c.within {
			t.Errorf("exporting %s within %s: %+v", c.subject, c.prefix, problems)
		}
	}
}

// Without permissions of its own a user has the account's defaults, and without those everything.
func TestPrefixesAndDefaults(t *testing.T) {
	t.Parallel()
	within := jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{"orders.>"}}, Sub: jwt.Permission{Allow: jwt.StringList{"orders.>"}}}
	wide := jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{"orders.>"}}}
	l := levels(claims.Guardrails{}, claims.Guardrails{Subjects: []string{"orders."}})
	for name, c := range map[string]struct {
		own, defaults jwt.Permissions
		want          []string
	}{
		"none at all":             {want: []string{"/permissions"}},
		"defaults within":         {defaults: within},
		"defaults outside":        {defaults: wide, want: []string{"/permissions"}},
		"own ones, wide defaults": {own: within, defaults: wide},
		"nothing to subscribe to": {own: wide, want: []string{"/permissions/subscribe/allow"}},
		"everything denied":       {own: jwt.Permissions{Pub: jwt.Permission{Deny: jwt.StringList{">"}}, Sub: jwt.Permission{Deny: jwt.StringList{">"}}}},
		"answers":                 {own: jwt.Permissions{Resp: &jwt.ResponsePermission{}, Sub: within.Sub}, want: []string{"/permissions/responses"}},
	} {
		p := claims.NewPermissionLimits()
		p.Permissions = c.own
		var got []string
		for _, x := range l.CheckPermissions(p, c.defaults) {
			got = append(got, x.Pointer)
			if !strings.HasPrefix(x.Detail, "The account's guardrails ") || x.Code != claims.OutsideGuardrails {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if problems := l.CheckDefaults(within, jwt.Permissions{}); !problems.Blocking() {
		t.Error("default permissions can be dropped")
	}
	if problems := l.CheckDefaults(jwt.Permissions{}, jwt.Permissions{}); problems.Blocking() {
		t.Errorf("an account without default permissions: %+v", problems)
	}
}

// The stricter of both holds, rule by rule, and what holds refuses whatever one of the two refuses.
func TestEffectiveGuardrails(t *testing.T) {
	t.Parallel()
	operator := claims.Guardrails{MaxTTL: 3600, UserTags: []string{"team"}, Subjects: []string{"a.", "b.c.", claims.Inboxes}, Quotas: map[claims.Quota]int64{claims.QuotaUsers: 5, claims.QuotaAccounts: 3}}
	account := claims.Guardrails{MaxTTL: 7200, NoBearer: true, UserTags: []string{"env"}, Subjects: []string{"a.x.", "b.", "_INBOX_d.", "z."}, Quotas: map[claims.Quota]int64{claims.QuotaUsers: 9, claims.QuotaExports: 1}}
	got := operator.With(account)
	want := claims.Guardrails{MaxTTL: 3600, NoBearer: true, UserTags: []string{"env", "team"}, Subjects: []string{"_INBOX_d.", "a.x.", "b.c."}, Quotas: map[claims.Quota]int64{claims.QuotaUsers: 5, claims.QuotaAccounts: 3, claims.QuotaExports: 1}}
	if !got.Equal(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, s := range []string{"a.x.y", "a.y", "b.c.d", "b.d", "_INBOX.x", "_INBOX_d.x", "z.z"} {
		p := claims.NewPermissionLimits()
		p.Pub.Allow, p.Sub.Allow = jwt.StringList{s}, jwt.StringList{s}
		if b, e := levels(operator, account).CheckPermissions(p, jwt.Permissions{}).Blocking(), levels(got, claims.Guardrails{}).CheckPermissions(p, jwt.Permissions{}).Blocking(); b != e {
			t.Errorf("%s: %t by both, %t by what holds", s, b, e)
		}
	}
	nothing := claims.Guardrails{Subjects: []string{"a."}}.With(claims.Guardrails{Subjects: []string{"b."}})
	if nothing.Subjects == nil || len(nothing.Subjects) > 0 || !strings.Contains(strings.Join(nothing.Rules(), " "), "no subject") {
		t.Errorf("nothing in common is %#v: %q", nothing.Subjects, nothing.Rules())
	}
	l := levels(operator, account)
	if found := l.CheckTTL("/ttl_seconds", 2*time.Hour); len(found) != 1 || !strings.Contains(found[0].Detail, "The operator's guardrails let a credential live for at most 1 hour.") {
		t.Errorf("%+v", found)
	}
	if found := l.CheckQuota("", claims.QuotaUsers, 6); len(found) != 1 || !strings.Contains(found[0].Detail, "The operator's guardrails allow at most 5 users of an account.") {
		t.Errorf("%+v", found)
	}
	if found := append(l.CheckTTL("", time.Hour), l.CheckQuota("", claims.QuotaUsers, 5)...); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestNormalGuardrails(t *testing.T) {
	t.Parallel()
	g := claims.Guardrails{UserTags: []string{" Team", "env", "team"}, Subjects: []string{"b.>", "a.", "b."}, Quotas: map[claims.Quota]int64{}}.Normal()
	if !slices.Equal(g.UserTags, []string{"env", "team"}) || !slices.Equal(g.Subjects, []string{"a.", "b."}) || g.Quotas != nil {
		t.Errorf("%+v", g)
	}
	if problems := claims.CheckGuardrails(g, false); problems.Blocking() {
		t.Errorf("%+v", problems)
	}
	for _, bad := range []string{"", ".", "orders", "a..", "a.*.", ">.", "a b.", "{{name()}}.", "inbox", "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY."} {
		problems := claims.CheckGuardrails(claims.Guardrails{Subjects: []string{bad}}, true)
		if !problems.Blocking() || strings.Contains(problems[0].Detail, "SUAMK") {
			t.Errorf("%q: %+v", bad, problems)
		}
	}
	if !(claims.Guardrails{}).IsZero() || len((claims.Guardrails{}).Rules()) > 0 || len(claims.DiffGuardrails(g, g)) > 0 {
		t.Error("nothing is something")
	}
}
