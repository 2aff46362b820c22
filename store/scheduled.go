package store

import (
	"context"
	"time"
)

// ScheduledRevocation is a revocation that was decided and is not due yet.
type ScheduledRevocation struct {
	// ID is srv_….
	ID        string
	AccountID string
	// Subject is a user's public key U…, Before Unix seconds, as in Revocation.
	Subject string
	Before  int64
	Due     time.Time
	// Actor is who decided.
	Reason, Actor, RequestID string
}

const scheduledColumns = `id, account_id, subject, before_s, due_us, reason, actor, request_id`

func scanScheduled(r row) (ScheduledRevocation, error) {
	var s ScheduledRevocation
	var due int64
	err := r.Scan(&s.ID, &s.AccountID, &s.Subject, &s.Before, &due, &s.Reason, &s.Actor, &s.RequestID)
	s.Due = fromMicros(due)
	return s, err
}

// ScheduleRevocation inserts s.
func (t *Tx) ScheduleRevocation(ctx context.Context, s ScheduledRevocation) error {
	_, err := t.exec(ctx, `INSERT INTO scheduled_revocations (`+scheduledColumns+`, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		s.ID, s.AccountID, s.Subject, s.Before, micros(s.Due), s.Reason, s.Actor, s.RequestID, micros(t.now))
	return err
}

// AccountsToRevoke returns up to limit identities of accounts with a revocation that
// is due, after afterID, in order.
func (t *Tx) AccountsToRevoke(ctx context.Context, afterID string, limit int) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT DISTINCT account_id FROM scheduled_revocations
		WHERE due_us <= $1 AND account_id > $2 ORDER BY account_id LIMIT $3`, micros(t.now), afterID, limit)
}

// TakeDueRevocations removes up to limit of the account's revocations that are due
// and returns them.
func (t *Tx) TakeDueRevocations(ctx context.Context, accountID string, limit int) ([]ScheduledRevocation, error) {
	return many(ctx, t, scanScheduled, `DELETE FROM scheduled_revocations WHERE id IN (
		SELECT id FROM scheduled_revocations WHERE account_id = $1 AND due_us <= $2 ORDER BY due_us, id LIMIT $3)
		RETURNING `+scheduledColumns, accountID, micros(t.now), limit)
}

// ScheduledFor returns the revocations of the key that are to come, the first first.
func (t *Tx) ScheduledFor(ctx context.Context, accountID, subject string) ([]ScheduledRevocation, error) {
	return many(ctx, t, scanScheduled, `SELECT `+scheduledColumns+` FROM scheduled_revocations
		WHERE account_id = $1 AND subject = $2 ORDER BY due_us, id`, accountID, subject)
}
