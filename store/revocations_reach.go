package store

import (
	"context"
	"math"
)

// What revocations have to do with the ledger: whom they reach, what expired, what
// comes back. Everything here is one statement for any number of rows.

// IssuedBy is the column of the ledger by which credentials are chosen.
type IssuedBy string

// The ways to choose credentials.
const (
	ByUser      IssuedBy = "user_id"
	ByTemplate  IssuedBy = "template_id"
	BySigner    IssuedBy = "signer"
	ByPublicKey IssuedBy = "public_key"
)

// The revocations in force as a table e to join: one row for each public key, so
// that a statement over a whole account reads them once. With it stands accepted,
// the condition that nothing refuses the credential c. Both want the account as $1.
const (
	inForce = ` LEFT JOIN (SELECT subject, max(before_s) AS before_s FROM revocations WHERE account_id = $1 AND removed_us = 0 GROUP BY subject) e
		ON e.subject = c.public_key `
	accepted = ` (e.before_s IS NULL OR e.before_s < c.iat)
		AND c.iat > (SELECT coalesce(max(x.before_s), 0) FROM revocations x WHERE x.account_id = $1 AND x.subject = '*' AND x.removed_us = 0) `
)

// Holder is a public key that credentials were issued to.
type Holder struct {
	PublicKey string
	// Highest is the highest iat of all that was ever issued to it in the account.
	Highest int64
	// Credentials is how many unexpired ones, not revoked yet, it has up to the time
	// that was asked for.
	Credentials int64
}

// Holders returns the public keys with unexpired credentials that were chosen by
// the value of a column and issued up to the second upTo (0: any time), in order.
func (t *Tx) Holders(ctx context.Context, accountID string, by IssuedBy, value string, upTo int64) ([]Holder, error) {
	if upTo == 0 {
		upTo = math.MaxInt64
	}
	return many(ctx, t, func(r row) (Holder, error) {
		var h Holder
		err := r.Scan(&h.PublicKey, &h.Highest, &h.Credentials)
		return h, err
	}, `SELECT c.public_key, max(c.iat), sum(CASE WHEN c.iat <= $3 AND (c.expires_s = 0 OR c.expires_s >= $4) AND `+accepted+` THEN 1 ELSE 0 END)
		FROM credentials c `+inForce+` WHERE c.account_id = $1 AND c.public_key IN (SELECT k.public_key FROM credentials k
			WHERE k.account_id = $1 AND k.`+string(by)+` = $2 AND k.iat <= $3 AND (k.expires_s = 0 OR k.expires_s >= $4))
		GROUP BY c.public_key ORDER BY c.public_key`, accountID, value, upTo, t.now.Unix())
}

// Living returns the credentials of the account, chosen by one of the values of a
// column, that are neither expired nor revoked. At most a thousand values are asked
// for at once.
func (t *Tx) Living(ctx context.Context, accountID string, by IssuedBy, values []string) (list []Credential, err error) {
	err = inBulk(values, 3, func(parameters string, values []any) error {
		some, err := many(ctx, t, scanCredential, `SELECT `+credentialColumns+` FROM credentials c `+inForce+`
			WHERE account_id = $1 AND (expires_s = 0 OR expires_s >= $2) AND `+string(by)+` IN (`+parameters+`) AND `+accepted, append([]any{accountID, t.now.Unix()}, values...)...)
		list = append(list, some...)
		return err
	})
	return list, err
}

// isImported is 1 for a credential c whose key had others before, elsewhere: nobody
// knows when the last of them expires.
const isImported = `CASE WHEN c.key_origin = 'imported' OR EXISTS (SELECT 1 FROM revocations i
	WHERE i.account_id = c.account_id AND i.subject = c.public_key AND i.cause = 'import') THEN 1 ELSE 0 END`

// RevokedWhole is the whole of what one entry revokes: the first iat and the last
// expiry, both Unix seconds; LastExpiry is 0 when one never expires.
type RevokedWhole struct {
	Subject              string
	FirstIAT, LastExpiry int64
}

// RevokedIssuances returns, for each revoked public key of the account that
// something was issued to, the whole of what its entry revokes. With compacted it
// is asked of the entries that were compacted instead.
func (t *Tx) RevokedIssuances(ctx context.Context, accountID string, compacted bool) ([]RevokedWhole, error) {
	which := `removed_us = 0`
	if compacted {
		which = `removal = 'compacted'`
	}
	return many(ctx, t, func(r row) (RevokedWhole, error) {
		var s RevokedWhole
		err := r.Scan(&s.Subject, &s.FirstIAT, &s.LastExpiry)
		return s, err
	}, `SELECT e.subject, min(c.iat), CASE WHEN min(c.expires_s) = 0 OR max(`+isImported+`) = 1 THEN 0 ELSE max(c.expires_s) END
		FROM (SELECT subject, max(before_s) AS before_s FROM revocations WHERE account_id = $1 AND `+which+` GROUP BY subject) e
		JOIN credentials c ON c.account_id = $1 AND c.public_key = e.subject AND c.iat <= e.before_s
		GROUP BY e.subject ORDER BY e.subject`, accountID)
}

