package issuer

import (
	"context"
	"slices"

	"chancery/claims"
	"chancery/store"
)

// Held is a grant with the names of its place.
type Held struct {
	Grant
	// OperatorName, AccountName and TemplateName are empty where the scope names none,
	// and a short key for what is gone.
	OperatorName, AccountName, TemplateName string
}

// roleWords are the roles as people say them.
var roleWords = map[Role]string{
	RoleOwner: "Owner", RoleOperatorAdmin: "Operator admin", RoleAccountAdmin: "Account admin", RoleIssuer: "Issuer", RoleAuditor: "Auditor",
}

// Words returns the role as people say it.
func (r Role) Words() string {
	if w, ok := roleWords[r]; ok {
		return w
	}
	return "No role"
}

// Words says the grant in words, such as "Account admin of account ORDERS of acme".
func (h Held) Words() string {
	role := Role(h.Role).Words()
	switch {
	case h.Operator == "":
		return role + " of everything"
	case h.Account == "":
		return role + " of operator " + h.OperatorName
	case h.Template == "":
		return role + " of account " + h.AccountName + " of " + h.OperatorName
	}
	return role + " of template " + h.TemplateName + " in account " + h.AccountName + " of " + h.OperatorName
}

// held adds the names of places to grants.
func (d *desk) held(ctx context.Context, grants []Grant) ([]Held, error) {
	out := make([]Held, len(grants))
	for n, g := range grants {
		h := Held{Grant: g}
		if g.Operator != "" {
			o, err := d.GetOperator(ctx, g.Operator)
			if err = ignoreMissing(err); err != nil {
				return nil, err
			}
			h.OperatorName = nameOr(o.Name, g.Operator)
		}
		if g.Account != "" {
			a, err := d.GetAccount(ctx, g.Account)
			if err = ignoreMissing(err); err != nil {
				return nil, err
			}
			h.AccountName = nameOr(a.Name, g.Account)
		}
		if g.Template != "" {
			x, err := d.GetTemplate(ctx, g.Account, g.Template)
			if err = ignoreMissing(err); err != nil {
				return nil, err
			}
			h.TemplateName = nameOr(x.Body.Name, g.Template)
		}
		out[n] = h
	}
	return out, nil
}

func nameOr(name, id string) string {
	if name == "" {
		return claims.ShortKey(id)
	}
	return name
}

// give returns the grants by identity, each once, if the caller may give all of them:
// what they name is looked up as anything that a caller names.
func (w *work) give(ctx context.Context, grants []Grant) ([]Grant, error) {
	var out []Grant
	for _, g := range grants {
		at, err := w.place(ctx, g.Scope)
		if err != nil {
			return nil, err
		}
		g.Scope = at
		if err := w.whole(at); err != nil {
			return nil, err
		}
		if err := w.mayGive(g); err != nil {
			return nil, err
		}
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	if len(out) > 0 {
		w.at, w.entered, w.partly = enclosing(out), true, false
	}
	return out, nil
}

// place finds what a scope names, by names or identities.
func (w *work) place(ctx context.Context, s Scope) (Scope, error) {
	var out Scope
	if s.Operator != "" {
		o, err := findOperator(ctx, &w.desk, s.Operator)
		if err != nil {
			return out, err
		}
		out.Operator = o.ID
	}
	if s.Account == "" {
		return out, nil
	}
	a, err := findAccountOf(ctx, &w.desk, out.Operator, s.Account)
	if err != nil {
		return out, err
	}
	out = scopeOf(a)
	if s.Template == "" {
		return out, nil
	}
	x, err := templateOfAccount(ctx, &w.desk, a, s.Template)
	return withTemplate(out, x.ID), err
}

// mayGive refuses a grant that allows what the caller may not do on all of its place.
func (w *work) mayGive(g Grant) error {
	for _, p := range Role(g.Role).permissionsOn(g.Scope) {
		if !w.caller.Allows(p, g.Scope) {
			return denied(&Error{
				Kind: KindForbidden, Code: "more_than_yours", Message: "Nobody gives more than they have.",
				Hint: "To give this role you need the permission " + string(p) + " on all of its place.",
			})
		}
	}
	return nil
}

// enclosing returns the smallest scope in which all of the grants lie.
func enclosing(grants []Grant) Scope {
	if len(grants) == 0 {
		return Scope{}
	}
	out := grants[0].Scope
	out.Template = ""
	for _, g := range grants[1:] {
		if g.Account != out.Account {
			out.Account = ""
		}
		if g.Operator != out.Operator {
			return Scope{}
		}
	}
	return out
}

// enterAll enters what is described by grants, such as a token: the caller needs the
// permission on all of them. Without a grant it is of nobody but who may do everything.
func (d *desk) enterAll(grants []Grant, noun string) error {
	for _, p := range d.needs() {
		lacks := func(g Grant) bool { return !d.caller.Allows(p, g.Scope) }
		if slices.ContainsFunc(grants, lacks) || len(grants) == 0 && !d.caller.Allows(p, Scope{}) {
			return denied(missing(noun))
		}
	}
	d.at, d.entered, d.partly = enclosing(grants), true, false
	return nil
}

// Me is who asks, as the control plane knows them.
type Me struct {
	ID, Name string
	Kind     CallerKind
	Held     []Held
	// Token is the token's row without its hash; nil for people.
	Token *Token
}

// Me returns what is known of the caller. It needs no permission.
func (i *Issuer) Me(ctx context.Context, caller Caller) (Me, error) {
	out := Me{ID: caller.ID, Name: caller.Name, Kind: caller.Kind}
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		d := &desk{Tx: t, caller: caller}
		if out.Held, err = d.held(ctx, caller.Grants); err != nil || caller.Kind != CallerToken {
			return err
		}
		k, err := t.GetToken(ctx, caller.ID)
		if err != nil {
			return orMissing(err, "token")
		}
		full, err := d.token(ctx, k)
		out.Token = &full
		return err
	})
	return out, err
}
