package web

import (
	"net/http"
	"time"

	"chancery/issuer"
)

// templatesView is a list of templates.
type templatesView struct {
	Title, Lead, URL, Query string
	// Everywhere tells that it is of all accounts and operators.
	Everywhere bool
	Rows       []templateListRow
	Pager      pager
	Empty      *emptyView
	// NewURL is empty for who may not make one.
	NewURL  string
	Recipes []recipeCard
}

type templateListRow struct {
	Name, URL, Description string
	// Home is an account's name, or says that it is shared.
	Home, HomeURL      string
	Shared             bool
	Publish, Subscribe rules
	Users, Accounts    int64
	Owing              int64
	Changed            time.Time
}

// recipeCard is a recipe with the way to start from it.
type recipeCard struct{ Title, Text, URL string }

func recipeCards(base string) []recipeCard {
	var out []recipeCard
	for _, r := range recipes {
		out = append(out, recipeCard{r.Title, r.Text, withQuery(base, "recipe", r.ID)})
	}
	return out
}

func newListRow(x issuer.Template) templateListRow {
	row := newTemplateRow(x)
	return templateListRow{Name: row.Name, Description: row.Description, Shared: x.Shared(), Publish: row.Publish, Subscribe: row.Subscribe, Changed: x.Updated}
}

