package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// AccountEdit is what can be changed of an account: its settings and its end.
type AccountEdit struct {
	jwt.Account
	AccountExpiry
	// Problems are what is wrong with the request and not to be seen in the rest.
	Problems claims.Problems
}

// UpdateAccount changes an account's settings and end as edit says. What belongs to
// the operator in it, see belongsToOperator, needs WriteLimits besides. Exports and
// imports have use cases of their own.
func (i *Issuer) UpdateAccount(ctx context.Context, op Op, account string, edit func(*AccountEdit)) (Outcome[Account], error) {
	live := i.liveConnections(ctx, op, WriteAccounts, account)
	return change(ctx, i, op, use{permission: WriteAccounts, action: "update", kind: "account", target: account}, func(ctx context.Context, w *work) (planned[Account], error) {
		var none planned[Account]
		o, a, err := findGuardedAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		a, rows, err := holdGuardedAccount(ctx, w, o, a)
		if err != nil {
			return none, err
		}
		if err := w.expect(a.Version); err != nil {
			return none, err
		}
		after, problems, err := editedAccount(w, a, edit)
		if err != nil {
			return none, err
		}
		plan, err := accountPlan(a, after)
		if err != nil {
			return none, err
		}
		if belongsToOperator(plan.Changes) {
			if err := w.alsoNeeds(WriteLimits); err != nil {
				return none, err
			}
		}
		if problems.Blocking() {
			return none, invalid(problems)
		}
		if err := w.guardAccount(ctx, o, a, after); err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		if err := w.guardSettings(ctx, a, after); err != nil {
			return none, err
		}
		plan.Warnings = problems
		if err := foresee(ctx, w, after, nil, live, &plan); err != nil {
			return none, err
		}
		return planned[Account]{preview: after, target: a.ID, plan: plan, apply: func(ctx context.Context) (Account, error) {
			if len(plan.Changes) == 0 {
				return a, nil
			}
			return i.resignHeld(ctx, w, after, rows, newSignature{})
		}}, nil
	})
}

// editedAccount returns the account as edit makes it, and what is wrong with that.
func editedAccount(w *work, a Account, edit func(*AccountEdit)) (after Account, problems claims.Problems, err error) {
	e := AccountEdit{AccountExpiry: AccountExpiry{a.FixedEnd(), a.Lifetime}}
	if e.Account, err = copyOf(a.Settings); err != nil {
		return a, nil, err
	}
	edit(&e)
	if !slices.Equal(a.Settings.Tags, e.Tags) { // those of a JWT from elsewhere stay until they are edited
		e.Tags = claims.NormalizeTags(e.Tags)
	}
	after = a
	after.Settings = e.Account
	problems = append(e.Problems, claims.CheckAccount(claims.Account{ID: a.ID, Name: a.Name, System: a.System, Settings: e.Account, Foreign: a.Foreign})...)
	if e.AccountExpiry != (AccountExpiry{a.FixedEnd(), a.Lifetime}) {
		problems = append(problems, claims.CheckAccountExpiry(e.Expires, e.Lifetime, w.Now())...)
		e.onto(w, &after)
	}
	return after, problems, nil
}

// accountPlan says what an edit changes.
func accountPlan(a, after Account) (Plan, error) {
	changes, err := diff(a.Settings, after.Settings)
	if err != nil {
		return Plan{}, err
	}
	before, will := settingsOf(a.Settings), settingsOf(after.Settings)
	before.Expires, will.Expires = a.FixedEnd(), after.FixedEnd()
	summary := append(claims.DiffAccounts(before, will), claims.DiffLifetime(a.Lifetime, after.Lifetime)...)
	return Plan{Changes: narrate(append(changes, diffExpiry(a, after)...), summary), Summary: summary}, nil
}

// belongsToOperator tells whether any of the changes is of what an operator grants an
// account: its limits with JetStream, whose connections carry its cluster traffic, its
// end.
func belongsToOperator(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool {
		return strings.HasPrefix(c.Path, "/limits/") || c.Path == "/cluster_traffic" || c.Path == "/exp" || c.Path == "/lifetime_seconds"
	})
}

// slowDown refuses ordinary edits of an account whose issue time has run too far
// ahead of the clock, one second for each edit.
func slowDown(w *work, a Account) error {
	if a.IssuedAt <= w.Now().Unix()+claims.MaxClockLead {
		return nil
	}
	return &Error{
		Kind: KindTooFast, Code: "too_many_edits", Message: "The account was edited more often than once a second for a while.",
		Hint: "Wait a minute. Revocations are never held back.",
	}
}

// resign builds the account's claims from its rows, signs them with the operator's
// current signing key and stores the result; it locks the account first.
func (i *Issuer) resign(ctx context.Context, w *work, accountID string) (Account, error) {
	return i.resignAfter(ctx, w, accountID, "")
}

