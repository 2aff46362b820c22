package issuer

import (
	"context"
	"encoding/hex"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

type (
	// Enrolment is an account that asks to be let in.
	Enrolment = store.Enrolment
	// Enrolling is how accounts come under an operator that nobody made here.
	Enrolling = store.Enrolling
)

// The modes of enrolment: nobody; whoever has a key; who brings the token; who is
// approved.
const (
	EnrolClosed   = "closed"
	EnrolOpen     = "open"
	EnrolToken    = "token"
	EnrolApproval = "approval"
)

// EnrolmentPrefix starts every enrolment token.
const EnrolmentPrefix = "chy_enr_"

// EnrolmentInput sets how accounts come under an operator.
type EnrolmentInput struct {
	// Mode is one of the modes above.
	Mode string
	// Limits names a preset of limits for the accounts; empty gives them none.
	Limits string
	// NewToken makes another token; the one before lets nobody in any more. The first one
	// is made with the mode.
	NewToken bool
}

// EnrolmentPolicy is how accounts come under an operator.
type EnrolmentPolicy struct {
	// OperatorID and Operator are its key and name, Version is the operator's.
	OperatorID, Operator string
	Version              int64
	Mode, Limits         string
	// HasToken tells that there is a token; Token is it, only in the answer to the change
	// that made it.
	HasToken bool
	Token    claims.Secret `json:"-"`
	// AccountServerURL is where nsc posts to, as the operator's JWT has it; Strict is the
	// operator's.
	AccountServerURL string
	Strict           bool
	// Pending is how many accounts wait for approval.
	Pending int64
}

func enrolmentOf(o Operator) EnrolmentPolicy {
	e := o.Policy.Enrolment
	if e.Mode == "" {
		e.Mode = EnrolClosed
	}
	return EnrolmentPolicy{
		OperatorID: o.ID, Operator: o.Name, Version: o.Version, Mode: e.Mode, Limits: e.Limits, HasToken: e.Token != "",
		AccountServerURL: o.Settings.AccountServerURL, Strict: o.Settings.StrictSigningKeyUsage,
	}
}

// GetEnrolmentPolicy returns how accounts come under an operator.
func (i *Issuer) GetEnrolmentPolicy(ctx context.Context, caller Caller, operator string) (EnrolmentPolicy, error) {
	u := use{permission: ReadOperators, action: "read", kind: "operator", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (EnrolmentPolicy, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return EnrolmentPolicy{}, err
		}
		out := enrolmentOf(o)
		out.Pending, err = d.CountEnrolments(ctx, o.ID)
		return out, err
	})
}

// SetEnrolmentPolicy changes how accounts come under an operator. It is no part of the
// operator's JWT.
func (i *Issuer) SetEnrolmentPolicy(ctx context.Context, op Op, operator string, in EnrolmentInput) (Outcome[EnrolmentPolicy], error) {
	u := use{permission: WriteOperators, action: "set", kind: "enrolment", target: operator}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[EnrolmentPolicy], error) {
		var none planned[EnrolmentPolicy]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expect(o.Version); err != nil {
			return none, err
		}
		if err := writable(o); err != nil {
			return none, err
		}
		if err := in.check(); err != nil {
			return none, err
		}
		after, secret := o, claims.Secret{}
		e := &after.Policy.Enrolment
		if e.Mode, e.Limits = in.Mode, in.Limits; in.Mode == EnrolClosed {
			e.Mode = ""
		}
		if in.Mode != EnrolToken {
			e.Token = ""
		} else if e.Token == "" || in.NewToken {
			if secret, err = i.newSecret(EnrolmentPrefix); err != nil {
				return none, err
			}
			e.Token = hex.EncodeToString(hashSecret(secret.Reveal()))
		}
		preview := enrolmentOf(after)
		plan := enrolmentPlan(o, after)
		return planned[EnrolmentPolicy]{preview: preview, target: o.ID, plan: plan, apply: func(ctx context.Context) (EnrolmentPolicy, error) {
			if after.Policy.Enrolment == o.Policy.Enrolment {
				return preview, nil
			}
			preview.Token, preview.Version = secret, o.Version+1
			return preview, w.UpdateOperator(ctx, after)
		}}, nil
	})
}

func (in EnrolmentInput) check() error {
	if !slices.Contains([]string{EnrolClosed, EnrolOpen, EnrolToken, EnrolApproval}, in.Mode) {
		return invalidField("/mode", "unknown_value", "Enrolment is closed, open, token or approval.")
	}
	if _, known := claims.AccountPreset(in.Limits); in.Limits != "" && !known {
		return invalidField("/limits", "unknown_value", "There is no preset of limits of this name.")
	}
	if in.NewToken && in.Mode != EnrolToken {
		return invalidField("/new_token", "not_applicable", "A token is for enrolment by token only.")
	}
	return nil
}

func enrolmentPlan(o, after Operator) Plan {
	a, b := enrolmentOf(o), enrolmentOf(after)
	var plan Plan
	say := func(pointer, field, before, will string) {
		if before == will {
			return
		}
		f := claims.FieldChange{Pointer: pointer, Field: field, Before: before, After: will}
		plan.Summary = append(plan.Summary, f)
		plan.Changes = append(plan.Changes, Change{Path: pointer, From: before, To: will, Text: f.Sentence()})
	}
	orNone := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	say("/policy/enrolment/mode", "Enrolment", a.Mode, b.Mode)
	say("/policy/enrolment/limits", "Limits of enrolled accounts", orNone(a.Limits), orNone(b.Limits))
	if x, y := o.Policy.Enrolment.Token, after.Policy.Enrolment.Token; x != y {
		before, will := "a token", "another token"
		if x == "" {
			before, will = "none", "a token"
		}
		if y == "" {
			will = "none"
		}
		say("/policy/enrolment/token", "Enrolment token", before, will)
	}
	if b.Mode == EnrolOpen {
		plan.Warnings = claims.Problems{{Pointer: "/mode", Code: "open_enrolment", Detail: "Whoever reaches this server can make an account. Give new accounts limits, and bound their number with guardrails."}}
	}
	return plan
}

