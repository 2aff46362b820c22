package resolver

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/store"
)

// damaged holds the accounts whose JWT in the database is not what was signed. It is
// neither served nor pushed: what this process, or its snapshot, had before stays in
// force, and an account of which there is nothing is unknown.
type damaged struct {
	log *slog.Logger

	mu sync.Mutex
	// versions holds the damaged version by account.
	versions map[string]int64
}

// note remembers whether a version is damaged, and logs it once.
func (d *damaged) note(s store.Served, bad bool) {
	d.mu.Lock()
	old, known := d.versions[s.AccountID]
	switch {
	case !bad && known && old <= s.Version:
		delete(d.versions, s.AccountID)
	case bad && d.versions == nil:
		d.versions = map[string]int64{s.AccountID: s.Version}
	case bad:
		d.versions[s.AccountID] = s.Version
	}
	d.mu.Unlock()
	switch {
	case bad && (!known || old != s.Version):
		d.log.ErrorContext(context.Background(), "the JWT of an account is damaged in the database; it is neither served nor pushed. Change the account, so that it is signed anew",
			slog.String("account", s.AccountID), slog.Int64("version", s.Version))
	case !bad && known && old <= s.Version:
		d.log.InfoContext(context.Background(), "the JWT of an account is sound again", slog.String("account", s.AccountID), slog.Int64("version", s.Version))
	}
}

// clear forgets all, for everything is looked at anew.
func (d *damaged) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.versions)
}

func (d *damaged) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.versions)
}

// has tells whether the last thing that the path names is such an account.
func (d *damaged) has(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.versions[path[strings.LastIndexByte(path, '/')+1:]]
	return ok
}

func (d *damaged) collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "chancery_damaged_accounts", Help: "Accounts whose JWT in the database is damaged; it is neither served nor pushed.",
	}, func() float64 { return float64(d.count()) })
}

// sound returns s as it may be served and pushed: as the store has it, or where that is
// damaged, as memory has this version or a later one. ok is false where there is nothing
// to go by. What memory has already needs no second look.
func (r *Resolver) sound(s store.Served) (_ store.Served, ok bool) {
	e := r.memory.get(s.AccountID)
	if e != nil && e.token == s.Token {
		r.memory.damaged.note(s, false)
		return s, true
	}
	bad := !intact(s)
	r.memory.damaged.note(s, bad)
	if bad && e != nil && e.version >= s.Version {
		s.Version, s.IssuedAt, s.Token = e.version, e.issuedAt, e.token
		return s, true
	}
	return s, !bad
}

// intact tells whether a JWT is what its row says, and signed by whom it names.
func intact(s store.Served) bool {
	issuer := payloadOf([]byte(s.Token)).Issuer
	key, err := nkeys.FromPublicKey(issuer)
	return err == nil && trust{s.OperatorID: {issuer: key}}.verify(s) == nil
}

// shaped tells whether a JWT looks like one. It costs next to nothing, and finds what was
// cut off, blanked or written over, not what was changed in the middle.
func shaped(token string) bool {
	const signature = 86 // an Ed25519 signature in base64
	begin, end := len(usualHeader), len(token)-signature-1
	if !strings.HasPrefix(token, usualHeader) {
		return strings.Count(token, ".") == 2
	}
	return begin < end && token[begin] == '.' && token[end] == '.' && strings.IndexByte(token[begin+1:], '.') == end-begin-1
}
