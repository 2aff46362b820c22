package e2e

import (
	"testing"
)

// A template is started from a recipe, previewed, kept from being saved by its test, saved, and changed after a look
// at the plan.
func TestTemplates(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.says("Accounts")
	b.press(`nav a[href="/templates"]`)
	b.says("Templates", "device", "DEMO")
	b.examine("templates")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/templates/new")
	b.says("Start from one of these", "KV reader")
	b.examine("template-new")
	b.press(`.recipes a[href$="recipe=device"]`)
	b.fill("#f-name", "sensor")
	b.fill("#f-sample", "s1 region:eu region:us")
	b.press(`button[name="preview"]`)
	b.says("For s1 region:eu region:us", "Clients must set the inbox prefix _INBOX_s1", "Passes")
	b.examine("template-preview")

	b.fill("#f-pub_allow", "devices.{{tag(region)}}.>")
	b.press(".form-end button")
	b.says("1 of the template's tests fail, so it was not saved.", "Fails")
	b.forgive("422")
	b.examine("template-failing")
	b.fill("#f-pub_allow", "devices.{{tag(region)}}.{{name()}}.>")
	b.press(".form-end button")
	b.says("The template sensor was created.", "4 tests pass")
	b.fill("#f-sample", "s1")
	b.press(".try button")
	b.says("For s1", "The template uses the tag region:")
	b.examine("template")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/templates/device/edit")
	b.fill("#f-pub_deny", "devices.secret.>")
	b.press(".form-end button")
	b.says("Nothing has happened yet", "is now denied to publish devices.secret.>")
	b.examine("template-plan")
	b.press("form.plan-end button")
	b.says("The template device was changed.")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/templates/sensor/compare?with=device")
	b.says("What would change if")
	b.examine("template-compare")

	b.scripts(false)
	b.open(origin(d.SignInURL) + "/accounts/DEMO/templates/sensor")
	b.press(".actions .danger-line")
	b.says("Delete template sensor", "Nothing has happened yet")
	b.examine("template-delete")
	b.press("form.plan-end button")
	b.says("The template sensor was deleted.")
	b.scripts(true)
}
