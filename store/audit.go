package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AuditEntry is one line of the audit log. Its JSON is what the chain hashes: a field
// that is added later stands at the end and is left out where it is empty, so that
// what was chained before keeps its hash.
type AuditEntry struct {
	ID string `json:"id"`
	// Seq has no gaps and starts at 1; 0 until the sequencer has been there.
	Seq int64 `json:"seq"`
	// At is microseconds since 1970.
	At         int64  `json:"at_us"`
	Actor      string `json:"actor"`
	ActorKind  string `json:"actor_kind"`
	Action     string `json:"action"`
	TargetKind string `json:"target_kind"`
	Target     string `json:"target"`
	// Outcome is done or denied.
	Outcome   string `json:"outcome"`
	RequestID string `json:"request_id"`
	Reason    string `json:"reason"`
	// Detail is a JSON object: what changed, without secrets.
	Detail string `json:"detail"`
	// OperatorID and AccountID are where it belongs; empty for neither.
	OperatorID string `json:"operator_id,omitempty"`
	AccountID  string `json:"account_id,omitempty"`
	// Hash is SHA-256 of the hash before and this entry.
	Hash []byte `json:"-"`
}

const auditColumns = `id, coalesce(seq, 0), at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, reason, detail, operator_id, account_id, hash`

func scanAudit(r row) (AuditEntry, error) {
	var e AuditEntry
	err := r.Scan(&e.ID, &e.Seq, &e.At, &e.Actor, &e.ActorKind, &e.Action, &e.TargetKind, &e.Target, &e.Outcome, &e.RequestID, &e.Reason, &e.Detail,
		&e.OperatorID, &e.AccountID, &e.Hash)
	return e, err
}

// auditInserted is what an entry has before the sequencer has been there.
const auditInserted = `id, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, reason, detail, operator_id, account_id`

// AppendAudit inserts e unnumbered; the sequencer numbers and chains it.
func (t *Tx) AppendAudit(ctx context.Context, e AuditEntry) error {
	values, err := t.auditRow(e, e.Target, e.AccountID)
	if err != nil {
		return err
	}
	return t.send(ctx, `INSERT INTO audit (`+auditInserted+`) VALUES (`+placeholders(1, len(values))+`)`, values...)
}

// AppendAudits inserts entries that differ in their target alone, unnumbered. Each of
// those on accounts belongs to its own.
func (t *Tx) AppendAudits(ctx context.Context, e AuditEntry, targets []string) error {
	rows := make([][]any, len(targets))
	for n, target := range targets {
		account := e.AccountID
		if e.TargetKind == "account" {
			account = target
		}
		var err error
		if rows[n], err = t.auditRow(e, target, account); err != nil {
			return err
		}
	}
	return t.insertAll(ctx, "audit", auditInserted, rows)
}

// auditRow is the entry with another target, in the order of auditInserted.
func (t *Tx) auditRow(e AuditEntry, target, account string) ([]any, error) {
	id, err := t.NewID("aud_")
	return []any{
		id, micros(t.now), e.Actor, e.ActorKind, e.Action, e.TargetKind, target, e.Outcome, e.RequestID, e.Reason, e.Detail, e.OperatorID, account,
	}, err
}

