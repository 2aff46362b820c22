package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/store"
	"chancery/store/storetest"
)

// yard is where the drills take place: two replicas, each a process of its own, on one PostgreSQL, and three servers of
// one cluster that find both through a balancer.
type yard struct {
	t        *testing.T
	kind     resolverKind
	token    string
	replicas [2]*replica
	servers  []*server.Server
	balancer *httptest.Server
	reads    *http.Client
	edits    *http.Client
	// db is the database, past the replicas.
	db       *store.Store
	accounts []*resident
	witness  *nats.Conn
	// startServer starts the server of that number.
	startServer func(n int) *server.Server
	// pinned makes the balancer ask the first replica alone, and wait for it; it is called when a question is sent.
	pinned atomic.Pointer[func()]
}

// resolverKind is what the servers resolve accounts by.
type resolverKind string

const (
	resolverURL  resolverKind = "url"
	resolverFull resolverKind = "full"
)

// replica is a control plane in a process that is killed, stopped and started again.
type replica struct {
	t    *testing.T
	args []string
	base string
	cmd  *exec.Cmd

	mu sync.Mutex
	// running is since when it runs; back is since when it has its database, zero while something is done to it.
	running, back time.Time
}

// start starts the process and returns when it has its database. Until then it may serve its snapshot, as when the database
// is away: with what was acknowledged up to its end, and not what the other replica acknowledged since.
func (r *replica) start(token string) {
	r.t.Helper()
	r.cmd, _, _ = child(r.t, r.args...)
	r.mark(time.Now(), time.Time{})
	awaitReady(r.t, r.base)
	eventually(r.t, "the API answers", func() bool {
		return callAPI(r.t.Context(), r.base, token, request{"GET", "/me", "", ""}, nil) == nil
	})
	r.mark(r.began(), time.Now())
}

// kill ends the process without a goodbye.
func (r *replica) kill() {
	r.t.Helper()
	r.mark(time.Time{}, time.Time{})
	must(r.t, r.cmd.Process.Signal(syscall.SIGKILL))
	_ = r.cmd.Wait()
}

// pause stops the process where it stands; resume lets it go on as if nothing had been.
func (r *replica) pause() {
	r.t.Helper()
	r.mark(time.Time{}, time.Time{})
	must(r.t, r.cmd.Process.Signal(syscall.SIGSTOP))
}

func (r *replica) resume() {
	r.t.Helper()
	now := time.Now()
	must(r.t, r.cmd.Process.Signal(syscall.SIGCONT))
	r.mark(now, now)
}

func (r *replica) mark(running, back time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.back = running, back
}

func (r *replica) began() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// survives tells whether nothing was done to it up to a time since it has its database, but for the time that it needs to
// catch up.
func (r *replica) survives(at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.back.IsZero() && at.After(r.back.Add(lag))
}

// resident is an account of the yard: one user who stays, and some who leave.
type resident struct {
	name, id string
	// stays and leaves are creds files; the leavers' names count from 0.
	stays  string
	leaves []string
	// leaving are the leavers' live connections.
	leaving []*session
	staying []*session
}

// yardPlan is what a drill needs.
type yardPlan struct {
	kind             resolverKind
	tenants, leavers int
	// way replaces the addresses by which a replica reaches the servers; may be nil.
	way func(replica int, direct []string) []string
}

// newYard has everything up and every account in effect on every server, with clients on it.
func newYard(t *testing.T, plan yardPlan) *yard {
	t.Helper()
	y := &yard{
		t: t, kind: plan.kind,
		reads: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		edits: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	dsn := storetest.URL(t, "postgres")
	y.token = ownerToken(t, dsn)
	var addresses, urls []string
	for range 3 {
		addresses = append(addresses, freeAddress(t))
		urls = append(urls, "nats://"+addresses[len(addresses)-1])
	}
	for n := range y.replicas {
		args, base := serveArgs(t, dsn)
		way := urls
		if plan.way != nil {
			way = plan.way(n, urls)
		}
		y.replicas[n] = &replica{t: t, args: append(args, "--nats-urls", strings.Join(way, ",")), base: base}
	}
	// After the children, which end when the test does: cleaning up goes backwards.
	t.Cleanup(func() {
		y.reads.CloseIdleConnections()
		y.edits.CloseIdleConnections()
	})
	for _, r := range y.replicas {
		r.start(y.token)
	}
	y.balancer = httptest.NewServer(http.HandlerFunc(y.balance))
	t.Cleanup(y.balancer.Close)

	y.call("POST", "/operators", `{"name":"acme"}`, nil)
	y.startServers(addresses)
	var err error
	y.db, err = store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: newLogger(os.Stderr, 8, false)})
	must(t, err)
	t.Cleanup(func() { must(t, y.db.Close()) })
	for _, r := range y.replicas {
		eventually(t, "a roster of 3 servers", func() bool { return y.roster(r) == len(y.servers) })
	}
	for n := range plan.tenants {
		y.settle(fmt.Sprintf("T%d", n), plan.leavers)
	}
	y.watch()
	return y
}

