package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// openedSecrets opens the database with the key-encryption key, as someone who has both could with Tink alone, and
// returns the seeds and the data keys.
func openedSecrets(t *testing.T, dsn, kekText string) (out []string) {
	t.Helper()
	kek, err := base64.StdEncoding.DecodeString(strings.TrimSpace(kekText))
	must(t, err)
	var row store.Keyset
	var keys []store.Key
	read := func(ctx context.Context, tx *store.Tx) (err error) {
		if row, err = tx.GetKeyset(ctx, "seeds"); err == nil {
			keys, err = tx.KeysToReseal(ctx, 1, nil, "", 1<<20)
		}
		return err
	}
	onStore(t, dsn, func(s *store.Store, _ *issuer.Issuer) { must(t, s.Read(t.Context(), read)) })
	wrapper, err := subtle.NewAESGCM(kek)
	must(t, err)
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(row.Wrapped)), wrapper, []byte("seeds"))
	must(t, err)
	for _, k := range insecurecleartextkeyset.KeysetMaterial(handle).GetKey() {
		value := k.GetKeyData().GetValue()
		out = append(out, string(value[len(value)-32:])) // the message ends with the key
	}
	primitive, err := aead.New(handle)
	must(t, err)
	for _, k := range keys {
		seed, err := primitive.Decrypt(k.Sealed, []byte(strings.Join([]string{"chancery/v1/seed", k.Kind, k.Role, k.ID, k.OperatorID, k.AccountID}, "|")))
		must(t, err)
		out = append(out, string(seed))
	}
	return out
}

