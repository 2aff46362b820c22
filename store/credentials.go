package store

import (
	"context"
	"strconv"
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
	// KeyOrigin is generated (here), client, unproven or imported.
	KeyOrigin string
	// Occasion is issue, renew or roll; TemplateID what it was issued with.
	Occasion, TemplateID string
	// Delivery is inline, file, one_time_link, sealed or imported, DeliveredTo who or where.
	Delivery, DeliveredTo    string
	Actor, RequestID, Reason string
	// JWT is kept of what was imported, to be written out again; Sealed where the JWT
	// admits its bearer. Both are empty otherwise, and in lists.
	JWT     string
	Sealed  []byte
	Created time.Time
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
	return t.CreateCredentials(ctx, []Credential{c})
}

// CreateCredentials adds credentials to the ledger, many in one statement.
func (t *Tx) CreateCredentials(ctx context.Context, list []Credential) error {
	rows := make([][]any, len(list))
	for n, c := range list {
		rows[n] = []any{
			c.ID, c.UserID, c.AccountID, c.PublicKey, c.JTI, c.IssuedAt, c.Expires, c.Signer, c.SHA256, c.Bearer,
			c.KeyOrigin, c.Occasion, c.TemplateID, c.Delivery, c.DeliveredTo, c.Actor, c.RequestID, c.Reason, micros(t.now), c.JWT, c.Sealed,
		}
	}
	return t.insertAll(ctx, "credentials", credentialColumns+`, jwt, sealed_jwt`, rows)
}

// CredentialFilter keeps some entries of a ledger. The zero value keeps all.
type CredentialFilter struct {
	// AccountID and UserID are identities; one of the two should be given.
	AccountID, UserID string
	// PublicKey, JTI, Signer and TemplateID are whole values; empty ones keep all.
	PublicKey, JTI, Signer, TemplateID string
	// Status is active, expired, revoked, key_disabled or key_retired; empty keeps all.
	Status string
	// ExpiringBy keeps what expires at or before that Unix second; 0 keeps all.
	ExpiringBy int64
	// Bounds are what of one account the list may show; nil is everything.
	Bounds *Bounds
}

// LedgerEntry is a credential with what its status follows from.
type LedgerEntry struct {
	Credential
	UserName string
	Revoked  bool
	// SignerState is the state of the key that signed it.
	SignerState string
	// RevokedAt is when a revocation of its key is due; zero for none.
	RevokedAt time.Time
}

const (
	isRevoked = `EXISTS (SELECT 1 FROM revocations r WHERE r.account_id = c.account_id AND r.removed_us = 0
		AND r.subject IN (c.public_key, '*') AND r.before_s >= c.iat)`
	isExpired  = `(c.expires_s <> 0 AND c.expires_s < $2)`
	isDisabled = `EXISTS (SELECT 1 FROM keys k WHERE k.id = c.signer AND k.account_id = c.account_id AND k.state = 'disabled')`
	isTrusted  = `EXISTS (SELECT 1 FROM keys k WHERE k.id = c.signer AND k.account_id = c.account_id AND k.state IN ('prepared', 'current', 'retiring')
		AND NOT (k.role = 'identity' AND ` + isStrict + `))`
	// isStrict tells of a key k that its operator has servers accept signing keys only.
	isStrict    = `EXISTS (SELECT 1 FROM operators o WHERE o.id = k.operator_id AND o.settings LIKE '%"strict_signing_key_usage":true%')`
	ledgerOrder = ` ORDER BY c.id DESC LIMIT $3`
)

