package resolver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"chancery/claims"
	"chancery/store"
)

// suggestedFor is how far back servers are counted to suggest how many there are to be,
// and searched for the names of those that are missing.
const suggestedFor = 7 * 24 * time.Hour

// mostPast bounds the servers that came or went which are read to name missing ones.
const mostPast = 500

// fewerAgain is when an account that is proven on all servers that answer, which are
// fewer than expected, is looked at again.
const fewerAgain = time.Minute

// expected returns how many servers the operator says there are; 0 is no number.
func (o *operator) expected() int { return int(o.current.Load().Policy.Servers) }

// short tells whether fewer servers answer than are expected. What is proven on those is
// not settled then: the missing ones may still be running with something older.
func (o *operator) short() bool {
	n := o.expected()
	if n == 0 {
		return false
	}
	members, _, _ := o.roster.snapshot()
	return len(members) < n
}

// delivery returns how far the current JWT of an account is on the server, by what is
// known of it. A server that nothing is known of is pending, unless it came up after e
// was in memory without holding the account: then it can only fetch this one.
func (m *member) delivery(s store.Served, e *entry, known map[string]claims.Delivery) claims.Delivery {
	if d, ok := known[m.ID]; ok && d.Version >= s.Version {
		return d
	}
	if e != nil && e.version >= s.Version && m.startedWithout(s.AccountID, e) {
		d := claims.Delivery{State: claims.DeliveryNotLoaded, Version: e.version}
		if m.Resolver == claims.ResolverFull {
			d.State = claims.DeliveryStored // its disk was compared when it came up
		}
		return d
	}
	return claims.Delivery{State: claims.DeliveryPending, Version: s.Version}
}

// Fleet implements claims.LiveFleet.
func (r *Resolver) Fleet(ctx context.Context, operatorID string, within []string) (claims.Fleet, error) {
	_, f, err := r.Deliveries(ctx, claims.DeliveryQuery{OperatorID: operatorID, Within: within})
	return f, err
}

// Deliveries implements claims.LiveFleet. Of all accounts it reads a few bits for each
// server, and only of those that it returns what they stand for.
func (r *Resolver) Deliveries(ctx context.Context, q claims.DeliveryQuery) ([]claims.AccountSync, claims.Fleet, error) {
	o := r.operator(q.OperatorID)
	if o == nil {
		return nil, claims.Fleet{OperatorID: q.OperatorID}, nil
	}
	v := o.view()
	var page []claims.AccountSync
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		if err := v.read(ctx, t, store.MarksQuery{Within: q.Within}); err != nil {
			return err
		}
		found := v.find(q)
		ids := make([]string, len(found))
		for n, m := range found {
			ids[n] = m.AccountID
		}
		rows, err := t.ListDeliveriesOf(ctx, ids)
		page = v.page(found, rows)
		return err
	})
	if err != nil {
		return nil, v.fleet, fmt.Errorf("reading deliveries: %w", err)
	}
	return page, v.fleet, nil
}

// fleetView is the deliveries of an operator at one moment. One goroutine uses it.
type fleetView struct {
	o       *operator
	members []member
	// recent is what the ledger knows ahead of the rows.
	recent map[string]map[string]claims.Delivery
	marks  []store.Marks
	fleet  claims.Fleet
}

func (o *operator) view() *fleetView {
	v := &fleetView{o: o, recent: o.r.ledger.recent()}
	v.fleet.OperatorID = o.id
	v.members, v.fleet.Connected, _ = o.roster.snapshot()
	for _, m := range v.members {
		v.fleet.Servers = append(v.fleet.Servers, claims.FleetServer{Server: m.Server, Accounts: map[claims.DeliveryState]int{}})
	}
	return v
}

// read takes in the marks of the accounts that q names, counts them, and finds what is
// not proven and which servers are missing.
func (v *fleetView) read(ctx context.Context, t *store.Tx, q store.MarksQuery) error {
	q.OperatorID = v.o.id
	for _, m := range v.members {
		q.Servers = append(q.Servers, m.ID)
	}
	// What is expected counts at once, not when the follower has seen it.
	row, err := t.GetOperator(ctx, v.o.id)
	if err != nil {
		return err
	}
	v.fleet.Expected = int(row.Policy.Servers)
	if v.marks, err = t.ListMarks(ctx, q); err != nil {
		return err
	}
	unproven := v.count()
	owed, err := t.ListOwed(ctx, v.o.id)
	if err != nil {
		return err
	}
	v.oldest(owed, unproven)
	past, err := t.ListServersSince(ctx, v.o.id, t.Now().Add(-suggestedFor), mostPast)
	v.missing(past)
	return err
}

// count completes the marks with what is in memory, counts them, and returns which
// accounts are known not to be confirmed on a server that answers: false are those that
// are.
func (v *fleetView) count() map[string]bool {
	memory := v.o.r.memory
	unproven := make(map[string]bool, len(v.marks))
	// Memory holds what is served: others have no signed JWT.
	v.marks = slices.DeleteFunc(v.marks, func(m store.Marks) bool { return memory.get(m.AccountID) == nil })
	for i := range v.marks {
		a := &v.marks[i]
		e, recent := memory.get(a.AccountID), v.recent[a.AccountID]
		confirmed := true
		for n := range v.members {
			a.States[n] = string(v.state(n, a, e, recent))
			state := claims.DeliveryState(a.States[n])
			v.fleet.Servers[n].Accounts[state]++
			if !state.Satisfied() {
				v.fleet.Servers[n].Behind++
				confirmed = false
			}
		}
		v.fleet.Accounts++
		confirmed = confirmed && len(v.members) > 0
		if confirmed {
			v.fleet.Confirmed++
		}
		unproven[a.AccountID] = !confirmed
	}
	return unproven
}

