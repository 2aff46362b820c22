package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"chancery/claims"
)

// Template is a permission set of an account or, without an account, of its
// operator.
type Template struct {
	// ID is tpl_….
	ID         string
	OperatorID string
	AccountID  string
	Body       claims.Template
	// MaxTTL is the longest lifetime of credentials, 0 for no bound.
	MaxTTL           time.Duration
	Version          int64
	Created, Updated time.Time
}

const templateColumns = `id, operator_id, account_id, body, max_ttl_s, version, created_us, updated_us`

func scanTemplate(r row) (Template, error) {
	var x Template
	var account sql.NullString
	var body string
	var ttl, created, updated int64
	if err := r.Scan(&x.ID, &x.OperatorID, &account, &body, &ttl, &x.Version, &created, &updated); err != nil {
		return x, err
	}
	x.AccountID, x.MaxTTL = account.String, time.Duration(ttl)*time.Second
	x.Created, x.Updated = fromMicros(created), fromMicros(updated)
	return x, json.Unmarshal([]byte(body), &x.Body)
}

// CreateTemplate inserts x.
func (t *Tx) CreateTemplate(ctx context.Context, x Template) error {
	body, err := toJSON(x.Body)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO templates (id, operator_id, account_id, name, body, max_ttl_s, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7)`,
		x.ID, x.OperatorID, nullable(x.AccountID), x.Body.Name, body, int64(x.MaxTTL/time.Second), micros(t.now))
	return err
}

// GetTemplate finds a template of the account by identity or name.
func (t *Tx) GetTemplate(ctx context.Context, accountID, idOrName string) (Template, error) {
	return one(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE account_id = $1 AND (id = $2 OR name = $2) AND deleted_us = 0`, accountID, idOrName)
}

// ListTemplates returns a page of the account's templates by name.
func (t *Tx) ListTemplates(ctx context.Context, accountID string, p Page) ([]Template, error) {
	return many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE account_id = $1 AND (name, id) > ($2, $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND deleted_us = 0
		ORDER BY name, id LIMIT $5`, accountID, p.AfterName, p.AfterID, p.pattern(), p.Limit)
}

// UpdateTemplate stores body and lifetime and counts the intent. It returns the new version.
func (t *Tx) UpdateTemplate(ctx context.Context, x Template) (int64, error) {
	body, err := toJSON(x.Body)
	if err != nil {
		return 0, err
	}
	return one(ctx, t, scanOne[int64], `UPDATE templates SET body = $2, max_ttl_s = $3, version = version + 1, updated_us = $4
		WHERE id = $1 RETURNING version`, x.ID, body, int64(x.MaxTTL/time.Second), micros(t.now))
}
