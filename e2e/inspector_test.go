package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
)

// The creds file of a refused client is pasted; its seed never leaves the browser, and the answer names the check
// that fails.
func TestInspector(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.says("Accounts")
	b.press(`nav a[href="/inspect"]`)
	b.says("What a JWT says", "Who may subscribe to everything?")
	b.examine("inspector")

	creds, err := os.ReadFile(d.CredsFile)
	must(t, err)
	if regexp.MustCompile(`SU[A-Z2-7]{56}`).MatchString(b.paste(string(creds))) {
		t.Error("the seed is still in the field")
	}
	b.fill("#f-host", "127.0.0.1")
	b.press(`form[action="/inspect"] button`)
	b.says("User sensor-1", "Nothing speaks against this connection", "Trusted", "What it may really do")
	b.examine("inspector-admitted")

	b.open(origin(d.SignInURL) + "/accounts/DEMO/users/sensor-1/revoke")
	b.press("form.form button")
	b.press("form.plan-end button")
	b.says("Proven")
	b.open(origin(d.SignInURL) + "/inspect")
	b.paste(string(creds))
	b.press(`form[action="/inspect"] button`)
	b.says("A server refuses this connection", "Revoked up to", "The user is not revoked")
	b.examine("inspector-refused")

	b.scripts(false)
	b.open(origin(d.SignInURL) + "/inspect")
	b.fill("#f-as", "DEMO/sensor-1")
	b.fill("#f-subject", "elsewhere")
	b.press(`form[action="/inspect/can"] button`)
	b.says("May DEMO/sensor-1 publish to elsewhere?", "Denied")
	b.examine("inspector-can")
	b.scripts(true)
}

// paste puts text into the field for a JWT, as a person does, and returns what the page leaves of it.
func (b *tab) paste(text string) string {
	b.t.Helper()
	quoted, err := json.Marshal(text)
	must(b.t, err)
	left, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`(() => {
		const field = document.querySelector("#f-jwt");
		field.value = `+string(quoted)+`;
		field.dispatchEvent(new Event("input"));
		return field.value;
	})()`))
	must(b.t, err)
	return left
}
