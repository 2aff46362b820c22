package web

import (
	"net/http"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// accessPath is where people are, tokensPath where API tokens, rolesPath what the roles
// allow.
const (
	accessPath = "/settings/access"
	tokensPath = "/settings/tokens"
	rolesPath  = "/settings/roles"
)

// accessTabs leads between the pages of who may do what.
func accessTabs(v *visit, here string) []navItem {
	var out []navItem
	add := func(text, url string) {
		item := navItem{Text: text, URL: url}
		if url == here {
			item.Current = "page"
		}
		out = append(out, item)
	}
	if v.may(issuer.ReadPeople) {
		add("People", accessPath)
	}
	if v.may(issuer.ReadTokens) {
		add("API tokens", tokensPath)
	}
	add("Roles", rolesPath)
	return out
}

// accessView is the list of people.
type accessView struct {
	Query string
	Rows  []personRow
	Pager pager
	// CanWrite offers what Why says to be another's.
	CanWrite bool
	Why      string
	Empty    *emptyView
}

type personRow struct {
	Name, URL string
	Grants    []string
	State     chip
	Changed   time.Time
	// You says that it is the visitor.
	You bool
}

// untold is why no server hears of a change of who may do what.
const untold = "It is about who may use Chancery; no server knows of that."

// notYours says whom to ask for what the visitor's role does not allow.
func notYours(what string) string { return what + " is up to an owner: your role does not allow it." }

func (c *Console) people(r *http.Request, v *visit) (answer, error) {
	params := r.URL.Query()
	q, after := searchText(params.Get("q")), params.Get("after")
	list, err := c.issuer.ListPeople(r.Context(), v.caller, newPage(q, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view := accessView{Query: q, CanWrite: v.may(issuer.WritePeople), Why: notYours("Who may sign in")}
	for _, p := range list {
		view.Rows = append(view.Rows, personRow{Name: p.Name, URL: personURL(p), Grants: grantWords(p.Held), State: stateChip(p.State), Changed: p.Updated, You: p.ID == v.caller.ID})
	}
	if after != "" {
		view.Pager.First = withQuery(accessPath, "q", q)
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery(accessPath, "q", q, "after", cursor(last.Name, last.ID))
	}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "Nobody here", Text: "You see people all of whose grants lie within your own."}
		if q != "" {
			view.Empty = &emptyView{Title: "Nobody matches “" + q + "”", Text: "The search looks into names.", Action: &link{"Clear the search", accessPath}}
		}
	}
	return answer{page: "access", title: "Access", tabs: accessTabs(v, accessPath), body: view, calls: []apiCall{c.call("These people", http.MethodGet, withQuery("/people", "q", q), "")}}, nil
}

func grantWords(held []issuer.Held) []string {
	var out []string
	for _, h := range held {
		out = append(out, h.Words())
	}
	return out
}

func personURL(p issuer.Person, rest ...string) string {
	return joinURL(append([]string{"settings", "access", segment(p.Name, p.ID)}, rest...))
}

func accessCrumbs() []link { return []link{{"Access", accessPath}} }

// grantFields ask for a role and its place.
func grantFields() group {
	role := &field{Name: "role", Pointer: "/grants/0/role", Label: "Role", Kind: kindSelect, Required: true, Options: []option{{"", "Choose one"}}, Hint: "The page Roles tells what each allows."}
	for _, r := range issuer.Roles() {
		role.Options = append(role.Options, option{string(r), r.Words()})
	}
	text := func(name, label, hint string) *field {
		return &field{Name: name, Pointer: "/grants/0/" + name, Label: label, Hint: hint, Kind: kindText, Autocomplete: "off", Max: claims.MaxNameLength}
	}
	return group{Legend: "May act as", Note: "On everything, unless a place is named. Nobody gives more than they have.", Fields: []*field{
		role,
		text("operator", "Operator", "Name or public key. Empty for everything, or where the account says enough."),
		text("account", "Account", "Name or public key. Empty for all of the operator."),
		text("template", "Template", "Name or id. For issuers of this template's users alone."),
	}}
}

// grant is what was asked for.
func (f *form) grant() issuer.Grant {
	return issuer.Grant{Role: f.value("role"), Scope: issuer.Scope{Operator: f.value("operator"), Account: f.value("account"), Template: f.value("template")}}
}

// misplaced says of a place that does not exist which field names it.
func misplaced(err error) error {
	e := issuer.AsError(err)
	noun, missing := strings.CutSuffix(e.Code, "_not_found")
	if err == nil || e.Kind != issuer.KindNotFound || !missing {
		return err
	}
	return &issuer.Error{
		Kind: issuer.KindInvalid, Code: "invalid", Message: e.Message,
		Problems: claims.Problems{{Pointer: "/grants/0/" + noun, Code: "not_found", Detail: e.Message, Blocking: true}},
	}
}

func newPersonForm() *form {
	return &form{
		Action: accessPath + "/new", Submit: "Let in, and make a link", Cancel: accessPath, Hidden: []hidden{{"once", newOnce()}},
		Groups: []group{
			{Fields: []*field{{
				Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off",
				Hint: "Shown in the audit log beside what they do. An e-mail address will do.",
			}}},
			grantFields(),
			{Fields: []*field{reasonField()}},
		},
	}
}

func (c *Console) newPerson(*http.Request, *visit) (answer, error) {
	return c.newPersonPage(newPersonForm()), nil
}

func (c *Console) newPersonPage(f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "New person", crumbs: accessCrumbs(),
		body:  formView{Title: "Let a person in", Lead: "They sign in with a link that works once and for a day, and is shown to you next.", Form: f},
		calls: []apiCall{c.call("Let a person in", http.MethodPost, "/people", `{"name":"ada@acme.example","grants":[{"role":"account_admin","account":"ORDERS"}]}`)},
	}
}

