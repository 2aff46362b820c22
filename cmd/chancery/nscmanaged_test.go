package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
)

// nscReplay is a managed operator, two stores of nsc that it manages, and the count of what was shown.
type nscReplay struct {
	t *testing.T
	p *plant
	// wire has every exchange of every store.
	wire *nscWire
	// base is where the control plane is, asu the account server URL in its operator's JWT.
	base, asu string
	// orders exports, billing imports.
	orders, billing *managedStore
	// key is a plain signing key of orders, scoped one with a role.
	key, scoped nkeys.KeyPair
	// activation is a token that was pushed.
	activation string
	ran, good  int
}

// TestNscManagedOperator replays what nsc sends to a managed operator, and holds the answers against what nsc makes of
// them: see the function names in nsc's source. A real nats-server serves what comes of it.
func TestNscManagedOperator(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "sqlite")
	x := &nscReplay{t: t, p: p, wire: &nscWire{}, base: p.app.cfg.publicURL, asu: p.app.cfg.publicURL + "/jwt/v1"}
	x.orders, x.billing = x.store("ORDERS"), x.store("BILLING")
	x.strict(false)
	_ = x.orders.get(x.orders.account()) // waits until commits are in memory

	x.addOperator()
	x.initStore()
	x.editAccount()
	x.editSharing()
	x.generateActivation()
	x.editSigningKey()
	x.renameAccount()
	x.refusedEdit()
	x.bodies()
	x.paths()
	x.accountServerURLs()
	x.enrolmentTokens()
	x.signers()
	x.strictOperator()
	x.push()
	x.revocations()
	x.deleteAccount()
	x.load()
	x.servers()
	x.pushAndPullAll()
	x.onRecord()
	x.databaseAway()
	x.onTheWire()
	t.Logf("nsc: %d of %d cases", x.good, x.ran)
}

func (x *nscReplay) show(name string, f func() bool) {
	x.t.Helper()
	x.ran++
	if f() {
		x.good++
		return
	}
	all := x.wire.since(0)
	last := all[len(all)-1]
	x.t.Errorf("%s: not as nsc needs it; the last answer: %s %s: %d %q", name, last.method, last.url, last.status, last.body)
}

// store is a new store with one account, which is not pushed.
func (x *nscReplay) store(name string) *managedStore {
	x.t.Helper()
	s := newManagedStore(x.t, x.asu, name)
	s.wire = x.wire
	return s
}

func (x *nscReplay) get(path string) *exchange {
	x.t.Helper()
	return x.orders.get(x.base + path)
}

// served is the JWT of orders as it can be fetched.
func (x *nscReplay) served() string {
	x.t.Helper()
	return x.orders.get(x.orders.account()).body
}

func (x *nscReplay) because() issuer.Op {
	return issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
}

func (x *nscReplay) strict(on bool) {
	x.t.Helper()
	_, err := x.p.app.issuer.UpdateOperator(x.t.Context(), x.because(), "acme", func(e *issuer.OperatorEdit) {
		e.Strict, e.AccountServerURL = on, x.asu
		e.ServiceURLs = []string{"nats://127.0.0.1:4222"}
	})
	must(x.t, err)
}

func (x *nscReplay) enrol(mode string) (token string) {
	x.t.Helper()
	out, err := x.p.app.issuer.SetEnrolmentPolicy(x.t.Context(), x.because(), "acme", issuer.EnrolmentInput{Mode: mode, Limits: "team", NewToken: mode == issuer.EnrolToken})
	must(x.t, err)
	return out.Value.Token.Reveal()
}

