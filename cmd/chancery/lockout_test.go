package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store/storetest"
)

// lockouts walks each way of locking somebody out, and the way back that docs/lockout.md has.
var lockouts = map[issuer.Guard]func(l *lockout){
	issuer.GuardLastOperatorKey:      lockLastOperatorKey,
	issuer.GuardOperatorKeyUntrusted: lockOperatorKeyUntrusted,
	issuer.GuardOperatorKeyInUse:     lockOperatorKeyInUse,
	issuer.GuardStrict:               lockStrict,
	issuer.GuardSystemEverybody:      lockSystemEverybody,
	issuer.GuardSystemUser:           lockSystemUser,
	issuer.GuardSystemKey:            lockSystemKey,
	issuer.GuardSystemAccount:        lockSystemAccount,
	issuer.GuardKeyInUse:             lockKeyInUse,
	issuer.GuardCalloutEverybody:     lockCalloutEverybody,
	issuer.GuardCalloutUser:          lockCalloutUser,
	issuer.GuardCalloutUnanswered:    lockCalloutUnanswered,
}

// T28: nobody is locked out without insisting, and after each there is a way back. The guards are met on both databases
// in issuer; here it is the servers that count.
func TestLockout(t *testing.T) {
	t.Parallel()
	guards := declaredGuards(t)
	var back atomic.Int64
	t.Cleanup(func() { t.Logf("lockout: %d of %d", back.Load(), len(guards)) })
	for n, g := range guards {
		t.Run(string(g), func(t *testing.T) {
			walk := lockouts[g]
			if walk == nil {
				t.Fatal("nobody has walked the way back from this guard")
			}
			t.Parallel()
			dialects := storetest.Dialects()
			l := &lockout{plant: newPlant(t, dialects[n%len(dialects)]), guard: g}
			l.authTimeout = 2 // callouts are waited for in vain
			l.startServers(1)
			l.creds = l.client("ORDERS", "u")
			walk(l)
			l.works()
			if !l.insisted {
				t.Error("the guard was not met")
			}
			if !t.Failed() {
				back.Add(1)
			}
		})
	}
}

// declaredGuards are the constants of type Guard.
func declaredGuards(t *testing.T) (out []issuer.Guard) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "issuer", "guards.go"), nil, 0)
	must(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Guard" {
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			must(t, err)
			out = append(out, issuer.Guard(text))
		}
		return true
	})
	if len(out) < 12 {
		t.Fatalf("%d guards, want 12 at least", len(out))
	}
	return out
}

// lockout is a plant with one server and a client of ORDERS in which somebody insists once.
type lockout struct {
	*plant
	guard    issuer.Guard
	creds    string
	insisted bool
}

// try makes a request and wants no waiting for servers.
func (l *lockout) try(method, path, body string) error {
	return callAPI(l.t.Context(), l.app.cfg.publicURL, l.token, request{method, path, body, ""}, nil)
}

// tell makes a request that must succeed, without waiting for servers that may be out of reach.
func (l *lockout) tell(method, path, body string, answer any) {
	l.t.Helper()
	must(l.t, callAPI(l.t.Context(), l.app.cfg.publicURL, l.token, request{method, path, body, ""}, answer))
}

// insist makes a change that the guard refuses, and makes it all the same. Those in also are other guards that it
// meets; they are overridden from the beginning.
func (l *lockout) insist(change func(override []issuer.Guard) error, also ...issuer.Guard) {
	l.t.Helper()
	raw := storetest.OpenRaw(l.t, l.app.cfg.databaseURL)
	dump := func() []string {
		// What Chancery itself writes meanwhile is left out.
		return strings.Split(raw.Dump(l.t, "audit", "changes", "sequencer", "outbox", "deliveries", "servers", "sweeps", "jwts", "tokens"), "\n")
	}
	before := dump()
	err := change(also)
	refused := err != nil && strings.Contains(err.Error(), `"guard":"`+string(l.guard)+`"`) && strings.Contains(err.Error(), "would_lock_out") && strings.Contains(err.Error(), "answered 409")
	if e, ok := errors.AsType[*issuer.Error](err); ok {
		refused = e.Guard == l.guard && e.Code == "would_lock_out" && e.Kind == issuer.KindConflict
	}
	if !refused {
		l.t.Fatalf("without override: %v", err)
	}
	if diff := cmp.Diff(before, dump()); diff != "" {
		l.t.Fatalf("refused, and something changed:\n%s", diff)
	}
	must(l.t, change(append(also[:len(also):len(also)], l.guard)))
	recorded := 0
	must(l.t, raw.QueryRowContext(l.t.Context(), `SELECT count(*) FROM audit WHERE outcome = 'done' AND detail LIKE $1`, `%"override":[%"`+string(l.guard)+`"%`).Scan(&recorded))
	if recorded != 1 {
		l.t.Errorf("the override is on record %d times", recorded)
	}
	l.insisted = true
}

