package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/store"
)

// sharing makes the rows of an account's exports and imports what its JWT says.
func (d *adopting) sharing(ctx context.Context, accountID string, s jwt.Account) error {
	if err := d.exports(ctx, accountID, s.Exports); err != nil {
		return err
	}
	return d.imports(ctx, accountID, s.Imports)
}

// ids returns identities in their order, which is that of the entries they are for.
func (d *adopting) ids(prefix string, n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		var err error
		if out[i], err = d.NewID(prefix); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}

func (d *adopting) exports(ctx context.Context, accountID string, list jwt.Exports) error {
	rows, err := d.ListExports(ctx, accountID)
	if err != nil {
		return err
	}
	ids, err := d.ids("exp_", len(list))
	if err != nil {
		return err
	}
	for n, e := range list {
		k := slices.IndexFunc(rows, func(x store.Export) bool { return x.Body.Type == e.Type && x.Body.Subject == e.Subject })
		if k < 0 {
			err = d.CreateExport(ctx, store.Export{ID: ids[n], AccountID: accountID, Body: *e})
		} else {
			row := rows[k]
			rows = slices.Delete(rows, k, k+1)
			same, errSame := sameJSON(&row.Body, e)
			if row.Body = *e; errSame != nil {
				err = errSame
			} else if !same {
				err = d.UpdateExport(ctx, row)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, gone := range rows {
		if err := d.DeleteExport(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

func (d *adopting) imports(ctx context.Context, accountID string, list jwt.Imports) error {
	rows, err := d.ListImports(ctx, accountID)
	if err != nil {
		return err
	}
	ids, err := d.ids("imp_", len(list))
	if err != nil {
		return err
	}
	for n, m := range list {
		k := -1
		for i := range rows {
			same, err := sameJSON(&rows[i].Body, m)
			if err != nil {
				return err
			}
			if same {
				k = i
				break
			}
		}
		if k >= 0 {
			rows = slices.Delete(rows, k, k+1)
			continue
		}
		if err := d.CreateImport(ctx, store.Import{ID: ids[n], AccountID: accountID, Body: *m}); err != nil {
			return err
		}
	}
	for _, gone := range rows {
		if err := d.DeleteImport(ctx, gone.ID); err != nil {
			return err
		}
	}
	return nil
}

func sameJSON(a, b any) (bool, error) {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if errX != nil || errY != nil {
		return false, fmt.Errorf("comparing what is shared: %w, %w", errX, errY)
	}
	return string(x) == string(y), nil
}
