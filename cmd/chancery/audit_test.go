package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/store/storetest"
)

// The commands of the audit log against a running control plane that writes checkpoints, and against its database once
// it is stopped.
func TestAuditCommands(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			p := newPlantWith(t, dialect, func(cfg *appConfig) { cfg.auditCheckpoints = filepath.Join(cfg.dataDir, "checkpoints") })
			file := p.app.cfg.auditCheckpoints
			p.makeOrders()
			p.call("PATCH", "/accounts/ORDERS", `{"limits":{"connections":500}}`, nil)
			p.call("PATCH", "/accounts/ORDERS", `{"limits":{"connections":12}}`, nil)
			dir := t.TempDir()
			token := filepath.Join(dir, "token")
			must(t, os.WriteFile(token, []byte(p.token), 0o600))
			audit := func(want int, args ...string) string {
				t.Helper()
				code, out, errs := inProcess(t, append(append([]string{"audit"}, args...), "--url", p.app.cfg.publicURL, "--token-file", token)...)
				if code != want {
					t.Errorf("audit %v: exit %d, want %d: %s%s", args, code, want, out, errs)
				}
				return out
			}
			tokenCommands(t, p, token)
			eventually(t, "a checkpoint", func() bool { info, err := os.Stat(file); return err == nil && info.Size() > 0 })
			eventually(t, "a numbered update", func() bool { return strings.Count(audit(exitOK, "ls", "--action", "update"), "update") == 2 })
			if out := audit(exitOK, "ls", "--account", "ORDERS", "--limit", "1"); !strings.Contains(out, "ORDERS") || !strings.Contains(out, "There are more") {
				t.Error(out)
			}
			if out := audit(exitOK, "ls", "--request-id", "none", "--since", "1h"); !strings.Contains(out, "No entries") {
				t.Error(out)
			}
			audit(exitUsage, "ls", "--since", "yesterday")
			audit(exitUsage, "show", "999999")
			if out := audit(exitOK, "show", "1"); !strings.Contains(out, "create") || !strings.Contains(out, "request") {
				t.Error(out)
			}
			if out := audit(exitOK, "tail", "--once", "-n", "3"); strings.Count(out, "\n") != 3 {
				t.Error(out)
			}
			table := filepath.Join(dir, "audit.csv")
			audit(exitOK, "export", "--format", "csv", "-o", table)
			f, err := os.Open(table)
			must(t, err)
			rows, err := csv.NewReader(f).ReadAll()
			must(t, err)
			must(t, f.Close())
			lines := audit(exitOK, "export")
			if len(rows) < 8 || strings.Count(lines, "\n") < len(rows)-1 {
				t.Errorf("%d rows and %d lines", len(rows), strings.Count(lines, "\n"))
			}
			key := strings.TrimSpace(audit(exitOK, "key"))
			kept := filepath.Join(dir, "kept")
			copied, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(kept, copied, 0o600))
			if out := audit(exitOK, "verify", "--checkpoints", kept, "--key", key); !strings.Contains(out, "whole") {
				t.Error(out)
			}
			audit(exitUsage, "verify", "--checkpoints", kept)
			audit(exitUsage, "verify", "--checkpoints", kept, "--key", "x")
			raw := p.raw(t)
			raw.Run(t, `UPDATE audit SET actor = 'mallory' WHERE seq = 2`)
			if out := audit(exitNo, "verify", "--json"); !strings.Contains(out, `"kind": "altered"`) || !strings.Contains(out, `"seq": 2`) {
				t.Error(out)
			}
			must(t, raw.Close())
			must(t, p.app.stop())
			local := func(want int, args ...string) string {
				t.Helper()
				code, out, errs := inProcess(t, append([]string{"audit", "verify", "--local", "--database-url", p.databaseURL, "--data-dir", dir, "--public-url", "http://localhost"}, args...)...)
				if code != want {
					t.Errorf("%v: exit %d, want %d: %s%s", args, code, want, out, errs)
				}
				return out
			}
			if out := local(exitNo); !strings.Contains(out, "BROKEN") || !strings.Contains(out, "altered") {
				t.Error(out)
			}
			// Cut off behind the first checkpoint, with what the sequencer remembers: only what was kept tells.
			raw = storetest.OpenRaw(t, p.databaseURL)
			raw.Run(t, `DELETE FROM audit`)
			raw.Run(t, `UPDATE sequencer SET audit_seq = 0, audit_hash = $1`, []byte{})
			must(t, raw.Close())
			if out := local(exitOK); !strings.Contains(out, "whole: 0 entries") {
				t.Error(out)
			}
			if out := local(exitNo, "--checkpoints", kept, "--key", key); !strings.Contains(out, "truncated") {
				t.Error(out)
			}
			if out := local(exitNo, "--audit-checkpoints", file); out == "" {
				t.Error("the server's own file says nothing")
			}
		})
	}
}
