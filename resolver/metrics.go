package resolver

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what is counted. All labels are resolved at start.
type metrics struct {
	requests requestCounters
	// proven, unproven and failed count pushes by how they ended.
	proven, unproven, failed prometheus.Counter
	// delay is how long a change took from its commit to its first proof.
	delay prometheus.Histogram
	// owed and oldest speak of the outbox: the age of the oldest row is the main
	// alarm, for it may be a revocation.
	owed, oldest prometheus.Gauge
	drift        driftMetrics
}

// newMetrics registers the metrics; a nil registerer keeps them private.
func newMetrics(to prometheus.Registerer, m *memory) (*metrics, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "chancery_resolver_requests_total", Help: "Requests for JWTs by outcome.",
	}, []string{"outcome"})
	pushes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "chancery_pushes_total", Help: "Pushes of account JWTs: proven on every server, not yet proven, or failed.",
	}, []string{"outcome"})
	out := &metrics{
		drift: newDriftMetrics(),
		requests: requestCounters{
			found: requests.WithLabelValues("found"), unmodified: requests.WithLabelValues("not_modified"),
			unknown: requests.WithLabelValues("unknown"), probe: requests.WithLabelValues("probe"),
			refused: requests.WithLabelValues("refused"),
		},
		proven: pushes.WithLabelValues("proven"), unproven: pushes.WithLabelValues("unproven"), failed: pushes.WithLabelValues("failed"),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "chancery_push_proven_seconds", Help: "From the commit of a change to its proof on every server.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}),
		owed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chancery_owed_accounts", Help: "Accounts whose JWT is not yet settled on every server.",
		}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chancery_owed_oldest_seconds", Help: "Age of the oldest change that is not yet settled on every server.",
		}),
	}
	if to == nil {
		return out, nil
	}
	accounts := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chancery_resolver_accounts", Help: "Accounts in memory.",
	}, func() float64 { return float64(m.accounts.Size()) })
	var errs []error
	for _, c := range append(out.drift.collectors(), requests, pushes, out.delay, out.owed, out.oldest, accounts) {
		errs = append(errs, to.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return out, nil
}
