package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/web"
)

// formOfTemplate is what the form of a template would send: its text areas too.
func formOfTemplate(p page, values ...string) url.Values {
	form := formOf(p)
	for _, m := range regexp.MustCompile(`(?s)<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>`).FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], unescape(m[2]))
	}
	for _, m := range regexp.MustCompile(`<input type="checkbox"[^>]* name="([^"]+)" checked`).FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], "on")
	}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	return form
}

func unescape(s string) string {
	return strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">", "&#34;", `"`, "&#39;", "'", "&#43;", "+").Replace(s)
}

// A template is made from a recipe, previewed, changed after a look at the plan, cloned, compared and deleted.
func TestTemplatePages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		h.share()
		b := h.signedIn()
		b.get("/templates").want(200).has("device", "ORDERS", "service", "Shared by acme", "used by 0 accounts")
		b.get("/accounts/ORDERS/templates").want(200).has("device", "own", "service", "shared")

		blank := b.get("/accounts/ORDERS/templates/new").want(200).has("Start from one of these", "KV reader")
		blank.hasNot("ZgotmplZ")
		filled := b.get("/accounts/ORDERS/templates/new?recipe=device").want(200)
		form := formOfTemplate(filled, "name", "sensor", "sample", "s1 region:eu region:us")
		if !strings.Contains(form.Get("tests"), "can publish devices.eu.d1.temp") {
			t.Errorf("the recipe has the tests %q", form.Get("tests"))
		}
		form.Set("preview", "1")
		b.post("/accounts/ORDERS/templates/new", form).want(200).has("For s1 region:eu region:us", "devices. us. s1.>", "Clients must set the inbox prefix _INBOX_s1", "Passes", "stand for 4 subjects")
		b.get("/accounts/ORDERS/templates").hasNot("sensor")
		form.Del("preview")
		form.Set("tests", form.Get("tests")+"can publish elsewhere\n")
		b.post("/accounts/ORDERS/templates/new", form).want(422).has("1 of the template's tests fail, so it was not saved.", "Test 1, can publish", "Fails", "No allow rule matches")
		form.Set("tests", strings.Replace(form.Get("tests"), "can publish elsewhere", "cannot publish elsewhere", 1))
		b.follow(b.post("/accounts/ORDERS/templates/new", form)).want(200).has("The template sensor was created.", "5 tests pass", "MQTT", "Current")

		// An edit is looked at before it is made; what is wrong is said by line.
		edit := b.get("/accounts/ORDERS/templates/sensor/edit").want(200)
		b.post("/accounts/ORDERS/templates/sensor/edit", formOfTemplate(edit)).want(200).has("Nothing would change")
		b.post("/accounts/ORDERS/templates/sensor/edit", formOfTemplate(edit, "pub_deny", "a.b\nx..y", "max_ttl", "soon", "hours", "early")).want(422).has("Write a number and days", "Write connect hours")
		b.post("/accounts/ORDERS/templates/sensor/edit", formOfTemplate(edit, "pub_deny", "a.b\nx..y")).want(422).has("Line 2: ")
		b.post("/accounts/ORDERS/templates/sensor/edit", formOfTemplate(edit, "tests", "can publish x")).want(422).has("Line 1: begin with a line such as")
		plan := b.post("/accounts/ORDERS/templates/sensor/edit", formOfTemplate(edit, "name", "gauge", "pub_allow", "devices.{{tag(region)}}.{{name()}}.>\nlog.{{name()}}", "max_ttl", "7 days")).want(200)
		plan.has("Nothing has happened yet", "may now publish log.{{name()}}", "sensor", "gauge", "7 days", "5 of 5")
		b.get("/accounts/ORDERS/templates/sensor").want(200).hasNot("log.")
		b.follow(b.submit(plan)).want(200).has("The template gauge was changed.", "7 days", "log.")
		b.get("/accounts/ORDERS/templates/sensor").want(404)
		b.get("/accounts/ORDERS/templates/gauge?sample=d1").want(200).has("For d1 region:eu", "can subscribe to")
		b.get("/accounts/ORDERS/templates/gauge?sample=" + url.QueryEscape("x region:>")).want(200).has("A tag")
		b.get("/accounts/ORDERS/templates/gauge/compare?with=device").want(200).has("gauge and device", "may no longer publish log.{{name()}}")

		// Clones go to accounts and operators.
		clone := b.get("/accounts/ORDERS/templates/gauge/clone").want(200)
		b.submit(clone).want(409).has("Another template has this name already.")
		b.submit(clone, "account", "NOWHERE").want(422).has("There is no such account.")
		b.submit(clone, "operator", "acme").want(422).has("Name either an account or an operator.")
		b.follow(b.submit(clone, "account", "", "operator", "acme", "name", "meter")).want(200).has("meter", "shared", "The template was cloned.")

		// One that is in use is not deleted; one that is not, after a look at the plan.
		b.post("/accounts/ORDERS/templates/device/delete", nil).want(409).has("1 user is made with this template.")
		gone := b.post("/accounts/ORDERS/templates/gauge/delete", nil).want(200).has("Nothing has happened yet")
		b.follow(b.submit(gone)).want(200).has("The template gauge was deleted.").hasNot(">gauge<")
	})
}

