package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Export is one export of an account.
type Export struct {
	// ID is exp_….
	ID, AccountID string
	// Body is the export as the account's JWT carries it.
	Body jwt.Export
	// Version counts intent and is the ETag.
	Version          int64
	Created, Updated time.Time
}

const exportColumns = `id, account_id, body, version, created_us, updated_us`

func scanExport(r row) (Export, error) {
	var e Export
	var body string
	var created, updated int64
	if err := r.Scan(&e.ID, &e.AccountID, &body, &e.Version, &created, &updated); err != nil {
		return e, err
	}
	e.Created, e.Updated = fromMicros(created), fromMicros(updated)
	return e, json.Unmarshal([]byte(body), &e.Body)
}

// CreateExport inserts e; another one of its kind and subject is ErrExists.
func (t *Tx) CreateExport(ctx context.Context, e Export) error {
	body, err := toJSON(&e.Body) // its kind writes itself by pointer only
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO exports (id, account_id, kind, subject, body, created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $6)`,
		e.ID, e.AccountID, e.Body.Type.String(), string(e.Body.Subject), body, micros(t.now))
	return err
}

// UpdateExport stores the body and counts the intent.
func (t *Tx) UpdateExport(ctx context.Context, e Export) error {
	body, err := toJSON(&e.Body) // its kind writes itself by pointer only
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE exports SET kind = $2, subject = $3, body = $4, version = version + 1, updated_us = $5 WHERE id = $1 AND deleted_us = 0`,
		e.ID, e.Body.Type.String(), string(e.Body.Subject), body, micros(t.now))
}

// DeleteExport takes the export out of the account's JWT. The row stays with what e
// says is revoked, see DeletedExports.
func (t *Tx) DeleteExport(ctx context.Context, e Export) error {
	if err := t.UpdateExport(ctx, e); err != nil {
		return err
	}
	return t.must(ctx, `UPDATE exports SET deleted_us = $2 WHERE id = $1 AND deleted_us = 0`, e.ID, micros(t.now))
}

// KeepLeftExport keeps an export, under an identity of its own, as a deleted one: the row
// that it was is of other subjects now. See DeletedExports.
func (t *Tx) KeepLeftExport(ctx context.Context, e Export) error {
	body, err := toJSON(&e.Body) // its kind writes itself by pointer only
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO exports (id, account_id, kind, subject, body, created_us, updated_us, deleted_us) VALUES ($1, $2, $3, $4, $5, $6, $6, $6)`,
		e.ID, e.AccountID, e.Body.Type.String(), string(e.Body.Subject), body, micros(t.now))
	return err
}

// GetExport returns an export of the account.
func (t *Tx) GetExport(ctx context.Context, accountID, id string) (Export, error) {
	return one(ctx, t, scanExport, `SELECT `+exportColumns+` FROM exports WHERE id = $1 AND account_id = $2 AND deleted_us = 0`, id, accountID)
}

// listExports asks for all exports of an account, in the order of its JWT.
const listExports = `SELECT ` + exportColumns + ` FROM exports WHERE account_id = $1 AND deleted_us = 0 ORDER BY id`

// ListExports returns all exports of the account in the order of their identities,
// which is that of its JWT.
func (t *Tx) ListExports(ctx context.Context, accountID string) ([]Export, error) {
	return many(ctx, t, scanExport, listExports, accountID)
}

// DeletedExports returns the account's deleted exports of a kind that revoked
// something.
func (t *Tx) DeletedExports(ctx context.Context, accountID string, kind jwt.ExportType) ([]Export, error) {
	return many(ctx, t, scanExport, `SELECT `+exportColumns+` FROM exports
		WHERE account_id = $1 AND kind = $2 AND deleted_us <> 0 AND body LIKE '%"revocations"%' ORDER BY id`, accountID, kind.String())
}
