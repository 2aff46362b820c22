package web

import (
	"net/http"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// activationRow is one activation of an export.
type activationRow struct {
	Importer     accountName
	Subject, URL string
	Status       chip
	Issued       int64
	// Expires is Unix seconds, 0 for never.
	Expires int64
	// RevokeURL is empty where there is nothing left to revoke.
	RevokeURL string
}

func newActivationRow(p place, x issuer.ActivationEntry) activationRow {
	row := activationRow{
		Importer: accountName{Name: x.ImporterName, Key: x.Importer}, Subject: x.Subject, URL: p.exportURL(x.ExportID, "activations", x.ID),
		Status: activationChip(x.Status), Issued: x.IssuedAt, Expires: x.Expires,
	}
	if x.ImporterName != "" {
		row.Importer.URL = accountURL(x.Importer, "sharing")
	}
	if x.Status == issuer.ActivationActive || x.Status == issuer.ActivationSuperseded {
		row.RevokeURL = withQuery(p.exportURL(x.ExportID, "revoke"), "of", x.Importer)
	}
	return row
}

func activationChip(s issuer.ActivationStatus) chip {
	switch s {
	case issuer.ActivationActive:
		return chip{toneGood, "Valid"}
	case issuer.ActivationSuperseded:
		return chip{tonePart, "Valid, followed by another"}
	case issuer.ActivationExpired:
		return chip{toneOff, "Expired"}
	case issuer.ActivationRevoked:
		return chip{toneBad, "Revoked"}
	}
	return chip{toneBad, "Signed by a retired key"}
}

// activationView is one activation with its token, which is of no use to anybody but the
// importer.
type activationView struct {
	activationRow
	Account, ExportURL, Export string
	Token, FileName            string
	JTI, Signer, Reason, By    string
	Usable, CanWrite           bool
	Import                     string
}

func (c *Console) activation(r *http.Request, v *visit) (answer, error) {
	p, e, err := c.findExport(r, v)
	if err != nil {
		return answer{}, err
	}
	x, err := c.issuer.GetActivation(r.Context(), v.caller, p.account.ID, e.ID, r.PathValue("activation"))
	if err != nil {
		return answer{}, err
	}
	view := activationView{
		activationRow: newActivationRow(p, x), Account: p.account.Name, ExportURL: p.exportURL(e.ID), Export: string(e.Body.Subject),
		Token: x.Token, JTI: x.JTI, Signer: x.Signer, Reason: x.Reason, By: c.actor(r.Context(), map[string]string{}, x.Actor),
		FileName: tokenFile(p.account.Name, claims.ShortKey(x.Importer)), Usable: newActivationRow(p, x).RevokeURL != "", CanWrite: v.mayIn(p.account, issuer.WriteSharing),
	}
	view.Import = "nsc add import --account YOUR-ACCOUNT --token " + shellWord(view.FileName)
	return answer{page: "activation", title: "Activation for " + view.Importer.text(), crumbs: append(p.sharingCrumbs(), link{view.Export, view.ExportURL}), body: view, calls: []apiCall{
		c.call("This activation", http.MethodGet, view.URL, ""),
	}}, nil
}

// tokenFile is what a token is saved as.
func tokenFile(parts ...string) string {
	const creds = ".creds"
	name := fileName(parts...)
	return name[:len(name)-len(creds)] + ".jwt"
}

// activationLifeField offers how long an activation is valid.
func activationLifeField() *field {
	day := 24 * time.Hour
	return &field{
		Name: "ttl", Pointer: "/ttl_seconds", Label: "Activation valid for", Kind: kindSelect, Value: "0",
		Hint: "When it has passed, messages stop crossing until it is renewed. Without an end, revoking is what stops them.",
		Options: []option{
			{"0", "No end"}, {seconds(time.Hour), "1 hour"}, {seconds(7 * day), "7 days"}, {seconds(30 * day), "30 days"}, {seconds(90 * day), "90 days"}, {seconds(365 * day), "1 year"},
		},
	}
}

// lifeWords says how long an activation is valid.
func lifeWords(ttl time.Duration) string {
	if ttl == 0 {
		return "valid without an end"
	}
	return "valid for " + spell(ttl)
}

// activateStep issues a token to an account that may be anywhere.
func (c *Console) activateStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findExport(r, v)
	if err != nil {
		return step{}, err
	}
	subject := string(e.Body.Subject)
	s := c.sharingStep(p, p.exportURL(e.ID, "activate"), "Activation for an outside account",
		"A token with which one account may import "+subject+". Its holder puts it into that account's import. It is of no use to anybody else, so it can be sent as it is.",
		group{Fields: []*field{
			{
				Name: "importer", Pointer: "/target_account", Label: "Public key of the importing account", Kind: kindText, Required: true, Code: true, Autocomplete: "off", Placeholder: "A…",
				Hint: "It need not be known here. To an account of this operator share the subject instead: both sides are made in one step.", Value: searchText(r.URL.Query().Get("importer")),
			},
			{Name: "subject", Pointer: "/subject", Label: "Subject", Kind: kindText, Code: true, Autocomplete: "off", Max: 1024, Value: subject, Hint: "All of the export, or a part of it."},
			activationLifeField(),
		}})
	s.form.Cancel, s.plan.Cancel = p.exportURL(e.ID), p.exportURL(e.ID)
	s.closes, s.plan.Unpushed, s.plan.Apply, s.agreed = false, true, "Issue the activation", []any{e.ID, e.Version}
	s.calls = []apiCall{c.call("Issue an activation", http.MethodPost, p.exportURL(e.ID, "activations"), `{"target_account":"A…","ttl_seconds":31536000}`)}
	f := s.form
	var out issuer.Outcome[issuer.ActivationEntry]
	s.run = func(op issuer.Op) (made, error) {
		ttl := f.duration("ttl")
		var err error
		out, err = c.issuer.IssueActivation(r.Context(), op, p.account.ID, e.ID, issuer.ActivationInput{Importer: f.value("importer"), Subject: f.value("subject"), TTL: ttl})
		if err == nil {
			out.Plan.Summary = []claims.FieldChange{{Field: "Activation for " + claims.ShortKey(out.Value.Importer), Pointer: "/activation", After: "may import " + out.Value.Subject + ", " + lifeWords(ttl)}}
		}
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The activation was issued.")
		return seeOther(p.exportURL(e.ID, "activations", out.Value.ID)), nil
	}
	return s, nil
}

