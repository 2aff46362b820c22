package issuer_test

import (
	"context"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
	"chancery/store"
)

// Whoever uses a link waits for a change of the user, and gets what the user is then.
func TestLinkWaitsForItsUser(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "postgres")
	w := h.furnish(t)
	link := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{Delivery: issuer.DeliverLink})).well(t).Link
	h.beside(t, w.account.ID, func(ctx context.Context, tx *store.Tx) error {
		u, err := tx.GetUser(ctx, w.account.ID, "d1")
		if err != nil {
			return err
		}
		u.Tags = []string{"region:us"}
		_, err = tx.UpdateUser(ctx, u)
		return err
	}, func() error {
		out, _, err := h.UseCredentialLink(t.Context(), issuer.Op{}, link)
		if err == nil && !decode[*jwt.UserClaims](t, out.JWT.Reveal()).Tags.Contains("region:us") {
			t.Error("the link made what the user was before")
		}
		return err
	})
}

// Whoever disables a user never gives way to the use of a link.
func TestDisablingGoesBeforeLinks(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "postgres")
	w := h.furnish(t)
	link := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{Delivery: issuer.DeliverLink})).well(t).Link
	h.beside(t, w.account.ID, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.DropLinksOf(ctx, "credential", w.device.ID); err != nil {
			return err
		}
		_, err := tx.SetUserState(ctx, w.device.ID, "disabled")
		return err
	}, func() error {
		_, _, err := h.UseCredentialLink(t.Context(), issuer.Op{}, link)
		if e := wants(t, err, issuer.KindUnauthenticated); e.Code != "invalid_link" {
			t.Errorf("%+v", e)
		}
		return nil
	})
}
