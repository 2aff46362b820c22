package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// ImportChange is what a change of an import came to.
type ImportChange struct {
	Import
	// Dead is why the import does not work as far as the exporter is known here; empty
	// for one that does.
	Dead claims.Problems
	// JWTVersion is the account's JWT that carries it.
	JWTVersion int64
}

// CreateImport takes what another account exports: body.Account is the exporter's name,
// or any public key A…, of an account that need not be known here. A token comes from
// the exporter's holder. What would make a nats-server refuse the account is refused;
// an import that does not work yet is made, with a warning that says why.
func (i *Issuer) CreateImport(ctx context.Context, op Op, account string, body jwt.Import) (Outcome[ImportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "create", kind: "import", target: account}, func(ctx context.Context, w *work) (planned[ImportChange], error) {
		var none planned[ImportChange]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		x := importEdit{account: a, after: &Import{AccountID: a.ID, Body: body, Version: 1, Created: w.Now(), Updated: w.Now()}}
		if x.after.ID, err = w.NewID("imp_"); err != nil {
			return none, err
		}
		if x.after.Body.Account, err = exporterKey(ctx, &w.desk, body.Account); err != nil {
			return none, err
		}
		return x.plan(ctx, i, w, live)
	})
}

// UpdateImport changes an import as edit says.
func (i *Issuer) UpdateImport(ctx context.Context, op Op, account, id string, edit func(*jwt.Import)) (Outcome[ImportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "update", kind: "import", target: account + "/" + id}, func(ctx context.Context, w *work) (planned[ImportChange], error) {
		var none planned[ImportChange]
		a, before, err := w.lockImport(ctx, account, id)
		if err != nil {
			return none, err
		}
		if err := w.expect(before.Version); err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		after := before
		edit(&after.Body)
		if after.Body.Account, err = exporterKey(ctx, &w.desk, after.Body.Account); err != nil {
			return none, err
		}
		if after.Body.Token != before.Body.Token {
			after.ActivationID = "" // from elsewhere
		}
		x := importEdit{account: a, before: &before, after: &after}
		return x.plan(ctx, i, w, live)
	})
}

// DeleteImport takes an import out of the account.
func (i *Issuer) DeleteImport(ctx context.Context, op Op, account, id string) (Outcome[ImportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "delete", kind: "import", target: account + "/" + id, protective: true}, func(ctx context.Context, w *work) (planned[ImportChange], error) {
		var none planned[ImportChange]
		a, before, err := w.lockImport(ctx, account, id)
		if err != nil {
			return none, err
		}
		if err := w.expect(before.Version); err != nil {
			return none, err
		}
		x := importEdit{account: a, before: &before}
		return x.plan(ctx, i, w, live)
	})
}

func (w *work) lockImport(ctx context.Context, account, id string) (Account, Import, error) {
	a, err := lockAccount(ctx, w, account)
	if err != nil {
		return a, Import{}, err
	}
	m, err := w.GetImport(ctx, a.ID, id)
	return a, m, orMissing(err, "import")
}

// exporterKey returns the public key of who is named as an exporter: a name is of an
// account here.
func exporterKey(ctx context.Context, d *desk, ref string) (string, error) {
	if ref == "" || claims.LooksLikeKey(ref) {
		return ref, nil // checked with the rest of the import
	}
	importer := d.at
	a, err := findAccount(ctx, d, ref)
	if err == nil {
		d.at = importer // which is what changes
	}
	return a.ID, err
}

// importEdit is a change of one import: before is nil for a new one, after for one that
// goes.
type importEdit struct {
	account       Account
	before, after *Import
}

// edit makes the parts of the account's JWT what they will be.
func (x *importEdit) edit(parts *claims.Account) {
	var with *jwt.Import
	if x.after != nil {
		with = &x.after.Body
	}
	parts.Settings.Imports = replaced(parts.Settings.Imports, func(m *jwt.Import) bool { return x.before != nil && *m == x.before.Body }, with)
}

func (x *importEdit) plan(ctx context.Context, i *Issuer, w *work, live []claims.Connection) (planned[ImportChange], error) {
	var none planned[ImportChange]
	parts, err := accountParts(ctx, w.Tx, x.account)
	if err != nil {
		return none, err
	}
	x.edit(&parts)
	problems, err := x.check(ctx, w, parts)
	if err != nil {
		return none, err
	}
	if problems.Blocking() {
		return none, invalid(problems)
	}
	if x.before == nil {
		if err := w.guardCount(ctx, x.account, claims.QuotaImports, 1); err != nil {
			return none, err
		}
	}
	out := ImportChange{Import: x.result()}
	if x.after != nil {
		out.Dead = problems
	}
	plan, err := x.say(problems)
	if err != nil {
		return none, err
	}
	if err := foresee(ctx, w, x.account, x.edit, live, &plan); err != nil {
		return none, err
	}
	return planned[ImportChange]{preview: out, target: x.account.ID + "/" + out.ID, plan: plan, apply: func(ctx context.Context) (ImportChange, error) {
		return x.apply(ctx, i, w, out, len(plan.Changes) > 0)
	}}, nil
}

