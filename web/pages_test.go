package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"chancery/claims"
	"chancery/issuer"
	"chancery/web"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		if b.get("/").want(303).header.Get("Location") != "/accounts" {
			t.Error("the root leads elsewhere")
		}
		b.get("/accounts").want(200).has("ORDERS", "SYS", "system", "No servers", h.account[:4]+"…"+h.account[52:], "New account", "acme")
		b.get("/accounts?q=order").want(200).has("ORDERS").hasNot(">SYS<")
		b.get("/accounts?q=zzz").want(200).has("No account matches “zzz”", "Clear the search")
		b.get("/accounts?q=%00&after=%00").want(200)
		b.get("/accounts?after=AAAA").want(200)
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		for i := range 60 {
			_, err := h.issuer.CreateUser(t.Context(), op, h.account, issuer.UserInput{Name: fmt.Sprintf("u%02d", i), Template: "device", Tags: []string{"region:eu"}})
			must(t, err)
		}
		b := h.signedIn()
		b.get("/accounts/ORDERS").want(200).has("u00", "u09", "All users").hasNot(">u10<")
		first := b.get("/accounts/ORDERS/users").want(200).has("u00", "u49", "Next page").hasNot(">u50<", "Back to the start")
		_, rest, _ := strings.Cut(first.body, `class="next" href="`)
		next, _, _ := strings.Cut(rest, `"`)
		next, _, _ = strings.Cut(strings.ReplaceAll(next, "&amp;", "&"), "#")
		b.get(next).want(200).has("u50", "u59", "Back to the start").hasNot(">u49<", "Next page")
		b.get("/accounts/ORDERS/users?q=nobody").want(200).has("No user matches")
		b.get("/accounts/ORDERS/users?q=u3").want(200).has("u30", "u39").hasNot(">u40<")
	})
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{Dev: true})
	h.user("d1")
	b := h.signedIn()
	b.get("/accounts/ORDERS").want(200).has("d1", "region:eu", "device", "cmd.<wbr>{{name()}}", h.account, "Unlimited", "JetStream", "No nats-server of this operator is connected",
		"curl -sS 'http://chancery.test/api/v1/accounts/ORDERS'", "$CHANCERY_TOKEN", "identity key and servers on this machine")
	b.get("/accounts/" + h.account).want(200).has("ORDERS")
	b.get("/accounts/ORDERS/users/d1").want(200).has("Active", "Chancery", "inline", "The servers could not be asked just now.")
}

func TestUserNamedNew(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	u := h.user("new")
	b := h.signedIn()
	b.get("/accounts/ORDERS").has("/accounts/ORDERS/users/" + u.ID)
	b.get("/accounts/ORDERS/users/" + u.ID).want(200).has("user of")
}

// Two operators may each have an account of one name: links use keys then.
func TestManyOperators(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	_, err := h.issuer.CreateOperator(t.Context(), op, issuer.OperatorInput{Name: "other"})
	must(t, err)
	other, err := h.issuer.CreateAccount(t.Context(), op, issuer.AccountInput{Operator: "other", Name: "ORDERS", Settings: claims.NewAccountSettings()})
	must(t, err)
	b := h.signedIn()
	b.get("/accounts").want(200).has(`href="/accounts/`+h.account+`"`, `href="/accounts/`+other.Value.ID+`"`, "Operator")
	b.get("/accounts/ORDERS").want(409).has("Several operators have an account of this name.")
	form := b.get("/accounts/new").want(200).has("Choose one")
	b.submit(form, "name", "X").want(422).has("Operator: Choose one of the entries.")
	b.follow(b.submit(form, "name", "X", "operator", other.Value.OperatorID)).want(200).has("Account X was created.")
}

const payload = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}`

func TestNothingIsRunAsMarkup(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		name := `<b onclick="x">&'` + "`" // a valid name
		settings := claims.NewAccountSettings()
		settings.Description = payload
		_, err := h.issuer.CreateAccount(t.Context(), op, issuer.AccountInput{Name: name, Settings: settings})
		must(t, err)
		body := claims.Template{Name: name, Description: payload, Permissions: claims.NewPermissionLimits()}
		body.Permissions.Pub.Allow = []string{`<img"onerror='x'`}
		_, err = h.issuer.CreateTemplate(t.Context(), op, name, issuer.TemplateInput{Body: body})
		must(t, err)
		_, err = h.issuer.CreateUser(t.Context(), op, name, issuer.UserInput{Name: name, Template: name, Issue: &issuer.IssueInput{DeliveredTo: payload}})
		must(t, err)
		b := h.signedIn()
		account := "/accounts/" + url.PathEscape(name)
		user := account + "/users/" + url.PathEscape(name)
		b.follow(b.submit(b.submit(b.get(user+"/revoke"), "reason", payload).want(200))).want(200).has(payload)
		secret := b.submit(b.get(user + "/issue")).want(200)
		all := []page{
			secret, b.get("/accounts"), b.get("/accounts?q=" + url.QueryEscape(payload)), b.get(account), b.get(account + "?q=" + url.QueryEscape(payload)), b.get(user),
			b.get(account + "/limits"), b.get(account + "/users/new"), b.get(user + "/issue"), b.get(user + "/revoke"), b.get(user + "/revocation"),
			b.submit(b.get("/accounts/new"), "name", payload, "description", payload, "tags", payload, "connections", payload).want(422),
			b.submit(b.get(account+"/users/new"), "name", payload, "tags", payload).want(422),
			b.submit(b.get(user+"/revoke"), "reason", payload),
		}
		for _, p := range all {
			if p.status >= 500 {
				t.Errorf("%s: %d", p.url, p.status)
			}
			for _, bad := range []string{"<script>", "<img", `<b onclick`, "ZgotmplZ", "onerror=alert(1)>"} {
				if strings.Contains(p.body, bad) {
					t.Errorf("%s holds %s unescaped", p.url, bad)
				}
			}
		}
	})
}

func TestSecretsAreNotRepeated(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	u := h.user("d1")
	_, seed, err := claims.ParseCreds(u.Issued.Creds)
	must(t, err)
	s := seed.Reveal()
	b := h.signedIn()
	for _, p := range []page{
		b.get("/accounts?q=" + s),
		b.get("/accounts/ORDERS?q=" + s),
		b.get("/accounts/" + s),
		b.get("/accounts/ORDERS/users/" + s),
		b.get("/accounts/ORDERS/users/new?template=" + s),
		b.submit(b.get("/accounts/new"), "name", s, "description", "x "+s, "tags", s, "connections", s).want(422).has("This holds a private key"),
		b.submit(b.get("/accounts/ORDERS/users/new"), "name", s, "template", s, "tags", "a:"+s, "lifetime", s).want(422),
		b.submit(b.get("/accounts/ORDERS/users/d1/issue"), "reason", "it was "+s).want(422),
		b.submit(b.get("/accounts/ORDERS/users/d1/revoke"), "reason", "it was "+s).want(422),
		b.submit(b.get("/accounts/ORDERS/limits"), "reason", s, "connections", "5").want(422),
	} {
		p.hasNot(s)
	}
	if strings.Contains(h.log.String(), s) {
		t.Error("the seed is in the log")
	}
}
