package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Operator is a root of trust.
type Operator struct {
	// ID is the identity key O….
	ID   string
	Name string
	// Default marks the operator that /jwt/v1 serves.
	Default bool
	// State is active.
	State string
	// Custody tells where the identity seed is: sealed, offline or observed.
	Custody string
	// Settings is the body of the JWT without its signing keys.
	Settings jwt.Operator
	// Version counts intent and is the ETag; JWTVersion counts signings.
	Version, JWTVersion int64
	// IssuedAt is the last JWT's iat in Unix seconds.
	IssuedAt         int64
	JTI, JWT         string
	Created, Updated time.Time
}

const operatorColumns = `id, name, is_default, state, custody, settings, version, jwt_version, iat, jti, jwt, created_us, updated_us`

func scanOperator(r row) (Operator, error) {
	var o Operator
	var settings string
	var created, updated int64
	if err := r.Scan(&o.ID, &o.Name, &o.Default, &o.State, &o.Custody, &settings, &o.Version, &o.JWTVersion,
		&o.IssuedAt, &o.JTI, &o.JWT, &created, &updated); err != nil {
		return o, err
	}
	o.Created, o.Updated = fromMicros(created), fromMicros(updated)
	return o, json.Unmarshal([]byte(settings), &o.Settings)
}

// CreateOperator inserts o; the first operator becomes the default one.
func (t *Tx) CreateOperator(ctx context.Context, o Operator) error {
	settings, err := toJSON(o.Settings)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO operators (id, name, is_default, state, custody, settings, created_us, updated_us)
		SELECT $1, $2, NOT EXISTS (SELECT 1 FROM operators), $3, $4, $5, CAST($6 AS BIGINT), CAST($6 AS BIGINT)`,
		o.ID, o.Name, o.State, o.Custody, settings, micros(t.now))
	return err
}

// LockOperator locks the row until the transaction ends, by counting a signing.
func (t *Tx) LockOperator(ctx context.Context, id string) (Operator, error) {
	return one(ctx, t, scanOperator, `UPDATE operators SET jwt_version = jwt_version + 1 WHERE id = $1 RETURNING `+operatorColumns, id)
}

// LockOperatorForEdit locks the row until the transaction ends without counting a
// signing: what is planned from it still holds when it is applied.
func (t *Tx) LockOperatorForEdit(ctx context.Context, id string) (Operator, error) {
	return one(ctx, t, scanOperator, `UPDATE operators SET version = version WHERE id = $1 RETURNING `+operatorColumns, id)
}

// UpdateOperator stores settings and counts the intent.
func (t *Tx) UpdateOperator(ctx context.Context, o Operator) error {
	settings, err := toJSON(o.Settings)
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE operators SET settings = $2, version = version + 1, updated_us = $3 WHERE id = $1`, o.ID, settings, micros(t.now))
}

// GetOperator finds an operator by identity or name.
func (t *Tx) GetOperator(ctx context.Context, idOrName string) (Operator, error) {
	return one(ctx, t, scanOperator, `SELECT `+operatorColumns+` FROM operators WHERE id = $1 OR name = $1`, idOrName)
}

// ListOperators returns a page of operators by name.
func (t *Tx) ListOperators(ctx context.Context, p Page) ([]Operator, error) {
	return many(ctx, t, scanOperator, `SELECT `+operatorColumns+` FROM operators
		WHERE (name, id) > ($1, $2) AND lower(name) LIKE lower($3) ESCAPE '\' ORDER BY name, id LIMIT $4`,
		p.AfterName, p.AfterID, p.pattern(), p.Limit)
}
