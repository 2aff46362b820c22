package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// SetGuardrails stores an account's guardrails and counts the intent.
func (t *Tx) SetGuardrails(ctx context.Context, accountID string, g claims.Guardrails) error {
	raw, err := toJSON(g)
	if err != nil {
		return err
	}
	return t.must(ctx, `UPDATE accounts SET guardrails = $2, version = version + 1, updated_us = $3 WHERE id = $1 AND deleted_us = 0`, accountID, raw, micros(t.now))
}

// perAccount are the rows x of an account that its quotas count.
var perAccount = map[claims.Quota]string{
	claims.QuotaUsers:       `users x WHERE x.deleted_us = 0 AND x.account_id `,
	claims.QuotaTemplates:   `templates x WHERE x.deleted_us = 0 AND x.account_id `,
	claims.QuotaSigningKeys: `keys x WHERE x.role = 'signing' AND x.state <> 'retired' AND x.account_id `,
	claims.QuotaExports:     `exports x WHERE x.deleted_us = 0 AND x.account_id `,
	claims.QuotaImports:     `imports x WHERE x.account_id `,
}

// CountForQuota returns how many an account has of what one of its quotas counts.
func (t *Tx) CountForQuota(ctx context.Context, q claims.Quota, accountID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM `+perAccount[q]+`= $1`, accountID)
}

// keysInUse are a user's keys with a credential that has not expired at $2 and is not
// revoked.
const keysInUse = `SELECT count(DISTINCT c.public_key) FROM credentials c WHERE c.user_id = $1 AND (c.expires_s = 0 OR c.expires_s >= $2) AND NOT ` + isRevoked

// CountKeysInUse returns how many keys of the user, beside those named, have a
// credential that has not expired and is not revoked. Empty names stand for no key.
func (t *Tx) CountKeysInUse(ctx context.Context, userID, key, other string) (int64, error) {
	return one(ctx, t, scanOne[int64], keysInUse+` AND c.public_key <> $3 AND c.public_key <> $4`, userID, t.now.Unix(), key, other)
}

// AccountLimits are the limits that an account was given.
type AccountLimits struct {
	ID, Name string
	Limits   jwt.OperatorLimits
	Tags     []string
}

// ListAccountLimits returns the limits of the operator's accounts that are neither
// deleted nor its system account, by name.
func (t *Tx) ListAccountLimits(ctx context.Context, operatorID string) ([]AccountLimits, error) {
	return many(ctx, t, func(r row) (AccountLimits, error) {
		var a AccountLimits
		var raw string
		if err := r.Scan(&a.ID, &a.Name, &raw); err != nil {
			return a, err
		}
		var body struct {
			Limits jwt.OperatorLimits `json:"limits"`
			Tags   []string           `json:"tags"`
		}
		err := json.Unmarshal([]byte(raw), &body)
		a.Limits, a.Tags = body.Limits, body.Tags
		return a, err
	}, `SELECT id, name, settings FROM accounts WHERE operator_id = $1 AND deleted_us = 0 AND NOT is_system ORDER BY name, id`, operatorID)
}

// GuardedCarriers returns the accounts with guardrails of their own that have a key
// which carries the template.
func (t *Tx) GuardedCarriers(ctx context.Context, templateID string) ([]Account, error) {
	return many(ctx, t, scanAccount, `SELECT `+accountColumns+` FROM accounts WHERE id IN `+carriers+` AND deleted_us = 0 AND guardrails <> '{}' ORDER BY name, id`, templateID)
}

// GuardScope is where guardrails hold: an operator's accounts but the system account,
// or one account.
type GuardScope struct{ OperatorID, AccountID string }

func (s GuardScope) arg() string {
	if s.AccountID != "" {
		return s.AccountID
	}
	return s.OperatorID
}

// accounts selects the identities of the scope; $1 is its argument.
func (s GuardScope) accounts() string {
	if s.AccountID != "" {
		return `(SELECT a.id FROM accounts a WHERE a.id = $1 AND a.deleted_us = 0)`
	}
	return `(SELECT a.id FROM accounts a WHERE a.operator_id = $1 AND a.deleted_us = 0 AND NOT a.is_system)`
}

// Counted is something with how many it has.
type Counted struct {
	Name string
	N    int64
}

func scanCounted(r row) (Counted, error) {
	var c Counted
	err := r.Scan(&c.Name, &c.N)
	return c, err
}

// ListOverQuota returns the accounts that have more than most of what the quota counts,
// or users with more keys than that, up to limit, by name.
func (t *Tx) ListOverQuota(ctx context.Context, s GuardScope, q claims.Quota, most int64, limit int) ([]Counted, error) {
	if q == claims.QuotaCredentials {
		return many(ctx, t, scanCounted, `SELECT a.name || '/' || u.name, count(DISTINCT c.public_key) FROM credentials c JOIN users u ON u.id = c.user_id
			JOIN accounts a ON a.id = u.account_id WHERE u.deleted_us = 0 AND u.account_id IN `+s.accounts()+` AND (c.expires_s = 0 OR c.expires_s >= $2) AND NOT `+isRevoked+`
			GROUP BY a.name, u.name, u.id HAVING count(DISTINCT c.public_key) > $3 ORDER BY a.name, u.name LIMIT $4`, s.arg(), t.now.Unix(), most, limit)
	}
	return many(ctx, t, scanCounted, `SELECT o.name, (SELECT count(*) FROM `+perAccount[q]+`= o.id) AS n FROM accounts o
		WHERE o.id IN `+s.accounts()+` AND (SELECT count(*) FROM `+perAccount[q]+`= o.id) > $2 ORDER BY o.name LIMIT $3`, s.arg(), most, limit)
}

// CountLongCredentials returns how many credentials of the scope that have not expired
// and are not revoked live longer than most, and which users have them, up to limit.
// With bearer it counts bearer credentials instead.
func (t *Tx) CountLongCredentials(ctx context.Context, s GuardScope, most time.Duration, bearer bool, limit int) (int64, []string, error) {
	from := ` FROM credentials c JOIN users u ON u.id = c.user_id JOIN accounts a ON a.id = c.account_id
		WHERE c.account_id IN ` + s.accounts() + ` AND (c.expires_s = 0 OR c.expires_s >= $2) AND NOT ` + isRevoked + `
		AND CASE WHEN CAST($4 AS BOOLEAN) THEN c.bearer ELSE (c.expires_s = 0 OR c.expires_s - c.iat > $3) END`
	args := []any{s.arg(), t.now.Unix(), int64(most / time.Second), bearer}
	n, err := one(ctx, t, scanOne[int64], `SELECT count(*)`+from, args...)
	if err != nil || n == 0 {
		return n, nil, err
	}
	names, err := many(ctx, t, scanOne[string], `SELECT DISTINCT a.name || '/' || u.name AS who`+from+` ORDER BY who LIMIT $5`, append(args, limit)...)
	return n, names, err
}

// ListGuardedTemplates returns up to limit templates of the scope, shared ones too if
// it is an operator, after afterID, in the order of their identities.
func (t *Tx) ListGuardedTemplates(ctx context.Context, s GuardScope, afterID string, limit int) ([]Template, error) {
	shared := ``
	if s.AccountID == "" {
		shared = ` OR account_id IS NULL AND operator_id = $1`
	}
	return many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates WHERE (account_id IN `+s.accounts()+shared+`) AND deleted_us = 0 AND id > $2 ORDER BY id LIMIT $3`,
		s.arg(), afterID, limit)
}

// ListGuardedUsers returns up to limit users of the scope after afterID, in the order
// of their identities.
func (t *Tx) ListGuardedUsers(ctx context.Context, s GuardScope, afterID string, limit int) ([]User, error) {
	return many(ctx, t, scanUser, `SELECT `+userColumns+` FROM users WHERE account_id IN `+s.accounts()+` AND deleted_us = 0 AND id > $2 ORDER BY id LIMIT $3`,
		s.arg(), afterID, limit)
}
