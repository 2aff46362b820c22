package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// PostedActivation is an activation token that an exporter made elsewhere and posted.
type PostedActivation = store.PostedActivation

// maxPostedActivations is how many posted activations an account may have.
const maxPostedActivations = 10_000

// SubmitActivation keeps an activation token that an exporter made elsewhere, for its
// importer to fetch under its hash. It has to be signed by an account that is known here,
// or by one of its plain signing keys. It needs no caller: the signature tells. Account
// and Secret of the input are not looked at.
func (i *Issuer) SubmitActivation(ctx context.Context, in SubmitInput) (PostedActivation, error) {
	none := PostedActivation{}
	token, err := claims.Read(in.Token)
	if err != nil {
		return none, invalidField("/jwt", "invalid_jwt", "This cannot be read as a JWT: "+err.Error()+".")
	}
	c, is := token.Claims.(*jwt.ActivationClaims)
	if !is {
		return none, invalidField("/jwt", "wrong_type", "This JWT is not an activation token.")
	}
	hash, err := c.HashID()
	if err != nil || !claims.IsPublicKey(claims.KindAccount, c.Subject) || c.ImportSubject == "" {
		return none, invalidField("/jwt", "invalid_jwt", "The activation token names no account that may import, or no subject.")
	}
	if c.Expires != 0 && c.Expires <= i.now().Unix() {
		return none, invalidField("/jwt", "expired", "The activation token has expired.")
	}
	exporter := c.Issuer
	if c.IssuerAccount != "" {
		exporter = c.IssuerAccount
	}
	var o Operator
	if err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		if o, err = operatorAt(ctx, t, in.Operator); err != nil {
			return err
		}
		a, err := t.GetAccount(ctx, exporter)
		if err == nil && a.OperatorID != o.ID {
			err = store.ErrNotFound
		}
		return orMissing(err, "account")
	}); err != nil {
		return none, err
	}
	out := PostedActivation{Hash: hash, OperatorID: o.ID, AccountID: exporter, Importer: c.Subject, Issuer: c.Issuer, IssuedAt: c.IssuedAt, Expires: c.Expires, Token: token.Text}
	op := Op{RequestID: in.RequestID, Reason: "signed by " + c.Issuer, Caller: Caller{
		ID: "key/" + c.Issuer, Name: claims.ShortKey(c.Issuer), Kind: CallerHolder,
		Grants: []Grant{{Role: string(RoleAccountAdmin), Scope: Scope{Operator: o.ID, Account: exporter}}},
	}}
	u := use{permission: WriteSharing, action: "post", kind: "activation", target: hash}
	done, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[PostedActivation], error) {
		var none planned[PostedActivation]
		a, err := lockAccount(ctx, w, exporter)
		if err != nil {
			return none, err
		}
		if c.Issuer != a.ID {
			keys, err := w.ListKeys(ctx, a.OperatorID, a.ID)
			if err != nil {
				return none, err
			}
			if !slices.ContainsFunc(keys, func(k store.Key) bool { return k.ID == c.Issuer && isTrusted(k) && k.TemplateID == "" }) {
				return none, &Error{
					Kind: KindForbidden, Code: "untrusted_issuer", Message: "The activation token is signed neither by the exporting account nor by one of its plain signing keys.",
					Hint: "Sign it with a key that the account has here.",
				}
			}
		}
		n, err := w.CountPostedActivations(ctx, a.ID)
		if err != nil {
			return none, err
		}
		if n >= maxPostedActivations {
			return none, &Error{Kind: KindTooFast, Code: "too_many_activations", Message: "The account has too many activation tokens here.", Hint: "Give them an end: those that have expired make room."}
		}
		return planned[PostedActivation]{preview: out, target: hash, apply: func(ctx context.Context) (PostedActivation, error) {
			return out, w.PutPostedActivation(ctx, out)
		}}, nil
	})
	return done.Value, err
}
