package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// exportGroups ask for what is exported; e is what stands in them at first.
func exportGroups(e *jwt.Export) []group {
	kind, subject, position, response := kindField(), subjectField("Other accounts import this, or a part of it."), positionField(), responseField()
	kind.Value, subject.Value, position.Value, response.Value = e.Type.String(), string(e.Subject), positive(int64(e.AccountTokenPosition)), responseChoice(e) //nolint:gosec // at most the length of a subject
	latency := jwt.ServiceLatency{}
	if e.Latency != nil {
		latency = *e.Latency
	}
	more := group{Legend: "More", Fold: true, Fields: []*field{
		{Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Autocomplete: "off", Value: e.Name, Hint: "Optional. What the export is called beside its subject."},
		{Name: "description", Pointer: "/description", Label: "Description", Kind: kindText, Autocomplete: "off", Value: e.Description, Hint: "Optional. For those who look at the account's JWT."},
		{Name: "info_url", Pointer: "/info_url", Label: "More information", Kind: kindText, Autocomplete: "off", Value: e.InfoURL, Placeholder: "https://wiki.example.com/orders"},
		{Name: "threshold", Pointer: "/response_threshold_ms", Label: "Time for an answer, in milliseconds", Kind: kindText, Autocomplete: "off", Numeric: true, Value: positive(e.ResponseThreshold.Milliseconds()), Hint: "Of a service: a server gives an answer up that takes longer. Empty for the server's own time."},
		{Name: "latency", Pointer: "/latency_results", Label: "Report how long answers take to", Kind: kindText, Autocomplete: "off", Code: true, Max: 1024, Value: string(latency.Results), Placeholder: "latency.orders", Hint: "Of a service: a subject of this account. Empty measures nothing."},
		{Name: "sampling", Pointer: "/latency_sampling", Label: "Measured requests, in percent", Kind: kindText, Autocomplete: "off", Numeric: true, Value: positive(int64(latency.Sampling)), Hint: "Empty measures those that ask for it by a header."},
		{Name: "trace", Pointer: "/allow_trace", Label: "Traces of messages cross", Kind: kindCheckbox, Checked: e.AllowTrace, Hint: "Of a service."},
		{Name: "advertise", Pointer: "/advertise", Label: "Advertised", Kind: kindCheckbox, Checked: e.Advertise, Hint: "A mark for tools that list what is offered. Servers do not look at it."},
	}}
	for _, x := range more.Fields {
		more.Open = more.Open || x.Value != "" || x.Checked
	}
	return []group{{Fields: []*field{
		kind, subject,
		{
			Name: "access", Pointer: "/access", Label: "Who may import it", Kind: kindSelect, Required: true, Value: string(issuer.AccessOf(e)),
			Options: []option{
				{string(issuer.AccessActivation), "Whoever has an activation token"},
				{string(issuer.AccessPublic), "Every account"},
				{string(issuer.AccessTokenPosition), "Every account, each under its own key"},
			},
		},
		position, response,
	}}, more}
}

// positive writes a number that has to be given to count.
func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// responseChoice is the option of responseField: no word, and the word for it, are the same to a server.
func responseChoice(e *jwt.Export) string {
	if e.ResponseType == jwt.ResponseTypeSingleton {
		return ""
	}
	return string(e.ResponseType)
}

// exportEdit returns the change of was that exportGroups ask for. What they say in other words than before stays as it
// was written. It fails the form where a value cannot be read.
func (f *form) exportEdit(was *jwt.Export) func(*jwt.Export) {
	access, position := issuer.Access(f.value("access")), uint(0)
	if access == issuer.AccessTokenPosition {
		if position = f.position(); f.ok() && position == 0 {
			f.fail("position", "Say at which place of the subject the importer's key stands.")
		}
	}
	threshold := was.ResponseThreshold
	if f.value("threshold") != positive(threshold.Milliseconds()) {
		threshold = time.Duration(f.number("threshold")) * time.Millisecond
	}
	latency := f.latency(was.Latency)
	return func(e *jwt.Export) {
		e.Type, e.Subject, e.Name = exportKind(f.value("kind")), jwt.Subject(f.value("subject")), f.value("name")
		if access != issuer.AccessOf(e) {
			e.TokenReq = access == issuer.AccessActivation
		}
		e.AccountTokenPosition = position
		if chosen := f.value("response"); chosen != responseChoice(e) {
			e.ResponseType = jwt.ResponseType(chosen)
		}
		e.ResponseThreshold, e.Latency, e.AllowTrace, e.Advertise = threshold, latency, f.checked("trace"), f.checked("advertise")
		e.Description, e.InfoURL = f.value("description"), f.value("info_url")
	}
}

// latency reads where a service's times are reported.
func (f *form) latency(was *jwt.ServiceLatency) *jwt.ServiceLatency {
	results, sampling := f.value("latency"), f.number("sampling")
	switch {
	case results == "" && sampling != 0:
		f.fail("latency", "Say where to report to, or leave the percentage empty too.")
		return was
	case results == "":
		return nil
	case sampling < 0 || sampling > 100:
		f.fail("sampling", "Write a percentage from 1 to 100, or nothing.")
		return was
	}
	return &jwt.ServiceLatency{Results: jwt.Subject(results), Sampling: jwt.SamplingRate(sampling)}
}

// editExportStep changes what an account exports. Its revocations stay.
func (c *Console) editExportStep(r *http.Request, v *visit) (step, error) {
	p, e, err := c.findExport(r, v)
	if err != nil {
		return step{}, err
	}
	subject := string(e.Body.Subject)
	s := c.sharingStep(p, p.exportURL(e.ID, "edit"), "Change the export "+subject,
		"What "+p.account.Name+" offers changes on every server. An import that does not fit any more stops working: the plan names those of accounts here.", exportGroups(&e.Body)...)
	s.form.Cancel, s.plan.Cancel = p.exportURL(e.ID), p.exportURL(e.ID)
	s.plan.Apply, s.agreed = "Change the export", []any{e.ID, e.Version}
	s.plan.Impact = []impact{{formatCount(e.Imports), nounOf(e.Imports, "import is held against it", "imports are held against it"), "Of accounts here.", toneOff}}
	s.calls = []apiCall{c.call("Change the export", http.MethodPatch, p.exportURL(e.ID), `{"access":"public","description":"Orders that were paid"}`)}
	f := s.form
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = e.Version
		edit := f.exportEdit(&e.Body)
		if !f.ok() {
			return made{}, errLookAgain
		}
		out, err := c.issuer.UpdateExport(r.Context(), op, p.account.ID, e.ID, edit)
		if was, is := issuer.AccessOf(&e.Body), issuer.AccessOf(&out.Value.Body); err == nil && was != is {
			out.Plan.Summary = append(out.Plan.Summary, claims.FieldChange{Field: "Who may import it", Pointer: "/access", Before: accessWord(was), After: accessWord(is)})
		}
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The export "+subject+" was changed.")
		return seeOther(p.exportURL(e.ID)), nil
	}
	return s, nil
}
