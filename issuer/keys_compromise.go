package issuer

import (
	"context"

	"chancery/claims"
	"chancery/store"
)

// maxRevokedWithKey is how many public keys are revoked with a key that is in wrong
// hands. That servers refuse the key is what refuses its credentials; a revocation
// each, of about 93 bytes, must not make the account's JWT too long to be signed: none
// is made where it has no room.
const maxRevokedWithKey = 2000

// CompromiseKey takes a signing key that is in wrong hands out of use and refuses
// everything that it signed. If it was current, another takes its place, so that its
// users can be given new credentials at once.
//
// An account's or a template's key is retired in the account's next JWT, and what the
// ledger knows of it is revoked besides. An operator's key retires as soon as another
// has signed all accounts anew; running servers trust it until they are restarted with
// the operator's new JWT. It is never held back: no version is expected, no rate
// applies, and the signing switch does not matter.
func (i *Issuer) CompromiseKey(ctx context.Context, op Op, owner KeyOwner, key string) (Outcome[KeyChange], error) {
	op.ExpectedVersion = 0
	u := owner.use("compromise", false)
	u.target += "/" + key
	u.protective = true
	live := i.liveConnections(ctx, op, u.permission, owner.Account)
	next := ""
	if owner.Operator != "" {
		next = i.successor(ctx, op, owner)
	}
	report := i.whoTrusts(ctx, op, owner, next, true)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[KeyChange], error) {
		var none planned[KeyChange]
		p, err := i.lockKeys(ctx, w, owner)
		if err != nil {
			return none, err
		}
		k, err := p.find(key)
		if err != nil {
			return none, err
		}
		x := &keyPlan{place: &p, live: live, untrusted: report, compromise: true, moves: []keyMove{{key: k, to: KeyRetired}}}
		if err := x.replace(ctx, i, w, k); err != nil {
			return none, err
		}
		if p.account == nil {
			err = x.drain(ctx, w)
		} else {
			err = x.revokeSigned(ctx, w)
		}
		if err != nil {
			return none, err
		}
		return i.planKeys(ctx, w, x)
	})
}

// successor returns the operator's prepared key, "" if there is none.
func (i *Issuer) successor(ctx context.Context, op Op, owner KeyOwner) string {
	id := ""
	_ = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error { // the plan says what is wrong
		p, err := findKeys(ctx, &desk{Tx: t, caller: op.Caller, use: owner.use("read", true)}, owner)
		p.external = i.external != nil
		if k := p.prepared(); err == nil && k != nil {
			id = k.ID
		}
		return err
	})
	return id
}

// replace has another key sign in k's place, if k is what signs: one that is prepared,
// or else a new one.
func (x *keyPlan) replace(ctx context.Context, i *Issuer, w *work, k store.Key) error {
	if k.State != KeyCurrent || (x.place.signer(x.place.keys) != k.ID && x.place.signer(x.after()) != "") {
		return nil
	}
	if next := x.place.prepared(); next != nil {
		x.moves = append(x.moves, keyMove{key: *next, to: KeyCurrent})
		return nil
	}
	next := x.place.blank()
	next.Custody = CustodySealed
	next, err := i.newKey(ctx, w, next)
	x.moves = append(x.moves, keyMove{key: next, to: KeyCurrent, made: true})
	return err
}

// drain keeps an operator's key trusted until nothing is signed by it any more, which
// is a matter of seconds: servers that start meanwhile must not refuse those accounts.
func (x *keyPlan) drain(ctx context.Context, w *work) error {
	m := &x.moves[0]
	signed, _, err := w.CountSignedBy(ctx, x.place.operator.ID, m.key.ID)
	if err == nil && signed > 0 && trustedState(m.key.State) {
		m.to, m.retireAt = KeyRetiring, w.Now()
	}
	return err
}

// revokeSigned revokes what the ledger knows of the key. What another key gave the same
// holder afterwards stays good.
func (x *keyPlan) revokeSigned(ctx context.Context, w *work) error {
	k := x.moves[0].key
	subjects, err := w.KeySubjects(ctx, k.AccountID, k.ID, maxRevokedWithKey+1)
	if err != nil {
		return err
	}
	if len(subjects) > maxRevokedWithKey || len(x.place.account.JWT)+len(subjects)*entrySize > claims.MaxAccountJWT*3/4 {
		x.warnings = append(x.warnings, claims.Problem{
			Code:   "too_many_to_revoke",
			Detail: "The key signed for more users than the account's JWT has room to revoke each: they are refused since the key is, which never comes back.",
		})
		return nil
	}
	in, err := w.EffectiveRevocations(ctx, k.AccountID)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		before := s.Highest
		if s.Other <= s.Highest {
			before = claims.RevokedBefore(w.Now(), s.Highest)
		}
		if in[s.PublicKey] >= before || in[Everybody] >= before {
			continue
		}
		id, err := w.NewID("rev_")
		if err != nil {
			return err
		}
		x.revoked = append(x.revoked, Revocation{
			ID: id, AccountID: k.AccountID, Subject: s.PublicKey, Before: before, Cause: "key:" + k.ID, Reason: w.op.Reason,
			Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Created: w.Now(),
		})
	}
	return nil
}