// check returns what is wrong with the import in itself, beside the others of the
// account, and against the exporter as far as it is known here.
func (x *importEdit) check(ctx context.Context, w *work, parts claims.Account) (claims.Problems, error) {
	if x.after == nil {
		return nil, nil
	}
	n := slices.Index(parts.Settings.Imports, &x.after.Body)
	problems := own(claims.CheckAccount(parts), claims.Point("/imports", n), "/imports", importFields)
	if problems.Blocking() {
		return problems, nil
	}
	importer := &jwt.AccountClaims{Account: jwt.Account{Imports: parts.Settings.Imports}}
	importer.Subject = x.account.ID
	known, err := w.AccountsByID(ctx, []string{x.after.Body.Account})
	if err != nil {
		return nil, err
	}
	from, strange := known[x.after.Body.Account], claims.Problems(nil)
	exporters := map[string]*jwt.AccountClaims{}
	switch {
	case !w.caller.sees(scopeOf(from)): // as if there were none
	case from.ID != "" && from.OperatorID != x.account.OperatorID:
		strange = append(strange, otherOperator("/exporter"))
	case from.JWT != "":
		if exporters[from.ID], err = jwt.DecodeAccountClaims(from.JWT); err != nil {
			return nil, err
		}
	}
	found := claims.CheckSharing(importer, func(id string) *jwt.AccountClaims { return exporters[id] }, w.Now())
	for _, p := range append(own(found, claims.Point("/imports", n), "/imports", importFields), strange...) {
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// otherOperator says that servers never see both accounts.
func otherOperator(pointer string) claims.Problem {
	return claims.Problem{Pointer: pointer, Code: "other_operator", Detail: "The exporter is an account of another operator: a nats-server of this one does not know it, unless the two are bridged there by other means."}
}

// result is the import after the change, or as it was if it goes.
func (x *importEdit) result() Import {
	if x.after == nil {
		return *x.before
	}
	out := *x.after
	if x.before != nil {
		out.Version = x.before.Version + 1
	}
	return out
}

// say puts the change into words. Of a token only that there is one is said.
func (x *importEdit) say(problems claims.Problems) (Plan, error) {
	plan := Plan{Warnings: problems}
	var was, is jwt.Account
	var before, after any
	if x.before != nil {
		before, was.Imports = shownImport(x.before.Body), jwt.Imports{&x.before.Body}
	}
	if x.after != nil {
		after, is.Imports = shownImport(x.after.Body), jwt.Imports{&x.after.Body}
	}
	changes, err := diff(before, after)
	if err != nil {
		return plan, err
	}
	body := x.result().Body
	plan.Changes = below(claims.Point("/imports", body.Type.String()+" "+string(body.Subject)+" from "+claims.ShortKey(body.Account)), changes)
	plan.Summary = claims.DiffAccounts(settingsOf(was), settingsOf(is))
	if x.before != nil && x.after != nil {
		// One that moves is another import to a server; what else changes is said of that one.
		moved := x.before.Body
		moved.Type, moved.Subject, moved.Account = body.Type, body.Subject, body.Account
		if moved.Type != x.before.Body.Type || moved.Subject != x.before.Body.Subject || moved.Account != x.before.Body.Account {
			plan.Summary = append(plan.Summary, claims.DiffAccounts(settingsOf(jwt.Account{Imports: jwt.Imports{&moved}}), settingsOf(is))...)
		}
	}
	narrate(plan.Changes, plan.Summary)
	return plan, nil
}

// shownImport is an import with the identity of its token in the place of the token.
func shownImport(m jwt.Import) *jwt.Import {
	if act, err := jwt.DecodeActivationClaims(m.Token); err == nil {
		m.Token = "token " + act.ID
	}
	return &m
}

func (x *importEdit) apply(ctx context.Context, i *Issuer, w *work, out ImportChange, changed bool) (ImportChange, error) {
	var err error
	after := ""
	switch {
	case x.before == nil:
		err, after = w.CreateImport(ctx, *x.after), x.after.Body.Account
	case x.after == nil:
		err = w.DeleteImport(ctx, x.before.ID)
	case !changed:
		out.Import, out.JWTVersion = *x.before, x.account.JWTVersion
		return out, nil
	default:
		err, after = w.UpdateImport(ctx, *x.after), x.after.Body.Account
	}
	if err != nil {
		return out, err
	}
	a, err := i.resignAfter(ctx, w, x.account.ID, after)
	out.JWTVersion = a.JWTVersion
	return out, err
}

// GetImport returns an import of an account, with its state.
func (i *Issuer) GetImport(ctx context.Context, caller Caller, account, id string) (Edge, error) {
	list, err := i.importEdges(ctx, caller, "read", account, func(m Import) bool { return m.ID == id }, Page{Limit: 1})
	if err == nil && len(list) == 0 {
		err = missing("import")
	}
	if err != nil {
		return Edge{}, err
	}
	return list[0], nil
}

// ListImports returns a page of an account's imports, the oldest first, with their
// state. Search keeps those with it in their name or a subject.
func (i *Issuer) ListImports(ctx context.Context, caller Caller, account string, page Page) ([]Edge, error) {
	return i.importEdges(ctx, caller, "list", account, func(Import) bool { return true }, page)
}

func (i *Issuer) importEdges(ctx context.Context, caller Caller, action, account string, wanted func(Import) bool, page Page) ([]Edge, error) {
	g, err := read(ctx, i, caller, use{permission: ReadSharing, action: action, kind: "import", target: account}, func(ctx context.Context, d *desk) (*graph, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		all, err := d.ListImports(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(m Import) bool { return !wanted(m) })
		listed := pageOf(all, page, func(m Import) (string, string) {
			return m.ID, m.Body.Name + "\n" + string(m.Body.Subject) + "\n" + string(m.Body.LocalSubject)
		})
		return newGraph(ctx, d, listed)
	})
	if err != nil {
		return nil, err
	}
	return i.settle(ctx, g), nil
}
