package web

import (
	"context"
	"net/http"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// accountView is one account.
type accountView struct {
	Name, URL, Key, Operator, Description string
	System                                bool
	Tags                                  []string
	State                                 chip
	Created, Changed                      time.Time
	JWTVersion, IssuedAt                  int64
	JTI                                   string

	Delivery  deliveryView
	Limits    []limitRow
	Templates []templateRow
	// MoreTemplates says that the table is cut.
	MoreTemplates bool
	NoTemplates   *emptyView

	Query   string
	Users   []userRow
	Pager   pager
	NoUsers *emptyView

	OperatorURL string
	// Size is that of the account's JWT.
	Size         issuer.JWTSize
	SizeWarnings []string

	Suspended, Deleted, CanLimit, CanIssue bool
}

type limitRow struct{ Name, Value string }

// account is the page of one account.
func (c *Console) account(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	a := p.account
	o, err := c.operatorOf(ctx, v, a)
	if err != nil {
		return answer{}, err
	}
	view := accountView{
		Name: a.Name, URL: p.accountURL(), Key: a.ID, Operator: o.Name, Description: a.Settings.Description, System: a.System, Tags: a.Settings.Tags,
		State: stateChip(a.State), Created: a.Created, Changed: a.Updated, JWTVersion: a.JWTVersion, IssuedAt: a.IssuedAt, JTI: a.JTI,
		Delivery: newDelivery(c.sync(ctx, v, a.ID)), Limits: limitRows(a.Settings.Limits),
		Suspended: a.State == "suspended", Deleted: a.State == "deleted",
	}
	if o.ID != "" && v.caller.Allows(issuer.ReadOperators, issuer.Scope{Operator: o.ID}) {
		view.OperatorURL = operatorURL(segment(o.Name, o.ID))
	}
	view.CanLimit = !view.Deleted && v.may(issuer.WriteLimits)
	view.CanIssue = !view.Deleted && v.may(issuer.WriteUsers) && v.may(issuer.IssueCredentials)
	if view.Size, err = c.issuer.AccountSize(ctx, v.caller, a.ID); err != nil {
		return answer{}, err
	}
	view.SizeWarnings = sentences(view.Size.Warnings)
	if !view.Deleted { // a tombstone has neither
		if err := c.listTemplates(ctx, v, &view, p); err != nil {
			return answer{}, err
		}
		if err := c.listUsers(r, v, &view, p); err != nil {
			return answer{}, err
		}
	}
	return answer{page: "account", title: a.Name, crumbs: []link{{"Accounts", "/accounts"}}, body: view, calls: []apiCall{
		c.call("This account", http.MethodGet, p.accountURL(), ""),
		c.call("Its users", http.MethodGet, withQuery(p.accountURL("users"), "q", view.Query), ""),
		c.call("How far its JWT got", http.MethodGet, p.accountURL("sync"), ""),
	}}, nil
}

// operatorOf returns the operator of an account; one that was deleted has no page, only
// the key by which the account knows it.
func (c *Console) operatorOf(ctx context.Context, v *visit, a issuer.Account) (issuer.Operator, error) {
	o, err := c.issuer.GetOperator(ctx, v.caller, a.OperatorID)
	if err != nil && issuer.AsError(err).Kind == issuer.KindNotFound {
		return issuer.Operator{Name: claims.ShortKey(a.OperatorID)}, nil
	}
	return o, err
}

func (c *Console) listUsers(r *http.Request, v *visit, view *accountView, p place) error {
	params := r.URL.Query()
	after := params.Get("after")
	view.Query = searchText(params.Get("q"))
	list, err := c.issuer.ListUsers(r.Context(), v.caller, p.account.ID, newPage(view.Query, after, pageSize))
	if err != nil {
		return err
	}
	list, more := cut(list, pageSize)
	names := map[string]string{}
	for _, t := range view.Templates {
		names[t.ID] = t.Name
	}
	for _, u := range list {
		row := userRow{Name: u.Name, URL: userURL(p.accountRef, segment(u.Name, u.ID)), Tags: u.Tags, State: stateChip(u.State), Changed: u.Updated}
		if row.Template = names[u.TemplateID]; u.TemplateID != "" && row.Template == "" {
			row.Template = u.TemplateID
		}
		view.Users = append(view.Users, row)
	}
	if after != "" {
		view.Pager.First = withQuery(view.URL, "q", view.Query) + "#users"
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery(view.URL, "q", view.Query, "after", cursor(last.Name, last.ID)) + "#users"
	}
	switch {
	case len(list) > 0:
	case view.Query != "":
		view.NoUsers = &emptyView{Title: "No user matches “" + view.Query + "”", Text: "The search looks into names.", Action: &link{"Clear the search", view.URL + "#users"}}
	default:
		view.NoUsers = &emptyView{Title: "No users yet", Text: "A user is who credentials are for: a service, a device or a person."}
		if view.CanIssue {
			view.NoUsers.Action = &link{"Create the first user", view.URL + "/users/new"}
		}
	}
	return nil
}

func (c *Console) listTemplates(ctx context.Context, v *visit, view *accountView, p place) error {
	list, err := c.issuer.ListTemplates(ctx, v.caller, p.account.ID, issuer.Page{Limit: pageSize + 1})
	if err != nil {
		return err
	}
	list, view.MoreTemplates = cut(list, pageSize)
	for _, t := range list {
		row := newTemplateRow(t)
		full, err := c.issuer.GetTemplate(ctx, v.caller, p.account.ID, t.ID)
		if err != nil {
			return err
		}
		for _, k := range full.Keys {
			if k.State == "current" {
				row.Key = k.ID
			}
		}
		row.URL = p.accountURL("templates", segment(t.Body.Name, t.ID))
		row.IssueURL = withQuery(view.URL+"/users/new", "template", t.Body.Name)
		view.Templates = append(view.Templates, row)
	}
	if len(list) == 0 {
		view.NoTemplates = &emptyView{
			Title: "No templates yet", Text: "A template holds permissions once, for many users. Its scoped signing key makes every server enforce them.",
			Command: c.call("", http.MethodPost, p.accountURL("templates"),
				`{"name":"service","permissions":{"publish":{"allow":["orders.>"]},"subscribe":{"allow":["_INBOX.>"]}}}`).Command,
		}
		if v.may(issuer.WriteTemplates) {
			view.NoTemplates.Action = &link{"New template", p.accountURL("templates", "new")}
		}
	}
	return nil
}

func limitRows(l jwt.OperatorLimits) []limitRow {
	rows := []limitRow{
		{"Connections", formatCount(l.Conn)},
		{"Leaf node connections", formatCount(l.LeafNodeConn)},
		{"Subscriptions", formatCount(l.Subs)},
		{"Largest message", formatSize(l.Payload)},
		{"Data", formatSize(l.Data)},
	}
	switch {
	case !l.IsJSEnabled():
		return append(rows, limitRow{"JetStream", "Off"})
	case len(l.JetStreamTieredLimits) > 0:
		return append(rows, limitRow{"JetStream", "On, " + plural(len(l.JetStreamTieredLimits), "tier", "tiers")})
	}
	return append(rows, limitRow{"JetStream", "On"},
		limitRow{"JetStream disk", formatSize(l.DiskStorage)}, limitRow{"JetStream memory", formatSize(l.MemoryStorage)},
		limitRow{"Streams", formatCount(l.Streams)}, limitRow{"Consumers", formatCount(l.Consumer)})
}
