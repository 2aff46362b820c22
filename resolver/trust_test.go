package resolver_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// trusting waits until every server of the roster has told whom it trusts.
func (w *world) trusting(r *resolver.Resolver, n int) []claims.Server {
	w.t.Helper()
	limit := time.After(patience)
	for {
		list := r.Servers(w.operator)
		if len(list) == n && !slices.ContainsFunc(list, func(s claims.Server) bool { return s.Trust == nil }) {
			return list
		}
		select {
		case <-limit:
			w.t.Fatalf("whom the servers trust is not known: %+v", list)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestTrustOfServers starts a server before and one after a change of the operator, and wants each to be known by
// the JWT that it loaded.
func TestTrustOfServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	if names, known := r.Untrusting(w.operator, w.operator); known || names != nil {
		t.Errorf("without servers: %v, %v", names, known)
	}
	if names, known := r.Untrusting("nobody", w.operator); known || names != nil {
		t.Errorf("of an unknown operator: %v, %v", names, known)
	}
	before := *w.claims
	n1 := w.server("n1")
	w.trusting(r, 1)
	_, key := newPair(t, claims.KindOperator)
	after := before
	after.SigningKeys = jwt.StringList{key}
	w.claims = &after
	w.server("n2", n1)
	list := w.trusting(r, 2)
	for n, want := range []*jwt.OperatorClaims{&before, &after} {
		if got := *list[n].Trust; got.Fingerprint != claims.OperatorFingerprint(want) || !slices.Equal(got.Signers, claims.AccountSigners(want)) {
			t.Errorf("%s trusts %+v", list[n].Name, got)
		}
	}
	if names, known := r.Untrusting(w.operator, key); !known || !slices.Equal(names, []string{"n1"}) {
		t.Errorf("the new key: %v, %v", names, known)
	}
	if names, known := r.Untrusting(w.operator, w.operator); !known || len(names) > 0 {
		t.Errorf("the old key: %v, %v", names, known)
	}
}

// TestOperatorNeedsRestart holds that a nats-server refuses to reload another operator JWT and takes it at a restart.
func TestOperatorNeedsRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	file := filepath.Join(t.TempDir(), "nats.conf")
	configure := func(c *jwt.OperatorClaims) *server.Options {
		t.Helper()
		token, err := c.Encode(w.pair)
		if err != nil {
			t.Fatal(err)
		}
		text := "server_name: n1\nlisten: 127.0.0.1:-1\n" + claims.ServerConfig(claims.ServerConfigInput{
			OperatorName: c.Name, OperatorJWT: token, SystemAccount: w.system.id, Fingerprint: claims.OperatorFingerprint(c), ResolverURL: w.front.URL + w.base + "/accounts/",
		})
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		opts, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		opts.NoSigs, opts.NoLog = true, true
		return opts
	}
	boot := func(opts *server.Options) *server.Server {
		t.Helper()
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(patience) {
			t.Fatal("the nats-server is not ready")
		}
		w.setURLs(s.ClientURL())
		r.Wake()
		return s
	}
	before := *w.claims
	s := boot(configure(&before))
	if got := w.trusting(r, 1)[0].Trust.Fingerprint; got != claims.OperatorFingerprint(&before) {
		t.Errorf("loaded %s", got)
	}
	after := before
	_, key := newPair(t, claims.KindOperator)
	after.SigningKeys = jwt.StringList{key}
	opts := configure(&after)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "not supported for TrustedOperators") {
		t.Errorf("reloading: %v", err)
	}
	old := s.ID()
	s.Shutdown()
	s.WaitForShutdown()
	s = boot(opts)
	limit := time.After(patience)
	for {
		list := w.trusting(r, 1)
		if list[0].ID == s.ID() && s.ID() != old {
			if got := list[0].Trust.Fingerprint; got != claims.OperatorFingerprint(&after) {
				t.Errorf("loaded %s after the restart", got)
			}
			return
		}
		select {
		case <-limit:
			t.Fatal("the restarted server is not in the roster")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
