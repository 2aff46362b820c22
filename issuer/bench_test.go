package issuer_test

import (
	"fmt"
	"os"
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
			var ratios rounds
			for range benchRounds {
				bare := rate(200, func() { bareMint(b, signer) })
				ratios = append(ratios, rate(200, ours)/bare)
			}
			for b.Loop() {
				ours()
			}
			ratios.report(b, "x_bare")
		})
	}
}

// nscRate is how many users a second nsc makes: 8 ms each.
const nscRate = 125

// BenchmarkBulkIssue makes users with credentials in batches: keys made, signed and read back, users, ledger and
// audit written, committed on disk. per_s is credentials a second on two processors; x_bare is that divided by
// minting with nats-io/jwt and nkeys alone on one, x_nsc by nsc's rate: the medians of rounds that take turns.
func BenchmarkBulkIssue(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			h := newHouse(b, dialect)
			h.furnish(b)
			h.durable(b)
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
			batch() // prepares the statements
			const batches = 4
			var rates, ratios, nsc rounds
			for range benchRounds {
				bare := rate(1000, func() { bareMint(b, signer) })
				ours := rate(batches, batch) * issuer.BulkBatch
				rates, ratios, nsc = append(rates, ours), append(ratios, ours/bare), append(nsc, ours/nscRate)
			}
			rates.report(b, "per_s")
			ratios.report(b, "x_bare")
			nsc.report(b, "x_nsc")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// benchRounds is how often two programs take turns.
const benchRounds = 5

// rounds are what was measured in each of them.
type rounds []float64

// report reports the median with the lowest and the highest beside it.
func (r rounds) report(b *testing.B, name string) {
	b.Helper()
	slices.Sort(r)
	b.ReportMetric(r[len(r)/2], name)
	b.ReportMetric(r[0], name+"_min")
	b.ReportMetric(r[len(r)-1], name+"_max")
}

// durable makes the PostgreSQL that the tests start write to the disk for certain, which for tests it does not.
func (h *house) durable(b *testing.B) {
	b.Helper()
	if h.store.Dialect() != "postgres" || os.Getenv("CHANCERY_TEST_POSTGRES_URL") != "" {
		return
	}
	for _, statement := range []string{`ALTER SYSTEM SET fsync = on`, `ALTER SYSTEM SET full_page_writes = on`, `SELECT pg_reload_conf()`} {
		h.raw.Run(b, statement)
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
// audit entry, a change and an outbox row. x_bare is its rate divided by that of encoding and decoding the same claims
// with nats-io/jwt alone, one after the other: the medians of rounds that take turns.
func BenchmarkResign(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			h := newHouse(b, dialect)
			w := h.furnish(b)
			h.crowd(b, w, resignings)
			h.durable(b)
			signer, err := nkeys.CreateOperator()
			if err != nil {
				b.Fatal(err)
			}
			c, err := jwt.DecodeAccountClaims(h.account(b, "C00000").JWT)
			if err != nil {
				b.Fatal(err)
			}
			var seconds, ratios rounds
			for range benchRounds {
				bare := rate(1000, func() {
					token, err := c.Encode(signer)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := jwt.DecodeAccountClaims(token); err != nil {
						b.Fatal(err)
					}
				})
				next := did(h.AddKey(b.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})).well(b)
				if next.Owing < resignings {
					b.Fatalf("%d accounts owe a signature", next.Owing)
				}
				each := rate(1, func() {
					if err := h.Upkeep(b.Context()); err != nil {
						b.Fatal(err)
					}
				}) * float64(next.Owing)
				seconds, ratios = append(seconds, resignings/each), append(ratios, each/bare)
				h.advance(time.Minute)
			}
			seconds.report(b, "s/10000")
			ratios.report(b, "x_bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}
