package web

import (
	"net/http"
	"strings"

	"chancery/issuer"
)

// templateFormView is the page on which a template is written.
type templateFormView struct {
	Title, Lead string
	Form        *form
	// New tells that there are recipes to start from.
	New     bool
	Recipes []recipeCard
	Preview *previewView
}

func (c *Console) newTemplate(r *http.Request, v *visit) (answer, error) {
	s, err := c.findSite(r, v)
	if err != nil {
		return answer{}, err
	}
	f := c.newTemplateForm(r, v, s, start(r.URL.Query().Get("recipe")))
	return c.templateFormPage(s, f, nil), nil
}

func (c *Console) newTemplateForm(r *http.Request, v *visit, s site, in issuer.TemplateInput) *form {
	f := templateForm(in)
	f.Rules = c.templateRules(r.Context(), v, s)
	f.Action, f.Submit, f.Cancel = s.url("new"), "Create template", s.url()
	f.Groups = append(f.Groups, group{Legend: "Preview", Fields: []*field{sampleField("")}})
	return f
}

func (c *Console) templateFormPage(s site, f *form, preview *previewView) answer {
	view := templateFormView{Title: "New template", Lead: "Of account " + s.account.Name + ". It gets a scoped signing key, with which servers enforce it.", Form: f, New: true, Preview: preview}
	if s.shared() {
		view.Lead = "Shared by all accounts of operator " + s.operator.Name + ". An account gets a scoped signing key with the first use."
	}
	view.Recipes = recipeCards(s.url("new"))
	crumbs := s.crumbs()
	if f.Action != s.url("new") {
		view = templateFormView{Title: "Change template " + s.templateRef, Lead: "You see what a change does before it is made.", Form: f, Preview: preview}
		crumbs = s.templateCrumbs(s.templateRef)
	}
	return answer{
		status: f.status(), page: "template_form", title: view.Title, crumbs: crumbs, body: view,
		calls: []apiCall{c.call("Create a template", http.MethodPost, s.url(), `{"name":"service","permissions":{"publish":{"allow":["orders.>"]},"subscribe":{"allow":["_INBOX.>"]}}}`)},
	}
}

// previewed works out what the form asks for, without storing it. It fails the form
// where the template cannot be accepted.
func (c *Console) previewed(r *http.Request, v *visit, s site, f *form, edit func(*issuer.TemplateInput)) (*previewView, error) {
	in := issuer.PreviewInput{Ref: s.ref(), Edit: edit}
	in.As, in.User = c.sampleOf(s, v, r, f.value("sample"))
	x, err := c.issuer.PreviewTemplate(r.Context(), v.caller, in)
	if err != nil {
		if e := issuer.AsError(err); e.Kind == issuer.KindInvalid {
			for n, p := range e.Problems {
				if strings.HasPrefix(p.Pointer, "/as") {
					e.Problems[n].Pointer = "/sample"
				}
			}
		}
		if f.acceptTemplate(err) {
			return nil, nil //nolint:nilnil // the form says what is wrong
		}
		return nil, err
	}
	return newPreview(x), nil
}

func (c *Console) createTemplate(r *http.Request, v *visit) (answer, error) {
	s, err := c.findSite(r, v)
	if err != nil {
		return answer{}, err
	}
	f := c.newTemplateForm(r, v, s, start(""))
	f.read(r.PostForm)
	edit := templateEdit(f)
	if !f.ok() {
		return c.templateFormPage(s, f, nil), nil
	}
	if r.PostForm.Get("preview") != "" {
		preview, err := c.previewed(r, v, s, f, edit)
		return c.templateFormPage(s, f, preview), err
	}
	in := start("")
	edit(&in)
	create := func(op issuer.Op) (issuer.Outcome[issuer.TemplateWithKeys], error) {
		if s.shared() {
			return c.issuer.CreateSharedTemplate(r.Context(), op, s.operator.ID, in)
		}
		return c.issuer.CreateTemplate(r.Context(), op, s.account.ID, in)
	}
	out, err := create(v.dryRun(""))
	if err == nil {
		if !agreed(f, r, out.Plan.Warnings) {
			return c.templateFormPage(s, f, nil), nil
		}
		out, err = create(v.op(""))
	}
	if err != nil {
		return c.notSaved(r, v, s, f, edit, err)
	}
	c.notify(r, v, "The template "+out.Value.Body.Name+" was created.")
	return seeOther(s.url(segment(out.Value.Body.Name, out.Value.ID))), nil
}

