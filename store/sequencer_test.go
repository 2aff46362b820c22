package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"chancery/store"
)

// sequence numbers everything there is.
func (d *db) sequence(t testing.TB) {
	t.Helper()
	for {
		n, err := d.Sequence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// gapless reads both logs and wants the numbers 1 to n in each.
func (d *db) gapless(t testing.TB, audits, changes int) {
	t.Helper()
	entries := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) {
		return tx.ListAudit(ctx, 0, audits+10)
	})
	for n, e := range entries {
		if e.Seq != int64(n+1) {
			t.Fatalf("entry %d has the number %d", n+1, e.Seq)
		}
	}
	log := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Change, error) {
		return tx.ListChanges(ctx, 0, changes+10)
	})
	for n, c := range log {
		if c.Seq != int64(n+1) {
			t.Fatalf("change %d has the number %d", n+1, c.Seq)
		}
	}
	last := get(t, d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.LastChange(ctx) })
	if len(entries) != audits || len(log) != changes || last != int64(changes) {
		t.Errorf("%d entries and %d changes (the last is %d), want %d and %d", len(entries), len(log), last, audits, changes)
	}
	if r := d.verified(t); !r.Whole() || r.Entries != int64(audits) {
		t.Errorf("the chain: %+v; want %d", r, audits)
	}
}

// Writers and two sequencers at once: whoever reads the log beside them sees numbers without a gap, at every
// moment, and in the end there is one for each row.
func TestSequencersAndWriters(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		const writers, commits = 6, 12
		accounts := make([]string, writers)
		for w := range writers {
			_, accounts[w] = d.tenant(t, fmt.Sprint(w))
		}
		one, two := store.NewSequencer(d.Store), store.NewSequencer(d.Store)
		one.Start()
		two.Start()
		defer one.Stop()
		defer two.Stop()
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for n := range int64(commits) {
					err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
						if err := sign(ctx, tx, accounts[w], 1000+n); err != nil {
							return err
						}
						if err := tx.AppendAudit(ctx, store.AuditEntry{Actor: fmt.Sprint(w), Action: "a", Detail: "{}"}); err != nil {
							return err
						}
						return tx.AppendAudit(ctx, store.AuditEntry{Actor: fmt.Sprint(w), Action: "b", Reason: "ünïcödé <&>", Detail: `{"n":1}`})
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			seen := int64(0)
			for {
				select {
				case <-done:
					return
				default:
				}
				page, err := try(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Change, error) { return tx.ListChanges(ctx, seen, 5) })
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range page {
					if c.Seq != seen+1 {
						t.Errorf("%d comes after %d", c.Seq, seen)
					}
					seen = c.Seq
				}
				if r := d.verified(t); !r.Whole() {
					t.Errorf("%+v", r.Faults)
				}
			}
		})
		writing.Wait()
		close(done)
		reading.Wait()
		d.sequence(t)
		d.gapless(t, writers*commits*2, writers*commits)
	})
}

// More rows than one transaction numbers.
func TestSequenceOfManyRows(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		const rows = 1100
		d.raw.Run(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
			INSERT INTO changes (id, kind, operator_id, subject, created_us) SELECT 'chg_' || i, 'account', 'O', 'A', 0 FROM n`)
		d.sequence(t)
		d.gapless(t, 0, rows)
	})
}

// A sequencer can be started and stopped in any order, and numbers what was committed before it ran.
func TestSequencerStartStop(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		store.NewSequencer(d.Store).Stop() // never started
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudit(ctx, store.AuditEntry{Action: "early", Detail: "{}"})
		})
		q := store.NewSequencer(d.Store)
		q.Start()
		q.Start()
		numbered := func() bool {
			r := d.verified(t)
			return r.Whole() && r.Entries == 1
		}
		deadline := time.After(30 * time.Second)
		for !numbered() {
			select {
			case <-deadline:
				t.Fatal("the entry is not numbered")
			case <-time.After(time.Millisecond):
			}
		}
		q.Stop()
		q.Stop()
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudit(ctx, store.AuditEntry{Action: "late", Detail: "{}"})
		})
		if !numbered() {
			t.Error("a stopped sequencer numbered something")
		}
	})
}