// ListEnrolments returns a page of the accounts that ask to be let in, by public key: in
// the state pending or refused, or with an empty one in both.
func (i *Issuer) ListEnrolments(ctx context.Context, caller Caller, operator, state string, page Page) ([]Enrolment, error) {
	u := use{permission: ReadAccounts, action: "list", kind: "enrolment", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]Enrolment, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return nil, err
		}
		if err := d.whole(Scope{Operator: o.ID}); err != nil {
			return nil, err
		}
		return d.ListEnrolments(ctx, o.ID, state, page.AfterID, page.Limit)
	})
}

// ApproveEnrolment lets an account in that asked: it gets the operator's limits, and is
// signed.
func (i *Issuer) ApproveEnrolment(ctx context.Context, op Op, operator, account string) (Outcome[Account], error) {
	out, err := i.enrolAccount(ctx, op, operator, func(ctx context.Context, w *work, o Operator) (claims.Token, error) {
		e, err := w.GetEnrolment(ctx, o.ID, account)
		if err != nil {
			return claims.Token{}, w.orMissing(err, "enrolment")
		}
		if err := w.expect(e.Version); err != nil {
			return claims.Token{}, err
		}
		w.use.target = e.AccountID
		return readMerge(e.JWT)
	})
	return Outcome[Account]{Value: out.Value.Account, Plan: out.Plan, Replayed: out.Replayed}, err
}

// RefuseEnrolment keeps an account out: what its holder posts is refused, until it is
// approved after all or a month has passed.
func (i *Issuer) RefuseEnrolment(ctx context.Context, op Op, operator, account string) (Outcome[Enrolment], error) {
	u := use{permission: WriteLimits, action: "refuse", kind: "enrolment", target: account}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Enrolment], error) {
		var none planned[Enrolment]
		o, err := w.operatorForAccount(ctx, operator)
		if err != nil {
			return none, err
		}
		e, err := w.GetEnrolment(ctx, o.ID, account)
		if err != nil {
			return none, w.orMissing(err, "enrolment")
		}
		if err := w.expect(e.Version); err != nil {
			return none, err
		}
		after := e
		after.State, after.DecidedBy, after.Reason = store.EnrolmentRefused, w.op.Caller.ID, quote(w.op.Reason)
		plan := Plan{Changes: []Change{{Path: "/state", From: e.State, To: after.State, Text: "The account is kept out"}}}
		return planned[Enrolment]{preview: after, target: e.AccountID, plan: plan, apply: func(ctx context.Context) (Enrolment, error) {
			after.Version++
			return after, w.RefuseEnrolment(ctx, after)
		}}, nil
	})
}

// enrolAccount makes the account of a self-signed JWT, which token returns.
func (i *Issuer) enrolAccount(ctx context.Context, op Op, operator string, token func(ctx context.Context, w *work, o Operator) (claims.Token, error)) (Outcome[Merged], error) {
	u := use{permission: WriteLimits, action: "enrol", kind: "account", target: operator}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Merged], error) {
		var none planned[Merged]
		o, err := w.operatorForAccount(ctx, operator)
		if err != nil {
			return none, err
		}
		if o, err = w.holdForAccount(ctx, o); err != nil {
			return none, orMissing(err, "operator")
		}
		asked, err := token(ctx, w, o)
		if err != nil {
			return none, err
		}
		m, err := i.newcomer(ctx, w, o, asked)
		if err != nil {
			return none, err
		}
		return m.plan(ctx, nil)
	})
}

// newcomer plans the account of a self-signed JWT. The operator is held.
func (i *Issuer) newcomer(ctx context.Context, w *work, o Operator, token claims.Token) (*merging, error) {
	c := token.Claims.(*jwt.AccountClaims) //nolint:forcetypeassert // readMerge made sure
	if err := writable(o); err != nil {
		return nil, err
	}
	if err := w.maySign(ctx, o.ID); err != nil {
		return nil, err
	}
	if problems := claims.CheckName("/name", c.Name); problems.Blocking() {
		return nil, invalid(problems)
	}
	taken, err := w.FindAccounts(ctx, o.ID, c.Name)
	if err != nil {
		return nil, err
	}
	known, err := w.KeysByID(ctx, []string{c.Subject})
	if err != nil {
		return nil, err
	}
	if len(taken)+len(known) > 0 {
		return nil, orTaken(store.ErrExists, "account")
	}
	a := Account{ID: c.Subject, OperatorID: o.ID, Name: c.Name, State: accountActive, Settings: claims.NewAccountSettings(), Version: 1, Created: w.Now(), Updated: w.Now()}
	if p, found := claims.AccountPreset(o.Policy.Enrolment.Limits); found {
		a.Settings.Limits = p.Limits
	}
	f, err := claims.ForeignAccount(token, c.Name)
	if err != nil {
		return nil, err
	}
	if len(f.Tolerated) > 0 {
		a.Foreign = &claims.Foreign{Tolerated: f.Tolerated}
	}
	m := &merging{work: w, issuer: i, token: token, posted: c, source: MergePosted, operator: o, account: a, fresh: true, rows: store.AccountRows{Revocations: map[string]int64{}}}
	w.at = scopeOf(a)
	return m, m.admit(ctx)
}
