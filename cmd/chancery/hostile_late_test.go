package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// lateEntries are those that change what was fine when it was made.
func (p *plant) lateEntries() map[string]entry {
	patched := map[string]string{}
	for _, name := range []string{"late tag", "late value"} {
		id, err := p.user("T", "t", strings.ReplaceAll(name, " ", "-"), "region:eu")
		must(p.t, err)
		patched[name] = "/accounts/T/users/" + id
	}
	return map[string]entry{
		"changed tag": func(_ int, s string) (string, error) {
			if err := p.ask("PATCH", patched["late tag"], jsonOf(p.t, map[string]any{"tags": []string{s}}), nil); err != nil {
				return "", err
			}
			return p.try(patched["late tag"]+"/credentials", "{}")
		},
		"changed tag value": func(_ int, s string) (string, error) {
			if err := p.ask("PATCH", patched["late value"], jsonOf(p.t, map[string]any{"tags": []string{"region:" + s}}), nil); err != nil {
				return "", err
			}
			return p.try(patched["late value"]+"/credentials", "{}")
		},
		"changed template of a user": func(_ int, s string) (string, error) {
			id, err := p.user("T", "plain", s+"-", "region:eu")
			if err == nil {
				err = p.ask("PATCH", "/accounts/T/users/"+id, `{"template":"t"}`, nil)
			}
			if err != nil {
				return "", err
			}
			return p.issueIn("T", id)
		},
		"issued again":     p.issuedAgain(),
		"changed template": p.changedTemplate,
	}
}

// issuedAgain renews, rolls or reissues what a user got before its tags were changed.
func (p *plant) issuedAgain() entry {
	id, first := "", ""
	return func(n int, s string) (_ string, err error) {
		if id == "" {
			if id, err = p.user("T", "t", fmt.Sprintf("again-%d", n), "region:eu"); err != nil {
				return "", err
			}
			if first, err = p.issueIn("T", id); err != nil {
				return "", err
			}
		}
		if err := p.ask("PATCH", "/accounts/T/users/"+id, jsonOf(p.t, map[string]any{"tags": []string{"region:" + s}}), nil); err != nil {
			return "", err
		}
		changed := id
		id = ""
		return p.again(changed, first, []string{"renew", "roll", "reissue"}[n%3])
	}
}

// again issues to a user that has the creds.
func (p *plant) again(id, first, way string) (string, error) {
	if way != "renew" {
		return p.try("/accounts/T/users/"+id+"/credentials/"+way, "{}")
	}
	var out struct{ JWT string }
	if err := p.ask("POST", "/accounts/T/users/"+id+"/credentials/renew", "{}", &out); err != nil {
		return "", err
	}
	_, seed, err := claims.ParseCreds(claims.NewSecret(first))
	if err != nil {
		return "", err
	}
	text, err := jwt.FormatUserConfig(out.JWT, []byte(seed.Reveal()))
	return string(text), err
}

// changedTemplate makes a template use names and tags when it has a user with these.
func (p *plant) changedTemplate(n int, s string) (string, error) {
	id, err := p.user("L", "plain", s, "region:eu", "region:"+s)
	if err != nil {
		if id, err = p.user("L", "plain", fmt.Sprintf("u-%d", n), "region:"+s); err != nil {
			return "", err
		}
	}
	uses := strings.Replace(placing("plain", "name()", "tag(region)"), `"name":"plain",`, "", 1)
	if err := p.ask("PATCH", "/accounts/L/templates/plain", uses, nil); err != nil {
		return "", errors.Join(err, p.ask("DELETE", "/accounts/L/users/"+id, "", nil))
	}
	creds, err := p.issueIn("L", id)
	if err != nil {
		return "", err
	}
	wide, err := p.widened(creds)
	if err != nil {
		return "", err
	}
	for _, subject := range wide {
		p.t.Errorf("a changed template: %q became %q", s, subject)
	}
	plain := strings.Replace(placing("plain"), `"name":"plain",`, "", 1)
	if err := p.ask("PATCH", "/accounts/L/templates/plain", plain, nil); err != nil {
		return "", err
	}
	return "", p.ask("DELETE", "/accounts/L/users/"+id, "", nil)
}

// accountEntries are those of an account's name and tags, which templates put into subjects too.
func (p *plant) accountEntries() map[string]entry {
	// An account of the name, or with the tags, is made once for all entries.
	var made sync.Map
	account := func(name string, tags ...string) (string, error) {
		once, _ := made.LoadOrStore(name, sync.OnceValues(func() (string, error) {
			return p.object("/accounts", map[string]any{"name": name, "tags": tags})
		}))
		return once.(func() (string, error))()
	}
	named := func(_ int, s string) (string, error) { return account(s, "region:eu") }
	tagged := func(n int, s string) (string, error) { return account(fmt.Sprintf("A-%d", n), "region:"+s) }
	with := func(find func(n int, s string) (string, error), template string, give func(id string) error) entry {
		return func(n int, s string) (string, error) {
			id, err := find(n, s)
			if err == nil {
				err = give(id)
			}
			if err != nil {
				return "", err
			}
			return p.made(id, template, "u-"+strings.ReplaceAll(template, " ", "-"), "region:eu")
		}
	}
	own := func(id string) error {
		return p.ask("POST", "/accounts/"+id+"/templates", placing("own", "account-name()", "account-tag(region)"), nil)
	}
	cloned := func(id string) error {
		return p.ask("POST", "/accounts/T/templates/place/clone", `{"account":"`+id+`","name":"copy"}`, nil)
	}
	shared := func(id string) error {
		return p.ask("POST", "/accounts/"+id+"/templates/shared%20place/use", "", nil)
	}
	return map[string]entry{
		"account name": with(named, "own", own), "account tag value": with(tagged, "own", own),
		"account name, cloned": with(named, "copy", cloned), "account tag value, cloned": with(tagged, "copy", cloned),
		"account name, shared": with(named, "shared place", shared), "account tag value, shared": with(tagged, "shared place", shared),
		"changed account tag value": p.changedAccount(),
	}
}

// changedAccount changes the tags of an account whose users have credentials.
func (p *plant) changedAccount() entry {
	id, err := p.object("/accounts", map[string]any{"name": "C", "tags": []string{"region:eu"}})
	must(p.t, err)
	p.call("POST", "/accounts/C/templates", placing("own", "account-name()", "account-tag(region)"), nil)
	creds, err := p.made(id, "own", "u", "region:eu")
	must(p.t, err)
	return func(_ int, s string) (string, error) {
		return creds, p.ask("PATCH", "/accounts/C", jsonOf(p.t, map[string]any{"tags": []string{"region:" + s}}), nil)
	}
}
