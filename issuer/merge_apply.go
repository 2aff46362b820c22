package issuer

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// mergeCause is the cause of revocations that came with a JWT from elsewhere. Like
// those of an import they are never compacted: somebody else issues in the account.
const mergeCause = importCause

// apply makes the rows what was planned and signs the account anew.
func (m *merging) apply(ctx context.Context) (Merged, error) {
	out := m.out
	if !m.replay {
		if err := m.store(ctx); err != nil {
			return out, err
		}
	}
	var rows []Revocation
	for _, subject := range slices.Sorted(maps.Keys(m.revoked)) {
		v := Revocation{
			AccountID: m.account.ID, Subject: subject, Before: m.revoked[subject], Cause: mergeCause,
			Reason: "revoked in a JWT from elsewhere", Actor: m.op.Caller.ID, RequestID: m.op.RequestID,
		}
		var err error
		if v.ID, err = m.NewID("rev_"); err != nil {
			return out, err
		}
		rows = append(rows, v)
	}
	if err := m.CreateRevocations(ctx, rows); err != nil {
		return out, err
	}
	err := m.remember(ctx)
	if err != nil {
		return out, err
	}
	since := m.posted.IssuedAt
	if m.source == MergeFound {
		since++ // servers with full resolvers keep what they have of the same second
	}
	out.Account, err = m.issuer.resignSince(ctx, m.work, m.account.ID, since, m.exporter())
	return out, orNoRoom(err)
}

// remember keeps the hash of what a holder signed.
func (m *merging) remember(ctx context.Context) error {
	if m.by == SignedByOperator || m.source != MergePosted {
		return nil
	}
	at := m.posted.IssuedAt
	return m.KeepPosting(ctx, store.Posting{AccountID: m.account.ID, SHA256: hashOfJWT(m.token.Text), IssuedAt: at, Signer: m.posted.Issuer}, at-postingSlack)
}

// store writes settings, keys, roles, exports and imports.
func (m *merging) store(ctx context.Context) error {
	if m.fresh {
		if err := m.create(ctx); err != nil {
			return err
		}
	} else if err := m.UpdateAccount(ctx, m.after); err != nil {
		return err
	}
	was, is := m.was, m.parts
	if sameAll(was.Keys, is.Keys) && sameAll(was.Settings.Exports, is.Settings.Exports) && sameAll(was.Settings.Imports, is.Settings.Imports) {
		return nil
	}
	d := &adopting{work: m.work, issuer: m.issuer, mode: ImportObserve, dropping: true}
	o := &sourceOperator{ImportedOperator: ImportedOperator{ID: m.operator.ID}}
	a := &sourceAccount{ImportedAccount: ImportedAccount{ID: m.account.ID}}
	if err := d.accountKeys(ctx, o, a, m.parts); err != nil {
		return err
	}
	return d.sharing(ctx, m.account.ID, m.parts.Settings)
}

// sameAll tells whether two lists hold the same in the same order.
func sameAll[T any](a, b []T) bool {
	return slices.EqualFunc(a, b, func(x, y T) bool { return reflect.DeepEqual(x, y) })
}

// create makes the rows of a new account.
func (m *merging) create(ctx context.Context) error {
	if err := m.CreateAccount(ctx, m.after); err != nil {
		return orTaken(err, "account")
	}
	k := accountIdentity(m.operator.ID)
	k.ID, k.AccountID = m.account.ID, m.account.ID
	if err := m.CreateKey(ctx, k); err != nil {
		return err
	}
	if err := m.DropEnrolment(ctx, m.account.ID); err != nil || m.after.Foreign == nil {
		return err
	}
	return m.AdoptAccount(ctx, m.after)
}

// exporter returns an account here from which the account imports anew: it is to be
// pushed first.
func (m *merging) exporter() string {
	for _, x := range m.parts.Settings.Imports {
		if m.before == nil || !slices.ContainsFunc(m.before.Imports, func(b *jwt.Import) bool { return *b == *x }) {
			return x.Account
		}
	}
	return ""
}

// resignSince is resignAfter for a JWT that takes the place of one from elsewhere, which
// was issued at that second: it is not older.
func (i *Issuer) resignSince(ctx context.Context, w *work, accountID string, issuedAt int64, exporter string) (Account, error) {
	a, rows, err := w.LockAccount(ctx, accountID)
	if err != nil {
		return a, orMissing(err, "account")
	}
	a.IssuedAt = max(a.IssuedAt, issuedAt-1)
	checked, key, err := compile(ctx, w, a, rows, nil)
	if err != nil {
		return a, err
	}
	signer, err := i.signerFor(ctx, w, key)
	if err != nil {
		return a, err
	}
	signed, err := signWith(ctx, signer, key, checked, claims.NextIssuedAt(w.Now(), a.IssuedAt))
	if err != nil {
		return a, err
	}
	return w.PutAccountJWT(ctx, store.JWT{
		Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: signed.IssuedAt, JTI: signed.ID,
		Signer: signed.Issuer, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Token: signed.Token, After: exporter,
	})
}