// FindCredentials returns up to limit entries that f keeps, newest first, before the
// one with identity beforeID ("" for the newest).
func (t *Tx) FindCredentials(ctx context.Context, f CredentialFilter, beforeID string, limit int) ([]LedgerEntry, error) {
	where, args := "", []any{beforeID, t.now.Unix(), limit}
	for _, x := range []struct{ column, value string }{
		{"c.account_id", f.AccountID},
		{"c.user_id", f.UserID},
		{"c.public_key", f.PublicKey},
		{"c.jti", f.JTI},
		{"c.signer", f.Signer},
		{"c.template_id", f.TemplateID},
	} {
		if x.value != "" {
			args = append(args, x.value)
			where += " AND " + x.column + " = $" + strconv.Itoa(len(args))
		}
	}
	if f.ExpiringBy > 0 {
		args = append(args, f.ExpiringBy)
		where += " AND c.expires_s <> 0 AND c.expires_s <= $" + strconv.Itoa(len(args))
	}
	within, args := f.Bounds.clause("", "", "c.template_id", args)
	where += within
	status, ok := map[string]string{
		"":             ``,
		"revoked":      ` AND ` + isRevoked,
		"expired":      ` AND NOT ` + isRevoked + ` AND ` + isExpired,
		"key_disabled": ` AND NOT ` + isRevoked + ` AND NOT ` + isExpired + ` AND ` + isDisabled,
		"key_retired":  ` AND NOT ` + isRevoked + ` AND NOT ` + isExpired + ` AND NOT ` + isDisabled + ` AND NOT ` + isTrusted,
		"active":       ` AND NOT ` + isRevoked + ` AND NOT ` + isExpired + ` AND ` + isTrusted,
	}[f.Status]
	if !ok {
		return nil, nil
	}
	return many(ctx, t, scanLedgerEntry, `SELECT `+ledgerColumns+`, u.name, `+isRevoked+`,
			coalesce((SELECT CASE WHEN k.role = 'identity' AND `+isStrict+` THEN 'retired' ELSE k.state END FROM keys k WHERE k.id = c.signer AND k.account_id = c.account_id), ''),
			coalesce((SELECT min(s.due_us) FROM scheduled_revocations s WHERE s.account_id = c.account_id AND s.subject = c.public_key AND s.before_s >= c.iat), 0)
		FROM credentials c JOIN users u ON u.id = c.user_id
		WHERE ($1 = '' OR c.id < $1) AND $2 > 0`+where+status+ledgerOrder, args...)
}

// ledgerColumns is credentialColumns of c.
var ledgerColumns = prefixed("c", credentialColumns)

func scanLedgerEntry(r row) (LedgerEntry, error) {
	var e LedgerEntry
	var due int64
	var err error
	e.Credential, err = scanCredential(rowWith{r, []any{&e.UserName, &e.Revoked, &e.SignerState, &due}})
	e.RevokedAt = fromMicros(due)
	return e, err
}

// NewestCredential returns the newest entry of a user, of one key if publicKey is not
// empty. What is revoked, or about to be, comes after everything else.
func (t *Tx) NewestCredential(ctx context.Context, userID, publicKey string) (Credential, error) {
	return one(ctx, t, scanCredential, `SELECT `+ledgerColumns+` FROM credentials c
		WHERE c.user_id = $1 AND ($2 = '' OR c.public_key = $2)
		ORDER BY CASE WHEN `+isRevoked+` OR EXISTS (SELECT 1 FROM scheduled_revocations s
			WHERE s.account_id = c.account_id AND s.subject = c.public_key AND s.before_s >= c.iat) THEN 1 ELSE 0 END,
			c.created_us DESC, c.iat DESC, c.id DESC LIMIT 1`, userID, publicKey)
}

// CountUnexpired returns how many credentials of the user are neither expired nor
// revoked.
func (t *Tx) CountUnexpired(ctx context.Context, userID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM credentials c
		WHERE c.user_id = $1 AND (c.expires_s = 0 OR c.expires_s >= $2) AND NOT `+isRevoked, userID, t.now.Unix())
}

// CountHeldBack returns how many unexpired credentials of the user are refused by
// nothing but revocations of the cause.
func (t *Tx) CountHeldBack(ctx context.Context, userID, cause string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM credentials c
		WHERE c.user_id = $1 AND (c.expires_s = 0 OR c.expires_s >= $2) AND `+isRevoked+`
		AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.account_id = c.account_id AND r.removed_us = 0 AND r.cause <> $3
			AND r.subject IN (c.public_key, '*') AND r.before_s >= c.iat)`, userID, t.now.Unix(), cause)
}

// KeyHistory is what is on record of one public key in an account.
type KeyHistory struct {
	// PublicKey is U…, UserID to whom it was issued, Origin where the key was made.
	PublicKey, UserID, Origin string
	// IssuedAt is the highest iat.
	IssuedAt int64
}

// KeyHistories returns what is on record of the public keys; a key that was never
// issued to has no entry.
func (t *Tx) KeyHistories(ctx context.Context, accountID string, keys []string) (map[string]KeyHistory, error) {
	list, err := among(ctx, t, func(r row) (KeyHistory, error) {
		var h KeyHistory
		err := r.Scan(&h.PublicKey, &h.UserID, &h.Origin, &h.IssuedAt)
		return h, err
	}, func(table string) string {
		return `SELECT public_key, user_id, key_origin, iat FROM ` + table + ` CROSS JOIN credentials WHERE account_id = $2 AND public_key = e.value`
	}, keys, accountID)
	out := make(map[string]KeyHistory, len(list))
	for _, h := range list {
		if known, ok := out[h.PublicKey]; ok {
			h.UserID = min(h.UserID, known.UserID)
			if known.IssuedAt > h.IssuedAt {
				h.Origin, h.IssuedAt = known.Origin, known.IssuedAt
			}
		}
		out[h.PublicKey] = h
	}
	return out, err
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
