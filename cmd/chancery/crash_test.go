package main

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
	"chancery/store/storetest"
)

// TestKillBetweenCommitAndPush revokes while the servers are out of the control
// plane's reach, kills the process as soon as the revocation is acknowledged, and
// starts it again: the push must happen without anybody asking for it.
func TestKillBetweenCommitAndPush(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.URL(t, d)
			token := ownerToken(t, dsn)
			args, base := serveArgs(t, dsn)
			first, _, _ := child(t, args...)
			awaitReady(t, base)
			api := func(method, path, body string, answer any) {
				t.Helper()
				must(t, callAPI(t.Context(), base, token, request{method, path, body, ""}, answer))
			}
			var operator struct {
				ID string `json:"id"`
			}
			api("POST", "/operators", `{"name":"acme"}`, &operator)
			api("POST", "/accounts", `{"name":"ORDERS"}`, nil)
			api("POST", "/accounts/ORDERS/users", `{"name":"u","permissions":{}}`, nil)
			var c issued
			api("POST", "/accounts/ORDERS/users/u/credentials", `{}`, &c)
			creds := filepath.Join(t.TempDir(), "u.creds")
			must(t, writeSecret(creds, claims.NewSecret(c.Creds)))

			s := serverOf(t, base)
			live, err := connect(s, creds)
			must(t, err)
			defer live.Close()

			// The operator has no service URLs yet, so nothing can be pushed.
			api("PUT", "/accounts/ORDERS/revocations/u", `{"reason":"left"}`, nil)
			must(t, first.Process.Signal(syscall.SIGKILL))
			_ = first.Wait()
			if err := live.FlushTimeout(30 * time.Second); err != nil {
				t.Fatalf("the connection ended before the push: %v", err)
			}

			killed := time.Now()
			child(t, append(args, "--nats-urls", s.ClientURL())...)
			live.mustClose(t)
			t.Logf("restarted and pushed %v after the kill", time.Since(killed).Round(time.Millisecond))
			awaitReady(t, base)
			if again, err := connect(s, creds); err == nil {
				again.Close()
				t.Error("the revoked client came in again")
			}
		})
	}
}

// serverOf starts a nats-server from what `GET …/jwt/v1/operator` serves.
func serverOf(t *testing.T, base string) *server.Server {
	t.Helper()
	resp, err := http.Get(base + "/jwt/v1/operator") //nolint:noctx // a test against a child of this process
	must(t, err)
	defer resp.Body.Close()
	jwt, err := io.ReadAll(resp.Body)
	must(t, err)
	s, err := startNATS(natsServerConfig{
		name: "n1", operatorJWT: strings.TrimSpace(string(jwt)), resolverURL: base + "/jwt/v1/accounts/", log: slog.New(slog.DiscardHandler),
		adjust: func(o *server.Options) { o.JetStream, o.AuthTimeout = false, 20 },
	})
	must(t, err)
	t.Cleanup(func() { stopNATS(s) })
	return s
}
