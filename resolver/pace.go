package resolver

import (
	"math/rand/v2"
	"time"
)

// pace is how long things take. Tests shorten some.
type pace struct {
	// poll makes a lost wake harmless.
	poll time.Duration
	// ping is how often servers are asked for a sign of life; nats-server sends one
	// of its own accord every 10 s (events.go: statsz).
	ping time.Duration
	// A server is taken off the roster when it missed maxSilent pings and was silent
	// for longer than silence.
	maxSilent int
	silence   time.Duration
	// A roster is gathered until quiet has passed without an answer, for at most
	// gather.
	quiet, gather time.Duration
	// answer is how long one waits for the slowest server.
	answer time.Duration
	// list is how long one waits for what is on a server's disk: it reads and verifies
	// every file, about 10,000 in a second.
	list time.Duration
	// lease is how long a claimed row of the outbox is ours unless it is renewed, which
	// happens every renew while the push lasts. It is how long a revocation waits behind a
	// replica that was killed, and how far the clocks of replicas may be apart.
	lease, renew time.Duration
	// lead is how long one replica looks for drift unless it renews that.
	lead time.Duration
	// settle is how long after its publication a JWT is read back once more. A fetch
	// of the JWT before it can end 1.9 s after it began (const.go:
	// DEFAULT_ACCOUNT_FETCH_TIMEOUT), and another replica may have served it from a
	// memory that lags by one poll.
	settle time.Duration
	// await is how long what the snapshot has is not answered after a start while the
	// store is expected, catchUp how long nothing is after the process stood still. A
	// server waits for an answer for 1.9 s.
	await, catchUp time.Duration
	// feed is the pause between two rounds of what a peer is asked, at least.
	feed time.Duration
	// What failed is tried again after retry, then twice as long, up to maxRetry.
	retry, maxRetry time.Duration
	// reconnect is the pause between attempts to connect; a connection is taken for
	// dead when two signs of life, one each keepalive, did not come.
	reconnect, keepalive time.Duration
	// remember is how long deliveries and departed servers are kept in memory.
	remember time.Duration
	// Accounts that changed lately are read on the servers every recent, all of them
	// every whole, some at each sweepTick.
	recent, whole, sweepTick time.Duration
	// hints is how long what others pushed is remembered, so that a replica that comes to
	// lead takes it up.
	hints time.Duration
}

func standardPace() pace {
	return pace{
		poll: time.Second, ping: 10 * time.Second, maxSilent: 3, silence: 35 * time.Second,
		quiet: 150 * time.Millisecond, gather: time.Second, answer: 2 * time.Second, list: 20 * time.Second, lease: 5 * time.Second, renew: time.Second, lead: 10 * time.Second,
		settle: 3500 * time.Millisecond, await: 1500 * time.Millisecond, catchUp: time.Second, feed: 5 * time.Second, retry: 100 * time.Millisecond, maxRetry: 5 * time.Second,
		reconnect: 250 * time.Millisecond, keepalive: 10 * time.Second, remember: 2 * time.Minute,
		recent: 8 * time.Second, whole: 5 * time.Minute, sweepTick: 250 * time.Millisecond, hints: 30 * time.Second,
	}
}

// backoff returns how long to wait after that many attempts, with up to a quarter
// taken off at random so that replicas do not march in step.
func (p pace) backoff(attempts int64) time.Duration {
	d := p.maxRetry
	if attempts < 16 {
		d = min(p.retry<<attempts, p.maxRetry)
	}
	return d - rand.N(d/4+1) //nolint:gosec // spreading load needs no secret
}
