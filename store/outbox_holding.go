package store

import (
	"slices"
	"time"
)

// Pusher pushes what transactions of this process sign. A row of the outbox that it
// has room for is leased to it by the very transaction that makes it owed, which saves
// a claim, and with it two reads and a commit between the signature and the push.
// Implementations are safe for concurrent use and never block.
type Pusher interface {
	// Reserve makes room for one push of the operator's; ok is false where there is
	// none, and the row is left to whoever claims it. The room is for Push or Release.
	Reserve(operatorID string) (r Room, ok bool)
}

// Room is what a Pusher has for one push.
type Room interface {
	// Lease is in whose name, and from the beginning of the transaction on for how long,
	// the row is leased.
	Lease() (owner string, d time.Duration)
	// Push takes over the row, which is leased until then, after the commit.
	Push(o Owed, s Served, until time.Time)
	// Release gives the room back: the row is somebody else's, or there is none.
	Release()
}

// heldAtOnce is how many rows a transaction leases: what a person changes at once. A
// transaction of many would keep the room from others for as long as it lasts.
const heldAtOnce = 8

// PushBy has p offered every row that comes to be owed, until stop is called. Of
// several the first one that has room gets it.
func (s *Store) PushBy(p Pusher) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushers = append(slices.Clone(s.pushers), p)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pushers = slices.DeleteFunc(slices.Clone(s.pushers), func(x Pusher) bool { return x == p })
	}
}

// holding is a row that is to be leased by the transaction that makes it owed.
type holding struct {
	room   Room
	owner  string
	until  time.Time
	owed   Owed
	served Served
}

// reserve returns room for the push of j, nil where there is none. What waits for
// another account is not pushed at once.
func (t *Tx) reserve(j JWT) *holding {
	if j.After != "" || len(t.held) >= heldAtOnce {
		return nil
	}
	t.store.mu.Lock()
	pushers := t.store.pushers
	t.store.mu.Unlock()
	for _, p := range pushers {
		if r, ok := p.Reserve(j.OperatorID); ok {
			owner, d := r.Lease()
			return &holding{room: r, owner: owner, until: t.now.Add(d), served: servedOf(j)}
		}
	}
	return nil
}

// hold has the row pushed once the transaction is committed.
func (t *Tx) hold(h *holding) {
	t.held = append(t.held, h)
	t.AtEnd(func() {
		if t.committed {
			h.room.Push(h.owed, h.served, h.until)
			return
		}
		h.room.Release()
	})
}

// heldBefore returns the row that this transaction has leased for the account, nil for
// none.
func (t *Tx) heldBefore(accountID string) *holding {
	n := slices.IndexFunc(t.held, func(h *holding) bool { return h.owed.AccountID == accountID })
	if n < 0 {
		return nil
	}
	return t.held[n]
}

func servedOf(j JWT) Served {
	return Served{AccountID: j.Subject, OperatorID: j.OperatorID, Version: j.Version, IssuedAt: j.IssuedAt, Token: j.Token}
}
