package issuer

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// RenewalInput is the request of a holder who has nothing but the credential and its
// key.
type RenewalInput struct {
	// JWT is the credential to be renewed.
	JWT claims.Secret
	// Proof answers a challenge to the JWT's key.
	Proof Proof
}

// errRenewal is the one answer to everything that is not renewed: a stranger learns
// nothing about what exists.
var errRenewal = &Error{
	Kind: KindForbidden, Code: "renewal_refused", Message: "This credential cannot be renewed here now.",
	Hint: "Near the end of its lifetime a credential can be renewed with a fresh proof of its key, if the operator's policy says so. Ask an administrator for a new one otherwise.",
}

// maxRenewalJWT is the longest JWT that is looked at, in bytes. Ours are shorter, see
// claims.MaxUserJWT; those of others are not renewed.
const maxRenewalJWT = 8 << 10

// RenewByHolder issues a new JWT for the same key to whoever proves to hold it. It
// needs no permission but the operator's policy: the credential is on record, its
// user, account and signer are as they should be, it is neither revoked nor expired,
// and the last part of its lifetime has begun. Whatever else is asked for gets
// one answer. What a proven holder was refused is on record; what a stranger sent is
// not.
func (i *Issuer) RenewByHolder(ctx context.Context, op Op, in RenewalInput) (Issued, error) {
	c, err := renewalClaims(in.JWT)
	if err != nil {
		return Issued{}, errRenewal
	}
	held, err := i.proves(ctx, c.Subject, in.Proof)
	if err != nil {
		return Issued{}, err
	}
	if !held {
		return Issued{}, errRenewal
	}
	// A stranger proves any number of keys: only what is on record here is remembered.
	known, err := i.onRecord(ctx, c, in.JWT)
	if err != nil {
		return Issued{}, err
	}
	if !known {
		return Issued{}, errRenewal
	}
	if !i.renewals.admit(c.Subject, i.now()) {
		return Issued{}, &Error{Kind: KindTooFast, Code: "too_many_renewals", Message: "This key asked a moment ago.", Hint: "Wait ten seconds."}
	}
	var out Issued
	err = i.store.Write(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		out, err = i.renewHeld(ctx, t, op, c, in.JWT)
		return err
	})
	if err == nil {
		i.wake()
		return out, nil
	}
	if e := AsError(err); e.Kind == KindSealed || e.Kind == KindBusy || e.Kind == KindInternal {
		return Issued{}, err
	}
	return Issued{}, errors.Join(errRenewal, i.denyRenewal(ctx, op, c))
}

func renewalClaims(token claims.Secret) (*jwt.UserClaims, error) {
	if len(token.Reveal()) > maxRenewalJWT {
		return nil, errRenewal
	}
	c, err := jwt.DecodeUserClaims(token.Reveal())
	if err != nil || !claims.IsPublicKey(claims.KindUser, c.Subject) || !claims.IsPublicKey(claims.KindAccount, c.IssuerAccount) {
		return nil, errRenewal
	}
	return c, nil
}

// onRecord tells whether this very JWT is in the ledger.
func (i *Issuer) onRecord(ctx context.Context, c *jwt.UserClaims, token claims.Secret) (known bool, err error) {
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		_, known, err = recorded(ctx, t, c, token)
		return err
	})
	return known, err
}

// recorded returns the ledger's entry of this very JWT, if there is one.
func recorded(ctx context.Context, t *store.Tx, c *jwt.UserClaims, token claims.Secret) (store.LedgerEntry, bool, error) {
	found, err := t.FindCredentials(ctx, store.CredentialFilter{AccountID: c.IssuerAccount, PublicKey: c.Subject, JTI: c.ID}, "", 1)
	if err != nil || len(found) != 1 {
		return store.LedgerEntry{}, false, err
	}
	sum := sha256.Sum256([]byte(token.Reveal()))
	return found[0], slices.Equal(found[0].SHA256, sum[:]), nil
}

