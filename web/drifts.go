package web

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// driftsView is what servers held, or were sent, that was not ours.
type driftsView struct {
	Operator, URL, State string
	Filters              []navItem
	Rows                 []driftRow
	Pager                pager
	// Recent and Whole are when servers were last read; zero if never.
	Recent, Whole time.Time
	// Policy says what becomes of newer JWTs by others.
	Policy string
}

type driftRow struct {
	URL, Account, AccountURL, Key string
	What, Detail, Where           string
	State                         chip
	// First is the first difference, More how many there are besides.
	First string
	More  int
	Found time.Time
	Took  string
	Times int64
}

// driftView is one record.
type driftView struct {
	driftRow
	Changes            []planChange
	Kind, Signer, By   string
	ID, JWT            string
	IssuedAt           int64
	Revision           int64
	Last, Closed       time.Time
	Decision, Next     string
	Keep, Adopt, Leave string
}

// driftWords says what a drift is.
func driftWords(k claims.DriftKind) string {
	switch k {
	case claims.DriftNewer:
		return "A newer JWT by somebody else"
	case claims.DriftOlder:
		return "An older JWT"
	case claims.DriftUntrusted:
		return "A JWT that servers will not load"
	case claims.DriftUnknown:
		return "An account not known here"
	case claims.DriftMissing:
		return "Missing on disk"
	case claims.DriftDeleted:
		return "Deleted on servers"
	}
	return string(k)
}

func driftChip(d issuer.Drift) chip {
	switch d.State {
	case claims.DriftHealed:
		return chip{toneGood, "Healed"}
	case claims.DriftAdopted:
		return chip{toneGood, "Adopted"}
	case claims.DriftIgnored:
		return chip{toneOff, "Ignored"}
	}
	if awaitsDecision(d) {
		return chip{toneBad, "Waits for you"}
	}
	return chip{toneWait, "Being healed"}
}

// awaitsDecision tells whether nothing happens before somebody decides.
func awaitsDecision(d issuer.Drift) bool {
	return d.State == claims.DriftOpen && d.Decision == "" && (d.Kind == claims.DriftNewer || d.Kind == claims.DriftUnknown)
}

func driftWhere(d issuer.Drift) string {
	switch d.Seen {
	case claims.SeenPushed:
		return "Pushed to all servers"
	case claims.SeenDisk:
		return cmp.Or(d.ServerName, "On the disk of a full resolver")
	}
	return cmp.Or(d.ServerName, "In the memory of servers")
}

func (c *Console) driftRow(d issuer.Drift, url string) driftRow {
	row := driftRow{
		URL: url + "/" + d.ID, Account: cmp.Or(d.AccountName, claims.ShortKey(d.AccountID)), Key: d.AccountID, What: driftWords(d.Kind), Detail: d.Detail,
		Where: driftWhere(d), State: driftChip(d), Found: d.Found, Times: d.Times,
	}
	if d.Kind != claims.DriftUnknown {
		row.AccountURL = accountURL(d.AccountID)
	}
	if len(d.Diff) > 0 {
		row.First, row.More = d.Diff[0].Text, len(d.Diff)-1
	}
	if !d.Closed.IsZero() {
		row.Took = d.Closed.Sub(d.Found).Round(100 * time.Millisecond).String()
	}
	return row
}

// drifts lists the drift of an operator's servers.
func (c *Console) drifts(r *http.Request, v *visit) (answer, error) {
	o, base, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	view := driftsView{Operator: o.Name, URL: base + "/drift", State: r.URL.Query().Get("state"), Policy: issuer.ForeignWords(o.Policy.ForeignNewer)}
	after := newPage("", r.URL.Query().Get("after"), pageSize)
	q := issuer.DriftQuery{Operator: o.ID, State: claims.DriftState(view.State), Limit: pageSize + 1}
	if us, err := strconv.ParseInt(after.AfterName, 10, 64); err == nil {
		q.Before, q.BeforeID = time.UnixMicro(us).UTC(), after.AfterID
		view.Pager.First = withQuery(view.URL, "state", view.State)
	}
	list, err := c.issuer.ListDrifts(r.Context(), v.caller, q)
	if err != nil {
		return answer{}, err
	}
	view.Recent, view.Whole = list.Recent, list.Whole
	for _, f := range []navItem{{Text: "All"}, {Text: "Open", URL: "open"}, {Text: "Healed", URL: "healed"}, {Text: "Adopted", URL: "adopted"}, {Text: "Ignored", URL: "ignored"}} {
		if f.URL == view.State {
			f.Current = "page"
		}
		f.URL = withQuery(view.URL, "state", f.URL)
		view.Filters = append(view.Filters, f)
	}
	rows, more := cut(list.Items, pageSize)
	for _, d := range rows {
		view.Rows = append(view.Rows, c.driftRow(d, view.URL))
	}
	if more {
		last := rows[len(rows)-1]
		view.Pager.Next = withQuery(view.URL, "state", view.State, "after", cursor(strconv.FormatInt(last.Found.UnixMicro(), 10), last.ID))
	}
	return answer{page: "drifts", title: "Drift", crumbs: operatorCrumbs(o, base), body: view, calls: []apiCall{
		c.call("Drift of this operator", http.MethodGet, "/operators/"+r.PathValue("op")+"/drifts", ""),
	}}, nil
}

// findDrift finds the record of the path, which is the operator's.
func (c *Console) findDrift(r *http.Request, v *visit) (d issuer.Drift, crumbs []link, url string, err error) {
	o, base, err := c.findOperator(r, v)
	if err != nil {
		return d, nil, "", err
	}
	d, err = c.issuer.GetDrift(r.Context(), v.caller, r.PathValue("drift"))
	if err == nil && d.OperatorID != o.ID {
		err = &issuer.Error{Kind: issuer.KindNotFound, Code: "not_found", Message: "There is no such drift."}
	}
	return d, append(operatorCrumbs(o, base), link{"Drift", base + "/drift"}), base + "/drift", err
}

