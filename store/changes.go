package store

import "context"

// Change is one entry of the numbered log that feeds replicas and the event stream.
type Change struct {
	// Seq has no gaps and starts at 1.
	Seq int64
	// Kind is operator or account.
	Kind                           string
	OperatorID, AccountID, Subject string
	JWTVersion                     int64
}

func (t *Tx) logChange(ctx context.Context, c Change) error {
	id, err := t.NewID("chg_")
	if err != nil {
		return err
	}
	t.changes = true
	return t.send(ctx, `INSERT INTO changes (id, kind, operator_id, account_id, subject, jwt_version, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		id, c.Kind, c.OperatorID, c.AccountID, c.Subject, c.JWTVersion, micros(t.now))
}

func scanChange(r row) (Change, error) {
	var c Change
	err := r.Scan(&c.Seq, &c.Kind, &c.OperatorID, &c.AccountID, &c.Subject, &c.JWTVersion)
	return c, err
}

// ListChanges returns up to limit numbered changes after seq, in order.
func (t *Tx) ListChanges(ctx context.Context, after int64, limit int) ([]Change, error) {
	return many(ctx, t, scanChange,
		`SELECT seq, kind, operator_id, account_id, subject, jwt_version FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
}

// ListUnnumbered returns up to limit changes that were committed and that the
// sequencer has not numbered yet; their Seq is 0. Whoever reads these first and
// ListChanges afterwards misses none.
func (t *Tx) ListUnnumbered(ctx context.Context, limit int) ([]Change, error) {
	return many(ctx, t, scanChange,
		`SELECT CAST(0 AS BIGINT), kind, operator_id, account_id, subject, jwt_version FROM changes WHERE seq IS NULL ORDER BY id LIMIT $1`, limit)
}

// LastChange returns the number of the newest numbered change, 0 if there is none.
func (t *Tx) LastChange(ctx context.Context) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT change_seq FROM sequencer WHERE id = 1`)
}
