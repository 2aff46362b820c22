package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Places of what the servers tell.
const (
	connectionsPath = "/connections"
	denialsPath     = "/denials"
	eventsPath      = "/events"
)

func connectionRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	const kick = connectionsPath + "/{server}/{cid}/kick"
	return []route{
		{get, connectionsPath, (*Console).allConnections, signedIn, issuer.ReadConnections},
		{get, kick, (*Console).newKick, signedIn, issuer.KickConnections},
		{post, kick, (*Console).planKick, signedIn, issuer.KickConnections},
		{post, kick + "/apply", (*Console).applyKick, signedIn, issuer.KickConnections},
		{get, denialsPath, (*Console).denials, signedIn, issuer.ReadConnections},
		{get, denialsPath + "/{denial}", (*Console).denial, signedIn, issuer.ReadConnections},
		{get, eventsPath, (*Console).events, signedIn, issuer.ReadConnections},
		{get, eventsPath + "/stream", (*Console).eventStream, signedIn, issuer.ReadConnections},
	}
}

// liveTabs are the pages of what the servers tell.
func liveTabs(current string) []navItem {
	items := []navItem{{Text: "Connections", URL: connectionsPath}, {Text: "Denials", URL: denialsPath}, {Text: "Events", URL: eventsPath}}
	for n := range items {
		if items[n].Text == current {
			items[n].Current = "page"
		}
	}
	return items
}

// connectionFilters are the filters of the page as its address has them.
type connectionFilters struct{ Account, User, Key, Server, Client, Host string }

func (f connectionFilters) values() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"account": f.Account, "user": f.User, "key": f.Key, "server": f.Server, "client": f.Client, "host": f.Host} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// allConnectionsView is the live connections by pages.
type allConnectionsView struct {
	connectionFilters
	Rows       []liveRow
	Total      int
	Incomplete string
	Refused    int
	Empty      *emptyView
	Pager      pager
}

// liveRow is one live connection.
type liveRow struct {
	Account, AccountURL, User, UserURL, UserKey string
	// By is the template, or the key without one, that signed the JWT.
	By, ByURL, IssuerKey           string
	Client, Host, Server, Software string
	Since                          time.Time
	// Expires is when the JWT ends in Unix seconds; HasJWT tells whether that is known.
	Expires                   int64
	HasJWT, Bearer            bool
	KickURL, RevokeURL        string
	LastDenial, LastDenialURL string
	LastDenialAt              time.Time
}

const livePageSize = 50

func (c *Console) allConnections(r *http.Request, v *visit) (answer, error) {
	ctx, query := r.Context(), r.URL.Query()
	text := func(name string) string { return searchText(query.Get(name)) }
	view := allConnectionsView{connectionFilters: connectionFilters{text("account"), text("user"), text("key"), text("server"), text("client"), text("host")}}
	sight, err := c.issuer.Sight(ctx, v.caller, "", view.Account)
	if err != nil {
		return answer{}, err
	}
	after := afterID(query.Get("after"))
	page := c.live.ListConnections(claims.ConnectionQuery{
		Sight: sight.Sight, OperatorID: sight.OperatorID, AccountID: sight.AccountID, User: view.User, IssuerKey: view.Key, Server: view.Server, Client: view.Client,
		Host: view.Host, After: after, Limit: livePageSize + 1,
	})
	rows, more := cut(page.Connections, livePageSize)
	view.Total, view.Incomplete = page.Total, page.Incomplete
	refused := c.live.Denials(claims.DenialQuery{Sight: sight.Sight, OperatorID: sight.OperatorID, AccountID: sight.AccountID, Limit: mostDenialRows})
	view.Refused = refused.Recent
	if view.Rows, err = c.liveRows(ctx, v, rows, refused.Denials); err != nil {
		return answer{}, err
	}
	q := view.values()
	if after != "" {
		view.Pager.First = connectionsPath + "?" + q.Encode()
	}
	if more {
		q.Set("after", cursor("c", claims.ConnectionPlace(rows[len(rows)-1].Connection)))
		view.Pager.Next = connectionsPath + "?" + q.Encode()
	}
	if len(rows) == 0 {
		view.Empty = &emptyView{Title: "Nobody is connected", Text: "A client appears here as soon as a server lets it in."}
		if len(view.values()) > 0 {
			view.Empty = &emptyView{Title: "No connections in this filter", Text: "Clear a filter, or look among the denials.", Action: &link{"All connections", connectionsPath}}
		}
	}
	return answer{page: "connections", title: "Connections", tabs: liveTabs("Connections"), body: view, calls: []apiCall{
		c.call("These connections", http.MethodGet, connectionsPath+querySuffix(view.values()), ""),
		c.call("Close a connection", http.MethodDelete, connectionsPath+"/n1/42?reason=floods+a+stream", ""),
	}}, nil
}

