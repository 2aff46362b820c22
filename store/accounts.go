package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// Account is a tenant.
type Account struct {
	// ID is the identity key A….
	ID         string
	OperatorID string
	Name       string
	// State is active, suspended or deleted.
	State string
	// System marks its operator's system account.
	System bool
	// Settings is the body of the JWT without what has rows of its own: signing keys,
	// revocations, exports and imports.
	Settings jwt.Account
	// Expires is the end of the newest JWT in Unix seconds, 0 for never.
	Expires int64
	// Lifetime makes each JWT end that long after its signing, 0 does not. Renewal is
	// when the newest one is due to be signed anew for it; zero without a lifetime.
	Lifetime time.Duration
	Renewal  time.Time
	// Version counts intent and is the ETag; JWTVersion counts signings.
	Version, JWTVersion int64
	// IssuedAt is the last JWT's iat in Unix seconds.
	IssuedAt int64
	JTI, JWT string
	// Signer is the operator's key that signed JWT. ResignOwed is since when a new
	// signature is owed; zero when none is.
	Signer     string
	ResignOwed time.Time
	// LastUserIAT is the highest iat of any user JWT issued in the account; a
	// revocation of everybody must reach it.
	LastUserIAT int64
	// Verbatim tells that JWT was signed elsewhere and is served as it came; Foreign is
	// what a JWT from elsewhere held beside Settings, nil for an account made here.
	Verbatim         bool
	Foreign          *claims.Foreign
	Created, Updated time.Time
	// Guardrails are what the account is bound by beyond its operator's.
	Guardrails claims.Guardrails
}

// accountColumns are what scanAccount reads; accountWithoutJWT are the same with an
// empty JWT, where many are read at once.
const (
	accountColumns    = accountHead + `jwt` + accountTail
	accountWithoutJWT = accountHead + `''` + accountTail
	accountHead       = `id, operator_id, name, state, is_system, settings, expires_s, lifetime_s, renew_us, version, jwt_version, iat, jti, `
	accountTail       = `, signer, resign_us, last_user_iat, verbatim, unknown, created_us, updated_us, guardrails`
)

func scanAccount(r row) (Account, error) {
	var a Account
	var settings, guardrails, foreign string
	var lifetime, renewal, resign, created, updated int64
	if err := r.Scan(&a.ID, &a.OperatorID, &a.Name, &a.State, &a.System, &settings, &a.Expires, &lifetime, &renewal, &a.Version, &a.JWTVersion,
		&a.IssuedAt, &a.JTI, &a.JWT, &a.Signer, &resign, &a.LastUserIAT, &a.Verbatim, &foreign, &created, &updated, &guardrails); err != nil {
		return a, err
	}
	a.Lifetime, a.Renewal = time.Duration(lifetime)*time.Second, fromMicros(renewal)
	a.ResignOwed, a.Created, a.Updated = fromMicros(resign), fromMicros(created), fromMicros(updated)
	var err error
	a.Foreign, err = claims.ParseForeign(foreign)
	return a, errors.Join(err, json.Unmarshal([]byte(settings), &a.Settings), json.Unmarshal([]byte(guardrails), &a.Guardrails))
}

func settingsJSON(a Account) (string, error) {
	a.Settings.Exports, a.Settings.Imports = nil, nil
	return toJSON(a.Settings)
}

