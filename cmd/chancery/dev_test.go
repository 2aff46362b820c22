package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"chancery/custody"
	"chancery/store"
	"chancery/store/storetest"
)

func TestDevCheckDrivesTheLoop(t *testing.T) {
	t.Parallel()
	code, out, errs := inProcess(t, "dev", "--check")
	if code != exitOK || !strings.HasSuffix(out, fmt.Sprintf("loop: %d of %d steps\n", loopSteps, loopSteps)) {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
}

// devProcess runs `dev --json` in this process until stop is called.
func devProcess(t *testing.T, dir string) (ready devReady, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	var errs lockedBuffer
	go func() {
		args := []string{"dev", "--json", "--dir", dir, "--port", "0", "--nats-port", "0"}
		done <- run(ctx, environment{args: args, getenv: func(string) string { return "" }, stdout: w, stderr: &errs})
		_ = w.Close()
	}()
	stop = func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d: %s", code, errs.String())
		}
	}
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		cancel()
		t.Fatalf("dev did not become ready: %v: %s", err, errs.String())
	}
	return ready, stop
}

func TestDevKeepsItsKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, stop := devProcess(t, dir)
	account := readAccount(t, first)
	creds, err := os.ReadFile(first.CredsFile)
	must(t, err)
	// What somebody made besides does not keep it from starting again.
	must(t, callAPI(t.Context(), strings.TrimSuffix(first.APIURL, "/api/v1"), first.Token, request{"POST", "/operators", `{"name":"other"}`, ""}, nil))
	stop()

	second, stop := devProcess(t, dir)
	defer stop()
	if got := readAccount(t, second); got != account {
		t.Errorf("the account was %s, after a restart it is %s", account, got)
	}
	if again, err := os.ReadFile(second.CredsFile); err != nil || string(again) != string(creds) {
		t.Errorf("the creds file changed: %v", err)
	}
	if second.Token != first.Token || second.SignInURL == first.SignInURL {
		t.Error("the token must stay, the sign-in link must be new")
	}
	nc, err := nats.Connect(second.NATSURL, nats.UserCredentials(second.CredsFile), nats.Timeout(20*time.Second))
	must(t, err)
	nc.Close()
	for _, name := range []string{"kek", "token", "context.json", "chancery.db", filepath.Base(second.CredsFile)} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v", name, err, info.Mode())
		}
	}
}

func readAccount(t *testing.T, r devReady) string {
	t.Helper()
	var a struct {
		ID string `json:"id"`
	}
	base := strings.TrimSuffix(r.APIURL, "/api/v1")
	must(t, callAPI(t.Context(), base, r.Token, request{"GET", "/accounts/DEMO", "", ""}, &a))
	return a.ID
}

func TestOneDevPerFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, stop := devProcess(t, dir)
	defer stop()
	code, _, errs := inProcess(t, "dev", "--json", "--dir", dir, "--port", "0", "--nats-port", "0")
	if code != exitFailure || !strings.Contains(errs, "another running process holds it") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	for _, args := range [][]string{
		{"dev", "--dir", t.TempDir(), "--port", port, "--nats-port", "0"},
		{"dev", "--dir", t.TempDir(), "--port", "0", "--nats-port", port},
		{
			"serve", "--listen", "127.0.0.1:" + port, "--public-url", "http://127.0.0.1", "--data-dir", t.TempDir(),
			"--database-url", "sqlite://" + filepath.Join(t.TempDir(), "c.db"),
		},
	} {
		code, _, errs := inProcess(t, args...)
		if code != exitFailure || !strings.Contains(errs, port) || !strings.Contains(errs, "taken by another program; choose one with --") {
			t.Errorf("%v: exit code %d: %s", args[:1], code, errs)
		}
	}
}