// byAPI returns the change of a request, whose guards are overridden by ?override=.
func (l *lockout) byAPI(method, path, body string) func([]issuer.Guard) error {
	return func(override []issuer.Guard) error {
		q := ""
		for n, g := range override {
			q += map[bool]string{true: "?override=", false: ","}[n == 0] + url.QueryEscape(string(g))
		}
		return l.try(method, path+q, body)
	}
}

// client makes an account, unless there is one, and a user with credentials that may do everything.
func (p *plant) client(account, user string) (creds string) {
	p.t.Helper()
	if _, err := p.app.issuer.GetAccount(p.t.Context(), drillOp.Caller, account); err != nil {
		p.call("POST", "/accounts", `{"name":"`+account+`"}`, nil)
	}
	p.call("POST", "/accounts/"+account+"/users", `{"name":"`+user+`","permissions":{}}`, nil)
	return p.issueTo(account, user)
}

// issueTo returns the creds file of a new credential.
func (p *plant) issueTo(account, user string) string {
	p.t.Helper()
	var c issued
	must(p.t, callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{"POST", "/accounts/" + account + "/users/" + user + "/credentials", "{}", ""}, &c))
	path := filepath.Join(p.t.TempDir(), user+".creds")
	must(p.t, writeSecret(path, claims.NewSecret(c.Creds)))
	return path
}

// works wants the good state: a change reaches the servers and is proven there, and clients are let in.
func (l *lockout) works() {
	l.t.Helper()
	l.pushes("ORDERS")
	l.admits(l.creds)
}

// pushes changes the account and waits until every server has it.
func (l *lockout) pushes(account string) {
	l.t.Helper()
	l.tell("PATCH", "/accounts/"+account, fmt.Sprintf(`{"description":"%d"}`, time.Now().UnixNano()), nil)
	a, err := l.app.issuer.GetAccount(l.t.Context(), drillOp.Caller, account)
	must(l.t, err)
	eventually(l.t, account+" is in effect", func() bool {
		s, err := l.app.resolver.Sync(l.t.Context(), a.ID)
		return err == nil && s.Done() && s.Version >= a.JWTVersion
	})
}

// admits wants the holder of the creds to be let in by every server, soon.
func (l *lockout) admits(creds string) {
	l.t.Helper()
	for _, s := range l.running() {
		var last error
		l.t.Cleanup(func() {
			if last != nil {
				l.t.Logf("the client was told %v", last)
			}
		})
		eventually(l.t, "the client is let in", func() bool {
			c, err := connect(s, creds)
			if last = err; err == nil {
				c.Close()
			}
			return err == nil
		})
	}
}

// refuses wants the holder of the creds to be refused by every server, soon.
func (l *lockout) refuses(creds string) {
	l.t.Helper()
	l.failsWith(creds, nats.ErrAuthorization)
}

// failsWith wants the holder of the creds not to be let in by any server, soon, and to be told so.
func (l *lockout) failsWith(creds string, told ...error) {
	l.t.Helper()
	for _, s := range l.running() {
		var err error
		l.t.Cleanup(func() {
			if l.t.Failed() {
				l.t.Logf("the client was told %v", err)
			}
		})
		eventually(l.t, "the client is refused", func() bool {
			var c *session
			c, err = connect(s, creds)
			if err == nil {
				c.Close()
			}
			return slices.ContainsFunc(told, func(e error) bool { return errors.Is(err, e) })
		})
	}
}

// reboot restarts every nats-server with the operator's JWT as it is now.
func (l *lockout) reboot() {
	l.t.Helper()
	l.refresh()
	for _, s := range l.running() {
		l.stopServer(s)
		id := l.startNamed(s.Name()).ID()
		eventually(l.t, "the server is back", func() bool {
			list := l.app.resolver.Servers(l.operator.ID)
			sync, err := l.app.resolver.Sync(l.t.Context(), l.operator.Settings.SystemAccount)
			return err == nil && sync.Connected && len(list) == 1 && list[0].ID == id
		})
	}
}

