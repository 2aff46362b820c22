package issuer

import (
	"context"
	"strings"
	"time"

	"chancery/claims"
	"chancery/store"
)

// subject is whom a revocation is about. Either it is one public key, or everybody,
// or the holders of the credentials that a column of the ledger chooses.
type subject struct {
	// key is a public key U… or Everybody; else by and value choose.
	key   string
	by    store.IssuedBy
	value string
	// cause goes on record with each revocation of a choice; empty for a user's.
	cause string
	// before refuses what was issued up to then; zero means now.
	before time.Time
}

// The prefixes of subjects that stand for what was issued with a template or by a key.
const (
	templateSubject = "template:"
	keySubject      = "key:"
)

// parseSubject reads the subject of a revocation.
func parseSubject(ctx context.Context, t *store.Tx, a Account, s string) (subject, error) {
	if s == Everybody || claims.IsPublicKey(claims.KindUser, s) {
		return subject{key: s}, nil
	}
	if ref, ok := strings.CutPrefix(s, templateSubject); ok {
		x, err := t.GetTemplate(ctx, a.ID, ref)
		if err != nil {
			return subject{}, orMissing(err, "template")
		}
		return subject{by: store.ByTemplate, value: x.ID, cause: templateSubject + x.ID}, nil
	}
	if key, ok := strings.CutPrefix(s, keySubject); ok {
		if problems := claims.CheckPublicKey("/subject", claims.KindAccount, key); problems.Blocking() {
			return subject{}, invalid(problems)
		}
		return subject{by: store.BySigner, value: key, cause: keySubject + key}, nil
	}
	if claims.LooksLikeSeed(s) || claims.LooksLikeKey(s) {
		return subject{}, invalid(claims.CheckPublicKey("/subject", claims.KindUser, s))
	}
	u, err := t.GetUser(ctx, a.ID, s)
	return subject{by: store.ByUser, value: u.ID}, orMissing(err, "user")
}

// of returns the revocations that are about the subject.
func (s subject) of() store.RevocationsOf {
	switch {
	case s.key != "":
		return store.RevocationsOf{Subject: s.key}
	case s.cause != "":
		return store.RevocationsOf{Cause: s.cause}
	}
	return store.RevocationsOf{UserID: s.value}
}

// revoking is revocations that were worked out and not yet stored.
type revoking struct {
	accountID string
	rows      []Revocation
	// moot are the entries that go to make room.
	moot []string
	// credentials is how many unexpired ones stop working, reissue the first second
	// that is not refused.
	credentials int64
	reissue     int64
}

// revokeIssued works out the revocation of everything unexpired that was issued in
// the locked account to whom s names or chooses: apply stores it, all in a few
// statements, and the caller signs the account anew. There may be nothing in it.
//
// Its time is never before now's request, and never before the latest JWT that a
// fast clock may have stamped, unless an earlier time was asked for.
func revokeIssued(ctx context.Context, w *work, a Account, s subject) (revoking, error) {
	r := revoking{accountID: a.ID}
	holders, err := holdersOf(ctx, w, a, s)
	if err != nil {
		return r, err
	}
	r.rows = make([]Revocation, len(holders))
	for n, h := range holders {
		at := claims.RevokedBefore(w.Now(), h.Highest)
		if !s.before.IsZero() {
			at = s.before.Unix()
		}
		id, err := w.NewID("rev_")
		if err != nil {
			return r, err
		}
		r.rows[n] = Revocation{
			ID: id, AccountID: a.ID, Subject: h.PublicKey, Before: at, Cause: s.cause, Reason: w.op.Reason, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Created: w.Now(),
		}
		r.credentials += h.Credentials
		r.reissue = max(r.reissue, at+1)
	}
	r.moot, err = makeRoom(ctx, w, a, r.rows)
	return r, err
}

// holdersOf returns whom the revocation names. One key, and everybody, are named
// whether or not anything is known of them.
func holdersOf(ctx context.Context, w *work, a Account, s subject) ([]store.Holder, error) {
	upTo := int64(0)
	if !s.before.IsZero() {
		upTo = s.before.Unix()
	}
	if s.key == "" {
		return w.Holders(ctx, a.ID, s.by, s.value, upTo)
	}
	h := store.Holder{PublicKey: s.key, Highest: a.LastUserIAT}
	var err error
	if s.key != Everybody {
		if h.Highest, err = w.HighestIssuedAt(ctx, a.ID, s.key); err != nil {
			return nil, err
		}
	}
	if upTo == 0 {
		upTo = claims.RevokedBefore(w.Now(), h.Highest)
	}
	h.Credentials, err = w.CountIssued(ctx, a.ID, s.key, upTo)
	return []store.Holder{h}, err
}

