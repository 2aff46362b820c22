package web

import (
	"net/http"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// importGroups ask for what is imported; m is what stands in them at first, without its token.
func importGroups(m *jwt.Import) []group {
	kind, subject := kindField(), subjectField("What is imported, as the exporter calls it.")
	kind.Value, subject.Value = m.Type.String(), claims.ImportedSubject(m)
	token := &field{Name: "token", Pointer: "/token", Label: "Activation token", Kind: kindTextarea, JWT: true, Code: true, Hint: "The JWT that the exporter's holder sent, if the export asks for one."}
	fields := []*field{
		{Name: "exporter", Pointer: "/exporter", Label: "Exporting account", Kind: kindText, Required: true, Code: true, Autocomplete: "off", Value: m.Account, Hint: "Its public key, or its name if it is known here."},
		kind, subject,
		{Name: "local", Pointer: "/local_subject", Label: "Local subject", Kind: kindText, Code: true, Autocomplete: "off", Max: 1024, Value: givenLocal(m), Hint: "Optional. What this account calls it; $1 is the first wildcard of the subject."},
		token,
	}
	if m.Token != "" {
		token.Label, token.Hint = "Another activation token", "Left empty, the import keeps the one it has."
		fields = append(fields, &field{Name: "no_token", Pointer: "/token", Label: "Without an activation token", Kind: kindCheckbox, Hint: "Where the export does not ask for one any more."})
	}
	more := group{Legend: "More", Fold: true, Open: m.Name != "" || m.Share || m.AllowTrace, Fields: []*field{
		{Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Autocomplete: "off", Value: m.Name, Hint: "Optional. What the import is called beside its subject."},
		{Name: "share", Pointer: "/share", Label: "The exporter learns who asks", Kind: kindCheckbox, Checked: m.Share, Hint: "Of a service: requests carry this account and the user."},
		{Name: "trace", Pointer: "/allow_trace", Label: "Traces of messages cross", Kind: kindCheckbox, Checked: m.AllowTrace, Hint: "Of a stream."},
	}}
	return []group{{Fields: fields}, more}
}

// givenLocal is the local subject of the import, empty for the exporter's.
func givenLocal(m *jwt.Import) string {
	if m.GetTo() == "" {
		return string(m.LocalSubject)
	}
	return localSubject(m)
}

// importEdit returns the change of was that importGroups ask for. An import that has the deprecated field to keeps it
// until its subjects change: then it has a local subject in its place.
func (f *form) importEdit(was *jwt.Import) func(*jwt.Import) {
	kind, subject, local, token := exportKind(f.value("kind")), f.value("subject"), f.value("local"), strings.Join(strings.Fields(f.value("token")), "")
	moves := kind != was.Type || subject != claims.ImportedSubject(was) || local != givenLocal(was)
	if token != "" && f.checked("no_token") {
		f.fail("token", "Send a token, or take the one away that it has; not both.")
	}
	return func(m *jwt.Import) {
		m.Account, m.Name, m.Share, m.AllowTrace = f.value("exporter"), f.value("name"), f.checked("share"), f.checked("trace")
		if moves {
			m.Type, m.Subject, m.LocalSubject, m.To = kind, jwt.Subject(subject), jwt.RenamingSubject(local), "" //nolint:staticcheck // deprecated, and still in force where it is set
		}
		switch {
		case token != "":
			m.Token = token
		case f.checked("no_token"):
			m.Token = ""
		}
	}
}

// editImportStep changes what an account imports.
func (c *Console) editImportStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findImport(r, v)
	if err != nil {
		return step{}, err
	}
	subject := claims.ImportedSubject(&e.Body)
	s := c.sharingStep(p, p.importURL(e.ID, "edit"), "Change the import "+subject,
		"What "+p.account.Name+" receives, or asks, changes on every server. Where the local subject changes, tell the clients.", importGroups(&e.Body)...)
	s.form.Cancel, s.plan.Cancel = p.importURL(e.ID), p.importURL(e.ID)
	s.plan.Apply, s.agreed = "Change the import", []any{e.ID, e.Version}
	s.calls = []apiCall{c.call("Change the import", http.MethodPatch, p.importURL(e.ID), `{"local_subject":"in.orders.paid.>"}`)}
	f := s.form
	if e.Exporter.Name != "" {
		f.field("exporter").Hint = "Its public key, or its name if it is known here. Now it is " + e.Exporter.Name + "."
	}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = e.Version
		edit := f.importEdit(&e.Body)
		if !f.ok() {
			return made{}, errLookAgain
		}
		out, err := c.issuer.UpdateImport(r.Context(), op, p.account.ID, e.ID, edit)
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, sideways(err, "/exporter")
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The import "+subject+" was changed.")
		return seeOther(p.importURL(e.ID)), nil
	}
	return s, nil
}
