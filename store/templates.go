package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
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
	// Tests run whenever the template is saved.
	Tests []claims.TemplateTest
	// MaxTTL is the longest lifetime of credentials, 0 for no bound.
	MaxTTL           time.Duration
	Version          int64
	Created, Updated time.Time
}

const templateColumns = `id, operator_id, account_id, body, tests, max_ttl_s, version, created_us, updated_us`

func scanTemplate(r row) (Template, error) {
	var x Template
	var account sql.NullString
	var body, tests string
	var ttl, created, updated int64
	if err := r.Scan(&x.ID, &x.OperatorID, &account, &body, &tests, &ttl, &x.Version, &created, &updated); err != nil {
		return x, err
	}
	x.AccountID, x.MaxTTL = account.String, time.Duration(ttl)*time.Second
	x.Created, x.Updated = fromMicros(created), fromMicros(updated)
	err := errors.Join(json.Unmarshal([]byte(body), &x.Body), json.Unmarshal([]byte(tests), &x.Tests))
	if len(x.Tests) == 0 {
		x.Tests = nil
	}
	return x, err
}

func templateJSON(x Template) (body, tests string, err error) {
	if body, err = toJSON(x.Body); err != nil {
		return "", "", err
	}
	if x.Tests == nil {
		x.Tests = []claims.TemplateTest{}
	}
	tests, err = toJSON(x.Tests)
	return body, tests, err
}

// Shared tells whether the template belongs to the operator and may be used in all
// its accounts.
func (x Template) Shared() bool { return x.AccountID == "" }

// CreateTemplate inserts x.
func (t *Tx) CreateTemplate(ctx context.Context, x Template) error {
	body, tests, err := templateJSON(x)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO templates (id, operator_id, account_id, name, body, tests, max_ttl_s, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`,
		x.ID, x.OperatorID, nullable(x.AccountID), x.Body.Name, body, tests, int64(x.MaxTTL/time.Second), micros(t.now))
	return err
}

// usable is the condition for a template that the account $1 may use: its own, or
// one that its operator shares.
const usable = `(account_id = $1 OR (account_id IS NULL AND operator_id = (SELECT a.operator_id FROM accounts a WHERE a.id = $1))) AND deleted_us = 0`

// GetTemplate finds a template that the account may use by identity or name. Of two
// of one name the account's own is found.
func (t *Tx) GetTemplate(ctx context.Context, accountID, idOrName string) (Template, error) {
	return one(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates WHERE `+usable+` AND (id = $2 OR name = $2)
		ORDER BY CASE WHEN id = $2 THEN 0 WHEN account_id IS NOT NULL THEN 1 ELSE 2 END LIMIT 1`, accountID, idOrName)
}

// GetSharedTemplate finds a template that the operator shares by identity or name.
func (t *Tx) GetSharedTemplate(ctx context.Context, operatorID, idOrName string) (Template, error) {
	return one(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE operator_id = $1 AND account_id IS NULL AND (id = $2 OR name = $2) AND deleted_us = 0`, operatorID, idOrName)
}

// TemplateByID returns the template that a key or a user names, whoever's it is.
func (t *Tx) TemplateByID(ctx context.Context, id string) (Template, error) {
	return one(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates WHERE id = $1`, id)
}

// LockTemplate locks the row until the transaction ends and returns it: who takes up
// a shared template sees it as it is after every edit.
func (t *Tx) LockTemplate(ctx context.Context, id string) (Template, error) {
	return one(ctx, t, scanTemplate, `UPDATE templates SET version = version WHERE id = $1 AND deleted_us = 0 RETURNING `+templateColumns, id)
}

// ListTemplates returns a page of the templates that the account may use, its own
// and shared ones, by name.
func (t *Tx) ListTemplates(ctx context.Context, accountID string, p Page) ([]Template, error) {
	within, args := p.Bounds.clause("", "", "id", []any{accountID, p.AfterName, p.AfterID, p.pattern(), p.Limit})
	return many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE `+usable+` AND (name, id) > ($2, $3) AND lower(name) LIKE lower($4) ESCAPE '\'`+within+`
		ORDER BY name, id LIMIT $5`, args...)
}

// ListSharedTemplates returns a page of the templates that the operator shares, by name.
func (t *Tx) ListSharedTemplates(ctx context.Context, operatorID string, p Page) ([]Template, error) {
	return many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE operator_id = $1 AND account_id IS NULL AND (name, id) > ($2, $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND deleted_us = 0
		ORDER BY name, id LIMIT $5`, operatorID, p.AfterName, p.AfterID, p.pattern(), p.Limit)
}

