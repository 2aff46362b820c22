package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"chancery/api"
	"chancery/issuer"
	"chancery/store/storetest"
)

// streamed is an open stream of events of the console.
type streamed struct {
	lines chan string
	// over is closed when the server ended it.
	over chan struct{}
}

// follow opens the console's stream as a browser does.
func follow(ctx context.Context, t *testing.T, browser *http.Client, address string) streamed {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	must(t, err)
	req.Header.Set("Accept", "text/event-stream")
	res, err := browser.Do(req) //nolint:bodyclose // the reader below closes it
	must(t, err)
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%s: %d %s", address, res.StatusCode, got)
	}
	s := streamed{make(chan string, 4096), make(chan struct{})}
	go func() {
		defer close(s.over)
		defer func() { _ = res.Body.Close() }()
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	return s
}

// mustEnd waits for the end of a stream.
func (s streamed) mustEnd(ctx context.Context, t *testing.T, why string) {
	t.Helper()
	began := time.Now()
	select {
	case <-s.over:
		t.Logf("%s: ended after %v", why, time.Since(began).Round(100*time.Millisecond))
	case <-ctx.Done():
		t.Errorf("%s: the stream goes on", why)
	}
}

// TestStreamsEndWithTheirRights signs people out, and takes grants from them, by one replica while they read events at
// another one.
func TestStreamsEndWithTheirRights(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	dsn := storetest.URL(t, "postgres")
	one, first := startReplica(t, dsn)
	_, second := startReplica(t, dsn)
	system := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	operator, err := one.issuer.CreateOperator(ctx, system, issuer.OperatorInput{Name: "acme"})
	must(t, err)
	ids := map[string]string{}
	for _, name := range []string{"ORDERS", "BILLING", "LAST"} {
		a, err := one.issuer.CreateAccount(ctx, system, issuer.AccountInput{Operator: "acme", Name: name})
		must(t, err)
		ids[name] = a.Value.ID
	}
	made, err := one.issuer.CreateToken(ctx, system, issuer.TokenInput{Name: "owner", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	must(t, err)
	owner := made.Value.Text.Reveal()
	grants := func(accounts ...string) string {
		var out []string
		for _, name := range accounts {
			out = append(out, fmt.Sprintf(`{"role":"account_admin","operator":%q,"account":%q}`, operator.Value.ID, ids[name]))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	signIn := func(name, may string) *http.Client {
		t.Helper()
		must(t, callAPI(ctx, first, owner, request{"POST", "/people", fmt.Sprintf(`{"name":%q,"grants":%s}`, name, may), ""}, nil))
		var link api.SignInLink
		must(t, callAPI(ctx, first, owner, request{"POST", "/people/" + name + "/sign-in-links", "", ""}, &link))
		jar, err := cookiejar.New(nil)
		must(t, err)
		browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
		if v := visit(t, browser, second+strings.TrimPrefix(link.URL, first), url.Values{}); v.status != http.StatusOK {
			t.Fatalf("signing %s in leads to %+v", name, v)
		}
		return browser
	}
	ada, bob := signIn("ada", `[{"role":"auditor"}]`), signIn("bob", grants("ORDERS"))
	session := follow(ctx, t, ada, second+"/events/stream")
	whole := follow(ctx, t, bob, second+"/events/stream")
	orders := follow(ctx, t, bob, second+"/events/stream?account=ORDERS")

	if v := visit(t, ada, first+"/logout", url.Values{}); v.path != "/login" {
		t.Fatalf("signing out leads to %+v", v)
	}
	must(t, callAPI(ctx, first, owner, request{"PATCH", "/people/bob", `{"grants":` + grants("BILLING", "LAST") + `}`, ""}, nil))
	session.mustEnd(ctx, t, "a session that was ended at another replica")
	orders.mustEnd(ctx, t, "an account that was taken away")

	edits := 0
	edit := func(account string) {
		t.Helper()
		edits++
		must(t, callAPI(ctx, first, owner, request{"PATCH", "/accounts/" + account, fmt.Sprintf(`{"description":"edit %d"}`, edits), ""}, nil))
	}
	// What is seen of the new account tells that the rights were read anew; nothing of the old one comes after that.
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for seen := false; !seen; {
		edit("BILLING")
		seen = whole.next(ctx, t, again.C, ids["BILLING"])
	}
	edit("ORDERS")
	edit("LAST")
	for {
		select {
		case line := <-whole.lines:
			if !strings.HasPrefix(line, "data: ") {
				continue
			}
			if strings.Contains(line, ids["ORDERS"]) {
				t.Fatalf("told of an account that was taken away: %s", line)
			}
			if strings.Contains(line, ids["LAST"]) {
				return
			}
		case <-ctx.Done():
			t.Fatal("no more events came")
		}
	}
}

// next tells whether an event of an account comes before a tick.
func (s streamed) next(ctx context.Context, t *testing.T, tick <-chan time.Time, account string) bool {
	t.Helper()
	for {
		select {
		case line := <-s.lines:
			if strings.HasPrefix(line, "data: ") && strings.Contains(line, account) {
				return true
			}
		case <-tick:
			return false
		case <-ctx.Done():
			t.Fatal("the rights were not read anew")
		}
	}
}
