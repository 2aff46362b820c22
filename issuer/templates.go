package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"chancery/claims"
	"chancery/store"
)

// TemplateInput is what a template is made of.
type TemplateInput struct {
	Body claims.Template
	// MaxTTL is the longest lifetime of credentials; 0 sets no bound.
	MaxTTL time.Duration
	// Tests run before the template is saved; one that fails keeps it from being
	// saved.
	Tests []claims.TemplateTest
}

// TemplateWithKeys is a template with what carries it.
type TemplateWithKeys struct {
	Template
	// Keys are the scoped signing keys of the account that carry it, without seeds;
	// none for an operator's own view of a shared template.
	Keys []Key
	// Results are those of its tests.
	Results []claims.TestResult
	// Use counts who uses it: in the account, or of a shared template seen at its
	// operator, in all accounts.
	Use TemplateUse
}

// CreateTemplate makes a template in an account, with a scoped signing key that
// carries it in the account's JWT. A shared template of the same name hinders it.
func (i *Issuer) CreateTemplate(ctx context.Context, op Op, account string, in TemplateInput) (Outcome[TemplateWithKeys], error) {
	u := use{permission: WriteTemplates, action: "create", kind: "template", target: account + "/" + in.Body.Name}
	return i.createTemplate(ctx, op, u, TemplateHome{Account: account}, given(in))
}

// CreateSharedTemplate makes a template of an operator, which all its accounts may
// use. No account carries it before the first use. It hinders templates of the same
// name in accounts, and is hindered by them.
func (i *Issuer) CreateSharedTemplate(ctx context.Context, op Op, operator string, in TemplateInput) (Outcome[TemplateWithKeys], error) {
	u := use{permission: WriteTemplates, action: "create", kind: "template", target: operator + "/" + in.Body.Name}
	return i.createTemplate(ctx, op, u, TemplateHome{Operator: operator}, given(in))
}

func given(in TemplateInput) func(context.Context, *work) (TemplateInput, error) {
	return func(context.Context, *work) (TemplateInput, error) { return in, nil }
}

// createTemplate makes a template of what input, which runs in the transaction,
// returns.
func (i *Issuer) createTemplate(ctx context.Context, op Op, u use, at TemplateHome, input func(context.Context, *work) (TemplateInput, error)) (Outcome[TemplateWithKeys], error) {
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[TemplateWithKeys], error) {
		var none planned[TemplateWithKeys]
		in, err := input(ctx, w)
		if err != nil {
			return none, err
		}
		h, err := at.lock(ctx, w)
		if err != nil {
			return none, err
		}
		if err := w.maySign(ctx, h.operator.ID); err != nil {
			return none, err
		}
		warnings, results, err := h.check(in)
		if err != nil {
			return none, err
		}
		if err := h.slowDown(w); err != nil {
			return none, err
		}
		if err := h.free(ctx, w, in.Body.Name); err != nil {
			return none, err
		}
		if !h.shared() {
			for _, q := range []claims.Quota{claims.QuotaTemplates, claims.QuotaSigningKeys} {
				if err := w.guardCount(ctx, h.account, q, 1); err != nil {
					return none, err
				}
			}
		}
		id, err := w.NewID("tpl_")
		if err != nil {
			return none, err
		}
		x := Template{ID: id, OperatorID: h.operator.ID, AccountID: h.account.ID, Body: in.Body, Tests: in.Tests, MaxTTL: in.MaxTTL, Version: 1, Created: w.Now(), Updated: w.Now()}
		plan, err := templatePlan(Template{}, x)
		if err != nil {
			return none, err
		}
		plan.Warnings = warnings
		out := TemplateWithKeys{Template: x, Results: results}
		if h.shared() {
			return planned[TemplateWithKeys]{preview: out, target: id, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
				return out, orTaken(w.CreateTemplate(ctx, x), "template")
			}}, nil
		}
		key, err := i.newKey(ctx, w, accountSigning(x.OperatorID, x.AccountID, id))
		if err != nil {
			return none, err
		}
		if _, err := rehearse(ctx, w, h.account, func(parts *claims.Account) {
			parts.Keys = append(parts.Keys, claims.SigningKey{ID: key.ID, Template: &x.Body})
		}); err != nil {
			return none, err
		}
		return planned[TemplateWithKeys]{preview: out, target: id, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
			if err := w.CreateTemplate(ctx, x); err != nil {
				return out, orTaken(err, "template")
			}
			if err := w.CreateKey(ctx, key); err != nil {
				return out, err
			}
			if _, err := i.resign(ctx, w, x.AccountID); err != nil {
				return out, err
			}
			key.Sealed = nil
			key.Created, key.Updated, key.Since = w.Now(), w.Now(), w.Now()
			out.Keys, out.Use.Accounts = []Key{key}, 1
			return out, nil
		}}, nil
	})
}

