package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"
)

// User is who credentials are for.
type User struct {
	// ID is usr_….
	ID        string
	AccountID string
	Name      string
	// TemplateID is empty for a user with permissions of its own.
	TemplateID  string
	Permissions *jwt.UserPermissionLimits
	Tags        []string
	// State is active or disabled.
	State            string
	Version          int64
	Created, Updated time.Time
}

const userColumns = `id, account_id, name, template_id, permissions, tags, state, version, created_us, updated_us`

func scanUser(r row) (User, error) {
	var u User
	var template sql.NullString
	var permissions, tags string
	var created, updated int64
	if err := r.Scan(&u.ID, &u.AccountID, &u.Name, &template, &permissions, &tags, &u.State, &u.Version, &created, &updated); err != nil {
		return u, err
	}
	u.TemplateID = template.String
	u.Created, u.Updated = fromMicros(created), fromMicros(updated)
	if permissions != "" {
		u.Permissions = new(jwt.UserPermissionLimits)
		if err := json.Unmarshal([]byte(permissions), u.Permissions); err != nil {
			return u, err
		}
	}
	return u, json.Unmarshal([]byte(tags), &u.Tags)
}

// CreateUser inserts u.
func (t *Tx) CreateUser(ctx context.Context, u User) error {
	permissions := ""
	if u.Permissions != nil {
		var err error
		if permissions, err = toJSON(u.Permissions); err != nil {
			return err
		}
	}
	tags, err := toJSON(u.Tags)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO users (id, account_id, name, template_id, permissions, tags, state, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`,
		u.ID, u.AccountID, u.Name, nullable(u.TemplateID), permissions, tags, u.State, micros(t.now))
	return err
}

// GetUser finds a user of the account by identity or name.
func (t *Tx) GetUser(ctx context.Context, accountID, idOrName string) (User, error) {
	return one(ctx, t, scanUser, `SELECT `+userColumns+` FROM users WHERE account_id = $1 AND (id = $2 OR name = $2) AND deleted_us = 0`, accountID, idOrName)
}

// ListUsersOfTemplate returns up to limit users of a template, in one account or in
// all with an empty accountID, after afterID, in the order of their identities.
func (t *Tx) ListUsersOfTemplate(ctx context.Context, templateID, accountID, afterID string, limit int) ([]User, error) {
	return many(ctx, t, scanUser, `SELECT `+userColumns+` FROM users
		WHERE template_id = $1 AND ($2 = '' OR account_id = $2) AND id > $3 AND deleted_us = 0 ORDER BY id LIMIT $4`,
		templateID, accountID, afterID, limit)
}

// ListUsers returns a page of the account's users by name.
func (t *Tx) ListUsers(ctx context.Context, accountID string, p Page) ([]User, error) {
	return many(ctx, t, scanUser, `SELECT `+userColumns+` FROM users
		WHERE account_id = $1 AND (name, id) > ($2, $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND deleted_us = 0
		ORDER BY name, id LIMIT $5`, accountID, p.AfterName, p.AfterID, p.pattern(), p.Limit)
}
