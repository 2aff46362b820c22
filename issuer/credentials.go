package issuer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/store"
)

// IssueInput asks for a credential of a user.
type IssueInput struct {
	// PublicKey is the holder's own key U…; the seed never comes here. Empty
	// makes a key here, whose seed is returned once and kept nowhere.
	PublicKey string
	// TTL is the lifetime; 0 means the template's bound, or for ever without one.
	TTL time.Duration
	// DeliveredTo says who got it, for the ledger.
	DeliveredTo string
}

func (in IssueInput) check(template *Template) claims.Problems {
	problems := append(checkTTL("/ttl_seconds", in.TTL), claims.CheckText("/delivered_to", in.DeliveredTo, maxNote)...)
	if in.PublicKey != "" {
		problems = append(problems, claims.CheckPublicKey("/public_key", claims.KindUser, in.PublicKey)...)
	}
	if template != nil && template.MaxTTL > 0 && in.TTL > template.MaxTTL {
		problems = append(problems, claims.Problem{
			Pointer: "/ttl_seconds", Code: "out_of_range", Blocking: true,
			Detail: fmt.Sprintf("The template allows a lifetime of at most %d seconds.", int64(template.MaxTTL/time.Second)),
		})
	}
	return problems
}

// Issued is a new credential with what is shown once.
type Issued struct {
	Credential
	// JWT is the signed user JWT. Of a bearer user it is a secret by itself.
	JWT claims.Secret
	// Creds is the text of the creds file; empty when the holder has the seed.
	Creds claims.Secret
}

// Issue issues a credential to a user: again after a revocation, for a new key, or
// with a new lifetime. What is issued after a revocation outlives it.
func (i *Issuer) Issue(ctx context.Context, op Op, account, user string, in IssueInput) (Outcome[Issued], error) {
	u := use{permission: IssueCredentials, action: "issue", kind: "credential", target: account + "/" + user}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Issued], error) {
		var none planned[Issued]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		x, err := w.GetUser(ctx, a.ID, user)
		if err != nil {
			return none, orMissing(err, "user")
		}
		template, err := templateOf(ctx, w.Tx, x)
		if err != nil {
			return none, err
		}
		if problems := in.check(template); problems.Blocking() {
			return none, invalid(problems)
		}
		if template != nil {
			// The template or the account's tags may have changed since the user was made.
			if problems := claims.CheckTemplateUse(template.Body, claims.Account{Name: a.Name, Settings: a.Settings}, x.Name, x.Tags); problems.Blocking() {
				return none, invalid(problems)
			}
		}
		if _, err := i.sealer(); err != nil {
			return none, err
		}
		if err := i.rehearseIssue(ctx, w, a, x, in); err != nil {
			return none, err
		}
		return planned[Issued]{target: x.ID, plan: Plan{}, apply: func(ctx context.Context) (Issued, error) {
			return i.issue(ctx, w, a, x, in)
		}}, nil
	})
}

func templateOf(ctx context.Context, t *store.Tx, u User) (*Template, error) {
	if u.TemplateID == "" {
		return nil, nil //nolint:nilnil // a user without a template is no error
	}
	x, err := t.TemplateByID(ctx, u.TemplateID)
	if err != nil {
		return nil, err
	}
	return &x, nil
}

// credential is one that was checked and not yet signed.
type credential struct {
	public, origin string
	// seed is empty when the holder has it.
	seed     claims.Secret
	template *Template
	checked  claims.Checked
	signer   store.Key
	issuedAt int64
}

// prepare works out what is to be signed for the user. The account's row is locked,
// so that a revocation sees every earlier iat.
func (i *Issuer) prepare(ctx context.Context, w *work, a Account, u User, in IssueInput) (out credential, err error) {
	if a.State != "active" || u.State != "active" {
		return out, &Error{Kind: KindConflict, Code: "not_active", Message: "Credentials are issued to active users of active accounts only."}
	}
	if out.template, err = templateOf(ctx, w.Tx, u); err != nil {
		return out, err
	}
	if in.TTL == 0 && out.template != nil {
		in.TTL = out.template.MaxTTL
	}
	if out.public, out.seed, out.origin, err = i.userKey(ctx, w, u, in.PublicKey); err != nil {
		return out, err
	}
	if out.issuedAt, err = i.userIssuedAt(ctx, w, a, out.public); err != nil {
		return out, err
	}
	expires := int64(0)
	if in.TTL > 0 {
		expires = out.issuedAt + int64(in.TTL/time.Second)
	}
	var problems claims.Problems
	out.checked, problems = claims.BuildUser(claims.User{ID: out.public, Name: u.Name, Account: a.ID, Tags: u.Tags, Permissions: u.Permissions, Expires: expires})
	if problems.Blocking() {
		return out, invalid(problems)
	}
	keys, err := w.ListKeys(ctx, a.OperatorID, a.ID)
	if err != nil {
		return out, err
	}
	out.signer, err = current(keys, u.TemplateID)
	return out, err
}

// rehearseIssue finds what only shows while a credential is made: it is for dry
// runs.
func (i *Issuer) rehearseIssue(ctx context.Context, w *work, a Account, u User, in IssueInput) error {
	if !w.op.DryRun {
		return nil
	}
	c, err := i.prepare(ctx, w, a, u, in)
	if err != nil {
		return err
	}
	_, err = encode(c.signer, c.checked, c.issuedAt)
	return err
}

