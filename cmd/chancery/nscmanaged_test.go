package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// managedStore is a store of nsc that is managed by this operator, as far as its requests go: the keys, and the JWT that it
// has of its account.
type managedStore struct {
	t *testing.T
	// asu is the account server URL.
	asu  string
	name string
	pair nkeys.KeyPair
	id   string
	// local is what is in the store: the JWT of the operator, or the self-signed one that was refused.
	local string
	// said is the body of the last answer.
	said string
}

func newManagedStore(t *testing.T, asu, name string) *managedStore {
	t.Helper()
	h := &managedStore{t: t, asu: asu, name: name}
	h.pair, h.id = accountPair(t)
	return h
}

func accountPair(t *testing.T) (nkeys.KeyPair, string) {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	must(t, err)
	id, err := kp.PublicKey()
	must(t, err)
	return kp, id
}

// do sends what nsc sends: Go's default client without credentials of its own.
func (h *managedStore) do(method, url, body string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, url, strings.NewReader(body))
	must(h.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/jwt")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") }}
	res, err := client.Do(req)
	must(h.t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	must(h.t, err)
	return res.StatusCode, string(raw)
}

// push posts a JWT; then, as nsc does after exactly 200, it pulls.
func (h *managedStore) push(token string) int {
	h.t.Helper()
	status, said := h.do(http.MethodPost, join(h.asu, "/accounts/"+h.id), token)
	if h.local, h.said = token, said; status == http.StatusOK {
		if got, body := h.do(http.MethodGet, join(h.asu, "/accounts/"+h.id), ""); got == http.StatusOK {
			h.local = body
		}
	}
	return status
}

// join puts a path behind that of a URL and keeps its query.
func join(url, path string) string {
	base, query, has := strings.Cut(url, "?")
	if has {
		query = "?" + query
	}
	return strings.TrimSuffix(base, "/") + path + query
}

// claims reads what is in the store.
func (h *managedStore) claims() *jwt.AccountClaims {
	h.t.Helper()
	c, err := jwt.DecodeAccountClaims(h.local)
	must(h.t, err)
	return c
}

// add is nsc add account.
func (h *managedStore) add() int {
	h.t.Helper()
	c := jwt.NewAccountClaims(h.id)
	c.Name = h.name
	token, err := c.Encode(h.pair)
	must(h.t, err)
	return h.push(token)
}

// edit changes the JWT of the store, signs it with the account's key and pushes.
func (h *managedStore) edit(f func(*jwt.AccountClaims)) int {
	h.t.Helper()
	return h.editBy(h.pair, f)
}

func (h *managedStore) editBy(key nkeys.KeyPair, f func(*jwt.AccountClaims)) int {
	h.t.Helper()
	c := h.claims()
	f(c)
	token, err := c.Encode(key)
	must(h.t, err)
	return h.push(token)
}

// copy is the same store on another machine.
func (h *managedStore) copy() *managedStore { c := *h; return &c }

// nscCases counts what was shown.
type nscCases struct {
	t         *testing.T
	ran, good int
}

func (c *nscCases) show(name string, f func() bool) {
	c.t.Helper()
	c.ran++
	if f() {
		c.good++
		return
	}
	c.t.Errorf("%s: not as nsc needs it", name)
}

