package web

import (
	"net/http"
	"slices"
	"strings"

	"chancery/issuer"
)

// step is a change in three pages: a form, the plan of what it would do, and what it
// led to. Nothing is kept between them: the plan is worked out again before it is
// applied, and shown again when it is another one.
type step struct {
	form *form
	// url is where the form is sent; below it, apply makes the change.
	url, title, lead string
	crumbs           []link
	tabs             []navItem
	calls            []apiCall
	// template and body are the page of the form where it is more than a form.
	template string
	body     func() any
	// plan is what the plan page says beside the change itself.
	plan planView
	// closes says that connections may be closed, so that the plan counts them.
	closes bool
	// agreed names the object and the version that the plan is of.
	agreed []any
	// check says what is wrong with the form that issuer does not see; may be nil.
	check func(f *form)
	// run plans or makes the change.
	run func(op issuer.Op) (made, error)
	// done is where it leads.
	done func(m made) (answer, error)
}

// made is what a change came to.
type made struct {
	plan issuer.Plan
	// account and jwtVersion are what is pushed; empty for what is not.
	account    string
	jwtVersion int64
}

func (s step) page() answer {
	a := answer{
		status: s.form.status(), page: "form", title: s.title, crumbs: s.crumbs, tabs: s.tabs, calls: s.calls,
		body: formView{Title: s.title, Lead: s.lead, Form: s.form},
	}
	if s.body != nil {
		a.page, a.body = s.template, s.body()
	}
	return a
}

// read takes what was sent and tells whether to go on.
func (s step) read(r *http.Request) bool {
	s.form.read(r.PostForm)
	if s.check != nil {
		s.check(s.form)
	}
	return s.form.ok() && r.PostForm.Get("back") == ""
}

// refuse shows the form again with what is wrong, or fails.
func (s step) refuse(err error) (answer, error) {
	if !s.form.accept(err) {
		return answer{}, err
	}
	return s.page(), nil
}

func (s step) hash(p issuer.Plan) string {
	parts := append(slices.Clone(s.agreed), p.Credentials)
	for _, f := range p.Summary {
		if strings.Contains(f.Pointer, "/revocations") {
			f.Before, f.After = "", ""
		}
		parts = append(parts, f.Pointer, f.Field, f.Before, f.After)
	}
	return planHash(parts...)
}

// idle is the page of a change that changes nothing.
func (s step) idle() answer {
	s.form.Message, s.form.Hint = "Nothing would change", "It is like this already."
	return s.page()
}

// look shows the plan.
func (c *Console) look(r *http.Request, v *visit, s step) (answer, error) {
	if !s.read(r) {
		return s.page(), nil
	}
	op := v.dryRun(s.form.value("reason"))
	m, err := s.run(op)
	if err != nil {
		return s.refuse(err)
	}
	if len(m.plan.Changes) == 0 {
		return s.idle(), nil
	}
	return s.planPage(m.plan, false), nil
}

func (s step) planPage(p issuer.Plan, moved bool) answer {
	view := s.plan
	view.Title, view.Moved, view.Warnings = s.title, moved, append(view.Warnings, sentences(p.Warnings)...)
	view.Changes = append(view.Changes, describe(p.Summary)...)
	if p.Credentials > 0 {
		view.Impact = append(view.Impact, impact{formatCount(p.Credentials), credentialsStop(p.Credentials), "Issued up to now and not expired.", toneBad})
	}
	if s.closes {
		view.Impact = append(connectionsImpact(p.Blast), view.Impact...)
	}
	view.Reasons = why(p.Blast)
	view.Action, view.Back = s.url+"/apply", s.url
	view.Hidden = append(append(s.form.carried(), s.form.Hidden...), hidden{"plan", s.hash(p)})
	return answer{page: "plan", title: s.title, crumbs: s.crumbs, body: view}
}

// apply makes the change if its plan is the one that was looked at.
func (c *Console) apply(r *http.Request, v *visit, s step) (answer, error) {
	if !s.read(r) {
		return s.page(), nil
	}
	op := v.dryRun(s.form.value("reason"))
	m, err := s.run(op)
	if err == nil && len(m.plan.Changes) == 0 {
		return s.idle(), nil
	}
	if err == nil && s.hash(m.plan) != r.PostForm.Get("plan") {
		return s.planPage(m.plan, true), nil
	}
	if err == nil {
		op.DryRun = false
		m, err = s.run(op)
	}
	if err != nil {
		return s.refuse(err)
	}
	if m.account != "" {
		c.await(r.Context(), v, m.account, m.jwtVersion, waitChange)
	}
	return s.done(m)
}

// typed is the field of a severe change: the name has to be typed.
func typed(what string) *field {
	return &field{
		Name: "typed", Label: "Name of the " + what, Kind: kindText, Required: true, Autocomplete: "off",
		Hint: "Type the name to say that you mean it.",
	}
}

func wantTyped(name string) func(f *form) {
	return func(f *form) {
		if f.value("typed") != name {
			f.fail("typed", "This is not the name.")
		}
	}
}
