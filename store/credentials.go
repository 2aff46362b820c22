package store

import (
	"context"
	"time"
)

// Credential is one issued user JWT in the ledger, which is never rewritten.
type Credential struct {
	// ID is iss_….
	ID        string
	UserID    string
	AccountID string
	// PublicKey is the user key U….
	PublicKey string
	JTI       string
	// IssuedAt and Expires are Unix seconds; Expires 0 is never.
	IssuedAt, Expires int64
	Signer            string
	SHA256            []byte
	Bearer            bool
	// KeyOrigin is generated (here) or client.
	KeyOrigin string
	// Occasion is issue, renew or roll; TemplateID what it was issued with.
	Occasion, TemplateID string
	// Delivery is inline, file, one_time_link or sealed, DeliveredTo who or where.
	Delivery, DeliveredTo    string
	Actor, RequestID, Reason string
	Created                  time.Time
}

const credentialColumns = `id, user_id, account_id, public_key, jti, iat, expires_s, signer, sha256, bearer, key_origin, occasion, template_id, delivery, delivered_to, actor, request_id, reason, created_us`

func scanCredential(r row) (Credential, error) {
	var c Credential
	var created int64
	err := r.Scan(&c.ID, &c.UserID, &c.AccountID, &c.PublicKey, &c.JTI, &c.IssuedAt, &c.Expires, &c.Signer, &c.SHA256, &c.Bearer,
		&c.KeyOrigin, &c.Occasion, &c.TemplateID, &c.Delivery, &c.DeliveredTo, &c.Actor, &c.RequestID, &c.Reason, &created)
	c.Created = fromMicros(created)
	return c, err
}

// CreateCredential adds c to the ledger.
func (t *Tx) CreateCredential(ctx context.Context, c Credential) error {
	_, err := t.exec(ctx, `INSERT INTO credentials (`+credentialColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		c.ID, c.UserID, c.AccountID, c.PublicKey, c.JTI, c.IssuedAt, c.Expires, c.Signer, c.SHA256, c.Bearer,
		c.KeyOrigin, c.Occasion, c.TemplateID, c.Delivery, c.DeliveredTo, c.Actor, c.RequestID, c.Reason, micros(t.now))
	return err
}

// ListCredentials returns up to limit issuances of a user, newest first, before
// the one with identity beforeID ("" for the newest).
func (t *Tx) ListCredentials(ctx context.Context, userID, beforeID string, limit int) ([]Credential, error) {
	return many(ctx, t, scanCredential, `SELECT `+credentialColumns+` FROM credentials
		WHERE user_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, userID, beforeID, limit)
}

// HighestIssuedAt returns the highest iat ever issued to the public key in the
// account, 0 if none was.
func (t *Tx) HighestIssuedAt(ctx context.Context, accountID, publicKey string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT coalesce(max(iat), 0) FROM credentials WHERE account_id = $1 AND public_key = $2`, accountID, publicKey)
}

// UserKeys returns the distinct public keys ever issued to a user whose latest
// credential has not expired at now.
func (t *Tx) UserKeys(ctx context.Context, userID string) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT DISTINCT public_key FROM credentials
		WHERE user_id = $1 AND (expires_s = 0 OR expires_s >= $2) ORDER BY public_key`, userID, t.now.Unix())
}

// CountIssued returns how many unexpired credentials of the account, not revoked
// yet, were issued to subject (a public key, or * for everybody) at or before the
// second before.
func (t *Tx) CountIssued(ctx context.Context, accountID, subject string, before int64) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM credentials c `+inForce+`
		WHERE account_id = $1 AND ($2 = '*' OR public_key = $2) AND iat <= $3 AND (expires_s = 0 OR expires_s >= $4) AND `+accepted,
		accountID, subject, before, t.now.Unix())
}

// OwnerOfKey returns the identity of the user of the account to whom the public
// key was issued first, or "" if it never was.
func (t *Tx) OwnerOfKey(ctx context.Context, accountID, publicKey string) (string, error) {
	return one(ctx, t, scanOne[string], `SELECT coalesce(min(user_id), '') FROM credentials WHERE account_id = $1 AND public_key = $2`, accountID, publicKey)
}