// TestNscManagedOperator replays what nsc sends to a managed operator, and holds the answers against what nsc makes of
// them: see the function names in nsc's source. A real nats-server serves what comes of it.
func TestNscManagedOperator(t *testing.T) { //nolint:maintidx // one list of cases
	t.Parallel()
	p := newPlant(t, "sqlite")
	x := &nscCases{t: t}
	base := p.app.cfg.publicURL
	asu := base + "/jwt/v1"
	system := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	strict := func(on bool) {
		_, err := p.app.issuer.UpdateOperator(t.Context(), system, "acme", func(e *issuer.OperatorEdit) {
			e.Strict, e.AccountServerURL = on, asu
			e.ServiceURLs = []string{"nats://127.0.0.1:4222"}
		})
		must(t, err)
	}
	strict(false)
	enrol := func(mode string) string {
		out, err := p.app.issuer.SetEnrolmentPolicy(t.Context(), system, "acme", issuer.EnrolmentInput{Mode: mode, Limits: "team", NewToken: mode == issuer.EnrolToken})
		must(t, err)
		return out.Value.Token.Reveal()
	}
	a := newManagedStore(t, asu, "ORDERS")
	get := func(path string) (int, string) { return a.do(http.MethodGet, base+path, "") }

	_, _ = get("/jwt/v1/accounts/" + a.id) // waits until commits are in memory
	x.show("add operator -u: a bare JWT of version 2 with the account server URL", func() bool {
		status, body := get("/jwt/v1/operator")
		c, err := jwt.DecodeOperatorClaims(body)
		return status == 200 && err == nil && c.Version == 2 && c.AccountServerURL == asu && !strings.Contains(body, "\n") && !strings.Contains(body, "BEGIN")
	})
	x.show("add operator by a name of the environment: the URL up to its first =", func() bool {
		status, body := get("/jwt/v1/operator?t")
		return status == 200 && strings.HasPrefix(body, "eyJ")
	})
	x.show("operator under /o/", func() bool {
		status, body := get("/o/acme/jwt/v1/operator")
		return status == 200 && strings.HasPrefix(body, "eyJ")
	})
	x.show("init while enrolment is closed: refused, with the way", func() bool {
		return a.add() == 403 && strings.Contains(a.said, "enrolment")
	})
	enrol(issuer.EnrolOpen)
	x.show("init -u: enrolled, signed and readable at once", func() bool {
		return a.add() == 200 && a.claims().Issuer != a.id && a.claims().Name == "ORDERS" && a.claims().Subject == a.id
	})
	x.show("the operator's limits, for DiffAccountLimits to tell", func() bool { return a.claims().Limits.Conn == 250 })
	x.show("edit account --description", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Description = "orders" }) == 200 && a.claims().Description == "orders"
	})
	x.show("edit account --conns: 200 and the limit stays", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Limits.Conn = 100_000 }) == 200 && a.claims().Limits.Conn == 250
	})
	x.show("edit account --tag", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Tags.Add("team:a") }) == 200 && a.claims().Tags.Contains("team:a")
	})
	x.show("the issue time is never older than what was posted, and always newer than before", func() bool {
		before := a.claims().IssuedAt
		ok := a.edit(func(c *jwt.AccountClaims) { c.InfoURL = "https://example.com" }) == 200
		return ok && a.claims().IssuedAt > before
	})
	x.show("add export", func() bool {
		return a.edit(func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Name: "events", Subject: "events.>", Type: jwt.Stream, TokenReq: true})
		}) == 200 && len(a.claims().Exports) == 1
	})
	x.show("delete export and add it again", func() bool {
		e := a.claims().Exports[0]
		gone := a.edit(func(c *jwt.AccountClaims) { c.Exports = nil })
		return gone == 200 && len(a.claims().Exports) == 0 && a.edit(func(c *jwt.AccountClaims) { c.Exports.Add(e) }) == 200 && len(a.claims().Exports) == 1
	})
	x.show("add mapping, edit account with default permissions", func() bool {
		return a.edit(func(c *jwt.AccountClaims) {
			c.Mappings = jwt.Mapping{"old": {{Subject: "new", Weight: 100}}}
			c.DefaultPermissions.Pub.Allow = jwt.StringList{"events.>", "hello"}
		}) == 200 && len(a.claims().Mappings) == 1
	})
	key, keyID := accountPair(t)
	scoped, scopedID := accountPair(t)
	x.show("edit account --sk generate", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(keyID) }) == 200 && a.claims().SigningKeys.Contains(keyID)
	})
	x.show("edit signing-key --role", func() bool {
		s := jwt.NewUserScope()
		s.Key, s.Role, s.Template.Pub.Allow = scopedID, "sensor", jwt.StringList{"sensor.>"}
		return a.edit(func(c *jwt.AccountClaims) { c.SigningKeys.AddScopedSigner(s) }) == 200 && a.claims().SigningKeys.Contains(scopedID)
	})
	b := newManagedStore(t, asu, "BILLING")
	x.show("add import with an activation", func() bool {
		act := jwt.NewActivationClaims(b.id)
		act.ImportSubject, act.ImportType = "events.>", jwt.Stream
		token, err := act.Encode(a.pair)
		must(t, err)
		status, _ := a.do(http.MethodPost, asu+"/activations", token)
		hash, err := act.HashID()
		must(t, err)
		got, body := a.do(http.MethodGet, asu+"/activations/"+hash, "")
		unknown, _ := get("/jwt/v1/activations/" + strings.Repeat("A", 52) + "====")
		if !strings.HasSuffix(hash, "=") || status != 200 || got != 200 || body != token || unknown != 404 || b.add() != 200 {
			t.Logf("%s: %d %d %q", hash, status, got, body)
			return false
		}
		return b.edit(func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Name: "events", Subject: "events.>", Account: a.id, Type: jwt.Stream, Token: token})
		}) == 200 && len(b.claims().Imports) == 1
	})
	x.show("generate activation --push by an account that is not known", func() bool {
		kp, _ := accountPair(t)
		act := jwt.NewActivationClaims(b.id)
		act.ImportSubject, act.ImportType = "x", jwt.Stream
		token, err := act.Encode(kp)
		must(t, err)
		status, said := a.do(http.MethodPost, asu+"/activations", token)
		return status == 404 && said != ""
	})
	x.show("202 while approval is pending, then pull", func() bool {
		enrol(issuer.EnrolApproval)
		defer enrol(issuer.EnrolOpen)
		c := newManagedStore(t, asu, "LATER")
		first := c.add() == 202 && strings.Contains(c.said, "nsc pull")
		none, _ := get("/jwt/v1/accounts/" + c.id)
		_, err := p.app.issuer.ApproveEnrolment(t.Context(), system, "acme", c.id)
		must(t, err)
		p.app.resolver.Wake()
		got, body := get("/jwt/v1/accounts/" + c.id)
		return first && none == 404 && got == 200 && strings.HasPrefix(body, "eyJ")
	})
	x.show("a name that is taken: refused, not stored", func() bool {
		c := newManagedStore(t, asu, "ORDERS")
		return c.add() == 409 && c.said != ""
	})
	x.show("rename account: the name stays, with the command", func() bool {
		c := a.copy()
		return c.edit(func(c *jwt.AccountClaims) { c.Name = "OTHER" }) == 409 && strings.Contains(c.said, "nsc pull -a ORDERS -F")
	})
	x.show("refused edit, pull, pull -F: what is served is older than the refused one, and stays", func() bool {
		c := a.copy()
		refused := c.edit(func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "bad subject", Type: jwt.Stream}) })
		_, served := get("/jwt/v1/accounts/" + a.id)
		return refused == 422 && strings.Contains(c.said, "nsc pull -a ORDERS -F") && c.claims().Issuer == a.id && served == a.local
	})
	x.show("a decorated JWT: refused in words", func() bool {
		status, said := a.do(http.MethodPost, asu+"/accounts/"+a.id, "-----BEGIN NATS ACCOUNT JWT-----\n"+a.local+"\n------END NATS ACCOUNT JWT------\n")
		return status == 422 && strings.Contains(said, "decorated")
	})
	x.show("a trailing newline: taken, and served without it", func() bool {
		status, _ := a.do(http.MethodPost, asu+"/accounts/"+a.id, a.local+"\n")
		_, body := get("/jwt/v1/accounts/" + a.id)
		return status == 200 && body == a.local
	})
	x.show("answers are bare, end in no newline and are application/jwt", func() bool {
		res, err := http.Get(asu + "/accounts/" + a.id) //nolint:noctx // as nsc does
		must(t, err)
		defer func() { _ = res.Body.Close() }()
		return res.Header.Get("Content-Type") == "application/jwt" && !strings.ContainsAny(a.local, " \n")
	})
	x.show("pull of an account that is not there: 404", func() bool {
		status, _ := get("/jwt/v1/accounts/" + newManagedStore(t, asu, "X").id)
		return status == 404
	})
	x.show("pull -A asks for /jwt/v2/operator first: 404, and v1 after that", func() bool {
		second, body := get("/jwt/v2/operator")
		first, _ := get("/jwt/v1/operator")
		return second == 404 && first == 200 && !strings.Contains(body, "<")
	})
	x.show("no page for unknown paths", func() bool {
		for _, path := range []string{"/jwt/", "/jwt/v1/", "/jwt/v1/x", "/jwt/v3/operator", "/o/acme/jwt/v2/operator", "/t/x/jwt/v2/operator", "/o/nobody/jwt/v1/operator"} {
			if status, body := get(path); status != 404 || strings.Contains(body, "<html") {
				t.Logf("%s: %d %s", path, status, body)
				return false
			}
		}
		return true
	})
	x.show("an account server URL with a trailing slash, under /o/ and with a query", func() bool {
		for _, url := range []string{asu + "/", base + "/o/acme/jwt/v1", asu + "?x=y", base + "/o/" + p.operator.ID + "/jwt/v1"} {
			c := a.copy()
			if c.asu = url; c.edit(func(c *jwt.AccountClaims) { c.Description += "." }) != 200 || c.claims().Issuer == c.id {
				t.Logf("%s: %s", url, c.said)
				return false
			}
			a.local = c.local
		}
		return true
	})
	x.show("an enrolment token in the path, the query and the user information; none and a wrong one", func() bool {
		token := enrol(issuer.EnrolToken)
		defer enrol(issuer.EnrolOpen)
		host := strings.TrimPrefix(base, "http://")
		for n, url := range []string{base + "/t/" + token + "/jwt/v1", asu + "?t=" + token, "http://nsc:" + token + "@" + host + "/jwt/v1", base + "/t/" + token + "/o/acme/jwt/v1"} {
			c := newManagedStore(t, url, "T"+string(rune('A'+n)))
			if c.add() != 200 || c.edit(func(c *jwt.AccountClaims) { c.Description = "again" }) != 200 {
				t.Logf("%d: %s", n, c.said)
				return false
			}
		}
		for _, url := range []string{asu, base + "/t/" + token + "x/jwt/v1", asu + "?t=", "http://nsc:wrong@" + host + "/jwt/v1"} {
			if c := newManagedStore(t, url, "REFUSED"); c.add() != 403 {
				return false
			}
		}
		return true
	})
	x.show("a POST is never redirected", func() bool {
		for _, path := range []string{"/jwt/v1/accounts/" + a.id, "/jwt/v1/accounts/" + a.id + "/", "/jwt/v1/accounts", "/jwt/v1/accounts/", "/jwt/v1/operator", "/jwt/v1/activations/"} {
			if status, _ := a.do(http.MethodPost, base+path, a.local); status >= 300 && status < 400 {
				t.Logf("%s: %d", path, status)
				return false
			}
		}
		return true
	})
	x.show("a plain signing key that is stored may sign", func() bool {
		return a.editBy(key, func(c *jwt.AccountClaims) { c.Description = "by a key" }) == 200
	})
	x.show("a scoped key may not", func() bool {
		c := a.copy()
		return c.editBy(scoped, func(c *jwt.AccountClaims) { c.Description = "by a role" }) == 403 && strings.Contains(c.said, "scoped")
	})
	x.show("a key that comes with the JWT may not", func() bool {
		c := a.copy()
		kp, id := accountPair(t)
		return c.editBy(kp, func(c *jwt.AccountClaims) { c.SigningKeys.Add(id) }) == 403 && !strings.Contains(c.said, "ORDERS")
	})
	x.show("strict, with a key: accepted", func() bool {
		strict(true)
		return a.editBy(key, func(c *jwt.AccountClaims) { c.Description = "strict" }) == 200
	})
	x.show("strict, without keys: the way out is signed by the account itself", func() bool {
		_, id := accountPair(t)
		return b.edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(id) }) == 200 && b.claims().SigningKeys.Contains(id)
	})
	strict(false)
	x.show("push of the operator's JWT again: nothing changes", func() bool {
		before := a.local
		return a.push(before) == 200 && a.local == before && strings.Contains(a.said, "Nothing changes")
	})
	stale := a.copy()
	user, _ := nkeys.CreateUser()
	userID, _ := user.PublicKey()
	x.show("revocations add-user", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Revoke(userID) }) == 200 && len(a.claims().Revocations) == 1
	})
	x.show("stale nsc push: an earlier JWT of the operator rolls nothing back", func() bool {
		c := stale.copy()
		return c.push(c.local) == 200 && c.local == a.local && strings.Contains(c.said, "nsc pull -a ORDERS -F")
	})
	x.show("stale nsc edit: the revocation stays, and that is said", func() bool {
		c := stale.copy()
		ok := c.edit(func(c *jwt.AccountClaims) { c.Description = "stale" }) == 200
		a.local = c.local
		return ok && len(c.claims().Revocations) == 1 && strings.Contains(c.said, "Revocations")
	})
	x.show("revocations delete-user: it stays, and that is said", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { delete(c.Revocations, userID) }) == 200 && len(a.claims().Revocations) == 1 && strings.Contains(a.said, "lift")
	})
	x.show("delete account: refused, with the way, and nothing expires", func() bool {
		c := a.copy()
		status := c.edit(func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 60 })
		_, served := get("/jwt/v1/accounts/" + a.id)
		return status == 409 && strings.Contains(c.said, "deleted") && served == a.local
	})
	x.show("load: GET the operator and the account, post the same JWT, GET it again", func() bool {
		c := a.copy()
		status, body := get("/jwt/v1/accounts/" + a.id)
		return status == 200 && c.push(body) == 200 && c.local == body
	})
	x.show("add and edit under another operator's path: not there", func() bool {
		c := a.copy()
		c.asu = base + "/o/nobody/jwt/v1"
		return c.edit(func(c *jwt.AccountClaims) { c.Description = "elsewhere" }) == 404
	})
	x.show("a body that is too long", func() bool {
		status, said := a.do(http.MethodPost, asu+"/accounts/"+a.id, strings.Repeat("x", claims.MaxAccountJWT+2048))
		return status == 413 && strings.Contains(said, "1 MiB")
	})
	x.show("push -A of 12 and pull -A of 50 at once", func() bool {
		for range 12 {
			if a.push(a.local) != 200 {
				return false
			}
		}
		var all sync.WaitGroup
		bad := make(chan int, 50)
		for range 50 {
			all.Go(func() {
				res, err := http.Get(asu + "/accounts/" + a.id) //nolint:noctx // as nsc does
				if err != nil {
					bad <- 0
					return
				}
				defer func() { _ = res.Body.Close() }()
				if raw, _ := io.ReadAll(res.Body); string(raw) != a.local {
					bad <- res.StatusCode
				}
			})
		}
		all.Wait()
		return len(bad) == 0
	})
	x.show("a nats-server boots on it and fetches; its client is admitted, a revoked one is not", func() bool {
		if status, _ := get("/jwt/v1/accounts/"); status != 200 {
			return false
		}
		p.refresh()
		p.startServers(1)
		// A server that is busy may end a lookup, and the client's attempt, after two seconds.
		eventually(t, "the client is admitted", func() bool { return admits(t, p.running()[0], a, nil, 0) == nil })
		return errors.Is(admits(t, p.running()[0], a, user, -time.Minute), nats.ErrAuthorization)
	})
	x.show("who signed is on record", func() bool {
		entries, err := p.app.issuer.ListAudit(t.Context(), issuer.System("test"), issuer.AuditQuery{Actor: "key/" + a.id}, issuer.AuditPage{Limit: 10})
		must(t, err)
		return len(entries) > 0 && entries[0].ActorKind == string(issuer.CallerHolder)
	})
	t.Logf("nsc: %d of %d cases", x.good, x.ran)
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
	c.IssuedAt = time.Now().Add(issued).Unix()
	token, err := c.Encode(a.pair)
	must(t, err)
	nc, err := nats.Connect(s.ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, user.Sign), nats.NoReconnect(), nats.Timeout(10*time.Second))
	if err == nil {
		nc.Close()
	}
	return err
}
