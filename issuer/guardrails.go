package issuer

import (
	"context"
	"slices"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Guardrails are what was set for an operator or an account, and what holds there.
type Guardrails struct {
	// Own were set for the object, Operator for its operator: the same for an operator.
	Own, Operator claims.Guardrails
	// Effective is the stricter of both, rule by rule. What of an account's own is
	// looser than its operator's has no effect, and comes into effect should that be
	// loosened.
	Effective claims.Guardrails
	// Usual is the lifetime of credentials that ask for none, before any bound.
	Usual time.Duration
	// Of is the name of the operator or account, ID its public key; Version is that of
	// the object.
	Of, ID  string
	Version int64
}

func guardrailsOf(o Operator, a *Account) Guardrails {
	g, usual := o.Policy.Guardrails, DefaultTTL
	if o.Policy.DefaultTTL > 0 {
		usual = time.Duration(o.Policy.DefaultTTL) * time.Second
	}
	if a == nil {
		return Guardrails{Own: g, Operator: g, Effective: g, Usual: usual, Of: o.Name, ID: o.ID, Version: o.Version}
	}
	out := Guardrails{Own: a.Guardrails, Operator: g, Effective: g.With(a.Guardrails), Usual: usual, Of: a.Name, ID: a.ID, Version: a.Version}
	if a.System {
		out.Effective = claims.Guardrails{}
	}
	return out
}

// OperatorGuardrails returns the guardrails of an operator.
func (i *Issuer) OperatorGuardrails(ctx context.Context, caller Caller, operator string) (Guardrails, error) {
	u := use{permission: ReadOperators, action: "read", kind: "guardrails", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (Guardrails, error) {
		o, err := findOperator(ctx, d, operator)
		return guardrailsOf(o, nil), err
	})
}

// AccountGuardrails returns the guardrails of an account.
func (i *Issuer) AccountGuardrails(ctx context.Context, caller Caller, account string) (Guardrails, error) {
	u := use{permission: ReadAccounts, action: "read", kind: "guardrails", target: account}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (Guardrails, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return Guardrails{}, err
		}
		d.some() // who may issue in it may know what bounds that
		o, err := d.GetOperator(ctx, a.OperatorID)
		return guardrailsOf(o, &a), err
	})
}

// SetOperatorGuardrails replaces the guardrails of an operator, which is at the version
// that Op names. They bound what is made in all its accounts from now on; what there
// is goes on, and the plan of a dry run counts what of it is outside. Its system account
// is not bound.
func (i *Issuer) SetOperatorGuardrails(ctx context.Context, op Op, operator string, g claims.Guardrails) (Outcome[Guardrails], error) {
	u := use{permission: WriteGuardrails, action: "set", kind: "guardrails", target: operator}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Guardrails], error) {
		var none planned[Guardrails]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expectNamed(o.Version); err != nil {
			return none, err
		}
		if err := writable(o); err != nil {
			return none, err
		}
		g := g.Normal()
		problems := claims.CheckGuardrails(g, true)
		if g.MaxTTL > 0 && o.Policy.DefaultTTL > g.MaxTTL {
			problems = append(problems, claims.Problem{Pointer: "/credential_max_ttl_seconds", Code: "out_of_range", Blocking: true, Detail: "The operator's policy gives credentials that ask for none a longer lifetime. Shorten that first."})
		}
		if problems.Blocking() {
			return none, invalid(problems)
		}
		after := o
		after.Policy.Guardrails = g
		plan, err := w.planGuardrails(ctx, claims.Level{Whose: "operator", Guardrails: g}, o.Policy.Guardrails, store.GuardScope{OperatorID: o.ID})
		if err != nil {
			return none, err
		}
		return planned[Guardrails]{preview: guardrailsOf(after, nil), target: o.ID, plan: plan, apply: func(ctx context.Context) (Guardrails, error) {
			if len(plan.Changes) == 0 {
				return guardrailsOf(o, nil), nil
			}
			if err := w.UpdateOperator(ctx, after); err != nil {
				return Guardrails{}, err
			}
			after.Version++
			return guardrailsOf(after, nil), nil
		}}, nil
	})
}

