package store_test

import (
	"context"
	"fmt"
	"strings"
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
	if n, err := d.VerifyAudit(t.Context()); err != nil || n != int64(audits) {
		t.Errorf("the chain: %d, %v; want %d", n, err, audits)
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
				if _, err := d.VerifyAudit(t.Context()); err != nil {
					t.Error(err)
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
			n, err := d.VerifyAudit(t.Context())
			return err == nil && n == 1
		}
		deadline := time.After(10 * time.Second)
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

// Each kind of tampering is found, and the number says where.
func TestTampering(t *testing.T) {
	const entries = 9
	kinds := map[string]struct {
		tamper func(t *testing.T, d *db)
		where  int // the first number that does not hold; 0 for none
	}{
		"nothing":                 {func(*testing.T, *db) {}, 0},
		"delete the first":        {statement(`DELETE FROM audit WHERE seq = 1`), 1},
		"delete one in between":   {statement(`DELETE FROM audit WHERE seq = 5`), 5},
		"delete the last":         {statement(`DELETE FROM audit WHERE seq = 9`), 9},
		"delete all":              {statement(`DELETE FROM audit`), 1},
		"delete and renumber":     {statement(`DELETE FROM audit WHERE seq = 5`, `UPDATE audit SET seq = -seq WHERE seq > 5`, `UPDATE audit SET seq = -seq - 1 WHERE seq < 0`), 5},
		"swap two":                {statement(`UPDATE audit SET seq = -3 WHERE seq = 3`, `UPDATE audit SET seq = 3 WHERE seq = 4`, `UPDATE audit SET seq = 4 WHERE seq = -3`), 3},
		"number one again":        {statement(`UPDATE audit SET seq = NULL WHERE seq = 9`), 9},
		"forget the hash":         {statement(`UPDATE audit SET hash = NULL WHERE seq = 6`), 6},
		"insert at the end":       {insert(10), 10},
		"insert before the first": {insert(0), 0}, // numbers start at 1: it is no part of the log
		"insert in between": {func(t *testing.T, d *db) {
			d.raw.Run(t, `UPDATE audit SET seq = seq + 1000 WHERE seq > 4`)
			insert(5)(t, d)
			d.raw.Run(t, `UPDATE audit SET seq = seq - 999 WHERE seq > 1000`)
		}, 5},
		"forge the last and its hash": {func(t *testing.T, d *db) {
			d.raw.Run(t, `UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1), actor = 'x' WHERE seq = 9`)
		}, 9},
	}
	for column, value := range map[string]string{
		"id": "'aud_x'", "at_us": "at_us + 1", "actor": "'mallory'", "actor_kind": "'token'", "action": "'read'", "target_kind": "'x'", "target": "'x'", "outcome": "'denied'",
		"request_id": "'x'", "reason": "'x'", "detail": "'{ }'",
	} {
		kinds["edit "+column] = struct {
			tamper func(t *testing.T, d *db)
			where  int
		}{statement(`UPDATE audit SET ` + column + ` = ` + value + ` WHERE seq = 7`), 7}
	}
	each(t, func(t *testing.T, d *db) {
		for n := range entries {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.AppendAudit(ctx, store.AuditEntry{Actor: "per_1", ActorKind: "person", Action: "create", TargetKind: "account", Target: fmt.Sprint("A", n), Outcome: "done", RequestID: "req", Reason: "r", Detail: "{}"})
			})
			d.advance(time.Millisecond)
		}
		d.sequence(t)
		d.raw.Run(t, `CREATE TABLE kept AS SELECT * FROM audit`)
		for name, kind := range kinds {
			t.Run(name, func(t *testing.T) {
				kind.tamper(t, d)
				_, err := d.VerifyAudit(t.Context())
				switch {
				case kind.where == 0 && err != nil:
					t.Error(err)
				case kind.where > 0 && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("at number %d", kind.where))):
					t.Errorf("%v, want number %d", err, kind.where)
				}
				d.raw.Run(t, `DELETE FROM audit`)
				d.raw.Run(t, `INSERT INTO audit SELECT * FROM kept`)
			})
		}
	})
}

func statement(queries ...string) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		for _, q := range queries {
			if d.raw.Run(t, q) == 0 {
				t.Fatalf("%s changed nothing", q)
			}
		}
	}
}

// insert forges an entry with the hash of another one.
func insert(seq int) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		d.raw.Run(t, `INSERT INTO audit (id, seq, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id)
			SELECT 'aud_forged', $1, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id FROM audit WHERE seq = 2`, seq)
	}
}
