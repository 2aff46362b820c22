package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"chancery/api"
	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// mill is what the benchmarks drive: a control plane as `chancery serve` wires it and a cluster of three servers, all in
// this process, so that whatever any of them computes is in every figure.
type mill struct {
	b        *testing.B
	app      *app
	raw      *storetest.Raw
	token    string
	operator issuer.Operator
	servers  []*server.Server
	// connected makes the control plane see the servers.
	connected atomic.Bool
	// disk is a connection to the same database, as durable as Chancery's.
	disk *sql.DB
}

func newMill(b *testing.B, dialect string) *mill {
	b.Helper()
	m := &mill{b: b}
	dsn := benchURL(b, dialect)
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	benchMust(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	benchMust(b, err)
	m.app, err = openApp(b.Context(), appConfig{
		databaseURL: dsn, dataDir: b.TempDir(), kek: kek, publicURL: "http://" + l.Addr().String(), listener: l,
		natsURLs: m.urls, now: time.Now, log: slog.New(slog.DiscardHandler),
	})
	benchMust(b, err)
	b.Cleanup(func() {
		for _, s := range m.servers {
			stopNATS(s)
		}
		_ = m.app.stop()
		http.DefaultClient.CloseIdleConnections()
	})
	out, err := m.app.issuer.CreateOperator(b.Context(), m.op(), issuer.OperatorInput{Name: "acme"})
	benchMust(b, err)
	m.operator = out.Value
	made, err := m.app.issuer.CreateToken(b.Context(), m.op(), issuer.TokenInput{Name: "bench", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	benchMust(b, err)
	m.token = made.Value.Text.Reveal()
	benchMust(b, m.app.start(b.Context()))
	m.raw = storetest.OpenRaw(b, dsn)
	m.raw.Run(b, `CREATE TABLE bench (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`)
	m.raw.Run(b, `INSERT INTO bench VALUES (1, 0)`)
	driver, source := "pgx", dsn
	if path, ok := strings.CutPrefix(dsn, "sqlite://"); ok {
		driver, source = "sqlite", path+"?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)"
	}
	m.disk, err = sql.Open(driver, source)
	benchMust(b, err)
	b.Cleanup(func() { _ = m.disk.Close() })
	m.startServers()
	m.connect()
	return m
}

// benchURL is a database that writes to the disk for certain, which those of the tests do not.
func benchURL(b *testing.B, dialect string) string {
	b.Helper()
	dsn := storetest.URL(b, dialect)
	if path, ok := strings.CutPrefix(dsn, "sqlite://"); ok {
		content, err := os.ReadFile(path)
		benchMust(b, err)
		path = filepath.Join(b.TempDir(), "chancery.db")
		benchMust(b, os.WriteFile(path, content, 0o600))
		return "sqlite://" + path
	}
	if os.Getenv("CHANCERY_TEST_POSTGRES_URL") == "" {
		raw := storetest.OpenRaw(b, dsn)
		for _, statement := range []string{`ALTER SYSTEM SET fsync = on`, `ALTER SYSTEM SET full_page_writes = on`, `SELECT pg_reload_conf()`} {
			raw.Run(b, statement)
		}
	}
	return dsn
}

func (*mill) op() issuer.Op { return issuer.Op{Caller: issuer.System("bench"), RequestID: "bench"} }

func (m *mill) urls() []string {
	if !m.connected.Load() {
		return nil
	}
	var urls []string
	for _, s := range m.servers {
		urls = append(urls, s.ClientURL())
	}
	return urls
}

func (m *mill) startServers() {
	m.b.Helper()
	m.servers = benchCluster(m.b, m.operator.JWT, m.app.cfg.publicURL+"/jwt/v1/accounts/")
}

// benchCluster starts three servers, which whoever calls stops.
func benchCluster(b *testing.B, operator, resolver string) (servers []*server.Server) {
	b.Helper()
	for n := range 3 {
		s, err := startNATS(natsServerConfig{
			name: fmt.Sprintf("n%d", n+1), operatorJWT: operator, resolverURL: resolver, log: slog.New(slog.DiscardHandler),
			adjust: func(o *server.Options) {
				o.JetStream = false
				o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
				for _, r := range servers {
					o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", r.ClusterAddr().Port)})
				}
			},
		})
		benchMust(b, err)
		servers = append(servers, s)
	}
	return servers
}

// connect lets the control plane reach the servers and waits until it has asked them what they hold.
func (m *mill) connect() {
	m.b.Helper()
	m.connected.Store(true)
	m.app.resolver.Wake()
	m.await("a roster of 3 servers", func() bool { return len(m.app.resolver.Servers(m.operator.ID)) == 3 })
}

func (m *mill) disconnect() {
	m.b.Helper()
	m.connected.Store(false)
	m.app.resolver.Wake()
	m.await("no connection to the servers", func() bool {
		s, err := m.app.resolver.Sync(m.b.Context(), m.operator.Settings.SystemAccount)
		return err == nil && !s.Connected
	})
}

func (m *mill) await(what string, holds func() bool) {
	m.b.Helper()
	for limit := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			m.b.Fatalf("not within two minutes: %s", what)
		}
	}
}

func (m *mill) credential(account, user string) (path string) {
	m.b.Helper()
	var c issued
	m.call("POST", "/accounts/"+account+"/users/"+user+"/credentials", "{}", "wait=20", &c)
	path = filepath.Join(m.b.TempDir(), user+".creds")
	benchMust(m.b, writeSecret(path, claims.NewSecret(c.Creds)))
	return path
}

func (m *mill) call(method, path, body, prefer string, answer any) {
	m.b.Helper()
	benchMust(m.b, callAPI(m.b.Context(), m.app.cfg.publicURL, m.token, request{method, path, body, prefer}, answer))
}

// account makes an account that every server has loaded.
func (m *mill) account(name string) api.Account {
	m.b.Helper()
	var a api.Account
	m.call("POST", "/accounts", `{"name":"`+name+`"}`, "wait=20", &a)
	m.load(a.ID)
	return a
}

// load makes every server fetch the account, as a client's coming does.
func (m *mill) load(account string) {
	m.b.Helper()
	for _, s := range m.servers {
		_, err := s.LookupAccount(account)
		benchMust(m.b, err)
	}
}

// crowd makes n accounts at once; they are signed but not pushed.
func (m *mill) crowd(n int) (ids []string) {
	m.b.Helper()
	const batch = 500
	for first := 0; first < n; first += batch {
		benchMust(m.b, m.app.store.Write(m.b.Context(), func(ctx context.Context, t *store.Tx) error {
			for i := first; i < min(first+batch, n); i++ {
				kp, err := nkeys.CreateAccount()
				if err != nil {
					return err
				}
				id, err := kp.PublicKey()
				if err != nil {
					return err
				}
				ids = append(ids, id)
				if err := t.CreateAccount(ctx, store.Account{ID: id, OperatorID: m.operator.ID, Name: fmt.Sprintf("C%05d", i), State: "active", Settings: claims.NewAccountSettings()}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	m.raw.Run(m.b, `UPDATE accounts SET jwt = 'none yet', resign_us = 1 WHERE jwt = ''`)
	benchMust(m.b, m.app.issuer.Upkeep(m.b.Context()))
	return ids
}

// owed returns how many accounts wait for their proof or their second reading.
func (m *mill) owed() (n int64) {
	m.b.Helper()
	benchMust(m.b, m.app.store.Read(m.b.Context(), func(ctx context.Context, t *store.Tx) (err error) {
		n, _, err = t.CountOwed(ctx, "")
		return err
	}))
	return n
}

// metric returns a counter or gauge, with that outcome where it has several.
func (m *mill) metric(name, outcome string) float64 {
	m.b.Helper()
	families, err := m.app.metrics.Gather()
	benchMust(m.b, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, x := range f.GetMetric() {
			value := x.GetCounter().GetValue() + x.GetGauge().GetValue()
			if outcome == "" {
				return value
			}
			for _, l := range x.GetLabel() {
				if l.GetValue() == outcome {
					return value
				}
			}
		}
	}
	m.b.Fatalf("there is no metric %s %s", name, outcome)
	return 0
}

// processorTime is what this process has computed: Chancery, its servers and clients. Of the databases it is SQLite alone.
func (m *mill) processorTime() time.Duration {
	m.b.Helper()
	var u syscall.Rusage
	benchMust(m.b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// commit is one durable commit of one row on the same database.
func (m *mill) commit() error {
	_, err := m.disk.ExecContext(m.b.Context(), `UPDATE bench SET n = n + 1 WHERE id = 1`)
	return err
}

func benchMust(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// percentile of durations, in milliseconds; they get sorted.
func percentile(all []time.Duration, p int) float64 {
	slices.Sort(all)
	return float64(all[(len(all)-1)*p/100]) / float64(time.Millisecond)
}

// times runs f so often and returns how long each took.
func (m *mill) times(n int, f func(i int) error) []time.Duration {
	m.b.Helper()
	out := make([]time.Duration, n)
	for i := range out {
		begun := time.Now()
		benchMust(m.b, f(i))
		out[i] = time.Since(begun)
	}
	return out
}

// steadily runs f at a rate, open loop, and returns how long each took from the moment it was due.
func (m *mill) steadily(n, rate int, f func(i int) error) []time.Duration {
	m.b.Helper()
	out, errs := make([]time.Duration, n), make([]error, n)
	var all sync.WaitGroup
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		all.Go(func() {
			errs[i] = f(i)
			out[i] = time.Since(due)
		})
	}
	all.Wait()
	for _, err := range errs {
		benchMust(m.b, err)
	}
	return out
}

// benchFigures are what was measured in rounds that take turns.
type benchFigures []float64

func (f benchFigures) report(b *testing.B, name string) {
	b.Helper()
	slices.Sort(f)
	b.ReportMetric(f[len(f)/2], name)
	b.ReportMetric(f[0], name+"_min")
	b.ReportMetric(f[len(f)-1], name+"_max")
}
