package issuer_test

import (
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// An operator whose identity seed is not in the store is adopted with its signing keys: its holder signs what changes,
// and what this version does not know of its JWT stays.
func TestAdoptOffline(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		m := makeStore(t, "vault", h.time())
		_, signing := m.pair(t, nkeys.PrefixByteOperator)
		o := m.Store.Operator.Claims()
		o.SigningKeys.Add(signing)
		text := remade(t, signedAt(t, o, m.operator, m.at), m.operator, func(p map[string]any) { p["future"], p["aud"] = map[string]any{"a": 1.0}, "somebody" })
		m.Store.Operator.Token = must(claims.Read(text))(t)
		m.account(t, "ORDERS", nil)
		delete(m.Keys, o.Subject)
		h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
		row, err := h.GetOperator(t.Context(), owner, "vault")
		if err != nil || row.Custody != issuer.CustodyOffline || row.JWT != text {
			t.Fatalf("%s, %v", row.Custody, err)
		}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Description = "edited" })).well(t)
		if c := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT); c.Issuer != signing {
			t.Errorf("signed by %s", c.Issuer)
		}
		request, err := h.OperatorRequest(t.Context(), owner, "vault")
		if err != nil || request.Pending {
			t.Errorf("waiting for a signature: %+v, %v", request.Changes, err)
		}
		did(h.AddKey(t.Context(), op(), issuer.KeyOwner{Operator: "vault"}, issuer.KeyInput{})).well(t)
		if request, err = h.OperatorRequest(t.Context(), owner, "vault"); err != nil || !request.Pending {
			t.Fatalf("%+v, %v", request, err)
		}
		token, err := request.Sign(m.operator)
		if err != nil {
			t.Fatal(err)
		}
		did(h.UploadOperatorJWT(t.Context(), op(), "vault", token)).well(t)
		after, err := claims.Read(token)
		if err != nil || len(after.Unknown) != 1 || after.Unknown[0] != "/future" || after.Claims.Claims().Audience != "somebody" {
			t.Errorf("%v, %v", after.Unknown, err)
		}
		h.holds(t, "signed by its holder")
	})
}

// Under an operator that is not strict the account's identity key admits; where servers accept signing keys only, what
// it signed counts as refused.
func TestIdentityKeySigned(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for strict, want := range map[bool]issuer.Status{false: issuer.StatusActive, true: issuer.StatusKeyRetired} {
			name := map[bool]string{false: "lax", true: "strict"}[strict]
			m := makeStore(t, name, h.time())
			o := m.Store.Operator.Claims()
			signer, signing := m.pair(t, nkeys.PrefixByteOperator)
			o.StrictSigningKeyUsage = strict
			o.SigningKeys.Add(signing)
			m.Store.Operator.Token = must(claims.Read(signedAt(t, o, m.operator, m.at)))(t)
			a := m.account(t, "T-"+name, nil)
			m.Accounts[0].Token = must(claims.Read(signedAt(t, a.Claims(), signer, m.at)))(t)
			m.user(t, &m.Accounts[0], "ada", nil)
			h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
			l, err := h.FindCredentials(t.Context(), owner, "T-"+name, issuer.LedgerFilter{Status: want}, issuer.LedgerPage{Limit: 5})
			if err != nil || len(l) != 1 || l[0].Status != want {
				t.Errorf("%s: %+v, %v", name, l, err)
			}
			_, err = h.Issue(t.Context(), op(), "T-"+name, "ada", issuer.IssueInput{})
			if (err == nil) == strict {
				t.Errorf("%s: issuing by the identity key: %v", name, err)
			}
		}
	})
}
