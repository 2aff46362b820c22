package web_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/web"
)

// stranger is the public key of an account that nobody here knows.
func stranger(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateAccount()
	must(t, err)
	key, err := pair.PublicKey()
	must(t, err)
	return key
}

// billing makes a second account, and returns its key.
func (h *house) billing() string {
	h.t.Helper()
	a, err := h.issuer.CreateAccount(h.t.Context(), op, issuer.AccountInput{Operator: "acme", Name: "BILLING", Settings: claims.NewAccountSettings()})
	must(h.t, err)
	return a.Value.ID
}

// edges furnishes an account with an export, an activation of it, and an import.
func (h *house) edges(account string) (export, activation, imported string) {
	h.t.Helper()
	e, err := h.issuer.CreateExport(h.t.Context(), op, account, jwt.Export{Subject: "out.>", Type: jwt.Stream, TokenReq: true})
	must(h.t, err)
	x, err := h.issuer.IssueActivation(h.t.Context(), op, account, e.Value.ID, issuer.ActivationInput{Importer: stranger(h.t)})
	must(h.t, err)
	m, err := h.issuer.CreateImport(h.t.Context(), op, account, jwt.Import{Account: stranger(h.t), Subject: "in.>", Type: jwt.Stream})
	must(h.t, err)
	return e.Value.ID, x.Value.ID, m.Value.ID
}

// A subject is shared in one step, looked at from both sides, renewed, revoked, and taken
// back on both sides.
func TestShare(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		billing := h.billing()
		b.get("/sharing").want(200).has("Nothing is shared yet", `href="/sharing/new"`)
		form := b.get("/sharing/new?exporter=ORDERS").want(200).has("Share a subject", "A key-value bucket")
		wrong := b.submit(form, "subject", "orders paid").want(422).has("To: Choose one of the entries.")
		b.submit(wrong, "importer", "BILLING").want(422).has("Subject: ")
		plan := b.submit(form, "importer", "BILLING", "subject", "orders.paid.>", "local", "in.>", "ttl", "2592000").want(200).
			has("Nothing has happened yet", "By activation", "valid for 30 days", "What BILLING calls stream orders.paid.>", "Exports and imports close none.")
		b.get("/sharing").has("Nothing is shared yet")
		b.submit(plan).want(200).has("ORDERS shares with BILLING", "Try it, with credentials of BILLING", "subscribe 'in.>'")

		p := b.get("/sharing").want(200).has("1 import in all", "orders.paid.>", "By activation", "Pending", "Share a subject", "stream orders.paid.> from ORDERS to BILLING: pending")
		b.get("/sharing?state=broken").want(200).has("Nothing matches")
		b.get("/sharing?state=pending&account=BILLING").want(200).has("orders.paid.>")
		b.get("/sharing?account=NOBODY").want(200).has("Nothing matches")
		b.get("/accounts/ORDERS/sharing?with="+billing).want(200).has("Only what is shared with", "orders.paid.>")
		b.get("/accounts/ORDERS/sharing?with=" + stranger(t)).want(200).has("Nothing matches")

		imported := between(t, p, `/accounts/BILLING/imports/`, `"`)
		page := b.get("/accounts/BILLING/imports/"+imported).want(200).has("A stream that BILLING imports from ORDERS", "Renew the activation", "in.>")
		export := between(t, page, `/accounts/ORDERS/exports/`, `"`)
		renewal := b.submit(b.get("/accounts/BILLING/imports/"+imported+"/renew"), "ttl", "31536000").want(200).has("valid for 365 days", "another token")
		b.follow(b.submit(renewal)).want(200).has("The activation was renewed.")
		b.get("/accounts/ORDERS/exports/"+export).want(200).has("BILLING", "Valid, followed by another")

		plan = b.submit(b.get("/accounts/ORDERS/exports/"+export+"/revoke?of="+billing)).want(200).has("Revoke the activations of BILLING", "2 not expired", "will not work any more: of BILLING")
		b.follow(b.submit(plan)).want(200).has("The activations of BILLING are revoked.", "Broken", "Share the subject again, if the importer is to have it.")
		b.get("/sharing").want(200).has("Broken", "The exporter has revoked the activation token.", "from ORDERS to BILLING: broken").hasNot("In effect</span>")

		plan = b.submit(b.get("/accounts/BILLING/imports/" + imported + "/delete")).want(200).has("Remove the import")
		p = b.follow(b.submit(plan)).want(200).has("Nobody imports this export any more")
		if p.url != "/accounts/"+h.account+"/exports/"+export {
			t.Errorf("removing the import leads to %s", p.url)
		}
		plan = b.submit(b.get("/accounts/ORDERS/exports/"+export+"/delete")).want(200).has("0", "imports stop working")
		b.follow(b.submit(plan)).want(200).has("orders.paid.> is not exported any more.", "Nothing is shared yet")
	})
}

