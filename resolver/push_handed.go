package resolver

import (
	"context"
	"time"

	"chancery/store"
)

// handed takes over what transactions of this process sign, see store.Pusher: the
// push begins with the commit, and nothing is claimed or read for it.
type handed struct{ r *Resolver }

var _ store.Pusher = handed{}

// Reserve implements store.Pusher. There is room while the operator's servers are
// reached.
func (h handed) Reserve(operatorID string) (store.Room, bool) {
	o := h.r.operator(operatorID)
	if o == nil || o.link.Load() == nil || !o.pushing.reserve() {
		return nil, false
	}
	return slot{o.pushing}, true
}

// slot is a slot of a pusher that is taken.
type slot struct{ p *pusher }

// Lease implements store.Room.
func (s slot) Lease() (owner string, d time.Duration) { return s.p.o.r.owner, s.p.o.r.pace.lease }

// Push implements store.Room.
func (s slot) Push(owed store.Owed, served store.Served, until time.Time) {
	s.p.start(claim{Owed: owed, until: until, served: &served})
}

// Release implements store.Room.
func (s slot) Release() { <-s.p.slots }

// reserve takes a slot if one is free and the pusher runs.
func (p *pusher) reserve() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begin == nil {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// open has start begin pushes, until close.
func (p *pusher) open(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin = func(w claim) {
		p.pushes.Go(func() {
			if w.served != nil {
				p.o.r.takeIn(*w.served)
			}
			l := p.o.link.Load()
			if l == nil { // the servers went out of reach meanwhile
				p.finished <- outcome{owed: w.Owed, delay: p.o.r.pace.retry}
				return
			}
			p.finished <- p.push(ctx, l, w)
		})
	}
}

// close waits for the pushes under way. The lease of a row that is handed over from
// now on runs out, or is given up with the others of this replica.
func (p *pusher) close() {
	p.mu.Lock()
	p.begin = nil
	p.mu.Unlock()
	p.pushes.Wait()
}

// start begins the push of a claimed row that has a slot.
func (p *pusher) start(w claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begin != nil {
		p.begin(w)
	}
}
