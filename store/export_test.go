package store

import "context"

// Line and Chain are what the sequencer does with an entry, for what tests forge.
func Line(e AuditEntry) ([]byte, error) { return e.line() }

// Chain returns the hash of e that follows prev.
func Chain(e AuditEntry, prev []byte) ([]byte, error) { return e.chain(prev) }

// NewestAudit is the query of Tx.FindAudit.
func (t *Tx) NewestAudit(ctx context.Context, f AuditFilter, p AuditPage) (query string, args []any, err error) {
	err = t.span(ctx, &f)
	query, args = f.newest(p)
	return query, args, err
}
