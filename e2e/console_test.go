package e2e

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
)

// The whole loop by hand: sign in, issue, connect, revoke, watch the proof.
func TestConsole(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)

	b.open(d.SignInURL)
	b.says("This link works once")
	b.examine("sign-in")
	b.press("form button")
	b.says("Accounts", "DEMO", "In effect on 1/1")
	b.examine("accounts")

	b.open(d.SignInURL[:len(d.SignInURL)-1]) // a link that never was
	b.says("This link was used, has expired or was replaced")
	b.forgive("401")

	b.open(origin(d.SignInURL) + "/accounts")
	b.press(`a[href="/accounts/DEMO"]`)
	b.says("Users", "sensor-1", "Templates", "device")
	b.examine("account")

	creds := b.newUser(t)
	closed := make(chan struct{})
	nc, err := nats.Connect(d.NATSURL, nats.UserCredentials(creds), nats.Name("browser-1"), nats.Timeout(20*time.Second), nats.ReconnectWait(20*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(t, err)
	defer nc.Close()
	must(t, nc.Flush())

	b.open(origin(d.SignInURL) + "/accounts/DEMO/users/browser-1")
	b.says("Active", "Connected now")
	b.examine("user")
	b.press(`a[href$="/revoke"]`)
	b.fill("#f-reason", "laptop lost")
	b.press("form.form button")
	b.says("1 live connection will be refused", "2 credentials stop working", "Nothing has happened yet")
	b.examine("plan")
	if nc.IsClosed() {
		t.Fatal("looking at the plan applied it")
	}
	b.press("form.plan-end button")
	b.says("Proven: in effect on 1 of 1 server, 0 connections left.", "laptop lost", "Nobody is connected.")
	b.examine("proof")
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the client is still connected")
	}
	if _, err := nats.Connect(d.NATSURL, nats.UserCredentials(creds), nats.Timeout(20*time.Second)); err == nil {
		t.Fatal("revoked credentials connect")
	}

	b.withoutScripts(t, origin(d.SignInURL))
	b.tap("details.menu summary")
	b.press(".menu-body button")
	b.says("Sign in")
}

// withoutScripts issues and revokes with JavaScript off.
func (b *tab) withoutScripts(t *testing.T, console string) {
	t.Helper()
	b.scripts(false)
	b.open(console + "/accounts/DEMO/users/browser-1")
	b.audit("user without scripts")
	b.press(`a[href$="/issue"]`)
	b.press("form.form button")
	b.says("Select the text above and save it")
	b.audit("secret without scripts")
	b.press("main > p a.button")
	b.press(`a[href$="/revoke"]`)
	b.press("form.form button")
	b.press("form.plan-end button[name=back]")
	b.press("form.form button")
	b.press("form.plan-end button")
	b.says("Proven", "0 connections left")
	b.scripts(true)
}

// newUser makes a user in the browser and returns the creds file that it saved.
// Leaving the secret is asked about once while it is not saved.
func (b *tab) newUser(t *testing.T) string {
	t.Helper()
	b.press(`a[href$="/users/new?template=device"]`)
	b.examine("new-user")
	b.fill("#f-name", "browser 1")
	b.fill("#f-tag-region", "eu")
	b.press("form.form button")
	b.says("letters, digits, _ and - only")
	b.forgive("422")
	b.examine("new-user-refused")
	b.fill("#f-name", "browser-1")
	b.press("form.form button")
	b.says("Shown once.", "dev-DEMO-browser-1.creds", "BEGIN USER NKEY SEED")
	b.audit("secret") // without a picture, which would show a seed
	b.tap("[data-download]")
	file := b.downloaded("dev-DEMO-browser-1.creds")
	b.tap("[data-copy-from]")
	b.do(chromedp.WaitVisible(chromedp.CSS("[data-copy-from].copied")))
	b.press("main > p a.button")
	if n := b.dialogs.Load(); n != 0 {
		t.Errorf("leaving a secret that was saved asks %d times", n)
	}
	b.press(`a[href$="/issue"]`)
	b.press("form.form button")
	b.tap("#creds") // browsers ask only on pages that somebody touched
	b.press("main > p a.button")
	if n := b.dialogs.Load(); n != 1 {
		t.Errorf("leaving a secret that was not saved asks %d times", n)
	}
	return file
}
