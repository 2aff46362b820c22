package resolver

import (
	"context"
	"fmt"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Sync returns how far the account's current JWT got on each server of the roster.
// An account that the store does not know is store.ErrNotFound. A server that
// nothing is known of is pending, unless it came up after the JWT was in memory
// without holding the account: then it can only fetch this one.
func (r *Resolver) Sync(ctx context.Context, accountID string) (claims.Sync, error) {
	s, known, err := r.deliveries(ctx, accountID)
	if err != nil {
		return claims.Sync{}, err
	}
	out, _ := r.picture(s, known)
	return out, nil
}

// Wait returns when version, or a later one, is in effect on every server of the
// roster, or when ctx ends; then with what is known, and without an error. The
// answer speaks of version; IssuedAt is 0 when a later JWT took its place. It is
// woken by pushes and by the roster; the store is looked at again every second,
// only because another replica may be the one that pushes.
func (r *Resolver) Wait(ctx context.Context, accountID string, version int64) (claims.Sync, error) {
	defer r.ledger.watch(accountID)()
	s, _, err := r.deliveries(ctx, accountID)
	if err != nil {
		return claims.Sync{}, err
	}
	if s.Version != version {
		s.Version, s.IssuedAt = version, 0
	}
	again := time.NewTicker(r.pace.poll)
	defer again.Stop()
	for {
		known, delivered := r.ledger.look(accountID)
		out, roster := r.picture(s, known)
		if out.Reached() {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, nil
		case <-delivered:
		case <-roster:
		case <-again.C:
			// An error shows elsewhere; what is known stays known.
			_, _, _ = r.deliveries(ctx, accountID)
		}
	}
}

// Servers returns the roster of an operator, by name; nil when it is unknown.
func (r *Resolver) Servers(operatorID string) []claims.Server {
	o := r.operator(operatorID)
	if o == nil {
		return nil
	}
	members, _, _ := o.roster.snapshot()
	out := make([]claims.Server, 0, len(members))
	for _, m := range members {
		out = append(out, m.Server)
	}
	return out
}

// Untrusting returns the names of the operator's servers that would refuse accounts
// signed by key, since they started with an operator JWT that does not list it, and of
// those that have not told. known is false while there are such, or none is reached; a
// server that is not running now is not asked.
func (r *Resolver) Untrusting(operatorID, key string) (names []string, known bool) {
	o := r.operator(operatorID)
	if o == nil {
		return nil, false
	}
	members, connected, _ := o.roster.snapshot()
	known = connected && len(members) > 0
	for _, m := range members {
		trusts, told := m.Trusts(key)
		known = known && told
		if !trusts {
			names = append(names, m.Name)
		}
	}
	return names, known
}

// deliveries reads an account and what is known of its deliveries, here and in the
// store.
func (r *Resolver) deliveries(ctx context.Context, accountID string) (s store.Served, known map[string]claims.Delivery, err error) {
	var rows []store.Delivery
	err = r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		if s, err = t.GetServed(ctx, accountID); err != nil {
			return err
		}
		rows, err = t.ListDeliveries(ctx, accountID)
		return err
	})
	if err != nil {
		return s, nil, fmt.Errorf("reading deliveries: %w", err)
	}
	return s, r.ledger.merge(accountID, rows), nil
}

// picture joins the roster with the deliveries of a version. The channel is closed
// when the roster changes, nil when there is none.
func (r *Resolver) picture(s store.Served, known map[string]claims.Delivery) (claims.Sync, <-chan struct{}) {
	out := claims.Sync{AccountID: s.AccountID, Version: s.Version, IssuedAt: s.IssuedAt}
	o := r.operator(s.OperatorID)
	if o == nil {
		return out, nil
	}
	members, connected, changed := o.roster.snapshot()
	out.Connected, out.Expected = connected, o.expected()
	e := r.memory.get(s.AccountID)
	for _, m := range members {
		d := m.delivery(s, e, known)
		d.ServerID, d.ServerName = m.ID, m.Name
		out.Servers = append(out.Servers, d)
	}
	return out, changed
}

// ErrNotConnected tells that the operator's servers are out of reach.
var ErrNotConnected = claims.ErrNotConnected
