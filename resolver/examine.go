package resolver

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"chancery/claims"
	"chancery/store"
)

// oweBatch bounds the accounts that are made owed in one transaction, so that other
// writers get their turn.
const oweBatch = 256

// progressEvery is after how many accounts a long comparison says how far it is.
const progressEvery = 1000

// finding is what a server had when it was examined.
type finding struct {
	// stamp is the moment before it was asked; see memory.tick.
	stamp uint64
	// holds are the accounts it may have had another JWT of.
	holds map[string]struct{}
}

// examine asks servers that joined which accounts they have and makes owed what may be
// older than ours: one that kept running while nobody pushed may hold older JWTs, with
// the URL resolver a loaded account is never fetched again, and one that comes back may
// have lost its disk or bring an old one. What does not come about is tried again.
func (o *operator) examine(ctx context.Context, l *link, ids []string) {
	stamp := o.r.memory.tick()
	var each sync.WaitGroup
	seen, err := o.listDisks(ctx, l, ids, func(id string, d diskList) {
		each.Go(func() {
			o.roster.listed(id, d, o.ofOurs(d.accounts))
			f, err := o.find(ctx, l, id, d)
			o.examining.note(ctx, err)
			if f.stamp = stamp; err != nil {
				f = finding{}
			}
			o.roster.examined(id, f)
			o.wake.ring()
		})
	})
	o.examining.note(ctx, err)
	for _, id := range ids {
		if !seen[id] {
			o.roster.examined(id, finding{}) // slow or out of reach, which is logged elsewhere
		}
	}
	each.Wait()
}

// errSilent tells that a server did not answer; it is logged elsewhere if it is gone.
var errSilent = errors.New("a server did not say which accounts it holds")

// find looks at what one server has in memory and on its disk, and makes that owed.
func (o *operator) find(ctx context.Context, l *link, serverID string, d diskList) (finding, error) {
	out, err := ask[loadedAccounts](ctx, o, l, question{
		subject: accountsSubject(serverID), expect: []string{serverID}, limit: o.r.pace.answer,
	})
	a, ok := out[serverID]
	if err != nil || !ok || a.Data == nil {
		return finding{}, errSilent
	}
	loaded := o.ofOurs(a.Data.Accounts)
	o.watch.recount(loaded...)
	f := finding{holds: map[string]struct{}{}}
	for _, id := range loaded {
		f.holds[id] = struct{}{}
	}
	if err := o.owe(ctx, f, o.notOvertaken(ctx, l, serverID, loaded)); err != nil || !d.has {
		return f, err
	}
	// The push of the system account, which was owed first, tells a cache from the rest.
	kind, err := o.awaitResolver(ctx, serverID)
	if err != nil {
		return f, err
	}
	if kind == claims.ResolverCache {
		return f, o.owe(ctx, f, o.ofOurs(d.accounts))
	}
	return f, o.compareDisk(ctx, l, f, d.accounts)
}

// notOvertaken returns the accounts, in their order, of which a server does not have a
// JWT that is newer than ours.
func (o *operator) notOvertaken(ctx context.Context, l *link, serverID string, loaded []string) []string {
	newer := make([]bool, len(loaded))
	var each sync.WaitGroup
	slots := make(chan struct{}, compareAtOnce)
	for i, id := range loaded {
		slots <- struct{}{}
		each.Go(func() {
			defer func() { <-slots }()
			// Without an answer the push says more.
			if a, err := o.readFrom(ctx, l, serverID, id); err == nil && a.Data != nil && o.overtaken(id, a.Server, a.Data.JWT) {
				newer[i] = true
				o.examining.note(ctx, o.leave(ctx, id, a.Server))
			}
		})
	}
	each.Wait()
	out := make([]string, 0, len(loaded))
	for i, id := range loaded {
		if !newer[i] {
			out = append(out, id)
		}
	}
	return out
}

// owe makes accounts owed and notes them in f.
func (o *operator) owe(ctx context.Context, f finding, ids []string) error {
	for _, id := range ids {
		f.holds[id] = struct{}{}
	}
	if len(ids) == 0 {
		return nil
	}
	err := o.r.oweAgain(ctx, ids)
	o.wake.ring()
	return err
}

// awaitResolver waits until it is known how a server gets accounts.
func (o *operator) awaitResolver(ctx context.Context, serverID string) (claims.ResolverKind, error) {
	limit := time.NewTimer(2 * o.r.pace.answer)
	defer limit.Stop()
	for {
		_, _, changed := o.roster.snapshot()
		if kind := o.roster.resolverOf(serverID); kind != claims.ResolverUnknown {
			return kind, nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return claims.ResolverUnknown, errors.New("it is not known yet how a server gets accounts")
		case <-ctx.Done():
			return claims.ResolverUnknown, ctx.Err()
		}
	}
}

// compareDisk makes owed what the disk of a full resolver misses by its own list, and
// what any full resolver's disk has another JWT of. The system account is the first.
func (o *operator) compareDisk(ctx context.Context, l *link, f finding, listed []string) error {
	onDisk := make(map[string]struct{}, len(listed))
	for _, id := range listed {
		onDisk[id] = struct{}{}
	}
	all := o.ofOurs(o.r.memory.accountsOf(o.id))
	begin, owed, incomplete := o.r.now(), 0, error(nil)
	for done := 0; done < len(all); {
		batch := all[done:min(done+oweBatch, len(all))]
		var behind, look []string
		for _, id := range batch {
			if _, ok := onDisk[id]; ok {
				look = append(look, id)
			} else {
				behind = append(behind, id)
			}
		}
		missing, other, err := o.diskDiffers(ctx, l, look)
		if err != nil {
			incomplete = err // what was found is owed all the same
		}
		behind = slices.Concat(behind, missing, other)
		slices.Sort(behind) // all writers of the outbox keep one order
		behind = slices.Compact(behind)
		if err := o.owe(ctx, f, behind); err != nil {
			return err
		}
		owed += len(behind)
		if before := done; len(all) > progressEvery && (before+len(batch))/progressEvery > before/progressEvery {
			o.log.InfoContext(ctx, "comparing the disk of a server that joined", slog.Int("compared", before+len(batch)),
				slog.Int("accounts", len(all)), slog.Int("differ", owed), slog.Duration("after", o.r.now().Sub(begin)))
		}
		done += len(batch)
	}
	return incomplete
}

// oweAgain makes accounts owed once more.
func (r *Resolver) oweAgain(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		n := min(len(ids), oweBatch)
		batch := slices.Sorted(slices.Values(ids[:n])) // all writers of the outbox keep one order
		if err := r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.OweAgain(ctx, batch) }); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
