package api_test

import (
	"context"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
	"chancery/store"
)

// enrolment has an account ask to be let in under the operator, and returns its key.
func (h *house) enrolment(operator string) string {
	h.t.Helper()
	o, err := h.issuer.GetOperator(h.t.Context(), issuer.System("test"), operator)
	must(h.t, err)
	pair, err := nkeys.CreateAccount()
	must(h.t, err)
	id, err := pair.PublicKey()
	must(h.t, err)
	c := jwt.NewAccountClaims(id)
	c.Name = "NEW" + id[len(id)-8:]
	token, err := c.Encode(pair)
	must(h.t, err)
	e := store.Enrolment{AccountID: id, OperatorID: o.ID, Name: c.Name, JWT: token, Remote: "127.0.0.1"}
	must(h.t, h.store.Write(h.t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.PutEnrolment(ctx, e) }))
	return id
}
