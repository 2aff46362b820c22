package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"chancery/api"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store/storetest"
)

// startReplica runs a control plane on the database and returns its address.
func startReplica(t *testing.T, dsn string) (*app, string) {
	t.Helper()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var log lockedBuffer
	a, err := openApp(t.Context(), appConfig{
		databaseURL: dsn, dataDir: t.TempDir(), kek: kek, publicURL: "http://" + l.Addr().String(), listener: l, now: time.Now, log: newLogger(&log, slog.LevelDebug, false),
	})
	must(t, err)
	must(t, a.start(t.Context()))
	t.Cleanup(func() { must(t, a.stop()) })
	return a, a.cfg.publicURL
}

// TestRevokedTokenIsRefusedEverywhere revokes tokens by one replica while they are in use at another one, which refuses
// the next request.
func TestRevokedTokenIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	dsn := storetest.URL(t, "postgres")
	one, first := startReplica(t, dsn)
	_, second := startReplica(t, dsn)
	made, err := one.issuer.CreateToken(t.Context(), issuer.Op{Caller: issuer.System("test")}, issuer.TokenInput{Name: "owner", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	must(t, err)
	owner := made.Value.Text.Reveal()
	status := func(base, token string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/v1/me", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		must(t, resp.Body.Close())
		return resp.StatusCode
	}
	const tokens = 100
	refused := 0
	var longest time.Duration
	for range tokens {
		var k api.NewToken
		must(t, callAPI(t.Context(), first, owner, request{"POST", "/tokens", `{"name":"ci","grants":[{"role":"auditor"}],"ttl_seconds":600}`, ""}, &k))
		for _, base := range []string{second, first, second} {
			if got := status(base, k.Text); got != http.StatusOK {
				t.Fatalf("a good token is answered with %d", got)
			}
		}
		must(t, callAPI(t.Context(), first, owner, request{"DELETE", "/tokens/" + k.ID, "", ""}, nil))
		revoked := time.Now()
		there := status(second, k.Text)
		took := time.Since(revoked)
		if here := status(first, k.Text); there == http.StatusUnauthorized && here == http.StatusUnauthorized && took <= time.Second {
			refused++
		}
		longest = max(longest, took)
	}
	t.Logf("%d of %d revoked tokens are refused by the next request to each replica, the answer after %v at most", refused, tokens, longest)
	if refused != tokens {
		t.Fail()
	}
	// A person who is disabled by one replica is signed out at the other one.
	var p api.Person
	must(t, callAPI(t.Context(), first, owner, request{"POST", "/people", `{"name":"ada","grants":[{"role":"auditor"}]}`, ""}, &p))
	var link api.SignInLink
	must(t, callAPI(t.Context(), first, owner, request{"POST", "/people/ada/sign-in-links", "", ""}, &link))
	jar, err := cookiejar.New(nil)
	must(t, err)
	browser := &http.Client{Jar: jar}
	if v := visit(t, browser, second+strings.TrimPrefix(link.URL, first), url.Values{}); v.path != "/accounts" {
		t.Fatalf("signing in leads to %+v", v)
	}
	must(t, callAPI(t.Context(), first, owner, request{"PATCH", "/people/ada", `{"state":"disabled"}`, ""}, nil))
	if v := visit(t, browser, second+"/accounts", nil); v.path != "/login" {
		t.Errorf("a disabled person is still at %+v", v)
	}
}
