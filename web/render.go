package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"chancery/claims"
	"chancery/issuer"
)

//go:embed templates
var templateFiles embed.FS

// pageNames are the templates that answers name. Each lies in a file of its name
// and defines "content"; everything else under templates is shared by all.
var pageNames = []string{"login", "link", "error", "accounts", "form", "account", "plan", "user", "secret", "revocation", "inspect", "operators", "operator", "signature", "templates", "template", "template_form", "template_compare", "users", "revocations", "keys", "owner_keys", "account_new", "account_limits", "account_settings", "account_users", "account_jwt", "account_connections", "imports", "import", "import_new", "import_run", "audit", "audit_entry", "access", "person", "tokens", "roles", "shown", "sharing", "account_sharing", "export", "activation", "shared_import", "share", "share_done", "connections", "denials", "denial", "events", "servers", "drifts", "drift", "enrolment"}

// layoutView is what the layout shows around a page.
type layoutView struct {
	Title     string
	Nav       []navItem
	Crumbs    []link
	Tabs      []navItem
	Caller    issuer.Caller
	Operators []operatorView
	// SigningOff are the operators whose signing switch is off.
	SigningOff []signingOff
	Dev        bool
	// Notice is a sentence about what just happened.
	Notice    string
	Calls     []apiCall
	RequestID string
	// Refresh is after how many seconds the page is loaded again; 0 never.
	Refresh int
	// Wide is false for the one-column pages before signing in.
	Wide bool
	Body any
}

// operatorView is an operator in the header, with how many servers are seen. It has no
// page for whoever sees only a part of it.
type operatorView struct {
	Name, URL string
	// Servers is how many servers are seen, and whether one is missing; ServersURL is
	// where they are listed.
	Servers    chip
	ServersURL string
}

// serversChip is how many servers of an operator answer, of those expected.
func (c *Console) serversChip(o issuer.Operator) chip {
	n, expected := len(c.live.Servers(o.ID)), int(o.Policy.Servers)
	switch {
	case n == 0 && expected == 0:
		return chip{toneOff, "no servers"}
	case n < expected:
		return chip{toneBad, fmt.Sprintf("%d/%s", n, plural(expected, "server", "servers"))}
	case expected > 0:
		return chip{toneGood, fmt.Sprintf("%d/%s", n, plural(expected, "server", "servers"))}
	}
	return chip{toneGood, plural(n, "server", "servers")}
}

// embedded returns the static files and the pages of this program. They are the same for
// every console, which reads them only, so a process reads and parses them once.
func embedded() (assets, map[string]*template.Template, error) {
	e, err := readEmbedded()
	return e.assets, e.pages, err
}

type embeddedFiles struct {
	assets assets
	pages  map[string]*template.Template
}

var readEmbedded = sync.OnceValues(func() (e embeddedFiles, err error) {
	if e.assets, err = loadAssets(); err == nil {
		e.pages, err = parsePages(e.assets)
	}
	return e, err
})

// parsePages parses every page with the shared templates, so that a page which is
// missing or broken stops the start and not a visitor.
func parsePages(a assets) (map[string]*template.Template, error) {
	shared := template.New("").Funcs(template.FuncMap{
		"asset": a.path, "short": claims.ShortKey, "count": formatCount, "size": formatSize, "plural": plural, "lower": strings.ToLower,
		"stamp": stamp, "day": day, "unix": unixStamp, "exact": exact, "clip": newClip, "subject": breakable, "search": newSearch, "initial": initial, "ruleset": newRuleset, "subjects": allRules, "many": many,
	}).Option("missingkey=error")
	files, err := fs.Glob(templateFiles, "templates/shared/*.html")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("parsing templates: no shared ones: %w", err)
	}
	if shared, err = shared.ParseFS(templateFiles, files...); err != nil {
		return nil, fmt.Errorf("parsing templates: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, name := range pageNames {
		p, err := shared.Clone()
		if err != nil {
			return nil, fmt.Errorf("parsing templates: %w", err)
		}
		if p, err = p.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, fmt.Errorf("parsing templates: %w", err)
		}
		if p.Lookup("content") == nil || p.Lookup("layout") == nil {
			return nil, fmt.Errorf("parsing templates: %s.html does not define content", name)
		}
		pages[name] = p
	}
	return pages, nil
}

func (c *Console) render(out *bytes.Buffer, r *http.Request, v *visit, requestID string, a answer) error {
	page, ok := c.pages[a.page]
	if !ok {
		return fmt.Errorf("no page %q", a.page)
	}
	l := layoutView{Title: a.title, Nav: nav(a, v), Crumbs: a.crumbs, Tabs: a.tabs, Dev: c.dev, Calls: a.calls, RequestID: requestID, Refresh: a.refresh, Body: a.body}
	if v.signedIn() {
		l.Wide, l.Caller = true, v.caller
		l.Operators, l.SigningOff = c.roster(r.Context(), v)
		if notice := c.sessions.PopString(r.Context(), keyNotice); notice != "" {
			l.Notice, v.changed = notice, true
		}
	}
	return page.ExecuteTemplate(out, "layout", l)
}

// roster returns the operators for the header, and those whose signing switch is off;
// a header must not take a page down.
func (c *Console) roster(ctx context.Context, v *visit) ([]operatorView, []signingOff) {
	if !v.may(issuer.ReadOperators) {
		return nil, nil
	}
	list, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		c.log.WarnContext(ctx, "listing operators for the header", slog.String("request_id", v.requestID), slog.Any("error", err))
		return nil, nil
	}
	out := make([]operatorView, len(list))
	for i := range out {
		o := list[i]
		out[i] = operatorView{Name: o.Name, Servers: c.serversChip(o)}
		if v.caller.Allows(issuer.ReadOperators, issuer.Scope{Operator: o.ID}) {
			out[i].URL = operatorURL(segment(o.Name, o.ID))
		}
		if v.caller.May(issuer.ReadServers) {
			out[i].ServersURL = withQuery(serversPath, "operator", o.Name)
		}
	}
	return out, c.switchedOff(ctx, v, list)
}
