package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// OperatorEdit is what can be changed of an operator.
type OperatorEdit struct {
	ServiceURLs, Tags []string
	// AccountServerURL is where a nats-server without a resolver in its configuration
	// looks for accounts.
	AccountServerURL string
	// Strict forbids the identity keys to sign anything but their own JWT.
	Strict bool
	Policy Policy
}

// UpdateOperator changes an operator as edit says. Its new JWT is signed at once
// where the identity key is, and waits for its holder's signature where that key is
// offline. A policy is no part of the JWT.
func (i *Issuer) UpdateOperator(ctx context.Context, op Op, operator string, edit func(e *OperatorEdit)) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "update", kind: "operator", target: operator}, func(ctx context.Context, w *work) (planned[Operator], error) {
		var none planned[Operator]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expect(o.Version); err != nil {
			return none, err
		}
		if err := writable(o); err != nil {
			return none, err
		}
		after := edited(o, edit)
		if !after.Policy.Guardrails.Equal(o.Policy.Guardrails) {
			if err := w.alsoNeeds(WriteGuardrails); err != nil {
				return none, err
			}
		}
		problems := append(checkPolicy(after.Policy), claims.CheckOperator(claims.Operator{Name: after.Name, Settings: after.Settings, Foreign: after.Foreign})...)
		if problems.Blocking() {
			return none, invalid(problems)
		}
		if after.Settings.StrictSigningKeyUsage && !o.Settings.StrictSigningKeyUsage {
			if err := w.guardStrict(ctx, o.ID); err != nil {
				return none, err
			}
		}
		plan, err := operatorPlan(o, after)
		if err != nil {
			return none, err
		}
		resigns := slices.ContainsFunc(plan.Changes, func(c Change) bool { return !isPolicy(c) })
		if resigns {
			if err := w.maySign(ctx, o.ID); err != nil {
				return none, err
			}
			plan.Warnings = append(plan.Warnings, afterSigning(after)...)
		}
		return planned[Operator]{preview: after, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
			if len(plan.Changes) == 0 {
				return o, nil
			}
			if err := w.UpdateOperator(ctx, after); err != nil {
				return o, err
			}
			if resigns {
				if err := i.resignOperator(ctx, w, o.ID); err != nil {
					return o, err
				}
			}
			return w.GetOperator(ctx, o.ID)
		}}, nil
	})
}

// lockOperator finds an operator and locks it until the transaction ends.
func lockOperator(ctx context.Context, w *work, ref string) (Operator, error) {
	o, err := findOperator(ctx, &w.desk, ref)
	if err != nil {
		return o, err
	}
	o, err = w.LockOperatorForEdit(ctx, o.ID)
	return o, orMissing(err, "operator")
}

func edited(o Operator, edit func(e *OperatorEdit)) Operator {
	e := OperatorEdit{
		ServiceURLs: slices.Clone([]string(o.Settings.OperatorServiceURLs)), Tags: slices.Clone([]string(o.Settings.Tags)),
		AccountServerURL: o.Settings.AccountServerURL, Strict: o.Settings.StrictSigningKeyUsage, Policy: o.Policy,
	}
	edit(&e)
	o.Settings.OperatorServiceURLs = e.ServiceURLs
	if !slices.Equal(o.Settings.Tags, e.Tags) { // those of a JWT from elsewhere stay until they are edited
		o.Settings.Tags = claims.NormalizeTags(e.Tags)
	}
	o.Settings.AccountServerURL, o.Settings.StrictSigningKeyUsage, o.Policy = e.AccountServerURL, e.Strict, e.Policy
	return o
}

// guardStrict holds strictness up while servers would refuse what identity keys
// signed (accounts.go, auth.go: strict).
func (w *work) guardStrict(ctx context.Context, operatorID string) error {
	accounts, credentials, err := w.CountSignedByIdentity(ctx, operatorID)
	if err != nil || accounts+credentials == 0 {
		return err
	}
	return w.guard(GuardStrict)
}

// afterSigning tells what a change of the operator's JWT still needs.
func afterSigning(o Operator) claims.Problems {
	out := claims.Problems{{Code: "restart_needed", Detail: "A running nats-server takes the operator's new JWT when it is restarted, not when it reloads."}}
	if o.Custody == CustodyOffline {
		out = append(out, claims.Problem{Code: "signature_needed", Detail: "The identity key is offline: the JWT in force stays until its holder has signed the new one."})
	}
	return out
}

// operatorPlan compares two operators; a zero one is none.
func operatorPlan(before, after Operator) (Plan, error) {
	type body struct {
		jwt.Operator
		Policy *Policy `json:"policy,omitempty"`
	}
	var from any
	var was *jwt.OperatorClaims
	if before.ID != "" {
		from, was = body{before.Settings, &before.Policy}, &jwt.OperatorClaims{Operator: before.Settings}
	}
	changes, err := diff(from, body{after.Settings, &after.Policy})
	if err != nil {
		return Plan{}, err
	}
	summary := append(claims.DiffOperators(was, &jwt.OperatorClaims{Operator: after.Settings}), diffPolicies(before.Policy, after.Policy)...)
	return Plan{Changes: narrate(changes, summary), Summary: summary}, nil
}
