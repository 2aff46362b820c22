package issuer_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
)

// BenchmarkIssue issues credentials, each with its ledger entry, audit entry and commit on disk. x_bare is its
// rate divided by that of minting the same with nats-io/jwt and nkeys alone, the median of five rounds that take
// turns.
func BenchmarkIssue(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			h := newHouse(b, dialect)
			h.furnish(b)
			signer, err := nkeys.CreateAccount()
			if err != nil {
				b.Fatal(err)
			}
			ours := func() {
				if _, err := h.Issue(b.Context(), op(), "ORDERS", "ada@example.com", issuer.IssueInput{TTL: time.Hour}); err != nil {
					b.Fatal(err)
				}
			}
			var ratios []float64
			for range 5 {
				bare := rate(200, func() { bareMint(b, signer) })
				ratios = append(ratios, rate(200, ours)/bare)
			}
			slices.Sort(ratios)
			for b.Loop() {
				ours()
			}
			b.ReportMetric(ratios[len(ratios)/2], "x_bare")
		})
	}
}

// nscRate is how many users a second nsc makes: 8 ms each.
const nscRate = 125

// BenchmarkBulkIssue makes users with credentials in batches: keys made, signed and read back, users, ledger and
// audit written, committed on disk. per_s is credentials a second on two processors; x_bare is that divided by
// minting with nats-io/jwt and nkeys alone on one, x_nsc by nsc's rate; the medians of five rounds that take turns.
func BenchmarkBulkIssue(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			h := newHouse(b, dialect)
			h.furnish(b)
			signer, err := nkeys.CreateAccount()
			if err != nil {
				b.Fatal(err)
			}
			made := 0
			batch := func() {
				users := make([]issuer.UserInput, issuer.BulkBatch)
				for n := range users {
					users[n] = issuer.UserInput{Name: fmt.Sprintf("u%07d", made), Permissions: ownPermissions(), Issue: &issuer.IssueInput{TTL: time.Hour}}
					made++
				}
				out, err := h.CreateUsers(b.Context(), op(), "ORDERS", users)
				if err != nil || out[len(out)-1].Err != nil {
					b.Fatal(err, out[len(out)-1].Err)
				}
			}
			const batches = 4
			var rates, ratios []float64
			for range 5 {
				bare := rate(1000, func() { bareMint(b, signer) })
				ours := rate(batches, batch) * issuer.BulkBatch
				rates, ratios = append(rates, ours), append(ratios, ours/bare)
			}
			slices.Sort(rates)
			slices.Sort(ratios)
			for b.Loop() {
				batch()
			}
			b.ReportMetric(rates[len(rates)/2], "per_s")
			b.ReportMetric(ratios[len(ratios)/2], "x_bare")
			b.ReportMetric(rates[len(rates)/2]/nscRate, "x_nsc")
		})
	}
}

// bareMint is what a program without Chancery does.
func bareMint(b *testing.B, signer nkeys.KeyPair) {
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
	c.Name, c.UserPermissionLimits, c.Expires = "ada@example.com", *ownPermissions(), time.Now().Add(time.Hour).Unix()
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

// resignings is how many accounts are signed anew at once.
const resignings = 10_000

// BenchmarkResign signs 10,000 accounts anew after their operator's key was rotated, each with a new version, an
// audit entry, a change and an outbox row. x_bare is its rate divided by that of encoding and signing the same claims
// with nats-io/jwt alone, one after the other, in the same run.
func BenchmarkResign(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			h := newHouse(b, dialect)
			w := h.furnish(b)
			h.crowd(b, w, resignings)
			signer, err := nkeys.CreateOperator()
			if err != nil {
				b.Fatal(err)
			}
			c, err := jwt.DecodeAccountClaims(h.account(b, "C00000").JWT)
			if err != nil {
				b.Fatal(err)
			}
			bare := rate(2000, func() {
				if _, err := c.Encode(signer); err != nil {
					b.Fatal(err)
				}
			})
			seconds, n := 0.0, 0
			for b.Loop() {
				next := did(h.AddKey(b.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})).well(b)
				if next.Owing < resignings {
					b.Fatalf("%d accounts owe a signature", next.Owing)
				}
				start := time.Now()
				if err := h.Upkeep(b.Context()); err != nil {
					b.Fatal(err)
				}
				seconds += time.Since(start).Seconds()
				n += int(next.Owing)
				h.advance(time.Minute)
			}
			b.ReportMetric(seconds/float64(n)*resignings, "s/10000")
			b.ReportMetric(float64(n)/seconds, "accounts/s")
			b.ReportMetric(float64(n)/seconds/bare, "x_bare")
		})
	}
}
