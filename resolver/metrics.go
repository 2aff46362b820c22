package resolver

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what is counted here. All labels are resolved at start. What is told of an
// operator as a whole is in survey.go. The names, with what they are good for:
//
//	chancery_resolver_requests_total{outcome}   requests for JWTs: found, not_modified, unknown, probe, refused
//	chancery_resolver_seconds                   how long a request takes, of one in 16
//	chancery_resolver_accounts                  accounts in memory
//	chancery_damaged_accounts                   accounts whose JWT in the database is damaged
//	chancery_pushes_total{outcome}              pushes: proven, unproven, failed
//	chancery_push_seconds                       one round: publish, and read back from every server
//	chancery_push_proven_seconds                from the commit of a change to its first proof on every server
//	chancery_owed_accounts                      accounts whose JWT is not settled yet
//	chancery_owed_oldest_seconds                since when the oldest of them is owed
//	chancery_clock_skew_seconds                 this process's clock ahead of the database's
type metrics struct {
	to       prometheus.Registerer
	requests requestCounters
	// lookups is how long requests take, push one round of a push.
	lookups, push prometheus.Histogram
	// proven, unproven and failed count pushes by how they ended.
	proven, unproven, failed prometheus.Counter
	// delay is how long a change took from its commit to its first proof.
	delay prometheus.Histogram
	// owed and oldest speak of the outbox. skew is the difference of clocks in seconds.
	owed, oldest, skew prometheus.Gauge
	drift              driftMetrics
}

// add registers what another part of the package counts.
func (m *metrics) add(collectors ...prometheus.Collector) error {
	if m.to == nil {
		return nil
	}
	var errs []error
	for _, c := range collectors {
		errs = append(errs, m.to.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func histogram(name, help string, buckets ...float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
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
		to:    to,
		requests: requestCounters{
			found: requests.WithLabelValues("found"), unmodified: requests.WithLabelValues("not_modified"),
			unknown: requests.WithLabelValues("unknown"), probe: requests.WithLabelValues("probe"),
			refused: requests.WithLabelValues("refused"),
		},
		proven: pushes.WithLabelValues("proven"), unproven: pushes.WithLabelValues("unproven"), failed: pushes.WithLabelValues("failed"),
		lookups: histogram("chancery_resolver_seconds", "How long a request for a JWT takes, of one request in 16.", .00001, .000025, .00005, .0001, .00025, .001, .005, .025, .25, 2),
		push:    histogram("chancery_push_seconds", "How long one round of a push takes: publish, and read back from every server.", .001, .0025, .005, .01, .025, .05, .1, .25, 1, 2.5),
		delay:   histogram("chancery_push_proven_seconds", "From the commit of a change to its proof on every server.", .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60),
		owed:    gauge("chancery_owed_accounts", "Accounts whose JWT is not yet settled on every server."),
		oldest:  gauge("chancery_owed_oldest_seconds", "Age of the oldest change that is not yet settled on every server."),
		skew:    gauge("chancery_clock_skew_seconds", "How far the clock of this process is ahead of the database's."),
	}
	accounts := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chancery_resolver_accounts", Help: "Accounts in memory.",
	}, func() float64 { return float64(m.accounts.Size()) })
	return out, out.add(append(out.drift.collectors(), requests, pushes, out.lookups, out.push, out.delay, out.owed, out.oldest, out.skew, accounts, m.damaged.collector())...)
}

// sampling is how many requests there are for one whose time is taken: the clock costs
// as much as the answer.
const sampling = 16

// timed takes the time of some of the requests that it passes on.
type timed struct {
	next http.Handler
	now  func() time.Time
	took prometheus.Histogram
	n    atomic.Uint32
}

// ServeHTTP implements http.Handler.
func (t *timed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.n.Add(1)%sampling != 0 {
		t.next.ServeHTTP(w, r)
		return
	}
	began := t.now()
	t.next.ServeHTTP(w, r)
	t.took.Observe(t.now().Sub(began).Seconds())
}
