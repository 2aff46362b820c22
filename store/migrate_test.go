package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"chancery/store"
	"chancery/store/storetest"
)

// A database that a newer program migrated is refused and stays as it is.
func TestNewerSchema(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.tenant(t, "x")
		if err := d.Migrate(t.Context()); err != nil {
			t.Errorf("migrating what is new: %v", err)
		}
		d.raw.Run(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)`)
		d.raw.Run(t, `ALTER TABLE accounts ADD COLUMN from_the_future TEXT NOT NULL DEFAULT 'x'`)
		before := d.raw.Dump(t)
		err := d.Migrate(t.Context())
		if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), "99999") {
			t.Errorf("%v, want %v with both versions", err, store.ErrNewerSchema)
		}
		var versions int
		if err := d.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM goose_db_version WHERE version_id = 99999`).Scan(&versions); err != nil || versions != 1 {
			t.Errorf("%d rows of the newer version, %v", versions, err)
		}
		if d.raw.Dump(t) != before {
			t.Error("the rows changed")
		}
	})
}

// Replicas that start together on an empty database all come up, and it is migrated once.
func TestReplicasMigrateTogether(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t, "postgres")
	var wg sync.WaitGroup
	for range 3 {
		s := open(t, url, &clock{now: epoch})
		wg.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var applied int
	raw := storetest.OpenRaw(t, url)
	if err := raw.QueryRowContext(t.Context(), `SELECT count(*) - count(DISTINCT version_id) FROM goose_db_version`).Scan(&applied); err != nil || applied != 0 {
		t.Errorf("%d migrations were applied twice, %v", applied, err)
	}
	d := &db{Store: open(t, url, &clock{now: epoch}), clock: &clock{now: epoch}, raw: raw}
	d.tenant(t, "x")
}

// Before its first migration a database answers with an error that is none of ours, and nothing is made up.
func TestUnmigrated(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			s := open(t, storetest.EmptyURL(t, dialect), &clock{now: epoch})
			if s.Dialect() != dialect {
				t.Errorf("dialect %s", s.Dialect())
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			err := s.Read(t.Context(), func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetOperator(ctx, "x"); return err })
			if err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The two dialects describe the same tables with the same columns, in the same order.
func TestDialectsDescribeTheSame(t *testing.T) {
	t.Parallel()
	columns := map[string]map[string][]string{}
	for _, dialect := range storetest.Dialects() {
		columns[dialect] = map[string][]string{}
		c := &clock{now: epoch}
		url := storetest.URL(t, dialect)
		d := &db{Store: open(t, url, c), clock: c, raw: storetest.OpenRaw(t, url), url: url}
		fillEverything(t, d)
		d.raw.Cells(t, func(table string, row int, column string, _ any) {
			if row == 0 {
				columns[dialect][table] = append(columns[dialect][table], column)
			}
		})
	}
	const tables = 22
	if n := len(columns["sqlite"]); n != tables {
		t.Errorf("%d tables have rows, want %d: fillEverything is incomplete", n, tables)
	}
	for table, want := range columns["sqlite"] {
		if got := columns["postgres"][table]; strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v on PostgreSQL, %v on SQLite", table, got, want)
		}
	}
}
