package e2e

import "testing"

// The guardrails of an operator and of an account are set as a person does, hold to the rules of every page, and the
// forms beneath say what holds.
func TestGuardrails(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`nav a[href="/operators"]`)
	b.press("tbody a")
	b.says("Guardrails", "Nothing is bounded")
	b.press(`a[href$="/guardrails"]`)
	b.says("What may be made", "How many", "Limits of all accounts together")
	b.fill("#f-max_ttl", "7 days")
	b.fill("#f-user_tags", "team")
	b.fill("#f-subjects", "orders. demo. inboxes")
	b.fill("#f-users_per_account", "1000")
	b.fill("#f-total_connections", "5000")
	b.examine("guardrails-form")
	b.press("form.form button")
	b.says("Nothing has happened yet", "Longest lifetime of credentials", "lacks a tag", "DEMO")
	b.examine("guardrails-plan")
	b.press("form.plan-end button")
	b.says("The guardrails of", "Credentials live for at most 7 days.", "Users need a tag team:…")
	b.examine("guardrails-operator")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/guardrails")
	b.says("The operator's guardrails hold as well")
	b.fill("#f-max_ttl", "30 days")
	b.fill("#f-users_per_account", "20")
	b.examine("guardrails-account-form")
	b.press("form.form button")
	b.says("which holds")
	b.examine("guardrails-account-plan")
	b.press("form.plan-end button")
	b.says("At most 20 users of an account.")
	b.examine("guardrails-account")
	b.open(origin(d.SignInURL) + "/accounts/DEMO/users/new")
	b.says("Guardrails hold here", "Users need a tag team:…")
	b.examine("guardrails-user")
	b.open(origin(d.SignInURL) + "/accounts/DEMO/templates/new")
	b.says("Guardrails hold here", "demo.>")
	b.examine("guardrails-template")
}