func (c *Console) createPerson(r *http.Request, v *visit) (answer, error) {
	once := r.PostForm.Get("once")
	if c.spent(r, once) {
		return answer{}, errSpent
	}
	f := newPersonForm()
	f.read(r.PostForm)
	op := v.op(f.value("reason"))
	op.DryRun = !f.ok() // to say everything that is wrong at once
	out, err := c.issuer.CreatePerson(r.Context(), op, issuer.PersonInput{Name: f.value("name"), Grants: []issuer.Grant{f.grant()}})
	if err = misplaced(err); err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() {
		return c.newPersonPage(f), nil
	}
	c.spend(r, v, once)
	return c.invite(r, v, out.Value)
}

// invite makes a link for a person and shows it.
func (c *Console) invite(r *http.Request, v *visit, p issuer.Person) (answer, error) {
	out, err := c.issuer.InvitePerson(r.Context(), v.op(""), p.ID)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "shown", title: "A link for " + p.Name, crumbs: accessCrumbs(), body: shownView{
		Title: "A link for " + p.Name, Lead: "It signs in as " + p.Name + ", once. Links made before for them stopped working.",
		Warning: "Whoever opens it and presses the button is " + p.Name + " here. Give it to nobody else.",
		What:    "Sign-in link", Secret: claims.NewSecret(c.publicURL + "/login/" + out.Value.Link.Reveal()), Until: out.Value.Expires,
		Done: link{"Done, go to " + p.Name, personURL(p)},
	}}, nil
}

// shownView shows something secret once: a link, or a token.
type shownView struct {
	Title, Lead, Warning string
	// What it is called.
	What   string
	Secret claims.Secret
	Until  time.Time
	// Verify is a command that tries it.
	Verify string
	Done   link
}

// rolesView is what each role allows.
type rolesView struct {
	Roles []string
	Rows  []roleRow
	// Yours are the visitor's own grants.
	Yours []string
}

type roleRow struct {
	Permission string
	Allowed    []bool
}

func (c *Console) roles(r *http.Request, v *visit) (answer, error) {
	me, err := c.issuer.Me(r.Context(), v.caller)
	if err != nil {
		return answer{}, err
	}
	view := rolesView{Yours: grantWords(me.Held)}
	for _, role := range issuer.Roles() {
		view.Roles = append(view.Roles, role.Words())
	}
	for _, p := range issuer.Permissions() {
		row := roleRow{Permission: string(p)}
		for _, role := range issuer.Roles() {
			row.Allowed = append(row.Allowed, role.Allows(p))
		}
		view.Rows = append(view.Rows, row)
	}
	return answer{page: "roles", title: "Roles", crumbs: accessCrumbs(), tabs: accessTabs(v, rolesPath), body: view, calls: []apiCall{
		c.call("The roles", http.MethodGet, "/roles", ""), c.call("Who you are", http.MethodGet, "/me", ""),
	}}, nil
}
