package issuer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// guest is a client that was let in, and what becomes of it.
type guest struct {
	*nats.Conn
	closed chan struct{}
}

func hold(t *testing.T, s *server.Server, creds claims.Secret) guest {
	t.Helper()
	h := guest{closed: make(chan struct{})}
	var err error
	if h.Conn, err = connect(t, s, creds, nats.ClosedHandler(func(*nats.Conn) { close(h.closed) })); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h guest) stays(t *testing.T, what string) {
	t.Helper()
	if err := h.FlushTimeout(patience); err != nil {
		t.Errorf("%s: a good client lost its connection: %v", what, err)
	}
}

func (h guest) goes(t *testing.T, what string) {
	t.Helper()
	select {
	case <-h.closed:
	case <-time.After(patience):
		t.Errorf("%s: the connection is still open", what)
	}
}

func refuses(t *testing.T, s *server.Server, what string, creds claims.Secret) {
	t.Helper()
	if _, err := connect(t, s, creds); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%s: connecting came to %v", what, err)
	}
}

// What clients of a real server experience while a template's or an account's key is
// rotated, retired, disabled, brought back and found to be in wrong hands.
func TestKeysOnServer(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		s := h.run(t, w)
		system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
		if err != nil {
			t.Fatal(err)
		}
		admin, err := connect(t, s, system.Creds)
		if err != nil {
			t.Fatal(err)
		}
		for user, owner := range map[string]issuer.KeyOwner{"d1": {Account: "LIVE", Template: "device"}, "ada@example.com": {Account: "LIVE"}} {
			issue := func() claims.Secret {
				t.Helper()
				return did(h.Issue(t.Context(), op(), "LIVE", user, issuer.IssueInput{TTL: time.Hour})).well(t).Creds
			}
			state := func(key, to string, guards ...issuer.Guard) {
				t.Helper()
				did(h.SetKeyState(t.Context(), overriding(guards...), owner, key, issuer.KeyStateInput{State: to})).well(t)
				h.push(t, admin, w.account.ID)
			}
			oldCreds, oldKey := issue(), h.keys(t, owner)[0].ID
			old := hold(t, s, oldCreds)
			h.advance(time.Second)

			next := did(h.AddKey(t.Context(), op(), owner, issuer.KeyInput{MakeCurrent: true})).well(t)
			h.push(t, admin, w.account.ID)
			newCreds := issue()
			good := hold(t, s, newCreds)
			old.stays(t, "rotated")
			hold(t, s, oldCreds).Close()

			state(oldKey, issuer.KeyRetired, issuer.GuardKeyInUse)
			old.goes(t, "retired")
			refuses(t, s, "retired", oldCreds)
			good.stays(t, "the other was retired")

			state(next.ID, issuer.KeyDisabled, issuer.GuardKeyInUse)
			good.goes(t, "disabled")
			refuses(t, s, "disabled", newCreds)
			state(next.ID, issuer.KeyCurrent)
			good = hold(t, s, newCreds)

			out := did(h.CompromiseKey(t.Context(), op(), owner, next.ID)).well(t)
			h.push(t, admin, w.account.ID)
			good.goes(t, "compromised")
			refuses(t, s, "compromised", newCreds)
			if len(out.Previous) != 1 {
				t.Fatalf("nothing took over: %+v", out)
			}
			hold(t, s, issue()).stays(t, "issued after the compromise")
		}
	})
}
