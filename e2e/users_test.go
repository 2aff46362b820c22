package e2e

import "testing"

// The life of a user by hand: rolled, disabled, enabled, and handed over by a link that another visitor opens.
func TestUserLife(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.says("Accounts", "DEMO")
	console := origin(d.SignInURL)
	b.press(`header a[href="/users"]`)
	b.says("Users", "sensor-1")
	b.examine("users")

	const user = "/accounts/DEMO/users/sensor-1"
	b.open(console + user + "/roll")
	b.examine("roll")
	b.press("form.form button")
	b.says("Nothing has happened yet", "A new one")
	b.examine("roll-plan")
	b.press("form.plan-end button")
	b.says("Shown once.", "BEGIN USER NKEY SEED")
	b.tap("[data-copy-from]")
	b.open(console + user)
	b.says("rolls off", "rolled", "Revoke and issue again")
	b.examine("user-rolled")

	b.press(`a[href$="/edit"]`)
	b.fill("#f-tags", "region:eu region:us")
	b.examine("user-edit")
	b.press("form.form button")
	b.says("Nothing has happened yet", "keep what they say now", "region:us")
	b.examine("user-edit-plan")
	b.press("form.plan-end button")
	b.says("User sensor-1 was changed.", "region:us")

	b.open(console + user + "/issue")
	b.examine("issue")
	b.open(console + user + "/disable")
	b.press("form.form button")
	b.says("Disabled")
	b.examine("disable-plan")
	b.press("form.plan-end button")
	b.says("User sensor-1 is disabled.", "Enable again")
	b.press(`a[href$="/enable"]`)
	b.press("form.form button")
	b.says("come back to life")
	b.press("form.plan-end button")
	b.says("User sensor-1 is active.")
}
