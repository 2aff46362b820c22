package issuer

import (
	"context"
	"fmt"

	"chancery/claims"
	"chancery/store"
)

// Unrevoked is what lifting revocations came to.
type Unrevoked struct {
	AccountID string
	// Lifted is how many entries were taken back, Restored how many come back
	// into force that only everybody's had covered.
	Lifted   int64
	Restored int
	// Revived is how many unexpired credentials are accepted again, Users whose: the
	// first hundred, those with the most first. StillRefused is how many of those
	// that the lifted ones refused stay refused by others.
	Revived      int64
	Users        []Revival
	StillRefused int64
	JWTVersion   int64
}

// Revival is what a user gets back when revocations are lifted.
type Revival = store.Revival

// Unrevoke takes the revocations of a subject back: what was issued before and has
// not expired is accepted again. The subject is written as in RevokeInput; of a
// template or key it is what was revoked as such. It needs a reason. What was revoked
// since a user was disabled or deleted stays: EnableUser lifts it.
//
// Entries that were compacted because everybody's covered them come back into force
// when that is lifted, so that it never takes more back than itself.
func (i *Issuer) Unrevoke(ctx context.Context, op Op, account, of string) (Outcome[Unrevoked], error) {
	live := i.liveConnections(ctx, op, WriteRevocations, account)
	return change(ctx, i, op, use{permission: WriteRevocations, action: "unrevoke", kind: "account", target: account + "/" + of}, func(ctx context.Context, w *work) (planned[Unrevoked], error) {
		var none planned[Unrevoked]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if blank(op.Reason) {
			return none, invalidField("/reason", "required", "Taking a revocation back needs a reason: it goes on record.")
		}
		if err := w.expect(a.Version); err != nil {
			return none, err
		}
		s, err := parseSubject(ctx, w.Tx, a, of)
		if err != nil {
			return none, err
		}
		l, err := planLifting(ctx, w, a, s)
		if err != nil {
			return none, err
		}
		plan := l.plan(s)
		if err := orNoRoom(foresee(ctx, w, a, func(parts *claims.Account) { parts.Revocations = l.left }, live, &plan)); err != nil {
			return none, err
		}
		return planned[Unrevoked]{preview: l.out, target: a.ID + "/" + of, plan: plan, apply: func(ctx context.Context) (Unrevoked, error) {
			out := l.out
			if _, err := w.LiftRevocations(ctx, a.ID, s.of(), w.op.Caller.ID); err != nil {
				return out, err
			}
			if err := w.RestoreCompacted(ctx, a.ID, l.restored); err != nil {
				return out, err
			}
			signed, err := i.resign(ctx, w, a.ID)
			out.JWTVersion = signed.JWTVersion
			return out, orNoRoom(err)
		}}, nil
	})
}

// lifting is revocations that are about to be taken back.
type lifting struct {
	out Unrevoked
	// restored are the subjects whose compacted entries come back, left what the JWT
	// carries afterwards.
	restored []string
	left     map[string]int64
}

func planLifting(ctx context.Context, w *work, a Account, s subject) (lifting, error) {
	l := lifting{out: Unrevoked{AccountID: a.ID}}
	var err error
	if l.out.Lifted, err = w.CountRevocationsOf(ctx, a.ID, s.of()); err != nil {
		return l, err
	}
	if l.out.Lifted == 0 {
		return l, nothingToLift(ctx, w, a, s)
	}
	if l.out.Users, l.out.Revived, l.out.StillRefused, err = w.Revivals(ctx, a.ID, s.of(), maxNamed); err != nil {
		return l, err
	}
	if l.left, err = w.RevocationsWithout(ctx, a.ID, s.of()); err != nil || s.key != Everybody {
		return l, err
	}
	// Of whom nothing is known the entry comes back too: somebody else may have
	// issued to it.
	covered, err := w.CompactedRevocations(ctx, a.ID)
	if err != nil {
		return l, err
	}
	spent, err := w.RevokedIssuances(ctx, a.ID, true)
	if err != nil {
		return l, err
	}
	moot := map[string]bool{}
	for _, x := range spent {
		moot[x.Subject] = x.LastExpiry != 0 && w.Now().Add(-claims.CompactionSlack).Unix() > x.LastExpiry
	}
	for subject, before := range covered {
		if !moot[subject] && before > l.left[subject] && subject != Everybody {
			l.restored = append(l.restored, subject)
			l.left[subject] = before
		}
	}
	l.out.Restored = len(l.restored)
	return l, nil
}

// nothingToLift says why: there is nothing, or only what belongs to a user's state.
func nothingToLift(ctx context.Context, w *work, a Account, s subject) error {
	f := store.RevocationFilter{Cause: s.cause, Subject: s.key}
	if s.by == store.ByUser {
		f.UserID = s.value
	}
	left, err := w.ListRevocations(ctx, a.ID, f, "", 1)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return missing("revocation")
	}
	return &Error{
		Kind: KindConflict, Code: "user_disabled", Message: "This was revoked when its user was disabled or deleted.",
		Hint: "Enable the user to let it in again. What a deleted user had stays revoked.",
	}
}

// plan says what comes back to life.
func (l lifting) plan(s subject) Plan {
	plan := Plan{Revived: l.out.Revived}
	path := "/revocations"
	if s.key != "" {
		path = claims.Point(path, s.key)
	}
	text := revives(l.out.Revived)
	plan.Changes = []Change{{Path: path, From: l.out.Lifted, Text: text}}
	plan.Summary = []claims.FieldChange{{Field: "Revocations", Pointer: path, Before: grouped(l.out.Lifted) + " taken back", After: text}}
	for _, u := range l.out.Users {
		plan.Summary = append(plan.Summary, claims.FieldChange{Field: "User " + u.User, Pointer: path, Before: "refused", After: revives(u.Credentials)})
	}
	warn := func(code, detail string) {
		plan.Warnings = append(plan.Warnings, claims.Problem{Pointer: path, Code: code, Detail: detail})
	}
	if l.out.Revived > 0 {
		warn("revived", "Whoever holds these credentials gets in again, also who should not have them. To let a user in, issue new credentials instead.")
	}
	if n := l.out.StillRefused; n > 0 {
		warn("still_refused", fmt.Sprintf("Other revocations go on refusing %s of the credentials, that of everybody (*) among them if there is one.", grouped(n)))
	}
	if n := l.out.Restored; n > 0 {
		warn("restored", fmt.Sprintf("Revocations that everybody's had covered come back into force: %s.", grouped(int64(n))))
	}
	return plan
}

func revives(n int64) string {
	if n == 1 {
		return "1 credential is accepted again"
	}
	return grouped(n) + " credentials are accepted again"
}