// resignAfter is resign for an account that is to be pushed after another one, from
// which it imports; with an empty exporter it does not wait.
func (i *Issuer) resignAfter(ctx context.Context, w *work, accountID, exporter string) (Account, error) {
	return i.resignSince(ctx, w, accountID, newSignature{exporter: exporter})
}

// compile builds the account's claims from its rows as edit, which may be nil,
// changes them, and finds the key that may sign them now.
func compile(ctx context.Context, w *work, a Account, rows store.AccountRows, edit func(*claims.Account)) (claims.Checked, store.Key, error) {
	a.Expires = a.ExpiryOf(claims.NextIssuedAt(w.Now(), a.IssuedAt))
	parts, err := partsOf(a, rows)
	if err != nil {
		return claims.Checked{}, store.Key{}, err
	}
	if edit != nil {
		edit(&parts)
	}
	checked, problems := claims.BuildAccount(w.protect(parts))
	if problems.Blocking() {
		return checked, store.Key{}, invalid(problems)
	}
	signer, err := accountSigner(ctx, w.Tx, a.OperatorID, rows.Operator)
	if err == nil && rows.SigningOff && !w.use.protective {
		err = signingOff()
	}
	return checked, signer, err
}

// protect lets unknown fields of a JWT from elsewhere go that a protective change has
// no place for: nothing holds such a change up.
func (w *work) protect(parts claims.Account) claims.Account {
	if parts.Foreign != nil && w.use.protective {
		f := *parts.Foreign
		f.MayLose = true
		parts.Foreign = &f
	}
	return parts
}

// rehearse finds what only shows when the account's claims are put together, such
// as their size, and returns them: it is for dry runs. edit makes the rows what they
// will be.
func rehearse(ctx context.Context, w *work, a Account, edit func(*claims.Account)) (claims.Checked, error) {
	if !w.op.DryRun {
		return claims.Checked{}, nil
	}
	rows, err := w.GetAccountRows(ctx, a.ID)
	if err == nil && len(rows.Operator) == 0 { // an account that is planned only has no row to find its operator by
		if rows.Operator, err = w.ListKeys(ctx, a.OperatorID, ""); err == nil {
			err = w.maySign(ctx, a.OperatorID)
		}
	}
	if err != nil {
		return claims.Checked{}, err
	}
	checked, signer, err := compile(ctx, w, a, rows, edit)
	if err != nil {
		return checked, err
	}
	_, err = encode(signer, checked, claims.NextIssuedAt(w.Now(), a.IssuedAt))
	return checked, err
}

func accountParts(ctx context.Context, t *store.Tx, a Account) (claims.Account, error) {
	rows, err := t.GetAccountRows(ctx, a.ID)
	if err != nil {
		return claims.Account{}, err
	}
	return partsOf(a, rows)
}

// partsOf is assemble of an account's rows. A key without its template would be a plain
// one.
func partsOf(a Account, rows store.AccountRows) (claims.Account, error) {
	for _, k := range rows.Keys {
		if _, found := rows.Templates[k.TemplateID]; k.TemplateID != "" && !found && isTrusted(k) {
			return claims.Account{}, fmt.Errorf("the template of signing key %s: %w", k.ID, store.ErrNotFound)
		}
	}
	return assemble(a, rows.Keys, rows.Templates, sharing{rows.Exports, rows.Imports}, rows.Revocations), nil
}

// sharing is what an account exports and imports, in the order of its JWT.
type sharing struct {
	exports []store.Export
	imports []store.Import
}

// assemble puts together what an account's JWT is built from: the account, its keys,
// the templates of those by identity, what it shares, and what is revoked.
func assemble(a Account, keys []store.Key, templates map[string]Template, shared sharing, revoked map[string]int64) claims.Account {
	parts := claims.Account{ID: a.ID, Name: a.Name, System: a.System, Settings: inForce(a), Expires: a.Expires, Revocations: revoked, Foreign: a.Foreign}
	if a.State == accountDeleted {
		keys, shared = nil, sharing{} // nobody is to sign users of a tombstone, nor to import from it
	}
	parts.Settings.Exports, parts.Settings.Imports = nil, nil
	for _, e := range shared.exports {
		parts.Settings.Exports = append(parts.Settings.Exports, &e.Body)
	}
	for _, m := range shared.imports {
		parts.Settings.Imports = append(parts.Settings.Imports, &m.Body)
	}
	for _, k := range keys {
		if !isTrusted(k) {
			continue
		}
		sk := claims.SigningKey{ID: k.ID}
		if k.TemplateID != "" {
			x := templates[k.TemplateID]
			sk.Template = &x.Body
		}
		parts.Keys = append(parts.Keys, sk)
	}
	return parts
}