// ListAllTemplates returns a page of all templates, of every account and operator, by
// name.
func (t *Tx) ListAllTemplates(ctx context.Context, p Page) ([]Template, error) {
	within, args := p.Bounds.clause("operator_id", "account_id", "id", []any{p.AfterName, p.AfterID, p.pattern(), p.Limit})
	return many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates
		WHERE (name, id) > ($1, $2) AND lower(name) LIKE lower($3) ESCAPE '\' AND deleted_us = 0`+within+`
		ORDER BY name, id LIMIT $4`, args...)
}

// CountTemplatesNamed returns how many templates of the operator's accounts are
// called name.
func (t *Tx) CountTemplatesNamed(ctx context.Context, operatorID, name string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM templates
		WHERE operator_id = $1 AND account_id IS NOT NULL AND name = $2 AND deleted_us = 0`, operatorID, name)
}

// UpdateTemplate stores name, body, tests and lifetime and counts the intent. It
// returns the new version.
func (t *Tx) UpdateTemplate(ctx context.Context, x Template) (int64, error) {
	body, tests, err := templateJSON(x)
	if err != nil {
		return 0, err
	}
	return one(ctx, t, scanOne[int64], `UPDATE templates SET name = $2, body = $3, tests = $4, max_ttl_s = $5, version = version + 1, updated_us = $6
		WHERE id = $1 AND deleted_us = 0 RETURNING version`, x.ID, x.Body.Name, body, tests, int64(x.MaxTTL/time.Second), micros(t.now))
}

// DeleteTemplate marks the template deleted, so that its name is free again.
func (t *Tx) DeleteTemplate(ctx context.Context, id string) error {
	return t.must(ctx, `UPDATE templates SET deleted_us = $2, version = version + 1, updated_us = $2 WHERE id = $1 AND deleted_us = 0`, id, micros(t.now))
}

// RetireKeysOfTemplate retires every key that carries the template, in all accounts.
func (t *Tx) RetireKeysOfTemplate(ctx context.Context, id string) error {
	_, err := t.exec(ctx, `UPDATE keys SET state = 'retired', state_us = $2, retire_at_us = 0, version = version + 1, updated_us = $2
		WHERE template_id = $1 AND state <> 'retired'`, id, micros(t.now))
	return err
}

// TemplateUse counts who uses a template.
type TemplateUse struct {
	// Accounts have a key that carries it; Owing of these are yet to be signed anew.
	Accounts, Owing int64
	// Users are made with it.
	Users int64
	// Credentials were issued with it, have not expired and are not revoked.
	Credentials int64
}

func scanTemplateUse(r row) (TemplateUse, error) {
	var u TemplateUse
	err := r.Scan(&u.Accounts, &u.Owing, &u.Users, &u.Credentials)
	return u, err
}

// carriers selects the accounts that have a key which carries the template $1.
const carriers = `(SELECT k.account_id FROM keys k WHERE k.template_id = $1 AND k.state IN ('current', 'retiring', 'prepared'))`

// CountTemplateUse counts who uses the template: in one account, or in all with an
// empty accountID.
func (t *Tx) CountTemplateUse(ctx context.Context, id, accountID string) (TemplateUse, error) {
	return one(ctx, t, scanTemplateUse, `SELECT
		(SELECT count(*) FROM accounts a WHERE a.id IN `+carriers+` AND ($2 = '' OR a.id = $2)),
		(SELECT count(*) FROM accounts a WHERE a.id IN `+carriers+` AND a.resign_us <> 0 AND ($2 = '' OR a.id = $2)),
		(SELECT count(*) FROM users u WHERE u.template_id = $1 AND u.deleted_us = 0 AND ($2 = '' OR u.account_id = $2)),
		(SELECT count(*) FROM credentials c WHERE c.account_id IN `+carriers+` AND ($2 = '' OR c.account_id = $2) AND c.template_id = $1
			AND (c.expires_s = 0 OR c.expires_s > $3) AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.account_id = c.account_id
			AND r.subject IN (c.public_key, '*') AND r.before_s >= c.iat AND r.removed_us = 0))`, id, accountID, t.now.Unix())
}

// AccountsOfTemplate returns up to limit accounts that have a key which carries the
// template, after afterID, in the order of their identities.
func (t *Tx) AccountsOfTemplate(ctx context.Context, id, afterID string, limit int) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT a.id FROM accounts a WHERE a.id IN `+carriers+` AND a.id > $2 ORDER BY a.id LIMIT $3`, id, afterID, limit)
}
