package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"chancery/claims"
)

// Drift is one thing that servers held, or were sent, and that Chancery had not given
// them.
type Drift struct {
	// ID is drf_….
	ID         string
	OperatorID string
	// AccountID is a public key A…, AccountName what it is called here, or in its JWT.
	AccountID, AccountName string
	// ServerID is the server N… that holds it; empty where that cannot be told.
	ServerID, ServerName string
	Kind                 claims.DriftKind
	State                claims.DriftState
	// Decision is what becomes of it, by a person or by the operator's policy; DecidedBy
	// is who said so.
	Decision  claims.DriftDecision
	DecidedBy string
	Seen      claims.DriftSeen
	// Times is how often it was noticed while it was open.
	Times int64
	// Signer and IssuedAt, in Unix seconds, are those of the JWT that was found.
	Signer   string
	IssuedAt int64
	// OursVersion is the version of the account's JWT that servers should have had.
	OursVersion int64
	// Detail is a sentence for people.
	Detail string
	// Diff is how what was found differs from ours.
	Diff []DriftChange
	// JWT is what was found; empty where there is none, or where it was dropped.
	JWT                 string
	Found, Last, Closed time.Time
}

// DriftChange is one difference in words.
type DriftChange struct {
	Pointer string `json:"pointer"`
	Field   string `json:"field"`
	Ours    string `json:"ours,omitempty"`
	Theirs  string `json:"theirs,omitempty"`
	Text    string `json:"text"`
}

const driftColumns = `id, operator_id, account_id, account_name, server_id, server_name, kind, state, decision, decided_by, seen, times, signer, iat,
	ours_version, detail, diff, jwt, found_us, last_us, closed_us`

func scanDrift(r row) (Drift, error) {
	var d Drift
	var diff string
	var found, last, closed int64
	if err := r.Scan(&d.ID, &d.OperatorID, &d.AccountID, &d.AccountName, &d.ServerID, &d.ServerName, &d.Kind, &d.State, &d.Decision, &d.DecidedBy,
		&d.Seen, &d.Times, &d.Signer, &d.IssuedAt, &d.OursVersion, &d.Detail, &diff, &d.JWT, &found, &last, &closed); err != nil {
		return d, err
	}
	d.Found, d.Last, d.Closed = fromMicros(found), fromMicros(last), fromMicros(closed)
	return d, json.Unmarshal([]byte(diff), &d.Diff)
}

// How many records of an operator are kept, and how many with the JWT that was found.
const (
	KeptDrifts      = 1000
	KeptDriftBodies = 50
)

// PutDrift records d, or that the open one of its account and kind was noticed again,
// with what was found last. What was decided to be ignored stays so while the same bytes
// are found. It returns the record, and whether it is new.
func (t *Tx) PutDrift(ctx context.Context, d Drift) (Drift, bool, error) {
	diff, err := toJSON(d.Diff)
	if err != nil {
		return d, false, err
	}
	if d.Diff == nil {
		diff = "[]"
	}
	id, err := t.NewID("drf_")
	if err != nil {
		return d, false, err
	}
	ignored, err := many(ctx, t, scanDrift, `SELECT `+driftColumns+` FROM drifts WHERE account_id = $1 AND state = 'ignored' AND operator_id = $2 AND kind = $3 AND jwt = $4`,
		d.AccountID, d.OperatorID, string(d.Kind), d.JWT)
	if err != nil || len(ignored) > 0 && d.JWT != "" {
		if err == nil {
			d = ignored[0]
		}
		return d, false, err
	}
	// jwt comes as it is only where a JWT can be acted upon later.
	out, err := one(ctx, t, scanDrift, `INSERT INTO drifts (id, operator_id, account_id, account_name, server_id, server_name, kind, state, seen, signer, iat,
			ours_version, detail, diff, jwt, found_us, last_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $9, $10, $11, $12, $13, $14, $15, $15)
		ON CONFLICT (operator_id, account_id, kind) WHERE state = 'open' DO UPDATE SET times = drifts.times + 1, last_us = excluded.last_us,
			signer = excluded.signer, iat = excluded.iat, detail = excluded.detail, diff = excluded.diff, jwt = excluded.jwt, ours_version = excluded.ours_version,
			decision = CASE WHEN drifts.jwt = excluded.jwt THEN drifts.decision ELSE '' END,
			server_id = CASE WHEN drifts.server_id = excluded.server_id THEN drifts.server_id ELSE '' END,
			server_name = CASE WHEN drifts.server_id = excluded.server_id THEN drifts.server_name ELSE '' END
		RETURNING `+driftColumns,
		id, d.OperatorID, d.AccountID, d.AccountName, d.ServerID, d.ServerName, string(d.Kind), string(d.Seen), d.Signer, d.IssuedAt,
		d.OursVersion, d.Detail, diff, d.JWT, micros(t.now))
	if err != nil || out.ID != id {
		return out, false, err
	}
	_, err = t.exec(ctx, `UPDATE drifts SET jwt = '' WHERE operator_id = $1 AND jwt <> '' AND id NOT IN
		(SELECT id FROM drifts WHERE operator_id = $1 AND jwt <> '' ORDER BY CASE WHEN state IN ('open', 'ignored') THEN 0 ELSE 1 END, found_us DESC, id DESC LIMIT $2)`,
		d.OperatorID, int64(KeptDriftBodies))
	if err != nil {
		return out, true, err
	}
	_, err = t.exec(ctx, `DELETE FROM drifts WHERE operator_id = $1 AND id NOT IN
		(SELECT id FROM drifts WHERE operator_id = $1 ORDER BY CASE WHEN state = 'open' THEN 0 ELSE 1 END, found_us DESC, id DESC LIMIT $2)`,
		d.OperatorID, int64(KeptDrifts))
	return out, true, err
}

