package main

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestDrillLateFetch lets a server load an account from a replica that goes on after a stop: while it stood, the other one
// revoked a user, which was proven on every server and settled. A server that starts then, without the account, asks the
// stopped replica, which answers with the first thing it does again. What it has in memory is from before.
func TestDrillLateFetch(t *testing.T) {
	rounds := drillRounds(t)
	var times spread
	good := 0
	for n := range rounds {
		if t.Run(fmt.Sprintf("url/%d", n+1), func(t *testing.T) { times = append(times, lateFetch(t)) }) {
			good++
		}
	}
	t.Logf("url: %d of %d late fetches healed or answered with the newest: %v", good, rounds, times)
}

func lateFetch(t *testing.T) time.Duration {
	t.Helper()
	y := newYard(t, yardPlan{kind: resolverURL, tenants: 1, leavers: 1})
	x := y.accounts[0]
	victim, other := y.replicas[0], y.replicas[1]
	victim.pause()
	y.revokeFirst(other)

	// A server that is new and holds the system account only. It is asked for by a client from now on.
	y.restart(2)
	sent := make(chan struct{})
	tell := sync.OnceFunc(func() { close(sent) })
	y.pinned.Store(&tell)
	defer y.pinned.Store(nil)
	type attempt struct {
		c   *session
		err error
	}
	admitted := make(chan attempt, 1)
	go func() {
		c, err := connect(y.servers[2], x.leaves[0])
		admitted <- attempt{c, err}
	}()
	<-sent // and lies in the stopped replica's socket
	victim.resume()
	resumed := time.Now()
	a := <-admitted
	if a.err == nil {
		t.Logf("the revoked user is admitted %v after the replica went on", time.Since(resumed).Round(time.Millisecond))
	}
	took := y.converge(resumed)
	t.Logf("equal everywhere %v after the replica went on", took.Round(time.Millisecond))
	if a.err == nil {
		a.c.mustClose(t)
	}
	y.refuseFirst()
	return took
}

// restart replaces a server by one that has nothing in memory, under the same name and address.
func (y *yard) restart(n int) {
	y.t.Helper()
	stopNATS(y.servers[n])
	y.servers[n] = y.startServer(n)
	eventually(y.t, "the server is back on the roster", func() bool { return y.roster(y.replicas[1]) == len(y.servers) })
	y.settled()
}
