package store

import (
	"context"
	"time"
)

// Key is an identity or signing key of an operator or account.
type Key struct {
	// ID is the public key.
	ID string
	// Kind is operator or account, Role identity or signing.
	Kind, Role string
	OperatorID string
	// AccountID and TemplateID are empty where they do not apply.
	AccountID, TemplateID string
	// State is prepared (trusted, not signing yet), current, retiring (trusted, not
	// signing any more), retired or disabled; Since is when it came into it.
	State string
	Since time.Time
	// RetireAt is when a retiring key is due to retire; zero for when somebody says so.
	RetireAt time.Time
	// Custody is sealed, external, shown_once or public_only.
	Custody string
	// Sealed is the sealed seed, nil where custody is elsewhere; DataKey is the key of
	// the keyset that sealed it.
	Sealed  []byte
	DataKey uint32
	// Version counts intent and is the ETag.
	Version          int64
	Created, Updated time.Time
}

const keyColumns = `id, kind, role, operator_id, account_id, template_id, state, state_us, retire_at_us, custody, sealed, data_key, version, created_us, updated_us`

func scanKey(r row) (Key, error) {
	var k Key
	var since, retireAt, created, updated int64
	err := r.Scan(&k.ID, &k.Kind, &k.Role, &k.OperatorID, &k.AccountID, &k.TemplateID, &k.State, &since, &retireAt, &k.Custody,
		&k.Sealed, &k.DataKey, &k.Version, &created, &updated)
	k.Since, k.RetireAt, k.Created, k.Updated = fromMicros(since), fromMicros(retireAt), fromMicros(created), fromMicros(updated)
	return k, err
}

// CreateKey inserts k.
func (t *Tx) CreateKey(ctx context.Context, k Key) error {
	_, err := t.exec(ctx, `INSERT INTO keys (id, kind, role, operator_id, account_id, template_id, state, custody, sealed, data_key, state_us, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11)`,
		k.ID, k.Kind, k.Role, k.OperatorID, k.AccountID, k.TemplateID, k.State, k.Custody, k.Sealed, int64(k.DataKey), micros(t.now))
	return err
}

// GetKey returns the key with the public key id.
func (t *Tx) GetKey(ctx context.Context, id string) (Key, error) {
	return one(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE id = $1`, id)
}

// ListKeys returns the keys of an operator itself (empty accountID) or of one of
// its accounts, oldest first.
func (t *Tx) ListKeys(ctx context.Context, operatorID, accountID string) ([]Key, error) {
	return many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE operator_id = $1 AND account_id = $2 ORDER BY created_us, id`, operatorID, accountID)
}

// SetKeyState moves the key to state, due to retire at retireAt if that is not zero,
// and counts the intent.
func (t *Tx) SetKeyState(ctx context.Context, id, state string, retireAt time.Time) error {
	return t.must(ctx, `UPDATE keys SET state_us = CASE WHEN state = $2 THEN state_us ELSE $4 END, state = $2, retire_at_us = $3,
		version = version + 1, updated_us = $4 WHERE id = $1`, id, state, micros(retireAt), micros(t.now))
}

// HasSealedKeys tells whether any seed is sealed in this database.
func (t *Tx) HasSealedKeys(ctx context.Context) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM keys WHERE sealed IS NOT NULL)`)
}

// Keyset is the wrapped data keys that seal seeds.
type Keyset struct {
	ID string
	// KEKID names the key-encryption key that wrapped it.
	KEKID   string
	Wrapped []byte
}

// PutKeyset inserts the first keyset.
func (t *Tx) PutKeyset(ctx context.Context, k Keyset) error {
	_, err := t.exec(ctx, `INSERT INTO keysets (id, kek_id, wrapped, created_us, updated_us) VALUES ($1, $2, $3, $4, $4)`,
		k.ID, k.KEKID, k.Wrapped, micros(t.now))
	return err
}

// GetKeyset returns the keyset called id.
func (t *Tx) GetKeyset(ctx context.Context, id string) (Keyset, error) {
	return one(ctx, t, func(r row) (Keyset, error) {
		var k Keyset
		err := r.Scan(&k.ID, &k.KEKID, &k.Wrapped)
		return k, err
	}, `SELECT id, kek_id, wrapped FROM keysets WHERE id = $1`, id)
}

// ReplaceKeyset stores what k wraps now, in place of what it wrapped before.
func (t *Tx) ReplaceKeyset(ctx context.Context, k Keyset) error {
	return t.must(ctx, `UPDATE keysets SET kek_id = $2, wrapped = $3, version = version + 1, updated_us = $4 WHERE id = $1`,
		k.ID, k.KEKID, k.Wrapped, micros(t.now))
}
