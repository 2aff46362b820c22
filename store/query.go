package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// row is what *sql.Row and *sql.Rows have in common.
type row interface{ Scan(dest ...any) error }

// one returns the single row of a query, or ErrNotFound.
func one[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query string, args ...any) (T, error) {
	var v T
	if !storable(args) {
		return v, ErrNotFound
	}
	found := false
	err := t.run(ctx, statement{query: query, args: args, single: true, each: func(r row) (err error) {
		found = true
		v, err = scan(r)
		return err
	}})
	if err == nil && !found {
		err = ErrNotFound
	}
	return v, err
}

// many returns all rows of a query.
func many[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query string, args ...any) (out []T, err error) {
	if !storable(args) {
		return nil, nil
	}
	err = t.run(ctx, statement{query: query, args: args, each: collect(scan, &out)})
	return out, err
}

// alongside is many that goes to the database with the next statement that is waited for,
// see Tx.settle: into is filled then.
func alongside[T any](ctx context.Context, t *Tx, into *[]T, scan func(row) (T, error), query string, args ...any) error {
	if !storable(args) {
		return nil
	}
	return t.later(ctx, statement{query: query, args: args, each: collect(scan, into)})
}

// collect appends the rows of an answer to out.
func collect[T any](scan func(row) (T, error), out *[]T) func(row) error {
	return func(r row) error {
		v, err := scan(r)
		if err == nil {
			*out = append(*out, v)
		}
		return err
	}
}

// storable tells whether all texts among args can be in a column. PostgreSQL
// refuses a statement with other ones; no row can match them, on either database.
func storable(args []any) bool {
	for _, a := range args {
		switch v := a.(type) {
		case string:
			if !storableText(v) {
				return false
			}
		case []string:
			if !all(v, storableText) {
				return false
			}
		case []sql.NullString:
			if !all(v, func(s sql.NullString) bool { return storableText(s.String) }) {
				return false
			}
		}
	}
	return true
}

func storableText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func all[T any](list []T, f func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !f(v) })
}

func (t *Tx) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	if !storable(args) {
		return 0, errNotStorable
	}
	err = t.run(ctx, statement{query: query, args: args, done: func(concerned int64) { n = concerned }})
	return n, err
}

var errNotStorable = errors.New("a text that is not UTF-8 or holds a NUL cannot be stored")

// send is exec of a statement that nobody waits for: PostgreSQL gets it with the next one
// that somebody waits for, or with the commit, and its error is that one's.
func (t *Tx) send(ctx context.Context, query string, args ...any) error {
	if !storable(args) {
		return errNotStorable
	}
	return t.later(ctx, statement{query: query, args: args})
}

// later has the statement run before whatever is run next. SQLite, to which there is no
// way that it would save, runs it at once.
func (t *Tx) later(ctx context.Context, x statement) error {
	if t.store.dialect != postgres {
		return t.run(ctx, x)
	}
	t.pending = append(t.pending, x)
	return nil
}

// settle waits for everything that is pending.
func (t *Tx) settle(ctx context.Context) error {
	n := len(t.pending)
	if n == 0 {
		return nil
	}
	last := t.pending[n-1]
	t.pending = t.pending[:n-1]
	return t.run(ctx, last)
}

// run runs what is pending and then the statement. What was pending and failed cannot be
// made up for: the transaction does not go on without it.
func (t *Tx) run(ctx context.Context, x statement) error {
	if t.lost != nil {
		return t.lost
	}
	pending := t.pending
	t.pending = nil
	err := errors.Join(t.faultPending(pending), t.fault(x.query, false))
	if err == nil {
		err = t.store.classify(t.session.run(ctx, append(pending, x)))
	}
	if err != nil && len(pending) > 0 {
		t.lost = err
	}
	if err != nil {
		return err
	}
	return t.fault(x.query, true)
}

// commit commits, together with what is pending.
func (t *Tx) commit(ctx context.Context) error {
	if err := errors.Join(t.lost, t.faultPending(t.pending), t.fault(commitStatement, false)); err != nil {
		return err
	}
	if err := t.session.commit(ctx, t.pending); err != nil {
		// A transaction whose context ended is rolled back.
		return errors.Join(context.Cause(ctx), t.store.classify(err))
	}
	if t.changes {
		t.store.neighbours.tell()
	}
	return t.fault(commitStatement, true)
}

// commitStatement is the name under which a fault of the commit is asked for.
const commitStatement = "COMMIT"

// fault asks for the fault of a statement of a writing transaction; in production
// there is nobody to ask.
func (t *Tx) fault(statement string, done bool) error {
	if t.store.faults == nil || t.reads {
		return nil
	}
	return t.store.faults(statement, done)
}

