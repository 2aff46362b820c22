package claims_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// BenchmarkAccount edits an account of 10 to 10,000 revocations: one more entry, built, checked, encoded, signed and
// read back, as every change of one does. edit_x_bare is the time of that, without the reading back, divided by that of
// nats-io/jwt editing and encoding the same claims; read_x_bare is the time of all of it divided by that of nats-io/jwt
// encoding and decoding: the medians of rounds that take turns. ns/entry is what one revocation costs of all.
func BenchmarkAccount(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("revocations=%d", n), func(b *testing.B) {
			a, signer := plainAccount(b), newPair(b, claims.KindOperator)
			a.Revocations = revocations(b, n)
			key := newPair(b, claims.KindUser).id
			c, err := jwt.DecodeAccountClaims(sign(b, checked(b)(claims.BuildAccount(a)), signer, time.Now().Unix()).Token)
			if err != nil {
				b.Fatal(err)
			}
			at := int64(1_700_000_000)
			edit := func() (claims.Unsigned, []byte) {
				at++
				a.Revocations[key] = at
				u, err := claims.Encode(checked(b)(claims.BuildAccount(a)), claims.Stamp{Issuer: signer.id, IssuedAt: at})
				if err != nil {
					b.Fatal(err)
				}
				signature, err := signer.Sign(u.SigningInput())
				if err != nil {
					b.Fatal(err)
				}
				return u, signature
			}
			ours := func() {
				u, signature := edit()
				if _, err := u.Sign(signature); err != nil {
					b.Fatal(err)
				}
			}
			bareEdit := func() string {
				at++
				c.RevokeAt(key, time.Unix(at, 0))
				token, err := c.Encode(signer)
				if err != nil {
					b.Fatal(err)
				}
				return token
			}
			bare := func() {
				if _, err := jwt.DecodeAccountClaims(bareEdit()); err != nil {
					b.Fatal(err)
				}
			}
			each := max(3, 3_000/(n+10))
			edits, whole := inTurns(each, func() { edit() }, func() { bareEdit() }), inTurns(each, ours, bare)
			for b.Loop() {
				ours()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
			edits.report(b, "edit_x_bare")
			whole.report(b, "read_x_bare")
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