// GetDrift returns a record.
func (t *Tx) GetDrift(ctx context.Context, id string) (Drift, error) {
	return one(ctx, t, scanDrift, `SELECT `+driftColumns+` FROM drifts WHERE id = $1`, id)
}

// LockDrift is GetDrift, and keeps the record as it is until the transaction ends.
func (t *Tx) LockDrift(ctx context.Context, id string) (Drift, error) {
	return one(ctx, t, scanDrift, `UPDATE drifts SET times = times WHERE id = $1 RETURNING `+driftColumns, id)
}

// DriftPage asks for a page of records, the newest first.
type DriftPage struct {
	// State keeps those in one state, AccountID those of one account; empty keeps all.
	State     claims.DriftState
	AccountID string
	// Before and BeforeID are the last row of the page before; zero at first.
	Before   time.Time
	BeforeID string
	Limit    int
	// Bounds are what the list may show; nil is everything.
	Bounds *Bounds
}

// ListDrifts returns a page of an operator's records, the newest first, without the JWTs
// that were found.
func (t *Tx) ListDrifts(ctx context.Context, operatorID string, p DriftPage) ([]Drift, error) {
	before := micros(p.Before)
	if p.BeforeID == "" {
		before = 1 << 62
	}
	within, args := p.Bounds.clause("", "account_id", "", []any{operatorID, string(p.State), before, p.BeforeID, p.Limit, p.AccountID})
	list, err := many(ctx, t, scanDrift, `SELECT `+driftColumns+` FROM drifts
		WHERE operator_id = $1 AND ($2 = '' OR state = $2) AND ($6 = '' OR account_id = $6) AND (found_us < $3 OR found_us = $3 AND id < $4)`+within+`
		ORDER BY found_us DESC, id DESC LIMIT $5`, args...)
	for n := range list {
		list[n].JWT = ""
	}
	return list, err
}

// OpenDrifts returns up to limit open records of an operator, the oldest first.
func (t *Tx) OpenDrifts(ctx context.Context, operatorID string, limit int) ([]Drift, error) {
	return many(ctx, t, scanDrift, `SELECT `+driftColumns+` FROM drifts WHERE operator_id = $1 AND state = 'open' ORDER BY found_us, id LIMIT $2`, operatorID, limit)
}

// DecideDrift stores what becomes of an open record; ignoring it closes it.
func (t *Tx) DecideDrift(ctx context.Context, id string, decision claims.DriftDecision, by string) error {
	return t.must(ctx, `UPDATE drifts SET decision = $2, decided_by = $3, state = CASE WHEN $2 = 'ignore' THEN 'ignored' ELSE state END,
		closed_us = CASE WHEN $2 = 'ignore' THEN CAST($4 AS BIGINT) ELSE closed_us END WHERE id = $1 AND state = 'open'`, id, string(decision), by, micros(t.now))
}

