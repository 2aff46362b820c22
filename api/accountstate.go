package api

import (
	"context"

	"chancery/issuer"
)

// SuspensionInput suspends an account.
type SuspensionInput struct {
	Reason string `json:"reason,omitempty" maxLength:"1024" example:"contract ended"`
}

type suspendAccountInput struct {
	AccountPath
	Change
	Body SuspensionInput
}

func (a *API) suspendAccount(ctx context.Context, by call, in *suspendAccountInput) (*saved[Account], error) {
	return a.changeAccount(ctx, by, in.Change, in.Account, in.Body.Reason, a.issuer.SuspendAccount)
}

type accountChangeInput struct {
	AccountPath
	Change
}

func (a *API) resumeAccount(ctx context.Context, by call, in *accountChangeInput) (*saved[Account], error) {
	return a.changeAccount(ctx, by, in.Change, in.Account, "", a.issuer.ResumeAccount)
}

func (a *API) deleteAccount(ctx context.Context, by call, in *accountChangeInput) (*saved[Account], error) {
	return a.changeAccount(ctx, by, in.Change, in.Account, "", a.issuer.DeleteAccount)
}

// changeAccount makes a change that needs nothing but the account.
func (a *API) changeAccount(ctx context.Context, by call, c Change, account, reason string,
	do func(context.Context, issuer.Op, string) (issuer.Outcome[issuer.Account], error),
) (*saved[Account], error) {
	op, err := c.op(by, reason)
	if err != nil {
		return nil, err
	}
	out, err := do(ctx, op, account)
	if err != nil {
		return nil, err
	}
	body := viewAccount(out.Value)
	body.Plan = c.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, c, out.Value.ID, out.Value.JWTVersion)
	return &saved[Account]{ETag: etag(out.Value.Version), Body: body}, nil
}
