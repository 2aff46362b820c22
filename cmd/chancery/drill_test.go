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
	y.round(20, fault{victim: 0, after: time.Second}, fault{victim: 1, after: 500 * time.Millisecond, pause: 12 * time.Second})
}

// TestDrillReplicas is TestReplicaFaults at length, fault by fault.
func TestDrillReplicas(t *testing.T) {
	rounds := drillRounds(t)
	for _, kind := range []resolverKind{resolverURL, resolverFull} {
		var times spread
		good, all := 0, 0
		round := func(name string, f fault) {
			f.victim = all / 2 % 2
			all++
			ok := t.Run(fmt.Sprintf("%s/%s/%d", kind, name, all), func(t *testing.T) {
				times = append(times, newYard(t, yardPlan{kind: kind, tenants: crewTenants, leavers: crewLeavers}).round(50, f))
			})
			if ok {
				good++
			}
		}
		for range rounds {
			round("kill", fault{after: time.Second + rand.N(9*time.Second)})
			round("stop", fault{after: rand.N(3 * time.Second), pause: 30 * time.Second})
		}
		t.Logf("%s: %d of %d rounds; every server equal to the database after the last fault: %v", kind, good, all, times)
	}
}

// fault is done to a replica after a while: it is stopped for pause and goes on, or, without a pause, killed and started
// again at once.
type fault struct {
	victim       int
	after, pause time.Duration
}

// strike does it and returns when it was over.
func (f fault) strike(y *yard) time.Time {
	y.t.Helper()
	r := y.replicas[f.victim]
	time.Sleep(f.after)
	if f.pause > 0 {
		r.pause()
		time.Sleep(f.pause)
		r.resume()
		return time.Now()
	}
	r.kill()
	at := time.Now()
	r.start(y.token)
	y.t.Logf("killed after %v, and with its database again after %v", f.after.Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
	return at
}

// after is how long edits go on after the last fault.
const after = 2 * time.Second

// round makes 100 edits while readers read and faults happen, and a little longer. It judges what is left and returns how
// long after the last fault everything was equal.
func (y *yard) round(rate int, faults ...fault) time.Duration {
	y.t.Helper()
	r := y.read(rate)
	defer r.end()
	work, span := y.plan(editsEach), after
	for _, f := range faults {
		span += f.after + f.pause
	}
	wait := y.begin(work, span, r)
	var over time.Time
	for _, f := range faults {
		over = f.strike(y)
	}
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