// SetAccountGuardrails replaces what an account is bound by beyond its operator's
// guardrails, see SetOperatorGuardrails. It can only tighten: the stricter of both
// holds, and the plan says what has no effect.
func (i *Issuer) SetAccountGuardrails(ctx context.Context, op Op, account string, g claims.Guardrails) (Outcome[Guardrails], error) {
	u := use{permission: WriteGuardrails, action: "set", kind: "guardrails", target: account}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Guardrails], error) {
		var none planned[Guardrails]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := w.expectNamed(a.Version); err != nil {
			return none, err
		}
		o, err := w.GetOperator(ctx, a.OperatorID)
		if err != nil {
			return none, err
		}
		if a.System {
			return none, &Error{
				Kind: KindConflict, Code: "system_account", Message: "No guardrails hold on the system account.",
				Hint: "Whoever may change the system account administers the operator.",
			}
		}
		g := g.Normal()
		if problems := claims.CheckGuardrails(g, false); problems.Blocking() {
			return none, invalid(problems)
		}
		after := a
		after.Guardrails = g
		plan, err := w.planGuardrails(ctx, claims.Level{Whose: "account", Guardrails: g}, a.Guardrails, store.GuardScope{AccountID: a.ID})
		if err != nil {
			return none, err
		}
		plan.Warnings = append(withoutEffect(g, o.Policy.Guardrails), plan.Warnings...)
		return planned[Guardrails]{preview: guardrailsOf(o, &after), target: a.ID, plan: plan, apply: func(ctx context.Context) (Guardrails, error) {
			if len(plan.Changes) == 0 {
				return guardrailsOf(o, &a), nil
			}
			if err := w.SetGuardrails(ctx, a.ID, g); err != nil {
				return Guardrails{}, orMissing(err, "account")
			}
			after.Version++
			return guardrailsOf(o, &after), nil
		}}, nil
	})
}

// planGuardrails says what changes, and for a dry run what is outside already.
func (w *work) planGuardrails(ctx context.Context, level claims.Level, before claims.Guardrails, scope store.GuardScope) (Plan, error) {
	var plan Plan
	changes, err := diff(before.Normal(), level.Guardrails)
	if err != nil {
		return plan, err
	}
	plan.Summary = claims.DiffGuardrails(before, level.Guardrails)
	plan.Changes = narrate(changes, plan.Summary)
	if w.op.DryRun {
		plan.Warnings, err = w.outsideNow(ctx, level, scope)
	}
	return plan, err
}

// withoutEffect warns of rules of an account that are looser than its operator's.
func withoutEffect(g, operator claims.Guardrails) claims.Problems {
	var out claims.Problems
	add := func(pointer, detail string) {
		out = append(out, claims.Problem{Pointer: pointer, Code: "no_effect", Detail: detail})
	}
	effective := operator.With(g)
	if g.MaxTTL > 0 && effective.MaxTTL < g.MaxTTL {
		add("/credential_max_ttl_seconds", "The operator's guardrails allow a shorter lifetime, which holds.")
	}
	for _, q := range claims.Quotas(false) {
		if n, bounded := g.Quotas[q]; bounded && effective.Quotas[q] < n {
			name, _ := claims.QuotaName(q)
			add(claims.Point("/quotas", string(q)), name+": the operator's guardrails allow fewer, which holds.")
		}
	}
	if len(g.Subjects) > 0 && len(operator.Subjects) > 0 {
		if len(effective.Subjects) == 0 {
			add("/subject_prefixes", "These prefixes and those of the operator have nothing in common: no subject is allowed.")
		} else if !slices.Equal(effective.Subjects, g.Subjects) {
			add("/subject_prefixes", "Some of these prefixes reach further than the operator's, which hold as well.")
		}
	}
	return out
}
