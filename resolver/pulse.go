package resolver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pulse tells when memory may lack what was acknowledged elsewhere, so that even what is
// known must wait until memory caught up: just after the start from a snapshot while a
// store is expected, and when the process stood still and goes on. Nobody waits longer
// than a limit, and nobody waits again for a store that is away.
//
// A process that is stopped, or a virtual machine that is paused, notices nothing: the
// first thing it does when it goes on may be the answer to a request that came
// meanwhile. So a request compares the time with the last beat. That is one atomic load.
type pulse struct {
	now func() time.Time
	// lag asks for memory to catch up; it does not block.
	lag func()
	// beat is when the process was last seen to run; nil while answers wait, and never
	// while nobody follows a store.
	beat atomic.Pointer[time.Time]

	mu   sync.Mutex
	turn broadcast
	// number counts the times that answers had to wait.
	number  uint64
	limit   *time.Timer
	beating bool
}

// Bounds of what a pulse takes for going on.
const (
	// beatEvery is how often the process shows that it runs, stillness how long it may
	// not have.
	beatEvery = 250 * time.Millisecond
	stillness = time.Second
)

// never is a beat that no time is long after.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func newPulse(now func() time.Time, lag func()) *pulse {
	p := &pulse{now: now, lag: lag}
	p.beat.Store(&never)
	return p
}

// stood tells whether more than stillness passed, by either clock: the monotonic one
// does not count the time in which a machine sleeps, the other one is set by people.
func stood(beat, now time.Time) bool {
	return now.Sub(beat) > stillness || now.Round(0).Sub(beat.Round(0)) > stillness
}

// late tells whether answers must wait.
func (p *pulse) late() bool {
	beat := p.beat.Load()
	return beat == nil || stood(*beat, p.now())
}

// wait returns when memory caught up, or may not be waited for any longer.
func (p *pulse) wait(ctx context.Context, limit time.Duration) {
	p.check(limit)
	p.mu.Lock()
	turn := p.turn.next()
	held := p.beat.Load() == nil
	p.mu.Unlock()
	if !held {
		return
	}
	select {
	case <-turn:
	case <-ctx.Done():
	}
}

// check has answers wait from now on, for at most limit, if the process stood still.
func (p *pulse) check(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if beat := p.beat.Load(); beat != nil && stood(*beat, p.now()) {
		p.hold(limit)
	}
}

// hold has answers wait. The caller has mu.
func (p *pulse) hold(limit time.Duration) {
	if p.limit != nil {
		p.limit.Stop()
	}
	p.number++
	number, due := p.number, p.now().Add(limit)
	p.beat.Store(nil)
	p.limit = time.AfterFunc(limit, func() { p.expire(number, due, limit) })
	p.lag()
}

// expire ends the waiting when it was due, unless the process stood still until after that:
// then nobody looked yet for what came meanwhile.
func (p *pulse) expire(number uint64, due time.Time, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.beat.Load() != nil || p.number != number:
	case stood(due, p.now()):
		p.hold(limit)
	default:
		p.goOn()
	}
}

// await has answers wait for a store that is expected.
func (p *pulse) await(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold(limit)
}

// looking is for what memory lacks: it brings what came before it began.
type looking struct {
	number uint64
	began  time.Time
}

// begin returns what is to be released once memory caught up from now on.
func (p *pulse) begin(limit time.Duration) looking {
	p.check(limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	return looking{p.number, p.now()}
}

// release ends the waiting that had begun by then; one that began later goes on, and so
// does every one when the process may have stood still within the look.
func (p *pulse) release(l looking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.beat.Load() != nil || p.number != l.number:
	case stood(l.began, p.now()):
		p.lag()
	default:
		p.goOn()
	}
}

// goOn has nobody wait. The caller has mu.
func (p *pulse) goOn() {
	if p.limit != nil {
		p.limit.Stop()
	}
	at := never
	if p.beating {
		at = p.now()
	}
	p.beat.Store(&at)
	p.turn.tell()
}

// start shows that the process runs from now on; run has to follow, whenever that is.
func (p *pulse) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beating = true
	if p.beat.Load() != nil {
		p.goOn()
	}
}

// run beats until ctx ends; from then on nobody waits.
func (p *pulse) run(ctx context.Context, limit time.Duration) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.beating = false
			p.goOn()
			p.mu.Unlock()
			return
		case <-tick.C:
			now := p.now() // a stop between the look and the beat is for the next look
			p.check(limit)
			p.mu.Lock()
			if p.beat.Load() != nil {
				p.beat.Store(&now)
			}
			p.mu.Unlock()
		}
	}
}
