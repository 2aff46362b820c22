package issuer

import (
	"context"
	"errors"
	"time"

	"chancery/claims"
	"chancery/store"
)

// RenewInput asks for a new JWT of a key that the user has.
type RenewInput struct {
	// PublicKey is one of the user's keys; empty means that of the newest credential.
	PublicKey string
	// TTL is the lifetime; 0 means that of the key's newest credential.
	TTL time.Duration
	// NoExpiry asks for a credential that never expires; it needs a reason.
	NoExpiry    bool
	DeliveredTo string
}

// Renew issues a new JWT for the same key, signed by the current key of the user's
// template. The holder puts it beside the seed it has. What was issued before goes on
// until it expires. A key that was revoked, or is being rolled, is not renewed.
func (i *Issuer) Renew(ctx context.Context, op Op, account, user string, in RenewInput) (Outcome[Issued], error) {
	u := use{permission: IssueCredentials, action: "renew", kind: "credential", target: account + "/" + user}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Issued], error) {
		var none planned[Issued]
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		if in.PublicKey != "" {
			if problems := claims.CheckPublicKey("/public_key", claims.KindUser, in.PublicKey); problems.Blocking() {
				return none, invalid(problems)
			}
		}
		last, err := renewable(ctx, w, a, x, in.PublicKey)
		if err != nil {
			return none, err
		}
		renewed := IssueInput{PublicKey: last.PublicKey, TTL: in.TTL, NoExpiry: in.NoExpiry, DeliveredTo: in.DeliveredTo, occasion: "renew"}
		if in.TTL == 0 && !in.NoExpiry {
			if renewed.TTL, err = sameLifetime(ctx, w, a, x, last); err != nil {
				return none, err
			}
		}
		preview, err := i.planIssue(ctx, w, a, x, renewed)
		if err != nil {
			return none, err
		}
		return planned[Issued]{preview: preview, target: x.ID, apply: func(ctx context.Context) (Issued, error) {
			return i.issue(ctx, w, a, x, renewed)
		}}, nil
	})
}

// renewable returns the newest credential of the user's key, or of its newest key.
func renewable(ctx context.Context, w *work, a Account, u User, key string) (Credential, error) {
	last, err := w.NewestCredential(ctx, u.ID, key)
	if errors.Is(err, store.ErrNotFound) {
		return last, &Error{Kind: KindConflict, Code: "nothing_issued", Message: "Nothing was issued to this user with this key yet.", Hint: "Issue credentials instead."}
	}
	if err != nil {
		return last, err
	}
	revoked, err := w.EffectiveRevocations(ctx, a.ID)
	if err != nil {
		return last, err
	}
	if max(revoked[last.PublicKey], revoked[Everybody]) >= last.IssuedAt {
		return last, &Error{
			Kind: KindConflict, Code: "key_revoked", Message: "The key's credentials are revoked: renewing them would let its holder in again.",
			Hint: "Issue credentials for a new key.",
		}
	}
	return last, notRolled(ctx, w, a, last.PublicKey)
}

// notRolled refuses a key that is about to be revoked since a new one took its place.
func notRolled(ctx context.Context, w *work, a Account, key string) error {
	due, err := w.ScheduledFor(ctx, a.ID, key)
	if err != nil || len(due) == 0 {
		return err
	}
	return &Error{
		Kind: KindConflict, Code: "key_rolled", Message: "A new key has taken the place of this one, which is revoked when its grace is over.",
		Hint: "Go on with the new key.",
	}
}

// sameLifetime is that of the credential, as far as it is still allowed; 0 for the
// default if it never expires.
func sameLifetime(ctx context.Context, w *work, a Account, u User, last Credential) (time.Duration, error) {
	if last.Expires == 0 {
		return 0, nil
	}
	t, err := termsOf(ctx, w.Tx, a)
	if err != nil {
		return 0, err
	}
	template, err := templateOf(ctx, w.Tx, u)
	return within(time.Duration(last.Expires-last.IssuedAt)*time.Second, t.bound(template)), err
}

// RollInput asks for a new key in place of an old one.
type RollInput struct {
	// IssueInput is the new key's credential.
	IssueInput
	// OldKey is one of the user's keys; empty means that of the newest credential.
	OldKey string
	// Grace is how long the old key goes on; 0 revokes it at once.
	Grace time.Duration
}

