package claims_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// BenchmarkAccount compiles, encodes, signs and reads back an account as every change of one does. ns/revocation is
// what one revocation adds over the same account without any: flat means linear growth. x_bare is its rate
// divided by that of nats-io/jwt encoding and decoding the same claims, the median of five rounds that take turns.
func BenchmarkAccount(b *testing.B) {
	base := 0.0
	for _, n := range []int{0, 10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("revocations=%d", n), func(b *testing.B) {
			a, signer := plainAccount(b), newPair(b, claims.KindOperator)
			a.Revocations = revocations(b, n)
			size := 0
			ours := func() {
				size = len(sign(b, checked(b)(claims.BuildAccount(a)), signer, claims.NextIssuedAt(time.Now(), 0)).Token)
			}
			decoded, err := jwt.DecodeAccountClaims(sign(b, checked(b)(claims.BuildAccount(a)), signer, time.Now().Unix()).Token)
			if err != nil {
				b.Fatal(err)
			}
			bare := func() {
				token, err := decoded.Encode(signer)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := jwt.DecodeAccountClaims(token); err != nil {
					b.Fatal(err)
				}
			}
			rounds := max(2, 2_000/(n+10))
			var ratios []float64
			for range 5 {
				r := rate(rounds, bare)
				ratios = append(ratios, rate(rounds, ours)/r)
			}
			slices.Sort(ratios)
			for b.Loop() {
				ours()
			}
			each := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			if n == 0 {
				base = each
			} else {
				b.ReportMetric((each-base)/float64(n), "ns/revocation")
			}
			b.ReportMetric(ratios[len(ratios)/2], "x_bare")
			b.ReportMetric(float64(size), "B/jwt")
		})
	}
}

// BenchmarkDecode verifies and reads an account's JWT, as every server does that loads it.
func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("revocations=%d", n), func(b *testing.B) {
			a, signer := plainAccount(b), newPair(b, claims.KindOperator)
			a.Revocations = revocations(b, n)
			token := sign(b, checked(b)(claims.BuildAccount(a)), signer, time.Now().Unix()).Token
			for b.Loop() {
				if _, err := claims.Read(token); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/revocation")
		})
	}
}

// plainAccount is an account of one kilobyte: limits, a signing key and a template of two subjects.
func plainAccount(b *testing.B) claims.Account {
	b.Helper()
	template := claims.Template{Name: "device", Permissions: claims.NewPermissionLimits()}
	template.Permissions.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
	template.Permissions.Sub.Allow = jwt.StringList{"_INBOX.>"}
	return claims.Account{
		ID: newPair(b, claims.KindAccount).id, Name: "ORDERS", Settings: claims.NewAccountSettings(),
		Keys: []claims.SigningKey{{ID: newPair(b, claims.KindAccount).id}, {ID: newPair(b, claims.KindAccount).id, Template: &template}},
	}
}

func revocations(b *testing.B, n int) map[string]int64 {
	b.Helper()
	out := make(map[string]int64, n)
	for len(out) < n {
		out[newPair(b, claims.KindUser).id] = 1_700_000_000
	}
	return out
}
