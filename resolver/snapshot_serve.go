package resolver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/store"
)

// OpenSnapshot begins to serve what the snapshot has, without the store. found tells
// that there was something to serve; the error is that the folder cannot be used. It
// returns before the signatures are verified: each is before its JWT is first served,
// and the rest in the background, which Stop ends.
func (r *Resolver) OpenSnapshot(ctx context.Context) (found bool, err error) {
	if err := r.openSnapshot(ctx); err != nil {
		return false, fmt.Errorf("opening the snapshot: %w", err)
	}
	return r.ready.Load(), nil
}

func (r *Resolver) openSnapshot(ctx context.Context) error {
	r.mu.Lock()
	if r.opened || r.snapshot == nil {
		r.mu.Unlock()
		return nil
	}
	r.opened = true
	running := r.begin(ctx)
	started := r.started
	r.mu.Unlock()
	c, err := r.snapshot.open()
	if c == nil || err != nil {
		return err
	}
	if c.damaged > 0 {
		r.log.WarnContext(ctx, "the snapshot is damaged; what is damaged is not served until the database or a peer brings it",
			slog.Int("damaged_lines", c.damaged), slog.Int("lines_without_account", c.nameless), slog.Int("accounts_refused", len(c.lost)))
	}
	t, trusted := newTrust(c.operators, r.anchors)
	r.memory.trust.Store(&t)
	r.snapshot.operators.Store(&trusted)
	if len(trusted) == 0 {
		r.log.WarnContext(ctx, "the snapshot has no operator that is trusted; nothing of it is served")
	}
	if r.awaits && !started {
		r.pulse.await(r.pace.await)
	}
	// Cold first: whoever finds an operator finds its accounts.
	r.memory.cold.Store(c)
	r.memory.setOperators(asStored(trusted))
	r.ready.Store(len(trusted) > 0)
	r.running.Go(func() { r.warmAll(running, c) })
	return nil
}

func asStored(list []savedOperator) []store.Operator {
	out := make([]store.Operator, 0, len(list))
	for _, o := range list {
		out = append(out, store.Operator{ID: o.ID, Name: o.Name, Default: o.Default, JWT: o.JWT, JWTVersion: o.Version, IssuedAt: o.IssuedAt})
	}
	return out
}

