package api

import (
	"context"
	"net/url"

	"chancery/issuer"
)

// SharedTemplatePath names a template of an operator.
type SharedTemplatePath struct {
	OperatorPath
	Template string `path:"template" maxLength:"64" doc:"Name or id." example:"service"`
}

func (in SharedTemplatePath) ref() issuer.TemplateRef {
	return issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Operator: in.Operator}, Template: in.Template}
}

type listSharedTemplatesInput struct {
	OperatorPath
	Search
}

func (a *API) listSharedTemplates(ctx context.Context, by call, in *listSharedTemplatesInput) (*paged[Template], error) {
	name := "shared-templates/" + in.Operator
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListSharedTemplates(ctx, by.caller, in.Operator, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "operators", in.Operator, "templates"), viewTemplate, func(x issuer.Template) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: x.Body.Name, ID: x.ID}
	}), nil
}

type createSharedTemplateInput struct {
	OperatorPath
	Change
	Body TemplateInput
}

func (a *API) createSharedTemplate(ctx context.Context, by call, in *createSharedTemplateInput) (*created[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CreateSharedTemplate(ctx, op, in.Operator, in.Body.template())
	if err != nil {
		return nil, err
	}
	return a.newTemplate(ctx, by, in.Change, out), nil
}

func (a *API) getSharedTemplate(ctx context.Context, by call, in *SharedTemplatePath) (*saved[Template], error) {
	x, err := a.issuer.GetSharedTemplate(ctx, by.caller, in.Operator, in.Template)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(x.Version), Body: viewTemplateWithKeys(x)}, nil
}

type updateSharedTemplateInput struct {
	SharedTemplatePath
	Change
	Body TemplatePatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateSharedTemplate(ctx context.Context, by call, in *updateSharedTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateSharedTemplate(ctx, op, in.Operator, in.Template, in.Body.onto)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(out.Value.Version), Body: a.templateAfter(ctx, by, in.Change, "", out)}, nil
}

type deleteSharedTemplateInput struct {
	SharedTemplatePath
	Change
	Why
}

func (a *API) deleteSharedTemplate(ctx context.Context, by call, in *deleteSharedTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DeleteSharedTemplate(ctx, op, in.Operator, in.Template)
	if err != nil {
		return nil, err
	}
	return deletedTemplate(in.Change, out), nil
}

type cloneSharedTemplateInput struct {
	SharedTemplatePath
	Change
	Body CloneInput
}

func (a *API) cloneSharedTemplate(ctx context.Context, by call, in *cloneSharedTemplateInput) (*created[Template], error) {
	return a.clone(ctx, by, in.Change, in.ref(), in.Body)
}
