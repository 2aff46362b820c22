package resolver_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// cutter is a network that can be cut.
type cutter struct {
	cut   atomic.Bool
	conns chan net.Conn
}

func (c *cutter) Dial(network, address string) (net.Conn, error) {
	if c.cut.Load() {
		return nil, errors.New("the cable is cut")
	}
	conn, err := net.DialTimeout(network, address, patience)
	if err == nil {
		c.conns <- conn
	}
	return conn, err
}

// sever cuts every connection and admits no new one.
func (c *cutter) sever() {
	c.cut.Store(true)
	for len(c.conns) > 0 {
		_ = (<-c.conns).Close()
	}
}

// TestMixedCluster has one server of each kind of resolver in a cluster: what is changed
// is proven on all of them, also what happened while they were out of reach, and a server
// that sends its clients away is not missed before it is gone.
func TestMixedCluster(t *testing.T) {
	t.Parallel()
	p := &cluster{world: newWorld(t, storetest.SQLite(t)), dirs: map[string]string{}, servers: map[string]*server.Server{}}
	wire := &cutter{conns: make(chan net.Conn, 1000)}
	cfg := p.config()
	cfg.Dialer = wire
	p.startWith(cfg, resolver.Hurry{Settle: 300 * time.Millisecond, Ping: 200 * time.Millisecond, Silence: 2 * time.Second})
	p.expect(3)
	for name, kind := range map[string]string{"full": "full", "cache": "cache", "url": "url"} {
		p.kind = kind
		p.up(name)
	}
	p.await(3)
	kinds := map[string]claims.ResolverKind{"full": claims.ResolverFull, "cache": claims.ResolverCache, "url": claims.ResolverOther}
	a, b := p.account("a"), p.account("b")
	first := p.token(b)
	one, two, three := p.user(a, "one"), p.user(a, "two"), p.user(b, "three")
	p.wait(a, a.version)
	p.wait(b, b.version)
	for _, s := range p.r.Load().Servers(p.operator) {
		p.check("the kind of "+s.Name+", "+string(s.Resolver), s.Resolver == kinds[s.Name] && !s.LameDuck)
	}
	live := map[string][2]*client{}
	for name, s := range p.servers {
		live[name] = [2]*client{p.connect(s, one), p.connect(s, two)}
	}
	everywhere := func(what string, x *account, version int64) {
		t.Helper()
		s := p.wait(x, version)
		for name, n := range p.servers {
			memory := p.held(n, x)
			p.check(what+": the memory of "+name, memory == "" || memory == p.token(x))
			if name != "url" && memory != "" || name == "full" {
				p.check(what+": the disk of "+name, p.file(name, x) == p.token(x))
			}
			p.check(what+": the state of "+name+", "+string(states(s)[name]), states(s)[name].Satisfied())
		}
	}
	version := p.revoke(a, one)
	for name := range live {
		await(t, "the end of the first user's connection on "+name, live[name][0].closed)
	}
	everywhere("a revocation", a, version)
	everywhere("an edit of an account that nobody uses", b, p.edit(b, func(c *claims.Account) { c.Settings.Limits.Subs = 7 }))
	p.revoke(b, three)
	everywhere("a revocation in an account that nobody uses", b, b.version)
	p.refused("a revocation in an account that nobody uses", three)

	p.unknown()
	p.settled()
	p.whileCut(wire, a, b, two, first)
	for name := range live {
		await(t, "the end of the second user's connection on "+name, live[name][1].closed)
	}
	everywhere("a revocation while out of reach", a, a.version)
	everywhere("an older push while out of reach", b, b.version)
	p.refused("a revocation while out of reach", two)
	p.refused("an older push while out of reach", three)

	p.lameDuck("url")
	t.Logf("mixed: %d of %d", p.ok, p.checked)
}

// unknown has a client of an account that nobody knows come to each server: it is refused
// in the time of a lookup.
func (p *cluster) unknown() {
	p.t.Helper()
	stranger := &account{}
	stranger.pair, stranger.id = newPair(p.t, claims.KindAccount)
	lost := p.user(stranger, "lost")
	errs, took := make(map[string]error), make(map[string]time.Duration)
	var mu sync.Mutex
	var dials sync.WaitGroup
	for name, s := range p.servers {
		dials.Go(func() {
			begin := time.Now()
			_, err := p.dial(s, lost, nats.Timeout(patience), nats.IgnoreDiscoveredServers())
			mu.Lock()
			defer mu.Unlock()
			errs[name], took[name] = err, time.Since(begin).Round(time.Millisecond)
		})
	}
	dials.Wait()
	for name := range p.servers {
		p.check("an unknown account on "+name, errors.Is(errs[name], nats.ErrAuthorization))
	}
	p.t.Logf("an unknown account is refused after %v", took)
}

// whileCut revokes a user of a, and has somebody push an older JWT of b, while the servers
// are out of reach.
func (p *cluster) whileCut(wire *cutter, a, b *account, u user, older string) {
	p.t.Helper()
	wire.sever()
	eventually(p.t, "the loss of the connection", func() bool { return !p.sync(a).Connected })
	version := p.revoke(a, u)
	for _, s := range p.servers {
		if err := p.tool(s).Publish("$SYS.REQ.ACCOUNT."+b.id+".CLAIMS.UPDATE", []byte(older)); err != nil {
			p.t.Fatal(err)
		}
	}
	full := p.servers["full"]
	eventually(p.t, "the older JWT is on a disk", func() bool { return p.file("full", b) == older })
	p.check("what is out of reach is not proven", p.held(full, a) != p.token(a) && !p.sync(a).Reached())
	begin := time.Now()
	wire.cut.Store(false)
	p.wait(a, version)
	p.t.Logf("reach to the proof of a revocation: %v", time.Since(begin).Round(time.Millisecond))
	eventually(p.t, "the older JWT is found and healed", func() bool {
		var list []store.Drift
		err := p.store.Read(p.t.Context(), func(ctx context.Context, t *store.Tx) (err error) {
			list, err = t.ListDrifts(ctx, p.operator, store.DriftPage{AccountID: b.id, Limit: 10})
			return err
		})
		if err != nil {
			p.t.Fatal(err)
		}
		return len(list) > 0 && list[0].State == claims.DriftHealed
	})
	p.t.Logf("reach to the healing of an older push: %v", time.Since(begin).Round(time.Millisecond))
}

// lameDuck lets a server send its clients away.
func (p *cluster) lameDuck(name string) {
	p.t.Helper()
	gone := make(chan struct{})
	go func() {
		p.servers[name].LameDuckShutdown()
		close(gone)
	}()
	f := p.until("it is said", func(f claims.Fleet) bool {
		for _, s := range f.Servers {
			if s.Name == name && s.LameDuck {
				return true
			}
		}
		return false
	})
	p.check("a server that sends its clients away is not missed", f.Absent() == 0 && f.State() != "servers_missing")
	await(p.t, "the end of the server", gone)
	f = p.until("it is gone", func(f claims.Fleet) bool { return len(f.Servers) == 2 })
	p.check("one that is gone is", f.State() == "servers_missing" && len(f.Missing) == 1 && f.Missing[0].Name == name)
	p.expect(2)
	f = p.until("two are enough", func(f claims.Fleet) bool { return f.State() == "in_step" })
	p.check("two are enough", f.Absent() == 0)
}
