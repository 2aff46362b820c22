package claims_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// BenchmarkExplain replays the checks for an account without and with many revocations. x_decode is its time divided
// by that of decoding the account's JWT alone, the median of
// five rounds that take turns.
func BenchmarkExplain(b *testing.B) {
	operator := newPair(b, claims.KindOperator)
	o := jwt.NewOperatorClaims(operator.id)
	signer, key := newPair(b, claims.KindAccount), newPair(b, claims.KindUser)
	for _, revocations := range []int{0, 10_000} {
		account := jwt.NewAccountClaims(newPair(b, claims.KindAccount).id)
		account.Account = claims.NewAccountSettings()
		account.SigningKeys = jwt.SigningKeys{signer.id: nil}
		for range revocations {
			account.RevokeAt(newPair(b, claims.KindUser).id, time.Unix(1_700_000_000, 0))
		}
		text, err := account.Encode(operator)
		if err != nil {
			b.Fatal(err)
		}
		user := jwt.NewUserClaims(key.id)
		user.IssuerAccount = account.Subject
		token, err := user.Encode(signer)
		if err != nil {
			b.Fatal(err)
		}
		attempt := claims.Attempt{Token: token, SignedBy: key.id, Host: "127.0.0.1", Type: jwt.ConnectionTypeStandard, At: time.Now()}
		view := claims.ServerView{Operators: []*jwt.OperatorClaims{o}, Account: text}
		b.Run(fmt.Sprintf("revocations=%d", revocations), func(b *testing.B) {
			explain := func() {
				if e := claims.Explain(attempt, view); e.Verdict != claims.VerdictAdmitted {
					b.Fatal(e.Summary)
				}
			}
			decode := func() {
				if _, err := jwt.DecodeAccountClaims(text); err != nil {
					b.Fatal(err)
				}
			}
			var ratios []float64
			for range 5 {
				bare := rate(20, decode)
				ratios = append(ratios, bare/rate(20, explain))
			}
			slices.Sort(ratios)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				explain()
			}
			b.ReportMetric(ratios[len(ratios)/2], "x_decode")
		})
	}
}
