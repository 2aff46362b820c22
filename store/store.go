package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Sentinels at the package border; test with errors.Is.
var (
	// ErrNotFound tells that no row has the identity asked for.
	ErrNotFound = errors.New("not found")
	// ErrExists tells that a unique name or identity is taken.
	ErrExists = errors.New("already exists")
	// ErrBusy tells that the database gave way to another transaction; the same
	// call may succeed when tried again.
	ErrBusy = errors.New("database busy")
	// ErrDeadlock is an ErrBusy that took no time: two transactions waited for each
	// other and the database ended this one.
	ErrDeadlock = fmt.Errorf("%w: deadlock", ErrBusy)
	// ErrAway tells that the database cannot be reached, or went away meanwhile; a commit
	// that was under way may have taken effect.
	ErrAway = errors.New("the database cannot be reached")
	// ErrNewerSchema tells that a newer Chancery migrated this database.
	ErrNewerSchema = errors.New("the database's schema is newer than this program")
	// ErrHeld tells that another process holds the SQLite file, or the data folder.
	ErrHeld = errors.New("another running process holds it")
)

// Config says which database to open.
type Config struct {
	// URL is postgres://… or sqlite://PATH (sqlite:///var/lib/x.db for an
	// absolute path). Required.
	URL string
	// Now is the clock. Required.
	Now func() time.Time
	// Rand is the source of row identities; nil means crypto/rand.
	Rand io.Reader
	// Logger receives the log of background work. Required.
	Logger *slog.Logger
	// Fault is for tests of faults and nil in production. It is asked before each
	// statement and the commit (COMMIT) of a writing transaction, and once more when
	// it is done; an error it returns is what the caller gets. Of a statement that is
	// done it means that it took effect and nobody heard of it.
	Fault func(statement string, done bool) error
}

// Store is a database. It is safe for concurrent use.
type Store struct {
	db *sql.DB
	// begin begins a transaction.
	begin func(ctx context.Context, readOnly bool) (session, error)
	// cut drops all idle connections, since one of them was found cut: the server has
	// probably cut the others too. Nil where there is no server.
	cut     func()
	dialect dialect
	now     func() time.Time
	rand    io.Reader
	log     *slog.Logger
	faults  func(statement string, done bool) error
	closers []func() error

	// writer admits one writing transaction at a time on SQLite, which has one
	// write lock anyway: waiting here is fair and can be cancelled. Nil on
	// PostgreSQL.
	writer chan struct{}

	committed chan struct{}
	// neighbours are other processes on the database; nil where there can be none.
	neighbours *neighbours

	mu        sync.Mutex
	listeners []func()
}

// Open opens the database and checks that it answers. The schema is not touched:
// see Migrate. The caller closes the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("opening store: clock and logger are required")
	}
	s := &Store{now: cfg.Now, rand: cfg.Rand, log: cfg.Logger, faults: cfg.Fault, committed: make(chan struct{}, 1)}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	var err error
	switch {
	case strings.HasPrefix(cfg.URL, "postgres://"), strings.HasPrefix(cfg.URL, "postgresql://"):
		err = s.openPostgres(ctx, cfg.URL)
	case strings.HasPrefix(cfg.URL, "sqlite://"):
		err = s.openSQLite(strings.TrimPrefix(cfg.URL, "sqlite://"))
	default:
		return nil, errors.New("opening store: the database URL must start with postgres:// or sqlite://")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), s.Close())
	}
	if err := s.db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", s.classify(err)), s.Close())
	}
	return s, nil
}

// Close closes the database. It is safe to call twice.
func (s *Store) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.classify(s.db.PingContext(ctx))
}

// Dialect returns "postgres" or "sqlite".
func (s *Store) Dialect() string { return string(s.dialect) }

// OnCommit registers f to be called after each committed Write. f must return at
// once and be safe for concurrent use.
func (s *Store) OnCommit(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, f)
}

// Tx is a transaction. It is used by one goroutine.
type Tx struct {
	session session
	store   *Store
	now     time.Time
	ends    []func()
	// pending are statements that nobody has waited for yet.
	pending []statement
	// lost is why some of them did not take effect.
	lost error
	// reads tells that it is a read-only transaction, changes that it stored what other
	// processes follow.
	reads, changes bool
}

// Now returns the time of the transaction, read once, in UTC to the microsecond.
func (t *Tx) Now() time.Time { return t.now }

// AtEnd has f called once the transaction has ended, whichever way.
func (t *Tx) AtEnd(f func()) { t.ends = append(t.ends, f) }

// Write runs f in a transaction and commits when f returns nil. An error of f is
// returned as it is and nothing is stored.
func (s *Store) Write(ctx context.Context, f func(ctx context.Context, t *Tx) error) error {
	if err := s.write(ctx, f); err != nil {
		return err
	}
	s.announce()
	return nil
}

// write is Write without telling anybody.
func (s *Store) write(ctx context.Context, f func(ctx context.Context, t *Tx) error) error {
	if s.writer != nil {
		select {
		case s.writer <- struct{}{}:
			defer func() { <-s.writer }()
		case <-ctx.Done():
			return fmt.Errorf("waiting to write: %w", ctx.Err())
		}
	}
	return s.in(ctx, false, f)
}

// Read runs f in a read-only transaction.
func (s *Store) Read(ctx context.Context, f func(ctx context.Context, t *Tx) error) error {
	return s.in(ctx, true, f)
}

func (s *Store) in(ctx context.Context, readOnly bool, f func(ctx context.Context, t *Tx) error) (err error) {
	q, err := s.begin(ctx, readOnly)
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", s.classify(err))
	}
	defer q.rollback()
	defer func() {
		if s.cut != nil && errors.Is(err, ErrAway) {
			s.cut()
		}
	}()
	t := &Tx{session: q, store: s, now: s.now().UTC().Truncate(time.Microsecond), reads: readOnly}
	defer func() {
		for _, end := range t.ends {
			end()
		}
	}()
	if err := f(ctx, t); err != nil {
		return err
	}
	if err := t.commit(ctx); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (s *Store) announce() {
	select {
	case s.committed <- struct{}{}:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.listeners {
		f()
	}
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewID returns a new identity: the prefix, then 48 bits of milliseconds and 80
// random bits in base32 that sorts by time.
func (t *Tx) NewID(prefix string) (string, error) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.now.UnixMilli())<<16) //nolint:gosec // milliseconds since 1970 are positive
	if _, err := io.ReadFull(t.store.rand, b[6:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return prefix + strings.ToLower(idEncoding.EncodeToString(b[:])), nil
}
