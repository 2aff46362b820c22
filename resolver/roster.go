package resolver

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"chancery/claims"
)

// member is a server of the roster.
type member struct {
	claims.Server
	// silent counts the pings in a row that it did not answer.
	silent int
	// joined is the stamp of the moment before it was asked what it holds; see
	// memory.tick. 0 until it has answered.
	joined uint64
	// asked tells that the question is under way.
	asked bool
	// learning tells that it is being asked whom it trusts.
	learning bool
	// holds are the accounts it may have had another JWT of then: those it had loaded,
	// and those its disk differs in.
	holds map[string]struct{}
	// files are the accounts that were on the disk of a cache resolver then and were not
	// loaded: what is in them is not known, and a client that comes is let in by it.
	files map[string]struct{}
	// disk tells that it has said what is on its disk, which full and cache resolvers do.
	disk bool
	// again is when it may be asked what it holds once more.
	again time.Time
}

// startedWithout tells whether the server cannot hold anything older than e: it did
// not hold the account when e was in memory already, and what it loads, it fetches.
func (m *member) startedWithout(accountID string, e *entry) bool {
	_, held := m.holds[accountID]
	return m.joined > e.stamp && !held
}

// roster is the servers that are on an operator's system account now. Servers that
// an earlier run knew are not in it until they are heard of. It is safe for
// concurrent use.
type roster struct {
	log *slog.Logger
	now func() time.Time
	// work rings when a server came or went: its row is to be stored, and a new one
	// to be asked what it holds.
	work bell
	// onServer and onReach are told of servers that come and go, and whether they are
	// reached; they may be nil and must not call back.
	onServer func(s claims.Server, up bool, why string)
	onReach  func(yes bool)

	mu        sync.Mutex
	connected bool
	members   map[string]*member
	// gone holds the servers that said goodbye; a server's key is new at each start,
	// so a late message of theirs must not bring them back.
	gone map[string]time.Time
	// replaced holds the servers that were taken for restarted ones.
	replaced map[string]time.Time
	// unsaved are the servers whose row is to be written; false: it left.
	unsaved map[string]rosterChange
	changed broadcast
}

// rosterChange is a row to be written.
type rosterChange struct {
	claims.Server
	up bool
}

func newRoster(log *slog.Logger, now func() time.Time) *roster {
	return &roster{
		log: log, now: now, work: newBell(), members: map[string]*member{}, gone: map[string]time.Time{},
		replaced: map[string]time.Time{}, unsaved: map[string]rosterChange{},
	}
}

// observe takes a sign of life. An unknown server joins.
func (r *roster) observe(ctx context.Context, s serverInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, gone := r.gone[s.ID]; gone {
		return
	}
	if m := r.members[s.ID]; m != nil {
		m.LastSeen, m.silent, m.JetStream = r.now(), 0, s.JetStream
		return
	}
	r.evictNamesakes(ctx, s)
	m := &member{Server: claims.Server{ID: s.ID, Name: cmp.Or(s.Name, s.ID), Cluster: s.Cluster, Version: s.Version, JetStream: s.JetStream, LastSeen: r.now()}}
	r.members[s.ID] = m
	r.log.InfoContext(ctx, "a server joined", slog.String("server", m.Name), slog.String("server_id", m.ID), slog.String("version", m.Version))
	r.noteChange(m, true, "")
}

// evictNamesakes removes the server whose name and cluster a new one has: it was
// restarted without a goodbye, since a cluster refuses two servers of one name
// (route.go: isDuplicateServerName). Should the old one speak up again, the two are
// not in one cluster, and both stay.
func (r *roster) evictNamesakes(ctx context.Context, s serverInfo) {
	if _, again := r.replaced[s.ID]; again || s.Name == "" {
		return
	}
	for id, m := range r.members {
		if m.Name == s.Name && m.Cluster == s.Cluster {
			r.replaced[id] = r.now()
			r.remove(ctx, m, "restarted")
		}
	}
}

// depart removes a server that said it stops.
func (r *roster) depart(ctx context.Context, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone[id] = r.now()
	if m := r.members[id]; m != nil {
		r.remove(ctx, m, "stopped")
	}
}

// missed counts a ping that only some answered, and removes those that are silent
// for too long.
func (r *roster) missed(ctx context.Context, answered map[string]answer[struct{}], p pace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for id, m := range r.members {
		if _, ok := answered[id]; ok {
			continue
		}
		m.silent++
		if m.silent >= p.maxSilent && now.Sub(m.LastSeen) > p.silence {
			r.remove(ctx, m, "silent")
		}
	}
	for _, past := range []map[string]time.Time{r.gone, r.replaced} {
		for id, at := range past {
			if now.Sub(at) > p.remember {
				delete(past, id)
			}
		}
	}
}

func (r *roster) remove(ctx context.Context, m *member, reason string) {
	delete(r.members, m.ID)
	r.log.InfoContext(ctx, "a server left", slog.String("server", m.Name), slog.String("server_id", m.ID), slog.String("reason", reason))
	r.noteChange(m, false, reason)
}

func (r *roster) noteChange(m *member, up bool, why string) {
	r.unsaved[m.ID] = rosterChange{m.Server, up}
	r.work.ring()
	r.changed.tell()
	if r.onServer != nil {
		r.onServer(m.Server, up, why)
	}
}

// setConnected records whether the servers are reached; it tells whether that is
// new.
func (r *roster) setConnected(yes bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.connected
	r.connected = yes
	if was != yes {
		r.changed.tell()
		if r.onReach != nil {
			r.onReach(yes)
		}
	}
	return was != yes
}

// takeUnexamined returns the servers that are to be asked what they hold; examined
// has to follow for each.
func (r *roster) takeUnexamined() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, m := range r.members {
		if m.joined == 0 && !m.asked && !r.now().Before(m.again) {
			m.asked = true
			ids = append(ids, id)
		}
	}
	return ids
}

// askAgain is how long after an examination that failed a server is asked again: every
// server is asked then what is on its disk.
const askAgain = 2 * time.Second

// examined records what a server held; with stamp 0 it is to be asked again.
func (r *roster) examined(id string, f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		m.joined, m.holds, m.asked = f.stamp, f.holds, false
		m.again = r.now().Add(askAgain)
		r.changed.tell()
	}
}

// takeUnknown returns the servers that are to be asked whom they trust; learned has to
// follow for each.
func (r *roster) takeUnknown() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, m := range r.members {
		if m.Trust == nil && !m.learning {
			m.learning = true
			ids = append(ids, id)
		}
	}
	return ids
}

// learned records whom a server trusts; with nil it is to be asked again.
func (r *roster) learned(id string, trust *claims.ServerTrust) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		m.Trust, m.learning = trust, false
		if trust != nil {
			r.changed.tell()
		}
	}
}

// takeUnsaved returns the rows to be written; giveBack returns those that were not.
func (r *roster) takeUnsaved() map[string]rosterChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.unsaved
	r.unsaved = map[string]rosterChange{}
	return out
}

func (r *roster) giveBack(rows map[string]rosterChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, row := range rows {
		if _, newer := r.unsaved[id]; !newer {
			r.unsaved[id] = row
		}
	}
}

// snapshot returns the members by name, whether they are reached, and a channel
// that is closed when either changes.
func (r *roster) snapshot() (members []member, connected bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	members = make([]member, 0, len(r.members))
	for _, m := range r.members {
		members = append(members, *m)
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return members, r.connected, r.changed.next()
}
