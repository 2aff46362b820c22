package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Who is connected is seen as it happens, kicked after a look at what that means, and refused with the reason.
func TestConnections(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	home := origin(d.SignInURL)

	b.open(home + "/events")
	b.awaits("[data-pause]")
	b.says("Events", "Delivered")
	closed := make(chan struct{})
	nc, err := nats.Connect(d.NATSURL, nats.UserCredentials(d.CredsFile), nats.Name("press-1"), nats.NoReconnect(), nats.Timeout(20*time.Second),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(t, err)
	defer nc.Close()
	b.awaits("tbody tr:first-child .chip.good")
	b.says("Connected", "sensor-1 from 127.0.0.1")
	b.tap("[data-pause]")
	b.examine("events")

	creds, err := os.ReadFile(d.CredsFile)
	must(t, err)
	lines := strings.Split(string(creds), "\n")
	ruined, seed := []byte(lines[1]), lines[9] // as jwt.FormatUserConfig writes them
	last := len(ruined) - 10                   // within the signature
	ruined[last] ^= 1
	if _, err := nats.Connect(d.NATSURL, nats.UserJWTAndSeed(string(ruined), seed), nats.NoReconnect(), nats.Timeout(20*time.Second)); !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("a client with a damaged JWT is answered %v", err)
	}
	if _, err := nats.Connect(d.NATSURL, nats.NoReconnect(), nats.Timeout(20*time.Second)); err == nil {
		t.Fatal("a client without a JWT was let in")
	}
	another, err := nkeys.CreateUser()
	must(t, err)
	other, err := another.Seed()
	must(t, err)
	if _, err := nats.Connect(d.NATSURL, nats.UserJWTAndSeed(lines[1], string(other)), nats.NoReconnect(), nats.Timeout(20*time.Second)); !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("a client with another seed is answered %v", err)
	}
	b.says("Resume")
	b.tap("[data-pause]")
	const denied = `tr:has(a[href^="/denials/"])`
	b.awaits("tbody " + denied + " ~ " + denied + " ~ " + denied)

	b.open(home + "/connections?client=press")
	b.says("press-1", "sensor-1", "DEMO", "denial")
	b.examine("connections")
	b.press(`a[href$="/kick"]`)
	b.says("That keeps nobody out")
	b.fill("#f-reason", "floods a stream")
	b.examine("kick")
	b.press("form.form button")
	b.says("Nothing has happened yet", "1", "live connection is closed")
	b.examine("kick-plan")
	b.press("form.plan-end button")
	b.says("The connection was closed.")
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the client is still connected")
	}

	b.open(home + "/denials")
	b.says("The seed does not fit the JWT", "No JWT", "claims to be sensor-1", "claimed, not proven", "2 times of these nothing proved who the client was.")
	b.examine("denials")
	b.open(home + "/denials?class=jwt_decodes")
	b.press(`tbody a[href^="/denials/"]`)
	b.says("Somebody who claims to be sensor-1", "Claimed, not proven.", "None of the keys that DEMO had at that time signed this JWT.")
	b.lacks("Issue new credentials")
	b.examine("denial-claimed")
	b.open(home + "/denials?class=nonce_signed")
	b.says("sensor-1")
	b.lacks("claims to be", "claimed, not proven")
	b.press(`tbody a[href^="/denials/"]`)
	b.says("sensor-1 at 127.0.0.1 was refused 1 time", "The server refused this connection", "The server's checks, in its order", "Issue new credentials")
	b.lacks("Claimed, not proven.", "Somebody")
	b.examine("denial")
	b.open(home + "/denials?class=jwt_present")
	b.press(`tbody a[href^="/denials/"]`)
	b.says("A client at 127.0.0.1 was refused 1 time", "A user JWT is sent")
	b.scripts(false)
	b.open(home + "/events?type=disconnect")
	b.says("Kicked")
	b.audit("events without scripts")
	b.scripts(true)
}
