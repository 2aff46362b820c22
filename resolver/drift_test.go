package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// promised is how long a fault may last (docs: no older JWT stays longer).
const promised = 15 * time.Second

// plant is a cluster of three servers of one kind of resolver, with a resolver whose
// signer is the test.
type plant struct {
	*world
	kind    string
	servers []*server.Server
	dirs    []string
	stores  []server.AccountResolver
	commits chan struct{}

	mu       sync.Mutex
	accounts map[string]*account
}

func newPlant(t *testing.T, kind string) *plant {
	t.Helper()
	p := newBarePlant(t, kind)
	cfg := p.config()
	cfg.Settle = p.settle
	p.startWith(cfg, resolver.Hurry{})
	p.up(3)
	return p
}

// newBarePlant is newPlant without servers and resolver.
func newBarePlant(t *testing.T, kind string) *plant {
	t.Helper()
	p := &plant{world: newWorld(t, storetest.SQLite(t)), kind: kind, commits: make(chan struct{}, 1), accounts: map[string]*account{}}
	p.store.OnCommit(func() {
		select {
		case p.commits <- struct{}{}:
		default:
		}
	})
	return p
}

// up starts n servers.
func (p *plant) up(n int) {
	p.t.Helper()
	for i := range n {
		p.dirs = append(p.dirs, p.t.TempDir())
		p.servers = append(p.servers, p.run(i))
	}
	p.await(n)
}

// run starts server n with the store it had.
func (p *plant) run(n int) *server.Server {
	p.t.Helper()
	return p.serverWith(fmt.Sprintf("n%d", n+1), func(o *server.Options) {
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}
		if n > 0 {
			o.Routes = server.RoutesFromStr("nats://" + p.servers[0].ClusterAddr().String())
		}
		var r server.AccountResolver
		var err error
		switch p.kind {
		case "full":
			r, err = server.NewDirAccResolver(p.dirs[n], 0, time.Minute, server.HardDelete)
		case "cache":
			r, err = server.NewCacheDirAccResolver(p.dirs[n], 0, 0)
		default:
			return
		}
		if err == nil && p.token(p.system) != "" {
			err = r.Store(p.system.id, p.token(p.system))
		}
		if err != nil {
			p.t.Fatal(err)
		}
		o.AccountResolver = r
		p.stores = append(p.stores, r)
	})
}

// settle is the signer: it signs the account of a drift anew.
func (p *plant) settle(ctx context.Context, driftID string) error {
	var rec store.Drift
	err := p.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		rec, err = t.GetDrift(ctx, driftID)
		return err
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[rec.AccountID]
	if err != nil || rec.Kind == claims.DriftNewer || a == nil {
		return err
	}
	return p.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return p.put(ctx, t, a) })
}

// fault is something that happens to an account behind our back.
type fault struct {
	name string
	kind claims.DriftKind
	make func(a *victim)
}

// victim is an account with a user that was let in once, and is revoked by now.
type victim struct {
	*account
	good, bad user
	// first is the version in which nobody was revoked.
	first string
	made  time.Time
}

func (p *plant) victim(name string) *victim {
	p.t.Helper()
	v := &victim{account: p.account(name)}
	p.mu.Lock()
	p.accounts[v.id] = v.account
	p.mu.Unlock()
	v.good, v.bad = p.user(v.account, "good"), p.user(v.account, "bad")
	v.first = p.token(v.account)
	p.wait(v.account, v.version)
	for _, s := range p.servers {
		p.connect(s, v.good)
	}
	p.wait(v.account, p.revoke(v.account, v.bad))
	return v
}

// stranger signs an account's JWT as an operator that nobody trusts.
func (p *plant) stranger(v *victim) string {
	p.t.Helper()
	pair, _ := newPair(p.t, claims.KindOperator)
	return p.signedBy(v, pair, nil)
}

func (p *plant) signedBy(v *victim, pair nkeys.KeyPair, edit func(c *jwt.AccountClaims)) string {
	p.t.Helper()
	c, err := jwt.DecodeAccountClaims(v.first)
	if err != nil {
		p.t.Fatal(err)
	}
	if edit != nil {
		edit(c)
	}
	token, err := c.Encode(pair)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// push sends bytes as a tool would.
func (p *plant) push(subject, token string, header nats.Header) {
	p.t.Helper()
	c := p.tool(p.servers[len(p.servers)/2])
	defer c.Close()
	if err := c.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(token), Header: header}); err != nil {
		p.t.Fatal(err)
	}
	if err := c.FlushTimeout(patience); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) file(n int, v *victim) string { return filepath.Join(p.dirs[n], v.id+".jwt") }

