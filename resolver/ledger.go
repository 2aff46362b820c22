package resolver

import (
	"sync"
	"time"

	"chancery/claims"
	"chancery/store"
)

// ledger is what this process knows of recent deliveries, ahead of their rows, and
// wakes those who wait for them. It is a cache: what nobody asked or pushed for a
// while is forgotten, and the rows remain. It is safe for concurrent use.
type ledger struct {
	now func() time.Time
	// told is called with what is new; it may be nil and must not call back.
	told func(accountID string, from claims.DeliveryState, d claims.Delivery)

	mu       sync.Mutex
	accounts map[string]*track
}

// track is what is known of one account.
type track struct {
	// version was published to every server at the time published and proven on
	// all of them at least once; 0 if none was.
	version   int64
	published time.Time
	// insist tells that servers are to take the bytes of the next push for a change.
	insist  bool
	servers map[string]claims.Delivery
	// at is when each of servers was learned.
	at       map[string]time.Time
	touched  time.Time
	watchers int
	changed  broadcast
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{now: now, accounts: map[string]*track{}}
}

// track returns the account's track. The lock is held.
func (l *ledger) track(accountID string) *track {
	t := l.accounts[accountID]
	if t == nil {
		t = &track{servers: map[string]claims.Delivery{}, at: map[string]time.Time{}}
		l.accounts[accountID] = t
	}
	t.touched = l.now()
	return t
}

// report takes in how far a push got on one server, wakes the watchers, and tells
// whether that is news.
func (l *ledger) report(accountID string, d claims.Delivery) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(accountID)
	old := t.servers[d.ServerID]
	if !supersedes(d, old) {
		return false
	}
	if old.Version == d.Version && !old.Sent.IsZero() {
		d.Sent = old.Sent
	}
	t.servers[d.ServerID], t.at[d.ServerID] = d, t.touched
	if old.State == d.State && old.Version == d.Version && old.Error == d.Error {
		return false
	}
	t.changed.tell()
	if l.told != nil {
		l.told(accountID, old.State, d)
	}
	return true
}

// supersedes tells whether d says more than what is known. What was proven for a
// version is undone only by a reading that shows something else, never by silence.
func supersedes(d, known claims.Delivery) bool {
	if d.Version != known.Version {
		return d.Version > known.Version
	}
	return !known.State.Satisfied() || d.State.Satisfied() || d.State == claims.DeliveryFailed
}

// merge takes in the rows of the store, which another replica may have written. Of one
// version a failure counts until a later proof, and a proof until a later failure,
// whoever saw them: neither may stand behind a row that is older.
func (l *ledger) merge(accountID string, rows []store.Delivery) map[string]claims.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.accounts[accountID]
	out := make(map[string]claims.Delivery, len(rows))
	for _, row := range rows {
		out[row.ServerID] = claims.Delivery{
			ServerID: row.ServerID, ServerName: row.ServerName, State: claims.DeliveryState(row.State), Version: row.Version,
			Error: row.Error, Sent: row.Sent, Acknowledged: row.Acknowledged, Proven: row.Proven,
		}
	}
	if t == nil {
		return out
	}
	changed := false
	for _, row := range rows {
		d := out[row.ServerID]
		known, ok := t.servers[d.ServerID]
		if !ok || d.Version > known.Version || d.Version == known.Version && corrects(d, known, row.Updated.After(t.at[d.ServerID])) {
			t.servers[d.ServerID], t.at[d.ServerID] = d, row.Updated
			changed = true
		}
	}
	for id, d := range t.servers {
		out[id] = d
	}
	if changed {
		t.changed.tell()
	}
	return out
}

// corrects tells whether a row says more of a version than what is known of it; later
// tells that it is.
func corrects(row, known claims.Delivery, later bool) bool {
	switch {
	case row.State.Satisfied() && !known.State.Satisfied():
		return later || known.State != claims.DeliveryFailed
	case row.State == claims.DeliveryFailed && known.State.Satisfied():
		return later
	}
	return false
}

// prove records that version, published at that time, was seen on every server.
func (l *ledger) prove(accountID string, version int64, published time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(accountID)
	t.version, t.published = version, published
}

// proven returns when version was published, if it was seen on every server since.
func (l *ledger) proven(accountID string, version int64) (published time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.accounts[accountID]
	if t == nil || t.version != version {
		return time.Time{}, false
	}
	return t.published, true
}

// insisted tells once that servers are to take the bytes of the next push for a change.
func (l *ledger) insisted(accountID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.accounts[accountID]
	if t == nil || !t.insist {
		return false
	}
	t.insist = false
	return true
}

// watch keeps the account's track until release is called.
func (l *ledger) watch(accountID string) (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(accountID)
	t.watchers++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.watchers--
	}
}

// look returns what is known of a watched account, and a channel that is closed
// when that changes.
func (l *ledger) look(accountID string) (map[string]claims.Delivery, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(accountID)
	out := make(map[string]claims.Delivery, len(t.servers))
	for id, d := range t.servers {
		out[id] = d
	}
	return out, t.changed.next()
}

// forget drops what was not touched since before and is not watched.
func (l *ledger) forget(before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, t := range l.accounts {
		if t.watchers == 0 && t.touched.Before(before) {
			delete(l.accounts, id)
		}
	}
}
