package web

import (
	"context"
	"net/http"

	"chancery/issuer"
)

// accountUsersView is the list of an account's users.
type accountUsersView struct {
	Name, URL, Query string
	Users            []userRow
	Pager            pager
	NoUsers          *emptyView
	CanIssue         bool
}

// accountUsers lists the users of one account.
func (c *Console) accountUsers(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	view := accountUsersView{Name: p.account.Name, URL: p.accountURL("users"), Query: searchText(r.URL.Query().Get("q")), CanIssue: v.canIssue(p.account)}
	after := r.URL.Query().Get("after")
	list, err := c.issuer.ListUsers(r.Context(), v.caller, p.account.ID, newPage(view.Query, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	if view.Users, err = c.userRows(r.Context(), v, p, list); err != nil {
		return answer{}, err
	}
	if after != "" {
		view.Pager.First = withQuery(view.URL, "q", view.Query)
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery(view.URL, "q", view.Query, "after", cursor(last.Name, last.ID))
	}
	if len(list) == 0 {
		view.NoUsers = noUsers(p, view.CanIssue)
		if view.Query != "" {
			view.NoUsers = &emptyView{Title: "No user matches “" + view.Query + "”", Text: "The search looks into names.", Action: &link{"Clear the search", view.URL}}
		}
	}
	return answer{page: "account_users", title: "Users of " + p.account.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Users"), body: view, calls: []apiCall{
		c.call("These users", http.MethodGet, withQuery(p.accountURL("users"), "q", view.Query), ""),
	}}, nil
}

// canIssue tells whether the caller may make users of the account with credentials.
func (v *visit) canIssue(a issuer.Account) bool {
	return a.State != "deleted" && v.may(issuer.WriteUsers) && v.may(issuer.IssueCredentials)
}

func noUsers(p place, canIssue bool) *emptyView {
	e := &emptyView{Title: "No users yet", Text: "A user is who credentials are for: a service, a device or a person."}
	if canIssue {
		e.Action = &link{"Create the first user", p.accountURL("users", "new")}
	}
	return e
}

// userRows shows users with the names of their templates.
func (c *Console) userRows(ctx context.Context, v *visit, p place, list []issuer.User) ([]userRow, error) {
	names := map[string]string{"": ""}
	var out []userRow
	for _, u := range list {
		name, known := names[u.TemplateID]
		if !known {
			name = u.TemplateID
			x, err := c.issuer.GetTemplate(ctx, v.caller, p.account.ID, u.TemplateID)
			switch {
			case err == nil:
				name = x.Body.Name
			case issuer.AsError(err).Kind != issuer.KindNotFound:
				return nil, err
			}
			names[u.TemplateID] = name
		}
		out = append(out, userRow{
			Name: u.Name, URL: userURL(p.accountRef, segment(u.Name, u.ID)), Template: name, Tags: u.Tags, State: stateChip(u.State), Changed: u.Updated,
		})
	}
	return out, nil
}
