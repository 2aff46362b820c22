package resolver

import (
	"context"

	"chancery/claims"
	"chancery/store"
)

// discover asks every server for a sign of life, and opens the way for pushes once
// the roster is known.
func (o *operator) discover(ctx context.Context, l *link) {
	p := o.r.pace
	out, err := ask[struct{}](ctx, o, l, question{subject: pingSubject, quiet: p.quiet, limit: p.gather})
	if err != nil || len(out) == 0 {
		return // tried again at the next poll, or at the next connect
	}
	o.roster.missed(ctx, out, p)
	for id, a := range out {
		if a.Stats != nil {
			o.roster.started(id, a.Stats.Start)
		}
	}
	if !o.found(ctx, l, len(out)) {
		return
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
	if ids := o.roster.takeUnexamined(); len(ids) > 0 {
		o.asking.Go(func() { o.examine(ctx, l, ids) })
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
