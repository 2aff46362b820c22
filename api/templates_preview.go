package api

import (
	"context"

	"chancery/claims"
	"chancery/issuer"
)

// Preview is what a template comes to for one user, and what its tests come to.
type Preview struct {
	Publish      RulesView      `json:"publish"`
	Subscribe    RulesView      `json:"subscribe"`
	Responses    *Responses     `json:"responses,omitempty" doc:"As a nats-server fills them in."`
	Refusal      string         `json:"refusal,omitempty" doc:"Why a nats-server refuses the connection because of the permissions; then there are no rules."`
	Expansions   int            `json:"expansions" doc:"How many subjects the template functions stand for. Above 4,096 in one list a nats-server refuses the connection."`
	Capabilities []Capability   `json:"capabilities"`
	Warnings     []FieldError   `json:"warnings" doc:"What is refused, dropped or has to be known."`
	Tests        PreviewedTests `json:"tests"`
}

// PreviewedTests is what the tests of a template come to.
type PreviewedTests struct {
	TestSummary
	Results []PreviewedTest `json:"results"`
}

// PreviewedTest is what became of one expectation.
type PreviewedTest struct {
	Pointer string `json:"pointer" doc:"JSON pointer into the template." example:"/tests/0/can_publish/0"`
	User    string `json:"user"`
	Action  string `json:"action" enum:"publish,subscribe"`
	Subject string `json:"subject"`
	Queue   string `json:"queue,omitempty"`
	Can     bool   `json:"can" doc:"What is expected."`
	Access  string `json:"access" enum:"allowed,filtered,denied" doc:"What a nats-server answers; filtered: a deny rule withholds some messages."`
	Passed  bool   `json:"passed"`
	Why     string `json:"why"`
}

// PreviewAs says for whom to work a template out: an imagined user, or one of the
// account. Without either only the tests are run.
type PreviewAs struct {
	As   *TestUser `json:"as,omitempty"`
	User string    `json:"user,omitempty" maxLength:"64" doc:"Name or id of a user of the account, to take instead of one that is imagined."`
}

// PreviewInput asks what a template comes to, with a change to it that is not saved.
type PreviewInput struct {
	PreviewAs
	Template *TemplatePatch `json:"template,omitempty" doc:"Changes it for the preview only."`
}

// NewPreviewInput asks what a template would come to that is not saved yet.
type NewPreviewInput struct {
	PreviewAs
	Template TemplateInput `json:"template"`
}

func (a *API) preview(ctx context.Context, by call, ref issuer.TemplateRef, as PreviewAs, edit func(*issuer.TemplateInput)) (*answered[Preview], error) {
	in := issuer.PreviewInput{Ref: ref, User: as.User, Edit: edit}
	if as.As != nil {
		in.As = claims.TestUser(*as.As)
	}
	x, err := a.issuer.PreviewTemplate(ctx, by.caller, in)
	if err != nil {
		return nil, err
	}
	e := x.Effective
	v := Preview{
		Publish: viewRules(e.Publish), Subscribe: viewRules(e.Subscribe), Expansions: e.Publish.Expansions + e.Subscribe.Expansions,
		Capabilities: []Capability{}, Warnings: []FieldError{}, Tests: PreviewedTests{TestSummary: *summarize(x.Results), Results: []PreviewedTest{}},
	}
	if e.Refusal != nil {
		v.Refusal = e.Refusal.Detail
	}
	if e.Responses != nil {
		v.Responses = &Responses{e.Responses.MaxMsgs, int64(e.Responses.Expires.Seconds())}
	}
	for _, c := range x.Capabilities {
		v.Capabilities = append(v.Capabilities, Capability{c.Can, c.Text})
	}
	for _, p := range x.Problems {
		v.Warnings = append(v.Warnings, FieldError{Pointer: p.Pointer, Code: p.Code, Detail: p.Detail})
	}
	for _, r := range x.Results {
		v.Tests.Results = append(v.Tests.Results, PreviewedTest{
			Pointer: "/tests" + r.Pointer, User: r.User, Action: string(r.Action), Subject: r.Subject, Queue: r.Queue, Can: r.Can, Access: string(r.Access), Passed: r.Passed, Why: r.Why,
		})
	}
	return &answered[Preview]{v}, nil
}

type previewTemplateInput struct {
	TemplatePath
	Body PreviewInput
}

func (a *API) previewTemplate(ctx context.Context, by call, in *previewTemplateInput) (*answered[Preview], error) {
	return a.preview(ctx, by, in.ref(), in.Body.PreviewAs, in.Body.edit())
}

func (in *PreviewInput) edit() func(*issuer.TemplateInput) {
	if in.Template == nil {
		return nil
	}
	return in.Template.onto
}

type previewSharedTemplateInput struct {
	SharedTemplatePath
	Body PreviewInput
}

func (a *API) previewSharedTemplate(ctx context.Context, by call, in *previewSharedTemplateInput) (*answered[Preview], error) {
	return a.preview(ctx, by, in.ref(), in.Body.PreviewAs, in.Body.edit())
}

type previewNewTemplateInput struct {
	AccountPath
	Body NewPreviewInput
}

func (a *API) previewNewTemplate(ctx context.Context, by call, in *previewNewTemplateInput) (*answered[Preview], error) {
	return a.preview(ctx, by, issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: in.Account}}, in.Body.PreviewAs, in.Body.edit)
}

func (in *NewPreviewInput) edit(t *issuer.TemplateInput) { *t = in.Template.template() }

type previewNewSharedTemplateInput struct {
	OperatorPath
	Body NewPreviewInput
}

func (a *API) previewNewSharedTemplate(ctx context.Context, by call, in *previewNewSharedTemplateInput) (*answered[Preview], error) {
	return a.preview(ctx, by, issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Operator: in.Operator}}, in.Body.PreviewAs, in.Body.edit)
}

// TemplateComparison is what would change if one template became another.
type TemplateComparison struct {
	From    string           `json:"from" doc:"Id of the one template."`
	To      string           `json:"to" doc:"Id of the other."`
	Changes []ComparedChange `json:"changes" doc:"Names are left aside."`
}

// ComparedChange is one thing in which two templates differ.
type ComparedChange struct {
	Path  string `json:"path" doc:"JSON pointer into the claims."`
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Text  string `json:"text"`
}

type compareTemplatesInput struct {
	TemplatePath
	Other         string `path:"other" maxLength:"64" doc:"Name or id of the other template." example:"service"`
	OtherAccount  string `query:"account" maxLength:"64" doc:"The other's account; without it, the same."`
	OtherOperator string `query:"operator" maxLength:"64" doc:"The operator of the other, if that is a shared template of another operator."`
}

func (a *API) compareTemplates(ctx context.Context, by call, in *compareTemplatesInput) (*answered[TemplateComparison], error) {
	other := issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: in.OtherAccount, Operator: in.OtherOperator}, Template: in.Other}
	if other.TemplateHome == (issuer.TemplateHome{}) {
		other.Account = in.Account
	}
	x, err := a.issuer.CompareTemplates(ctx, by.caller, in.ref(), other)
	if err != nil {
		return nil, err
	}
	v := TemplateComparison{From: x.From.ID, To: x.To.ID, Changes: []ComparedChange{}}
	for _, c := range x.Changes {
		v.Changes = append(v.Changes, ComparedChange{c.Pointer, c.Field, c.Before, c.After, c.Sentence()})
	}
	return &answered[TemplateComparison]{v}, nil
}
