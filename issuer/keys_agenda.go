package issuer

import (
	"context"
	"time"

	"chancery/store"
)

// What a signing key is for, and how a page of them is asked for.
type (
	// KeyKind tells whether a key signs accounts, users of their own permissions, or
	// users of a template.
	KeyKind = store.KeyKind
	// KeyFilter asks for one page of an operator's signing keys.
	KeyFilter = store.KeyFilter
)

// The kinds of signing key.
const (
	OperatorKey = store.OperatorKey
	AccountKey  = store.AccountKey
	TemplateKey = store.TemplateKey
)

// KindOf returns what the signing key is for.
func KindOf(k Key) KeyKind { return store.KindOf(k) }

// AgendaWeeks is how many weeks an agenda covers: a quarter of a year.
const AgendaWeeks = 13

// Agenda is what ages under an operator, week by week from now on.
type Agenda struct {
	Operator Operator
	Weeks    []AgendaWeek
	// Keys counts the signing keys by kind and state, of the operator and its accounts.
	Keys []store.KeyTotal
}

// AgendaWeek is what is due within seven days from Start. What was due before is in
// the first week.
type AgendaWeek struct {
	Start time.Time
	// OperatorKeys, AccountKeys and TemplateKeys are current keys that reach the age at
	// which the operator's policy rotates them.
	OperatorKeys, AccountKeys, TemplateKeys int64
	// Retirements are keys that retire, Credentials those that expire.
	Retirements, Credentials int64
}

// Agenda returns what ages under the operator.
func (i *Issuer) Agenda(ctx context.Context, caller Caller, operator string) (Agenda, error) {
	u := use{permission: ReadOperators, action: "read", kind: "agenda", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (Agenda, error) {
		var out Agenda
		var err error
		if out.Operator, err = findOperator(ctx, d, operator); err != nil {
			return out, err
		}
		for n := range AgendaWeeks {
			out.Weeks = append(out.Weeks, AgendaWeek{Start: d.Now().Add(time.Duration(n) * 7 * 24 * time.Hour)})
		}
		if out.Keys, err = d.CountKeys(ctx, out.Operator.ID); err != nil {
			return out, err
		}
		return out, out.fill(ctx, d.Tx)
	})
}

func (a *Agenda) fill(ctx context.Context, t *store.Tx) error {
	id := a.Operator.ID
	enter := func(list []store.InWeek, err error, place func(w *AgendaWeek) *int64) error {
		for _, x := range list {
			*place(&a.Weeks[x.Week]) += x.Count
		}
		return err
	}
	for kind, age := range ages(a.Operator.Policy) {
		if age <= 0 {
			continue
		}
		list, err := t.KeysByWeek(ctx, id, kind, age, AgendaWeeks)
		err = enter(list, err, func(w *AgendaWeek) *int64 {
			return map[store.KeyKind]*int64{store.OperatorKey: &w.OperatorKeys, store.AccountKey: &w.AccountKeys, store.TemplateKey: &w.TemplateKeys}[kind]
		})
		if err != nil {
			return err
		}
	}
	list, err := t.RetirementsByWeek(ctx, id, AgendaWeeks)
	if err = enter(list, err, func(w *AgendaWeek) *int64 { return &w.Retirements }); err != nil {
		return err
	}
	list, err = t.ExpiriesByWeek(ctx, id, AgendaWeeks)
	return enter(list, err, func(w *AgendaWeek) *int64 { return &w.Credentials })
}

// OwnedKey is a signing key with the names of what it belongs to and what hangs on it;
// its live connections were not asked for.
type OwnedKey struct {
	store.OwnedKey
	InUse KeyInUse
}

// ListOwnedKeys returns a page of the signing keys of an operator and all of its
// accounts, by when they came into their state.
func (i *Issuer) ListOwnedKeys(ctx context.Context, caller Caller, operator string, f store.KeyFilter) ([]OwnedKey, error) {
	u := use{permission: ReadOperators, action: "list", kind: "key", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]OwnedKey, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return nil, err
		}
		list, err := d.ListOwnedKeys(ctx, o.ID, f)
		if err != nil {
			return nil, err
		}
		out := make([]OwnedKey, len(list))
		for n, k := range list {
			p := keyPlace{operator: o}
			if k.AccountID != "" {
				p.account = &Account{ID: k.AccountID}
			}
			k.Sealed = nil
			out[n].OwnedKey = k
			if out[n].InUse, err = p.inUse(ctx, d.Tx, k.Key, nil); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}
