package api

import (
	"context"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Template is a permission set for many users.
type Template struct {
	ID          string `json:"id" example:"tpl_06f3…"`
	Name        string `json:"name" example:"device"`
	Operator    string `json:"operator" doc:"The operator's public key."`
	Account     string `json:"account,omitempty" doc:"The public key of the account that it belongs to; absent for a shared template."`
	Shared      bool   `json:"shared" doc:"Whether it belongs to the operator, and all its accounts may use it."`
	Description string `json:"description"`
	PermissionView
	MaxTTLSeconds int64          `json:"max_ttl_seconds" doc:"Longest lifetime of credentials; 0 sets no bound."`
	Tests         []TemplateTest `json:"tests" doc:"What is expected of it; run on every save."`
	TestSummary   *TestSummary   `json:"test_summary,omitempty" doc:"What the tests come to; absent in lists."`
	Keys          []Key          `json:"keys,omitempty" doc:"The scoped signing keys of the account that carry it."`
	Use           *TemplateUse   `json:"used_by,omitempty" doc:"Who uses it: in the account, or of a shared template seen at its operator, in all accounts. Absent in lists."`
	CreatedAt     time.Time      `json:"created_at"`
	UpdatedAt     time.Time      `json:"updated_at"`
	Sync          *Sync          `json:"sync,omitempty"`
	Plan          *Plan          `json:"plan,omitempty"`
}

// TemplateUse counts who uses a template.
type TemplateUse struct {
	Accounts       int64 `json:"accounts" doc:"Accounts with a key that carries it."`
	AccountsToSign int64 `json:"accounts_to_sign" doc:"How many of them are still to be signed with its newest state; servers have the state before until then."`
	Users          int64 `json:"users"`
	Credentials    int64 `json:"credentials" doc:"Issued with it, not expired and not revoked."`
}

// TestSummary counts results of tests.
type TestSummary struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
}

func summarize(results []claims.TestResult) *TestSummary {
	failed := len(claims.Failures(results))
	return &TestSummary{Passed: len(results) - failed, Failed: failed}
}

// TemplateTest is what is expected of a template for one imagined user.
type TemplateTest struct {
	As              TestUser `json:"as"`
	CanPublish      []string `json:"can_publish,omitempty" maxItems:"100" example:"[\"devices.eu.d1.temp\"]"`
	CannotPublish   []string `json:"cannot_publish,omitempty" maxItems:"100" example:"[\"devices.us.d1.temp\"]"`
	CanSubscribe    []string `json:"can_subscribe,omitempty" maxItems:"100" doc:"A subject may be followed by a space and a queue group. A subscription from which a deny rule withholds messages counts as one that can be made." example:"[\"cmd.d1\"]"`
	CannotSubscribe []string `json:"cannot_subscribe,omitempty" maxItems:"100"`
}

// TestUser is an imagined user of a template.
type TestUser struct {
	Name        string   `json:"name" maxLength:"64" example:"d1"`
	Tags        []string `json:"tags,omitempty" maxItems:"64" example:"[\"region:eu\"]"`
	Key         string   `json:"key,omitempty" maxLength:"64" doc:"Public key U… that subject() stands for; a stand-in without it."`
	Account     string   `json:"account,omitempty" maxLength:"64" doc:"Of a shared template: the name that account-name() stands for."`
	AccountTags []string `json:"account_tags,omitempty" maxItems:"64" doc:"Of a shared template: the tags of that account."`
}

func viewTemplate(x issuer.Template) Template {
	v := Template{
		ID: x.ID, Name: x.Body.Name, Operator: x.OperatorID, Account: x.AccountID, Shared: x.Shared(), Description: x.Body.Description,
		PermissionView: viewPermissions(x.Body.Permissions), Tests: []TemplateTest{},
		MaxTTLSeconds: int64(x.MaxTTL / time.Second), CreatedAt: x.Created, UpdatedAt: x.Updated,
	}
	for _, t := range x.Tests {
		v.Tests = append(v.Tests, TemplateTest{TestUser(t.As), t.CanPublish, t.CannotPublish, t.CanSubscribe, t.CannotSubscribe})
	}
	return v
}

