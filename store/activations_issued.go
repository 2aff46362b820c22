package store

import (
	"context"
	"encoding/binary"
	"strings"
	"time"
)

// IssuedActivation is what the hash of an activation token is made from.
type IssuedActivation struct {
	ID, Signer, Importer, Subject string
}

func scanIssuedActivation(r row) (IssuedActivation, error) {
	var a IssuedActivation
	err := r.Scan(&a.ID, &a.Signer, &a.Importer, &a.Subject)
	return a, err
}

// ListIssuedActivations returns up to limit activations whose identity comes after
// afterID, in order: of the accounts of all operators, expired ones too.
func (t *Tx) ListIssuedActivations(ctx context.Context, afterID string, limit int) ([]IssuedActivation, error) {
	return many(ctx, t, scanIssuedActivation, `SELECT id, signer, importer, subject FROM activations WHERE id > $1 ORDER BY id LIMIT $2`, afterID, limit)
}

// ActivationToken returns the token of an activation that an account of the operator
// issued and that has not expired.
func (t *Tx) ActivationToken(ctx context.Context, operatorID, id string) (string, error) {
	return one(ctx, t, scanOne[string], `SELECT v.token FROM activations v JOIN accounts a ON a.id = v.account_id
		WHERE v.id = $1 AND a.operator_id = $2 AND (v.expires_s = 0 OR v.expires_s > $3)`, id, operatorID, t.now.Unix())
}

// FirstID returns what comes before the identities that NewID makes from a time on,
// in their order; all of them for times before 1970.
func FirstID(prefix string, from time.Time) string {
	var b [6]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(from.UnixMilli(), 0))<<16) //nolint:gosec // not negative
	copy(b[:], ms[:6])
	return prefix + strings.ToLower(idEncoding.EncodeToString(b[:]))
}
