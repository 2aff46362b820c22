package store

import (
	"context"
	"time"
)

// Revocation refuses everything issued to its subject at or before Before.
type Revocation struct {
	// ID is rev_….
	ID        string
	AccountID string
	// Subject is a user's public key U…, or * for every user of the account.
	Subject string
	// Before is Unix seconds.
	Before int64
	// Cause is what it belongs to: empty, key:A…, template:tpl_…, user:usr_….
	Cause                    string
	Reason, Actor, RequestID string
	Created                  time.Time
}

const revocationColumns = `id, account_id, subject, before_s, cause, reason, actor, request_id, created_us`

func scanRevocation(r row) (Revocation, error) {
	var v Revocation
	var created int64
	err := r.Scan(&v.ID, &v.AccountID, &v.Subject, &v.Before, &v.Cause, &v.Reason, &v.Actor, &v.RequestID, &created)
	v.Created = fromMicros(created)
	return v, err
}

// CreateRevocation adds v; earlier ones of the subject stay on record.
func (t *Tx) CreateRevocation(ctx context.Context, v Revocation) error {
	_, err := t.exec(ctx, `INSERT INTO revocations (`+revocationColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		v.ID, v.AccountID, v.Subject, v.Before, v.Cause, v.Reason, v.Actor, v.RequestID, micros(t.now))
	return err
}

// EffectiveRevocations returns what the account's JWT must carry: for each subject
// the highest time of those in force.
func (t *Tx) EffectiveRevocations(ctx context.Context, accountID string) (map[string]int64, error) {
	type entry struct {
		subject string
		before  int64
	}
	list, err := many(ctx, t, func(r row) (entry, error) {
		var e entry
		err := r.Scan(&e.subject, &e.before)
		return e, err
	}, `SELECT subject, max(before_s) FROM revocations WHERE account_id = $1 AND removed_us = 0 GROUP BY subject`, accountID)
	out := make(map[string]int64, len(list))
	for _, e := range list {
		out[e.subject] = e.before
	}
	return out, err
}

// ListRevocations returns up to limit revocations in force, newest first, before
// the one with identity beforeID; of a subject that was revoked several times
// only the one that holds.
func (t *Tx) ListRevocations(ctx context.Context, accountID, beforeID string, limit int) ([]Revocation, error) {
	return many(ctx, t, scanRevocation, `SELECT `+revocationColumns+` FROM revocations r
		WHERE account_id = $1 AND removed_us = 0 AND ($2 = '' OR id < $2)
		AND NOT EXISTS (SELECT 1 FROM revocations o WHERE o.account_id = r.account_id AND o.subject = r.subject AND o.removed_us = 0
			AND (o.before_s, o.id) > (r.before_s, r.id))
		ORDER BY id DESC LIMIT $3`, accountID, beforeID, limit)
}

// GetRevocation returns the revocation of the subject that holds.
func (t *Tx) GetRevocation(ctx context.Context, accountID, subject string) (Revocation, error) {
	return one(ctx, t, scanRevocation, `SELECT `+revocationColumns+` FROM revocations
		WHERE account_id = $1 AND subject = $2 AND removed_us = 0 ORDER BY before_s DESC, id DESC LIMIT 1`, accountID, subject)
}
