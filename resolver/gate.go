package resolver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// gate tells whether something was committed that memory may not have yet. A wake
// happens before the commit is answered, so whoever learned of a new account finds
// the gate closed until the account is in memory.
type gate struct {
	asked, done atomic.Uint64

	mu   sync.Mutex
	turn broadcast
}

// shut notes that there is something to take in.
func (g *gate) shut() { g.asked.Add(1) }

// begin returns what a run that starts now will have covered.
func (g *gate) begin() uint64 { return g.asked.Load() }

// open notes how far a run has come, also one that failed: nobody is kept waiting
// for a store that is away.
func (g *gate) open(covered uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done.Store(covered)
	g.turn.tell()
}

// settled tells whether nothing is outstanding.
func (g *gate) settled() bool { return g.done.Load() >= g.asked.Load() }

// pass returns false at once when nothing is outstanding, else true when it has
// been taken in, or limit passed, or ctx ended.
func (g *gate) pass(ctx context.Context, limit time.Duration) bool {
	want := g.asked.Load()
	if g.done.Load() >= want {
		return false
	}
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		g.mu.Lock()
		turn, done := g.turn.next(), g.done.Load()
		g.mu.Unlock()
		if done >= want {
			return true
		}
		select {
		case <-turn:
		case <-end.C:
			return true
		case <-ctx.Done():
			return true
		}
	}
}
