package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// guardrailsView says in sentences what bounds an operator's accounts, or one account.
type guardrailsView struct {
	Rules []string
	// EditURL leads to the form; empty for who may not set them.
	EditURL string
}

// guardedPlace is an operator or account with its guardrails, and how to set them.
type guardedPlace struct {
	issuer.Guardrails
	operator bool
	what     string
	// api is the path of the object in the API, url that of its page.
	api, url string
	crumbs   []link
	set      func(context.Context, issuer.Op, string, claims.Guardrails) (issuer.Outcome[issuer.Guardrails], error)
}

// findGuarded finds the operator or account of the path.
func (c *Console) findGuarded(r *http.Request, v *visit) (guardedPlace, error) {
	if r.PathValue("acct") == "" {
		o, url, err := c.findOperator(r, v)
		if err != nil {
			return guardedPlace{}, err
		}
		g := guardedPlace{operator: true, what: "operator", api: "/operators/" + r.PathValue("op"), url: url, crumbs: operatorCrumbs(o, url), set: c.issuer.SetOperatorGuardrails}
		g.Guardrails, err = c.issuer.OperatorGuardrails(r.Context(), v.caller, o.ID)
		return g, err
	}
	p, err := c.findAccount(r, v)
	if err != nil {
		return guardedPlace{}, err
	}
	g := guardedPlace{what: "account", api: p.accountURL(), url: p.accountURL(), crumbs: p.accountCrumbs(), set: c.issuer.SetAccountGuardrails}
	g.Guardrails, err = c.issuer.AccountGuardrails(r.Context(), v.caller, p.account.ID)
	return g, err
}

// operatorGuardrails and accountGuardrails are what the page of an object says of them.
func (c *Console) operatorGuardrails(v *visit, o issuer.Operator, url string) guardrailsView {
	out := guardrailsView{Rules: o.Policy.Rules()}
	if o.Custody != issuer.CustodyObserved && v.may(issuer.WriteGuardrails) {
		out.EditURL = url + "/guardrails"
	}
	return out
}

func (c *Console) accountGuardrails(ctx context.Context, v *visit, p place) (guardrailsView, error) {
	g, err := c.issuer.AccountGuardrails(ctx, v.caller, p.account.ID)
	tags := g.Effective.AccountTags
	e := rulesFor(g.Effective, claims.Quotas(false)...)
	e.AccountTags = tags
	out := guardrailsView{Rules: e.Rules()}
	if !p.account.System && v.may(issuer.WriteGuardrails) {
		out.EditURL = p.accountURL("guardrails")
	}
	return out, err
}

// rulesFor are the guardrails that a form is about: the quotas are those named.
func rulesFor(g claims.Guardrails, quotas ...claims.Quota) claims.Guardrails {
	all := g.Quotas
	g.AccountTags, g.Quotas = nil, map[claims.Quota]int64{}
	for _, q := range quotas {
		if n, bounded := all[q]; bounded {
			g.Quotas[q] = n
		}
	}
	return g
}

// userRules and templateRules say what bounds users and templates; a page does without
// what the person may not read.
func (c *Console) userRules(ctx context.Context, v *visit, p place) []string {
	g, err := c.issuer.AccountGuardrails(ctx, v.caller, p.account.ID)
	if err != nil {
		return nil
	}
	return rulesFor(g.Effective, claims.QuotaUsers, claims.QuotaCredentials).Rules()
}

func (c *Console) templateRules(ctx context.Context, v *visit, s site) []string {
	var g issuer.Guardrails
	var err error
	if s.shared() {
		g, err = c.issuer.OperatorGuardrails(ctx, v.caller, s.operator.ID)
	} else {
		g, err = c.issuer.AccountGuardrails(ctx, v.caller, s.account.ID)
	}
	if err != nil {
		return nil
	}
	e := rulesFor(g.Effective, claims.QuotaTemplates, claims.QuotaSigningKeys)
	e.UserTags = nil
	return e.Rules()
}

