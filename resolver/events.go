package resolver

import (
	"slices"
	"sync"
	"time"

	"chancery/claims"
)

// mostEvents is how many events are kept, of all operators: some 8 MB at most. A
// cluster that restarts sends 10,000 connects; a reader who looks every 15 s, as the
// API's heartbeat does, is not overtaken by that.
const mostEvents = 16_384

// eventLog is the last events, in order. It is safe for concurrent use.
type eventLog struct {
	now func() time.Time

	mu    sync.Mutex
	epoch uint64
	// ring holds the event of number n at (n-1) mod mostEvents; last is the newest number.
	ring    []claims.Event
	last    uint64
	changed broadcast
}

// newEventLog begins an epoch: two runs never share one, so that a reader of an earlier
// run is told.
func newEventLog(now func() time.Time) *eventLog {
	return &eventLog{now: now, epoch: uint64(now().UnixMicro())} //nolint:gosec // the year is past 1970
}

// append takes in an event and numbers it. An event without a time happened now.
func (l *eventLog) append(e claims.Event) claims.EventID {
	if e.At.IsZero() {
		e.At = l.now()
	}
	e.At = e.At.UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.ID = claims.EventID{Epoch: l.epoch, Seq: l.last}
	if len(l.ring) < mostEvents {
		l.ring = append(l.ring, e)
	} else {
		l.ring[(l.last-1)%mostEvents] = e
	}
	l.changed.tell()
	return e.ID
}

// first is the number of the oldest event that is kept. The lock is held.
func (l *eventLog) first() uint64 { return l.last - uint64(len(l.ring)) + 1 }

func (l *eventLog) at(seq uint64) claims.Event { return l.ring[(seq-1)%mostEvents] }

// find returns an event that is kept.
func (l *eventLog) find(id claims.EventID) (claims.Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id.Epoch != l.epoch || id.Seq < l.first() || id.Seq > l.last || id.Seq == 0 {
		return claims.Event{}, false
	}
	return l.at(id.Seq), true
}

// query returns what a reader wants. Whoever was overtaken, or read an earlier run or
// another replica, gets a gap first.
func (l *eventLog) query(q claims.EventQuery) claims.EventPage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.Newest {
		return l.newest(q)
	}
	var page claims.EventPage
	from := q.After.Seq + 1
	if q.After != (claims.EventID{}) {
		text := ""
		switch {
		case q.After.Epoch != l.epoch || q.After.Seq > l.last:
			text = "Events are missing here: they were kept by another process, or by this one before it was restarted."
			from = l.first()
		case from < l.first():
			text = "Events are missing here: there were more than are kept."
			from = l.first()
		}
		if text != "" {
			page.Events = append(page.Events, claims.Event{
				ID: claims.EventID{Epoch: l.epoch, Seq: from - 1}, Type: claims.EventGap, At: l.now().UTC(), Reason: "overrun", Text: text,
			})
		}
	}
	from = max(from, l.first())
	next := from - 1
	for seq := from; seq <= l.last && len(page.Events) < q.Limit; seq++ {
		next = seq
		if e := l.at(seq); keeps(q, e) {
			page.Events = append(page.Events, e)
		}
	}
	page.Next = claims.EventID{Epoch: l.epoch, Seq: next}
	page.More = l.more(next)
	return page
}

// newest returns the last events that a query keeps. The lock is held.
func (l *eventLog) newest(q claims.EventQuery) claims.EventPage {
	page := claims.EventPage{Next: claims.EventID{Epoch: l.epoch, Seq: l.last}, More: l.more(l.last)}
	for seq := l.last; seq >= l.first() && len(page.Events) < q.Limit; seq-- {
		if e := l.at(seq); keeps(q, e) {
			page.Events = append(page.Events, e)
		}
	}
	slices.Reverse(page.Events)
	return page
}

// closed is the channel of what is there already.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// more returns a channel that is closed once there is something after seq.
func (l *eventLog) more(seq uint64) <-chan struct{} {
	if seq < l.last {
		return closed
	}
	return l.changed.next()
}

func keeps(q claims.EventQuery, e claims.Event) bool {
	if !q.Sight.SeesEvent(e) {
		return false
	}
	if e.Type == claims.EventGap {
		return true
	}
	return (q.AccountID == "" || e.AccountID == q.AccountID) && (len(q.Types) == 0 || slices.Contains(q.Types, e.Type))
}
