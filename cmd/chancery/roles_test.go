package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"chancery/claims"
)

// fetch is get of another process than the estate's; status 0 is no answer.
func fetch(t *testing.T, method, address, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(all)
}

// TestRoles runs what a control plane of several processes consists of: everything in one,
// a resolver that it feeds, one on the same database, and one of the role api; then all but the
// fed one go away, and that restarts.
func TestRoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "token")
	must(t, writeSecret(tokens, claims.NewSecret("a-token-for-resolvers-elsewhere\n")))
	e, kill := newEstate(t, "--resolver-pack-token-file", tokens)
	e.call("POST", "/accounts", `{"name":"ORDERS"}`, nil)
	e.call("POST", "/accounts/ORDERS/users", `{"name":"u","permissions":{}}`, nil)
	e.call("POST", "/accounts/ORDERS/users/u/credentials", `{}`, nil)
	var a struct {
		ID string `json:"id"`
	}
	e.call("GET", "/accounts/ORDERS", "", &a)
	path := "/jwt/v1/accounts/" + a.ID

	resolver := func(name string, more ...string) (base string, args []string) {
		address := freeAddress(t)
		return "http://" + address, append([]string{
			"serve", "--role", "resolver", "--trusted-operators", e.operator, "--listen", address, "--data-dir", filepath.Join(dir, name), "--log-format", "text",
		}, more...)
	}
	fed, fedArgs := resolver("fed", "--peer-url", e.base, "--peer-token-file", tokens)
	fedProcess, _, _ := child(t, fedArgs...)
	reading, readingArgs := resolver("reading", "--database-url-file", e.flag("--database-url-file"))
	child(t, readingArgs...)
	apiArgs, apiBase := serveArgs(t, e.gate.dsn)
	apiArgs = append(apiArgs, "--role", "api", "--kek-file", e.flag("--kek-file"))
	child(t, apiArgs...)
	for _, base := range []string{fed, reading, apiBase} {
		awaitReady(t, base)
	}

	// The role api changes, leaves serving to others, and pushes nothing by itself.
	must(t, callAPI(t.Context(), apiBase, e.token, request{"PUT", "/accounts/ORDERS/revocations/u", `{"reason":"left"}`, ""}, nil))
	if status, _ := fetch(t, "GET", apiBase+path, ""); status != http.StatusNotFound {
		t.Errorf("the role api answers a lookup with %d", status)
	}
	for _, base := range []string{e.base, reading, fed} {
		eventually(t, base+" serves the revocation", func() bool {
			status, body := fetch(t, "GET", base+path, "")
			return status == http.StatusOK && len(revocations(t, body)) == 1
		})
	}
	newest := e.body(path)

	for name, base := range map[string]string{"fed": fed, "reading": reading} {
		for _, place := range []string{path, "/jwt/v1/activations", "/api/v1/accounts"} {
			if status, text := fetch(t, "POST", base+place, newest); status != http.StatusServiceUnavailable || !strings.Contains(text, "role resolver") {
				t.Errorf("%s: a post to %s is answered with %d %s", name, place, status, text)
			}
		}
	}
	// With a database a resolver finds activations; there is none of that hash.
	activation := "/jwt/v1/activations/" + strings.Repeat("A", 52) + "===="
	if status, text := fetch(t, "GET", reading+activation, ""); status != http.StatusNotFound {
		t.Errorf("an activation is answered with %d %s", status, text)
	}
	if status, text := fetch(t, "GET", fed+activation, ""); status != http.StatusServiceUnavailable || !strings.Contains(text, "no database") {
		t.Errorf("without a database an activation is answered with %d %s", status, text)
	}
	if _, state := fetch(t, "GET", fed+"/readyz", ""); !strings.Contains(state, "fed by a peer, last at ") {
		t.Errorf("readyz says %s", state)
	}

	eventually(t, "the fed one has a snapshot", func() bool {
		_, err := os.Stat(filepath.Join(dir, "fed", "snapshot", "base"))
		return err == nil
	})
	kill()
	e.gate.close()
	must(t, fedProcess.Process.Signal(syscall.SIGKILL))
	_ = fedProcess.Wait()
	child(t, fedArgs...)
	awaitReady(t, fed)
	if _, body := fetch(t, "GET", fed+path, ""); body != newest {
		t.Error("after the peer went away and a restart, another JWT is served")
	}
	if _, state := fetch(t, "GET", fed+"/readyz", ""); !strings.Contains(state, "serving from the snapshot of ") {
		t.Errorf("readyz says %s", state)
	}
}

// TestConfigurationOfRoles has what is wrong with it said.
func TestConfigurationOfRoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token, short := filepath.Join(dir, "token"), filepath.Join(dir, "short")
	must(t, writeSecret(token, claims.NewSecret("a-token-for-resolvers-elsewhere\n")))
	must(t, writeSecret(short, claims.NewSecret("short\n")))
	const operator = "OAWYKQ4IP7JBDFG65BUKDGDXURRXKNCOJKA46XOPVLQDIQ4ILZSH3EW7"
	resolver := map[string]string{"ROLE": "resolver", "DATA_DIR": dir, "TRUSTED_OPERATORS": operator}
	with := func(more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range resolver {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{with("ROLE", "reader"), "role: must be all, resolver or api"},
		{with("TRUSTED_OPERATORS", ""), "trusted_operators: is required for the resolver role"},
		{with("TRUSTED_OPERATORS", operator+",OABC"), "trusted_operators: each must be the public key"},
		{with("DATABASE_URL", "sqlite://x.db"), "database_url: must be of PostgreSQL for the resolver role"},
		{with("PEER_URL", "https://h"), "peer_url: and peer_token_file must be given together"},
		{with("PEER_TOKEN_FILE", token), "peer_url: and peer_token_file must be given together"},
		{with("PEER_URL", "https://h/jwt", "PEER_TOKEN_FILE", token), "peer_url: must be http:// or https:// and a host, without a path"},
		{with("PEER_URL", "https://h", "PEER_TOKEN_FILE", short), "peer_token_file: cannot be used: one token of at least 16 characters"},
		{with("PEER_URL", "https://h", "PEER_TOKEN_FILE", filepath.Join(dir, "none")), "peer_token_file: cannot be used: "},
		{with("PEER_URL", "https://h", "PEER_TOKEN_FILE", token, "DATABASE_URL", "postgres://h/d"), "peer_url: and database_url exclude each other"},
		{with("PEER_URL", "https://h", "PEER_TOKEN_FILE", token, "ROLE", "all"), "peer_url: is for the resolver role"},
	} {
		_, err := configFlags{}.load(environment{getenv: func(k string) string { return c.env[strings.TrimPrefix(k, "CHANCERY_")] }})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.env, err, c.want)
		}
	}
	c, err := configFlags{}.load(environment{getenv: func(k string) string {
		return with("PEER_URL", "https://h/", "PEER_TOKEN_FILE", token)[strings.TrimPrefix(k, "CHANCERY_")]
	}})
	must(t, err)
	if got, err := c.peer.Token(); c.peer.URL != "https://h" || err != nil || got != "a-token-for-resolvers-elsewhere" || c.databaseURL != "" {
		t.Errorf("the peer is %+v with the token %q", c.peer, got)
	}
}