// UpdateTemplate changes an account's own template as edit says, its name too. Every
// live connection of its users is closed by the servers, since their scoped key
// changes; they reconnect. Tests and the longest lifetime are no part of the key.
func (i *Issuer) UpdateTemplate(ctx context.Context, op Op, account, template string, edit func(*TemplateInput)) (Outcome[TemplateWithKeys], error) {
	u := use{permission: WriteTemplates, action: "update", kind: "template", target: account + "/" + template}
	return i.updateTemplate(ctx, op, u, TemplateRef{TemplateHome{Account: account}, template}, edit)
}

// UpdateSharedTemplate is UpdateTemplate for a template of an operator. Every account
// that uses it owes a new signature from then on, which Upkeep makes: see
// TemplateUse.Owing.
func (i *Issuer) UpdateSharedTemplate(ctx context.Context, op Op, operator, template string, edit func(*TemplateInput)) (Outcome[TemplateWithKeys], error) {
	u := use{permission: WriteTemplates, action: "update", kind: "template", target: operator + "/" + template}
	return i.updateTemplate(ctx, op, u, TemplateRef{TemplateHome{Operator: operator}, template}, edit)
}

func (i *Issuer) updateTemplate(ctx context.Context, op Op, u use, ref TemplateRef, edit func(*TemplateInput)) (Outcome[TemplateWithKeys], error) {
	live := i.liveOfTemplate(ctx, op, ref)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[TemplateWithKeys], error) {
		var none planned[TemplateWithKeys]
		h, x, err := ref.lock(ctx, w)
		if err != nil {
			return none, err
		}
		if err := h.slowDown(w); err != nil {
			return none, err
		}
		after, results, warnings, err := h.edited(ctx, w, x, edit)
		if err != nil {
			return none, err
		}
		plan, err := templatePlan(x, after)
		if err != nil {
			return none, err
		}
		plan.Warnings = warnings
		signs := !sameBody(x, after)
		if signs { // an operator's own is signed later: what the switch holds up is not to be owed
			if err := w.maySign(ctx, h.operator.ID); err != nil {
				return none, err
			}
		}
		if err := h.foresee(ctx, w, affected{before: x, live: live}, func(k *claims.SigningKey) bool { k.Template = &after.Body; return true }, &plan); err != nil {
			return none, err
		}
		out := TemplateWithKeys{Template: after, Results: results, Use: plan.Reach.TemplateUse}
		return planned[TemplateWithKeys]{preview: out, target: x.ID, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
			if len(plan.Changes) > 0 {
				if after.Version, err = w.UpdateTemplate(ctx, after); err != nil {
					return out, orTaken(orMissing(err, "template"), "template")
				}
				after.Updated = w.Now()
			}
			if signs {
				if err := h.signed(ctx, i, w, x.ID); err != nil {
					return out, err
				}
			}
			return completed(ctx, w.Tx, h, after)
		}}, nil
	})
}

// edited returns x as edit changes it, checked in every respect.
func (h home) edited(ctx context.Context, w *work, x Template, edit func(*TemplateInput)) (after Template, results []claims.TestResult, warnings claims.Problems, err error) {
	in := TemplateInput{MaxTTL: x.MaxTTL}
	if in.Body, err = copyOf(x.Body); err != nil {
		return x, nil, nil, err
	}
	if in.Tests, err = copyOf(x.Tests); err != nil {
		return x, nil, nil, err
	}
	edit(&in)
	if warnings, results, err = h.check(in); err != nil {
		return x, nil, nil, err
	}
	if in.Body.Name != x.Body.Name {
		if err := h.free(ctx, w, in.Body.Name); err != nil {
			return x, nil, nil, err
		}
	}
	if err := w.guardCarriers(ctx, x, in.Body); err != nil {
		return x, nil, nil, err
	}
	hurt, err := checkUsersOf(ctx, w.Tx, x, in.Body)
	if err != nil {
		return x, nil, nil, err
	}
	if hurt.Blocking() {
		return x, nil, nil, invalid(hurt)
	}
	// The role of a key from elsewhere stays until somebody gives the template a name.
	if in.Body.Role = nil; in.Body.Name == x.Body.Name {
		in.Body.Role = x.Body.Role
	}
	after = x
	after.Body, after.MaxTTL, after.Tests = in.Body, in.MaxTTL, in.Tests
	return after, results, append(warnings, hurt...), nil
}