// MaxGrace is the longest time that two keys of a user go side by side.
const MaxGrace = 30 * 24 * time.Hour

// Rolled is what rolling a key came to.
type Rolled struct {
	Issued
	// OldKey is refused from RollsOff on; JWTVersion is the account's JWT that says so,
	// 0 while it is to come.
	OldKey     string
	RollsOff   time.Time
	JWTVersion int64
}

// Roll issues a credential for a new key and revokes the old one when the grace is
// over: what was issued to it up to now, to the latest JWT.
func (i *Issuer) Roll(ctx context.Context, op Op, account, user string, in RollInput) (Outcome[Rolled], error) {
	if err := i.withProof(ctx, op.Caller, &in.IssueInput); err != nil {
		return Outcome[Rolled]{}, err
	}
	live := i.liveConnections(ctx, op, IssueCredentials, account)
	u := use{permission: IssueCredentials, action: "roll", kind: "credential", target: account + "/" + user}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Rolled], error) {
		var none planned[Rolled]
		if err := w.alsoNeeds(WriteRevocations); err != nil {
			return none, err
		}
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		if problems := in.checkRoll(); problems.Blocking() {
			return none, invalid(problems)
		}
		in.occasion = "roll"
		old, err := renewable(ctx, w, a, x, in.OldKey)
		if err != nil {
			return none, err
		}
		in.replaces = old.PublicKey
		if old.PublicKey == in.PublicKey {
			return none, invalidField("/public_key", "unchanged", "This is the key to be replaced. To go on with it, renew it.")
		}
		s := subject{key: old.PublicKey}
		end, err := revokeIssued(ctx, w, a, s)
		if err != nil {
			return none, err
		}
		if err := guardRevocation(ctx, w, a, s, end); err != nil {
			return none, err
		}
		preview, err := i.planIssue(ctx, w, a, x, in.IssueInput)
		if err != nil {
			return none, err
		}
		out := Rolled{Issued: preview, OldKey: old.PublicKey, RollsOff: w.Now().Add(in.Grace)}
		var plan Plan
		if in.Grace == 0 {
			plan, err = end.plan(ctx, w, a, live)
		} else {
			plan = end.planRollOff(out.RollsOff)
		}
		if err != nil {
			return none, err
		}
		return planned[Rolled]{preview: out, target: x.ID, plan: plan, apply: func(ctx context.Context) (Rolled, error) {
			if out.Issued, err = i.issue(ctx, w, a, x, in.IssueInput); err != nil {
				return out, err
			}
			if in.Grace > 0 {
				return out, w.schedule(ctx, end.rows[0], out.RollsOff)
			}
			out.JWTVersion, err = i.refuse(ctx, w, a, end)
			return out, err
		}}, nil
	})
}

func (in RollInput) checkRoll() claims.Problems {
	var problems claims.Problems
	if in.OldKey != "" {
		problems = claims.CheckPublicKey("/old_key", claims.KindUser, in.OldKey)
	}
	if in.Grace < 0 || in.Grace > MaxGrace || in.Grace%time.Second != 0 {
		problems = append(problems, claims.Problem{Pointer: "/grace_seconds", Code: "out_of_range", Blocking: true, Detail: "The grace is 0 (at once) to 2,592,000 whole seconds, 30 days."})
	}
	return problems
}

// planRollOff is the plan of a revocation of one key that is to come.
func (r *revoking) planRollOff(at time.Time) Plan {
	end := r.rows[0]
	return Plan{Credentials: r.credentials, Changes: []Change{{
		Path: claims.Point("/revocations", end.Subject), To: end.Before,
		Text: "The key " + claims.ShortKey(end.Subject) + " is revoked at " + at.UTC().Format(time.RFC3339) + "; until then both keys work",
	}}}
}

func (w *work) schedule(ctx context.Context, end Revocation, at time.Time) error {
	id, err := w.NewID("srv_")
	if err != nil {
		return err
	}
	return w.ScheduleRevocation(ctx, store.ScheduledRevocation{
		ID: id, AccountID: end.AccountID, Subject: end.Subject, Before: end.Before, Due: at, Reason: end.Reason, Actor: end.Actor, RequestID: end.RequestID,
	})
}

