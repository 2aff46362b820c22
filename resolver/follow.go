package resolver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"chancery/store"
)

// Rows read in one transaction.
const (
	loadBatch   = 1000
	changeBatch = 500
)

// load takes everything into memory. The number of the last change is read first:
// what is committed while loading is then followed, not missed.
func (r *Resolver) load(ctx context.Context) ([]store.Operator, error) {
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		r.followed, err = t.LastChange(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the change log: %w", err)
	}
	operators, err := r.loadOperators(ctx)
	if err != nil {
		return nil, err
	}
	r.behind.clear()
	r.memory.damaged.clear()
	if err := r.loadAccounts(ctx); err != nil {
		return nil, fmt.Errorf("loading account JWTs: %w", err)
	}
	r.uncounted = true
	r.snapshot.complete()
	r.snapshot.follow(r.followed)
	r.running.Go(r.memory.trim)
	return operators, nil
}

// loadAccounts takes all accounts into memory. One reads them, in no order, which is what
// a database does fastest; others make of them what is served. Of a million signatures
// none is verified: servers do that, and refuse a JWT that is damaged otherwise than shaped
// finds.
func (r *Resolver) loadAccounts(ctx context.Context) error {
	batches := make(chan []store.Served, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for list := range batches {
				list = slices.DeleteFunc(list, func(s store.Served) bool {
					bad := !shaped(s.Token)
					if bad {
						r.memory.damaged.note(s, bad)
					}
					return bad
				})
				r.memory.put(list...)
				r.compare(list)
			}
		})
	}
	batch := make([]store.Served, 0, loadBatch)
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		return t.EachServed(ctx, func(s store.Served) {
			if batch = append(batch, s); len(batch) == loadBatch {
				batches <- batch
				batch = make([]store.Served, 0, loadBatch)
			}
		})
	})
	if err == nil {
		batches <- batch
	}
	close(batches)
	workers.Wait()
	return err
}

// countAccounts finds out which accounts are served that the store does not have: then
// it was restored from a backup. It looks once after each loading, when the snapshot is
// verified; no account ever leaves the store.
func (r *Resolver) countAccounts(ctx context.Context) error {
	if !r.uncounted || r.snapshot == nil || r.memory.cold.Load() != nil {
		return nil
	}
	keys := r.memory.sorted() // before the store is asked, which may get more meanwhile
	stored := 0
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		stored, err = t.CountServed(ctx)
		return err
	})
	for after := ""; err == nil && len(keys) > stored; {
		var page []store.Served
		err = r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			page, err = t.ListServed(ctx, after, loadBatch)
			return err
		})
		if err != nil {
			break
		}
		if len(page) > 0 {
			after = page[len(page)-1].AccountID
		}
		for len(keys) > 0 && (len(page) < loadBatch || keys[0] <= after) {
			_, found := slices.BinarySearchFunc(page, keys[0], func(s store.Served, id string) int { return strings.Compare(s.AccountID, id) })
			if e := r.memory.get(keys[0]); !found && e != nil {
				r.behind.add(keys[0], e.version)
			}
			keys = keys[1:]
		}
		if len(page) < loadBatch {
			break
		}
		stored = 0 // to the end
	}
	if err != nil {
		return fmt.Errorf("counting the accounts: %w", err)
	}
	r.uncounted = false
	return nil
}

// loadOperators lists the operators and serves their JWTs.
func (r *Resolver) loadOperators(ctx context.Context) ([]store.Operator, error) {
	r.directing.Lock()
	defer r.directing.Unlock()
	var all []store.Operator
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		for p := (store.Page{Limit: loadBatch}); ; {
			list, err := t.ListOperators(ctx, p)
			if err != nil {
				return err
			}
			all = append(all, list...)
			if len(list) < loadBatch {
				return nil
			}
			last := list[len(list)-1]
			p.AfterName, p.AfterID = last.Name, last.ID
		}
	})
	if err != nil {
		return nil, fmt.Errorf("loading operators: %w", err)
	}
	r.setOperators(all)
	return all, nil
}

// follow keeps memory and the connections in step with the store until ctx ends.
func (r *Resolver) follow(ctx context.Context, operators []store.Operator) {
	log := trouble{log: r.log, task: "following the store"}
	if !r.follows {
		log.note(ctx, r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.FreeOwed(ctx, r.owner) }))
	}
	r.connect(ctx, operators)
	poll := time.NewTicker(r.pace.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			r.gate.open(math.MaxUint64) // nobody follows any more
			if !r.follows {
				r.release(ctx)
			}
			return
		case <-r.changes:
			covered, late := r.gate.begin(), r.pulse.begin(r.pace.catchUp)
			log.note(ctx, r.catchUp(ctx))
			r.gate.open(covered)
			r.pulse.release(late) // also when the store is away: memory is served all the same
		case <-poll.C:
			late := r.pulse.begin(r.pace.catchUp)
			log.note(ctx, r.pollStore(ctx))
			r.pulse.release(late)
			r.tidy(ctx)
		}
	}
}