func viewTemplateWithKeys(x issuer.TemplateWithKeys) Template {
	v := viewTemplate(x.Template)
	v.Keys, v.TestSummary = viewKeys(x.Keys), summarize(x.Results)
	v.Use = &TemplateUse{Accounts: x.Use.Accounts, AccountsToSign: x.Use.Owing, Users: x.Use.Users, Credentials: x.Use.Credentials}
	return v
}

// TemplateSettings is everything of a template but its name; lists, tests and response
// rules replace what was.
type TemplateSettings struct {
	Description Omit[string] `json:"description,omitempty" maxLength:"8192"`
	PermissionSet
	MaxTTLSeconds Omit[int64]          `json:"max_ttl_seconds,omitempty" minimum:"0" maximum:"3153600000"`
	Tests         Omit[[]TemplateTest] `json:"tests,omitempty" maxItems:"50" doc:"Run before the template is saved; one that fails keeps it from being saved."`
}

func (p *TemplateSettings) onto(in *issuer.TemplateInput) {
	p.Description.onto(&in.Body.Description, "")
	p.PermissionSet.onto(&in.Body.Permissions)
	seconds := int64(in.MaxTTL / time.Second)
	p.MaxTTLSeconds.onto(&seconds, 0)
	in.MaxTTL = time.Duration(seconds) * time.Second
	if !p.Tests.Set {
		return
	}
	in.Tests = nil
	for _, t := range p.Tests.Value {
		in.Tests = append(in.Tests, claims.TemplateTest{
			As: claims.TestUser(t.As), CanPublish: t.CanPublish, CannotPublish: t.CannotPublish, CanSubscribe: t.CanSubscribe, CannotSubscribe: t.CannotSubscribe,
		})
	}
}

// TemplatePatch changes a template, its name too.
type TemplatePatch struct {
	Name Omit[string] `json:"name,omitempty" maxLength:"64" doc:"Also the role in the account's JWT."`
	TemplateSettings
}

func (p *TemplatePatch) onto(in *issuer.TemplateInput) {
	p.Name.onto(&in.Body.Name, "")
	p.TemplateSettings.onto(in)
}

// TemplateInput asks for a new template.
type TemplateInput struct {
	Name string `json:"name" maxLength:"64" example:"device"`
	TemplateSettings
}

func (in *TemplateInput) template() issuer.TemplateInput {
	t := issuer.TemplateInput{Body: claims.Template{Name: in.Name, Permissions: claims.NewPermissionLimits()}}
	in.onto(&t)
	return t
}

type listTemplatesInput struct {
	AccountPath
	Search
}

func (a *API) listTemplates(ctx context.Context, by call, in *listTemplatesInput) (*paged[Template], error) {
	name := "templates/" + in.Account
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListTemplates(ctx, by.caller, in.Account, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "accounts", in.Account, "templates"), viewTemplate, func(x issuer.Template) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: x.Body.Name, ID: x.ID}
	}), nil
}

type createTemplateInput struct {
	AccountPath
	Change
	Body TemplateInput
}

