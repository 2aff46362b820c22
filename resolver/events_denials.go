package resolver

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"chancery/claims"
)

// mostDenials is how many groups of denials are kept for each operator: some 12 MB with
// their explanations. The one that was refused the longest ago makes room.
const mostDenials = 2_048

// denials are the groups of an operator. It is safe for concurrent use.
type denials struct {
	mu sync.RWMutex
	// order holds *denialGroup, the one refused last in front.
	order *list.List
	byID  map[string]*list.Element
}

type denialGroup struct {
	claims.Denial
	hour lastHour
}

func newDenials() *denials { return &denials{order: list.New(), byID: map[string]*list.Element{}} }

// denialID names the group of a denial. The same refusals have the same name after a
// restart and on each replica.
func denialID(d claims.Denial) string {
	h := sha256.New()
	who := d.UserKey
	if who == "" {
		who = d.Host
	}
	for _, part := range []string{d.OperatorID, d.AccountID, who, d.Class} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	const digits = 20
	return "den_" + hex.EncodeToString(h.Sum(nil))[:digits]
}

// add counts one denial, whose Last is when.
func (l *denials) add(d claims.Denial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byID[d.ID]
	if e == nil {
		d.First = d.Last
		e = l.order.PushFront(&denialGroup{Denial: d})
		l.byID[d.ID] = e
		if l.order.Len() > mostDenials {
			last := l.order.Back()
			delete(l.byID, groupOf(last).ID)
			l.order.Remove(last)
		}
	}
	g := groupOf(e)
	d.First, d.Count = g.First, g.Count+1
	if d.Explanation == nil {
		d.Explanation, d.ExplainedAt = g.Explanation, g.ExplainedAt
	}
	g.Denial = d
	g.hour.add(d.Last)
	l.order.MoveToFront(e)
}

func groupOf(e *list.Element) *denialGroup {
	return e.Value.(*denialGroup)
}

func (g *denialGroup) view(now time.Time) claims.Denial {
	d := g.Denial
	d.Recent = g.hour.sum(now)
	return d
}

// find returns a group.
func (l *denials) find(id string, now time.Time) (claims.Denial, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e := l.byID[id]
	if e == nil {
		return claims.Denial{}, false
	}
	return groupOf(e).view(now), true
}

// list returns the groups that a query keeps.
func (l *denials) list(q claims.DenialQuery, now time.Time) []claims.Denial {
	l.mu.RLock()
	defer l.mu.RUnlock()
	is := func(want, have string) bool { return want == "" || want == have }
	var out []claims.Denial
	for e := l.order.Front(); e != nil; e = e.Next() {
		g := groupOf(e)
		if q.Sight.Sees(g.OperatorID, g.AccountID) && is(q.OperatorID, g.OperatorID) && is(q.AccountID, g.AccountID) && is(q.UserKey, g.UserKey) &&
			is(q.Class, g.Class) && !g.Last.Before(q.Since) {
			out = append(out, g.view(now))
		}
	}
	return out
}

// pageOfDenials makes a page of the groups of all operators.
func pageOfDenials(all []claims.Denial, q claims.DenialQuery) claims.DenialPage {
	slices.SortFunc(all, func(a, b claims.Denial) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID)) })
	page := claims.DenialPage{Groups: len(all)}
	start := 0
	for n, d := range all {
		page.Attempts += d.Count
		page.Recent += d.Recent
		if d.ID == q.After {
			start = n + 1
		}
	}
	page.Denials = all[start:min(len(all), start+q.Limit)]
	return page
}

// lastHour counts by minute. The zero value is ready.
type lastHour struct {
	counts [60]uint32
	// minute is the newest one that counts hold.
	minute int64
}

func (h *lastHour) add(t time.Time) {
	minute := t.Unix() / 60
	h.forward(minute)
	if minute > h.minute-int64(len(h.counts)) {
		h.counts[minute%int64(len(h.counts))]++
	}
}

func (h *lastHour) forward(minute int64) {
	for n := max(h.minute+1, minute-int64(len(h.counts))+1); n <= minute; n++ {
		h.counts[n%int64(len(h.counts))] = 0
	}
	h.minute = max(h.minute, minute)
}

func (h *lastHour) sum(now time.Time) int {
	sum, minute := 0, now.Unix()/60
	for n := max(minute-int64(len(h.counts))+1, h.minute-int64(len(h.counts))+1, 0); n <= h.minute; n++ {
		sum += int(h.counts[n%int64(len(h.counts))])
	}
	return sum
}
