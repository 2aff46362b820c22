package issuer

import (
	"context"
	"time"

	"chancery/claims"
	"chancery/store"
)

// AccountExpiry is when an account ends: on a day that is fixed or, with a lifetime,
// that long after its newest JWT was signed. Not both.
type AccountExpiry struct {
	// Expires is Unix seconds, 0 for never.
	Expires int64
	// Lifetime is claims.MinAccountLifetime to MaxAccountLifetime in whole seconds; 0 is
	// none. Each JWT is signed anew when half of it is over.
	Lifetime time.Duration
}

// onto gives the account the expiry, with a lifetime as its next JWT will have it.
func (e AccountExpiry) onto(w *work, a *Account) {
	a.Expires, a.Lifetime, a.Renewal = e.Expires, e.Lifetime, time.Time{}
	if e.Lifetime > 0 {
		issuedAt := claims.NextIssuedAt(w.Now(), a.IssuedAt)
		a.Expires, a.Renewal = a.ExpiryOf(issuedAt), time.Unix(issuedAt, 0).UTC().Add(e.Lifetime/2)
	}
}

// diffExpiry lists what differs between the ends of two accounts. Without an end a JWT
// has no exp.
func diffExpiry(a, b Account) []Change {
	var out []Change
	add := func(path string, from, to int64) {
		if from == to {
			return
		}
		c := Change{Path: path}
		if from != 0 {
			c.From = from
		}
		if to != 0 {
			c.To = to
		}
		out = append(out, c)
	}
	add("/exp", a.FixedEnd(), b.FixedEnd())
	add("/lifetime_seconds", int64(a.Lifetime/time.Second), int64(b.Lifetime/time.Second))
	return out
}

// oweRenewals makes a new signature owed by the accounts whose lifetime is half over.
// Signing them sets when the next one is due: a crash between the two loses nothing.
func (i *Issuer) oweRenewals(ctx context.Context) error {
	var some bool
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		some, err = t.HasRenewals(ctx)
		return err
	})
	if err != nil || !some {
		return err
	}
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		_, err := t.OweRenewals(ctx)
		return err
	})
}

// HeldRenewals is how many accounts of an operator wait for a renewal that is due, and
// when the first of them ends.
type HeldRenewals struct {
	Accounts int64
	First    time.Time
}

// RenewalsHeld returns what waits while the operator's signing switch is off, or the
// process is sealed: with either, accounts with a lifetime run out.
func (i *Issuer) RenewalsHeld(ctx context.Context, caller Caller, operator string) (HeldRenewals, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "operator", target: operator}, func(ctx context.Context, d *desk) (HeldRenewals, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return HeldRenewals{}, err
		}
		n, first, err := d.CountRenewalsDue(ctx, o.ID)
		return HeldRenewals{n, first}, err
	})
}
