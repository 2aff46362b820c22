package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
)

// BenchmarkRevoke revokes one more key in accounts of 10 to 10,000 revocations: the whole transaction with its plan,
// ledger, audit entry, signature, reading back and commit. ms is how long one takes; x_bare is that divided by nats-io/jwt
// editing and encoding the same claims once, without a database: the medians of rounds that take turns.
func BenchmarkRevoke(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		for _, n := range []int{10, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/revocations=%d", dialect, n), func(b *testing.B) {
				h := newHouse(b, dialect)
				w := h.furnish(b)
				h.fill(b, w, n-1, time.Hour)
				did(h.Revoke(b.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"})).well(b)
				h.durable(b)
				key, bare := newUserKey(b), h.bareEdit(b, w)
				ours := func() {
					h.advance(time.Second)
					did(h.Revoke(b.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: key})).well(b)
				}
				times := max(3, 300/n)
				ours()
				var ms, ratios rounds
				for range benchRounds {
					r := rate(times, bare)
					o := rate(times, ours)
					ms, ratios = append(ms, 1000/o), append(ratios, r/o)
				}
				for b.Loop() {
					ours()
				}
				ms.report(b, "ms")
				ratios.report(b, "x_bare")
			})
		}
	}
}

// bareEdit returns what revokes one key in the account's claims, and encodes them, with nats-io/jwt alone.
func (h *house) bareEdit(b *testing.B, w world) func() {
	b.Helper()
	signer, err := nkeys.CreateOperator()
	if err != nil {
		b.Fatal(err)
	}
	c, err := jwt.DecodeAccountClaims(h.account(b, w.account.ID).JWT)
	if err != nil {
		b.Fatal(err)
	}
	key, at := newUserKey(b), int64(1)
	return func() {
		at++
		c.RevokeAt(key, time.Unix(at, 0))
		if _, err := c.Encode(signer); err != nil {
			b.Fatal(err)
		}
	}
}
