package store

import (
	"context"
	"time"
)

// Replay is what was answered to a request that had an idempotency key.
type Replay struct {
	// Caller and Key identify it.
	Caller, Key string
	// Fingerprint is a hash of the request.
	Fingerprint []byte
	// Answer is JSON without secrets.
	Answer string
}

// ReplayTime is how long a request can be repeated.
const ReplayTime = 24 * time.Hour

// GetReplay returns what was answered to the caller's request with the key within
// ReplayTime.
func (t *Tx) GetReplay(ctx context.Context, caller, key string) (Replay, error) {
	return one(ctx, t, func(r row) (Replay, error) {
		p := Replay{Caller: caller, Key: key}
		err := r.Scan(&p.Fingerprint, &p.Answer)
		return p, err
	}, `SELECT fingerprint, answer FROM replays WHERE caller = $1 AND key = $2 AND created_us > $3`, caller, key, micros(t.now.Add(-ReplayTime)))
}

// PutReplay records an answer. A key whose time is over is taken anew; ErrExists
// tells that another request has it.
func (t *Tx) PutReplay(ctx context.Context, p Replay) error {
	n, err := t.exec(ctx, `INSERT INTO replays (caller, key, fingerprint, answer, created_us) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (caller, key) DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, created_us = excluded.created_us
		WHERE replays.created_us <= $6`, p.Caller, p.Key, p.Fingerprint, p.Answer, micros(t.now), micros(t.now.Add(-ReplayTime)))
	if err == nil && n != 1 {
		err = ErrExists
	}
	return err
}

// HasOldReplays tells whether there are any whose time is over.
func (t *Tx) HasOldReplays(ctx context.Context) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM replays WHERE created_us <= $1)`, micros(t.now.Add(-ReplayTime)))
}

// DropReplays deletes those whose time is over.
func (t *Tx) DropReplays(ctx context.Context) error {
	_, err := t.exec(ctx, `DELETE FROM replays WHERE created_us <= $1`, micros(t.now.Add(-ReplayTime)))
	return err
}