// servers has a real nats-server live on what nsc made.
func (x *nscReplay) servers() {
	x.show("a nats-server boots on it and fetches; its client is admitted, a revoked one is not", func() bool {
		if e := x.get("/jwt/v1/accounts/"); e.status != http.StatusOK || e.body != "" {
			return false
		}
		revoked, err := nkeys.CreateUser()
		must(x.t, err)
		id, err := revoked.PublicKey()
		must(x.t, err)
		if x.orders.edit(func(c *jwt.AccountClaims) { c.Revoke(id) }) != http.StatusOK {
			return false
		}
		x.p.refresh()
		x.p.startServers(1)
		// A server that is busy may end a lookup, and the client's attempt, after two seconds.
		eventually(x.t, "the client is admitted", func() bool { return admits(x.t, x.p.running()[0], x.orders, nil, 0) == nil })
		return errors.Is(admits(x.t, x.p.running()[0], x.orders, revoked, -time.Minute), nats.ErrAuthorization)
	})
}

// onRecord looks at who is said to have done it.
func (x *nscReplay) onRecord() {
	x.show("who signed is on record", func() bool {
		entries, err := x.p.app.issuer.ListAudit(x.t.Context(), issuer.System("test"), issuer.AuditQuery{Actor: "key/" + x.orders.id}, issuer.AuditPage{Limit: 10})
		must(x.t, err)
		return len(entries) > 0 && entries[0].ActorKind == string(issuer.CallerHolder)
	})
}

// databaseAway takes the database away, which is for good.
func (x *nscReplay) databaseAway() {
	a := x.orders
	current := a.local
	x.p.stopDatabase()
	away, says := x.p.away()
	x.show("edit while the database is away: nsc says that it failed and why, and keeps the self-signed one", func() bool {
		status := a.edit(func(c *jwt.AccountClaims) { c.Description = "lost" })
		return status == away && a.exit == 1 && a.printed[0] == "[ERR ] failed to push account to remote server" &&
			strings.Contains(a.said, says) && strings.Contains(a.said, "In the log it is ") && !strings.Contains(a.said, "sql") && a.claims().Issuer == a.id
	})
	x.show("pull -F while the database is away: what is in force comes back", func() bool { return a.pull(true) && a.local == current })
	x.show("push while the database is away: the operator's JWT fails too, and is kept", func() bool {
		return a.pushes() == away && a.exit == 1 && a.local == current
	})
	x.show("generate activation --push while the database is away", func() bool {
		e := a.post(a.at("activations"), x.activation)
		return e.status == away && strings.Contains(e.body, says)
	})
	x.show("add operator -u while the database is away", func() bool {
		e := x.get("/jwt/v1/operator")
		return e.status == http.StatusOK && strings.HasPrefix(e.body, "eyJ")
	})
}

// onTheWire looks at everything that was sent and answered.
func (x *nscReplay) onTheWire() {
	for _, c := range []struct {
		name  string
		check func(*exchange) string
	}{
		{"every request has the header that nsc's has, and nothing else", (*exchange).asNscAsks},
		{"every answer is one that nsc reads: bare JWTs, lines of text, no redirect, no 201, 203 or 204", (*exchange).asNscReads},
	} {
		x.show(c.name, func() bool {
			said := x.wire.wrongly(c.check)
			if said != "" {
				x.t.Log(said)
			}
			return said == ""
		})
	}
}

// admits connects a user that the account's identity key signed so long ago; nil stands for a fresh one.
func admits(t *testing.T, s *server.Server, a *managedStore, user nkeys.KeyPair, issued time.Duration) error {
	t.Helper()
	if user == nil {
		var err error
		user, err = nkeys.CreateUser()
		must(t, err)
	}
	id, err := user.PublicKey()
	must(t, err)
	c := jwt.NewUserClaims(id)
	token, err := c.Encode(a.pair) // which is issued now, whatever it says
	must(t, err)
	token = repacked(t, token, a.pair, func(p map[string]any) { p["iat"] = time.Now().Add(issued).Unix() })
	nc, err := nats.Connect(s.ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, user.Sign), nats.NoReconnect(), nats.Timeout(30*time.Second))
	if err == nil {
		nc.Close()
	}
	return err
}