// warmAll verifies what nobody asked for, with half of the processors.
func (r *Resolver) warmAll(ctx context.Context, c *cold) {
	begin := r.now()
	accounts := make(chan []string)
	var wg sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		wg.Go(func() {
			for batch := range accounts {
				for _, id := range batch {
					r.memory.get(id)
				}
			}
		})
	}
	var batch []string
	send := func() bool {
		select {
		case accounts <- batch:
			batch = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
	c.each(func(id string) bool {
		batch = append(batch, id)
		return len(batch) < warmBatch || send()
	})
	done := ctx.Err() == nil && send()
	close(accounts)
	wg.Wait()
	if !done {
		return
	}
	r.memory.cold.Store(nil)
	r.memory.trim()
	r.tidy(ctx)
	r.log.InfoContext(ctx, "the snapshot is verified", slog.Int("accounts", r.memory.accounts.Size()), slog.Int("refused", r.snapshot.refused.Size()),
		slog.Duration("took", r.now().Sub(begin)))
}

// trim gives back what loading took: reading a million JWTs leaves as much garbage as
// they are.
func (m *memory) trim() {
	if m.accounts.Size() > trimFrom {
		debug.FreeOSMemory()
	}
}

// trimFrom is from how many accounts on that is worth a collection.
const trimFrom = 10_000

// warmBatch is how many accounts are handed over at once.
const warmBatch = 256

// warm takes an account from the snapshot into memory, if it verifies.
func (m *memory) warm(c *cold, accountID string) *entry {
	if len(accountID) != keyLength || m.snapshot.isRefused(accountID) {
		return nil
	}
	s, ok := c.get(accountID)
	if !ok {
		return nil
	}
	if err := (*m.trust.Load()).verify(s); err != nil {
		m.snapshot.refused.Store(s.AccountID, struct{}{})
		return nil
	}
	m.publish(s)
	e, _ := m.accounts.Load(accountID)
	return e
}

// has tells whether memory or the snapshot has s or what is newer. What the store says
// too needs no look at its signature.
func (m *memory) has(s store.Served) bool {
	if old, ok := m.accounts.Load(s.AccountID); ok {
		return old.version >= s.Version
	}
	c := m.cold.Load()
	if c == nil {
		return false
	}
	saved, ok := c.get(s.AccountID)
	switch {
	case ok && saved == s:
		m.publish(saved)
		return true
	case ok && saved.Version >= s.Version:
		return m.warm(c, s.AccountID) != nil
	}
	return false
}

// whole returns what is in memory, in the order of the accounts' keys.
func (m *memory) whole() iter.Seq[store.Served] {
	ids := make([]string, 0, m.accounts.Size())
	for id := range m.accounts.All() {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return func(yield func(store.Served) bool) {
		for _, id := range ids {
			e, ok := m.accounts.Load(id)
			if ok && !yield(store.Served{AccountID: id, OperatorID: e.operator.Value(), Version: e.version, IssuedAt: e.issuedAt, Token: e.token}) {
				return
			}
		}
	}
}

// accounts is about how many accounts there are on the disk.
func (s *snapshot) accounts() int {
	const usual = 1200
	if s == nil {
		return 0
	}
	info, err := os.Stat(filepath.Join(s.dir, baseName))
	if err != nil {
		return 0
	}
	return int(info.Size() / usual)
}

// withholds tells whether what is missing at a path may well exist, but is damaged in
// the snapshot and was not brought by the store since.
func (m *memory) withholds(path string) bool {
	s := m.snapshot
	if s == nil || s.refused.Size() == 0 && s.nameless.Load() == 0 {
		return false
	}
	return s.nameless.Load() > 0 || s.isRefused(path[strings.LastIndexByte(path, '/')+1:])
}

// isRefused tells whether the account is in the snapshot and could not be served.
func (s *snapshot) isRefused(account string) bool {
	if s == nil {
		return false
	}
	_, refused := s.refused.Load(account)
	return refused
}

// tidy writes the snapshot anew when that is due, beside everything else.
func (r *Resolver) tidy(ctx context.Context) {
	// While something is refused that nobody has replaced, the files are all there is of it.
	if r.memory.cold.Load() != nil || !r.snapshot.due() || r.snapshot.refused.Size() > 0 && !r.loaded.Load() {
		return
	}
	r.running.Go(func() { r.rewriting.note(ctx, r.snapshot.rewrite(r.memory.whole)) })
}

// setOperators serves the store's operators; none goes back to an older JWT.
func (r *Resolver) setOperators(list []store.Operator) {
	var before []savedOperator
	if r.snapshot != nil {
		if p := r.snapshot.operators.Load(); p != nil {
			before = *p
		}
	}
	saved := make([]savedOperator, 0, len(list))
	for i, o := range list {
		s := savedOperator{ID: o.ID, Name: o.Name, Default: o.Default, Version: o.JWTVersion, IssuedAt: o.IssuedAt, JWT: o.JWT}
		if k := slices.IndexFunc(before, func(b savedOperator) bool { return b.ID == o.ID && b.Version > s.Version }); k >= 0 {
			r.behind.add(o.ID, before[k].Version)
			s.Version, s.IssuedAt, s.JWT = before[k].Version, before[k].IssuedAt, before[k].JWT
		} else {
			r.behind.remove(list[i].ID)
		}
		saved = append(saved, s)
	}
	if r.memory.cold.Load() != nil {
		t, _ := newTrust(saved, nil)
		r.memory.trust.Store(&t)
	}
	r.snapshot.keepOperators(saved, func() { r.memory.setOperators(list) })
}

// behind is what the database has in an older version than was served: it was restored
// from a backup, and serving what it says would undo revocations.
type behind struct {
	log *slog.Logger

	mu sync.Mutex
	// served holds by subject the version that is served all the same.
	served map[string]int64
	told   bool
}

func (b *behind) add(subject string, version int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served == nil {
		b.served = map[string]int64{}
	}
	b.served[subject] = version
	if !b.told {
		b.told = true
		b.log.ErrorContext(context.Background(), "the database is older than what was served: it was probably restored from a backup. What was served stays in force; nothing older is served",
			slog.String("first", subject), slog.Int64("served_version", version))
	}
}

func (b *behind) remove(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.served, subject)
}

func (b *behind) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.served, b.told = nil, false
}

// settle forgets what a newer version was made of since.
func (b *behind) settle(m *memory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.served, func(account string, version int64) bool {
		e, ok := m.accounts.Load(account)
		return ok && e.version > version
	})
}

func (b *behind) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.served)
}