// between returns what stands after a text on a page.
func between(t *testing.T, p page, after, before string) string {
	t.Helper()
	_, rest, ok := strings.Cut(p.body, after)
	found, _, ends := strings.Cut(rest, before)
	if !ok || !ends {
		t.Fatalf("%s does not hold %s: %s", p.url, after, p.text())
	}
	return found
}

// A bucket is shared with what clients of the importer have to set.
func TestShareBucket(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		billing := h.billing()
		form := b.get("/sharing/new?what=kv&exporter=ORDERS&importer=BILLING").want(200).has("Share a key-value bucket")
		b.submit(form, "stream", "settings", "domain", "API").want(422).has("JetStream has another meaning for this word")
		plan := b.submit(form, "stream", "settings", "domain", "orders", "recipe_access", "read_write").want(200).has("$KV.settings.>", "$JS.orders.API.$KV.settings.>")
		b.submit(plan).want(200).has("What clients of BILLING have to set", "$JS.orders.API", "_INBOX_JS.KV_settings."+billing, `nats --js-domain orders --inbox-prefix _INBOX_JS.KV_settings.`+billing+" --creds importer.creds kv watch settings")
		b.get("/sharing").want(200).has("8 services", "services from ORDERS to BILLING: pending")
	})
}

// An outside account gets a token, which works in the import of another Chancery's
// account as well as in one here.
func TestActivationForOutside(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		billing := h.billing()
		form := b.get("/accounts/ORDERS/exports/new").want(200)
		b.submit(form, "subject", "orders.*.>", "access", "token_position").want(422).has("Say at which place of the subject")
		b.submit(form, "subject", "orders.*.>", "access", "token_position", "position", "two").want(422).has("as a number from 1 on")
		p := b.follow(b.submit(b.submit(form, "subject", "orders.>", "kind", "service").want(200).has("By activation"))).want(200).has("orders.> is exported.", "None was issued yet.", "No account here imports it.")
		export := strings.TrimPrefix(p.url, "/accounts/ORDERS/exports/")
		form = b.get(p.url + "/activate").want(200)
		b.submit(form, "importer", "BILLING").want(422).has("Public key of the importing account: ")
		b.submit(form, "importer", billing, "subject", "stock.>").want(422).has("The export does not hold this subject")
		p = b.follow(b.submit(b.submit(form, "importer", billing, "subject", "orders.new", "ttl", "3600").want(200).has("may import orders.new, valid for 1 hour"))).
			want(200).has("It is not a secret", "Activation for BILLING", "ORDERS-", `data-download="token"`)
		token := between(t, p, `aria-label="The activation token">`, `</pre>`)
		claim, err := jwt.DecodeActivationClaims(token)
		must(t, err)
		if claim.Subject != billing || claim.IssuerAccount != h.account {
			t.Errorf("the token is for %s by %s", claim.Subject, claim.IssuerAccount)
		}

		form = b.get("/accounts/BILLING/imports/new").want(200)
		b.submit(form, "exporter", "NOBODY", "kind", "service", "subject", "orders.new").want(422).has("Exporting account: There is no such account.")
		b.submit(form, "exporter", "ORDERS", "kind", "service", "subject", "orders.new", "token", "eyJ0").want(422).has("Activation token: ")
		b.submit(form, "exporter", "ORDERS", "kind", "service", "subject", "orders.new").want(200).has("The export is private")
		plan := b.submit(form, "exporter", "ORDERS", "kind", "service", "subject", "orders.new", "token", token).want(200)
		b.follow(b.submit(plan)).want(200).has("orders.new is imported.", "Held against this one")
		b.get("/accounts/ORDERS/exports/"+export).want(200).has("BILLING", "Valid", "Revoke all").hasNot("Broken")
		b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/exports/"+export+"/revoke?of=*")).want(200))).want(200).has("The activations of everybody are revoked.", "Revoked", "Broken")
		b.get(p.url).want(200).has("It is not valid any more.")
		b.get("/accounts/ORDERS/exports/" + export + "/revoke?of=BILLING").want(404)
	})
}

