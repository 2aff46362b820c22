package claims_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// raw serves an account that was built by nats-io/jwt alone, with a template that our checks may refuse: what a
// server makes of it is the point.
func (w *world) raw(t *testing.T, permissions jwt.Permissions) (claims.Account, pair) {
	t.Helper()
	scoped := newPair(t, claims.KindAccount)
	c := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	c.Name = "tenant"
	c.Account.Tags = jwt.TagList{"env:prod"}
	scope := jwt.NewUserScope()
	scope.Key, scope.Template.Permissions = scoped.id, permissions
	c.SigningKeys.AddScopedSigner(scope)
	token, err := c.Encode(w.signing)
	if err != nil {
		t.Fatal(err)
	}
	w.store(t, c.Subject, token)
	return claims.Account{ID: c.Subject, Name: c.Name, Settings: c.Account}, scoped
}

// Functions agrees with a server on every template: what it accepts, the server expands to what we say; what it
// refuses, the server refuses, drops or takes literally.
func TestFunctionsAgreeWithServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(name, tag string) []claims.Function { return []claims.Function{{Name: name, Tag: tag}} }
	type effect int
	const (
		allows   effect = iota // the probe may be published
		drops                  // nothing may be published
		refuses                // the client may not connect
		literal                // the braces are part of the subject
		multiple               // every value is allowed
	)
	for _, c := range []struct {
		template string
		fns      []claims.Function
		ok       bool
		effect   effect
		probe    string
	}{
		{"app.{{name()}}", f("name", ""), true, allows, "app.ada"},
		{"app.{{ name() }}", f("name", ""), true, allows, "app.ada"},
		{"app.{{NAME()}}", f("name", ""), true, allows, "app.ada"},
		{"app.{{account-name()}}", f("account-name", ""), true, allows, "app.tenant"},
		{"app.{{Account-Name()}}", f("account-name", ""), true, allows, "app.tenant"},
		{"app.{{subject()}}", f("subject", ""), true, allows, "app.USER"},
		{"app.{{account-subject()}}", f("account-subject", ""), true, allows, "app.ACCOUNT"},
		{"app.{{tag(region)}}", f("tag", "region"), true, allows, "app.eu"},
		{"app.{{tag(REGION)}}", f("tag", "region"), true, allows, "app.eu"},
		{"app.{{ tag(region) }}", f("tag", "region"), true, allows, "app.eu"},
		{"app.{{tag(site)}}", f("tag", "site"), true, multiple, "app.one app.two"},
		{"app.{{account-tag(env)}}", f("account-tag", "env"), true, allows, "app.prod"},
		{"{{tag(region)}}.x.{{name()}}.>", []claims.Function{{Name: "tag", Tag: "region"}, {Name: "name"}}, true, allows, "eu.x.ada.temp"},
		{"app.x-{{name()}}-y", f("name", ""), true, allows, "app.x-ada-y"},
		{"app.plain", nil, true, allows, "app.plain"},
		{"app.{{tag(nowhere)}}", f("tag", "nowhere"), true, drops, "app.x"},
		{"app.{{TAG(region)}}", nil, false, drops, "app.eu"},
		{"app.{{Account-Tag(env)}}", nil, false, drops, "app.prod"},
		{"app.{{tag( region )}}", nil, false, drops, "app.eu"},
		{"app.{{tag()}}", nil, false, drops, "app.eu"},
		{"app.{{nope()}}", nil, false, refuses, ""},
		{"app.{{name}}", nil, false, refuses, ""},
		{"app.{{name ()}}", nil, false, refuses, ""},
		{"app.{{tag(region}}", nil, false, refuses, ""},
		{"app.{{ }}", nil, false, refuses, ""},
		{"app.{{{name()}}}", nil, false, refuses, ""},
		{"app.{{name()}}.{{nope()}}", nil, false, refuses, ""},
		{"app.{{}}", nil, false, literal, "app.{{}}"},
		{"app.{{name()", nil, false, literal, "app.{{name()"},
		{"app.name()}}", nil, false, literal, "app.name()}}"},
		{"app.{name()}", nil, false, literal, "app.{name()}"},
	} {
		t.Run(c.template, func(t *testing.T) {
			fns, ok := claims.Functions(c.template)
			if ok != c.ok || (ok && !cmp.Equal(fns, c.fns)) {
				t.Fatalf("Functions: %+v, %v; want %+v, %v", fns, ok, c.fns, c.ok)
			}
			if problems := claims.CheckSubject("", c.template, false, true); problems.Blocking() == c.ok {
				t.Errorf("CheckSubject: %+v", problems)
			}
			a, scoped := w.raw(t, jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{c.template}}})
			key := newPair(t, claims.KindUser)
			u := claims.User{ID: key.id, Name: "ada", Account: a.ID, Tags: []string{"region:eu", "site:one", "site:two"}}
			dial := func() (*nats.Conn, error) {
				return w.dial(t, sign(t, checked(t)(claims.BuildUser(u)), scoped, time.Now().Unix()).Token, key)
			}
			publishes := func(subject string) bool {
				nc, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				return mayPublish(t, nc, strings.NewReplacer("USER", u.ID, "ACCOUNT", a.ID).Replace(subject))
			}
			switch c.effect {
			case refuses:
				if _, err := dial(); !errors.Is(err, nats.ErrAuthorization) {
					t.Errorf("connecting: %v, want a refusal", err)
				}
			case drops:
				if publishes(c.probe) || publishes("app.other") {
					t.Error("published what the template lost")
				}
			default:
				for _, subject := range strings.Fields(c.probe) {
					if !publishes(subject) {
						t.Errorf("%s is refused", subject)
					}
				}
				if publishes("app.other") {
					t.Error("published elsewhere too")
				}
			}
		})
	}
}