// revokeActivationStep refuses what was issued to one importer, or to everybody.
func (c *Console) revokeActivationStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findExport(r, v)
	if err != nil {
		return step{}, err
	}
	of := r.FormValue("of")
	who := "everybody"
	if of != issuer.Everybody {
		if !claims.IsPublicKey(claims.KindAccount, of) {
			return step{}, &issuer.Error{Kind: issuer.KindNotFound, Code: "activation_not_found", Message: "This account has no activation."}
		}
		who = claims.ShortKey(of)
		if a, err := c.issuer.GetAccount(r.Context(), v.caller, of); err == nil {
			who = a.Name
		}
	}
	subject := string(e.Body.Subject)
	s := c.sharingStep(p, p.exportURL(e.ID, "revoke"), "Revoke the activations of "+who,
		"What was issued up to now for "+subject+" is refused. Messages stop crossing as soon as servers have the new JWT of "+p.account.Name+". What is issued later works.")
	s.form.Hidden = []hidden{{"of", of}}
	s.form.Danger, s.plan.Danger, s.plan.Apply, s.agreed = true, true, "Revoke now", []any{e.ID, of}
	s.form.Cancel, s.plan.Cancel = p.exportURL(e.ID), p.exportURL(e.ID)
	s.calls = []apiCall{c.call("Revoke the activations of an account", http.MethodDelete, p.exportURL(e.ID, "activations", of), "")}
	s.run = func(op issuer.Op) (made, error) {
		out, err := c.issuer.RevokeActivation(r.Context(), op, p.account.ID, e.ID, of)
		if err == nil {
			out.Plan.Summary = append(out.Plan.Summary, claims.FieldChange{Field: "Tokens refused", Pointer: "/tokens", Before: "0", After: formatCount(out.Value.Activations) + " not expired"})
		}
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The activations of "+who+" are revoked.")
		return seeOther(p.exportURL(e.ID)), nil
	}
	return s, nil
}
