package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// Strangers prove keys of their own as often as they like: that leaves no trace, and keeps no holder waiting.
func TestStrangersRenewNothing(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		pair, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		h.policy(t, `{"renewal_percent":100}`)
		me := newHolder(t)
		mine := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me), TTL: time.Hour})).well(t)
		renew := func(x holder, token claims.Secret) error {
			_, err := h.RenewByHolder(t.Context(), issuer.Op{}, issuer.RenewalInput{JWT: token, Proof: *h.proof(t, x)})
			return err
		}
		h.proof(t, me) // the secret of challenges is made
		h.unchanged(t, func() {
			for n := range 3 {
				x := newHolder(t)
				c := jwt.NewUserClaims(x.key)
				c.IssuerAccount, c.Name = w.account.ID, fmt.Sprint(n)
				token, err := c.Encode(pair)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // not even too fast
					wants(t, renew(x, claims.NewSecret(token)), issuer.KindForbidden)
				}
			}
		})
		h.advance(30 * time.Minute)
		if err := renew(me, mine.JWT); err != nil {
			t.Error(err)
		}
		wants(t, renew(me, mine.JWT), issuer.KindTooFast)
		h.advance(-10 * time.Minute) // somebody sets the clock right
		if err := renew(me, mine.JWT); err != nil {
			t.Errorf("after the clock was set back: %v", err)
		}
	})
}
