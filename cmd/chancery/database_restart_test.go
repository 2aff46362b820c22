package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/store/storetest"
)

// TestTheDatabaseRestarts stops the PostgreSQL server of a running control plane and
// starts it again, twice: lookups are answered all the time, a change is answered with a
// 503 to try again or is made, the next one is made and reaches the servers, and
// notifications are heard again.
func TestTheDatabaseRestarts(t *testing.T) {
	t.Parallel()
	own := storetest.OwnPostgres(t)
	p := newPlantWith(t, "sqlite", func(c *appConfig) { c.databaseURL = own.URL() })
	p.startServers(1)
	var a struct {
		ID string `json:"id"`
	}
	p.call("POST", "/accounts", `{"name":"ORDERS"}`, nil)
	p.call("GET", "/accounts/ORDERS", "", &a)
	lookedUp := p.lookUp(a.ID)
	raw := storetest.OpenRaw(t, own.URL())
	for round, whileAway := range []func(){
		func() {
			if status, code := p.change(0); status != http.StatusServiceUnavailable || code != "database_away" {
				t.Errorf("a change without the database is answered %d %s", status, code)
			}
		},
		func() {}, // all connections of the pool are cut, and nobody has noticed
	} {
		own.Stop()
		whileAway()
		own.Start()
		var last int
		for n, refused := 1, 0; n <= 3; n++ {
			last = 10*(round+1) + n
			status, code := p.change(last)
			switch {
			case status == http.StatusServiceUnavailable && code == "database_away" && refused == 0:
				refused++
				n--
			case status != http.StatusOK:
				t.Errorf("round %d: change %d after the restart is answered %d %s", round, n, status, code)
			}
		}
		eventually(t, "the change is in effect on the server", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := p.app.resolver.Sync(ctx, a.ID)
			return err == nil && s.Done() && subs(t, p, a.ID) == int64(last)
		})
		eventually(t, "notifications are heard", func() bool {
			n := 0
			err := raw.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chancery listen' AND query LIKE 'LISTEN%'`).Scan(&n)
			return err == nil && n == 1
		})
	}
	if n, bad := lookedUp(); n == 0 || bad != "" {
		t.Errorf("of %d lookups one was answered %s", n, bad)
	}
}

// change limits the subscriptions of ORDERS and returns what is answered.
func (p *plant) change(subs int) (status int, code string) {
	p.t.Helper()
	body, err := json.Marshal(map[string]any{"limits": map[string]int{"subscriptions": subs}})
	must(p.t, err)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPatch, p.app.cfg.publicURL+"/api/v1/accounts/ORDERS", strings.NewReader(string(body)))
	must(p.t, err)
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	must(p.t, err)
	defer resp.Body.Close()
	var problem struct {
		Code      string `json:"code"`
		Retryable bool   `json:"retryable"`
	}
	must(p.t, json.NewDecoder(resp.Body).Decode(&problem))
	if resp.StatusCode == http.StatusServiceUnavailable && !problem.Retryable {
		p.t.Error("a 503 does not say that it may be tried again")
	}
	return resp.StatusCode, problem.Code
}

// subs is the limit in the JWT that is served.
func subs(t *testing.T, p *plant, account string) int64 {
	t.Helper()
	resp, err := http.Get(p.app.cfg.publicURL + "/jwt/v1/accounts/" + account) //nolint:noctx // a test against this process
	must(t, err)
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	must(t, err)
	c, err := jwt.DecodeAccountClaims(string(token))
	must(t, err)
	return c.Limits.Subs
}

// lookUp looks an account up all the time; what it returns ends that and tells how often
// it was, and an answer that was not 200.
func (p *plant) lookUp(account string) (end func() (n int, bad string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n, bad := 0, ""
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			resp, err := http.Get(p.app.cfg.publicURL + "/jwt/v1/accounts/" + account) //nolint:noctx // it ends with the loop
			switch {
			case err != nil:
				bad = err.Error()
				continue
			case resp.StatusCode != http.StatusOK:
				bad = resp.Status
			}
			_ = resp.Body.Close()
		}
	})
	end = sync.OnceValues(func() (int, string) { cancel(); wg.Wait(); return n, bad })
	p.t.Cleanup(func() { end() })
	return end
}
