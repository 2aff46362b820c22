package claims_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// A test of a template passes exactly when a server does what it expects: random templates and expectations, tried
// out by their users.
func TestTemplateTestsAgreeWithServer(t *testing.T) {
	t.Parallel()
	seed := *differentialSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	w := newWorld(t)
	y := &tally{agreed: map[string]int{}, all: map[string]int{}}
	t.Run("templates", func(t *testing.T) {
		for n := range uint64(40) {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				tryTemplate(t, w, generator{rand.New(rand.NewPCG(seed, n))}, y)
			})
		}
	})
	agreed, all := 0, 0
	for kind, n := range y.all {
		t.Logf("%s: %d of %d", kind, y.agreed[kind], n)
		agreed, all = agreed+y.agreed[kind], all+n
	}
	t.Logf("verdicts of tests: %d of %d", agreed, all)
	if all < 300 {
		t.Errorf("%d verdicts, want 300", all)
	}
	if t.Failed() {
		t.Logf("repeat with -differential.seed=%d", seed)
	}
}

// acceptable is a random template that Chancery takes.
func (g generator) acceptable() claims.Template {
	for {
		t := claims.Template{Name: "role", Permissions: claims.NewPermissionLimits()}
		p := &t.Permissions.Permissions
		for range g.IntN(4) {
			p.Pub.Allow.Add(g.template(false, false))
		}
		for range g.IntN(4) {
			p.Sub.Allow.Add(g.template(true, false))
		}
		if g.once(2) {
			p.Pub.Deny.Add(g.template(false, true))
			p.Sub.Deny.Add(g.template(true, true))
		}
		if !claims.CheckTemplate(t).Blocking() {
			return t
		}
	}
}

// expecting is a test with random expectations of what the server can be asked about.
func (g generator) expecting(as claims.TestUser) claims.TemplateTest {
	out := claims.TemplateTest{As: as}
	for _, s := range append(g.literals(8), "a."+as.Name, "b.v1") {
		if g.once(2) {
			out.CanPublish = append(out.CanPublish, s)
		} else {
			out.CannotPublish = append(out.CannotPublish, s)
		}
	}
	for range 8 {
		s := strings.TrimSpace(g.subject() + " " + g.of("", "", "q", "q.x", "w"))
		if slices.Contains(out.CanSubscribe, s) || slices.Contains(out.CannotSubscribe, s) {
			continue
		}
		if g.once(2) {
			out.CanSubscribe = append(out.CanSubscribe, s)
		} else {
			out.CannotSubscribe = append(out.CannotSubscribe, s)
		}
	}
	return out
}

func tryTemplate(t *testing.T, w *world, g generator, y *tally) {
	t.Helper()
	template, scoped := g.acceptable(), newPair(t, claims.KindAccount)
	a := claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "tenant", Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: scoped.id, Template: &template}}}
	a.Settings.Tags = jwt.TagList{"x:p1", "x:p2"}
	w.serve(t, a)
	key := newPair(t, claims.KindUser)
	as := claims.TestUser{Name: "dev", Tags: []string{"X:v1", "y:v2"}, Key: key.id}
	test := g.expecting(as)
	if problems := claims.CheckTests([]claims.TemplateTest{test}, false); problems.Blocking() {
		t.Fatalf("%+v", problems)
	}
	results := claims.RunTests(template, a, []claims.TemplateTest{test})
	user := claims.User{ID: key.id, Name: as.Name, Account: a.ID, Tags: as.Tags}
	c, err := dialClient(t, w, sign(t, checked(t)(claims.BuildUser(user)), scoped, time.Now().Unix()).Token, key)
	for _, r := range results {
		allowed := false
		if err == nil {
			allowed = tried(t, c, r)
		}
		kind := fmt.Sprintf("%s, expected %v, allowed %v", r.Action, r.Can, allowed)
		agreed := r.Passed == (allowed == r.Can)
		y.count(kind, agreed)
		if !agreed {
			t.Errorf("%+v, but the server's answer is %v\n%+v", r, allowed, template)
		}
	}
	if err == nil {
		return
	}
	if d := claims.EffectiveOf(template, a, as); d.Refusal == nil {
		t.Errorf("refused: %v\n%+v", err, template)
	}
}

