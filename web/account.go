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
	// MoreTemplates and MoreUsers say that the tables are cut.
	MoreTemplates, MoreUsers bool
	NoTemplates              *emptyView
	Users                    []userRow
	NoUsers                  *emptyView

	OperatorURL, InfoURL string
	// Size is that of the account's JWT.
	Size         issuer.JWTSize
	SizeWarnings []string
	Guardrails   guardrailsView

	End endView

	Suspended, Deleted, CanLimit, CanIssue bool
}

// endView is when the account's JWT ends.
type endView struct {
	// Expires is Unix seconds, 0 for never.
	Expires int64
	Expired bool
	// Lifetime is in words, empty without; Renewal is when it is due.
	Lifetime string
	Renewal  time.Time
	// Held says what holds a renewal up that is due.
	Held string
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
		Delivery: newDelivery(c.sync(ctx, v, a.ID)), Limits: summaryRows(a.Settings.Limits), InfoURL: a.Settings.InfoURL, End: c.endOf(a, o),
		Suspended: a.State == "suspended", Deleted: a.State == "deleted",
	}
	if o.ID != "" && v.caller.Allows(issuer.ReadOperators, issuer.Scope{Operator: o.ID}) {
		view.OperatorURL = operatorURL(segment(o.Name, o.ID))
	}
	view.CanLimit = !view.Deleted && v.mayIn(a, issuer.WriteLimits)
	view.CanIssue = v.canIssue(a)
	if view.Size, err = c.issuer.AccountSize(ctx, v.caller, a.ID); err != nil {
		return answer{}, err
	}
	view.SizeWarnings = sentences(view.Size.Warnings)
	if !view.Deleted { // a tombstone has none of these
		if view.Guardrails, err = c.accountGuardrails(ctx, v, p); err != nil {
			return answer{}, err
		}
		if err := c.listTemplates(ctx, v, &view, p); err != nil {
			return answer{}, err
		}
		if err := c.newestUsers(ctx, v, &view, p); err != nil {
			return answer{}, err
		}
	}
	return answer{page: "account", title: a.Name, crumbs: []link{{"Accounts", "/accounts"}}, tabs: p.tabs(v, "Overview"), body: view, calls: []apiCall{
		c.call("This account", http.MethodGet, p.accountURL(), ""),
		c.call("Its users", http.MethodGet, p.accountURL("users"), ""),
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

// fewRows is how many users and templates the overview of an account shows.
const fewRows = 10

func (c *Console) newestUsers(ctx context.Context, v *visit, view *accountView, p place) error {
	list, err := c.issuer.ListUsers(ctx, v.caller, p.account.ID, issuer.Page{Limit: fewRows + 1})
	if err != nil {
		return err
	}
	list, view.MoreUsers = cut(list, fewRows)
	if len(list) == 0 {
		view.NoUsers = noUsers(p, view.CanIssue)
	}
	view.Users, err = c.userRows(ctx, v, p, list)
	return err
}

// endOf says when the account ends, and what keeps its renewal.
func (c *Console) endOf(a issuer.Account, o issuer.Operator) endView {
	e := endView{Expires: a.Expires, Expired: a.Expires != 0 && a.Expires <= c.now().Unix(), Lifetime: ttlText(a.Lifetime), Renewal: a.Renewal}
	late := !a.Renewal.IsZero() && c.now().After(a.Renewal.Add(time.Minute))
	switch {
	case late && o.ID != "" && !o.Signing:
		e.Held = "Signing is switched off for the operator."
	case late && c.issuer.Sealed() != "":
		e.Held = "This server is sealed and cannot sign."
	case late:
		e.Held = "It could not be signed: the server's log says why."
	}
	return e
}

func (c *Console) listTemplates(ctx context.Context, v *visit, view *accountView, p place) error {
	list, err := c.issuer.ListTemplates(ctx, v.caller, p.account.ID, issuer.Page{Limit: fewRows + 1})
	if err != nil {
		return err
	}
	list, view.MoreTemplates = cut(list, fewRows)
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

// summaryRows are the limits that the overview shows.
func summaryRows(l jwt.OperatorLimits) []limitRow {
	rows := []limitRow{
		{"Connections", formatCount(l.Conn)},
		{"Leaf node connections", formatCount(l.LeafNodeConn)},
		{"Subscriptions", formatCount(l.Subs)},
		{"Largest message", formatSize(l.Payload)},
	}
	return append(rows, jetStreamRows(l)...)
}
