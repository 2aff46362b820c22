package issuer_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
	"chancery/store"
)

// BenchmarkPost accepts account JWTs that the operator signed elsewhere: verified, held against the stored account,
// signed anew, with audit entry and commit on disk. per_s is the rate with 1 and 16 clients, each with accounts of its
// own; x_bare is that divided by verifying and one commit of one row on the same database with as many clients: the
// medians of rounds that take turns.
func BenchmarkPost(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		for _, clients := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/clients=%d", dialect, clients), func(b *testing.B) {
				h := newHouse(b, dialect)
				w := h.furnish(b)
				h.durable(b)
				pair := newPair(b, nkeys.PrefixByteOperator)
				err := h.store.Write(b.Context(), func(ctx context.Context, tx *store.Tx) error {
					return tx.CreateKey(ctx, store.Key{ID: public(b, pair), Kind: "operator", Role: "signing", OperatorID: w.operator.ID, State: "current", Custody: "public_only"})
				})
				if err != nil {
					b.Fatal(err)
				}
				did(h.SetEnrolmentPolicy(b.Context(), op(), "acme", issuer.EnrolmentInput{Mode: issuer.EnrolOpen})).well(b)
				const accounts = 128
				base := make([]*jwt.AccountClaims, accounts)
				for n := range base {
					out, err := h.submit(b, newPair(b, nkeys.PrefixByteAccount), fmt.Sprintf("P%03d", n), nil)
					if err != nil {
						b.Fatal(err)
					}
					base[n] = decode[*jwt.AccountClaims](b, out.Account.JWT)
				}
				ours := func() float64 {
					h.advance(2 * time.Second)
					tokens := make([]string, accounts)
					for n, c := range base {
						c.Description = h.time().String()
						tokens[n] = signedAt(b, c, pair, h.unix())
					}
					return inParallel(b, clients, accounts, func(n int) error {
						_, err := h.SubmitAccount(b.Context(), issuer.SubmitInput{Operator: "acme", Account: base[n].Subject, Token: tokens[n]})
						return err
					})
				}
				bare := func() float64 {
					h.advance(2 * time.Second)
					token := signedAt(b, base[0], pair, h.unix())
					return inParallel(b, clients, accounts, func(n int) error {
						if _, err := jwt.DecodeAccountClaims(token); err != nil {
							return err
						}
						sum := sha256.Sum256(fmt.Append(nil, h.unix(), n))
						return h.store.Write(b.Context(), func(ctx context.Context, tx *store.Tx) error {
							return tx.KeepPosting(ctx, store.Posting{AccountID: base[n].Subject, SHA256: sum[:], IssuedAt: h.unix()}, 0)
						})
					})
				}
				ours()
				var rates, ratios rounds
				for range benchRounds {
					r, o := bare(), ours()
					rates, ratios = append(rates, o), append(ratios, o/r)
				}
				rates.report(b, "per_s")
				ratios.report(b, "x_bare")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// inParallel returns how many times a second f ran, n times in all.
func inParallel(b *testing.B, clients, n int, f func(n int) error) float64 {
	b.Helper()
	var all sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	for range clients {
		all.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= n {
					return
				}
				if err := f(k); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(n) / time.Since(start).Seconds()
}
