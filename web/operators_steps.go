package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// lifetimeInput writes the seconds of a policy, 0 as nothing.
func lifetimeInput(n int64) string { return ttlText(time.Duration(n) * time.Second) }

// seconds reads the seconds of a policy.
func (f *form) seconds(name string) int64 {
	return f.limit(name, func(s string) (int64, error) {
		d, err := parseTTL(s)
		return int64(d / time.Second), err
	})
}

func editOperatorForm(o issuer.Operator, url string) *form {
	life := func(name, pointer, label, hint string, n int64) *field {
		return &field{Name: name, Pointer: "/policy/" + pointer, Label: label, Hint: hint, Kind: kindText, Autocomplete: "off", Value: lifetimeInput(n)}
	}
	p := o.Policy
	return &form{
		Action: url + "/edit", Submit: "Review the change", Cancel: url,
		Groups: []group{
			{Legend: "Servers", Fields: []*field{
				{
					Name: "service_urls", Pointer: "/service_urls", Label: "Addresses of its nats-servers", Kind: kindText, Autocomplete: "off", Value: strings.Join(o.Settings.OperatorServiceURLs, " "),
					Hint: "Separated by spaces. Chancery connects there to push changes and to read them back.",
				},
				{
					Name: "account_server_url", Pointer: "/account_server_url", Label: "Account server URL", Kind: kindText, Autocomplete: "off", Value: o.Settings.AccountServerURL,
					Hint: "Optional. Where a server without a resolver in its configuration looks for accounts.",
				},
				{
					Name: "servers", Pointer: "/policy/servers_expected", Label: "Servers expected", Kind: kindText, Numeric: true, Autocomplete: "off",
					Value: strings.TrimPrefix(strconv.FormatInt(p.Servers, 10), "0"), Hint: "How many nats-servers are to answer: with one fewer, nothing counts as in effect everywhere. Empty to expect no number.",
				},
				{
					Name: "foreign", Pointer: "/policy/foreign_newer", Label: "Newer account JWTs that somebody else signed", Kind: kindSelect, Value: string(p.ForeignNewer),
					Options: []option{{"", "Report them, and wait for a decision"}, {"keep", "Keep ours: sign it anew, with what theirs revokes"}, {"adopt", "Adopt theirs: take over what they say"}},
					Hint:    "They are signed with a key of this operator, and servers obey the newest.",
				},
				{Name: "tags", Pointer: "/tags", Label: "Tags", Kind: kindText, Autocomplete: "off", Value: strings.Join(o.Settings.Tags, " "), Hint: "Optional, separated by spaces."},
			}},
			{Legend: "Trust", Fields: []*field{{
				Name: "strict", Pointer: "/strict_signing_keys", Label: "Strict signing keys", Kind: kindCheckbox, Checked: o.Settings.StrictSigningKeyUsage,
				Hint: "Identity keys sign nothing but their own JWT.",
			}}},
			{Legend: "Policy", Note: "Asked of what is issued from now on. It is no part of the JWT. What may be issued at all is bounded by the guardrails.", Fields: []*field{
				life("ttl", "credential_ttl_seconds", "Lifetime of credentials", "Such as 30 days or 12 hours, where none is asked for. Empty for 90 days.", p.DefaultTTL),
				life("operator_age", "operator_key_age_seconds", "Rotate operator keys after", "Empty for never by itself.", p.OperatorKeyAge),
				life("account_age", "account_key_age_seconds", "Rotate account keys after", "Empty for never by itself.", p.AccountKeyAge),
				life("template_age", "template_key_age_seconds", "Rotate template keys after", "Empty for never by itself.", p.TemplateKeyAge),
				life("overlap", "rotation_overlap_seconds", "Overlap of rotated keys", "How long the key before stays trusted.", p.Overlap),
				{
					Name: "renewal", Pointer: "/policy/renewal_percent", Label: "Renewal by holders, in the last percent of the lifetime", Kind: kindText, Numeric: true, Autocomplete: "off",
					Value: strings.TrimPrefix(strconv.FormatInt(p.Renewal, 10), "0"), Hint: "Empty for never.",
				},
			}},
			{Fields: []*field{reasonField()}},
		},
	}
}

// operatorEdit returns the change that the form asks for.
func operatorEdit(f *form) func(e *issuer.OperatorEdit) {
	return func(e *issuer.OperatorEdit) {
		e.ServiceURLs, e.Tags = strings.Fields(f.value("service_urls")), splitTags(f.value("tags"))
		e.AccountServerURL, e.Strict = f.value("account_server_url"), f.checked("strict")
		p := &e.Policy
		p.DefaultTTL = f.seconds("ttl")
		p.OperatorKeyAge, p.AccountKeyAge, p.TemplateKeyAge = f.seconds("operator_age"), f.seconds("account_age"), f.seconds("template_age")
		p.Overlap, p.Renewal, p.Servers = f.seconds("overlap"), f.limit("renewal", parsePercent), f.limit("servers", parseServers)
		p.ForeignNewer = claims.DriftDecision(f.value("foreign"))
	}
}

var errPercent = errors.New("Write a number of percent, such as 33.") //nolint:revive,staticcheck // a sentence for people

