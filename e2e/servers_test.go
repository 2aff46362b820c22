package e2e

import "testing"

// The servers: in step, one less than expected, and what is pushed again.
func TestServers(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`nav a[href="/servers"]`)
	b.open(origin(d.SignInURL) + "/servers?all=on&live=off")
	b.says("Servers of", "In step", "accounts are in effect on 1 server", "Say that 1 server is expected")
	b.examine("servers")
	b.ask(`document.querySelector(".person-name").textContent = "grace.hopper@acme.example"`)
	b.audit("a long name")
	b.press(`a[href$="/edit#f-servers"]`)
	b.fill("#f-servers", "2")
	b.press("form.form button")
	b.says("Servers expected")
	b.press("form.plan-end button")
	b.open(origin(d.SignInURL) + "/servers?all=on&live=off")
	b.says("1 server missing", "1 server that is expected does not answer")
	b.examine("servers-missing")
	b.press(`.actions a[href$="/push"]`)
	b.says("Only these accounts")
	b.examine("push")
	b.press("form.form button")
	b.says("Nothing has happened yet", "all (")
	b.examine("push-plan")
	b.press("form.plan-end button")
	b.says("read back, and pushed where a server has something else")
}
