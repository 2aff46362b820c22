package issuer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chancery/store"
)

// wake tells the resolver and the upkeep that something was committed.
func (i *Issuer) wake() {
	select {
	case i.changed <- struct{}{}:
	default:
	}
	i.tell()
}

// upkeepEvery is how often the upkeep looks for what is due by the clock.
const upkeepEvery = time.Second

// Keep does what is due by itself, see Upkeep, after each change and once a second,
// until ctx ends. Replicas may do so at once.
func (i *Issuer) Keep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.changed:
		case <-timer.C:
		}
		if err := i.Upkeep(ctx); err != nil && ctx.Err() == nil {
			i.log.ErrorContext(ctx, "upkeep", slog.Any("error", err))
		}
		timer.Reset(upkeepEvery)
	}
}

// Upkeep does everything that is due now, once: accounts that owe a new signature
// get it, and the revocations that were scheduled are made. What it does is derived from the rows, so that after a crash the next call
// goes on where the last one was. A sealed issuer does nothing.
func (i *Issuer) Upkeep(ctx context.Context) error {
	if i.sealed != "" {
		return nil
	}
	var errs []error
	for _, task := range []func(context.Context) error{i.resignOwed, i.revokeDue} {
		errs = append(errs, task(ctx))
	}
	return errors.Join(errs...)
}

// resignBatch is how many accounts are signed in one transaction.
const resignBatch = 100

// resignOwed signs anew what owes it. An account that cannot be signed keeps its
// debt and does not hold up the others.
func (i *Issuer) resignOwed(ctx context.Context) error {
	var errs []error
	for last := ""; ; {
		ids, err := i.owedAfter(ctx, last)
		if err != nil || len(ids) == 0 {
			return errors.Join(append(errs, err)...)
		}
		if err := i.resignAll(ctx, ids); err != nil {
			for _, id := range ids {
				errs = append(errs, i.resignAll(ctx, []string{id}))
			}
		}
		i.tell()
		last = ids[len(ids)-1]
	}
}

func (i *Issuer) owedAfter(ctx context.Context, last string) (ids []string, err error) {
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		ids, err = t.AccountsToResign(ctx, last, resignBatch)
		return err
	})
	return ids, err
}

func (i *Issuer) resignAll(ctx context.Context, ids []string) error {
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		for _, id := range ids {
			w := &work{Tx: t, op: Op{Caller: System("upkeep")}, use: use{permission: WriteAccounts, action: "resign", kind: "account", target: id}}
			a, err := w.LockAccountForIssue(ctx, id)
			if err != nil {
				return err
			}
			if a.ResignOwed.IsZero() {
				continue // another replica was first
			}
			if _, err := i.resign(ctx, w, id); err != nil {
				return err
			}
			if err := w.audit(ctx, w.use, Plan{}); err != nil {
				return err
			}
		}
		return nil
	})
}
