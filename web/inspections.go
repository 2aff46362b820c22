package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// inspectorView is the Inspector: what a JWT says, why its user is refused, and who
// may do what.
type inspectorView struct {
	Read, Ask *form
	// Inspection is nil until something was read.
	Inspection *inspectionView
	// Permitted is nil until something was asked.
	Permitted *permittedView
}

// inspectionView is a JWT, read and explained.
type inspectionView struct {
	Title    string
	Sections []claims.Section
	Chain    []chainNode
	Problems []problemRow
	// Connection is there for a user's JWT alone.
	Connection *connectionView
	Permission *effectiveView
}

// chainNode is one holder of a key in the picture of a chain.
type chainNode struct {
	Kind, Name, Key, Role string
	// Signed is how the node signed the one before; State and Why are empty for the
	// first node, which is the JWT itself.
	State chip
	Why   string
}

type problemRow struct {
	Chip            chip
	Pointer, Detail string
}

// connectionView is the explanation of a connection.
type connectionView struct {
	Tone    tone
	Title   string
	Summary string
	Fixes   []string
	Log     string
	Checks  []checkRow
}

type checkRow struct {
	Chip            chip
	Title, Evidence string
	// Reason marks the first failure.
	Reason bool
	Fixes  []string
}

// effectiveView is what a user may really do.
type effectiveView struct {
	// Origin says in a sentence where the permissions come from.
	Origin             string
	Publish, Subscribe claims.RuleSet
	Refusal            string
	Capabilities       []claims.Capability
}

func newEffective(e claims.Effective) *effectiveView {
	v := &effectiveView{Publish: e.Publish, Subscribe: e.Subscribe, Capabilities: e.Capabilities()}
	switch e.Origin {
	case claims.OriginUser:
		v.Origin = "They are the user's own, from its JWT."
	case claims.OriginTemplate:
		v.Origin = "They come from the template of the key that issued it."
	case claims.OriginDefault:
		v.Origin = "They are the account's default permissions."
	default:
		v.Origin = "Nothing restricts it inside its account."
	}
	if e.Refusal != nil {
		v.Refusal = e.Refusal.Detail
	}
	return v
}

func readForm() *form {
	types := []option{{"", "Not known"}}
	for _, t := range claims.ConnectionTypes() {
		types = append(types, option{t, t})
	}
	return &form{
		Action: inspectPath, Submit: "Read and explain",
		Groups: []group{{Fields: []*field{
			{
				Name: "jwt", Pointer: "/jwt", Label: "JWT or creds file", Kind: kindTextarea, Required: true, Code: true, JWT: true, Max: maxDocument,
				Hint: "Any NATS JWT: operator, account, user or activation. It is neither stored nor logged. The private key of a creds file stays here: this page cuts it out, and what arrives with one is refused.",
			},
		}}, {
			Legend: "The connection", Note: "All of it is optional. What is left empty is reported as not known.", Fields: []*field{
				{Name: "host", Pointer: "/host", Label: "Client's IP address", Kind: kindText, Placeholder: "10.2.3.4", Autocomplete: "off"},
				{Name: "type", Pointer: "/type", Label: "Connection type", Kind: kindSelect, Options: types},
				{Name: "at", Pointer: "/at", Label: "When", Kind: kindText, Placeholder: "2026-01-31T12:00:00Z", Autocomplete: "off", Hint: "Now, if empty."},
			},
		}},
	}
}

// inspectPath is the Inspector's place.
const inspectPath = "/inspect"

// maxDocument is the longest document that the Inspector reads, in characters: an
// account's JWT of 1 MiB and some dashes.
const maxDocument = 1<<20 + 4096

// inspector shows the two questions.
func (c *Console) inspector(*http.Request, *visit) (answer, error) {
	return c.inspectorPage(http.StatusOK, inspectorView{Read: readForm(), Ask: askForm()}), nil
}

func (c *Console) inspectorPage(status int, view inspectorView) answer {
	return answer{
		status: status, page: "inspect", title: "Inspector", body: view,
		calls: []apiCall{
			c.call("Read a JWT", http.MethodPost, "/inspections", `{"jwt":"eyJ…"}`),
			c.call("Explain a connection", http.MethodPost, "/explanations", `{"jwt":"eyJ…","host":"10.2.3.4","type":"STANDARD"}`),
			c.call("Who may publish to a subject", http.MethodPost, "/permission-checks", `{"op":"publish","subject":"orders.new"}`),
		},
	}
}

