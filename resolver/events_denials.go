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

// Bounds of the groups of denials of each operator: some 12 MB with their explanations.
// The one that was refused the longest ago makes room. Anybody who reaches a server can
// send JWTs that name somebody's account, so those that nobody's key signed have room of
// their own, and of one host only some are told apart.
const (
	mostProven   = 1_536
	mostUnproven = 512
	mostOfHost   = 32
	// mostTold events of one group, and mostUnprovenTold of all that are not proven, go
	// into the log within a minute. The others are counted.
	mostTold         = 30
	mostUnprovenTold = 300
)

// denials are the groups of an operator. It is safe for concurrent use.
type denials struct {
	mu sync.RWMutex
	// proven and unproven hold *denialGroup, the one refused last in front.
	proven, unproven *list.List
	byID             map[string]*list.Element
	// hosts counts the unproven groups that each source began.
	hosts map[string]int
	// told counts the events of unproven groups.
	told thisMinute
}

type denialGroup struct {
	claims.Denial
	hour lastHour
	// source is who began the group.
	source string
	told   thisMinute
}

func newDenials() *denials {
	return &denials{proven: list.New(), unproven: list.New(), byID: map[string]*list.Element{}, hosts: map[string]int{}}
}

// denialID names the group of a denial. The same refusals have the same name after a
// restart and on each replica.
func denialID(d claims.Denial) string {
	h := sha256.New()
	who := d.UserKey
	if who == "" {
		who = d.Host
	}
	parts := []string{d.OperatorID, d.AccountID, who, d.Class}
	if d.Claimed() {
		parts = append(parts, "claimed")
	}
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	const digits = 20
	return "den_" + hex.EncodeToString(h.Sum(nil))[:digits]
}

// place names the group that a denial goes to: of a host that claims too much it is the
// one for all the rest. It tells whether there is to be an event of it.
func (l *denials) place(d claims.Denial) (claims.Denial, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.ID = denialID(d)
	if !d.Proven && l.byID[d.ID] == nil && l.hosts[claims.SourceOf(d.Host)] >= mostOfHost {
		d = crowd(d)
		d.ID = denialID(d)
	}
	minute := d.Last.Unix() / 60
	if e := l.byID[d.ID]; e != nil && !groupOf(e).told.add(minute, mostTold) {
		d.LastEvent = groupOf(e).LastEvent
		return d, false
	}
	return d, d.Proven || l.told.add(minute, mostUnprovenTold)
}

// crowd is a denial of whom there are too many to tell them apart.
func crowd(d claims.Denial) claims.Denial {
	const text = "So many different JWTs that no account here signed came from this address that the others are only counted."
	return claims.Denial{
		OperatorID: d.OperatorID, Client: claims.Client{Host: claims.SourceOf(d.Host), ServerID: d.ServerID, ServerName: d.ServerName, Type: d.Type}, Class: claims.DenialCrowd,
		ServerReason: d.ServerReason, Last: d.Last, ExplainedAt: d.Last,
		Explanation: &claims.Explanation{
			Verdict: claims.VerdictRefused, Summary: text,
			Failed: &claims.Check{
				ID: claims.DenialCrowd, Title: "Too many to tell apart", Result: claims.ResultFail, Evidence: text,
				Fixes: []string{"Find out whose address it is. If it is nobody's, keep it out with a firewall: the servers refuse it, and it costs them time."},
			},
		},
	}
}

// add counts one denial, whose Last is when.
func (l *denials) add(d claims.Denial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	order := l.order(d)
	e := l.byID[d.ID]
	if e == nil {
		d.First = d.Last
		source := claims.SourceOf(d.Host)
		e = order.PushFront(&denialGroup{Denial: d, source: source})
		l.byID[d.ID] = e
		if !d.Proven {
			l.hosts[source]++
		}
		l.makeRoom()
	}
	g := groupOf(e)
	d.First, d.Count = g.First, g.Count+1
	if d.Explanation == nil {
		d.Explanation, d.ExplainedAt = g.Explanation, g.ExplainedAt
	}
	g.Denial = d
	g.hour.add(d.Last)
	order.MoveToFront(e)
}

func (l *denials) order(d claims.Denial) *list.List {
	if d.Proven {
		return l.proven
	}
	return l.unproven
}

// makeRoom drops what was refused the longest ago. The lock is held.
func (l *denials) makeRoom() {
	if l.proven.Len() > mostProven {
		l.drop(l.proven)
	}
	if l.unproven.Len() > mostUnproven {
		source := l.drop(l.unproven).source
		if l.hosts[source]--; l.hosts[source] <= 0 {
			delete(l.hosts, source)
		}
	}
}

func (l *denials) drop(from *list.List) *denialGroup {
	g := groupOf(from.Back())
	delete(l.byID, g.ID)
	from.Remove(from.Back())
	return g
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
	for _, order := range []*list.List{l.proven, l.unproven} {
		for e := order.Front(); e != nil; e = e.Next() {
			g := groupOf(e)
			if q.Sight.Sees(g.OperatorID, g.AccountID) && is(q.OperatorID, g.OperatorID) && is(q.AccountID, g.AccountID) && is(q.UserKey, g.UserKey) &&
				is(q.Class, g.Class) && !g.Last.Before(q.Since) {
				out = append(out, g.view(now))
			}
		}
	}
	return out
}

// pageOfDenials makes a page of the groups of all operators.
func pageOfDenials(all []claims.Denial, q claims.DenialQuery) claims.DenialPage {
	slices.SortFunc(all, func(a, b claims.Denial) int {
		if a.Proven != b.Proven {
			if a.Proven {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID))
	})
	page := claims.DenialPage{Groups: len(all)}
	start := 0
	for n, d := range all {
		page.Attempts += d.Count
		page.Recent += d.Recent
		if !d.Proven {
			page.Unproven += d.Count
		}
		if d.ID == q.After {
			start = n + 1
		}
	}
	page.Denials = all[start:min(len(all), start+q.Limit)]
	return page
}

// thisMinute counts within a minute. The zero value is ready.
type thisMinute struct {
	minute int64
	n      int
}

// add counts one, and tells whether there were fewer than most before it.
func (m *thisMinute) add(minute int64, most int) bool {
	if minute != m.minute {
		m.minute, m.n = minute, 0
	}
	m.n++
	return m.n <= most
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
