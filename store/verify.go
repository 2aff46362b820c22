package store

import (
	"context"
	"crypto/sha256"
)

// History is one row of what was ever signed, as a verification reads it.
type History struct {
	Subject, JTI, Token string
	Version, IssuedAt   int64
	// Hash is that of the JWT, which outlives its body.
	Hash []byte
	// Actor, RequestID and At, in microseconds, name the change that signed it: one
	// transaction, unless a request has several in one microsecond.
	Actor, RequestID string
	At               int64
	// Audited is how many entries the change has in the audit log.
	Audited int64
}

// Intact tells whether the body, where it is kept, is what was signed.
func (h History) Intact() bool {
	sum := sha256.Sum256([]byte(h.Token))
	return h.Token == "" || string(sum[:]) == string(h.Hash)
}

// SameChange tells whether the other row was signed by the change of the same name.
func (h History) SameChange(other History) bool {
	return h.Actor == other.Actor && h.RequestID == other.RequestID && h.At == other.At
}

// ListHistory returns up to limit rows after the version of the subject, ordered by
// both.
func (t *Tx) ListHistory(ctx context.Context, subject string, version int64, limit int) ([]History, error) {
	return many(ctx, t, func(r row) (History, error) {
		var h History
		err := r.Scan(&h.Subject, &h.Version, &h.IssuedAt, &h.JTI, &h.Hash, &h.Token, &h.Actor, &h.RequestID, &h.At, &h.Audited)
		return h, err
	}, `SELECT j.subject, j.jwt_version, j.iat, j.jti, j.sha256, j.jwt, j.actor, j.request_id, j.created_us, coalesce(a.n, 0) FROM jwts j
		LEFT JOIN (SELECT request_id, actor, at_us, count(*) AS n FROM audit WHERE outcome = 'done' GROUP BY request_id, actor, at_us) a
			ON a.request_id = j.request_id AND a.actor = j.actor AND a.at_us = j.created_us
		WHERE (j.subject, j.jwt_version) > ($1, $2) ORDER BY j.subject, j.jwt_version LIMIT $3`, subject, version, limit)
}
