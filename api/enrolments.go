package api

import (
	"context"
	"net/url"
	"time"

	"chancery/issuer"
)

// EnrolmentPolicy is how accounts come under an operator that were made elsewhere.
type EnrolmentPolicy struct {
	Mode             string `json:"mode" enum:"closed,open,token,approval" doc:"closed lets none in, open whoever has a key, token who brings the token, approval who is approved."`
	Limits           string `json:"limits" doc:"The preset of limits that enrolled accounts get; empty is none."`
	HasToken         bool   `json:"has_token"`
	Token            string `json:"token,omitempty" doc:"The enrolment token, only in the answer to the change that made it. It is sent in the URL: below /t/{token}/, as ?t=, or as the password of Basic authentication."`
	SecretAvailable  bool   `json:"secret_available" doc:"Whether token is here."`
	AccountServerURL string `json:"account_server_url" doc:"Where nsc posts to, as the operator's JWT has it. Empty, nsc does not post: set it to this server's /jwt/v1."`
	Pending          int64  `json:"pending" doc:"How many accounts wait for approval."`
	Plan             *Plan  `json:"plan,omitempty"`
}

func viewEnrolmentPolicy(p issuer.EnrolmentPolicy) EnrolmentPolicy {
	return EnrolmentPolicy{
		Mode: p.Mode, Limits: p.Limits, HasToken: p.HasToken, Token: p.Token.Reveal(), SecretAvailable: !p.Token.Empty(),
		AccountServerURL: p.AccountServerURL, Pending: p.Pending,
	}
}

// EnrolmentPolicyInput sets how accounts come under an operator.
type EnrolmentPolicyInput struct {
	Mode     string `json:"mode" enum:"closed,open,token,approval" example:"token"`
	Limits   string `json:"limits,omitempty" maxLength:"64" doc:"A preset of limits, as /account-presets lists them; empty is none." example:"team"`
	NewToken bool   `json:"new_token,omitempty" doc:"Make another token; the one before lets nobody in any more."`
	Reason   string `json:"reason,omitempty" maxLength:"1024"`
}

// Enrolment is an account that asks to be let in.
type Enrolment struct {
	ID        string    `json:"id" doc:"The account's identity A…"`
	Name      string    `json:"name"`
	State     string    `json:"state" enum:"pending,refused"`
	Remote    string    `json:"remote" doc:"The address that it was posted from."`
	JWT       string    `json:"jwt" doc:"What its holder signed."`
	DecidedBy string    `json:"decided_by,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Plan      *Plan     `json:"plan,omitempty"`
}

func viewEnrolment(e issuer.Enrolment) Enrolment {
	return Enrolment{
		ID: e.AccountID, Name: e.Name, State: e.State, Remote: e.Remote, JWT: e.JWT, DecidedBy: e.DecidedBy, Reason: e.Reason, CreatedAt: e.Created, UpdatedAt: e.Updated,
	}
}

func (a *API) getEnrolmentPolicy(ctx context.Context, by call, in *OperatorPath) (*saved[EnrolmentPolicy], error) {
	p, err := a.issuer.GetEnrolmentPolicy(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	return &saved[EnrolmentPolicy]{ETag: etag(p.Version), Body: viewEnrolmentPolicy(p)}, nil
}

type setEnrolmentPolicyInput struct {
	OperatorPath
	Change
	Body EnrolmentPolicyInput
}

func (a *API) setEnrolmentPolicy(ctx context.Context, by call, in *setEnrolmentPolicyInput) (*saved[EnrolmentPolicy], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.SetEnrolmentPolicy(ctx, op, in.Operator, issuer.EnrolmentInput{Mode: in.Body.Mode, Limits: in.Body.Limits, NewToken: in.Body.NewToken})
	if err != nil {
		return nil, err
	}
	body := viewEnrolmentPolicy(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[EnrolmentPolicy]{ETag: etag(out.Value.Version), Body: body}, nil
}

type listEnrolmentsInput struct {
	OperatorPath
	List
	State string `query:"state" enum:"pending,refused" doc:"Only those in this state."`
}

func (a *API) listEnrolments(ctx context.Context, by call, in *listEnrolmentsInput) (*paged[Enrolment], error) {
	name := "enrolments?" + in.Operator + "?" + in.State
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListEnrolments(ctx, by.caller, in.Operator, in.State, issuer.Page{AfterID: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(url.Values{"state": {in.State}}, "operators", in.Operator, "enrolments"), viewEnrolment, func(e issuer.Enrolment) cursor {
		return cursor{List: name, ID: e.AccountID}
	}), nil
}

// EnrolmentPath names an account that asks to be let in.
type EnrolmentPath struct {
	OperatorPath
	Enrolment string `path:"enrolment" maxLength:"64" doc:"The account's public key A…"`
}

type decideEnrolmentInput struct {
	EnrolmentPath
	Change
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"1024" example:"Ticket 4711."`
	}
}

func (a *API) approveEnrolment(ctx context.Context, by call, in *decideEnrolmentInput) (*saved[Account], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.ApproveEnrolment(ctx, op, in.Operator, in.Enrolment)
	if err != nil {
		return nil, err
	}
	body := viewAccount(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Account]{ETag: etag(out.Value.Version), Body: body}, nil
}

func (a *API) refuseEnrolment(ctx context.Context, by call, in *decideEnrolmentInput) (*saved[Enrolment], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.RefuseEnrolment(ctx, op, in.Operator, in.Enrolment)
	if err != nil {
		return nil, err
	}
	body := viewEnrolment(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Enrolment]{ETag: etag(out.Value.Version), Body: body}, nil
}
