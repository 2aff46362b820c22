package store

import (
	"context"
	"errors"
	"slices"
)

// AccountRows are the rows that an account's JWT is made of, beside its own.
type AccountRows struct {
	// Keys are the account's, Operator those of its operator itself, oldest first.
	Keys, Operator []Key
	// Templates are those of the account's keys, by identity.
	Templates map[string]Template
	// Exports and Imports are in the order of the JWT.
	Exports []Export
	Imports []Import
	// Revocations are, for each subject, the highest time of those in force.
	Revocations map[string]int64
	// SigningOff tells that the operator's signing switch is off.
	SigningOff bool
}

// LockAccount locks the row until the transaction ends, by counting a signing, and returns
// it with all else that its JWT is made of, as it is then. It is the first statement of
// whatever re-signs the account.
func (t *Tx) LockAccount(ctx context.Context, id string) (Account, AccountRows, error) {
	var locked []Account
	err := alongside(ctx, t, &locked, scanAccount, `UPDATE accounts SET jwt_version = jwt_version + 1 WHERE id = $1 RETURNING `+accountColumns, id)
	if err != nil {
		return Account{}, AccountRows{}, err
	}
	rows, err := t.GetAccountRows(ctx, id)
	if err == nil && len(locked) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Account{}, rows, err
	}
	return locked[0], rows, nil
}

// HoldAccount locks the row of an account that the transaction has read, without counting a
// signing, see LockAccountForIssue, and returns it with all else that its JWT is made of, as
// it is then. On SQLite, where a writing transaction is alone, it is as it was read.
func (t *Tx) HoldAccount(ctx context.Context, read Account) (Account, AccountRows, error) {
	var locked []Account
	if err := t.holdAlongside(ctx, read, &locked); err != nil {
		return read, AccountRows{}, err
	}
	rows, err := t.GetAccountRows(ctx, read.ID)
	if err == nil && len(locked) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return read, rows, err
	}
	return locked[0], rows, nil
}

// HoldAccountUnder is HoldAccount that returns the account's operator in the place of its
// rows. When it is the operator that is not found, the account is returned all the same.
func (t *Tx) HoldAccountUnder(ctx context.Context, read Account) (Account, Operator, error) {
	var locked []Account
	if err := t.holdAlongside(ctx, read, &locked); err != nil {
		return Account{}, Operator{}, err
	}
	o, err := t.GetOperator(ctx, read.OperatorID)
	if len(locked) > 0 {
		return locked[0], o, err
	}
	if err == nil {
		err = ErrNotFound
	}
	return Account{}, o, err
}

func (t *Tx) holdAlongside(ctx context.Context, read Account, into *[]Account) error {
	if t.store.dialect != postgres {
		*into = []Account{read}
		return nil
	}
	return alongside(ctx, t, into, scanAccount, lockForIssue, read.ID)
}

// GetIssuanceRows returns what issuing in an account goes by: its keys, oldest first, and
// its revocations, see EffectiveRevocations.
func (t *Tx) GetIssuanceRows(ctx context.Context, a Account) (keys []Key, revoked map[string]int64, err error) {
	if err := alongside(ctx, t, &keys, scanKey, listKeys, a.OperatorID, a.ID); err != nil {
		return nil, nil, err
	}
	revoked, err = t.EffectiveRevocations(ctx, a.ID)
	return keys, revoked, err
}

// ofAccount is the operator of the account $1.
const ofAccount = `(SELECT operator_id FROM accounts WHERE id = $1)`

// GetAccountRows returns what the JWT of a stored account is made of.
func (t *Tx) GetAccountRows(ctx context.Context, id string) (AccountRows, error) {
	out := AccountRows{Templates: map[string]Template{}, Revocations: map[string]int64{}}
	var keys []Key
	var templates []Template
	var revoked []highestTime
	var signing []bool
	err := alongside(ctx, t, &keys, scanKey, `SELECT `+keyColumns+` FROM keys WHERE operator_id = `+ofAccount+` AND account_id IN ($1, '') ORDER BY created_us, id`, id)
	// SQLite has answered already whether there are any.
	if t.store.dialect == postgres || slices.ContainsFunc(keys, func(k Key) bool { return k.TemplateID != "" }) {
		err = errors.Join(err, alongside(ctx, t, &templates, scanTemplate, `SELECT `+templateColumns+` FROM templates
			WHERE id IN (SELECT template_id FROM keys WHERE operator_id = `+ofAccount+` AND account_id = $1 AND template_id <> '')`, id))
	}
	err = errors.Join(
		err,
		alongside(ctx, t, &out.Exports, scanExport, listExports, id),
		alongside(ctx, t, &out.Imports, scanImport, listImports, id),
		alongside(ctx, t, &revoked, scanHighest, highestTimes(`r.removed_us = 0`), id),
		alongside(ctx, t, &signing, scanOne[bool], `SELECT signing FROM operators WHERE id = `+ofAccount, id),
		t.settle(ctx),
	)
	for _, k := range keys {
		if k.AccountID == "" {
			out.Operator = append(out.Operator, k)
		} else {
			out.Keys = append(out.Keys, k)
		}
	}
	for _, x := range templates {
		out.Templates[x.ID] = x
	}
	for _, v := range revoked {
		out.Revocations[v.subject] = v.before
	}
	out.SigningOff = slices.Contains(signing, false)
	return out, err
}