func (a *API) createTemplate(ctx context.Context, by call, in *createTemplateInput) (*created[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CreateTemplate(ctx, op, in.Account, in.Body.template())
	if err != nil {
		return nil, err
	}
	return a.newTemplate(ctx, by, in.Change, out), nil
}

// newTemplate is the answer of what made a template.
func (a *API) newTemplate(ctx context.Context, by call, c Change, out issuer.Outcome[issuer.TemplateWithKeys]) *created[Template] {
	x := out.Value
	home := "/accounts/" + x.AccountID
	if x.Shared() {
		home = "/operators/" + x.OperatorID
	}
	return &created[Template]{Status: c.status(), ETag: etag(x.Version), Location: Base + home + "/templates/" + x.ID, Body: a.templateAfter(ctx, by, c, x.AccountID, out)}
}

// templateAfter views a template after a change; account is the one that was signed.
func (a *API) templateAfter(ctx context.Context, by call, c Change, account string, out issuer.Outcome[issuer.TemplateWithKeys]) Template {
	body := viewTemplateWithKeys(out.Value)
	body.Plan = c.plan(out.Plan)
	if account == "" {
		return body
	}
	if acct, err := a.issuer.GetAccount(ctx, by.caller, account); err == nil {
		body.Sync = a.syncAfter(ctx, c, acct.ID, acct.JWTVersion)
	}
	return body
}

// TemplatePath names a template of an account.
type TemplatePath struct {
	AccountPath
	Template string `path:"template" maxLength:"64" doc:"Name or id." example:"device"`
}

func (in TemplatePath) ref() issuer.TemplateRef {
	return issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: in.Account}, Template: in.Template}
}

func (a *API) getTemplate(ctx context.Context, by call, in *TemplatePath) (*saved[Template], error) {
	x, err := a.issuer.GetTemplate(ctx, by.caller, in.Account, in.Template)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(x.Version), Body: viewTemplateWithKeys(x)}, nil
}

type updateTemplateInput struct {
	TemplatePath
	Change
	Body TemplatePatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateTemplate(ctx context.Context, by call, in *updateTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateTemplate(ctx, op, in.Account, in.Template, in.Body.onto)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(out.Value.Version), Body: a.templateAfter(ctx, by, in.Change, out.Value.AccountID, out)}, nil
}

type deleteTemplateInput struct {
	TemplatePath
	Change
	Why
}

// Why is the reason for a change that has no body.
type Why struct {
	Reason string `query:"reason" maxLength:"1024" doc:"Kept in the audit log."`
}

func (a *API) deleteTemplate(ctx context.Context, by call, in *deleteTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DeleteTemplate(ctx, op, in.Account, in.Template)
	if err != nil {
		return nil, err
	}
	return deletedTemplate(in.Change, out), nil
}

func deletedTemplate(c Change, out issuer.Outcome[issuer.Template]) *saved[Template] {
	body := viewTemplate(out.Value)
	body.Plan = c.plan(out.Plan)
	return &saved[Template]{ETag: etag(out.Value.Version), Body: body}
}

type useTemplateInput struct {
	TemplatePath
	Change
}

func (a *API) useTemplate(ctx context.Context, by call, in *useTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UseTemplate(ctx, op, in.Account, in.Template)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(out.Value.Version), Body: a.templateAfter(ctx, by, in.Change, in.Account, out)}, nil
}

// CloneInput says where a copy of a template goes: to an account or, without one, to
// an operator. Without either it stays at home, under another name.
type CloneInput struct {
	Account  string `json:"account,omitempty" maxLength:"64" doc:"Name or public key."`
	Operator string `json:"operator,omitempty" maxLength:"64" doc:"Name or public key; the copy is shared by its accounts."`
	Name     string `json:"name,omitempty" maxLength:"64" doc:"Of the copy; without it the name is kept." example:"device-2"`
}

func (a *API) clone(ctx context.Context, by call, c Change, from issuer.TemplateRef, in CloneInput) (*created[Template], error) {
	op, err := c.op(by, "")
	if err != nil {
		return nil, err
	}
	to := issuer.TemplateHome{Account: in.Account, Operator: in.Operator}
	if to == (issuer.TemplateHome{}) {
		to = from.TemplateHome
	}
	out, err := a.issuer.CloneTemplate(ctx, op, issuer.CloneInput{From: from, To: to, Name: in.Name})
	if err != nil {
		return nil, err
	}
	return a.newTemplate(ctx, by, c, out), nil
}

type cloneTemplateInput struct {
	TemplatePath
	Change
	Body CloneInput
}

func (a *API) cloneTemplate(ctx context.Context, by call, in *cloneTemplateInput) (*created[Template], error) {
	return a.clone(ctx, by, in.Change, in.ref(), in.Body)
}
