package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// markStates are the states of a delivery by their number in a mark; 0 is none of the
// account's current version.
func markStates() []string {
	return []string{"", "pending", "sent", "acknowledged", "stored", "in_effect", "not_loaded", "error"}
}

// markBits is how many bits a mark takes, markServers how many fit into one column.
const (
	markBits    = 3
	markServers = 20
)

// Marks is how far one account's current JWT got on a list of servers.
type Marks struct {
	AccountID, Name string
	// Version is the current JWT version.
	Version int64
	// States holds the state on each server of the list, empty where nothing is known of
	// the current version.
	States []string
}

// MarksQuery says of which accounts marks are wanted.
type MarksQuery struct {
	OperatorID string
	// Servers are the keys of those that are asked about.
	Servers []string
	// Owed leaves out accounts that owe no delivery.
	Owed bool
	// Within are the only accounts to look at; nil is all.
	Within []string
}

// ListMarks returns the marks of an operator's accounts, by name and then identity. It reads one row for
// each account, whatever the number of servers, and asks once for each 20 servers.
func (t *Tx) ListMarks(ctx context.Context, q MarksQuery) ([]Marks, error) {
	var out []Marks
	servers := q.Servers
	for first := true; first || len(servers) > 0; first = false {
		n := min(len(servers), markServers)
		part, err := t.listMarks(ctx, q, servers[:n])
		if err != nil {
			return nil, err
		}
		servers = servers[n:]
		if first {
			out = part
			continue
		}
		// On PostgreSQL each statement sees what was committed before it.
		byID := make(map[string][]string, len(part))
		for _, m := range part {
			byID[m.AccountID] = m.States
		}
		for i, m := range out {
			states := byID[m.AccountID]
			if states == nil {
				states = make([]string, n)
			}
			out[i].States = append(m.States, states...)
		}
	}
	// Databases sort names by their own rules.
	slices.SortFunc(out, func(a, b Marks) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.AccountID, b.AccountID))
	})
	return out, nil
}

func (t *Tx) listMarks(ctx context.Context, q MarksQuery, servers []string) ([]Marks, error) {
	args := []any{q.OperatorID}
	marks := `0`
	if len(servers) > 0 {
		var place, number strings.Builder
		var keys []string
		for n, id := range servers {
			args = append(args, id)
			keys = append(keys, fmt.Sprintf("$%d", len(args)))
			fmt.Fprintf(&place, " WHEN $%d THEN %d", len(args), int64(1)<<(markBits*n))
		}
		for n, s := range markStates()[1:] {
			fmt.Fprintf(&number, " WHEN '%s' THEN %d", s, n+1)
		}
		marks = `coalesce((SELECT CAST(sum(CASE d.server_id` + place.String() + ` ELSE 0 END * CASE d.state` + number.String() + ` ELSE 0 END) AS BIGINT)
			FROM deliveries d WHERE d.account_id = a.id AND d.jwt_version >= a.jwt_version AND d.server_id IN (` + strings.Join(keys, ", ") + `)), 0)`
	}
	where := ``
	if q.Owed {
		where += ` AND EXISTS (SELECT 1 FROM outbox o WHERE o.account_id = a.id)`
	}
	if q.Within != nil {
		keys := []string{"''"}
		for _, id := range q.Within {
			args = append(args, id)
			keys = append(keys, fmt.Sprintf("$%d", len(args)))
		}
		where += ` AND a.id IN (` + strings.Join(keys, ", ") + `)`
	}
	return many(ctx, t, func(r row) (Marks, error) {
		m := Marks{States: make([]string, len(servers))}
		var packed int64
		err := r.Scan(&m.AccountID, &m.Name, &m.Version, &packed)
		for n := range m.States {
			m.States[n] = markStates()[packed>>(markBits*n)&(1<<markBits-1)]
		}
		return m, err
	}, `SELECT a.id, a.name, a.jwt_version, `+marks+` FROM accounts a WHERE a.operator_id = $1`+where+` ORDER BY a.id`, args...)
}

