package resolver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"chancery/claims"
)

// Events returns events after a place.
func (r *Resolver) Events(q claims.EventQuery) claims.EventPage { return r.events.query(q) }

// FindEvent returns an event that is still kept and in sight.
func (r *Resolver) FindEvent(id claims.EventID, sight claims.Sight) (claims.Event, bool) {
	e, ok := r.events.find(id)
	return e, ok && sight.SeesEvent(e)
}

// watchers returns those of all operators.
func (r *Resolver) watchers() []*watcher {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*watcher, 0, len(r.operators))
	for _, o := range r.operators {
		out = append(out, o.watch)
	}
	return out
}

// ListConnections returns a page of the live connections as the events tell them.
func (r *Resolver) ListConnections(q claims.ConnectionQuery) claims.ConnectionPage {
	var page claims.ConnectionPage
	var all []claims.LiveConnection
	var why []string
	for _, w := range r.watchers() {
		if q.OperatorID != "" && q.OperatorID != w.o.id || q.Sight.Part == nil || !q.Sight.Part(w.o.id) {
			continue
		}
		kept, left := w.picture.list(q)
		all = append(all, kept...)
		if text := w.incomplete(); text != "" && !slices.Contains(why, text) {
			why = append(why, text)
		}
		if left {
			why = append(why, fmt.Sprintf("The operator has more than %d connections; the others are not listed.", mostPictured))
		}
	}
	order := func(a, b claims.Connection) int {
		return cmp.Or(cmp.Compare(a.ServerName, b.ServerName), cmp.Compare(a.ServerID, b.ServerID), cmp.Compare(a.CID, b.CID))
	}
	slices.SortFunc(all, func(a, b claims.LiveConnection) int { return order(a.Connection, b.Connection) })
	page.Total, page.Incomplete = len(all), strings.Join(why, " ")
	start := 0
	if q.After != "" {
		start, _ = slices.BinarySearchFunc(all, q.After, func(c claims.LiveConnection, after string) int {
			return cmp.Or(cmp.Compare(claims.ConnectionPlace(c.Connection), after), -1) // the one after it
		})
	}
	page.Connections = all[start:min(len(all), start+q.Limit)]
	return page
}

// FindConnection returns a connection by its server, by key or name, and number. A name
// that servers of several clusters or operators have, which both have a connection of
// that number, finds none: whoever means one of them says its key.
func (r *Resolver) FindConnection(server string, cid uint64) (claims.LiveConnection, bool) {
	var found []claims.LiveConnection
	for _, w := range r.watchers() {
		found = append(found, w.picture.find(server, cid)...)
	}
	if len(found) != 1 {
		return claims.LiveConnection{}, false
	}
	return found[0], true
}

// Denials returns a page of the groups of denials.
func (r *Resolver) Denials(q claims.DenialQuery) claims.DenialPage {
	var all []claims.Denial
	for _, w := range r.watchers() {
		all = append(all, w.denials.list(q, r.now())...)
	}
	return pageOfDenials(all, q)
}

// FindDenial returns a group that is still kept and in sight.
func (r *Resolver) FindDenial(id string, sight claims.Sight) (claims.Denial, bool) {
	for _, w := range r.watchers() {
		if d, ok := w.denials.find(id, r.now()); ok {
			return d, sight.Sees(d.OperatorID, d.AccountID)
		}
	}
	return claims.Denial{}, false
}

// LastSeen tells when each user key of an account was last connected.
func (r *Resolver) LastSeen(accountID string, keys []string) map[string]claims.Seen {
	if o := r.operator(r.memory.operatorOf(accountID)); o != nil {
		return o.watch.picture.lastSeen(accountID, keys, r.now().UTC())
	}
	return nil
}

// Usage returns what each server tells of an account, by name.
func (r *Resolver) Usage(accountID string) []claims.AccountUsage {
	if o := r.operator(r.memory.operatorOf(accountID)); o != nil {
		return o.watch.picture.usages(accountID)
	}
	return nil
}

// Kick closes a connection of an operator's server. The error is ErrNotConnected when
// the server does not answer, and claims.ErrNoConnection when it has no such connection.
func (r *Resolver) Kick(ctx context.Context, operatorID, serverID string, cid uint64) error {
	o := r.operator(operatorID)
	if o == nil {
		return fmt.Errorf("closing a connection: %w", ErrNotConnected)
	}
	err := ErrNotConnected
	for first := true; ; first = false {
		l := o.reach(ctx)
		if l == nil {
			break
		}
		answered := false
		if answered, err = o.kick(ctx, l, serverID, cid); errors.Is(err, claims.ErrNoConnection) && !first {
			return nil // it went with the answer that was lost
		}
		if answered || !first || o.link.Load() == l {
			break
		}
		// The connection to the servers was replaced, and the question or its answer lost.
	}
	if err != nil {
		return fmt.Errorf("closing a connection: %w", err)
	}
	return nil
}

// kick asks a server to close a connection, and tells whether it answered.
func (o *operator) kick(ctx context.Context, l *link, serverID string, cid uint64) (answered bool, err error) {
	body, err := json.Marshal(kickQuery{cid})
	if err != nil {
		return false, err
	}
	out, err := ask[struct{}](ctx, o, l, question{subject: kickSubject(serverID), body: body, expect: []string{serverID}, limit: o.r.pace.answer})
	if err != nil {
		return false, errors.Join(ErrNotConnected, err)
	}
	a, answered := out[serverID]
	switch {
	case !answered:
		return false, ErrNotConnected
	case noSuchConnection(a.Error):
		return true, claims.ErrNoConnection
	case a.Error != nil:
		return true, fmt.Errorf("the server says: %s", errorText(a.Error.Description))
	}
	return true, nil
}

// reach returns the way to the servers, and waits while they are being found, which takes
// up to gather once it is connected: their events tell of connections before it is known
// which servers there are.
func (o *operator) reach(ctx context.Context) *link {
	ctx, cancel := context.WithTimeout(ctx, o.r.pace.gather+o.r.pace.answer)
	defer cancel()
	for {
		_, _, changed := o.roster.snapshot()
		if l := o.link.Load(); l != nil {
			return l
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
