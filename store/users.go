package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
	"strings"
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

const userInserted = `id, account_id, name, template_id, permissions, tags, state, created_us, updated_us`

func userValues(u User, now time.Time) ([]any, error) {
	permissions, tags, err := userJSON(u)
	return []any{u.ID, u.AccountID, u.Name, nullable(u.TemplateID), permissions, tags, u.State, micros(now), micros(now)}, err
}

func userJSON(u User) (permissions, tags string, err error) {
	if u.Permissions != nil {
		if permissions, err = toJSON(u.Permissions); err != nil {
			return "", "", err
		}
	}
	tags, err = toJSON(u.Tags)
	return permissions, tags, err
}

// CreateUser inserts u.
func (t *Tx) CreateUser(ctx context.Context, u User) error { return t.CreateUsers(ctx, []User{u}) }

// CreateUsers inserts users, many in one statement.
func (t *Tx) CreateUsers(ctx context.Context, users []User) error {
	rows := make([][]any, len(users))
	for n, u := range users {
		var err error
		if rows[n], err = userValues(u, t.now); err != nil {
			return err
		}
	}
	return t.insertAll(ctx, "users", userInserted, rows)
}

// UpdateUser stores template, permissions and tags and counts the intent. It returns
// the new version.
func (t *Tx) UpdateUser(ctx context.Context, u User) (int64, error) {
	permissions, tags, err := userJSON(u)
	if err != nil {
		return 0, err
	}
	return one(ctx, t, scanOne[int64], `UPDATE users SET template_id = $2, permissions = $3, tags = $4, version = version + 1, updated_us = $5
		WHERE id = $1 AND deleted_us = 0 RETURNING version`, u.ID, nullable(u.TemplateID), permissions, tags, micros(t.now))
}

// SetUserState stores the state, active or disabled, and counts the intent. It
// returns the new version.
func (t *Tx) SetUserState(ctx context.Context, id, state string) (int64, error) {
	return one(ctx, t, scanOne[int64], `UPDATE users SET state = $2, version = version + 1, updated_us = $3
		WHERE id = $1 AND deleted_us = 0 RETURNING version`, id, state, micros(t.now))
}

// DeleteUser turns the row into a tombstone: the ledger still refers to it, and its
// name is free. Of several tombstones of one name each has a time of its own.
func (t *Tx) DeleteUser(ctx context.Context, id string) error {
	return t.must(ctx, `UPDATE users SET state = 'deleted', version = version + 1, updated_us = $2,
		deleted_us = CAST($2 AS BIGINT) + (SELECT count(*) FROM users o WHERE o.account_id = users.account_id AND o.name = users.name AND o.deleted_us <> 0)
		WHERE id = $1 AND deleted_us = 0`, id, micros(t.now))
}

// UsersNamed returns those users of the account that have one of the names.
func (t *Tx) UsersNamed(ctx context.Context, accountID string, names []string) ([]User, error) {
	return among(ctx, t, scanUser, func(table string) string {
		return `SELECT ` + userColumns + ` FROM ` + table + ` CROSS JOIN users WHERE account_id = $2 AND deleted_us = 0 AND name = e.value`
	}, names, accountID)
}

// UserFilter keeps some of the users. The zero value keeps all.
type UserFilter struct {
	// AccountID and TemplateID are identities, State active or disabled, Tag one whole
	// tag; empty ones keep all.
	AccountID, TemplateID, State, Tag string
	// ExpiringBy keeps users with an unexpired credential that expires at or before
	// that Unix second.
	ExpiringBy int64
	// NoExpiry and Bearer keep users with an unexpired credential of that kind.
	NoExpiry, Bearer bool
	// SignedBy keeps users with an unexpired credential of that signing key.
	SignedBy string
}

// ListedUser is a user of a list across accounts.
type ListedUser struct {
	User
	AccountName string
	// Active is how many unexpired credentials are on record, Expires when the last of
	// them does, in Unix seconds: 0 for never, or for none.
	Active, Expires int64
}

// FindUsers returns a page of the users that f keeps, by name.
func (t *Tx) FindUsers(ctx context.Context, f UserFilter, p Page) ([]ListedUser, error) {
	live := ` AND EXISTS (SELECT 1 FROM credentials c WHERE c.user_id = u.id AND (c.expires_s = 0 OR c.expires_s >= $5)`
	where, args := "", []any{p.AfterName, p.AfterID, p.pattern(), p.Limit, t.now.Unix()}
	add := func(condition string, arg any) {
		args = append(args, arg)
		where += strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args)))
	}
	for _, x := range []struct{ condition, arg string }{
		{` AND u.account_id = ?`, f.AccountID},
		{` AND u.template_id = ?`, f.TemplateID},
		{` AND u.state = ?`, f.State},
		{live + ` AND c.signer = ?)`, f.SignedBy},
	} {
		if x.arg != "" {
			add(x.condition, x.arg)
		}
	}
	if f.Tag != "" {
		quoted, err := toJSON(f.Tag)
		if err != nil {
			return nil, err
		}
		add(` AND u.tags LIKE ? ESCAPE '\'`, Page{Search: quoted}.pattern())
	}
	if f.ExpiringBy > 0 {
		add(live+` AND c.expires_s > 0 AND c.expires_s <= ?)`, f.ExpiringBy)
	}
	if f.NoExpiry {
		where += live + ` AND c.expires_s = 0)`
	}
	if f.Bearer {
		where += live + ` AND c.bearer)`
	}
	within, args := p.Bounds.clause("a.operator_id", "u.account_id", "u.template_id", args)
	where += within
	return many(ctx, t, scanListedUser, `SELECT `+userColumns+`, account_name,
			(SELECT count(*) FROM credentials c WHERE c.user_id = x.id AND (c.expires_s = 0 OR c.expires_s >= $5)),
			coalesce((SELECT CASE WHEN min(c.expires_s) = 0 THEN 0 ELSE max(c.expires_s) END FROM credentials c WHERE c.user_id = x.id AND (c.expires_s = 0 OR c.expires_s >= $5)), 0)
		FROM (SELECT u.*, a.name AS account_name FROM users u JOIN accounts a ON a.id = u.account_id
			WHERE (u.name, u.id) > ($1, $2) AND lower(u.name) LIKE lower($3) ESCAPE '\' AND u.deleted_us = 0 AND a.deleted_us = 0`+where+`
			ORDER BY u.name, u.id LIMIT $4) x
		ORDER BY name, id`, args...)
}

func scanListedUser(r row) (ListedUser, error) {
	var l ListedUser
	var err error
	l.User, err = scanUser(rowWith{r, []any{&l.AccountName, &l.Active, &l.Expires}})
	return l, err
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
	within, args := p.Bounds.clause("", "", "template_id", []any{accountID, p.AfterName, p.AfterID, p.pattern(), p.Limit})
	return many(ctx, t, scanUser, `SELECT `+userColumns+` FROM users
		WHERE account_id = $1 AND (name, id) > ($2, $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND deleted_us = 0`+within+`
		ORDER BY name, id LIMIT $5`, args...)
}
