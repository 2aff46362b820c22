package store

import (
	"context"
	"errors"
)

// Keyset is the wrapped data keys that seal seeds.
type Keyset struct {
	ID string
	// KEKID names the key-encryption key that wrapped it.
	KEKID   string
	Wrapped []byte
	// Version counts its changes.
	Version int64
}

const keysetColumns = `id, kek_id, wrapped, version`

func scanKeyset(r row) (Keyset, error) {
	var k Keyset
	err := r.Scan(&k.ID, &k.KEKID, &k.Wrapped, &k.Version)
	return k, err
}

// CreateKeyset inserts the first keyset.
func (t *Tx) CreateKeyset(ctx context.Context, k Keyset) error {
	_, err := t.exec(ctx, `INSERT INTO keysets (id, kek_id, wrapped, created_us, updated_us) VALUES ($1, $2, $3, $4, $4)`,
		k.ID, k.KEKID, k.Wrapped, micros(t.now))
	return err
}

// GetKeyset returns the keyset called id.
func (t *Tx) GetKeyset(ctx context.Context, id string) (Keyset, error) {
	return one(ctx, t, scanKeyset, `SELECT `+keysetColumns+` FROM keysets WHERE id = $1`, id)
}

// HoldKeyset returns the keyset and keeps it as it is until the transaction ends,
// beside others that hold it: whoever seals a seed holds the keyset, so that no data
// key leaves it while there are seeds on the way that it sealed.
func (t *Tx) HoldKeyset(ctx context.Context, id string) (Keyset, error) {
	query := `SELECT ` + keysetColumns + ` FROM keysets WHERE id = $1`
	if t.store.dialect == postgres {
		query += ` FOR SHARE`
	} // SQLite has one writing transaction at a time
	return one(ctx, t, scanKeyset, query, id)
}

// LockKeyset locks the keyset until the transaction ends, by counting a change, and
// returns it. It waits for those who hold it.
func (t *Tx) LockKeyset(ctx context.Context, id string) (Keyset, error) {
	return one(ctx, t, scanKeyset, `UPDATE keysets SET version = version + 1, updated_us = $2 WHERE id = $1 RETURNING `+keysetColumns, id, micros(t.now))
}

// UpdateKeyset stores what the keyset became since it was locked; ErrNotFound if it
// is not at k.Version any more.
func (t *Tx) UpdateKeyset(ctx context.Context, k Keyset) error {
	return t.must(ctx, `UPDATE keysets SET kek_id = $3, wrapped = $4 WHERE id = $1 AND version = $2`, k.ID, k.Version, k.KEKID, k.Wrapped)
}

// SealedCount is how many seeds a data key has sealed.
type SealedCount struct {
	// Mark is what the sealed seeds begin with, which tells the data key as their
	// rows' column should.
	Mark  []byte
	Count int64
}

// CountSealed counts the sealed seeds by their marks.
func (t *Tx) CountSealed(ctx context.Context) ([]SealedCount, error) {
	return many(ctx, t, func(r row) (SealedCount, error) {
		var c SealedCount
		err := r.Scan(&c.Mark, &c.Count)
		return c, err
	}, `SELECT mark, count(*) FROM (SELECT substr(sealed, 1, 5) AS mark FROM keys WHERE sealed IS NOT NULL
			UNION ALL SELECT substr(sealed_jwt, 1, 5) FROM credentials WHERE sealed_jwt IS NOT NULL
			UNION ALL SELECT substr(archive, 1, 5) FROM import_jobs WHERE archive IS NOT NULL) s GROUP BY 1 ORDER BY 1`)
}

// KeysToReseal returns, in the order of their identities, up to limit keys after the
// one called after whose seed was not sealed by the data key, or that do not say so.
func (t *Tx) KeysToReseal(ctx context.Context, dataKey uint32, mark []byte, after string, limit int) ([]Key, error) {
	return many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE id > $1 AND sealed IS NOT NULL AND (data_key <> $2 OR substr(sealed, 1, 5) <> $3)
		ORDER BY id LIMIT $4`, after, int64(dataKey), mark, limit)
}

// SetSealed replaces the key's sealed seed and its data key by those of k, and tells
// whether it did: not if the seed is no longer was.
func (t *Tx) SetSealed(ctx context.Context, k Key, was []byte) (bool, error) {
	err := t.must(ctx, `UPDATE keys SET sealed = $2, data_key = $3 WHERE id = $1 AND sealed = $4`, k.ID, k.Sealed, int64(k.DataKey), was)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ReplaceKeyset stores what k holds now, in place of what its row held before.
func (t *Tx) ReplaceKeyset(ctx context.Context, k Keyset) error {
	return t.must(ctx, `UPDATE keysets SET kek_id = $2, wrapped = $3, version = version + 1, updated_us = $4 WHERE id = $1`,
		k.ID, k.KEKID, k.Wrapped, micros(t.now))
}

// SealedSecret is something sealed that is no key's seed, in one of the places that
// hold such.
type SealedSecret struct {
	Place  SecretPlace
	ID     string
	Sealed []byte
}

// SecretPlace is where a sealed secret is.
type SecretPlace string

// The places of secrets: the kept JWTs of bearer users, and archives of imports.
const (
	CredentialJWT SecretPlace = "credentials"
	ImportArchive SecretPlace = "import_jobs"
)

// column is what the place calls it.
func (p SecretPlace) column() string {
	if p == ImportArchive {
		return "archive"
	}
	return "sealed_jwt"
}

// SecretsToReseal returns, in the order of their identities, up to limit secrets of the
// place after the one called after that do not begin with mark.
func (t *Tx) SecretsToReseal(ctx context.Context, p SecretPlace, mark []byte, after string, limit int) ([]SealedSecret, error) {
	return many(ctx, t, func(r row) (SealedSecret, error) {
		s := SealedSecret{Place: p}
		err := r.Scan(&s.ID, &s.Sealed)
		return s, err
	}, `SELECT id, `+p.column()+` FROM `+string(p)+` WHERE id > $1 AND `+p.column()+` IS NOT NULL AND substr(`+p.column()+`, 1, 5) <> $2 ORDER BY id LIMIT $3`, after, mark, limit)
}

// SetSealedSecret replaces the secret by s, and tells whether it did: not if it is no
// longer was.
func (t *Tx) SetSealedSecret(ctx context.Context, s SealedSecret, was []byte) (bool, error) {
	n, err := t.exec(ctx, `UPDATE `+string(s.Place)+` SET `+s.Place.column()+` = $2 WHERE id = $1 AND `+s.Place.column()+` = $3`, s.ID, s.Sealed, was)
	return n == 1, err
}
