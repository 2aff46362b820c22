package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chancery/web"
)

// pages is every route with a path that matches it. Public ones answer anybody.
var pages = []struct {
	method, pattern, path string
	public                bool
}{
	{"GET", "/login", "/login", true},
	{"GET", "/login/{link}", "/login/chy_link_x", true},
	{"POST", "/login/{link}", "/login/chy_link_x", true},
	{"GET", "/setup/{link}", "/setup/chy_link_x", true},
	{"POST", "/setup/{link}", "/setup/chy_link_x", true},
	{"POST", "/logout", "/logout", true},
	{"GET", "/{$}", "/", false},
	{"GET", "/operators/new", "/operators/new", false},
	{"POST", "/operators/new", "/operators/new", false},
	{"GET", "/operators", "/operators", false},
	{"GET", "/operators/{op}", "/operators/acme", false},
	{"GET", "/operators/{op}/edit", "/operators/acme/edit", false},
	{"POST", "/operators/{op}/edit", "/operators/acme/edit", false},
	{"POST", "/operators/{op}/edit/apply", "/operators/acme/edit/apply", false},
	{"GET", "/operators/{op}/enrolment", "/operators/acme/enrolment", false},
	{"GET", "/operators/{op}/enrolment/policy", "/operators/acme/enrolment/policy", false},
	{"POST", "/operators/{op}/enrolment/policy", "/operators/acme/enrolment/policy", false},
	{"POST", "/operators/{op}/enrolment/policy/apply", "/operators/acme/enrolment/policy/apply", false},
	{"GET", "/operators/{op}/enrolment/{key}/{decision}", "/operators/acme/enrolment/AX/approve", false},
	{"POST", "/operators/{op}/enrolment/{key}/{decision}", "/operators/acme/enrolment/AX/approve", false},
	{"POST", "/operators/{op}/enrolment/{key}/{decision}/apply", "/operators/acme/enrolment/AX/approve/apply", false},
	{"GET", "/operators/{op}/guardrails", "/operators/acme/guardrails", false},
	{"POST", "/operators/{op}/guardrails", "/operators/acme/guardrails", false},
	{"POST", "/operators/{op}/guardrails/apply", "/operators/acme/guardrails/apply", false},
	{"GET", "/operators/{op}/signing", "/operators/acme/signing", false},
	{"POST", "/operators/{op}/signing", "/operators/acme/signing", false},
	{"GET", "/operators/{op}/signature", "/operators/acme/signature", false},
	{"POST", "/operators/{op}/signature", "/operators/acme/signature", false},
	{"GET", "/operators/{op}/delete", "/operators/acme/delete", false},
	{"POST", "/operators/{op}/delete", "/operators/acme/delete", false},
	{"POST", "/operators/{op}/delete/apply", "/operators/acme/delete/apply", false},
	{"GET", "/accounts", "/accounts", false},
	{"GET", "/accounts/new", "/accounts/new", false},
	{"POST", "/accounts/new", "/accounts/new", false},
	{"GET", "/accounts/{acct}", "/accounts/ORDERS", false},
	{"GET", "/accounts/{acct}/guardrails", "/accounts/ORDERS/guardrails", false},
	{"POST", "/accounts/{acct}/guardrails", "/accounts/ORDERS/guardrails", false},
	{"POST", "/accounts/{acct}/guardrails/apply", "/accounts/ORDERS/guardrails/apply", false},
	{"GET", "/accounts/{acct}/limits", "/accounts/ORDERS/limits", false},
	{"POST", "/accounts/{acct}/limits", "/accounts/ORDERS/limits", false},
	{"POST", "/accounts/{acct}/limits/apply", "/accounts/ORDERS/limits/apply", false},
	{"GET", "/accounts/{acct}/settings", "/accounts/ORDERS/settings", false},
	{"POST", "/accounts/{acct}/settings", "/accounts/ORDERS/settings", false},
	{"POST", "/accounts/{acct}/settings/apply", "/accounts/ORDERS/settings/apply", false},
	{"GET", "/accounts/{acct}/clone", "/accounts/ORDERS/clone", false},
	{"POST", "/accounts/{acct}/clone", "/accounts/ORDERS/clone", false},
	{"POST", "/accounts/{acct}/clone/apply", "/accounts/ORDERS/clone/apply", false},
	{"GET", "/accounts/{acct}/users", "/accounts/ORDERS/users", false},
	{"GET", "/accounts/{acct}/connections", "/accounts/ORDERS/connections", false},
	{"GET", "/accounts/{acct}/jwt", "/accounts/ORDERS/jwt", false},
	{"GET", "/accounts/{acct}/suspend", "/accounts/ORDERS/suspend", false},
	{"POST", "/accounts/{acct}/suspend", "/accounts/ORDERS/suspend", false},
	{"POST", "/accounts/{acct}/suspend/apply", "/accounts/ORDERS/suspend/apply", false},
	{"GET", "/accounts/{acct}/resume", "/accounts/ORDERS/resume", false},
	{"POST", "/accounts/{acct}/resume", "/accounts/ORDERS/resume", false},
	{"POST", "/accounts/{acct}/resume/apply", "/accounts/ORDERS/resume/apply", false},
	{"GET", "/accounts/{acct}/delete", "/accounts/ORDERS/delete", false},
	{"POST", "/accounts/{acct}/delete", "/accounts/ORDERS/delete", false},
	{"POST", "/accounts/{acct}/delete/apply", "/accounts/ORDERS/delete/apply", false},
	{"GET", "/accounts/{acct}/users/new", "/accounts/ORDERS/users/new", false},
	{"POST", "/accounts/{acct}/users/new", "/accounts/ORDERS/users/new", false},
	{"GET", "/accounts/{acct}/users/{user}", "/accounts/ORDERS/users/d1", false},
	{"GET", "/accounts/{acct}/users/{user}/issue", "/accounts/ORDERS/users/d1/issue", false},
	{"POST", "/accounts/{acct}/users/{user}/issue", "/accounts/ORDERS/users/d1/issue", false},
	{"GET", "/accounts/{acct}/users/{user}/revoke", "/accounts/ORDERS/users/d1/revoke", false},
	{"POST", "/accounts/{acct}/users/{user}/revoke", "/accounts/ORDERS/users/d1/revoke", false},
	{"POST", "/accounts/{acct}/users/{user}/revoke/apply", "/accounts/ORDERS/users/d1/revoke/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/revocation", "/accounts/ORDERS/users/d1/revocation", false},
	{"GET", "/accounts/{acct}/revocations", "/accounts/ORDERS/revocations", false},
	{"GET", "/accounts/{acct}/revocations/everybody", "/accounts/ORDERS/revocations/everybody", false},
	{"POST", "/accounts/{acct}/revocations/everybody", "/accounts/ORDERS/revocations/everybody", false},
	{"POST", "/accounts/{acct}/revocations/everybody/apply", "/accounts/ORDERS/revocations/everybody/apply", false},
	{"GET", "/accounts/{acct}/revocations/lift", "/accounts/ORDERS/revocations/lift?subject=*", false},
	{"POST", "/accounts/{acct}/revocations/lift", "/accounts/ORDERS/revocations/lift", false},
	{"POST", "/accounts/{acct}/revocations/lift/apply", "/accounts/ORDERS/revocations/lift/apply", false},
	{"GET", "/accounts/{acct}/revocations/compact", "/accounts/ORDERS/revocations/compact", false},
	{"POST", "/accounts/{acct}/revocations/compact", "/accounts/ORDERS/revocations/compact", false},
	{"POST", "/accounts/{acct}/revocations/compact/apply", "/accounts/ORDERS/revocations/compact/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/renew", "/accounts/ORDERS/users/d1/renew", false},
	{"POST", "/accounts/{acct}/users/{user}/renew", "/accounts/ORDERS/users/d1/renew", false},
	{"GET", "/accounts/{acct}/users/{user}/roll", "/accounts/ORDERS/users/d1/roll", false},
	{"POST", "/accounts/{acct}/users/{user}/roll", "/accounts/ORDERS/users/d1/roll", false},
	{"POST", "/accounts/{acct}/users/{user}/roll/apply", "/accounts/ORDERS/users/d1/roll/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/reissue", "/accounts/ORDERS/users/d1/reissue", false},
	{"POST", "/accounts/{acct}/users/{user}/reissue", "/accounts/ORDERS/users/d1/reissue", false},
	{"POST", "/accounts/{acct}/users/{user}/reissue/apply", "/accounts/ORDERS/users/d1/reissue/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/edit", "/accounts/ORDERS/users/d1/edit", false},
	{"POST", "/accounts/{acct}/users/{user}/edit", "/accounts/ORDERS/users/d1/edit", false},
	{"POST", "/accounts/{acct}/users/{user}/edit/apply", "/accounts/ORDERS/users/d1/edit/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/disable", "/accounts/ORDERS/users/d1/disable", false},
	{"POST", "/accounts/{acct}/users/{user}/disable", "/accounts/ORDERS/users/d1/disable", false},
	{"POST", "/accounts/{acct}/users/{user}/disable/apply", "/accounts/ORDERS/users/d1/disable/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/enable", "/accounts/ORDERS/users/d1/enable", false},
	{"POST", "/accounts/{acct}/users/{user}/enable", "/accounts/ORDERS/users/d1/enable", false},
	{"POST", "/accounts/{acct}/users/{user}/enable/apply", "/accounts/ORDERS/users/d1/enable/apply", false},
	{"GET", "/accounts/{acct}/users/{user}/delete", "/accounts/ORDERS/users/d1/delete", false},
	{"POST", "/accounts/{acct}/users/{user}/delete", "/accounts/ORDERS/users/d1/delete", false},
	{"POST", "/accounts/{acct}/users/{user}/delete/apply", "/accounts/ORDERS/users/d1/delete/apply", false},
	{"GET", "/users", "/users", false},
	{"GET", "/c/{link}", "/c/chy_cred_x", true},
	{"POST", "/c/{link}", "/c/chy_cred_x", true},
	{"GET", "/templates", "/templates", false},
	{"GET", "/accounts/{acct}/templates", "/accounts/ORDERS/templates", false},
	{"GET", "/accounts/{acct}/templates/new", "/accounts/ORDERS/templates/new", false},
	{"POST", "/accounts/{acct}/templates/new", "/accounts/ORDERS/templates/new", false},
	{"GET", "/accounts/{acct}/templates/{tpl}", "/accounts/ORDERS/templates/device?sample=d1+region:eu", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/edit", "/accounts/ORDERS/templates/device/edit", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/edit", "/accounts/ORDERS/templates/device/edit", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/edit/apply", "/accounts/ORDERS/templates/device/edit/apply", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/clone", "/accounts/ORDERS/templates/device/clone", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/clone", "/accounts/ORDERS/templates/device/clone", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/compare", "/accounts/ORDERS/templates/device/compare?with=device", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/use", "/accounts/ORDERS/templates/device/use", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/delete", "/accounts/ORDERS/templates/device/delete", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/delete/apply", "/accounts/ORDERS/templates/device/delete/apply", false},
	{"GET", "/operators/{op}/templates", "/operators/acme/templates", false},
	{"GET", "/operators/{op}/templates/new", "/operators/acme/templates/new", false},
	{"POST", "/operators/{op}/templates/new", "/operators/acme/templates/new", false},
	{"GET", "/operators/{op}/templates/{tpl}", "/operators/acme/templates/service?sample=d1+region:eu", false},
	{"GET", "/operators/{op}/templates/{tpl}/edit", "/operators/acme/templates/service/edit", false},
	{"POST", "/operators/{op}/templates/{tpl}/edit", "/operators/acme/templates/service/edit", false},
	{"POST", "/operators/{op}/templates/{tpl}/edit/apply", "/operators/acme/templates/service/edit/apply", false},
	{"GET", "/operators/{op}/templates/{tpl}/clone", "/operators/acme/templates/service/clone", false},
	{"POST", "/operators/{op}/templates/{tpl}/clone", "/operators/acme/templates/service/clone", false},
	{"GET", "/operators/{op}/templates/{tpl}/compare", "/operators/acme/templates/service/compare?with=service", false},
	{"POST", "/operators/{op}/templates/{tpl}/delete", "/operators/acme/templates/service/delete", false},
	{"POST", "/operators/{op}/templates/{tpl}/delete/apply", "/operators/acme/templates/service/delete/apply", false},
	{"GET", "/settings/access", "/settings/access", false},
	{"GET", "/settings/access/new", "/settings/access/new", false},
	{"POST", "/settings/access/new", "/settings/access/new", false},
	{"GET", "/settings/access/{person}", "/settings/access/olga", false},
	{"POST", "/settings/access/{person}/link", "/settings/access/olga/link", false},
	{"GET", "/settings/access/{person}/grant", "/settings/access/olga/grant", false},
	{"POST", "/settings/access/{person}/grant", "/settings/access/olga/grant", false},
	{"POST", "/settings/access/{person}/grant/apply", "/settings/access/olga/grant/apply", false},
	{"GET", "/settings/access/{person}/take", "/settings/access/olga/take?grant=0", false},
	{"POST", "/settings/access/{person}/take", "/settings/access/olga/take?grant=0", false},
	{"POST", "/settings/access/{person}/take/apply", "/settings/access/olga/take/apply?grant=0", false},
	{"GET", "/settings/access/{person}/disable", "/settings/access/olga/disable", false},
	{"POST", "/settings/access/{person}/disable", "/settings/access/olga/disable", false},
	{"POST", "/settings/access/{person}/disable/apply", "/settings/access/olga/disable/apply", false},
	{"GET", "/settings/access/{person}/enable", "/settings/access/olga/enable", false},
	{"POST", "/settings/access/{person}/enable", "/settings/access/olga/enable", false},
	{"POST", "/settings/access/{person}/enable/apply", "/settings/access/olga/enable/apply", false},
	{"GET", "/settings/tokens", "/settings/tokens", false},
	{"GET", "/settings/tokens/new", "/settings/tokens/new", false},
	{"POST", "/settings/tokens/new", "/settings/tokens/new", false},
	{"POST", "/settings/tokens/new/apply", "/settings/tokens/new/apply", false},
	{"GET", "/settings/tokens/{token}/revoke", "/settings/tokens/tok_x/revoke", false},
	{"POST", "/settings/tokens/{token}/revoke", "/settings/tokens/tok_x/revoke", false},
	{"POST", "/settings/tokens/{token}/revoke/apply", "/settings/tokens/tok_x/revoke/apply", false},
	{"GET", "/settings/roles", "/settings/roles", false},
	{"GET", "/inspect", "/inspect", false},
	{"POST", "/inspect", "/inspect", false},
	{"GET", "/inspect/can", "/inspect/can?op=publish&subject=orders.new", false},
	{"GET", "/keys", "/keys", false},
	{"GET", "/operators/{op}/keys", "/operators/acme/keys", false},
	{"GET", "/operators/{op}/keys/rotate", "/operators/acme/keys/rotate", false},
	{"POST", "/operators/{op}/keys/rotate", "/operators/acme/keys/rotate", false},
	{"POST", "/operators/{op}/keys/rotate/apply", "/operators/acme/keys/rotate/apply", false},
	{"GET", "/operators/{op}/keys/{key}/{step}", "/operators/acme/keys/OX/retire", false},
	{"POST", "/operators/{op}/keys/{key}/{step}", "/operators/acme/keys/OX/retire", false},
	{"POST", "/operators/{op}/keys/{key}/{step}/apply", "/operators/acme/keys/OX/retire/apply", false},
	{"GET", "/accounts/{acct}/keys", "/accounts/ORDERS/keys", false},
	{"GET", "/accounts/{acct}/keys/rotate", "/accounts/ORDERS/keys/rotate", false},
	{"POST", "/accounts/{acct}/keys/rotate", "/accounts/ORDERS/keys/rotate", false},
	{"POST", "/accounts/{acct}/keys/rotate/apply", "/accounts/ORDERS/keys/rotate/apply", false},
	{"GET", "/accounts/{acct}/keys/{key}/{step}", "/accounts/ORDERS/keys/OX/retire", false},
	{"POST", "/accounts/{acct}/keys/{key}/{step}", "/accounts/ORDERS/keys/OX/retire", false},
	{"POST", "/accounts/{acct}/keys/{key}/{step}/apply", "/accounts/ORDERS/keys/OX/retire/apply", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/keys", "/accounts/ORDERS/templates/device/keys", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/keys/rotate", "/accounts/ORDERS/templates/device/keys/rotate", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/keys/rotate", "/accounts/ORDERS/templates/device/keys/rotate", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/keys/rotate/apply", "/accounts/ORDERS/templates/device/keys/rotate/apply", false},
	{"GET", "/accounts/{acct}/templates/{tpl}/keys/{key}/{step}", "/accounts/ORDERS/templates/device/keys/OX/retire", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/keys/{key}/{step}", "/accounts/ORDERS/templates/device/keys/OX/retire", false},
	{"POST", "/accounts/{acct}/templates/{tpl}/keys/{key}/{step}/apply", "/accounts/ORDERS/templates/device/keys/OX/retire/apply", false},
	{"GET", "/import-jobs", "/import-jobs", false},
	{"GET", "/import-jobs/new", "/import-jobs/new", false},
	{"POST", "/import-jobs/new", "/import-jobs/new", false},
	{"GET", "/import-jobs/{job}", "/import-jobs/job_x", false},
	{"POST", "/import-jobs/{job}/drop", "/import-jobs/job_x/drop", false},
	{"GET", "/import-jobs/{job}/{mode}", "/import-jobs/job_x/adopt", false},
	{"POST", "/import-jobs/{job}/{mode}", "/import-jobs/job_x/adopt", false},
	{"GET", "/audit", "/audit?account=ORDERS&from=2026-11-21", false},
	{"GET", "/audit/export", "/audit/export?format=csv", false},
	{"POST", "/audit/verify", "/audit/verify", false},
	{"GET", "/audit/{entry}", "/audit/1", false},
	{"GET", "/sharing", "/sharing", false},
	{"GET", "/accounts/{acct}/sharing", "/accounts/ORDERS/sharing", false},
	{"GET", "/accounts/{acct}/exports/{export}", "/accounts/ORDERS/exports/exp_x", false},
	{"GET", "/accounts/{acct}/exports/{export}/activations/{activation}", "/accounts/ORDERS/exports/exp_x/activations/act_x", false},
	{"GET", "/accounts/{acct}/imports/{import}", "/accounts/ORDERS/imports/imp_x", false},
	{"GET", "/sharing/new", "/sharing/new", false},
	{"POST", "/sharing/new", "/sharing/new", false},
	{"POST", "/sharing/new/apply", "/sharing/new/apply", false},
	{"GET", "/accounts/{acct}/exports/new", "/accounts/ORDERS/exports/new", false},
	{"POST", "/accounts/{acct}/exports/new", "/accounts/ORDERS/exports/new", false},
	{"POST", "/accounts/{acct}/exports/new/apply", "/accounts/ORDERS/exports/new/apply", false},
	{"GET", "/accounts/{acct}/exports/{export}/delete", "/accounts/ORDERS/exports/exp_x/delete", false},
	{"POST", "/accounts/{acct}/exports/{export}/delete", "/accounts/ORDERS/exports/exp_x/delete", false},
	{"POST", "/accounts/{acct}/exports/{export}/delete/apply", "/accounts/ORDERS/exports/exp_x/delete/apply", false},
	{"GET", "/accounts/{acct}/exports/{export}/activate", "/accounts/ORDERS/exports/exp_x/activate", false},
	{"POST", "/accounts/{acct}/exports/{export}/activate", "/accounts/ORDERS/exports/exp_x/activate", false},
	{"POST", "/accounts/{acct}/exports/{export}/activate/apply", "/accounts/ORDERS/exports/exp_x/activate/apply", false},
	{"GET", "/accounts/{acct}/exports/{export}/revoke", "/accounts/ORDERS/exports/exp_x/revoke?of=*", false},
	{"POST", "/accounts/{acct}/exports/{export}/revoke", "/accounts/ORDERS/exports/exp_x/revoke?of=*", false},
	{"POST", "/accounts/{acct}/exports/{export}/revoke/apply", "/accounts/ORDERS/exports/exp_x/revoke/apply?of=*", false},
	{"GET", "/accounts/{acct}/imports/new", "/accounts/ORDERS/imports/new", false},
	{"POST", "/accounts/{acct}/imports/new", "/accounts/ORDERS/imports/new", false},
	{"POST", "/accounts/{acct}/imports/new/apply", "/accounts/ORDERS/imports/new/apply", false},
	{"GET", "/accounts/{acct}/imports/{import}/renew", "/accounts/ORDERS/imports/imp_x/renew", false},
	{"POST", "/accounts/{acct}/imports/{import}/renew", "/accounts/ORDERS/imports/imp_x/renew", false},
	{"POST", "/accounts/{acct}/imports/{import}/renew/apply", "/accounts/ORDERS/imports/imp_x/renew/apply", false},
	{"GET", "/accounts/{acct}/imports/{import}/delete", "/accounts/ORDERS/imports/imp_x/delete", false},
	{"POST", "/accounts/{acct}/imports/{import}/delete", "/accounts/ORDERS/imports/imp_x/delete", false},
	{"POST", "/accounts/{acct}/imports/{import}/delete/apply", "/accounts/ORDERS/imports/imp_x/delete/apply", false},
	{"GET", "/accounts/{acct}/exports/{export}/edit", "/accounts/ORDERS/exports/exp_x/edit", false},
	{"POST", "/accounts/{acct}/exports/{export}/edit", "/accounts/ORDERS/exports/exp_x/edit", false},
	{"POST", "/accounts/{acct}/exports/{export}/edit/apply", "/accounts/ORDERS/exports/exp_x/edit/apply", false},
	{"GET", "/accounts/{acct}/imports/{import}/edit", "/accounts/ORDERS/imports/imp_x/edit", false},
	{"POST", "/accounts/{acct}/imports/{import}/edit", "/accounts/ORDERS/imports/imp_x/edit", false},
	{"POST", "/accounts/{acct}/imports/{import}/edit/apply", "/accounts/ORDERS/imports/imp_x/edit/apply", false},
	{"GET", "/operators/{op}/drift", "/operators/acme/drift", false},
	{"GET", "/operators/{op}/drift/{drift}", "/operators/acme/drift/drf_x", false},
	{"GET", "/operators/{op}/drift/{drift}/decision", "/operators/acme/drift/drf_x/decision", false},
	{"POST", "/operators/{op}/drift/{drift}/decision", "/operators/acme/drift/drf_x/decision", false},
	{"POST", "/operators/{op}/drift/{drift}/decision/apply", "/operators/acme/drift/drf_x/decision/apply", false},
	{"GET", "/connections", "/connections?server=n1", false},
	{"GET", "/connections/{server}/{cid}/kick", "/connections/n1/7/kick", false},
	{"POST", "/connections/{server}/{cid}/kick", "/connections/n1/7/kick", false},
	{"POST", "/connections/{server}/{cid}/kick/apply", "/connections/n1/7/kick/apply", false},
	{"GET", "/denials", "/denials?class=not_revoked", false},
	{"GET", "/denials/{denial}", "/denials/den_x", false},
	{"GET", "/events", "/events?type=denial", false},
	{"GET", "/events/stream", "/events/stream", false},
	{"GET", "/servers", "/servers", false},
	{"GET", "/operators/{op}/push", "/operators/acme/push", false},
	{"POST", "/operators/{op}/push", "/operators/acme/push", false},
	{"POST", "/operators/{op}/push/apply", "/operators/acme/push/apply", false},
	{"", "/", "/nowhere", true},
}

func TestEveryRouteIsTested(t *testing.T) {
	t.Parallel()
	var tested []string
	for _, p := range pages {
		tested = append(tested, p.method+" "+p.pattern)
	}
	if got := web.Routes(); !slices.Equal(got, tested) {
		t.Errorf("the routes are\n%s\nand the tested ones\n%s", strings.Join(got, "\n"), strings.Join(tested, "\n"))
	}
}

func checkHeaders(p page) {
	p.t.Helper()
	csp := p.header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'", "connect-src 'self'",
		"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
	} {
		if !strings.Contains(csp, want) {
			p.t.Errorf("%s: the policy lacks %s", p.url, want)
		}
	}
	if strings.Contains(csp, "unsafe") {
		p.t.Errorf("%s: the policy is unsafe: %s", p.url, csp)
	}
	for name, want := range map[string]string{
		"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := p.header.Get(name); got != want {
			p.t.Errorf("%s: %s is %q, want %q", p.url, name, got, want)
		}
	}
	if !regexp.MustCompile(`^req_[A-Z2-7]{26}$`).MatchString(p.header.Get("X-Request-Id")) {
		p.t.Errorf("%s: request id %q", p.url, p.header.Get("X-Request-Id"))
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.user("d1")
	h.share()
	for _, b := range []*browser{h.visitor(), h.signedIn()} {
		for _, r := range pages {
			if r.path == "/logout" {
				continue
			}
			p := b.do(r.method, r.path, nil)
			checkHeaders(p)
			if !slices.Contains(p.header.Values("Cache-Control"), "no-store") {
				t.Errorf("%s %s may be cached: %q", r.method, r.path, p.header.Values("Cache-Control"))
			}
			if p.status != http.StatusSeeOther && p.header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%s %s is %q", r.method, r.path, p.header.Get("Content-Type"))
			}
			p.hasNot(` style="`, "<style", "javascript:", " onclick", "ZgotmplZ")
			for _, m := range regexp.MustCompile(`<script[^>]*>[^<]|(?:src|href)="(?:https?:)?//`).FindAllString(p.body, -1) {
				t.Errorf("%s %s holds %q", r.method, r.path, m)
			}
		}
	}
}

