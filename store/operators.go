package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// Policy is what an operator asks of all that is signed under it. Times are seconds.
type Policy struct {
	// Guardrails bound what may be made in the operator's accounts.
	claims.Guardrails
	// DefaultTTL is the lifetime of a credential that asks for none; 0 means 90 days.
	DefaultTTL int64 `json:"credential_ttl_seconds,omitempty"`
	// OperatorKeyAge, AccountKeyAge and TemplateKeyAge are when a current key is
	// rotated by itself; 0 never does.
	OperatorKeyAge int64 `json:"operator_key_age_seconds,omitempty"`
	AccountKeyAge  int64 `json:"account_key_age_seconds,omitempty"`
	TemplateKeyAge int64 `json:"template_key_age_seconds,omitempty"`
	// Overlap is how long the key before stays trusted after a rotation by policy.
	Overlap int64 `json:"rotation_overlap_seconds,omitempty"`
	// Renewal is the part of a credential's lifetime, in percent from its end, in
	// which its holder may renew it without an administrator; 0 never allows it.
	Renewal int64 `json:"renewal_percent,omitempty"`
	// Servers is how many nats-servers are to answer on the system account; 0 expects
	// no number.
	Servers int64 `json:"servers_expected,omitempty"`
	// Enrolment is whether accounts that are not known yet may be posted.
	Enrolment Enrolling `json:"enrolment,omitzero"`
	// ForeignNewer is what becomes of an account's JWT that somebody else signed with a
	// key of the operator, and that is newer than ours: keep or adopt; empty reports it
	// and waits for a decision.
	ForeignNewer claims.DriftDecision `json:"foreign_newer,omitempty"`
}

// Enrolling is how accounts of which only their holder knows come under an operator.
type Enrolling struct {
	// Mode is open, token or approval; empty lets none in.
	Mode string `json:"mode,omitempty"`
	// Limits names the preset of limits that they get; empty is none at all.
	Limits string `json:"limits,omitempty"`
	// Token is the SHA-256, in hex, of the token that lets them in.
	Token string `json:"token_sha256,omitempty"`
}

// IsZero tells whether nothing is asked.
func (p Policy) IsZero() bool {
	return p.Guardrails.IsZero() && p.DefaultTTL == 0 && p.OperatorKeyAge == 0 && p.AccountKeyAge == 0 && p.TemplateKeyAge == 0 && p.Overlap == 0 && p.Renewal == 0 && p.Servers == 0 && p.ForeignNewer == "" && p.Enrolment == Enrolling{}
}

// Operator is a root of trust.
type Operator struct {
	// ID is the identity key O….
	ID   string
	Name string
	// Default marks the operator that /jwt/v1 serves.
	Default bool
	// State is active, awaiting_signature (offline, and no JWT was uploaded yet) or
	// deleted. A deleted operator keeps its row for the ledger, under its public key as
	// its name.
	State string
	// Custody tells where the identity seed is: sealed, offline or observed.
	Custody string
	// Settings is the body of the JWT without its signing keys.
	Settings jwt.Operator
	// Signing is the switch: off, nothing new is signed but what takes rights away.
	Signing bool
	Policy  Policy
	// Version counts intent and is the ETag; JWTVersion counts signings.
	Version, JWTVersion int64
	// IssuedAt is the last JWT's iat in Unix seconds.
	IssuedAt int64
	JTI, JWT string
	// Verbatim and Foreign are as those of an account.
	Verbatim         bool
	Foreign          *claims.Foreign
	Created, Updated time.Time
}

const operatorColumns = `id, name, is_default, state, custody, settings, signing, policy, version, jwt_version, iat, jti, jwt, verbatim, unknown, created_us, updated_us`

func scanOperator(r row) (Operator, error) {
	var o Operator
	var settings, policy, foreign string
	var created, updated int64
	if err := r.Scan(&o.ID, &o.Name, &o.Default, &o.State, &o.Custody, &settings, &o.Signing, &policy, &o.Version, &o.JWTVersion,
		&o.IssuedAt, &o.JTI, &o.JWT, &o.Verbatim, &foreign, &created, &updated); err != nil {
		return o, err
	}
	o.Created, o.Updated = fromMicros(created), fromMicros(updated)
	var err error
	o.Foreign, err = claims.ParseForeign(foreign)
	return o, errors.Join(err, json.Unmarshal([]byte(settings), &o.Settings), json.Unmarshal([]byte(policy), &o.Policy))
}

