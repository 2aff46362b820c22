package web

import (
	"net/http"
	"net/url"
	"time"

	"chancery/issuer"
)

// usersView is the list of users of all accounts.
type usersView struct {
	Query, Tag, State, Credentials string
	States, Choices                []option
	Rows                           []listedUser
	Pager                          pager
	Empty                          *emptyView
}

// listedUser is one of them.
type listedUser struct {
	userRow
	Account, AccountURL string
	Credentials         int
	// Expires is Unix seconds, 0 for never or for none.
	Expires int64
}

// The choices of the credential filter.
const (
	expiringSoon = "expiring"
	neverExpires = "no_expiry"
	bearerOnly   = "bearer"
)

// soon is what counts as expiring soon.
const soon = 30 * 24 * time.Hour

func (c *Console) users(r *http.Request, v *visit) (answer, error) {
	params := r.URL.Query()
	view := usersView{
		Query: searchText(params.Get("q")), Tag: searchText(params.Get("tag")), State: params.Get("state"), Credentials: params.Get("credentials"),
		States: []option{{"", "Any state"}, {"active", "Active"}, {"disabled", "Disabled"}},
		Choices: []option{
			{"", "Any credentials"}, {expiringSoon, "Expiring within 30 days"}, {neverExpires, "Without expiry"}, {bearerOnly, "Bearer"},
		},
	}
	if !offered(view.States, view.State) {
		view.State = ""
	}
	if !offered(view.Choices, view.Credentials) {
		view.Credentials = ""
	}
	f := issuer.UserFilter{State: view.State, Tag: view.Tag, NoExpiry: view.Credentials == neverExpires, Bearer: view.Credentials == bearerOnly}
	if view.Credentials == expiringSoon {
		f.ExpiringBefore = c.now().Add(soon)
	}
	after := params.Get("after")
	list, err := c.issuer.FindUsers(r.Context(), v.caller, f, newPage(view.Query, after, pageSize))
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	for _, u := range list {
		view.Rows = append(view.Rows, listedUser{
			userRow: userRow{Name: u.Name, URL: userURL(u.AccountID, segment(u.Name, u.ID)), Tags: u.Tags, State: stateChip(u.State), Changed: u.Updated},
			Account: u.AccountName, AccountURL: accountURL(u.AccountID), Credentials: int(u.Active), Expires: u.Expires,
		})
	}
	here := withQuery("/users", "q", view.Query, "tag", view.Tag, "state", view.State, "credentials", view.Credentials)
	if after != "" {
		view.Pager.First = here
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery("/users", "q", view.Query, "tag", view.Tag, "state", view.State, "credentials", view.Credentials, "after", cursor(last.Name, last.ID))
	}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "No users yet", Text: "Users belong to an account: open one and create its first.", Action: &link{"Accounts", "/accounts"}}
		if here != "/users" {
			view.Empty = &emptyView{Title: "No user matches", Text: "No user is called so and has what was chosen.", Action: &link{"Clear the filters", "/users"}}
		}
	}
	query := url.Values{}
	for name, value := range map[string]string{"q": view.Query, "tag": view.Tag, "state": view.State} {
		if value != "" {
			query.Set(name, value)
		}
	}
	api := "/users"
	if len(query) > 0 {
		api += "?" + query.Encode()
	}
	return answer{page: "users", title: "Users", body: view, calls: []apiCall{c.call("These users", http.MethodGet, api, "")}}, nil
}

func offered(options []option, value string) bool {
	for _, o := range options {
		if o.Value == value {
			return true
		}
	}
	return false
}
