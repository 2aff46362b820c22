package web

import (
	"net/http"

	"chancery/issuer"
)

// accountCloneStep is the copying of an account.
func (c *Console) accountCloneStep(r *http.Request, v *visit, p place) (step, error) {
	a := p.account
	operators, err := c.issuer.ListOperators(r.Context(), v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return step{}, err
	}
	fields := []*field{{
		Name: "name", Pointer: "/name", Label: "Name of the copy", Kind: kindText, Required: true, Autocomplete: "off", Hint: "Up to 64 printable characters.",
	}}
	if len(operators) > 1 {
		choice := &field{Name: "operator", Pointer: "/operator", Label: "Operator", Kind: kindSelect, Value: a.OperatorID}
		for _, o := range operators {
			choice.Options = append(choice.Options, option{o.ID, o.Name})
		}
		fields = append(fields, choice)
	}
	s := step{
		url: p.accountURL("clone"), title: "Copy " + a.Name, crumbs: p.accountCrumbs(), agreed: []any{a.ID, a.Version},
		lead:  "A new account with these settings, limits and templates, and keys of its own. Users, credentials, revocations and shares are not copied.",
		form:  &form{Action: p.accountURL("clone"), Submit: "Review the copy", Cancel: p.accountURL(), Groups: []group{{Fields: append(fields, reasonField())}}},
		calls: []apiCall{c.call("Copy the account", http.MethodPost, p.accountURL("clone"), `{"name":"ORDERS-STAGING"}`)},
	}
	s.plan = planView{Servers: serverNames(c.live.Servers(a.OperatorID)), Cancel: p.accountURL(), Apply: "Make the copy"}
	s.run = func(op issuer.Op) (made, error) {
		out, err := c.issuer.CloneAccount(r.Context(), op, a.ID, issuer.AccountCloneInput{Name: s.form.value("name"), Operator: s.form.value("operator")})
		return made{out.Plan, out.Value.ID, out.Value.JWTVersion}, err
	}
	s.done = func(m made) (answer, error) {
		c.notify(r, v, "Account "+s.form.value("name")+" is a copy of "+a.Name+".")
		return seeOther(accountURL(m.account)), nil
	}
	return s, nil
}
