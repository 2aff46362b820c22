package resolver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"chancery/store"
)

// A snapshot is written anew when its journals have more than growth bytes, and more
// than half of the base file, or when there are more of them than maxJournals.
const (
	growth      = 16 << 20
	maxJournals = 8
)

// snapshot keeps on disk what is served, in a folder of its own. A nil *snapshot keeps
// nothing.
//
// What it guarantees: a version is flushed to the disk before it is served, so that
// what is read back after a kill or a loss of power is never older than what was
// served. Two things take this away, and both raise an alarm: a disk that takes no
// more (the change is served all the same, since a revocation is worth more), and
// damage to a line whose account cannot be read any more. Until the first snapshot of
// an empty folder is written, a restart without the database serves nothing.
type snapshot struct {
	dir string
	now func() time.Time
	log *slog.Logger

	// held is shared from the append of a version until it is in memory, and exclusive
	// while a new journal begins: the base file after that has all of the old ones.
	held    sync.RWMutex
	journal *journal
	number  int64
	// grown is the size of the journals before the present one; files counts them all.
	grown atomic.Int64
	files atomic.Int64
	size  atomic.Int64
	saved atomic.Int64

	// failing is why the snapshot lags behind what is served; nil while it does not.
	failing atomic.Pointer[string]
	// followed is the number of a change in the database's log up to which everything is
	// in memory and, while nothing fails, on the disk; 0 when it is not known.
	followed atomic.Int64
	// writing tells that a base file is being written; tried is when that last failed, in
	// microseconds since 1970.
	writing atomic.Bool
	tried   atomic.Int64

	// operators are those of the last operators' line.
	operators atomic.Pointer[[]savedOperator]

	// refused holds accounts whose JWT did not verify or is damaged.
	refused *xsync.Map[string, struct{}]
	// damaged and nameless count lines; see cold.
	damaged, nameless atomic.Int64
}

// newSnapshot returns a snapshot that keeps nothing yet; nil without a folder.
func newSnapshot(dir string, now func() time.Time, log *slog.Logger) *snapshot {
	if dir == "" {
		return nil
	}
	return &snapshot{dir: dir, now: now, log: log, refused: xsync.NewMap[string, struct{}]()}
}

