package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chancery/custody"
	"chancery/store"
)

const (
	// importWeight is how much is taken in in one transaction: accounts weigh ten times
	// a user.
	importWeight = 500
	// importLease is how long a process has for one of them before another one goes on.
	importLease = 30 * time.Second
)

// importStep is what cannot be divided: an operator, an account, or some users of one.
type importStep struct {
	operator *sourceOperator
	// account is nil for the operator itself, users nil for the account itself.
	account *sourceAccount
	users   []sourceUser
}

// units is what the step counts for in the progress, weight what it costs.
func (s importStep) units() int64 { return int64(max(1, len(s.users))) }

func (s importStep) weight() int {
	if s.users != nil {
		return len(s.users)
	}
	return 10
}

// steps returns the steps after the first done units, of about one transaction.
func (src *source) steps(done int64) (out []importStep, units int64) {
	weight, passed := 0, int64(0)
	add := func(s importStep) bool {
		if passed += s.units(); passed <= done {
			return true
		}
		if len(out) > 0 && weight+s.weight() > importWeight {
			return false
		}
		out, units, weight = append(out, s), units+s.units(), weight+s.weight()
		return true
	}
	for _, o := range src.operators {
		if !add(importStep{operator: o}) {
			return out, units
		}
		for _, a := range o.accounts {
			if !add(importStep{operator: o, account: a}) {
				return out, units
			}
			for first := 0; first < len(a.users); first += importWeight {
				if !add(importStep{operator: o, account: a, users: a.users[first:min(first+importWeight, len(a.users))]}) {
					return out, units
				}
			}
		}
	}
	return out, units
}

// runImports takes one transaction's worth of each running import in. What is left is
// for the next call, which follows at once.
func (i *Issuer) runImports(ctx context.Context) error {
	owner, err := i.imports.lease(i.rand)
	if err != nil {
		return err
	}
	var ids []string
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		ids, err = t.RunningImports(ctx, owner)
		return err
	})
	errs := []error{err}
	for _, id := range ids {
		errs = append(errs, i.runImport(ctx, id, owner))
	}
	return errors.Join(errs...)
}

// runImport takes one transaction's worth in. An archive that cannot be taken in ends
// the import; what the database refuses is tried again.
func (i *Issuer) runImport(ctx context.Context, id, owner string) error {
	src, err := i.importSource(ctx, id)
	if err == nil {
		err = i.importSome(ctx, id, owner, src)
	}
	switch {
	case err == nil:
		i.wake()
		return nil
	case errors.Is(err, store.ErrNotFound):
		return nil // it was dropped, or somebody else works on it
	case ctx.Err() != nil, errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrAway), AsError(err).Kind == KindInternal && !errors.Is(err, store.ErrExists), AsError(err).Kind == KindSealed:
		return fmt.Errorf("running import %s: %w", id, err)
	}
	i.log.ErrorContext(ctx, "an import failed", slog.String("import", id), slog.Any("error", err))
	i.imports.forget(id)
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		job, err := t.LockImportJob(ctx, id)
		if err != nil {
			return ignoreMissing(err)
		}
		job.State, job.Error, job.Expires = string(ImportFailed), AsError(err).Message, t.Now().Add(importHistory)
		return t.UpdateImportJob(ctx, job)
	})
}

func (i *Issuer) importSome(ctx context.Context, id, owner string, src *source) error {
	over := false
	err := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		job, err := t.LeaseImportJob(ctx, id, owner, t.Now().Add(importLease))
		if err != nil {
			return err
		}
		w := &work{
			desk: desk{Tx: t, use: use{permission: WriteAdoption, action: job.Mode, protective: true}},
			op:   Op{Caller: Caller{ID: job.Actor, Kind: CallerKind(job.ActorKind)}, RequestID: job.RequestID, Reason: job.Reason},
		}
		d := &adopting{work: w, issuer: i, mode: ImportMode(job.Mode), targets: map[string][]string{}, silent: map[string]bool{}}
		if d.sealing, err = i.toSeal(ctx, w); err != nil {
			return err
		}
		steps, units := src.steps(job.Done)
		if err := d.run(ctx, steps); err != nil {
			return err
		}
		job.Done += units
		if over = len(steps) == 0 || job.Done >= src.total; !over {
			return t.SetImportProgress(ctx, id, job.Done)
		}
		job.State, job.Done, job.Expires = string(ImportDone), job.Total, t.Now().Add(importHistory)
		return t.UpdateImportJob(ctx, job)
	})
	if err == nil && over {
		i.imports.forget(id)
	}
	return err
}

// run takes the steps, accounts that follow each other at once.
func (d *adopting) run(ctx context.Context, steps []importStep) error {
	var together []*sourceAccount
	var of *sourceOperator
	flush := func() error {
		if len(together) == 0 {
			return nil
		}
		err := d.accounts(ctx, of, together)
		together = nil
		return err
	}
	var users []importStep
	for _, s := range steps {
		var err error
		switch {
		case s.account == nil:
			if err = flush(); err == nil {
				err = d.operator(ctx, s.operator)
			}
		case s.users == nil:
			if of != s.operator {
				err = flush()
			}
			of, together = s.operator, append(together, s.account)
		default:
			users = append(users, s)
		}
		if err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for _, s := range users {
		if err := d.users(ctx, s.operator, s.account, s.users); err != nil {
			return fmt.Errorf("taking users of account %s in: %w", s.account.ID, err)
		}
	}
	return d.finish(ctx)
}

// dropImports deletes what was uploaded and is too old.
func (i *Issuer) dropImports(ctx context.Context) error {
	var some bool
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		some, err = t.HasExpiredImports(ctx)
		return err
	})
	if err != nil || !some {
		return err
	}
	i.imports.mu.Lock()
	i.imports.id, i.imports.source = "", nil
	i.imports.mu.Unlock()
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.DropExpiredImports(ctx) })
}

// openSecret opens what SealSecret sealed.
func (i *Issuer) openSecret(ctx context.Context, w *work, sealed []byte, name string) ([]byte, error) {
	keys, err := i.toOpen(ctx, w, custody.DataKey(sealed))
	if err != nil {
		return nil, err
	}
	return keys.OpenSecret(sealed, name)
}
