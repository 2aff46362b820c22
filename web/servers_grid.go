package web

import (
	"net/http"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// readGrid reads the filters of the grid; what is not offered is dropped.
func readGrid(q, state, server string, all bool) gridView {
	g := gridView{All: all, State: state, Server: searchText(server), Query: searchText(q), States: []option{{"", "Not in step"}}}
	for _, s := range []claims.DeliveryState{
		claims.DeliveryPending, claims.DeliverySent, claims.DeliveryAcknowledged, claims.DeliveryStored, claims.DeliveryInEffect, claims.DeliveryNotLoaded, claims.DeliveryFailed,
	} {
		c, _ := deliveryChip(claims.Delivery{State: s}, 0)
		g.States = append(g.States, option{string(s), c.Text})
	}
	if !offered(g.States, g.State) {
		g.State = ""
	}
	g.Filtered = g.State != "" || g.Server != "" || g.Query != ""
	return g
}

// url is the grid with these filters, from a cursor on.
func (s *serversView) url(after string) string {
	all := ""
	if s.Grid.All {
		all = "on"
	}
	return withQuery(serversPath, "operator", s.Operator, "q", s.Grid.Query, "state", s.Grid.State, "server", s.Grid.Server, "all", all, "after", after)
}

func (s *serversView) fillGrid(rows []claims.AccountSync, f claims.Fleet, operators int, after string) {
	g := &s.Grid
	rows, more := cut(rows, gridRows)
	g.ServersChoices = []option{{"", "Any server"}}
	for _, x := range f.Servers {
		g.Columns = append(g.Columns, x.Name)
		g.ServersChoices = append(g.ServersChoices, option{x.Name, x.Name})
	}
	if !offered(g.ServersChoices, g.Server) {
		g.ServersChoices = append(g.ServersChoices, option{g.Server, g.Server})
	}
	for _, x := range f.Missing {
		g.Columns = append(g.Columns, x.Name)
	}
	for _, a := range rows {
		row := gridRow{Name: a.Name, URL: accountURL(segment(a.Name, a.AccountID)), PushURL: withQuery(s.Push, "account", a.AccountID), Revision: formatVersion(a.Version)}
		if operators > 1 {
			row.URL = accountURL(a.AccountID)
		}
		for _, d := range a.Servers {
			cell := gridCell{Server: d.ServerName, Error: d.Error, Since: sinceOf(d)}
			cell.Chip, cell.Note = deliveryChip(d, a.Version)
			row.Cells = append(row.Cells, cell)
		}
		for _, x := range f.Missing {
			row.Cells = append(row.Cells, gridCell{Server: x.Name, Chip: chip{toneOff, "Offline"}, Note: "Does not answer"})
		}
		g.Rows, g.Shown = append(g.Rows, row), append(g.Shown, a.AccountID)
	}
	if after != "" {
		g.Pager.First = s.url("")
	}
	if more {
		last := rows[len(rows)-1]
		g.Pager.Next = s.url(cursor(last.Name, last.AccountID))
	}
	if len(rows) > 0 {
		return
	}
	all := &link{"Show all accounts", withQuery(serversPath, "operator", s.Operator, "all", "on")}
	switch {
	case g.Filtered:
		g.Empty = &emptyView{Title: "No account matches", Text: "No account is like this on a server.", Action: &link{"Clear the filters", withQuery(serversPath, "operator", s.Operator)}}
	case len(f.Servers) == 0:
		g.Empty = &emptyView{Title: "No server to compare with", Text: "Accounts are shown here by server as soon as one answers."}
	case g.All:
		g.Empty = &emptyView{Title: "No accounts yet", Text: "There is nothing to have in effect."}
	default:
		g.Empty = &emptyView{Title: "Every account is in effect on every server that answers", Text: "Only accounts that are not would be listed here.", Action: all}
	}
}

// pushStep is reading accounts back and pushing them again.
func pushStep(c *Console, r *http.Request, v *visit) (step, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return step{}, err
	}
	back := withQuery(serversPath, "operator", o.Name)
	accounts := r.URL.Query()["account"]
	if r.Method == http.MethodPost {
		accounts = append(r.PostForm["account"], strings.Fields(r.PostForm.Get("accounts"))...)
		r.PostForm.Set("accounts", strings.Join(accounts, " "))
	}
	s := step{
		url: url + "/push", title: "Push again", crumbs: []link{{"Servers", back}}, agreed: []any{o.ID, "push", r.PostForm.Get("all")},
		lead: "What the servers have of accounts is read back, and pushed again to those that have something else. Nothing is signed.",
		plan: planView{Servers: serverNames(c.live.Servers(o.ID)), Cancel: back, Apply: "Push again"},
	}
	s.form = &form{Action: s.url, Submit: "Review", Cancel: back, Groups: []group{{Fields: []*field{
		{Name: "all", Pointer: "/all", Label: "All accounts", Kind: kindCheckbox, Checked: len(accounts) == 0, Hint: "Every account of " + o.Name + "."},
		{
			Name: "accounts", Pointer: "/accounts", Label: "Only these accounts", Kind: kindText, Autocomplete: "off", Value: strings.Join(accounts, " "),
			Hint: "Names or public keys, separated by spaces. By key where a name has a space in it.",
		},
		reasonField(),
	}}}}
	s.calls = []apiCall{c.call("Push again", http.MethodPost, "/operators/"+r.PathValue("op")+"/sync", `{"accounts":["ORDERS"]}`)}
	s.run = func(op issuer.Op) (made, error) {
		in := issuer.PushInput{All: s.form.checked("all"), Accounts: strings.Fields(s.form.value("accounts"))}
		out, err := c.issuer.PushAgain(r.Context(), op, o.ID, in)
		if err == nil && !op.DryRun {
			c.notify(r, v, plural(int(out.Value.Accounts), "account is", "accounts are")+" read back, and pushed where a server has something else.")
		}
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) { return seeOther(back), nil }
	return s, nil
}

func serverRoutes() []route {
	return append([]route{
		{http.MethodGet, serversPath, (*Console).servers, signedIn, issuer.ReadServers},
	}, stepOf(pushStep).routes("/operators/{op}/push", issuer.WriteServers)...)
}
