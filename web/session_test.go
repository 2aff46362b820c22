package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"chancery/issuer"
	"chancery/web"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.visitor()
		link := h.link("ada")
		for range 2 { // looking does not use it up
			b.get(link).want(200).has("This link works once", "Sign in")
		}
		p := b.post(link, nil).want(303)
		if got := p.header.Get("Location"); got != "/accounts" {
			t.Errorf("signing in leads to %q", got)
		}
		b.get("/accounts").want(200).has("ada", "ORDERS")
		h.visitor().post(link, nil).want(401).has("This link was used, has expired or was replaced")
		h.visitor().get(link).want(401)
		h.visitor().get("/login/chy_link_wrong").want(401)
		if b.get("/login").want(303).header.Get("Location") != "/accounts" {
			t.Error("the sign-in page does not send on who is signed in")
		}
		if strings.Contains(h.log.String(), strings.TrimPrefix(link, "/login/")) {
			t.Error("the link is in the log")
		}
	})
}

func TestSetup(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.visitor().get("/login").want(200).has("Nobody owns this control plane yet")
		secret, err := h.issuer.SetupLink(t.Context(), op)
		must(t, err)
		link := "/setup/" + secret.Reveal()
		b := h.visitor()
		b.get(link).want(200).has("Take ownership", "Your name")
		b.post(link, url.Values{"name": {" "}}).want(422).has("A name is needed.")
		b.post(link, url.Values{"name": {"grace@acme.example"}}).want(303)
		b.get("/accounts").want(200).has("grace@acme.example")
		h.visitor().post(link, url.Values{"name": {"eve"}}).want(401)
		h.visitor().get("/login").want(200).has("chancery sign-in-link")
	})
}

func TestCookie(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		h := newHouse(t, "sqlite", web.Config{Secure: secure})
		p := h.visitor().post(h.link("ada"), nil).want(303)
		cookie := p.header.Get("Set-Cookie")
		want := []string{"chancery=", "HttpOnly", "SameSite=Lax", "Path=/"}
		if secure {
			want = append(want, "__Host-chancery=", "Secure")
		}
		for _, w := range want {
			if !strings.Contains(cookie, w) {
				t.Errorf("secure %v: the cookie %q lacks %q", secure, cookie, w)
			}
		}
		if !secure && strings.Contains(cookie, "Secure") {
			t.Errorf("the cookie %q is never sent over plain HTTP", cookie)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		front, err := url.Parse(h.front.URL)
		must(t, err)
		kept := b.client.Jar.Cookies(front)
		b.post("/logout", nil).want(303)
		b.get("/accounts").want(303)
		// The old token is worth nothing, also to who kept it.
		thief := h.visitor()
		thief.client.Jar.SetCookies(front, kept)
		if got := thief.get("/accounts").want(303).header.Get("Location"); got != "/login" {
			t.Errorf("a session that was ended leads to %q", got)
		}
	})
}

// A session that somebody planted before signing in is not the one signed in with.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	front, err := url.Parse(h.front.URL)
	must(t, err)
	b := h.signedIn()
	first := b.client.Jar.Cookies(front)[0].Value
	b.post(h.link("ada"), nil).want(303)
	if second := b.client.Jar.Cookies(front)[0].Value; second == first {
		t.Error("signing in keeps the token")
	}
	planted := h.visitor()
	planted.client.Jar.SetCookies(front, []*http.Cookie{{Name: "chancery", Value: first}})
	planted.get("/accounts").want(303)
}

func TestSignedOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.user("d1")
	for _, r := range pages {
		p := h.visitor().do(r.method, r.path, nil)
		if r.public {
			if p.status == http.StatusSeeOther && p.header.Get("Location") != "/login" {
				t.Errorf("%s %s leads to %s", r.method, r.path, p.header.Get("Location"))
			}
			continue
		}
		if p.status != http.StatusSeeOther || p.header.Get("Location") != "/login" {
			t.Errorf("%s %s: %d to %q, want a redirect to the sign-in page", r.method, r.path, p.status, p.header.Get("Location"))
		}
		p.hasNot("ORDERS")
	}
}

func TestRoleIsAsked(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.user("d1")
	b := h.auditor()
	b.get("/accounts").want(200).hasNot("New account")
	b.get("/accounts/ORDERS").want(200).hasNot("New user", "Copy</a>", "Suspend")
	b.get("/accounts/ORDERS/limits").want(200).has("Connections", "Unlimited").hasNot("<form class=\"form\"")
	b.get("/accounts/ORDERS/settings").want(200).has("Cluster traffic").hasNot("<form class=\"form\"")
	b.get("/accounts/ORDERS/users/d1").want(200).hasNot("/issue", "/revoke\"")
	for _, path := range []string{"/accounts/new", "/accounts/ORDERS/clone", "/accounts/ORDERS/users/new", "/accounts/ORDERS/users/d1/issue", "/accounts/ORDERS/users/d1/revoke"} {
		b.get(path).want(403).has("Your role does not allow this", "Ask an owner")
	}
	b.post("/accounts/ORDERS/users/d1/revoke/apply", url.Values{"plan": {"x"}}).want(403)
	b.post("/accounts/new", url.Values{"name": {"NEW"}}).want(403).has("Your role does not allow this")
	list, err := h.issuer.ListRevocations(t.Context(), op.Caller, h.account, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 1}})
	must(t, err)
	if len(list) > 0 {
		t.Error("an auditor revoked")
	}
}
