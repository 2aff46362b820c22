package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// bulkEntries send all names in one stream.
func (p *plant) bulkEntries(names []string) map[string]entry {
	stream := func(user func(n int, s string) map[string]any) entry {
		answers := sync.OnceValue(func() []bulkAnswer {
			var body strings.Builder
			for n, s := range names {
				u := user(n, s)
				u["template"], u["key"] = "t", "generate"
				body.WriteString(jsonOf(p.t, u) + "\n")
			}
			return p.bulk("/accounts/T/users", body.String())
		})
		return func(n int, _ string) (string, error) {
			if all := answers(); n < len(all) && len(all) == len(names) {
				return all[n].User.Credential.Creds, all[n].err()
			}
			return "", fmt.Errorf("a stream of %d lines got %d answers", len(names), len(answers()))
		}
	}
	return map[string]entry{
		"name in a stream": stream(func(_ int, s string) map[string]any {
			return map[string]any{"name": s + "_", "tags": []string{"region:eu"}}
		}),
		"tag in a stream": stream(func(n int, s string) map[string]any {
			return map[string]any{"name": fmt.Sprintf("bulk-tag-%d", n), "tags": []string{s}}
		}),
		"tag value in a stream": stream(func(n int, s string) map[string]any {
			return map[string]any{"name": fmt.Sprintf("bulk-%d", n), "tags": []string{"region:" + s}}
		}),
	}
}

// bulkAnswer is a line of the answer to a stream of users.
type bulkAnswer struct {
	User  struct{ Credential issued }
	Error json.RawMessage
}

func (a bulkAnswer) err() error {
	if len(a.Error) == 0 {
		return nil
	}
	return fmt.Errorf("answered 422: %s", a.Error)
}

// bulk sends a stream of users; nil is no answer.
func (p *plant) bulk(path, body string) (out []bulkAnswer) {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.app.cfg.publicURL+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var a bulkAnswer
		if err := d.Decode(&a); err != nil {
			return out
		}
		out = append(out, a)
	}
}

// consoleEntries are the form for a new user.
func (p *plant) consoleEntries() map[string]entry {
	jar, err := cookiejar.New(nil)
	must(p.t, err)
	b := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	link, err := p.app.issuer.SignInLink(p.t.Context(), drillOp, "ada")
	must(p.t, err)
	status, _, err := p.visit(b, http.MethodPost, "/login/"+link.Reveal(), nil)
	must(p.t, err)
	if status != http.StatusSeeOther {
		p.t.Fatalf("signing in answered %d", status)
	}
	const form = "/accounts/T/users/new"
	created := func(name, value, tags string) (string, error) {
		sent := url.Values{
			"once": {rand.Text()}, "template": {"t"}, "name": {name}, "tag.region": {value}, "tags": {tags},
			"lifetime": {"3600"}, "delivery": {"inline"}, "link_lifetime": {"3600"},
		}
		for {
			status, page, err := p.visit(b, http.MethodPost, form, sent)
			if err != nil {
				return "", err
			}
			if creds := credsIn(page); creds != "" {
				return creds, nil
			}
			again := hiddenIn(page, "agreed")
			if again == "" || sent.Get("agreed") == again {
				return "", fmt.Errorf("answered %d", status)
			}
			sent.Set("agreed", again)
		}
	}
	return map[string]entry{
		"name in the console":      func(_ int, s string) (string, error) { return created("c-"+s, "eu", "") },
		"tag value in the console": func(n int, s string) (string, error) { return created(fmt.Sprintf("con-%d", n), s, "") },
		"tag in the console":       func(n int, s string) (string, error) { return created(fmt.Sprintf("cot-%d", n), "eu", "region:"+s) },
	}
}

// visit is what a browser does that is signed in.
func (p *plant) visit(b *http.Client, method, path string, form url.Values) (status int, page string, err error) {
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.app.cfg.publicURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

func hiddenIn(page, name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// credsIn returns the creds file that a page shows, "" if it shows none.
func credsIn(page string) string {
	const last = "------END USER NKEY SEED------"
	text := html.UnescapeString(page)
	from, to := strings.Index(text, "-----BEGIN NATS USER JWT-----"), strings.Index(text, last)
	if from < 0 || to < from {
		return ""
	}
	return text[from : to+len(last)]
}
