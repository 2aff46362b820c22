package main

import (
	"fmt"
	"maps"
	"strings"
)

// entry is a way in which a name or tag gets from outside to a subject. It returns credentials, "" if it has tried
// them itself, or that it was refused.
type entry func(n int, s string) (creds string, err error)

// ask makes a request; what the database gives way to is repeated.
func (p *plant) ask(method, path, body string, answer any) error {
	prefer := ""
	if strings.Contains(path, "/templates") || (method == "PATCH" && path == "/accounts/C") {
		prefer = "wait=20" // what is in effect is what counts
	}
	var err error
	for range 20 {
		if err = callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{method, path, body, prefer}, answer); err == nil || !strings.Contains(err.Error(), "answered 503") {
			return err
		}
	}
	return err
}

// try returns the credentials that a request is answered with.
func (p *plant) try(path, body string) (string, error) {
	var user struct {
		issued
		Credential issued
	}
	err := p.ask("POST", path, body, &user)
	return user.Creds + user.Credential.Creds, err
}

func (p *plant) issueIn(account, user string) (string, error) {
	return p.try("/accounts/"+account+"/users/"+user+"/credentials", "{}")
}

// object makes something and returns its identity.
func (p *plant) object(path string, body any) (string, error) {
	var made struct{ ID string }
	err := p.ask("POST", path, jsonOf(p.t, body), &made)
	return made.ID, err
}

// user makes a user of a template and returns its identity.
func (p *plant) user(account, template, name string, tags ...string) (string, error) {
	return p.object("/accounts/"+account+"/users", map[string]any{"name": name, "template": template, "tags": tags})
}

// made makes a user and issues to it.
func (p *plant) made(account, template, name string, tags ...string) (string, error) {
	id, err := p.user(account, template, name, tags...)
	if err != nil {
		return "", err
	}
	return p.issueIn(account, id)
}

// placing is the body of a template that puts what the functions return into subjects.
func placing(name string, functions ...string) string {
	var list strings.Builder
	for _, f := range functions {
		list.WriteString(`,"in.{{` + f + `}}.x"`)
	}
	return `{"name":"` + name + `","permissions":{"publish":{"allow":["$SYS.REQ.USER.INFO","in.none.x"` + list.String() + `],"deny":["no.x"]},"subscribe":{"allow":["_INBOX.>"` + list.String() + `]}}}`
}

func (p *plant) onPostgres() bool { return strings.HasPrefix(p.app.cfg.databaseURL, "postgres") }

// entries are all ways in.
func (p *plant) entries(names []string) map[string]entry {
	must(p.t, p.tenant("T", "region:eu"))
	must(p.t, p.tenant("L", "region:eu"))
	for _, account := range []string{"T", "L"} {
		p.call("POST", "/accounts/"+account+"/templates", placing("plain"), nil)
	}
	p.call("POST", "/accounts/T/templates", placing("place", "account-name()", "account-tag(region)"), nil)
	p.call("POST", "/operators/acme/templates", placing("shared place", "account-name()", "account-tag(region)"), nil)
	all := p.userEntries()
	if p.onPostgres() { // what checks names does not ask the database
		all["changed template"] = p.changedTemplate
		return all
	}
	for _, more := range []map[string]entry{p.lateEntries(), p.accountEntries(), p.bulkEntries(names), p.consoleEntries()} {
		maps.Copy(all, more)
	}
	return all
}

// userEntries are those of a user's name and tags.
func (p *plant) userEntries() map[string]entry {
	linked := func(id string, err error) (string, error) {
		var out struct{ Link struct{ URL string } }
		if err != nil {
			return "", err
		}
		if err := p.ask("POST", "/accounts/T/users/"+id+"/credentials", `{"delivery":"one_time_link"}`, &out); err != nil {
			return "", err
		}
		return p.try("/credential-links", `{"link":"`+out.Link.URL[strings.LastIndex(out.Link.URL, "/")+1:]+`"}`)
	}
	return map[string]entry{
		"name": func(_ int, s string) (string, error) { return p.made("T", "t", s, "region:eu") },
		"tag":  func(n int, s string) (string, error) { return p.made("T", "t", fmt.Sprintf("tag-%d", n), s) },
		"tag value": func(n int, s string) (string, error) {
			return p.made("T", "t", fmt.Sprintf("value-%d", n), "region:"+s)
		},
		"two values": func(n int, s string) (string, error) {
			return p.made("T", "t", fmt.Sprintf("two-%d", n), "region:eu", "region:"+s)
		},
		"name by link": func(_ int, s string) (string, error) { return linked(p.user("T", "t", "l-"+s, "region:eu")) },
		"tag value by link": func(n int, s string) (string, error) {
			return linked(p.user("T", "t", fmt.Sprintf("link-%d", n), "region:"+s))
		},
	}
}
