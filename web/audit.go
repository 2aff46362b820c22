package web

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// auditFilters are the filters of the audit page as its address has them.
type auditFilters struct {
	Query, Account, Operator, Actor, Action, Kind, Target, Outcome, Request, From, To string
}

// auditView is the audit log by pages.
type auditView struct {
	auditFilters
	Actions, Kinds, Outcomes []option
	Rows                     []auditRow
	Pager                    pager
	Empty                    *emptyView
	// Broken is the last verification, if it found the log broken; Result is that which
	// was just asked for.
	Broken, Result *auditResult
	CanVerify      bool
	NDJSON, CSV    string
	Verifier       string
}

type auditRow struct {
	Seq                                int64
	URL                                string
	At                                 time.Time
	Who, What, On, Place, Text, Reason string
	More                               int
	Outcome                            chip
}

// auditResult is what a verification found.
type auditResult struct {
	Whole       bool
	At          time.Time
	Entries     string
	Checkpoints int
	Faults      []auditFault
	More        int
	Foreign     int
	Torn        int
}

type auditFault struct {
	Seq          int64
	URL          string
	Kind, Detail string
}

// auditChoices are the actions and nouns that the filters offer; the address takes any.
var (
	auditActions = []string{"create", "update", "delete", "issue", "renew", "roll", "reissue", "revoke", "unrevoke", "suspend", "resume", "disable", "enable", "resign", "sign_in"}
	auditKinds   = []string{"operator", "account", "template", "user", "credential", "key", "revocation", "export", "import", "token", "person"}
)

func choices(all string, values []string, chosen string) []option {
	out := []option{{"", all}}
	for _, v := range values {
		out = append(out, option{v, strings.ReplaceAll(v, "_", " ")})
	}
	if !offered(out, chosen) {
		out = append(out, option{chosen, strings.ReplaceAll(chosen, "_", " ")})
	}
	return out
}

// readAuditFilters reads the address; a text that may be a secret is dropped.
func readAuditFilters(params url.Values) auditFilters {
	text := func(name string) string { return searchText(params.Get(name)) }
	day := func(name string) string {
		s := text(name)
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return ""
		}
		return s
	}
	f := auditFilters{
		Query: text("q"), Account: text("account"), Operator: text("operator"), Actor: text("actor"), Action: text("action"), Kind: text("kind"), Target: text("target"),
		Outcome: text("outcome"), Request: text("request"), From: day("from"), To: day("to"),
	}
	if f.Outcome != "done" && f.Outcome != "denied" {
		f.Outcome = ""
	}
	return f
}

// query is what the filters ask for: whole days, in UTC, both of them included.
func (f auditFilters) query() issuer.AuditQuery {
	q := issuer.AuditQuery{
		Operator: f.Operator, Account: f.Account, Actor: f.Actor, Action: f.Action, TargetKind: f.Kind, Target: f.Target, Outcome: f.Outcome, RequestID: f.Request, Search: f.Query,
	}
	q.From, _ = time.Parse(time.DateOnly, f.From) // an empty day is no bound
	if to, err := time.Parse(time.DateOnly, f.To); err == nil {
		q.To = to.AddDate(0, 0, 1)
	}
	return q
}

func (f auditFilters) url(path string, more ...string) string {
	return withQuery(path, append([]string{
		"q", f.Query, "account", f.Account, "operator", f.Operator, "actor", f.Actor, "action", f.Action, "kind", f.Kind, "target", f.Target, "outcome", f.Outcome,
		"request", f.Request, "from", f.From, "to", f.To,
	}, more...)...)
}

// audit lists the log.
func (c *Console) audit(r *http.Request, v *visit) (answer, error) {
	return c.auditPage(r, v, nil)
}

