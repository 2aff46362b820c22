package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
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
	return thin(out)
}

// thin is every fourth when watched by the race detector, else all.
func thin(all []string) (out []string) {
	for n := 0; n < len(all); n += thinned {
		out = append(out, all[n])
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
func (p *plant) widened(creds string) (wide []string, err error) {
	token, seed, err := claims.ParseCreds(claims.NewSecret(creds))
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(p.running()[0].ClientURL(), nats.UserJWTAndSeed(token, seed.Reveal()), nats.NoReconnect(), nats.Timeout(30*time.Second))
	if err != nil {
		return nil, fmt.Errorf("the credentials were issued, and the server says %w", err)
	}
	defer nc.Close()
	msg, err := nc.Request("$SYS.REQ.USER.INFO", nil, 30*time.Second)
	if err != nil {
		return nil, err
	}
	var info struct {
		Data struct {
			Permissions struct {
				Publish, Subscribe struct{ Allow []string }
			}
		}
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return nil, err
	}
	granted := append(info.Data.Permissions.Publish.Allow, info.Data.Permissions.Subscribe.Allow...)
	if len(granted) < 3 {
		return nil, fmt.Errorf("the server tells of %d permissions only", len(granted))
	}
	for _, s := range granted {
		tokens := strings.Split(s, ".")
		if tokens[0] != "_INBOX" && s != "$SYS.REQ.USER.INFO" && (len(tokens) != 3 || tokens[0] != "in" || tokens[2] != "x" || !claims.IsToken(tokens[1])) {
			wide = append(wide, s)
		}
	}
	return wide, nil
}

// No name and no tag, whichever way it comes in, gives more than the one token that its place in a subject has.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(1)
		names := hostile(p.t)
		var ways sync.WaitGroup
		for way, enter := range p.entries(names) {
			ways.Go(func() { p.tryAll(way, enter, names) })
		}
		ways.Wait()
	})
}

// tryAll brings every name in by one way.
func (p *plant) tryAll(way string, enter entry, names []string) {
	accepted, wide := 0, 0
	for n, s := range names {
		creds, err := enter(n, s)
		if err != nil {
			if !saysNo.MatchString(err.Error()) {
				p.t.Errorf("%s: %q: %v", way, s, err)
			}
			continue
		}
		accepted++
		if creds == "" {
			continue
		}
		subjects, err := p.widened(creds)
		if err != nil {
			p.t.Errorf("%s: %q: %v", way, s, err)
		}
		for _, subject := range subjects {
			wide++
			p.t.Errorf("%s: %q became %q", way, s, subject)
		}
	}
	if accepted == 0 {
		p.t.Errorf("%s: nothing comes in this way, not even what is harmless", way)
	}
	p.t.Logf("hostile %s: %d of %d widen a subject (%d accepted)", way, wide, len(names), accepted)
}

// saysNo is what says no: all else is a failure.
var saysNo = regexp.MustCompile(`answered 4(00|09|22)`)