// notSaved shows the form again, with the tests where they were the reason.
func (c *Console) notSaved(r *http.Request, v *visit, s site, f *form, edit func(*issuer.TemplateInput), err error) (answer, error) {
	tests := issuer.AsError(err).Code == "template_tests_failed"
	message, hint := issuer.AsError(err).Message, issuer.AsError(err).Hint
	if !f.acceptTemplate(err) {
		return answer{}, err
	}
	var preview *previewView
	if tests {
		if preview, err = c.previewed(r, v, s, f, edit); err != nil {
			return answer{}, err
		}
		f.Message, f.Hint = message, hint
	}
	return c.templateFormPage(s, f, preview), nil
}

func (c *Console) editTemplateForm(r *http.Request, v *visit, s site, x issuer.TemplateWithKeys) *form {
	f := templateForm(issuer.TemplateInput{Body: x.Body, MaxTTL: x.MaxTTL, Tests: x.Tests})
	f.Rules = c.templateRules(r.Context(), v, s)
	f.Action, f.Submit, f.Cancel = s.templateURL("edit"), "Review the change", s.templateURL()
	f.Groups = append(f.Groups, group{Fields: []*field{reasonField()}}, group{Legend: "Preview", Fields: []*field{sampleField("")}})
	return f
}

func (c *Console) editTemplate(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.templateFormPage(s, c.editTemplateForm(r, v, s, x), nil), nil
}

// update changes the template of the site.
func (c *Console) update(r *http.Request, s site, op issuer.Op, edit func(*issuer.TemplateInput)) (issuer.Outcome[issuer.TemplateWithKeys], error) {
	if s.shared() {
		return c.issuer.UpdateSharedTemplate(r.Context(), op, s.operator.ID, s.templateRef, edit)
	}
	return c.issuer.UpdateTemplate(r.Context(), op, s.account.ID, s.templateRef, edit)
}

func (c *Console) planTemplate(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	f := c.editTemplateForm(r, v, s, x)
	f.read(r.PostForm)
	edit := templateEdit(f)
	if !f.ok() || r.PostForm.Get("back") != "" {
		return c.templateFormPage(s, f, nil), nil
	}
	if r.PostForm.Get("preview") != "" {
		preview, err := c.previewed(r, v, s, f, edit)
		return c.templateFormPage(s, f, preview), err
	}
	out, err := c.update(r, s, v.dryRun(f.value("reason")), edit)
	if err != nil {
		return c.notSaved(r, v, s, f, edit, err)
	}
	if len(out.Plan.Changes) == 0 {
		f.Message, f.Hint = "Nothing would change", "This is the template as it is."
		return c.templateFormPage(s, f, nil), nil
	}
	return c.templatePlan(s, x, f, out, false), nil
}

func (c *Console) templatePlan(s site, x issuer.TemplateWithKeys, f *form, out issuer.Outcome[issuer.TemplateWithKeys], moved bool) answer {
	view := planView{
		Title: "Change template " + x.Body.Name, Moved: moved, Changes: describe(out.Plan.Summary), Warnings: sentences(out.Plan.Warnings),
		Impact: append(templateImpact(out.Plan), testsImpact(newTests(out.Value.Results))...), Reasons: why(out.Plan.Blast), Servers: serverNames(c.live.Servers(s.operator.ID)),
		Action: s.templateURL("edit", "apply"), Back: s.templateURL("edit"), Cancel: s.templateURL(), Apply: "Apply",
		Hidden: append(f.carried(), hidden{"plan", templateHash(x, out.Plan)}),
	}
	return answer{page: "plan", title: view.Title, crumbs: s.templateCrumbs(x.Body.Name), body: view}
}

func templateHash(x issuer.TemplateWithKeys, p issuer.Plan) string {
	return planHash(x.ID, x.Version, p.Changes)
}

