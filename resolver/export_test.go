package resolver

import (
	"context"
	"fmt"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Hurry shortens what tests would otherwise wait for; 0 leaves a pace as it is.
type Hurry struct {
	Settle, Ping, Silence, Poll, Answer, Await, Feed, Lease time.Duration
	// Page is how many connections are asked for at once.
	Page int
}

// Hurry must be called before Start.
func (r *Resolver) Hurry(h Hurry) {
	if h.Settle > 0 {
		r.pace.settle = h.Settle
	}
	if h.Ping > 0 {
		r.pace.ping = h.Ping
	}
	if h.Silence > 0 {
		r.pace.silence = h.Silence
	}
	if h.Answer > 0 {
		r.pace.answer = h.Answer
	}
	if h.Lease > 0 {
		r.pace.lease, r.pace.renew = h.Lease, h.Lease/4
	}
	if h.Poll > 0 {
		r.pace.poll = h.Poll
	}
	if h.Feed > 0 {
		r.pace.feed = h.Feed
	}
	if h.Await > 0 {
		r.pace.await = h.Await
	}
	if h.Page > 0 {
		r.pageSize = h.Page
	}
}

// Late tells whether answers wait.
func (r *Resolver) Late() bool { return r.pulse.late() }

// StandStill has answers wait until what it returns is called, as after a stop, or a later
// one begins.
func (r *Resolver) StandStill() (caughtUp func()) {
	r.pulse.await(time.Hour)
	l := r.pulse.begin(time.Hour)
	return func() { r.pulse.release(l) }
}

// Await has answers wait for at most limit.
func (r *Resolver) Await(limit time.Duration) { r.pulse.await(limit) }

// Beat shows that the process runs until ctx ends; nobody catches up.
func (r *Resolver) Beat(ctx context.Context) {
	r.pulse.start()
	r.pulse.run(ctx, time.Hour)
}

// AwaitServers returns when n servers are on the roster, examined of which were
// asked what they hold, and tells whether that came about before ctx ended.
func (r *Resolver) AwaitServers(ctx context.Context, operatorID string, n, examined int) bool {
	for {
		var changed <-chan struct{}
		if o := r.operator(operatorID); o != nil {
			members, connected, c := o.roster.snapshot()
			asked := 0
			for _, m := range members {
				if m.joined > 0 {
					asked++
				}
			}
			if changed = c; connected && len(members) == n && asked == examined {
				return true
			}
		}
		again := time.After(10 * time.Millisecond)
		if changed != nil {
			again = nil
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return false
		}
	}
}

// Put takes an account into memory.
func (r *Resolver) Put(s store.Served) { r.memory.put(s) }

// Newest returns what a push of s sends.
func (r *Resolver) Newest(s store.Served) store.Served { return r.memory.newest(s) }

// SetOperators replaces the operators in memory and declares it loaded.
func (r *Resolver) SetOperators(list ...store.Operator) {
	r.memory.setOperators(list)
	r.ready.Store(true)
}

// Version returns the version of an account in memory, 0 if there is none.
func (r *Resolver) Version(accountID string) int64 {
	if e := r.memory.get(accountID); e != nil {
		return e.version
	}
	return 0
}

// Kept returns what is remembered of events.
func Kept(r *Resolver, operatorID string) []any {
	w := r.operator(operatorID).watch
	return []any{r.events.ring, w.picture, w.denials.proven, w.denials.unproven, w.denials.byID, w.denials.hosts, w.explain.known}
}

// Sizes are how much is remembered after a flood.
type Sizes struct {
	Events, Denials, Connections int
	// Same is the group that was refused again and again.
	Same claims.Denial
}

// Flood takes in n denials of ever new users and of one user, in turns, and as many
// connects as are pictured and some more.
func Flood(r *Resolver, operatorID string, n int) Sizes {
	o := newOperator(r, store.Operator{ID: operatorID})
	r.operators[operatorID] = o
	w := o.watch
	deny := func(user string) claims.Denial {
		d := claims.Denial{OperatorID: operatorID, Client: claims.Client{UserKey: user}, Class: "not_revoked", Last: r.now(), Proven: true}
		d.ID = denialID(d)
		d.LastEvent = o.emit(claims.Event{Type: claims.EventDenial, DenialID: d.ID})
		w.denials.add(d)
		return d
	}
	var same claims.Denial
	for k := range n / 2 {
		same = deny("U")
		deny(fmt.Sprintf("U%d", k))
	}
	for k := range mostPictured + 10 {
		user := fmt.Sprintf("U%055d", k)
		w.picture.connect(claims.LiveConnection{OperatorID: operatorID, AccountID: "A", Connection: claims.Connection{ServerID: "N", CID: uint64(k + 1), UserKey: user}}, r.now())
	}
	o.emit(claims.Event{Type: claims.EventConnect, Reason: "newest"})
	out := Sizes{Events: len(r.events.ring), Denials: len(w.denials.byID), Connections: len(w.picture.conns)}
	out.Same, _ = w.denials.find(same.ID, r.now())
	return out
}

// DiskDiffers looks accounts up on the disks of an operator's servers.
func (r *Resolver) DiskDiffers(ctx context.Context, operatorID string, ids []string) (missing, other []string, err error) {
	o := r.operator(operatorID)
	l := o.link.Load()
	if l == nil {
		return nil, nil, ErrNotConnected
	}
	return o.diskDiffers(ctx, l, ids)
}

// SurveyOnce surveys the servers for the metrics now.
func (r *Resolver) SurveyOnce(ctx context.Context) error { return r.surveyOnce(ctx) }

// Merged returns what is known of a server after this process saw here, and a row of the
// store was read; later tells that the row was written after that.
func Merged(here, row claims.DeliveryState, later bool) claims.DeliveryState {
	now := time.Unix(1_000_000, 0)
	l := newLedger(func() time.Time { return now })
	l.report("A", claims.Delivery{ServerID: "N", Version: 3, State: here})
	at := now.Add(-time.Second)
	if later {
		at = now.Add(time.Second)
	}
	return l.merge("A", []store.Delivery{{ServerID: "N", Version: 3, State: string(row), Updated: at}})["N"].State
}

// Lease is how long a claimed push is left to a replica that was killed.
func Lease() time.Duration { return standardPace().lease }

// Known returns what is known of a server after reports, and after a row of the store was
// read that was written later; one without a version is none.
func Known(row store.Delivery, reports ...claims.Delivery) claims.Delivery {
	now := time.Unix(1_000_000, 0)
	l := newLedger(func() time.Time { return now })
	for _, d := range reports {
		d.ServerID = "N"
		l.report("A", d)
	}
	if row.Version != 0 {
		row.ServerID, row.Updated = "N", now.Add(time.Second)
		l.merge("A", []store.Delivery{row})
	}
	known, _ := l.look("A")
	return known["N"]
}

// Proven tells whether a version counts as seen everywhere when another one was.
func Proven(seen, version int64) bool {
	l := newLedger(time.Now)
	l.prove("A", seen, time.Now())
	_, ok := l.proven("A", version)
	return ok
}

// Refusals returns what takes in that a server refused the JWT of a client at a host. The
// resolver must not have been started.
func Refusals(r *Resolver, operatorID string) func(host, token string) {
	o := newOperator(r, store.Operator{ID: operatorID})
	r.operators[operatorID] = o
	w := o.watch
	cid := uint64(0)
	return func(host, token string) {
		cid++
		var m clientMessage
		m.Server.ID, m.Server.Name, m.Reason = "N", "n1", reasonFailure
		m.Client.CID, m.Client.Host, m.Client.JWT, m.Client.Stop = cid, host, token, r.now()
		w.refused(&m)
	}
}

// LoseReplaced has a connection that was replaced tell late that it is gone, and tells
// whether the servers are still reached.
func (r *Resolver) LoseReplaced(ctx context.Context, operatorID string) bool {
	o := r.operator(operatorID)
	o.lost(ctx, &link{})
	_, connected, _ := o.roster.snapshot()
	return connected && o.link.Load() != nil
}