// copyOf returns a deep copy of what is stored as JSON anyway, so that an edit
// cannot reach the original.
func copyOf[T any](v T) (T, error) {
	var out T
	raw, err := json.Marshal(v)
	if err != nil {
		return out, fmt.Errorf("copying: %w", err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("copying: %w", err)
	}
	return out, nil
}

// GetTemplate returns a template that an account may use by name or identity: its own
// or a shared one, with the keys of that account.
func (i *Issuer) GetTemplate(ctx context.Context, caller Caller, account, template string) (TemplateWithKeys, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "read", kind: "template", target: account + "/" + template}, func(ctx context.Context, d *desk) (TemplateWithKeys, error) {
		h, x, err := TemplateRef{TemplateHome{Account: account}, template}.find(ctx, d)
		if err != nil {
			return TemplateWithKeys{}, err
		}
		return completed(ctx, d.Tx, h, x)
	})
}

// GetSharedTemplate returns a template of an operator by name or identity.
func (i *Issuer) GetSharedTemplate(ctx context.Context, caller Caller, operator, template string) (TemplateWithKeys, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "read", kind: "template", target: operator + "/" + template}, func(ctx context.Context, d *desk) (TemplateWithKeys, error) {
		h, x, err := TemplateRef{TemplateHome{Operator: operator}, template}.find(ctx, d)
		if err != nil {
			return TemplateWithKeys{}, err
		}
		return completed(ctx, d.Tx, h, x)
	})
}

// completed adds what carries the template, as seen from h.
func completed(ctx context.Context, t *store.Tx, h home, x Template) (TemplateWithKeys, error) {
	out := TemplateWithKeys{Template: x}
	var err error
	if out.Use, err = t.CountTemplateUse(ctx, x.ID, h.account.ID); err != nil {
		return out, err
	}
	out.Results = claims.RunTests(x.Body, h.testedIn(x), x.Tests)
	if h.shared() {
		return out, nil
	}
	all, err := keysWithoutSeeds(t.ListKeys(ctx, x.OperatorID, h.account.ID))
	for _, k := range all {
		if k.TemplateID == x.ID {
			out.Keys = append(out.Keys, k)
		}
	}
	return out, err
}

// ListTemplates returns a page of the templates that an account may use, its own and
// shared ones, by name.
func (i *Issuer) ListTemplates(ctx context.Context, caller Caller, account string, page Page) ([]Template, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "list", kind: "template", target: account}, func(ctx context.Context, d *desk) ([]Template, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		page.Bounds = d.some().In(scopeOf(a))
		return d.ListTemplates(ctx, a.ID, page)
	})
}

// ListSharedTemplates returns a page of an operator's templates by name.
func (i *Issuer) ListSharedTemplates(ctx context.Context, caller Caller, operator string, page Page) ([]Template, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "list", kind: "template", target: operator}, func(ctx context.Context, d *desk) ([]Template, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return nil, err
		}
		return d.ListSharedTemplates(ctx, o.ID, page)
	})
}

// TemplatePlace is a template with who it belongs to and how much it is used.
type TemplatePlace struct {
	Template
	// Operator and Account are names; Account is empty for a shared template.
	Operator, Account string
	Use               TemplateUse
}

// ListAllTemplates returns a page of all templates by name.
func (i *Issuer) ListAllTemplates(ctx context.Context, caller Caller, page Page) ([]TemplatePlace, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "list", kind: "template", target: ""}, func(ctx context.Context, d *desk) ([]TemplatePlace, error) {
		page.Bounds = d.some()
		list, err := d.ListAllTemplates(ctx, page)
		if err != nil {
			return nil, err
		}
		out := make([]TemplatePlace, len(list))
		operators := map[string]string{}
		for n, x := range list {
			if operators[x.OperatorID] == "" {
				o, err := d.GetOperator(ctx, x.OperatorID)
				if err != nil {
					return nil, err
				}
				operators[x.OperatorID] = o.Name
			}
			out[n] = TemplatePlace{Template: x, Operator: operators[x.OperatorID]}
			if !x.Shared() {
				a, err := d.GetAccount(ctx, x.AccountID)
				if err != nil {
					return nil, err
				}
				out[n].Account = a.Name
			}
			if out[n].Use, err = d.CountTemplateUse(ctx, x.ID, ""); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}
