package api

import (
	"context"
	"net/url"
	"time"

	"chancery/issuer"
)

// Token is an API token without its text.
type Token struct {
	ID           string     `json:"id" example:"tok_06f3…"`
	Name         string     `json:"name" example:"ci"`
	State        string     `json:"state" enum:"active,expired,revoked"`
	Grants       []Grant    `json:"grants"`
	Networks     []string   `json:"networks,omitempty" doc:"Where it may be used from; absent for everywhere." example:"[\"10.0.0.0/8\"]"`
	CreatedBy    string     `json:"created_by"`
	CreatedAt    time.Time  `json:"created_at"`
	ExpiresAt    time.Time  `json:"expires_at"`
	LastUsedAt   *time.Time `json:"last_used_at,omitempty" doc:"Exact to a minute or two; absent for never."`
	LastUsedFrom string     `json:"last_used_from,omitempty" example:"192.0.2.7"`
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
	RevokedBy    string     `json:"revoked_by,omitempty"`
	Plan         *Plan      `json:"plan,omitempty"`
}

func (a *API) viewToken(k issuer.Token) Token { return ViewToken(k, a.now()) }

// ViewToken returns the token as the API shows it at a time.
func ViewToken(k issuer.Token, now time.Time) Token {
	out := Token{
		ID: k.ID, Name: k.Name, State: k.State(now), Grants: viewGrants(k.Held), Networks: viewNetworks(k), CreatedBy: k.CreatedBy,
		CreatedAt: k.Created, ExpiresAt: k.Expires, LastUsedFrom: k.LastUsedFrom, RevokedBy: k.RevokedBy,
	}
	if !k.LastUsed.IsZero() {
		out.LastUsedAt = &k.LastUsed
	}
	if !k.Revoked.IsZero() {
		out.RevokedAt = &k.Revoked
	}
	return out
}

func viewNetworks(k issuer.Token) []string {
	var out []string
	for _, n := range k.Networks {
		out = append(out, n.String())
	}
	return out
}

// NewToken is a token that was made, with its text.
type NewToken struct {
	Token
	Text            string `json:"token,omitempty" doc:"Shown once, here: the token itself." example:"chy_pat_…"`
	SecretAvailable bool   `json:"secret_available" doc:"False in plans, and where the request was answered before."`
}

type listTokensInput struct {
	List
	CreatedBy string `query:"created_by" maxLength:"64" doc:"Only those made by this person or token, by id."`
	State     string `query:"state" enum:"active,any" default:"any" doc:"active leaves out those that are expired or revoked."`
}

func (a *API) listTokens(ctx context.Context, by call, in *listTokensInput) (*paged[Token], error) {
	name := "tokens?created_by=" + in.CreatedBy + "&state=" + in.State
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListTokens(ctx, by.caller, issuer.TokenFilter{CreatedBy: in.CreatedBy, InUse: in.State == "active"}, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	filters := url.Values{"created_by": {in.CreatedBy}, "state": {in.State}}
	return turn(rows, limit, in.link(filters, "tokens"), a.viewToken, func(k issuer.Token) cursor { return cursor{List: name, ID: k.ID} }), nil
}

// TokenInput asks for a token.
type TokenInput struct {
	Name       string       `json:"name" maxLength:"64" example:"ci"`
	Grants     []GrantInput `json:"grants" minItems:"1" maxItems:"64" doc:"What it may do: no more than you may."`
	TTLSeconds int64        `json:"ttl_seconds" minimum:"1" maximum:"31622400" doc:"Its lifetime, at most 366 days." example:"2592000"`
	Networks   []string     `json:"networks,omitempty" maxItems:"32" doc:"CIDRs or addresses from which alone it can be used." example:"[\"10.0.0.0/8\"]"`
	Reason     string       `json:"reason,omitempty" maxLength:"500"`
}

type createTokenInput struct {
	Change
	Body TokenInput
}

func (a *API) createToken(ctx context.Context, by call, in *createTokenInput) (*created[NewToken], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CreateToken(ctx, op, issuer.TokenInput{
		Name: in.Body.Name, Grants: grantsOf(in.Body.Grants), TTL: time.Duration(in.Body.TTLSeconds) * time.Second, Networks: in.Body.Networks,
	})
	if err != nil {
		return nil, err
	}
	body := NewToken{Token: a.viewToken(out.Value.Token), Text: out.Value.Text.Reveal(), SecretAvailable: !out.Value.Text.Empty()}
	body.Plan = in.plan(out.Plan)
	return &created[NewToken]{Status: in.status(), Location: Base + "/tokens/" + out.Value.ID, Body: body}, nil
}

// TokenPath names a token.
type TokenPath struct {
	Token string `path:"token" maxLength:"64" doc:"The id, tok_…" example:"tok_06f3…"`
}

func (a *API) getToken(ctx context.Context, by call, in *TokenPath) (*saved[Token], error) {
	k, err := a.issuer.GetToken(ctx, by.caller, in.Token)
	if err != nil {
		return nil, err
	}
	return &saved[Token]{Body: a.viewToken(k)}, nil
}

type revokeTokenInput struct {
	TokenPath
	Change
	Reason string `query:"reason" maxLength:"500" example:"found in a log"`
}

func (a *API) revokeToken(ctx context.Context, by call, in *revokeTokenInput) (*saved[Token], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.RevokeToken(ctx, op, in.Token)
	if err != nil {
		return nil, err
	}
	body := a.viewToken(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Token]{Body: body}, nil
}
