package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/store"
)

func TestKeysets(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		set := store.Keyset{ID: "seeds", KEKID: "abc", Wrapped: []byte{0, 0xfe}}
		reads := func(ctx context.Context, tx *store.Tx) (store.Keyset, error) { return tx.GetKeyset(ctx, "seeds") }
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := reads(ctx, tx); return err })
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := tx.HoldKeyset(ctx, "seeds"); return err })
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := tx.LockKeyset(ctx, "seeds"); return err })
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateKeyset(ctx, set) })
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateKeyset(ctx, set) })
		set.Version = 1
		if diff := cmp.Diff(set, get(t, d, reads)); diff != "" {
			t.Error(diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			locked, err := tx.LockKeyset(ctx, "seeds")
			if err != nil || locked.Version != 2 {
				t.Errorf("locked is version %d, %v", locked.Version, err)
			}
			locked.KEKID, locked.Wrapped = "def", []byte("other")
			set = locked
			return tx.UpdateKeyset(ctx, locked)
		})
		if diff := cmp.Diff(set, get(t, d, reads)); diff != "" {
			t.Error(diff)
		}
		// What somebody else changed meanwhile is not overwritten.
		for _, version := range []int64{1, 3} {
			old := set
			old.Version = version
			d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateKeyset(ctx, old) })
		}
	})
}

// Whoever holds the keyset sees it stay as it is: a change waits, and who comes after the change sees it.
func TestHoldKeyset(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateKeyset(ctx, store.Keyset{ID: "seeds", KEKID: "abc", Wrapped: []byte{1}})
		})
		changed := make(chan error, 1)
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			held, err := tx.HoldKeyset(ctx, "seeds")
			if err != nil {
				return err
			}
			if d.Dialect() == "postgres" {
				// A second one holds it beside the first.
				if err := d.Write(ctx, func(ctx context.Context, tx *store.Tx) error { _, err := tx.HoldKeyset(ctx, "seeds"); return err }); err != nil {
					t.Error(err)
				}
			}
			go func() {
				changed <- d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.LockKeyset(ctx, "seeds")
					return err
				})
			}()
			for waiting := 0; waiting == 0 && d.Dialect() == "postgres"; {
				if err := d.raw.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`).Scan(&waiting); err != nil {
					return err
				}
			}
			select {
			case err := <-changed:
				t.Errorf("it was locked while it was held: %v", err)
			default:
			}
			again, err := tx.HoldKeyset(ctx, "seeds")
			if again.Version != held.Version {
				t.Errorf("version %d became %d", held.Version, again.Version)
			}
			return err
		})
		if err := <-changed; err != nil {
			t.Error(err)
		}
		if k := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Keyset, error) { return tx.GetKeyset(ctx, "seeds") }); k.Version != 2 {
			t.Errorf("version %d after the change", k.Version)
		}
	})
}

// What was to happen at the end of a transaction happens once, whichever way it ends.
func TestAtEnd(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		broken := errors.New("broken")
		for name, ends := range map[string]error{"committed": nil, "rolled back": broken} {
			n := 0
			err := d.Write(t.Context(), func(_ context.Context, tx *store.Tx) error {
				tx.AtEnd(func() { n++ })
				tx.AtEnd(func() { n++ })
				if n != 0 {
					t.Errorf("%s: it was called before the end", name)
				}
				return ends
			})
			if !errors.Is(err, ends) || n != 2 {
				t.Errorf("%s: %d calls of 2, %v", name, n, err)
			}
		}
	})
}
