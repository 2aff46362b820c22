package issuer

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// AccountCloneInput says what a copy of an account is to be.
type AccountCloneInput struct {
	Name string
	// Operator is the name or public key of the copy's operator; empty means that of the
	// account.
	Operator string
}

// CloneAccount makes an account with the settings, the end, the guardrails and the
// templates of another one, and keys of its own. It has no users, credentials, revocations, exports
// or imports, and no auth callout, which nobody could answer. A template that the
// operator shares is used by the copy too; at another operator it becomes a template of
// the copy. The copy does not follow the original.
func (i *Issuer) CloneAccount(ctx context.Context, op Op, account string, in AccountCloneInput) (Outcome[Account], error) {
	return change(ctx, i, op, use{permission: WriteLimits, action: "clone", kind: "account", target: account}, func(ctx context.Context, w *work) (planned[Account], error) {
		var none planned[Account]
		from, err := findAccount(ctx, &w.desk, account) // operators are locked before accounts
		if err != nil {
			return none, err
		}
		o, err := w.operatorForAccount(ctx, cmp.Or(in.Operator, from.OperatorID))
		if err != nil {
			return none, err
		}
		if o, err = w.holdForAccount(ctx, o); err != nil {
			return none, orMissing(err, "operator")
		}
		if from, err = lockAccount(ctx, w, from.ID); err != nil {
			return none, err
		}
		asked, warnings, err := copyOfAccount(ctx, w, from, in.Name)
		if err != nil {
			return none, err
		}
		w.at = Scope{Operator: o.ID} // what is made is on record where it is, not at its original
		n, err := i.newAccount(ctx, w, o, asked)
		if err != nil {
			return none, err
		}
		copies, found, err := i.cloneTemplates(ctx, w, from, home{operator: o, account: n.account})
		if err != nil {
			return none, err
		}
		plan := n.plan
		plan.Changes = append(plan.Changes, Change{Path: "/cloned_from", To: from.ID})
		plan.Warnings = append(append(plan.Warnings, warnings...), found...)
		for m, x := range copies {
			how := "used"
			if x.own {
				how = "copied"
			}
			pointer := claims.Point("/templates", m)
			plan.Changes = append(plan.Changes, Change{Path: pointer, To: x.Body.Name, Text: "Template " + x.Body.Name + " is " + how + ", with a key of its own"})
			plan.Summary = append(plan.Summary, claims.FieldChange{Pointer: pointer, Field: "Template " + x.Body.Name, After: how})
		}
		_, err = rehearse(ctx, w, n.account, func(parts *claims.Account) {
			for m := range copies {
				parts.Keys = append(parts.Keys, claims.SigningKey{ID: copies[m].key.ID, Template: &copies[m].Body})
			}
		})
		if err != nil {
			return none, err
		}
		return planned[Account]{preview: n.account, target: n.account.ID, plan: plan, apply: func(ctx context.Context) (Account, error) {
			if err := n.create(ctx, w); err != nil {
				return n.account, err
			}
			for _, x := range copies {
				if err := x.create(ctx, w); err != nil {
					return n.account, err
				}
			}
			return i.resign(ctx, w, n.account.ID)
		}}, nil
	})
}

// copyOfAccount returns what a copy is made of, and what it does without.
func copyOfAccount(ctx context.Context, w *work, from Account, name string) (in AccountInput, warnings claims.Problems, err error) {
	in = AccountInput{Name: name, AccountExpiry: AccountExpiry{from.FixedEnd(), from.Lifetime}, guardrails: from.Guardrails}
	if in.Settings, err = copyOf(from.Settings); err != nil {
		return in, nil, err
	}
	in.Settings.Exports, in.Settings.Imports = nil, nil
	exports, err := w.ListExports(ctx, from.ID)
	if err != nil {
		return in, nil, err
	}
	imports, err := w.ListImports(ctx, from.ID)
	if err != nil {
		return in, nil, err
	}
	if len(exports)+len(imports) > 0 {
		warnings = append(warnings, claims.Problem{Pointer: "/exports", Code: "not_copied", Detail: "Exports and imports are not copied: share again what the copy is to have."})
	}
	if len(in.Settings.Authorization.AuthUsers) > 0 {
		warnings = append(warnings, claims.Problem{Pointer: "/authorization", Code: "not_copied", Detail: "The auth callout is not copied: the users that answer it are not there."})
	}
	in.Settings.Authorization = jwt.ExternalAuthorization{}
	if in.Expires != 0 && in.Expires <= w.Now().Unix() {
		in.Expires = 0
		warnings = append(warnings, claims.Problem{Pointer: "/expires_at", Code: "not_copied", Detail: "The account has expired; the copy does not expire."})
	}
	return in, warnings, nil
}