// TestWrongKeyStartsSealed starts on a database that another key sealed: it serves
// and pushes what is signed, signs nothing, and loses nothing.
func TestWrongKeyStartsSealed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"wrong", func(t *testing.T, path string) {
			kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("w", 32)))
			must(t, err)
			must(t, writeSecret(path, kek.Text()))
		}},
		{"missing", func(t *testing.T, path string) { must(t, os.Remove(path)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first, stop := devProcess(t, dir)
			stop()
			kek, err := os.ReadFile(filepath.Join(dir, "kek"))
			must(t, err)
			url := "sqlite://" + filepath.Join(dir, "chancery.db")
			number(t, url)
			before := lasting(t, url)
			c.harm(t, filepath.Join(dir, "kek"))

			sealed, stop := devProcess(t, dir)
			if sealed.SignInURL != "" {
				t.Error("a sealed start made a sign-in link")
			}
			base := strings.TrimSuffix(sealed.APIURL, "/api/v1")
			nc, err := nats.Connect(sealed.NATSURL, nats.UserCredentials(first.CredsFile), nats.Timeout(20*time.Second))
			must(t, err)
			nc.Close()
			err = callAPI(t.Context(), base, first.Token, request{"POST", "/accounts", `{"name":"NEW"}`, ""}, nil)
			if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), `"code":"sealed"`) {
				t.Errorf("creating an account answered %v", err)
			}
			var accounts struct {
				Items []struct{} `json:"items"`
			}
			must(t, callAPI(t.Context(), base, first.Token, request{"GET", "/accounts", "", ""}, &accounts))
			if len(accounts.Items) != 2 {
				t.Errorf("%d accounts are listed", len(accounts.Items))
			}
			if got := httpGet(t, base+"/readyz"); !strings.Contains(got, "sealed: ") {
				t.Errorf("readyz says %s", got)
			}
			stop()
			if diff := cmp.Diff(before, lasting(t, url)); diff != "" {
				t.Errorf("the sealed run changed the database: %s", diff)
			}

			must(t, os.WriteFile(filepath.Join(dir, "kek"), kek, 0o600))
			healed, stop := devProcess(t, dir)
			defer stop()
			base = strings.TrimSuffix(healed.APIURL, "/api/v1")
			must(t, callAPI(t.Context(), base, healed.Token, request{"POST", "/accounts", `{"name":"NEW"}`, ""}, nil))
		})
	}
}

// lasting is what is in a database that nobody has open, but for what looking on leaves there: a token's use, for one,
// is noted once a minute.
func lasting(t *testing.T, url string) string {
	t.Helper()
	raw := storetest.OpenRaw(t, url)
	raw.Run(t, `UPDATE tokens SET last_used_us = 0, last_used_from = ''`)
	out := raw.Dump(t, "sessions", "outbox", "deliveries", "servers", "sweeps")
	must(t, raw.Close())
	return out
}

// number does what a process that was stopped right after a commit leaves to the next one.
func number(t *testing.T, url string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, err = s.Sequence(t.Context())
	must(t, err)
	must(t, s.Close())
}

func httpGet(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, d)
			raw := storetest.OpenRaw(t, url)
			raw.Run(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
			before := raw.Dump(t)
			code, _, errs := inProcess(t, "serve", "--listen", "127.0.0.1:0", "--public-url", "http://127.0.0.1", "--data-dir", t.TempDir(), "--database-url", url)
			if code != exitFailure || !strings.Contains(errs, store.ErrNewerSchema.Error()) {
				t.Errorf("exit code %d: %s", code, errs)
			}
			if raw.Dump(t) != before {
				t.Error("the database changed")
			}
		})
	}
}

func TestDevAnswersItsOwnNameOnly(t *testing.T) {
	t.Parallel()
	ready, stop := devProcess(t, t.TempDir())
	defer stop()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ready.ConsoleURL, http.NoBody)
	must(t, err)
	req.Host = "rebound.example"
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a foreign Host was answered %d", resp.StatusCode)
	}
}

func TestTheLogRedacts(t *testing.T) {
	t.Parallel()
	const seed = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"
	var out lockedBuffer
	for _, json := range []bool{true, false} {
		log := newLogger(&out, slog.LevelDebug, json).With(slog.String("with", seed)).WithGroup("g")
		log.InfoContext(t.Context(), "message "+seed, slog.String("text", "x"+" "+seed), slog.Any("error", fmt.Errorf("reading %s", seed)),
			slog.String("token", "chy_pat_abcdefghijklmnop"), slog.Time("at", time.Now()))
	}
	if strings.Contains(out.String(), seed) || strings.Contains(out.String(), "abcdefghijklmnop") {
		t.Errorf("the log holds a secret:\n%s", out.String())
	}
}