// tried does what the result is about.
func tried(t *testing.T, c *client, r claims.TestResult) bool {
	t.Helper()
	if r.Action == claims.Publish {
		if err := c.Publish(r.Subject, nil); err != nil {
			t.Fatal(err)
		}
		return len(c.refusals(t)) == 0
	}
	sub, err := c.QueueSubscribeSync(r.Subject, r.Queue)
	if err != nil {
		t.Fatal(err)
	}
	allowed := len(c.refusals(t)) == 0
	if allowed {
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	return allowed
}

func deviceRole() claims.Template {
	t := claims.Template{Name: "device", Permissions: claims.NewPermissionLimits()}
	t.Permissions.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
	t.Permissions.Sub.Allow = jwt.StringList{"cmd.{{name()}}", "_INBOX_{{name()}}.>"}
	t.Permissions.Sub.Deny = jwt.StringList{"cmd.secret"}
	return t
}

// A failed test points at its subject and names the rule that decided.
func TestFailuresNameTheRule(t *testing.T) {
	t.Parallel()
	tests := []claims.TemplateTest{
		{As: claims.TestUser{Name: "d1", Tags: []string{"region:eu"}}, CanPublish: []string{"devices.eu.d1.temp"}, CannotPublish: []string{"devices.us.d1.temp"}},
		{
			As: claims.TestUser{Name: "d1", Tags: []string{"region:eu"}}, CanPublish: []string{"devices.eu.d1.temp", "devices.us.d1.temp"},
			CannotPublish: []string{"devices.eu.d1.x"}, CanSubscribe: []string{"cmd.d1", "cmd.secret"},
		},
	}
	results := claims.RunTests(deviceRole(), claims.Account{Name: "ORDERS"}, tests)
	got := map[string]string{}
	for _, p := range claims.Failures(results) {
		if p.Code != "test_failed" || !p.Blocking {
			t.Errorf("%+v", p)
		}
		got[p.Pointer] = p.Detail
	}
	want := map[string]string{
		"/1/can_publish/1":    "The test expects that its user can publish here, but a nats-server refuses it. No allow rule matches; the closest is devices.{{tag(region)}}.{{name()}}.>, here devices.eu.d1.>.",
		"/1/cannot_publish/0": "The test expects that its user cannot publish here, but a nats-server lets it. The template's permissions allow devices.{{tag(region)}}.{{name()}}.>, here devices.eu.d1.>.",
		"/1/can_subscribe/1":  "The test expects that its user can subscribe here, but a nats-server refuses it. The template's permissions deny cmd.secret.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(results) != 7 {
		t.Errorf("%d results", len(results))
	}
}

func TestCheckTests(t *testing.T) {
	t.Parallel()
	many := make([]claims.TemplateTest, claims.MaxTemplateTests+1)
	good := claims.TestUser{Name: "d1"}
	for name, c := range map[string]struct {
		tests  []claims.TemplateTest
		shared bool
		want   []string
	}{
		"too many":            {many, false, []string{" too_many"}},
		"too many subjects":   {[]claims.TemplateTest{{As: good, CanPublish: slices.Repeat([]string{"a"}, claims.MaxTestSubjects), CannotSubscribe: []string{"a"}}}, false, []string{"/0 too_many"}},
		"no subject":          {[]claims.TemplateTest{{As: good}}, false, []string{"/0 required"}},
		"no name":             {[]claims.TemplateTest{{CanPublish: []string{"a"}}}, false, []string{"/0/as/name required"}},
		"a wildcard":          {[]claims.TemplateTest{{As: good, CannotPublish: []string{"a", "b.*"}}}, false, []string{"/0/cannot_publish/1 not_literal"}},
		"two groups":          {[]claims.TemplateTest{{As: good, CanSubscribe: []string{"a q r"}}}, false, []string{"/0/can_subscribe/0 invalid_queue"}},
		"an account":          {[]claims.TemplateTest{{As: claims.TestUser{Name: "d1", Account: "A", AccountTags: []string{"x:y"}}, CanPublish: []string{"a"}}}, false, []string{"/0/as/account not_allowed", "/0/as/account_tags not_allowed"}},
		"an account, shared":  {[]claims.TemplateTest{{As: claims.TestUser{Name: "d1", Account: "A", AccountTags: []string{"x:y"}}, CanPublish: []string{"a"}}}, true, nil},
		"tags with wildcards": {[]claims.TemplateTest{{As: claims.TestUser{Name: "d1", Tags: []string{"region:>"}}, CanPublish: []string{"a"}}}, false, []string{"/0/as/tags/0 invalid_tag"}},
		"a key":               {[]claims.TemplateTest{{As: claims.TestUser{Name: "d1", Key: "UX"}, CanPublish: []string{"a"}}}, false, []string{"/0/as/key invalid_key"}},
	} {
		var got []string
		for _, p := range claims.CheckTests(c.tests, c.shared) {
			got = append(got, p.Pointer+" "+p.Code)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A preview says what is dropped and what clients have to know.
func TestPreviewTemplate(t *testing.T) {
	t.Parallel()
	codes := func(p claims.Preview) (out []string) {
		for _, x := range p.Problems {
			out = append(out, x.Pointer+" "+x.Code)
		}
		return out
	}
	orders := claims.Account{Name: "ORDERS", Settings: claims.NewAccountSettings()}
	two := claims.PreviewTemplate(deviceRole(), orders, claims.TestUser{Name: "d1", Tags: []string{"region:eu", "region:us"}})
	if diff := cmp.Diff([]string{" no_default_inbox"}, codes(two)); diff != "" || two.Effective.Publish.Expansions != 2 || len(two.Effective.Publish.Allow) != 2 {
		t.Errorf("%s\n%+v", diff, two.Effective)
	}
	none := claims.PreviewTemplate(deviceRole(), orders, claims.TestUser{Name: "d1"})
	if diff := cmp.Diff([]string{"/tags missing_tag", "/permissions/publish/allow/0 dropped"}, codes(none)); diff != "" {
		t.Error(diff)
	}
	denied := deviceRole()
	denied.Permissions.Pub.Deny = jwt.StringList{"devices.{{tag(site)}}.>"}
	refused := claims.PreviewTemplate(denied, orders, claims.TestUser{Name: "d1", Tags: []string{"region:eu"}})
	if refused.Effective.Refusal == nil || !refused.Problems.Blocking() || len(refused.Capabilities) != 1 {
		t.Errorf("%+v", refused)
	}
	deaf := deviceRole()
	deaf.Permissions.Sub.Allow = jwt.StringList{"cmd.{{name()}}"}
	if diff := cmp.Diff([]string{" no_inbox"}, codes(claims.PreviewTemplate(deaf, orders, claims.TestUser{Name: "d1", Tags: []string{"region:eu"}}))); diff != "" {
		t.Error(diff)
	}
}
