package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"chancery/store"
)

// running is a push under way.
type running struct {
	owed store.Owed

	mu      sync.Mutex
	version int64
	stop    context.CancelFunc
	// until is when the claim runs out.
	until time.Time
}

// lasts tells until when the row is ours.
func (r *running) lasts() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}

// hold keeps a claim until release, which follows when the outcome is recorded.
func (p *pusher) hold(w store.Owed, until time.Time) *running {
	run := &running{owed: w, version: math.MaxInt64, until: until}
	p.held.Store(w.AccountID, run)
	return run
}

func (p *pusher) release(w store.Owed) {
	p.held.Compute(w.AccountID, func(run *running, loaded bool) (*running, xsync.ComputeOp) {
		if loaded && run.owed.Epoch == w.Epoch {
			return nil, xsync.DeleteOp
		}
		return run, xsync.CancelOp
	})
}

// renew keeps the claims of pushes that take long, such as of those that wait for a
// server which does not answer, or to be recorded: what comes of a claim that was
// overtaken is dropped, and on a busy machine it would always be. A claim that ran out,
// since this process stood still or the store was away, is not renewed: another replica
// may have it.
func (p *pusher) renew(ctx context.Context) {
	pace := p.o.r.pace
	tick := time.NewTicker(pace.renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.o.r.now()
		var long []*running
		p.held.Range(func(_ string, run *running) bool {
			if run.lasts().Sub(now) < pace.lease-pace.renew/2 {
				long = append(long, run)
			}
			return true
		})
		if len(long) > 0 {
			p.renewing.note(ctx, p.extend(ctx, long, now.Add(pace.lease)))
		}
	}
}

func (p *pusher) extend(ctx context.Context, list []*running, until time.Time) error {
	// One order for all writers of these rows: no deadlock.
	slices.SortFunc(list, func(a, b *running) int { return cmp.Compare(a.owed.AccountID, b.owed.AccountID) })
	kept := make([]bool, len(list))
	err := p.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		for i, run := range list {
			err := t.RenewOwed(ctx, run.owed, p.o.r.pace.lease)
			if kept[i] = err == nil; err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("renewing claims: %w", err)
	}
	for i, run := range list {
		if kept[i] {
			run.mu.Lock()
			run.until = until
			run.mu.Unlock()
		}
	}
	return nil
}

func (r *running) begin(version int64, stop context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version, r.stop = version, stop
}

// supersede lets the push of an older version go on with the newest: it may be
// waiting for a server that does not answer, and until it ends nobody may push the
// account.
func (p *pusher) supersede(accountID string, version int64) {
	run, ok := p.current.Load(accountID)
	if !ok {
		return
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.version < version {
		run.stop()
	}
}
