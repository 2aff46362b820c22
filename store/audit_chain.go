package store

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// ChainHead is where the chain of the audit log ends, as the sequencer says.
type ChainHead struct {
	// Seq is the number of the last entry, 0 for none, Hash its hash.
	Seq  int64
	Hash []byte
}

// AuditHead returns where the chain ends.
func (t *Tx) AuditHead(ctx context.Context) (ChainHead, error) {
	return one(ctx, t, func(r row) (ChainHead, error) {
		var h ChainHead
		err := r.Scan(&h.Seq, &h.Hash)
		return h, err
	}, `SELECT audit_seq, audit_hash FROM sequencer WHERE id = 1`)
}

// Checkpoint is what was known outside the database of the chain: that the entry with
// the number Seq had Hash at the time At.
type Checkpoint struct {
	Seq  int64
	Hash []byte
	At   time.Time
}

// FaultKind is what became of the chain at a place.
type FaultKind string

// The kinds of fault. What an entry was before cannot be known from a hash, so each is
// the least change that explains what is found.
const (
	// FaultAltered: the entry, or its hash, is not what was chained. One whose own hash
	// was made anew shows at the entry after it.
	FaultAltered FaultKind = "altered"
	// FaultMissing: entries are gone from there, or from just before it if those after
	// were renumbered to close the gap.
	FaultMissing FaultKind = "missing"
	// FaultInserted: the entry was not chained; those after it may have been renumbered.
	FaultInserted FaultKind = "inserted"
	// FaultSwapped: the entry changed places with another one.
	FaultSwapped FaultKind = "swapped"
	// FaultRenumbered: the entry and those after it are chained, and had other numbers.
	FaultRenumbered FaultKind = "renumbered"
	// FaultTruncated: the log ends before that number and did not once.
	FaultTruncated FaultKind = "truncated"
	// FaultRewritten: the entry is well chained, and not what was there before.
	FaultRewritten FaultKind = "rewritten"
)

// ChainFault is one place at which the chain does not hold.
type ChainFault struct {
	// Seq is the number of the place, EntryID the identity of the entry that is there
	// now, if one is.
	Seq     int64
	EntryID string
	Kind    FaultKind
	// Detail is a sentence.
	Detail string
}

// maxFaults bounds how many faults are told.
const maxFaults = 100

// ChainReport is what a verification of the chain found.
type ChainReport struct {
	// Entries is how many were read, Head the last of them.
	Entries int64
	Head    ChainHead
	// Checkpoints is how many were compared.
	Checkpoints int
	// Faults are the first hundred, by number; More is how many came after.
	Faults []ChainFault
	More   int
}

// Whole tells whether nothing is wrong.
func (r ChainReport) Whole() bool { return len(r.Faults) == 0 }

// VerifyAudit walks the whole chain and holds it against where the sequencer says it
// ends and against checkpoints, which are in the order of their numbers. After a fault
// it goes on where the chain holds again. Entries that are missing at the end together
// with what the sequencer remembers, and a chain that was made anew from some entry on,
// show by a checkpoint only. It reads in parts and keeps few of them.
func (s *Store) VerifyAudit(ctx context.Context, checkpoints []Checkpoint) (ChainReport, error) {
	w := chainWalk{store: s, checkpoints: checkpoints, prev: []byte{}, sure: true, next: 1}
	// Others may number on meanwhile: the chain must reach the end as it was before and
	// not go past the end as it is after.
	var err error
	if w.end, err = s.auditHead(ctx); err != nil {
		return w.report, err
	}
	for {
		more, err := w.fill(ctx, lookahead+1)
		if err != nil {
			return w.report, err
		}
		if !more {
			return w.report, w.finish(ctx)
		}
		if err := w.step(ctx); err != nil {
			return w.report, err
		}
	}
}

func (s *Store) auditHead(ctx context.Context) (h ChainHead, err error) {
	err = s.Read(ctx, func(ctx context.Context, t *Tx) (err error) {
		h, err = t.AuditHead(ctx)
		return err
	})
	return h, err
}

const (
	// chainPage is how many entries are read at once.
	chainPage = 1000
	// lookahead is how many entries in a row can be told to be inserted, closed how many
	// that are missing where the numbers after them were moved up.
	lookahead, closed = 16, 1000
)

// chainWalk is a verification in progress.
type chainWalk struct {
	store       *Store
	report      ChainReport
	checkpoints []Checkpoint
	// agreed is the number of the last checkpoint that holds, differs that a later one
	// does not.
	agreed  int64
	differs bool
	end     ChainHead
	// window are entries that were read and not looked at; read is the number of the
	// last one.
	window []AuditEntry
	read   int64
	begun  bool
	// prev is the hash before the window, sure whether it is known; next is the number
	// that follows.
	prev []byte
	sure bool
	next int64
	// shift is what was added to a number when its entry was chained, since entries
	// before it were removed or inserted.
	shift int64
	// lost are the entries that are not where they were chained.
	lost []lostEntry
}