// What is shared is used in an account and changed at its operator; the accounts that are still to be signed are told.
func TestSharedTemplatePages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.share()
		b := h.signedIn()
		b.get("/operators/acme/templates").want(200).has("Shared templates", "service").hasNot(">device<")
		seen := b.get("/accounts/ORDERS/templates/service").want(200).has("shared by", "Change at the operator", "Make a key for this account")
		seen.hasNot("/service/edit\"")
		b.follow(b.post("/accounts/ORDERS/templates/service/use", nil)).want(200).has("ORDERS has a key of the template service now.", "Current")
		edit := b.get("/operators/acme/templates/service/edit").want(200)
		plan := b.post("/operators/acme/templates/service/edit", formOfTemplate(edit, "sub_allow", "_INBOX.>", "tests", "as app @ ORDERS site:b1\ncan publish orders.new")).want(200)
		plan.has("may only subscribe to _INBOX.>", "1 of 1")
		b.follow(b.submit(plan)).want(200).has("Not everywhere yet", "0 of 1 account carry the newest state; 1 is still to be signed", "1 test passes")
		b.get("/templates").has("1 account is still to be signed")
		must(t, h.issuer.Upkeep(t.Context()))
		b.get("/operators/acme/templates/service").want(200).hasNot("Not everywhere yet")
		// An account's own template of the name is refused, and so is an edit there.
		form := formOfTemplate(b.get("/accounts/ORDERS/templates/new"), "name", "service")
		b.post("/accounts/ORDERS/templates/new", form).want(409).has("Another template has this name already.")
		b.post("/accounts/ORDERS/templates/service/edit", formOfTemplate(edit, "description", "x")).want(409).has("belongs to the operator")
	})
}

// An auditor sees templates and changes none.
func TestTemplatePagesOfAnAuditor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.share()
	b := h.auditor()
	for _, path := range []string{"/templates", "/accounts/ORDERS/templates", "/accounts/ORDERS/templates/device?sample=d1+region:eu", "/operators/acme/templates/service"} {
		b.get(path).want(200).hasNot("/edit", "/delete", "/clone", "New template", "New shared template")
	}
	for _, path := range []string{"/accounts/ORDERS/templates/new", "/accounts/ORDERS/templates/device/edit", "/operators/acme/templates/service/clone"} {
		b.get(path).want(403)
	}
	b.post("/accounts/ORDERS/templates/new", url.Values{"name": {"evil"}}).want(403)
	b.post("/operators/acme/templates/service/delete/apply", url.Values{"version": {"1"}}).want(403)
}

// Each recipe is what it says: its tests pass, and it is good for what its title promises.
func TestRecipes(t *testing.T) {
	t.Parallel()
	promises := map[string]string{
		"client": "can use request/reply", "responder": "can answer requests, with 1 reply within 5s", "private": "can use request/reply, with the inbox prefix _INBOX_app",
		"consumer": "can consume from stream ORDERS", "kv-reader": "can watch KV bucket cfg", "kv-writer": "can write to KV bucket cfg",
		"device": "can publish to 1 subject", "readonly": "cannot publish to anything",
	}
	ids := web.RecipeIDs()
	if len(ids) != len(promises) {
		t.Errorf("%d recipes, %d promises", len(ids), len(promises))
	}
	account := claims.Account{Name: "ORDERS", Settings: jwt.Account{}}
	for _, id := range ids {
		in := web.Start(id)
		in.Body.Name = id
		if problems := append(claims.CheckTemplate(in.Body), claims.CheckTests(in.Tests, false)...); len(problems) > 0 || len(in.Tests) == 0 {
			t.Errorf("%s: %+v, %d tests", id, problems, len(in.Tests))
		}
		for _, p := range claims.Failures(claims.RunTests(in.Body, account, in.Tests)) {
			t.Errorf("%s: %+v", id, p)
		}
		promised := false
		preview := claims.PreviewTemplate(in.Body, account, in.Tests[0].As)
		for _, c := range preview.Capabilities {
			promised = promised || c.Text == promises[id]
		}
		if !promised {
			t.Errorf("%s: none of %+v is %q", id, preview.Capabilities, promises[id])
		}
	}
}

// Tests are read from their text as they were written into it.
func TestTestsAsText(t *testing.T) {
	t.Parallel()
	in := []claims.TemplateTest{
		{As: claims.TestUser{Name: "d1", Tags: []string{"region:eu", "plain"}}, CanPublish: []string{"a", "b.c"}, CannotSubscribe: []string{"x workers", "> q"}},
		{As: claims.TestUser{Name: "ann lee", Key: "UB" + strings.Repeat("A", 54)}, CanSubscribe: []string{"_INBOX.>"}},
		{As: claims.TestUser{Name: "x@y.z", Account: "MY ACCOUNT", AccountTags: []string{"site:b1"}}, CannotPublish: []string{"a"}},
	}
	out, err := web.ParseTests(web.FormatTests(in))
	must(t, err)
	if a, b := web.FormatTests(in), web.FormatTests(out); a != b || len(out) != 3 || out[1].As.Name != "ann lee" || out[1].As.Key != in[1].As.Key || out[2].As.Account != "MY ACCOUNT" || out[0].CannotSubscribe[0] != "x workers" {
		t.Errorf("%s\n%s", a, b)
	}
	for _, text := range []string{"can publish x", "as d1\nmay publish x", "as d1\npublish x", "as d1\ncan shout x"} {
		if _, err := web.ParseTests(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
