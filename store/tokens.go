package store

import (
	"context"
	"time"
)

// Token is an API token; only the hash of its secret is kept.
type Token struct {
	// ID is tok_….
	ID                 string
	Name               string
	Hash               []byte
	Grants             []Grant
	CreatedBy          string
	Expires, Revoked   time.Time
	LastUsed, IssuedAt time.Time
}

// CreateToken inserts k with its grants.
func (t *Tx) CreateToken(ctx context.Context, k Token) error {
	_, err := t.exec(ctx, `INSERT INTO tokens (id, name, hash, created_by, expires_us, created_us) VALUES ($1, $2, $3, $4, $5, $6)`,
		k.ID, k.Name, k.Hash, k.CreatedBy, micros(k.Expires), micros(t.now))
	if err != nil {
		return err
	}
	return t.SetGrants(ctx, k.ID, k.CreatedBy, k.Grants)
}

// GetToken returns the token with the hash if it is neither expired nor revoked.
func (t *Tx) GetToken(ctx context.Context, hash []byte) (Token, error) {
	k, err := one(ctx, t, func(r row) (Token, error) {
		var k Token
		var expires, revoked, used, created int64
		err := r.Scan(&k.ID, &k.Name, &k.Hash, &k.CreatedBy, &expires, &revoked, &used, &created)
		k.Expires, k.Revoked, k.LastUsed, k.IssuedAt = fromMicros(expires), fromMicros(revoked), fromMicros(used), fromMicros(created)
		return k, err
	}, `SELECT id, name, hash, created_by, expires_us, revoked_us, last_used_us, created_us FROM tokens
		WHERE hash = $1 AND revoked_us = 0 AND expires_us > $2`, hash, micros(t.now))
	if err == nil {
		k.Grants, err = t.ListGrants(ctx, k.ID)
	}
	return k, err
}

// RevokeTokens revokes every token called name.
func (t *Tx) RevokeTokens(ctx context.Context, name string) error {
	_, err := t.exec(ctx, `UPDATE tokens SET revoked_us = $2 WHERE name = $1 AND revoked_us = 0`, name, micros(t.now))
	return err
}
