package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

const sharingPath = "/sharing"

// sharingView is who imports what from whom: a picture over a table.
type sharingView struct {
	// Path is the page's own, Operator what it was asked for.
	Path, Operator string
	Operators      []filterLink

	State, Account, With string
	States               []option
	Rows                 edgeRows
	// Picture is nil where nothing is shown; Flows is how many lines it would have where
	// they are too many.
	Picture *sharingPicture
	Flows   int
	Total   int64
	// CirclesUnknown says that not all was looked through for circles of imports.
	CirclesUnknown bool
	Pager          pager
	// ShareURL is where something is shared; empty for who may not.
	ShareURL string
	Empty    *emptyView
	// Sample is the picture of an empty page.
	Sample *sharingPicture
}

// edgeRow is one import, seen from both sides.
type edgeRow struct {
	Exporter, Importer accountName
	Subject, Local     string
	Kind, Access       string
	// Expires is Unix seconds, 0 for never or without a token.
	Expires int64
	Token   bool
	State   chip
	Problem *issuer.EdgeProblem
	// URL is the import's page; empty where the importer is not the visitor's. ChangeURL
	// changes it; empty for who may not.
	URL, ChangeURL string
}

// edgeRows are rows of one table.
type edgeRows []edgeRow

// Changes tells whether one of them is the visitor's to change.
func (l edgeRows) Changes() bool {
	return slices.ContainsFunc(l, func(row edgeRow) bool { return row.ChangeURL != "" })
}

// accountName is an account that another shares with: by name, or by key where it is not
// known here or not the visitor's.
type accountName struct{ Name, Key, URL string }

// text names it where there is no room for a key.
func (a accountName) text() string {
	if a.Name != "" {
		return a.Name
	}
	return claims.ShortKey(a.Key)
}

// naming says how links name accounts, see accountRef, and what they lead to.
type naming struct {
	operators int
	// changes tells whether the visitor may change the imports of an account; nil for none.
	changes func(account string) bool
}

// changing are the links of somebody who looks at what is below an operator.
func (n naming) changing(v *visit, operator func() string) naming {
	n.changes = func(account string) bool {
		return v.caller.Allows(issuer.WriteSharing, issuer.Scope{Operator: operator(), Account: account})
	}
	return n
}

func (n naming) account(e issuer.EdgeNode) accountName {
	a := accountName{Name: e.Name, Key: e.ID}
	if e.Name != "" {
		a.URL = accountURL(n.ref(e), "sharing")
	}
	return a
}

func (n naming) ref(e issuer.EdgeNode) string {
	if n.operators > 1 || e.State == "deleted" {
		return e.ID
	}
	return segment(e.Name, e.ID)
}

func (n naming) row(e issuer.Edge) edgeRow {
	row := edgeRow{
		Exporter: n.account(e.Exporter), Importer: n.account(e.Importer), Subject: claims.ImportedSubject(&e.Body), Local: localSubject(&e.Body),
		Kind: e.Body.Type.String(), Access: accessWord(e.Access), Expires: e.Expires, Token: e.Body.Token != "", State: edgeChip(e.State), Problem: e.Problem,
	}
	if e.Importer.Name != "" {
		row.URL = accountURL(n.ref(e.Importer), "imports", e.ID)
		if n.changes != nil && e.Importer.State != "deleted" && n.changes(e.Importer.ID) {
			row.ChangeURL = row.URL + "/edit"
		}
	}
	return row
}

// localSubject is what the importer calls what it imports.
func localSubject(m *jwt.Import) string {
	switch {
	case m.LocalSubject != "":
		return string(m.LocalSubject)
	case m.Type == jwt.Service && m.GetTo() != "":
		return string(m.Subject)
	case m.Type == jwt.Stream && m.GetTo() != "":
		return m.GetTo() + "." + string(m.Subject)
	}
	return string(m.Subject)
}

func accessWord(a issuer.Access) string {
	switch a {
	case issuer.AccessPublic:
		return "Public"
	case issuer.AccessActivation:
		return "By activation"
	case issuer.AccessTokenPosition:
		return "By key in subject"
	}
	return "–"
}

func edgeChip(s issuer.EdgeState) chip {
	switch s {
	case issuer.EdgeInEffect:
		return chip{toneGood, "In effect"}
	case issuer.EdgeBroken:
		return chip{toneBad, "Broken"}
	}
	return chip{toneWait, "Pending"}
}

// edgeStates are the choices of the filter.
func edgeStates() []option {
	return []option{{"", "Any state"}, {string(issuer.EdgeBroken), "Broken"}, {string(issuer.EdgePending), "Pending"}, {string(issuer.EdgeInEffect), "In effect"}}
}

// url is the page with these filters, from an edge on.
func (view sharingView) url(after string) string {
	account := view.Account
	if view.Path != sharingPath {
		account = ""
	}
	return withQuery(view.Path, "operator", view.Operator, "account", account, "with", view.With, "state", view.State, "after", after)
}

