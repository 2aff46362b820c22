package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"
)

// KeptBodies is how many versions of a subject's JWT keep their body; of older
// ones hash, iat, jti, signer and actor remain for ever.
const KeptBodies = 20

// JWT is one signed version of an operator's or account's claims.
type JWT struct {
	// Subject is the public key O… or A….
	Subject string
	// Kind is operator or account.
	Kind       string
	OperatorID string
	Version    int64
	IssuedAt   int64
	JTI        string
	Signer     string
	Actor      string
	RequestID  string
	Token      string
	// After is an account that is to be pushed before this one, which imports from it;
	// empty for none.
	After string
}

// PutJWT stores a newly signed JWT in the history and as the current one of its
// subject, and logs the change. For an account it also owes a push.
func (t *Tx) PutJWT(ctx context.Context, j JWT) error {
	if j.Kind != "operator" {
		_, err := t.PutAccountJWT(ctx, j)
		return err
	}
	if err := t.keepJWT(ctx, j); err != nil {
		return err
	}
	err := t.must(ctx, `UPDATE operators SET jwt = $2, iat = $3, jti = $4, updated_us = $5, verbatim = FALSE WHERE id = $1 AND jwt_version = $6`,
		j.Subject, j.Token, j.IssuedAt, j.JTI, micros(t.now), j.Version)
	if err != nil {
		return err
	}
	return t.logChange(ctx, Change{Kind: j.Kind, OperatorID: j.OperatorID, Subject: j.Subject, JWTVersion: j.Version})
}

// PutAccountJWT is PutJWT of an account, which it returns as it is then.
func (t *Tx) PutAccountJWT(ctx context.Context, j JWT) (Account, error) {
	if err := t.keepJWT(ctx, j); err != nil {
		return Account{}, err
	}
	a, err := t.putAccountJWT(ctx, j)
	if err != nil {
		return a, err
	}
	return a, t.logChange(ctx, Change{Kind: j.Kind, OperatorID: j.OperatorID, AccountID: j.Subject, Subject: j.Subject, JWTVersion: j.Version})
}