// lostEntry is an entry that is not the one that was chained there, and the hash before.
type lostEntry struct {
	fault int
	seq   int64
	prev  []byte
}

// fill reads until n entries are in the window, if there are as many, and tells whether
// there is one.
func (w *chainWalk) fill(ctx context.Context, n int) (bool, error) {
	if len(w.window) >= n {
		return true, nil
	}
	err := w.store.Read(ctx, func(ctx context.Context, t *Tx) error {
		if !w.begun {
			w.begun = true
			stray, err := many(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq < 1 ORDER BY seq LIMIT 1`)
			if err != nil {
				return err
			}
			for _, e := range stray {
				w.found(e.Seq, e.ID, FaultInserted, "An entry stands before the first one.")
			}
		}
		page, err := t.ListAudit(ctx, w.read, chainPage)
		if len(page) > 0 {
			w.window, w.read = append(w.window, page...), page[len(page)-1].Seq
		}
		return err
	})
	return len(w.window) > 0, err
}

func (w *chainWalk) found(seq int64, id string, kind FaultKind, format string, args ...any) {
	if len(w.report.Faults) == maxFaults {
		w.report.More++
		return
	}
	w.report.Faults = append(w.report.Faults, ChainFault{seq, id, kind, fmt.Sprintf(format, args...)})
}

// step looks at the first entry of the window.
func (w *chainWalk) step(ctx context.Context) error {
	e := w.window[0]
	switch gap := e.Seq - w.next; {
	case gap > 0 && w.sure && chained(e, w.shift-gap, w.prev):
		w.found(e.Seq, e.ID, FaultRenumbered, "The entries from %d on had numbers that were lower by %d.", e.Seq, gap)
		w.next, w.shift = e.Seq, w.shift-gap
	case gap > 0:
		w.found(w.next, "", FaultMissing, "%s missing before number %d.", areEntries(e.Seq-w.next), e.Seq)
		w.next, w.sure = e.Seq, false
	}
	// Where the hash before is not known, the entry is taken as it stands: the next one is
	// chained to it.
	if w.sure && !chained(e, w.shift, w.prev) {
		return w.broken(ctx, e)
	}
	w.compare(e)
	w.drop(e, e.Hash)
	return nil
}

func areEntries(n int64) string {
	if n == 1 {
		return "An entry is"
	}
	return fmt.Sprintf("%d entries are", n)
}

func wereEntries(n int) string {
	if n == 1 {
		return "An entry was"
	}
	return fmt.Sprintf("%d entries were", n)
}

// chained tells whether the entry, with a number that is by shift another one, has the
// hash that follows prev.
func chained(e AuditEntry, shift int64, prev []byte) bool {
	want, err := e.chainAt(e.Seq+shift, prev)
	return err == nil && bytes.Equal(want, e.Hash)
}

func (e AuditEntry) chainAt(seq int64, prev []byte) ([]byte, error) {
	e.Seq = seq
	return e.chain(prev)
}

// drop leaves e behind, with the hash that the next one is chained to.
func (w *chainWalk) drop(e AuditEntry, hash []byte) {
	w.window = w.window[1:]
	w.prev, w.sure, w.next = hash, true, e.Seq+1
	w.report.Entries++
	w.report.Head = ChainHead{Seq: e.Seq, Hash: e.Hash}
}

// compare holds a good entry against the checkpoint of its number and the sequencer.
func (w *chainWalk) compare(e AuditEntry) {
	seq := e.Seq + w.shift
	for len(w.checkpoints) > 0 && w.checkpoints[0].Seq <= seq {
		c := w.checkpoints[0]
		w.checkpoints = w.checkpoints[1:]
		if c.Seq < seq {
			continue // its entry is missing, or is not good, which was found
		}
		w.report.Checkpoints++
		switch {
		case bytes.Equal(c.Hash, e.Hash):
			w.agreed = seq
		case !w.differs:
			w.differs = true
			w.found(e.Seq, e.ID, FaultRewritten, "The entry at %d is not what the checkpoint of %s signed: what is from number %d to there was made anew.",
				e.Seq, c.At.UTC().Format(time.RFC3339), w.agreed+1-w.shift)
		}
	}
	if seq == w.end.Seq && !bytes.Equal(e.Hash, w.end.Hash) && !w.differs {
		w.found(e.Seq, e.ID, FaultRewritten, "The entry at %d is not what was numbered: it, or more before it, was made anew.", e.Seq)
	}
}

// broken finds the least change that explains why e does not follow the entry before.
func (w *chainWalk) broken(ctx context.Context, e AuditEntry) error {
	var next AuditEntry
	following := len(w.window) > 1 && w.window[1].Seq == e.Seq+1
	if following {
		next = w.window[1]
	}
	want, err := e.chainAt(e.Seq+w.shift, w.prev)
	if err != nil {
		return err
	}
	switch {
	case following && chained(next, w.shift, e.Hash):
		w.found(e.Seq, e.ID, FaultAltered, "The entry at %d is not what was chained, or the one before it was altered together with its hash.", e.Seq)
		w.drop(e, e.Hash)
	case following && chained(next, w.shift, want):
		w.found(e.Seq, e.ID, FaultAltered, "The hash of the entry at %d was altered.", e.Seq)
		w.drop(e, want)
	case w.inserted(e), following && w.removed(e, next):
	default:
		return w.last(ctx, e, following)
	}
	return nil
}

// inserted looks for the entry that belongs where e is, among the next ones, and tells
// whether it found it: the two changed places, or it was moved there, or those before it
// were inserted. Of the first two it undoes in the window what was done, and says so.
func (w *chainWalk) inserted(e AuditEntry) bool {
	for n := 1; n <= lookahead && n < len(w.window); n++ {
		x, by := w.window[n], int64(n)
		if x.Seq != e.Seq+by {
			return false
		}
		if !chained(x, w.shift-by, w.prev) {
			continue
		}
		before := x.Hash // of the entry before x, once the two have changed places again
		if n > 1 {
			before = w.window[n-1].Hash
		}
		switch {
		case chained(e, w.shift+by, before):
			w.found(e.Seq, e.ID, FaultSwapped, "The entries at %d and %d changed places.", e.Seq, x.Seq)
			w.window[0], w.window[n] = x, e
		case chained(e, w.shift+1, x.Hash):
			w.found(e.Seq, e.ID, FaultSwapped, "The entry at %d was moved there from %d; those between were renumbered.", x.Seq, e.Seq)
			copy(w.window[1:], w.window[:n])
			w.window[0] = x
		default:
			w.found(e.Seq, e.ID, FaultInserted, "%s inserted at %d; those after were renumbered.", wereEntries(n), e.Seq)
			prev := w.prev
			for range n {
				w.drop(w.window[0], prev)
			}
			w.shift -= by
			return true
		}
		for m := range n + 1 {
			w.window[m].Seq = e.Seq + int64(m)
		}
		return true
	}
	return false
}

// removed tells whether entries before e are gone and those after were renumbered.
func (w *chainWalk) removed(e, next AuditEntry) bool {
	for n := int64(1); n <= closed; n++ {
		if chained(next, w.shift+n, e.Hash) {
			w.found(e.Seq, e.ID, FaultMissing, "%s missing before the entry at %d; those after were renumbered.", areEntries(n), e.Seq)
			w.shift += n
			w.drop(e, e.Hash)
			return true
		}
	}
	return false
}

// last explains an entry that nothing follows, or that what follows does not explain.
func (w *chainWalk) last(ctx context.Context, e AuditEntry, following bool) error {
	end, err := w.store.auditHead(ctx)
	if err != nil {
		return err
	}
	switch left := end.Seq - (e.Seq + w.shift); {
	case left < 0:
		w.found(e.Seq, e.ID, FaultInserted, "The entry at %d was appended, and never numbered.", e.Seq)
		w.drop(e, e.Hash)
		return nil
	case !following && left > 0 && bytes.Equal(e.Hash, end.Hash):
		w.found(e.Seq, e.ID, FaultMissing, "%s missing before the entry at %d, the last one, which was renumbered.", areEntries(left), e.Seq)
		w.shift += left
		w.drop(e, e.Hash)
		return nil
	}
	prev := w.prev
	w.drop(e, e.Hash)
	w.sure = false
	for _, x := range w.lost {
		if want, err := e.chainAt(x.seq+w.shift, x.prev); err == nil && bytes.Equal(want, e.Hash) && x.fault < len(w.report.Faults) {
			f := &w.report.Faults[x.fault]
			f.Kind, f.Detail = FaultSwapped, fmt.Sprintf("The entries at %d and %d changed places.", x.seq, e.Seq)
			return nil
		}
	}
	if len(w.lost) < maxFaults {
		w.lost = append(w.lost, lostEntry{len(w.report.Faults), e.Seq, prev})
	}
	w.found(e.Seq, e.ID, FaultAltered, "The entry at %d and its hash are not what was chained; the one after it cannot be held against it.", e.Seq)
	return nil
}

// finish looks at how the chain ends.
func (w *chainWalk) finish(ctx context.Context) error {
	after, err := w.store.auditHead(ctx)
	if err != nil {
		return err
	}
	last := w.next - 1 + w.shift
	switch {
	case last < w.end.Seq:
		w.found(w.next, "", FaultTruncated, "The log ends at %d, and was numbered up to %d.", w.next-1, w.end.Seq-w.shift)
	case last > after.Seq:
		if n := len(w.report.Faults); n == 0 || w.report.Faults[n-1].Kind != FaultInserted {
			w.found(after.Seq-w.shift+1, "", FaultInserted, "The log goes on to %d, and was numbered up to %d.", w.next-1, after.Seq-w.shift)
		}
	default:
		for _, c := range w.checkpoints {
			if c.Seq > last {
				w.report.Checkpoints++
				w.found(w.next, "", FaultTruncated, "The log ends at %d: the checkpoint of %s signed number %d.", w.next-1, c.At.UTC().Format(time.RFC3339), c.Seq)
				break
			}
		}
	}
	return nil
}
