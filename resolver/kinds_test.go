package resolver_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// cluster is servers of one kind of resolver.
type cluster struct {
	*world
	kind string
	// dirs are the stores of full and cache resolvers, by server.
	dirs    map[string]string
	servers map[string]*server.Server
	// interval is how often full resolvers compare their stores; 0 is a minute.
	interval time.Duration
	// checked counts what was looked at and ok what was right.
	checked, ok int
}

func newCluster(t *testing.T, kind string) *cluster {
	p := &cluster{world: newWorld(t, storetest.SQLite(t)), kind: kind, dirs: map[string]string{}, servers: map[string]*server.Server{}}
	p.start(resolver.Hurry{Settle: 300 * time.Millisecond, Ping: 200 * time.Millisecond, Silence: 2 * time.Second})
	return p
}

// up starts a server with the store that it has, or an empty one.
func (p *cluster) up(name string) *server.Server {
	p.t.Helper()
	s := p.serverWith(name, func(o *server.Options) {
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}
		o.LameDuckGracePeriod, o.LameDuckDuration = 500*time.Millisecond, time.Second
		for _, s := range p.servers {
			o.Routes = append(o.Routes, server.RoutesFromStr("nats://"+s.ClusterAddr().String())...)
		}
		if p.kind == "url" {
			return
		}
		if p.dirs[name] == "" {
			p.dirs[name] = p.t.TempDir()
		}
		o.AccountResolver = p.disk(p.dirs[name])
	})
	p.servers[name] = s
	return s
}

// disk returns a resolver of the kind that has the system account, as a preload does.
func (p *cluster) disk(dir string) server.AccountResolver {
	p.t.Helper()
	var r server.AccountResolver
	var err error
	if p.kind == "full" {
		r, err = server.NewDirAccResolver(dir, 0, cmp.Or(p.interval, time.Minute), server.NoDelete)
	} else {
		r, err = server.NewCacheDirAccResolver(dir, 0, time.Hour)
	}
	if err == nil {
		err = r.Store(p.system.id, p.token(p.system))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *cluster) down(name string) {
	p.t.Helper()
	p.stop(p.servers[name])
	delete(p.servers, name)
	p.awaitRoster(len(p.servers), len(p.servers))
}

// back starts a server again and waits until it was examined.
func (p *cluster) back(name string) {
	p.t.Helper()
	p.up(name)
	p.await(len(p.servers))
}

// file returns what the disk of a server has of an account.
func (p *cluster) file(name string, a *account) string {
	token, err := os.ReadFile(filepath.Join(p.dirs[name], a.id+".jwt"))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return string(token)
}

// check counts something that has to be so.
func (p *cluster) check(what string, ok bool) {
	p.t.Helper()
	p.checked++
	if ok {
		p.ok++
		return
	}
	p.t.Errorf("%s: %s: it is not so", p.kind, what)
}

// proven waits until a version is in effect on all servers and holds disks and memory
// against it.
func (p *cluster) proven(what string, a *account, version int64) claims.Sync {
	p.t.Helper()
	s := p.wait(a, version)
	for name, n := range p.servers {
		memory := p.held(n, a)
		p.check(fmt.Sprintf("%s: the memory of %s", what, name), memory == "" || memory == p.token(a))
		if p.kind == "full" {
			p.check(fmt.Sprintf("%s: the disk of %s", what, name), p.file(name, a) == p.token(a))
		}
		if p.kind == "cache" && memory != "" {
			p.check(fmt.Sprintf("%s: the disk of %s", what, name), p.file(name, a) == p.token(a))
		}
	}
	return s
}

// refused holds that no server lets the user in.
func (p *cluster) refused(what string, u user) {
	p.t.Helper()
	for name, n := range p.servers {
		_, err := p.dial(n, u)
		p.check(fmt.Sprintf("%s: %s refuses the user", what, name), err != nil)
	}
}

// TestEachKindOfResolver goes through the life of a cluster for each kind: edits,
// servers that come back with nothing or with an old store, a disk that is wiped, and
// the end of an account.
func TestEachKindOfResolver(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"url", "full", "cache"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newCluster(t, kind)
			for _, name := range []string{"n1", "n2", "n3"} {
				p.up(name)
			}
			p.await(3)
			want := map[string]claims.ResolverKind{"url": claims.ResolverOther, "full": claims.ResolverFull, "cache": claims.ResolverCache}[kind]
			for _, s := range p.r.Load().Servers(p.operator) {
				p.check("the kind of "+s.Name, s.Resolver == want && !s.Started.IsZero() && !s.JetStream && !s.LameDuck)
			}
			a, other := p.account("a"), p.account("other")
			good, bad := p.user(a, "good"), p.user(a, "bad")
			// A full resolver that misses an account takes its peers' word that there is none
			// before ours that there is: it is to be pushed before the first client comes.
			p.wait(a, a.version)
			p.connect(p.servers["n1"], good)
			c := p.connect(p.servers["n2"], bad)
			begin := time.Now()
			version := p.revoke(a, bad)
			await(t, "the end of the connection", c.closed)
			t.Logf("%s: revocation to the connection's end: %v", kind, time.Since(begin))
			s := p.proven("a revocation", a, version)
			t.Logf("%s: revocation to the proof on three servers: %v", kind, time.Since(begin))
			cold := map[string]claims.DeliveryState{"url": claims.DeliveryNotLoaded, "full": claims.DeliveryStored, "cache": claims.DeliveryNotLoaded}[kind]
			p.check(fmt.Sprintf("the states %v", states(s)), states(s)["n1"] == claims.DeliveryInEffect && states(s)["n2"] == claims.DeliveryInEffect && states(s)["n3"] == cold)
			p.refused("a revocation", bad)
			p.proven("an edit of an account that nobody uses", other, p.edit(other, func(c *claims.Account) { c.Settings.Limits.Subs = 7 }))

			// Empty store.
			p.down("n3")
			p.dirs["n3"] = ""
			p.back("n3")
			p.proven("an empty store", a, version)
			p.proven("an empty store", other, other.version)
			p.refused("an empty store", bad)

			// Old store: the second user is revoked while the server is away.
			second := p.user(a, "second")
			p.connect(p.servers["n2"], second)
			p.settled()
			p.down("n2")
			version = p.revoke(a, bad, second)
			p.wait(a, version)
			p.settled()
			p.lateUser(a, second, version)

			p.wiped(a)
			p.tombstone(a, good)
			t.Logf("%s: %d of %d", kind, p.ok, p.checked)
		})
	}
}