// copiedTemplate is a template of a copied account.
type copiedTemplate struct {
	Template
	// own templates are rows of their own; the others are shared.
	own bool
	key store.Key
}

func (x copiedTemplate) create(ctx context.Context, w *work) error {
	if x.own {
		if err := w.CreateTemplate(ctx, x.Template); err != nil {
			return orTaken(err, "template")
		}
	}
	return w.CreateKey(ctx, x.key)
}

// cloneTemplates plans the templates of a copy: those that the account has of its own,
// and the shared ones for which it has a key.
func (i *Issuer) cloneTemplates(ctx context.Context, w *work, from Account, to home) ([]copiedTemplate, claims.Problems, error) {
	const page = 100
	keys, err := w.ListKeys(ctx, from.OperatorID, from.ID)
	if err != nil {
		return nil, nil, err
	}
	var out []copiedTemplate
	var warnings claims.Problems
	for p := (Page{Limit: page}); ; {
		list, err := w.ListTemplates(ctx, from.ID, p)
		if err != nil {
			return nil, nil, err
		}
		for _, x := range list {
			if x.Shared() && !slices.ContainsFunc(keys, func(k store.Key) bool { return k.TemplateID == x.ID && isTrusted(k) }) {
				continue
			}
			c, found, err := i.cloneTemplate(ctx, w, x, to)
			if err != nil {
				return nil, nil, err
			}
			out, warnings = append(out, c), append(warnings, found...)
		}
		if len(list) < page {
			return out, warnings, to.admit(out)
		}
		last := list[len(list)-1]
		p.AfterName, p.AfterID = last.Body.Name, last.ID
	}
}

// admit refuses more templates and keys than the guardrails of a new account allow.
func (h home) admit(copies []copiedTemplate) error {
	own := int64(0)
	for _, x := range copies {
		if x.own {
			own++
		}
	}
	levels := h.levels()
	return refusal(append(levels.CheckQuota("/templates", claims.QuotaTemplates, own), levels.CheckQuota("/templates", claims.QuotaSigningKeys, int64(len(copies))+1)...))
}

func (i *Issuer) cloneTemplate(ctx context.Context, w *work, x Template, to home) (c copiedTemplate, warnings claims.Problems, err error) {
	if c.own = !x.Shared() || x.OperatorID != to.operator.ID; c.own {
		warnings, err = to.adapt(ctx, w, &x)
	} else if x, err = w.LockTemplate(ctx, x.ID); err == nil {
		err = refusal(append(to.checkUse(TemplateInput{Body: x.Body}), to.outside(x.Body)...).At("/templates/" + x.ID))
	}
	if err != nil {
		return c, nil, err
	}
	c.Template = x
	c.key, err = i.newKey(ctx, w, accountSigning(to.operator.ID, to.account.ID, x.ID))
	return c, warnings, err
}

// adapt makes a template one of the home's own, if that has nothing against it. Its
// tests may fail there, since they may name the account that it comes from: that is a
// warning, and to be mended with the next edit.
func (h home) adapt(ctx context.Context, w *work, x *Template) (claims.Problems, error) {
	problems := append(claims.CheckTemplate(x.Body), h.checkUse(TemplateInput{Body: x.Body})...)
	problems = append(problems, h.outside(x.Body)...)
	if problems.Blocking() {
		return nil, invalid(problems.At("/templates/" + x.ID))
	}
	if _, err := w.GetSharedTemplate(ctx, h.operator.ID, x.Body.Name); err == nil {
		return nil, orTaken(store.ErrExists, "template")
	} else if err = ignoreMissing(err); err != nil {
		return nil, err
	}
	id, err := w.NewID("tpl_")
	if err != nil {
		return nil, err
	}
	x.ID, x.OperatorID, x.AccountID, x.Version, x.Created, x.Updated = id, h.operator.ID, h.account.ID, 1, w.Now(), w.Now()
	for n := range x.Tests {
		x.Tests[n].As.Account, x.Tests[n].As.AccountTags = "", nil
	}
	failed := claims.Failures(claims.RunTests(x.Body, h.testedIn(*x), x.Tests))
	if len(failed) == 0 {
		return nil, nil
	}
	return claims.Problems{{
		Pointer: "/templates", Code: "tests_fail", Detail: strconv.Itoa(len(failed)) + " tests of the template " + x.Body.Name + " fail in the copy. Look at them before the template is changed there.",
	}}, nil
}