// cutOff waits until Chancery has lost its servers since it had been lost so often.
func (l *lockout) cutOff(before int) {
	l.t.Helper()
	eventually(l.t, "Chancery is cut off", func() bool { return l.losses() > before })
}

func (l *lockout) losses() int { return strings.Count(l.log.String(), "disconnected from the servers") }

// keyOf returns the current signing key of the owner, as in /operators/acme or /accounts/ORDERS.
func (l *lockout) keyOf(owner string) string {
	l.t.Helper()
	var list struct{ Items []drillKey }
	l.tell("GET", owner+"/signing-keys", "", &list)
	for _, k := range list.Items {
		if k.State == issuer.KeyCurrent {
			return owner + "/signing-keys/" + k.ID
		}
	}
	l.t.Fatalf("%s has no current key", owner)
	return ""
}

const (
	toCurrent  = `{"state":"current"}`
	toRetiring = `{"state":"retiring"}`
	toDisabled = `{"state":"disabled"}`
)

// Nothing can be signed, not even a revocation. The key still is trusted, so it is made current again.
func lockLastOperatorKey(l *lockout) {
	key := l.keyOf("/operators/acme")
	l.insist(l.byAPI("PATCH", key, toRetiring))
	if err := l.try("PUT", "/accounts/ORDERS/revocations/u", "{}"); err == nil || !strings.Contains(err.Error(), "no_signing_key") {
		l.t.Errorf("a revocation without a key to sign with: %v", err)
	}
	l.admits(l.creds)
	l.tell("PATCH", key, toCurrent, nil)
}

// The servers refuse what the new key signs, until they are restarted; or the old key signs again.
func lockOperatorKeyUntrusted(l *lockout) {
	live := l.mustConnect(l.running()[0], l.creds)
	other := l.client("OTHER", "u") // which no server has loaded
	old := l.keyOf("/operators/acme")
	var next drillKey
	l.tell("POST", "/operators/acme/signing-keys", `{}`, &next)
	key := "/operators/acme/signing-keys/" + next.ID
	for n, heal := range []func(){
		func() { l.tell("PATCH", old, toCurrent, nil) },
		l.reboot,
	} {
		change := l.byAPI("PATCH", key, toCurrent)
		if n == 0 {
			l.insist(change)
		} else {
			must(l.t, change([]issuer.Guard{l.guard}))
		}
		a, err := l.app.issuer.GetAccount(l.t.Context(), drillOp.Caller, "ORDERS")
		must(l.t, err)
		eventually(l.t, "the push fails", func() bool {
			s, err := l.app.resolver.Sync(l.t.Context(), a.ID)
			return err == nil && len(s.Servers) == 1 && s.Servers[0].State == claims.DeliveryFailed
		})
		must(l.t, live.Flush())
		if n == 0 {
			l.refuses(other)
		}
		heal()
		l.works()
		l.admits(other)
		live = l.mustConnect(l.running()[0], l.creds)
	}
}

// A server that restarts refuses every account, the system account first. The key comes back.
func lockOperatorKeyInUse(l *lockout) {
	key := l.keyOf("/operators/acme")
	l.insist(l.byAPI("PATCH", key, toDisabled), issuer.GuardLastOperatorKey)
	l.refresh()
	for _, s := range l.running() {
		l.stopServer(s)
		if again, err := l.tryServer(s.Name()); err == nil {
			stopNATS(again)
			l.t.Error("a server that does not trust the key came up")
		}
	}
	l.tell("PATCH", key+"?override="+string(issuer.GuardOperatorKeyUntrusted), toCurrent, nil)
	l.refresh()
	l.startServers(1)
}

// tryServer starts a server with the operator's JWT as it is, which may fail.
func (l *lockout) tryServer(name string) (*server.Server, error) {
	return startNATS(natsServerConfig{
		name: name, operatorJWT: l.operator.JWT, resolverURL: l.app.cfg.publicURL + "/jwt/v1/accounts/", log: l.app.cfg.log,
		adjust: func(o *server.Options) { o.JetStream = false },
	})
}