// issue signs a JWT for the user of the locked account within the transaction and
// writes the ledger.
func (i *Issuer) issue(ctx context.Context, w *work, a Account, u User, in IssueInput) (Issued, error) {
	var out Issued
	c, err := i.prepare(ctx, w, a, u, in)
	if err != nil {
		return out, err
	}
	signed, err := i.sign(ctx, w, c.signer, c.checked, c.issuedAt)
	if err != nil {
		return out, err
	}
	if err := w.SetLastUserIAT(ctx, u.AccountID, c.issuedAt); err != nil {
		return out, err
	}
	id, err := w.NewID("iss_")
	if err != nil {
		return out, err
	}
	sum := sha256.Sum256([]byte(signed.Token))
	out.Credential = Credential{
		ID: id, UserID: u.ID, AccountID: u.AccountID, PublicKey: c.public, JTI: signed.ID, IssuedAt: signed.IssuedAt, Expires: signed.Expires,
		Signer: signed.Issuer, SHA256: sum[:], Bearer: bearer(u, c.template), KeyOrigin: c.origin, Occasion: "issue", TemplateID: u.TemplateID, Delivery: "inline", DeliveredTo: in.DeliveredTo,
		Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Reason: w.op.Reason, Created: w.Now(),
	}
	if err := w.CreateCredential(ctx, out.Credential); err != nil {
		return out, err
	}
	out.JWT = claims.NewSecret(signed.Token)
	if !c.seed.Empty() {
		out.Creds = claims.FormatCreds(signed.Token, c.seed)
	}
	return out, nil
}

// userKey returns the key to issue to: the holder's, or one made here.
func (i *Issuer) userKey(ctx context.Context, w *work, u User, public string) (key string, seed claims.Secret, origin string, err error) {
	if public != "" {
		owner, err := w.OwnerOfKey(ctx, u.AccountID, public)
		if err != nil {
			return "", seed, "", err
		}
		if owner != "" && owner != u.ID {
			return "", seed, "", &Error{
				Kind: KindConflict, Code: "key_in_use", Message: "This public key was issued to another user of the account.",
				Hint: "Every user needs a key of its own: a revocation names the key.",
			}
		}
		return public, seed, "client", nil
	}
	pair, err := nkeys.CreatePairWithRand(claims.KindUser.Prefix(), i.rand)
	if err != nil {
		return "", seed, "", fmt.Errorf("making a user key: %w", err)
	}
	defer pair.Wipe()
	raw, err := pair.Seed()
	if err != nil {
		return "", seed, "", fmt.Errorf("making a user key: %w", err)
	}
	defer clear(raw)
	key, err = pair.PublicKey()
	return key, claims.NewSecret(string(raw)), "generated", err
}

// userIssuedAt returns an issue time later than every JWT of the key and than
// every revocation that concerns it: what is issued in the second of a revocation
// is dead on arrival.
func (i *Issuer) userIssuedAt(ctx context.Context, w *work, a Account, public string) (int64, error) {
	last, err := w.HighestIssuedAt(ctx, a.ID, public)
	if err != nil {
		return 0, err
	}
	revoked, err := w.EffectiveRevocations(ctx, a.ID)
	if err != nil {
		return 0, err
	}
	return claims.NextIssuedAt(w.Now(), max(last, revoked[public], revoked[Everybody])), nil
}

func bearer(u User, t *Template) bool {
	return (u.Permissions != nil && u.Permissions.BearerToken) || (t != nil && t.Body.Permissions.BearerToken)
}

// Status is what has become of a credential.
type Status string

// The statuses of a credential.
const (
	StatusActive  Status = "active"
	StatusExpired Status = "expired"
	StatusRevoked Status = "revoked"
	// StatusKeyRetired is a credential whose signer servers no longer accept.
	StatusKeyRetired Status = "key_retired"
)

// CredentialWithStatus is an entry of the ledger and what has become of it.
type CredentialWithStatus struct {
	Credential
	Status Status
}

// ListCredentials returns up to limit issuances of a user, newest first, before
// the one with identity before ("" from the newest).
func (i *Issuer) ListCredentials(ctx context.Context, caller Caller, account, user string, page LedgerPage) ([]CredentialWithStatus, error) {
	u := use{permission: ReadCredentials, action: "list", kind: "credential", target: account + "/" + user}
	return read(ctx, i, caller, u, func(ctx context.Context, t *store.Tx) ([]CredentialWithStatus, error) {
		a, x, err := findUser(ctx, t, account, user)
		if err != nil {
			return nil, err
		}
		list, err := t.ListCredentials(ctx, x.ID, page.Before, page.Limit)
		if err != nil {
			return nil, err
		}
		revoked, err := t.EffectiveRevocations(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		keys, err := t.ListKeys(ctx, a.OperatorID, a.ID)
		if err != nil {
			return nil, err
		}
		accepted := trusted(keys)
		out := make([]CredentialWithStatus, len(list))
		for n, c := range list {
			out[n] = CredentialWithStatus{c, status(c, revoked, accepted, t.Now())}
		}
		return out, nil
	})
}

// LedgerPage asks for one page of a list that is ordered from the newest on.
type LedgerPage struct {
	// Before is the identity of the last row of the page before; empty at first.
	Before string
	Limit  int
}

func status(c Credential, revoked map[string]int64, accepted []string, now time.Time) Status {
	switch {
	case revoked[c.PublicKey] >= c.IssuedAt, revoked[Everybody] >= c.IssuedAt:
		return StatusRevoked
	case c.Expires > 0 && now.Unix() > c.Expires:
		return StatusExpired
	case !slices.Contains(accepted, c.Signer):
		return StatusKeyRetired
	}
	return StatusActive
}
