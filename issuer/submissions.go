package issuer

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// SubmitInput is a JWT that its holder posts, as nsc does. The signature is all that
// tells who that is.
type SubmitInput struct {
	// Operator is a name or public key; empty is the default operator.
	Operator string
	// Account is the public key that the JWT is posted for.
	Account string
	// Token is a bare JWT. White space around it is tolerated.
	Token string
	// Secret is the enrolment token that came with it; may be empty.
	Secret claims.Secret
	// Remote is the address that it came from, for the list of enrolments.
	Remote string
	// RequestID goes on record.
	RequestID string
}

// Submitted is what became of a posted account JWT.
type Submitted struct {
	// Merged is zero where the account waits for approval.
	Merged
	// Enrolled tells that the account is new, Pending that it waits for approval.
	Enrolled, Pending bool
	// Name is the account's name here; empty where there is none.
	Name string
}

// SubmitError is why a JWT was not accepted, with the name that the account has here:
// empty for one that is not known, or whose key the sender was not proven to hold.
type SubmitError struct {
	Err  *Error
	Name string
}

// Error implements error, for the log.
func (e *SubmitError) Error() string { return e.Err.Error() }

// Unwrap returns the Error.
func (e *SubmitError) Unwrap() error { return e.Err }

// SubmitAccount takes over the JWT of an account that its holder made, see MergeAccount.
// An account that is not known is let in as its operator's policy says. It needs no
// caller: whoever signed the JWT is the one, as far as the stored account, or the
// policy, has it.
func (i *Issuer) SubmitAccount(ctx context.Context, in SubmitInput) (Submitted, error) {
	token, err := readMerge(in.Token)
	if err != nil {
		return Submitted{}, err
	}
	c := token.Claims.(*jwt.AccountClaims) //nolint:forcetypeassert // readMerge made sure
	if c.Subject != in.Account {
		return Submitted{}, invalidField("/jwt", "differs", "The JWT is of another account than the path.")
	}
	o, known, err := i.submittedTo(ctx, in, c.IssuedAt)
	if err != nil {
		return Submitted{}, err
	}
	a := known.Account()
	op := Op{Caller: keyHolder(c, o), RequestID: in.RequestID}
	if a.ID == "" {
		return i.enrol(ctx, op, o, token, in)
	}
	if nothing, err := saysNothing(known, token); nothing || err != nil {
		return Submitted{Merged: Merged{Account: a, Result: MergeReplay, SignedBy: SignedByOperator, Signer: c.Issuer}, Name: calledIn(a)}, err
	}
	op.Reason = "signed by " + c.Issuer
	out, err := i.mergeToken(ctx, op, a.ID, token, MergePosted)
	if err != nil {
		e := AsError(err)
		name := calledIn(a)
		if e.Code == "untrusted_issuer" {
			name = ""
		}
		return Submitted{}, &SubmitError{e, name}
	}
	return Submitted{Merged: out.Value, Name: calledIn(a)}, nil
}

// submittedTo returns the operator that a JWT is posted to, and what is known of its account
// and the second in which it was issued.
func (i *Issuer) submittedTo(ctx context.Context, in SubmitInput, issuedAt int64) (o Operator, known store.Candidate, err error) {
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		if err = t.LookUpCandidate(ctx, in.Account, issuedAt, &known); err != nil {
			return err
		}
		o, err = operatorAt(ctx, t, in.Operator)
		return err
	})
	if a := known.Account(); err == nil && a.ID != "" && a.OperatorID != o.ID {
		err = missing("account")
	}
	return o, known, err
}

// saysNothing tells whether a JWT was signed here and revokes nothing but what the account
// revokes. Everybody can read such a JWT and post it for ever, so that nothing is locked
// or put on record for it.
func saysNothing(known store.Candidate, token claims.Token) (bool, error) {
	a := known.Account()
	c := token.Claims.(*jwt.AccountClaims) //nolint:forcetypeassert // readMerge made sure
	if a.State != accountActive || a.JWT == "" {
		return false, nil
	}
	if a.JWT == token.Text {
		return true, nil
	}
	if !known.Signed(hashOfJWT(token.Text)) {
		return false, nil
	}
	now, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return false, fmt.Errorf("decoding the current account JWT: %w", err)
	}
	for subject, before := range c.Revocations {
		if now.Revocations[subject] < before {
			return false, nil
		}
	}
	return true, nil
}

// operatorAt returns the operator that a path names, or the default one.
func operatorAt(ctx context.Context, t *store.Tx, ref string) (Operator, error) {
	var o Operator
	var err error
	if ref == "" {
		o, err = t.DefaultOperator(ctx)
	} else {
		o, err = t.GetOperator(ctx, ref)
	}
	if err == nil && o.State == accountDeleted {
		err = store.ErrNotFound
	}
	return o, orMissing(err, "operator")
}

// keyHolder is the caller that signed a JWT: it may do what the key is good for once the
// key is held against what is stored.
func keyHolder(c *jwt.AccountClaims, o Operator) Caller {
	out := Caller{ID: "key/" + c.Issuer, Name: claims.ShortKey(c.Issuer), Kind: CallerHolder}
	out.Grants = []Grant{{Role: string(RoleAccountAdmin), Scope: Scope{Operator: o.ID, Account: c.Subject}}}
	if claims.IsPublicKey(claims.KindOperator, c.Issuer) {
		out.Grants[0] = Grant{Role: string(RoleOperatorAdmin), Scope: Scope{Operator: o.ID}}
	}
	return out
}