// onlyOperator finds an operator by name or key; without either it returns the
// only one there is.
func onlyOperator(ctx context.Context, d *desk, ref string) (Operator, error) {
	if ref != "" {
		return findOperator(ctx, d, ref)
	}
	list, err := d.ListOperators(ctx, Page{Limit: 2, Bounds: d.caller.bounds(d.use.permission)})
	if err != nil {
		return Operator{}, err
	}
	switch len(list) {
	case 0:
		return Operator{}, &Error{Kind: KindConflict, Code: "no_operator", Message: "There is no operator yet.", Hint: "Create one first."}
	case 1:
		return list[0], d.enter(Scope{Operator: list[0].ID}, "operator")
	}
	return Operator{}, invalidField("/operator", "required", "There are several operators; name the one that is meant.")
}

// findAccount finds an account by public key, or by a name that is unique among the
// operators that the caller sees, and enters it.
func findAccount(ctx context.Context, d *desk, ref string) (Account, error) {
	return findAccountOf(ctx, d, "", ref)
}

// findAccountOf is findAccount among the accounts of one operator, by identity; of all
// operators without it.
func findAccountOf(ctx context.Context, d *desk, operatorID, ref string) (Account, error) {
	list, err := accountsCalled(ctx, d.Tx, operatorID, ref)
	if err != nil {
		return Account{}, err
	}
	if len(list) == 1 && list[0].ID == ref {
		d.at = scopeOf(list[0]) // a denial is on record where the key belongs
	}
	list = slices.DeleteFunc(list, func(a Account) bool { return !d.caller.sees(scopeOf(a)) })
	switch len(list) {
	case 0:
		return Account{}, d.missing("account")
	case 1:
		return list[0], d.enter(scopeOf(list[0]), "account")
	}
	d.some() // the caller sees all that is named here
	var keys []string
	for _, a := range list {
		o, err := d.GetOperator(ctx, a.OperatorID)
		if err != nil {
			return Account{}, err
		}
		keys = append(keys, a.ID+" (of "+o.Name+")")
	}
	return Account{}, &Error{
		Kind: KindConflict, Code: "ambiguous_name", Message: "Several operators have an account of this name.",
		Hint: "Use the public key: " + strings.Join(keys, ", ") + ".",
	}
}

func accountsCalled(ctx context.Context, t *store.Tx, operatorID, ref string) ([]Account, error) {
	if !claims.IsPublicKey(claims.KindAccount, ref) {
		return t.FindAccounts(ctx, operatorID, ref)
	}
	a, err := t.GetAccount(ctx, ref)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if operatorID != "" && a.OperatorID != operatorID {
		return nil, nil
	}
	return []Account{a}, nil
}

// lockAccount finds an account and locks it until the transaction ends: what is
// planned from it, and from what belongs to it, still holds when it is applied. An
// account of an observed operator is refused.
func lockAccount(ctx context.Context, w *work, ref string) (Account, error) {
	_, a, err := lockAccountUnder(ctx, w, ref)
	return a, err
}

// lockAccountUnder is lockAccount that returns the account's operator too.
func lockAccountUnder(ctx context.Context, w *work, ref string) (Operator, Account, error) {
	a, err := findAccount(ctx, &w.desk, ref)
	if err != nil {
		return Operator{}, a, err
	}
	a, o, err := w.HoldAccountUnder(ctx, a)
	if a.ID != "" {
		if err := notDeleted(a); err != nil {
			return o, a, err
		}
	}
	if err != nil {
		return o, a, orMissing(err, "account")
	}
	return o, a, writable(o)
}

// GetAccount returns an account by name or public key.
func (i *Issuer) GetAccount(ctx context.Context, caller Caller, account string) (Account, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "read", kind: "account", target: account}, func(ctx context.Context, d *desk) (Account, error) {
		a, err := findAccount(ctx, d, account)
		d.some() // who may issue in it may read it
		return a, err
	})
}

// GetWholeAccount is GetAccount for who may read all that is in it: what its clients do
// tells of every template.
func (i *Issuer) GetWholeAccount(ctx context.Context, caller Caller, account string) (Account, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "read", kind: "account", target: account}, func(ctx context.Context, d *desk) (Account, error) {
		return findAccount(ctx, d, account)
	})
}

// ListAccounts returns a page of accounts by name, of one operator or of all.
func (i *Issuer) ListAccounts(ctx context.Context, caller Caller, operator string, page Page) ([]Account, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "list", kind: "account", target: operator}, func(ctx context.Context, d *desk) ([]Account, error) {
		if operator != "" {
			o, err := findOperator(ctx, d, operator)
			if err != nil {
				return nil, err
			}
			operator = o.ID
		}
		page.Bounds = d.some()
		return d.ListAccounts(ctx, operator, page)
	})
}
