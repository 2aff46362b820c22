package store

import (
	"context"
	"errors"
	"time"
)

// Sessions keeps the console's sessions; it is a store of alexedwards/scs, whose
// tokens arrive here hashed.
type Sessions struct{ store *Store }

// Sessions returns the session store of the database.
func (s *Store) Sessions() *Sessions { return &Sessions{store: s} }

// FindCtx returns the data of a session that has not expired.
func (s *Sessions) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = s.store.Read(ctx, func(ctx context.Context, t *Tx) error {
		data, err = one(ctx, t, scanOne[[]byte], `SELECT data FROM sessions WHERE token = $1 AND expires_us > $2`, token, micros(t.now))
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// CommitCtx stores a session and sweeps those that expired.
func (s *Sessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.store.write(ctx, func(ctx context.Context, t *Tx) error {
		if _, err := t.exec(ctx, `DELETE FROM sessions WHERE expires_us <= $1`, micros(t.now)); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO sessions (token, data, expires_us) VALUES ($1, $2, $3)
			ON CONFLICT (token) DO UPDATE SET data = excluded.data, expires_us = excluded.expires_us`, token, data, micros(expiry))
		return err
	})
}

// DeleteCtx removes a session.
func (s *Sessions) DeleteCtx(ctx context.Context, token string) error {
	return s.store.write(ctx, func(ctx context.Context, t *Tx) error {
		_, err := t.exec(ctx, `DELETE FROM sessions WHERE token = $1`, token)
		return err
	})
}

// Find is FindCtx for callers without a context; scs prefers the other.
func (s *Sessions) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx for callers without a context; scs prefers the other.
func (s *Sessions) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx for callers without a context; scs prefers the other.
func (s *Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
