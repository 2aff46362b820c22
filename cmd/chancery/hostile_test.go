package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// hostile returns the names and tags of testdata/hostile.txt.
func hostile(t *testing.T) []string {
	t.Helper()
	f, err := os.Open("testdata/hostile.txt")
	must(t, err)
	defer f.Close() //nolint:errcheck // it is read only
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		s, err := strconv.Unquote(lines.Text())
		must(t, err)
		out = append(out, s)
	}
	if len(out) < 200 {
		t.Fatalf("%d names, want 200 at least", len(out))
	}
	return out
}

// jsonOf writes v as JSON into a request body.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	return string(raw)
}

// tenant is an account whose template puts names and tags into subjects.
func (p *plant) tenant(name string, tags ...string) error {
	body := jsonOf(p.t, map[string]any{"name": name, "tags": tags})
	var made struct {
		ID string `json:"id"`
	}
	if err := callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{"POST", "/accounts", body, "wait=20"}, &made); err != nil {
		return err
	}
	p.call("POST", "/accounts/"+made.ID+"/templates", `{"name":"t","permissions":{
		"publish":{"allow":["$SYS.REQ.USER.INFO","in.{{name()}}.x","in.{{tag(region)}}.x"],"deny":["no.{{name()}}"]},
		"subscribe":{"allow":["_INBOX.>","in.{{name()}}.x","in.{{tag(region)}}.x"]}}}`, nil)
	return nil
}

// widened connects with creds and returns each subject of those that the server allows which is more than one
// token between in and x.
func (p *plant) widened(creds string) (wide []string) {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "x.creds")
	must(p.t, writeSecret(path, claims.NewSecret(creds)))
	nc, err := nats.Connect(p.running()[0].ClientURL(), nats.UserCredentials(path), nats.NoReconnect())
	if err != nil {
		p.t.Errorf("the credentials were issued, and the server says %v", err)
		return nil
	}
	defer nc.Close()
	msg, err := nc.Request("$SYS.REQ.USER.INFO", nil, 5*time.Second)
	must(p.t, err)
	var info struct {
		Data struct {
			Permissions struct {
				Publish, Subscribe struct{ Allow []string }
			}
		}
	}
	must(p.t, json.Unmarshal(msg.Data, &info))
	granted := append(info.Data.Permissions.Publish.Allow, info.Data.Permissions.Subscribe.Allow...)
	if len(granted) < 3 {
		p.t.Errorf("the server tells of %d permissions only", len(granted))
	}
	for _, s := range granted {
		tokens := strings.Split(s, ".")
		if tokens[0] == "in" && (len(tokens) != 3 || tokens[2] != "x" || !claims.IsToken(tokens[1])) {
			wide = append(wide, s)
		}
	}
	return wide
}

// No name and no tag, whichever way it comes in, gives more than the one token that its place in a subject has.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(1)
		must(p.t, p.tenant("T", "region:eu"))
		names := hostile(p.t)
		for way, ask := range p.entries() {
			accepted, wide := 0, 0
			for n, s := range names {
				creds, err := ask(n, s)
				if err != nil {
					continue
				}
				accepted++
				for _, subject := range p.widened(creds) {
					wide++
					p.t.Errorf("%s: %q became %q", way, s, subject)
				}
			}
			p.t.Logf("hostile %s: %d of %d widen a subject (%d accepted)", way, wide, len(names), accepted)
		}
	})
}

// entries are the ways in which a name or tag gets from outside to a subject. Each returns credentials, or that
// it was refused.
func (p *plant) entries() map[string]func(n int, s string) (creds string, err error) {
	try := func(method, path, body string) (string, error) {
		var user struct {
			issued
			Credential issued
		}
		err := callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{method, path, body, ""}, &user)
		return user.Creds + user.Credential.Creds, err
	}
	issue := func(account, user string) (string, error) {
		return try("POST", "/accounts/"+account+"/users/"+user+"/credentials", "{}")
	}
	made := func(account, name string, tags ...string) (string, error) {
		var user struct {
			ID string `json:"id"`
		}
		body := jsonOf(p.t, map[string]any{"name": name, "template": "t", "tags": tags})
		if err := callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{"POST", "/accounts/" + account + "/users", body, ""}, &user); err != nil {
			return "", err
		}
		return issue(account, user.ID)
	}
	return map[string]func(n int, s string) (string, error){
		"name":      func(_ int, s string) (string, error) { return made("T", s, "region:eu") },
		"tag":       func(n int, s string) (string, error) { return made("T", fmt.Sprintf("tag-%d", n), s) },
		"tag value": func(n int, s string) (string, error) { return made("T", fmt.Sprintf("value-%d", n), "region:"+s) },
		"two values": func(n int, s string) (string, error) {
			return made("T", fmt.Sprintf("two-%d", n), "region:eu", "region:"+s)
		},
	}
}
