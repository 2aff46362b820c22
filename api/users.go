package api

import (
	"context"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// User is who credentials are for.
type User struct {
	ID         string          `json:"id" example:"usr_06f3…"`
	Account    string          `json:"account" doc:"The account's public key."`
	Name       string          `json:"name" example:"d1"`
	TemplateID string          `json:"template_id,omitempty"`
	Own        *PermissionView `json:"own_permissions,omitempty" doc:"The permissions of a user without a template."`
	Tags       []string        `json:"tags"`
	State      string          `json:"state" enum:"active,disabled"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
	// Credential is there when one was issued with the user.
	Credential *IssuedCredential `json:"credential,omitempty"`
	Plan       *Plan             `json:"plan,omitempty"`
}

func viewUser(u issuer.User) User {
	v := User{ID: u.ID, Account: u.AccountID, Name: u.Name, TemplateID: u.TemplateID, Tags: filled(u.Tags), State: u.State, CreatedAt: u.Created, UpdatedAt: u.Updated}
	if u.Permissions != nil {
		p := viewPermissions(*u.Permissions)
		v.Own = &p
	}
	return v
}

// UserInput asks for a new user: of a template, or with permissions of its own.
type UserInput struct {
	Name     string   `json:"name" maxLength:"64" example:"d1"`
	Template string   `json:"template,omitempty" maxLength:"64" doc:"Name or id of the account's template."`
	Tags     []string `json:"tags,omitempty" maxItems:"64" example:"[\"region:eu\"]"`
	PermissionSet
	PublicKey  string      `json:"public_key,omitempty" maxLength:"64" doc:"The holder's own key U…; with it a credential is issued at once."`
	TTLSeconds Omit[int64] `json:"ttl_seconds,omitempty" minimum:"1" maximum:"3153600000" doc:"Lifetime of that credential."`
}

type listUsersInput struct {
	AccountPath
	Search
}

func (a *API) listUsers(ctx context.Context, by call, in *listUsersInput) (*paged[User], error) {
	name := "users/" + in.Account
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListUsers(ctx, by.caller, in.Account, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "accounts", in.Account, "users"), viewUser, func(u issuer.User) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: u.Name, ID: u.ID}
	}), nil
}

type createUserInput struct {
	AccountPath
	Change
	Body UserInput
}

func (a *API) createUser(ctx context.Context, by call, in *createUserInput) (*created[User], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	u := issuer.UserInput{Name: in.Body.Name, Template: in.Body.Template, Tags: in.Body.Tags}
	if in.Body.given() {
		p := claims.NewPermissionLimits()
		in.Body.onto(&p)
		u.Permissions = &p
	}
	if in.Body.PublicKey != "" {
		u.Issue = &issuer.IssueInput{PublicKey: in.Body.PublicKey, TTL: seconds(in.Body.TTLSeconds)}
	}
	out, err := a.issuer.CreateUser(ctx, op, in.Account, u)
	if err != nil {
		return nil, err
	}
	body := viewUser(out.Value.User)
	body.Plan = in.plan(out.Plan)
	if out.Value.Issued != nil {
		c := viewIssued(*out.Value.Issued)
		body.Credential = &c
	}
	return &created[User]{
		Status: in.status(), ETag: etag(out.Value.Version), Body: body,
		Location: Base + "/accounts/" + out.Value.AccountID + "/users/" + out.Value.ID,
	}, nil
}

func seconds(o Omit[int64]) time.Duration { return time.Duration(o.Value) * time.Second }

// UserPath names a user of an account.
type UserPath struct {
	AccountPath
	User string `path:"user" maxLength:"64" doc:"Name or id." example:"d1"`
}

func (a *API) getUser(ctx context.Context, by call, in *UserPath) (*saved[User], error) {
	u, err := a.issuer.GetUser(ctx, by.caller, in.Account, in.User)
	if err != nil {
		return nil, err
	}
	return &saved[User]{ETag: etag(u.Version), Body: viewUser(u)}, nil
}
