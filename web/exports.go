package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// exportRow is one export of an account.
type exportRow struct {
	Subject, URL, Name   string
	Kind, Access         string
	Imports, Activations int64
}

func newExportRow(p place, e issuer.ExportWithUse) exportRow {
	row := exportRow{
		Subject: string(e.Body.Subject), URL: p.exportURL(e.ID), Kind: e.Body.Type.String(), Access: accessWord(issuer.AccessOf(&e.Body)), Imports: e.Imports, Activations: e.Activations,
	}
	if e.Body.Name != row.Subject {
		row.Name = e.Body.Name
	}
	return row
}

func (p place) exportURL(id string, rest ...string) string {
	return p.accountURL(append([]string{"exports", id}, rest...)...)
}

// sharingCrumbs leads to a page below the sharing of the account.
func (p place) sharingCrumbs() []link {
	return append(p.accountCrumbs(), link{"Sharing", p.accountURL("sharing")})
}

// exportView is one export: who imports it, and what was issued for it.
type exportView struct {
	exportRow
	Account, AccountURL string
	Says, Description   string
	Response            string
	Position            uint
	Revoked             []revokedImporter
	ByActivation        bool
	Created, Changed    time.Time

	Rows edgeRows
	// MoreImporters says that not all edges of the account were looked at.
	MoreImporters bool
	Activations   []activationRow
	Pager         pager
	CanWrite      bool
	Delivery      deliveryView
}

// revokedImporter is who is refused what was issued up to a second; an empty key is
// everybody.
type revokedImporter struct {
	Key    string
	Before int64
}

// accessSentence says who may import what has this access.
func accessSentence(a issuer.Access) string {
	switch a {
	case issuer.AccessActivation:
		return "Only accounts with an activation token of this account import it."
	case issuer.AccessTokenPosition:
		return "Every account of the operator may import it, each under its own public key in the subject."
	}
	return "Every account of the operator may import it."
}

// findExport finds the account and the export of the path.
func (c *Console) findExport(r *http.Request, v *visit) (place, issuer.ExportWithUse, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return p, issuer.ExportWithUse{}, err
	}
	e, err := c.issuer.GetExport(r.Context(), v.caller, p.account.ID, r.PathValue("export"))
	return p, e, err
}

func (c *Console) export(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, e, err := c.findExport(r, v)
	if err != nil {
		return answer{}, err
	}
	access := issuer.AccessOf(&e.Body)
	view := exportView{
		exportRow: newExportRow(p, e), Account: p.account.Name, AccountURL: p.accountURL(), Says: accessSentence(access), Description: e.Body.Description,
		Position: e.Body.AccountTokenPosition, ByActivation: access == issuer.AccessActivation, Created: e.Created, Changed: e.Updated,
		CanWrite: p.account.State != "deleted" && v.mayIn(p.account, issuer.WriteSharing), Delivery: newDelivery(c.sync(ctx, v, p.account.ID)),
	}
	if e.Body.Type == jwt.Service {
		view.Response = responseWords(e.Body.ResponseType)
	}
	for key, before := range e.Body.Revocations {
		if key == issuer.Everybody {
			key = ""
		}
		view.Revoked = append(view.Revoked, revokedImporter{key, before})
	}
	n, err := c.namesOf(ctx, v)
	if err != nil {
		return answer{}, err
	}
	g, err := c.issuer.AccountSharing(ctx, v.caller, p.account.ID, issuer.GraphQuery{Limit: edgeScan})
	if err != nil {
		return answer{}, err
	}
	view.MoreImporters, n = g.Total > edgeScan, n.changing(v, p.operator)
	for _, x := range g.Edges {
		if x.Exporter.ID == p.account.ID && x.ExportID == e.ID {
			view.Rows = append(view.Rows, n.row(x))
		}
	}
	before := searchText(r.URL.Query().Get("before"))
	list, err := c.issuer.ListActivations(ctx, v.caller, p.account.ID, e.ID, issuer.LedgerPage{Before: before, Limit: fewRows + 1})
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, fewRows)
	for _, x := range list {
		view.Activations = append(view.Activations, newActivationRow(p, x))
	}
	if before != "" {
		view.Pager.First = view.URL
	}
	if more {
		view.Pager.Next = withQuery(view.URL, "before", list[len(list)-1].ID)
	}
	return answer{page: "export", title: "Export " + view.Subject, crumbs: p.sharingCrumbs(), body: view, calls: []apiCall{
		c.call("This export", http.MethodGet, view.URL, ""),
		c.call("What was issued for it", http.MethodGet, p.exportURL(e.ID, "activations"), ""),
	}}, nil
}

func responseWords(t jwt.ResponseType) string {
	switch t {
	case jwt.ResponseTypeStream:
		return "Any number of times, until it ends the stream"
	case jwt.ResponseTypeChunked:
		return "Once, in chunks"
	}
	return "Once"
}

// The fields of what is exported.
func kindField() *field {
	return &field{
		Name: "kind", Pointer: "/kind", Label: "What it is", Kind: kindSelect, Required: true, Value: "stream",
		Hint:    "Of a stream the importer receives what the exporter's clients publish. A service is asked by the importer's clients and answered by the exporter's.",
		Options: []option{{"stream", "A stream of messages"}, {"service", "A service that answers requests"}},
	}
}

