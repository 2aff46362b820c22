package issuer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// IssueInput asks for a credential of a user.
type IssueInput struct {
	// PublicKey is the holder's own key U…; the seed never comes here. Empty
	// makes a key here, whose seed is returned once and kept nowhere.
	PublicKey string
	// Proof shows that the caller speaks for the holder of PublicKey. A key that the
	// user was issued to before needs none.
	Proof *Proof
	// Waive does without a proof; it needs a reason, which goes into the ledger.
	Waive bool
	// TTL is the lifetime; 0 means the template's bound, without one the operator's
	// default.
	TTL time.Duration
	// NoExpiry asks for a credential that never expires; it needs a reason, and a
	// template and operator that set no bound.
	NoExpiry bool
	// Delivery is how it gets to its holder; empty means DeliverInline.
	Delivery Delivery
	// SealTo is the X-key X… to seal to, with DeliverSealed.
	SealTo string
	// LinkTTL is how long the link can be used, with DeliverLink; 0 means an hour.
	LinkTTL time.Duration
	// DeliveredTo says who got it, for the ledger.
	DeliveredTo string

	// proven tells that Proof holds.
	proven bool
	// occasion is issue, renew or roll; empty means issue.
	occasion string
	// replaces is the key, or Everybody for all keys, whose credentials end with this
	// one: a quota does not count them.
	replaces string
}

// check returns what is wrong with the request, for a user of the template if that
// is not nil. The reason is the one of the change.
func (in IssueInput) check(t terms, template *Template, reason string) claims.Problems {
	problems := append(checkTTL("/ttl_seconds", in.TTL), claims.CheckText("/delivered_to", in.DeliveredTo, maxNote)...)
	if in.PublicKey != "" {
		problems = append(problems, claims.CheckPublicKey("/public_key", claims.KindUser, in.PublicKey)...)
	}
	problems = append(problems, in.checkDelivery()...)
	problems = append(problems, in.checkLifetime(t, template, reason)...)
	if in.Waive && blank(reason) {
		problems = append(problems, claims.Problem{Pointer: "/reason", Code: "required", Blocking: true, Detail: "To do without a proof of the key, say why: it goes into the ledger."})
	}
	if in.Proof != nil && !in.proven {
		problems = append(problems, claims.Problem{
			Pointer: "/proof", Code: "wrong_proof", Blocking: true,
			Detail: "This is not this key's signature over a challenge of the last 60 seconds. Ask for a new challenge and sign its nonce as it stands.",
		})
	}
	return problems
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// withProof checks the proof before the transaction: that reads the database.
func (i *Issuer) withProof(ctx context.Context, caller Caller, in *IssueInput) (err error) {
	if in == nil || in.Proof == nil || !caller.May(IssueCredentials) || !claims.IsPublicKey(claims.KindUser, in.PublicKey) {
		return nil
	}
	in.proven, err = i.proves(ctx, in.PublicKey, *in.Proof)
	return err
}

// Issued is a new credential with what is shown once.
type Issued struct {
	Credential
	// JWT is the signed user JWT. Of a bearer user it is a secret by itself.
	JWT claims.Secret
	// Creds is the text of the creds file; empty when the holder has the seed.
	Creds claims.Secret
	// Sealed is the creds file, or the JWT of a holder's key, sealed to the caller's
	// X-key, in base64; SealedBy is the X-key that opens it together with theirs.
	Sealed, SealedBy string
	// Link makes the credential when it is used; until then there is none.
	Link        claims.Secret
	LinkExpires time.Time
}

// Issue issues a credential to a user: again after a revocation, for a new key, or
// with a new lifetime. What is issued after a revocation outlives it.
func (i *Issuer) Issue(ctx context.Context, op Op, account, user string, in IssueInput) (Outcome[Issued], error) {
	if err := i.withProof(ctx, op.Caller, &in); err != nil {
		return Outcome[Issued]{}, err
	}
	u := use{permission: IssueCredentials, action: "issue", kind: "credential", target: account + "/" + user}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Issued], error) {
		var none planned[Issued]
		o, a, x, err := lockUserUnder(ctx, w, account, user)
		if err != nil {
			return none, err
		}
		s, err := newIssuanceUnder(ctx, w, o, a)
		if err != nil {
			return none, err
		}
		preview, err := i.planIssueBy(ctx, w, s, x, in)
		if err != nil {
			return none, err
		}
		return planned[Issued]{preview: preview, target: x.ID, plan: Plan{}, apply: func(ctx context.Context) (Issued, error) {
			return i.issueBy(ctx, w, s, x, in)
		}}, nil
	})
}