func (c *Console) auditPage(r *http.Request, v *visit, result *auditResult) (answer, error) {
	params := r.URL.Query()
	f := readAuditFilters(params)
	view := auditView{
		auditFilters: f, Result: result, CanVerify: v.caller.Allows(issuer.ReadAudit, issuer.Scope{}),
		Actions: choices("Any action", auditActions, f.Action), Kinds: choices("Anything", auditKinds, f.Kind), Outcomes: []option{{"", "Any outcome"}, {"done", "Done"}, {"denied", "Denied"}},
	}
	if c.exportAudit != nil {
		view.NDJSON, view.CSV = f.url("/audit/export", "format", "ndjson"), f.url("/audit/export", "format", "csv")
	}
	if broken, ok := c.issuer.AuditBroken(v.caller); ok && result == nil {
		view.Broken = newAuditResult(broken)
	}
	before, _ := strconv.ParseInt(params.Get("before"), 10, 64) // anything else starts at the newest
	list, err := c.issuer.ListAudit(r.Context(), v.caller, f.query(), issuer.AuditPage{Before: max(before, 0), Limit: pageSize + 1})
	if err != nil {
		return answer{}, err
	}
	if view.CanVerify {
		if view.Verifier, err = c.issuer.AuditVerifier(r.Context(), v.caller); err != nil {
			return answer{}, err
		}
	}
	list, more := cut(list, pageSize)
	names := map[string]string{}
	for _, e := range list {
		view.Rows = append(view.Rows, c.auditRow(r.Context(), names, e))
	}
	if before > 0 {
		view.Pager.First = f.url("/audit")
	}
	if more {
		view.Pager.Next = f.url("/audit", "before", strconv.FormatInt(list[len(list)-1].Seq, 10))
	}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "Nothing on record yet", Text: "Every change, and everything that was denied, is listed here with who and when."}
		if f != (auditFilters{}) {
			view.Empty = &emptyView{Title: "No entry matches", Text: "Nothing on record has what was chosen.", Action: &link{"Clear the filters", "/audit"}}
		}
	}
	q := f.query()
	api := withQuery("/audit", "q", f.Query, "account", f.Account, "operator", f.Operator, "actor", f.Actor, "action", f.Action, "target_kind", f.Kind, "target", f.Target, "outcome", f.Outcome,
		"request_id", f.Request, "at_after", rfc3339(q.From), "at_before", rfc3339(q.To))
	calls := []apiCall{c.call("These entries", http.MethodGet, api, ""), c.call("All of them, as JSON lines", http.MethodGet, strings.Replace(api, "/audit", "/audit/export", 1), "")}
	if view.CanVerify {
		calls = append(calls, c.call("Verify the chain", http.MethodPost, "/audit/verification", "{}"))
	}
	return answer{page: "audit", title: "Audit", body: view, calls: calls}, nil
}

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func (c *Console) auditRow(ctx context.Context, names map[string]string, e issuer.AuditEntry) auditRow {
	row := auditRow{
		Seq: e.Seq, URL: "/audit/" + strconv.FormatInt(e.Seq, 10), At: e.Time(), Who: c.who(ctx, names, e), What: strings.ReplaceAll(e.Action, "_", " ") + " " + strings.ReplaceAll(e.TargetKind, "_", " "),
		On: cmp.Or(e.TargetName, shortTarget(e.Target)), Reason: e.Reason, Outcome: auditOutcome(e.Outcome),
	}
	if e.AccountName != "" && e.AccountName != row.On {
		row.Place = "in " + e.AccountName
	}
	if len(e.Changes) > 0 {
		row.Text, row.More = sentence(e.Changes[0]), len(e.Changes)-1
	}
	return row
}

func (c *Console) who(ctx context.Context, names map[string]string, e issuer.AuditEntry) string {
	if e.ActorName != "" {
		return e.ActorName
	}
	return cmp.Or(c.actor(ctx, names, e.Actor), "nobody known")
}

// shortTarget leaves the ends of long keys: a page lists many.
func shortTarget(s string) string {
	id, rest, ok := strings.Cut(s, "/")
	for _, k := range []claims.Kind{claims.KindOperator, claims.KindAccount, claims.KindUser, claims.KindAudit} {
		if claims.IsPublicKey(k, id) {
			id = claims.ShortKey(id)
		}
	}
	if ok {
		return id + "/" + rest
	}
	return id
}

func auditOutcome(s string) chip {
	if s == "denied" {
		return chip{toneBad, "Denied"}
	}
	return chip{toneGood, "Done"}
}

// sentence says a change in the field's words.
func sentence(c issuer.Change) string {
	if c.Text != "" {
		return c.Text
	}
	return strings.TrimPrefix(c.Path, "/") + ": " + shown(c.From) + " → " + shown(c.To)
}

func shown(v any) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprint(v)
}

// auditEntryView is one entry.
type auditEntryView struct {
	Row                           auditRow
	ID, Actor, ActorKind, Target  string
	Request, RequestURL           string
	AccountURL, Account, Operator string
	Changes                       []planChange
	Overridden                    []string
	Deliveries                    []auditDelivery
	MoreDeliveries                int
	Hash                          string
	Signed                        bool
}

type auditDelivery struct {
	Account, URL string
	Version      int64
	Rows         []deliveryRow
}

