package store

import (
	"context"
)

// AccountsNamed returns those accounts of the operator, not deleted, that have one of
// the names.
func (t *Tx) AccountsNamed(ctx context.Context, operatorID string, names []string) ([]Account, error) {
	return among(ctx, t, scanAccount, func(table string) string {
		return `SELECT ` + prefixed("a", accountColumns) + ` FROM ` + table + ` CROSS JOIN accounts a WHERE a.operator_id = $2 AND a.deleted_us = 0 AND a.name = e.value`
	}, names, operatorID)
}

// KeysByID returns those of the keys that there are.
func (t *Tx) KeysByID(ctx context.Context, ids []string) ([]Key, error) {
	return among(ctx, t, scanKey, func(table string) string {
		return `SELECT ` + prefixed("k", keyColumns) + ` FROM ` + table + ` CROSS JOIN keys k WHERE k.id = e.value`
	}, ids)
}

// Issuances returns the entries of the account's ledger for the public keys, oldest
// first.
func (t *Tx) Issuances(ctx context.Context, accountID string, keys []string) ([]Credential, error) {
	return among(ctx, t, scanCredential, func(table string) string {
		return `SELECT ` + ledgerColumns + ` FROM ` + table + ` CROSS JOIN credentials c WHERE c.account_id = $2 AND c.public_key = e.value ORDER BY c.id`
	}, keys, accountID)
}

// KeptJWT is a user's JWT that was kept when it was imported.
type KeptJWT struct {
	ID, UserID, UserName string
	IssuedAt             int64
	JWT                  string
	Sealed               []byte
}

// KeptJWTs returns up to limit credentials of the account's users, after afterID in
// order, with what was kept of them.
func (t *Tx) KeptJWTs(ctx context.Context, accountID, afterID string, limit int) ([]KeptJWT, error) {
	return many(ctx, t, func(r row) (KeptJWT, error) {
		var k KeptJWT
		err := r.Scan(&k.ID, &k.UserID, &k.UserName, &k.IssuedAt, &k.JWT, &k.Sealed)
		return k, err
	}, `SELECT c.id, c.user_id, u.name, c.iat, c.jwt, c.sealed_jwt FROM credentials c JOIN users u ON u.id = c.user_id
		WHERE c.account_id = $1 AND u.deleted_us = 0 AND c.id > $2 ORDER BY c.id LIMIT $3`, accountID, afterID, limit)
}

// AdoptOperator makes an operator what its JWT from elsewhere says: custody, settings,
// unknown fields, and that the JWT is served as it came.
func (t *Tx) AdoptOperator(ctx context.Context, o Operator) error {
	settings, _, err := operatorJSON(o)
	if err != nil {
		return err
	}
	foreign, err := o.Foreign.Text()
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE operators SET custody = $2, settings = $3, unknown = $4, state = $5, verbatim = CAST($6 AS BOOLEAN), version = version + 1, updated_us = $7 WHERE id = $1`,
		o.ID, o.Custody, settings, foreign, o.State, o.Verbatim, micros(t.now))
}

// AdoptAccount makes an account what its JWT from elsewhere says.
func (t *Tx) AdoptAccount(ctx context.Context, a Account) error {
	settings, err := settingsJSON(a)
	if err != nil {
		return err
	}
	foreign, err := a.Foreign.Text()
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE accounts SET settings = $2, expires_s = $3, unknown = $4, is_system = $5, version = version + 1, updated_us = $6 WHERE id = $1`,
		a.ID, settings, a.Expires, foreign, a.System, micros(t.now))
}

// ServeVerbatim marks the newest JWTs of the accounts as signed elsewhere.
func (t *Tx) ServeVerbatim(ctx context.Context, ids []string) error {
	values, all, err := t.values(ids)
	if err != nil || len(ids) == 0 {
		return err
	}
	_, err = t.exec(ctx, `UPDATE accounts SET verbatim = TRUE WHERE id IN (SELECT e.value FROM `+values+`)`, all)
	return err
}

// OweDelivery owes the servers the newest JWTs of the operator's accounts, or nothing
// where owed is false.
func (t *Tx) OweDelivery(ctx context.Context, operatorID string, owed bool) error {
	if !owed {
		_, err := t.exec(ctx, `DELETE FROM outbox WHERE operator_id = $1`, operatorID)
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO outbox (account_id, operator_id, want_jwt_version, not_before_us, created_us)
		SELECT id, operator_id, jwt_version, 0, CAST($2 AS BIGINT) FROM accounts WHERE operator_id = $1 AND jwt <> ''
		ON CONFLICT (account_id) DO UPDATE SET want_jwt_version = excluded.want_jwt_version, not_before_us = 0, attempts = 0`, operatorID, micros(t.now))
	return err
}

// OweAccountResigning makes a new signature owed by one account.
func (t *Tx) OweAccountResigning(ctx context.Context, id string) error {
	return t.must(ctx, `UPDATE accounts SET resign_us = $2 WHERE id = $1`, id, micros(t.now))
}

// SetKeyCustody stores the sealed seed of a key of which only the public key was known.
func (t *Tx) SetKeyCustody(ctx context.Context, k Key) error {
	return t.must(ctx, `UPDATE keys SET custody = $2, sealed = $3, data_key = $4, version = version + 1, updated_us = $5 WHERE id = $1`,
		k.ID, k.Custody, k.Sealed, int64(k.DataKey), micros(t.now))
}

// SetKeyTemplate makes a signing key carry a template, or none.
func (t *Tx) SetKeyTemplate(ctx context.Context, id, templateID string) error {
	return t.must(ctx, `UPDATE keys SET template_id = $2, version = version + 1, updated_us = $3 WHERE id = $1`, id, templateID, micros(t.now))
}
