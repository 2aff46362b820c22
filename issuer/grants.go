package issuer

import (
	"fmt"
	"slices"

	"chancery/claims"
	"chancery/store"
)

// Grant is a role on a scope.
type Grant = store.Grant

// Scope is a part of what there is, by identity: everything, an operator with all
// below it, an account with all below it, or what concerns one template of an account.
type Scope = store.Scope

// Role is a set of permissions.
type Role string

// The roles. Anything else may do nothing.
const (
	// RoleOwner may do everything on its scope.
	RoleOwner Role = "owner"
	// RoleOperatorAdmin administers an operator with all its accounts.
	RoleOperatorAdmin Role = "operator_admin"
	// RoleAccountAdmin administers an account within the limits that its operator set.
	RoleAccountAdmin Role = "account_admin"
	// RoleIssuer makes users and issues credentials, of an account or of one template.
	RoleIssuer Role = "issuer"
	// RoleAuditor reads.
	RoleAuditor Role = "auditor"
)

// Roles returns the roles, the widest first.
func Roles() []Role {
	return []Role{RoleOwner, RoleOperatorAdmin, RoleAccountAdmin, RoleIssuer, RoleAuditor}
}

// issuing, administering an account and administering an operator each include what
// comes before.
var (
	issuing = []Permission{ReadOperators, ReadAccounts, ReadTemplates, ReadUsers, WriteUsers, IssueCredentials, ReadCredentials}

	administeringAccount = append(slices.Clone(issuing), WriteAccounts, WriteTemplates, ReadRevocations, WriteRevocations,
		ReadSharing, WriteSharing, ReadAudit, ReadTokens, WriteTokens, ReadPeople, ReadServers, ReadConnections, KickConnections)

	administeringOperator = append(slices.Clone(administeringAccount), WriteOperators, WriteLimits, WriteGuardrails,
		ReadAdoption, WriteAdoption, WriteServers)

	reading = []Permission{
		ReadOperators, ReadAccounts, ReadTemplates, ReadUsers, ReadCredentials, ReadRevocations, ReadKeysets,
		ReadSharing, ReadAdoption, ReadAudit, ReadTokens, ReadPeople,
		ReadServers, ReadConnections,
	}
)

// Allows tells whether the role has the permission.
func (r Role) Allows(p Permission) bool {
	switch r {
	case RoleOwner:
		return true
	case RoleOperatorAdmin:
		return slices.Contains(administeringOperator, p)
	case RoleAccountAdmin:
		return slices.Contains(administeringAccount, p)
	case RoleIssuer:
		return slices.Contains(issuing, p)
	case RoleAuditor:
		return slices.Contains(reading, p)
	}
	return false
}

// Permissions returns every permission there is.
func Permissions() []Permission {
	return []Permission{
		ReadOperators, WriteOperators, ReadAccounts, WriteAccounts, WriteLimits, WriteGuardrails, ReadTemplates, WriteTemplates,
		ReadUsers, WriteUsers, ReadCredentials, IssueCredentials, ReadRevocations, WriteRevocations, ReadSharing, WriteSharing,
		ReadAdoption, WriteAdoption, ReadAudit, ReadTokens, WriteTokens, ReadPeople, WritePeople, ReadKeysets, WriteKeysets,
		ReadServers, WriteServers, ReadConnections, KickConnections,
	}
}

// permissionsOn returns what the role allows that has a meaning on the scope: keysets
// are of everything, and what is adopted is of an operator.
func (r Role) permissionsOn(s Scope) []Permission {
	return slices.DeleteFunc(Permissions(), func(p Permission) bool {
		switch p {
		case ReadKeysets, WriteKeysets:
			return s.Operator != "" || !r.Allows(p)
		case ReadAdoption, WriteAdoption:
			return s.Account != "" || !r.Allows(p)
		}
		return !r.Allows(p)
	})
}

// Fits tells whether the role can be given on the scope: a template is for issuers, and
// an operator is not administered from within an account.
func (r Role) Fits(s Scope) bool {
	switch {
	case s.Template != "":
		return r == RoleIssuer
	case s.Account != "":
		return r != RoleOperatorAdmin
	}
	return true
}

// Allows tells whether one of the caller's grants gives the permission on all of at.
func (c Caller) Allows(p Permission, at Scope) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return Role(g.Role).Allows(p) && g.Covers(at) })
}

// May tells whether the caller has the permission on anything at all.
func (c Caller) May(p Permission) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return Role(g.Role).Allows(p) })
}

// Roles returns the roles that the caller has on anything.
func (c Caller) Roles() []Role {
	var out []Role
	for _, r := range Roles() {
		if slices.ContainsFunc(c.Grants, func(g Grant) bool { return Role(g.Role) == r }) {
			out = append(out, r)
		}
	}
	return out
}

// MayWithin tells whether the caller has the permission on at, or on a part of it.
func (c Caller) MayWithin(p Permission, at Scope) bool {
	return c.Allows(p, at) || c.mayWithin(p, at)
}

// mayWithin tells whether the caller has the permission on a part of at.
func (c Caller) mayWithin(p Permission, at Scope) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return Role(g.Role).Allows(p) && at.Covers(g.Scope) })
}

// sees tells whether any grant of the caller lets it know that at exists.
func (c Caller) sees(at Scope) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return g.Covers(at) || at.Covers(g.Scope) })
}

// bounds returns what a list may show that needs the permission; nil is everything.
func (c Caller) bounds(p Permission) *store.Bounds {
	if c.Allows(p, Scope{}) {
		return nil
	}
	var out store.Bounds
	for _, g := range c.Grants {
		if Role(g.Role).Allows(p) {
			out.Scopes = append(out.Scopes, g.Scope)
		}
	}
	return &out
}

// maxGrants is how many grants a person or token may hold.
const maxGrants = 64

// checkGrants returns what is wrong with the form of grants.
func checkGrants(grants []Grant) claims.Problems {
	var out claims.Problems
	if len(grants) == 0 || len(grants) > maxGrants {
		out = append(out, claims.Problem{Pointer: "/grants", Code: "out_of_range", Detail: fmt.Sprintf("Give one to %d grants: without one nothing is allowed.", maxGrants), Blocking: true})
	}
	for n, g := range grants {
		if !slices.Contains(Roles(), Role(g.Role)) {
			out = append(out, claims.Problem{Pointer: claims.Point("/grants", n, "role"), Code: "unknown_value", Detail: "The roles are owner, operator_admin, account_admin, issuer and auditor.", Blocking: true})
			continue
		}
		if g.Template != "" && g.Account == "" {
			out = append(out, claims.Problem{Pointer: claims.Point("/grants", n, "account"), Code: "required", Detail: "Name the account with the template.", Blocking: true})
		}
		if !Role(g.Role).Fits(g.Scope) {
			out = append(out, claims.Problem{Pointer: claims.Point("/grants", n), Code: "not_applicable", Detail: "On a template only issuer can be given, and operator_admin not on an account.", Blocking: true})
		}
	}
	return out
}

// Everything returns the grants of whoever has the role on everything.
func Everything(r Role) []Grant { return []Grant{{Role: string(r)}} }
