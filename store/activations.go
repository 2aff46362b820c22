package store

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Activation is one activation token that was issued. What is revoked stands in the
// export.
type Activation struct {
	// ID is act_…; AccountID the exporter.
	ID, AccountID, ExportID string
	// Importer is a public key A…, of an account here or elsewhere.
	Importer string
	Kind     jwt.ExportType
	// Subject is what may be imported.
	Subject string
	JTI     string
	// IssuedAt and Expires are Unix seconds; Expires is 0 for never.
	IssuedAt, Expires int64
	// Signer is the exporter's key A… that signed Token.
	Signer, Token            string
	Actor, RequestID, Reason string
	Created                  time.Time
}

const activationColumns = `id, account_id, export_id, importer, kind, subject, jti, iat, expires_s, signer, token, actor, request_id, reason, created_us`

func scanActivation(r row) (Activation, error) {
	var a Activation
	var kind string
	var created int64
	err := r.Scan(&a.ID, &a.AccountID, &a.ExportID, &a.Importer, &kind, &a.Subject, &a.JTI, &a.IssuedAt, &a.Expires, &a.Signer, &a.Token,
		&a.Actor, &a.RequestID, &a.Reason, &created)
	a.Created, a.Kind = fromMicros(created), jwt.Stream
	if kind == jwt.Service.String() {
		a.Kind = jwt.Service
	}
	return a, err
}

// CreateActivation inserts a.
func (t *Tx) CreateActivation(ctx context.Context, a Activation) error {
	_, err := t.exec(ctx, `INSERT INTO activations (`+activationColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		a.ID, a.AccountID, a.ExportID, a.Importer, a.Kind.String(), a.Subject, a.JTI, a.IssuedAt, a.Expires, a.Signer, a.Token,
		a.Actor, a.RequestID, a.Reason, micros(t.now))
	return err
}

// GetActivation returns an activation of the account's export.
func (t *Tx) GetActivation(ctx context.Context, accountID, exportID, id string) (Activation, error) {
	return one(ctx, t, scanActivation, `SELECT `+activationColumns+` FROM activations WHERE id = $1 AND account_id = $2 AND export_id = $3`, id, accountID, exportID)
}

// ListActivations returns up to limit activations of an export, the newest first,
// before beforeID if that is not empty.
func (t *Tx) ListActivations(ctx context.Context, exportID, beforeID string, limit int) ([]Activation, error) {
	return many(ctx, t, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE export_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, exportID, beforeID, limit)
}

// LastActivationIAT returns the highest issue time of any activation of the account to
// the importer, or to anybody with an empty importer; 0 if there is none.
func (t *Tx) LastActivationIAT(ctx context.Context, accountID, importer string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT coalesce(max(iat), 0) FROM activations WHERE account_id = $1 AND ($2 = '' OR importer = $2)`, accountID, importer)
}

// Activated is an importer with activations that have not expired.
type Activated struct {
	Importer string
	// Count is how many, Highest the highest issue time of any.
	Count, Highest int64
}

func scanActivated(r row) (Activated, error) {
	var a Activated
	err := r.Scan(&a.Importer, &a.Count, &a.Highest)
	return a, err
}

// ListActivated returns the importers with unexpired activations of the export, in
// order; of one importer, or of all with an empty one.
func (t *Tx) ListActivated(ctx context.Context, exportID, importer string) ([]Activated, error) {
	return many(ctx, t, scanActivated, `SELECT importer, count(*), max(iat) FROM activations
		WHERE export_id = $1 AND ($2 = '' OR importer = $2) AND (expires_s = 0 OR expires_s > $3) GROUP BY importer ORDER BY importer`,
		exportID, importer, t.now.Unix())
}

// NewestActivations returns the identity of the newest activation of the export for
// each importer and subject, of the importers that are given.
func (t *Tx) NewestActivations(ctx context.Context, exportID string, importers []string) (map[string]bool, error) {
	list, err := among(ctx, t, scanOne[string], func(table string) string {
		return `SELECT max(id) FROM activations WHERE importer IN (SELECT e.value FROM ` + table + `) AND export_id = $2 GROUP BY importer, subject`
	}, importers, exportID)
	out := make(map[string]bool, len(list))
	for _, id := range list {
		out[id] = true
	}
	return out, err
}

// SignedActivations counts what hangs on a key of the account: its unexpired
// activations of exports that still are, and the imports here that carry one.
func (t *Tx) SignedActivations(ctx context.Context, accountID, signer string) (activations, imports int64, err error) {
	type counts struct{ activations, imports int64 }
	c, err := one(ctx, t, func(r row) (counts, error) {
		var c counts
		err := r.Scan(&c.activations, &c.imports)
		return c, err
	}, `SELECT count(*), coalesce(sum((SELECT count(*) FROM imports m WHERE m.exporter = $1 AND m.activation_id = a.id)), 0) FROM activations a
		WHERE a.account_id = $1 AND a.signer = $2 AND (a.expires_s = 0 OR a.expires_s > $3)
		AND EXISTS (SELECT 1 FROM exports e WHERE e.id = a.export_id AND e.deleted_us = 0)`, accountID, signer, t.now.Unix())
	return c.activations, c.imports, err
}
