package issuer

import (
	"context"

	"chancery/claims"
	"chancery/store"
)

// AccountPresets returns the limits that accounts are often made with.
func (i *Issuer) AccountPresets(ctx context.Context, caller Caller) ([]claims.Preset, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "list", kind: "preset"}, func(context.Context, *store.Tx) ([]claims.Preset, error) {
		return claims.AccountPresets(), nil
	})
}
