package api

import (
	"context"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Account is a tenant.
type Account struct {
	ID       string `json:"id" doc:"The identity key A…"`
	Name     string `json:"name" example:"ORDERS"`
	Operator string `json:"operator" doc:"The operator's identity key."`
	State    string `json:"state" enum:"active,suspended,deleted"`
	System   bool   `json:"system" doc:"Whether it is the operator's system account."`
	AccountSettings
	ExpiresAt       *time.Time `json:"expires_at" doc:"The day that was set; null is never."`
	LifetimeSeconds int64      `json:"lifetime_seconds" doc:"How long after its signing each JWT ends; 0 is no such end."`
	ValidUntil      *time.Time `json:"valid_until" doc:"When the current JWT ends, by expires_at or lifetime_seconds."`
	RenewAt         *time.Time `json:"renew_at" doc:"With a lifetime: when half of it is over and the JWT is signed anew. A time in the past means that something holds it up, such as the operator's signing switch."`
	Revision        int64      `json:"revision" doc:"Counts signed JWTs."`
	JTI             string     `json:"jti"`
	IssuedAt        time.Time  `json:"issued_at"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
	Users           *int64     `json:"users,omitempty" doc:"How many users it has; in lists."`
	Size            *JWTSize   `json:"size,omitempty" doc:"How large the JWT is; in the answer to reading one account."`
	Sync            *Sync      `json:"sync,omitempty"`
	Plan            *Plan      `json:"plan,omitempty"`
}

// JWTSize is how much of what a nats-server takes an account's JWT uses.
type JWTSize struct {
	Bytes           int          `json:"bytes"`
	LimitBytes      int          `json:"limit_bytes"`
	Revocations     int          `json:"revocations" doc:"Entries in it."`
	RevocationBytes int          `json:"revocation_bytes" doc:"What they take at most."`
	Compactable     int          `json:"compactable" doc:"Entries that can be compacted now."`
	Warnings        []FieldError `json:"warnings,omitempty" doc:"From half of the limit on."`
}

func viewAccount(x issuer.Account) Account {
	v := Account{
		ID: x.ID, Name: x.Name, Operator: x.OperatorID, State: x.State, System: x.System, AccountSettings: viewSettings(x.Settings),
		LifetimeSeconds: int64(x.Lifetime / time.Second), ExpiresAt: unixTime(x.FixedEnd()), ValidUntil: unixTime(x.Expires),
		Revision: x.JWTVersion, JTI: x.JTI, IssuedAt: time.Unix(x.IssuedAt, 0).UTC(), CreatedAt: x.Created, UpdatedAt: x.Updated,
	}
	if !x.Renewal.IsZero() {
		v.RenewAt = &x.Renewal
	}
	return v
}

// AccountPatch changes an account.
type AccountPatch struct {
	Preset Omit[string] `json:"preset,omitempty" maxLength:"64" doc:"Sets all limits and JetStream to those of a preset; other fields of the request override it." example:"team"`
	AccountSettingsInput
	ExpiresAt       Omit[time.Time] `json:"expires_at,omitempty" doc:"From then on nats-servers close the account's connections and admit nobody; null is never. Excludes lifetime_seconds."`
	LifetimeSeconds Omit[int64]     `json:"lifetime_seconds,omitempty" minimum:"0" maximum:"316224000" doc:"Each JWT ends that long after its signing and is renewed at half of it; at least 3600, 0 or null is none. Excludes expires_at."`
}

// onto makes the account what the patch says.
func (p *AccountPatch) onto(e *issuer.AccountEdit) {
	if p.Preset.Set && !p.Preset.Null {
		preset, ok := claims.AccountPreset(p.Preset.Value)
		if !ok {
			e.Problems = append(e.Problems, claims.Problem{Pointer: "/preset", Code: "unknown_value", Detail: "There is no preset of this name; GET /account-presets lists them.", Blocking: true})
		} else {
			e.Limits = preset.Limits
		}
	}
	e.Problems = append(e.Problems, p.AccountSettingsInput.onto(&e.Account)...)
	if p.ExpiresAt.Set {
		e.Expires = 0
		if !p.ExpiresAt.Null {
			e.Expires = p.ExpiresAt.Value.Unix()
		}
	}
	seconds := int64(e.Lifetime / time.Second)
	p.LifetimeSeconds.onto(&seconds, 0)
	e.Lifetime = time.Duration(seconds) * time.Second
}

// AccountInput asks for a new account.
type AccountInput struct {
	Name     string `json:"name" maxLength:"64" example:"ORDERS"`
	Operator string `json:"operator,omitempty" maxLength:"64" doc:"Name or public key; needed when there are several."`
	AccountPatch
}

type listAccountsInput struct {
	Search
	Operator string `query:"operator" maxLength:"64" doc:"Only this operator's, by name or public key."`
	State    string `query:"state" enum:"active,suspended" doc:"Only those in this state."`
	Tag      string `query:"tag" maxLength:"64" doc:"Only those with this tag." example:"team:orders"`
}

func (a *API) listAccounts(ctx context.Context, by call, in *listAccountsInput) (*paged[Account], error) {
	q := url.Values{"operator": {in.Operator}, "state": {in.State}, "tag": {in.Tag}}
	name := "accounts?" + q.Encode()
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.FindAccounts(ctx, by.caller, issuer.AccountFilter{Operator: in.Operator, State: in.State, Tag: in.Tag}, page)
	if err != nil {
		return nil, err
	}
	q.Set("q", in.Q)
	view := func(x issuer.ListedAccount) Account {
		v := viewAccount(x.Account)
		v.Users = &x.Users
		return v
	}
	return turn(rows, page.Limit-1, in.link(q, "accounts"), view, func(x issuer.ListedAccount) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: x.Name, ID: x.ID}
	}), nil
}

type createAccountInput struct {
	Change
	Body AccountInput
}

func (a *API) createAccount(ctx context.Context, by call, in *createAccountInput) (*created[Account], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	e := issuer.AccountEdit{Account: claims.NewAccountSettings()}
	in.Body.onto(&e)
	out, err := a.issuer.CreateAccount(ctx, op, issuer.AccountInput{
		Operator: in.Body.Operator, Name: in.Body.Name, Settings: e.Account, AccountExpiry: e.AccountExpiry, Problems: e.Problems,
	})
	if err != nil {
		return nil, in.Body.pointed(err)
	}
	return a.createdAccount(ctx, in.Change, out), nil
}

// createdAccount is the answer of what makes an account.
func (a *API) createdAccount(ctx context.Context, c Change, out issuer.Outcome[issuer.Account]) *created[Account] {
	body := viewAccount(out.Value)
	body.Plan = c.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, c, out.Value.ID, out.Value.JWTVersion)
	return &created[Account]{Status: c.status(), ETag: etag(out.Value.Version), Location: Base + "/accounts/" + out.Value.ID, Body: body}
}

func (a *API) getAccount(ctx context.Context, by call, in *AccountPath) (*saved[Account], error) {
	x, err := a.issuer.GetAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	size, err := a.issuer.AccountSize(ctx, by.caller, x.ID)
	if err != nil {
		return nil, err
	}
	body := viewAccount(x)
	body.Size = &JWTSize{Bytes: size.Bytes, LimitBytes: size.Limit, Revocations: size.Revocations, RevocationBytes: size.RevocationBytes, Compactable: size.Moot}
	for _, w := range size.Warnings {
		body.Size.Warnings = append(body.Size.Warnings, FieldError{Pointer: w.Pointer, Code: w.Code, Detail: w.Detail})
	}
	return &saved[Account]{ETag: etag(x.Version), Body: body}, nil
}

type updateAccountInput struct {
	AccountPath
	Change
	Body AccountPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateAccount(ctx context.Context, by call, in *updateAccountInput) (*saved[Account], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateAccount(ctx, op, in.Account, in.Body.onto)
	if err != nil {
		return nil, in.Body.pointed(err)
	}
	body := viewAccount(out.Value)
	body.Plan = in.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.ID, out.Value.JWTVersion)
	return &saved[Account]{ETag: etag(out.Value.Version), Body: body}, nil
}

func (a *API) getAccountJWT(ctx context.Context, by call, in *AccountPath) (*text, error) {
	x, err := a.issuer.GetAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	return &text{ContentType: "application/jwt", Body: []byte(x.JWT)}, nil
}