func querySuffix(q url.Values) string {
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// afterID reads a cursor of a list that has no store's page.
func afterID(s string) string { return newPage("", s, 1).AfterID }

func (c *Console) liveRows(ctx context.Context, v *visit, rows []claims.LiveConnection, refused []claims.Denial) ([]liveRow, error) {
	var keys []issuer.PartyKey
	for _, x := range rows {
		keys = append(keys, issuer.PartyKey{AccountID: x.AccountID, UserKey: x.UserKey, IssuerKey: x.IssuerKey})
	}
	known, err := c.issuer.Parties(ctx, v.caller, keys)
	if err != nil {
		return nil, err
	}
	last := map[string]claims.Denial{}
	for _, d := range refused { // the last one is first
		if _, have := last[d.AccountID+d.UserKey]; !have && d.Proven {
			last[d.AccountID+d.UserKey] = d
		}
	}
	out := make([]liveRow, len(rows))
	for n, x := range rows {
		p := known[keys[n]]
		row := liveRow{
			Account: cmp.Or(p.Account, claims.ShortKey(x.AccountID)), User: p.User, UserKey: x.UserKey, By: p.Template, IssuerKey: x.IssuerKey, Client: claims.Redact(x.Client),
			Host: x.Host, Server: x.ServerName, Since: x.Since,
		}
		if x.Lang != "" {
			row.Software = x.Lang + " " + x.Version
		}
		if x.User != nil {
			row.User, row.Expires, row.HasJWT, row.Bearer = cmp.Or(row.User, claims.Redact(x.User.Name)), x.User.Expires, true, x.User.Bearer
		}
		if p.Account != "" {
			row.AccountURL = accountURL(x.AccountID)
		}
		if p.Template != "" {
			row.ByURL = accountURL(x.AccountID, "templates", p.TemplateID)
		}
		at := issuer.Scope{Operator: x.OperatorID, Account: x.AccountID}
		if p.UserID != "" && v.caller.Allows(issuer.ReadUsers, at) {
			row.UserURL = userURL(x.AccountID, p.UserID)
			if v.caller.Allows(issuer.WriteRevocations, at) {
				row.RevokeURL = userURL(x.AccountID, p.UserID, "revoke")
			}
		}
		if v.caller.Allows(issuer.KickConnections, at) {
			row.KickURL = kickURL(x)
		}
		if d, ok := last[x.AccountID+x.UserKey]; ok && x.UserKey != "" {
			row.LastDenial, row.LastDenialURL, row.LastDenialAt = denialTitle(d), denialsPath+"/"+d.ID, d.Last
		}
		out[n] = row
	}
	return out, nil
}

func kickURL(x claims.LiveConnection) string {
	return connectionsPath + "/" + url.PathEscape(x.ServerID) + "/" + strconv.FormatUint(x.CID, 10) + "/kick"
}

// kickStep is the change that closes a connection.
func (c *Console) kickStep(r *http.Request, v *visit) (step, error) {
	ctx := r.Context()
	cid, err := strconv.ParseUint(r.PathValue("cid"), 10, 64)
	if err != nil {
		cid = 0 // no connection has this number
	}
	ref := issuer.ConnectionRef{Server: r.PathValue("server"), CID: cid}
	x, err := c.issuer.GetConnection(ctx, v.caller, ref)
	if err != nil {
		return step{}, err
	}
	v.at = issuer.Scope{Operator: x.OperatorID, Account: x.AccountID}
	rows, err := c.liveRows(ctx, v, []claims.LiveConnection{x}, nil)
	if err != nil {
		return step{}, err
	}
	row := rows[0]
	who := cmp.Or(row.User, row.Client, row.Host)
	reason := reasonField()
	reason.Required, reason.Hint = true, "Goes on record beside your name."
	title, place := "Kick "+who, connectionsPath+"/"+url.PathEscape(ref.Server)+"/"+strconv.FormatUint(cid, 10)+"/kick"
	lead := "The server closes this one connection of account " + row.Account + ". That keeps nobody out: the client may come back at once with the same credentials. Revoke them to keep it out."
	s := step{
		form: &form{Action: place, Submit: "Review", Cancel: connectionsPath, Groups: []group{{Fields: []*field{reason}}}},
		url:  place, title: title, lead: lead, crumbs: []link{{"Connections", connectionsPath}},
		calls: []apiCall{c.call("Close the connection", http.MethodDelete, connectionsPath+"/"+ref.Server+"/"+strconv.FormatUint(cid, 10)+"?reason=floods+a+stream", "")},
		plan: planView{
			Apply: "Kick now", Danger: true, Cancel: connectionsPath, Unpushed: true, Untold: "Only " + x.ServerName + " is asked, and no account changes.",
			Impact: []impact{{"1", "live connection is closed", row.Client + " from " + row.Host + " on " + x.ServerName, toneBad}},
		},
		agreed: []any{x.ServerID, x.CID},
	}
	s.run = func(op issuer.Op) (made, error) {
		out, err := c.issuer.Kick(ctx, op, ref)
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The connection was closed. Its client may come back at once: revoke its credentials to keep it out.")
		return seeOther(connectionsPath), nil
	}
	return s, nil
}

func (c *Console) newKick(r *http.Request, v *visit) (answer, error) {
	s, err := c.kickStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return s.page(), nil
}

func (c *Console) planKick(r *http.Request, v *visit) (answer, error) {
	s, err := c.kickStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.look(r, v, s)
}

func (c *Console) applyKick(r *http.Request, v *visit) (answer, error) {
	s, err := c.kickStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.apply(r, v, s)
}
