package api

import (
	"context"
	"net/url"
	"time"

	"chancery/issuer"
)

// Activation is an account's leave for another one to import.
type Activation struct {
	ID           string     `json:"id" example:"act_06f3…"`
	Importer     string     `json:"target_account" doc:"The public key of the account that it is for."`
	ImporterName string     `json:"target_name,omitempty" doc:"Absent of an account that is not known here, or not yours."`
	Kind         string     `json:"kind" enum:"stream,service"`
	Subject      string     `json:"subject" example:"orders.paid.>"`
	Status       string     `json:"status" enum:"active,superseded,expired,revoked,key_retired" doc:"A superseded one was followed by another for the same account and subject, and is valid still; one whose key is retired is not."`
	IssuedAt     time.Time  `json:"issued_at"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty" doc:"Absent for never."`
	JTI          string     `json:"jti"`
	SignedBy     string     `json:"signed_by" doc:"The account's signing key."`
	IssuedBy     string     `json:"issued_by"`
	Reason       string     `json:"reason,omitempty"`
	Token        string     `json:"token,omitempty" doc:"For the importer's import; of no use to any other account. Absent in lists and of a dry run."`
	Plan         *Plan      `json:"plan,omitempty"`
}

func viewActivation(x issuer.ActivationEntry) Activation {
	v := Activation{
		ID: x.ID, Importer: x.Importer, ImporterName: x.ImporterName, Kind: x.Kind.String(), Subject: x.Subject, Status: string(x.Status),
		IssuedAt: time.Unix(x.IssuedAt, 0).UTC(), JTI: x.JTI, SignedBy: x.Signer, IssuedBy: x.Actor, Reason: x.Reason,
	}
	if x.Expires != 0 {
		at := time.Unix(x.Expires, 0).UTC()
		v.ExpiresAt = &at
	}
	return v
}

type listActivationsInput struct {
	ExportPath
	List
}

func (a *API) listActivations(ctx context.Context, by call, in *listActivationsInput) (*paged[Activation], error) {
	name := "activations/" + in.Account + "/" + in.Export
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListActivations(ctx, by.caller, in.Account, in.Export, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(url.Values{}, "accounts", in.Account, "exports", in.Export, "activations"), viewActivation, func(x issuer.ActivationEntry) cursor {
		return cursor{List: name, ID: x.ID}
	}), nil
}

// ActivationInput asks for an activation token.
type ActivationInput struct {
	TargetAccount string     `json:"target_account" maxLength:"64" doc:"The public key of the account that is to import; it need not be known here."`
	Subject       string     `json:"subject,omitempty" maxLength:"1024" doc:"What may be imported, where that is less than the export."`
	TTLSeconds    int64      `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3153600000" doc:"How long it is valid; for ever with neither this nor expires_at." example:"31536000"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty" doc:"Until when it is valid."`
	Reason        string     `json:"reason,omitempty" maxLength:"1024"`
}

type issueActivationInput struct {
	ExportPath
	Change
	Body ActivationInput
}

func (a *API) issueActivation(ctx context.Context, by call, in *issueActivationInput) (*created[Activation], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	ask := issuer.ActivationInput{Importer: in.Body.TargetAccount, Subject: in.Body.Subject, TTL: time.Duration(in.Body.TTLSeconds) * time.Second}
	if in.Body.ExpiresAt != nil {
		ask.Expires = *in.Body.ExpiresAt
	}
	out, err := a.issuer.IssueActivation(ctx, op, in.Account, in.Export, ask)
	if err != nil {
		return nil, err
	}
	x := out.Value
	body := viewActivation(x)
	body.Plan, body.Token = in.plan(out.Plan), x.Token
	return &created[Activation]{
		Status: in.status(), ETag: etag(1), Location: Base + "/accounts/" + x.AccountID + "/exports/" + x.ExportID + "/activations/" + x.ID, Body: body,
	}, nil
}

// ActivationPath names an activation of an export.
type ActivationPath struct {
	ExportPath
	Activation string `path:"activation" maxLength:"64" doc:"The id." example:"act_06f3…"`
}

func (a *API) getActivation(ctx context.Context, by call, in *ActivationPath) (*saved[Activation], error) {
	x, err := a.issuer.GetActivation(ctx, by.caller, in.Account, in.Export, in.Activation)
	if err != nil {
		return nil, err
	}
	body := viewActivation(x)
	body.Token = x.Token
	return &saved[Activation]{ETag: etag(1), Body: body}, nil
}

// RevokedActivations is what revoking activations came to.
type RevokedActivations struct {
	Importer    string    `json:"target_account" doc:"The account whose activations are refused, or * for every account."`
	Before      time.Time `json:"before" doc:"What was issued at or before this second is refused; what is issued from now on is later."`
	Activations int64     `json:"activations" doc:"Unexpired tokens that are refused."`
	Sync        *Sync     `json:"sync,omitempty" doc:"How far the exporter's JWT got."`
	Plan        *Plan     `json:"plan,omitempty"`
}

type revokeActivationInput struct {
	ExportPath
	Change
	Why
	Activation string `path:"activation" maxLength:"64" doc:"The id of any activation of the account that is meant, its public key, or * for every account." example:"act_06f3…"`
}

func (a *API) revokeActivation(ctx context.Context, by call, in *revokeActivationInput) (*saved[RevokedActivations], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.RevokeActivation(ctx, op, in.Account, in.Export, in.Activation)
	if err != nil {
		return nil, err
	}
	v := out.Value
	body := RevokedActivations{Importer: v.Importer, Before: time.Unix(v.Before, 0).UTC(), Activations: v.Activations, Plan: in.plan(out.Plan)}
	body.Sync = a.syncAfter(ctx, in.Change, v.AccountID, v.JWTVersion)
	return &saved[RevokedActivations]{Body: body}, nil
}
