package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"go.yaml.in/yaml/v3"

	"chancery/api"
	"chancery/claims"
	"chancery/store/storetest"
)

// operation is one of the contract, ready to be sent.
type operation struct{ id, method, path, body string }

// described is an operation as the contract tells of it.
type described struct {
	ID         string `yaml:"operationId"`
	Permission string `yaml:"x-permission"`
	Parameters []struct{ Name string }
	Body       struct {
		Content map[string]struct{ Example any }
	} `yaml:"requestBody"`
}

// contract is what api.OpenAPI says, by path and method, read once for all tests: watched by the race detector that
// takes seconds.
var contract = sync.OnceValues(func() (map[string]map[string]described, error) {
	raw, err := api.OpenAPI()
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]described
	}
	err = yaml.Unmarshal(raw, &doc)
	return doc.Paths, err
})

// mutations are all operations of the contract that change something, with the bodies it shows.
func mutations(t *testing.T, fill *strings.Replacer) []operation {
	t.Helper()
	paths, err := contract()
	must(t, err)
	var out []operation
	for path, item := range paths {
		for method, op := range item {
			if method == "get" || strings.HasSuffix(op.Permission, ":read") || op.Permission == "none" {
				continue
			}
			o := operation{id: op.ID, method: strings.ToUpper(method), path: fill.Replace(strings.TrimPrefix(path, api.Base))}
			for _, parameter := range op.Parameters {
				if parameter.Name == "reason" {
					o.path += "?reason=because"
				}
			}
			for kind, media := range op.Body.Content {
				if strings.Contains(kind, "ndjson") {
					continue
				}
				body, err := json.Marshal(media.Example)
				must(t, err)
				o.body = string(body)
			}
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return out
}

// attempt sends an operation and returns the status and the code of its problem. What is deleted is deleted at the
// version that there is.
func (p *plant) attempt(o operation) (status int, code string) {
	p.t.Helper()
	do := func(method, path, body, match string) *http.Response {
		req, err := http.NewRequestWithContext(p.t.Context(), method, p.app.cfg.publicURL+api.Base+path, strings.NewReader(body))
		must(p.t, err)
		req.Header.Set("Authorization", "Bearer "+p.token)
		req.Header.Set("Content-Type", "application/json")
		if match != "" {
			req.Header.Set("If-Match", match)
		}
		resp, err := http.DefaultClient.Do(req)
		must(p.t, err)
		return resp
	}
	match := ""
	if o.method == http.MethodDelete {
		seen := do(http.MethodGet, o.path, "", "")
		match = seen.Header.Get("ETag")
		must(p.t, seen.Body.Close())
	}
	resp := do(o.method, o.path, o.body, match)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(p.t, err)
	var problem api.Problem
	_ = json.Unmarshal(raw, &problem) // an answer that is none has no code
	return resp.StatusCode, problem.Code
}

// T19: when the audit log takes no entry, nothing that needs one is done: whatever is tried over the API, and what the
// upkeep owes. Not a JWT, not a credential, not a push. Looking up and reading go on, and so does all of it once the log
// takes entries again.
func TestNothingIsSignedWithoutAudit(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.makeOrders()
		p.startServers(1)
		_, creds := p.issue()
		p.call("POST", "/operators/acme/templates", `{"name":"service"}`, nil)
		keys := map[string]string{}
		for placeholder, path := range map[string]string{
			"/operators/{operator}/signing-keys": "/operators/acme/signing-keys", "/accounts/{account}/signing-keys": "/accounts/ORDERS/signing-keys",
			"/accounts/{account}/templates/{template}/keys": "/accounts/ORDERS/templates/device/keys",
		} {
			var k struct {
				ID string `json:"id"`
			}
			p.call("POST", path, `{"make_current":false}`, &k)
			keys[placeholder+"/{key}"] = path + "/" + k.ID
		}
		pairs := []string{"{operator}/templates/{template}", "acme/templates/service"}
		for _, from := range slices.Sorted(maps.Keys(keys)) {
			pairs = append(pairs, from, keys[from])
		}
		pairs = append(pairs, "{operator}", "acme", "{account}", "ORDERS", "{template}", "device", "{user}", "d1", "{subject}", "d1", "{key}", "none")
		ops := mutations(p.t, strings.NewReplacer(pairs...))

		pushed := p.recordPushes()
		p.call("PATCH", "/accounts/ORDERS", `{"description":"before"}`, nil)
		if pushed() == 0 {
			p.t.Fatal("the recorder sees no pushes")
		}
		raw := p.raw(p.t)
		eventually(p.t, "settled deliveries", func() bool {
			var n int
			must(p.t, raw.QueryRowContext(p.t.Context(), `SELECT count(*) FROM outbox`).Scan(&n))
			return n == 0
		})
		p.failAudit(raw, true)
		raw.Run(p.t, `UPDATE accounts SET resign_us = 1 WHERE name = 'ORDERS'`) // the upkeep owes a signature
		sizes := func() string {
			var b strings.Builder
			for _, table := range []string{"jwts", "credentials", "audit", "changes", "keys", "users", "templates", "accounts", "operators", "revocations", "tokens", "people", "exports", "imports", "activations"} {
				var n int
				must(p.t, raw.QueryRowContext(p.t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
				fmt.Fprintln(&b, table, n)
			}
			return b.String()
		}
		before, first := sizes(), pushed()
		reached := 0
		for _, o := range ops {
			status, code := p.attempt(o)
			switch {
			case status < 300:
				p.t.Errorf("%s was done, and is not on record", o.id)
			case status == 500 && code == "internal":
				reached++
			}
		}
		if reached < 20 {
			p.t.Errorf("only %d of %d operations came as far as the audit log", reached, len(ops))
		}
		if err := p.app.issuer.Upkeep(p.t.Context()); err == nil {
			p.t.Error("the upkeep signed what cannot be put on record")
		}
		if after := sizes(); after != before {
			p.t.Errorf("rows before:\n%s\nand after:\n%s", before, after)
		}
		// Reading and looking up go on.
		p.call("GET", "/accounts/ORDERS", "", nil)
		p.call("GET", "/audit", "", nil)
		var account struct {
			ID string `json:"id"`
		}
		p.call("GET", "/accounts/ORDERS", "", &account)
		resp, err := http.Get(p.app.cfg.publicURL + "/jwt/v1/accounts/" + account.ID)
		must(p.t, err)
		must(p.t, resp.Body.Close())
		if resp.StatusCode != 200 {
			p.t.Errorf("a lookup answered %d", resp.StatusCode)
		}
		p.mustConnect(p.running()[0], creds)
		if n := pushed() - first; n != 0 {
			p.t.Errorf("%d claims were pushed", n)
		}
		p.t.Logf("%d of %d operations came as far as the audit log, and none was done: 0 signatures, %d pushes", reached, len(ops), pushed()-first)

		p.failAudit(raw, false)
		p.call("PATCH", "/accounts/ORDERS", `{"description":"after"}`, nil)
		if pushed() == first {
			p.t.Error("nothing is pushed once the log takes entries again")
		}
	})
}

// raw is a connection to the plant's database beside the control plane.
func (p *plant) raw(t testing.TB) *storetest.Raw {
	return storetest.OpenRaw(t, p.app.cfg.databaseURL)
}

// failAudit makes every insert into the audit log fail, or ends that.
func (p *plant) failAudit(raw *storetest.Raw, fail bool) {
	p.t.Helper()
	statements := map[bool]map[string][]string{
		true: {
			"sqlite":   {`CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is full'); END`},
			"postgres": {`CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log is full'; END $$`, `CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()`},
		},
		false: {"sqlite": {`DROP TRIGGER no_audit`}, "postgres": {`DROP TRIGGER no_audit ON audit`}},
	}
	for _, s := range statements[fail][p.app.store.Dialect()] {
		raw.Run(p.t, s)
	}
}

// recordPushes returns what counts the claims that were pushed to the servers up to then, as somebody on the system
// account of the only server sees them: what the server passed on before it answers a flush has come.
func (p *plant) recordPushes() (pushed func() int) {
	p.t.Helper()
	var c issued
	p.call("POST", "/accounts/SYS/users", `{"name":"watcher","permissions":{"subscribe":{"allow":["$SYS.>"]}}}`, nil)
	p.call("POST", "/accounts/SYS/users/watcher/credentials", "{}", &c)
	path := filepath.Join(p.t.TempDir(), "watcher.creds")
	must(p.t, writeSecret(path, claims.NewSecret(c.Creds)))
	watcher := p.mustConnect(p.running()[0], path)
	seen := make(chan *nats.Msg, 1024)
	for _, subject := range []string{"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE"} {
		_, err := watcher.ChanSubscribe(subject, seen)
		must(p.t, err)
	}
	pushed = func() int {
		must(p.t, watcher.Flush())
		return len(seen)
	}
	pushed()
	return pushed
}
