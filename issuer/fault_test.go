package issuer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/issuer"
	"chancery/store/storetest"
)

var errFault = errors.New("the database went away")

// faults makes one statement of the next transactions fail.
type faults struct {
	mu sync.Mutex
	// at is the statement that fails, counted from 1; commit is that of the commit. 0 fails none.
	at   int
	done bool
	// seen is how many statements there were, writes which of them change something.
	seen   int
	writes []bool
	hit    bool
}

// commit is the number of a commit, after all statements.
const commit = -1

// set makes the statement fail, before or after it took effect, and forgets what was seen.
func (f *faults) set(at int, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.done, f.seen, f.writes, f.hit = at, done, 0, nil, false
}

func (f *faults) ask(statement string, done bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := commit
	if statement != "COMMIT" {
		if !done {
			f.seen++
			f.writes = append(f.writes, !strings.HasPrefix(strings.TrimSpace(statement), "SELECT"))
		}
		n = f.seen
	}
	if f.hit || n != f.at || done != f.done {
		return nil
	}
	f.hit = true
	return errFault
}

// holds wants every rule of what is stored to hold.
func (h *house) holds(t *testing.T, when string) {
	t.Helper()
	report, err := h.Verify(t.Context(), auditor)
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	for _, x := range report.Findings {
		t.Errorf("%s: %s of %s: %s", when, x.Rule, x.Subject, x.Detail)
	}
}

// tally counts the faults of one dialect.
type tally struct {
	mu          sync.Mutex
	good, tried int
}

// Every use case, with each of its statements and its commit failing before and after it took effect, then repeated
// with and without a key, then followed by another change. What failed before the commit left no trace; what failed
// after it is answered by its repetition with a key, and done once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			ready := newHouse(t, dialect)
			w := prepared(t, ready)
			ready.holds(t, "before any fault")
			ready.leave(t)
			var n tally
			t.Cleanup(func() { t.Logf("%d of %d faults left everything in order", n.good, n.tried) })
			for name, c := range useCases() {
				if c.reads {
					continue
				}
				for _, key := range []string{"", "key-1"} {
					t.Run(fmt.Sprint(name, "/key=", key != ""), func(t *testing.T) {
						t.Parallel()
						tried := faulty(t, ready.copied(t), w, name, c, key)
						n.mu.Lock()
						defer n.mu.Unlock()
						if n.tried += tried; !t.Failed() { // a trace is not that of one fault: with it none is in order
							n.good += tried
						}
					})
				}
			}
		})
	}
}

// faulty runs all faults of one use case in the house and returns how many there were.
func faulty(t *testing.T, h *house, w world, name string, c useCase, key string) (n int) {
	f := new(faults)
	if name == "SetupLink" {
		h.raw.Run(t, `DELETE FROM people WHERE name <> 'dora'`)
	}
	h.faults.Store(f)
	op := issuer.Op{Caller: owner, RequestID: "req_fault", Reason: "because", IdempotencyKey: key}
	if key != "" {
		op.Fingerprint = []byte(name)
	}
	another := func(when string) {
		f.set(0, false)
		did(h.UpdateAccount(t.Context(), issuer.Op{Caller: owner, RequestID: fmt.Sprint("req_another_", n)}, w.operator.Settings.SystemAccount, func(s *issuer.AccountEdit) {
			s.Description = fmt.Sprint("after ", when, n)
		})).well(t)
	}
	fails := func(at int, done bool) bool {
		f.set(at, done)
		err := c.run(t, h, op)
		if !f.hit {
			return false
		}
		n++
		if err == nil {
			t.Errorf("statement %d failed, done=%v, and nobody heard of it", at, done)
		}
		return true
	}
	h.sequence(t)
	before := h.raw.Dump(t)
	if !fails(commit, false) {
		t.Fatal("there is no commit")
	}
	statements := slices.Clone(f.writes)
	if key == "" {
		statements = nil // they fail in the same way as with a key
	}
	for at, write := range statements {
		fails(at+1, false)
		if write {
			fails(at+1, true)
		}
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.raw.Dump(t), "\n")); diff != "" {
		t.Errorf("what failed left a trace (-before +after):\n%s", diff)
	}
	another("failing") // which left the rows as they were, and of those it is known that the rules hold
	fails(commit, true)
	h.holds(t, "failed and stored")
	another("failing and storing")
	f.set(0, false)
	if !slices.Contains(rereading, name) {
		if err := c.run(t, h, op); key != "" && err != nil && name != "CreateUsers" { // there the names tell, not the key
			t.Errorf("repeated with a key: %v", err)
		}
	}
	another("repeating")
	h.sequence(t)
	h.holds(t, "repeated")
	done := 0
	for _, e := range h.audited(t) {
		if e.RequestID == op.RequestID && e.Outcome == "done" {
			done++
		}
	}
	want := entriesOf(name)
	if name == "CreateUsers" {
		want++ // its repetition is on record too, with nobody made
	}
	if key != "" && done != want {
		t.Errorf("on record %d times, want %d", done, want)
	}
	return n
}

// rereading are the use cases whose lines in the table look up what they delete: the table cannot repeat them.
var rereading = []string{"DeleteAccount", "DeleteOperator"}