func subjectField(hint string) *field {
	return &field{Name: "subject", Pointer: "/subject", Label: "Subject", Kind: kindText, Required: true, Code: true, Autocomplete: "off", Placeholder: "orders.paid.>", Max: 1024, Hint: hint}
}

func positionField() *field {
	return &field{
		Name: "position", Pointer: "/account_token_position", Label: "Place of the importer's key", Kind: kindText, Autocomplete: "off", Numeric: true, Placeholder: "2",
		Hint: "Only where each account imports under its own key: which word of the subject, counted from 1, is that key. The subject has a * there.",
	}
}

func responseField() *field {
	return &field{
		Name: "response", Pointer: "/response_type", Label: "How often a service answers", Kind: kindSelect,
		Options: []option{{"", "Once"}, {jwt.ResponseTypeStream, "Any number of times"}, {jwt.ResponseTypeChunked, "Once, in chunks"}},
	}
}

// exportKind reads kindField.
func exportKind(s string) jwt.ExportType {
	if s == "service" {
		return jwt.Service
	}
	return jwt.Stream
}

// position reads positionField.
func (f *form) position() uint {
	s := f.value("position")
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		f.fail("position", "Write which word of the subject it is, as a number from 1 on.")
	}
	return uint(n)
}

// sharingStep is a change of an export or import of an account.
func (c *Console) sharingStep(p place, url, title, lead string, groups ...group) step {
	s := step{url: url, title: title, lead: lead, crumbs: p.sharingCrumbs(), closes: true}
	s.plan = planView{Servers: serverNames(c.live.Servers(p.account.OperatorID)), Cancel: p.accountURL("sharing")}
	s.form = &form{Action: url, Submit: "Review the change", Cancel: s.plan.Cancel, Groups: append(groups, group{Fields: []*field{reasonField()}})}
	return s
}

// newExportStep offers a subject to accounts that import it themselves.
func (c *Console) newExportStep(r *http.Request, v *visit) (step, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return step{}, err
	}
	s := c.sharingStep(p, p.accountURL("exports", "new"), "Export from "+p.account.Name,
		"This is one side only: nothing crosses until another account imports it. To make both sides in one step, share a subject.",
		exportGroups(&jwt.Export{Type: jwt.Stream, TokenReq: true})...)
	s.plan.Apply, s.agreed = "Export it", []any{p.account.ID, "export", r.PostForm.Get("access"), r.PostForm.Get("position")}
	s.calls = []apiCall{c.call("Export a subject", http.MethodPost, p.accountURL("exports"), `{"kind":"stream","subject":"orders.paid.>","access":"activation"}`)}
	f := s.form
	var out issuer.Outcome[issuer.ExportChange]
	s.run = func(op issuer.Op) (made, error) {
		var body jwt.Export
		edit := f.exportEdit(&body)
		if !f.ok() {
			return made{}, errLookAgain
		}
		edit(&body)
		var err error
		out, err = c.issuer.CreateExport(r.Context(), op, p.account.ID, body)
		if err == nil {
			out.Plan.Summary = append(out.Plan.Summary, claims.FieldChange{Field: "Who may import it", Pointer: "/access", After: accessWord(issuer.AccessOf(&body))})
		}
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, string(out.Value.Body.Subject)+" is exported.")
		return seeOther(p.exportURL(out.Value.ID)), nil
	}
	return s, nil
}

// errLookAgain stops a change whose form says already what is wrong.
var errLookAgain = &issuer.Error{Kind: issuer.KindInvalid, Code: "invalid", Message: "Please look at this again."}

// deleteExportStep takes an export back.
func (c *Console) deleteExportStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findExport(r, v)
	if err != nil {
		return step{}, err
	}
	subject := string(e.Body.Subject)
	s := c.sharingStep(p, p.exportURL(e.ID, "delete"), "Delete the export "+subject, "Messages stop crossing to every account that imports it, and what was issued for it is revoked: an export of the same subject that is made later does not revive it.")
	s.form.Danger, s.plan.Danger, s.plan.Apply, s.agreed = true, true, "Delete the export", []any{e.ID, e.Version}
	s.form.Cancel, s.plan.Cancel = p.exportURL(e.ID), p.exportURL(e.ID)
	s.plan.Impact = []impact{{formatCount(e.Imports), nounOf(e.Imports, "import stops working", "imports stop working"), "Of accounts here; they stay in their JWTs, broken.", toneBad}}
	s.calls = []apiCall{c.call("Delete the export", http.MethodDelete, p.exportURL(e.ID), "")}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = e.Version
		out, err := c.issuer.DeleteExport(r.Context(), op, p.account.ID, e.ID)
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, subject+" is not exported any more.")
		return seeOther(p.accountURL("sharing")), nil
	}
	return s, nil
}

func nounOf(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// unusedExport returns the page of the export that an import is held against, if the visitor may
// change it and nobody else uses it.
func (c *Console) unusedExport(ctx context.Context, v *visit, e issuer.Edge) (string, bool) {
	if e.ExportID == "" || e.Exporter.Name == "" {
		return "", false
	}
	x, err := c.issuer.GetExport(ctx, v.caller, e.Exporter.ID, e.ExportID)
	if err != nil || x.Imports > 0 {
		return "", false
	}
	a, err := c.issuer.GetAccount(ctx, v.caller, e.Exporter.ID)
	return accountURL(e.Exporter.ID, "exports", e.ExportID), err == nil && v.mayIn(a, issuer.WriteSharing)
}