// MootAccounts returns up to limit identities of accounts not deleted, after afterID and in
// order, that have at least so many entries of public keys all of whose known
// credentials expired before the second expired.
func (t *Tx) MootAccounts(ctx context.Context, afterID string, atLeast int, expired int64, limit int) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT r.account_id FROM revocations r
		WHERE r.removed_us = 0 AND r.account_id > $1 AND r.account_id IN (SELECT a.id FROM accounts a WHERE a.deleted_us = 0)
		AND EXISTS (SELECT 1 FROM credentials c WHERE c.account_id = r.account_id AND c.public_key = r.subject AND c.iat <= r.before_s)
		AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.account_id = r.account_id AND c.public_key = r.subject AND c.iat <= r.before_s
			AND (c.expires_s = 0 OR c.expires_s >= $2 OR `+isImported+` = 1))
		GROUP BY r.account_id HAVING count(DISTINCT r.subject) >= $3 ORDER BY r.account_id LIMIT $4`, afterID, expired, atLeast, limit)
}

// Reach is whom one revocation concerns.
type Reach struct {
	// User is the name of whom the key was issued to; empty for nobody known.
	User string
	// Issued is how many credentials it revokes, Unexpired how many of these have
	// not expired.
	Issued, Unexpired int64
	// LastExpiry is when the last of them expires in Unix seconds, 0 for never.
	LastExpiry int64
}

// ReachOf returns the reach of each of the revocations, by identity; one that
// concerns nothing that is known has no entry.
func (t *Tx) ReachOf(ctx context.Context, list []Revocation) (map[string]Reach, error) {
	var keys, everybody []string
	for _, v := range list {
		if v.Subject == "*" {
			everybody = append(everybody, v.ID)
		} else {
			keys = append(keys, v.ID)
		}
	}
	out := map[string]Reach{}
	for _, x := range []struct {
		ids        []string
		user, join string
	}{
		{keys, `min(u.name)`, `c.public_key = r.subject`},
		{everybody, `''`, `r.subject = '*'`},
	} {
		err := inBulk(x.ids, 2, func(parameters string, ids []any) error {
			type entry struct {
				id string
				Reach
			}
			some, err := many(ctx, t, func(r row) (entry, error) {
				var e entry
				err := r.Scan(&e.id, &e.User, &e.Issued, &e.Unexpired, &e.LastExpiry)
				return e, err
			}, `SELECT r.id, `+x.user+`, count(*), sum(CASE WHEN c.expires_s = 0 OR c.expires_s >= $1 THEN 1 ELSE 0 END),
				CASE WHEN min(c.expires_s) = 0 OR max(`+isImported+`) = 1 THEN 0 ELSE max(c.expires_s) END
				FROM revocations r JOIN credentials c ON c.account_id = r.account_id AND c.iat <= r.before_s AND `+x.join+`
				JOIN users u ON u.id = c.user_id WHERE r.id IN (`+parameters+`) GROUP BY r.id`, append([]any{t.now.Unix()}, ids...)...)
			for _, e := range some {
				out[e.id] = e.Reach
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Revival is what a user gets back when revocations are lifted.
type Revival struct {
	User        string
	Credentials int64
}

// Revivals returns, by user, how many unexpired credentials would be accepted again
// without the chosen revocations, up to limit users with the most; and how many of
// what they refuse stays refused by others. Lifting everybody's counts on the
// entries that it had covered when they were compacted: they come back.
func (t *Tx) Revivals(ctx context.Context, accountID string, of RevocationsOf, limit int) (users []Revival, total, refused int64, err error) {
	which, value := of.where()
	standing := `r.removed_us = 0`
	if of.Subject == "*" {
		standing = `(r.removed_us = 0 OR r.removal = 'compacted')`
	}
	// Each side is a table with one row for each subject, read once.
	highest := func(name, condition, subject string) string {
		return ` LEFT JOIN (SELECT r.subject, max(r.before_s) AS before_s FROM revocations r WHERE r.account_id = $1 AND ` + condition + ` GROUP BY r.subject) ` +
			name + ` ON ` + name + `.subject = ` + subject
	}
	from := ` FROM credentials c JOIN users u ON u.id = c.user_id` +
		highest("lk", `r.removed_us = 0 AND `+which, `c.public_key`) + highest("la", `r.removed_us = 0 AND `+which, `'*'`) +
		highest("ok", standing+` AND NOT (`+which+`)`, `c.public_key`) + highest("oa", standing+` AND NOT (`+which+`)`, `'*'`) +
		` WHERE c.account_id = $1 AND (c.expires_s = 0 OR c.expires_s >= $3) AND (lk.before_s >= c.iat OR la.before_s >= c.iat)`
	const others = `(coalesce(ok.before_s, 0) >= c.iat OR coalesce(oa.before_s, 0) >= c.iat)`
	users, err = many(ctx, t, func(r row) (Revival, error) {
		var v Revival
		err := r.Scan(&v.User, &v.Credentials)
		return v, err
	}, `SELECT u.name, count(*)`+from+` AND NOT `+others+` GROUP BY u.name ORDER BY count(*) DESC, u.name LIMIT $4`, accountID, value, t.now.Unix(), limit)
	if err != nil {
		return nil, 0, 0, err
	}
	type counts struct{ total, refused int64 }
	n, err := one(ctx, t, func(r row) (counts, error) {
		var x counts
		err := r.Scan(&x.total, &x.refused)
		return x, err
	}, `SELECT coalesce(sum(CASE WHEN `+others+` THEN 0 ELSE 1 END), 0), coalesce(sum(CASE WHEN `+others+` THEN 1 ELSE 0 END), 0)`+from, accountID, value, t.now.Unix())
	return users, n.total, n.refused, err
}
