package issuer

import (
	"context"
	"strconv"

	"chancery/claims"
)

// DeleteTemplate deletes an account's own template and retires its keys. It is refused
// while there are users of it.
func (i *Issuer) DeleteTemplate(ctx context.Context, op Op, account, template string) (Outcome[Template], error) {
	u := use{permission: WriteTemplates, action: "delete", kind: "template", target: account + "/" + template, protective: true}
	return i.deleteTemplate(ctx, op, u, TemplateRef{TemplateHome{Account: account}, template})
}

// DeleteSharedTemplate deletes a template of an operator, see DeleteTemplate. The
// accounts that used it are signed anew by Upkeep.
func (i *Issuer) DeleteSharedTemplate(ctx context.Context, op Op, operator, template string) (Outcome[Template], error) {
	u := use{permission: WriteTemplates, action: "delete", kind: "template", target: operator + "/" + template, protective: true}
	return i.deleteTemplate(ctx, op, u, TemplateRef{TemplateHome{Operator: operator}, template})
}

func (i *Issuer) deleteTemplate(ctx context.Context, op Op, u use, ref TemplateRef) (Outcome[Template], error) {
	live := i.liveOfTemplate(ctx, op, ref)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Template], error) {
		var none planned[Template]
		h, x, err := ref.lock(ctx, w)
		if err != nil {
			return none, err
		}
		if err := h.slowDown(w); err != nil {
			return none, err
		}
		plan, err := templatePlan(x, Template{ID: x.ID})
		if err != nil {
			return none, err
		}
		if err := h.foresee(ctx, w, affected{before: x, live: live}, func(*claims.SigningKey) bool { return false }, &plan); err != nil {
			return none, err
		}
		plan.Credentials = plan.Reach.Credentials
		if n := plan.Reach.Users; n > 0 {
			users := strconv.FormatInt(n, 10) + " users are made"
			if n == 1 {
				users = "1 user is made"
			}
			return none, &Error{
				Kind: KindConflict, Code: "template_in_use", Message: users + " with this template.",
				Hint: "Give them another template, or delete them first. " + strconv.FormatInt(plan.Reach.Credentials, 10) + " of their credentials have not expired.",
			}
		}
		if plan.Credentials > 0 {
			// Those of users that are gone, or have another template now.
			if err := w.guard(GuardKeyInUse); err != nil {
				return none, err
			}
		}
		return planned[Template]{preview: x, target: x.ID, plan: plan, apply: func(ctx context.Context) (Template, error) {
			if h.shared() {
				// Who carries it is told by the keys, so this comes before they retire.
				if _, err := w.OweResigning(ctx, h.operator.ID, x.ID); err != nil {
					return x, err
				}
			}
			if err := w.RetireKeysOfTemplate(ctx, x.ID); err != nil {
				return x, err
			}
			if err := w.DeleteTemplate(ctx, x.ID); err != nil {
				return x, orMissing(err, "template")
			}
			if h.shared() {
				return x, nil
			}
			_, err := i.resign(ctx, w, h.account.ID)
			return x, err
		}}, nil
	})
}

// CloneInput says where a copy of a template goes.
type CloneInput struct {
	From TemplateRef
	To   TemplateHome
	// Name is that of the copy; empty keeps the name.
	Name string
}

// CloneTemplate copies a template with its tests to an account or operator, of
// whatever operator: it is checked there as if it were new, and an account gets a
// scoped key for it. The copy does not follow the original.
func (i *Issuer) CloneTemplate(ctx context.Context, op Op, in CloneInput) (Outcome[TemplateWithKeys], error) {
	to := in.To.Account
	if to == "" {
		to = in.To.Operator
	}
	u := use{permission: WriteTemplates, action: "clone", kind: "template", target: to + "/" + in.Name}
	return i.createTemplate(ctx, op, u, in.To, func(ctx context.Context, w *work) (TemplateInput, error) {
		from, x, err := in.From.find(ctx, &w.desk)
		if err != nil {
			return TemplateInput{}, err
		}
		out := TemplateInput{Body: x.Body, MaxTTL: x.MaxTTL, Tests: x.Tests}
		if in.Name != "" {
			out.Body.Name = in.Name
		}
		for n := range out.Tests {
			as := &out.Tests[n].As
			switch {
			case in.To.Account != "":
				// There the tests are about the account's own users.
				as.Account, as.AccountTags = "", nil
			case !x.Shared():
				as.Account, as.AccountTags = from.account.Name, from.account.Settings.Tags
			}
		}
		return out, nil
	})
}