// ListAudit returns up to limit numbered entries after seq, in order.
func (t *Tx) ListAudit(ctx context.Context, after int64, limit int) ([]AuditEntry, error) {
	return many(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
}

// AuditFilter keeps some of the entries. The zero value keeps all.
type AuditFilter struct {
	// Each is the whole of a field; empty ones keep all. An operator's entries are also
	// those of its accounts.
	Actor, ActorKind, Action, TargetKind, Target, Outcome, OperatorID, AccountID, RequestID string
	// From is the first moment kept, To the first one that is not; zero ones keep all.
	From, To time.Time
	// Search keeps entries whose reason or target contains it, without regard to case.
	Search string
	// Bounds keep what lies within them; nil keeps all.
	Bounds *Bounds

	// after and before are numbers between which From and To lie, 0 for none.
	after, before int64
}

// AuditPage asks for one page of the log.
type AuditPage struct {
	// Before is the number of the last entry of the page before; 0 starts at the newest.
	Before int64
	Limit  int
}

// FindAudit returns a page of the numbered entries that f keeps, the newest first.
func (t *Tx) FindAudit(ctx context.Context, f AuditFilter, p AuditPage) ([]AuditEntry, error) {
	if err := t.span(ctx, &f); err != nil {
		return nil, err
	}
	query, args := f.newest(p)
	return many(ctx, t, scanAudit, query, args...)
}

// lateEntry is how much later than the sequencer knows of an entry may be numbered: one
// of an older version of Chancery that runs beside this one does not take note of it.
const lateEntry = time.Minute

// span finds numbers between which all times of the filter lie, so that every index by
// number answers for times too. An entry is at most the lag earlier than any that is
// numbered before it. So up to one that is earlier than From by more than the lag
// everything is before From, and behind one that is later than To by the lag nothing is
// before To.
func (t *Tx) span(ctx context.Context, f *AuditFilter) error {
	if f.From.IsZero() && f.To.IsZero() {
		return nil
	}
	found, err := one(ctx, t, func(r row) (x [2]int64, err error) {
		err = r.Scan(&x[0], &x[1])
		return x, err
	}, `SELECT
		coalesce((SELECT seq FROM audit WHERE seq IS NOT NULL AND at_us < $1 - s.audit_lag_us ORDER BY at_us DESC LIMIT 1), 0),
		coalesce((SELECT seq FROM audit WHERE seq IS NOT NULL AND at_us >= $2 + s.audit_lag_us ORDER BY at_us LIMIT 1), 0)
		FROM sequencer s WHERE s.id = 1`, micros(f.From.Add(-lateEntry)), micros(f.To.Add(lateEntry)))
	if !f.From.IsZero() {
		f.after = found[0]
	}
	if !f.To.IsZero() {
		f.before = found[1]
	}
	return err
}

func (f AuditFilter) newest(p AuditPage) (query string, args []any) {
	where, args := f.where(p.Limit)
	if p.Before > 0 {
		args = append(args, p.Before)
		where += ` AND seq < $` + strconv.Itoa(len(args))
	}
	return `SELECT ` + auditColumns + ` FROM audit WHERE seq > 0` + where + ` ORDER BY seq DESC LIMIT $1`, args
}

// FollowAudit returns up to limit of the entries that f keeps with numbers above after
// and up to last, the oldest first.
func (t *Tx) FollowAudit(ctx context.Context, f AuditFilter, after, last int64, limit int) ([]AuditEntry, error) {
	if err := t.span(ctx, &f); err != nil {
		return nil, err
	}
	where, args := f.where(limit)
	n := len(args)
	return many(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit
		WHERE seq > $`+strconv.Itoa(n+1)+` AND seq <= $`+strconv.Itoa(n+2)+where+` ORDER BY seq LIMIT $1`, append(args, after, last)...)
}

// where returns the conditions of the filter and their parameters, from $2 on; $1 is
// limit. Only what is asked for stands there, so that each question finds its index.
func (f AuditFilter) where(limit int) (where string, args []any) {
	args = []any{limit}
	add := func(condition string, arg any) {
		args = append(args, arg)
		where += ` AND ` + strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args)))
	}
	for _, x := range []struct{ column, value string }{
		{"actor", f.Actor},
		{"actor_kind", f.ActorKind},
		{"action", f.Action},
		{"target_kind", f.TargetKind},
		{"target", f.Target},
		{"outcome", f.Outcome},
		{"operator_id", f.OperatorID},
		{"account_id", f.AccountID},
		{"request_id", f.RequestID},
	} {
		if x.value != "" {
			add(x.column+` = ?`, x.value)
		}
	}
	// The plus keeps both databases from going by time, and sorting what they find.
	if !f.From.IsZero() {
		add(`+at_us >= ?`, micros(f.From))
	}
	if !f.To.IsZero() {
		add(`+at_us < ?`, micros(f.To))
	}
	if f.after > 0 {
		add(`seq > ?`, f.after)
	}
	if f.before > 0 {
		add(`seq < ?`, f.before)
	}
	if f.Search != "" {
		add(`(lower(reason) LIKE lower(?) ESCAPE '\' OR lower(target) LIKE lower(?) ESCAPE '\')`, Page{Search: f.Search}.pattern())
	}
	within, args := f.Bounds.clause("operator_id", "account_id", "", args)
	return where + within, args
}

// GetAudit finds a numbered entry by its number or its identity.
func (t *Tx) GetAudit(ctx context.Context, seqOrID string) (AuditEntry, error) {
	if seq, err := strconv.ParseInt(seqOrID, 10, 64); err == nil {
		return one(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq = $1 AND seq > 0`, seq)
	}
	return one(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE id = $1 AND seq > 0`, seqOrID)
}

// LastOnOperator returns the newest entry of an action that was done to the operator,
// or ErrNotFound.
func (t *Tx) LastOnOperator(ctx context.Context, operatorID, action string) (AuditEntry, error) {
	return one(ctx, t, scanAudit, `SELECT `+auditColumns+` FROM audit
		WHERE target_kind = 'operator' AND target = $1 AND action = $2 AND outcome = 'done' ORDER BY at_us DESC, id DESC LIMIT 1`, operatorID, action)
}

// SignedVersion is an account's JWT that a change signed.
type SignedVersion struct {
	AccountID string
	Version   int64
}

// SignedWith returns the accounts that the change of an entry signed: a change is known
// by its actor, its request and its time. A given account keeps that one alone.
func (t *Tx) SignedWith(ctx context.Context, e AuditEntry, account string) ([]SignedVersion, error) {
	where, args := "", []any{e.RequestID, e.Actor, e.At}
	if account != "" {
		where, args = " AND subject = $4", append(args, account)
	}
	return many(ctx, t, func(r row) (SignedVersion, error) {
		var v SignedVersion
		err := r.Scan(&v.AccountID, &v.Version)
		return v, err
	}, `SELECT subject, max(jwt_version) FROM jwts WHERE request_id = $1 AND actor = $2 AND created_us = $3 AND kind = 'account'`+where+`
		GROUP BY subject ORDER BY subject`, args...)
}

// named are the tables in which an identity has a name, by how the identity begins.
var named = []struct{ prefix, table, name string }{
	{"per_", "people", "name"},
	{"tok_", "tokens", "name"},
	{"usr_", "users", "name"},
	{"tpl_", "templates", "name"},
	{"O", "operators", "name"},
	{"A", "accounts", "name"},
}

// NamesOf returns what people call those of the identities that have a name, be they
// deleted.
func (t *Tx) NamesOf(ctx context.Context, ids []string) (map[string]string, error) {
	out := map[string]string{}
	for _, x := range named {
		var of []string
		for _, id := range ids {
			if strings.HasPrefix(id, x.prefix) {
				of = append(of, id)
			}
		}
		rows, err := among(ctx, t, func(r row) ([2]string, error) {
			var v [2]string
			err := r.Scan(&v[0], &v[1])
			return v, err
		}, func(table string) string {
			return `SELECT x.id, x.` + x.name + ` FROM ` + table + ` CROSS JOIN ` + x.table + ` x WHERE x.id = e.value`
		}, of)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			out[r[0]] = r[1]
		}
	}
	return out, nil
}

// line is what the chain hashes of the entry: two entries that differ have two lines.
func (e AuditEntry) line() ([]byte, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encoding an audit entry: %w", err)
	}
	return line, nil
}

// chain returns the hash of e that follows prev.
func (e AuditEntry) chain(prev []byte) ([]byte, error) {
	line, err := e.line()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write(prev)
	h.Write(line)
	return h.Sum(nil), nil
}

// Time returns At as a time in UTC.
func (e AuditEntry) Time() time.Time { return fromMicros(e.At) }
