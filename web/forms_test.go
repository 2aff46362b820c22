package web_test

import (
	"net/http"
	"strings"
	"testing"

	"chancery/issuer"
	"chancery/web"
)

func (h *house) accounts() int {
	h.t.Helper()
	list, err := h.issuer.ListAccounts(h.t.Context(), op.Caller, "", issuer.Page{Limit: 100})
	must(h.t, err)
	return len(list)
}

func (h *house) users() int {
	h.t.Helper()
	list, err := h.issuer.ListUsers(h.t.Context(), op.Caller, h.account, issuer.Page{Limit: 100})
	must(h.t, err)
	return len(list)
}

func TestNewAccount(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		form := b.get("/accounts/new").want(200)
		before := h.accounts()
		// All that is wrong is said at once, next to the fields, and what was typed stays.
		p := b.submit(form, "name", "a/b", "description", "keep me", "tags", "with space: x:y:z", "connections", "many", "jetstream", "on", "disk", "5 parsecs").want(422)
		p.has("Name: A name must not contain", "Connections: Write a whole number", "Disk: Write a size such as", "Tags: A tag is key or key:value",
			`value="a/b"`, `value="keep me"`, `value="many"`, `value="5 parsecs"`, " checked", `href="#f-name"`, `id="f-name-error"`, `aria-describedby="f-name-hint f-name-error"`, `aria-invalid="true"`, `role="alert"`)
		b.submit(form, "name", "X", "jetstream", "on", "disk", "0", "memory", "0").want(422).has("JetStream needs disk or memory")
		b.submit(form, "name", "X", "connections", "-5").want(422)
		b.submit(form, "name", "X", "jetstream", "on", "disk", "99999999 TiB").want(422)
		b.submit(form, "name", "ORDERS").want(409).has("has this name already")
		if n := h.accounts(); n != before {
			t.Fatalf("%d accounts were made by forms that were refused", n-before)
		}
		done := b.follow(b.submit(form, "name", "BILLING eu", "tags", "team:billing, env:prod", "connections", "1,500", "jetstream", "on", "disk", "10 GiB", "memory", "512mb"))
		done.want(200).has("Account BILLING eu was created.", "team:billing", "env:prod", "1,500", "10 GiB", "512 MiB", "No users yet", "No templates yet")
		b.get("/accounts").hasNot("was created")
		a, err := h.issuer.GetAccount(t.Context(), op.Caller, "BILLING eu")
		must(t, err)
		if l := a.Settings.Limits; l.Conn != 1500 || l.DiskStorage != 10<<30 || l.MemoryStorage != 512<<20 || l.Streams != -1 || l.Subs != -1 {
			t.Errorf("the limits are %+v", l)
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		form := b.get("/accounts/ORDERS/limits").want(200)
		b.submit(form).want(200).has("Nothing would change")
		b.submit(form, "connections", "x").want(422).has(`value="x"`)
		plan := b.submit(form, "connections", "500", "payload", "64 KiB", "jetstream", "on", "disk", "1 GiB", "memory", "0", "reason", "capacity review")
		plan.want(200).has("Limits of ORDERS", "Connections", "500", "64 KiB", "JetStream disk", "1 GiB", "Nothing has happened yet", "0", "servers are told")
		a, err := h.issuer.GetAccount(t.Context(), op.Caller, "ORDERS")
		must(t, err)
		if a.Settings.Limits.Conn != -1 {
			t.Fatal("looking at the plan applied it")
		}
		back := b.post("/accounts/ORDERS/limits", formOf(plan, "back", "1")).want(200)
		back.has("Review the change", `value="500"`, `value="64 KiB"`, " checked")
		b.follow(b.submit(plan)).want(200).has("The limits of ORDERS were changed.", "500", "64 KiB", "1 GiB")
		// The same plan again: nothing is left to do.
		b.submit(plan).want(200).has("Nothing would change")
		off := b.submit(b.get("/accounts/ORDERS/limits"), "connections", "").want(200).has("unlimited")
		b.follow(b.submit(off)).want(200)
	})
}

