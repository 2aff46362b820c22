package store

import "context"

// Posting is a JWT of an account that its holder posted and that was taken over.
type Posting struct {
	AccountID string
	SHA256    []byte
	// IssuedAt is its iat in Unix seconds, Signer who signed it.
	IssuedAt int64
	Signer   string
}

// KeepPosting remembers p, and forgets those of the account that were issued before a
// second.
func (t *Tx) KeepPosting(ctx context.Context, p Posting, forget int64) error {
	err := t.send(ctx, `INSERT INTO postings (account_id, sha256, iat, signer, created_us) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id, sha256) DO NOTHING`,
		p.AccountID, p.SHA256, p.IssuedAt, p.Signer, micros(t.now))
	if err != nil {
		return err
	}
	return t.send(ctx, `DELETE FROM postings WHERE account_id = $1 AND iat < $2`, p.AccountID, forget)
}

// WasPosted tells whether this very JWT was taken over before, and the highest iat of
// those that were.
func (t *Tx) WasPosted(ctx context.Context, accountID string, sum []byte) (known bool, last int64, err error) {
	type found struct {
		same bool
		last int64
	}
	f, err := one(ctx, t, func(r row) (f found, err error) {
		err = r.Scan(&f.last, &f.same)
		return f, err
	}, `SELECT coalesce(max(iat), 0), EXISTS (SELECT 1 FROM postings WHERE account_id = $1 AND sha256 = $2) FROM postings WHERE account_id = $1`, accountID, sum)
	return f.same, f.last, err
}

// PostedActivation is an activation token that an exporter made elsewhere and posted.
type PostedActivation struct {
	// Hash is that of its path: base32, with padding, of the SHA-256 of issuer, importer
	// and subject (jwt: ActivationClaims.HashID).
	Hash                  string
	OperatorID, AccountID string
	// Importer is the account it is for, Issuer the key that signed it.
	Importer, Issuer string
	// IssuedAt and Expires are Unix seconds; Expires is 0 for never.
	IssuedAt, Expires int64
	Token             string
}

// PutPostedActivation stores p in the place of an earlier one with its hash.
func (t *Tx) PutPostedActivation(ctx context.Context, p PostedActivation) error {
	_, err := t.exec(ctx, `INSERT INTO posted_activations (hash, operator_id, account_id, importer, issuer, iat, expires_s, token, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (hash) DO UPDATE SET iat = excluded.iat, expires_s = excluded.expires_s, token = excluded.token, created_us = excluded.created_us
		WHERE posted_activations.iat <= excluded.iat`,
		p.Hash, p.OperatorID, p.AccountID, p.Importer, p.Issuer, p.IssuedAt, p.Expires, p.Token, micros(t.now))
	return err
}

// GetPostedActivation returns the newest posted activation of the operator's accounts
// with the hash, or ErrNotFound. Whether it has expired is for the caller to see.
func (t *Tx) GetPostedActivation(ctx context.Context, operatorID, hash string) (PostedActivation, error) {
	return one(ctx, t, func(r row) (PostedActivation, error) {
		p := PostedActivation{Hash: hash, OperatorID: operatorID}
		err := r.Scan(&p.AccountID, &p.Importer, &p.Issuer, &p.IssuedAt, &p.Expires, &p.Token)
		return p, err
	}, `SELECT account_id, importer, issuer, iat, expires_s, token FROM posted_activations WHERE hash = $1 AND operator_id = $2`, hash, operatorID)
}

// CountPostedActivations returns how many posted activations of the account there are
// that have not expired, after those that have are removed.
func (t *Tx) CountPostedActivations(ctx context.Context, accountID string) (int64, error) {
	if _, err := t.exec(ctx, `DELETE FROM posted_activations WHERE account_id = $1 AND expires_s <> 0 AND expires_s <= $2`, accountID, t.now.Unix()); err != nil {
		return 0, err
	}
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM posted_activations WHERE account_id = $1`, accountID)
}
