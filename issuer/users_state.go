package issuer

import (
	"context"
	"fmt"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// UserEdit is what can be changed of a user.
type UserEdit struct {
	// Template is a name or identity; empty for permissions of the user's own.
	Template    string
	Permissions *jwt.UserPermissionLimits
	Tags        []string
}

// UpdateUser changes a user as edit says. What was issued before says what it said:
// the plan counts it.
func (i *Issuer) UpdateUser(ctx context.Context, op Op, account, user string, edit func(*UserEdit)) (Outcome[User], error) {
	return change(ctx, i, op, use{permission: WriteUsers, action: "update", kind: "user", target: account + "/" + user}, func(ctx context.Context, w *work) (planned[User], error) {
		var none planned[User]
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		if err := w.expect(x.Version); err != nil {
			return none, err
		}
		before := UserEdit{Template: x.TemplateID, Permissions: x.Permissions, Tags: x.Tags}
		in, err := copyOf(before)
		if err != nil {
			return none, err
		}
		edit(&in)
		after := x
		after.Permissions, after.Tags, after.TemplateID = in.Permissions, claims.NormalizeTags(in.Tags), ""
		if after.Tags == nil {
			after.Tags = []string{}
		}
		warnings, template, err := checkUser(ctx, &w.desk, a, after, in.Template)
		if err != nil {
			return none, err
		}
		added := false
		if template != nil {
			after.TemplateID = template.ID
			if added, err = i.carry(ctx, w, a, *template); err != nil {
				return none, err
			}
		}
		plan, err := w.planUser(ctx, x, after)
		if err != nil {
			return none, err
		}
		plan.Warnings = append(warnings, plan.Warnings...)
		return planned[User]{preview: after, target: x.ID, plan: plan, apply: func(ctx context.Context) (User, error) {
			if len(plan.Changes) == 0 {
				return x, nil
			}
			if added {
				if _, err := i.resign(ctx, w, a.ID); err != nil {
					return x, err
				}
			}
			after.Version, err = w.UpdateUser(ctx, after)
			after.Updated = w.Now()
			return after, orMissing(err, "user")
		}}, nil
	})
}

// planUser says what changes of a user, and how much was issued that does not.
func (w *work) planUser(ctx context.Context, before, after User) (Plan, error) {
	body := func(u User) any {
		return struct {
			Template    string                    `json:"template_id,omitempty"`
			Permissions *jwt.UserPermissionLimits `json:"permissions,omitempty"`
			Tags        []string                  `json:"tags,omitempty"`
		}{u.TemplateID, u.Permissions, u.Tags}
	}
	changes, err := diff(body(before), body(after))
	if err != nil || len(changes) == 0 {
		return Plan{}, err
	}
	claimsOf := func(u User) *jwt.UserClaims {
		c := &jwt.UserClaims{}
		c.User.Tags = u.Tags
		if u.Permissions != nil {
			c.UserPermissionLimits = *u.Permissions
		}
		return c
	}
	summary := claims.DiffUsers(claimsOf(before), claimsOf(after))
	plan := Plan{Changes: narrate(changes, summary), Summary: summary}
	issued, err := w.CountUnexpired(ctx, before.ID)
	if issued > 0 {
		plan.Warnings = claims.Problems{{Code: "issued_before", Detail: stays(issued)}}
	}
	return plan, err
}

func stays(n int64) string {
	if n == 1 {
		return "1 unexpired credential keeps what it says now. Renew it, or revoke and issue again, for the change to take effect."
	}
	return fmt.Sprintf("%d unexpired credentials keep what they say now. Renew them, or revoke and issue again, for the change to take effect.", n)
}

// UserChanged is a user after a change of its state.
type UserChanged struct {
	User
	// Revocations are those that were made, a hundred at most, JWTVersion the account's
	// JWT after them, or after lifting them.
	Revocations []Revocation
	JWTVersion  int64
}

// disabledBy is the cause of the revocations that come with disabling a user.
func disabledBy(u User) string { return store.DisabledCause + u.ID }

// DisableUser revokes everything that was issued to a user and issues no more, until
// the user is enabled again.
func (i *Issuer) DisableUser(ctx context.Context, op Op, account, user string) (Outcome[UserChanged], error) {
	return i.shut(ctx, op, account, user, "disable", func(ctx context.Context, w *work, u *User) (err error) {
		u.State = "disabled"
		u.Version, err = w.SetUserState(ctx, u.ID, u.State)
		return err
	})
}

// DeleteUser revokes everything that was issued to a user and then takes the user
// away; the name is free again. The ledger stays, and so do the revocations.
func (i *Issuer) DeleteUser(ctx context.Context, op Op, account, user string) (Outcome[UserChanged], error) {
	return i.shut(ctx, op, account, user, "delete", func(ctx context.Context, w *work, u *User) error {
		u.State = "deleted"
		return w.DeleteUser(ctx, u.ID)
	})
}

// shut revokes what a user has and then ends its state as end does.
func (i *Issuer) shut(ctx context.Context, op Op, account, user, action string, end func(context.Context, *work, *User) error) (Outcome[UserChanged], error) {
	live := i.liveConnections(ctx, op, WriteUsers, account)
	u := use{permission: WriteUsers, action: action, kind: "user", target: account + "/" + user, protective: true}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[UserChanged], error) {
		var none planned[UserChanged]
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		if err := w.expect(x.Version); err != nil {
			return none, err
		}
		if action == "disable" && x.State == "disabled" {
			return none, &Error{Kind: KindConflict, Code: "already_disabled", Message: "The user is disabled already."}
		}
		r, err := revokeIssued(ctx, w, a, allOf(x, disabledBy(x)))
		if err != nil {
			return none, err
		}
		if err := guardRevocation(ctx, w, a, allOf(x, disabledBy(x)), r); err != nil {
			return none, err
		}
		plan, err := r.plan(ctx, w, a, live)
		if err != nil {
			return none, err
		}
		state := Change{Path: "/state", From: x.State, To: action + "d", Text: "The user is " + action + "d"}
		plan.Changes = append([]Change{state}, plan.Changes...)
		out := UserChanged{User: x, Revocations: r.rows[:min(len(r.rows), maxNamed)]}
		return planned[UserChanged]{preview: out, target: x.ID, plan: plan, apply: func(ctx context.Context) (UserChanged, error) {
			if err := w.DropLinksOf(ctx, linkCredential, x.ID); err != nil {
				return out, err
			}
			if out.JWTVersion, err = i.refuse(ctx, w, a, r); err != nil {
				return out, err
			}
			out.Updated = w.Now()
			return out, end(ctx, w, &out.User)
		}}, nil
	})
}

