package web

import (
	"net/http"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// importView is one import, seen from both sides.
type importView struct {
	edgeRow
	Account, AccountURL        string
	ExportURL, Name            string
	Shares, Traces             bool
	Created, Changed           time.Time
	ExporterSync, ImporterSync deliveryView
	ChangeURL                  string
	RenewURL, DeleteURL        string
}

func (p place) importURL(id string, rest ...string) string {
	return p.accountURL(append([]string{"imports", id}, rest...)...)
}

func (c *Console) findImport(r *http.Request, v *visit) (place, issuer.Edge, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return p, issuer.Edge{}, err
	}
	e, err := c.issuer.GetImport(r.Context(), v.caller, p.account.ID, r.PathValue("import"))
	return p, e, err
}

// sharedImport is the page of one import.
func (c *Console) sharedImport(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, e, err := c.findImport(r, v)
	if err != nil {
		return answer{}, err
	}
	n, err := c.namesOf(ctx, v)
	if err != nil {
		return answer{}, err
	}
	view := importView{
		edgeRow: n.row(e), Account: p.account.Name, AccountURL: p.accountURL(), Name: e.Body.Name, Shares: e.Body.Share, Traces: e.Body.AllowTrace,
		Created: e.Created, Changed: e.Updated, ImporterSync: newDelivery(c.sync(ctx, v, e.AccountID)),
	}
	if e.Exporter.Name != "" {
		view.ExporterSync = newDelivery(c.sync(ctx, v, e.Exporter.ID))
		if e.ExportID != "" && v.caller.Allows(issuer.ReadSharing, issuer.Scope{Operator: p.account.OperatorID, Account: e.Exporter.ID}) {
			view.ExportURL = accountURL(n.ref(e.Exporter), "exports", e.ExportID)
		}
	}
	if p.account.State != "deleted" && v.mayIn(p.account, issuer.WriteSharing) {
		view.ChangeURL, view.DeleteURL = p.importURL(e.ID, "edit"), p.importURL(e.ID, "delete")
		if e.Access == issuer.AccessActivation && v.caller.Allows(issuer.WriteSharing, issuer.Scope{Operator: p.account.OperatorID, Account: e.Exporter.ID}) {
			view.RenewURL = p.importURL(e.ID, "renew")
		}
	}
	return answer{page: "shared_import", title: "Import " + view.Subject, crumbs: p.sharingCrumbs(), body: view, calls: []apiCall{
		c.call("This import", http.MethodGet, p.importURL(e.ID), ""),
		c.call("Renew its activation", http.MethodPost, p.importURL(e.ID, "renewal"), `{"ttl_seconds":31536000}`),
	}}, nil
}

// newImportStep takes what an account elsewhere exports, with the token that its holder
// sent.
func (c *Console) newImportStep(r *http.Request, v *visit) (step, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return step{}, err
	}
	s := c.sharingStep(p, p.accountURL("imports", "new"), "Import into "+p.account.Name,
		"For what an account exports whose holder is somebody else. Between accounts that are both yours, share a subject: both sides are made in one step.",
		importGroups(&jwt.Import{Type: jwt.Stream})...)
	s.plan.Apply, s.agreed = "Import it", []any{p.account.ID, "import"}
	s.calls = []apiCall{c.call("Import a subject", http.MethodPost, p.accountURL("imports"), `{"exporter":"A…","kind":"stream","subject":"orders.paid.>","token":"eyJ…"}`)}
	f := s.form
	var out issuer.Outcome[issuer.ImportChange]
	s.run = func(op issuer.Op) (made, error) {
		var body jwt.Import
		f.importEdit(&body)(&body)
		var err error
		out, err = c.issuer.CreateImport(r.Context(), op, p.account.ID, body)
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, sideways(err, "/exporter")
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, string(out.Value.Body.Subject)+" is imported.")
		return seeOther(p.importURL(out.Value.ID)), nil
	}
	return s, nil
}

// sideways says of an account that does not exist which field names it, pointer where
// the error does not say.
func sideways(err error, pointer string) error {
	if err == nil {
		return nil
	}
	e := *issuer.AsError(err)
	if e.Kind != issuer.KindNotFound || e.Code != "account_not_found" {
		return err
	}
	if len(e.Problems) == 0 {
		e.Problems = claims.Problems{{Pointer: pointer, Code: e.Code, Detail: e.Message, Blocking: true}}
	}
	e.Kind = issuer.KindInvalid
	return &e
}

// renewImportStep gives the import a new activation token.
func (c *Console) renewImportStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findImport(r, v)
	if err != nil {
		return step{}, err
	}
	s := c.sharingStep(p, p.importURL(e.ID, "renew"), "Renew the activation of "+string(e.Body.Subject), "The exporter's current key signs a new token, and the import gets it, in one step. Nothing is interrupted.", group{Fields: []*field{activationLifeField()}})
	s.form.Cancel, s.plan.Cancel = p.importURL(e.ID), p.importURL(e.ID)
	s.closes, s.plan.Apply, s.agreed = false, "Renew", []any{e.ID, e.Version}
	s.plan.Impact = []impact{noneClose()}
	s.calls = []apiCall{c.call("Renew its activation", http.MethodPost, p.importURL(e.ID, "renewal"), `{"ttl_seconds":31536000}`)}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = e.Version
		ttl := s.form.duration("ttl")
		out, err := c.issuer.RenewImport(r.Context(), op, p.account.ID, e.ID, ttl)
		sayLife(&out.Plan, ttl)
		return made{out.Plan, p.account.ID, out.Value.ImporterJWTVersion}, sideways(err, "")
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The activation was renewed.")
		return seeOther(p.importURL(e.ID)), nil
	}
	return s, nil
}

// noneClose is the impact of what leaves every connection alone.
func noneClose() impact {
	return impact{"0", "live connections close", "Exports and imports close none.", toneOff}
}

// sayLife says of activations how long they are valid in place of until when, which is
// another time each second.
func sayLife(p *issuer.Plan, ttl time.Duration) {
	for n, f := range p.Summary {
		if f.Pointer == "/activations" {
			p.Summary[n].After = lifeWords(ttl)
		}
	}
}

// deleteImportStep takes an import out of its account.
func (c *Console) deleteImportStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findImport(r, v)
	if err != nil {
		return step{}, err
	}
	subject := string(e.Body.Subject)
	s := c.sharingStep(p, p.importURL(e.ID, "delete"), "Remove the import "+subject, "Messages stop crossing to "+p.account.Name+". The exporter's side stays as it is.")
	s.form.Danger, s.plan.Danger, s.plan.Apply, s.agreed = true, true, "Remove the import", []any{e.ID, e.Version}
	s.form.Cancel, s.plan.Cancel = p.importURL(e.ID), p.importURL(e.ID)
	s.calls = []apiCall{c.call("Delete the import", http.MethodDelete, p.importURL(e.ID), "")}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = e.Version
		out, err := c.issuer.DeleteImport(r.Context(), op, p.account.ID, e.ID)
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.done = func(made) (answer, error) {
		if export, unused := c.unusedExport(r.Context(), v, e); unused {
			c.notify(r, v, "The import is removed. Nobody imports this export any more: delete it too, unless others are to.")
			return seeOther(export), nil
		}
		c.notify(r, v, subject+" is not imported any more.")
		return seeOther(p.accountURL("sharing")), nil
	}
	return s, nil
}
