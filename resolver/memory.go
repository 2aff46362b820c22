package resolver

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"unique"

	"github.com/puzpuzpuz/xsync/v4"

	"chancery/store"
)

// document is a signed JWT, ready to be served: the header values that go with it
// are made once, when it is taken into memory.
type document struct {
	token   string
	version int64
	// etag and length have the shape of http.Header values and are never written
	// to after the document is published.
	etag, length [1]string
}

const (
	// etagBytes is how much of the SHA-256 an ETag carries.
	etagBytes = 16
	// tagShape is an ETag before its hash is in it.
	tagShape = `"00000000000000000000000000000000"`
)

// document puts subject, tag, length and JWT into one piece of memory: an account has
// one object less for each, and whoever found the subject has the answer beside it. It is
// put together in what was used before, so that loading a million leaves no garbage of
// the same size between them. The subject is returned as it is there: a key of a map that
// keeps nothing else in memory.
func (m *memory) document(subject, token string, version int64) (string, document) {
	b, ok := m.scratch.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	text := append((*b)[:0], subject...)
	tag := len(text)
	text = append(text, tagShape...)
	length := len(text)
	text = strconv.AppendInt(text, int64(len(token)), 10)
	body := len(text)
	text = append(text, token...)
	sum := sha256.Sum256(text[body:])
	hex.Encode(text[tag+1:], sum[:etagBytes])
	all := string(text)
	*b = text
	m.scratch.Put(b)
	return all[:tag], document{token: all[body:], version: version, etag: [1]string{all[tag:length]}, length: [1]string{all[length:body]}}
}

// entry is the current JWT of an account.
type entry struct {
	document
	issuedAt int64
	operator unique.Handle[string]
	// stamp orders the arrival of entries and of servers; see memory.tick.
	stamp uint64
}

// memory is what is served. Readers take no lock that a writer holds.
type memory struct {
	accounts *xsync.Map[string, *entry]
	// operators is replaced as a whole by the one goroutine that follows the store.
	operators atomic.Pointer[directory]
	clock     atomic.Uint64
	order     order
	// cold is the snapshot of which not all is in accounts yet; nil when all is. trust
	// is what it is verified against.
	cold  atomic.Pointer[cold]
	trust atomic.Pointer[trust]
	// snapshot keeps what is served; nil keeps nothing.
	snapshot *snapshot
	damaged  damaged
	// scratch holds the *[]byte that documents are put together in.
	scratch sync.Pool
}

// newMemory returns a memory of which s keeps what is served.
func newMemory(s *snapshot) *memory {
	m := &memory{accounts: xsync.NewMap[string, *entry](xsync.WithPresize(s.accounts())), snapshot: s}
	m.operators.Store(&directory{})
	return m
}

// tick returns the next stamp. What was in memory before a server was looked at has
// a lower one: whatever that server loads later cannot be older. Clocks take no
// part in it.
func (m *memory) tick() uint64 { return m.clock.Add(1) }

// put takes accounts in, each unless the same or a later version is there already,
// whatever the order of loads; with a snapshot, once they are on the disk. It returns
// those that nobody else has put there. It is safe for concurrent use.
func (m *memory) put(list ...store.Served) (news []store.Served) {
	fresh := make([]store.Served, 0, len(list))
	for _, s := range list {
		if !m.has(s) {
			fresh = append(fresh, s)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	m.snapshot.keep(fresh, func() {
		news = slices.DeleteFunc(fresh, func(s store.Served) bool { return !m.publish(s) })
	})
	return news
}

// publish is put without a look at the snapshot; it tells whether s was news.
func (m *memory) publish(s store.Served) (news bool) {
	key, d := m.document(s.AccountID, s.Token, s.Version)
	e := &entry{document: d, issuedAt: s.IssuedAt, operator: unique.Make(s.OperatorID)}
	m.accounts.Compute(key, func(old *entry, loaded bool) (*entry, xsync.ComputeOp) {
		if loaded && old.version >= e.version {
			return old, xsync.CancelOp
		}
		e.stamp, news = m.tick(), true
		return e, xsync.UpdateOp
	})
	m.snapshot.accept(s.AccountID)
	return news
}

// get returns the account's entry, or nil.
func (m *memory) get(accountID string) *entry {
	e, ok := m.accounts.Load(accountID)
	if !ok {
		if c := m.cold.Load(); c != nil {
			return m.warm(c, accountID)
		}
	}
	return e
}

// newest returns s, or what is newer in memory.
func (m *memory) newest(s store.Served) store.Served {
	if e := m.get(s.AccountID); e != nil && e.version > s.Version {
		s.Version, s.IssuedAt, s.Token = e.version, e.issuedAt, e.token
	}
	return s
}

// operatorOf returns the operator of an account in memory, "" when it is unknown.
func (m *memory) operatorOf(accountID string) string {
	if e := m.get(accountID); e != nil {
		return e.operator.Value()
	}
	return ""
}

// servedOperator is an operator as it is served.
type servedOperator struct {
	document
	handle unique.Handle[string]
}

// directory finds operators; it is immutable.
type directory struct {
	// standard is the default operator, nil before there is one.
	standard *servedOperator
	// byName holds each operator under its name and under its public key; one can
	// never look like the other.
	byName map[string]*servedOperator
}

// setOperators replaces the directory; no operator's JWT goes back to an older
// version. It is called by one goroutine at a time.
func (m *memory) setOperators(list []store.Operator) {
	before := m.operators.Load()
	d := &directory{byName: make(map[string]*servedOperator, 2*len(list))}
	for _, o := range list {
		op := before.byName[o.ID]
		if op == nil || op.version < o.JWTVersion {
			_, d := m.document(o.ID, o.JWT, o.JWTVersion)
			op = &servedOperator{document: d, handle: unique.Make(o.ID)}
		}
		d.byName[o.ID], d.byName[o.Name] = op, op
		if o.Default {
			d.standard = op
		}
	}
	m.operators.Store(d)
}
