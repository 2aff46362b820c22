package issuer

import (
	"context"
	"fmt"
)

// DeleteOperator takes an operator without accounts, beside its system account, out
// of use: nothing of it is served, pushed or signed any more. Its rows stay for the
// ledger, its identity stays known, its name is free again. The version must be
// named. An observed operator goes with its accounts.
func (i *Issuer) DeleteOperator(ctx context.Context, op Op, operator string) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "delete", kind: "operator", target: operator, protective: true}, func(ctx context.Context, w *work) (planned[Operator], error) {
		var none planned[Operator]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expectNamed(o.Version); err != nil {
			return none, err
		}
		n, err := w.CountOpenAccounts(ctx, o.ID)
		if err != nil {
			return none, err
		}
		if n > 0 && o.Custody != CustodyObserved { // of what is only observed nothing here keeps servers going
			return none, &Error{
				Kind: KindConflict, Code: "operator_in_use", Message: "The operator has accounts beside its system account.",
				Hint: fmt.Sprintf("Delete them first (%d), and wait until every server has their tombstones.", n),
			}
		}
		after := o
		after.State = "deleted"
		plan := Plan{Connections: unknown, Changes: []Change{{Path: "/state", From: o.State, To: after.State, Text: "Nothing of the operator is served or pushed any more; its servers cannot be restarted."}}}
		return planned[Operator]{preview: after, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
			return after, w.DeleteOperator(ctx, o.ID)
		}}, nil
	})
}
