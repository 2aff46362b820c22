package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pipeline is a transaction on PostgreSQL. Statements that are run together go there in
// one piece, and their answers come back in one: most of them take less time than the way
// to the database and back. BEGIN goes with the first ones and COMMIT with the last, so
// that neither has a way of its own. When one of them fails, the server skips the rest,
// COMMIT included (PostgreSQL: protocol-flow, extended query: it discards messages until
// Sync).
type pipeline struct {
	conn *pgxpool.Conn
	// begin is what opens the transaction; empty once it was sent.
	begin    string
	readOnly bool
}

// rollbackTime is how long a server may take to answer a ROLLBACK before its connection
// is given up.
const rollbackTime = 5 * time.Second

func beginPostgres(ctx context.Context, pool *pgxpool.Pool, readOnly bool) (session, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	p := &pipeline{conn: conn, begin: "BEGIN", readOnly: readOnly}
	if readOnly {
		p.begin = "BEGIN READ ONLY"
	}
	return p, nil
}

func (p *pipeline) run(ctx context.Context, list []statement) error {
	return p.send(ctx, list, "")
}

func (p *pipeline) commit(ctx context.Context, list []statement) error {
	if len(list) == 0 && (p.begin != "" || p.readOnly) {
		return nil // there is nothing to commit
	}
	err := p.send(ctx, list, "COMMIT")
	if err == nil && p.status() != idle {
		err = errors.New("the transaction is still open")
	}
	return err
}

// send sends the statements, with what opens or ends the transaction around them, and
// takes the answers.
func (p *pipeline) send(ctx context.Context, list []statement, end string) error {
	var b pgx.Batch
	if p.begin != "" {
		b.Queue(p.begin)
	}
	for _, x := range list {
		b.Queue(x.query, x.args...)
	}
	if end != "" {
		b.Queue(end)
	}
	answers := p.conn.SendBatch(ctx, &b)
	err := p.take(answers, list, end)
	if closed := answers.Close(); err == nil {
		err = closed
	}
	return err
}

func (p *pipeline) take(answers pgx.BatchResults, list []statement, end string) error {
	if p.begin != "" {
		if _, err := answers.Exec(); err != nil {
			return err
		}
		p.begin = ""
	}
	for _, x := range list {
		if err := takeOne(answers, x); err != nil {
			return err
		}
	}
	if end == "" {
		return nil
	}
	// Of a transaction in which a statement failed before, COMMIT says ROLLBACK.
	tag, err := answers.Exec()
	if err == nil && tag.String() != end {
		err = errors.New("the database rolled the transaction back")
	}
	return err
}

func takeOne(answers pgx.BatchResults, x statement) error {
	if x.each == nil {
		tag, err := answers.Exec()
		if err == nil && x.done != nil {
			x.done(tag.RowsAffected())
		}
		return err
	}
	rows, err := answers.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := x.each(rows); err != nil {
			return err
		}
		if x.single {
			rows.Close()
		}
	}
	return rows.Err()
}

// idle is the status of a connection without a transaction.
const idle = 'I'

func (p *pipeline) status() byte { return p.conn.Conn().PgConn().TxStatus() }

// rollback gives the connection back, which the pool closes if it cannot be used any more.
// Nobody has to wait for the end of a transaction that only read.
func (p *pipeline) rollback() {
	if p.readOnly {
		go p.end()
		return
	}
	p.end()
}

func (p *pipeline) end() {
	if !p.conn.Conn().IsClosed() && p.status() != idle {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
		defer cancel()
		_, _ = p.conn.Exec(ctx, "ROLLBACK") // before it the first error counts
	}
	p.conn.Release()
}
