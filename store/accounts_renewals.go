package store

import (
	"context"
	"time"
)

// renewable is the condition for accounts whose newest JWT is to be renewed by $1, in
// microseconds, and that nobody signs anew already. With the signing switch of their
// operator off they wait.
const renewable = `renew_us <> 0 AND renew_us <= $1 AND resign_us = 0
	AND operator_id IN (SELECT o.id FROM operators o WHERE o.signing AND o.state <> 'deleted')`

// HasRenewals tells whether OweRenewals has something to do.
func (t *Tx) HasRenewals(ctx context.Context) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM accounts WHERE `+renewable+`)`, micros(t.now))
}

// OweRenewals makes a new signature owed by every account whose lifetime is half over.
// Accounts that somebody else has locked wait for the next time.
func (t *Tx) OweRenewals(ctx context.Context) (int64, error) {
	return t.exec(ctx, `UPDATE accounts SET resign_us = $1 WHERE id IN (SELECT id FROM accounts WHERE `+renewable+t.store.lockingFree()+`)`, micros(t.now))
}

// CountRenewalsDue returns how many accounts of the operator wait for a renewal, and
// when the first of them ends; zero if none waits.
func (t *Tx) CountRenewalsDue(ctx context.Context, operatorID string) (n int64, first time.Time, err error) {
	type due struct{ n, ends int64 }
	d, err := one(ctx, t, func(r row) (due, error) {
		var d due
		err := r.Scan(&d.n, &d.ends)
		return d, err
	}, `SELECT count(*), coalesce(min(expires_s), 0) FROM accounts WHERE operator_id = $1 AND renew_us <> 0 AND renew_us <= $2`, operatorID, micros(t.now))
	return d.n, fromMicros(d.ends * 1e6), err
}
