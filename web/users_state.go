package web

import (
	"context"
	"net/http"

	"chancery/issuer"
)

// userStep is a change of a user as a whole, or of its keys.
func (c *Console) userStep(r *http.Request, v *visit, kind string) (step, error) {
	p, err := c.findUser(r, v)
	if err != nil {
		return step{}, err
	}
	u := p.user
	s := step{url: p.userURL(kind), crumbs: p.userCrumbs(), agreed: []any{u.ID, u.Version, kind}, closes: true}
	s.plan = planView{Servers: serverNames(c.live.Servers(p.account.OperatorID)), Cancel: p.userURL()}
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: p.userURL(), Groups: []group{{Fields: []*field{reasonField()}}}}
	state := func(after string, do func(context.Context, issuer.Op, string, string) (issuer.Outcome[issuer.UserChanged], error), to string) {
		s.plan.Changes = []planChange{{Field: "State", From: stateChip(u.State).Text, To: stateChip(after).Text}}
		s.run = func(op issuer.Op) (made, error) {
			op.ExpectedVersion = u.Version
			out, err := do(r.Context(), op, p.account.ID, u.ID)
			return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
		}
		s.done = func(made) (answer, error) {
			c.notify(r, v, "User "+u.Name+" is "+after+".")
			return seeOther(to), nil
		}
	}
	switch kind {
	case "disable":
		s.title, s.lead = "Disable "+u.Name, "Everything issued to this user is refused by every server and connected clients are thrown out, until the user is enabled again. Nothing is issued meanwhile."
		s.plan.Apply, s.plan.Danger = "Disable now", true
		state("disabled", c.issuer.DisableUser, p.userURL())
		s.calls = []apiCall{c.call("Disable the user", http.MethodPut, p.userURL("disablement"), `{"reason":"on leave"}`)}
	case "enable":
		s.title, s.lead, s.closes = "Enable "+u.Name, "What disabling revoked, and has not expired, is accepted again. Other revocations stay.", false
		s.plan.Apply = "Enable"
		state("active", c.issuer.EnableUser, p.userURL())
		s.calls = []apiCall{c.call("Enable the user", http.MethodDelete, p.userURL("disablement"), "")}
	case "delete":
		s.title, s.lead = "Delete "+u.Name, "Everything issued to this user is revoked first; then the user is gone and its name is free. The ledger of what was issued stays. This cannot be undone."
		s.form.Groups = append([]group{{Fields: []*field{typed("user")}}}, s.form.Groups...)
		s.form.Danger, s.plan.Danger, s.plan.Apply, s.check = true, true, "Delete for ever", wantTyped(u.Name)
		state("deleted", c.issuer.DeleteUser, p.accountURL())
		s.calls = []apiCall{c.call("Delete the user", http.MethodDelete, p.userURL(), "")}
	case "edit":
		return c.editStep(r, v, p, s)
	default:
		return c.keyStep(r, v, p, s, kind)
	}
	return s, nil
}

// graces are how long an old key may go on beside a new one.
var graces = []option{{"0", "Not at all: revoke it at once"}, {"3600", "1 hour"}, {"86400", "1 day"}, {"604800", "7 days"}, {"2592000", "30 days"}}

