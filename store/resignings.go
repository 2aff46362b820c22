package store

import (
	"context"
	"crypto/sha256"
)

// Resigning is a batch of accounts that owe a new signature, locked until the
// transaction ends, and everything that their JWTs are built from.
type Resigning struct {
	Accounts []Account
	// Keys, Revocations, Exports and Imports are by account, Templates by identity.
	Keys        map[string][]Key
	Exports     map[string][]Export
	Imports     map[string][]Import
	Templates   map[string]Template
	Revocations map[string]map[string]int64
	// Last is the identity up to which accounts were looked at; "" when none is left.
	Last string
}

// owed is an account that owes a signature, and how long its JWT is.
type owed struct {
	id    string
	bytes int64
}

// ResigningOwed returns up to limit accounts of the operator that owe a new
// signature, after afterID, in order, of together not much more than maxBytes, without
// their JWTs. Accounts that somebody else has locked are left out: what they are
// locked for signs them anyway, or else they still owe it the next time.
func (t *Tx) ResigningOwed(ctx context.Context, operatorID, afterID string, limit int, maxBytes int64) (Resigning, error) {
	out := Resigning{
		Keys: map[string][]Key{}, Templates: map[string]Template{}, Revocations: map[string]map[string]int64{},
		Exports: map[string][]Export{}, Imports: map[string][]Import{},
	}
	list, err := many(ctx, t, func(r row) (owed, error) {
		var o owed
		err := r.Scan(&o.id, &o.bytes)
		return o, err
	}, `SELECT id, octet_length(jwt) FROM accounts WHERE operator_id = $1 AND resign_us <> 0 AND id > $2 ORDER BY id LIMIT $3`+t.store.lockingFree(),
		operatorID, afterID, limit)
	if err != nil || len(list) == 0 {
		return out, err
	}
	mine := map[string]bool{}
	for _, o := range list {
		if maxBytes -= o.bytes; maxBytes < 0 && len(mine) > 0 {
			break
		}
		mine[o.id], out.Last = true, o.id
	}
	err = t.fill(ctx, &out, mine, operatorID, afterID)
	return out, err
}

// inBatch is the condition on accounts a of a batch.
const inBatch = `a.operator_id = $1 AND a.resign_us <> 0 AND a.id > $2 AND a.id <= $3`

func (t *Tx) fill(ctx context.Context, out *Resigning, mine map[string]bool, operatorID, afterID string) error {
	accounts, err := many(ctx, t, scanAccount, `SELECT `+accountWithoutJWT+` FROM accounts a WHERE `+inBatch+` ORDER BY id`, operatorID, afterID, out.Last)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if mine[a.ID] {
			out.Accounts = append(out.Accounts, a)
		}
	}
	keys, err := many(ctx, t, scanKey, `SELECT `+keyColumns+` FROM keys WHERE operator_id = $1 AND account_id IN (SELECT a.id FROM accounts a WHERE `+inBatch+`)
		ORDER BY created_us, id`, operatorID, afterID, out.Last)
	if err != nil {
		return err
	}
	for _, k := range keys {
		out.Keys[k.AccountID] = append(out.Keys[k.AccountID], k)
	}
	templates, err := many(ctx, t, scanTemplate, `SELECT `+templateColumns+` FROM templates WHERE id IN (SELECT k.template_id FROM keys k
		WHERE k.operator_id = $1 AND k.template_id <> '' AND k.account_id IN (SELECT a.id FROM accounts a WHERE `+inBatch+`))`, operatorID, afterID, out.Last)
	if err != nil {
		return err
	}
	for _, x := range templates {
		out.Templates[x.ID] = x
	}
	type entry struct {
		account, subject string
		before           int64
	}
	revoked, err := many(ctx, t, func(r row) (entry, error) {
		var e entry
		err := r.Scan(&e.account, &e.subject, &e.before)
		return e, err
	}, `SELECT account_id, subject, max(before_s) FROM revocations
		WHERE removed_us = 0 AND account_id IN (SELECT a.id FROM accounts a WHERE `+inBatch+`) GROUP BY account_id, subject`, operatorID, afterID, out.Last)
	for _, e := range revoked {
		if out.Revocations[e.account] == nil {
			out.Revocations[e.account] = map[string]int64{}
		}
		out.Revocations[e.account][e.subject] = e.before
	}
	if err != nil {
		return err
	}
	return t.fillSharing(ctx, out, operatorID, afterID)
}

