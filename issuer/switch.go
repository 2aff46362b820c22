package issuer

import (
	"context"
	"errors"
	"time"

	"chancery/store"
)

// switchAction is the signing switch in the audit log.
const switchAction = "switch_signing"

// SigningSwitch tells whether an operator's switch is on and who last moved it.
type SigningSwitch struct {
	OperatorID, Operator string
	Enabled              bool
	// Version is the operator's.
	Version int64
	// By, Reason and Since are of the last move; empty if it never was.
	By, Reason string
	Since      time.Time
}

// SetSigning moves the operator's signing switch. Off, nothing new is signed under
// the operator but what takes rights away: revocations, suspensions, deletions.
// Serving, reading and pushing go on, and accounts that owe a new signature wait.
func (i *Issuer) SetSigning(ctx context.Context, op Op, operator string, enabled bool) (Outcome[SigningSwitch], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: switchAction, kind: "operator", target: operator, protective: true}, func(ctx context.Context, w *work) (planned[SigningSwitch], error) {
		var none planned[SigningSwitch]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expect(o.Version); err != nil {
			return none, err
		}
		plan := Plan{Connections: unknown}
		was := o.Signing
		o.Signing = enabled
		out := SigningSwitch{OperatorID: o.ID, Operator: o.Name, Enabled: enabled, Version: o.Version, By: op.Caller.ID, Reason: op.Reason, Since: w.Now()}
		if was != enabled {
			say := map[bool]string{true: "Everything is signed again; what waited is signed now.", false: "Nothing new is signed but what takes rights away. Servers and clients go on."}
			plan.Changes = []Change{{Path: "/signing/enabled", From: was, To: enabled, Text: say[enabled]}}
		}
		return planned[SigningSwitch]{preview: out, target: o.ID, plan: plan, apply: func(ctx context.Context) (SigningSwitch, error) {
			if was == enabled {
				return out, nil
			}
			if err := w.UpdateOperator(ctx, o); err != nil {
				return out, err
			}
			out.Version++
			return out, nil
		}}, nil
	})
}

// SigningSwitch returns the state of the operator's signing switch.
func (i *Issuer) SigningSwitch(ctx context.Context, caller Caller, operator string) (SigningSwitch, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "operator", target: operator}, func(ctx context.Context, d *desk) (SigningSwitch, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return SigningSwitch{}, err
		}
		d.some() // whom it holds up may know why
		out := SigningSwitch{OperatorID: o.ID, Operator: o.Name, Enabled: o.Signing, Version: o.Version}
		e, err := d.LastOnOperator(ctx, o.ID, switchAction)
		if errors.Is(err, store.ErrNotFound) {
			return out, nil
		}
		out.By, out.Reason, out.Since = e.Actor, e.Reason, time.UnixMicro(e.At).UTC()
		return out, err
	})
}
