package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

// TestServersStartWithTheirConfiguration starts a real server with what
// `chancery server-config` prints for each kind of resolver. A client of an account that
// the file does not preload, unless its kind is memory, is let in and hears another one.
func TestServersStartWithTheirConfiguration(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "sqlite")
	p.makeOrders()
	_, creds := p.issue()
	tokenFile := filepath.Join(t.TempDir(), "token")
	must(t, writeSecret(tokenFile, claims.NewSecret(p.token)))
	for _, kind := range claims.ServerResolvers() {
		code, text, errs := inProcess(t, "server-config", "--url", p.app.cfg.publicURL, "--token-file", tokenFile, "--resolver", string(kind), "acme")
		if code != exitOK {
			t.Fatalf("%s: exit code %d: %s", kind, code, errs)
		}
		if strings.Contains(text, "allow_delete: true") {
			t.Errorf("%s: accounts may be deleted", kind)
		}
		s := p.startConfigured(kind, text)
		var from, to *session
		eventually(t, string(kind)+" lets the client in", func() bool {
			var err error
			from, err = connect(s, creds)
			return err == nil
		})
		t.Cleanup(from.Close)
		to = p.mustConnect(s, creds)
		sub, err := to.SubscribeSync("devices.eu.>")
		must(t, err)
		must(t, to.Flush())
		must(t, from.Publish("devices.eu.d1.x", []byte("hello")))
		if _, err := sub.NextMsg(30 * time.Second); err != nil {
			t.Errorf("%s: the client hears nothing: %v", kind, err)
		}
		p.stopServer(s)
	}
	if code, _, errs := inProcess(t, "server-config", "--url", p.app.cfg.publicURL, "--token-file", tokenFile, "--resolver", "disk"); code != exitUsage {
		t.Errorf("an unknown resolver: exit code %d: %s", code, errs)
	}
}

// startConfigured starts a server with a configuration file, in a folder of its own.
func (p *plant) startConfigured(kind claims.ResolverKind, text string) *server.Server {
	p.t.Helper()
	dir := p.t.TempDir()
	text = fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:-1\n", kind) + strings.ReplaceAll(text, `"./jwt"`, fmt.Sprintf("%q", filepath.Join(dir, "jwt")))
	file := filepath.Join(dir, "nats.conf")
	must(p.t, os.WriteFile(file, []byte(text), 0o600))
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		p.t.Fatalf("%s: the server refuses its configuration: %v", kind, err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		p.t.Fatalf("%s: the server does not start: %v", kind, err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		p.t.Fatalf("%s: the server is not ready", kind)
	}
	p.mu.Lock()
	p.servers = append(p.servers, s)
	p.mu.Unlock()
	p.app.resolver.Wake()
	return s
}
