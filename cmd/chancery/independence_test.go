package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/store"
	"chancery/store/storetest"
)

// estate is a control plane in a process of its own, with an operator, before a gate to
// its PostgreSQL.
type estate struct {
	t        *testing.T
	gate     *gate
	args     []string
	base     string
	token    string
	operator string
	// operatorJWT is what its servers are configured with.
	operatorJWT string
}

// newEstate starts one; more are further arguments.
func newEstate(t *testing.T, more ...string) (e *estate, kill func()) {
	t.Helper()
	dsn := storetest.URL(t, "postgres")
	e = &estate{t: t, token: ownerToken(t, dsn), gate: newGate(t, dsn)}
	e.args, e.base = serveArgs(t, e.gate.dsn)
	e.args = append(e.args, more...)
	cmd, _, _ := child(t, e.args...)
	awaitReady(t, e.base)
	var made struct {
		ID string `json:"id"`
	}
	e.call("POST", "/operators", `{"name":"acme"}`, &made)
	e.operator, e.operatorJWT = made.ID, e.body("/jwt/v1/operator")
	return e, func() {
		t.Helper()
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		_ = cmd.Wait()
	}
}

func (e *estate) call(method, path, body string, answer any) {
	e.t.Helper()
	must(e.t, callAPI(e.t.Context(), e.base, e.token, request{method, path, body, ""}, answer))
}

