// Package migrations owns the schema of Chancery's database: plain SQL files, one
// folder for each dialect, embedded in the binary and applied in order.
//
// It must not hold Go logic, and a migration that was released is never changed:
// the schema only goes forward. The two folders describe the same tables; they
// differ in the type of byte strings alone (BYTEA, BLOB).
//
// Called by store, which applies the files with goose when it opens a database.
package migrations

import "embed"

// Files holds the folders postgres and sqlite.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS
