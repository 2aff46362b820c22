package e2e

import "testing"

// Everybody is revoked, the revocation is listed with its size, and taken back after a look at who lives again.
func TestRevocations(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`a[href="/accounts/DEMO"]`)
	b.press(`a[href$="/DEMO/revocations"]`)
	b.says("Nothing is revoked in this account.", "Size of the account's JWT")
	b.examine("revocations-none")

	b.press(`a[href$="/everybody"]`)
	b.fill("#f-typed", "DEMO")
	b.fill("#f-reason", "leaked backup")
	b.examine("revoke-everybody")
	b.press("form.form button")
	b.says("Nothing has happened yet", "Everybody", "1 credential stops working")
	b.examine("revoke-everybody-plan")
	b.press("form.plan-end button")
	b.says("is revoked", "leaked backup", "1 entry")
	b.examine("revocations")

	b.press(`a[href*="/lift"]`)
	b.fill("#f-typed", "DEMO")
	b.fill("#f-reason", "it was found")
	b.examine("unrevoke")
	b.press("form.form button")
	b.says("Nothing has happened yet", "gets in again", "1 credential is accepted again")
	b.examine("unrevoke-plan")
	b.press("form.plan-end button")
	b.says("The revocation was taken back.", "Nothing is revoked")
	b.press(`a[href$="show=removed"]`)
	b.says("leaked backup", "taken back")
	b.examine("revocations-removed")
}