// ListDeliveriesOf returns the deliveries of some accounts.
func (t *Tx) ListDeliveriesOf(ctx context.Context, accountIDs []string) ([]Delivery, error) {
	return among(ctx, t, scanDelivery, func(table string) string {
		return `SELECT ` + prefixed("d", deliveryColumns) + ` FROM ` + table + ` JOIN deliveries d ON d.account_id = e.value ORDER BY d.account_id, d.server_name, d.server_id`
	}, accountIDs)
}

// OwedSince is since when an account owes a delivery.
type OwedSince struct {
	AccountID string
	// Since is when the oldest change came that is not proven on every server.
	Since time.Time
	// Revoked is when the oldest revocation in force came since then; zero for none.
	Revoked time.Time
}

// ListOwed returns the accounts of the operator that owe a delivery, those that have
// done so longest first. A revocation is signed in the transaction that makes it, hence
// with the time of what it made owed, or later.
func (t *Tx) ListOwed(ctx context.Context, operatorID string) ([]OwedSince, error) {
	return many(ctx, t, func(r row) (OwedSince, error) {
		var o OwedSince
		var since, revoked int64
		err := r.Scan(&o.AccountID, &since, &revoked)
		o.Since, o.Revoked = fromMicros(since), fromMicros(revoked)
		return o, err
	}, `SELECT o.account_id, o.created_us,
			coalesce((SELECT min(r.created_us) FROM revocations r WHERE r.account_id = o.account_id AND r.removed_us = 0 AND r.created_us >= o.created_us), 0)
		FROM outbox o WHERE o.operator_id = $1 ORDER BY o.created_us, o.account_id`, operatorID)
}

// ProveOwed records that what o was claimed for is proven on every server. The row stays
// for the second reading, and is owed since what was signed later, or since now.
func (t *Tx) ProveOwed(ctx context.Context, o Owed) error {
	_, err := t.exec(ctx, `UPDATE outbox SET created_us = CASE WHEN want_jwt_version = $3 THEN CAST($4 AS BIGINT)
			ELSE coalesce((SELECT min(j.created_us) FROM jwts j WHERE j.subject = outbox.account_id AND j.jwt_version > $3), created_us) END
		WHERE account_id = $1 AND lease_epoch = $2 AND lease_owner = $5`, o.AccountID, o.Epoch, o.Version, micros(t.now), o.Owner)
	return err
}

// CountSignedAccounts returns how many accounts of the operator have a signed JWT.
func (t *Tx) CountSignedAccounts(ctx context.Context, operatorID string) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM accounts WHERE operator_id = $1 AND jwt <> ''`, operatorID)
}

// OweAll makes the current JWTs of all of an operator's accounts owed once more, or, where
// accountIDs is not empty, those of these accounts. It returns how many.
func (t *Tx) OweAll(ctx context.Context, operatorID string, accountIDs []string) (int64, error) {
	const owe = `INSERT INTO outbox (account_id, operator_id, want_jwt_version, not_before_us, created_us)
		SELECT a.id, a.operator_id, a.jwt_version, CAST($2 AS BIGINT), CAST($2 AS BIGINT) FROM accounts a WHERE a.jwt <> '' AND `
	const again = ` ON CONFLICT (account_id) DO UPDATE SET
		not_before_us = CASE WHEN outbox.not_before_us < excluded.not_before_us THEN outbox.not_before_us ELSE excluded.not_before_us END`
	if len(accountIDs) == 0 {
		return t.exec(ctx, owe+`a.operator_id = $1 ORDER BY a.id`+again, operatorID, micros(t.now))
	}
	total := int64(0)
	ids := slices.Compact(slices.Sorted(slices.Values(accountIDs))) // all writers of the outbox keep one order
	for _, id := range ids {
		n, err := t.exec(ctx, owe+`a.operator_id = $1 AND a.id = $3`+again, operatorID, micros(t.now), id)
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}
