package resolver_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

const (
	// pushedAtOnce is how many accounts are changed at once, as by a new signing key of
	// the operator.
	pushedAtOnce = 2_000
	// pushRounds is how often.
	pushRounds = 3
)

// BenchmarkPushFull pushes changed accounts to three servers with full resolvers until
// all are proven, in memory where they are loaded and on every disk. per_s is how many
// accounts that is a second. The servers run in the same process. What servers with a URL
// resolver take is measured with the whole of Chancery (cmd/chancery, BenchmarkPushAll).
func BenchmarkPushFull(b *testing.B) {
	c := &cluster{world: newWorld(b, storetest.SQLite(b)), kind: "full", dirs: map[string]string{}, servers: map[string]*server.Server{}}
	accounts := c.crowd(pushedAtOnce)
	cfg := c.config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	metrics := prometheus.NewRegistry()
	cfg.Metrics = metrics
	r := c.startWith(cfg, resolver.Hurry{})
	for _, name := range []string{"n1", "n2", "n3"} {
		c.up(name)
	}
	r.Wake() // the URLs are new
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	if !r.AwaitServers(ctx, c.operator, 3, 3) { // their empty disks are compared
		b.Fatal("the servers were not examined")
	}
	var rates []float64
	for range pushRounds {
		c.settledAll()
		proven := counted(b, metrics)
		c.r.Store(nil) // woken when all are committed
		c.each(accounts, func(ctx context.Context, tx *store.Tx, a *account) error {
			a.claims.Settings.Limits.Subs++
			return c.put(ctx, tx, a)
		})
		c.number()
		c.r.Store(r)
		begin := time.Now()
		r.Wake()
		for counted(b, metrics)-proven < pushedAtOnce {
			time.Sleep(10 * time.Millisecond)
		}
		rates = append(rates, pushedAtOnce/time.Since(begin).Seconds())
	}
	spread(b, "per_s", rates)
	b.ReportMetric(0, "ns/op")
}

// number gives the changes their numbers, as the sequencer does.
func (w *world) number() {
	w.t.Helper()
	for n := 1; n > 0; {
		var err error
		if n, err = w.store.Sequence(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// settledAll waits until nothing is owed.
func (w *world) settledAll() {
	w.t.Helper()
	for n := int64(1); n > 0; time.Sleep(50 * time.Millisecond) {
		w.write(func(ctx context.Context, tx *store.Tx) (err error) {
			n, _, err = tx.CountOwed(ctx, "")
			return err
		})
	}
}

// each writes all accounts, some in each transaction.
func (w *world) each(list []*account, f func(ctx context.Context, tx *store.Tx, a *account) error) {
	const batch = 500
	for len(list) > 0 {
		n := min(batch, len(list))
		w.write(func(ctx context.Context, tx *store.Tx) error {
			for _, a := range list[:n] {
				if err := f(ctx, tx, a); err != nil {
					return err
				}
			}
			return nil
		})
		list = list[n:]
	}
}

// counted returns how many pushes were proven.
func counted(b *testing.B, metrics *prometheus.Registry) float64 {
	b.Helper()
	all, err := metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "chancery_pushes_total" && m.GetLabel()[0].GetValue() == "proven" {
				return m.GetCounter().GetValue()
			}
		}
	}
	b.Fatal("no pushes are counted")
	return 0
}
