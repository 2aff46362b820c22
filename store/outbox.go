package store

import (
	"context"
	"errors"
	"time"
)

// Owed is a claimed piece of work: the account's current JWT is to be on every
// server.
type Owed struct {
	AccountID  string
	OperatorID string
	// Version is the JWT version that was owed when claimed.
	Version  int64
	Attempts int64
	// Owner and Epoch identify this claim. A later claim of the account has another
	// epoch, also when the row was settled and came to be owed anew meanwhile: what a
	// replica that stood still does for an earlier one counts no more.
	Owner string
	Epoch int64
	// Since is when the oldest change came that is not proven on every server.
	Since time.Time
}

const owedColumns = `account_id, operator_id, want_jwt_version, attempts, lease_owner, lease_epoch, created_us`

// nextEpoch is the epoch of a claim, $1 being now in microseconds: a row begins at none,
// so that the time keeps claims of a row apart from those of the row before it.
const nextEpoch = `CASE WHEN lease_epoch < $1 THEN $1 ELSE lease_epoch + 1 END`

func scanOwed(r row) (Owed, error) {
	var o Owed
	var since int64
	err := r.Scan(&o.AccountID, &o.OperatorID, &o.Version, &o.Attempts, &o.Owner, &o.Epoch, &since)
	o.Since = fromMicros(since)
	return o, err
}

// exporterWait is the longest time for which the push of an account waits for that of
// the account it imports from.
const exporterWait = 2 * time.Second

// oweDelivery records that j must reach every server. A claim in progress keeps its
// lease, so that two pushes of an account never overlap. Only what says so waits for
// another account, and never what is owed already and was not tried yet: a revocation
// may be in it. Whatever is signed later ends the waiting. An importer that comes first
// all the same is no harm for long: a nats-server tries the imports that it could not
// make again when their exporter changes (accounts.go: incompleteAccExporterMap).
func (t *Tx) oweDelivery(ctx context.Context, j JWT) error {
	until := int64(0)
	if j.After != "" {
		until = micros(t.now.Add(exporterWait))
	}
	return t.send(ctx, `INSERT INTO outbox (account_id, operator_id, want_jwt_version, not_before_us, created_us, after_account, after_until_us)
		VALUES ($1, $2, $3, 0, $4, $5, $6)
		ON CONFLICT (account_id) DO UPDATE SET want_jwt_version = excluded.want_jwt_version, not_before_us = 0, attempts = 0,
			created_us = CASE WHEN excluded.created_us < outbox.created_us THEN excluded.created_us ELSE outbox.created_us END,
			after_account = excluded.after_account,
			after_until_us = CASE WHEN outbox.attempts = 0 AND outbox.after_until_us = 0 THEN 0 ELSE excluded.after_until_us END`,
		j.Subject, j.OperatorID, j.Version, micros(t.now), j.After, until)
}

// waiting is the condition for a row of the outbox that is held back, $1 being now in
// microseconds: the account that it imports from was not tried yet.
const waiting = `(o.after_until_us > $1 AND EXISTS (SELECT 1 FROM outbox x WHERE x.account_id = o.after_account AND x.attempts = 0))`

// OweAgain makes the accounts' current JWTs owed once more, for a server that may
// hold older ones. They are due now, after the changes that are due at once.
func (t *Tx) OweAgain(ctx context.Context, accountIDs []string) error {
	t.changes = true
	for _, id := range accountIDs {
		_, err := t.exec(ctx, `INSERT INTO outbox (account_id, operator_id, want_jwt_version, not_before_us, created_us)
			SELECT id, operator_id, jwt_version, CAST($2 AS BIGINT), CAST($2 AS BIGINT) FROM accounts WHERE id = $1 AND jwt <> ''
			ON CONFLICT (account_id) DO UPDATE SET
				not_before_us = CASE WHEN outbox.not_before_us < excluded.not_before_us THEN outbox.not_before_us ELSE excluded.not_before_us END`,
			id, micros(t.now))
		if err != nil {
			return err
		}
	}
	return nil
}

// NextOwed returns when the operator's earliest row that nobody holds, and that does not
// wait for another account, is due; ok is false when there is none.
func (t *Tx) NextOwed(ctx context.Context, operatorID string) (due time.Time, ok bool, err error) {
	us, err := one(ctx, t, scanOne[int64], `SELECT not_before_us FROM outbox o
		WHERE operator_id = $2 AND lease_until_us < $1 AND NOT `+waiting+` ORDER BY not_before_us LIMIT 1`, micros(t.now), operatorID)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, false, nil
	}
	return time.UnixMicro(us).UTC(), err == nil, err
}

