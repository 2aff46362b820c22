package issuer

import (
	"context"

	"chancery/claims"
	"chancery/store"
)

// ListedAccount is an account of a list, without its JWT.
type ListedAccount = store.ListedAccount

// AccountFilter narrows a list of accounts; empty fields keep all.
type AccountFilter struct {
	// Operator is a name or public key, State active or suspended, Tag one whole tag.
	Operator, State, Tag string
}

// FindAccounts returns a page, by name, of the accounts that f keeps and the caller may
// see.
func (i *Issuer) FindAccounts(ctx context.Context, caller Caller, f AccountFilter, page Page) ([]ListedAccount, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "list", kind: "account", target: f.Operator}, func(ctx context.Context, d *desk) ([]ListedAccount, error) {
		by := store.AccountFilter{State: f.State}
		if f.Operator != "" {
			o, err := findOperator(ctx, d, f.Operator)
			if err != nil {
				return nil, err
			}
			by.OperatorID = o.ID
		}
		for _, t := range claims.NormalizeTags([]string{f.Tag}) { // as it is kept
			by.Tag = t
		}
		page.Bounds = d.some()
		return d.SearchAccounts(ctx, by, page)
	})
}