// read takes the filters of the request.
func (view *sharingView) read(r *http.Request) {
	params := r.URL.Query()
	view.States, view.State, view.With = edgeStates(), params.Get("state"), searchText(params.Get("with"))
	if !offered(view.States, view.State) {
		view.State = ""
	}
}

// sharing is the page of an operator's edges, or of those of one of its accounts.
func (c *Console) sharing(r *http.Request, v *visit) (answer, error) {
	ctx, params := r.Context(), r.URL.Query()
	view := sharingView{Path: sharingPath, Account: searchText(params.Get("account"))}
	view.read(r)
	list, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return answer{}, err
	}
	page := answer{page: "sharing", title: "Sharing", body: &view}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "No operator yet", Text: "Accounts share with each other under one operator. Create one first.", Action: &link{"Operators", "/operators"}}
		return page, nil
	}
	o := list[0]
	for _, x := range list {
		if x.Name == params.Get("operator") || x.ID == params.Get("operator") {
			o, view.Operator = x, x.Name
		}
	}
	for _, x := range list {
		view.Operators = append(view.Operators, filterLink{link{x.Name, withQuery(sharingPath, "operator", x.Name)}, x.ID == o.ID})
	}
	if v.caller.May(issuer.WriteSharing) {
		view.ShareURL = sharingPath + "/new"
	}
	ask, api := func(q issuer.GraphQuery) (issuer.Graph, error) {
		return c.issuer.SharingGraph(ctx, v.caller, o.ID, q)
	}, operatorURL(segment(o.Name, o.ID), "sharing-graph")
	operator := func() string { return o.ID }
	if view.Account != "" {
		// It may be of another operator; asked for when there is a row, which shows that the
		// visitor may see it.
		operator = sync.OnceValue(func() string {
			a, err := c.issuer.GetAccount(ctx, v.caller, view.Account)
			if err != nil {
				return ""
			}
			return a.OperatorID
		})
		ask, api = func(q issuer.GraphQuery) (issuer.Graph, error) {
			return c.issuer.AccountSharing(ctx, v.caller, view.Account, q)
		}, accountURL(view.Account, "sharing-graph")
	}
	err = view.fill(r, naming{operators: len(list)}.changing(v, operator), ask)
	if err != nil && (view.Account == "" || issuer.AsError(err).Kind != issuer.KindNotFound) {
		return answer{}, err
	}
	page.calls = []apiCall{c.call("These edges", http.MethodGet, api, "")}
	return page, nil
}

// edgeScan is how many edges are looked at for those that a filter keeps.
const edgeScan = 500

// fill reads a page of edges and draws them.
func (view *sharingView) fill(r *http.Request, n naming, ask func(issuer.GraphQuery) (issuer.Graph, error)) error {
	filtered := view.State != "" || view.With != ""
	q := issuer.GraphQuery{After: searchText(r.URL.Query().Get("after")), Limit: pageSize + 1}
	if filtered {
		q.Limit = edgeScan
	}
	g, err := ask(q)
	if err == nil {
		view.Total, view.CirclesUnknown = g.Total, g.CirclesUnknown
	}
	keep := func(e issuer.Edge) bool {
		return (view.State == "" || string(e.State) == view.State) && (view.With == "" || e.Exporter.ID == view.With || e.Importer.ID == view.With)
	}
	var edges []issuer.Edge
	next := ""
	for i, e := range g.Edges {
		if len(edges) == pageSize {
			next = edges[pageSize-1].ID
			break
		}
		if keep(e) {
			edges = append(edges, e)
		}
		if i == edgeScan-1 {
			next = e.ID // more may follow
		}
	}
	for _, e := range edges {
		view.Rows = append(view.Rows, n.row(e))
	}
	if q.After != "" {
		view.Pager.First = view.url("")
	}
	if next != "" {
		view.Pager.Next = view.url(next)
	}
	switch flows := n.flows(edges); {
	case len(flows) > mostFlows:
		view.Flows = len(flows)
	case len(flows) > 0:
		p := drawSharing(flows)
		view.Picture = &p
	}
	if len(edges) == 0 && next == "" {
		view.Empty, view.Sample = view.nothing()
	}
	return err
}

// nothing is what an empty page says.
func (view *sharingView) nothing() (*emptyView, *sharingPicture) {
	if view.State != "" || view.With != "" || view.Path == sharingPath && view.Account != "" {
		return &emptyView{Title: "Nothing matches", Text: "No import is like what was chosen.", Action: &link{"Clear the filters", view.Path}}, nil
	}
	e := &emptyView{Title: "Nothing is shared yet", Text: "Accounts do not see each other's messages. To let some cross, one account exports a subject and another imports it. Chancery makes both sides in one step, checks them against each other, and shows here whether messages cross."}
	if view.ShareURL != "" {
		e.Action = &link{"Share a subject", view.ShareURL}
	}
	p := drawSharing([]flow{
		{exporter: sharingEnd{"1", "ORDERS", ""}, importer: sharingEnd{"2", "BILLING", ""}, text: "orders.paid.>"},
		{exporter: sharingEnd{"3", "STOCK", ""}, importer: sharingEnd{"2", "BILLING", ""}, text: "stock.price", service: true},
	})
	return e, &p
}