// Reissued is what revoking and issuing again came to.
type Reissued struct {
	Issued
	// Revocations are those that were made, a hundred at most.
	Revocations []Revocation
	// JWTVersion is the account's JWT that carries the revocations.
	JWTVersion int64
}

// Reissue revokes everything that was issued to the user and issues one credential
// that the revocation does not refuse, in one transaction.
func (i *Issuer) Reissue(ctx context.Context, op Op, account, user string, in IssueInput) (Outcome[Reissued], error) {
	if err := i.withProof(ctx, op.Caller, &in); err != nil {
		return Outcome[Reissued]{}, err
	}
	live := i.liveConnections(ctx, op, IssueCredentials, account)
	in.replaces = Everybody
	u := use{permission: IssueCredentials, action: "reissue", kind: "credential", target: account + "/" + user}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Reissued], error) {
		var none planned[Reissued]
		if err := w.alsoNeeds(WriteRevocations); err != nil {
			return none, err
		}
		a, x, err := lockUser(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		r, err := revokeIssued(ctx, w, a, allOf(x, ""))
		if err != nil {
			return none, err
		}
		if !r.refuses(in.PublicKey, 0) { // else it comes back at once
			if err := guardRevocation(ctx, w, a, allOf(x, ""), r); err != nil {
				return none, err
			}
		}
		preview, err := i.planIssue(ctx, w, a, x, in)
		if err != nil {
			return none, err
		}
		plan, err := r.plan(ctx, w, a, live)
		if err != nil {
			return none, err
		}
		out := Reissued{Issued: preview, Revocations: r.rows[:min(len(r.rows), maxNamed)]}
		return planned[Reissued]{preview: out, target: x.ID, plan: plan, apply: func(ctx context.Context) (Reissued, error) {
			if err := w.DropLinksOf(ctx, linkCredential, x.ID); err != nil {
				return out, err
			}
			if out.JWTVersion, err = i.refuse(ctx, w, a, r); err != nil {
				return out, err
			}
			// It is issued after the revocations, and so knows of them.
			out.Issued, err = i.issue(ctx, w, a, x, in)
			return out, err
		}}, nil
	})
}

// dueBatch is how many scheduled revocations one transaction makes.
const dueBatch = 500

// revokeDue makes the revocations that were scheduled and are due. An account whose
// JWT cannot be signed keeps its own and does not hold up the others.
func (i *Issuer) revokeDue(ctx context.Context) error {
	var errs []error
	for last := ""; ; {
		var ids []string
		err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			ids, err = t.AccountsToRevoke(ctx, last, resignBatch)
			return err
		})
		if err != nil || len(ids) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, id := range ids {
			errs = append(errs, i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error { return i.revokeDueOf(ctx, t, id) }))
		}
		i.tell()
		last = ids[len(ids)-1]
	}
}

func (i *Issuer) revokeDueOf(ctx context.Context, t *store.Tx, accountID string) error {
	w := &work{desk: desk{Tx: t, use: use{permission: WriteRevocations, action: "revoke", kind: "account", protective: true}}, op: Op{Caller: System("upkeep")}}
	a, err := w.LockAccountForIssue(ctx, accountID)
	if err != nil {
		return err
	}
	w.at = scopeOf(a)
	due, err := w.TakeDueRevocations(ctx, a.ID, dueBatch)
	if err != nil || len(due) == 0 {
		return err // another replica was first
	}
	r := revoking{accountID: a.ID}
	for _, s := range due {
		id, err := w.NewID("rev_")
		if err != nil {
			return err
		}
		r.rows = append(r.rows, Revocation{
			ID: id, AccountID: a.ID, Subject: s.Subject, Before: s.Before, Reason: s.Reason, Actor: w.op.Caller.ID, RequestID: s.RequestID,
		})
		w.use.target = a.ID + "/" + s.Subject
		plan := Plan{Changes: []Change{{Path: claims.Point("/revocations", s.Subject), To: s.Before}}}
		if err := w.audit(ctx, w.use, plan); err != nil {
			return err
		}
	}
	if r.moot, err = makeRoom(ctx, w, a, r.rows); err != nil {
		return err
	}
	_, err = i.refuse(ctx, w, a, r)
	return err
}
