package store

import (
	"context"
	"time"
)

// Key is an identity or signing key of an operator or account.
type Key struct {
	// ID is the public key.
	ID string
	// Kind is operator or account, Role identity or signing. The key that signs
	// checkpoints of the audit log is of kind audit, and nobody's.
	Kind, Role string
	OperatorID string
	// AccountID and TemplateID are empty where they do not apply.
	AccountID, TemplateID string
	// State is prepared (trusted, not signing yet), current, retiring (trusted, not
	// signing any more), retired or disabled; Since is when it came into it.
	State string
	Since time.Time
	// Dropped tells that a disabled key only left with a JWT that its account's holder
	// made elsewhere, and may come back with another one.
	Dropped bool
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

const keyColumns = `id, kind, role, operator_id, account_id, template_id, state, state_us, dropped, retire_at_us, custody, sealed, data_key, version, created_us, updated_us`

func scanKey(r row) (Key, error) {
	var k Key
	var since, retireAt, created, updated int64
	err := r.Scan(&k.ID, &k.Kind, &k.Role, &k.OperatorID, &k.AccountID, &k.TemplateID, &k.State, &since, &k.Dropped, &retireAt, &k.Custody,
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
	return many(ctx, t, scanKey, listKeys, operatorID, accountID)
}

const listKeys = `SELECT ` + keyColumns + ` FROM keys WHERE operator_id = $1 AND account_id = $2 ORDER BY created_us, id`

// GetAuditKey returns the key that signs checkpoints of the audit log, or ErrNotFound.
func (t *Tx) GetAuditKey(ctx context.Context) (Key, error) {
	return one(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE kind = 'audit' ORDER BY created_us, id LIMIT 1`)
}

// LockAudit keeps others out who call it, and the sequencer, until the transaction ends.
func (t *Tx) LockAudit(ctx context.Context) error {
	return t.must(ctx, `UPDATE sequencer SET epoch = epoch + 1 WHERE id = 1`)
}

// SetKeyState moves the key to state, due to retire at retireAt if that is not zero,
// and counts the intent.
func (t *Tx) SetKeyState(ctx context.Context, id, state string, retireAt time.Time) error {
	return t.must(ctx, `UPDATE keys SET state_us = CASE WHEN state = $2 THEN state_us ELSE $4 END, state = $2, dropped = FALSE, retire_at_us = $3,
		version = version + 1, updated_us = $4 WHERE id = $1`, id, state, micros(retireAt), micros(t.now))
}

// DropKey disables a signing key that is not in a JWT which its account's holder made
// elsewhere.
func (t *Tx) DropKey(ctx context.Context, id string) error {
	return t.must(ctx, `UPDATE keys SET state_us = $2, state = 'disabled', dropped = TRUE, retire_at_us = 0, version = version + 1, updated_us = $2 WHERE id = $1`,
		id, micros(t.now))
}

// KeyUse is what hangs on an account's signing key, as the ledger knows it.
type KeyUse struct {
	// Credentials is how many it signed that have not expired and are not revoked.
	Credentials int64
	// LastIssued is when it signed the last one, zero for never.
	LastIssued time.Time
}

// GetKeyUse returns what hangs on the key of the account.
func (t *Tx) GetKeyUse(ctx context.Context, accountID, key string) (KeyUse, error) {
	return one(ctx, t, func(r row) (KeyUse, error) {
		var u KeyUse
		var last int64
		err := r.Scan(&u.Credentials, &last)
		u.LastIssued = fromMicros(last)
		return u, err
	}, `SELECT coalesce(sum(CASE WHEN (c.expires_s = 0 OR c.expires_s >= $3) AND NOT EXISTS (SELECT 1 FROM revocations r
			WHERE r.account_id = c.account_id AND r.removed_us = 0 AND r.subject IN (c.public_key, '*') AND r.before_s >= c.iat) THEN 1 ELSE 0 END), 0),
			coalesce(max(c.created_us), 0)
		FROM credentials c WHERE c.account_id = $1 AND c.signer = $2`, accountID, key, t.now.Unix())
}

// KeySubject is a user's public key for which a signing key signed.
type KeySubject struct {
	// PublicKey is U….
	PublicKey string
	// Highest is the latest iat that the signing key gave it, Other the latest one of
	// any other key, 0 for none.
	Highest, Other int64
}

// KeySubjects returns up to limit public keys with unexpired credentials of the
// account's signing key, in order.
func (t *Tx) KeySubjects(ctx context.Context, accountID, key string, limit int) ([]KeySubject, error) {
	return many(ctx, t, func(r row) (KeySubject, error) {
		var s KeySubject
		err := r.Scan(&s.PublicKey, &s.Highest, &s.Other)
		return s, err
	}, `SELECT c.public_key, max(c.iat), (SELECT coalesce(max(o.iat), 0) FROM credentials o
			WHERE o.account_id = $1 AND o.public_key = c.public_key AND o.signer <> $2)
		FROM credentials c WHERE c.account_id = $1 AND c.signer = $2 AND (c.expires_s = 0 OR c.expires_s >= $3)
		GROUP BY c.public_key ORDER BY c.public_key LIMIT $4`, accountID, key, t.now.Unix(), limit)
}

// HoldsNewest tells whether the account's key signed the newest unexpired credential
// that somebody holds of the user called name.
func (t *Tx) HoldsNewest(ctx context.Context, accountID, key, name string) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM credentials c JOIN users u ON u.id = c.user_id
		WHERE c.account_id = $1 AND c.signer = $2 AND u.name = $3 AND (c.expires_s = 0 OR c.expires_s >= $4)
		AND NOT EXISTS (SELECT 1 FROM credentials n WHERE n.user_id = c.user_id AND n.delivered_to = c.delivered_to AND n.id > c.id))`,
		accountID, key, name, t.now.Unix())
}

// ListKeysToRetire returns up to limit retiring keys whose time has come, and those of
// operators, which retire when nothing is signed by them any more; after afterID, in
// order.
func (t *Tx) ListKeysToRetire(ctx context.Context, afterID string, limit int) ([]Key, error) {
	return many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE state = 'retiring' AND role = 'signing'
		AND ((retire_at_us <> 0 AND retire_at_us <= $1) OR account_id = '') AND id > $2 ORDER BY id LIMIT $3`, micros(t.now), afterID, limit)
}

// ListDrainedKeys returns up to limit retiring keys of accounts, without a day to
// retire, of which no credential is left that has not expired and is not revoked, and no
// activation of an export that has not expired; after afterID, in order. Only keys that
// are sealed here count: of others the ledger does not know what they signed.
func (t *Tx) ListDrainedKeys(ctx context.Context, afterID string, limit int) ([]Key, error) {
	return many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys k WHERE state = 'retiring' AND role = 'signing' AND retire_at_us = 0 AND account_id <> ''
		AND custody = 'sealed' AND id > $1
		AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.account_id = k.account_id AND c.signer = k.id AND (c.expires_s = 0 OR c.expires_s >= $2)
			AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.account_id = c.account_id AND r.removed_us = 0 AND r.subject IN (c.public_key, '*') AND r.before_s >= c.iat))
		AND NOT EXISTS (SELECT 1 FROM activations v JOIN exports e ON e.id = v.export_id
			WHERE v.account_id = k.account_id AND v.signer = k.id AND (v.expires_s = 0 OR v.expires_s > $2) AND e.deleted_us = 0)
		ORDER BY id LIMIT $3`, afterID, t.now.Unix(), limit)
}

// KeyKind tells what a signing key is for.
type KeyKind string

// The kinds: it signs accounts, users of their own permissions, or users of a template.
const (
	OperatorKey KeyKind = "operator"
	AccountKey  KeyKind = "account"
	TemplateKey KeyKind = "template"
)

// KindOf returns what the signing key is for.
func KindOf(k Key) KeyKind {
	switch {
	case k.AccountID == "":
		return OperatorKey
	case k.TemplateID == "":
		return AccountKey
	}
	return TemplateKey
}

// keyOfKind is the condition on keys whose parameter $2 is a KeyKind.
const keyOfKind = `(CASE WHEN account_id = '' THEN 'operator' WHEN template_id = '' THEN 'account' ELSE 'template' END) = $2`

// ListAgedKeys returns up to limit signing keys of the operator that are current since
// before the time, of a kind, oldest first: those whose seed is sealed here, as nobody
// can rotate the others from here.
func (t *Tx) ListAgedKeys(ctx context.Context, operatorID string, kind KeyKind, before time.Time, limit int) ([]Key, error) {
	return many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys
		WHERE operator_id = $1 AND `+keyOfKind+` AND role = 'signing' AND state = 'current' AND custody = 'sealed' AND state_us < $3
		ORDER BY state_us, id LIMIT $4`, operatorID, string(kind), micros(before), limit)
}

// OwnedKey is a signing key with the names of what it belongs to.
type OwnedKey struct {
	Key
	// AccountName and TemplateName are empty where they do not apply.
	AccountName, TemplateName string
}

// KeyFilter asks for one page of an operator's signing keys, from the one that came
// into its state first on.
type KeyFilter struct {
	// Kind and State keep such keys only; empty keeps all but retired ones.
	Kind  KeyKind
	State string
	// AfterSince and AfterID are the last key of the page before; zero at first.
	AfterSince time.Time
	AfterID    string
	Limit      int
}

// ListOwnedKeys returns a page of an operator's signing keys, of itself and of its
// accounts that are not deleted.
func (t *Tx) ListOwnedKeys(ctx context.Context, operatorID string, f KeyFilter) ([]OwnedKey, error) {
	return many(ctx, t, func(r row) (OwnedKey, error) {
		var o OwnedKey
		var err error
		o.Key, err = scanKey(withNames{r, &o})
		return o, err
	}, `SELECT `+keyColumns+`,
			coalesce((SELECT a.name FROM accounts a WHERE a.id = keys.account_id), ''), coalesce((SELECT x.name FROM templates x WHERE x.id = keys.template_id), '')
		FROM keys WHERE operator_id = $1 AND ($2 = '' OR `+keyOfKind+`) AND role = 'signing'
		AND (($3 = '' AND state <> 'retired') OR state = $3) AND (state_us, id) > ($4, $5)
		AND NOT EXISTS (SELECT 1 FROM accounts d WHERE d.id = keys.account_id AND d.deleted_us <> 0)
		ORDER BY state_us, id LIMIT $6`, operatorID, string(f.Kind), f.State, micros(f.AfterSince), f.AfterID, f.Limit)
}

// withNames scans the names that follow a key's own columns.
type withNames struct {
	row
	o *OwnedKey
}

// Scan implements row.
func (w withNames) Scan(dest ...any) error {
	return w.row.Scan(append(dest, &w.o.AccountName, &w.o.TemplateName)...)
}

// KeyTotal is how many signing keys of a kind are in a state.
type KeyTotal struct {
	Kind  KeyKind
	State string
	Count int64
}

// CountKeys returns how many signing keys the operator has, by kind and state.
func (t *Tx) CountKeys(ctx context.Context, operatorID string) ([]KeyTotal, error) {
	return many(ctx, t, func(r row) (KeyTotal, error) {
		var c KeyTotal
		err := r.Scan(&c.Kind, &c.State, &c.Count)
		return c, err
	}, `SELECT kind, state, count(*) FROM (SELECT state, CASE WHEN account_id = '' THEN 'operator' WHEN template_id = '' THEN 'account' ELSE 'template' END AS kind
		FROM keys WHERE operator_id = $1 AND role = 'signing') k GROUP BY kind, state ORDER BY kind, state`, operatorID)
}

// week is in microseconds.
const week = int64(7 * 24 * time.Hour / time.Microsecond)

// InWeek is how many of something fall into one week from now; 0 is the first one.
type InWeek struct{ Week, Count int64 }

func scanInWeek(r row) (InWeek, error) {
	var w InWeek
	err := r.Scan(&w.Week, &w.Count)
	return w, err
}

// KeysByWeek returns in which of the coming weeks the operator's current keys of a
// kind reach the age; those that have reached it are in week 0.
func (t *Tx) KeysByWeek(ctx context.Context, operatorID string, kind KeyKind, age time.Duration, weeks int64) ([]InWeek, error) {
	now := micros(t.now)
	return many(ctx, t, scanInWeek, `SELECT w, count(*) FROM (SELECT CASE WHEN state_us + $3 < $4 THEN 0 ELSE (state_us + $3 - $4) / $5 END AS w FROM keys
			WHERE operator_id = $1 AND `+keyOfKind+` AND role = 'signing' AND state = 'current' AND custody = 'sealed' AND state_us + $3 < $4 + $5 * $6) d
		GROUP BY w ORDER BY w`, operatorID, string(kind), age.Microseconds(), now, week, weeks)
}

// RetirementsByWeek returns in which of the coming weeks keys of the operator and its
// accounts are due to retire.
func (t *Tx) RetirementsByWeek(ctx context.Context, operatorID string, weeks int64) ([]InWeek, error) {
	return many(ctx, t, scanInWeek, `SELECT w, count(*) FROM (SELECT CASE WHEN retire_at_us < $2 THEN 0 ELSE (retire_at_us - $2) / $3 END AS w FROM keys
			WHERE operator_id = $1 AND role = 'signing' AND state = 'retiring' AND retire_at_us <> 0 AND retire_at_us < $2 + $3 * $4) d
		GROUP BY w ORDER BY w`, operatorID, micros(t.now), week, weeks)
}

// ExpiriesByWeek returns in which of the coming weeks credentials of the operator's
// accounts expire.
func (t *Tx) ExpiriesByWeek(ctx context.Context, operatorID string, weeks int64) ([]InWeek, error) {
	return many(ctx, t, scanInWeek, `SELECT w, count(*) FROM (SELECT (expires_s - $2) / $3 AS w FROM credentials
			WHERE account_id IN (SELECT id FROM accounts WHERE operator_id = $1) AND expires_s >= $2 AND expires_s < $2 + $3 * $4) d
		GROUP BY w ORDER BY w`, operatorID, t.now.Unix(), week/1_000_000, weeks)
}

// HasSealedKeys tells whether any seed is sealed in this database.
func (t *Tx) HasSealedKeys(ctx context.Context) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM keys WHERE sealed IS NOT NULL)`)
}