func (t *Tx) fillSharing(ctx context.Context, out *Resigning, operatorID, afterID string) error {
	exports, err := many(ctx, t, scanExport, `SELECT `+exportColumns+` FROM exports WHERE deleted_us = 0
		AND account_id IN (SELECT a.id FROM accounts a WHERE `+inBatch+`) ORDER BY id`, operatorID, afterID, out.Last)
	if err != nil {
		return err
	}
	for _, e := range exports {
		out.Exports[e.AccountID] = append(out.Exports[e.AccountID], e)
	}
	imports, err := many(ctx, t, scanImport, `SELECT `+importColumns+` FROM imports
		WHERE account_id IN (SELECT a.id FROM accounts a WHERE `+inBatch+`) ORDER BY id`, operatorID, afterID, out.Last)
	for _, m := range imports {
		out.Imports[m.AccountID] = append(out.Imports[m.AccountID], m)
	}
	return err
}

// OwingOperators returns the identities of the operators that have accounts which owe
// a new signature. With the signing switch off they wait, unless a key that signed some
// is due to retire: one that is in wrong hands must not stay for the sake of the switch.
func (t *Tx) OwingOperators(ctx context.Context) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT id FROM operators o
		WHERE state <> 'deleted' AND EXISTS (SELECT 1 FROM accounts a WHERE a.operator_id = o.id AND a.resign_us <> 0)
		AND (signing OR EXISTS (SELECT 1 FROM keys k WHERE k.operator_id = o.id AND k.account_id = '' AND k.role = 'signing'
			AND k.state = 'retiring' AND k.retire_at_us <> 0 AND k.retire_at_us <= $1)) ORDER BY id`, micros(t.now))
}

// PutAccountJWTs does for many accounts at once what PutJWT does for one. The caller
// has locked the accounts; each JWT's version is one more than its account's.
func (t *Tx) PutAccountJWTs(ctx context.Context, list []JWT) error {
	if len(list) == 0 {
		return nil
	}
	now := micros(t.now)
	jwts, changes := make([][]any, len(list)), make([][]any, len(list))
	var ids, old []string
	for n, j := range list {
		id, err := t.NewID("chg_")
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(j.Token))
		jwts[n] = []any{j.Subject, j.Version, "account", j.IssuedAt, j.JTI, sum[:], j.Signer, j.Actor, j.RequestID, j.Token, now}
		changes[n] = []any{id, "account", j.OperatorID, j.Subject, j.Subject, j.Version, now}
		ids = append(ids, j.Subject)
		if j.Version > KeptBodies {
			old = append(old, j.Subject)
		}
	}
	if err := t.insertAll(ctx, "jwts", `subject, jwt_version, kind, iat, jti, sha256, signer, actor, request_id, jwt, created_us`, jwts); err != nil {
		return err
	}
	if err := t.serveNewest(ctx, ids); err != nil {
		return err
	}
	if err := t.insertAll(ctx, "changes", `id, kind, operator_id, account_id, subject, jwt_version, created_us`, changes); err != nil {
		return err
	}
	return t.dropOldBodies(ctx, old)
}

// serveNewest makes the version after their current one the accounts' current one, and
// owes its delivery.
func (t *Tx) serveNewest(ctx context.Context, ids []string) error {
	values, all, err := t.values(ids)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `UPDATE accounts SET jwt = j.jwt, iat = j.iat, jti = j.jti, signer = j.signer, jwt_version = j.jwt_version, updated_us = $2, resign_us = 0, verbatim = FALSE,
		`+renewed(`j.iat`)+` FROM `+values+` CROSS JOIN jwts j WHERE accounts.id = e.value AND j.subject = e.value AND j.jwt_version = accounts.jwt_version + 1`, all, micros(t.now))
	if err != nil {
		return err
	}
	if n != int64(len(ids)) {
		return ErrNotFound
	}
	_, err = t.exec(ctx, `INSERT INTO outbox (account_id, operator_id, want_jwt_version, not_before_us, created_us)
		SELECT id, operator_id, jwt_version, 0, CAST($2 AS BIGINT) FROM `+values+` CROSS JOIN accounts WHERE id = e.value
		ON CONFLICT (account_id) DO UPDATE SET want_jwt_version = excluded.want_jwt_version, not_before_us = 0, attempts = 0, after_until_us = 0`, all, micros(t.now))
	return err
}

// dropOldBodies keeps the newest KeptBodies versions of the accounts with their body.
func (t *Tx) dropOldBodies(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	values, all, err := t.values(ids)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE jwts SET jwt = '' FROM `+values+` CROSS JOIN accounts a
		WHERE a.id = e.value AND jwts.subject = e.value AND jwts.jwt_version <= a.jwt_version - $2 AND jwts.jwt <> ''`, all, int64(KeptBodies))
	return err
}
