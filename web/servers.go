package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

const serversPath = "/servers"

// refreshEvery is after how many seconds a page of what is live is loaded again.
const refreshEvery = 10

// gridRows is how many accounts the grid shows.
const gridRows = 50

// serversView is the servers of an operator, and what is on each of them.
type serversView struct {
	Operator, URL string
	Operators     []filterLink
	// State sums the servers up, Summary says it in a sentence, Waits since when
	// something is not proven.
	State   chip
	Summary string
	Waits   []waiting
	// Hint says how to set how many there are to be.
	Hint     *link
	Servers  []serverRow
	Clusters []clusterView

	Grid gridView

	// CanPush shows buttons, which lead to Push.
	CanPush bool
	Push    string
	// Live loads the page again by itself; Toggle is the page where that is the other
	// way round.
	Live   bool
	Toggle string
	Empty  *emptyView
	Config string
}

// waiting is something that is not proven on every server.
type waiting struct {
	What, Account, URL string
	Since              time.Time
	Tone               tone
}

// serverRow is one server, which may be missing.
type serverRow struct {
	Name, Cluster, Version, Resolver string
	State                            chip
	// Note explains the state.
	Note          string
	Started, Seen time.Time
	InEffect, Of  int
	BehindURL     string
}

// clusterView is a cluster with its servers, for the picture.
type clusterView struct {
	Name    string
	Servers []serverRow
}

// gridView is accounts by servers.
type gridView struct {
	All, Filtered          bool
	State, Server, Query   string
	States, ServersChoices []option
	Columns                []string
	Rows                   []gridRow
	Pager                  pager
	// Shown are the identities of the accounts on the page.
	Shown []string
	Empty *emptyView
}

type gridRow struct {
	Name, URL, PushURL string
	Revision           string
	Cells              []gridCell
}

// gridCell is an account on one server.
type gridCell struct {
	Server      string
	Chip        chip
	Note, Error string
	Since       time.Time
}

// servers is the page of the servers of one operator.
func (c *Console) servers(r *http.Request, v *visit) (answer, error) {
	ctx, params := r.Context(), r.URL.Query()
	list, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return answer{}, err
	}
	view := &serversView{}
	page := answer{page: "servers", title: "Servers", body: view}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "No operator yet", Text: "An operator is the root of trust of a NATS deployment, with its own servers."}
		return page, nil
	}
	o := chosenOperator(list, params.Get("operator"))
	of, err := c.issuer.Servers(ctx, v.caller, o.ID)
	if err != nil {
		return answer{}, err
	}
	for _, x := range list {
		if len(list) > 1 {
			view.Operators = append(view.Operators, filterLink{link{x.Name, withQuery(serversPath, "operator", x.Name)}, x.ID == o.ID})
		}
	}
	view.Operator = o.Name
	if v.caller.Allows(issuer.ReadOperators, issuer.Scope{Operator: o.ID}) {
		view.URL = operatorURL(segment(o.Name, o.ID))
	}
	view.CanPush = v.caller.Allows(issuer.WriteServers, issuer.Scope{Operator: o.ID}) && o.Custody != issuer.CustodyObserved
	view.Push = operatorURL(segment(o.Name, o.ID), "push")
	view.Grid = readGrid(params.Get("q"), params.Get("state"), params.Get("server"), params.Get("all") != "")
	live, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	after := newPage("", params.Get("after"), gridRows)
	rows, fleet, err := c.live.Deliveries(live, claims.DeliveryQuery{
		OperatorID: o.ID, Within: of.Within, All: view.Grid.All, State: claims.DeliveryState(view.Grid.State), Server: view.Grid.Server, Search: view.Grid.Query,
		AfterName: after.AfterName, AfterID: after.AfterID, Limit: after.Limit,
	})
	if err != nil {
		return answer{}, err
	}
	view.tell(fleet, of)
	view.fillGrid(rows, fleet, len(list), params.Get("after"))
	if err := c.serversSetUp(ctx, v, view, o, fleet); err != nil {
		return answer{}, err
	}
	if view.Live = params.Get("live") != "off" && fleet.Connected; view.Live {
		page.refresh = refreshEvery
	}
	toggle := params
	toggle.Del("live")
	if view.Live {
		toggle.Set("live", "off")
	}
	view.Toggle = serversPath + "?" + toggle.Encode()
	path := "/operators/" + segment(o.Name, o.ID)
	page.calls = []apiCall{
		c.call("These servers", http.MethodGet, path+"/servers", ""),
		c.call("Accounts by servers", http.MethodGet, withQuery(path+"/deliveries", "state", view.Grid.State, "server", view.Grid.Server, "q", view.Grid.Query), ""),
		c.call("Push all again", http.MethodPost, path+"/sync", `{"all":true}`),
	}
	return page, nil
}

func chosenOperator(list []issuer.Operator, ref string) issuer.Operator {
	for _, x := range list {
		if ref != "" && (x.Name == ref || x.ID == ref) {
			return x
		}
	}
	for _, x := range list {
		if x.Default {
			return x
		}
	}
	return list[0]
}