// auditEntry shows one entry with what changed and the deliveries that followed.
func (c *Console) auditEntry(r *http.Request, v *visit) (answer, error) {
	e, err := c.issuer.GetAuditEntry(r.Context(), v.caller, r.PathValue("entry"))
	if err != nil {
		return answer{}, err
	}
	view := auditEntryView{
		Row: c.auditRow(r.Context(), map[string]string{}, e.AuditEntry), ID: e.ID, Actor: e.Actor, ActorKind: e.ActorKind, Target: e.Target, Request: e.RequestID,
		Account: e.AccountName, Operator: e.OperatorName, MoreDeliveries: e.More, Hash: fmt.Sprintf("%x", e.Hash),
	}
	if e.RequestID != "" {
		view.RequestURL = withQuery("/audit", "request", e.RequestID)
	}
	if e.AccountName != "" {
		view.AccountURL = accountURL(e.AccountID)
	}
	for _, x := range e.Changes {
		view.Changes = append(view.Changes, planChange{Field: strings.TrimPrefix(x.Path, "/"), From: shown(x.From), To: shown(x.To), Text: x.Text})
	}
	for _, g := range e.Overridden {
		view.Overridden = append(view.Overridden, strings.ReplaceAll(string(g), "_", " "))
	}
	for _, d := range e.Deliveries {
		view.Deliveries = append(view.Deliveries, newAuditDelivery(d))
	}
	title := "Entry " + strconv.FormatInt(e.Seq, 10)
	return answer{page: "audit_entry", title: title, crumbs: []link{{"Audit", "/audit"}}, body: view, calls: []apiCall{
		c.call("This entry", http.MethodGet, "/audit/"+strconv.FormatInt(e.Seq, 10), ""),
	}}, nil
}

// newAuditDelivery says how far a JWT got. Of each server the newest delivery is known:
// one of a later version has this one in it.
func newAuditDelivery(d issuer.AuditDelivery) auditDelivery {
	out := auditDelivery{Account: d.AccountName, URL: accountURL(d.AccountID), Version: d.Version}
	for _, s := range d.Servers {
		x := claims.Delivery{ServerID: s.ServerID, ServerName: s.ServerName, Version: s.Version, State: claims.DeliveryState(s.State), Proven: s.Proven}
		row := deliveryRow{Server: s.ServerName, ServerID: s.ServerID, Error: claims.Redact(s.Error), Since: s.Updated}
		if !s.Proven.IsZero() {
			row.Since = s.Proven
		}
		row.Chip, row.Note = deliveryChip(x, d.Version)
		switch {
		case s.Version < d.Version:
			row.Since, row.Error = time.Time{}, ""
		case s.Version > d.Version:
			row.Note = strings.TrimSpace("At the later version " + strconv.FormatInt(s.Version, 10) + ", which has this change in it. " + row.Note)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// verifyTime is how long a verification may take.
const verifyTime = 10 * time.Minute

// verifyAudit verifies the chain and shows the result above the list.
func (c *Console) verifyAudit(r *http.Request, v *visit) (answer, error) {
	found, err := c.issuer.VerifyAudit(r.Context(), v.caller, nil)
	if err != nil {
		return answer{}, err
	}
	return c.auditPage(r, v, newAuditResult(found))
}

func newAuditResult(x issuer.AuditVerification) *auditResult {
	out := &auditResult{Whole: x.Whole(), At: x.At, Entries: formatCount(x.Entries), Checkpoints: x.Checkpoints, More: x.More, Foreign: x.Foreign, Torn: x.Torn}
	for _, f := range x.Faults {
		row := auditFault{Seq: f.Seq, Kind: string(f.Kind), Detail: f.Detail}
		if f.EntryID != "" && f.Seq > 0 {
			row.URL = "/audit/" + strconv.FormatInt(f.Seq, 10)
		}
		out.Faults = append(out.Faults, row)
	}
	return out
}

// AuditExport writes the entries that a query keeps: begin is called with the kind of
// text before the first byte.
type AuditExport func(ctx context.Context, caller issuer.Caller, q issuer.AuditQuery, format string, begin func(media string), w io.Writer) error

// downloadAudit sends an export.
func (c *Console) downloadAudit(r *http.Request, v *visit) (answer, error) {
	if c.exportAudit == nil {
		return c.notFound(r, v)
	}
	format := "ndjson"
	if r.URL.Query().Get("format") == "csv" {
		format = "csv"
	}
	f := readAuditFilters(r.URL.Query())
	return answer{download: func(w http.ResponseWriter) (begun bool, err error) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(c.now().Add(verifyTime)) // else the server's own holds
		err = c.exportAudit(r.Context(), v.caller, f.query(), format, func(media string) {
			begun = true
			w.Header().Set("Content-Type", media)
			w.Header().Set("Content-Disposition", `attachment; filename="audit.`+format+`"`)
			w.WriteHeader(http.StatusOK)
		}, w)
		return begun, err
	}}, nil
}

// auditRoutes are the lines of the route table for the audit log.
func auditRoutes() []route {
	return []route{
		{http.MethodGet, "/audit", (*Console).audit, signedIn, issuer.ReadAudit},
		{http.MethodGet, "/audit/export", (*Console).downloadAudit, signedIn, issuer.ReadAudit},
		{http.MethodPost, "/audit/verify", (*Console).verifyAudit, signedIn, ""},
		{http.MethodGet, "/audit/{entry}", (*Console).auditEntry, signedIn, issuer.ReadAudit},
	}
}
