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
// something else. Nothing is published after the time that until returns.
func (o *operator) deliver(ctx context.Context, l *link, s store.Served, until func() time.Time) (delivered, error) {
	d := newDelivery(o, s, until)
	published, proven := o.r.ledger.proven(s.AccountID, s.Version)
	if proven {
		if err := d.readBack(ctx, l); err != nil {
			return delivered{}, err
		}
		if d.overtaken {
			return delivered{news: d.rows()}, nil // it is for others to decide
		}
		if d.everywhere() {
			return delivered{published: published, news: d.rows()}, nil
		}
	}
	d.insist = o.r.ledger.insisted(s.AccountID)
	d.warm(ctx, l)
	for range 2 {
		published = o.r.now()
		if err := d.publish(ctx, l); err != nil {
			return delivered{news: d.rows()}, err
		}
		if d.everywhere() {
			o.r.ledger.prove(s.AccountID, s.Version, published)
			return delivered{published: published, first: !proven, news: d.rows()}, nil
		}
		if !d.stubborn() {
			break
		}
	}
	return delivered{news: d.rows()}, nil
}

// delivery is one round of bringing one JWT to the servers. One goroutine uses it.
type delivery struct {
	o      *operator
	served store.Served
	until  func() time.Time

	servers map[string]*reading
	disks   disks
	// full is how many servers of the round have full resolvers.
	full int
	// insist tells that servers may have taken these bytes before and are to take them
	// again.
	insist bool
	// overtaken tells that a server has a newer JWT that is not ours.
	overtaken bool
	news      map[string]claims.Delivery
}

func newDelivery(o *operator, s store.Served, until func() time.Time) *delivery {
	return &delivery{o: o, served: s, until: until, servers: map[string]*reading{}, news: map[string]claims.Delivery{}}
}

// reading is what one server said in this round.
type reading struct {
	claims.Delivery
	resolver claims.ResolverKind
	// memory is what it has loaded.
	memory held
	// read tells that it was read back and has nothing older.
	read bool
}

// begin returns the servers that are expected to answer, all marked in this round
// with what is known before they do.
func (d *delivery) begin(state claims.DeliveryState) []string {
	members, _, _ := d.o.roster.snapshot()
	d.servers, d.disks, d.full = make(map[string]*reading, len(members)), disks{}, 0
	ids := make([]string, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.ID)
		r := d.reading(m.ID, m.Name)
		r.State, r.resolver = state, m.Resolver
		if m.Resolver == claims.ResolverFull {
			d.full++
		}
	}
	return ids
}

