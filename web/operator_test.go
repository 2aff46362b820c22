package web_test

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/web"
)

func (h *house) readOperator(name string) issuer.Operator {
	h.t.Helper()
	o, err := h.issuer.GetOperator(h.t.Context(), op.Caller, name)
	must(h.t, err)
	return o
}

// TestOperatorPage reads the page of an operator, and what it offers to whom.
func TestOperatorPage(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.get("/operators").want(200).has(`href="/operators/acme"`, "here, sealed")
		conf, err := h.issuer.ServerConfig(t.Context(), issuer.System("test"), "acme", "http://chancery.test")
		must(t, err)
		p := b.get("/operators/acme").want(200).has(h.operator, claims.KeyFingerprint(h.operator), conf.Fingerprint, "system_account: ", "Strict signing keys", "Switch signing off",
			`<svg class="chain"`, "ORDERS", "SYS", "No server is connected", "90 days")
		if n := strings.Count(p.body, `class="chain-account"`); n != 2 {
			t.Errorf("%d accounts are drawn", n)
		}
		for kind, want := range map[string]string{"url": "resolver: URL(", "full": "type: full", "cache": "type: cache", "memory": "resolver: MEMORY"} {
			b.get("/operators/acme?resolver="+kind).want(200).has(want, `value="`+kind+`" selected`, conf.Fingerprint)
		}
		b.get("/operators/acme?resolver=none").want(200).has("resolver: URL(", `value="url" selected`)
		h.auditor().get("/operators/acme").want(200).hasNot("Switch signing off", "/operators/acme/edit", "/operators/acme/delete")
		b.get("/operators/none").want(404)
	})
}

func TestEditOperator(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.submit(b.get("/operators/acme/edit").want(200), "service_urls", "http://x", "ttl", "soon").want(422).has("Write a number and days")
		b.submit(b.get("/operators/acme/edit"), "ttl", "10s").want(422).has("60 seconds")
		b.submit(b.get("/operators/acme/edit"), "strict", "on").want(200).has("Nothing would change")
		plan := b.submit(b.get("/operators/acme/edit"), "strict", "on", "service_urls", "nats://n1:4222", "ttl", "30d", "renewal", "33 %", "reason", "new servers").want(200).
			has("nats://n1:4222", "30 days", "33 % of the lifetime", "restarted")
		before := h.readOperator("acme")
		b.follow(b.submit(plan)).want(200).has("Operator acme was changed", "nats://n1:4222", "In the last 33 %")
		o := h.readOperator("acme")
		if want := (issuer.Policy{DefaultTTL: 30 * 86400, Renewal: 33}); !cmp.Equal(o.Policy, want) || o.JWT == before.JWT || o.Version != before.Version+1 {
			t.Errorf("%+v", o)
		}
		// A plan that somebody overtook is shown again.
		plan = b.submit(b.get("/operators/acme/edit"), "strict", "on", "tags", "a")
		_, err := h.issuer.UpdateOperator(t.Context(), op, "acme", func(e *issuer.OperatorEdit) { e.Tags = []string{"b"} })
		must(t, err)
		b.submit(plan).want(200).has("Something changed meanwhile")
	})
}

func TestSigningSwitch(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.get("/accounts").want(200).hasNot("Signing is off")
		b.follow(b.submit(b.get("/operators/acme/signing").want(200).has("Switch signing off"), "reason", "a leak?")).want(200).has("Signing is off for operator acme", "Switch signing on", "by ada")
		for _, path := range []string{"/accounts", "/accounts/ORDERS", "/operators", "/inspect", "/nowhere"} {
			b.get(path).has("<strong>Signing is off</strong>", "a leak?")
		}
		b.submit(b.get("/accounts/new"), "name", "NEW").want(409).has("Signing is switched off")
		b.submit(b.submit(b.get("/accounts/ORDERS/suspend")).want(200)).want(303)
		b.follow(b.submit(b.get("/operators/acme/signing").has("Switch signing on"))).want(200).has("Signing is on again").hasNot("<strong>Signing is off</strong>")
	})
}

