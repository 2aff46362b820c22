package store

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Revocation refuses everything issued to its subject at or before Before.
type Revocation struct {
	// ID is rev_….
	ID        string
	AccountID string
	// Subject is a user's public key U…, or * for every user of the account.
	Subject string
	// Before is Unix seconds.
	Before int64
	// Cause is what it belongs to: empty, key:A…, template:tpl_…, user:usr_….
	Cause                    string
	Reason, Actor, RequestID string
	Created                  time.Time
	// Removed is when it left the account's JWT, zero while it is in force; Removal
	// is compacted or lifted, RemovedBy who did it.
	Removed            time.Time
	Removal, RemovedBy string
}

// The ways in which a revocation leaves. A compacted one revoked nothing any more,
// or was covered by everybody's; a lifted one was taken back.
const (
	Compacted = "compacted"
	Lifted    = "lifted"
)

const (
	createdColumns    = `id, account_id, subject, before_s, cause, reason, actor, request_id, created_us`
	revocationColumns = createdColumns + `, removed_us, removal, removed_by`
)

func scanRevocation(r row) (Revocation, error) {
	var v Revocation
	var created, removed int64
	err := r.Scan(&v.ID, &v.AccountID, &v.Subject, &v.Before, &v.Cause, &v.Reason, &v.Actor, &v.RequestID, &created, &removed, &v.Removal, &v.RemovedBy)
	v.Created, v.Removed = fromMicros(created), fromMicros(removed)
	return v, err
}

// bulk is how many values one statement takes.
const bulk = 1000

// placeholders returns n parameters from $first on, separated by commas.
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(first+i))
	}
	return b.String()
}

