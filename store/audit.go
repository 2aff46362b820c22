package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID string `json:"id"`
	// Seq has no gaps and starts at 1; 0 until the sequencer has been there.
	Seq int64 `json:"seq"`
	// At is microseconds since 1970.
	At         int64  `json:"at_us"`
	Actor      string `json:"actor"`
	ActorKind  string `json:"actor_kind"`
	Action     string `json:"action"`
	TargetKind string `json:"target_kind"`
	Target     string `json:"target"`
	// Outcome is done or denied.
	Outcome   string `json:"outcome"`
	RequestID string `json:"request_id"`
	Reason    string `json:"reason"`
	// Detail is a JSON object: what changed, without secrets.
	Detail string `json:"detail"`
	// Hash is SHA-256 of the hash before and this entry.
	Hash []byte `json:"-"`
}

const auditColumns = `id, coalesce(seq, 0), at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, reason, detail, hash`

func scanAudit(r row) (AuditEntry, error) {
	var e AuditEntry
	err := r.Scan(&e.ID, &e.Seq, &e.At, &e.Actor, &e.ActorKind, &e.Action, &e.TargetKind, &e.Target, &e.Outcome, &e.RequestID, &e.Reason, &e.Detail, &e.Hash)
	return e, err
}

// auditInserted is what an entry has before the sequencer has been there.
const auditInserted = `id, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, reason, detail`

// AppendAudit inserts e unnumbered; the sequencer numbers and chains it.
func (t *Tx) AppendAudit(ctx context.Context, e AuditEntry) error {
	return t.AppendAudits(ctx, e, []string{e.Target})
}

// ListAudit returns up to limit numbered entries after seq, in order.
func (t *Tx) ListAudit(ctx context.Context, after int64, limit int) ([]AuditEntry, error) {
	return many(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
}

// LastOnOperator returns the newest entry of an action that was done to the operator,
// or ErrNotFound.
func (t *Tx) LastOnOperator(ctx context.Context, operatorID, action string) (AuditEntry, error) {
	return one(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit
		WHERE target_kind = 'operator' AND target = $1 AND action = $2 AND outcome = 'done' ORDER BY at_us DESC, id DESC LIMIT 1`, operatorID, action)
}

// chain returns the hash of e that follows prev.
func (e AuditEntry) chain(prev []byte) ([]byte, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encoding an audit entry: %w", err)
	}
	h := sha256.New()
	h.Write(prev)
	h.Write(line)
	return h.Sum(nil), nil
}

// chainEnd is how far the sequencer says the chain goes.
type chainEnd struct {
	seq  int64
	hash []byte
}

func (t *Tx) chainEnd(ctx context.Context) (chainEnd, error) {
	return one(ctx, t, func(r row) (chainEnd, error) {
		var e chainEnd
		err := r.Scan(&e.seq, &e.hash)
		return e, err
	}, `SELECT audit_seq, audit_hash FROM sequencer WHERE id = 1`)
}

// VerifyAudit walks the whole chain and returns how many entries are in it. The
// error names the first number at which it does not hold. Entries missing at the
// end show by what the sequencer remembers; an attacker who also changes that is
// found by an anchor outside the database only.
func (s *Store) VerifyAudit(ctx context.Context) (n int64, err error) {
	err = s.Read(ctx, func(ctx context.Context, t *Tx) error {
		// Others may number on meanwhile: the chain must reach the end as it was
		// before and not go past the end as it is after.
		before, err := t.chainEnd(ctx)
		if err != nil {
			return err
		}
		prev := []byte{}
		for {
			page, err := t.ListAudit(ctx, n, 500)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				after, err := t.chainEnd(ctx)
				if err == nil && (n < before.seq || n > after.seq) {
					err = fmt.Errorf("audit chain broken at number %d: it does not end where it was numbered to", min(n, after.seq)+1)
				}
				return err
			}
			for _, e := range page {
				want, err := e.chain(prev)
				if err != nil {
					return err
				}
				if e.Seq != n+1 || !bytes.Equal(want, e.Hash) {
					return fmt.Errorf("audit chain broken at number %d", n+1)
				}
				if e.Seq == before.seq && !bytes.Equal(e.Hash, before.hash) {
					return fmt.Errorf("audit chain broken at number %d: it is not what was numbered", e.Seq)
				}
				n, prev = e.Seq, e.Hash
			}
		}
	})
	return n, err
}

// Time returns At as a time in UTC.
func (e AuditEntry) Time() time.Time { return fromMicros(e.At) }
