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
	if m.settingsAlone() {
		err := m.remember(ctx)
		if err != nil {
			return out, err
		}
		out.Account, err = m.issuer.resignHeld(ctx, m.work, m.after, m.rows, m.signature())
		return out, orNoRoom(err)
	}
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
	out.Account, err = m.issuer.resignSince(ctx, m.work, m.account.ID, m.signature())
	return out, orNoRoom(err)
}

// settingsAlone tells whether the JWT changes nothing but the account's own row.
func (m *merging) settingsAlone() bool {
	return !m.replay && !m.fresh && len(m.revoked) == 0 && m.sameRows()
}

// sameRows tells whether keys, exports and imports stay as they are.
func (m *merging) sameRows() bool {
	was, is := m.was, m.parts
	return sameAll(was.Keys, is.Keys) && sameAll(was.Settings.Exports, is.Settings.Exports) && sameAll(was.Settings.Imports, is.Settings.Imports)
}

// signature says what is new in the account's signature.
func (m *merging) signature() newSignature {
	s := newSignature{notBefore: m.posted.IssuedAt, exporter: m.exporter()}
	if m.source == MergeFound {
		s.notBefore++ // servers with full resolvers keep what they have of the same second
	}
	return s
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
	if m.sameRows() {
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

// newSignature is what a new signature of an account has beside its claims.
type newSignature struct {
	// notBefore is the second, in Unix seconds, at which a JWT from elsewhere was issued
	// that the new one takes the place of; 0 for none. The new one is not older.
	notBefore int64
	// exporter is an account that is to be pushed first, see resignAfter.
	exporter string
}

// resignSince is resign with more to say of the signature.
func (i *Issuer) resignSince(ctx context.Context, w *work, accountID string, s newSignature) (Account, error) {
	a, rows, err := w.LockAccount(ctx, accountID)
	if err != nil {
		return a, orMissing(err, "account")
	}
	j, err := i.signRows(ctx, w, a, rows, s)
	if err != nil {
		return a, err
	}
	return w.PutAccountJWT(ctx, j)
}

// resignHeld stores settings and end of an account that HoldAccount has locked, with a new
// signature; of the rows that its JWT is made of none has changed since.
func (i *Issuer) resignHeld(ctx context.Context, w *work, a Account, rows store.AccountRows, s newSignature) (Account, error) {
	var err error
	if a.Settings, err = copyOf(a.Settings); err != nil { // what is signed is what will be read
		return a, err
	}
	a.Settings.Exports, a.Settings.Imports = nil, nil // they have rows of their own
	signing := a
	signing.JWTVersion++
	j, err := i.signRows(ctx, w, signing, rows, s)
	if err != nil {
		return a, err
	}
	return w.PutHeldAccount(ctx, a, j)
}

// signRows signs what the account, whose signing was counted, and its rows come to.
func (i *Issuer) signRows(ctx context.Context, w *work, a Account, rows store.AccountRows, s newSignature) (store.JWT, error) {
	a.IssuedAt = max(a.IssuedAt, s.notBefore-1)
	checked, key, err := compile(ctx, w, a, rows, nil)
	if err != nil {
		return store.JWT{}, err
	}
	signer, err := i.signerFor(ctx, w, key)
	if err != nil {
		return store.JWT{}, err
	}
	signed, err := signWith(ctx, signer, key, checked, claims.NextIssuedAt(w.Now(), a.IssuedAt))
	return store.JWT{
		Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: signed.IssuedAt, JTI: signed.ID,
		Signer: signed.Issuer, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Token: signed.Token, After: s.exporter,
	}, err
}
