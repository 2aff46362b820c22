package resolver

import (
	"cmp"
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"chancery/claims"
)

// Bounds of what is remembered of an operator's clients.
const (
	// mostPictured connections are some 50 MB. More are counted by the servers and not
	// listed here.
	mostPictured = 50_000
	// mostSeen user keys are remembered with when they were connected last: some 20 MB.
	mostSeen = 50_000
	// mostUsages bounds the accounts that servers tell of.
	mostUsages = 50_000
)

// seat is where a connection is. A server has a new key at each start and counts its
// connections up, so that no seat is ever taken twice.
type seat struct {
	server string
	cid    uint64
}

// where is an account on a server.
type where struct{ server, account string }

// pictured is a connection and when, in ticks, it was last told of.
type pictured struct {
	claims.LiveConnection
	tick uint64
}

// picture is an operator's live connections as the servers told of them. It is safe
// for concurrent use.
type picture struct {
	mu sync.RWMutex
	// tick counts what was told.
	tick  uint64
	conns map[seat]*pictured
	// accounts holds the places of each account, on holds how many clients and leaf nodes
	// each server has of it.
	accounts map[string]map[seat]struct{}
	on       map[where][2]int
	// gone holds when connections ended that a list may still name: a server tells of an
	// end before it takes the connection off its list.
	gone map[seat]time.Time
	// left tells that there was no room for a connection.
	left bool

	usage map[where]claims.AccountUsage
	// seen holds user keys by account, the one that was connected last in front.
	seen  *list.List
	known map[seenKey]*list.Element
}

type seenKey struct{ account, user string }

type seenValue struct {
	seenKey
	claims.Seen
}

func newPicture() *picture {
	return &picture{
		conns: map[seat]*pictured{}, accounts: map[string]map[seat]struct{}{}, on: map[where][2]int{}, gone: map[seat]time.Time{},
		usage: map[where]claims.AccountUsage{}, seen: list.New(), known: map[seenKey]*list.Element{},
	}
}

// connect takes in a connection.
func (p *picture) connect(c claims.LiveConnection, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(c)
	p.see(c, at)
}

// put adds or renews a connection. The lock is held.
func (p *picture) put(c claims.LiveConnection) {
	at := seat{c.ServerID, c.CID}
	p.tick++
	if old := p.conns[at]; old != nil {
		if c.User == nil {
			c.User = old.User // a list keeps that of bearers to itself
		}
		old.LiveConnection, old.tick = c, p.tick
		return
	}
	if len(p.conns) >= mostPictured {
		p.left = true
		return
	}
	p.conns[at] = &pictured{c, p.tick}
	if p.accounts[c.AccountID] == nil {
		p.accounts[c.AccountID] = map[seat]struct{}{}
	}
	p.accounts[c.AccountID][at] = struct{}{}
	p.count(c, 1)
}

func (p *picture) count(c claims.LiveConnection, n int) {
	key := where{c.ServerID, c.AccountID}
	have := p.on[key]
	have[kindIndex(c)] += n
	if have == [2]int{} {
		delete(p.on, key)
		return
	}
	p.on[key] = have
}

func kindIndex(c claims.LiveConnection) int {
	if c.Type == claims.TypeLeaf {
		return 1
	}
	return 0
}

// disconnect takes a connection out and tells whether it was known.
func (p *picture) disconnect(at seat, when time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.gone) < mostPictured {
		p.gone[at] = when
	}
	c := p.conns[at]
	if c == nil {
		return false
	}
	p.see(c.LiveConnection, when)
	p.drop(at, c)
	return true
}

func (p *picture) drop(at seat, c *pictured) {
	delete(p.conns, at)
	delete(p.accounts[c.AccountID], at)
	if len(p.accounts[c.AccountID]) == 0 {
		delete(p.accounts, c.AccountID)
	}
	p.count(c.LiveConnection, -1)
}

// see notes that a user was connected. The lock is held.
func (p *picture) see(c claims.LiveConnection, at time.Time) {
	if !claims.IsPublicKey(claims.KindUser, c.UserKey) {
		return
	}
	key := seenKey{c.AccountID, c.UserKey}
	v := seenValue{key, claims.Seen{At: at, ServerName: c.ServerName, Host: c.Host}}
	if e := p.known[key]; e != nil {
		if e.Value.(seenValue).At.Before(at) {
			e.Value = v
		}
		p.seen.MoveToFront(e)
		return
	}
	p.known[key] = p.seen.PushFront(v)
	if p.seen.Len() > mostSeen {
		last := p.seen.Back()
		delete(p.known, p.seen.Remove(last).(seenValue).seenKey)
	}
}

// begin returns the stamp of now, for merge.
func (p *picture) begin() (stamp uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.tick
}

