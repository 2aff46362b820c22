package e2e

import "testing"

// The operator's page holds to the rules and knows what the server trusts; the switch, an edit, a suspension and an
// offline operator are worked as a person does.
func TestOperator(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`nav a[href="/operators"]`)
	b.says("Operators", "dev", "here, sealed")
	b.examine("operators")
	b.press("tbody a")
	b.says("Signing keys", "Server configuration", "Fingerprint", "Matches", "Chain of trust", "DEMO")
	b.examine("operator")
	b.tap("details.snippet summary")
	b.fill("#resolver", "full")
	b.press("details.snippet form button")
	b.says("allow_delete: false", "resolver_preload", "Matches")
	b.examine("operator-server-config")

	b.press(`a[href$="/signing"]`)
	b.fill("#f-reason", "looking for a leak")
	b.examine("signing-switch")
	b.press("form.form button")
	b.says("Signing is off")
	b.examine("operator-signing-off")
	b.press(`a.button[href$="/signing"]`)
	b.press("form.form button")
	b.says("Signing is on again")

	b.press(`a[href$="/edit"]`)
	b.examine("operator-edit")
	b.tap("#f-strict")
	b.press("form.form button")
	b.says("Nothing has happened yet", "restarted")
	b.examine("operator-plan")
	b.press("form.plan-end button")
	b.says("was changed", "Differs on")
	b.examine("operator-differs")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/suspend")
	b.examine("suspend")
	b.press("form.form button")
	b.says("Suspended", "live connections close")
	b.examine("suspend-plan")
	b.press("form.plan-end button")
	b.says("Nobody is admitted")
	b.examine("account-suspended")

	b.open(origin(d.SignInURL) + "/operators/new")
	b.fill("#f-name", "vault")
	b.fill("#f-custody", "offline")
	b.fill("#f-public_key", "OB6VCKWZQH7CUY3IJRSLKW2SORMMKNOI6ICFXXKYS2Z4SXTTV2MFSB4T")
	b.examine("operator-new")
	b.press("form.form button")
	b.says("first JWT waits for its signature")
	b.examine("operator-pending")
	b.press(`a[href$="/signature"]`)
	b.says("chancery operator sign --offline")
	b.examine("operator-signature")
}