// open makes the folder, reads what is in it and goes on from there; c is nil when
// there is nothing.
func (s *snapshot) open() (c *cold, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	c, err = readCold(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.held.Lock()
	defer s.held.Unlock()
	s.number = c.journal
	s.damaged.Store(int64(c.damaged))
	s.nameless.Store(int64(c.nameless))
	for id := range c.lost {
		s.refused.Store(id, struct{}{})
	}
	s.grown.Store(c.grown)
	s.files.Store(c.journal - c.base.journal)
	s.size.Store(c.base.size)
	s.saved.Store(c.saved.UnixMicro())
	s.followed.Store(c.followed)
	return c, s.begin()
}

// accept notes that an account is served.
func (s *snapshot) accept(account string) {
	if s != nil && s.refused.Size() > 0 {
		s.refused.Delete(account)
	}
}

// begin goes on in a new journal: the last one may end in half a line.
func (s *snapshot) begin() error {
	j, err := newJournal(s.dir, s.number, s.now)
	if err != nil {
		return err
	}
	if s.journal != nil {
		s.grown.Add(s.journal.length())
		if err := s.journal.close(); err != nil {
			s.log.WarnContext(context.Background(), "closing the snapshot's journal failed", slog.Any("error", err))
		}
	}
	s.journal = j
	s.number++
	s.files.Add(1)
	return nil
}

// keep calls publish once the versions are on the disk. It calls it also when the disk
// does not take them, and raises the alarm.
func (s *snapshot) keep(list []store.Served, publish func()) {
	if s == nil {
		publish()
		return
	}
	s.held.RLock()
	defer s.held.RUnlock()
	if s.journal != nil {
		var lines []byte
		for _, v := range list {
			lines = appendAccount(lines, v)
		}
		s.note(s.journal.append(lines))
	}
	publish()
}

// keepOperators is keep for the operators; it is called by one goroutine at a time.
func (s *snapshot) keepOperators(list []savedOperator, publish func()) {
	if s == nil {
		publish()
		return
	}
	if old := s.operators.Load(); old != nil && slices.Equal(*old, list) {
		publish()
		return
	}
	s.held.RLock()
	defer s.held.RUnlock()
	if s.journal != nil {
		line, err := appendOperators(nil, list)
		if err == nil {
			err = s.journal.append(line)
		}
		s.note(err)
	}
	s.operators.Store(&list)
	publish()
}

// note records whether the disk takes what is served.
func (s *snapshot) note(err error) {
	if err == nil {
		s.saved.Store(s.now().UnixMicro())
		return
	}
	text := err.Error()
	if s.failing.Swap(&text) == nil {
		s.log.ErrorContext(context.Background(), "the snapshot on disk lags behind what is served; after a restart without the database, older versions would be served", slog.Any("error", err))
	}
}

// follow notes up to where the database's log of changes was followed. It is lost with
// the power, which costs more to read at the next start.
func (s *snapshot) follow(number int64) {
	if s == nil || s.followed.Swap(number) == number {
		return
	}
	s.held.RLock()
	defer s.held.RUnlock()
	// While something fails, a version before the change may be missing on the disk.
	if s.journal != nil && s.failing.Load() == nil {
		s.note(s.journal.write(numbersLine(lineFollowed, number)))
	}
}

// retryRewrite is how long a disk is left alone that did not take a new base file.
const retryRewrite = 15 * time.Second

// current notes that what is on the disk is in step with the database.
func (s *snapshot) current() {
	if s == nil {
		return
	}
	s.held.RLock()
	defer s.held.RUnlock()
	if now := s.now(); s.journal != nil && s.failing.Load() == nil && now.Sub(time.UnixMicro(s.saved.Load())) > time.Minute {
		s.note(s.journal.touch(now))
	}
}

// due tells whether the base file is to be written anew.
func (s *snapshot) due() bool {
	if s == nil || s.writing.Load() || s.now().Sub(time.UnixMicro(s.tried.Load())) < retryRewrite {
		return false
	}
	s.held.RLock()
	defer s.held.RUnlock()
	if s.journal == nil || s.failing.Load() != nil {
		return true
	}
	grown := s.grown.Load() + s.journal.length()
	return grown > max(growth, s.size.Load()/2) || s.files.Load() > maxJournals
}

// rewrite writes the base file anew from what accounts returns, which is asked for
// after the new journal has begun.
func (s *snapshot) rewrite(accounts func() iter.Seq[store.Served]) (err error) {
	if !s.writing.CompareAndSwap(false, true) {
		return nil
	}
	defer s.writing.Store(false)
	defer func() {
		if err != nil {
			s.tried.Store(s.now().UnixMicro())
			s.note(err)
		}
	}()
	s.held.Lock()
	err = s.begin()
	number := s.number - 1
	var operators []savedOperator
	if list := s.operators.Load(); list != nil {
		operators = *list
	}
	s.held.Unlock()
	if err != nil {
		return err
	}
	saved := s.now()
	// What accounts returns after this has everything up to that number.
	b := base{operators: operators, journal: number, saved: saved.UnixMicro(), followed: s.followed.Load()}
	size, err := writeBase(s.dir, b, accounts())
	if err != nil {
		return err
	}
	s.size.Store(size)
	s.grown.Store(0)
	s.files.Store(1)
	s.saved.Store(max(s.saved.Load(), saved.UnixMicro()))
	if s.failing.Swap(nil) != nil {
		s.log.InfoContext(context.Background(), "the snapshot on disk is again what is served")
	}
	if err := removeJournals(s.dir, number); err != nil {
		s.log.WarnContext(context.Background(), "removing old journals of the snapshot failed", slog.Any("error", err))
	}
	return nil
}

// complete notes that the store has brought everything: nothing nameless is missing.
func (s *snapshot) complete() {
	if s != nil {
		s.nameless.Store(0)
	}
}

func (s *snapshot) close() error {
	if s == nil {
		return nil
	}
	s.held.Lock()
	defer s.held.Unlock()
	if s.journal == nil {
		return nil
	}
	err := s.journal.close()
	s.journal = nil
	return err
}
