package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// channel is what processes on one PostgreSQL tell each other by that something was
// committed that others follow. The payload is who says so; the news are in the tables.
const channel = "chancery_changes"

// Pauses of Listen.
const (
	listenRetry    = 100 * time.Millisecond
	listenMaxRetry = 5 * time.Second
	// listenCheck is how long a connection may be silent before it is asked whether it
	// still lives, listenAnswer how long that may take.
	listenCheck  = 30 * time.Second
	listenAnswer = 5 * time.Second
	notifyTime   = 5 * time.Second
	// farewellTime bounds the last notification, which somebody waits for.
	farewellTime = time.Second
)

// neighbours tells other processes of commits and hears of theirs. It is nil on
// SQLite, whose file belongs to one process.
type neighbours struct {
	// name is this store in payloads.
	name string
	cfg  *pgx.ConnConfig
	news chan struct{}
}

// meet starts to tell other processes of commits, until the store is closed.
//
// They are told right after the commit and not within the transaction: PostgreSQL
// takes a lock at the commit of a transaction that notifies, and holds it until the log
// is flushed (async.c: PreCommit_Notify), so that such commits follow one another.
// Measured with 16 writers that was a sixth of the commits per second. What is lost
// with a process that is killed in between costs the others one poll. Commits that
// happen while one notification is under way share the next one.
func (s *Store) meet(pool *pgxpool.Pool) {
	n := &neighbours{name: rand.Text()[:12], cfg: pool.Config().ConnConfig, news: make(chan struct{}, 1)}
	n.cfg.RuntimeParams["application_name"] = "chancery listen"
	s.neighbours = n
	ctx, cancel := context.WithCancel(context.Background())
	var told sync.WaitGroup
	told.Go(func() {
		for {
			select {
			case <-ctx.Done():
				select {
				case <-n.news: // what was committed last, such as that this process gave its work back
					n.send(context.WithoutCancel(ctx), pool, farewellTime)
				default:
				}
				return
			case <-n.news:
				n.send(ctx, pool, notifyTime)
			}
		}
	})
	s.closers = append(s.closers, func() error { cancel(); told.Wait(); return nil })
}

// send notifies. A lost notification costs a poll, and the next commit makes up for it.
func (n *neighbours) send(ctx context.Context, pool *pgxpool.Pool, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, _ = pool.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, n.name)
}

// tell has the other processes told that something was committed. It never blocks.
func (n *neighbours) tell() {
	if n == nil {
		return
	}
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// Listen calls f when another process on the same PostgreSQL has committed something
// that others follow, and whenever it may have missed that, until ctx ends. f must not
// block. On SQLite there is no other process, and it only waits.
//
// It uses a connection of its own, and while there is none tries again for ever:
// whoever listens polls as well. A pooler that hands connections from one transaction to
// the next (PgBouncer with pool_mode=transaction) loses LISTEN without an error, and a
// hot standby refuses it; both cost the latency of the poll and nothing else. Give
// Chancery a direct connection to have it sooner.
func (s *Store) Listen(ctx context.Context, f func()) {
	if s.neighbours == nil {
		<-ctx.Done()
		return
	}
	pause, failing := listenRetry, false
	for ctx.Err() == nil {
		heard, err := s.neighbours.listen(ctx, func() {
			if failing {
				failing = false
				s.log.InfoContext(ctx, "hearing of other replicas' changes at once again")
			}
			f()
		})
		if heard {
			pause = listenRetry
		}
		if ctx.Err() == nil && !failing {
			failing = true
			s.log.WarnContext(ctx, "other replicas' changes are found by polling, until the database can be listened to again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + mathrand.N(pause)): //nolint:gosec // spreading load needs no secret
		}
		pause = min(2*pause, listenMaxRetry)
	}
}

// listen is one connection; heard tells that it listened.
func (n *neighbours) listen(ctx context.Context, f func()) (heard bool, err error) {
	begin, cancel := context.WithTimeout(ctx, listenAnswer)
	defer cancel()
	c, err := pgx.ConnectConfig(begin, n.cfg.Copy())
	if err != nil {
		return false, fmt.Errorf("connecting: %w", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(end)
	}()
	if _, err := c.Exec(begin, `LISTEN `+channel); err != nil {
		return false, fmt.Errorf("listening: %w", err)
	}
	f() // what was committed before is not announced any more
	for {
		wait, cancel := context.WithTimeout(ctx, listenCheck)
		m, err := c.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil && m.Payload != n.name:
			f()
		case err == nil:
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			ask, cancel := context.WithTimeout(ctx, listenAnswer)
			err = c.Ping(ask)
			cancel()
			if err != nil {
				return true, fmt.Errorf("asking a silent connection: %w", err)
			}
		default:
			return true, fmt.Errorf("waiting for notifications: %w", err)
		}
	}
}
