package resolver_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// crowd stores n accounts of one name each, some in each transaction.
func (w *world) crowd(n int) []*account {
	w.t.Helper()
	list := make([]*account, n)
	for i := range list {
		pair, id := newPair(w.t, claims.KindAccount)
		list[i] = &account{id: id, pair: pair, claims: claims.Account{
			ID: id, Name: fmt.Sprintf("a%d", i), Settings: claims.NewAccountSettings(), Revocations: map[string]int64{},
		}}
	}
	w.each(list, func(ctx context.Context, tx *store.Tx, a *account) error {
		err := tx.CreateAccount(ctx, store.Account{ID: a.id, OperatorID: w.operator, Name: a.claims.Name, State: "active", Settings: a.claims.Settings})
		if err != nil {
			return err
		}
		return w.put(ctx, tx, a)
	})
	w.number()
	return list
}

// busy has another replica hold the pushes of all accounts but some.
func (w *world) busy(but ...*account) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		list, err := tx.ClaimOwed(ctx, w.operator, "another", time.Hour, 1_000_000)
		for _, o := range list {
			for _, a := range but {
				if err == nil && a.id == o.AccountID {
					err = tx.SettleOwed(ctx, o)
				}
			}
		}
		return err
	})
}

// TestJoinOfAnEmptyServer has a full resolver with an empty store join where there are many
// accounts. It has all of them from the answer to its own question, though nothing is
// pushed, and a revocation is in force meanwhile. Two more join, one with all and one with
// nothing, and have them by pushes.
func TestJoinOfAnEmptyServer(t *testing.T) {
	t.Parallel()
	p := &cluster{world: newWorld(t, storetest.SQLite(t)), kind: "full", interval: 300 * time.Millisecond, dirs: map[string]string{}, servers: map[string]*server.Server{}}
	all := p.crowd(joined)
	a := all[0]
	p.busy(a, p.system)
	cfg := p.config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	p.startWith(cfg, resolver.Hurry{Settle: 300 * time.Millisecond})
	first := p.up("first")
	begin := time.Now()
	p.r.Load().Wake() // the URLs are new
	u := p.user(a, "u")
	var c *client
	eventually(t, "the first client", func() (ok bool) {
		var err error
		c, err = p.dial(first, u, nats.IgnoreDiscoveredServers())
		return err == nil
	})
	files := func(name string) int {
		list, err := filepath.Glob(filepath.Join(p.dirs[name], "*.jwt"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	eventually(t, "the answer begins", func() bool { return files("first") > joined/10 })
	before, revoked := files("first"), time.Now()
	p.revoke(a, u)
	await(t, "the end of the connection", c.closed)
	closed := time.Since(revoked)
	during := files("first")
	p.within("the store is whole", 2*time.Minute, func() bool { return files("first") == joined+1 })
	t.Logf("an empty store has %d of %d accounts by PACK, without a push, %v after the start; revocation to closed meanwhile, at %d to %d: %v",
		files("first")-1, joined, time.Since(begin).Round(time.Millisecond), before, during, closed.Round(time.Millisecond))
	for _, x := range all {
		if token, err := os.ReadFile(filepath.Join(p.dirs["first"], x.id+".jwt")); err != nil || string(token) != p.token(x) {
			t.Fatalf("%s: %q, %v", x.claims.Name, token, err)
		}
	}
	last := all[joined-1]
	tool := p.tool(first)
	m, err := tool.Request("$SYS.REQ.ACCOUNT."+last.id+".CLAIMS.LOOKUP", nil, patience)
	if err != nil || string(m.Data) != p.token(last) {
		t.Errorf("the lookup of the last account: %v", err)
	}

	p.stop(first)
	delete(p.servers, "first")
	p.interval = 0
	p.dirs["whole"] = p.dirs["first"]
	p.write(func(ctx context.Context, tx *store.Tx) error { return tx.FreeOwed(ctx, "another") })
	begin = time.Now()
	for n, name := range []string{"whole", "empty"} {
		p.up(name)
		p.r.Load().Wake()
		var f claims.Fleet
		p.within("all are proven", 2*time.Minute, func() bool {
			var err error
			if f, err = p.r.Load().Fleet(t.Context(), p.operator, nil); err != nil {
				t.Fatal(err)
			}
			return len(f.Servers) == n+1 && f.State() == "in_step" && f.Accounts == joined+1 && f.OldestChange.IsZero()
		})
		t.Logf("a server whose store is %s joins: %d of %d accounts proven on all %d servers after %v", name, f.Confirmed, f.Accounts, n+1, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
}

// within waits for what takes its time, and asks seldom, since asking costs.
func (w *world) within(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
