package store

import (
	"context"
	"database/sql"
	"fmt"
)

// statement is one of those that a transaction runs.
type statement struct {
	query string
	args  []any
	// each takes the rows of the answer, one after the other; nil for a statement that
	// has none.
	each func(row) error
	// single tells that only the first row is of interest.
	single bool
	// done, which may be nil, takes how many rows a statement without an answer concerned.
	done func(n int64)
}

// session is a transaction on one of the databases. It is used by one goroutine.
type session interface {
	// run runs the statements in their order, up to the first that fails.
	run(ctx context.Context, list []statement) error
	// commit runs them and commits.
	commit(ctx context.Context, list []statement) error
	// rollback ends a transaction that was not committed; after commit it does nothing.
	rollback()
}

// sqliteSession is a transaction on SQLite, which is in this process: a statement costs
// what it does, and no way there and back.
type sqliteSession struct {
	*sql.Tx
	readOnly bool
}

func beginSQLite(ctx context.Context, db *sql.DB, readOnly bool) (session, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: readOnly})
	return sqliteSession{tx, readOnly}, err
}

func (s sqliteSession) run(ctx context.Context, list []statement) error {
	for _, x := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		running := ctx
		if !s.readOnly {
			// That a statement can be interrupted takes two goroutines, which cost as much as
			// most statements. A search may last; what writes is short.
			running = context.WithoutCancel(ctx)
		}
		if err := s.one(running, x); err != nil {
			return err
		}
	}
	return nil
}

func (s sqliteSession) one(ctx context.Context, x statement) error {
	if x.each == nil {
		result, err := s.ExecContext(ctx, x.query, x.args...)
		if err != nil || x.done == nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("counting rows: %w", err)
		}
		x.done(n)
		return nil
	}
	rows, err := s.QueryContext(ctx, x.query, x.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := x.each(rows); err != nil {
			return err
		}
		if x.single {
			return rows.Close()
		}
	}
	return rows.Err()
}

func (s sqliteSession) commit(ctx context.Context, list []statement) error {
	if err := s.run(ctx, list); err != nil {
		return err
	}
	return s.Commit()
}

func (s sqliteSession) rollback() {
	_ = s.Rollback() // after Commit it has nothing to do, before it the first error counts
}
