package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/store"
)

// delivered is how far an account got.
type delivered struct {
	// published is when the JWT that every server of the roster now has was
	// published; zero when some do not have it, or did not say.
	published time.Time
	// first tells that this is the first proof of the version.
	first bool
	// news are the deliveries that changed.
	news []store.Delivery
}

// deliver brings a JWT to every server of the roster and reads it back. What was
// proven before is only read back, and pushed again where the reading shows
// something else. Nothing is published after until.
func (o *operator) deliver(ctx context.Context, l *link, s store.Served, until time.Time) (delivered, error) {
	d := &delivery{o: o, served: s, until: until, servers: map[string]*reading{}, news: map[string]claims.Delivery{}}
	published, proven := o.r.ledger.proven(s.AccountID, s.Version)
	if proven {
		if err := d.readBack(ctx, l); err != nil {
			return delivered{}, err
		}
		if d.everywhere() {
			return delivered{published: published, news: d.rows()}, nil
		}
	}
	published = o.r.now()
	if err := d.publish(ctx, l); err != nil {
		return delivered{news: d.rows()}, err
	}
	if !d.everywhere() {
		return delivered{news: d.rows()}, nil
	}
	o.r.ledger.prove(s.AccountID, s.Version, published)
	return delivered{published: published, first: !proven, news: d.rows()}, nil
}

// delivery is one round of bringing one JWT to the servers. One goroutine uses it.
type delivery struct {
	o      *operator
	served store.Served
	until  time.Time

	servers map[string]*reading
	news    map[string]claims.Delivery
}

// reading is what one server said in this round.
type reading struct {
	claims.Delivery
	// read tells that the account was read back and is not an older one.
	read bool
}

// begin returns the servers that are expected to answer, all marked in this round
// with what is known before they do.
func (d *delivery) begin(state claims.DeliveryState) []string {
	members, _, _ := d.o.roster.snapshot()
	d.servers = make(map[string]*reading, len(members))
	ids := make([]string, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.ID)
		r := d.reading(m.ID, m.Name)
		r.State = state
	}
	return ids
}

// reading returns the server's entry, which may be that of a server which was not
// known before it answered.
func (d *delivery) reading(id, name string) *reading {
	r := d.servers[id]
	if r == nil {
		r = &reading{Delivery: claims.Delivery{ServerID: id, ServerName: name, Version: d.served.Version}}
		d.servers[id] = r
	}
	return r
}

// publish pushes the JWT, announces it and reads it back. A server works off the
// messages of one connection in their order: when it answers the last, the others
// are behind it, and none can arrive after a newer one that somebody else pushes on
// another way.
func (d *delivery) publish(ctx context.Context, l *link) error {
	id := d.served.AccountID
	if ctx.Err() != nil {
		return nil // a newer one came, or we stop
	}
	if d.o.r.now().After(d.until) {
		// This process stood still, and somebody else may push a newer one by now.
		return fmt.Errorf("publishing account %s: the lease has run out", id)
	}
	body := []byte(d.served.Token)
	x := l.inbox.exchange(d.begin(claims.DeliverySent), 2)
	defer x.close()
	push, err := x.ask(updateSubject(id), body)
	if errors.Is(err, nats.ErrMaxPayload) {
		d.tooLarge()
		return nil
	}
	if err != nil {
		return fmt.Errorf("publishing account %s: %w", id, err)
	}
	if err := l.nc.Publish(announceSubject(id), body); err != nil {
		return fmt.Errorf("announcing account %s: %w", id, err)
	}
	if _, err := x.ask(infoSubject(id), nil); err != nil {
		return fmt.Errorf("reading account %s back: %w", id, err)
	}
	d.sent(d.o.r.now())
	x.gather(ctx, d.o.r.pace.answer, 0, func(m *nats.Msg) string {
		if m.Subject != push {
			return d.info(ctx, m, true)
		}
		if a, ok := hear[updated](ctx, d.o, m); ok {
			d.acknowledged(a)
		}
		return "" // the answer that counts is the other one
	})
	return nil
}

