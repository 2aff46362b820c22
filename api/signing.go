package api

import (
	"context"
	"time"

	"chancery/issuer"
)

// Signing is an operator's signing switch.
type Signing struct {
	Enabled bool       `json:"enabled" doc:"Off, nothing new is signed but what takes rights away."`
	By      string     `json:"by,omitempty" doc:"Who moved it last."`
	Reason  string     `json:"reason,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Plan    *Plan      `json:"plan,omitempty"`
}

func viewSigning(s issuer.SigningSwitch) Signing {
	out := Signing{Enabled: s.Enabled, By: s.By, Reason: s.Reason}
	if !s.Since.IsZero() {
		out.Since = &s.Since
	}
	return out
}

func (a *API) getSigning(ctx context.Context, by call, in *OperatorPath) (*saved[Signing], error) {
	s, err := a.issuer.SigningSwitch(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	return &saved[Signing]{ETag: etag(s.Version), Body: viewSigning(s)}, nil
}

// SigningInput moves the switch.
type SigningInput struct {
	Enabled bool   `json:"enabled"`
	Reason  string `json:"reason,omitempty" maxLength:"1024" example:"suspected leak of a signing key"`
}

type setSigningInput struct {
	OperatorPath
	Change
	Body SigningInput
}

func (a *API) setSigning(ctx context.Context, by call, in *setSigningInput) (*saved[Signing], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.SetSigning(ctx, op, in.Operator, in.Body.Enabled)
	if err != nil {
		return nil, err
	}
	body := viewSigning(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Signing]{ETag: etag(out.Value.Version), Body: body}, nil
}