// An admin of one account sees its neighbours by key, and shares only what is its own.
func TestSharingOfOneAccount(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.billing()
	_, err := h.issuer.Share(t.Context(), op, issuer.ShareInput{Exporter: "ORDERS", Importer: "BILLING", Flows: []claims.Flow{{Kind: jwt.Stream, Subject: "orders.>"}}, Access: issuer.AccessPublic})
	must(t, err)
	_, err = h.issuer.CreatePerson(t.Context(), op, issuer.PersonInput{Name: "bill", Grants: []issuer.Grant{{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: "acme", Account: "BILLING"}}}})
	must(t, err)
	b := h.visitor()
	b.post(h.link("bill"), nil).want(303)
	b.get("/sharing").want(200).has("1 import in all", "BILLING", "orders.>", claims.ShortKey(h.account)).hasNot("ORDERS")
	b.get("/accounts/BILLING/sharing").want(200).has("orders.>").hasNot("ORDERS")
	p := b.get("/sharing/new").want(200).has("BILLING").hasNot(">ORDERS<")
	form := formOf(p, "importer", "BILLING", "subject", "orders.>")
	form.Set("exporter", h.account)
	b.post("/sharing/new", form).want(422).has("From: Choose one of the entries.").hasNot(">ORDERS<")
	b.get("/accounts/ORDERS/sharing").want(404)
}

// An export and an import are changed with their fields as they are at first: what would stop is told, what moved
// meanwhile is shown anew, and each side changes its own.
func TestChangeSharing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.billing()
	shared, err := h.issuer.Share(t.Context(), op, issuer.ShareInput{Exporter: "ORDERS", Importer: "BILLING", Flows: []claims.Flow{{Kind: jwt.Stream, Subject: "orders.>"}}})
	must(t, err)
	export, imported := "/accounts/ORDERS/exports/"+shared.Value.Links[0].Export.ID, "/accounts/BILLING/imports/"+shared.Value.Links[0].Import.ID
	_, err = h.issuer.CreatePerson(t.Context(), op, issuer.PersonInput{Name: "bill", Grants: []issuer.Grant{{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: "acme", Account: "BILLING"}}}})
	must(t, err)
	b, bill := h.signedIn(), h.visitor()
	bill.post(h.link("bill"), nil).want(303)
	for _, path := range []string{"/sharing", "/sharing?account=BILLING", "/accounts/BILLING/sharing", imported} {
		b.get(path).want(200).has(`href="` + imported + `/edit"`)
		bill.get(path).want(200).has(`href="` + imported + `/edit"`)
	}
	b.get("/accounts/ORDERS/sharing").want(200).has(`href="` + export + `/edit"`)
	b.get(export).want(200).has(`href="` + export + `/edit"`)
	h.auditor().get("/accounts/ORDERS/sharing").want(200).hasNot("/edit")
	bill.get(export + "/edit").want(404)

	// The import: prefilled, and nothing is lost of what is not asked about.
	form := bill.get(imported+"/edit").want(200).has("Change the import orders.>", `value="orders.>"`, "Left empty, the import keeps the one it has.").hasNot("eyJ")
	bill.submit(form).want(200).has("Nothing would change")
	bill.submit(form, "local", "in.*").want(422).has("Local subject: ")
	bill.submit(form, "subject", "stock.>").want(422).has("Another activation token: The activation token is for another subject")
	bill.submit(form, "exporter", "NOBODY").want(422).has("Exporting account: There is no such account.")
	plan := bill.submit(form, "local", "in.>", "name", "incoming").want(200).has("Nothing has happened yet", "local subject", "in.>", "incoming", "live connections")
	bill.follow(bill.submit(plan)).want(200).has("The import orders.> was changed.", "in.>", "incoming")
	bill.submit(plan).want(200).has("Nothing would change")
	plan = b.submit(b.get(imported+"/edit").has(`value="in.>"`, "Now it is ORDERS."), "no_token", "on").want(200).has("The export is private")
	b.follow(b.submit(plan)).want(200).has("Broken")

	// The export: opened to everybody, which mends the import; the plan that was looked at before is not applied.
	form = b.get(export+"/edit").want(200).has("Change the export orders.>", `<option value="activation" selected>`)
	b.submit(form).want(200).has("Nothing would change")
	b.submit(form, "threshold", "soon").want(422).has("Write a whole number.")
	b.submit(form, "sampling", "5").want(422).has("Say where to report to")
	b.submit(form, "access", "token_position").want(422).has("Say at which place of the subject")
	b.submit(form, "latency", "times.orders").want(422).has("Only a service has this")
	old := b.submit(form, "description", "All orders").want(200).has("description", "All orders", "import is held against it")
	plan = b.submit(form, "access", "public").want(200).has("token required", "By activation", "Public")
	b.follow(b.submit(plan)).want(200).has("The export orders.> was changed.", "Every account of the operator may import it.")
	b.submit(old).want(200).has("Something changed meanwhile", "By activation")
	bill.get(imported).want(200).hasNot("Broken")
	plan = b.submit(b.get(export+"/edit"), "subject", "paid.>", "description", "Paid ones").want(200).has("will not work any more: of BILLING", "orders.>", "paid.>", "Paid ones")
	b.follow(b.submit(plan)).want(200).has("paid.>", "Paid ones")
	e, err := h.issuer.GetExport(t.Context(), op.Caller, "ORDERS", shared.Value.Links[0].Export.ID)
	must(t, err)
	if e.Body.TokenReq || e.Body.Subject != "paid.>" || e.Body.Description != "Paid ones" {
		t.Errorf("the export is %+v", e.Body)
	}
}

// With many pages, the filters look through what is there and say so.
func TestSharingPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.billing()
		var flows []claims.Flow
		for n := range 60 {
			flows = append(flows, claims.Flow{Kind: jwt.Stream, Subject: "s" + string(rune('a'+n/26)) + string(rune('a'+n%26))})
		}
		_, err := h.issuer.Share(t.Context(), op, issuer.ShareInput{Exporter: "ORDERS", Importer: "BILLING", Flows: flows, Access: issuer.AccessPublic, TTL: time.Hour})
		must(t, err)
		b := h.signedIn()
		for _, path := range []string{"/sharing", "/sharing?state=pending", "/accounts/BILLING/sharing?state=pending"} {
			p := b.get(path).want(200).has("Next page", "50 streams").hasNot(">sci<")
			next, err := url.QueryUnescape(between(t, p, `class="next" href="`, `"`))
			must(t, err)
			b.get(strings.ReplaceAll(next, "&amp;", "&")).want(200).has("Back to the start", "10 streams").hasNot("Next page")
		}
	})
}
