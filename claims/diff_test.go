package claims_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// filler sets every leaf below a value, lists, maps and pointers with one element each. The leaf number target gets
// another value.
type filler struct {
	leaf, target int
	// path is that of the target.
	path string
}

func (f *filler) fill(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for n := range v.NumField() {
			f.fill(t, path+"."+v.Type().Field(n).Name, v.Field(n))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, path, v.Elem())
	case reflect.Interface:
		if v.Type() != reflect.TypeFor[jwt.Scope]() {
			t.Fatalf("%s is a %s, of which the test knows nothing", path, v.Type())
		}
		scope := new(jwt.UserScope)
		f.fill(t, path, reflect.ValueOf(scope).Elem())
		v.Set(reflect.ValueOf(scope))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(t, path+"[]", v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(t, path+"[key]", key)
		f.fill(t, path+"[]", value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default:
		f.set(t, path, v)
	}
}

func (f *filler) set(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	other := f.leaf == f.target
	f.leaf++
	if other {
		f.path = path
	}
	n := int64(1)
	if other {
		n = 2
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("value" + fmt.Sprint(n))
	case reflect.Bool:
		v.SetBool(other)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8:
		v.SetUint(uint64(n))
	default:
		t.Fatalf("%s is a %s, of which the test knows nothing", path, v.Kind())
	}
}

// A field that a new version of nats-io/jwt brings is a difference that must be told of: this fails until it is.
func TestDiffKnowsEveryField(t *testing.T) {
	t.Parallel()
	// How a JWT was made is no difference; neither are the two fields that its encoding fills in.
	stamps := []string{".ClaimsData.IssuedAt", ".ClaimsData.ID", ".ClaimsData.Issuer", ".GenericFields.Type", ".GenericFields.Version"}
	known := 0
	for name, c := range map[string]struct {
		empty func() any
		diff  func(a, b any) []claims.FieldChange
	}{
		"operator": {func() any { return new(jwt.OperatorClaims) }, func(a, b any) []claims.FieldChange {
			return claims.DiffOperators(a.(*jwt.OperatorClaims), b.(*jwt.OperatorClaims))
		}},
		"account": {func() any { return new(jwt.AccountClaims) }, func(a, b any) []claims.FieldChange {
			return claims.DiffAccounts(a.(*jwt.AccountClaims), b.(*jwt.AccountClaims))
		}},
		"user": {func() any { return new(jwt.UserClaims) }, func(a, b any) []claims.FieldChange {
			return claims.DiffUsers(a.(*jwt.UserClaims), b.(*jwt.UserClaims))
		}},
		"template": {func() any { return new(claims.Template) }, func(a, b any) []claims.FieldChange {
			return claims.DiffTemplates(*a.(*claims.Template), *b.(*claims.Template))
		}},
	} {
		make := func(target int) (any, filler) {
			v, f := c.empty(), filler{target: target}
			f.fill(t, "", reflect.ValueOf(v).Elem())
			return v, f
		}
		before, all := make(-1)
		if again, _ := make(-1); len(c.diff(before, again)) > 0 {
			t.Errorf("%s: the same differs: %+v", name, c.diff(before, again))
		}
		for leaf := range all.leaf {
			after, f := make(leaf)
			changes := c.diff(before, after)
			stamp := slices.ContainsFunc(stamps, func(s string) bool { return strings.HasSuffix(f.path, s) })
			if stamp != (len(changes) == 0) {
				t.Errorf("%s%s: %d differences", name, f.path, len(changes))
				continue
			}
			known++
			for _, x := range changes {
				if !strings.HasPrefix(x.Pointer, "/") || x.Field == "" || len(x.Sentence()) < 8 || x.Before == x.After && !strings.Contains(x.Sentence(), " changes") {
					t.Errorf("%s%s: %+v %q", name, f.path, x, x.Sentence())
				}
			}
			if back := c.diff(after, before); !stamp && len(back) == 0 {
				t.Errorf("%s%s: no difference the other way", name, f.path)
			}
		}
	}
	t.Logf("semantic diff: %d leaf fields", known)
}

func sentencesOf(changes []claims.FieldChange) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Sentence())
	}
	return out
}

