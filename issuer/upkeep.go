package issuer

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// wake tells the resolver and the upkeep that something was committed.
func (i *Issuer) wake() {
	select {
	case i.changed <- struct{}{}:
	default:
	}
	i.tell()
}

// upkeepEvery is how often the upkeep looks for what is due by the clock, upkeepAfter
// how long after a change: the servers come first, and what follows each other closely
// is looked at once.
const (
	upkeepEvery = time.Second
	upkeepAfter = 50 * time.Millisecond
)

// Keep does what is due by itself, see Upkeep, shortly after each change and once a
// second, until ctx ends. Replicas may do so at once.
func (i *Issuer) Keep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(upkeepAfter):
			}
			select { // what came meanwhile is looked at now
			case <-i.changed:
			default:
			}
		case <-timer.C:
		}
		if err := i.Upkeep(ctx); err != nil && ctx.Err() == nil {
			i.log.ErrorContext(ctx, "upkeep", slog.Any("error", err))
		}
		timer.Reset(upkeepEvery)
	}
}

// Upkeep does everything that is due now, once: accounts that owe a new signature get
// it, answers that are too old to repeat are forgotten, keys are retired and rotated,
// and the revocations that were scheduled are made. What it does is derived from the
// rows, so that after a crash the next call goes on where the last one was; only when
// API tokens were used last is kept in memory until then. A sealed issuer does nothing
// else than to write that down.
func (i *Issuer) Upkeep(ctx context.Context) error {
	errs := []error{i.noteTokenUses(ctx)}
	if i.sealed != "" {
		return errors.Join(errs...)
	}
	for _, task := range []func(context.Context) error{i.resignOwed, i.dropReplays, i.retireKeys, i.rotateKeys, i.compactMoot, i.revokeDue, i.runImports, i.dropImports} {
		errs = append(errs, task(ctx))
	}
	return errors.Join(errs...)
}