// keyStep is a change that ends with new credentials: a roll, or revoking and issuing
// again.
func (c *Console) keyStep(r *http.Request, v *visit, p place, s step, kind string) (step, error) {
	ctx, u := r.Context(), p.user
	longest, err := c.templateBound(ctx, v, p)
	if err != nil {
		return s, err
	}
	fields := append([]*field{lifetimeField(c.boundsOf(ctx, v, p, longest))}, keyFields()...)
	fields = append(fields, issueReason())
	s.form.Rules = c.userRules(ctx, v, p)
	s.form.Hidden = []hidden{{"once", newOnce()}}
	if sent := r.PostForm.Get("once"); sent != "" {
		s.form.Hidden[0].Value = sent
	}
	var issued issuer.Issued
	if kind == "roll" {
		s.title, s.lead = "Roll the key of "+u.Name, "Credentials are issued for a new key. The old one, that of the newest credentials, is revoked when its grace is over; until then both work."
		fields = append([]*field{{Name: "grace", Pointer: "/grace_seconds", Label: "The old key goes on for", Kind: kindSelect, Value: "86400", Options: graces}}, fields...)
		s.plan.Apply, s.plan.Changes = "Roll the key", []planChange{{Field: "Key", From: "The one of the newest credentials", To: "A new one"}}
		s.calls = []apiCall{c.call("Roll the key", http.MethodPost, p.userURL("credentials", "roll"), `{"grace_seconds":86400}`)}
		s.run = func(op issuer.Op) (made, error) {
			out, err := c.issuer.Roll(ctx, op, p.account.ID, u.ID, issuer.RollInput{IssueInput: s.form.issueInput(v), Grace: s.form.duration("grace")})
			issued = out.Value.Issued
			m := made{plan: out.Plan, jwtVersion: out.Value.JWTVersion}
			if m.jwtVersion > 0 {
				m.account = p.account.ID
			}
			return m, err
		}
		s.closes = r.PostForm.Get("grace") == "0"
		for _, g := range graces {
			if g.Value == r.PostForm.Get("grace") && !s.closes {
				s.plan.Changes[0].To = "A new one; the old one goes on for " + g.Text
				s.plan.Lead = "Nothing has happened yet. This is what will; what stops working does so when the grace is over."
			}
		}
	} else {
		s.title, s.lead = "Revoke and issue again to "+u.Name, "Everything issued to this user up to now is refused, and new credentials are issued in the same step."
		s.plan.Apply, s.plan.Danger = "Revoke and issue again", true
		s.plan.Changes = []planChange{{Field: "Credentials", From: "Those issued up to now", To: "One new credential"}}
		s.calls = []apiCall{c.call("Revoke and issue again", http.MethodPost, p.userURL("credentials", "reissue"), `{"reason":"laptop lost"}`)}
		s.run = func(op issuer.Op) (made, error) {
			out, err := c.issuer.Reissue(ctx, op, p.account.ID, u.ID, s.form.issueInput(v))
			issued = out.Value.Issued
			return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
		}
	}
	s.form.Groups = []group{{Fields: fields}}
	s.done = func(made) (answer, error) {
		c.spend(r, v, r.PostForm.Get("once"))
		return c.secretPage(ctx, v, p, issued), nil
	}
	return s, nil
}

// userStepForm, userStepPlan and userStepApply return the three pages of a change.
func userStepForm(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.userStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return s.page(), nil
	}
}

func userStepPlan(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.userStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.look(r, v, s)
	}
}

func userStepApply(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.userStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		if len(s.form.Hidden) > 0 && c.spent(r, r.PostForm.Get("once")) {
			return answer{}, errSpent
		}
		return c.apply(r, v, s)
	}
}

func renewForm(p place) *form {
	return &form{
		Action: p.userURL("renew"), Submit: "Renew", Cancel: p.userURL(), Hidden: []hidden{{"once", newOnce()}},
		Groups: []group{{Fields: []*field{reasonField()}}},
	}
}

func (c *Console) renewPage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Renew credentials of " + p.user.Name, crumbs: p.userCrumbs(),
		body: formView{
			Title: "Renew credentials", Form: f,
			Lead: "A new JWT is issued for the key of the newest credentials, with the same lifetime. The holder keeps the seed and replaces the JWT; the old one works until it expires.",
		},
		calls: []apiCall{c.call("Renew", http.MethodPost, p.userURL("credentials", "renew"), `{}`)},
	}
}

func (c *Console) newRenewal(r *http.Request, v *visit) (answer, error) {
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.renewPage(p, renewForm(p)), nil
}

func (c *Console) renew(r *http.Request, v *visit) (answer, error) {
	ctx, once := r.Context(), r.PostForm.Get("once")
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	if c.spent(r, once) {
		return answer{}, errSpent
	}
	f := renewForm(p)
	if f.read(r.PostForm); !f.ok() {
		return c.renewPage(p, f), nil
	}
	out, err := c.issuer.Renew(ctx, v.op(f.value("reason")), p.account.ID, p.user.ID, issuer.RenewInput{DeliveredTo: shownTo(v)})
	if err != nil {
		if f.accept(err) {
			return c.renewPage(p, f), nil
		}
		return answer{}, err
	}
	c.spend(r, v, once)
	return c.secretPage(ctx, v, p, out.Value), nil
}