func (e *estate) get(path string) (status int, body string) {
	e.t.Helper()
	resp, err := http.Get(e.base + path) //nolint:noctx // a test against a child of this process
	must(e.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(e.t, err)
	return resp.StatusCode, string(text)
}

// body waits for an answer with 200.
func (e *estate) body(path string) (body string) {
	e.t.Helper()
	eventually(e.t, path+" is answered", func() bool {
		var status int
		status, body = e.get(path)
		return status == http.StatusOK
	})
	return body
}

// saved waits until the snapshot is on the disk.
func (e *estate) saved() {
	e.t.Helper()
	eventually(e.t, "a snapshot", func() bool {
		_, err := os.Stat(filepath.Join(e.dataDir(), "snapshot", "base"))
		return err == nil
	})
}

func (e *estate) flag(name string) string {
	for i, a := range e.args {
		if a == name {
			return e.args[i+1]
		}
	}
	e.t.Fatalf("there is no %s", name)
	return ""
}

func (e *estate) dataDir() string { return e.flag("--data-dir") }

// resolverArgs start the resolver role at the same address, with neither database nor
// key.
func (e *estate) resolverArgs() []string {
	return []string{
		"serve", "--role", "resolver", "--trusted-operators", e.operator, "--listen", e.flag("--listen"), "--data-dir", e.dataDir(), "--log-format", "text",
	}
}

// servers starts a cluster of three that resolve by URL.
func (e *estate) servers() []*server.Server {
	e.t.Helper()
	var out []*server.Server
	for n := range 3 {
		s, err := startNATS(natsServerConfig{
			name: fmt.Sprintf("n%d", n+1), operatorJWT: strings.TrimSpace(e.operatorJWT), resolverURL: e.base + "/jwt/v1/accounts/", log: slog.New(slog.DiscardHandler),
			adjust: func(o *server.Options) {
				o.JetStream, o.AuthTimeout = false, 20
				o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
				for _, r := range out {
					o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", r.ClusterAddr().Port)})
				}
			},
		})
		must(e.t, err)
		e.t.Cleanup(func() { stopNATS(s) })
		out = append(out, s)
	}
	return out
}

// TestServersRestartWithoutTheControlPlane takes away database, API and keys, restarts
// three nats-servers, and connects a thousand clients of fifty accounts.
func TestServersRestartWithoutTheControlPlane(t *testing.T) {
	alone(t)
	const accounts, clients = 50, homeless
	e, kill := newEstate(t)
	creds := make([]string, accounts)
	dir := t.TempDir()
	for n := range creds {
		name := fmt.Sprintf("A%d", n)
		e.call("POST", "/accounts", `{"name":"`+name+`"}`, nil)
		e.call("POST", "/accounts/"+name+"/users", `{"name":"u","permissions":{}}`, nil)
		var c issued
		e.call("POST", "/accounts/"+name+"/users/u/credentials", `{}`, &c)
		creds[n] = filepath.Join(dir, name+".creds")
		must(t, writeSecret(creds[n], claims.NewSecret(c.Creds)))
	}
	e.saved()
	before := e.servers()
	c, err := connect(before[0], creds[0])
	must(t, err)
	c.Close()
	// The last change before everything is gone. What was served once stays served.
	e.call("PUT", "/accounts/A0/revocations/u", `{"reason":"left"}`, nil)
	var a struct {
		ID string `json:"id"`
	}
	e.call("GET", "/accounts/A0", "", &a)
	eventually(t, "the revocation is served", func() bool { return len(revocations(t, e.body("/jwt/v1/accounts/"+a.ID))) == 1 })
	kill()
	e.gate.close()
	must(t, os.Remove(e.flag("--kek-file")))
	for _, s := range before {
		stopNATS(s)
	}

	began := time.Now()
	child(t, e.resolverArgs()...)
	awaitReady(t, e.base)
	ready := time.Since(began)
	if _, state := e.get("/readyz"); !strings.Contains(state, "serving from the snapshot of ") || !strings.Contains(state, "none is configured") {
		t.Errorf("readyz says %s", state)
	}
	after := e.servers()
	var connected atomic.Int64
	var wg sync.WaitGroup
	var failed sync.Map
	begun := time.Now()
	for w := range 25 {
		wg.Go(func() {
			for n := w; n < clients; n += 25 {
				// The one account with a revocation lets nobody in; the others stand in for it.
				file := creds[1+n%(accounts-1)]
				nc, err := nats.Connect(after[n%len(after)].ClientURL(), nats.UserCredentials(file), nats.NoReconnect(), nats.Timeout(30*time.Second))
				if err != nil {
					failed.Store(n, err)
					continue
				}
				defer nc.Close()
				if err := nc.FlushTimeout(30 * time.Second); err == nil {
					connected.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	failed.Range(func(n, err any) bool { t.Logf("client %v: %v", n, err); return false })
	for _, s := range after {
		if nc, err := connect(s, creds[0]); err == nil {
			nc.Close()
			t.Errorf("%s let a revoked client in", s.Name())
		}
	}
	t.Logf("Database, API and keys gone: %d of 3 nats-servers restarted start, %d of %d clients connect in %v; the resolver was ready %v after its start",
		len(after), connected.Load(), clients, took.Round(time.Millisecond), ready.Round(time.Millisecond))
	if connected.Load() != clients {
		t.Fail()
	}
}

func revocations(t *testing.T, token string) jwt.RevocationList {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(token)
	must(t, err)
	return c.Revocations
}

// TestNeverOlderThanServed kills the process in the middle of edits, again and again,
// and holds what the resolver role then serves alone against the newest that was ever
// answered.
func TestNeverOlderThanServed(t *testing.T) {
	t.Parallel()
	e, kill := newEstate(t)
	e.call("POST", "/accounts", `{"name":"ORDERS"}`, nil)
	var a struct {
		ID string `json:"id"`
	}
	e.call("GET", "/accounts/ORDERS", "", &a)
	e.saved()
	const rounds, edits = 3, 8
	kept, newest := 0, int64(0)
	issuedAt := func(token string) int64 {
		c, err := jwt.DecodeAccountClaims(token)
		must(t, err)
		return c.IssuedAt
	}
	for round := range rounds {
		if round > 0 {
			cmd, _, _ := child(t, e.args...)
			awaitReady(t, e.base)
			kill = func() {
				must(t, cmd.Process.Signal(syscall.SIGKILL))
				_ = cmd.Wait()
			}
		}
		http.DefaultClient.CloseIdleConnections() // those lead to the process before
		if newest == 0 {
			newest = issuedAt(e.body("/jwt/v1/accounts/" + a.ID))
		}
		ended := make(chan error, 1)
		go func() {
			for n := range 2 * edits { // more would run ahead of the clock, and be refused
				body := fmt.Sprintf(`{"limits":{"connections":%d}}`, 100*round+n)
				if err := callAPI(t.Context(), e.base, e.token, request{"PATCH", "/accounts/ORDERS", body, ""}, nil); err != nil {
					ended <- err // usually that it was killed
					return
				}
			}
			ended <- nil
		}()
		late := time.After(time.Minute)
		for from := newest; newest < from+edits; {
			if status, body := e.get("/jwt/v1/accounts/" + a.ID); status == http.StatusOK {
				newest = max(newest, issuedAt(body))
			}
			select {
			case <-late:
				t.Fatalf("the edits are not served: %v", <-ended)
			default:
			}
		}
		kill()
		<-ended //nolint:errcheck // usually that it was killed
		cmd, _, _ := child(t, e.resolverArgs()...)
		awaitReady(t, e.base)
		if got := issuedAt(e.body("/jwt/v1/accounts/" + a.ID)); got >= newest {
			kept, newest = kept+1, got
		} else {
			t.Errorf("an account with iat %d was served, after the kill one with %d", newest, got)
		}
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		must(t, cmd.Wait())
	}
	t.Logf("%d of %d kills in the middle of edits: the resolver alone serves nothing older than was served", kept, rounds)
}

// TestStartsBeforeTheDatabase starts the whole control plane while the database is
// away: lookups are answered from the snapshot, and the rest when the database is back.
func TestStartsBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	e, kill := newEstate(t)
	e.call("POST", "/accounts", `{"name":"ORDERS"}`, nil)
	var a struct {
		ID string `json:"id"`
	}
	e.call("GET", "/accounts/ORDERS", "", &a)
	served := e.body("/jwt/v1/accounts/" + a.ID)
	e.saved()
	kill()
	address, behind := e.gate.l.Addr().String(), e.gate.behind
	e.gate.close()
	cmd, _, _ := child(t, e.args...)
	if got := e.awaitBody("/jwt/v1/accounts/" + a.ID); got != served {
		t.Error("without the database another JWT is served")
	}
	if status, _ := e.get("/api/v1/me"); status != http.StatusServiceUnavailable {
		t.Errorf("the API answers %d without a database", status)
	}
	if status, state := e.get("/readyz"); status != http.StatusOK || !strings.Contains(state, "not reached since the start") {
		t.Errorf("readyz answers %d %s", status, state)
	}
	l, err := net.Listen("tcp", address)
	must(t, err)
	again := &gate{l: l, behind: behind}
	again.done.Go(func() { again.accept(behind) })
	t.Cleanup(again.close)
	eventually(t, "the control plane takes its database in", func() bool {
		_, state := e.get("/readyz")
		var parts struct{ Parts map[string]string }
		must(t, json.Unmarshal([]byte(state), &parts))
		return parts.Parts["database"] == "ok" && parts.Parts["resolver"] == "ok" && parts.Parts["signing"] == "ok"
	})
	e.call("PATCH", "/accounts/ORDERS", `{"limits":{"connections":7}}`, nil)
	eventually(t, "a change is served", func() bool { return e.body("/jwt/v1/accounts/"+a.ID) != served })
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	must(t, cmd.Wait())
}

// awaitBody is body from a process that may not listen yet.
func (e *estate) awaitBody(path string) (body string) {
	e.t.Helper()
	eventually(e.t, path+" is answered", func() bool {
		resp, err := http.Get(e.base + path) //nolint:noctx // a test against a child of this process
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		body = string(text)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return body
}

// TestOneProcessHoldsAnSQLiteFile starts a second process on the file of a first one,
// with another data folder and by another path.
func TestOneProcessHoldsAnSQLiteFile(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyURL(t, "sqlite")
	args, base := serveArgs(t, dsn)
	child(t, args...)
	awaitReady(t, base)
	path := strings.TrimPrefix(dsn, "sqlite://")
	link := filepath.Join(t.TempDir(), "other.db")
	must(t, os.Symlink(path, link))
	for _, other := range []string{dsn, "sqlite://" + link} {
		args, _ := serveArgs(t, other)
		cmd, _, stderr := child(t, args...)
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailure {
			t.Errorf("a second process ended with %v", err)
		}
		if said := stderr.String(); !strings.Contains(said, "another running process holds it") || !strings.Contains(said, "the SQLite file") {
			t.Errorf("it said %q", said)
		}
	}
	if _, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("this process opened it too")
	}
}
