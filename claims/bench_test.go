package claims_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// BenchmarkMint makes a key and a creds file for it, as an issuance does without its database. x_bare is its rate
// divided by that of the same with nats-io/jwt and nkeys alone, the median of five rounds that take turns.
func BenchmarkMint(b *testing.B) {
	signer, account := newPair(b, claims.KindAccount), newPair(b, claims.KindAccount)
	expires := time.Now().Add(time.Hour).Unix()
	permissions := claims.NewPermissionLimits()
	permissions.Pub.Allow, permissions.Sub.Allow = jwt.StringList{"orders.>"}, jwt.StringList{"_INBOX.>"}
	ours := func() {
		key := newPair(b, claims.KindUser)
		c := checked(b)(claims.BuildUser(claims.User{ID: key.id, Name: "ada", Account: account.id, Tags: []string{"region:eu"}, Permissions: &permissions, Expires: expires}))
		claims.FormatCreds(sign(b, c, signer, claims.NextIssuedAt(time.Now(), 0)).Token, key.seed(b))
	}
	var ratios turns
	for range 5 {
		bare := rate(400, func() { bareMint(b, signer, account.id, permissions, expires) })
		ratios = append(ratios, rate(400, ours)/bare)
	}
	slices.Sort(ratios)
	for b.Loop() {
		ours()
	}
	ratios.report(b, "x_bare")
}

// bareMint is what a program without Chancery does.
func bareMint(b *testing.B, signer nkeys.KeyPair, account string, permissions jwt.UserPermissionLimits, expires int64) {
	b.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		b.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	c := jwt.NewUserClaims(public)
	c.Name, c.IssuerAccount, c.UserPermissionLimits, c.Expires = "ada", account, permissions, expires
	c.User.Tags.Add("region:eu")
	token, err := c.Encode(signer)
	if err != nil {
		b.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := jwt.FormatUserConfig(token, seed); err != nil {
		b.Fatal(err)
	}
}

// rate returns how often a second f runs.
func rate(n int, f func()) float64 {
	start := time.Now()
	for range n {
		f()
	}
	return float64(n) / time.Since(start).Seconds()
}

// turns are the ratios of rounds in which two programs took turns, in order.
type turns []float64

// inTurns returns the times of ours divided by those of bare, in five rounds of n runs.
func inTurns(n int, ours, bare func()) turns {
	var out turns
	for range 5 {
		r := rate(n, bare)
		out = append(out, r/rate(n, ours))
	}
	slices.Sort(out)
	return out
}

// report reports the median with the lowest and the highest beside it.
func (t turns) report(b *testing.B, name string) {
	b.Helper()
	b.ReportMetric(t[len(t)/2], name)
	b.ReportMetric(t[0], name+"_min")
	b.ReportMetric(t[len(t)-1], name+"_max")
}