// merge takes in the connections of an account as the servers listed them since begin:
// a server whose list is the whole has no others. What was told of later stays, and what
// ended since does not come back.
func (p *picture) merge(operatorID, accountID string, stamp uint64, lists map[string]listing, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[seat]struct{}{}
	for server, list := range lists {
		for _, c := range list.conns {
			at := seat{server, c.CID}
			listed[at] = struct{}{}
			if _, ended := p.gone[at]; ended {
				continue
			}
			x := claims.LiveConnection{OperatorID: operatorID, AccountID: accountID, Connection: c}
			p.put(x)
			p.see(x, now)
		}
	}
	for at := range p.accounts[accountID] {
		_, still := listed[at]
		if c := p.conns[at]; lists[at.server].whole && !still && c.tick <= stamp {
			p.drop(at, c)
		}
	}
	p.left = p.left && len(p.conns) >= mostPictured
}

// serverGone drops all that was on a server.
func (p *picture) serverGone(server string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, c := range p.conns {
		if at.server == server {
			p.see(c.LiveConnection, now)
			p.drop(at, c)
		}
	}
	for key := range p.usage {
		if key.server == server {
			delete(p.usage, key)
		}
	}
}

// note takes in what a server tells of an account, and tells whether it counts as many
// connections as are here.
func (p *picture) note(account string, u claims.AccountUsage) (agrees bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := where{u.ServerID, account}
	if _, known := p.usage[key]; known || len(p.usage) < mostUsages {
		p.usage[key] = u
	}
	if u.Connections+u.LeafNodes == 0 {
		delete(p.usage, key)
	}
	return p.on[key] == [2]int{u.Connections, u.LeafNodes}
}

// agrees tells whether the server's last count of an account is that here. A server
// that says nothing counts none.
func (p *picture) agrees(key where) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	u := p.usage[key]
	return p.on[key] == [2]int{u.Connections, u.LeafNodes}
}

// forget drops what ended before a time.
func (p *picture) forget(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, when := range p.gone {
		if when.Before(before) {
			delete(p.gone, at)
		}
	}
}

// busy returns the accounts that have connections, here or by what servers tell.
func (p *picture) busy() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]string, 0, len(p.accounts))
	for account := range p.accounts {
		out = append(out, account)
	}
	for key := range p.usage {
		if p.accounts[key.account] == nil {
			out = append(out, key.account)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// find returns the connections of a number on the server of a key, or on those of a name.
func (p *picture) find(server string, cid uint64) (found []claims.LiveConnection) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if c := p.conns[seat{server, cid}]; c != nil {
		return []claims.LiveConnection{c.LiveConnection}
	}
	if claims.IsPublicKey(claims.KindServer, server) {
		return nil
	}
	for at, c := range p.conns {
		if at.cid == cid && c.ServerName == server {
			found = append(found, c.LiveConnection)
		}
	}
	return found
}

// list returns the connections that a query keeps, and whether there was no room for
// others.
func (p *picture) list(q claims.ConnectionQuery) (kept []claims.LiveConnection, left bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if q.AccountID != "" {
		for at := range p.accounts[q.AccountID] {
			if c := p.conns[at].LiveConnection; keepsConnection(q, c) {
				kept = append(kept, c)
			}
		}
		return kept, p.left
	}
	for _, c := range p.conns {
		if keepsConnection(q, c.LiveConnection) {
			kept = append(kept, c.LiveConnection)
		}
	}
	return kept, p.left
}

func keepsConnection(q claims.ConnectionQuery, c claims.LiveConnection) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return q.Sight.Sees(c.OperatorID, c.AccountID) && is(q.OperatorID, c.OperatorID) && is(q.AccountID, c.AccountID) &&
		(is(q.User, c.UserKey) || c.User != nil && q.User == c.User.Name) && is(q.IssuerKey, c.IssuerKey) && (is(q.Server, c.ServerID) || q.Server == c.ServerName) && is(q.Host, c.Host) &&
		(q.Client == "" || strings.Contains(strings.ToLower(c.Client), strings.ToLower(q.Client)))
}

// lastSeen tells when keys of an account were connected last.
func (p *picture) lastSeen(account string, keys []string, now time.Time) map[string]claims.Seen {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := map[string]claims.Seen{}
	for _, key := range keys {
		if e := p.known[seenKey{account, key}]; e != nil {
			out[key] = e.Value.(seenValue).Seen
		}
	}
	for at := range p.accounts[account] {
		c := p.conns[at]
		if s, ok := out[c.UserKey]; ok {
			s.At, s.Now = now, s.Now+1
			out[c.UserKey] = s
		}
	}
	return out
}

// usages returns what the servers tell of an account, by name.
func (p *picture) usages(account string) []claims.AccountUsage {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []claims.AccountUsage
	for key, u := range p.usage {
		if key.account == account {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b claims.AccountUsage) int {
		return cmp.Or(cmp.Compare(a.ServerName, b.ServerName), cmp.Compare(a.ServerID, b.ServerID))
	})
	return out
}