// templateImpact is whom a change to a template concerns.
func templateImpact(p issuer.Plan) []impact {
	out := connectionsImpact(p.Blast)
	r := p.Reach
	if r == nil {
		return out
	}
	if p.Blast != nil && int64(r.Asked) < r.Accounts {
		out[0].Number, out[0].Note = "≥ "+out[0].Number, "Of "+plural(r.Asked, "account", "accounts")+" that were asked. "+out[0].Note
	}
	count := func(n int64, one, many, note string) {
		text := many
		if n == 1 {
			text = one
		}
		out = append(out, impact{formatCount(n), text, note, toneOff})
	}
	if r.Accounts != 1 {
		count(r.Accounts, "account", "accounts", "Each that uses the template is signed anew.")
	}
	count(r.Users, "user", "users", "Their permissions change.")
	count(r.Credentials, "credential", "credentials", "Unexpired; they go on working.")
	return out
}

func testsImpact(t testsView) []impact {
	if t.All == 0 {
		return nil
	}
	return []impact{{formatCount(int64(t.Passed)) + " of " + formatCount(int64(t.All)), "expectations pass", "They run on every save.", toneOff}}
}

func (c *Console) applyTemplate(r *http.Request, v *visit) (answer, error) {
	// A second round is for a template that changed between plan and apply.
	for range 2 {
		s, x, err := c.findTemplate(r, v)
		if err != nil {
			return answer{}, err
		}
		f := c.editTemplateForm(r, v, s, x)
		f.read(r.PostForm)
		edit := templateEdit(f)
		if !f.ok() {
			return c.templateFormPage(s, f, nil), nil
		}
		out, err := c.update(r, s, v.dryRun(f.value("reason")), edit)
		if err == nil && templateHash(x, out.Plan) != r.PostForm.Get("plan") {
			if len(out.Plan.Changes) == 0 {
				c.notify(r, v, "The template is already what you asked for. Somebody else may have changed it.")
				return seeOther(s.templateURL()), nil
			}
			return c.templatePlan(s, x, f, out, true), nil
		}
		if err == nil {
			op := v.op(f.value("reason"))
			op.ExpectedVersion = x.Version
			out, err = c.update(r, s, op, edit)
		}
		switch {
		case err == nil:
			c.settle(r, v, s)
			c.notify(r, v, "The template "+out.Value.Body.Name+" was changed.")
			return seeOther(s.url(segment(out.Value.Body.Name, x.ID))), nil
		case issuer.AsError(err).Kind == issuer.KindStale:
			continue
		}
		return c.notSaved(r, v, s, f, edit, err)
	}
	return answer{}, &issuer.Error{Kind: issuer.KindBusy, Code: "busy", Message: "The template keeps changing.", Hint: "Open it again in a moment."}
}

// settle waits a moment until servers have the account of the site; accounts of a
// shared template are signed by the upkeep, and nobody waits for all of them.
func (c *Console) settle(r *http.Request, v *visit, s site) {
	if s.shared() {
		return
	}
	if a, err := c.issuer.GetAccount(r.Context(), v.caller, s.account.ID); err == nil {
		c.await(r.Context(), v, a.ID, a.JWTVersion, waitChange)
	}
}

// useTemplate gives the account a key of a shared template.
func (c *Console) useTemplate(r *http.Request, v *visit) (answer, error) {
	s, err := c.findSite(r, v)
	if err != nil {
		return answer{}, err
	}
	out, err := c.issuer.UseTemplate(r.Context(), v.op(""), s.account.ID, s.templateRef)
	if err != nil {
		return answer{}, err
	}
	c.settle(r, v, s)
	c.notify(r, v, s.account.Name+" has a key of the template "+out.Value.Body.Name+" now.")
	return seeOther(s.templateURL()), nil
}

// remove deletes the template of the site.
func (c *Console) remove(r *http.Request, s site, op issuer.Op) (issuer.Outcome[issuer.Template], error) {
	if s.shared() {
		return c.issuer.DeleteSharedTemplate(r.Context(), op, s.operator.ID, s.templateRef)
	}
	return c.issuer.DeleteTemplate(r.Context(), op, s.account.ID, s.templateRef)
}

