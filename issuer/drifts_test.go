package issuer_test

import (
	"context"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// found records what servers were found to hold of ORDERS, as the resolver does.
func (h *house) found(t testing.TB, kind claims.DriftKind, token string) issuer.Drift {
	t.Helper()
	a := h.account(t, "ORDERS")
	rec := store.Drift{
		OperatorID: a.OperatorID, AccountID: a.ID, AccountName: a.Name, Kind: kind, Seen: claims.SeenPushed, JWT: token, OursVersion: a.JWTVersion,
	}
	if c, err := jwt.DecodeAccountClaims(token); err == nil {
		rec.IssuedAt, rec.Signer = c.IssuedAt, c.Issuer
	}
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		rec, _, err = tx.PutDrift(ctx, rec)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// drift returns the identity of the drift of ORDERS.
func (h *house) drift(t testing.TB) string {
	t.Helper()
	list, err := h.ListDrifts(t.Context(), owner, issuer.DriftQuery{Operator: "acme", Limit: 10})
	if err != nil || len(list.Items) == 0 {
		t.Fatal("no drift", err)
	}
	return list.Items[0].ID
}

// rival signs accounts of acme with a key of the operator that is not held here.
func (h *house) rival(t testing.TB) nkeys.KeyPair {
	t.Helper()
	pair, id := pairOf(t, nkeys.PrefixByteOperator)
	o, err := h.GetOperator(t.Context(), owner, "acme")
	if err == nil {
		err = h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateKey(ctx, store.Key{ID: id, Kind: "operator", Role: "signing", OperatorID: o.ID, State: "retiring", Custody: "public_only"})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// rivals returns the claims of ORDERS as the rival changed them, some seconds after ours
// were signed: fewer connections, and a user revoked.
func (h *house) rivals(t testing.TB, user string, after int64) string {
	t.Helper()
	a := h.account(t, "ORDERS")
	c := decode[*jwt.AccountClaims](t, a.JWT)
	c.Limits.Conn = 7
	c.Revocations = jwt.RevocationList{user: h.unix()}
	return signedAt(t, c, h.rival(t), a.IssuedAt+after)
}

// TestSettleDrift holds what becomes of a newer JWT by somebody else against the
// operator's policy.
func TestSettleDrift(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for _, x := range []struct {
			policy claims.DriftDecision
			after  int64
		}{{"", 5}, {claims.DriftKeep, 5}, {claims.DriftAdopt, 5}, {claims.DriftKeep, 0}, {claims.DriftAdopt, 0}} {
			policy := x.policy
			did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Policy.ForeignNewer = policy })).well(t)
			_, user := pairOf(t, nkeys.PrefixByteUser)
			did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Limits.Conn = 50 })).well(t)
			before := h.account(t, "ORDERS")
			rec := h.found(t, claims.DriftNewer, h.rivals(t, user, x.after))
			for range 2 { // the second time nothing is left to do
				if err := h.SettleDrift(t.Context(), rec.ID); err != nil {
					t.Fatalf("%s: %v", policy, err)
				}
			}
			after := h.account(t, "ORDERS")
			c := decode[*jwt.AccountClaims](t, after.JWT)
			got, err := h.GetDrift(t.Context(), owner, rec.ID)
			if err != nil || got.Decision != policy || got.State != claims.DriftOpen {
				t.Errorf("%q: the record is %+v, %v", policy, got, err)
			}
			if policy == "" {
				if after.JWTVersion != before.JWTVersion {
					t.Error("a report signed something")
				}
				did(h.DecideDrift(t.Context(), op(), rec.ID, claims.DriftIgnore)).well(t)
				continue
			}
			if after.JWTVersion != before.JWTVersion+1 || c.IssuedAt <= rec.IssuedAt {
				t.Errorf("%s: version %d, issued %d, theirs %d", policy, after.JWTVersion, c.IssuedAt, rec.IssuedAt)
			}
			if adopted := c.Limits.Conn == 7; adopted != (policy == claims.DriftAdopt) {
				t.Errorf("%s: %d connections", policy, c.Limits.Conn)
			}
			if c.Revocations[user] == 0 {
				t.Errorf("%s: what they revoked is not revoked", policy)
			}
			if got.DecidedBy != "system/drift" {
				t.Errorf("%s: decided by %s", policy, got.DecidedBy)
			}
			h.close(t, rec.ID)
		}
		// One that says the same takes another signature to be ours.
		before := h.account(t, "ORDERS")
		rec := h.found(t, claims.DriftNewer, signedAt(t, decode[*jwt.AccountClaims](t, before.JWT), h.rival(t), before.IssuedAt))
		did(h.DecideDrift(t.Context(), op(), rec.ID, claims.DriftAdopt)).well(t)
		if after := h.account(t, "ORDERS"); after.JWTVersion != before.JWTVersion+1 {
			t.Errorf("version %d after %d", after.JWTVersion, before.JWTVersion)
		}
		h.close(t, rec.ID)
		// Of other kinds ours is signed anew, as it is.
		before = h.account(t, "ORDERS")
		rec = h.found(t, claims.DriftDeleted, "")
		if err := h.SettleDrift(t.Context(), rec.ID); err != nil {
			t.Fatal(err)
		}
		if after := h.account(t, "ORDERS"); after.JWTVersion != before.JWTVersion+1 {
			t.Errorf("version %d after %d", after.JWTVersion, before.JWTVersion)
		}
	})
}