// compare notes which accounts of the store are older than what is served, or differ
// from it in the same version: then the store was restored and edited since.
func (r *Resolver) compare(page []store.Served) {
	if r.snapshot == nil {
		return
	}
	for _, s := range page {
		e := r.memory.get(s.AccountID)
		switch {
		case e == nil || e.version < s.Version || e.version == s.Version && e.token == s.Token:
		case e.version > s.Version || intact(s):
			r.behind.add(s.AccountID, e.version)
		default:
			r.memory.damaged.note(s, true)
		}
	}
}

// checkRestored finds out whether the database went back while it was followed, and
// then looks at everything again.
func (r *Resolver) checkRestored(ctx context.Context) error {
	var last int64
	err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		last, err = t.LastChange(ctx)
		return err
	})
	if err != nil || last >= r.followed {
		if err != nil {
			return fmt.Errorf("reading the change log: %w", err)
		}
		return nil
	}
	r.log.ErrorContext(ctx, "the change log of the database went back: it was probably restored from a backup", slog.Int64("followed", r.followed), slog.Int64("now", last))
	_, err = r.load(ctx)
	return err
}

// SnapshotState is what the snapshot and the store say of each other.
type SnapshotState struct {
	// FromStore tells that memory was loaded from the store since the start; else all is
	// served from the snapshot.
	FromStore bool
	// Saved is when the snapshot was last in step with what is served; zero without one.
	Saved time.Time
	// Unverified tells that the background has not verified all yet.
	Unverified bool
	// Refused is how many accounts of the snapshot are not served since they are damaged
	// or do not verify, Damaged how many lines are.
	Refused, Damaged int
	// Behind is how many operators and accounts the store has older than they are served.
	Behind int
	// PeerSeen is when a peer had told everything last, zero without one. PeerRefused is
	// how many of its JWTs are older than what is served, or others of the same second.
	PeerSeen    time.Time
	PeerRefused int
	// Failing is why the snapshot lags behind what is served; empty while it does not.
	Failing string
}

// Snapshot tells how the snapshot is. It asks nobody.
func (r *Resolver) Snapshot() SnapshotState {
	out := SnapshotState{FromStore: r.loaded.Load(), Behind: r.behind.count(), Unverified: r.memory.cold.Load() != nil}
	if f := r.feeder; f != nil {
		out.PeerRefused = int(f.refused.Load())
		if us := f.seen.Load(); us != 0 {
			out.PeerSeen = time.UnixMicro(us).UTC()
		}
	}
	if s := r.snapshot; s != nil {
		out.Refused, out.Damaged = s.refused.Size(), int(s.damaged.Load())
		if us := s.saved.Load(); us != 0 {
			out.Saved = time.UnixMicro(us).UTC()
		}
		if why := s.failing.Load(); why != nil {
			out.Failing = *why
		}
	}
	return out
}

// registerSnapshot registers the metrics of the snapshot; nil keeps them private.
func (r *Resolver) registerSnapshot(to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	gauge := func(name, help string, value func(SnapshotState) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(r.Snapshot()) })
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		gauge("chancery_snapshot_saved_timestamp_seconds", "When the snapshot on disk was last in step with the database; 0 without one.", func(s SnapshotState) float64 {
			if s.Saved.IsZero() {
				return 0
			}
			return float64(s.Saved.UnixMicro()) / 1e6
		}),
		gauge("chancery_peer_seen_timestamp_seconds", "When the peer had told everything last; 0 without one.", func(s SnapshotState) float64 {
			if s.PeerSeen.IsZero() {
				return 0
			}
			return float64(s.PeerSeen.UnixMicro()) / 1e6
		}),
		gauge("chancery_peer_refused_jwts", "JWTs of the peer that are older than what is served, or others of the same second.", func(s SnapshotState) float64 { return float64(s.PeerRefused) }),
		gauge("chancery_snapshot_failing", "1 while the snapshot on disk lags behind what is served.", func(s SnapshotState) float64 { return flag(s.Failing != "") }),
		gauge("chancery_snapshot_refused_accounts", "Accounts of the snapshot that are not served since they are damaged or do not verify.", func(s SnapshotState) float64 { return float64(s.Refused) }),
		gauge("chancery_database_behind", "Operators and accounts that the database has in an older version than is served: it was restored from a backup.", func(s SnapshotState) float64 { return float64(s.Behind) }),
		gauge("chancery_serving_from_snapshot", "1 while the database was not reached since the start.", func(s SnapshotState) float64 { return flag(!s.FromStore) }),
	} {
		errs = append(errs, to.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}
