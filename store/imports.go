package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Import is one import of an account.
type Import struct {
	// ID is imp_….
	ID, AccountID string
	// Body is the import as the account's JWT carries it. Its account, the exporter,
	// may be one that is not known here.
	Body jwt.Import
	// ActivationID is the activation on record whose token the body carries; empty for
	// none, and for a token from elsewhere.
	ActivationID string
	// Version counts intent and is the ETag.
	Version          int64
	Created, Updated time.Time
}

const importColumns = `id, account_id, body, activation_id, version, created_us, updated_us`

func scanImport(r row) (Import, error) {
	var m Import
	var body string
	var created, updated int64
	if err := r.Scan(&m.ID, &m.AccountID, &body, &m.ActivationID, &m.Version, &created, &updated); err != nil {
		return m, err
	}
	m.Created, m.Updated = fromMicros(created), fromMicros(updated)
	return m, json.Unmarshal([]byte(body), &m.Body)
}

// CreateImport inserts m.
func (t *Tx) CreateImport(ctx context.Context, m Import) error {
	body, err := toJSON(&m.Body) // its kind writes itself by pointer only
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO imports (id, account_id, exporter, kind, subject, body, activation_id, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`,
		m.ID, m.AccountID, m.Body.Account, m.Body.Type.String(), string(m.Body.Subject), body, m.ActivationID, micros(t.now))
	return err
}

// UpdateImport stores the body and the activation and counts the intent.
func (t *Tx) UpdateImport(ctx context.Context, m Import) error {
	body, err := toJSON(&m.Body) // its kind writes itself by pointer only
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE imports SET exporter = $2, kind = $3, subject = $4, body = $5, activation_id = $6, version = version + 1, updated_us = $7 WHERE id = $1`,
		m.ID, m.Body.Account, m.Body.Type.String(), string(m.Body.Subject), body, m.ActivationID, micros(t.now))
}

// DeleteImport removes the import.
func (t *Tx) DeleteImport(ctx context.Context, id string) error {
	return t.must(ctx, `DELETE FROM imports WHERE id = $1`, id)
}

// GetImport returns an import of the account.
func (t *Tx) GetImport(ctx context.Context, accountID, id string) (Import, error) {
	return one(ctx, t, scanImport, `SELECT `+importColumns+` FROM imports WHERE id = $1 AND account_id = $2`, id, accountID)
}

// listImports asks for all imports of an account, in the order of its JWT.
const listImports = `SELECT ` + importColumns + ` FROM imports WHERE account_id = $1 ORDER BY id`

// ListImports returns all imports of the account in the order of their identities,
// which is that of its JWT.
func (t *Tx) ListImports(ctx context.Context, accountID string) ([]Import, error) {
	return many(ctx, t, scanImport, listImports, accountID)
}

// ListImportsFrom returns up to limit imports from the exporter, a public key A…, by
// the accounts here, after afterID, in order.
func (t *Tx) ListImportsFrom(ctx context.Context, exporter, afterID string, limit int) ([]Import, error) {
	return many(ctx, t, scanImport, `SELECT `+importColumns+` FROM imports WHERE exporter = $1 AND id > $2 ORDER BY id LIMIT $3`, exporter, afterID, limit)
}

// CountImportsFrom returns how many imports from the exporter the accounts here have.
func (t *Tx) CountImportsFrom(ctx context.Context, exporter string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM imports WHERE exporter = $1`, exporter)
}

// ImportFilter asks for one page of the imports of an operator's accounts, in the order
// of their identities.
type ImportFilter struct {
	// Account keeps those that the account, a public key, makes or is the exporter of;
	// empty keeps all.
	Account string
	AfterID string
	Limit   int
	// Bounds keeps those with one end in them; nil keeps all.
	Bounds *Bounds
}

// within returns the condition for imports m of accounts a with one end in the bounds.
func (f ImportFilter) within(args []any) (string, []any) {
	if f.Bounds == nil {
		return "", args
	}
	importer, args := f.Bounds.clause("a.operator_id", "m.account_id", "", args)
	exporter, args := f.Bounds.clause("a.operator_id", "m.exporter", "", args)
	return ` AND ((1 = 1` + importer + `) OR (1 = 1` + exporter + `))`, args
}

// ListImportsOf returns a page of the imports of an operator's accounts.
func (t *Tx) ListImportsOf(ctx context.Context, operatorID string, f ImportFilter) ([]Import, error) {
	within, args := f.within([]any{operatorID, f.Account, f.AfterID, f.Limit})
	return many(ctx, t, scanImport, `SELECT m.id, m.account_id, m.body, m.activation_id, m.version, m.created_us, m.updated_us
		FROM imports m JOIN accounts a ON a.id = m.account_id
		WHERE a.operator_id = $1 AND ($2 = '' OR m.account_id = $2 OR m.exporter = $2) AND m.id > $3`+within+` ORDER BY m.id LIMIT $4`, args...)
}

// CountImportsOf returns how many imports there are on all pages.
func (t *Tx) CountImportsOf(ctx context.Context, operatorID string, f ImportFilter) (int64, error) {
	within, args := f.within([]any{operatorID, f.Account})
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM imports m JOIN accounts a ON a.id = m.account_id
		WHERE a.operator_id = $1 AND ($2 = '' OR m.account_id = $2 OR m.exporter = $2)`+within, args...)
}

// AccountsByID returns those of the accounts that exist, deleted ones too, by their
// public keys.
func (t *Tx) AccountsByID(ctx context.Context, ids []string) (map[string]Account, error) {
	list, err := among(ctx, t, scanAccount, func(table string) string {
		return `SELECT ` + accountColumns + ` FROM accounts WHERE id IN (SELECT e.value FROM ` + table + `)`
	}, ids)
	out := make(map[string]Account, len(list))
	for _, a := range list {
		out[a.ID] = a
	}
	return out, err
}