// flows groups edges into the lines of the picture: one for each two accounts and kind.
func (n naming) flows(edges []issuer.Edge) []flow {
	type key struct{ exporter, importer, kind string }
	groups, order := map[key][]issuer.Edge{}, []key{}
	for _, e := range edges {
		k := key{e.Exporter.ID, e.Importer.ID, e.Body.Type.String()}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], e)
	}
	out := make([]flow, 0, len(order))
	for _, k := range order {
		out = append(out, n.flow(groups[k]))
	}
	return out
}

// flow is the line for the edges of one kind between two accounts.
func (n naming) flow(edges []issuer.Edge) flow {
	e := edges[0]
	from, to := n.account(e.Exporter), n.account(e.Importer)
	f := flow{
		exporter: sharingEnd{e.Exporter.ID, from.text(), from.URL}, importer: sharingEnd{e.Importer.ID, to.text(), to.URL},
		service: e.Body.Type == jwt.Service, text: claims.ImportedSubject(&e.Body), url: n.row(e).URL,
	}
	states := []string{}
	broken := 0
	for _, x := range edges {
		if x.State == issuer.EdgeBroken {
			broken++
		}
		if s := strings.ToLower(edgeChip(x.State).Text); !slices.Contains(states, s) {
			states = append(states, s)
		}
	}
	f.broken = broken > 0
	if len(edges) > 1 {
		f.text = plural(len(edges), e.Body.Type.String(), e.Body.Type.String()+"s")
		if f.broken {
			f.text += ", " + formatCount(int64(broken)) + " broken"
		}
	}
	if len(edges) > 1 || f.url == "" {
		f.url = pairURL(from, to)
	}
	f.says = f.text
	if len(edges) == 1 {
		f.says = e.Body.Type.String() + " " + f.text
	}
	f.says += " from " + from.text() + " to " + to.text() + ": " + strings.Join(states, ", ")
	return f
}

// pairURL is the list of what two accounts share, on the page of one that has one.
func pairURL(from, to accountName) string {
	switch {
	case to.URL != "":
		return withQuery(to.URL, "with", from.Key)
	case from.URL != "":
		return withQuery(from.URL, "with", to.Key)
	}
	return ""
}

// namesOf says how links name accounts for this visitor.
func (c *Console) namesOf(ctx context.Context, v *visit) (naming, error) {
	operators, err := c.operatorNames(ctx, v)
	return naming{operators: len(operators)}, err
}

// accountSharingView is what one account shares.
type accountSharingView struct {
	sharingView
	Name, URL string
	Exports   []exportRow
	MoreURL   string
	CanWrite  bool
}

// accountSharing is what one account imports, and what others import from it.
func (c *Console) accountSharing(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	n, err := c.namesOf(ctx, v)
	if err != nil {
		return answer{}, err
	}
	view := accountSharingView{sharingView: sharingView{Path: p.accountURL("sharing")}, Name: p.account.Name, URL: p.accountURL()}
	view.read(r)
	if view.CanWrite = p.account.State != "deleted" && v.mayIn(p.account, issuer.WriteSharing); view.CanWrite {
		view.ShareURL = withQuery(sharingPath+"/new", "exporter", p.accountRef)
	}
	err = view.fill(r, n.changing(v, p.operator), func(q issuer.GraphQuery) (issuer.Graph, error) {
		return c.issuer.AccountSharing(ctx, v.caller, p.account.ID, q)
	})
	if err != nil {
		return answer{}, err
	}
	after := searchText(r.URL.Query().Get("exports"))
	list, err := c.issuer.ListExports(ctx, v.caller, p.account.ID, issuer.Page{AfterID: after, Limit: pageSize + 1})
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	for _, e := range list {
		view.Exports = append(view.Exports, newExportRow(p, e))
	}
	if more {
		view.MoreURL = withQuery(view.Path, "exports", list[len(list)-1].ID) + "#h-exports"
	}
	return answer{page: "account_sharing", title: "Sharing of " + p.account.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Sharing"), body: &view, calls: []apiCall{
		c.call("The edges of the account", http.MethodGet, p.accountURL("sharing-graph"), ""),
		c.call("What it exports", http.MethodGet, p.accountURL("exports"), ""),
		c.call("What it imports", http.MethodGet, p.accountURL("imports"), ""),
	}}, nil
}
