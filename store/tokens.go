package store

import (
	"context"
	"time"
)

// Token is an API token; only the hash of its secret is kept.
type Token struct {
	// ID is tok_….
	ID   string
	Name string
	Hash []byte
	// Role is owner or auditor.
	Role               string
	CreatedBy          string
	Expires, Revoked   time.Time
	LastUsed, IssuedAt time.Time
}

// CreateToken inserts k.
func (t *Tx) CreateToken(ctx context.Context, k Token) error {
	_, err := t.exec(ctx, `INSERT INTO tokens (id, name, hash, role, created_by, expires_us, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Name, k.Hash, k.Role, k.CreatedBy, micros(k.Expires), micros(t.now))
	return err
}

// GetToken returns the token with the hash if it is neither expired nor revoked.
func (t *Tx) GetToken(ctx context.Context, hash []byte) (Token, error) {
	return one(ctx, t, func(r row) (Token, error) {
		var k Token
		var expires, revoked, used, created int64
		err := r.Scan(&k.ID, &k.Name, &k.Hash, &k.Role, &k.CreatedBy, &expires, &revoked, &used, &created)
		k.Expires, k.Revoked, k.LastUsed, k.IssuedAt = fromMicros(expires), fromMicros(revoked), fromMicros(used), fromMicros(created)
		return k, err
	}, `SELECT id, name, hash, role, created_by, expires_us, revoked_us, last_used_us, created_us FROM tokens
		WHERE hash = $1 AND revoked_us = 0 AND expires_us > $2`, hash, micros(t.now))
}

// RevokeTokens revokes every token called name.
func (t *Tx) RevokeTokens(ctx context.Context, name string) error {
	_, err := t.exec(ctx, `UPDATE tokens SET revoked_us = $2 WHERE name = $1 AND revoked_us = 0`, name, micros(t.now))
	return err
}