// readBack asks what the servers have, without pushing. Nothing is reported of a
// server that has something else: the push that follows says how that ends.
func (d *delivery) readBack(ctx context.Context, l *link) error {
	x := l.inbox.exchange(d.begin(claims.DeliveryPending), 1)
	defer x.close()
	if _, err := x.ask(infoSubject(d.served.AccountID), nil); err != nil {
		return fmt.Errorf("reading account %s back: %w", d.served.AccountID, err)
	}
	x.gather(ctx, d.o.r.pace.answer, 0, func(m *nats.Msg) string { return d.info(ctx, m, false) })
	return nil
}

// info takes an answer to the reading back.
func (d *delivery) info(ctx context.Context, m *nats.Msg, blame bool) string {
	a, ok := hear[accountInfo](ctx, d.o, m)
	if ok {
		d.read(a, blame)
	}
	return a.Server.ID
}

// sent reports that the JWT is on its way to every server of the round.
func (d *delivery) sent(now time.Time) {
	for _, r := range d.servers {
		r.Sent = now
		d.report(r)
	}
}

// tooLarge reports a JWT that cannot be published at all.
func (d *delivery) tooLarge() {
	for _, r := range d.servers {
		r.State, r.Error = claims.DeliveryFailed, "The JWT exceeds the servers' max_payload."
		d.report(r)
	}
}

// acknowledged takes a server's answer to the push. "jwt update skipped", of an
// account that is not loaded, is an acknowledgement too.
func (d *delivery) acknowledged(a answer[updated]) {
	r := d.reading(a.Server.ID, a.Server.Name)
	if a.Error != nil {
		r.State, r.Error = claims.DeliveryFailed, errorText(a.Error.Description)
	} else {
		r.State, r.Acknowledged = claims.DeliveryAcknowledged, d.o.r.now()
	}
	d.report(r)
}

// read takes what a server has in memory, which is the proof; blame reports what
// is not ours.
func (d *delivery) read(a answer[accountInfo], blame bool) {
	r := d.reading(a.Server.ID, a.Server.Name)
	switch {
	case a.Data != nil && a.Data.JWT == d.served.Token:
		r.State, r.Error, r.Proven, r.read = claims.DeliveryInEffect, "", d.o.r.now(), true
	case a.Data == nil && !a.missing(), r.State == claims.DeliveryFailed:
		return // the server could not say, or has said no
	case a.Data == nil || a.Data.JWT == "":
		r.State, r.Proven, r.read = claims.DeliveryNotLoaded, d.o.r.now(), true
	default:
		r.State, r.Error = claims.DeliveryFailed, "The server has another version."
		if !blame {
			return
		}
	}
	d.report(r)
}

// report tells the ledger, and remembers what was news.
func (d *delivery) report(r *reading) {
	if d.o.r.ledger.report(d.served.AccountID, r.Delivery) {
		d.news[r.ServerID] = r.Delivery
	}
}

// everywhere tells whether each server that is on the roster now was read back in
// this round and has nothing older.
func (d *delivery) everywhere() bool {
	members, connected, _ := d.o.roster.snapshot()
	for _, m := range members {
		if r := d.servers[m.ID]; r == nil || !r.read {
			return false
		}
	}
	return connected && len(members) > 0
}

// rows returns the deliveries to be stored.
func (d *delivery) rows() []store.Delivery {
	rows := make([]store.Delivery, 0, len(d.news))
	for _, n := range d.news {
		rows = append(rows, store.Delivery{
			AccountID: d.served.AccountID, ServerID: n.ServerID, ServerName: n.ServerName, Version: n.Version, State: string(n.State),
			Error: n.Error, Sent: n.Sent, Acknowledged: n.Acknowledged, Proven: n.Proven,
		})
	}
	return rows
}
