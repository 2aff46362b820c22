package issuer

import (
	"context"
	"slices"

	"chancery/claims"
	"chancery/store"
)

// signingKeys takes over the keys whose seeds are elsewhere. Those that are held here
// are changed here, and one that was retired or disabled here does not come back; one
// that only left with an earlier JWT may.
func (m *merging) signingKeys(ctx context.Context, theirs []claims.SigningKey) error {
	posted := map[string]claims.SigningKey{}
	for _, k := range theirs {
		posted[k.ID] = k
	}
	here := map[string]claims.SigningKey{}
	for _, k := range m.parts.Keys {
		here[k.ID] = k
	}
	var own, others []claims.SigningKey
	known := map[string]bool{m.account.ID: true}
	for _, k := range m.rows.Keys {
		if k.Role != "signing" {
			continue
		}
		known[k.ID] = true
		ours, err := m.isOurs(ctx, k)
		if err != nil {
			return err
		}
		now, stored := here[k.ID]
		is, listed := posted[k.ID]
		switch {
		case ours && stored:
			own = append(own, now)
			m.noteKey(k.ID, now, is, listed)
		case listed && (stored || k.Dropped):
			others = append(others, is)
		case listed:
			m.note("Signing key " + k.ID + " was taken out of the account here and stays out.")
		case stored:
			m.note("Signing key " + k.ID + " is not in this copy: it is out of the account now.")
		}
	}
	var fresh []string
	for _, k := range theirs {
		if !known[k.ID] {
			fresh = append(fresh, k.ID)
			others = append(others, k)
		}
	}
	taken, err := m.KeysByID(ctx, fresh)
	if err != nil {
		return err
	}
	if len(taken) > 0 || slices.ContainsFunc(theirs, func(k claims.SigningKey) bool { return k.ID == m.account.ID }) {
		return invalidField("/signing_keys", "key_in_use", "A signing key is a key of another account, or the account itself. Make a new one.")
	}
	m.parts.Keys = append(own, others...) // a template of both stays that of the own key
	return nil
}

// isOurs tells whether a signing key of the account is changed here alone: its seed is
// here, or its template is the operator's.
func (m *merging) isOurs(ctx context.Context, k store.Key) (bool, error) {
	if k.Custody == CustodySealed || k.Custody == CustodyExternal || k.TemplateID == "" {
		return k.Custody == CustodySealed || k.Custody == CustodyExternal, nil
	}
	t, err := m.TemplateByID(ctx, k.TemplateID)
	return t.Shared(), err
}

func (m *merging) noteKey(id string, now, is claims.SigningKey, listed bool) {
	switch {
	case !listed:
		m.note("Signing key " + id + " is held by Chancery and stays in the account; retire it there.")
	case (now.Template == nil) != (is.Template == nil), now.Template != nil && !sameRole(*now.Template, *is.Template):
		m.note("The role of signing key " + id + ", which Chancery holds, stays as it is; edit its template there.")
	}
}
