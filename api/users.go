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
	State      string          `json:"state" enum:"active,disabled,deleted"`
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
	Key string `json:"key,omitempty" enum:"generate" doc:"generate issues a credential at once, for a key made here; public_key does so for the holder's."`
	IssueKeyInput
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

func (u *UserInput) input() issuer.UserInput {
	in := issuer.UserInput{Name: u.Name, Template: u.Template, Tags: u.Tags}
	if u.given() {
		p := claims.NewPermissionLimits()
		u.onto(&p)
		in.Permissions = &p
	}
	if u.PublicKey != "" || u.Key != "" {
		issue := u.IssueKeyInput.input()
		in.Issue = &issue
	}
	return in
}

// UserFilters keep some of the users.
type UserFilters struct {
	State          string    `query:"state" enum:"active,disabled"`
	Tag            string    `query:"tag" maxLength:"200" doc:"One whole tag." example:"region:eu"`
	ExpiringBefore time.Time `query:"expiring_before" doc:"Users with an unexpired credential that expires up to then."`
	NoExpiry       bool      `query:"no_expiry" doc:"Users with a credential that never expires."`
	Bearer         bool      `query:"bearer" doc:"Users with an unexpired bearer credential."`
	SignedBy       string    `query:"signed_by" maxLength:"64" doc:"Users with an unexpired credential of this signing key."`
}

func (f UserFilters) values() url.Values {
	q := url.Values{"state": {f.State}, "tag": {f.Tag}, "signed_by": {f.SignedBy}}
	if !f.ExpiringBefore.IsZero() {
		q.Set("expiring_before", f.ExpiringBefore.Format(time.RFC3339))
	}
	for name, on := range map[string]bool{"no_expiry": f.NoExpiry, "bearer": f.Bearer} {
		if on {
			q.Set(name, "true")
		}
	}
	return q
}

func (f UserFilters) filter() issuer.UserFilter {
	return issuer.UserFilter{State: f.State, Tag: f.Tag, ExpiringBefore: f.ExpiringBefore, NoExpiry: f.NoExpiry, Bearer: f.Bearer, SignedBy: f.SignedBy}
}

// ListedUser is a user in a list, with what is on record of its credentials.
type ListedUser struct {
	User
	AccountName string     `json:"account_name" example:"ORDERS"`
	Credentials int64      `json:"credentials" doc:"How many unexpired credentials are on record, revoked ones included."`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" doc:"When the last of them expires; absent if one never does, or there is none."`
}

func viewListedUser(u issuer.ListedUser) ListedUser {
	return ListedUser{User: viewUser(u.User), AccountName: u.AccountName, Credentials: u.Active, ExpiresAt: unixTime(u.Expires)}
}

type listUsersInput struct {
	AccountPath
	Search
	UserFilters
	Template string `query:"template" maxLength:"64" doc:"Name or id of the account's template."`
}

func (a *API) listUsers(ctx context.Context, by call, in *listUsersInput) (*paged[ListedUser], error) {
	f := in.filter()
	f.Account, f.Template = in.Account, in.Template
	q := in.values()
	q.Set("template", in.Template)
	return a.findUsers(ctx, by, in.Search, f, q, "accounts", in.Account, "users")
}

type listAllUsersInput struct {
	Search
	UserFilters
}

func (a *API) listAllUsers(ctx context.Context, by call, in *listAllUsersInput) (*paged[ListedUser], error) {
	return a.findUsers(ctx, by, in.Search, in.filter(), in.values(), "users")
}

func (a *API) findUsers(ctx context.Context, by call, s Search, f issuer.UserFilter, q url.Values, path ...string) (*paged[ListedUser], error) {
	name := "users/" + f.Account + "?" + q.Encode()
	page, err := s.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.FindUsers(ctx, by.caller, f, page)
	if err != nil {
		return nil, err
	}
	q.Set("q", s.Q)
	return turn(rows, page.Limit-1, s.link(q, path...), viewListedUser, func(u issuer.ListedUser) cursor {
		return cursor{List: name + "?q=" + s.Q, Name: u.Name, ID: u.ID}
	}), nil
}

