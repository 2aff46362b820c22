package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"chancery/store"
)

// repeatable tells whether the request can be recognized when it comes again.
func (o Op) repeatable() bool { return o.IdempotencyKey != "" && len(o.Fingerprint) > 0 }

// replayed fills out with what the caller's request with this idempotency key was
// answered, and tells whether it was. It takes no part in dry runs.
func replayed[T any](ctx context.Context, w *work, out *Outcome[T]) (bool, error) {
	if !w.op.repeatable() || w.op.DryRun {
		return false, nil
	}
	p, err := w.GetReplay(ctx, w.op.Caller.ID, w.op.IdempotencyKey)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !bytes.Equal(p.Fingerprint, w.op.Fingerprint) {
		return false, &Error{
			Kind: KindInvalid, Code: "idempotency_key_reused", Message: "This Idempotency-Key was sent with another request before.",
			Hint: "Make a new key for each request; repeat a key only to repeat the very same request.",
		}
	}
	known := answer[T]{}
	if err := json.Unmarshal([]byte(p.Answer), &known); err != nil {
		return false, fmt.Errorf("reading what was answered before: %w", err)
	}
	if !w.caller.MayWithin(w.use.permission, known.At) { // grants may have been taken since
		w.at = known.At
		return false, denied(missing(w.use.kind))
	}
	*out = Outcome[T]{Value: known.Value, Replayed: true, Plan: Plan{Connections: unknown}}
	return true, nil
}

// answer is what a request came to, as it is kept.
type answer[T any] struct {
	// At is the object's place, for who asks again.
	At    Scope `json:"at"`
	Value T     `json:"value"`
}

// remember keeps the answer for a repetition of the request. Secrets write
// themselves as nothing, see claims.Secret.
func remember[T any](ctx context.Context, w *work, value T) error {
	if !w.op.repeatable() {
		return nil
	}
	raw, err := json.Marshal(answer[T]{w.at, value})
	if err != nil {
		return fmt.Errorf("keeping the answer: %w", err)
	}
	err = w.PutReplay(ctx, store.Replay{Caller: w.op.Caller.ID, Key: w.op.IdempotencyKey, Fingerprint: w.op.Fingerprint, Answer: string(raw)})
	if errors.Is(err, store.ErrExists) {
		return &Error{
			Kind: KindConflict, Code: "request_in_progress", Message: "A request with this Idempotency-Key is being answered at this moment.",
			Hint: "Send it again; it will get the same answer.", cause: err,
		}
	}
	return err
}

// dropReplays forgets the answers that are too old to repeat.
func (i *Issuer) dropReplays(ctx context.Context) error {
	var some bool
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		some, err = t.HasOldReplays(ctx)
		return err
	})
	if err != nil || !some {
		return err
	}
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.DropReplays(ctx) })
}
