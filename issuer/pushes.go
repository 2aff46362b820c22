package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"chancery/claims"
)

// mostPushed is how many accounts can be named to be pushed again.
const mostPushed = 500

// PushInput says which accounts of an operator are pushed again.
type PushInput struct {
	// All is all of them; else Accounts names some, up to 500.
	All      bool
	Accounts []string
}

// Pushed is what is pushed again.
type Pushed struct {
	// OperatorID is whose servers they are, Expected how many of them there are to be; 0
	// is no number.
	OperatorID string
	Expected   int64
	// Accounts is how many are to be on every server once more.
	Accounts int64
}

// PushAgain has the newest JWTs of accounts read back from every server, and pushed to
// those that have something else. Nothing is signed. It returns at once; how far it got
// is in the deliveries.
func (i *Issuer) PushAgain(ctx context.Context, op Op, operator string, in PushInput) (Outcome[Pushed], error) {
	return change(ctx, i, op, use{permission: WriteServers, action: "push", kind: "operator", target: operator}, func(ctx context.Context, w *work) (planned[Pushed], error) {
		var none planned[Pushed]
		o, err := findOperator(ctx, &w.desk, operator)
		if err != nil {
			return none, err
		}
		if err := writable(o); err != nil {
			return none, err
		}
		if err := in.check(); err != nil {
			return none, err
		}
		ids, names, err := w.toPush(ctx, o, in)
		if err != nil {
			return none, err
		}
		out := Pushed{OperatorID: o.ID, Expected: o.Policy.Servers, Accounts: int64(len(ids))}
		if in.All {
			if out.Accounts, err = w.CountSignedAccounts(ctx, o.ID); err != nil {
				return none, err
			}
			names = "all"
		}
		text := "Read back from every server, and pushed where one has something else"
		plan := Plan{
			Connections: -1,
			Changes:     []Change{{Path: "/accounts", To: names, Text: text}},
			Summary:     []claims.FieldChange{{Pointer: "/accounts", Field: "Accounts", After: fmt.Sprintf("%s (%d)", names, out.Accounts)}},
		}
		return planned[Pushed]{preview: out, target: o.ID, plan: plan, apply: func(ctx context.Context) (Pushed, error) {
			out.Accounts, err = w.OweAll(ctx, o.ID, ids)
			return out, err
		}}, nil
	})
}

func (in PushInput) check() error {
	if in.All == (len(in.Accounts) > 0) {
		return invalidField("/accounts", "required", "Name the accounts, or say that all of them are meant.")
	}
	if len(in.Accounts) > mostPushed {
		return invalidField("/accounts", "out_of_range", fmt.Sprintf("Name up to %d accounts, or say that all of them are meant.", mostPushed))
	}
	return nil
}

// toPush finds the accounts that are named, each of which the caller must be allowed to
// push; it is on record at the operator unless there is one alone.
func (w *work) toPush(ctx context.Context, o Operator, in PushInput) (ids []string, names string, err error) {
	var called []string
	for _, ref := range in.Accounts {
		a, err := findAccountOf(ctx, &w.desk, o.ID, ref)
		if err != nil {
			return nil, "", err
		}
		if a.JWTVersion > 0 && !slices.Contains(ids, a.ID) {
			ids, called = append(ids, a.ID), append(called, a.Name)
		}
	}
	if len(ids) > 1 {
		w.at = Scope{Operator: o.ID}
	}
	return ids, strings.Join(called, ", "), nil
}
