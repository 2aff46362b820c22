package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

type dialect string

const (
	postgres   dialect = "postgres"
	sqliteFile dialect = "sqlite"
)

func (s *Store) openPostgres(ctx context.Context, dsn string) error {
	s.dialect = postgres
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return errors.New("the database URL cannot be read; it is written postgres://user:password@host:5432/name")
	}
	if !hasParameter(dsn, "pool_max_conns") {
		cfg.MaxConns = 16
	}
	p := cfg.ConnConfig.RuntimeParams
	p["application_name"] = "chancery"
	// A replica that is stopped in the middle of a transaction must not hold the
	// sequencer's row, or an account's, for ever.
	p["idle_in_transaction_session_timeout"] = "15000"
	p["lock_timeout"] = "10000"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("making the connection pool: %w", err)
	}
	s.db, s.cut = stdlib.OpenDBFromPool(pool), pool.Reset
	s.begin = func(ctx context.Context, readOnly bool) (session, error) { return beginPostgres(ctx, pool, readOnly) }
	s.closers = append(s.closers, func() error { pool.Close(); return nil }, s.db.Close)
	s.meet(pool)
	return nil
}

func hasParameter(dsn, parameter string) bool {
	u, err := url.Parse(dsn)
	return err == nil && u.Query().Has(parameter)
}

func (s *Store) openSQLite(path string) error {
	s.dialect = sqliteFile
	if path == "" {
		return errors.New("the database URL names no file; it is written sqlite:///path/to/chancery.db")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making the database's folder: %w", err)
	}
	// One file has one lock, by whatever path it is reached.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	release, err := HoldFile(path + ".lock")
	if err != nil {
		return fmt.Errorf("taking the SQLite file %s, which one process can use at a time: %w", path, err)
	}
	s.closers = append(s.closers, release)
	// The file holds sealed seeds: nobody else needs to read it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("opening the database file: %w", err)
	}
	// synchronous=FULL: an acknowledged revocation survives a power cut.
	if s.db, err = s.openPool(path, "&_pragma=synchronous(FULL)&_txlock=immediate"); err != nil {
		return err
	}
	// Opened after the writers and so closed before them: who closes last folds
	// the write-ahead log into the file.
	// Connections of their own, since the driver lets a read-only transaction write.
	readers, err := s.openPool(path, "&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	s.begin = func(ctx context.Context, readOnly bool) (session, error) {
		if readOnly {
			return beginSQLite(ctx, readers, true)
		}
		return beginSQLite(ctx, s.db, false)
	}
	s.writer = make(chan struct{}, 1)
	return nil
}

func (s *Store) openPool(path, pragmas string) (*sql.DB, error) {
	dsn := (&url.URL{
		Scheme: "file", Opaque: url.PathEscape(path),
		RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)" + pragmas,
	}).String()
	plain, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the database file: %w", err)
	}
	db := sql.OpenDB(preparing{plain.Driver(), dsn})
	if err := plain.Close(); err != nil { // it never connected
		return nil, fmt.Errorf("opening the database file: %w", err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s.closers = append(s.closers, db.Close)
	return db, nil
}

// classify maps what a driver reports to the package's sentinels, by code and
// never by text.
func (s *Store) classify(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "23505":
			return fmt.Errorf("%w: %w", ErrExists, err)
		case "40001", "40P01":
			return fmt.Errorf("%w: %w", ErrDeadlock, err)
		case "55P03":
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	if s.dialect == postgres && isAway(err) {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", ErrExists, err)
		}
		switch e.Code() & 0xff { // the rest of an extended code says in which way it is busy
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	return err
}

// isAway tells whether PostgreSQL is not there: its connection cannot be made, was cut,
// or the server says that it ends or is not ready yet (class 57P of its error codes), or
// has no connection left (53300). The end of a context is not that.
func isAway(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08") || e.Code == "53300"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn} {
		if errors.Is(err, cut) {
			return true
		}
	}
	return pgconn.SafeToRetry(err) // nothing was sent on a connection that was found closed
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// values returns a table e of one column, value, with the texts, as it stands in a FROM:
// on its parameter $1, which is returned too. PostgreSQL plans a join with it by the
// index on what value is compared with; a long IN list it may not.
func (t *Tx) values(texts []string) (table string, parameter any, err error) {
	if t.store.dialect == postgres {
		return `unnest(CAST($1 AS TEXT[])) AS e(value)`, texts, nil
	}
	list, err := toJSON(texts)
	return `(SELECT value FROM json_each($1)) AS e`, list, err
}

// lockingFree ends a SELECT whose rows are locked until the transaction ends, but for
// those that somebody else has locked. A writing transaction on SQLite is alone.
func (s *Store) lockingFree() string {
	if s.dialect == postgres {
		return ` FOR UPDATE SKIP LOCKED`
	}
	return ``
}

// holdsTag is the condition that the claims in a column have the tag of a parameter.
func (s *Store) holdsTag(column, parameter string) string {
	if s.dialect == postgres {
		return `(` + column + `::jsonb -> 'tags') @> to_jsonb(CAST(` + parameter + ` AS TEXT))`
	}
	return `EXISTS (SELECT 1 FROM json_each(` + column + `, '$.tags') WHERE value = ` + parameter + `)`
}