// reading returns the server's entry, which may be that of a server which was not
// known before it answered.
func (d *delivery) reading(id, name string) *reading {
	r := d.servers[id]
	if r == nil {
		r = &reading{
			Delivery: claims.Delivery{ServerID: id, ServerName: name, Version: d.served.Version}, resolver: d.o.roster.resolverOf(id),
		}
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
	if d.o.r.now().After(d.until()) {
		// This process stood still, and somebody else may push a newer one by now.
		return fmt.Errorf("publishing account %s: the lease has run out", id)
	}
	body := []byte(d.served.Token)
	if d.insist || d.stubborn() {
		d.insist = false
		if err := l.nc.Publish(updateSubject(id), loosened(d.served.Token)); err != nil {
			return fmt.Errorf("publishing account %s: %w", id, err)
		}
	}
	x := l.inbox.exchange(d.begin(claims.DeliverySent), 3)
	defer x.close()
	push, err := x.ask(updateSubject(id), body)
	if errors.Is(err, nats.ErrMaxPayload) {
		d.fail("The JWT exceeds the servers' max_payload.")
		return nil
	}
	if err != nil {
		return fmt.Errorf("publishing account %s: %w", id, err)
	}
	if err := l.nc.Publish(announceSubject(id), body); err != nil {
		return fmt.Errorf("announcing account %s: %w", id, err)
	}
	return d.gather(ctx, x, push)
}

// loosened returns the token with a line break behind it. A full or cache resolver does
// not look at its disk, or into its memory, when it is pushed the bytes that it has taken
// last (dirstore.go: write): whatever happened to the file since, it says "jwt updated" and
// leaves it. No server looks at an account that it has these bytes of, though it may admit
// nobody to it since a request to delete it (accounts.go: removeCb). This is the same JWT to it in other bytes, so that the
// right ones are news again.
func loosened(token string) []byte { return append([]byte(token), '\n') }

// readBack asks what the servers have, without pushing. Nothing is reported of a
// server that has something else: the push that follows says how that ends.
func (d *delivery) readBack(ctx context.Context, l *link) error {
	x := l.inbox.exchange(d.begin(claims.DeliveryPending), 2)
	defer x.close()
	return d.gather(ctx, x, "")
}

// gather asks what the servers have on their disks and in memory and takes all answers,
// with those to a push, if one was sent. The answers of one server come in the order of
// the questions, so that what it has in memory is its last.
func (d *delivery) gather(ctx context.Context, x *exchange, push string) error {
	look := ""
	if full, unknown := d.o.roster.kinds(); full+unknown > 0 {
		var err error
		if look, err = x.ask(lookupSubject(d.served.AccountID), nil); err != nil {
			return fmt.Errorf("looking account %s up: %w", d.served.AccountID, err)
		}
	}
	if _, err := x.ask(infoSubject(d.served.AccountID), nil); err != nil {
		return fmt.Errorf("reading account %s back: %w", d.served.AccountID, err)
	}
	if push != "" {
		d.sent(d.o.r.now())
	}
	x.gather(ctx, d.o.r.pace.answer, 0, func(m *nats.Msg) string {
		switch m.Subject {
		case push:
			if a, ok := hear[updated](ctx, d.o, m); ok {
				d.acknowledged(a)
			}
		case look:
			d.disks.take(m, d.served.Token)
			d.judgeDisks(false, push != "")
		default:
			a, ok := hear[accountInfo](ctx, d.o, m)
			if ok {
				d.read(a, push != "")
			}
			return a.Server.ID
		}
		return "" // the answer that counts is the last one
	})
	d.judgeDisks(true, push != "")
	return nil
}

// sent reports that the JWT is on its way to every server of the round.
func (d *delivery) sent(now time.Time) {
	for _, r := range d.servers {
		r.Sent = now
		d.report(r)
	}
}

// fail reports a JWT that is not published at all.
func (d *delivery) fail(why string) {
	for _, r := range d.servers {
		r.State, r.Error = claims.DeliveryFailed, why
		d.report(r)
	}
}

// withhold reports that a JWT is pushed to nobody, since it is damaged.
func (o *operator) withhold(s store.Served) delivered {
	d := newDelivery(o, s, nil)
	d.begin(claims.DeliveryPending)
	d.fail("Not sent: this version is damaged in the database. Change the account, so that it is signed anew.")
	return delivered{news: d.rows()}
}

// acknowledged takes a server's answer to the push. "jwt update skipped", of an
// account that is not loaded, is an acknowledgement too.
func (d *delivery) acknowledged(a answer[updated]) {
	r := d.reading(a.Server.ID, a.Server.Name)
	words := ""
	switch {
	case a.Error != nil:
		words = a.Error.Description
		r.State, r.Error = claims.DeliveryFailed, errorText(words)
	case a.Data != nil:
		words = a.Data.Message
		fallthrough
	default:
		r.State, r.Acknowledged = claims.DeliveryAcknowledged, d.o.r.now()
	}
	d.o.roster.pushed(a.Server.ID, words)
	if now := d.o.roster.resolverOf(a.Server.ID); now != r.resolver {
		if r.resolver == claims.ResolverFull {
			d.full--
		}
		if r.resolver = now; now == claims.ResolverFull {
			d.full++
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