// serversSetUp says the next step where no server answers, or no number is expected.
func (c *Console) serversSetUp(ctx context.Context, v *visit, view *serversView, o issuer.Operator, f claims.Fleet) error {
	if len(f.Servers) == 0 && len(f.Missing) == 0 {
		view.Empty = &emptyView{
			Title:   "No server has answered",
			Text:    "Check the addresses of the operator's servers, that they run, and that no firewall is between them and Chancery. A server has to trust this operator: give it this configuration, and restart it.",
			Command: "chancery server-config " + o.Name,
		}
		if o.Custody == issuer.CustodyObserved {
			view.Empty = &emptyView{Title: "Not connected", Text: "This operator is only observed: Chancery cannot sign a user of its system account, and so asks its servers nothing."}
		}
		if view.URL != "" && v.may(issuer.WriteOperators) && o.Custody != issuer.CustodyObserved {
			view.Empty.Action = &link{"Set the addresses", view.URL + "/edit"}
		}
		if conf, err := c.issuer.ServerConfig(ctx, v.caller, o.ID, c.publicURL); err == nil {
			view.Config = conf.Text
		} else if e := issuer.AsError(err); e.Kind == issuer.KindInternal || e.Kind == issuer.KindBusy {
			return err
		}
		return nil
	}
	if f.Expected == 0 && view.URL != "" && v.caller.Allows(issuer.WriteOperators, issuer.Scope{Operator: o.ID}) {
		view.Hint = &link{"Say that " + plural(f.Suggested, "server is", "servers are") + " expected", view.URL + "/edit#f-servers"}
	}
	return nil
}

// fleetChip sums servers up in a few words.
func fleetChip(f claims.Fleet) chip {
	switch f.State() {
	case "in_step":
		return chip{toneGood, "In step"}
	case "behind":
		return chip{tonePart, "Behind"}
	case "servers_missing":
		return chip{toneBad, plural(f.Absent(), "server", "servers") + " missing"}
	}
	return chip{toneOff, "No servers"}
}

// fleetSentence says how many accounts are in effect where.
func fleetSentence(f claims.Fleet) string {
	n := len(f.Servers)
	if !f.Connected || n == 0 {
		return "No nats-server of this operator answers. What is signed is stored, is served to servers that ask, and is pushed as soon as they can be."
	}
	where := plural(n, "server", "servers")
	var s string
	switch {
	case f.Accounts == 0:
		s = where + " answer. There is nothing to show yet."
	case f.Confirmed == f.Accounts:
		s = "All " + plural(f.Accounts, "account is", "accounts are") + " in effect on " + where + "."
		if f.Accounts == 1 {
			s = "The only account is in effect on " + where + "."
		}
	default:
		s = formatCount(int64(f.Confirmed)) + " of " + plural(f.Accounts, "account", "accounts") + " are in effect on "
		if s += "all " + where + " that answer."; n == 1 {
			s = strings.TrimSuffix(s, "all "+where+" that answer.") + "the one server that answers."
		}
	}
	if f.Absent() > 0 {
		s += " " + plural(f.Absent(), "server that is", "servers that are") + " expected " + map[bool]string{true: "does", false: "do"}[f.Absent() == 1] + " not answer: nobody knows what is in force there."
	}
	return s
}

// tell fills in what is known of the servers.
func (s *serversView) tell(f claims.Fleet, of issuer.ServersOf) {
	s.State, s.Summary = fleetChip(f), fleetSentence(f)
	add := func(what, account string, since time.Time, t tone) {
		if !since.IsZero() {
			s.Waits = append(s.Waits, waiting{what, claims.ShortKey(account), accountURL(account), since, t})
		}
	}
	add("Oldest revocation", f.OldestRevocationAccount, f.OldestRevocation, toneBad)
	add("Oldest change", f.OldestChangeAccount, f.OldestChange, toneWait)
	for _, x := range f.Servers {
		row := serverRow{
			Name: x.Name, Cluster: x.Cluster, Version: x.Version, Resolver: resolverWords(x.Resolver), Started: x.Started, Seen: x.LastSeen,
			Of: f.Accounts, InEffect: f.Accounts - x.Behind,
		}
		row.State, row.Note = serverChip(x, of.Fingerprint)
		if x.Behind > 0 {
			row.BehindURL = withQuery(serversPath, "operator", of.Operator.Name, "server", x.Name) + "#h-grid"
		}
		s.Servers = append(s.Servers, row)
	}
	for _, x := range f.Missing {
		s.Servers = append(s.Servers, serverRow{
			Name: x.Name, Cluster: x.Cluster, Version: x.Version, Seen: x.LastSeen,
			State: chip{toneBad, "Missing"}, Note: "Expected, and does not answer",
		})
	}
	if n := f.Absent() - len(f.Missing); n > 0 && len(f.Servers) > 0 {
		s.Servers = append(s.Servers, serverRow{Name: plural(n, "more", "more"), State: chip{toneBad, "Missing"}, Note: "Expected, and not seen in the last seven days"})
	}
	s.cluster()
}

func (s *serversView) cluster() {
	for _, row := range s.Servers {
		name := cmp.Or(row.Cluster, "No cluster")
		n := slices.IndexFunc(s.Clusters, func(c clusterView) bool { return c.Name == name })
		if n < 0 {
			n = len(s.Clusters)
			s.Clusters = append(s.Clusters, clusterView{Name: name})
		}
		s.Clusters[n].Servers = append(s.Clusters[n].Servers, row)
	}
	slices.SortStableFunc(s.Clusters, func(a, b clusterView) int { return strings.Compare(a.Name, b.Name) })
}

func serverChip(s claims.FleetServer, fingerprint string) (state chip, note string) {
	switch s.State(fingerprint) {
	case claims.ServerUntrusting:
		return chip{toneBad, "Does not trust"}, "It started with another JWT of the operator than the one in force: give it that one, and restart it"
	case claims.ServerLameDuck:
		return chip{tonePart, "Leaving"}, "It is sending its clients away before it stops"
	case claims.ServerBehind:
		return chip{tonePart, "Behind"}, ""
	}
	return chip{toneGood, "In step"}, ""
}

func resolverWords(k claims.ResolverKind) string {
	switch k {
	case claims.ResolverFull:
		return "full, on disk"
	case claims.ResolverCache:
		return "cache"
	case claims.ResolverOther:
		return "URL or configuration"
	}
	return "not told yet"
}
