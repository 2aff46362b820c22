package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/api"
)

// One of three servers stops: the API, the command line, readiness and the metrics say so, and so does the revocation
// that is made meanwhile, until the server is back.
func TestAServerIsMissing(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "sqlite")
	p.makeOrders()
	p.call("PATCH", "/operators/acme", `{"policy":{"servers_expected":3}}`, nil)
	p.startServers(3)
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(p.token), 0o600))
	command := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := inProcess(t, append(args, "--url", p.app.cfg.publicURL, "--token-file", token)...)
		if code != want {
			t.Errorf("%v: exit code %d, want %d: %s%s", args, code, want, out, errs)
		}
		return out
	}
	says := func(path string, texts ...string) bool {
		resp, err := http.Get(p.app.cfg.publicURL + path) //nolint:noctx // a test
		must(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		must(t, err)
		for _, s := range texts {
			if !strings.Contains(string(raw), s) {
				return false
			}
		}
		return true
	}
	var f api.Fleet
	look := func() api.Fleet {
		f = api.Fleet{} // what is left out of an answer would stay
		p.call("GET", "/operators/acme/servers", "", &f)
		return f
	}
	eventually(t, "three servers are in step", func() bool {
		look()
		return f.State == "in_step" && f.InStep == 3 && f.Confirmed == f.Accounts && f.OldestChange == nil
	})
	if out := command(exitOK, "server", "ls"); strings.Count(out, "in step") != 3 || !strings.Contains(out, "3 of 3 expected servers answer") {
		t.Error(out)
	}
	eventually(t, "the metrics tell of three", func() bool {
		return says("/metrics", `chancery_servers_confirmed{operator="acme"} 3`, `chancery_servers_expected{operator="acme"} 3`, `chancery_oldest_unconfirmed_revocation_seconds{operator="acme"} 0`, `name="SYS"`)
	})

	gone := p.running()[2]
	p.stopServer(gone)
	eventually(t, "one is missing", func() bool {
		look()
		return f.State == "servers_missing" && f.Missing == 1 && len(f.Items) == 3 && f.Items[2].State == "missing" && f.Items[2].Name == gone.Name()
	})
	p.issue()
	p.call("PUT", "/accounts/ORDERS/revocations/d1", `{"reason":"left"}`, nil)
	var s api.Sync
	eventually(t, "it is in effect on two", func() bool {
		p.call("GET", "/accounts/ORDERS/sync", "", &s)
		return s.State == "servers_missing" && s.InEffect == 2 && s.Expected == 3 && s.Missing == 1
	})
	if look().OldestRevocation == nil {
		t.Error("no revocation waits")
	}
	if out := command(exitPartial, "server", "ls"); !strings.Contains(out, "missing     what it has is not known") || !strings.Contains(out, "2 of 3 expected servers answer") || !strings.Contains(out, "A revocation waits") {
		t.Error(out)
	}
	if out := command(exitPartial, "sync", "status", "ORDERS"); !strings.Contains(out, "1 of 3 expected servers do not answer") {
		t.Error(out)
	}
	command(exitPartial, "sync", "status", "--json")
	command(exitUsage, "sync", "push")
	if out := command(exitOK, "sync", "push", "ORDERS"); !strings.Contains(out, "Servers that answer: 2 of 3 expected.") {
		t.Error(out)
	}
	eventually(t, "readiness and metrics tell", func() bool {
		return says("/readyz", "2 of 3 expected answer") && says("/metrics", `chancery_servers_reachable{operator="acme"} 2`) &&
			!says("/metrics", `chancery_oldest_unconfirmed_revocation_seconds{operator="acme"} 0`)
	})

	p.startServer()
	eventually(t, "all is proven", func() bool {
		look()
		return f.State == "in_step" && f.OldestRevocation == nil
	})
	command(exitOK, "sync", "status", "--watch")
	eventually(t, "the metrics are quiet", func() bool {
		return says("/metrics", `chancery_oldest_unconfirmed_revocation_seconds{operator="acme"} 0`, `chancery_servers_confirmed{operator="acme"} 3`)
	})
	t.Logf("servers confirmed: %d of %d expected, accounts in effect: %d of %d", f.InStep, f.Expected, f.Confirmed, f.Accounts)
}
