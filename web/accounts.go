package web

import (
	"context"
	"net/http"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// accountsView is the list of accounts.
type accountsView struct {
	Query string
	Rows  []accountRow
	Pager pager
	// ManyOperators shows whose each account is.
	ManyOperators bool
	CanCreate     bool
	Empty         *emptyView
}

type accountRow struct {
	Name, URL, Description, Operator string
	Tags                             []string
	State, Sync                      chip
	Key                              string
	System                           bool
	Changed                          time.Time
}

func (c *Console) accounts(r *http.Request, v *visit) (answer, error) {
	ctx, params := r.Context(), r.URL.Query()
	q, after := searchText(params.Get("q")), params.Get("after")
	list, err := c.issuer.ListAccounts(ctx, v.caller, "", newPage(q, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	operators, err := c.operatorNames(ctx, v)
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view := accountsView{Query: q, ManyOperators: len(operators) > 1, CanCreate: v.may(issuer.WriteAccounts)}
	live, cancel := context.WithTimeout(ctx, liveTimeout) // for all rows together
	defer cancel()
	for _, a := range list {
		view.Rows = append(view.Rows, accountRow{
			Name: a.Name, URL: accountURL(c.accountRef(a, len(operators))), Description: a.Settings.Description, Operator: operators[a.OperatorID],
			Tags: a.Settings.Tags, State: stateChip(a.State), Sync: syncChip(c.sync(live, v, a.ID)), Key: a.ID, System: a.System, Changed: a.Updated,
		})
	}
	if after != "" {
		view.Pager.First = withQuery("/accounts", "q", q)
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery("/accounts", "q", q, "after", cursor(last.Name, last.ID))
	}
	if len(list) == 0 {
		view.Empty = c.noAccounts(v, q, len(operators))
	}
	return answer{page: "accounts", title: "Accounts", body: view, calls: []apiCall{
		c.call("This list", http.MethodGet, withQuery("/accounts", "q", q), ""),
	}}, nil
}

func (c *Console) noAccounts(v *visit, q string, operators int) *emptyView {
	switch {
	case q != "":
		return &emptyView{Title: "No account matches “" + q + "”", Text: "The search looks into names.", Action: &link{"Clear the search", "/accounts"}}
	case operators == 0:
		e := &emptyView{Title: "No operator yet", Text: "An operator is the root of trust that signs accounts. Create one first."}
		if v.may(issuer.WriteOperators) {
			e.Action = &link{"New operator", "/operators/new"}
		}
		return e
	}
	e := &emptyView{Title: "No accounts yet", Text: "Typical start: one account for each team or application. Its users share subjects; other accounts do not see them."}
	if v.may(issuer.WriteAccounts) {
		e.Action = &link{"New account", "/accounts/new"}
	}
	return e
}

// accountRef returns how paths name an account: by name, unless several operators
// could have one of that name.
func (c *Console) accountRef(a issuer.Account, operators int) string {
	if operators > 1 {
		return a.ID
	}
	return segment(a.Name, a.ID)
}

// mostOperators bounds what a page asks for; a process has a handful.
const mostOperators = 200

// operatorNames returns the names of all operators by public key.
func (c *Console) operatorNames(ctx context.Context, v *visit) (map[string]string, error) {
	list, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	out := make(map[string]string, len(list))
	for _, o := range list {
		out[o.ID] = o.Name
	}
	return out, err
}

func (c *Console) accountForm(ctx context.Context, v *visit) (*form, error) {
	operators, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return nil, err
	}
	general := group{Fields: []*field{
		{
			Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off",
			Hint: "Up to 64 printable characters, such as ORDERS or billing-eu. Templates may put it into subjects.",
		},
		{Name: "description", Pointer: "/description", Label: "Description", Kind: kindText, Autocomplete: "off", Hint: "Optional. What it is for, or whose it is."},
		{
			Name: "tags", Pointer: "/tags", Label: "Tags", Kind: kindText, Autocomplete: "off", Placeholder: "team:orders env:prod",
			Hint: "Optional. Written key or key:value, separated by spaces.",
		},
	}}
	if len(operators) > 1 {
		choice := &field{Name: "operator", Pointer: "/operator", Label: "Operator", Kind: kindSelect, Required: true, Options: []option{{"", "Choose one"}}}
		for _, o := range operators {
			choice.Options = append(choice.Options, option{o.ID, o.Name})
		}
		general.Fields = append([]*field{choice}, general.Fields...)
	}
	return &form{
		Action: "/accounts/new", Submit: "Create account", Cancel: "/accounts",
		Groups: []group{general, {Legend: "Limits", Note: "More limits can be set once it exists.", Fields: []*field{connectionsField()}}, jetStreamGroup(false)},
	}, nil
}

func (c *Console) newAccount(r *http.Request, v *visit) (answer, error) {
	f, err := c.accountForm(r.Context(), v)
	if err != nil {
		return answer{}, err
	}
	return c.accountFormPage(f), nil
}

func (c *Console) accountFormPage(f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "New account", crumbs: []link{{"Accounts", "/accounts"}},
		body:  formView{Title: "New account", Lead: "A tenant of its own: its users share subjects, and nothing crosses to other accounts unless you say so.", Form: f},
		calls: []apiCall{c.call("Create an account", http.MethodPost, "/accounts", `{"name":"ORDERS","limits":{"connections":500}}`)},
	}
}

func (c *Console) createAccount(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	f, err := c.accountForm(ctx, v)
	if err != nil {
		return answer{}, err
	}
	f.read(r.PostForm)
	settings := claims.NewAccountSettings()
	settings.Description, settings.Tags = f.value("description"), splitTags(f.value("tags"))
	settings.Limits.Conn = f.count("connections")
	setJetStream(f, &settings)
	op := v.op("")
	op.DryRun = !f.ok() // to say everything that is wrong at once
	out, err := c.issuer.CreateAccount(ctx, op, issuer.AccountInput{Operator: f.value("operator"), Name: f.value("name"), Settings: settings})
	if err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() {
		return c.accountFormPage(f), nil
	}
	c.notify(r, v, "Account "+out.Value.Name+" was created.")
	c.await(ctx, v, out.Value.ID, out.Value.JWTVersion, waitChange)
	operators := 1
	if choice := f.field("operator"); choice != nil {
		operators = len(choice.Options)
	}
	return seeOther(accountURL(c.accountRef(out.Value, operators))), nil
}
