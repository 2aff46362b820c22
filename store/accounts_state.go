package store

import (
	"context"
	"math"
)

// SetAccountState moves the account to active or suspended and counts the intent.
func (t *Tx) SetAccountState(ctx context.Context, id, state string) error {
	return t.must(ctx, `UPDATE accounts SET state = $2, version = version + 1, updated_us = $3 WHERE id = $1 AND deleted_us = 0`, id, state, micros(t.now))
}

// DeleteAccount takes the account, its users, exports and imports out of every list and
// frees its name. The row stays for its tombstone, which is served for ever, and for the
// ledger.
func (t *Tx) DeleteAccount(ctx context.Context, id string) error {
	now := micros(t.now)
	err := t.must(ctx, `UPDATE accounts SET state = 'deleted', deleted_us = $2, expires_s = 0, lifetime_s = 0, version = version + 1, updated_us = $2 WHERE id = $1 AND deleted_us = 0`, id, now)
	if err != nil {
		return err
	}
	for _, shared := range []string{`UPDATE exports SET deleted_us = $2 WHERE account_id = $1 AND deleted_us = 0`, `DELETE FROM imports WHERE account_id = $1 AND created_us <= $2`} {
		if _, err := t.exec(ctx, shared, id, now); err != nil {
			return err
		}
	}
	_, err = t.exec(ctx, `UPDATE users SET deleted_us = $2, updated_us = $2, version = version + 1 WHERE account_id = $1 AND deleted_us = 0`, id, now)
	return err
}

// HasAdmitted tells whether any of the public keys has a credential of the account
// that is neither expired nor revoked.
func (t *Tx) HasAdmitted(ctx context.Context, accountID string, publicKeys []string) (bool, error) {
	for _, k := range publicKeys {
		n, err := t.CountIssued(ctx, accountID, k, math.MaxInt64)
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}
