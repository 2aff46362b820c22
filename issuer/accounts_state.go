package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// The states of an account.
const (
	accountActive    = "active"
	accountSuspended = "suspended"
	accountDeleted   = "deleted"
)

// inForce returns what servers are to hold of the account's settings in its state: a
// suspended account admits nobody, and keeps its settings for the time after; a
// deleted one has no settings that matter either. JetStream stays as it is: without its limits
// servers would close its streams.
func inForce(a Account) jwt.Account {
	s := a.Settings
	if a.State == accountActive {
		return s
	}
	s.Limits.Conn, s.Limits.LeafNodeConn = 0, 0
	if a.State == accountDeleted {
		s.Mappings, s.Authorization = nil, jwt.ExternalAuthorization{}
	}
	return s
}

// SuspendAccount refuses every connection to the account: its servers hold zero
// connections and leaf nodes, and close those there are. Its limits are kept for
// ResumeAccount. It is never held back: no version need be named.
func (i *Issuer) SuspendAccount(ctx context.Context, op Op, account string) (Outcome[Account], error) {
	return i.setAccountState(ctx, op, use{permission: WriteLimits, action: "suspend", kind: "account", target: account, protective: true}, accountSuspended)
}

// ResumeAccount ends a suspension: the account has the limits it had, and those that
// were set meanwhile.
func (i *Issuer) ResumeAccount(ctx context.Context, op Op, account string) (Outcome[Account], error) {
	return i.setAccountState(ctx, op, use{permission: WriteLimits, action: "resume", kind: "account", target: account}, accountActive)
}

func (i *Issuer) setAccountState(ctx context.Context, op Op, u use, state string) (Outcome[Account], error) {
	live := i.liveConnections(ctx, op, u.permission, u.target)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Account], error) {
		var none planned[Account]
		a, err := lockAccount(ctx, w, u.target)
		if err != nil {
			return none, err
		}
		if err := w.expect(a.Version); err != nil {
			return none, err
		}
		if a.System && state != accountActive {
			if err := w.guard(GuardSystemAccount); err != nil {
				return none, err
			}
		}
		after := a
		after.State = state
		plan, err := statePlan(a, after)
		if err != nil {
			return none, err
		}
		if err := w.warnOfState(ctx, a, after, &plan); err != nil {
			return none, err
		}
		if err := foresee(ctx, w, after, nil, live, &plan); err != nil {
			return none, err
		}
		return planned[Account]{preview: after, target: a.ID, plan: plan, apply: func(ctx context.Context) (Account, error) {
			if a.State == state {
				return a, nil
			}
			if err := w.SetAccountState(ctx, a.ID, state); err != nil {
				return a, err
			}
			return i.resign(ctx, w, a.ID)
		}}, nil
	})
}

// statePlan says what becomes of an account that changes its state.
func statePlan(before, after Account) (Plan, error) {
	if before.State == after.State {
		return Plan{}, nil
	}
	a, b := inForce(before), inForce(after)
	changes, err := diff(a, b)
	if err != nil {
		return Plan{}, err
	}
	summary := append(claims.DiffAccounts(intentOf(before), intentOf(after)), claims.DiffLifetime(before.Lifetime, after.Lifetime)...)
	changes = append(changes, diffExpiry(before, after)...)
	changes = append([]Change{{Path: "/state", From: before.State, To: after.State}}, narrate(changes, summary)...)
	return Plan{Changes: changes, Summary: summary}, nil
}

// DeleteAccount leaves a tombstone of the account: a JWT without connections, signing
// keys, imports and exports, with everything revoked that was issued up to now. It is
// served and pushed for ever, since a server that was away may still hold an older
// one: it does not expire. The name is free again; the account's users are gone from all lists, and its
// ledger stays. The version must be named. A system account is never deleted: there
// would be no way back.
func (i *Issuer) DeleteAccount(ctx context.Context, op Op, account string) (Outcome[Account], error) {
	live := i.liveConnections(ctx, op, WriteLimits, account)
	return change(ctx, i, op, use{permission: WriteLimits, action: "delete", kind: "account", target: account, protective: true}, func(ctx context.Context, w *work) (planned[Account], error) {
		var none planned[Account]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := w.expectNamed(a.Version); err != nil {
			return none, err
		}
		if a.System {
			return none, &Error{
				Kind: KindConflict, Code: "system_account", Message: "The system account cannot be deleted: nothing could be told to the servers ever again.",
				Hint: "Delete the operator, which needs it as long as it exists.",
			}
		}
		everybody, err := revokeIssued(ctx, w, a, subject{key: Everybody})
		if err != nil {
			return none, err
		}
		after := a
		after.State = accountDeleted
		AccountExpiry{}.onto(w, &after) // what is served for ever has no end
		plan, err := statePlan(a, after)
		if err != nil {
			return none, err
		}
		plan.Changes = append(plan.Changes, Change{Path: "/revocations/*", To: everybody.rows[0].Before})
		plan.Credentials = everybody.credentials
		if err := w.warnOfState(ctx, a, after, &plan); err != nil {
			return none, err
		}
		revoked := func(parts *claims.Account) { parts.Revocations[Everybody] = everybody.rows[0].Before }
		if err := foresee(ctx, w, after, revoked, live, &plan); err != nil {
			return none, err
		}
		return planned[Account]{preview: after, target: a.ID, plan: plan, apply: func(ctx context.Context) (Account, error) {
			if err := everybody.apply(ctx, w); err != nil {
				return a, err
			}
			if err := w.DeleteAccount(ctx, a.ID); err != nil {
				return a, err
			}
			return i.resign(ctx, w, a.ID)
		}}, nil
	})
}

// notDeleted refuses changes of a deleted account.
func notDeleted(a Account) error {
	if a.State != accountDeleted {
		return nil
	}
	return &Error{Kind: KindConflict, Code: "account_deleted", Message: "The account is deleted: only its tombstone is left.", Hint: "Make a new account; the name is free."}
}

// What Chancery needs of a system account: connections of this process and of the
// one that takes its place, their subscriptions, and room for an account's JWT.
const (
	systemConnections   = 2
	systemSubscriptions = 16
	systemPayload       = 64 << 10
)

// guardSettings refuses settings that lock somebody out who could not be let in
// again from here.
func (w *work) guardSettings(ctx context.Context, before, after Account) error {
	if l := after.Settings.Limits; after.System && (under(l.Conn, systemConnections) || under(l.Subs, systemSubscriptions) || under(l.Payload, systemPayload)) {
		if err := w.guard(GuardSystemAccount); err != nil {
			return err
		}
	}
	if after.System && (after.FixedEnd() != 0 || after.Lifetime != 0) && (after.FixedEnd() != before.FixedEnd() || after.Lifetime != before.Lifetime) {
		if err := w.guard(GuardSystemAccount); err != nil {
			return err
		}
	}
	was, will := before.Settings.Authorization.AuthUsers, after.Settings.Authorization.AuthUsers
	if len(will) == 0 || slices.Equal(was, will) {
		return nil
	}
	if after.System { // Chancery's own user would be asked about, and not answer
		if err := w.guard(GuardSystemAccount); err != nil {
			return err
		}
	}
	answered, err := w.HasAdmitted(ctx, after.ID, will)
	if err != nil || answered {
		return err
	}
	return w.guard(GuardCalloutUnanswered)
}

// under tells whether a limit is below what is needed; negative is unlimited.
func under(limit, needed int64) bool { return limit >= 0 && limit < needed }