func TestHSTS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{Secure: true})
	if h.visitor().get("/login").header.Get("Strict-Transport-Security") == "" {
		t.Error("behind TLS, browsers are not told to stay there")
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	p := h.visitor().get("/login").want(200)
	found := regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(p.body, -1)
	if len(found) != 3 {
		t.Fatalf("the page loads %v", found)
	}
	for _, m := range found {
		f := h.visitor().get(m[1]).want(200)
		checkHeaders(f)
		if got := f.header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", m[1], got)
		}
		if strings.HasSuffix(m[1], ".js") && len(f.body) > 15<<10 {
			t.Errorf("the script has %d bytes", len(f.body))
		}
		if ct := f.header.Get("Content-Type"); strings.HasPrefix(ct, "text/plain") || ct == "" {
			t.Errorf("%s: Content-Type %q", m[1], ct)
		}
	}
	gone := h.visitor().get("/static/console.000000000000.css").want(404)
	checkHeaders(gone)
	if got := gone.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a missing file may be cached: %q", got)
	}
}

func TestCrossSite(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	link := h.link("eve")
	b := h.signedIn()
	for name, header := range map[string]http.Header{
		"cross-site":           {"Sec-Fetch-Site": {"cross-site"}},
		"same-site":            {"Sec-Fetch-Site": {"same-site"}},
		"another origin":       {"Origin": {"https://evil.example"}},
		"null origin":          {"Origin": {"null"}},
		"a session and nobody": {},
	} {
		t.Log(name)
		b.header = header
		p := b.post("/accounts/new", url.Values{"name": {"EVIL"}}).want(403).has("This request came from another site")
		checkHeaders(p)
		b.post("/accounts/ORDERS/users/d1/revoke/apply", nil).want(403)
		b.post("/logout", nil).want(403)
	}
	// Nobody can be signed in to a stranger's account from another site either.
	stranger := h.visitor()
	stranger.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
	stranger.post(link, nil).want(403)
	b.header = http.Header{"Origin": {h.front.URL}}
	b.get("/accounts").want(200).hasNot("EVIL")
	b.post("/logout", nil).want(303)
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		for _, path := range []string{
			"/nowhere", "/accounts/", "/accounts/NONE", "/accounts/ORDERS/users/none", "/accounts/ORDERS/users/none/revocation", "/accounts/a%2Fb",
			"/accounts/%00", "/accounts/ORDERS/users/%00", "/accounts/ORDERS/users/%FF%FE", "/accounts/%ff", "/accounts/..%2f..%2fetc",
		} {
			p := b.get(path).want(404).has("Not found")
			checkHeaders(p)
		}
		h.visitor().get("/nowhere").want(404).hasNot("Sign out")
		b.do(http.MethodDelete, "/accounts", nil).want(404)
	})
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	b.post("/accounts/new", url.Values{"name": {"BIG"}, "description": {strings.Repeat("x", 70<<10)}}).want(413).has("longer than 64 KiB")
	b.get("/accounts").hasNot("BIG")
}

// What went wrong inside is in the log, once, with the request id that the page
// shows, and nowhere else.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	h.live.Stop()
	must(t, h.store.Close())
	p := b.get("/accounts").want(500).has("Something went wrong on our side.", "request id")
	p.hasNot("sql", "database is closed")
	id := p.header.Get("X-Request-Id")
	p.has(id)
	lines := 0
	for _, line := range strings.Split(h.log.String(), "\n") {
		if strings.Contains(line, id) && strings.Contains(line, `"level":"ERROR"`) {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("the error was logged %d times", lines)
	}
}
