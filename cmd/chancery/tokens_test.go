package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/api"
	"chancery/issuer"
)

// The list stands in columns, says of each token how long it lives and where it was used, and prints what somebody wrote
// as it may stand on a terminal.
func TestTokenList(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	var b strings.Builder
	tokenList{Items: []api.Token{
		{ID: "tok_1", Name: "ci", State: "active", ExpiresAt: at, LastUsedAt: &at, LastUsedFrom: "192.0.2.7", Networks: []string{"10.0.0.0/8", "::1/128"}, Grants: []api.Grant{{Text: "Owner of everything"}, {Text: "Auditor of everything"}}},
		{ID: "tok_2", Name: "night\x1bly", State: "revoked", ExpiresAt: at, RevokedAt: &at, LastUsedAt: &at},
		{ID: "tok_3", Name: "x", State: "expired", ExpiresAt: at},
	}, NextCursor: "c"}.print(page{w: &b})
	const want = `tok_1  ci        active   until 2026-11-22 03:00:00  used 2026-11-22 03:00:00 from 192.0.2.7  Owner of everything; Auditor of everything, from 10.0.0.0/8 ::1/128
tok_2  night\uFFFDly  revoked  since 2026-11-22 03:00:00  used 2026-11-22 03:00:00 from nowhere known  
tok_3  x         expired  until 2026-11-22 03:00:00  never used  
There are more: --cursor c
`
	if diff := cmp.Diff(strings.ReplaceAll(want, `\uFFFD`, "\uFFFD"), b.String()); diff != "" {
		t.Error(diff)
	}
}

// tokenCommands makes, lists and takes back tokens by the command line, on a control plane that another test runs; file
// holds the token of an owner.
func tokenCommands(t *testing.T, p *plant, file string) {
	t.Helper()
	as := func(file string, want int, args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := inProcess(t, append(append([]string{"token"}, args...), "--url", p.app.cfg.publicURL, "--token-file", file)...)
		if code != want {
			t.Errorf("token %v: exit %d, want %d: %s%s", args, code, want, out, errs)
		}
		return out, errs
	}
	holds := func(text string, wanted ...string) {
		t.Helper()
		for _, s := range wanted {
			if !strings.Contains(text, s) {
				t.Errorf("%q is not in %s", s, text)
			}
		}
	}
	ci := []string{"create", "ci", "--role", "auditor", "--account", "ORDERS", "--network", "127.0.0.0/8", "--ttl", "1h"}
	out, _ := as(file, exitOK, append(ci, "--dry-run")...)
	holds(out, "Nothing was done", "May act as: Auditor of account ORDERS of acme", "From: 127.0.0.0/8")
	out, errs := as(file, exitOK, ci...)
	if !issuer.IsToken(strings.TrimSpace(out)) {
		t.Errorf("standard output holds %q", out)
	}
	holds(errs, "Auditor of account ORDERS of acme, from 127.0.0.0/8", "never used", "To take it back: chancery token revoke tok_")
	made := filepath.Join(t.TempDir(), "ci.token")
	out, _ = as(file, exitOK, append(ci, "-o", made)...)
	info, err := os.Stat(made)
	must(t, err)
	if out != "" || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v; printed is %q", info.Mode(), out)
	}
	_, errs = as(file, exitUsage, "create", "ci", "--role", "king")
	holds(errs, "owner, operator_admin")
	_, errs = as(file, exitFailure, append(ci, "-o", filepath.Join(made, "x"))...)
	holds(errs, "nobody has the token that was made: chancery token revoke tok_")

	out, _ = as(file, exitOK, "ls", "--active", "--json")
	var list api.Page[api.Token]
	must(t, json.Unmarshal([]byte(out), &list))
	var lost, written api.Token // the newest, and the one before
	if len(list.Items) < 3 {
		t.Fatalf("%d tokens", len(list.Items))
	}
	lost, written = list.Items[0], list.Items[1]
	out, _ = as(made, exitForbidden, "create", "more", "--role", "auditor", "--account", "ORDERS")
	if out != "" {
		t.Error(out)
	}
	out, _ = as(file, exitOK, "ls", "--limit", "1")
	holds(out, lost.ID+"  ci  active   until ", "never used", "There are more: --cursor ")
	_, cursor, _ := strings.Cut(strings.TrimSpace(out), "--cursor ")
	out, _ = as(file, exitOK, "ls", "--limit", "1", "--cursor", cursor)
	holds(out, written.ID)
	out, _ = as(file, exitOK, "ls", "--created-by", "per_nobody")
	holds(out, "No tokens")

	out, _ = as(file, exitOK, "revoke", written.ID, "--dry-run")
	holds(out, "Nothing was done", "The token is refused from now on", "used ")
	out, _ = as(file, exitOK, "revoke", written.ID, "--reason", "found in a log")
	holds(out, written.ID+"  ci  revoked  since ", "Its next request is refused")
	as(made, exitForbidden, "ls")
	_, errs = as(file, exitConflict, "revoke", written.ID)
	holds(errs, "revoked before")
	_, errs = as(file, exitUsage, "revoke", "tok_none")
	holds(errs, "There is no such token.", "chancery token ls")
	out, _ = as(file, exitOK, "ls")
	holds(out, "revoked  since ")
}