// CreateAccount inserts a.
func (t *Tx) CreateAccount(ctx context.Context, a Account) error {
	settings, err := settingsJSON(a)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO accounts (id, operator_id, name, state, is_system, settings, expires_s, lifetime_s, created_us, updated_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)`,
		a.ID, a.OperatorID, a.Name, a.State, a.System, settings, a.Expires, int64(a.Lifetime/time.Second), micros(t.now))
	return err
}

// ExpiryOf returns the end, in Unix seconds, of a JWT of the account that is issued at
// that second; 0 for never.
func (a Account) ExpiryOf(issuedAt int64) int64 {
	if a.Lifetime == 0 {
		return a.Expires
	}
	return issuedAt + int64(a.Lifetime/time.Second)
}

// LockAccountForIssue locks the row until the transaction ends without counting a
// signing: users are issued one after the other within an account, so that a
// revocation of everybody knows the highest iat.
func (t *Tx) LockAccountForIssue(ctx context.Context, id string) (Account, error) {
	query := getAccount
	if t.store.dialect == postgres {
		query = lockForIssue
	} // SQLite has one writing transaction at a time
	return one(ctx, t, scanAccount, query, id)
}

const (
	getAccount = `SELECT ` + accountColumns + ` FROM accounts WHERE id = $1`
	// lockForIssue is LockAccountForIssue on PostgreSQL.
	lockForIssue = getAccount + ` FOR NO KEY UPDATE`
)

// SetLastUserIAT raises the highest iat of the account's users to iat. Nobody has to wait
// for it.
func (t *Tx) SetLastUserIAT(ctx context.Context, id string, iat int64) error {
	return t.send(ctx, `UPDATE accounts SET last_user_iat = $2 WHERE id = $1 AND last_user_iat < $2`, id, iat)
}

// FixedEnd returns the end that was set for the account, in Unix seconds; 0 for never or
// where a lifetime moves it.
func (a Account) FixedEnd() int64 {
	if a.Lifetime != 0 {
		return 0
	}
	return a.Expires
}

// UpdateAccount stores settings, expiry and lifetime and counts the intent. With a
// lifetime the expiry is that of the next JWT.
func (t *Tx) UpdateAccount(ctx context.Context, a Account) error {
	settings, err := settingsJSON(a)
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE accounts SET settings = $2, expires_s = $3, lifetime_s = $4, version = version + 1, updated_us = $5 WHERE id = $1`,
		a.ID, settings, a.Expires, int64(a.Lifetime/time.Second), micros(t.now))
}

// GetAccount returns the account with the public key id.
func (t *Tx) GetAccount(ctx context.Context, id string) (Account, error) {
	return one(ctx, t, scanAccount, getAccount, id)
}

// FindAccounts returns the accounts called name, in one operator or, with an empty
// operatorID, in all.
func (t *Tx) FindAccounts(ctx context.Context, operatorID, name string) ([]Account, error) {
	return many(ctx, t, scanAccount, `SELECT `+accountColumns+` FROM accounts
		WHERE name = $1 AND ($2 = '' OR operator_id = $2) AND deleted_us = 0 ORDER BY operator_id`, name, operatorID)
}

// ListAccounts returns a page of accounts by name, of one operator or of all.
func (t *Tx) ListAccounts(ctx context.Context, operatorID string, p Page) ([]Account, error) {
	within, args := p.Bounds.clause("operator_id", "id", "", []any{p.AfterName, p.AfterID, operatorID, p.pattern(), p.Limit})
	return many(ctx, t, scanAccount, `SELECT `+accountColumns+` FROM accounts
		WHERE (name, id) > ($1, $2) AND ($3 = '' OR operator_id = $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND deleted_us = 0`+within+`
		ORDER BY name, id LIMIT $5`, args...)
}

// OweResigning makes a new signature owed by all accounts of the operator, or by
// those that have a key of the template if templateID is not empty. It returns how
// many accounts that is.
func (t *Tx) OweResigning(ctx context.Context, operatorID, templateID string) (int64, error) {
	return t.exec(ctx, `UPDATE accounts SET resign_us = $3 WHERE operator_id = $1 AND jwt <> ''
		AND ($2 = '' OR id IN (SELECT account_id FROM keys WHERE template_id = $2 AND state IN ('current', 'retiring', 'prepared')))`,
		operatorID, templateID, micros(t.now))
}

// CountSignedBy returns how many accounts of the operator, tombstones included, are
// in their newest JWT signed by the key, and how many accounts owe a new signature.
func (t *Tx) CountSignedBy(ctx context.Context, operatorID, signer string) (signed, owing int64, err error) {
	type counts struct{ signed, owing int64 }
	c, err := one(ctx, t, func(r row) (counts, error) {
		var c counts
		err := r.Scan(&c.signed, &c.owing)
		return c, err
	}, `SELECT coalesce(sum(CASE WHEN signer = $2 THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN resign_us <> 0 THEN 1 ELSE 0 END), 0)
		FROM accounts WHERE operator_id = $1 AND jwt <> ''`, operatorID, signer)
	return c.signed, c.owing, err
}