// A plan that is not the one that was looked at is shown anew instead of applied.
func TestPlanMoved(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b, other := h.signedIn(), h.signedIn()
		plan := b.submit(b.get("/accounts/ORDERS/limits"), "connections", "10").want(200)
		b2 := other.submit(other.get("/accounts/ORDERS/limits"), "connections", "20").want(200)
		other.follow(other.submit(b2)).want(200)
		moved := b.submit(plan).want(200).has("Something changed meanwhile", "20", "10")
		b.submit(plan, "plan", "forged").want(200).has("Something changed meanwhile")
		b.follow(b.submit(moved)).want(200).has("The limits of ORDERS were changed.")

		h.user("d1")
		revoke := b.submit(b.get("/accounts/ORDERS/users/d1/revoke"), "reason", "lost").want(200).has("credential stops working")
		_, err := h.issuer.Issue(t.Context(), op, h.account, "d1", issuer.IssueInput{})
		must(t, err)
		again := b.submit(revoke).want(200).has("Something changed meanwhile", "credentials stop working", `value="lost"`)
		list, err := h.issuer.ListRevocations(t.Context(), op.Caller, h.account, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}})
		must(t, err)
		if len(list) != 0 {
			t.Fatal("a plan that moved was applied")
		}
		b.follow(b.submit(again)).want(200).has("Signed and stored, not proven.")
	})
}

func TestNewUser(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		form := b.get("/accounts/ORDERS/users/new").want(200).has("device uses region", "None: publish and subscribe to everything")
		b.submit(form, "name", "").want(422).has("Name: A name is needed.", "Template: Choose one of the entries.")
		b.submit(form, "name", "has space", "template", "device").want(422).has("letters, digits, _ and - only")
		b.submit(form, "name", "d1", "template", "device", "lifetime", "31536000").want(422).has("Lifetime")
		// A tag that is missing would silently drop rules, so it is asked about.
		form = b.get("/accounts/ORDERS/users/new?template=device").want(200).has("Tag region", "The longest the template allows: 30 days").hasNot("1 year")
		ask := b.submit(form, "name", "d1").want(200).has("This works, but look first", "the allow rules that use it are dropped", "Create it anyway", `value="d1"`)
		if h.users() != 0 {
			t.Fatal("a user was made by a form that was not accepted")
		}
		p := b.submit(ask, "tag.region", "eu us").want(200).has("Shown once.", "BEGIN NATS USER JWT", "BEGIN USER NKEY SEED", "acme-ORDERS-d1.creds", "chmod 600", "account info", "expire")
		if p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("the secret may be cached: %q", p.header.Get("Cache-Control"))
		}
		u, err := h.issuer.GetUser(t.Context(), op.Caller, h.account, "d1")
		must(t, err)
		if got := strings.Join(u.Tags, " "); got != "region:eu region:us" {
			t.Errorf("the tags are %q", got)
		}
		b.submit(ask, "tag.region", "eu").want(409).has("This form was sent before.")
		b.submit(b.get("/accounts/ORDERS/users/new"), "name", "d1", "template", "device", "tags", "region:eu").want(409).has("already")
		b.submit(b.submit(form, "name", "d2")).want(200).has("Shown once.") // a warning can be overruled
		b.submit(b.get("/accounts/ORDERS/users/new"), "name", "all", "template", "/none", "lifetime", "never").want(422).has("needs a reason")
		b.submit(b.get("/accounts/ORDERS/users/new"), "name", "all", "template", "/none", "lifetime", "never", "reason", "a buoy").want(200).has("Shown once.", "no expiry")
		if h.users() != 3 {
			t.Errorf("there are %d users", h.users())
		}
	})
}

func TestIssueAgain(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		b := h.signedIn()
		form := b.get("/accounts/ORDERS/users/d1/issue").want(200)
		b.submit(form, "reason", strings.Repeat("ä", 501)).want(422).has("At most 500 characters are allowed.")
		b.submit(form, "reason", "a\x00b").want(422).has("control characters")
		b.submit(form, "reason", "a\xffb").want(422).has("valid UTF-8")
		b.submit(form, "once", "").want(409)
		b.submit(form, "lifetime", "7").want(422).has("Choose one of the entries.")
		b.submit(form, "reason", "second device").want(200).has("Shown once.")
		b.submit(form).want(409).has("This form was sent before.")
		b.get("/accounts/ORDERS/users/d1").want(200).has("shown to ada")
		list, err := h.issuer.ListCredentials(t.Context(), op.Caller, h.account, "d1", issuer.LedgerPage{Limit: 10})
		must(t, err)
		if len(list) != 2 || list[0].Reason != "second device" {
			t.Errorf("the ledger is %+v", list)
		}
	})
}

func TestRevokeWithoutCredentials(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	_, err := h.issuer.CreateUser(t.Context(), op, h.account, issuer.UserInput{Name: "d1", Template: "device", Tags: []string{"region:eu"}})
	must(t, err)
	b := h.signedIn()
	b.get("/accounts/ORDERS/users/d1").want(200).has("No credentials yet")
	b.submit(b.get("/accounts/ORDERS/users/d1/revoke")).want(http.StatusConflict).has("no unexpired credentials")
	b.get("/accounts/ORDERS/users/d1/revocation").want(404)
}
