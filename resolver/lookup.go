package resolver

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// serverInboxes begin the reply subjects of questions that servers ask (events.go:
// sysInboxPre). Replicas of this one ask by other subjects: what they want to know is
// what is on the servers' disks.
const serverInboxes = "$SYS._INBOX."

// maxWaiting bounds the lookups of unknown accounts that wait for a commit to be taken
// in, lookupWait how long one does. A server waits 1.9 s.
const (
	maxWaiting = 64
	lookupWait = time.Second
)

// lookupSubscriptions answer servers that look an account up: caches have nobody else to
// ask, full resolvers each other. Every replica answers, without a queue group: a server
// takes the first answer, and a replica that stands still would swallow its share.
func (o *operator) lookupSubscriptions() []subscription {
	return []subscription{{subject: lookupSubject("*"), handle: func(_ context.Context, m *nats.Msg) {
		if !strings.HasPrefix(m.Reply, serverInboxes) || !o.r.pulse.late() && (o.answerLookup(m) || o.r.gate.settled()) {
			return
		}
		select {
		case o.lookups <- m:
		default: // the server's client comes again
		}
	}}}
}

// answerLate answers lookups of accounts whose commit is being taken in, and of all while
// memory catches up.
func (o *operator) answerLate(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-o.lookups:
			o.r.pulse.wait(ctx, o.r.pace.catchUp)
			o.r.gate.pass(ctx, lookupWait)
			o.answerLookup(m)
		}
	}
}

// answerLookup answers from memory, and tells whether the account is this operator's. An
// unknown account is not answered at all: an empty answer counts as that of a server, and
// the last of those ends the question, though another replica may know better
// (accounts.go: fetch).
func (o *operator) answerLookup(m *nats.Msg) bool {
	// $SYS.REQ.ACCOUNT.<account>.CLAIMS.LOOKUP
	subject := strings.Split(m.Subject, ".")
	if len(subject) != 6 {
		return false
	}
	e := o.r.memory.get(subject[3])
	if e == nil || e.operator.Value() != o.id {
		return false
	}
	// The connection may be gone; the server's client comes again.
	_ = m.Respond([]byte(e.token))
	return true
}