// EnableUser lets a disabled user in again: it lifts the revocations that disabling
// made, and no other. The plan says how much comes back to life.
func (i *Issuer) EnableUser(ctx context.Context, op Op, account, user string) (Outcome[UserChanged], error) {
	return change(ctx, i, op, use{permission: WriteUsers, action: "enable", kind: "user", target: account + "/" + user}, func(ctx context.Context, w *work) (planned[UserChanged], error) {
		var none planned[UserChanged]
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		if err := w.expect(x.Version); err != nil {
			return none, err
		}
		if x.State != "disabled" {
			return none, &Error{Kind: KindConflict, Code: "not_disabled", Message: "The user is not disabled."}
		}
		if err := w.maySign(ctx, a.OperatorID); err != nil {
			return none, err
		}
		plan, err := w.planEnable(ctx, x)
		if err != nil {
			return none, err
		}
		x.State = "active"
		return planned[UserChanged]{preview: UserChanged{User: x}, target: x.ID, plan: plan, apply: func(ctx context.Context) (UserChanged, error) {
			out := UserChanged{User: x, JWTVersion: a.JWTVersion}
			if out.Version, err = w.SetUserState(ctx, x.ID, x.State); err != nil {
				return out, err
			}
			out.Updated = w.Now()
			lifted, err := w.LiftRevocations(ctx, a.ID, store.RevocationsOf{Cause: disabledBy(x)}, op.Caller.ID)
			if err != nil || lifted == 0 {
				return out, err
			}
			signed, err := i.resign(ctx, w, a.ID)
			out.JWTVersion = signed.JWTVersion
			return out, err
		}}, nil
	})
}

func (w *work) planEnable(ctx context.Context, u User) (Plan, error) {
	plan := Plan{Changes: []Change{{Path: "/state", From: u.State, To: "active", Text: "The user is active again"}}, Connections: 0}
	back, err := w.CountHeldBack(ctx, u.ID, disabledBy(u))
	if back > 0 {
		detail := fmt.Sprintf("%d credentials that were issued before come back to life.", back)
		if back == 1 {
			detail = "1 credential that was issued before comes back to life."
		}
		plan.Warnings = claims.Problems{{Code: "comes_back", Detail: detail}}
	}
	return plan, err
}
