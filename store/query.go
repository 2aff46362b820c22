package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// row is what *sql.Row and *sql.Rows have in common.
type row interface{ Scan(dest ...any) error }

// one returns the single row of a query, or ErrNotFound.
func one[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query string, args ...any) (T, error) {
	if !storable(args) {
		var zero T
		return zero, ErrNotFound
	}
	if err := t.fault(query, false); err != nil {
		var zero T
		return zero, err
	}
	v, err := scan(t.q.QueryRowContext(ctx, query, args...))
	if err == nil {
		err = t.fault(query, true)
	}
	return v, t.store.classify(err)
}

// many returns all rows of a query.
func many[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	if !storable(args) {
		return nil, nil
	}
	if err := t.fault(query, false); err != nil {
		return nil, err
	}
	rows, err := t.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, t.store.classify(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return out, t.store.classify(err)
	}
	return out, t.fault(query, true)
}

// storable tells whether all texts among args can be in a column. PostgreSQL
// refuses a statement with other ones; no row can match them, on either database.
func storable(args []any) bool {
	for _, a := range args {
		if s, ok := a.(string); ok && (!utf8.ValidString(s) || strings.Contains(s, "\x00")) {
			return false
		}
	}
	return true
}

func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if !storable(args) {
		return 0, errors.New("a text that is not UTF-8 or holds a NUL cannot be stored")
	}
	if err := t.fault(query, false); err != nil {
		return 0, err
	}
	res, err := t.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, t.store.classify(err)
	}
	n, err := res.RowsAffected()
	if err == nil {
		err = t.fault(query, true)
	}
	return n, t.store.classify(err)
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

// batchRows is how many rows one statement carries: few texts are prepared, and
// none has more parameters than SQLite takes.
const batchRows = 100

// insertAll runs the beginning of an INSERT, up to VALUES, for rows of one length.
func (t *Tx) insertAll(ctx context.Context, insert string, rows [][]any) error {
	for part := range slices.Chunk(rows, batchRows) {
		var text strings.Builder
		text.WriteString(insert + " VALUES ")
		args := make([]any, 0, len(part)*len(part[0]))
		for n, values := range part {
			if n > 0 {
				text.WriteString(", ")
			}
			if t.store.dialect == postgres {
				text.WriteString("(" + placeholders(len(args)+1, len(values)) + ")")
			} else { // SQLite looks a numbered parameter up among all before it
				text.WriteString("(?" + strings.Repeat(", ?", len(values)-1) + ")")
			}
			args = append(args, values...)
		}
		if _, err := t.exec(ctx, text.String(), args...); err != nil {
			return err
		}
	}
	return nil
}

// among runs a query that ends in an open IN list, which it fills with values, a
// bounded number at a time; args are the parameters before them.
func among[T any](ctx context.Context, t *Tx, scan func(row) (T, error), query string, values []string, args ...any) ([]T, error) {
	var out []T
	for part := range slices.Chunk(values, batchRows) {
		all, most := slices.Clone(args), batchRows
		if len(part) == 1 {
			most = 1
		}
		for n := range most {
			// The last value fills the list up, so that few statements serve all.
			all = append(all, part[min(n, len(part)-1)])
		}
		rows, err := many(ctx, t, scan, query+placeholders(len(args)+1, most)+")", all...)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
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
