package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// drillRounds is how often each fault is drilled: by `make drill` as often as CHANCERY_DRILL says, else not at all.
func drillRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHANCERY_DRILL")
	if text == "" {
		t.Skip("make drill runs it")
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// crew is what the drills of replicas have: 100 edits, a fifth of them revocations of somebody connected.
const (
	crewTenants, crewLeavers = 5, 4
	editsEach                = 20
)

// TestReplicaFaults kills one replica and stops the other one for longer than a lease, in the middle of 100 edits through
// both. Nothing that was acknowledged is lost or done twice, every read is answered, and at the end every server has what
// the database has.
func TestReplicaFaults(t *testing.T) {
	t.Parallel()
	alone(t)
	y := newYard(t, yardPlan{kind: resolverURL, tenants: crewTenants, leavers: crewLeavers})
	y.round(15*time.Second, 20, func() time.Time {
		y.killed(y.replicas[0], time.Second)
		return y.stopped(y.replicas[1], time.Second, 12*time.Second)
	})
}

// TestDrillReplicas is TestReplicaFaults at length, fault by fault.
func TestDrillReplicas(t *testing.T) {
	rounds := drillRounds(t)
	for _, kind := range []resolverKind{resolverURL, resolverFull} {
		var times spread
		good, all := 0, 0
		round := func(name string, span time.Duration, fault func(y *yard, victim *replica) time.Time) {
			all++
			ok := t.Run(fmt.Sprintf("%s/%s/%d", kind, name, all), func(t *testing.T) {
				y := newYard(t, yardPlan{kind: kind, tenants: crewTenants, leavers: crewLeavers})
				times = append(times, y.round(span, 50, func() time.Time { return fault(y, y.replicas[all%2]) }))
			})
			if ok {
				good++
			}
		}
		for range rounds {
			round("kill", 12*time.Second, func(y *yard, victim *replica) time.Time {
				return y.killed(victim, time.Second+rand.N(9*time.Second))
			})
			round("stop", 34*time.Second, func(y *yard, victim *replica) time.Time {
				return y.stopped(victim, rand.N(3*time.Second), 30*time.Second)
			})
		}
		t.Logf("%s: %d of %d rounds; every server equal to the database after the last fault: %v", kind, good, all, times)
	}
}

// killed kills a replica after a while, starts it again at once and returns when that was.
func (y *yard) killed(victim *replica, after time.Duration) time.Time {
	y.t.Helper()
	time.Sleep(after)
	victim.kill()
	at := time.Now()
	victim.start()
	awaitReady(y.t, victim.base)
	y.t.Logf("killed, and ready again after %v", time.Since(at).Round(time.Millisecond))
	return at
}

// stopped stops a replica after a while, lets it go on after pause and returns when that was.
func (y *yard) stopped(victim *replica, after, pause time.Duration) time.Time {
	time.Sleep(after)
	victim.pause()
	time.Sleep(pause)
	victim.resume()
	return time.Now()
}

// round makes 100 edits over span while readers read and fault, which returns when the last fault was over, happens. It
// judges what is left and returns how long after the fault everything was equal.
func (y *yard) round(span time.Duration, rate int, fault func() time.Time) time.Duration {
	y.t.Helper()
	r := y.read(rate)
	defer r.end()
	work := y.plan(editsEach)
	wait := y.begin(work, span, r)
	over := fault()
	wait()
	took := y.converge(over)
	r.end()
	v := y.judge(work)
	twice := 0
	for _, w := range work {
		for _, e := range w.edits {
			if e.tries > 1 {
				twice++
			}
		}
	}
	y.settled()
	y.t.Logf("%s: equal everywhere %v after the fault; edits in the final state %v, done once %v, sent again %d; refused %v, admitted %v; closed after the acknowledgement: %v",
		y.kind, took.Round(time.Millisecond), v.edits, v.once, twice, v.refused, v.admitted, v.closed)
	y.t.Logf("reads answered: %d of %d, the slowest after %v; from a replica that was just back, older than acknowledged: %d, the last %v after it was",
		r.good, r.reads, r.longest.Round(time.Millisecond), r.behind, r.last.Round(time.Millisecond))
	for _, f := range r.failures {
		y.t.Error(f)
	}
	want := crewTenants * editsEach
	for name, c := range map[string]struct {
		count
		want int
	}{
		"edits in the final state": {v.edits, want}, "edits done once": {v.once, want},
		"revoked users refused": {v.refused, 3 * crewTenants * crewLeavers}, "good users admitted": {v.admitted, 3 * crewTenants},
	} {
		if c.good != c.want || c.of != c.want {
			y.t.Errorf("%s: %v, want %d", name, c.count, c.want)
		}
	}
	if !v.whole {
		y.t.Error("the audit log is broken")
	}
	if r.reads == 0 || r.good != r.reads {
		y.t.Errorf("%d of %d reads are answered well", r.good, r.reads)
	}
	return took
}