// T1: a busy life on each database, with the log at debug: operators, accounts, templates, users whose keys are made
// here, refusals, the data key rotated and the keyset wrapped anew beside the running server. Then no seed, data key or
// key-encryption key is in the database, its files, its dump, the logs, the metrics or any answer but the one that showed
// it once.
func TestNothingSecretIsLeftBehind(t *testing.T) {
	t.Parallel()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.URL(t, d)
			token := ownerToken(t, dsn)
			args, base := serveArgs(t, dsn)
			args = append(args, "--log-level", "debug")
			server, stdout, stderr := child(t, args...)
			awaitReady(t, base)
			secrets := []string{strings.TrimSpace(kekText(t, "k")), strings.TrimSpace(kekText(t, "n")), token}
			var said lockedBuffer // whatever it answered that is no secret
			call := func(method, path, body string) {
				t.Helper()
				if err := callAPI(t.Context(), base, token, request{method, path, body, ""}, nil); err != nil {
					_, answer, _ := strings.Cut(err.Error(), " answered ") // what comes before is the request
					fmt.Fprintln(&said, answer)
				}
			}
			get := func(path string) {
				t.Helper()
				var answer any
				must(t, callAPI(t.Context(), base, token, request{"GET", path, "", ""}, &answer))
				fmt.Fprintln(&said, answer)
			}
			issue := func(account, user string) {
				t.Helper()
				var c issued
				must(t, callAPI(t.Context(), base, token, request{"POST", "/accounts/" + account + "/users/" + user + "/credentials", "{}", ""}, &c))
				_, seed, err := claims.ParseCreds(claims.NewSecret(c.Creds))
				must(t, err)
				secrets = append(secrets, seed.Reveal())
			}
			live := func(operator string) {
				t.Helper()
				call("POST", "/operators", `{"name":"`+operator+`"}`)
				for n := range 4 {
					account := fmt.Sprint(operator, "-A", n)
					call("POST", "/accounts", `{"operator":"`+operator+`","name":"`+account+`"}`)
					call("POST", "/accounts/"+account+"/templates", `{"name":"device","permissions":{"publish":{"allow":["devices.{{name()}}.>"]}}}`)
					call("POST", "/accounts/"+account+"/users", `{"name":"d","template":"device"}`)
					call("POST", "/accounts/"+account+"/users", `{"name":"u","permissions":{}}`)
					issue(account, "d")
					issue(account, "u")
					call("PATCH", "/accounts/"+account+"/templates/device", `{"limits":{"subscriptions":50}}`)
					call("PUT", "/accounts/"+account+"/revocations/u", `{"reason":"`+secrets[len(secrets)-1]+`"}`) // a seed in the wrong place
					call("PUT", "/accounts/"+account+"/revocations/u", `{"reason":"left"}`)
					issue(account, "u")
					call("POST", "/accounts/"+secrets[len(secrets)-1]+"/users", `{"name":"`+secrets[len(secrets)-1]+`"}`)
					for _, path := range []string{"", "/users", "/users/u", "/users/u/credentials", "/templates/device", "/revocations"} {
						get("/accounts/" + account + path)
					}
				}
			}
			live("one")

			host := args[1:]
			newKEK := filepath.Join(t.TempDir(), "new")
			must(t, os.WriteFile(newKEK, []byte(kekText(t, "n")), 0o600))
			command := func(args ...string) {
				t.Helper()
				code, out, errs := inProcess(t, append(append([]string{"key"}, args...), host...)...)
				fmt.Fprintln(&said, out, errs)
				if code != 0 {
					t.Fatalf("%v: exit code %d, %s%s", args, code, out, errs)
				}
			}
			logs := []*lockedBuffer{stdout, stderr}
			scrape := func() { fmt.Fprintln(&said, httpGet(t, base+"/metrics"), httpGet(t, base+"/readyz")) }
			stop := func() {
				t.Helper()
				scrape()
				must(t, server.Process.Signal(syscall.SIGTERM))
				must(t, server.Wait())
			}
			start := func() {
				t.Helper()
				server, stdout, stderr = child(t, args...)
				logs = append(logs, stdout, stderr)
				awaitReady(t, base)
			}
			if d == "sqlite" {
				stop() // one process holds the file
			}
			secrets = append(secrets, openedSecrets(t, dsn, kekText(t, "k"))...)
			command("rotate-data-key")
			secrets = append(secrets, openedSecrets(t, dsn, kekText(t, "k"))...)
			if d == "sqlite" {
				start()
			}
			live("two") // on PostgreSQL the server was not asked
			if d == "sqlite" {
				stop()
			}
			command("rewrap", "--new-kek-file", newKEK)
			for n, a := range args {
				if a == "--kek-file" {
					args[n+1] = newKEK
				}
			}
			host = args[1:]
			command("status", "--json")
			if d == "postgres" {
				live("three") // with the keyset it has open
				stop()
			}
			start()
			live("four")
			if d == "postgres" {
				command("rotate-data-key")
				issue("four-A0", "u")
			}
			stop()
			secrets = append(secrets, openedSecrets(t, dsn, kekText(t, "n"))...)

			search := storetest.NewSearch(unique(secrets)...)
			hits := search.Database(t, dsn)
			for n, log := range logs {
				if len(log.String()) > 0 {
					hits = append(hits, search.In(fmt.Sprint("log ", n), []byte(log.String()))...)
				}
			}
			hits = append(hits, search.In("answers and metrics", []byte(said.String()))...)
			hits = append(hits, search.Files(t, filesBelow(t, dataDir(args))...)...)
			if len(hits) > 0 {
				t.Errorf("%d secrets in clear: %v", len(hits), hits)
			}
			t.Logf("%d hits for %d secrets in %.1f MiB", len(hits), search.Secrets, float64(search.Bytes)/(1<<20))
			if search.Bytes < 100<<10 || search.Secrets < 50 {
				t.Error("that was no busy life")
			}
			if len(search.In("log", []byte("x "+secrets[len(secrets)-1]))) == 0 {
				t.Error("the search finds nothing at all")
			}
		})
	}
}

func unique(list []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}

func dataDir(args []string) string {
	for n, a := range args {
		if a == "--data-dir" {
			return args[n+1]
		}
	}
	return ""
}

// filesBelow lists the files of a data folder but Chancery's own credentials, which are what it connects with.
func filesBelow(t *testing.T, dir string) (out []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !strings.HasSuffix(path, ".creds") {
			out = append(out, path)
		}
		return err
	}))
	return out
}
