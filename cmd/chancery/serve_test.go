package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// given holds the ports that freeAddress returned: nobody may be listening there yet, or just now.
var given sync.Map

// freeAddress returns an address for a process that is started more than once. Its port is below those that systems
// hand out for port 0: between two starts every other test would be welcome to it. It returns none twice.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := "127.0.0.1:" + strconv.Itoa(20_000+rand.IntN(12_000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			must(t, l.Close())
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// serveArgs are the arguments of a serve process that keeps its address and key
// over restarts.
func serveArgs(t *testing.T, dsn string) (args []string, base string) {
	t.Helper()
	dir := t.TempDir()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	must(t, writeSecret(filepath.Join(dir, "kek"), kek.Text()))
	must(t, writeSecret(filepath.Join(dir, "dsn"), claims.NewSecret(dsn+"\n")))
	address := freeAddress(t)
	return []string{
		"serve", "--listen", address, "--public-url", "http://" + address, "--data-dir", filepath.Join(dir, "data"),
		"--database-url-file", filepath.Join(dir, "dsn"), "--kek-file", filepath.Join(dir, "kek"), "--log-format", "text",
	}, "http://" + address
}

// awaitReady waits until all of a process is answered; with a snapshot, lookups are before.
func awaitReady(t *testing.T, base string) {
	t.Helper()
	eventually(t, "serve is ready", func() bool {
		resp, err := http.Get(base + "/readyz") //nolint:noctx // a test against a child of this process
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		state, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && !strings.Contains(string(state), "not reached since the start")
	})
}

// ownerToken makes a token of an owner in the database, beside a running server.
func ownerToken(t *testing.T, dsn string) string {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: dsn, Now: time.Now, Logger: newLogger(os.Stderr, 8, false)})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	must(t, s.Migrate(t.Context()))
	i, err := issuer.Open(t.Context(), issuer.Config{Store: s, Now: time.Now, Logger: newLogger(os.Stderr, 8, false)})
	must(t, err)
	made, err := i.CreateToken(t.Context(), issuer.Op{Caller: issuer.System("test"), RequestID: "test"}, issuer.TokenInput{Name: "test", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	must(t, err)
	return made.Value.Text.Reveal()
}

var setupRE = regexp.MustCompile(`http://\S+/setup/\S+`)

// TestServeIsSetUpOnce starts a real process on each database: the first owner
// comes in by the link it prints, the link works once, and SIGTERM ends it cleanly.
func TestServeIsSetUpOnce(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			args, base := serveArgs(t, storetest.EmptyURL(t, d))
			cmd, stdout, stderr := child(t, args...)
			awaitReady(t, base)
			eventually(t, "the setup link is printed", func() bool { return setupRE.MatchString(stdout.String()) })
			link := setupRE.FindString(stdout.String())
			if secret := link[strings.LastIndex(link, "/")+1:]; strings.Contains(stderr.String(), secret) {
				t.Error("the log holds the setup link")
			}
			jar, err := cookiejar.New(nil)
			must(t, err)
			browser := &http.Client{Jar: jar}
			if got := visit(t, browser, link, nil); got.status != 200 {
				t.Errorf("the setup page answered %d", got.status)
			}
			if got := visit(t, browser, link, url.Values{"name": {"Ann"}}); got.status != 200 || !strings.HasSuffix(got.path, "/accounts") {
				t.Errorf("setting up led to %s with %d", got.path, got.status)
			}
			if got := visit(t, &http.Client{}, link, url.Values{"name": {"Eve"}}); got.status < 400 {
				t.Errorf("the link worked twice: %d at %s", got.status, got.path)
			}
			for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/jwt/v1/accounts/": 200, "/api/openapi.json": 200, "/nothing": 404} {
				if got := visit(t, browser, base+path, nil); got.status != want {
					t.Errorf("%s answered %d", path, got.status)
				}
			}
			must(t, cmd.Process.Signal(os.Interrupt))
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended by SIGINT: %v", err)
			}
			cmd, stdout, _ = child(t, args...)
			awaitReady(t, base)
			must(t, cmd.Process.Signal(os.Interrupt))
			must(t, cmd.Wait())
			if setupRE.MatchString(stdout.String()) {
				t.Error("a second start offers setup again")
			}
			code, out, errs := inProcess(t, append(append([]string{"sign-in-link"}, args[1:]...), "Ann")...)
			if code != exitOK || !strings.HasPrefix(out, base+"/login/") {
				t.Errorf("sign-in-link: exit code %d: %s", code, errs)
			}
			file := filepath.Join(t.TempDir(), "token")
			code, _, errs = inProcess(t, append(append([]string{"token", "create", "--local"}, args[1:]...), "ci", "--role", "auditor", "-o", file)...)
			text, err := os.ReadFile(file)
			if code != exitOK || err != nil || !strings.HasPrefix(string(text), issuer.TokenPrefix) {
				t.Errorf("token: exit code %d: %v %s", code, err, errs)
			}
			code, _, errs = inProcess(t, append(append([]string{"token", "create", "--local"}, args[1:]...), "ci", "--role", "king")...)
			if code != exitFailure || !strings.Contains(errs, "The roles are owner, operator_admin") {
				t.Errorf("token of an unknown role: exit code %d: %s", code, errs)
			}
			code, _, errs = inProcess(t, append(append([]string{"token", "create", "--local"}, args[1:]...), "ci", "--role", "issuer", "--account", "NONE", "--template", "x", "--network", "10.0.0.0/8")...)
			if code != exitFailure || !strings.Contains(errs, "There is no such account") {
				t.Errorf("token of an unknown account: exit code %d: %s", code, errs)
			}
		})
	}
}