// keepJWT puts j into the history, and takes the body of the oldest version out.
func (t *Tx) keepJWT(ctx context.Context, j JWT) error {
	sum := sha256.Sum256([]byte(j.Token))
	err := t.send(ctx, `INSERT INTO jwts (subject, jwt_version, kind, iat, jti, sha256, signer, actor, request_id, jwt, created_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		j.Subject, j.Version, j.Kind, j.IssuedAt, j.JTI, sum[:], j.Signer, j.Actor, j.RequestID, j.Token, micros(t.now))
	if err != nil || j.Version <= KeptBodies {
		return err
	}
	return t.send(ctx, `UPDATE jwts SET jwt = '' WHERE subject = $1 AND jwt_version <= $2 AND jwt <> ''`, j.Subject, j.Version-KeptBodies)
}

// renewed sets when an account's new JWT ends and is to be renewed, as Account.ExpiryOf
// says: the column or parameter holds when it was issued. Half of the lifetime is left
// for what hinders a renewal.
func renewed(issuedAt string) string {
	return `expires_s = CASE WHEN lifetime_s > 0 THEN ` + issuedAt + ` + lifetime_s ELSE expires_s END,
		renew_us = CASE WHEN lifetime_s > 0 THEN ` + issuedAt + ` * 1000000 + lifetime_s * 500000 ELSE 0 END`
}

// putAccountJWT makes j the account's current JWT, which pays what was owed of
// signatures, and owes its push.
func (t *Tx) putAccountJWT(ctx context.Context, j JWT) (Account, error) {
	a, err := one(ctx, t, scanAccount, `UPDATE accounts SET jwt = $2, iat = $3, jti = $4, updated_us = $5, signer = $7, resign_us = 0, verbatim = FALSE, `+renewed(`CAST($3 AS BIGINT)`)+`
		WHERE id = $1 AND jwt_version = $6 RETURNING `+accountColumns,
		j.Subject, j.Token, j.IssuedAt, j.JTI, micros(t.now), j.Version, j.Signer)
	if err != nil {
		return a, err
	}
	return a, t.oweDelivery(ctx, j)
}

// PutHeldAccount is UpdateAccount and PutAccountJWT in one, of an account that the
// transaction has locked; a has the versions that it had before. Nobody has to wait for it:
// were the version not the next one, the history would have it already.
func (t *Tx) PutHeldAccount(ctx context.Context, a Account, j JWT) (Account, error) {
	settings, err := settingsJSON(a)
	if err != nil {
		return a, err
	}
	a.Version, a.JWTVersion, a.Updated, a.Verbatim = a.Version+1, j.Version, t.now, false
	a.JWT, a.IssuedAt, a.JTI, a.Signer, a.ResignOwed = j.Token, j.IssuedAt, j.JTI, j.Signer, time.Time{}
	a.Expires, a.Renewal = a.ExpiryOf(j.IssuedAt), a.renewalOf(j.IssuedAt)
	err = errors.Join(
		t.keepJWT(ctx, j),
		t.send(ctx, `UPDATE accounts SET settings = $2, expires_s = $3, lifetime_s = $4, renew_us = $5, version = version + 1, jwt_version = $6, updated_us = $7,
			jwt = $8, iat = $9, jti = $10, signer = $11, resign_us = 0, verbatim = FALSE WHERE id = $1`,
			a.ID, settings, a.Expires, int64(a.Lifetime/time.Second), micros(a.Renewal), j.Version, micros(t.now), j.Token, j.IssuedAt, j.JTI, j.Signer),
		t.oweDelivery(ctx, j),
	)
	if err != nil {
		return a, err
	}
	return a, t.logChange(ctx, Change{Kind: j.Kind, OperatorID: j.OperatorID, AccountID: j.Subject, Subject: j.Subject, JWTVersion: j.Version})
}

// renewalOf is when a JWT of the account that is issued at that second is to be renewed, as
// renewed says it in SQL; zero for never.
func (a Account) renewalOf(issuedAt int64) time.Time {
	if a.Lifetime == 0 {
		return time.Time{}
	}
	return fromMicros(issuedAt*1e6 + int64(a.Lifetime/time.Second)*500_000)
}

// Candidate is what a posted JWT of an account is held against. It is filled by the next
// statement that is waited for.
type Candidate struct {
	accounts []Account
	sums     [][]byte
}

// Account returns the account; zero where there is none, or none was asked for.
func (c *Candidate) Account() (a Account) {
	if len(c.accounts) > 0 {
		a = c.accounts[0]
	}
	return a
}

// Signed tells whether the account had a JWT of that SHA-256, issued here at the second that
// was asked for.
func (c *Candidate) Signed(sum []byte) bool {
	return slices.ContainsFunc(c.sums, func(s []byte) bool { return bytes.Equal(s, sum) })
}

// LookUpCandidate asks for the account, and for its JWTs that were issued at a second, in
// Unix seconds.
func (t *Tx) LookUpCandidate(ctx context.Context, accountID string, issuedAt int64, into *Candidate) error {
	if err := alongside(ctx, t, &into.accounts, scanAccount, getAccount, accountID); err != nil {
		return err
	}
	return t.LookUpSigned(ctx, accountID, issuedAt, into)
}

// LookUpSigned is LookUpCandidate without the account.
func (t *Tx) LookUpSigned(ctx context.Context, accountID string, issuedAt int64, into *Candidate) error {
	return alongside(ctx, t, &into.sums, scanOne[[]byte], `SELECT sha256 FROM jwts WHERE subject = $1 AND iat = $2`, accountID, issuedAt)
}

// Served is what the resolver serves and pushes of an account.
type Served struct {
	AccountID  string
	OperatorID string
	Version    int64
	IssuedAt   int64
	Token      string
}

func scanServed(r row) (Served, error) {
	var s Served
	err := r.Scan(&s.AccountID, &s.OperatorID, &s.Version, &s.IssuedAt, &s.Token)
	return s, err
}

const servedColumns = `id, operator_id, jwt_version, iat, jwt`

// GetServed returns the current JWT of an account.
func (t *Tx) GetServed(ctx context.Context, accountID string) (Served, error) {
	return one(ctx, t, scanServed, `SELECT `+servedColumns+` FROM accounts WHERE id = $1 AND jwt <> ''`, accountID)
}

// ListServed returns the current JWTs of up to limit accounts whose identity comes
// after afterID, in order.
func (t *Tx) ListServed(ctx context.Context, afterID string, limit int) ([]Served, error) {
	return many(ctx, t, scanServed, `SELECT `+servedColumns+` FROM accounts WHERE id > $1 AND jwt <> '' ORDER BY id LIMIT $2`, afterID, limit)
}

// EachServed calls f with the current JWT of every account, in no order.
func (t *Tx) EachServed(ctx context.Context, f func(s Served)) error {
	var s Served // of every row, since there may be a million
	into := []any{&s.AccountID, &s.OperatorID, &s.Version, &s.IssuedAt, &s.Token}
	_, err := many(ctx, t, func(r row) (struct{}, error) {
		err := r.Scan(into...)
		if err == nil {
			f(s)
		}
		return struct{}{}, err
	}, `SELECT `+servedColumns+` FROM accounts WHERE jwt <> ''`)
	return err
}

// CountServed returns how many accounts have a JWT.
func (t *Tx) CountServed(ctx context.Context) (int, error) {
	return one(ctx, t, scanOne[int], `SELECT count(*) FROM accounts WHERE jwt <> ''`)
}

// ListServedOf is ListServed of one operator's accounts.
func (t *Tx) ListServedOf(ctx context.Context, operatorID, afterID string, limit int) ([]Served, error) {
	return many(ctx, t, scanServed, `SELECT `+servedColumns+` FROM accounts WHERE operator_id = $1 AND id > $2 AND jwt <> '' ORDER BY id LIMIT $3`, operatorID, afterID, limit)
}
