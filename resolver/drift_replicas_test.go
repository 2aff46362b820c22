package resolver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
)

// TestDriftOfTwoReplicas edits accounts on two replicas, 20 times a second: none of the
// pushes is taken for drift. Then both hear the same foreign push, and one of them
// records it, once; when that replica stops, the other takes over.
func TestDriftOfTwoReplicas(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "url")
	first := p.r.Load()
	cfg := p.config()
	cfg.Owner, cfg.Settle = "other", p.settle
	second := p.replica(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !second.AwaitServers(ctx, p.operator, 3, 3) {
		t.Fatal("the other replica does not know the servers")
	}
	victims := make([]*victim, 2)
	for n := range victims {
		victims[n] = p.victim(fmt.Sprintf("a%d", n))
	}
	const edits = 60
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := range edits {
		p.edit(victims[n%len(victims)].account, func(c *claims.Account) { c.Settings.Limits.Subs = int64(n) })
		<-tick.C
	}
	for _, v := range victims {
		p.wait(v.account, v.version)
	}
	p.settled()
	alarms := 0
	for _, v := range victims {
		alarms += len(p.drifts(v.id))
	}
	t.Logf("%d edits on 2 replicas: %d false alarms", edits, alarms)
	if alarms != 0 {
		t.Errorf("%d false alarms: %+v", alarms, p.drifts(victims[0].id))
	}
	for n, stop := range []*resolver.Resolver{first, nil} {
		v := victims[n]
		p.push("$SYS.REQ.ACCOUNT."+v.id+".CLAIMS.UPDATE", v.first, nil)
		if rec, ok := p.closed(v.id); !ok || rec.Kind != claims.DriftOlder {
			t.Fatalf("not healed: %+v", p.drifts(v.id))
		}
		if list := p.drifts(v.id); len(list) != 1 {
			t.Errorf("%d records of one drift: %+v", len(list), list)
		}
		if stop != nil {
			p.world.r.Store(second)
			p.use(second.Handler())
			stop.Stop()
		}
	}
}

// TestDriftByPolicy lets somebody else sign a newer JWT with a key that the servers
// trust: it is reported and left alone until a decision, then the servers follow it; one
// of the same second counts as newer.
func TestDriftByPolicy(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "full")
	v := p.victim("a")
	p.settled()
	newer := p.signedBy(v, p.pair, nil) // stamped now
	p.push("$SYS.REQ.ACCOUNT."+v.id+".CLAIMS.UPDATE", newer, nil)
	rec := p.recorded(v.id)
	if rec.Kind != claims.DriftNewer || rec.State != claims.DriftOpen || len(rec.Diff) == 0 {
		t.Fatalf("recorded as %+v", rec)
	}
	for _, s := range p.servers {
		if p.held(s, v.account) != newer {
			t.Errorf("%s was healed without a decision", s.Name())
		}
	}
	eventually(t, "nobody is told that ours is in effect", func() bool {
		s := p.sync(v.account)
		return s.InEffect() == 0 && s.State() == "error" && s.Servers[0].Error == "The server has a newer version."
	})
	// A decision is a new version, and closes the record when all servers have it.
	p.write(func(ctx context.Context, tx *store.Tx) error {
		if err := tx.DecideDrift(ctx, rec.ID, claims.DriftKeep, "test"); err != nil {
			return err
		}
		return p.put(ctx, tx, v.account)
	})
	got, ok := p.closed(v.id)
	if !ok || got.State != claims.DriftHealed {
		t.Fatalf("not healed: %+v", p.drifts(v.id))
	}
	p.wait(v.account, v.version)
	p.admits("kept", v)
}

// recorded waits until an account has a record.
func (p *plant) recorded(id string) store.Drift {
	p.t.Helper()
	end := time.NewTimer(promised)
	defer end.Stop()
	for {
		if list := p.drifts(id); len(list) > 0 {
			return list[0]
		}
		select {
		case <-p.commits:
		case <-end.C:
			p.t.Fatal("nothing was recorded")
		}
	}
}