// TestOfflineInConsole makes, signs and uploads as the page says.
func TestOfflineInConsole(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		pair, err := nkeys.CreateOperator()
		must(t, err)
		public, err := pair.PublicKey()
		must(t, err)
		b.submit(b.get("/operators/new"), "name", "vault", "custody", "offline", "public_key", "x").want(422).has("must be the public key of an operator")
		p := b.follow(b.submit(b.get("/operators/new"), "name", "vault", "custody", "offline", "public_key", public)).want(200).
			has("first JWT waits for its signature", "Awaiting signature", "is not signed yet")
		fingerprint := regexp.MustCompile(`Fingerprint <code>([0-9a-f-]{19})</code>`).FindStringSubmatch(p.body)
		if fingerprint == nil {
			t.Fatal("no fingerprint")
		}
		page := b.get("/operators/vault/signature").want(200).has("chancery operator sign --offline", fingerprint[1])
		b.submit(page, "jwt", h.readOperator("acme").JWT).want(422).has("another operator")
		raw := regexp.MustCompile(`(?s)<code>(\{.*?\})</code>`).FindStringSubmatch(page.body)
		if raw == nil {
			t.Fatal("no export")
		}
		request, err := claims.ParseSigningRequest([]byte(html.UnescapeString(raw[1])))
		must(t, err)
		token, err := request.Sign(pair)
		must(t, err)
		b.follow(b.submit(page, "jwt", token)).want(200).has("The JWT of vault is in force", fingerprint[1]).hasNot("waits for")
		b.submit(b.submit(b.get("/operators/vault/edit"), "strict", "").has("stays until its holder has signed")).want(303)
		b.get("/operators/vault").has("A change waits for the identity key", "Strict signing key usage")
		b.submit(b.get("/operators/vault/signature"), "jwt", token).want(409).has("not issued later")
	})
}

func TestObservedInConsole(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	pair, err := nkeys.CreateOperator()
	must(t, err)
	public, err := pair.PublicKey()
	must(t, err)
	c := jwt.NewOperatorClaims(public)
	c.Name = "elsewhere"
	token, err := c.Encode(pair)
	must(t, err)
	b.follow(b.submit(b.get("/operators/new"), "name", "", "custody", "observed", "jwt", token)).want(200).has("Read-only", "Upload a newer JWT").hasNot("/operators/elsewhere/edit")
	b.submit(b.get("/operators/elsewhere/edit"), "tags", "x").want(409).has("read-only here")
}

// TestDeletions needs the name typed.
func TestDeletions(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		b := h.signedIn()
		b.submit(b.get("/operators/acme/delete").want(200), "typed", "acme").want(409).has("has accounts beside its system account")
		b.submit(b.get("/accounts/ORDERS/delete").want(200), "typed", "orders").want(422).has("This is not the name")
		plan := b.submit(b.get("/accounts/ORDERS/delete"), "typed", "ORDERS").want(200).has("Deleted", "credential stops working", "Delete for ever")
		b.follow(b.submit(plan)).want(200).has("Account ORDERS was deleted").hasNot(`href="/accounts/ORDERS"`)
		b.get("/accounts/ORDERS").want(404)
		b.get("/accounts/"+h.account).want(200).has("Only its tombstone is left").hasNot("Change limits", "New user")
		b.follow(b.submit(b.submit(b.get("/operators/acme/delete"), "typed", "acme").want(200))).want(200).has("Operator acme was deleted", "No operator yet")
		b.get("/accounts/" + h.account).want(200).has("Only its tombstone is left")
	})
}

func TestSuspendInConsole(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/suspend").want(200), "reason", "unpaid").want(200).has("Suspended", "Connections"))).want(200).
			has("Account ORDERS is suspended", "Nobody is admitted", "/accounts/ORDERS/resume").hasNot("/accounts/ORDERS/suspend")
		b.submit(b.get("/accounts/ORDERS/suspend")).want(200).has("Nothing would change")
		b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/resume")).want(200))).want(200).has("Account ORDERS goes on")
		// What locks Chancery out is held up, and lets itself be insisted on.
		held := b.submit(b.get("/accounts/SYS/suspend").want(200)).want(409).has("would admit nobody", "type system_account")
		b.submit(held, "guard_typed", "what").want(409).has("That is not the name")
		plan := b.submit(held, "guard_typed", "system_account").want(200).has("Suspend SYS")
		b.follow(b.submit(plan)).want(200).has("Account SYS is suspended")
	})
}
