package store

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"chancery/migrations"
)

// Migrate brings the schema up to this program's version. Replicas that start
// together wait for each other. It returns ErrNewerSchema, and changes nothing,
// when a newer program has migrated the database.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations.Files, string(s.dialect))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	kind, opts := goose.DialectSQLite3, []goose.ProviderOption{goose.WithLogger(goose.NopLogger())}
	if s.dialect == postgres {
		// Asked once a second for five minutes; by default it is every five seconds, which
		// every replica but the first would wait.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300), lock.WithUnlockTimeout(1, 60))
		if err != nil {
			return fmt.Errorf("preparing the migration lock: %w", err)
		}
		kind, opts = goose.DialectPostgres, append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(kind, s.db, files, opts...)
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	current, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", s.classify(err))
	}
	if current > newest {
		return fmt.Errorf("%w (it has version %d, this program knows %d)", ErrNewerSchema, current, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", s.classify(err))
	}
	return nil
}
