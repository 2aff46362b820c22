package resolver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// bell wakes one goroutine. Rings that nobody heard yet are one ring.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// broadcast wakes all that wait, once for each turn. The zero value is ready; the
// owner's lock guards it.
type broadcast struct{ turn chan struct{} }

// next returns a channel that the next call of tell closes.
func (b *broadcast) next() <-chan struct{} {
	if b.turn == nil {
		b.turn = make(chan struct{})
	}
	return b.turn
}

func (b *broadcast) tell() {
	if b.turn != nil {
		close(b.turn)
		b.turn = nil
	}
}

// trouble logs that a task began to fail and that it goes on again, and nothing in
// between: what is retried every second for an hour is two lines.
type trouble struct {
	log  *slog.Logger
	task string

	mu      sync.Mutex
	failing bool
}

// note records how an attempt ended. The end of ctx is no failure.
func (t *trouble) note(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	t.mu.Lock()
	changed := t.failing != (err != nil)
	t.failing = err != nil
	t.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		t.log.WarnContext(ctx, "a background task fails; it is retried", slog.String("task", t.task), slog.Any("error", err))
	default:
		t.log.InfoContext(ctx, "a background task goes on", slog.String("task", t.task))
	}
}