// startServers starts a cluster of three that resolves through the balancer, or from directories of its own.
func (y *yard) startServers(addresses []string) {
	y.t.Helper()
	operator := y.mustRead("/jwt/v1/operator")
	var sys api.Account
	y.call("GET", "/accounts/SYS", "", &sys)
	system := y.mustRead("/jwt/v1/accounts/" + sys.ID)
	y.startServer = func(n int) *server.Server {
		_, text, err := net.SplitHostPort(addresses[n])
		must(y.t, err)
		port, err := strconv.Atoi(text)
		must(y.t, err)
		s, err := startNATS(natsServerConfig{
			name: fmt.Sprintf("n%d", n+1), operatorJWT: operator, resolverURL: y.balancer.URL + "/jwt/v1/accounts/", port: port, log: slog.New(slog.DiscardHandler),
			adjust: func(o *server.Options) {
				o.JetStream, o.AuthTimeout = false, 20
				o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
				for other, r := range y.servers {
					if other != n {
						o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", r.ClusterAddr().Port)})
					}
				}
				if y.kind == resolverFull {
					full, err := server.NewDirAccResolver(y.t.TempDir(), 0, time.Minute, server.NoDelete)
					must(y.t, err)
					must(y.t, full.Store(sys.ID, system))
					o.AccountResolver = full
				}
			},
		})
		must(y.t, err)
		y.t.Cleanup(func() { stopNATS(s) })
		return s
	}
	for n := range addresses {
		y.servers = append(y.servers, y.startServer(n))
	}
}

// roster returns how many servers a replica knows, when the system account is in effect on them.
func (y *yard) roster(r *replica) int {
	var s api.Sync
	if err := callAPI(y.t.Context(), r.base, y.token, request{"GET", "/accounts/SYS/sync", "", ""}, &s); err != nil || s.State != "in_effect" {
		return 0
	}
	return s.Total
}

// settle makes an account whose users are connected: the one who stays to every server, each leaver to one.
func (y *yard) settle(name string, leavers int) {
	y.t.Helper()
	var a api.Account
	y.call("POST", "/accounts", `{"name":"`+name+`"}`, &a)
	x := &resident{name: name, id: a.ID, stays: y.user(name, "stays")}
	for n := range leavers {
		x.leaves = append(x.leaves, y.user(name, fmt.Sprintf("leaver%d", n)))
	}
	// The two replicas learn of it one after the other; until then a server may hear from one that it does not exist.
	y.call("GET", "/accounts/"+name+"/sync", "", nil)
	for n, creds := range append([]string{x.stays, x.stays, x.stays}, x.leaves...) {
		var c *session
		eventually(y.t, "a good user is admitted", func() bool {
			var err error
			c, err = connect(y.servers[n%3], creds)
			return err == nil
		})
		y.t.Cleanup(c.Close)
		if n < 3 {
			x.staying = append(x.staying, c)
		} else {
			x.leaving = append(x.leaving, c)
		}
	}
	y.accounts = append(y.accounts, x)
}

func (y *yard) user(account, name string) (creds string) {
	y.t.Helper()
	y.call("POST", "/accounts/"+account+"/users", `{"name":"`+name+`","permissions":{}}`, nil)
	return y.credential(account, name)
}

func (y *yard) credential(account, name string) (creds string) {
	y.t.Helper()
	var c issued
	y.call("POST", "/accounts/"+account+"/users/"+name+"/credentials", "{}", &c)
	path := filepath.Join(y.t.TempDir(), name+".creds")
	must(y.t, writeSecret(path, claims.NewSecret(c.Creds)))
	return path
}

// call uses the API of the first replica before anything is done to it, and waits until the change is in effect.
func (y *yard) call(method, path, body string, answer any) {
	y.t.Helper()
	must(y.t, callAPI(y.t.Context(), y.replicas[0].base, y.token, request{method, path, body, "wait=20"}, answer))
}