// state returns the state of an account on the n-th server.
func (v *fleetView) state(n int, a *store.Marks, e *entry, recent map[string]claims.Delivery) claims.DeliveryState {
	m := &v.members[n]
	stored := claims.DeliveryState(a.States[n])
	if d, ok := recent[m.ID]; ok && d.Version >= a.Version && (stored == "" || !stored.Satisfied() || d.State.Satisfied() || d.State == claims.DeliveryFailed) {
		return d.State
	}
	if stored != "" {
		return stored
	}
	return m.delivery(store.Served{AccountID: a.AccountID, Version: a.Version}, e, nil).State
}

// oldest finds since when something is owed that is not proven. While a server is
// missing that is all that is owed: nobody knows what it has.
func (v *fleetView) oldest(owed []store.OwedSince, unproven map[string]bool) {
	f := &v.fleet
	for _, o := range owed {
		if known, ok := unproven[o.AccountID]; !ok || !known && f.Absent() == 0 {
			continue
		}
		if f.OldestChange.IsZero() || o.Since.Before(f.OldestChange) {
			f.OldestChange, f.OldestChangeAccount = o.Since, o.AccountID
		}
		if !o.Revoked.IsZero() && (f.OldestRevocation.IsZero() || o.Revoked.Before(f.OldestRevocation)) {
			f.OldestRevocation, f.OldestRevocationAccount = o.Revoked, o.AccountID
		}
	}
}

// missing names the servers that were seen and do not answer, as many as are expected,
// and suggests how many to expect.
func (v *fleetView) missing(past []store.Server) {
	type place struct{ name, cluster string }
	seen := map[place]bool{}
	for _, m := range v.members {
		seen[place{m.Name, m.Cluster}] = true
	}
	f := &v.fleet
	for _, s := range past { // the last seen first
		at := place{s.Name, s.Cluster}
		if seen[at] {
			continue
		}
		seen[at] = true
		if len(f.Missing) < f.Absent() {
			f.Missing = append(f.Missing, claims.MissingServer{Name: s.Name, Cluster: s.Cluster, Version: s.Version, LastSeen: s.LastSeen})
		}
	}
	f.Suggested = max(len(seen), len(v.members))
	slices.SortFunc(f.Missing, func(a, b claims.MissingServer) int { return cmp.Compare(a.Name, b.Name) })
}

// find returns the accounts of the page that q asks for.
func (v *fleetView) find(q claims.DeliveryQuery) []store.Marks {
	if q.Limit <= 0 {
		return nil
	}
	search := strings.ToLower(q.Search)
	var out []store.Marks
	for _, a := range v.marks {
		if cmp.Or(strings.Compare(a.Name, q.AfterName), strings.Compare(a.AccountID, q.AfterID)) <= 0 ||
			search != "" && !strings.Contains(strings.ToLower(a.Name), search) && a.AccountID != q.Search || !v.wanted(q, a) {
			continue
		}
		if out = append(out, a); len(out) == q.Limit {
			break
		}
	}
	return out
}

// wanted tells whether one of the servers that q looks at is in a state that it asks for.
func (v *fleetView) wanted(q claims.DeliveryQuery, a store.Marks) bool {
	if q.All && q.State == "" {
		return true
	}
	for n, m := range v.members {
		if q.Server != "" && q.Server != m.ID && q.Server != m.Name {
			continue
		}
		state := claims.DeliveryState(a.States[n])
		if q.State == state || q.State == "" && !state.Satisfied() {
			return true
		}
	}
	return false
}

// page completes accounts with all that is known of their deliveries.
func (v *fleetView) page(found []store.Marks, rows []store.Delivery) []claims.AccountSync {
	byAccount := map[string][]store.Delivery{}
	for _, d := range rows {
		byAccount[d.AccountID] = append(byAccount[d.AccountID], d)
	}
	r := v.o.r
	var out []claims.AccountSync
	for _, a := range found {
		s := store.Served{AccountID: a.AccountID, OperatorID: v.o.id, Version: a.Version}
		if e := r.memory.get(a.AccountID); e != nil && e.version == a.Version {
			s.IssuedAt = e.issuedAt
		}
		known, _ := r.picture(s, r.ledger.merge(a.AccountID, byAccount[a.AccountID]))
		out = append(out, claims.AccountSync{Name: a.Name, Sync: known})
	}
	return out
}

// recent returns what the ledger knows, which is that of the last minutes.
func (l *ledger) recent() map[string]map[string]claims.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]map[string]claims.Delivery, len(l.accounts))
	for id, t := range l.accounts {
		servers := make(map[string]claims.Delivery, len(t.servers))
		for server, d := range t.servers {
			servers[server] = d
		}
		out[id] = servers
	}
	return out
}