type visited struct {
	status int
	path   string
}

// visit loads a page, or sends a form as a browser on the same origin does.
func visit(t *testing.T, c *http.Client, address string, form url.Values) visited {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	must(t, err)
	if form != nil {
		req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
		must(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := c.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	return visited{resp.StatusCode, resp.Request.URL.Path}
}

func TestEveryProblemOfAConfigurationIsReported(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "chancery.yaml")
	must(t, os.WriteFile(file, []byte("listen: nowhere\nlog_level: loud\nlisten_on: x\npublic_url: [1, {a: b}]\nnats_urls: ['nats://u:p@h:1']\nkek_file: /does/not/exist\ntrusted_proxies: [10.0.0.0/8, here]\ntls_cert_file: /x\n"), 0o600))
	env := map[string]string{"CHANCERY_LOG_FORMAT": "xml", "CHANCERY_DATABASE_URL": "mysql://x"}
	var out, errs lockedBuffer
	code := run(t.Context(), environment{args: []string{"serve", "--config", file}, getenv: func(k string) string { return env[k] }, stdout: &out, stderr: &errs})
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"listen: must be HOST:PORT", "log_level: must be", "log_format: must be json or text", "line 3: there is no such setting", "public_url: ",
		"nats_urls: each must be", "trusted_proxies: each must be", "kek_file: cannot be read: no such file", "data_dir: is required", "database_url: must start with", "tls_cert_file: and tls_key_file",
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(errs.String())
	}
}

func TestFlagsBeatTheEnvironmentBeatsTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "chancery.yaml")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf(
		"listen: 127.0.0.1:1\npublic_url: http://file\nlog_level: error\ndata_dir: %s\ndatabase_url: sqlite://%s/c.db\nnats_urls: [nats://a:1, nats://b:2]\n", dir, dir)), 0o600))
	env := environment{getenv: func(k string) string {
		return map[string]string{"CHANCERY_PUBLIC_URL": "http://env", "CHANCERY_LOG_LEVEL": "warn"}[k]
	}}
	c, err := configFlags{Config: file, LogLevel: "debug"}.load(env)
	must(t, err)
	if c.listen != "127.0.0.1:1" || c.publicURL != "http://env" || c.level.String() != "DEBUG" || len(c.natsURLs) != 2 {
		t.Errorf("got %+v", c)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitOK, "dev"},
		{[]string{"--help"}, exitOK, "server-config"},
		{[]string{"devv"}, exitUsage, `did you mean "dev"`},
		{[]string{"dev", "--prot", "1"}, exitUsage, "--port"},
		{[]string{"version"}, exitOK, "chancery "},
		{[]string{"openapi"}, exitOK, "openapi: 3.1.0"},
		{[]string{"server-config", "--url", "http://127.0.0.1:1"}, exitUsage, "no API token"},
	} {
		code, out, errs := inProcess(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: exit code %d\n%.300s", c.args, code, out+errs)
		}
	}
}