// faultPending asks for the faults of statements before they are sent: that they took
// effect is heard of only together with what they are sent with.
func (t *Tx) faultPending(list []statement) error {
	for _, x := range list {
		if err := errors.Join(t.fault(x.query, false), t.fault(x.query, true)); err != nil {
			return err
		}
	}
	return nil
}

// must runs a statement that has to change exactly one row.
func (t *Tx) must(ctx context.Context, query string, args ...any) error {
	n, err := t.exec(ctx, query, args...)
	if err == nil && n != 1 {
		err = ErrNotFound
	}
	return err
}

// scanOne is the scan function of a query with one column.
func scanOne[T any](r row) (T, error) {
	var v T
	err := r.Scan(&v)
	return v, err
}

// rowWith scans further columns after those its reader asks for.
type rowWith struct {
	row
	more []any
}

// Scan implements row.
func (r rowWith) Scan(dest ...any) error { return r.row.Scan(append(dest, r.more...)...) }

// batchRows is how many rows one statement carries on SQLite: few texts are prepared,
// and none has more parameters than SQLite takes.
const batchRows = 100

// insertAll inserts rows of one length into the columns of the table, which are written
// as in SQL. A column has one type in all rows: string, sql.NullString, int64, bool or
// []byte.
func (t *Tx) insertAll(ctx context.Context, table, columns string, rows [][]any) error {
	insert := `INSERT INTO ` + table + ` (` + columns + `) `
	if len(rows) == 1 {
		_, err := t.exec(ctx, insert+`VALUES (`+placeholders(1, len(rows[0]))+`)`, rows[0]...)
		return err
	}
	if t.store.dialect == postgres {
		return t.insertArrays(ctx, insert, rows)
	}
	for part := range slices.Chunk(rows, batchRows) {
		// SQLite looks a numbered parameter up among all before it, hence plain ones.
		values := "(?" + strings.Repeat(", ?", len(part[0])-1) + ")"
		if _, err := t.exec(ctx, insert+"VALUES "+values+strings.Repeat(", "+values, len(part)-1), slices.Concat(part...)...); err != nil {
			return err
		}
	}
	return nil
}

// insertArrays sends each column as one array: PostgreSQL then parses one short
// statement, the same for any number of rows.
func (t *Tx) insertArrays(ctx context.Context, insert string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	args, casts := make([]any, len(rows[0])), make([]string, len(rows[0]))
	for n := range args {
		var kind string
		switch rows[0][n].(type) {
		case string:
			args[n], kind = column[string](rows, n), "TEXT"
		case sql.NullString:
			args[n], kind = column[sql.NullString](rows, n), "TEXT"
		case int64:
			args[n], kind = column[int64](rows, n), "BIGINT"
		case bool:
			args[n], kind = column[bool](rows, n), "BOOLEAN"
		case []byte:
			args[n], kind = column[[]byte](rows, n), "BYTEA"
		default:
			return fmt.Errorf("inserting a column of type %T", rows[0][n])
		}
		casts[n] = "CAST($" + strconv.Itoa(n+1) + " AS " + kind + "[])"
	}
	_, err := t.exec(ctx, insert+"SELECT * FROM unnest("+strings.Join(casts, ", ")+")", args...)
	return err
}

func column[T any](rows [][]any, n int) []T {
	out := make([]T, len(rows))
	for i, values := range rows {
		out[i], _ = values[n].(T) // the first row says the type of all
	}
	return out
}

// among runs a query over the table of values (see Tx.values); args are its parameters
// from $2 on.
func among[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query func(table string) string, values []string, args ...any) ([]T, error) {
	// No row can match what cannot be stored.
	values = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return !storableText(s) })
	if len(values) == 0 {
		return nil, nil
	}
	table, list, err := t.values(values)
	if err != nil {
		return nil, err
	}
	return many(ctx, t, scan, query(table), append([]any{list}, args...)...)
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding a column: %w", err)
	}
	return string(b), nil
}

func nullable(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// Page asks for one page of a list in the order of a name and an identity.
type Page struct {
	// AfterName and AfterID are the last row of the page before; empty at first.
	AfterName, AfterID string
	// Limit is the number of rows; one more may be asked for to know whether
	// there is a next page.
	Limit int
	// Search keeps names that contain it, without regard to case.
	Search string
	// Bounds are what the list may show; nil is everything.
	Bounds *Bounds
}

// pattern returns the LIKE pattern, with \ as its escape, that finds s inside.
func (p Page) pattern() string {
	if p.Search == "" {
		return "%"
	}
	var b []rune
	for _, r := range p.Search {
		if r == '%' || r == '_' || r == '\\' {
			b = append(b, '\\')
		}
		b = append(b, r)
	}
	return "%" + string(b) + "%"
}

// prefixed returns columns of a table with its alias.
func prefixed(alias, columns string) string {
	return alias + "." + strings.ReplaceAll(columns, ", ", ", "+alias+".")
}