// inBulk calls f with the values, a bulk at a time, and the parameters that stand
// for them from $first on.
func inBulk(values []string, first int, f func(parameters string, values []any) error) error {
	for len(values) > 0 {
		n := min(len(values), bulk)
		args := make([]any, n)
		for i, v := range values[:n] {
			args[i] = v
		}
		if err := f(placeholders(first, n), args); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// CreateRevocations adds all of them, many in one statement; earlier ones of a subject
// stay on record.
func (t *Tx) CreateRevocations(ctx context.Context, list []Revocation) error {
	rows := make([][]any, len(list))
	for n, v := range list {
		rows[n] = []any{v.ID, v.AccountID, v.Subject, v.Before, v.Cause, v.Reason, v.Actor, v.RequestID, micros(t.now)}
	}
	return t.insertAll(ctx, "revocations", createdColumns, rows)
}

// EffectiveRevocations returns what the account's JWT must carry: for each subject
// the highest time of those in force.
func (t *Tx) EffectiveRevocations(ctx context.Context, accountID string) (map[string]int64, error) {
	return t.highest(ctx, `r.removed_us = 0`, accountID)
}

// CompactedRevocations returns the highest time of the compacted ones, by subject.
func (t *Tx) CompactedRevocations(ctx context.Context, accountID string) (map[string]int64, error) {
	return t.highest(ctx, `r.removal = 'compacted'`, accountID)
}

// RemovedRevocations returns those of the account that are not in force any more, of
// some subjects: Subject and Before of each.
func (t *Tx) RemovedRevocations(ctx context.Context, accountID string, subjects []string) (list []Revocation, err error) {
	err = inBulk(subjects, 2, func(parameters string, values []any) error {
		some, err := many(ctx, t, func(r row) (Revocation, error) {
			v := Revocation{AccountID: accountID}
			err := r.Scan(&v.Subject, &v.Before)
			return v, err
		}, `SELECT DISTINCT subject, before_s FROM revocations WHERE account_id = $1 AND removed_us <> 0 AND subject IN (`+parameters+`)`, append([]any{accountID}, values...)...)
		list = append(list, some...)
		return err
	})
	return list, err
}

// RevocationsWithout is EffectiveRevocations as it were without the chosen ones.
func (t *Tx) RevocationsWithout(ctx context.Context, accountID string, of RevocationsOf) (map[string]int64, error) {
	which, value := of.where()
	return t.highest(ctx, `r.removed_us = 0 AND NOT (`+which+`)`, accountID, value)
}

func (t *Tx) highest(ctx context.Context, which string, args ...any) (map[string]int64, error) {
	list, err := many(ctx, t, scanHighest, highestTimes(which), args...)
	out := make(map[string]int64, len(list))
	for _, e := range list {
		out[e.subject] = e.before
	}
	return out, err
}

// highestTime is the highest time up to which a subject is revoked.
type highestTime struct {
	subject string
	before  int64
}

func scanHighest(r row) (highestTime, error) {
	var h highestTime
	err := r.Scan(&h.subject, &h.before)
	return h, err
}

// highestTimes asks for the highest times of an account's revocations, of which only some
// count.
func highestTimes(which string) string {
	return `SELECT r.subject, max(r.before_s) FROM revocations r WHERE r.account_id = $1 AND ` + which + ` GROUP BY r.subject`
}

// CountRevocations returns how many subjects of the account are revoked.
func (t *Tx) CountRevocations(ctx context.Context, accountID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(DISTINCT subject) FROM revocations WHERE account_id = $1 AND removed_us = 0`, accountID)
}

// RevocationFilter narrows a list; empty fields do not.
type RevocationFilter struct {
	UserID, Cause, Subject string
	// Removed lists those that left instead of those in force.
	Removed bool
}

// ListRevocations returns up to limit revocations, newest first, before the one with
// identity beforeID. Of a subject that was revoked several times only the one that
// holds is listed, and of those that left all are.
func (t *Tx) ListRevocations(ctx context.Context, accountID string, f RevocationFilter, beforeID string, limit int) ([]Revocation, error) {
	which := `removed_us = 0 AND r.id = (SELECT o.id FROM revocations o WHERE o.account_id = r.account_id AND o.subject = r.subject AND o.removed_us = 0
		ORDER BY o.before_s DESC, o.id DESC LIMIT 1)`
	if f.Removed {
		which = `removed_us <> 0`
	}
	return many(ctx, t, scanRevocation, `SELECT `+revocationColumns+` FROM revocations r
		WHERE account_id = $1 AND ($2 = '' OR id < $2) AND ($4 = '' OR cause = $4) AND ($6 = '' OR subject = $6)
		AND ($5 = '' OR subject IN (SELECT c.public_key FROM credentials c WHERE c.user_id = $5 AND c.account_id = $1))
		AND `+which+` ORDER BY id DESC LIMIT $3`, accountID, beforeID, limit, f.Cause, f.UserID, f.Subject)
}

// GetRevocation returns the revocation of the subject that holds.
func (t *Tx) GetRevocation(ctx context.Context, accountID, subject string) (Revocation, error) {
	return one(ctx, t, scanRevocation, `SELECT `+revocationColumns+` FROM revocations
		WHERE account_id = $1 AND subject = $2 AND removed_us = 0 ORDER BY before_s DESC, id DESC LIMIT 1`, accountID, subject)
}

// CompactRevocations takes the revocations of the subjects out of force as
// compacted.
func (t *Tx) CompactRevocations(ctx context.Context, accountID string, subjects []string, by string) error {
	return inBulk(subjects, 5, func(parameters string, values []any) error {
		_, err := t.exec(ctx, `UPDATE revocations SET removed_us = $2, removal = $3, removed_by = $4
			WHERE account_id = $1 AND removed_us = 0 AND subject IN (`+parameters+`)`,
			append([]any{accountID, micros(t.now), Compacted, by}, values...)...)
		return err
	})
}

// RestoreCompacted puts the compacted revocations of the subjects in force again:
// what covered them is lifted.
func (t *Tx) RestoreCompacted(ctx context.Context, accountID string, subjects []string) error {
	return inBulk(subjects, 3, func(parameters string, values []any) error {
		_, err := t.exec(ctx, `UPDATE revocations SET removed_us = 0, removal = '', removed_by = ''
			WHERE account_id = $1 AND removal = $2 AND subject IN (`+parameters+`)`, append([]any{accountID, Compacted}, values...)...)
		return err
	})
}

// DisabledCause starts the cause of the revocations that come with disabling or
// deleting a user; the user's identity follows.
const DisabledCause = "user:"

// RevocationsOf says which revocations of an account are meant. One field is set.
// Those that came with disabling or deleting a user are meant by their Cause alone.
type RevocationsOf struct{ Subject, UserID, Cause string }

// where returns the condition on a row r, with the value as parameter $2.
func (s RevocationsOf) where() (condition, value string) {
	switch {
	case s.UserID != "":
		return `(r.cause NOT LIKE '` + DisabledCause + `%' AND r.subject IN (SELECT k.public_key FROM credentials k WHERE k.account_id = r.account_id AND k.user_id = $2))`, s.UserID
	case s.Cause != "":
		return `r.cause = $2`, s.Cause
	}
	return `(r.cause NOT LIKE '` + DisabledCause + `%' AND r.subject = $2)`, s.Subject
}

// LiftRevocations takes the revocations out of force as lifted, and returns how many
// those are. Those that were compacted count as lifted too: they must not come back
// when what covered them is lifted.
func (t *Tx) LiftRevocations(ctx context.Context, accountID string, of RevocationsOf, by string) (int64, error) {
	which, value := of.where()
	_, err := t.exec(ctx, `UPDATE revocations AS r SET removal = $3, removed_by = $4 WHERE r.account_id = $1 AND r.removal = $5 AND `+which,
		accountID, value, Lifted, by, Compacted)
	if err != nil {
		return 0, err
	}
	return t.exec(ctx, `UPDATE revocations AS r SET removed_us = $3, removal = $4, removed_by = $5
		WHERE r.account_id = $1 AND r.removed_us = 0 AND `+which, accountID, value, micros(t.now), Lifted, by)
}

// CountRevocationsOf returns how many subjects the chosen revocations in force have.
func (t *Tx) CountRevocationsOf(ctx context.Context, accountID string, of RevocationsOf) (int64, error) {
	which, value := of.where()
	return one(ctx, t, scanOne[int64], `SELECT count(DISTINCT r.subject) FROM revocations r WHERE r.account_id = $1 AND r.removed_us = 0 AND `+which, accountID, value)
}