// deleteTemplate shows what deleting does, or why it cannot be.
func (c *Console) deleteTemplate(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	out, err := c.remove(r, s, v.dryRun(""))
	if err != nil {
		return answer{}, err
	}
	hit := connectionsImpact(out.Plan.Blast)
	if n := out.Plan.Credentials; n > 0 {
		hit = append(hit, impact{formatCount(n), "unexpired credentials stop working", "Of users that are gone, or have another template now.", toneBad})
	}
	view := planView{
		Title: "Delete template " + x.Body.Name, Changes: []planChange{{Field: "Template", From: x.Body.Name, To: "–"}}, Impact: hit, Reasons: why(out.Plan.Blast),
		Servers: serverNames(c.live.Servers(s.operator.ID)), Action: s.templateURL("delete", "apply"), Cancel: s.templateURL(), Apply: "Delete", Danger: true,
		Hidden: []hidden{{"version", formatVersion(x.Version)}},
	}
	return carryOverrides(answer{page: "plan", title: view.Title, crumbs: s.templateCrumbs(x.Body.Name), body: view}, v), nil
}

func (c *Console) applyDelete(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	if r.PostForm.Get("version") != formatVersion(x.Version) {
		return c.deleteTemplate(r, v)
	}
	op := v.op("")
	op.ExpectedVersion = x.Version
	if _, err := c.remove(r, s, op); err != nil {
		return answer{}, err
	}
	c.settle(r, v, s)
	c.notify(r, v, "The template "+x.Body.Name+" was deleted.")
	return seeOther(s.url()), nil
}

func (c *Console) cloneForm(s site, x issuer.TemplateWithKeys) *form {
	return &form{
		Action: s.templateURL("clone"), Submit: "Clone", Cancel: s.templateURL(),
		Groups: []group{{Fields: []*field{
			{Name: "account", Label: "To account", Kind: kindText, Autocomplete: "off", Value: s.account.Name, Hint: "A name or public key, of any operator. The copy does not follow the original."},
			{Name: "operator", Label: "Or shared by operator", Kind: kindText, Autocomplete: "off", Hint: "Fill in one of the two: all accounts of this operator may use the copy."},
			{Name: "name", Pointer: "/name", Label: "Name of the copy", Kind: kindText, Required: true, Autocomplete: "off", Value: x.Body.Name},
		}}},
	}
}

func (c *Console) newClone(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.clonePage(s, x, c.cloneForm(s, x)), nil
}

func (c *Console) clonePage(s site, x issuer.TemplateWithKeys, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Clone template " + x.Body.Name, crumbs: s.templateCrumbs(x.Body.Name),
		body:  formView{Title: "Clone template " + x.Body.Name, Lead: "Its tests go along and run where it goes: one that fails there keeps it from being made.", Form: f},
		calls: []apiCall{c.call("Clone it", http.MethodPost, s.templateURL("clone"), `{"account":"BILLING","name":"device"}`)},
	}
}

func (c *Console) clone(r *http.Request, v *visit) (answer, error) {
	s, x, err := c.findTemplate(r, v)
	if err != nil {
		return answer{}, err
	}
	f := c.cloneForm(s, x)
	f.read(r.PostForm)
	in := issuer.CloneInput{From: s.ref(), To: issuer.TemplateHome{Account: f.value("account"), Operator: f.value("operator")}, Name: f.value("name")}
	if (in.To.Account == "") == (in.To.Operator == "") {
		f.fail("account", "Name either an account or an operator.")
	}
	if !f.ok() {
		return c.clonePage(s, x, f), nil
	}
	out, err := c.issuer.CloneTemplate(r.Context(), v.dryRun(""), in)
	if err == nil {
		if !agreed(f, r, out.Plan.Warnings) {
			return c.clonePage(s, x, f), nil
		}
		out, err = c.issuer.CloneTemplate(r.Context(), v.op(""), in)
	}
	if e := issuer.AsError(err); err != nil && (e.Code == "account_not_found" || e.Code == "operator_not_found") {
		name, _, _ := strings.Cut(e.Code, "_")
		f.fail(name, e.Message)
		return c.clonePage(s, x, f), nil
	}
	if err != nil {
		if f.acceptTemplate(err) {
			return c.clonePage(s, x, f), nil
		}
		return answer{}, err
	}
	c.notify(r, v, "The template was cloned.")
	there := site{operatorRef: out.Value.OperatorID, place: place{accountRef: out.Value.AccountID}}
	there.account.ID = out.Value.AccountID
	return seeOther(there.url(segment(out.Value.Body.Name, out.Value.ID))), nil
}
