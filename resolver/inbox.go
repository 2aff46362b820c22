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

// spareAnswers is how many unexpected answers may wait to be read.
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

// exchange is a few questions and their answers, which come in the order in which
// they arrive. A server answers the questions of one connection in their order.
type exchange struct {
	in      *inbox
	expect  []string
	replies []string
	answers chan *nats.Msg
}

// exchange opens an exchange with the servers that are expected to answer; without
// any, nobody knows how many will. It is to be closed.
func (in *inbox) exchange(expect []string, questions int) *exchange {
	return &exchange{in: in, expect: expect, answers: make(chan *nats.Msg, questions*len(expect)+spareAnswers)}
}

func (x *exchange) close() {
	for _, reply := range x.replies {
		x.in.waiting.Delete(reply)
	}
}

// ask sends a question and returns the subject of the answers to it. It sends no
// headers: a nats-server with a full resolver mistakes them for claims.
func (x *exchange) ask(subject string, body []byte) (reply string, err error) {
	reply = x.in.prefix + strconv.FormatUint(x.in.last.Add(1), 36)
	x.replies = append(x.replies, reply)
	x.in.waiting.Store(reply, x.answers)
	if err := x.in.nc.PublishRequest(subject, reply, body); err != nil {
		return "", fmt.Errorf("asking the servers: %w", err)
	}
	return reply, nil
}

// gather calls each for every answer until it has named all expected servers, or nobody
// listens to any of the questions, or limit passed, or quiet (if not 0) passed since an
// answer, or ctx ends.
func (x *exchange) gather(ctx context.Context, limit, quiet time.Duration, each func(m *nats.Msg) (serverID string)) {
	end, pause := time.NewTimer(limit), time.NewTimer(limit)
	defer end.Stop()
	defer pause.Stop()
	seen, unheard := map[string]bool{}, 0
	for !allSeen(seen, x.expect) {
		select {
		case m := <-x.answers:
			if noResponders(m) {
				if unheard++; unheard == len(x.replies) {
					return
				}
				continue
			}
			seen[each(m)] = true
			if quiet > 0 {
				pause.Reset(quiet)
			}
		case <-pause.C:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// noResponders tells that nobody listens. An answer may be empty as well.
func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
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

// hear decodes an answer and takes it for a sign of life of its server.
func hear[T any](ctx context.Context, o *operator, m *nats.Msg) (answer[T], bool) {
	a, ok := decode[T](m.Data)
	if ok {
		o.roster.observe(ctx, a.Server)
	}
	return a, ok
}

// question is a single question to all servers, or to one.
type question struct {
	subject string
	body    []byte
	expect  []string
	// quiet and limit are those of gather.
	quiet, limit time.Duration
}

// ask poses a question and returns the answers that came in time, by server. An
// error tells that it was not sent.
func ask[T any](ctx context.Context, o *operator, l *link, q question) (map[string]answer[T], error) {
	x := l.inbox.exchange(q.expect, 1)
	defer x.close()
	if _, err := x.ask(q.subject, q.body); err != nil {
		return nil, err
	}
	out := map[string]answer[T]{}
	x.gather(ctx, q.limit, q.quiet, func(m *nats.Msg) string {
		a, ok := hear[T](ctx, o, m)
		if ok {
			out[a.Server.ID] = a
		}
		return a.Server.ID
	})
	return out, nil
}
