package issuer

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// observe takes in an operator of which only the public JWT is known.
func observe(ctx context.Context, w *work, in OperatorInput) (planned[Operator], error) {
	var none planned[Operator]
	if in.PublicKey != "" || len(in.ServiceURLs)+len(in.Tags) > 0 || in.Lax || !in.Policy.IsZero() {
		return none, invalidField("/custody", "not_applicable", "Of an observed operator everything is read from its JWT: send nothing else.")
	}
	c, err := operatorJWT(w, Operator{}, in.JWT)
	if err != nil {
		return none, err
	}
	o, err := observed(Operator{
		ID: c.Subject, Name: c.Name, State: operatorActive, Custody: CustodyObserved, Signing: true, Version: 1, Created: w.Now(), Updated: w.Now(),
	}, c)
	if err != nil {
		return none, err
	}
	if in.Name != "" && in.Name != o.Name {
		return none, invalidField("/name", "differs", "The JWT has another name; leave the name out.")
	}
	if err := free(ctx, w, o.Name, o.ID); err != nil {
		return none, err
	}
	plan, err := operatorPlan(Operator{}, o)
	if err != nil {
		return none, err
	}
	return planned[Operator]{preview: o, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
		if err := w.CreateOperator(ctx, o); err != nil {
			return o, orTaken(err, "operator")
		}
		if err := w.CreateKey(ctx, publicKey(o.ID, o.ID, "identity")); err != nil {
			return o, err
		}
		return putObserved(ctx, w, o, c, in.JWT)
	}}, nil
}

func publicKey(id, operatorID, role string) store.Key {
	return store.Key{ID: id, Kind: "operator", Role: role, OperatorID: operatorID, State: "current", Custody: "public_only"}
}

// observed returns o with what its JWT says.
func observed(o Operator, c *jwt.OperatorClaims) (Operator, error) {
	parts := claims.OperatorOf(c)
	if problems := claims.CheckOperator(parts); problems.Blocking() {
		return o, invalid(claims.Problems{{Pointer: "/jwt", Code: "invalid_jwt", Detail: problems[0].Detail, Blocking: true}})
	}
	o.Settings = parts.Settings
	return o, nil
}

// putObserved stores the JWT and makes the signing keys' rows what it lists.
func putObserved(ctx context.Context, w *work, o Operator, c *jwt.OperatorClaims, token string) (Operator, error) {
	keys, err := w.ListKeys(ctx, o.ID, "")
	if err != nil {
		return o, err
	}
	known := map[string]bool{}
	for _, k := range keys {
		known[k.ID] = true
		state := "retired"
		if slices.Contains(c.SigningKeys, k.ID) {
			state = "current"
		}
		if k.Role == "signing" && k.State != state {
			if err := w.SetKeyState(ctx, k.ID, state, time.Time{}); err != nil {
				return o, err
			}
		}
	}
	for _, id := range c.SigningKeys {
		if !known[id] {
			known[id] = true
			if err := w.CreateKey(ctx, publicKey(id, o.ID, "signing")); err != nil {
				return o, orTaken(err, "key")
			}
		}
	}
	if err := putOperatorJWT(ctx, w, claims.Signed{Token: token, Subject: o.ID, Issuer: c.Issuer, ID: c.ID, IssuedAt: c.IssuedAt}); err != nil {
		return o, err
	}
	return w.GetOperator(ctx, o.ID)
}

func replaceObserved(w *work, o Operator, c *jwt.OperatorClaims, token string) (planned[Operator], error) {
	var none planned[Operator]
	if c.Name != o.Name {
		return none, invalidField("/jwt", "differs", "The JWT has another name than the operator.")
	}
	after, err := observed(o, c)
	if err != nil {
		return none, err
	}
	plan, err := operatorPlan(o, after)
	if err != nil {
		return none, err
	}
	before, err := jwt.DecodeOperatorClaims(o.JWT)
	if err != nil {
		return none, err
	}
	plan.Summary = claims.DiffOperators(before, c)
	return planned[Operator]{preview: after, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
		if err := w.UpdateOperator(ctx, after); err != nil {
			return o, err
		}
		return putObserved(ctx, w, after, c, token)
	}}, nil
}
