package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

var drillOp = issuer.Op{Caller: issuer.System("test"), RequestID: "drill"}

// tenant is an account of a drill with the credential of its one user.
type tenant struct {
	id    string
	creds claims.Secret
}

// makeTenants makes n accounts with a user that has a credential.
func makeTenants(t *testing.T, i *issuer.Issuer, n int) []tenant {
	t.Helper()
	out := make([]tenant, n)
	permissions := claims.NewPermissionLimits()
	inParallel(t, n, func(k int) error {
		a, err := i.CreateAccount(t.Context(), drillOp, issuer.AccountInput{Name: fmt.Sprintf("T%04d", k), Settings: claims.NewAccountSettings()})
		if err != nil {
			return err
		}
		out[k].id = a.Value.ID
		u, err := i.CreateUser(t.Context(), drillOp, a.Value.ID, issuer.UserInput{Name: "u", Permissions: &permissions, Issue: &issuer.IssueInput{TTL: time.Hour}})
		if err == nil {
			out[k].creds = u.Value.Issued.Creds
		}
		return err
	})
	return out
}

// inParallel calls f for 0 to n-1, a few at a time.
func inParallel(t *testing.T, n int, f func(k int) error) {
	t.Helper()
	const workers = 8
	var next atomic.Int64
	var wait sync.WaitGroup
	failed := make(chan error, workers)
	for range workers {
		wait.Go(func() {
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				if err := f(k); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	if len(failed) > 0 {
		t.Fatal(<-failed)
	}
}

// audience is many live clients; it notices each that is dropped.
type audience struct {
	t       *testing.T
	conns   []*nats.Conn
	ending  atomic.Bool
	dropped atomic.Int64
}

func seat(t *testing.T, urls []string, tenants []tenant, each int) *audience {
	t.Helper()
	a := &audience{t: t, conns: make([]*nats.Conn, len(tenants)*each)}
	inParallel(t, len(a.conns), func(k int) error {
		var nc *nats.Conn
		var err error
		// A server gives up looking an account up after 1.9 s, which a machine that is busy with other tests may take.
		for range 5 {
			nc, err = dial(urls[k%len(urls)], tenants[k/each].creds, nats.DisconnectErrHandler(func(*nats.Conn, error) {
				if !a.ending.Load() {
					a.dropped.Add(1)
				}
			}))
			if !errors.Is(err, nats.ErrAuthorization) {
				break
			}
		}
		a.conns[k] = nc
		return err
	})
	t.Cleanup(func() {
		a.ending.Store(true)
		for _, nc := range a.conns {
			nc.Close()
		}
	})
	return a
}

// dial connects as the holder of the creds.
func dial(url string, creds claims.Secret, opts ...nats.Option) (*nats.Conn, error) {
	token, seed, err := claims.ParseCreds(creds)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.UserJWTAndSeed(token, seed.Reveal()), nats.NoReconnect(), nats.Timeout(30*time.Second))
	return nats.Connect(url, opts...)
}

// stays wants n clients to have been dropped up to now, and the others to answer.
func (a *audience) stays(what string, dropped int64) {
	a.t.Helper()
	var alive atomic.Int64
	inParallel(a.t, len(a.conns), func(k int) error {
		if a.conns[k].FlushTimeout(30*time.Second) == nil {
			alive.Add(1)
		}
		return nil
	})
	want := int64(len(a.conns)) - dropped
	if n := a.dropped.Load(); n != dropped || alive.Load() != want {
		a.t.Errorf("%s: %d of %d clients were dropped, want %d, and %d answer", what, n, len(a.conns), dropped, alive.Load())
	}
	a.t.Logf("%s: %d of %d clients dropped, %d of %d answer", what, a.dropped.Load(), len(a.conns), alive.Load(), want)
}

// operatorKeys is what the API says of the operator's signing keys, by state.
func operatorKeys(t *testing.T, call func(method, path, body string, answer any)) map[string]drillKey {
	t.Helper()
	var list struct {
		Items []drillKey `json:"items"`
	}
	call("GET", "/operators/acme/signing-keys", "", &list)
	out := map[string]drillKey{}
	for _, k := range list.Items {
		out[k.State] = k
	}
	return out
}

type drillKey struct {
	ID    string `json:"id"`
	State string `json:"state"`
	InUse struct {
		Accounts int `json:"accounts"`
		Owing    int `json:"accounts_owing"`
	} `json:"in_use"`
}

// refresh reads the operator again: servers that are started next trust what it trusts now.
func (p *plant) refresh() {
	p.t.Helper()
	o, err := p.app.issuer.GetOperator(p.t.Context(), drillOp.Caller, p.operator.ID)
	must(p.t, err)
	p.operator = o
}

// TestRotationDrill rotates the operator's signing key end to end under 1,000 clients when unwatched,
// then the keys of all accounts: nobody is dropped, and what the old keys signed is
// refused in the end.
func TestRotationDrill(t *testing.T) {
	t.Parallel()
	eachPlantOn(t, crowdedDatabases(), func(p *plant) {
		alone(p.t)
		i, ctx := p.app.issuer, p.t.Context()
		tenants := makeTenants(p.t, i, drillAccounts)
		p.startServers(2)
		first := p.operator.JWT
		before, err := i.GetAccount(ctx, drillOp.Caller, tenants[0].id)
		must(p.t, err)

		// Prepared: the servers do not trust it, so it cannot be made current.
		var next drillKey
		p.call("POST", "/operators/acme/signing-keys", `{}`, &next)
		current := request{"PATCH", "/operators/acme/signing-keys/" + next.ID, `{"state":"current"}`, ""}
		dry := current
		dry.path += "?dry_run=true"
		eventually(p.t, "the servers are known not to trust the key", func() bool {
			err := callAPI(ctx, p.app.cfg.publicURL, p.token, dry, nil)
			return err != nil && strings.Contains(err.Error(), "do not trust this key yet")
		})
		if err := callAPI(ctx, p.app.cfg.publicURL, p.token, current, nil); err == nil || !strings.Contains(err.Error(), "operator_key_untrusted") {
			p.t.Fatalf("made current too early: %v", err)
		}
		p.refresh()
		for _, s := range p.running() { // one after the other
			p.restart(s)
		}
		live := seat(p.t, p.natsURLs(), tenants, drillClients)

		// Current: all accounts are signed anew while both keys are trusted.
		eventually(p.t, "all servers trust the new key", func() bool { return callAPI(ctx, p.app.cfg.publicURL, p.token, current, nil) == nil })
		inTheEnd(p.t, "the old key retires", func() bool { _, ok := operatorKeys(p.t, p.call)["retired"]; return ok })
		if k := operatorKeys(p.t, p.call)["current"]; k.ID != next.ID || k.InUse.Accounts != drillAccounts+1 || k.InUse.Owing != 0 {
			p.t.Errorf("in the end the current key is %+v", k)
		}
		p.inEffect(tenants)
		live.stays("the operator's key was rotated", 0)
		p.refresh()
		p.oldOperatorKeyIsRefused(first, before, tenants[0].creds)

		// The keys of all accounts.
		old := make([]string, len(tenants))
		inParallel(p.t, len(tenants), func(k int) error {
			out, err := i.AddKey(ctx, drillOp, issuer.KeyOwner{Account: tenants[k].id}, issuer.KeyInput{MakeCurrent: true})
			if err == nil {
				old[k] = out.Value.Previous[0].ID
			}
			return err
		})
		p.inEffect(tenants)
		live.stays("all accounts' keys were rotated", 0)
		const retired = 10
		op := drillOp
		op.Override = []issuer.Guard{issuer.GuardKeyInUse}
		for k, x := range tenants[:retired] {
			_, err := i.SetKeyState(ctx, op, issuer.KeyOwner{Account: x.id}, old[k], issuer.KeyStateInput{State: issuer.KeyRetired})
			must(p.t, err)
		}
		p.inEffect(tenants[:retired])
		eventually(p.t, "who came by a retired key is closed", func() bool { return live.dropped.Load() >= retired*drillClients })
		refused, admitted := 0, 0
		for _, x := range tenants[:retired] {
			if nc, err := dial(p.natsURLs()[0], x.creds); errors.Is(err, nats.ErrAuthorization) {
				refused++
			} else if err == nil {
				nc.Close()
			}
			c, err := i.Issue(ctx, drillOp, x.id, "u", issuer.IssueInput{TTL: time.Hour})
			must(p.t, err)
			if nc, err := dial(p.natsURLs()[0], c.Value.Creds); err == nil {
				admitted++
				nc.Close()
			}
		}
		if refused != retired || admitted != retired {
			p.t.Errorf("%d of %d old credentials are refused, %d of %d new ones admitted", refused, retired, admitted, retired)
		}
		p.t.Logf("old credentials refused: %d of %d, new ones admitted: %d of %d", refused, retired, admitted, retired)
		live.stays("ten accounts' old keys were retired", retired*drillClients)
	})
}

// restart starts a server again under its name, with the operator's JWT as it is now,
// and waits until the control plane knows it.
func (p *plant) restart(s *server.Server) {
	p.t.Helper()
	p.stopServer(s)
	id := p.startNamed(s.Name()).ID()
	eventually(p.t, "the server is back", func() bool {
		list := p.app.resolver.Servers(p.operator.ID)
		return len(list) == 2 && (list[0].ID == id || list[1].ID == id)
	})
}

// inEffect waits until every server has the current JWT of each tenant.
func (p *plant) inEffect(tenants []tenant) {
	p.t.Helper()
	inTheEnd(p.t, "all accounts are in effect on every server", func() bool {
		for _, x := range tenants {
			s, err := p.app.resolver.Sync(p.t.Context(), x.id)
			if err != nil || !s.Done() {
				return false
			}
		}
		return true
	})
}

// oldOperatorKeyIsRefused serves the same account JWT, signed by the old key, to a
// server with the first operator JWT and to one with the last.
func (p *plant) oldOperatorKeyIsRefused(first string, before issuer.Account, creds claims.Secret) {
	p.t.Helper()
	system, err := p.app.issuer.GetAccount(p.t.Context(), drillOp.Caller, p.operator.Settings.SystemAccount)
	must(p.t, err)
	for operator, admits := range map[string]bool{first: true, p.operator.JWT: false} {
		served := new(server.MemAccResolver)
		must(p.t, served.Store(before.ID, before.JWT))
		must(p.t, served.Store(system.ID, system.JWT))
		s, err := startNATS(natsServerConfig{
			name: "judge", operatorJWT: operator, resolverURL: p.app.cfg.publicURL + "/jwt/v1/accounts/", log: slog.New(slog.DiscardHandler),
			adjust: func(o *server.Options) {
				o.JetStream, o.AccountResolver = false, served
				if admits { // that server knows the system account as it was signed then
					o.SystemAccount = ""
					o.TrustedOperators[0].SystemAccount = ""
				}
			},
		})
		must(p.t, err)
		nc, err := dial(s.ClientURL(), creds)
		if err == nil {
			nc.Close()
		}
		if (err == nil) != admits || (!admits && !errors.Is(err, nats.ErrAuthorization)) {
			p.t.Errorf("what the old key signed: admitted should be %v: %v", admits, err)
		}
		stopNATS(s)
	}
}

// TestKillWhileSigningAnew kills the process when some of the accounts, 1,000 of them
// unwatched, are signed by the new key and starts it again: each ends with exactly one new version, and none of
// their clients, 1,000 unwatched, is dropped.
func TestKillWhileSigningAnew(t *testing.T) {
	t.Parallel()
	const accounts = crowd
	for _, d := range crowdedDatabases() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			alone(t)
			dsn := storetest.URL(t, d)
			token := ownerToken(t, dsn)
			tenants := prepareTenants(t, dsn, accounts)
			args, base := serveArgs(t, dsn)
			first, _, _ := child(t, args...)
			awaitReady(t, base)
			call := func(method, path, body string, answer any) {
				t.Helper()
				must(t, callAPI(t.Context(), base, token, request{method, path, body, ""}, answer))
			}
			s := serverOf(t, base)
			live := seat(t, []string{s.ClientURL()}, tenants, drillClients)

			next := operatorKeys(t, call)["prepared"]
			call("PATCH", "/operators/acme/signing-keys/"+next.ID, `{"state":"current"}`, nil)
			done := 0
			eventually(t, "some accounts are signed anew", func() bool {
				done = operatorKeys(t, call)["current"].InUse.Accounts
				return done > 0
			})
			must(t, first.Process.Signal(syscall.SIGKILL))
			_ = first.Wait()
			live.stays("killed", 0)

			again, _, _ := child(t, append(args, "--nats-urls", s.ClientURL())...)
			awaitReady(t, base)
			inTheEnd(t, "all accounts are signed anew", func() bool {
				k := operatorKeys(t, call)["current"]
				return k.InUse.Accounts == accounts+1 && k.InUse.Owing == 0
			})
			inTheEnd(t, "the old key retires once the servers have it all", func() bool { _, ok := operatorKeys(t, call)["retired"]; return ok })
			live.stays("started again", 0)
			must(t, again.Process.Signal(syscall.SIGTERM))
			_ = again.Wait()
			once := signedOnce(t, dsn, next.ID)
			if once != accounts+1 {
				t.Errorf("%d of %d accounts have exactly one new version", once, accounts+1)
			}
			if done > accounts {
				t.Errorf("all %d accounts were signed before the kill", done)
			}
			t.Logf("killed after %d of %d accounts; exactly one new version: %d of %d", done, accounts+1, once, accounts+1)
		})
	}
}

