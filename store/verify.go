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
	// Audited is how many entries of the audit log its transaction wrote.
	Audited int64
}

// Intact tells whether the body, where it is kept, is what was signed.
func (h History) Intact() bool {
	sum := sha256.Sum256([]byte(h.Token))
	return h.Token == "" || string(sum[:]) == string(h.Hash)
}

// ListHistory returns up to limit rows after the version of the subject, ordered by
// both.
func (t *Tx) ListHistory(ctx context.Context, subject string, version int64, limit int) ([]History, error) {
	return many(ctx, t, func(r row) (History, error) {
		var h History
		err := r.Scan(&h.Subject, &h.Version, &h.IssuedAt, &h.JTI, &h.Hash, &h.Token, &h.Audited)
		return h, err
	}, `SELECT j.subject, j.jwt_version, j.iat, j.jti, j.sha256, j.jwt, coalesce(a.n, 0) FROM jwts j
		LEFT JOIN (SELECT request_id, actor, at_us, count(*) AS n FROM audit WHERE outcome = 'done' GROUP BY request_id, actor, at_us) a
			ON a.request_id = j.request_id AND a.actor = j.actor AND a.at_us = j.created_us
		WHERE (j.subject, j.jwt_version) > ($1, $2) ORDER BY j.subject, j.jwt_version LIMIT $3`, subject, version, limit)
}
