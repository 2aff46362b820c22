package store

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sequenceBatch bounds the rows numbered in one transaction.
const sequenceBatch = 1000

// sequencePoll is how often the sequencer looks for rows nobody woke it for: those
// of a replica that died between commit and numbering.
const sequencePoll = time.Second

// Sequence numbers the change and audit rows that were committed without a
// number, in the order of their identities, and chains the audit. It returns how
// many it numbered. Replicas may call it at once: the sequencer's row is the
// lease, held for one short transaction, and its epoch counts the holders.
func (s *Store) Sequence(ctx context.Context) (n int, err error) {
	// Most polls find nothing, and taking the lease would write to the disk.
	var waiting bool
	err = s.Read(ctx, func(ctx context.Context, t *Tx) error {
		waiting, err = one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM changes WHERE seq IS NULL) OR EXISTS (SELECT 1 FROM audit WHERE seq IS NULL)`)
		return err
	})
	if err != nil || !waiting {
		return 0, err
	}
	err = s.write(ctx, func(ctx context.Context, t *Tx) error {
		type state struct {
			change, audit, high, lag int64
			hash                     []byte
		}
		st, err := one(ctx, t, func(r row) (state, error) {
			var x state
			err := r.Scan(&x.change, &x.audit, &x.hash, &x.high, &x.lag)
			if x.hash == nil {
				x.hash = []byte{} // SQLite gives the empty hash of the beginning as NULL, and would take it as such
			}
			return x, err
		}, `UPDATE sequencer SET epoch = epoch + 1 WHERE id = 1 RETURNING change_seq, audit_seq, audit_hash, audit_high_us, audit_lag_us`)
		if err != nil {
			return err
		}
		ids, err := many(ctx, t, scanOne[string], `SELECT id FROM changes WHERE seq IS NULL ORDER BY id LIMIT $1`, sequenceBatch)
		if err != nil {
			return err
		}
		for _, id := range ids {
			st.change++
			if err := t.must(ctx, `UPDATE changes SET seq = $2 WHERE id = $1`, id, st.change); err != nil {
				return err
			}
		}
		entries, err := many(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq IS NULL ORDER BY id LIMIT $1`, sequenceBatch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			st.audit++
			e.Seq = st.audit
			st.high = max(st.high, e.At)
			st.lag = max(st.lag, st.high-e.At)
			if st.hash, err = e.chain(st.hash); err != nil {
				return err
			}
			if err := t.must(ctx, `UPDATE audit SET seq = $2, hash = $3 WHERE id = $1`, e.ID, e.Seq, st.hash); err != nil {
				return err
			}
		}
		n = len(ids) + len(entries)
		if n == 0 {
			return nil
		}
		return t.must(ctx, `UPDATE sequencer SET change_seq = $1, audit_seq = $2, audit_hash = $3, audit_high_us = $4, audit_lag_us = $5 WHERE id = 1`, st.change, st.audit, st.hash, st.high, st.lag)
	})
	return n, err
}

// Sequencer runs Sequence after each commit. Start and Stop may be called more
// than once.
type Sequencer struct {
	store  *Store
	once   sync.Once
	cancel context.CancelFunc
	done   chan struct{}
}

// NewSequencer returns a sequencer that is not running yet.
func NewSequencer(s *Store) *Sequencer { return &Sequencer{store: s, done: make(chan struct{})} }

// Start begins to number in the background.
func (q *Sequencer) Start() {
	q.once.Do(func() {
		var ctx context.Context
		ctx, q.cancel = context.WithCancel(context.Background())
		go q.run(ctx)
	})
}

// Stop ends it and waits.
func (q *Sequencer) Stop() {
	q.once.Do(func() { close(q.done) })
	if q.cancel != nil {
		q.cancel()
	}
	<-q.done
}

func (q *Sequencer) run(ctx context.Context) {
	defer close(q.done)
	poll := time.NewTicker(sequencePoll)
	defer poll.Stop()
	failing := false
	for {
		n, err := q.store.Sequence(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				q.store.log.WarnContext(ctx, "numbering changes and audit entries stopped; it is retried", slog.Any("error", err))
			} else {
				q.store.log.InfoContext(ctx, "numbering changes and audit entries goes on")
			}
		}
		if err == nil && n >= sequenceBatch {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-q.store.committed:
			// What the same burst commits is numbered in one transaction.
		}
	}
}
