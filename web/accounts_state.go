package web

import (
	"context"
	"net/http"

	"chancery/issuer"
)

// accountStep is a change of an account as a whole.
func (c *Console) accountStep(r *http.Request, v *visit, kind string) (step, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return step{}, err
	}
	switch kind {
	case "limits":
		return c.limitsStep(r, v, p), nil
	case "settings":
		return c.settingsStep(r, v, p), nil
	case "clone":
		return c.accountCloneStep(r, v, p)
	}
	a := p.account
	run := func(do func(context.Context, issuer.Op, string) (issuer.Outcome[issuer.Account], error)) func(issuer.Op) (made, error) {
		return func(op issuer.Op) (made, error) {
			op.ExpectedVersion = a.Version
			out, err := do(r.Context(), op, a.ID)
			return made{out.Plan, a.ID, out.Value.JWTVersion}, err
		}
	}
	done := func(sentence, to string) func(made) (answer, error) {
		return func(made) (answer, error) {
			c.notify(r, v, sentence)
			return seeOther(to), nil
		}
	}
	s := step{url: p.accountURL(kind), crumbs: p.accountCrumbs(), agreed: []any{a.ID, a.Version, kind}, closes: true}
	s.plan = planView{Servers: serverNames(c.live.Servers(a.OperatorID)), Cancel: p.accountURL()}
	after := map[string]string{"suspend": "suspended", "resume": "active", "delete": "deleted"}[kind]
	s.plan.Changes = []planChange{{Field: "State", From: stateChip(a.State).Text, To: stateChip(after).Text}}
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: p.accountURL(), Groups: []group{{Fields: []*field{reasonField()}}}}
	switch kind {
	case "suspend":
		s.title, s.lead = "Suspend "+a.Name, "Every connection to the account is closed and refused. Its limits and credentials stay as they are, for the day it goes on."
		s.plan.Apply, s.plan.Danger = "Suspend now", true
		s.run, s.done = run(c.issuer.SuspendAccount), done("Account "+a.Name+" is suspended.", p.accountURL())
		s.calls = []apiCall{c.call("Suspend the account", http.MethodPut, p.accountURL("suspension"), `{"reason":"contract ended"}`)}
	case "resume":
		s.title, s.lead = "Resume "+a.Name, "The account gets back the limits it had. Credentials that have not expired meanwhile work again."
		s.plan.Apply = "Resume"
		s.run, s.done = run(c.issuer.ResumeAccount), done("Account "+a.Name+" goes on.", p.accountURL())
		s.calls = []apiCall{c.call("End the suspension", http.MethodDelete, p.accountURL("suspension"), "")}
	default:
		s.title, s.lead = "Delete "+a.Name, "Everybody is refused for ever: what was issued is revoked, exports and imports end, and a tombstone stays on the servers. This cannot be undone. JetStream data on the servers is not touched."
		s.form.Groups = append([]group{{Fields: []*field{typed("account")}}}, s.form.Groups...)
		s.form.Danger, s.plan.Danger, s.plan.Apply = true, true, "Delete for ever"
		s.check, s.run, s.done = wantTyped(a.Name), run(c.issuer.DeleteAccount), done("Account "+a.Name+" was deleted.", "/accounts")
		s.calls = []apiCall{c.call("Delete the account", http.MethodDelete, p.accountURL(), "")}
	}
	return s, nil
}

// accountStepForm, accountStepPlan and accountStepApply return the three pages of a change.
func accountStepForm(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.accountStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return s.page(), nil
	}
}

func accountStepPlan(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.accountStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.look(r, v, s)
	}
}

func accountStepApply(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.accountStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.apply(r, v, s)
	}
}