// Why names that reach a template are single tokens: a server puts them in as they are.
func TestServerDoesNotEscapeNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	template := claims.Template{Name: "t", Permissions: claims.NewPermissionLimits()}
	template.Permissions.Pub.Allow = jwt.StringList{"app.{{name()}}"}
	a, scoped := w.raw(t, template.Permissions.Permissions)
	nc, err := w.connect(t, claims.User{Name: ">", Account: a.ID}, scoped)
	if err != nil {
		t.Fatal(err)
	}
	if !mayPublish(t, nc, "app.of.somebody.else") {
		t.Error("the server escapes names now: the rule can be softened")
	}
	if problems := claims.CheckTemplateUse(template, a, ">", nil); !problems.Blocking() {
		t.Error("the name > is accepted for a template that uses names")
	}
}

// One template function makes templates of the whole list, and a template has no queue group.
func TestQueueGroupsBesideFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := jwt.StringList{"cmd.{{name()}}", "jobs workers"}
	t.Run("allow", func(t *testing.T) {
		p := jwt.Permissions{Sub: jwt.Permission{Allow: list}}
		a, scoped := w.raw(t, p)
		nc, err := w.connect(t, claims.User{Name: "ada", Account: a.ID}, scoped)
		if err != nil {
			t.Fatal(err)
		}
		if maySubscribe(t, nc, "jobs", "workers") {
			t.Error("the server kept the queue group: the check can go")
		}
		wantPointer(t, p, "/permissions/subscribe/allow/1")
	})
	t.Run("deny", func(t *testing.T) {
		p := jwt.Permissions{Sub: jwt.Permission{Deny: list}}
		a, scoped := w.raw(t, p)
		if _, err := w.connect(t, claims.User{Name: "ada", Account: a.ID}, scoped); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%v: the server takes it: the check can go", err)
		}
		wantPointer(t, p, "/permissions/subscribe/deny/1")
	})
	t.Run("apart", func(t *testing.T) {
		p := jwt.Permissions{Sub: jwt.Permission{Allow: list[1:], Deny: list[:1]}}
		a, scoped := w.raw(t, p)
		nc, err := w.connect(t, claims.User{Name: "ada", Account: a.ID}, scoped)
		if err != nil {
			t.Fatal(err)
		}
		if !maySubscribe(t, nc, "jobs", "workers") {
			t.Error("refused")
		}
		wantPointer(t, p, "")
	})
}

// wantPointer checks the permissions as a template's and wants one problem there, or none.
func wantPointer(t *testing.T, p jwt.Permissions, pointer string) {
	t.Helper()
	limits := claims.NewPermissionLimits()
	limits.Permissions = p
	problems := claims.CheckPermissionLimits(limits, true)
	if pointer == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == pointer && problems[0].Blocking {
		return
	}
	t.Errorf("%+v, want one at %q", problems, pointer)
}

// A server gives up above 4,096 subjects; so do we, at the same number.
func TestExpansionsAtTheBorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const product = "{{tag(a)}}.{{tag(b)}}.{{tag(c)}}"
	for name, c := range map[string]struct {
		list   jwt.StringList
		values [3]int
		want   bool
	}{
		"4,096":                   {jwt.StringList{product}, [3]int{16, 16, 16}, true},
		"4,352":                   {jwt.StringList{product}, [3]int{16, 16, 17}, false},
		"4,096 of two":            {jwt.StringList{product, "x." + product}, [3]int{16, 16, 8}, true},
		"4,112 of two":            {jwt.StringList{product, "x." + product, "{{tag(a)}}"}, [3]int{16, 16, 8}, false},
		"4,096 and what is lost":  {jwt.StringList{product, "{{tag(a)}}.{{tag(none)}}"}, [3]int{16, 16, 16}, false},
		"what is lost and 4,096":  {jwt.StringList{"{{tag(a)}}.{{tag(none)}}", product}, [3]int{16, 16, 16}, true},
		"twice the same function": {jwt.StringList{"{{tag(a)}}.{{tag(a)}}.{{tag(a)}}"}, [3]int{17, 0, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			template := claims.Template{Name: "t", Permissions: claims.NewPermissionLimits()}
			template.Permissions.Pub.Allow = c.list
			a, scoped := w.raw(t, template.Permissions.Permissions)
			var tags []string
			for n, key := range []string{"a", "b", "c"} {
				for v := range c.values[n] {
					tags = append(tags, key+":"+string(rune('a'+v)))
				}
			}
			_, err := w.connect(t, claims.User{Name: "ada", Account: a.ID, Tags: tags}, scoped)
			if (err == nil) != c.want {
				t.Errorf("the server: %v", err)
			}
			if problems := claims.CheckTemplateUse(template, a, "ada", tags); problems.Blocking() == c.want {
				t.Errorf("we: %+v", problems)
			}
		})
	}
}