// denyRenewal puts on record what a proven holder of a key was refused.
func (i *Issuer) denyRenewal(ctx context.Context, op Op, c *jwt.UserClaims) error {
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		e := store.AuditEntry{
			Actor: "key/" + c.Subject, ActorKind: string(CallerUser), Action: "renew", TargetKind: "credential", Target: c.Subject,
			Outcome: "denied", RequestID: op.RequestID, Detail: "{}",
		}
		switch a, err := t.GetAccount(ctx, c.IssuerAccount); {
		case err == nil:
			e.OperatorID, e.AccountID = a.OperatorID, a.ID
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return t.AppendAudit(ctx, e)
	})
}

// renewHeld renews the credential of a holder who has proven its key.
func (i *Issuer) renewHeld(ctx context.Context, t *store.Tx, op Op, c *jwt.UserClaims, token claims.Secret) (Issued, error) {
	w := &work{desk: desk{Tx: t, use: use{permission: IssueCredentials, action: "renew", kind: "credential"}}, op: op}
	a, err := w.LockAccountForIssue(ctx, c.IssuerAccount)
	if err != nil {
		return Issued{}, orMissing(err, "account")
	}
	w.at = scopeOf(a)
	e, known, err := recorded(ctx, t, c, token)
	if err != nil {
		return Issued{}, err
	}
	if !known {
		return Issued{}, errRenewal
	}
	u, err := w.GetUser(ctx, a.ID, e.UserID)
	if err != nil {
		return Issued{}, orMissing(err, "user")
	}
	o, err := w.GetOperator(ctx, a.OperatorID)
	if err != nil {
		return Issued{}, err
	}
	if statusOf(e, w.Now()) != StatusActive || !renewalDue(o.Policy, e.Credential, w.Now()) {
		return Issued{}, errRenewal
	}
	if err := notRolled(ctx, w, a, e.PublicKey); err != nil {
		return Issued{}, err
	}
	w.op.Caller = Caller{ID: "user:" + u.ID, Name: u.Name, Kind: CallerUser}
	w.op.Reason = "renewed by its holder"
	w.use.target = u.ID
	in := IssueInput{PublicKey: e.PublicKey, DeliveredTo: "its holder", occasion: "renew", proven: true}
	if in.TTL, err = sameLifetime(ctx, w, a, u, e.Credential); err != nil {
		return Issued{}, err
	}
	s, err := newIssuanceUnder(ctx, w, o, a)
	if err != nil {
		return Issued{}, err
	}
	if _, err := i.planIssueBy(ctx, w, s, u, in); err != nil {
		return Issued{}, err
	}
	out, err := i.issueBy(ctx, w, s, u, in)
	if err != nil {
		return out, err
	}
	return out, w.audit(ctx, w.use, Plan{})
}

// renewalDue tells whether the part of the lifetime has begun in which the policy
// lets holders renew.
func renewalDue(p store.Policy, c Credential, now time.Time) bool {
	if p.Renewal <= 0 || c.Expires == 0 {
		return false
	}
	const whole = 100
	window := (c.Expires - c.IssuedAt) * min(p.Renewal, whole) / whole
	return now.Unix() >= c.Expires-window
}

const (
	// renewalPace is how long a key waits between two renewals.
	renewalPace = 10 * time.Second
	// pacedKeys is how many keys are remembered for that.
	pacedKeys = 1 << 16
)

// pace remembers which keys asked a moment ago. Only who proves to hold a key gets
// here, so nobody can keep somebody else's key waiting.
type pace struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// admit tells whether the key may go on, and remembers it. When too many keys asked
// at once it refuses rather than forget one.
func (p *pace) admit(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	// A clock that was set back keeps nobody waiting.
	recent := func(at time.Time) bool { return now.Sub(at) < renewalPace && !now.Before(at) }
	if at, known := p.last[key]; known && recent(at) {
		return false
	}
	if len(p.last) >= pacedKeys {
		for k, at := range p.last {
			if !recent(at) {
				delete(p.last, k)
			}
		}
	}
	if len(p.last) >= pacedKeys {
		return false
	}
	p.last[key] = now
	return true
}
