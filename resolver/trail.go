package resolver

import (
	"context"
	"fmt"
	"time"

	"chancery/store"
)

// trailEvery is how often changes are looked for between CatchUp and the end of Start.
const trailEvery = 250 * time.Millisecond

// CatchUp takes in what was committed since the snapshot was written, from the store
// handed over by Use, and goes on with it until Start has loaded everything: so
// what is answered after a restart is not older than what was acknowledged before it.
// It reads only what has changed. Without a snapshot, or where it is not known what it
// lacks, it does nothing, and answers wait for Start, for as long as they may at all. It
// writes nothing, and works with a schema that is not migrated yet if that has a log of
// changes; the error tells that it has not, or does not answer. It may be called again
// before Start.
func (r *Resolver) CatchUp(ctx context.Context) error {
	r.endTrail()
	if r.snapshot == nil || r.store == nil {
		return nil
	}
	from := r.snapshot.followed.Load()
	var last int64
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		last, err = t.LastChange(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the change log: %w", err)
	}
	if from == 0 || last < from { // of a database that was restored, everything is looked at
		return nil
	}
	late := r.pulse.begin(r.pace.catchUp)
	if _, err := r.takeChanges(ctx, &from); err != nil {
		return fmt.Errorf("catching up: %w", err)
	}
	r.pulse.release(late)

	r.mu.Lock()
	running := r.begin(ctx)
	r.mu.Unlock()
	trail, cancel := context.WithCancel(running)
	ended := make(chan struct{})
	r.trailing = func() { cancel(); <-ended }
	r.running.Go(func() {
		defer close(ended)
		r.trail(trail, from)
	})
	return nil
}

// trail follows until ctx ends. What fails here fails at Start too, which tells of it.
func (r *Resolver) trail(ctx context.Context, followed int64) {
	tick := time.NewTicker(trailEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = r.takeChanges(ctx, &followed)
		}
	}
}

// endTrail returns when nothing follows any more.
func (r *Resolver) endTrail() {
	if r.trailing != nil {
		r.trailing()
		r.trailing = nil
	}
}