// drift is the page of one record.
func (c *Console) drift(r *http.Request, v *visit) (answer, error) {
	d, crumbs, url, err := c.findDrift(r, v)
	if err != nil {
		return answer{}, err
	}
	view := driftView{
		driftRow: c.driftRow(d, url), Kind: string(d.Kind), Signer: d.Signer, ID: d.ID, JWT: d.JWT, IssuedAt: d.IssuedAt, Revision: d.OursVersion,
		Last: d.Last, Closed: d.Closed, Decision: decisionWords(d.Decision), Next: driftNext(d),
	}
	for _, x := range d.Diff {
		view.Changes = append(view.Changes, planChange{Field: x.Field, From: cmp.Or(x.Ours, "–"), To: cmp.Or(x.Theirs, "–"), Text: x.Text})
	}
	if d.DecidedBy != "" {
		view.By = c.actor(r.Context(), map[string]string{}, d.DecidedBy)
	}
	if v.may(issuer.WriteServers) && d.State == claims.DriftOpen {
		c.offer(&view, d)
	}
	return answer{page: "drift", title: view.What, crumbs: crumbs, body: view, calls: []apiCall{
		c.call("This drift", http.MethodGet, "/drifts/"+d.ID, ""),
		c.call("Keep ours", http.MethodPost, "/drifts/"+d.ID+"/decision", `{"decision":"keep"}`),
	}}, nil
}

// offer gives the page its buttons.
func (c *Console) offer(view *driftView, d issuer.Drift) {
	decide := view.URL + "/decision"
	if d.Kind == claims.DriftNewer {
		view.Keep, view.Adopt = withQuery(decide, "as", string(claims.DriftKeep)), withQuery(decide, "as", string(claims.DriftAdopt))
	}
	if awaitsDecision(d) {
		view.Leave = withQuery(decide, "as", string(claims.DriftIgnore))
	}
}

// driftNext says what happens to a drift.
func driftNext(d issuer.Drift) string {
	switch {
	case d.State == claims.DriftHealed:
		return "Every server was read afterwards and has what Chancery gave it."
	case d.State == claims.DriftAdopted:
		return "What it says was taken over, and every server has it."
	case d.State == claims.DriftIgnored:
		return "It is left alone for as long as servers hold this very JWT."
	case d.Decision != "":
		return "It closes when every server was read and has the new version."
	case d.Kind == claims.DriftNewer:
		return "Somebody else signs with a key of this operator. Servers obey their JWT until you keep ours or adopt theirs."
	case d.Kind == claims.DriftUnknown:
		return "Import the account from the store of whoever made it, or ignore it."
	}
	return "Ours is pushed again, and signed anew where that does not help. It closes when every server was read."
}

func decisionWords(d claims.DriftDecision) string {
	switch d {
	case claims.DriftKeep:
		return "Keep ours"
	case claims.DriftAdopt:
		return "Adopt theirs"
	case claims.DriftIgnore:
		return "Ignore"
	}
	return ""
}

// driftStep decides on a drift.
func driftStep(c *Console, r *http.Request, v *visit) (step, error) {
	d, crumbs, url, err := c.findDrift(r, v)
	if err != nil {
		return step{}, err
	}
	url += "/" + d.ID
	as := &field{Name: "decision", Pointer: "/decision", Label: "Decision", Kind: kindSelect, Required: true, Value: r.URL.Query().Get("as")}
	if d.Kind == claims.DriftNewer {
		as.Options = []option{{"keep", "Keep ours: sign it anew, later than theirs"}, {"adopt", "Adopt theirs: take over what it says"}}
	}
	as.Options = append(as.Options, option{"ignore", "Ignore it while it stays the same"})
	f := &form{Action: url + "/decision", Submit: "See what it does", Cancel: url, Groups: []group{{Fields: []*field{as, reasonField()}}}}
	return step{
		form: f, url: url + "/decision", title: "Decide on drift", crumbs: append(crumbs, link{driftWords(d.Kind), url}), closes: d.Kind == claims.DriftNewer,
		lead:   driftWords(d.Kind) + " of " + cmp.Or(d.AccountName, claims.ShortKey(d.AccountID)) + ".",
		plan:   planView{Lead: "What servers get that hold theirs now.", Servers: serverNames(c.live.Servers(d.OperatorID)), Apply: "Decide", Cancel: url},
		agreed: []any{d.ID, d.JWT, d.State},
		run: func(op issuer.Op) (made, error) {
			return c.decideDrift(r.Context(), op, d, claims.DriftDecision(f.value("decision")))
		},
		done: func(made) (answer, error) {
			c.notify(r, v, "Decided. The drift closes when every server was read.")
			return seeOther(url), nil
		},
	}, nil
}

func (c *Console) decideDrift(ctx context.Context, op issuer.Op, d issuer.Drift, decision claims.DriftDecision) (made, error) {
	out, err := c.issuer.DecideDrift(ctx, op, d.ID, decision)
	return made{plan: out.Plan}, err
}

func driftRoutes() []route {
	const drifts = "/operators/{op}/drift"
	return append([]route{
		{http.MethodGet, drifts, (*Console).drifts, signedIn, issuer.ReadServers},
		{http.MethodGet, drifts + "/{drift}", (*Console).drift, signedIn, issuer.ReadServers},
	}, stepOf(driftStep).routes(drifts+"/{drift}/decision", issuer.WriteServers)...)
}
