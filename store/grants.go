package store

import (
	"context"
	"fmt"
	"strings"
)

// Scope is a part of what there is, by identity: everything, an operator with all
// below it, an account, or what concerns one template in an account. An account's
// operator is always named, and so is a template's account.
type Scope struct {
	Operator string `json:"operator,omitempty"`
	Account  string `json:"account,omitempty"`
	Template string `json:"template,omitempty"`
}

// Covers tells whether other lies within s, or is s.
func (s Scope) Covers(other Scope) bool {
	return s.Operator == "" || s.Operator == other.Operator &&
		(s.Account == "" || s.Account == other.Account &&
			(s.Template == "" || s.Template == other.Template))
}

// Grant is a role on a scope, which a person or a token holds.
type Grant struct {
	Role string `json:"role"`
	Scope
}

// Bounds are what a list may show: what lies in one of the scopes.
type Bounds struct{ Scopes []Scope }

// In returns the bounds of a list of what lies in at: nil, for everything, where one
// of the scopes covers it.
func (b *Bounds) In(at Scope) *Bounds {
	if b == nil {
		return nil
	}
	var out Bounds
	for _, s := range b.Scopes {
		if s.Covers(at) {
			return nil
		}
		if at.Covers(s) {
			out.Scopes = append(out.Scopes, s)
		}
	}
	return &out
}

// clause returns a condition on three columns, and the arguments with those it adds. A
// column may be empty where the list is of one operator or account, see In, or where
// rows have no template: those of an account are then shown to whoever reaches a
// template of it. No bounds are no condition.
func (b *Bounds) clause(operator, account, template string, args []any) (string, []any) {
	if b == nil {
		return "", args
	}
	some := []string{"1 = 0"}
	for _, s := range b.Scopes {
		var all []string
		for _, c := range []struct{ column, value string }{{operator, s.Operator}, {account, s.Account}, {template, s.Template}} {
			if c.value != "" && c.column != "" {
				args = append(args, c.value)
				all = append(all, fmt.Sprintf("%s = $%d", c.column, len(args)))
			}
		}
		if len(all) == 0 {
			all = []string{"1 = 1"}
		}
		some = append(some, strings.Join(all, " AND "))
	}
	return " AND (" + strings.Join(some, " OR ") + ")", args
}

// holding returns a condition on holders of grants, whose identity is in the column:
// all they have lies within the bounds, and they have something.
func (b *Bounds) holding(column string, args []any) (string, []any) {
	if b == nil {
		return "", args
	}
	within, args := b.clause("g.operator_id", "g.account_id", "g.template_id", args)
	return ` AND EXISTS (SELECT 1 FROM grants g WHERE g.holder = ` + column + `)
		AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.holder = ` + column + ` AND NOT (1 = 1` + within + `))`, args
}

// ListGrants returns the grants of a person or token, the widest first.
func (t *Tx) ListGrants(ctx context.Context, holder string) ([]Grant, error) {
	return many(ctx, t, func(r row) (Grant, error) {
		var g Grant
		err := r.Scan(&g.Role, &g.Operator, &g.Account, &g.Template)
		return g, err
	}, `SELECT role, operator_id, account_id, template_id FROM grants WHERE holder = $1 ORDER BY operator_id, account_id, template_id, role`, holder)
}

// SetGrants makes the grants of a person or token what they are to be.
func (t *Tx) SetGrants(ctx context.Context, holder, by string, grants []Grant) error {
	if _, err := t.exec(ctx, `DELETE FROM grants WHERE holder = $1`, holder); err != nil {
		return err
	}
	rows := make([][]any, len(grants))
	for n, g := range grants {
		rows[n] = []any{holder, g.Role, g.Operator, g.Account, g.Template, by, micros(t.now)}
	}
	return t.insertAll(ctx, "grants", "holder, role, operator_id, account_id, template_id, created_by, created_us", rows)
}
