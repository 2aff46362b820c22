package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"chancery/store"
)

// maxPushes is how many accounts of an operator are pushed at once. No fewer than
// leastClaim are claimed while so many are under way: a claim is a commit.
const (
	maxPushes  = 256
	leastClaim = maxPushes / 8
)

// pusher works off what an operator owes its servers.
type pusher struct {
	o *operator
	// slots is filled by a claimed row until its outcome is recorded.
	slots    chan struct{}
	finished chan outcome
	// current holds the pushes under way, by account, and held the claims whose outcome is
	// not recorded.
	current, held *xsync.Map[string, *running]
	claiming      trouble
	renewing      trouble
	pushing       trouble
	noting        trouble
}

// claim is a row of the outbox that is ours.
type claim struct {
	store.Owed
	run *running
	// served is the account as it was read after the claim; nil: it is to be read.
	served *store.Served
}

// outcome is how the push of one account ended.
type outcome struct {
	owed       store.Owed
	deliveries []store.Delivery
	// settled takes the row out of the outbox; else it is due again after delay.
	settled bool
	// proved tells that it was seen on every server for the first time, and that none is
	// missing.
	proved bool
	delay  time.Duration
}

func newPusher(o *operator) *pusher {
	return &pusher{
		o: o, slots: make(chan struct{}, maxPushes), finished: make(chan outcome, maxPushes), current: xsync.NewMap[string, *running](), held: xsync.NewMap[string, *running](),
		claiming: trouble{log: o.log, task: "claiming the pushes that are owed"},
		renewing: trouble{log: o.log, task: "renewing the claims of pushes that take long"},
		pushing:  trouble{log: o.log, task: "pushing accounts to the servers"},
		noting:   trouble{log: o.log, task: "recording deliveries"},
	}
}

// run pushes until ctx ends.
func (p *pusher) run(ctx context.Context) {
	var recorder, pushes sync.WaitGroup
	recorder.Go(func() { p.record(ctx) })
	recorder.Go(func() { p.renew(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.o.wake:
			timer.Reset(p.round(ctx, &pushes))
		case <-timer.C:
			timer.Reset(p.round(ctx, &pushes))
		}
	}
	pushes.Wait()
	close(p.finished)
	recorder.Wait()
}

// round starts the pushes that are due and returns when to look again if nobody
// wakes the pusher before.
func (p *pusher) round(ctx context.Context, pushes *sync.WaitGroup) time.Duration {
	l, free := p.o.link.Load(), cap(p.slots)-len(p.slots)
	if l == nil || free < leastClaim {
		return p.o.r.pace.poll
	}
	until := p.o.r.now().Add(p.o.r.pace.lease)
	claimed, next, err := p.claim(ctx, free)
	p.claiming.note(ctx, err)
	if len(claimed) == 0 {
		return next
	}
	served, err := p.o.r.getAllServed(ctx, claimed)
	p.claiming.note(ctx, err)
	for _, w := range claimed {
		p.slots <- struct{}{}
		run := p.hold(w, until)
		pushes.Go(func() { p.finished <- p.push(ctx, l, claim{w, run, served[w.AccountID]}) })
	}
	return next
}

// getAllServed reads the current JWTs of what was claimed in one go, and puts them into
// memory, so that a server that fetches from now on gets them.
func (r *Resolver) getAllServed(ctx context.Context, claimed []store.Owed) (map[string]*store.Served, error) {
	list, found := make([]store.Served, 0, len(claimed)), make(map[string]*store.Served, len(claimed))
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		for _, w := range claimed {
			s, err := t.GetServed(ctx, w.AccountID)
			switch {
			case err == nil:
				list = append(list, s)
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the accounts that are owed: %w", err)
	}
	r.takeIn(list...)
	for i := range list {
		found[list[i].AccountID] = &list[i]
	}
	return found, nil
}

// claim leases what is due. It looks before it claims: a claim is a commit, and a
// commit wakes everybody.
func (p *pusher) claim(ctx context.Context, limit int) (claimed []store.Owed, next time.Duration, err error) {
	pace := p.o.r.pace
	next = pace.poll
	err = p.o.r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		due, ok, err := t.NextOwed(ctx, p.o.id)
		if ok {
			next = min(due.Sub(t.Now()), pace.poll)
		}
		return err
	})
	if err != nil || next > 0 {
		return nil, next, err
	}
	err = p.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		claimed, err = t.ClaimOwed(ctx, p.o.id, p.o.r.owner, pace.lease, limit)
		return err
	})
	if errors.Is(err, store.ErrBusy) || err == nil && len(claimed) == 0 {
		return nil, pace.retry, nil // another replica was faster
	}
	if err != nil {
		return nil, pace.retry, err
	}
	return claimed, 0, nil
}

// push brings one account to every server.
func (p *pusher) push(ctx context.Context, l *link, w claim) outcome {
	r := p.o.r
	began := r.now()
	d, err := p.deliver(ctx, l, w)
	r.metrics.push.Observe(r.now().Sub(began).Seconds())
	out := outcome{owed: w.Owed, deliveries: d.news, delay: r.pace.backoff(w.Attempts)}
	if errors.Is(err, store.ErrNotFound) {
		out.settled = true
		return out
	}
	p.pushing.note(ctx, err)
	switch {
	case err != nil:
		r.metrics.failed.Inc()
	case d.published.IsZero():
		r.metrics.unproven.Inc()
	default:
		// Seen everywhere. It is settled when no fetch of an older JWT can be under
		// way any more.
		out.delay = r.pace.settle - r.now().Sub(d.published)
		out.settled = out.delay <= 0
		short := p.o.short()
		if out.settled && short {
			out.settled, out.delay = false, fewerAgain
		}
		if out.proved = d.first && !short; d.first {
			r.metrics.proven.Inc()
			r.metrics.delay.Observe(r.now().Sub(w.Since).Seconds())
		}
	}
	return out
}

// deliver brings the current JWT of an account to every server, and when a newer
// one comes meanwhile, that one. It goes on itself instead of giving the account
// back: the next claim may be another replica's, whose push could reach a server
// before ours of the older JWT. On one connection they cannot overtake each other.
func (p *pusher) deliver(ctx context.Context, l *link, w claim) (delivered, error) {
	if w.served == nil {
		s, err := p.o.r.getServed(ctx, w.AccountID)
		if err != nil {
			return delivered{}, err
		}
		// Memory first, so that a server that fetches from now on gets this one.
		p.o.r.takeIn(s)
		w.served = &s
	}
	s, ok := p.o.r.sound(*w.served)
	if !ok {
		return p.o.withhold(s), nil
	}
	run := w.run
	p.current.Store(w.AccountID, run)
	defer p.current.Delete(w.AccountID)
	var news []store.Delivery
	for {
		round, stop := context.WithCancel(ctx)
		run.begin(s.Version, stop)
		s = p.o.r.memory.newest(s) // after begin: what comes from now on ends the round
		d, err := p.o.deliver(round, l, s, run.lasts)
		superseded := round.Err() != nil && ctx.Err() == nil
		stop()
		news = append(news, d.news...)
		if err != nil || !superseded {
			d.news = news
			return d, err
		}
	}
}

// record stores outcomes, those that wait at the same time in one transaction.
func (p *pusher) record(ctx context.Context) {
	for first := range p.finished {
		batch := []outcome{first}
		for more := true; more && len(batch) < maxPushes; {
			select {
			case next, ok := <-p.finished:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		if ctx.Err() == nil {
			p.noting.note(ctx, p.store(ctx, batch))
		}
		for _, o := range batch {
			p.release(o.owed)
			<-p.slots
		}
		p.o.wake.ring()
	}
}

// recordTries is how often outcomes are stored when the database gives way to other
// writers. After that the leases run out, and the accounts are pushed again.
const recordTries = 3

func (p *pusher) store(ctx context.Context, batch []outcome) error {
	// One order for all writers of these rows: no deadlock.
	slices.SortFunc(batch, func(a, b outcome) int { return cmp.Compare(a.owed.AccountID, b.owed.AccountID) })
	var err error
	for range recordTries {
		err = p.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
			for _, o := range batch {
				if err := storeOutcome(ctx, t, o); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, store.ErrBusy) {
			break
		}
	}
	return err
}

func storeOutcome(ctx context.Context, t *store.Tx, o outcome) error {
	for _, d := range o.deliveries {
		if err := t.PutDelivery(ctx, d); err != nil {
			return err
		}
	}
	if o.settled {
		return t.SettleOwed(ctx, o.owed)
	}
	if o.proved {
		if err := t.ProveOwed(ctx, o.owed); err != nil {
			return err
		}
	}
	return t.PostponeOwed(ctx, o.owed, o.delay)
}
