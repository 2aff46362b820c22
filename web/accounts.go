package web

import (
	"context"
	"net/http"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// accountsView is the list of accounts.
type accountsView struct {
	Query, Tag, State string
	States            []option
	Rows              []accountRow
	Pager             pager
	// ManyOperators shows whose each account is.
	ManyOperators bool
	CanCreate     bool
	Empty         *emptyView
}

type accountRow struct {
	Name, URL, Description, Operator string
	Tags                             []tagLink
	Users                            int64
	UsersURL                         string
	State, Sync                      chip
	Key                              string
	System                           bool
	Changed                          time.Time
}

// tagLink leads to what has a tag.
type tagLink struct {
	link
	Current bool
}

// url is the list with these filters, from a cursor on.
func (v accountsView) url(after string) string {
	return withQuery("/accounts", "q", v.Query, "tag", v.Tag, "state", v.State, "after", after)
}

func (c *Console) accounts(r *http.Request, v *visit) (answer, error) {
	ctx, params := r.Context(), r.URL.Query()
	view := accountsView{
		Query: searchText(params.Get("q")), Tag: searchText(params.Get("tag")), State: params.Get("state"), CanCreate: v.may(issuer.WriteLimits),
		States: []option{{"", "Any state"}, {"active", "Active"}, {"suspended", "Suspended"}},
	}
	if !offered(view.States, view.State) {
		view.State = ""
	}
	after := params.Get("after")
	list, err := c.issuer.FindAccounts(ctx, v.caller, issuer.AccountFilter{State: view.State, Tag: view.Tag}, newPage(view.Query, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	operators, err := c.operatorNames(ctx, v)
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view.ManyOperators = len(operators) > 1
	live, cancel := context.WithTimeout(ctx, liveTimeout) // for all rows together
	defer cancel()
	for _, a := range list {
		ref := c.accountRef(a.Account, len(operators))
		row := accountRow{
			Name: a.Name, URL: accountURL(ref), Description: a.Settings.Description, Operator: operators[a.OperatorID], Users: a.Users, UsersURL: accountURL(ref, "users"),
			State: endChip(a.Account, c.now()), Sync: syncChip(c.sync(live, v, a.ID)), Key: a.ID, System: a.System, Changed: a.Updated,
		}
		for _, t := range a.Settings.Tags {
			row.Tags = append(row.Tags, tagLink{link{t, withQuery("/accounts", "tag", t)}, t == view.Tag})
		}
		view.Rows = append(view.Rows, row)
	}
	if after != "" {
		view.Pager.First = view.url("")
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = view.url(cursor(last.Name, last.ID))
	}
	if len(list) == 0 {
		view.Empty = c.noAccounts(view, len(operators))
	}
	return answer{page: "accounts", title: "Accounts", body: view, calls: []apiCall{c.call("This list", http.MethodGet, view.url(""), "")}}, nil
}

// endChip is the state of an account; one whose end has come is expired.
func endChip(a issuer.Account, now time.Time) chip {
	if a.State == "active" && a.Expires != 0 && a.Expires <= now.Unix() {
		return chip{toneBad, "Expired"}
	}
	return stateChip(a.State)
}

func (c *Console) noAccounts(view accountsView, operators int) *emptyView {
	switch {
	case view.Query != "" && view.url("") == withQuery("/accounts", "q", view.Query):
		return &emptyView{Title: "No account matches “" + view.Query + "”", Text: "The search looks into names.", Action: &link{"Clear the search", "/accounts"}}
	case view.url("") != "/accounts":
		return &emptyView{Title: "No account matches", Text: "No account is called so and has what was chosen.", Action: &link{"Clear the filters", "/accounts"}}
	case operators == 0:
		e := &emptyView{Title: "No operator yet", Text: "An operator is the root of trust that signs accounts. Create one first."}
		if view.CanCreate {
			e.Action = &link{"New operator", "/operators/new"}
		}
		return e
	}
	e := &emptyView{Title: "No accounts yet", Text: "Typical start: one account for each team or application. Its users share subjects; other accounts do not see them."}
	if view.CanCreate {
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

// accountForm asks for a new account; preset, which may be empty, fills it in.
func (c *Console) accountForm(ctx context.Context, v *visit, preset string) (*form, error) {
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
	p, l := presetOf(preset)
	f := &form{Action: "/accounts/new", Submit: "Create account", Cancel: "/accounts", Hidden: []hidden{{"preset", p.Name}}}
	conn := connectionsField()
	conn.Value = countInput(l.Conn)
	js := group{Legend: "JetStream", Fields: []*field{
		{Name: "jetstream", Pointer: "/jetstream/enabled", Label: "JetStream on", Kind: kindCheckbox, Checked: l.IsJSEnabled(), Hint: "Streams, key-value and object stores in this account."},
	}}
	if len(l.JetStreamTieredLimits) > 0 {
		js.Note = "With limits by replica count, as the preset says. They can be changed once it exists."
	} else {
		js.Fields = append(js.Fields,
			sizeField("disk", "/jetstream/disk_bytes", "Disk", "Such as 10 GiB. Empty for no limit, 0 for none.", unlessOff(l.DiskStorage)),
			sizeField("memory", "/jetstream/memory_bytes", "Memory", "Such as 512 MiB. Empty for no limit, 0 for none.", unlessOff(l.MemoryStorage)))
	}
	f.Groups = []group{general, {Legend: "Limits", Note: "More limits can be set once it exists.", Fields: []*field{conn}}, js}
	return f, nil
}

// unlessOff is what a field of storage starts with where there is none.
func unlessOff(n int64) int64 {
	if n == 0 {
		return jwt.NoLimit
	}
	return n
}

// presetOf returns the preset and its limits; those of a new account without one.
func presetOf(name string) (claims.Preset, jwt.OperatorLimits) {
	if p, ok := claims.AccountPreset(name); ok {
		return p, p.Limits
	}
	return claims.Preset{}, claims.NewAccountSettings().Limits
}

// newAccountView is the form of a new account with what it can start from.
type newAccountView struct {
	Form    *form
	Presets []recipeCard
	Preset  string
}

func (c *Console) newAccount(r *http.Request, v *visit) (answer, error) {
	preset := r.URL.Query().Get("preset")
	f, err := c.accountForm(r.Context(), v, preset)
	if err != nil {
		return answer{}, err
	}
	return c.accountFormPage(f, preset), nil
}

func (c *Console) accountFormPage(f *form, preset string) answer {
	p, _ := presetOf(preset)
	return answer{
		status: f.status(), page: "account_new", title: "New account", crumbs: []link{{"Accounts", "/accounts"}},
		body: newAccountView{Form: f, Presets: presetCards("/accounts/new"), Preset: p.Title},
		calls: []apiCall{
			c.call("Create an account", http.MethodPost, "/accounts", `{"name":"ORDERS","preset":"team","limits":{"connections":500}}`),
			c.call("What can be started from", http.MethodGet, "/account-presets", ""),
		},
	}
}

func (c *Console) createAccount(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	preset := r.PostForm.Get("preset")
	f, err := c.accountForm(ctx, v, preset)
	if err != nil {
		return answer{}, err
	}
	f.read(r.PostForm)
	settings := claims.NewAccountSettings()
	_, settings.Limits = presetOf(preset)
	settings.Description, settings.Tags = f.value("description"), splitTags(f.value("tags"))
	settings.Limits.Conn = f.count("connections")
	readSwitch(f, &settings.Limits)
	op := v.op("")
	op.DryRun = !f.ok() // to say everything that is wrong at once
	out, err := c.issuer.CreateAccount(ctx, op, issuer.AccountInput{Operator: f.value("operator"), Name: f.value("name"), Settings: settings})
	if err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() {
		return c.accountFormPage(f, preset), nil
	}
	c.notify(r, v, "Account "+out.Value.Name+" was created.")
	c.await(ctx, v, out.Value.ID, out.Value.JWTVersion, waitChange)
	operators := 1
	if choice := f.field("operator"); choice != nil {
		operators = len(choice.Options)
	}
	return seeOther(accountURL(c.accountRef(out.Value, operators))), nil
}

// readSwitch reads JetStream's switch and storage, which stand over the preset.
func readSwitch(f *form, l *jwt.OperatorLimits) {
	if !f.checked("jetstream") {
		l.JetStreamLimits, l.JetStreamTieredLimits = jwt.JetStreamLimits{}, nil
		return
	}
	if f.field("disk") == nil {
		return // by tiers
	}
	if !l.IsJSEnabled() {
		l.JetStreamLimits = claims.UnlimitedJetStream()
	}
	l.DiskStorage, l.MemoryStorage = f.size("disk"), f.size("memory")
	if l.DiskStorage == 0 && l.MemoryStorage == 0 && f.ok() {
		f.fail("disk", "JetStream needs disk or memory: a server takes zero of both for off.")
	}
}