// apply stores the revocations. The account is signed anew by the caller.
func (r revoking) apply(ctx context.Context, w *work) error {
	if err := w.CreateRevocations(ctx, r.rows); err != nil {
		return err
	}
	return w.CompactRevocations(ctx, r.accountID, r.moot, w.op.Caller.ID)
}

// refuses tells whether the revocations refuse what was issued to the key then.
func (r revoking) refuses(key string, iat int64) bool {
	for _, v := range r.rows {
		if (v.Subject == key || v.Subject == Everybody) && iat <= v.Before {
			return true
		}
	}
	return false
}

// guardRevocation holds up what would refuse Chancery itself, or the service that
// admits everybody else.
func guardRevocation(ctx context.Context, w *work, a Account, s subject, r revoking) error {
	if a.System {
		if err := guardOwnUser(ctx, w, a, s, r); err != nil {
			return err
		}
	}
	if auth := a.Settings.Authorization.AuthUsers; len(auth) > 0 {
		return guardCallout(ctx, w, a, auth, r)
	}
	return nil
}

// guardOwnUser holds up what refuses the newest credential that a Chancery has: each
// keeps it in a file of its own, which is whom it was delivered to. Older ones may go.
func guardOwnUser(ctx context.Context, w *work, a Account, s subject, r revoking) error {
	own, err := w.GetUser(ctx, a.ID, SystemUserName)
	if err = ignoreMissing(err); err != nil {
		return err
	}
	living, err := w.Living(ctx, a.ID, store.ByUser, []string{own.ID})
	if err != nil {
		return err
	}
	newest := map[string]Credential{}
	for _, c := range living {
		if c.ID > newest[c.DeliveredTo].ID {
			newest[c.DeliveredTo] = c
		}
	}
	hit := len(newest) == 0 && (s.key == Everybody || (own.ID != "" && s.value == own.ID))
	for _, c := range newest {
		hit = hit || r.refuses(c.PublicKey, c.IssuedAt)
	}
	switch {
	case !hit:
		return nil
	case s.key == Everybody:
		return w.guard(GuardSystemEverybody)
	}
	return w.guard(GuardSystemUser)
}

// guardCallout wants one user of the callout to stay. Of one that was issued to
// elsewhere it is not known when, so that only its own key and everybody refuse it.
func guardCallout(ctx context.Context, w *work, a Account, auth []string, r revoking) error {
	guard, hit := GuardCalloutUser, false
	for _, v := range r.rows {
		if v.Subject == Everybody {
			guard, hit = GuardCalloutEverybody, true
		}
	}
	living, err := w.Living(ctx, a.ID, store.ByPublicKey, auth)
	if err != nil {
		return err
	}
	for _, c := range living {
		if !r.refuses(c.PublicKey, c.IssuedAt) {
			return nil
		}
		hit = true
	}
	revoked, err := w.EffectiveRevocations(ctx, a.ID)
	if err != nil {
		return err
	}
	for _, key := range auth {
		highest, err := w.HighestIssuedAt(ctx, a.ID, key)
		if err != nil {
			return err
		}
		if r.refuses(key, 0) {
			hit = true
		} else if highest == 0 && revoked[key] == 0 && revoked[Everybody] == 0 {
			return nil
		}
	}
	if !hit {
		return nil
	}
	return w.guard(guard)
}

// allOf is everything that was issued to the user. A cause ties its revocation to
// what may lift it again.
func allOf(u User, cause string) subject {
	return subject{by: store.ByUser, value: u.ID, cause: cause}
}

// refuse stores the revocations and signs the account anew, if there are any. It
// returns the version of the JWT that carries them.
func (i *Issuer) refuse(ctx context.Context, w *work, a Account, r revoking) (int64, error) {
	if len(r.rows) == 0 {
		return a.JWTVersion, nil
	}
	if err := r.apply(ctx, w); err != nil {
		return 0, err
	}
	signed, err := i.resign(ctx, w, a.ID)
	return signed.JWTVersion, orNoRoom(err)
}
