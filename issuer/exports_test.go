package issuer_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// dead returns what keeps an import of orders.> from ORDERS with the token from working, as servers judge it.
func (h *house) dead(t testing.TB, importer, token string) claims.Problems {
	t.Helper()
	from := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
	to := jwt.NewAccountClaims(importer)
	to.Imports = jwt.Imports{{Name: "x", Account: from.Subject, Subject: "orders.>", Type: jwt.Stream, Token: token}}
	return claims.CheckSharing(to, func(string) *jwt.AccountClaims { return from }, h.time())
}

// A token that was revoked stays so: when its export is renamed and another one takes its subject, is deleted and made
// again, changes its access to and fro, or when a token is revoked that a fast clock issued.
func TestRevokedActivationStaysRevoked(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		body := jwt.Export{Subject: "orders.>", Type: jwt.Stream, TokenReq: true}
		other := newAccountKey(t)
		e := did(h.CreateExport(t.Context(), op(), "ORDERS", body)).well(t)
		h.advance(time.Minute)
		token := did(h.IssueActivation(t.Context(), op(), "ORDERS", e.ID, issuer.ActivationInput{Importer: other})).well(t)
		if dead := h.dead(t, other, token.Token); len(dead) > 0 {
			t.Fatalf("%+v", dead)
		}
		h.advance(-time.Minute)
		r := did(h.RevokeActivation(t.Context(), op(), "ORDERS", e.ID, other)).well(t)
		if r.Before < token.IssuedAt || r.Activations != 1 {
			t.Errorf("%+v, issued at %d", r, token.IssuedAt)
		}
		refused := func(when string) {
			t.Helper()
			if dead := h.dead(t, other, token.Token); len(dead) == 0 {
				t.Errorf("%s: the revoked token is good", when)
			}
		}
		refused("at once")
		edit := func(id string, f func(*jwt.Export)) {
			t.Helper()
			did(h.UpdateExport(t.Context(), op(), "ORDERS", id, f)).well(t)
		}
		edit(e.ID, func(x *jwt.Export) { x.Subject, x.Revocations = "else.>", nil })
		again := did(h.CreateExport(t.Context(), op(), "ORDERS", body)).well(t)
		refused("after a rename")
		edit(again.ID, func(x *jwt.Export) { x.TokenReq = false })
		edit(again.ID, func(x *jwt.Export) { x.TokenReq = true })
		refused("after a change of access")
		did(h.DeleteExport(t.Context(), op(), "ORDERS", again.ID)).well(t)
		edit(e.ID, func(x *jwt.Export) { x.Subject = "orders.>" })
		refused("after deleting and renaming back")
		fresh := did(h.IssueActivation(t.Context(), op(), "ORDERS", e.ID, issuer.ActivationInput{Importer: other})).well(t)
		if dead := h.dead(t, other, fresh.Token); len(dead) > 0 || fresh.IssuedAt <= r.Before {
			t.Errorf("a new token: %+v, issued at %d", dead, fresh.IssuedAt)
		}
	})
}

// Deleting an export ends tokens that are not on record too, such as those that another tool issued.
func TestDeletedExportEndsForeignTokens(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		body := jwt.Export{Subject: "orders.>", Type: jwt.Stream, TokenReq: true}
		other := newAccountKey(t)
		e := did(h.CreateExport(t.Context(), op(), "ORDERS", body)).well(t)
		token := did(h.IssueActivation(t.Context(), op(), "ORDERS", e.ID, issuer.ActivationInput{Importer: other})).well(t)
		h.raw.Run(t, `DELETE FROM activations`)
		did(h.DeleteExport(t.Context(), op(), "ORDERS", e.ID)).well(t)
		again := did(h.CreateExport(t.Context(), op(), "ORDERS", body)).well(t)
		if dead := h.dead(t, other, token.Token); len(dead) == 0 {
			t.Error("a token from before is good again")
		}
		fresh := did(h.IssueActivation(t.Context(), op(), "ORDERS", again.ID, issuer.ActivationInput{Importer: other})).well(t)
		if dead := h.dead(t, other, fresh.Token); len(dead) > 0 {
			t.Errorf("%+v", dead)
		}
	})
}