func (c *Console) inspect(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	view := inspectorView{Read: readForm(), Ask: askForm()}
	f := view.Read
	f.read(r.PostForm)
	at := time.Time{}
	if s := f.value("at"); s != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s); err != nil {
			f.fail("at", "Write the time as 2026-01-31T12:00:00Z.")
		}
	}
	if f.ok() && f.value("jwt") == "" {
		f.fail("jwt", "Paste a JWT or a creds file.")
	}
	if !f.ok() {
		return c.inspectorPage(f.status(), view), nil
	}
	document := claims.NewSecret(f.value("jwt"))
	x, err := c.issuer.Inspect(ctx, v.caller, document)
	if err != nil {
		return c.misread(view, err)
	}
	if at.IsZero() {
		at = c.now()
	}
	view.Inspection = newInspection(x, at)
	if x := f.field("jwt"); len(x.Value) > maxBody {
		x.Value = "" // a page need not carry an account of 1 MiB back
	}
	if _, ok := x.Claims.(*jwt.UserClaims); ok {
		e, err := c.issuer.Explain(ctx, v.caller, issuer.AttemptInput{JWT: document, Host: f.value("host"), Type: f.value("type"), At: at})
		if err != nil {
			return c.misread(view, err)
		}
		view.Inspection.Connection = newConnection(e)
	}
	return c.inspectorPage(http.StatusOK, view), nil
}

// misread shows the form again with what is wrong with it.
func (c *Console) misread(view inspectorView, err error) (answer, error) {
	view.Inspection = nil
	if !view.Read.accept(err) {
		return answer{}, err
	}
	return c.inspectorPage(view.Read.status(), view), nil
}

func newInspection(x issuer.Inspection, at time.Time) *inspectionView {
	d := x.Claims.Claims()
	kind := string(x.Claims.ClaimType())
	name := d.Name
	if name == "" {
		name = claims.ShortKey(d.Subject)
	}
	v := &inspectionView{
		Title:    strings.ToUpper(kind[:1]) + strings.ReplaceAll(kind[1:], "_", " ") + " " + name,
		Sections: claims.Describe(x.Claims, at),
		Chain:    []chainNode{{Kind: kind, Name: d.Name, Key: d.Subject}},
	}
	for _, l := range x.Chain {
		v.Chain = append(v.Chain, chainNode{Kind: string(l.Kind), Name: l.Name, Key: l.Key, Role: l.Role, State: linkChip(l.State), Why: l.Why})
	}
	for _, p := range x.Problems(at) {
		row := problemRow{chip{tonePart, "Unusual"}, p.Pointer, p.Detail}
		switch {
		case p.Server:
			row.Chip = chip{toneBad, "Refused by servers"}
		case p.Blocking:
			row.Chip = chip{toneWait, "Not made here"}
		}
		v.Problems = append(v.Problems, row)
	}
	if x.Permissions != nil {
		v.Permission = newEffective(*x.Permissions)
	}
	return v
}

func linkChip(s claims.LinkState) chip {
	switch s {
	case claims.LinkTrusted:
		return chip{toneGood, "Trusted"}
	case claims.LinkBroken:
		return chip{toneBad, "Broken"}
	}
	return chip{toneWait, "Not known here"}
}

func newConnection(e claims.Explanation) *connectionView {
	v := &connectionView{Summary: e.Summary}
	switch e.Verdict {
	case claims.VerdictAdmitted:
		v.Tone, v.Title = toneGood, "A server admits this connection"
	case claims.VerdictRefused:
		v.Tone, v.Title = toneBad, "A server refuses this connection"
	case claims.VerdictDelegated:
		v.Tone, v.Title = toneWait, "The auth callout of the account decides"
	default:
		v.Tone, v.Title = toneWait, "Nothing speaks against this connection"
	}
	if e.Failed != nil {
		v.Fixes, v.Log = e.Failed.Fixes, e.Failed.ServerLog
	}
	for _, x := range e.Checks {
		row := checkRow{Title: x.Title, Evidence: x.Evidence}
		switch x.Result {
		case claims.ResultPass:
			row.Chip = chip{toneGood, "Pass"}
		case claims.ResultFail:
			row.Chip, row.Reason = chip{toneBad, "Fail"}, e.Failed != nil && x.ID == e.Failed.ID
			if !row.Reason {
				row.Fixes = x.Fixes
			}
		case claims.ResultUnknown:
			row.Chip = chip{toneWait, "Not known"}
		default:
			row.Chip = chip{toneOff, "Not checked"}
		}
		v.Checks = append(v.Checks, row)
	}
	return v
}

// inspectURL is the answer to a question as an address.
func inspectURL(q url.Values) string { return inspectPath + "/can?" + q.Encode() }