func (p *plant) faults() []fault {
	request := func(v *victim, token string) { p.push("$SYS.REQ.ACCOUNT."+v.id+".CLAIMS.UPDATE", token, nil) }
	announce := func(v *victim, token string) { p.push("$SYS.ACCOUNT."+v.id+".CLAIMS.UPDATE", token, nil) }
	both := []fault{
		{"older by request", claims.DriftOlder, func(v *victim) { request(v, v.first) }},
		{"older by announcement", claims.DriftOlder, func(v *victim) { announce(v, v.first) }},
		{"untrusted by request", claims.DriftUntrusted, func(v *victim) { request(v, p.stranger(v)) }},
	}
	headed := fault{"older with a header", claims.DriftOlder, func(v *victim) {
		p.push("$SYS.REQ.CLAIMS.UPDATE", v.first, nats.Header{"Trace": {"1"}})
	}}
	deleted := fault{"deleted", claims.DriftDeleted, p.delete}
	stored := fault{"older in one store", claims.DriftOlder, func(v *victim) {
		p.must(p.stores[1].(interface{ SaveAcc(id, token string) error }).SaveAcc(v.id, v.first))
	}}
	switch p.kind {
	case "full":
		return append(both, headed, deleted, stored,
			fault{"untrusted in one store", claims.DriftUntrusted, func(v *victim) { p.must(p.stores[2].Store(v.id, p.stranger(v))) }},
			fault{"older in a file", claims.DriftOlder, func(v *victim) { p.must(os.WriteFile(p.file(0, v), []byte(v.first), 0o600)) }},
			fault{"file gone", claims.DriftMissing, func(v *victim) { p.must(os.Remove(p.file(2, v))) }},
		)
	case "cache":
		return append(both, headed, deleted, stored)
	}
	return append(both,
		fault{"older by request with a header", claims.DriftOlder, func(v *victim) {
			p.push("$SYS.REQ.ACCOUNT."+v.id+".CLAIMS.UPDATE", v.first, nats.Header{"Trace": {"1"}})
		}},
		fault{"untrusted by announcement", claims.DriftUntrusted, func(v *victim) { announce(v, p.stranger(v)) }},
	)
}

// delete asks the servers to delete the account.
func (p *plant) delete(v *victim) {
	p.t.Helper()
	c := jwt.NewGenericClaims(p.operator)
	c.Data["accounts"] = []string{v.id}
	token, err := c.Encode(p.pair)
	p.must(err)
	p.push("$SYS.REQ.CLAIMS.DELETE", token, nil)
}

func (p *plant) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// drifts returns the records of an account.
func (p *plant) drifts(id string) (list []store.Drift) {
	p.t.Helper()
	err := p.store.Read(p.t.Context(), func(ctx context.Context, t *store.Tx) (err error) {
		list, err = t.ListDrifts(ctx, p.operator, store.DriftPage{AccountID: id, Limit: 100})
		return err
	})
	p.must(err)
	return list
}

// settled waits until nothing is owed to servers.
func (p *plant) settled() {
	p.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for n := int64(1); n > 0; {
		err := p.store.Read(p.t.Context(), func(ctx context.Context, t *store.Tx) (err error) {
			n, _, err = t.CountOwed(ctx, p.operator)
			return err
		})
		p.must(err)
		if n == 0 {
			return
		}
		select {
		case <-p.commits:
		case <-end.C:
			p.t.Fatalf("%d accounts are still owed", n)
		}
	}
}

// closed waits until an account has a record that is closed.
func (p *plant) closed(id string) (store.Drift, bool) {
	p.t.Helper()
	end := time.NewTimer(2 * promised)
	defer end.Stop()
	for {
		for _, rec := range p.drifts(id) {
			if rec.State != claims.DriftOpen {
				return rec, true
			}
		}
		select {
		case <-p.commits:
		case <-end.C:
			return store.Drift{}, false
		}
	}
}

// TestDriftIsHealed makes 20 faults on clusters of all kinds of resolver. Each is found
// for what it is, and healed in time: the revoked user stays out on every server, the
// good one gets in.
func TestDriftIsHealed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var took []time.Duration
	made := 0
	t.Run("kinds", func(t *testing.T) {
		for _, kind := range []string{"url", "full", "cache"} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				p := newPlant(t, kind)
				faults := p.faults()
				mu.Lock()
				made += len(faults)
				mu.Unlock()
				victims := make([]*victim, len(faults))
				for n := range faults {
					victims[n] = p.victim(fmt.Sprintf("a%d", n))
				}
				p.settled()
				for n, f := range faults {
					victims[n].made = time.Now()
					f.make(victims[n])
				}
				for n, f := range faults {
					v := victims[n]
					rec, ok := p.closed(v.id)
					if !ok {
						t.Errorf("%s: not healed: %+v", f.name, p.drifts(v.id))
						continue
					}
					if rec.Kind != f.kind || rec.State != claims.DriftHealed {
						t.Errorf("%s: recorded as %s, %s, want %s: %+v", f.name, rec.Kind, rec.State, f.kind, p.drifts(v.id))
					}
					late := rec.Closed.Sub(v.made)
					if late > promised {
						t.Errorf("%s: healed after %v", f.name, late)
					}
					if p.admits(f.name, v) {
						mu.Lock()
						took = append(took, late)
						mu.Unlock()
					}
				}
				if kind == "full" { // the disk of a restarted server is what it loads
					p.stop(p.servers[2])
					p.servers[2] = p.run(2)
					for n, f := range faults {
						p.admits(f.name+", restarted", victims[n])
					}
				}
			})
		}
	})
	slices.Sort(took)
	if len(took) == 0 {
		t.Fatal("nothing was healed")
	}
	t.Logf("found and healed: %d of %d; after %v at least, %v in the middle, %v at most",
		len(took), made, took[0].Round(time.Millisecond), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if len(took) != made || made != 20 {
		t.Errorf("%d of %d were healed, want 20 of 20", len(took), made)
	}
}

// admits tells whether every server admits the good user and refuses the revoked one.
func (p *plant) admits(what string, v *victim) bool {
	p.t.Helper()
	ok := true
	for _, s := range p.servers {
		c, err := p.dial(s, v.good)
		if err != nil {
			p.t.Errorf("%s: %s refuses the good user: %v", what, s.Name(), err)
			ok = false
		} else {
			c.Close()
		}
		if c, err := p.dial(s, v.bad); !errors.Is(err, nats.ErrAuthorization) {
			p.t.Errorf("%s: %s admits the revoked user (%v)", what, s.Name(), err)
			ok = false
			if err == nil {
				c.Close()
			}
		}
	}
	return ok
}
