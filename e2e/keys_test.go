package e2e

import "testing"

// A template's key is rotated and retires by itself; an operator's key is prepared, and kept from signing while a
// server does not trust it.
func TestKeys(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`nav a[href="/keys"]`)
	b.says("The next 13 weeks", "DEMO / device", "Signing keys")
	b.examine("keys")

	console := origin(d.SignInURL)
	b.open(console + "/accounts/DEMO/templates/device/keys")
	b.press(`a[href$="/keys/rotate"]`)
	b.examine("key-rotate")
	b.press("form.form button")
	b.says("Nothing has happened yet", "current", "retiring")
	b.examine("key-rotate-plan")
	b.press("form.plan-end button")
	b.says("The new key signs.", "1 credential hangs on the old key", "Retiring")
	b.examine("key-rotation")

	b.press(`a[href$="/compromise"]`)
	b.press("form.form button")
	b.forgive("422")
	b.says("These are not the letters.")
	b.examine("key-compromise")

	b.open(console + "/operators/dev/keys")
	b.press(`a[href$="/keys/rotate"]`)
	b.press("form.form button")
	b.says("Add the key")
	b.press("form.plan-end button")
	b.says("The key is prepared.", "Prepared")
	b.examine("key-prepared")
	b.press(`a[href$="/current"]`)
	b.press("form.form button")
	b.forgive("409")
	b.says("This would lock somebody out", "operator_key_untrusted")
	b.examine("guard")
}
