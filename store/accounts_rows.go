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

// GetAccountRows returns what a's JWT is made of.
func (t *Tx) GetAccountRows(ctx context.Context, a Account) (AccountRows, error) {
	out := AccountRows{Templates: map[string]Template{}, Revocations: map[string]int64{}}
	var keys []Key
	var templates []Template
	var revoked []highestTime
	var signing []bool
	err := errors.Join(
		alongside(ctx, t, &keys, scanKey, `SELECT `+keyColumns+` FROM keys WHERE operator_id = $1 AND account_id IN ($2, '') ORDER BY created_us, id`, a.OperatorID, a.ID),
		alongside(ctx, t, &templates, scanTemplate, `SELECT `+templateColumns+` FROM templates
			WHERE id IN (SELECT template_id FROM keys WHERE operator_id = $1 AND account_id = $2 AND template_id <> '')`, a.OperatorID, a.ID),
		alongside(ctx, t, &out.Exports, scanExport, listExports, a.ID),
		alongside(ctx, t, &out.Imports, scanImport, listImports, a.ID),
		alongside(ctx, t, &revoked, scanHighest, highestTimes(`r.removed_us = 0`), a.ID),
		alongside(ctx, t, &signing, scanOne[bool], signingSwitch, a.OperatorID),
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
