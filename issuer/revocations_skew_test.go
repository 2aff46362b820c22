package issuer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/issuer"
)

// T9: an issuer whose clock is five minutes ahead, or behind, issues; one whose clock is right revokes. A real server
// closes and refuses every one of them, and takes what is issued afterwards.
func TestSkewOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		issue := map[time.Duration]func() issuer.Issued{}
		for _, lead := range []time.Duration{300 * time.Second, -300 * time.Second} {
			issue[lead] = func() issuer.Issued { // a SQLite file has one process: there its clock jumps
				h.advance(lead)
				defer h.advance(-lead)
				return h.issue(t, w, "d1", issuer.IssueInput{})
			}
			if h.store.Dialect() == "postgres" {
				skewed := h.open(t, h.openStore(t, &clock{now: h.time().Add(lead)}), h.kek)
				issue[lead] = func() issuer.Issued {
					return did(skewed.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})).well(t)
				}
			}
		}
		s := h.run(t, w)
		system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
		if err != nil {
			t.Fatal(err)
		}
		admin, err := connect(t, s, system.Creds)
		if err != nil {
			t.Fatal(err)
		}
		const each = 25
		var all []issuer.Issued
		closed := make(chan struct{}, 2*each)
		for _, issue := range issue {
			for range each {
				c := issue()
				all = append(all, c)
				if _, err := connect(t, s, c.Creds, nats.ClosedHandler(func(*nats.Conn) { closed <- struct{}{} })); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n, c := range all {
			if n%2 == 0 { // by the key, or all that are left by the user
				h.revoke(t, w, c.PublicKey)
			}
		}
		h.revoke(t, w, "d1")
		h.push(t, admin, w.account.ID)
		for n := range all {
			select {
			case <-closed:
			case <-time.After(patience):
				t.Fatalf("%d of %d connections were closed", n, len(all))
			}
		}
		refused := 0
		for _, c := range all {
			if _, err := connect(t, s, c.Creds); errors.Is(err, nats.ErrAuthorization) {
				refused++
			}
		}
		t.Logf("%d of %d refused", refused, len(all))
		if refused != len(all) {
			t.Errorf("%d of %d refused", refused, len(all))
		}
		if _, err := connect(t, s, h.issue(t, w, "d1", issuer.IssueInput{}).Creds); err != nil {
			t.Errorf("issued afterwards: %v", err)
		}
	})
}
