package issuer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// BenchmarkRevoke revokes one more key in accounts of 10 to 10,000 revocations: the whole transaction, and the edit
// of the claims with their encoding alone. edit_x_bare is the time of the latter divided by that of nats-io/jwt for
// the same in the same run, the median of five rounds; ns/revocation is what each entry adds to a transaction.
func BenchmarkRevoke(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		base := 0.0
		for _, n := range []int{10, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/revocations=%d", dialect, n), func(b *testing.B) {
				h := newHouse(b, dialect)
				w := h.furnish(b)
				h.fill(b, w, n-1, time.Hour)
				did(h.Revoke(b.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"})).well(b)
				key := newUserKey(b)
				ratio := editRatio(b, h, w, key, max(3, 3_000/n))
				for b.Loop() {
					h.advance(time.Second)
					did(h.Revoke(b.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: key})).well(b)
				}
				each := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
				if n == 10 {
					base = each
				} else {
					b.ReportMetric((each-base)/float64(n), "ns/revocation")
				}
				b.ReportMetric(ratio, "edit_x_bare")
			})
		}
	}
}

// editRatio is our time for one more entry, built, encoded and signed, divided by that of nats-io/jwt.
func editRatio(b *testing.B, h *house, w world, key string, rounds int) float64 {
	b.Helper()
	signer, err := nkeys.CreateOperator()
	if err != nil {
		b.Fatal(err)
	}
	by, err := signer.PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	c, err := jwt.DecodeAccountClaims(h.account(b, w.account.ID).JWT)
	if err != nil {
		b.Fatal(err)
	}
	parts := claims.AccountOf(c)
	at := int64(1)
	ours := func() {
		at++
		parts.Revocations[key] = at
		checked, problems := claims.BuildAccount(parts)
		if problems.Blocking() {
			b.Fatal(problems)
		}
		u, err := claims.Encode(checked, claims.Stamp{Issuer: by, IssuedAt: at})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := signer.Sign(u.SigningInput()); err != nil {
			b.Fatal(err)
		}
	}
	bare := func() {
		at++
		c.RevokeAt(key, time.Unix(at, 0))
		if _, err := c.Encode(signer); err != nil {
			b.Fatal(err)
		}
	}
	var ratios []float64
	for range 5 {
		r := rate(rounds, bare)
		ratios = append(ratios, r/rate(rounds, ours))
	}
	slices.Sort(ratios)
	return ratios[2]
}
