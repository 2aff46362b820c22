package resolver

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/puzpuzpuz/xsync/v4"
)

// spareAnswers is how many unexpected answers to a question may wait to be read.
const spareAnswers = 64

// inbox receives the answers to questions that every server answers: nats.go's own
// request takes the first and drops the others. One subscription serves all
// questions of a connection, so that asking costs no subscription on the cluster.
type inbox struct {
	nc      *nats.Conn
	prefix  string
	last    atomic.Uint64
	waiting *xsync.Map[string, chan *nats.Msg]
}

func newInbox(nc *nats.Conn) (*inbox, error) {
	in := &inbox{nc: nc, prefix: nats.NewInbox() + ".", waiting: xsync.NewMap[string, chan *nats.Msg]()}
	_, err := nc.Subscribe(in.prefix+"*", func(m *nats.Msg) {
		if answers, ok := in.waiting.Load(m.Subject); ok {
			select {
			case answers <- m:
			default: // counted as not answered, and asked again
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribing to answers: %w", err)
	}
	return in, nil
}

// question is a request to all servers, or to one.
type question struct {
	subject string
	body    []byte
	// expect ends the wait once all these servers have answered.
	expect []string
	// quiet, if not 0, ends it once that long passed since the last answer.
	quiet time.Duration
	// limit ends it in any case.
	limit time.Duration
}

// posed is a question that was sent.
type posed struct {
	question
	inbox   *inbox
	reply   string
	answers chan *nats.Msg
}

// pose sends a question; gather has to follow. Servers work through the questions of
// one connection in their order. It sends no headers: a nats-server with a full
// resolver mistakes them for claims.
func (in *inbox) pose(q question) (*posed, error) {
	p := &posed{
		question: q, inbox: in, reply: in.prefix + strconv.FormatUint(in.last.Add(1), 36),
		answers: make(chan *nats.Msg, len(q.expect)+spareAnswers),
	}
	in.waiting.Store(p.reply, p.answers)
	if err := in.nc.PublishRequest(q.subject, p.reply, q.body); err != nil {
		in.waiting.Delete(p.reply)
		return nil, fmt.Errorf("asking the servers: %w", err)
	}
	return p, nil
}

// gather calls each for the first answer of every server, until all expected ones
// have come, or the time is up, or ctx ends.
func gather[T any](ctx context.Context, p *posed, each func(answer[T])) {
	defer p.inbox.waiting.Delete(p.reply)
	limit := time.NewTimer(p.limit)
	defer limit.Stop()
	quiet := time.NewTimer(p.limit)
	defer quiet.Stop()
	seen := map[string]bool{}
	for !allSeen(seen, p.expect) {
		select {
		case m := <-p.answers:
			if len(m.Data) == 0 {
				return // "no responders": nobody listens
			}
			if a, ok := decode[T](m.Data); ok && !seen[a.Server.ID] {
				seen[a.Server.ID] = true
				each(a)
			}
			if p.quiet > 0 {
				quiet.Reset(p.quiet)
			}
		case <-quiet.C:
			return
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// allSeen tells whether all that were expected have answered; without expectations
// one never knows.
func allSeen(seen map[string]bool, expect []string) bool {
	for _, id := range expect {
		if !seen[id] {
			return false
		}
	}
	return len(expect) > 0
}