// release gives up this replica's leases when it stops, once the pushes have ended,
// so that another one need not wait for them to run out.
func (r *Resolver) release(ctx context.Context) {
	for _, o := range r.operators { // only the follower adds to them
		<-o.done
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.pace.answer)
	defer cancel()
	// A store that is gone is no reason to complain: the leases run out.
	_ = r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.FreeOwed(ctx, r.owner) })
}

// pollStore does what nobody needs to be woken for.
func (r *Resolver) pollStore(ctx context.Context) error {
	if err := r.checkRestored(ctx); err != nil {
		return err
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	operators, err := r.loadOperators(ctx)
	if err != nil {
		return err
	}
	r.connect(ctx, operators)
	if err := r.countAccounts(ctx); err != nil {
		return err
	}
	r.snapshot.current()
	r.behind.settle(r.memory)
	return r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		n, oldest, err := t.CountOwed(ctx, "")
		r.metrics.owed.Set(float64(n))
		r.metrics.oldest.Set(0)
		if !oldest.IsZero() {
			r.metrics.oldest.Set(t.Now().Sub(oldest).Seconds())
		}
		return err
	})
}

// catchUp takes the changes since the last time into memory, and connects to what is
// new.
func (r *Resolver) catchUp(ctx context.Context) error {
	list, err := r.takeChanges(ctx, &r.followed)
	if err == nil && list != nil {
		r.connect(ctx, list)
	}
	return err
}

// takeChanges takes the changes after a number into memory and sets it to the last one:
// first those that have no number yet, then the numbered ones, so that one which is
// numbered in between is seen. Seeing one twice changes nothing. When an operator has
// changed, all of them are returned.
func (r *Resolver) takeChanges(ctx context.Context, followed *int64) (list []store.Operator, err error) {
	operators := false
	for more := true; more; {
		err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
			fresh, err := t.ListUnnumbered(ctx, changeBatch)
			if err != nil {
				return fmt.Errorf("reading the change log: %w", err)
			}
			numbered, err := t.ListChanges(ctx, *followed, changeBatch)
			if err != nil {
				return fmt.Errorf("reading the change log: %w", err)
			}
			var news []store.Served
			for _, c := range append(fresh, numbered...) {
				operators = operators || c.Kind == "operator"
				if news, err = r.take(ctx, t, c, news); err != nil {
					return err
				}
			}
			r.takeIn(news...)
			if more = len(numbered) == changeBatch; len(numbered) > 0 {
				*followed = numbered[len(numbered)-1].Seq
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if operators {
		if list, err = r.loadOperators(ctx); err != nil {
			return nil, err
		}
	}
	r.snapshot.follow(*followed)
	return list, nil
}

// takeIn puts what was signed into memory, lets the push of an older version go on with
// it, and tells of it once, whoever comes first.
func (r *Resolver) takeIn(list ...store.Served) {
	good := make([]store.Served, 0, len(list))
	for _, s := range list {
		if s, ok := r.sound(s); ok {
			good = append(good, s)
		}
	}
	for _, s := range r.memory.put(good...) {
		r.changeTold(s)
		if o := r.operator(s.OperatorID); o != nil {
			o.pushing.supersede(s.AccountID, s.Version)
		}
	}
}

// take adds the account of a change to news, unless it is in memory.
func (r *Resolver) take(ctx context.Context, t *store.Tx, c store.Change, news []store.Served) ([]store.Served, error) {
	if c.Kind != "account" {
		return news, nil
	}
	if e := r.memory.get(c.AccountID); e != nil && e.version >= c.JWTVersion {
		return news, nil
	}
	s, err := t.GetServed(ctx, c.AccountID)
	if errors.Is(err, store.ErrNotFound) {
		return news, nil // gone since
	}
	if err != nil {
		return news, fmt.Errorf("reading account %s: %w", c.AccountID, err)
	}
	return append(news, s), nil
}

// connect gives each operator its connection and tells it what changed; those of
// operators that are gone end.
func (r *Resolver) connect(ctx context.Context, list []store.Operator) {
	if r.follows {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, op := range r.operators {
		if !slices.ContainsFunc(list, func(o store.Operator) bool { return o.ID == id }) {
			op.cancel()
			delete(r.operators, id)
		}
	}
	for _, o := range list {
		if op := r.operators[o.ID]; op != nil {
			op.current.Store(&o)
			continue
		}
		op := newOperator(r, o)
		r.operators[o.ID] = op
		running, cancel := context.WithCancel(ctx)
		op.cancel = cancel
		r.running.Go(func() {
			defer cancel()
			op.run(running)
		})
	}
}
