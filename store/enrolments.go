package store

import (
	"context"
	"time"
)

// The states of an enrolment.
const (
	EnrolmentPending = "pending"
	EnrolmentRefused = "refused"
)

// Enrolment is an account that asks to be let in.
type Enrolment struct {
	// AccountID is the account's identity A….
	AccountID, OperatorID, Name string
	// State is pending or refused.
	State string
	// JWT is what its holder signed with the identity key, the newest one.
	JWT string
	// Remote is the address that it was posted from.
	Remote string
	// DecidedBy refused it, with Reason.
	DecidedBy, Reason string
	// Version counts what was posted and decided, and is the ETag.
	Version          int64
	Created, Updated time.Time
}

const enrolmentColumns = `account_id, operator_id, name, state, jwt, remote, decided_by, reason, version, created_us, updated_us`

func scanEnrolment(r row) (Enrolment, error) {
	var e Enrolment
	var created, updated int64
	err := r.Scan(&e.AccountID, &e.OperatorID, &e.Name, &e.State, &e.JWT, &e.Remote, &e.DecidedBy, &e.Reason, &e.Version, &created, &updated)
	e.Created, e.Updated = fromMicros(created), fromMicros(updated)
	return e, err
}

// PutEnrolment stores what was posted; one that was refused stays refused. An account
// waits for one operator at a time: who asks another one starts again.
func (t *Tx) PutEnrolment(ctx context.Context, e Enrolment) error {
	_, err := t.exec(ctx, `INSERT INTO enrolments (account_id, operator_id, name, state, jwt, remote, created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
		ON CONFLICT (account_id) DO UPDATE SET state = CASE WHEN enrolments.operator_id = excluded.operator_id THEN enrolments.state ELSE excluded.state END, operator_id = excluded.operator_id, name = excluded.name, jwt = excluded.jwt, remote = excluded.remote,
			version = enrolments.version + 1, updated_us = excluded.updated_us`,
		e.AccountID, e.OperatorID, e.Name, EnrolmentPending, e.JWT, e.Remote, micros(t.now))
	return err
}

// GetEnrolment returns the enrolment of the account with the operator.
func (t *Tx) GetEnrolment(ctx context.Context, operatorID, accountID string) (Enrolment, error) {
	return one(ctx, t, scanEnrolment, `SELECT `+enrolmentColumns+` FROM enrolments WHERE account_id = $1 AND operator_id = $2`, accountID, operatorID)
}

// ListEnrolments returns a page of the operator's enrolments by identity, in one state or,
// with an empty one, in both.
func (t *Tx) ListEnrolments(ctx context.Context, operatorID, state, afterID string, limit int) ([]Enrolment, error) {
	return many(ctx, t, scanEnrolment, `SELECT `+enrolmentColumns+` FROM enrolments
		WHERE operator_id = $1 AND ($2 = '' OR state = $2) AND account_id > $3 ORDER BY account_id LIMIT $4`, operatorID, state, afterID, limit)
}

// CountEnrolments returns how many enrolments of the operator wait for a decision.
func (t *Tx) CountEnrolments(ctx context.Context, operatorID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM enrolments WHERE operator_id = $1 AND state = 'pending'`, operatorID)
}

// EnrolmentRemotes returns the address of each enrolment of the operator that waits for a
// decision, in no order.
func (t *Tx) EnrolmentRemotes(ctx context.Context, operatorID string) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT remote FROM enrolments WHERE operator_id = $1 AND state = 'pending'`, operatorID)
}

// RefuseEnrolment notes that the account is not let in.
func (t *Tx) RefuseEnrolment(ctx context.Context, e Enrolment) error {
	return t.must(ctx, `UPDATE enrolments SET state = 'refused', decided_by = $3, reason = $4, version = version + 1, updated_us = $5 WHERE account_id = $1 AND operator_id = $2`,
		e.AccountID, e.OperatorID, e.DecidedBy, e.Reason, micros(t.now))
}

// DropEnrolment removes the enrolment of an account that is made.
func (t *Tx) DropEnrolment(ctx context.Context, accountID string) error {
	_, err := t.exec(ctx, `DELETE FROM enrolments WHERE account_id = $1`, accountID)
	return err
}

// DropOldEnrolments removes those of the operator that were last posted or decided
// before the time.
func (t *Tx) DropOldEnrolments(ctx context.Context, operatorID string, before time.Time) error {
	_, err := t.exec(ctx, `DELETE FROM enrolments WHERE operator_id = $1 AND updated_us < $2`, operatorID, micros(before))
	return err
}
