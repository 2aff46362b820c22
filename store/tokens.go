package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Token is an API token; only the hash of its secret is kept.
type Token struct {
	// ID is tok_….
	ID     string
	Name   string
	Hash   []byte `json:"-"`
	Grants []Grant
	// Networks are where it may be used from; none is everywhere.
	Networks []netip.Prefix
	// CreatedBy made it, and RevokedBy took it back: per_…, tok_… or system/….
	CreatedBy, RevokedBy string
	// Expires is when it ends, Revoked when it was taken back; zero for not.
	Expires, Revoked time.Time
	// LastUsed is exact to a minute, zero for never; LastUsedFrom is the address.
	LastUsed, Created time.Time
	LastUsedFrom      string
}

// TokenUse is the last use of a token.
type TokenUse struct {
	ID   string
	At   time.Time
	From string
}

const tokenColumns = `id, name, hash, networks, created_by, revoked_by, expires_us, revoked_us, last_used_us, last_used_from, created_us`

func scanToken(r row) (Token, error) {
	var k Token
	var networks string
	var expires, revoked, used, created int64
	err := r.Scan(&k.ID, &k.Name, &k.Hash, &networks, &k.CreatedBy, &k.RevokedBy, &expires, &revoked, &used, &k.LastUsedFrom, &created)
	if err != nil {
		return k, err
	}
	k.Expires, k.Revoked, k.LastUsed, k.Created = fromMicros(expires), fromMicros(revoked), fromMicros(used), fromMicros(created)
	if err := json.Unmarshal([]byte(networks), &k.Networks); err != nil {
		return k, fmt.Errorf("decoding the networks of token %s: %w", k.ID, err)
	}
	if len(k.Networks) == 0 {
		k.Networks = nil
	}
	return k, nil
}

// CreateToken inserts k with its grants.
func (t *Tx) CreateToken(ctx context.Context, k Token) error {
	if k.Networks == nil {
		k.Networks = []netip.Prefix{}
	}
	networks, err := toJSON(k.Networks)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO tokens (id, name, hash, networks, created_by, expires_us, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Name, k.Hash, networks, k.CreatedBy, micros(k.Expires), micros(t.now))
	if err != nil {
		return err
	}
	return t.SetGrants(ctx, k.ID, k.CreatedBy, k.Grants)
}

// TokenByHash returns the token with the hash if it is neither expired nor revoked.
func (t *Tx) TokenByHash(ctx context.Context, hash []byte) (Token, error) {
	k, err := one(ctx, t, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE hash = $1 AND revoked_us = 0 AND expires_us > $2`, hash, micros(t.now))
	if err == nil {
		k.Grants, err = t.ListGrants(ctx, k.ID)
	}
	return k, err
}

// GetToken returns the token with the identity, whatever has become of it.
func (t *Tx) GetToken(ctx context.Context, id string) (Token, error) {
	k, err := one(ctx, t, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, id)
	if err == nil {
		k.Grants, err = t.ListGrants(ctx, k.ID)
	}
	return k, err
}

// TokenFilter keeps some of the tokens. The zero value keeps all.
type TokenFilter struct {
	// CreatedBy is who made it.
	CreatedBy string
	// InUse leaves out those that are expired or revoked.
	InUse bool
	// Bounds are where all grants of a token have to lie; nil is everywhere.
	Bounds *Bounds
}

// ListTokens returns up to limit tokens, the newest first, made before the one with
// the identity before ("" from the newest).
func (t *Tx) ListTokens(ctx context.Context, f TokenFilter, before string, limit int) ([]Token, error) {
	within, args := f.Bounds.holding("tokens.id", []any{before, f.CreatedBy, f.InUse, micros(t.now), limit})
	list, err := many(ctx, t, scanToken, `SELECT `+tokenColumns+` FROM tokens
		WHERE ($1 = '' OR (created_us, id) < (SELECT created_us, id FROM tokens WHERE id = $1))
		AND ($2 = '' OR created_by = $2) AND (NOT $3 OR (revoked_us = 0 AND expires_us > $4))`+within+`
		ORDER BY created_us DESC, id DESC LIMIT $5`, args...)
	if err != nil {
		return nil, err
	}
	for n := range list {
		if list[n].Grants, err = t.ListGrants(ctx, list[n].ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RevokeToken takes the token back; ErrNotFound if it was before.
func (t *Tx) RevokeToken(ctx context.Context, id, by string) error {
	return t.must(ctx, `UPDATE tokens SET revoked_us = $2, revoked_by = $3 WHERE id = $1 AND revoked_us = 0`, id, micros(t.now), by)
}

// RevokeTokens revokes every token called name.
func (t *Tx) RevokeTokens(ctx context.Context, name, by string) error {
	_, err := t.exec(ctx, `UPDATE tokens SET revoked_us = $2, revoked_by = $3 WHERE name = $1 AND revoked_us = 0`, name, micros(t.now), by)
	return err
}

// PutTokenUse notes a use, unless a later one is on record.
func (t *Tx) PutTokenUse(ctx context.Context, u TokenUse) error {
	_, err := t.exec(ctx, `UPDATE tokens SET last_used_us = $2, last_used_from = $3 WHERE id = $1 AND last_used_us < $2`, u.ID, micros(u.At), u.From)
	return err
}