// enrol deals with an account that is not known, by the operator's policy.
func (i *Issuer) enrol(ctx context.Context, op Op, o Operator, token claims.Token, in SubmitInput) (Submitted, error) {
	c := token.Claims.(*jwt.AccountClaims) //nolint:forcetypeassert // the caller made sure
	if c.Issuer != c.Subject {
		return Submitted{}, &Error{
			Kind: KindForbidden, Code: "unknown_account", Message: "This account is not known here, and its first JWT has to be signed by its own identity key.",
			Hint: "An account that the operator signed elsewhere is imported by its operator in Chancery.",
		}
	}
	if err := writable(o); err != nil {
		return Submitted{}, err
	}
	if len(token.Text) > maxNewcomer {
		return Submitted{}, invalidField("/jwt", "too_large", "The first JWT of an account is 64 KiB long at most. Enrol with less, and add the rest afterwards.")
	}
	e := o.Policy.Enrolment
	switch e.Mode {
	case EnrolOpen:
	case EnrolToken:
		if !letsIn(e, in.Secret) {
			return Submitted{}, &Error{
				Kind: KindForbidden, Code: "enrolment_token", Message: "This account is not known here, and no valid enrolment token came with it.",
				Hint: "Ask for the operator's URL with the token in it and import the operator from that.",
			}
		}
	case EnrolApproval:
		return Submitted{Pending: true}, i.askIn(ctx, op, o, token, in)
	default:
		return Submitted{}, &Error{
			Kind: KindForbidden, Code: "enrolment_closed", Message: "This account is not known here, and this operator takes no accounts in by themselves.",
			Hint: "Ask whoever runs the operator to create the account, or to open enrolment.",
		}
	}
	op.Caller.Grants = []Grant{{Role: string(RoleOperatorAdmin), Scope: Scope{Operator: o.ID}}} // the policy lets it in
	op.Reason = "enrolled by policy: " + e.Mode
	out, err := i.enrolAccount(ctx, op, o.ID, func(_ context.Context, w *work, now Operator) (claims.Token, error) {
		if now.Policy.Enrolment != e {
			return token, store.ErrBusy // the policy changed meanwhile
		}
		return token, nil
	})
	return Submitted{Merged: out.Value, Enrolled: err == nil, Name: out.Value.Account.Name}, err
}

// letsIn compares an enrolment token in constant time.
func letsIn(e Enrolling, secret claims.Secret) bool {
	want, err := hex.DecodeString(e.Token)
	if err != nil || len(want) == 0 {
		return false
	}
	return subtle.ConstantTimeCompare(want, hashSecret(secret.Reveal())) == 1
}

// The bounds of enrolments that wait.
const (
	// maxEnrolments is how many of an operator may wait, maxOfSource how many of them from
	// one address, enrolmentDays how many days.
	maxEnrolments = 1000
	maxOfSource   = 20
	enrolmentDays = 30
	// maxNewcomer is how long, in bytes, the JWT of an account may be that anybody may
	// have made: the ones that wait are kept, and listed.
	maxNewcomer = 64 << 10
)

// askIn puts an account on the list of those that wait for approval.
func (i *Issuer) askIn(ctx context.Context, op Op, o Operator, token claims.Token, in SubmitInput) error {
	c := token.Claims.(*jwt.AccountClaims) //nolint:forcetypeassert // the caller made sure
	op.Caller.Grants = []Grant{{Role: string(RoleOperatorAdmin), Scope: Scope{Operator: o.ID}}}
	u := use{permission: WriteLimits, action: "ask", kind: "enrolment", target: c.Subject}
	_, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[struct{}], error) {
		var none planned[struct{}]
		if _, err := lockOperator(ctx, w, o.ID); err != nil {
			return none, err
		}
		if err := w.DropOldEnrolments(ctx, o.ID, w.Now().AddDate(0, 0, -enrolmentDays)); err != nil {
			return none, err
		}
		before, err := w.GetEnrolment(ctx, o.ID, c.Subject)
		switch {
		case err == nil && before.State == store.EnrolmentRefused:
			return none, &Error{Kind: KindForbidden, Code: "enrolment_refused", Message: "This account was refused by whoever runs the operator.", Hint: "Ask them why."}
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return none, err
		}
		if err := room(ctx, w, o, before, in.Remote); err != nil {
			return none, err
		}
		m, err := i.newcomer(ctx, w, o, token)
		if err != nil {
			return none, err
		}
		if _, err := m.plan(ctx, nil); err != nil {
			return none, err
		}
		w.at = Scope{Operator: o.ID}
		return planned[struct{}]{target: c.Subject, apply: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, w.PutEnrolment(ctx, store.Enrolment{AccountID: c.Subject, OperatorID: o.ID, Name: c.Name, JWT: token.Text, Remote: in.Remote})
		}}, nil
	})
	return err
}

// room refuses one more that waits where there are too many. One that waits already and
// is posted again from elsewhere is one more of there, else two addresses could fill the
// list.
func room(ctx context.Context, w *work, o Operator, before store.Enrolment, remote string) error {
	source := claims.SourceOf(remote)
	waits := before.AccountID != ""
	if waits && claims.SourceOf(before.Remote) == source {
		return nil
	}
	remotes, err := w.EnrolmentRemotes(ctx, o.ID)
	if err != nil {
		return err
	}
	if !waits && len(remotes) >= maxEnrolments {
		return &Error{Kind: KindTooFast, Code: "too_many_enrolments", Message: "Too many accounts wait for approval.", Hint: "Ask whoever runs the operator to decide about them, then post again."}
	}
	n := 0
	for _, r := range remotes {
		if claims.SourceOf(r) == source {
			n++
		}
	}
	if n >= maxOfSource {
		return &Error{
			Kind: KindTooFast, Code: "too_many_enrolments", Message: fmt.Sprintf("%d accounts from this address wait for approval.", maxOfSource),
			Hint: "Ask whoever runs the operator to let them in or to refuse them, then post again.",
		}
	}
	return nil
}