// lockUser finds an account and a user of it and locks the account, see lockAccount.
func lockUser(ctx context.Context, w *work, account, user string) (Account, User, error) {
	_, a, u, err := lockUserUnder(ctx, w, account, user)
	return a, u, err
}

// lockUserUnder is lockUser that returns the account's operator too.
func lockUserUnder(ctx context.Context, w *work, account, user string) (Operator, Account, User, error) {
	o, a, err := lockAccountUnder(ctx, w, account)
	if err != nil {
		return o, a, User{}, err
	}
	u, err := userOf(ctx, &w.desk, a, user)
	return o, a, u, err
}

// planIssue finds whatever speaks against the credential. For a dry run it rehearses
// the signing and returns what would be on record.
func (i *Issuer) planIssue(ctx context.Context, w *work, a Account, u User, in IssueInput) (Issued, error) {
	s, err := newIssuance(ctx, w, a)
	if err != nil {
		return Issued{}, err
	}
	return i.planIssueBy(ctx, w, s, u, in)
}

// planIssueBy is planIssue by what was read of the account.
func (i *Issuer) planIssueBy(ctx context.Context, w *work, s *issuance, u User, in IssueInput) (Issued, error) {
	a := s.account
	template, err := s.template(ctx, w, u)
	if err != nil {
		return Issued{}, err
	}
	if problems := in.check(s.terms, template, w.op.Reason); problems.Blocking() {
		return Issued{}, invalid(problems)
	}
	if template != nil {
		// The template or the account's tags may have changed since the user was made.
		if problems := claims.CheckTemplateUse(template.Body, claims.Account{Name: a.Name, Settings: a.Settings}, u.Name, u.Tags); problems.Blocking() {
			return Issued{}, invalid(problems)
		}
	}
	if err := w.guardCredential(ctx, s, u, in); err != nil {
		return Issued{}, err
	}
	if _, err := i.sealer(); err != nil {
		return Issued{}, err
	}
	if !w.op.DryRun {
		return Issued{}, nil
	}
	c, err := i.prepare(ctx, w, s, u, in)
	if err != nil {
		return Issued{}, err
	}
	if err := w.maySign(ctx, a.OperatorID); err != nil {
		return Issued{}, err
	}
	if _, err := encode(c.signer, c.checked, c.issuedAt); err != nil {
		return Issued{}, err
	}
	out := Issued{Credential: c.entry(w, in)}
	if in.PublicKey == "" {
		out.PublicKey = "" // the key of the rehearsal is not the one to come
	}
	return out, nil
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

// issuance is what issuing in one account goes by, read once: its row is locked.
type issuance struct {
	account Account
	terms
	keys      []Key
	revoked   map[string]int64
	templates map[string]*Template
}

func newIssuance(ctx context.Context, w *work, a Account) (*issuance, error) {
	o, err := w.GetOperator(ctx, a.OperatorID)
	if err != nil {
		return nil, err
	}
	return newIssuanceUnder(ctx, w, o, a)
}

// newIssuanceUnder is newIssuance in an account of the operator, which was read too.
func newIssuanceUnder(ctx context.Context, w *work, o Operator, a Account) (s *issuance, err error) {
	s = &issuance{account: a, terms: termsUnder(o, a), templates: map[string]*Template{}}
	s.keys, s.revoked, err = w.GetIssuanceRows(ctx, a)
	return s, err
}

// template returns the template of the user, nil for permissions of its own.
func (s *issuance) template(ctx context.Context, w *work, u User) (*Template, error) {
	if x, ok := s.templates[u.TemplateID]; ok {
		return x, nil
	}
	x, err := templateOf(ctx, w.Tx, u)
	if err == nil {
		s.templates[u.TemplateID] = x
	}
	return x, err
}

// credential is one that was checked and not yet signed.
type credential struct {
	user           User
	public, origin string
	// seed is empty when the holder has it.
	seed     claims.Secret
	template *Template
	checked  claims.Checked
	signer   store.Key
	issuedAt int64
	expires  int64
}

// prepare works out what is to be signed for the user. The account's row is locked,
// so that a revocation sees every earlier iat.
func (i *Issuer) prepare(ctx context.Context, w *work, s *issuance, u User, in IssueInput) (credential, error) {
	if in.PublicKey == "" {
		c := credential{user: u}
		if err := s.admits(u); err != nil {
			return c, err
		}
		var err error
		if c.public, c.seed, err = i.newUserKey(); err != nil {
			return c, err
		}
		c.origin = "generated"
		return c, s.complete(ctx, w, &c, in, 0)
	}
	histories, err := w.KeyHistories(ctx, u.AccountID, []string{in.PublicKey})
	if err != nil {
		return credential{}, err
	}
	return s.prepareFor(ctx, w, u, in, histories[in.PublicKey])
}

// prepareFor is prepare for a key of the holder with its history.
func (s *issuance) prepareFor(ctx context.Context, w *work, u User, in IssueInput, known store.KeyHistory) (credential, error) {
	c := credential{user: u, public: in.PublicKey, origin: "client"}
	if err := s.admits(u); err != nil {
		return c, err
	}
	switch {
	case known.UserID != "" && known.UserID != u.ID:
		return c, &Error{
			Kind: KindConflict, Code: "key_in_use", Message: "This public key was issued to another user of the account.",
			Hint: "Every user needs a key of its own: a revocation names the key.",
		}
	case in.proven:
	case known.UserID != "":
		c.origin = known.Origin
	case in.Waive:
		c.origin = "unproven"
	default:
		return c, invalidField("/proof", "required",
			"Show that the holder of this key asks for it: sign the nonce of a challenge (POST /challenges) with it. For a key that was handed to you another way, waive the proof and say why.")
	}
	return c, s.complete(ctx, w, &c, in, known.IssuedAt)
}

// admits refuses who gets no credentials now.
func (s *issuance) admits(u User) error {
	if s.account.State != "active" || u.State != "active" {
		return &Error{Kind: KindConflict, Code: "not_active", Message: "Credentials are issued to active users of active accounts only.", Hint: "Enable the user, or resume the account, first."}
	}
	return nil
}

// complete works out the times, the claims and the signer. The issue time is later
// than that of every JWT of the key, the last of which is last, and than every
// revocation that concerns it: what is issued in the second of a revocation is dead
// on arrival.
func (s *issuance) complete(ctx context.Context, w *work, c *credential, in IssueInput, last int64) (err error) {
	u := c.user
	if c.template, err = s.template(ctx, w, u); err != nil {
		return err
	}
	if problems := s.checkUser(s.account, u, c.template); problems.Blocking() {
		return invalid(problems)
	}
	c.issuedAt = claims.NextIssuedAt(w.Now(), max(last, s.revoked[c.public], s.revoked[Everybody]))
	if ttl := in.lifetime(s.terms, c.template); ttl > 0 {
		c.expires = c.issuedAt + int64(ttl/time.Second)
	}
	var problems claims.Problems
	c.checked, problems = claims.BuildUser(claims.User{ID: c.public, Name: u.Name, Account: u.AccountID, Tags: u.Tags, Permissions: u.Permissions, Expires: c.expires})
	if problems.Blocking() {
		return invalid(problems)
	}
	c.signer, err = orIdentity(ctx, w.Tx, s.account.OperatorID, s.keys, u.TemplateID)
	return err
}

// issue makes a credential for the user of the locked account within the transaction
// and writes the ledger; or, where that is the delivery, the link that will.
func (i *Issuer) issue(ctx context.Context, w *work, a Account, u User, in IssueInput) (Issued, error) {
	s, err := newIssuance(ctx, w, a)
	if err != nil {
		return Issued{}, err
	}
	return i.issueBy(ctx, w, s, u, in)
}

// issueBy is issue by what was read of the account, and has not changed since.
func (i *Issuer) issueBy(ctx context.Context, w *work, s *issuance, u User, in IssueInput) (Issued, error) {
	if in.Delivery == DeliverLink {
		return i.putCredentialLink(ctx, w, s, u, in)
	}
	return i.issueNow(ctx, w, s, u, in)
}

// issueNow is issue without links.
func (i *Issuer) issueNow(ctx context.Context, w *work, s *issuance, u User, in IssueInput) (Issued, error) {
	c, err := i.prepare(ctx, w, s, u, in)
	if err != nil {
		return Issued{}, err
	}
	if err := w.SetLastUserIAT(ctx, u.AccountID, c.issuedAt); err != nil {
		return Issued{}, err
	}
	signed, err := i.sign(ctx, w, c.signer, c.checked, c.issuedAt)
	if err != nil {
		return Issued{}, err
	}
	out, err := c.issued(w, in, signed)
	if err != nil {
		return out, err
	}
	if err := w.CreateCredential(ctx, out.Credential); err != nil {
		return out, err
	}
	return out, i.seal(&out, in)
}

// issued is the credential that was signed, with its entry in the ledger.
func (c credential) issued(w *work, in IssueInput, signed claims.Signed) (Issued, error) {
	out := Issued{Credential: c.entry(w, in), JWT: claims.NewSecret(signed.Token)}
	var err error
	if out.ID, err = w.NewID("iss_"); err != nil {
		return out, err
	}
	sum := sha256.Sum256([]byte(signed.Token))
	out.JTI, out.SHA256 = signed.ID, sum[:]
	if !c.seed.Empty() {
		out.Creds = claims.FormatCreds(signed.Token, c.seed)
	}
	return out, nil
}

// entry is what the ledger says of the credential, but for what the signing adds.
func (c credential) entry(w *work, in IssueInput) Credential {
	e := Credential{
		UserID: c.user.ID, AccountID: c.user.AccountID, PublicKey: c.public, IssuedAt: c.issuedAt, Expires: c.expires, Signer: c.signer.ID,
		Bearer: bearer(c.user, c.template), KeyOrigin: c.origin, Occasion: in.occasion, TemplateID: c.user.TemplateID,
		Delivery: string(in.Delivery), DeliveredTo: in.DeliveredTo,
		Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Reason: w.op.Reason, Created: w.Now(),
	}
	if e.Occasion == "" {
		e.Occasion = "issue"
	}
	if e.Delivery == "" {
		e.Delivery = string(DeliverInline)
	}
	return e
}

// newUserKey makes a key for a holder who has none.
func (i *Issuer) newUserKey() (public string, seed claims.Secret, err error) {
	pair, err := custody.NewKey(claims.KindUser, i.rand)
	if err != nil {
		return "", seed, fmt.Errorf("making a user key: %w", err)
	}
	defer pair.Wipe()
	raw, err := pair.Seed()
	if err != nil {
		return "", seed, fmt.Errorf("making a user key: %w", err)
	}
	defer clear(raw)
	return pair.Public(), claims.NewSecret(string(raw)), nil
}

func bearer(u User, t *Template) bool {
	return (u.Permissions != nil && u.Permissions.BearerToken) || (t != nil && t.Body.Permissions.BearerToken)
}
