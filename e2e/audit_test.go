package e2e

import "testing"

// The audit log in a browser: listed, filtered, one entry with its deliveries, verified, and by what leads to it.
func TestAudit(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.says("Accounts", "DEMO")
	console := origin(d.SignInURL)
	b.open(console + "/accounts/DEMO/limits")
	b.fill("#f-connections", "12")
	b.press("form.form button")
	b.press("form.plan-end button")

	b.press(`header a[href="/audit"]`)
	b.says("Audit", "Connections")
	b.examine("audit")
	b.press(`form[action="/audit/verify"] button`)
	b.says("The chain is whole.")
	b.examine("audit-verified")
	b.open(console + "/audit?action=update&kind=account")
	b.says("update account", "Connections: ")
	b.press(`tbody a[href^="/audit/"]`)
	b.says("What changed", "Deliveries that followed", "version", "All entries of it")
	b.examine("audit-entry")
	b.open(console + "/audit?q=nothing+has+this")
	b.says("No entry matches")
	b.examine("audit-empty")
	b.open(console + "/accounts/DEMO")
	b.press(`a[href^="/audit?account="]`)
	b.says("create account")
	b.open(console + "/audit") // by now, a second after the first entry, there is a checkpoint
	b.says("Key of the checkpoints")
}