func guardrailsForm(g guardedPlace) *form {
	text := func(name, pointer, label, hint, value string) *field {
		return &field{Name: name, Pointer: pointer, Label: label, Hint: hint, Kind: kindText, Autocomplete: "off", Value: value}
	}
	own := g.Own
	makes := group{Legend: "What may be made", Fields: []*field{
		text("max_ttl", "/credential_max_ttl_seconds", "Longest lifetime of credentials", "Such as 30 days or 12 hours. With one, nothing is issued that never expires. Empty for no bound.", lifetimeInput(own.MaxTTL)),
		{Name: "no_bearer", Pointer: "/no_bearer", Label: "Refuse bearer users", Kind: kindCheckbox, Checked: own.NoBearer, Hint: "Whoever sees a bearer user's JWT can connect with it."},
		text("user_tags", "/required_user_tags", "Tags that every user needs", "Their keys, separated by spaces: team asks for a tag such as team:orders. Empty for none.", strings.Join(own.UserTags, " ")),
	}}
	if g.operator {
		makes.Fields = append(makes.Fields, text("account_tags", "/required_account_tags", "Tags that every account needs", "Likewise.", strings.Join(own.AccountTags, " ")))
	}
	prefixes := text("subjects", "/subject_prefixes", "Subjects begin with",
		"Separated by spaces, each ending in a dot: orders. allows what orders.> matches. inboxes stands for _INBOX.> and private inboxes, responses for answers to requests on whatever subject these name. JetStream needs $JS.API. besides. Empty for no bound.",
		strings.Join(own.Subjects, " "))
	prefixes.Code = true
	makes.Fields = append(makes.Fields, prefixes)
	counts, sums := group{Legend: "How many", Note: "Empty for no bound, 0 for none."}, group{Legend: "Limits of all accounts together", Note: "The sum of what accounts are given. With one, no account is unlimited. Empty for no bound."}
	for _, q := range claims.Quotas(g.operator) {
		name, bytes := claims.QuotaName(q)
		n, bounded := own.Quotas[q]
		if !bounded {
			n = -1
		}
		x := text(string(q), claims.Point("/quotas", string(q)), name, "", countInput(n))
		x.Placeholder, x.Numeric = "no bound", !bytes
		switch q {
		case claims.TotalConnections, claims.TotalDisk, claims.TotalMemory:
			if bytes {
				x.Value, x.Hint = sizeInput(n), "Such as 500 GiB."
			}
			sums.Fields = append(sums.Fields, x)
			continue
		case claims.QuotaTemplates:
			x.Hint = "Without those that the operator shares."
		case claims.QuotaSigningKeys:
			x.Hint = "With those of templates. A rotation needs one more for a while."
		case claims.QuotaCredentials:
			x.Hint = "Keys with credentials that have not expired and are not revoked. Renewing does not count again."
		}
		counts.Fields = append(counts.Fields, x)
	}
	groups := []group{makes, counts}
	if g.operator {
		groups = append(groups, sums)
	}
	return &form{Action: g.url + "/guardrails", Submit: "Review the change", Cancel: g.url, Groups: append(groups, group{Fields: []*field{reasonField()}})}
}

// guardrails reads what guardrailsForm asked; it fails the form where a value cannot be
// read.
func (f *form) guardrails(operator bool) claims.Guardrails {
	g := claims.Guardrails{
		MaxTTL: f.seconds("max_ttl"), NoBearer: f.checked("no_bearer"), UserTags: splitTags(f.value("user_tags")), AccountTags: splitTags(f.value("account_tags")),
		Subjects: splitTags(f.value("subjects")), Quotas: map[claims.Quota]int64{},
	}
	for _, q := range claims.Quotas(operator) {
		n := int64(0)
		if _, bytes := claims.QuotaName(q); bytes {
			n = f.size(string(q))
		} else {
			n = f.count(string(q))
		}
		if n >= 0 {
			g.Quotas[q] = n
		}
	}
	return g
}

func (c *Console) guardrailsStep(r *http.Request, v *visit) (step, error) {
	g, err := c.findGuarded(r, v)
	if err != nil {
		return step{}, err
	}
	s := step{url: g.url + "/guardrails", crumbs: g.crumbs, agreed: []any{g.ID, g.Version, "guardrails"}, plan: planView{Cancel: g.url, Apply: "Set the guardrails", Unpushed: true}, form: guardrailsForm(g)}
	s.title = "Guardrails of " + g.Of
	s.lead = "They bound what is made in every account of this operator, whoever makes it; its system account is free. What there is goes on: you see what of it is outside before they hold."
	if !g.operator {
		s.lead = "They bound what is made in this account beyond the guardrails of its operator: the stricter of both holds. What there is goes on."
		s.form.Rules = g.Operator.Rules()
		s.form.RulesTitle = "The operator's guardrails hold as well"
	}
	s.check = func(f *form) { f.guardrails(g.operator) } // says what is wrong once
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = g.Version
		out, err := g.set(r.Context(), op, g.ID, s.form.guardrails(g.operator))
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "The guardrails of "+g.Of+" were set.")
		return seeOther(g.url), nil
	}
	s.calls = []apiCall{
		c.call("The guardrails", http.MethodGet, g.api+"/guardrails", ""),
		c.call("Replace them: send the ETag as If-Match", http.MethodPut, g.api+"/guardrails", `{"credential_max_ttl_seconds":2592000,"required_user_tags":["team"],"subject_prefixes":["orders.","inboxes"]}`),
	}
	return s, nil
}

// guardrails, planGuardrails and setGuardrails are the three pages of setting them.
func (c *Console) guardrails(r *http.Request, v *visit) (answer, error) {
	s, err := c.guardrailsStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return s.page(), nil
}

func (c *Console) planGuardrails(r *http.Request, v *visit) (answer, error) {
	s, err := c.guardrailsStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.look(r, v, s)
}

func (c *Console) setGuardrails(r *http.Request, v *visit) (answer, error) {
	s, err := c.guardrailsStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.apply(r, v, s)
}

// guardedTTL is the longest lifetime that the guardrails of the account allow, 0 for
// no bound, and the one that its credentials have without a wish.
func (c *Console) guardedTTL(ctx context.Context, v *visit, p place) (longest, usual time.Duration) {
	g, err := c.issuer.AccountGuardrails(ctx, v.caller, p.account.ID)
	if err != nil {
		return 0, issuer.DefaultTTL
	}
	return time.Duration(g.Effective.MaxTTL) * time.Second, g.Usual
}
