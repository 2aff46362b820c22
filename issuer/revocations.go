package issuer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// Everybody is the subject of a revocation of all users of an account.
const Everybody = "*"

// RevokeInput asks for a revocation.
type RevokeInput struct {
	// Subject is a public key U…, Everybody, or the name or identity of a user,
	// which stands for all keys with unexpired credentials of that user.
	Subject string
	// Before refuses what was issued up to then; zero means now.
	Before time.Time
}

// Revoked is what a revocation came to.
type Revoked struct {
	AccountID string
	// Revocations holds one entry for each public key, or one for Everybody.
	Revocations []Revocation
	// JWTVersion is the account's JWT that carries them.
	JWTVersion int64
	// ReissueNotBefore is the first Unix second in which a JWT can be issued
	// that the revocation does not refuse.
	ReissueNotBefore int64
}

// Revoke refuses what was issued to a subject. It is never held back: no version
// is expected and no rate applies. Connected clients are closed by the servers as
// soon as they have the account's new JWT.
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
		subjects, err := revocationSubjects(ctx, w, a, in.Subject)
		if err != nil {
			return none, err
		}
		out := Revoked{AccountID: a.ID}
		plan, after := Plan{}, settingsOf(jwt.Account{Revocations: jwt.RevocationList{}})
		for _, s := range subjects {
			v, err := i.planRevocation(ctx, w, a, s, in.Before)
			if err != nil {
				return none, err
			}
			n, err := w.CountIssued(ctx, a.ID, s, v.Before)
			if err != nil {
				return none, err
			}
			plan.Credentials += n
			plan.Changes = append(plan.Changes, Change{Path: claims.Point("/revocations", s), To: v.Before})
			after.Revocations[s] = v.Before
			out.Revocations = append(out.Revocations, v)
			out.ReissueNotBefore = max(out.ReissueNotBefore, v.Before+1)
		}
		plan.Summary = claims.DiffAccounts(settingsOf(jwt.Account{}), after)
		plan.Changes = narrate(plan.Changes, plan.Summary)
		if err := foresee(ctx, w, a, func(parts *claims.Account) {
			for _, v := range out.Revocations {
				parts.Revocations[v.Subject] = max(parts.Revocations[v.Subject], v.Before)
			}
		}, live, &plan); err != nil {
			return none, err
		}
		return planned[Revoked]{preview: out, target: a.ID + "/" + in.Subject, plan: plan, apply: func(ctx context.Context) (Revoked, error) {
			for _, v := range out.Revocations {
				if err := w.CreateRevocation(ctx, v); err != nil {
					return out, err
				}
			}
			signed, err := i.resign(ctx, w, a.ID)
			out.JWTVersion = signed.JWTVersion
			return out, err
		}}, nil
	})
}

// planRevocation works out the time: never before now's request, and never before
// the latest JWT that a fast clock may have stamped, unless an earlier time was
// asked for. A later one is refused: it would hold up the next issuance as long.
func (i *Issuer) planRevocation(ctx context.Context, w *work, a Account, subject string, before time.Time) (Revocation, error) {
	highest := a.LastUserIAT
	if subject != Everybody {
		var err error
		if highest, err = w.HighestIssuedAt(ctx, a.ID, subject); err != nil {
			return Revocation{}, err
		}
	}
	at := claims.RevokedBefore(w.Now(), highest)
	if !before.IsZero() {
		if before.After(w.Now()) || before.Unix() <= 0 {
			return Revocation{}, invalidField("/before", "out_of_range", "A revocation cannot reach into the future.")
		}
		at = before.Unix()
	}
	id, err := w.NewID("rev_")
	return Revocation{
		ID: id, AccountID: a.ID, Subject: subject, Before: at, Reason: w.op.Reason, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Created: w.Now(),
	}, err
}

func revocationSubjects(ctx context.Context, w *work, a Account, subject string) ([]string, error) {
	if subject == Everybody {
		if a.System {
			if err := w.guard(GuardSystemEverybody); err != nil {
				return nil, err
			}
		}
		return []string{Everybody}, nil
	}
	if claims.IsPublicKey(claims.KindUser, subject) {
		return []string{subject}, nil
	}
	if claims.LooksLikeSeed(subject) || claims.LooksLikeKey(subject) {
		return nil, invalid(claims.CheckPublicKey("/subject", claims.KindUser, subject))
	}
	u, err := w.GetUser(ctx, a.ID, subject)
	if err != nil {
		return nil, orMissing(err, "user")
	}
	if a.System && u.Name == SystemUserName {
		if err := w.guard(GuardSystemUser); err != nil {
			return nil, err
		}
	}
	keys, err := w.UserKeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, &Error{Kind: KindConflict, Code: "nothing_to_revoke", Message: "The user has no unexpired credentials."}
	}
	return keys, nil
}

// ListRevocations returns a page of the revocations in force, newest first.
func (i *Issuer) ListRevocations(ctx context.Context, caller Caller, account string, page LedgerPage) ([]Revocation, error) {
	return read(ctx, i, caller, use{permission: ReadRevocations, action: "list", kind: "revocation", target: account}, func(ctx context.Context, t *store.Tx) ([]Revocation, error) {
		a, err := findAccount(ctx, t, account)
		if err != nil {
			return nil, err
		}
		return t.ListRevocations(ctx, a.ID, page.Before, page.Limit)
	})
}

// GetRevocation returns the revocation of a subject, a public key or Everybody,
// that is in force.
func (i *Issuer) GetRevocation(ctx context.Context, caller Caller, account, subject string) (Revocation, error) {
	return read(ctx, i, caller, use{permission: ReadRevocations, action: "read", kind: "revocation", target: account + "/" + subject}, func(ctx context.Context, t *store.Tx) (Revocation, error) {
		a, err := findAccount(ctx, t, account)
		if err != nil {
			return Revocation{}, err
		}
		v, err := t.GetRevocation(ctx, a.ID, subject)
		if errors.Is(err, store.ErrNotFound) {
			return v, missing("revocation")
		}
		return v, err
	})
}
