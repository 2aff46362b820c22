package issuer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// A batch of accounts is signed in one transaction: resignBatch accounts at most, and
// about resignBytes of JWTs, so that the memory it takes is bounded.
const (
	resignBatch = 200
	resignBytes = 16 << 20
)

// maxErrors is how many errors of one kind are told of.
const maxErrors = 10

// resignOwed signs anew what owes it, what is due to be renewed included. An account
// that cannot be signed keeps its debt and does not hold up the others.
func (i *Issuer) resignOwed(ctx context.Context) error {
	if err := i.oweRenewals(ctx); err != nil {
		return err
	}
	var operators []string
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		operators, err = t.OwingOperators(ctx)
		return err
	})
	errs := []error{err}
	for _, id := range operators {
		errs = append(errs, i.resignOperatorAccounts(ctx, id))
	}
	return errors.Join(errs...)
}

// resignOperatorAccounts signs batch after batch. A batch that the database refuses is
// taken account by account.
func (i *Issuer) resignOperatorAccounts(ctx context.Context, operatorID string) error {
	var errs []error
	after, whole, limit := "", "", resignBatch
	for {
		last, failed, err := i.resignSome(ctx, operatorID, after, limit)
		if err != nil && limit > 1 && last != "" && ctx.Err() == nil {
			whole, limit = last, 1
			continue
		}
		errs = append(append(errs, failed...), err)
		if last == "" || ctx.Err() != nil {
			break
		}
		i.tell()
		if after = last; after >= whole {
			limit = resignBatch
		}
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if more := len(errs) - maxErrors; more > 0 {
		errs = append(errs[:maxErrors], fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

// resignSome signs up to limit accounts of the operator after one, in one transaction.
// It returns up to which account it looked, and why single ones could not be signed.
func (i *Issuer) resignSome(ctx context.Context, operatorID, after string, limit int) (last string, failed []error, err error) {
	err = i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		batch, err := t.ResigningOwed(ctx, operatorID, after, limit, resignBytes)
		if last = batch.Last; err != nil || last == "" {
			return err
		}
		keys, err := t.ListKeys(ctx, operatorID, "")
		if err != nil {
			return err
		}
		key, err := accountSigner(ctx, t, operatorID, keys)
		if err != nil {
			return err
		}
		// Which operators' accounts are signed while their signing switch is off says
		// OwingOperators.
		w := &work{desk: desk{Tx: t, use: use{permission: WriteAccounts, action: "resign", kind: "account", protective: true}, at: Scope{Operator: operatorID}}, op: Op{Caller: System("upkeep")}}
		signer, err := i.signerFor(ctx, w, key)
		if err != nil {
			return err
		}
		var signed []store.JWT
		signed, failed = signBatch(batch, func(a Account) (store.JWT, error) { return signOwed(ctx, w, signer, key, batch, a) })
		if err := t.PutAccountJWTs(ctx, signed); err != nil {
			return err
		}
		targets := make([]string, len(signed))
		for n, j := range signed {
			targets[n] = j.Subject
		}
		return w.auditAll(ctx, targets)
	})
	return last, failed, err
}

// signBatch signs the accounts of a batch on all processors. Its order is that of the
// batch, without those that failed.
func signBatch(batch store.Resigning, sign func(Account) (store.JWT, error)) (signed []store.JWT, failed []error) {
	all, errs := make([]store.JWT, len(batch.Accounts)), make([]error, len(batch.Accounts))
	var wait sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for first := range workers {
		wait.Go(func() {
			for n := first; n < len(all); n += workers {
				all[n], errs[n] = sign(batch.Accounts[n])
			}
		})
	}
	wait.Wait()
	for n, j := range all {
		if errs[n] != nil {
			failed = append(failed, fmt.Errorf("signing account %s anew: %w", batch.Accounts[n].ID, errs[n]))
			continue
		}
		signed = append(signed, j)
	}
	return signed, failed
}

func signOwed(ctx context.Context, w *work, signer custody.Signer, key store.Key, batch store.Resigning, a Account) (store.JWT, error) {
	issuedAt := claims.NextIssuedAt(w.Now(), a.IssuedAt)
	a.Expires = a.ExpiryOf(issuedAt)
	checked, problems := claims.BuildAccount(w.protect(assemble(a, batch.Keys[a.ID], batch.Templates, sharing{batch.Exports[a.ID], batch.Imports[a.ID]}, batch.Revocations[a.ID])))
	if problems.Blocking() {
		return store.JWT{}, invalid(problems)
	}
	signed, err := signWith(ctx, signer, key, checked, issuedAt)
	return store.JWT{
		Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion + 1, IssuedAt: signed.IssuedAt, JTI: signed.ID,
		Signer: signed.Issuer, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Token: signed.Token,
	}, err
}