// What people read.
func TestDiffInWords(t *testing.T) {
	t.Parallel()
	key, other := "A"+strings.Repeat("B", 55), "A"+strings.Repeat("C", 55)
	scope := func(c *jwt.AccountClaims) *jwt.UserScope { return c.SigningKeys[key].(*jwt.UserScope) }
	base := func() *jwt.AccountClaims {
		c := jwt.NewAccountClaims("A" + strings.Repeat("A", 55))
		c.Name, c.Limits.Conn, c.Limits.Payload = "orders", 10, 2<<20
		s := jwt.NewUserScope()
		s.Key, s.Role = key, "device"
		s.Template.Pub.Allow = jwt.StringList{"orders.>", "invoices.>"}
		s.Template.Sub.Allow = jwt.StringList{"_INBOX.>"}
		c.SigningKeys.AddScopedSigner(s)
		c.Exports = jwt.Exports{{Subject: "orders.>", Type: jwt.Stream}}
		c.Imports = jwt.Imports{{Subject: "time.now", Type: jwt.Service, Account: other, Token: "x"}}
		c.Revocations = jwt.RevocationList{"*": 1_700_000_000}
		c.Mappings = jwt.Mapping{"a": {{Subject: "b", Weight: 50}}}
		c.Tags = jwt.TagList{"env:prod"}
		return c
	}
	for _, r := range []struct {
		edit func(*jwt.AccountClaims)
		want []string
	}{
		{func(*jwt.AccountClaims) {}, nil},
		{func(c *jwt.AccountClaims) { c.Limits.Conn = 5 }, []string{"Connections: 10 → 5"}},
		{func(c *jwt.AccountClaims) { c.Limits.Conn = -1 }, []string{"Connections: 10 → unlimited"}},
		{func(c *jwt.AccountClaims) { c.Limits.Conn = 0 }, []string{"Connections: 10 → 0"}},
		{func(c *jwt.AccountClaims) { c.Limits.Conn = 12345678 }, []string{"Connections: 10 → 12,345,678"}},
		{func(c *jwt.AccountClaims) { c.Limits.Payload = 1000 }, []string{"Largest message: 2 MiB → 1,000 B"}},
		{func(c *jwt.AccountClaims) { c.Limits.DiskStorage = 3 << 30 }, []string{"JetStream disk: 0 B → 3 GiB"}},
		{func(c *jwt.AccountClaims) { c.Limits.Streams = 4 }, []string{"JetStream streams: unlimited (0) → 4"}},
		{func(c *jwt.AccountClaims) {
			c.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R3": {DiskStorage: 1 << 40}}
		}, []string{"JetStream tier: R3 is added", "JetStream R3 disk: 1 TiB"}},
		{func(c *jwt.AccountClaims) { c.Limits.DisallowBearer = true }, []string{"Bearer tokens refused: off → on"}},
		{func(c *jwt.AccountClaims) { c.Description = "for the shop" }, []string{"Description: for the shop"}},
		{func(c *jwt.AccountClaims) { c.Name = "" }, []string{"Name: orders is removed"}},
		{func(c *jwt.AccountClaims) { c.Tags = jwt.TagList{"env:test"} }, []string{"Tag: env:prod is removed", "Tag: env:test is added"}},
		{func(c *jwt.AccountClaims) { c.Expires = 1_800_000_000 }, []string{"Expires: 2027-01-15 08:00:00 UTC"}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Pub.Allow = jwt.StringList{"invoices.>"} }, []string{"Template device: may no longer publish orders.>"}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Pub.Allow = jwt.StringList{"invoices.>", "orders.>"} }, nil},
		{func(c *jwt.AccountClaims) { scope(c).Template.Pub.Allow.Add("x") }, []string{"Template device: may now publish x"}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Pub.Allow = nil }, []string{"Template device: may publish everything, it was only orders.>, invoices.>"}},
		{func(c *jwt.AccountClaims) {
			scope(c).Template.Pub.Allow, scope(c).Template.Resp = nil, &jwt.ResponsePermission{MaxMsgs: 5, Expires: time.Minute}
		}, []string{
			"Template device: may publish only replies, it was only orders.>, invoices.>", "Template device: Responses: off → on",
			"Template device: Responses to one request: 5", "Template device: Time for responses: 1m0s",
		}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Resp = &jwt.ResponsePermission{} }, []string{
			"Template device: Responses: off → on", "Template device: Responses to one request: 1 (0)", "Template device: Time for responses: 2m0s (0)",
		}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Sub.Deny.Add("secret.>") }, []string{"Template device: is now denied to subscribe to secret.>"}},
		{func(c *jwt.AccountClaims) { scope(c).Template.Src.Set("10.0.0.0/8") }, []string{"Template device: may connect only from 10.0.0.0/8"}},
		{func(c *jwt.AccountClaims) {
			scope(c).Template.Times = []jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}
		}, []string{"Template device: may connect only during 08:00:00 to 17:00:00"}},
		{func(c *jwt.AccountClaims) { scope(c).Role = "sensor" }, []string{"Template sensor: role: device → sensor"}},
		{func(c *jwt.AccountClaims) { c.SigningKeys.Add(other) }, []string{"Signing key ACCC…CCCC without a template is added"}},
		{func(c *jwt.AccountClaims) { delete(c.SigningKeys, key) }, []string{"Signing key ABBB…BBBB of the template device is removed"}},
		{func(c *jwt.AccountClaims) { c.SigningKeys[key] = nil }, []string{"Signing key ABBB…BBBB: of the template device → without a template"}},
		{func(c *jwt.AccountClaims) {
			c.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: -1, Expires: 1}
		}, []string{
			"Users without permissions of their own: may publish only replies from now on, it was everything", "Users without permissions of their own: Responses: off → on",
			"Users without permissions of their own: Responses to one request: unlimited", "Users without permissions of their own: Time for responses: 1ns",
		}},
		{func(c *jwt.AccountClaims) { c.DefaultPermissions.Pub.Allow.Add("a") }, []string{"Users without permissions of their own: may only publish a from now on, it was everything"}},
		{func(c *jwt.AccountClaims) { c.Revocations["*"] = 1_800_000_000 }, []string{"Everything issued up to 2027-01-15 08:00:00 UTC is revoked"}},
		{func(c *jwt.AccountClaims) { c.Revocations = jwt.RevocationList{} }, []string{"Everything issued up to 2023-11-14 22:13:20 UTC is not revoked any more"}},
		{func(c *jwt.AccountClaims) { c.Revocations["UABCDEFGHIJKLMNOP"] = 1_800_000_000 }, []string{"What was issued to UABC…MNOP up to 2027-01-15 08:00:00 UTC is revoked"}},
		{func(c *jwt.AccountClaims) { c.Exports[0].TokenReq = true }, []string{"Export stream orders.>: token required: off → on"}},
		{func(c *jwt.AccountClaims) {
			c.Exports = append(c.Exports, &jwt.Export{Subject: "x", Type: jwt.Service})
		}, []string{"Export: service x is added"}},
		{func(c *jwt.AccountClaims) { c.Exports[0].Latency = &jwt.ServiceLatency{Results: "r"} }, []string{"Export stream orders.>: latency sampling: by headers", "Export stream orders.>: latency results: r"}},
		{func(c *jwt.AccountClaims) { c.Imports = nil }, []string{"Import: service time.now from ACCC…CCCC is removed"}},
		{func(c *jwt.AccountClaims) { c.Imports[0].Token = "y" }, []string{"Import service time.now from ACCC…CCCC: activation token: a token → another token"}},
		{func(c *jwt.AccountClaims) { c.Imports[0].Token = "" }, []string{"Import service time.now from ACCC…CCCC: activation token: a token → none"}},
		{func(c *jwt.AccountClaims) { c.Mappings["a"][0].Weight = 60 }, []string{"Mapping of a: b 50 % is removed", "Mapping of a: b 60 % is added"}},
		{func(c *jwt.AccountClaims) { c.Mappings["a"][0].Cluster = "eu" }, []string{"Mapping of a: b 50 % is removed", "Mapping of a: b 50 % in cluster eu is added"}},
		{func(c *jwt.AccountClaims) { c.Authorization.AllowedAccounts.Add("*") }, []string{"Auth callout account: * is added"}},
		{func(c *jwt.AccountClaims) { c.Trace = &jwt.MsgTrace{Destination: "t", Sampling: 7} }, []string{"Trace destination: t", "Trace sampling: 7 %"}},
	} {
		before, after := base(), base()
		r.edit(after)
		if diff := cmp.Diff(r.want, sentencesOf(claims.DiffAccounts(before, after))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestDiffOfPermissionsInWords(t *testing.T) {
	t.Parallel()
	full := aTemplate()
	for _, r := range []struct {
		before, after claims.Template
		want          []string
	}{
		{claims.Template{}, full, []string{
			"Name: device", "Template device: description: a thing in the field", "Template device: may only publish devices.{{tag(region)}}.{{name()}}.>",
			"Template device: may only subscribe to cmd.{{name()}}, _INBOX.>", "Template device: Responses: on", "Template device: Responses to one request: 5",
			"Template device: Time for responses: 2m0s (0)", "Template device: Subscriptions: unlimited", "Template device: Largest message: unlimited", "Template device: Data: unlimited",
			"Template device: may connect only from 127.0.0.0/8, ::1/128", "Template device: may connect only during 22:00:00 to 06:00:00, 06:00:00 to 22:00:00",
			"Template device: Time zone of connect hours: Europe/Berlin", "Template device: may connect only by STANDARD, MQTT",
		}},
		{full, claims.Template{Name: "device", Description: full.Description, Permissions: limited(func(p *jwt.UserPermissionLimits) {
			*p = full.Permissions
			p.Src, p.Locale, p.Times = nil, "UTC", p.Times[:1]
			p.AllowedConnectionTypes = jwt.StringList{"MQTT", "WEBSOCKET"}
			p.BearerToken, p.Subs = true, 7
		})}, []string{
			"Template device: Subscriptions: unlimited → 7", "Template device: may connect without a bound; it was only from 127.0.0.0/8, ::1/128",
			"Template device: may connect no longer during 06:00:00 to 22:00:00", "Template device: Time zone of connect hours: Europe/Berlin → UTC",
			"Template device: may connect no longer by STANDARD", "Template device: may connect by WEBSOCKET too", "Template device: Bearer token: off → on",
		}},
	} {
		if diff := cmp.Diff(r.want, sentencesOf(claims.DiffTemplates(r.before, r.after))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	long := strings.Repeat("a", 150)
	for want, texts := range map[string][2]string{
		"Template x: description: the end of the text changes": {long, long + "b"},
		"Template x: description: a → b":                       {"a", "b"},
	} {
		got := claims.DiffTemplates(claims.Template{Name: "x", Description: texts[0]}, claims.Template{Name: "x", Description: texts[1]})
		if len(got) != 1 || got[0].Sentence() != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
	// The same change on two keys of a template is said once.
	a, b := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id), jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	b.Subject = a.Subject
	for range 2 {
		key := newPair(t, claims.KindAccount).id
		for n, c := range []*jwt.AccountClaims{a, b} {
			s := jwt.NewUserScope()
			s.Key, s.Role, s.Template.Subs = key, "device", int64(n)
			c.SigningKeys.AddScopedSigner(s)
		}
	}
	if got := claims.DiffAccounts(a, b); len(got) != 1 || got[0].Sentence() != "Template device: Subscriptions: unlimited (0) → 1" || got[0].Before != "unlimited (0)" || got[0].After != "1" {
		t.Errorf("%+v", got)
	}
}

// Order means nothing, and neither does an empty list instead of none.
func TestDiffComparesSets(t *testing.T) {
	t.Parallel()
	build := func(a claims.Account) *jwt.AccountClaims {
		c, ok := checked(t)(claims.BuildAccount(a)).AccountClaims()
		if !ok {
			t.Fatal("no account claims")
		}
		return c
	}
	a := anAccount(t)
	before := build(a)
	settings := &a.Settings
	for range 20 {
		shuffle(settings.Tags)
		shuffle(settings.Exports)
		shuffle(settings.Imports)
		shuffle(settings.DefaultPermissions.Sub.Allow)
		shuffle(settings.Mappings["m.a"])
		shuffle(a.Keys)
		if got := claims.DiffAccounts(before, build(a)); len(got) > 0 {
			t.Fatalf("%+v", got)
		}
	}
	if _, ok := checked(t)(claims.BuildUser(aUser(t))).AccountClaims(); ok {
		t.Error("a user passes for an account")
	}
	// A subject imported twice under different names is two imports.
	double := jwt.NewAccountClaims(a.ID)
	double.Imports = jwt.Imports{{Subject: "a", Account: a.ID, Type: jwt.Stream, LocalSubject: "x"}, {Subject: "a", Account: a.ID, Type: jwt.Stream, LocalSubject: "y"}}
	single := jwt.NewAccountClaims(a.ID)
	single.Imports = double.Imports[:1]
	if got := claims.DiffAccounts(double, single); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func shuffle[T any](s []T) { rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }
