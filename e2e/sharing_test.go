package e2e

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// A subject is shared between two accounts, seen in the picture and in the table, broken, and its cause is told; a
// stream and a token for outside are shared too.
func TestSharing(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	for _, name := range []string{"ORDERS", "BILLING"} {
		b.open(origin(d.SignInURL) + "/accounts/new")
		b.fill("#f-name", name)
		b.press("form.form button")
		b.says("Account " + name + " was created.")
	}
	b.press(`nav a[href="/sharing"]`)
	b.says("Nothing is shared yet")
	b.examine("sharing-empty")
	b.press(".empty a.button")
	b.says("Share a subject", "A key-value bucket")
	b.press("form.form button")
	b.forgive("422")
	b.says("From: Choose one of the entries.")
	b.examine("share-wrong")
	b.fill("#f-exporter", "ORDERS")
	b.fill("#f-importer", "BILLING")
	b.fill("#f-subject", "orders.paid.>")
	b.fill("#f-local", "in.paid.>")
	b.press("form.form button")
	b.says("Nothing has happened yet", "Export", "Import", "valid without an end")
	b.examine("share-plan")
	b.press("form.plan-end button")
	b.says("ORDERS shares with BILLING", "Try it, with credentials of BILLING", "In effect")
	b.examine("share-done")

	b.open(origin(d.SignInURL) + "/sharing/new?what=kv&exporter=DEMO&importer=BILLING")
	b.fill("#f-stream", "settings")
	b.fill("#f-domain", "demo")
	b.examine("share-bucket")
	b.press("form.form button")
	b.says("$JS.API.STREAM.INFO.KV_settings")
	b.press("form.plan-end button")
	b.says("What clients of BILLING have to set", "$JS.demo.API", "inbox_prefix")
	b.examine("share-bucket-done")

	b.open(origin(d.SignInURL) + "/accounts/ORDERS/exports/new")
	b.fill("#f-subject", "orders.quote")
	b.fill("#f-kind", "service")
	b.press("form.form button")
	b.press("form.plan-end button")
	b.says("orders.quote is exported.")
	b.press(`a[href$="/activate"]`)
	b.fill("#f-importer", "AB7QEXECMUSPLCMTDZPBEVKZMVUQ5ZEWKNRUUTS445DFS7KJ6QFB6SWL")
	b.press("form.form button")
	b.says("may import orders.quote")
	b.press("form.plan-end button")
	b.says("It is not a secret")
	b.examine("activation")

	b.press(`nav a[href="/sharing"]`)
	b.says("In effect", "7 services", "orders.paid.>")
	b.examine("sharing")
	b.open(origin(d.SignInURL) + b.ask(`document.querySelector('.graph a[aria-label*="orders.paid"]').getAttribute("href")`))
	b.says("that BILLING imports from")
	b.examine("shared-import")
	b.press(`dd a[href*="/exports/"]`)
	b.says("Who imports it", "Activations")
	b.examine("export")
	b.press(`.row-action a[href*="/revoke"]`)
	b.press("form.form button")
	b.says("will not work any more: of BILLING")
	b.examine("activation-revoke-plan")
	b.press("form.plan-end button")
	b.says("The activations of BILLING are revoked.", "Broken")
	b.press(`nav a[href="/sharing"]`)
	b.says("Broken", "The exporter has revoked the activation token.", "Share the subject again")
	b.examine("sharing-broken")
	b.open(origin(d.SignInURL) + "/accounts/BILLING/sharing?state=broken")
	b.says("The exporter has revoked the activation token.")
	b.examine("account-sharing")
	b.open(origin(d.SignInURL) + "/accounts/ORDERS/sharing")
	b.examine("account-sharing-exports")
}

// ask evaluates an expression in the page.
func (b *tab) ask(expression string) string {
	b.t.Helper()
	answer, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	must(b.t, err)
	return answer
}
