package storetest

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Raw is a connection beside the stores that are open on a database: for tests
// that look at rows, or tamper with them, behind the store's back.
type Raw struct {
	*sql.DB
	tables string // the query for the names of all tables
}

// OpenRaw opens the database at url, which came from URL; it is closed when the
// test ends.
func OpenRaw(t testing.TB, url string) *Raw {
	t.Helper()
	driver, source, tables := "pgx", url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		driver, source, tables = sqlite, path+"?_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)", `SELECT name FROM sqlite_master WHERE type = 'table'`
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &Raw{DB: db, tables: tables}
}

// Run executes a statement and returns how many rows it changed.
func (r *Raw) Run(t testing.TB, query string, args ...any) int64 {
	t.Helper()
	res, err := r.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Cells calls f for every value of every table but those of the migrations.
func (r *Raw) Cells(t testing.TB, f func(table string, row int, column string, value any)) {
	t.Helper()
	for _, table := range r.names(t) {
		r.table(t, table, f)
	}
}

func (r *Raw) names(t testing.TB) []string {
	t.Helper()
	rows, err := r.QueryContext(t.Context(), r.tables)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "goose_") && !strings.HasPrefix(name, "sqlite_") {
			out = append(out, name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func (r *Raw) table(t testing.TB, table string, f func(table string, row int, column string, value any)) {
	t.Helper()
	rows, err := r.QueryContext(t.Context(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for n := range values {
		targets[n] = &values[n]
	}
	for row := 0; rows.Next(); row++ {
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		for n, v := range values {
			f(table, row, columns[n], v)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// Dump returns all rows of all tables but those named, as lines in an order of
// their own: equal dumps are equal databases, also across dialects.
func (r *Raw) Dump(t testing.TB, without ...string) string {
	t.Helper()
	var all []string
	var line []byte
	for _, table := range r.names(t) {
		if slices.Contains(without, table) {
			continue
		}
		last := -1
		r.table(t, table, func(_ string, row int, column string, value any) {
			if row != last {
				if last >= 0 {
					all = append(all, string(line))
				}
				line, last = append(line[:0], table...), row
			}
			line = append(append(append(line, ' '), column...), '=')
			line = appendValue(line, value)
		})
		if last >= 0 {
			all = append(all, string(line))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// appendValue writes a value as both dialects know it.
func appendValue(line []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return append(line, v...)
	case int64:
		return strconv.AppendInt(line, v, 10)
	case []byte:
		return append(hex.AppendEncode(append(line, "x'"...), v), '\'')
	case bool: // SQLite has none
		if v {
			return append(line, '1')
		}
		return append(line, '0')
	}
	return fmt.Append(line, value)
}
