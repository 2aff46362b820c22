package issuer

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// Everybody is the subject of a revocation of all users of an account.
const Everybody = "*"

// RevokeInput asks for a revocation.
type RevokeInput struct {
	// Subject is a public key U…, or Everybody; or it stands for all keys with
	// unexpired credentials: the name or identity of a user, template: and the name
	// or identity of the template they were issued with, or key: and the public key
	// A… that signed them. A user whose name starts like these has its identity.
	Subject string
	// Before refuses what was issued up to then; zero means now.
	Before time.Time
}

// Revoked is what a revocation came to.
type Revoked struct {
	AccountID string
	// Count is how many subjects are revoked, Revocations the first of these: one
	// entry for each public key, or one for Everybody.
	Count       int
	Revocations []Revocation
	// Compacted is how many moot entries made room.
	Compacted int
	// JWTVersion is the account's JWT that carries them.
	JWTVersion int64
	// ReissueNotBefore is the first Unix second in which a JWT can be issued
	// that the revocation does not refuse.
	ReissueNotBefore int64
}

// maxNamed is how many subjects of one revocation are named in plans, answers and
// the audit log; all of them are on record as revocations of the request.
const maxNamed = 100

// Revoke refuses what was issued to a subject. It is never held back: no version
// is expected, no rate applies, and where the account's JWT has no room left, moot
// entries make it. Connected clients are closed by the servers as soon as they have
// the account's new JWT.
func (i *Issuer) Revoke(ctx context.Context, op Op, account string, in RevokeInput) (Outcome[Revoked], error) {
	op.ExpectedVersion = 0
	live := i.liveConnections(ctx, op, WriteRevocations, account)
	return change(ctx, i, op, use{permission: WriteRevocations, action: "revoke", kind: "account", target: account + "/" + in.Subject, protective: true}, func(ctx context.Context, w *work) (planned[Revoked], error) {
		var none planned[Revoked]
		// The lock comes first: whoever is issuing in this account has finished.
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := checkBefore(w, in.Before); err != nil {
			return none, err
		}
		s, err := parseSubject(ctx, w.Tx, a, in.Subject)
		if err != nil {
			return none, err
		}
		s.before = in.Before
		r, err := revokeIssued(ctx, w, a, s)
		if err != nil {
			return none, err
		}
		if len(r.rows) == 0 {
			return none, nothingToRevoke(s)
		}
		if err := guardRevocation(ctx, w, a, s, r); err != nil {
			return none, err
		}
		plan, err := r.plan(ctx, w, a, live)
		if err != nil {
			return none, err
		}
		out := Revoked{AccountID: a.ID, Count: len(r.rows), Revocations: r.rows[:min(len(r.rows), maxNamed)], Compacted: len(r.moot), ReissueNotBefore: r.reissue}
		return planned[Revoked]{preview: out, target: a.ID + "/" + in.Subject, plan: plan, apply: func(ctx context.Context) (Revoked, error) {
			if err := r.apply(ctx, w); err != nil {
				return out, err
			}
			if s.by == store.ByUser { // a link would let the user in again
				if err := w.DropLinksOf(ctx, linkCredential, s.value); err != nil {
					return out, err
				}
			}
			signed, err := i.resign(ctx, w, a.ID)
			out.JWTVersion = signed.JWTVersion
			return out, orNoRoom(err)
		}}, nil
	})
}

// checkBefore refuses a time to come: it would hold up the next issuance as long.
func checkBefore(w *work, before time.Time) error {
	if !before.IsZero() && (before.After(w.Now()) || before.Unix() <= 0) {
		return invalidField("/before", "out_of_range", "A revocation cannot reach into the future.")
	}
	return nil
}

func nothingToRevoke(s subject) error {
	e := &Error{Kind: KindConflict, Code: "nothing_to_revoke", Message: "The user has no unexpired credentials."}
	switch s.by {
	case store.ByTemplate:
		e.Message = "No unexpired credentials were issued with this template."
	case store.BySigner:
		e.Message = "No unexpired credentials were signed by this key."
	}
	return e
}

