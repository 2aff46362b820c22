package resolver

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/store"
)

// drifter finds what an operator's servers hold, or are sent, that they were not given
// by us, and heals it. Every replica listens; the one that holds the sweep's lease
// records and heals, so that one drift is one record, and when it goes another takes up
// what it heard meanwhile.
//
// A push that somebody else makes is heard at once, and is a hint: it is judged against
// the store, since it may be a version of ours that another replica has just made. The
// sweep, which asks the servers what they hold, gives hints of the same kind. Whatever is
// found is recorded first, then healed by pushing ours again, and closed when a reading
// of all servers shows nothing but ours. What a push does not heal is signed anew: a
// server takes the bytes that it has had before for no change, whatever became of their
// account or file since.
type drifter struct {
	o *operator
	// heard rings when there are hints.
	heard bell
	// whole asks for a sweep of all accounts now.
	whole bell

	mu sync.Mutex
	// hints are the latest of each account, size what they hold in bytes.
	hints map[string]hint
	size  int
	// wire is the highest version of ours that was heard of each account, by the way it
	// came: each way has its own order.
	wire map[string][ways]int64
	// leads is when this replica took the lease, zero while it has none.
	leads time.Time
	// swept is how far the sweep is.
	swept store.Sweep
	// packs are the stores of full resolvers whose hash agreed with ours, and when.
	packs map[string]time.Time

	// checks are when open records are looked at again; only the loop touches them.
	checks map[string]check
	// healing and sweeping log that the work fails.
	healing, sweeping, leading trouble
}

// hint is something that may be drift.
type hint struct {
	account, token string
	seen           claims.DriftSeen
	at             time.Time
	// after is the highest version of ours that came before it on the same way.
	after int64
	// deleted tells of a request to delete the account, or of an account that holds ours
	// and admits nobody; missing that a disk does not hold it.
	deleted, missing bool
	// server is where it was seen, if that is known.
	serverID, server string
}

// check is when an open record is looked at next.
type check struct {
	at       time.Time
	tries    int
	decision claims.DriftDecision
}

const (
	// maxHints and maxHintBytes bound what is remembered of what others push. What is
	// beyond is left to a sweep of all accounts.
	maxHints     = 1024
	maxHintBytes = 16 << 20
	// maxWire bounds the accounts whose pushes are remembered.
	maxWire = 10000
	// healers is how many accounts are looked at, or healed, at once.
	healers = 16
	// openBatch is how many open records are looked after.
	openBatch = 200
)

func newDrifter(o *operator) *drifter {
	return &drifter{
		o: o, heard: newBell(), whole: newBell(), hints: map[string]hint{}, wire: map[string][ways]int64{}, packs: map[string]time.Time{},
		checks:   map[string]check{},
		healing:  trouble{log: o.log, task: "healing what others pushed"},
		sweeping: trouble{log: o.log, task: "looking for drift on the servers"},
		leading:  trouble{log: o.log, task: "taking turns in looking for drift"},
	}
}

// run looks for drift until ctx ends.
func (d *drifter) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { d.sweep(ctx) })
	tick := time.NewTicker(d.o.r.pace.poll)
	defer tick.Stop()
	var held time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-d.heard:
		case <-tick.C:
		}
		l, now := d.o.link.Load(), d.o.r.now()
		switch {
		case l == nil:
			d.follow(ctx)
			held = time.Time{}
		case now.Sub(held) > d.o.r.pace.lead/3:
			if d.lead(ctx) {
				held = now
			}
		}
		if l != nil && d.leader() {
			d.healing.note(ctx, d.work(ctx, l))
		}
		d.prune(now)
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.o.r.pace.answer)
	defer cancel()
	d.follow(ctx)
}

// lead takes or keeps the lease.
func (d *drifter) lead(ctx context.Context) bool {
	r := d.o.r
	d.mu.Lock()
	s := d.swept
	d.mu.Unlock()
	s.Owner = r.owner
	var ok bool
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		now, err := t.GetSweep(ctx, d.o.id)
		ok = err == nil && (now.Owner == r.owner || now.Until.Before(t.Now()))
		return err
	})
	if err == nil && ok {
		err = r.store.Write(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			ok, err = t.HoldSweep(ctx, d.o.id, s, r.pace.lead)
			return err
		})
	}
	d.leading.note(ctx, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil || !ok:
		d.leads = time.Time{}
	case d.leads.IsZero():
		d.leads = r.now()
	}
	return err == nil && ok
}

// follow leaves the lease to others.
func (d *drifter) follow(ctx context.Context) {
	d.mu.Lock()
	led := !d.leads.IsZero()
	d.leads = time.Time{}
	d.mu.Unlock()
	if led {
		// A store that is gone is no reason to complain: the lease runs out.
		_ = d.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.FreeSweep(ctx, d.o.id, d.o.r.owner) })
	}
}

// leader tells whether this replica records and heals.
func (d *drifter) leader() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.leads.IsZero()
}

// add remembers a hint, the latest of its account.
func (d *drifter) add(h hint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.hints[h.account]
	size := d.size - len(old.token) + len(h.token)
	if !known && len(d.hints) >= maxHints || size > maxHintBytes {
		d.o.r.metrics.drift.missed.Inc()
		d.whole.ring()
		return
	}
	if known && old.seen == claims.SeenPushed && h.seen != claims.SeenPushed {
		return // what was pushed says more
	}
	d.hints[h.account], d.size = h, size
	d.heard.ring()
}

// take returns all hints, oldest or not.
func (d *drifter) take() []hint {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]hint, 0, len(d.hints))
	for _, h := range d.hints {
		out = append(out, h)
	}
	d.hints, d.size = map[string]hint{}, 0
	return out
}

// prune forgets what another replica has dealt with by now.
func (d *drifter) prune(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, h := range d.hints {
		if now.Sub(h.at) > d.o.r.pace.hints {
			delete(d.hints, id)
			d.size -= len(h.token)
		}
	}
}

// driftMetrics count drift.
type driftMetrics struct {
	found, closed *prometheus.CounterVec
	missed        prometheus.Counter
	healed        prometheus.Histogram
}

func newDriftMetrics() driftMetrics {
	return driftMetrics{
		found: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chancery_drift_found_total", Help: "Account JWTs on servers, or sent to them, that are not Chancery's, by kind.",
		}, []string{"kind"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chancery_drift_closed_total", Help: "Drift that ended, by how: healed or adopted.",
		}, []string{"outcome"}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chancery_drift_unheard_total", Help: "Pushes of others that were too many to be looked at one by one; a sweep follows.",
		}),
		healed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "chancery_drift_healed_seconds", Help: "From the first notice of a drift to the proof that servers have Chancery's JWT again.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 15, 60, 300},
		}),
	}
}

func (m driftMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.found, m.closed, m.missed, m.healed}
}