func (h *house) close(t testing.TB, id string) {
	t.Helper()
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.CloseDrift(ctx, id, claims.DriftHealed) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestDecideDrift decides by hand: a dry run tells what servers get and stores nothing.
func TestDecideDrift(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		_, user := pairOf(t, nkeys.PrefixByteUser)
		rec := h.found(t, claims.DriftNewer, h.rivals(t, user, 5))
		before := h.account(t, "ORDERS")
		for _, d := range []claims.DriftDecision{claims.DriftKeep, claims.DriftAdopt, claims.DriftIgnore} {
			dry := op()
			dry.DryRun = true
			out, err := h.DecideDrift(t.Context(), dry, rec.ID, d)
			if err != nil || len(out.Plan.Changes) == 0 || d != claims.DriftIgnore && len(out.Plan.Summary) == 0 {
				t.Errorf("the plan of %s: %+v, %v", d, out.Plan, err)
			}
		}
		if got, err := h.GetDrift(t.Context(), owner, rec.ID); err != nil || got.Decision != "" || h.account(t, "ORDERS").JWTVersion != before.JWTVersion {
			t.Errorf("a dry run changed something: %+v, %v", got, err)
		}
		wants(t, did(h.DecideDrift(t.Context(), op(), rec.ID, "sell")).err, issuer.KindInvalid)
		did(h.DecideDrift(t.Context(), op(), rec.ID, claims.DriftKeep)).well(t)
		h.close(t, rec.ID)
		if e := wants(t, did(h.DecideDrift(t.Context(), op(), rec.ID, claims.DriftKeep)).err, issuer.KindConflict); e.Code != "drift_closed" {
			t.Errorf("code %s", e.Code)
		}
		wants(t, did(h.DecideDrift(t.Context(), op(), "drf_none", claims.DriftKeep)).err, issuer.KindNotFound)
		older := h.found(t, claims.DriftOlder, before.JWT)
		if e := wants(t, did(h.DecideDrift(t.Context(), op(), older.ID, claims.DriftIgnore)).err, issuer.KindConflict); e.Code != "not_applicable" {
			t.Errorf("code %s", e.Code)
		}
		list, err := h.ListDrifts(t.Context(), owner, issuer.DriftQuery{Operator: "acme", State: claims.DriftHealed, Limit: 10})
		if err != nil || len(list.Items) != 1 || list.Items[0].ID != rec.ID {
			t.Errorf("healed is %+v, %v", list, err)
		}
	})
}
