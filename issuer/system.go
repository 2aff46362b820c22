package issuer

import (
	"context"
	"errors"
	"time"

	"chancery/claims"
	"chancery/store"
)

// SystemUserName is the name of Chancery's own user on a system account.
const SystemUserName = "chancery"

// SystemCredentialTTL is the lifetime of Chancery's own credentials; no guardrails hold
// on the system account.
const SystemCredentialTTL = 90 * 24 * time.Hour

// SystemCredential issues a credential of least privilege for Chancery's own
// connection on the operator's system account. It may push, read back and count,
// and nothing else. The caller keeps the creds text where only it can read it: a
// sealed process pushes with it.
func (i *Issuer) SystemCredential(ctx context.Context, op Op, operator, deliveredTo string) (Issued, error) {
	// The signing switch does not hold it up: without it nothing could be pushed.
	u := use{permission: IssueCredentials, action: "issue", kind: "credential", target: operator + "/" + SystemUserName, protective: true}
	out, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Issued], error) {
		var none planned[Issued]
		o, err := findOperator(ctx, &w.desk, operator)
		if err != nil {
			return none, err
		}
		if err := writable(o); err != nil {
			return none, err
		}
		a, err := w.LockAccountForIssue(ctx, o.Settings.SystemAccount)
		if err != nil {
			return none, orMissing(err, "account")
		}
		w.at = scopeOf(a)
		if _, err := i.sealer(); err != nil {
			return none, err
		}
		return planned[Issued]{target: o.Settings.SystemAccount + "/" + SystemUserName, apply: func(ctx context.Context) (Issued, error) {
			user, err := i.systemUser(ctx, w, o.Settings.SystemAccount)
			if err != nil {
				return Issued{}, err
			}
			return i.issue(ctx, w, a, user, IssueInput{TTL: SystemCredentialTTL, DeliveredTo: deliveredTo})
		}}, nil
	})
	return out.Value, err
}

func (i *Issuer) systemUser(ctx context.Context, w *work, accountID string) (User, error) {
	permissions := claims.NewPermissionLimits()
	permissions.Permissions = i.systemPerms
	u, err := w.GetUser(ctx, accountID, SystemUserName)
	if err == nil {
		// A newer Chancery may need other subjects than the one that made the user, and
		// somebody may have given it a template.
		u.Permissions, u.TemplateID = &permissions, ""
		return u, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return u, err
	}
	u = User{AccountID: accountID, Name: SystemUserName, Permissions: &permissions, Tags: []string{}, State: "active"}
	if u.ID, err = w.NewID("usr_"); err != nil {
		return u, err
	}
	return u, w.CreateUser(ctx, u)
}