// FreeOwed gives up the leases that owner holds, and has other processes told: those of
// a run that was killed, when the same replica starts again, and those of one that stops.
func (t *Tx) FreeOwed(ctx context.Context, owner string) error {
	n, err := t.exec(ctx, `UPDATE outbox SET lease_owner = '', lease_until_us = 0, not_before_us = 0 WHERE lease_owner = $1`, owner)
	t.changes = t.changes || n > 0
	return err
}

// RenewOwed makes a claim last for lease from now. It returns ErrNotFound when the claim
// has run out, or was overtaken.
func (t *Tx) RenewOwed(ctx context.Context, o Owed, lease time.Duration) error {
	n, err := t.exec(ctx, `UPDATE outbox SET lease_until_us = $4, not_before_us = CASE WHEN not_before_us = lease_until_us THEN $4 ELSE not_before_us END
		WHERE account_id = $1 AND lease_epoch = $2 AND lease_owner = $3 AND lease_until_us >= $5`,
		o.AccountID, o.Epoch, o.Owner, micros(t.now.Add(lease)), micros(t.now))
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// ClaimOwed leases up to limit due rows of the operator to owner. A lease that ran
// out may be claimed by anybody. A claimed row is not due before its lease ends;
// one that is due earlier came to be owed again meanwhile.
func (t *Tx) ClaimOwed(ctx context.Context, operatorID, owner string, lease time.Duration, limit int) ([]Owed, error) {
	return many(ctx, t, scanOwed, `UPDATE outbox SET lease_owner = $3, lease_epoch = `+nextEpoch+`, lease_until_us = $4, not_before_us = $4
		WHERE lease_until_us < $1 AND account_id IN (SELECT account_id FROM outbox o
			WHERE operator_id = $2 AND not_before_us <= $1 AND lease_until_us < $1 AND NOT `+waiting+` ORDER BY not_before_us, created_us LIMIT $5)
		RETURNING `+owedColumns,
		micros(t.now), operatorID, owner, micros(t.now.Add(lease)), limit)
}

// SettleOwed removes the row if nothing came to be owed since it was claimed, else
// it frees the row for the next claim. A claim that was overtaken by another one
// changes nothing.
func (t *Tx) SettleOwed(ctx context.Context, o Owed) error {
	n, err := t.exec(ctx, `DELETE FROM outbox WHERE account_id = $1 AND lease_epoch = $2 AND lease_owner = $4 AND want_jwt_version = $3 AND not_before_us = lease_until_us`,
		o.AccountID, o.Epoch, o.Version, o.Owner)
	if err != nil || n == 1 {
		return err
	}
	_, err = t.exec(ctx, `UPDATE outbox SET lease_until_us = 0, lease_owner = '' WHERE account_id = $1 AND lease_epoch = $2 AND lease_owner = $3`, o.AccountID, o.Epoch, o.Owner)
	return err
}

// PostponeOwed frees the row and makes it due again after delay, unless something
// came to be owed since it was claimed: that is due at once.
func (t *Tx) PostponeOwed(ctx context.Context, o Owed, delay time.Duration) error {
	_, err := t.exec(ctx, `UPDATE outbox SET lease_until_us = 0, lease_owner = '',
		attempts = CASE WHEN want_jwt_version = $3 AND not_before_us = lease_until_us THEN attempts + 1 ELSE attempts END,
		not_before_us = CASE WHEN want_jwt_version = $3 AND not_before_us = lease_until_us THEN CAST($4 AS BIGINT) ELSE not_before_us END
		WHERE account_id = $1 AND lease_epoch = $2 AND lease_owner = $5`, o.AccountID, o.Epoch, o.Version, micros(t.now.Add(delay)), o.Owner)
	return err
}

// CountOwed returns how many accounts of the operator (or of all, with an empty
// id) owe a delivery, and since when the oldest does; a zero time if none.
func (t *Tx) CountOwed(ctx context.Context, operatorID string) (n int64, oldest time.Time, err error) {
	type count struct{ n, us int64 }
	c, err := one(ctx, t, func(r row) (count, error) {
		var c count
		err := r.Scan(&c.n, &c.us)
		return c, err
	}, `SELECT count(*), coalesce(min(created_us), 0) FROM outbox WHERE $1 = '' OR operator_id = $1`, operatorID)
	return c.n, fromMicros(c.us), err
}