// prepareTenants makes an operator with a prepared key and accounts, before any process
// holds the database.
func prepareTenants(t *testing.T, dsn string, n int) []tenant {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	i, err := issuer.Open(t.Context(), issuer.Config{Store: s, Now: time.Now, Logger: slog.New(slog.DiscardHandler), KEK: kek})
	must(t, err)
	_, err = i.CreateOperator(t.Context(), drillOp, issuer.OperatorInput{Name: "acme"})
	must(t, err)
	tenants := makeTenants(t, i, drillAccounts)
	makeCrowd(t, dsn, s, i, n-drillAccounts)
	_, err = i.AddKey(t.Context(), drillOp, issuer.KeyOwner{Operator: "acme"}, issuer.KeyInput{})
	must(t, err)
	return tenants
}

// makeCrowd makes n accounts that nobody connects to, signed for the first time by the upkeep.
func makeCrowd(t *testing.T, dsn string, s *store.Store, i *issuer.Issuer, n int) {
	t.Helper()
	o, err := i.GetOperator(t.Context(), drillOp.Caller, "acme")
	must(t, err)
	must(t, s.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for k := range n {
			pair, err := nkeys.CreateAccount()
			if err != nil {
				return err
			}
			id, err := pair.PublicKey()
			if err != nil {
				return err
			}
			if err := tx.CreateAccount(ctx, store.Account{ID: id, OperatorID: o.ID, Name: fmt.Sprintf("C%04d", k), State: "active", Settings: claims.NewAccountSettings()}); err != nil {
				return err
			}
		}
		return nil
	}))
	storetest.OpenRaw(t, dsn).Run(t, `UPDATE accounts SET jwt = 'none yet', resign_us = 1 WHERE jwt = ''`)
	must(t, i.Upkeep(t.Context()))
}

// signedOnce counts the accounts that the key signed, with two versions in all.
func signedOnce(t *testing.T, dsn, key string) (n int) {
	t.Helper()
	raw := storetest.OpenRaw(t, dsn)
	must(t, raw.QueryRowContext(context.WithoutCancel(t.Context()), `SELECT count(*) FROM accounts a WHERE signer = $1 AND resign_us = 0 AND jwt_version = 2
		AND (SELECT count(*) FROM jwts j WHERE j.subject = a.id) = 2`, key).Scan(&n))
	return n
}
