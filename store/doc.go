// Package store keeps Chancery's rows on PostgreSQL or SQLite, in transactions.
//
// It owns the SQL, the migrations' order, the classification of database errors,
// and the sequencer that numbers the change log and chains the audit after
// commit. Each query is one portable text; where the dialects differ, both
// statements stand in dialect.go.
//
// It refuses to know HTTP, NATS, roles or a clear key: sealed seeds and signed
// JWTs are opaque bytes here. Rules about what may be written live in issuer.
//
// Called by issuer for every use case, by resolver for JWTs, outbox and
// deliveries, and by cmd/chancery, which opens it. Everything that touches more
// than one table happens in one Write; the time is read once for each.
package store
