package resolver

import (
	"context"
	"log/slog"
	"slices"

	"chancery/claims"
	"chancery/store"
)

// discover asks every server for a sign of life, and opens the way for pushes once
// the roster is known.
func (o *operator) discover(ctx context.Context, l *link) {
	p := o.r.pace
	out, err := ask[struct{}](ctx, o, l, question{subject: pingSubject, quiet: p.quiet, limit: p.gather})
	if err != nil || len(out) == 0 {
		return // tried again at the next ping, or at the next connect
	}
	o.roster.missed(ctx, out, p)
	if !l.nc.IsConnected() {
		return
	}
	o.link.Store(l)
	if o.roster.setConnected(true) {
		o.log.InfoContext(ctx, "connected to the servers", slog.Int("servers", len(out)))
	}
	o.tend(ctx, l)
	o.wake.ring()
	o.r.ledger.forget(o.r.now().Add(-p.remember))
}

// tend stores the rows of servers that came or went and asks new ones, in the
// background, what they hold. What fails is tried again at the next poll.
func (o *operator) tend(ctx context.Context, l *link) {
	o.rows.note(ctx, o.saveRoster(ctx))
	if o.link.Load() == nil {
		return
	}
	for _, id := range o.roster.takeUnknown() {
		o.asking.Go(func() { o.roster.learned(id, o.learn(ctx, l, id)) })
	}
	for _, id := range o.roster.takeUnexamined() {
		o.asking.Go(func() {
			holds, stamp, err := o.examine(ctx, l, id)
			o.examining.note(ctx, err)
			o.roster.examined(id, stamp, holds)
			o.wake.ring()
		})
	}
}

func (o *operator) saveRoster(ctx context.Context) error {
	rows := o.roster.takeUnsaved()
	if len(rows) == 0 {
		return nil
	}
	err := o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		for _, row := range rows {
			state := "up"
			if !row.up {
				state = "gone"
			}
			s := store.Server{ID: row.ID, OperatorID: o.id, Name: row.Name, Cluster: row.Cluster, Version: row.Version, State: state}
			if err := t.PutServer(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		o.roster.giveBack(rows)
	}
	return err
}

// learn asks a server whom it trusts; nil when it is to be asked again. A server's key
// is new at each start and its trust lasts as long, so it is asked once.
func (o *operator) learn(ctx context.Context, l *link, serverID string) *claims.ServerTrust {
	out, err := ask[serverVariables](ctx, o, l, question{
		subject: variablesSubject(serverID), expect: []string{serverID}, limit: o.r.pace.answer,
	})
	if a, ok := out[serverID]; err == nil && ok && a.Data != nil {
		return a.Data.trust(o.id)
	}
	return nil
}

// oweBatch bounds the accounts that are made owed in one transaction, so that other
// writers get their turn.
const oweBatch = 256

// examine asks a server which accounts it holds and makes those owed: one that kept
// running while nobody pushed may hold older JWTs, and with the URL resolver a
// loaded account is never fetched again. A restarted server holds next to nothing.
// The stamp is 0 when it is to be asked again.
func (o *operator) examine(ctx context.Context, l *link, serverID string) (holds map[string]struct{}, stamp uint64, err error) {
	stamp = o.r.memory.tick()
	out, err := ask[loadedAccounts](ctx, o, l, question{
		subject: accountsSubject(serverID), expect: []string{serverID}, limit: o.r.pace.answer,
	})
	a, ok := out[serverID]
	if err != nil || !ok || a.Data == nil {
		return nil, 0, nil // out of reach, which is logged elsewhere, or slow
	}
	holds = map[string]struct{}{}
	var ours []string
	for _, id := range a.Data.Accounts {
		if o.r.memory.operatorOf(id) == o.id {
			holds[id] = struct{}{}
			ours = append(ours, id)
		}
	}
	o.watch.recount(ours...)
	slices.Sort(ours) // all writers of the outbox keep one order
	if err := o.r.oweAgain(ctx, ours); err != nil {
		return nil, 0, err
	}
	return holds, stamp, nil
}

// oweAgain makes accounts owed once more.
func (r *Resolver) oweAgain(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		n := min(len(ids), oweBatch)
		batch := ids[:n]
		if err := r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.OweAgain(ctx, batch) }); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
