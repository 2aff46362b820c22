package store

import "context"

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
