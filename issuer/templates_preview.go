package issuer

import (
	"context"

	"chancery/claims"
)

// PreviewInput asks what a template comes to.
type PreviewInput struct {
	// Ref names the template. Without a Template in it, it is one that was not saved
	// yet, and all that Edit makes it.
	Ref TemplateRef
	// Edit changes the template for the preview only; may be nil.
	Edit func(*TemplateInput)
	// As is the user that is imagined; User, by name or identity, is one of the
	// account to take instead. Without either nothing is worked out but the tests.
	As   claims.TestUser
	User string
}

// TemplatePreview is what a template comes to.
type TemplatePreview struct {
	Template TemplateInput
	// For is the user that it was worked out for; its name is empty for none.
	For claims.TestUser
	claims.Preview
	// Results are those of the tests.
	Results []claims.TestResult
}

// PreviewTemplate works out what a template, as it is or as it is to be, comes to for
// one user, and what its tests come to. Nothing is stored.
func (i *Issuer) PreviewTemplate(ctx context.Context, caller Caller, in PreviewInput) (TemplatePreview, error) {
	target := in.Ref.Account
	if target == "" {
		target = in.Ref.Operator
	}
	u := use{permission: ReadTemplates, action: "preview", kind: "template", target: target + "/" + in.Ref.Template}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (TemplatePreview, error) {
		out := TemplatePreview{Template: TemplateInput{Body: claims.Template{Permissions: claims.NewPermissionLimits()}}, For: in.As}
		h, err := in.Ref.TemplateHome.find(ctx, d)
		if err != nil {
			return out, err
		}
		x := Template{AccountID: h.account.ID}
		if in.Ref.Template != "" {
			if _, x, err = in.Ref.find(ctx, d); err != nil {
				return out, err
			}
			out.Template = TemplateInput{Body: x.Body, MaxTTL: x.MaxTTL, Tests: x.Tests}
		}
		if in.Edit != nil {
			in.Edit(&out.Template)
		}
		if out.For, err = previewed(ctx, d, h, in); err != nil {
			return out, err
		}
		problems := append(claims.CheckTemplate(out.Template.Body), h.checkUse(out.Template)...)
		problems = append(problems, claims.CheckTests(out.Template.Tests, x.Shared()).At("/tests")...)
		if out.For.Name != "" {
			problems = append(problems, claims.CheckTestUser(out.For, h.shared()).At("/as")...)
		}
		if problems.Blocking() {
			return out, invalid(problems)
		}
		for _, p := range h.outside(out.Template.Body) {
			p.Blocking = false // an older template can be looked at
			problems = append(problems, p)
		}
		if out.For.Name != "" {
			// A shared template is tried in the account that it is looked at from.
			out.Preview = claims.PreviewTemplate(out.Template.Body, h.testedIn(Template{AccountID: h.account.ID}), out.For)
		}
		out.Problems = append(problems, out.Problems...)
		out.Results = claims.RunTests(out.Template.Body, h.testedIn(x), out.Template.Tests)
		return out, nil
	})
}

// previewed returns the user that a preview is for.
func previewed(ctx context.Context, d *desk, h home, in PreviewInput) (claims.TestUser, error) {
	if in.User == "" {
		return in.As, nil
	}
	if h.shared() {
		return in.As, invalidField("/user", "not_allowed", "A shared template has users in many accounts. Preview it at the account whose user is meant.")
	}
	u, err := userOf(ctx, d, h.account, in.User)
	if err != nil {
		return in.As, err
	}
	out := claims.TestUser{Name: u.Name, Tags: u.Tags}
	list, err := d.ListCredentials(ctx, u.ID, "", 1)
	if err != nil || len(list) == 0 {
		return out, err
	}
	out.Key = list[0].PublicKey
	return out, nil
}

// Comparison is what tells two templates apart.
type Comparison struct {
	From, To Template
	Changes  []claims.FieldChange
}

// CompareTemplates returns what would change if from became to. Their names and
// tests are left aside.
func (i *Issuer) CompareTemplates(ctx context.Context, caller Caller, from, to TemplateRef) (Comparison, error) {
	u := use{permission: ReadTemplates, action: "compare", kind: "template", target: from.Template}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (Comparison, error) {
		var out Comparison
		var err error
		if _, out.From, err = from.find(ctx, d); err != nil {
			return out, err
		}
		if _, out.To, err = to.find(ctx, d); err != nil {
			return out, err
		}
		renamed := out.From
		renamed.Body.Name = out.To.Body.Name
		renamed.Tests = out.To.Tests
		renamed.ID = "from"
		plan, err := templatePlan(renamed, out.To)
		out.Changes = plan.Summary
		return out, err
	})
}