// CreateOperator inserts o; it becomes the default one where there is none.
func (t *Tx) CreateOperator(ctx context.Context, o Operator) error {
	settings, policy, err := operatorJSON(o)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO operators (id, name, is_default, state, custody, settings, signing, policy, created_us, updated_us)
		SELECT $1, $2, NOT EXISTS (SELECT 1 FROM operators WHERE is_default), $3, $4, $5, CAST($6 AS BOOLEAN), $7, CAST($8 AS BIGINT), CAST($8 AS BIGINT)`,
		o.ID, o.Name, o.State, o.Custody, settings, o.Signing, policy, micros(t.now))
	return err
}

// LockOperator locks the row until the transaction ends, by counting a signing.
func (t *Tx) LockOperator(ctx context.Context, id string) (Operator, error) {
	return one(ctx, t, scanOperator, `UPDATE operators SET jwt_version = jwt_version + 1 WHERE id = $1 RETURNING `+operatorColumns, id)
}

// HoldOperator returns the operator and keeps its row as it is until the transaction
// ends: others may hold it too, nobody can change it. What is new under it, which a
// change of the operator could not see yet, waits for that change.
func (t *Tx) HoldOperator(ctx context.Context, id string) (Operator, error) {
	query := `SELECT ` + operatorColumns + ` FROM operators WHERE id = $1 AND state <> 'deleted'`
	if t.store.dialect == postgres {
		query += ` FOR SHARE`
	} // SQLite has one writing transaction at a time
	return one(ctx, t, scanOperator, query, id)
}

// LockOperatorForEdit locks the row until the transaction ends without counting a
// signing: what is planned from it still holds when it is applied.
func (t *Tx) LockOperatorForEdit(ctx context.Context, id string) (Operator, error) {
	return one(ctx, t, scanOperator, `UPDATE operators SET version = version WHERE id = $1 RETURNING `+operatorColumns, id)
}

// UpdateOperator stores settings, policy, state and the switch and counts the intent.
func (t *Tx) UpdateOperator(ctx context.Context, o Operator) error {
	settings, policy, err := operatorJSON(o)
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE operators SET settings = $2, policy = $3, signing = $4, state = $6, version = version + 1, updated_us = $5 WHERE id = $1`,
		o.ID, settings, policy, o.Signing, micros(t.now), o.State)
}

func operatorJSON(o Operator) (settings, policy string, err error) {
	if settings, err = toJSON(o.Settings); err != nil {
		return "", "", err
	}
	policy, err = toJSON(o.Policy)
	return settings, policy, err
}

// GetOperator finds an operator by identity or name.
func (t *Tx) GetOperator(ctx context.Context, idOrName string) (Operator, error) {
	return one(ctx, t, scanOperator, `SELECT `+operatorColumns+` FROM operators WHERE (id = $1 OR name = $1) AND state <> 'deleted'`, idOrName)
}

// LookUpOperatorOf asks for the operator of an account; into stays empty where there is none.
// It is filled by the next statement that is waited for.
func (t *Tx) LookUpOperatorOf(ctx context.Context, accountID string, into *[]Operator) error {
	return alongside(ctx, t, into, scanOperator, `SELECT `+operatorColumns+` FROM operators WHERE id = `+ofAccount+` AND state <> 'deleted'`, accountID)
}

// DefaultOperator returns the one that is served where no other one is named.
func (t *Tx) DefaultOperator(ctx context.Context) (Operator, error) {
	return one(ctx, t, scanOperator, `SELECT `+operatorColumns+` FROM operators WHERE is_default AND state <> 'deleted'`)
}

// ListOperators returns a page of operators by name.
func (t *Tx) ListOperators(ctx context.Context, p Page) ([]Operator, error) {
	within, args := p.Bounds.clause("id", "", "", []any{p.AfterName, p.AfterID, p.pattern(), p.Limit})
	return many(ctx, t, scanOperator, `SELECT `+operatorColumns+` FROM operators
		WHERE (name, id) > ($1, $2) AND lower(name) LIKE lower($3) ESCAPE '\' AND state <> 'deleted'`+within+` ORDER BY name, id LIMIT $4`, args...)
}

// DeleteOperator takes the operator and its accounts out of every list, frees its name
// and ends what is owed to its servers. All rows stay for the ledger.
func (t *Tx) DeleteOperator(ctx context.Context, id string) error {
	err := t.must(ctx, `UPDATE operators SET state = 'deleted', name = id, is_default = FALSE, version = version + 1, updated_us = $2 WHERE id = $1`, id, micros(t.now))
	if err != nil {
		return err
	}
	for _, left := range []string{
		`UPDATE users SET deleted_us = $2, updated_us = $2, version = version + 1 WHERE deleted_us = 0 AND account_id IN (SELECT id FROM accounts WHERE operator_id = $1)`,
		`UPDATE accounts SET state = 'deleted', deleted_us = $2, updated_us = $2, version = version + 1 WHERE operator_id = $1 AND deleted_us = 0`,
	} {
		if _, err := t.exec(ctx, left, id, micros(t.now)); err != nil {
			return err
		}
	}
	if _, err := t.exec(ctx, `DELETE FROM outbox WHERE operator_id = $1`, id); err != nil {
		return err
	}
	return t.logChange(ctx, Change{Kind: "operator", OperatorID: id, Subject: id})
}

// CountOpenAccounts returns how many accounts of the operator, beside its system
// account, are not deleted.
func (t *Tx) CountOpenAccounts(ctx context.Context, operatorID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM accounts WHERE operator_id = $1 AND deleted_us = 0 AND NOT is_system`, operatorID)
}

// CountSignedByIdentity returns how many accounts of the operator its identity key
// signed, and how many unexpired credentials the identity key of their account.
func (t *Tx) CountSignedByIdentity(ctx context.Context, operatorID string) (accounts, credentials int64, err error) {
	accounts, _, err = t.CountSignedBy(ctx, operatorID, operatorID)
	if err != nil {
		return 0, 0, err
	}
	credentials, err = one(ctx, t, scanOne[int64], `SELECT count(*) FROM credentials c JOIN accounts a ON a.id = c.account_id
		WHERE a.operator_id = $1 AND c.signer = c.account_id AND (c.expires_s = 0 OR c.expires_s >= $2)`, operatorID, t.now.Unix())
	return accounts, credentials, err
}

// SigningOn tells whether the operator's signing switch is on. An operator that does
// not exist yet has it on.
func (t *Tx) SigningOn(ctx context.Context, id string) (bool, error) {
	on, err := one(ctx, t, scanOne[bool], `SELECT signing FROM operators WHERE id = $1`, id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return on, err
}