// allTemplates is the index across accounts.
func (c *Console) allTemplates(r *http.Request, v *visit) (answer, error) {
	params := r.URL.Query()
	q, after := searchText(params.Get("q")), params.Get("after")
	list, err := c.issuer.ListAllTemplates(r.Context(), v.caller, newPage(q, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	operators, err := c.operatorNames(r.Context(), v)
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view := templatesView{Title: "Templates", Lead: "Permissions once, for many users. A template belongs to an account, or to an operator whose accounts share it.", URL: "/templates", Query: q, Everywhere: true}
	for _, x := range list {
		row := newListRow(x.Template)
		s := site{place: place{accountRef: x.Account}, operatorRef: segment(x.Operator, x.OperatorID)}
		row.Home, row.HomeURL = "Shared by "+x.Operator, s.url()
		if !x.Shared() {
			if len(operators) > 1 {
				s.accountRef = x.AccountID
			}
			s.account.ID = x.AccountID
			row.Home, row.HomeURL = x.Account, s.accountURL()
		}
		row.URL = s.url(segment(x.Body.Name, x.ID))
		row.Users, row.Accounts, row.Owing = x.Use.Users, x.Use.Accounts, x.Use.Owing
		view.Rows = append(view.Rows, row)
	}
	if more {
		last := list[len(list)-1]
		view.page(after, cursor(last.Body.Name, last.ID))
	} else {
		view.page(after, "")
	}
	switch {
	case len(list) > 0:
	case q != "":
		view.Empty = noMatch(q, "/templates")
	default:
		view.Empty = &emptyView{Title: "No templates yet", Text: "A template holds permissions once, for many users. Open an account to make one for it, or share one among all accounts of an operator.", Action: &link{"Accounts", "/accounts"}}
	}
	if v.may(issuer.WriteTemplates) && len(operators) == 1 {
		for _, name := range operators {
			view.NewURL = joinURL([]string{"operators", name, "templates", "new"})
		}
	}
	return answer{page: "templates", title: "Templates", body: view}, nil
}

func noMatch(q, url string) *emptyView {
	return &emptyView{Title: "No template matches “" + q + "”", Text: "The search looks into names.", Action: &link{"Clear the search", url}}
}

// page completes the pager; next is the cursor of the next page, empty on the last.
func (t *templatesView) page(after, next string) {
	if after != "" {
		t.Pager.First = withQuery(t.URL, "q", t.Query)
	}
	if next != "" {
		t.Pager.Next = withQuery(t.URL, "q", t.Query, "after", next)
	}
}

// templates lists the templates of an account or operator.
func (c *Console) templates(r *http.Request, v *visit) (answer, error) {
	s, err := c.findSite(r, v)
	if err != nil {
		return answer{}, err
	}
	params := r.URL.Query()
	q, after := searchText(params.Get("q")), params.Get("after")
	page := newPage(q, after, pageSize)
	var list []issuer.Template
	view := templatesView{URL: s.url(), Query: q}
	crumbs := s.crumbs()
	crumbs = crumbs[:len(crumbs)-1]
	if s.shared() {
		view.Title, view.Lead = "Shared templates", "They belong to operator "+s.operator.Name+": every account of it may use them."
		list, err = c.issuer.ListSharedTemplates(r.Context(), v.caller, s.operator.ID, page)
	} else {
		view.Title, view.Lead = "Templates of "+s.account.Name, "What its users may do: its own templates, and those that its operator shares."
		list, err = c.issuer.ListTemplates(r.Context(), v.caller, s.account.ID, page)
	}
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	for _, x := range list {
		row := newListRow(x)
		row.URL, row.Home = s.url(segment(x.Body.Name, x.ID)), "Own"
		if x.Shared() {
			row.Home = "Shared"
		}
		view.Rows = append(view.Rows, row)
	}
	if more {
		last := list[len(list)-1]
		view.page(after, cursor(last.Body.Name, last.ID))
	} else {
		view.page(after, "")
	}
	if v.may(issuer.WriteTemplates) {
		view.NewURL = s.url("new")
	}
	if len(list) == 0 && q != "" {
		view.Empty = noMatch(q, s.url())
	} else if len(list) == 0 {
		view.Empty = &emptyView{Title: "No templates yet", Text: "A template holds permissions once, for many users. Its scoped signing key makes every server enforce them."}
		if view.NewURL != "" {
			view.Recipes = recipeCards(view.NewURL)
		}
	}
	var tabs []navItem
	if !s.shared() {
		tabs = place{account: s.account, accountRef: r.PathValue("acct")}.tabs(v, "Templates")
	}
	return answer{page: "templates", title: view.Title, crumbs: crumbs, tabs: tabs, body: view, calls: []apiCall{
		c.call("This list", http.MethodGet, withQuery(s.url(), "q", q), ""),
	}}, nil
}

// templateView is one template.
type templateView struct {
	Name, URL, Description string
	Shared, Elsewhere      bool
	// Home names the account or operator, HomeURL leads to its templates.
	Home, HomeURL      string
	Publish, Subscribe []string
	PubDeny, SubDeny   []string
	Tests              testsView
	Use                issuer.TemplateUse
	// Done is how many accounts are signed, of those that use it.
	Done     int64
	Keys     []keyRow
	Facts    []limitRow
	Others   []option
	Preview  *previewView
	Sample   *field
	Faults   []string
	IssueURL string
	CanWrite bool
	// CanUse offers to give the account a key of a shared template.
	CanUse  bool
	Changed time.Time
	ID      string
}

type keyRow struct {
	ID    string
	State chip
	Since time.Time
}

// template is the page of one template, with a preview for the user in ?sample=.
func (c *Console) template(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	p := x.Body.Permissions
	view := templateView{
		Name: x.Body.Name, URL: s.templateURL(), Description: x.Body.Description, Shared: x.Shared(), Elsewhere: x.Shared() && !s.shared(),
		Publish: p.Pub.Allow, PubDeny: p.Pub.Deny, Subscribe: p.Sub.Allow, SubDeny: p.Sub.Deny, Tests: newTests(x.Results),
		Use: x.Use, Done: x.Use.Accounts - x.Use.Owing, Facts: templateFacts(x.Template), Sample: sampleField(searchSample(r.URL.Query().Get("sample"))),
		CanWrite: v.may(issuer.WriteTemplates), Changed: x.Updated, ID: x.ID,
	}
	operator := site{operatorRef: segment(s.operator.Name, s.operator.ID)}
	view.Home, view.HomeURL = s.account.Name, s.accountURL()
	if x.Shared() {
		view.Home, view.HomeURL = s.operator.Name, operator.url(s.templateRef)
	}
	for _, k := range x.Keys {
		view.Keys = append(view.Keys, keyRow{k.ID, keyChip(k.State), k.Since})
	}
	view.CanUse = view.CanWrite && view.Elsewhere && len(x.Keys) == 0
	if !s.shared() && v.may(issuer.WriteUsers) && v.may(issuer.IssueCredentials) {
		view.IssueURL = withQuery(s.accountURL("users", "new"), "template", x.Body.Name)
	}
	others, err := c.otherTemplates(r, v, s, x.ID)
	if err != nil {
		return answer{}, err
	}
	view.Others = others
	if view.Sample.Value != "" {
		in := issuer.PreviewInput{Ref: s.ref()}
		in.As, in.User = c.sampleOf(s, v, r, view.Sample.Value)
		preview, err := c.issuer.PreviewTemplate(r.Context(), v.caller, in)
		switch e := issuer.AsError(err); {
		case err == nil:
			view.Preview = newPreview(preview)
			view.Preview.Tests = testsView{} // they have a place of their own
		case e.Kind == issuer.KindInvalid:
			for _, p := range e.Problems {
				view.Sample.Errors = append(view.Sample.Errors, p.Detail)
			}
			view.Sample.Errors = view.Sample.Errors[:1]
		default:
			return answer{}, err
		}
	}
	return answer{page: "template", title: "Template " + x.Body.Name, crumbs: s.crumbs(), body: view, calls: []apiCall{
		c.call("This template", http.MethodGet, s.templateURL(), ""),
		c.call("What it comes to for a user", http.MethodPost, s.templateURL("preview"), `{"as":{"name":"d1","tags":["region:eu"]}}`),
		c.call("Change it", http.MethodPatch, s.templateURL(), `{"permissions":{"publish":{"allow":["orders.>"]}}}`),
	}}, nil
}

// searchSample keeps what may be shown again of what was asked for.
func searchSample(s string) string {
	f := form{Groups: []group{{Fields: []*field{sampleField(s)}}}}
	x := f.field("sample")
	if x.unacceptable() != "" {
		return ""
	}
	return x.Value
}

// otherTemplates are those to compare with.
func (c *Console) otherTemplates(r *http.Request, v *visit, s site, id string) ([]option, error) {
	page := issuer.Page{Limit: mostTemplates}
	var list []issuer.Template
	var err error
	if s.shared() {
		list, err = c.issuer.ListSharedTemplates(r.Context(), v.caller, s.operator.ID, page)
	} else {
		list, err = c.issuer.ListTemplates(r.Context(), v.caller, s.account.ID, page)
	}
	var out []option
	for _, x := range list {
		if x.ID != id {
			out = append(out, option{x.ID, x.Body.Name})
		}
	}
	return out, err
}

func keyChip(state string) chip {
	switch state {
	case "current":
		return chip{toneGood, "Current"}
	case "prepared":
		return chip{toneWait, "Prepared"}
	case "retiring":
		return chip{tonePart, "Retiring"}
	case "retired":
		return chip{toneOff, "Retired"}
	}
	return chip{toneBad, "Disabled"}
}

// templateFacts are the limits of a template in words.
func templateFacts(x issuer.Template) []limitRow {
	p := x.Body.Permissions
	or := func(s, empty string) string {
		if s == "" {
			return empty
		}
		return s
	}
	join := func(list []string) string {
		out := ""
		for n, s := range list {
			if n > 0 {
				out += ", "
			}
			out += s
		}
		return out
	}
	replies := "Not beyond what it may publish"
	if p.Resp != nil {
		n, ttl := p.Resp.MaxMsgs, p.Resp.Expires
		if n == 0 {
			n = 1
		}
		if ttl == 0 {
			ttl = 2 * time.Minute
		}
		replies = plural(n, "reply", "replies") + " within " + spell(ttl)
		if n < 0 {
			replies = "Any number of replies"
		}
	}
	rows := []limitRow{
		{"Replies", replies},
		{"Subscriptions", formatCount(p.Subs)},
		{"Largest message", formatSize(p.Payload)},
		{"Data", formatSize(p.Data)},
		{"Connection types", or(join(p.AllowedConnectionTypes), "All")},
		{"Source networks", or(join(p.Src), "All")},
		{"Connect hours", or(hoursText(p.Times), "Always")},
		{"Longest lifetime", or(ttlText(x.MaxTTL), "No bound")},
	}
	if p.Locale != "" {
		rows = append(rows, limitRow{"Time zone", p.Locale})
	}
	if p.BearerToken {
		rows = append(rows, limitRow{"Bearer", "Yes: no key is asked for"})
	}
	return rows
}

// comparisonView is what tells two templates apart.
type comparisonView struct {
	From, To       string
	FromURL, ToURL string
	Changes        []planChange
}

func (c *Console) compareTemplates(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	other := searchText(r.URL.Query().Get("with"))
	out, err := c.issuer.CompareTemplates(r.Context(), v.caller, s.ref(), issuer.TemplateRef{TemplateHome: s.home(), Template: other})
	if err != nil {
		return answer{}, err
	}
	view := comparisonView{
		From: out.From.Body.Name, To: out.To.Body.Name, FromURL: s.templateURL(), ToURL: s.url(segment(out.To.Body.Name, out.To.ID)), Changes: describe(out.Changes),
	}
	return answer{page: "template_compare", title: "Compare templates", crumbs: s.templateCrumbs(x.Body.Name), body: view, calls: []apiCall{
		c.call("This comparison", http.MethodGet, s.templateURL("comparisons", out.To.ID), ""),
	}}, nil
}
