package resolver

import (
	"context"
	"time"
)

// readableWait is how long one look for a version waits for commits to reach memory.
const readableWait = time.Second

// Readable waits until GET answers with that version of an account's JWT, or a later one,
// and returns true; false when ctx ends before, or the version is not in the store.
// Whoever asks has called Wake since the version was committed.
func (r *Resolver) Readable(ctx context.Context, accountID string, version int64) bool {
	for {
		outstanding := r.gate.pass(ctx, readableWait)
		if e := r.memory.get(accountID); e != nil && e.version >= version {
			return true
		}
		if !outstanding || ctx.Err() != nil {
			return false
		}
	}
}