// lateUser lets a revoked user wait for a server that comes back with the store of
// before, and says for how long they were in.
func (p *cluster) lateUser(a *account, u user, version int64) {
	p.t.Helper()
	s := p.up("n2")
	begin := time.Now()
	if c, err := p.dial(s, u); err == nil {
		await(p.t, "the end of the revoked user's connection", c.closed)
		p.t.Logf("%s: a revoked user was in for %v on a server that came back with its old store", p.kind, time.Since(begin))
	}
	p.await(3)
	p.proven("an old store", a, version)
	p.refused("an old store", u)
}

// wiped takes the disk from a running server.
func (p *cluster) wiped(a *account) {
	p.t.Helper()
	if p.kind == "url" {
		return
	}
	p.settled()
	files, err := filepath.Glob(filepath.Join(p.dirs["n1"], "*.jwt"))
	if err != nil || len(files) == 0 {
		p.t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.kind == "full" {
		missing, other, err := p.r.Load().DiskDiffers(p.t.Context(), p.operator, []string{a.id, p.system.id})
		p.check("a wiped disk is found", len(missing) == 2 && len(other) == 0 && err == nil)
		p.owe(p.system, a)
		p.settled()
		for _, x := range []*account{p.system, a} {
			p.proven("a wiped disk", x, x.version)
		}
	}
	p.down("n1")
	p.back("n1")
	p.proven("a wiped disk and a restart", a, a.version)
}

// tombstone ends the account while one server is away.
func (p *cluster) tombstone(a *account, good user) {
	p.t.Helper()
	p.connect(p.servers["n1"], good)
	live := p.connect(p.servers["n3"], good)
	p.settled()
	p.down("n1")
	version := p.edit(a, func(c *claims.Account) {
		c.Settings.Limits.Conn, c.Settings.Limits.LeafNodeConn = 0, 0
		c.Revocations["*"] = time.Now().Unix()
	})
	await(p.t, "the end of the last connection", live.closed)
	p.wait(a, version)
	p.back("n1")
	p.proven("a tombstone", a, version)
	p.refused("a tombstone", good)
	p.down("n2")
	p.back("n2")
	p.proven("a tombstone and a restart", a, version)
	p.refused("a tombstone and a restart", good)
}

// TestPreload restarts a server whose accounts are in its configuration.
func TestPreload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{Settle: 300 * time.Millisecond})
	a := w.account("a")
	u := w.user(a, "u")
	old := w.token(a)
	up := func() *server.Server {
		s := w.serverWith("n1", func(o *server.Options) {
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}
			m := &server.MemAccResolver{}
			for id, token := range map[string]string{a.id: old, w.system.id: w.token(w.system)} {
				if err := m.Store(id, token); err != nil {
					t.Fatal(err)
				}
			}
			o.AccountResolver = m
		})
		w.await(1)
		return s
	}
	n1 := up()
	c := w.connect(n1, u)
	version := w.revoke(a, u)
	await(t, "the end of the connection", c.closed)
	if s := w.wait(a, version); states(s)["n1"] != claims.DeliveryInEffect {
		t.Errorf("states %v", states(s))
	}
	w.settled()
	w.stop(n1)
	n1 = up()
	begin := time.Now()
	c, err := w.dial(n1, u, nats.Timeout(patience))
	if err != nil {
		t.Fatalf("the old configuration does not let the user in: %v", err)
	}
	await(t, "the end of the connection", c.closed)
	t.Logf("memory: a revoked user was in for %v on a server that came back with its old configuration", time.Since(begin))
	eventually(t, "the newest version", func() bool { return w.held(n1, a) == w.token(a) })
	if _, err := w.dial(n1, u); err == nil || !strings.Contains(strings.ToLower(err.Error()), "authorization") {
		t.Errorf("the revoked user: %v", err)
	}
}
