package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store/storetest"
	"chancery/web"
)

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := web.New(web.Config{}); err == nil {
		t.Error("a console without parts was made")
	}
}

// A process without its key shows everything, revokes nothing, and says why.
func TestSealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.user("d1")
	sealed, err := issuer.Open(t.Context(), issuer.Config{Store: h.store, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	console, err := web.New(web.Config{Issuer: sealed, Live: h.live, Sessions: h.store.Sessions(), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	h.front = httptest.NewServer(console.Handler())
	t.Cleanup(h.front.Close)
	b := h.signedIn()
	b.get("/accounts/ORDERS/users/d1").want(200).has(`curl -sS "$CHANCERY_URL"'/api/v1/accounts/ORDERS/users/d1'`)
	p := b.submit(b.get("/accounts/ORDERS/users/d1/issue"), "reason", "kept").want(503).has("This server is sealed", "key-encryption key", `value="kept"`)
	if p.header.Get("Retry-After") == "" {
		t.Error("nothing says when to try again")
	}
	b.submit(b.get("/accounts/new"), "name", "X").want(503).has("This server is sealed")
	b.submit(b.submit(b.get("/accounts/ORDERS/users/d1/revoke")).want(200)).want(503).has("This server is sealed")
}

func TestNothingYet(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	// The same parts on an empty database.
	h.store = storetest.SQLite(t)
	var err error
	h.issuer, err = issuer.Open(t.Context(), issuer.Config{Store: h.store, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	console, err := web.New(web.Config{Issuer: h.issuer, Live: h.live, Sessions: h.store.Sessions(), Now: time.Now, Logger: slog.New(slog.DiscardHandler), PublicURL: "http://chancery.test/"})
	must(t, err)
	h.front = httptest.NewServer(console.Handler())
	t.Cleanup(h.front.Close)
	b := h.signedIn()
	b.get("/accounts").want(200).has("No operator yet", `href="/operators/new"`)
	b.submit(b.get("/operators/new"), "name", "acme").want(503).has("This server is sealed")
	b.submit(b.get("/accounts/new"), "name", "X").want(409).has("There is no operator yet.")
}

func TestLedger(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		for i := range 22 {
			_, err := h.issuer.Issue(t.Context(), op, h.account, "d1", issuer.IssueInput{TTL: time.Hour, DeliveredTo: fmt.Sprintf("desk %02d", i)})
			must(t, err)
		}
		b := h.signedIn()
		p := b.get("/accounts/ORDERS/users/d1").want(200).has("desk 21", "desk 02", "Next page").hasNot("desk 01")
		_, rest, _ := strings.Cut(p.body, `class="next" href="`)
		next, _, _ := strings.Cut(rest, `"`)
		b.get(next).want(200).has("desk 01", "desk 00", "inline", "Back to the start").hasNot("desk 02", "Next page")
	})
}

func TestTiers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	_, err := h.issuer.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) {
		s.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {DiskStorage: 1 << 30}, "R3": {DiskStorage: 3 << 30}}
	})
	must(t, err)
	b := h.signedIn()
	b.get("/accounts/ORDERS").want(200).has("On, 2 tiers")
	form := b.get("/accounts/ORDERS/limits").want(200).has("By replica count", `value="1 GiB"`, `value="3 GiB"`)
	b.follow(b.submit(b.submit(form, "connections", "7", "disk", "5 GiB", "R1_disk", "2 GiB").want(200))).want(200).has("On, 2 tiers", "2 GiB")
	l := h.settings().Limits
	if l.JetStreamTieredLimits["R1"] != (jwt.JetStreamLimits{DiskStorage: 2 << 30}) || l.JetStreamTieredLimits["R3"].DiskStorage != 3<<30 || l.DiskStorage != 0 {
		t.Errorf("the limits are %+v", l)
	}
	b.submit(form, "R1_on", unchecked, "R3_on", unchecked).want(422).has("at least one tier")
	b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/limits"), "mode", "together", "disk", "5 GiB", "memory", "0").want(200)))
	if l := h.settings().Limits; len(l.JetStreamTieredLimits) != 0 || l.DiskStorage != 5<<30 || l.MemoryStorage != 0 {
		t.Errorf("the limits are %+v", l)
	}
	b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/limits"), "jetstream", unchecked).want(200)))
	if l := h.settings().Limits; l.IsJSEnabled() {
		t.Errorf("the limits are %+v", l)
	}
}

func TestLongRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	body := claims.Template{Name: "many", Permissions: claims.NewPermissionLimits()}
	for i := range 7 {
		body.Permissions.Pub.Allow.Add(fmt.Sprintf("a%d.>", i))
		body.Permissions.Pub.Deny.Add(fmt.Sprintf("d%d.>", i))
	}
	body.Permissions.Sub.Deny.Add("x.{{tag(zone)}}")
	_, err := h.issuer.CreateTemplate(t.Context(), op, h.account, issuer.TemplateInput{Body: body})
	must(t, err)
	b := h.signedIn()
	b.get("/accounts/ORDERS").want(200).has("a3.>", "and 6 more").hasNot("a4.&gt;")
	form := b.get("/accounts/ORDERS/users/new?template=many").want(200).has("Tag zone", "without it a server refuses the user")
	b.submit(form, "name", "u").want(422).has("a deny rule; without it a nats-server refuses the connection")
	b.get("/accounts/ORDERS/users/new?template=none").want(200).has("Choose one")
}

// A revocation that could not be proven says so, and names whom it waits for.
func TestUnproven(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	stop := h.startNATS()
	h.user("d1")
	b := h.signedIn()
	plan := b.submit(b.get("/accounts/ORDERS/users/d1/revoke")).want(200)
	stop()
	b.follow(b.submit(plan)).want(200).has("Check again").hasNot("Proven:")
	b.get("/accounts/ORDERS/users/d1").want(200).has("Revoked")
}

func TestHead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	if p := h.visitor().do(http.MethodHead, "/login", nil).want(200); p.body != "" {
		t.Error("HEAD has a body")
	}
}
