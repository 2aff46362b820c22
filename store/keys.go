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
	// State is current, retiring, retired or disabled.
	State string
	// Custody is sealed, external, shown_once or public_only.
	Custody string
	// Sealed is the sealed seed, nil where custody is elsewhere.
	Sealed           []byte
	Created, Updated time.Time
}

const keyColumns = `id, kind, role, operator_id, account_id, template_id, state, custody, sealed, created_us, updated_us`

func scanKey(r row) (Key, error) {
	var k Key
	var created, updated int64
	err := r.Scan(&k.ID, &k.Kind, &k.Role, &k.OperatorID, &k.AccountID, &k.TemplateID, &k.State, &k.Custody, &k.Sealed, &created, &updated)
	k.Created, k.Updated = fromMicros(created), fromMicros(updated)
	return k, err
}

// CreateKey inserts k.
func (t *Tx) CreateKey(ctx context.Context, k Key) error {
	_, err := t.exec(ctx, `INSERT INTO keys (id, kind, role, operator_id, account_id, template_id, state, custody, sealed, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)`,
		k.ID, k.Kind, k.Role, k.OperatorID, k.AccountID, k.TemplateID, k.State, k.Custody, k.Sealed, micros(t.now))
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
