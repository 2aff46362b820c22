package api

import (
	"context"
	"slices"
	"time"

	"chancery/issuer"
)

// GrantInput is a role on everything, or on what it names.
type GrantInput struct {
	Role     string `json:"role" enum:"owner,operator_admin,account_admin,issuer,auditor" example:"issuer"`
	Operator string `json:"operator,omitempty" maxLength:"64" doc:"Name or public key: only this operator and all below it."`
	Account  string `json:"account,omitempty" maxLength:"64" doc:"Name or public key: only this account." example:"ORDERS"`
	Template string `json:"template,omitempty" maxLength:"64" doc:"Name or id, of the account's templates: only what concerns it. For issuers." example:"device"`
}

func grantsOf(list []GrantInput) []issuer.Grant {
	out := make([]issuer.Grant, len(list))
	for n, g := range list {
		out[n] = issuer.Grant{Role: g.Role, Scope: issuer.Scope{Operator: g.Operator, Account: g.Account, Template: g.Template}}
	}
	return out
}

// Grant is a role on everything, or on what it names, that somebody holds.
type Grant struct {
	Role         string `json:"role" example:"issuer"`
	Operator     string `json:"operator,omitempty" doc:"The public key."`
	OperatorName string `json:"operator_name,omitempty" example:"acme"`
	Account      string `json:"account,omitempty" doc:"The public key."`
	AccountName  string `json:"account_name,omitempty" example:"ORDERS"`
	Template     string `json:"template,omitempty" doc:"The id."`
	TemplateName string `json:"template_name,omitempty" example:"device"`
	Text         string `json:"text" doc:"The grant in words." example:"Issuer of template device in account ORDERS of acme"`
}

func viewGrants(list []issuer.Held) []Grant {
	out := make([]Grant, len(list))
	for n, h := range list {
		out[n] = Grant{h.Role, h.Operator, h.OperatorName, h.Account, h.AccountName, h.Template, h.TemplateName, h.Words()}
	}
	return out
}

// Role is what a role allows.
type Role struct {
	Role        string   `json:"role" example:"issuer"`
	Name        string   `json:"name" example:"Issuer"`
	On          []string `json:"on" doc:"What it can be given on: everything, operator, account, template." example:"[\"account\",\"template\"]"`
	Permissions []string `json:"permissions" doc:"What it allows there; the operations name what they need in x-permission."`
}

// Roles is every role.
type Roles struct {
	Roles       []Role   `json:"roles" doc:"The widest first."`
	Permissions []string `json:"permissions" doc:"Every permission there is."`
}

func (a *API) listRoles(_ context.Context, _ call, _ *struct{}) (*saved[Roles], error) {
	out := Roles{}
	for _, p := range issuer.Permissions() {
		out.Permissions = append(out.Permissions, string(p))
	}
	for _, r := range issuer.Roles() {
		x := Role{Role: string(r), Name: r.Words()}
		for _, s := range []struct {
			name string
			at   issuer.Scope
		}{
			{"everything", issuer.Scope{}},
			{"operator", issuer.Scope{Operator: "O"}},
			{"account", issuer.Scope{Operator: "O", Account: "A"}},
			{"template", issuer.Scope{Operator: "O", Account: "A", Template: "t"}},
		} {
			if r.Fits(s.at) {
				x.On = append(x.On, s.name)
			}
		}
		x.Permissions = slices.DeleteFunc(slices.Clone(out.Permissions), func(p string) bool { return !r.Allows(issuer.Permission(p)) })
		out.Roles = append(out.Roles, x)
	}
	return &saved[Roles]{Body: out}, nil
}

// Me is who asks.
type Me struct {
	ID        string     `json:"id" example:"tok_06f3…"`
	Name      string     `json:"name" example:"ci"`
	Kind      string     `json:"kind" enum:"person,token"`
	Grants    []Grant    `json:"grants"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Networks  []string   `json:"networks,omitempty" doc:"Where the token may be used from; absent for everywhere."`
	Address   string     `json:"address,omitempty" doc:"The address from which this request came, as Chancery sees it." example:"192.0.2.7"`
}

func (a *API) getMe(ctx context.Context, by call, _ *struct{}) (*saved[Me], error) {
	me, err := a.issuer.Me(ctx, by.caller)
	if err != nil {
		return nil, err
	}
	out := Me{ID: me.ID, Name: me.Name, Kind: string(me.Kind), Grants: viewGrants(me.Held), Address: by.address}
	if k := me.Token; k != nil {
		out.ExpiresAt, out.Networks = &k.Expires, viewNetworks(*k)
	}
	return &saved[Me]{Body: out}, nil
}