func parsePercent(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(s, "%")), 10, 64)
	if err != nil {
		return 0, errPercent
	}
	return n, nil
}

// parseServers reads how many servers are expected; nothing is no number.
func parseServers(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return parseCount(s)
}

// operatorStep is a change of an operator.
func (c *Console) operatorStep(r *http.Request, v *visit, kind string) (step, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return step{}, err
	}
	path := "/operators/" + r.PathValue("op")
	s := step{url: url + "/" + kind, crumbs: operatorCrumbs(o, url), agreed: []any{o.ID, o.Version, kind}, plan: planView{Cancel: url}}
	if kind == "delete" {
		s.form = &form{Action: s.url, Submit: "Review the change", Danger: true, Cancel: url, Groups: []group{{Fields: []*field{typed("operator"), reasonField()}}}}
		s.title, s.lead = "Delete operator "+o.Name, "Nothing of it is served, pushed or signed any more, and its servers cannot be restarted. It must have no accounts but its system account. This cannot be undone."
		s.plan.Apply, s.plan.Danger, s.check = "Delete for ever", true, wantTyped(o.Name)
		s.plan.Changes = []planChange{{Field: "State", From: stateChip(o.State).Text, To: "Deleted"}}
		s.run = func(op issuer.Op) (made, error) {
			op.ExpectedVersion = o.Version
			out, err := c.issuer.DeleteOperator(r.Context(), op, o.ID)
			return made{plan: out.Plan}, err
		}
		s.done = func(made) (answer, error) {
			c.notify(r, v, "Operator "+o.Name+" was deleted.")
			return seeOther("/operators"), nil
		}
		s.calls = []apiCall{c.call("Delete the operator", http.MethodDelete, path, "")}
		return s, nil
	}
	s.form = editOperatorForm(o, url)
	s.title, s.lead = "Change operator "+o.Name, "You see what a change does before it is made. Servers take a new operator JWT when they are restarted with it."
	s.plan.Apply, s.plan.Servers = "Apply", nil
	edit := operatorEdit(s.form)
	s.check = func(*form) { edit(&issuer.OperatorEdit{}) } // says what is wrong once, before anything is asked
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = o.Version
		out, err := c.issuer.UpdateOperator(r.Context(), op, o.ID, edit)
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "Operator "+o.Name+" was changed.")
		return seeOther(url), nil
	}
	s.calls = []apiCall{c.call("Change the operator", http.MethodPatch, path, `{"service_urls":["nats://n1.acme:4222"],"policy":{"credential_ttl_seconds":7776000}}`)}
	return s, nil
}

// operatorStepForm, operatorStepPlan and operatorStepApply return the three pages of
// a change.
func operatorStepForm(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.operatorStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return s.page(), nil
	}
}

func operatorStepPlan(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.operatorStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.look(r, v, s)
	}
}

func operatorStepApply(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.operatorStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.apply(r, v, s)
	}
}

// signingForm is the switch: one page, since it is moved in a hurry and moved back
// as easily.
func signingForm(o issuer.Operator, url string) *form {
	reason := reasonField()
	reason.Hint = "Shown on every page while the switch is off, and kept in the audit log."
	f := &form{Action: url + "/signing", Submit: "Switch signing on", Cancel: url, Groups: []group{{Fields: []*field{reason}}}, Hidden: []hidden{{"enabled", "true"}}}
	if o.Signing {
		f.Submit, f.Danger, f.Hidden = "Switch signing off", true, []hidden{{"enabled", "false"}}
	}
	return f
}

func (c *Console) signing(r *http.Request, v *visit) (answer, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.signingPage(r, o, url, signingForm(o, url)), nil
}

func (c *Console) signingPage(r *http.Request, o issuer.Operator, url string, f *form) answer {
	lead := "Signing is off: nothing new is signed under this operator but what takes rights away. Switching it on signs what waited."
	if o.Signing {
		lead = "Off, nothing new is signed under this operator but revocations, suspensions and deletions. Servers, clients and pushes go on. Use it while you find out whether a key leaked."
	}
	return answer{
		status: f.status(), page: "form", title: "Signing switch of " + o.Name, crumbs: operatorCrumbs(o, url),
		body:  formView{Title: "Signing switch of " + o.Name, Lead: lead, Form: f},
		calls: []apiCall{c.call("Switch signing off", http.MethodPut, "/operators/"+r.PathValue("op")+"/signing", `{"enabled":false,"reason":"suspected leak"}`)},
	}
}

func (c *Console) switchSigning(r *http.Request, v *visit) (answer, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	f := signingForm(o, url)
	f.read(r.PostForm)
	if !f.ok() {
		return c.signingPage(r, o, url, f), nil
	}
	on := r.PostForm.Get("enabled") == "true"
	if _, err := c.issuer.SetSigning(r.Context(), v.op(f.value("reason")), o.ID, on); err != nil {
		if f.accept(err) {
			return c.signingPage(r, o, url, f), nil
		}
		return answer{}, err
	}
	say := map[bool]string{true: "Signing is on again for operator ", false: "Signing is off for operator "}
	c.notify(r, v, say[on]+o.Name+".")
	return seeOther(url), nil
}