// plan says what the revocation does, and rehearses it for a dry run.
func (r *revoking) plan(ctx context.Context, w *work, a Account, live []claims.Connection) (Plan, error) {
	plan := Plan{Credentials: r.credentials}
	if len(r.rows) <= maxNamed {
		after := settingsOf(jwt.Account{Revocations: jwt.RevocationList{}})
		for _, v := range r.rows {
			plan.Changes = append(plan.Changes, Change{Path: claims.Point("/revocations", v.Subject), To: v.Before})
			after.Revocations[v.Subject] = v.Before
		}
		plan.Summary = claims.DiffAccounts(settingsOf(jwt.Account{}), after)
		plan.Changes = narrate(plan.Changes, plan.Summary)
	} else {
		text := grouped(int64(len(r.rows))) + " keys are refused if issued up to now"
		plan.Changes = []Change{{Path: "/revocations", To: len(r.rows), Text: text}}
		plan.Summary = []claims.FieldChange{{Field: "Revocations", Pointer: "/revocations", After: text}}
	}
	if n := len(r.moot); n > 0 {
		plan.Changes = append(plan.Changes, compactedChange(n))
	}
	plan.Warnings = sizeWarning(len(a.JWT) + (len(r.rows)-len(r.moot))*entrySize)
	return plan, orNoRoom(foresee(ctx, w, a, func(parts *claims.Account) {
		for _, v := range r.rows {
			parts.Revocations[v.Subject] = max(parts.Revocations[v.Subject], v.Before)
		}
		for _, subject := range r.moot {
			delete(parts.Revocations, subject)
		}
	}, live, &plan))
}

// RevocationQuery asks for a list of revocations. Empty fields do not narrow it.
type RevocationQuery struct {
	LedgerPage
	// User keeps those of a user's keys, by name or identity, Cause those of a
	// template or key, written as the subject of RevokeInput.
	User, Cause string
	// Removed lists those that were compacted or lifted instead of those in force.
	Removed bool
}

// RevocationEntry is a revocation and whom it concerns.
type RevocationEntry struct {
	Revocation
	// User is the name of whom the key was issued to; empty for nobody known.
	User string
	// Issuances is how many credentials it refuses, Unexpired how many of them have
	// not expired.
	Issuances, Unexpired int64
	// CompactFrom is when it can be compacted; zero for never, as of Everybody, of a
	// key that nothing is known of, and of credentials that never expire.
	CompactFrom time.Time
}

// ListRevocations returns a page of the revocations of an account, newest first:
// those in force, or those that left.
func (i *Issuer) ListRevocations(ctx context.Context, caller Caller, account string, q RevocationQuery) ([]RevocationEntry, error) {
	return read(ctx, i, caller, use{permission: ReadRevocations, action: "list", kind: "revocation", target: account}, func(ctx context.Context, d *desk) ([]RevocationEntry, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		f := store.RevocationFilter{Removed: q.Removed}
		if q.User != "" {
			u, err := d.GetUser(ctx, a.ID, q.User)
			if err != nil {
				return nil, orMissing(err, "user")
			}
			f.UserID = u.ID
		}
		if q.Cause != "" {
			s, err := parseSubject(ctx, d.Tx, a, q.Cause)
			if err != nil {
				return nil, err
			}
			if f.Cause = s.cause; f.Cause == "" {
				return nil, invalidField("", "unknown_value", "A cause is template: and a template, or key: and a public key.")
			}
		}
		list, err := d.ListRevocations(ctx, a.ID, f, q.Before, q.Limit)
		if err != nil {
			return nil, err
		}
		return entries(ctx, d.Tx, a.ID, list)
	})
}

// entries adds whom the revocations concern, and when they are moot.
func entries(ctx context.Context, t *store.Tx, accountID string, list []Revocation) ([]RevocationEntry, error) {
	reach, err := t.ReachOf(ctx, list)
	if err != nil {
		return nil, err
	}
	everybody, err := t.GetRevocation(ctx, accountID, Everybody)
	if err = ignoreMissing(err); err != nil {
		return nil, err
	}
	out := make([]RevocationEntry, len(list))
	for n, v := range list {
		x := reach[v.ID]
		out[n] = RevocationEntry{Revocation: v, User: x.User, Issuances: x.Issued, Unexpired: x.Unexpired}
		switch {
		case v.Subject == Everybody || !v.Removed.IsZero():
		case v.Before <= everybody.Before:
			out[n].CompactFrom = t.Now()
		case x.Issued > 0 && x.LastExpiry > 0:
			out[n].CompactFrom = time.Unix(x.LastExpiry+1, 0).Add(claims.CompactionSlack).UTC()
		}
	}
	return out, nil
}

// GetRevocation returns the revocation of a subject, a public key or Everybody,
// that is in force.
func (i *Issuer) GetRevocation(ctx context.Context, caller Caller, account, subject string) (RevocationEntry, error) {
	return read(ctx, i, caller, use{permission: ReadRevocations, action: "read", kind: "revocation", target: account + "/" + subject}, func(ctx context.Context, d *desk) (RevocationEntry, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return RevocationEntry{}, err
		}
		v, err := d.GetRevocation(ctx, a.ID, subject)
		if err != nil {
			return RevocationEntry{}, orMissing(err, "revocation")
		}
		list, err := entries(ctx, d.Tx, a.ID, []Revocation{v})
		if err != nil {
			return RevocationEntry{}, err
		}
		return list[0], nil
	})
}