type createUserInput struct {
	AccountPath
	Change
	Body UserInput
}

func (a *API) createUser(ctx context.Context, by call, in *createUserInput) (*created[User], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CreateUser(ctx, op, in.Account, in.Body.input())
	if err != nil {
		return nil, err
	}
	body := a.viewNewUser(out.Value)
	body.Plan = in.plan(out.Plan)
	return &created[User]{
		Status: in.status(), ETag: etag(out.Value.Version), Body: body,
		Location: Base + "/accounts/" + out.Value.AccountID + "/users/" + out.Value.ID,
	}, nil
}

func (a *API) viewNewUser(u issuer.UserWithCredential) User {
	v := viewUser(u.User)
	if u.Issued != nil {
		c := a.viewIssued(*u.Issued)
		v.Credential = &c
	}
	return v
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

// UserPatch changes a user.
type UserPatch struct {
	Template Omit[string]   `json:"template,omitempty" maxLength:"64" doc:"Name or id of the account's template; null for permissions of its own."`
	Tags     Omit[[]string] `json:"tags,omitempty" maxItems:"64"`
	PermissionSet
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// onto takes own permissions away with a template and the template away with own
// permissions: a user has one of the two.
func (p *UserPatch) onto(e *issuer.UserEdit) {
	p.Tags.onto(&e.Tags, nil)
	p.Template.onto(&e.Template, "")
	if p.Template.Set && e.Template != "" && !p.given() {
		e.Permissions = nil
	}
	if !p.given() {
		return
	}
	if e.Permissions == nil {
		own := claims.NewPermissionLimits()
		e.Permissions = &own
	}
	if !p.Template.Set {
		e.Template = ""
	}
	p.PermissionSet.onto(e.Permissions)
}

type updateUserInput struct {
	UserPath
	Change
	Body UserPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateUser(ctx context.Context, by call, in *updateUserInput) (*saved[User], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateUser(ctx, op, in.Account, in.User, in.Body.onto)
	if err != nil {
		return nil, err
	}
	body := viewUser(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[User]{ETag: etag(out.Value.Version), Body: body}, nil
}

// UserChange is a user after a change of its state.
type UserChange struct {
	User
	Revocations []Revocation `json:"revocations" doc:"Those that were made."`
	Affected    PlanAffected `json:"affected"`
	Sync        *Sync        `json:"sync,omitempty"`
}

type userStateInput struct {
	UserPath
	Change
}

type disableUserInput struct {
	UserPath
	Change
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500" example:"on leave"`
	}
}

func (a *API) disableUser(ctx context.Context, by call, in *disableUserInput) (*saved[UserChange], error) {
	return a.changeState(ctx, by, userStateInput{in.UserPath, in.Change}, in.Body.Reason, a.issuer.DisableUser)
}

func (a *API) enableUser(ctx context.Context, by call, in *userStateInput) (*saved[UserChange], error) {
	return a.changeState(ctx, by, *in, "", a.issuer.EnableUser)
}

func (a *API) deleteUser(ctx context.Context, by call, in *userStateInput) (*saved[UserChange], error) {
	return a.changeState(ctx, by, *in, "", a.issuer.DeleteUser)
}

func (a *API) changeState(ctx context.Context, by call, in userStateInput, reason string,
	change func(ctx context.Context, op issuer.Op, account, user string) (issuer.Outcome[issuer.UserChanged], error),
) (*saved[UserChange], error) {
	op, err := in.op(by, reason)
	if err != nil {
		return nil, err
	}
	out, err := change(ctx, op, in.Account, in.UserPath.User)
	if err != nil {
		return nil, err
	}
	body := UserChange{User: viewUser(out.Value.User), Revocations: viewRevocations(out.Value.Revocations), Affected: affected(out.Plan)}
	body.Plan = in.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	return &saved[UserChange]{ETag: etag(out.Value.Version), Body: body}, nil
}
