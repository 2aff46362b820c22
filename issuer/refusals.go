package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// refusal is the revocation of all that was issued to one key of an account up to
// now. A cause ties it to what may lift it again.
func refusal(ctx context.Context, w *work, a Account, key, cause string) (Revocation, error) {
	highest, err := w.HighestIssuedAt(ctx, a.ID, key)
	if err != nil {
		return Revocation{}, err
	}
	id, err := w.NewID("rev_")
	return Revocation{
		ID: id, AccountID: a.ID, Subject: key, Before: claims.RevokedBefore(w.Now(), highest), Cause: cause,
		Reason: w.op.Reason, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Created: w.Now(),
	}, err
}

// refusals is one for each key of the user with unexpired credentials.
func (w *work) refusals(ctx context.Context, a Account, u User, cause string) ([]Revocation, error) {
	keys, err := w.UserKeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	out := make([]Revocation, len(keys))
	for n, k := range keys {
		if out[n], err = refusal(ctx, w, a, k, cause); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func subjectsOf(revocations []Revocation) []string {
	out := make([]string, len(revocations))
	for n, v := range revocations {
		out[n] = v.Subject
	}
	return out
}

// planRefusals says what revocations do, and to whom.
func (w *work) planRefusals(ctx context.Context, a Account, revocations []Revocation, live []claims.Connection) (Plan, error) {
	plan, after := Plan{}, settingsOf(jwt.Account{Revocations: jwt.RevocationList{}})
	for _, v := range revocations {
		n, err := w.CountIssued(ctx, a.ID, v.Subject, v.Before)
		if err != nil {
			return plan, err
		}
		plan.Credentials += n
		plan.Changes = append(plan.Changes, Change{Path: claims.Point("/revocations", v.Subject), To: v.Before})
		after.Revocations[v.Subject] = v.Before
	}
	plan.Summary = claims.DiffAccounts(settingsOf(jwt.Account{}), after)
	plan.Changes = narrate(plan.Changes, plan.Summary)
	return plan, foresee(ctx, w, a, func(parts *claims.Account) {
		for _, v := range revocations {
			parts.Revocations[v.Subject] = max(parts.Revocations[v.Subject], v.Before)
		}
	}, live, &plan)
}

// refuse makes the revocations and signs the account anew, if there are any. It
// returns the version of the JWT that carries them.
func (i *Issuer) refuse(ctx context.Context, w *work, a Account, revocations []Revocation) (int64, error) {
	if len(revocations) == 0 {
		return a.JWTVersion, nil
	}
	for _, v := range revocations {
		if err := w.CreateRevocation(ctx, v); err != nil {
			return 0, err
		}
	}
	signed, err := i.resign(ctx, w, a.ID)
	return signed.JWTVersion, err
}

// guardKeys holds up what refuses the keys of a user, if Chancery itself, or the last
// user that answers the account's auth callout, hangs on them.
func (w *work) guardKeys(ctx context.Context, a Account, u User, keys []string) error {
	if a.System && u.Name == SystemUserName {
		if err := w.guard(GuardSystemUser); err != nil {
			return err
		}
	}
	auth := a.Settings.Authorization.AuthUsers
	if !slices.ContainsFunc(keys, func(k string) bool { return auth.Contains(k) }) {
		return nil
	}
	revoked, err := w.EffectiveRevocations(ctx, a.ID)
	if err != nil {
		return err
	}
	histories, err := w.KeyHistories(ctx, a.ID, auth)
	if err != nil {
		return err
	}
	for _, k := range auth {
		h, issued := histories[k]
		if !issued || slices.Contains(keys, k) || max(revoked[k], revoked[Everybody]) >= h.IssuedAt {
			continue
		}
		if c, err := w.NewestCredential(ctx, h.UserID, k); err != nil {
			return err
		} else if c.Expires == 0 || c.Expires >= w.Now().Unix() {
			return nil // somebody is left to answer
		}
	}
	return w.guard(GuardCalloutUser)
}