// CloseDrift ends an open record; one that is not open stays as it is.
func (t *Tx) CloseDrift(ctx context.Context, id string, state claims.DriftState) error {
	_, err := t.exec(ctx, `UPDATE drifts SET state = $2, closed_us = $3 WHERE id = $1 AND state = 'open'`, id, string(state), micros(t.now))
	return err
}

// DriftsSince tells whether a record of the account with those bytes was made or renewed
// at or after since: another replica was there first.
func (t *Tx) DriftsSince(ctx context.Context, accountID, token string, since time.Time) (bool, error) {
	n, err := one(ctx, t, scanOne[int64], `SELECT count(*) FROM drifts WHERE account_id = $1 AND jwt = $2 AND last_us >= $3`, accountID, token, micros(since))
	return n > 0, err
}

// SignedVersion returns which version of the account's JWT the text is, 0 when it never
// was one.
func (t *Tx) SignedVersion(ctx context.Context, accountID string, issuedAt int64, token string) (int64, error) {
	sum := sha256.Sum256([]byte(token))
	v, err := one(ctx, t, scanOne[int64], `SELECT jwt_version FROM jwts WHERE subject = $1 AND iat = $2 AND sha256 = $3`, accountID, issuedAt, sum[:])
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return v, err
}

// IsOwed tells whether a delivery of the account is under way or due.
func (t *Tx) IsOwed(ctx context.Context, accountID string) (bool, error) {
	n, err := one(ctx, t, scanOne[int64], `SELECT count(*) FROM outbox WHERE account_id = $1`, accountID)
	return n > 0, err
}

// ClaimOwedOf leases the row of one account to owner, unless somebody holds it.
func (t *Tx) ClaimOwedOf(ctx context.Context, accountID, owner string, lease time.Duration) (Owed, error) {
	return one(ctx, t, scanOwed, `UPDATE outbox SET lease_owner = $3, lease_epoch = `+nextEpoch+`, lease_until_us = $4, not_before_us = $4
		WHERE account_id = $2 AND lease_until_us < $1
		RETURNING `+owedColumns, micros(t.now), accountID, owner, micros(t.now.Add(lease)))
}

// Sweep is who looks for drift at an operator's servers, and how far that is.
type Sweep struct {
	Owner string
	Until time.Time
	// Recent is when the accounts that changed lately were last looked at, Whole when all
	// of them were; zero if never.
	Recent, Whole time.Time
}

// HoldSweep makes owner the one who looks for drift until lease has passed, and stores
// how far it is; ok is false while somebody else does.
func (t *Tx) HoldSweep(ctx context.Context, operatorID string, s Sweep, lease time.Duration) (ok bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO sweeps (operator_id, owner, until_us, recent_us, whole_us) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (operator_id) DO UPDATE SET owner = excluded.owner, until_us = excluded.until_us,
			recent_us = CASE WHEN excluded.recent_us > sweeps.recent_us THEN excluded.recent_us ELSE sweeps.recent_us END,
			whole_us = CASE WHEN excluded.whole_us > sweeps.whole_us THEN excluded.whole_us ELSE sweeps.whole_us END
		WHERE sweeps.owner = excluded.owner OR sweeps.until_us < $6`,
		operatorID, s.Owner, micros(t.now.Add(lease)), micros(s.Recent), micros(s.Whole), micros(t.now))
	return n == 1, err
}

// FreeSweep gives up what owner holds.
func (t *Tx) FreeSweep(ctx context.Context, operatorID, owner string) error {
	_, err := t.exec(ctx, `UPDATE sweeps SET until_us = 0 WHERE operator_id = $1 AND owner = $2`, operatorID, owner)
	return err
}

// GetSweep returns who looks for drift; zero if nobody ever did.
func (t *Tx) GetSweep(ctx context.Context, operatorID string) (Sweep, error) {
	s, err := one(ctx, t, func(r row) (Sweep, error) {
		var s Sweep
		var until, recent, whole int64
		err := r.Scan(&s.Owner, &until, &recent, &whole)
		s.Until, s.Recent, s.Whole = fromMicros(until), fromMicros(recent), fromMicros(whole)
		return s, err
	}, `SELECT owner, until_us, recent_us, whole_us FROM sweeps WHERE operator_id = $1`, operatorID)
	if errors.Is(err, ErrNotFound) {
		return Sweep{}, nil
	}
	return s, err
}
