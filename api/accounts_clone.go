package api

import (
	"context"

	"chancery/issuer"
)

// AccountCloneInput asks for a copy of an account.
type AccountCloneInput struct {
	Name     string `json:"name" maxLength:"64" example:"ORDERS-STAGING"`
	Operator string `json:"operator,omitempty" maxLength:"64" doc:"Name or public key; the account's own without it."`
}

type cloneAccountInput struct {
	AccountPath
	Change
	Body AccountCloneInput
}

func (a *API) cloneAccount(ctx context.Context, by call, in *cloneAccountInput) (*created[Account], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CloneAccount(ctx, op, in.Account, issuer.AccountCloneInput{Name: in.Body.Name, Operator: in.Body.Operator})
	if err != nil {
		return nil, err
	}
	return a.createdAccount(ctx, in.Change, out), nil
}
