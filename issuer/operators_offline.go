package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// OperatorRequest is what an operator's identity key is to sign.
type OperatorRequest struct {
	claims.SigningRequest
	// Pending tells that the JWT in force does not hold these claims; Changes says
	// what differs.
	Pending bool
	Changes []claims.FieldChange
	// IssuedAt is the issue time of the claims, in Unix seconds.
	IssuedAt int64
}

// OperatorRequest exports the operator's claims as they are meant to be now, for
// whoever has its identity key. Every export has a later issue time.
func (i *Issuer) OperatorRequest(ctx context.Context, caller Caller, operator string) (OperatorRequest, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "unsigned_claims", target: operator}, func(ctx context.Context, d *desk) (OperatorRequest, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return OperatorRequest{}, err
		}
		if o.Custody == CustodyObserved {
			return OperatorRequest{}, nil // there is no intent but its JWT
		}
		return operatorRequest(ctx, d.Tx, o)
	})
}

func operatorRequest(ctx context.Context, t *store.Tx, o Operator) (out OperatorRequest, err error) {
	unsigned, err := unsignedOperator(ctx, t, o)
	if err != nil {
		return out, err
	}
	out.SigningInput, out.CurrentJWT = string(unsigned.SigningInput()), o.JWT
	after, before, err := out.Claims()
	if err != nil {
		return out, err
	}
	out.Fingerprint, out.IssuedAt = claims.OperatorFingerprint(after), after.IssuedAt
	if out.Pending = !unsigned.SameIntent(o.JWT); out.Pending {
		out.Changes = claims.DiffOperators(before, after)
	}
	return out, nil
}

func unsignedOperator(ctx context.Context, t *store.Tx, o Operator) (claims.Unsigned, error) {
	checked, err := operatorIntent(ctx, t, o)
	if err != nil {
		return claims.Unsigned{}, err
	}
	return claims.Encode(checked, claims.Stamp{Issuer: o.ID, IssuedAt: claims.NextIssuedAt(t.Now(), o.IssuedAt)})
}

// UploadOperatorJWT takes the JWT that the holder of the identity key signed. Of an
// offline operator it must hold what is to be signed now, neither more nor less; of
// an observed one it replaces what is known. Either way the identity key itself must
// have signed it, later than the JWT in force.
func (i *Issuer) UploadOperatorJWT(ctx context.Context, op Op, operator, token string) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "upload", kind: "operator", target: operator}, func(ctx context.Context, w *work) (planned[Operator], error) {
		var none planned[Operator]
		o, err := lockOperator(ctx, w, operator)
		if err != nil {
			return none, err
		}
		if err := w.expect(o.Version); err != nil {
			return none, err
		}
		c, err := operatorJWT(w, o, token)
		if err != nil {
			return none, err
		}
		switch o.Custody {
		case CustodyObserved:
			return replaceObserved(w, o, c, token)
		case CustodyOffline:
			if err := w.sameClaims(ctx, o, c, token); err != nil {
				return none, err
			}
			return uploaded(w, o, c, token)
		}
		return none, &Error{
			Kind: KindConflict, Code: "identity_held_here", Message: "The identity key of this operator is here, sealed: its JWT is signed here.",
			Hint: "Change the operator instead.",
		}
	})
}

// operatorJWT reads a JWT that an operator's own identity signed.
func operatorJWT(w *work, o Operator, token string) (*jwt.OperatorClaims, error) {
	c, err := jwt.DecodeOperatorClaims(token)
	switch {
	case err != nil:
		return nil, invalidField("/jwt", "invalid_jwt", "This is no operator JWT, or its signature is wrong.")
	case o.ID != "" && c.Subject != o.ID:
		return nil, invalidField("/jwt", "other_operator", "This is the JWT of another operator.")
	case c.Issuer != c.Subject:
		return nil, invalidField("/jwt", "wrong_signer", "Only the identity key itself may sign an operator's JWT; another key signed this one.")
	case c.IssuedAt > w.Now().Unix()+claims.MaxClockLead:
		return nil, invalidField("/jwt", "in_the_future", "This JWT is issued in the future: look at the clock of the machine that signed it.")
	case c.IssuedAt <= o.IssuedAt:
		return nil, &Error{
			Kind: KindConflict, Code: "not_newer", Message: "This JWT is not issued later than the one in force.",
			Hint: "Export the claims anew and sign those.",
		}
	}
	return c, nil
}

// sameClaims refuses a signed JWT that does not hold what is to be signed now.
func (w *work) sameClaims(ctx context.Context, o Operator, c *jwt.OperatorClaims, token string) error {
	unsigned, err := unsignedOperator(ctx, w.Tx, o)
	if err != nil || unsigned.SameIntent(token) {
		return err
	}
	meant, _, err := claims.SigningRequest{SigningInput: string(unsigned.SigningInput())}.Claims()
	if err != nil {
		return err
	}
	out := &Error{
		Kind: KindConflict, Code: "stale_claims", Message: "This JWT does not hold what is to be signed now: the operator was changed since, or the claims were.",
		Hint: "Export the claims anew and sign those.",
	}
	for _, f := range claims.DiffOperators(c, meant) {
		detail := f.Field + " differs; not to be there any more."
		if f.After != "" {
			detail = f.Field + " differs; to be signed: " + f.After
		}
		out.Problems = append(out.Problems, claims.Problem{Pointer: f.Pointer, Code: "differs", Detail: detail, Blocking: true})
	}
	return out
}

func uploaded(w *work, o Operator, c *jwt.OperatorClaims, token string) (planned[Operator], error) {
	var before *jwt.OperatorClaims
	if o.JWT != "" {
		var err error
		if before, err = jwt.DecodeOperatorClaims(o.JWT); err != nil {
			return planned[Operator]{}, err
		}
	}
	after := o
	after.State, after.IssuedAt, after.JTI, after.JWT = operatorActive, c.IssuedAt, c.ID, token
	plan := Plan{Summary: claims.DiffOperators(before, c), Changes: []Change{{Path: "/jti", From: o.JTI, To: c.ID}}}
	plan.Warnings = afterSigning(Operator{})
	return planned[Operator]{preview: after, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
		if o.State != after.State {
			if err := w.UpdateOperator(ctx, after); err != nil {
				return o, err
			}
		}
		err := putOperatorJWT(ctx, w, claims.Signed{Token: token, Subject: o.ID, Issuer: c.Issuer, ID: c.ID, IssuedAt: c.IssuedAt})
		if err != nil {
			return o, err
		}
		return w.GetOperator(ctx, o.ID)
	}}, nil
}
