package issuer

import (
	"context"

	"chancery/claims"
)

// AccountPresets returns the limits that accounts are often made with.
func (i *Issuer) AccountPresets(ctx context.Context, caller Caller) ([]claims.Preset, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "list", kind: "preset"}, func(_ context.Context, d *desk) ([]claims.Preset, error) {
		d.some()
		return claims.AccountPresets(), nil
	})
}
