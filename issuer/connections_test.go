package issuer_test

import (
	"testing"

	"chancery/claims"
	"chancery/issuer"
)

// Of connections everybody sees and closes those in reach; all others are missing, in the same words as one that
// never was.
func TestConnectionsInReach(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		ref := issuer.ConnectionRef{Server: "n1", CID: 7}
		h.connected.Store(&claims.LiveConnection{OperatorID: w.operator.ID, AccountID: w.account.ID, Connection: claims.Connection{ServerID: "N1", ServerName: "n1", CID: 7}})
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "OTHER", Settings: claims.NewAccountSettings()})).well(t)
		here := issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}
		there := issuer.Scope{Operator: w.operator.ID, Account: other.ID}
		admin := func(at issuer.Scope) issuer.Op {
			o := may(issuer.Grant{Role: string(issuer.RoleAccountAdmin), Scope: at})
			o.Reason = "a drill"
			return o
		}
		foreign := wants(t, second(h.Kick(t.Context(), admin(there), ref)), issuer.KindNotFound)
		never := wants(t, second(h.Kick(t.Context(), admin(there), issuer.ConnectionRef{Server: "n1", CID: 8})), issuer.KindNotFound)
		if foreign.Code != never.Code || foreign.Message != never.Message || h.kicked.Load() != 0 {
			t.Errorf("a foreign connection answers %v, a missing one %v, kicked %d", foreign, never, h.kicked.Load())
		}
		wants(t, second(h.GetConnection(t.Context(), admin(there).Caller, ref)), issuer.KindNotFound)
		silent := admin(here)
		silent.Reason = " "
		wants(t, second(h.Kick(t.Context(), silent, ref)), issuer.KindInvalid)
		dry := admin(here)
		dry.DryRun = true
		did(h.Kick(t.Context(), dry, ref)).well(t)
		if h.kicked.Load() != 0 {
			t.Error("a dry run closed the connection")
		}
		once := admin(here)
		once.IdempotencyKey, once.Fingerprint = "k", []byte("f")
		for range 2 {
			did(h.Kick(t.Context(), once, ref)).well(t)
		}
		if h.kicked.Load() != 1 {
			t.Errorf("a repeated request closed it %d times", h.kicked.Load())
		}
		for err, kind := range map[error]issuer.Kind{claims.ErrNotConnected: issuer.KindBusy, claims.ErrNoConnection: issuer.KindNotFound} {
			h.unkicked = err
			wants(t, second(h.Kick(t.Context(), admin(here), ref)), kind)
		}

		s, err := h.Sight(t.Context(), admin(here).Caller, "", "")
		if err != nil || !s.Sees(here.Operator, here.Account) || s.Sees(there.Operator, there.Account) || s.Sees(here.Operator, "") || !s.Part(here.Operator) || s.Part("OX") {
			t.Errorf("an account's administrator sees %v", err)
		}
		wants(t, second(h.Sight(t.Context(), admin(here).Caller, "", "OTHER")), issuer.KindNotFound)
		narrow, err := h.Sight(t.Context(), owner, "acme", "OTHER")
		if err != nil || narrow.Sees(here.Operator, here.Account) || !narrow.Sees(there.Operator, there.Account) || narrow.Sees(here.Operator, "") {
			t.Errorf("what is narrowed to an account shows others: %v", err)
		}
		wide, err := h.Sight(t.Context(), auditor, "acme", "")
		if err != nil || !wide.Sees(here.Operator, "") || wide.Sees("OX", "") {
			t.Errorf("what an auditor sees of the operator: %v", err)
		}

		named, err := h.Parties(t.Context(), admin(here).Caller, []issuer.PartyKey{
			{AccountID: here.Account, UserKey: w.device.Issued.PublicKey, IssuerKey: h.templateKey(t)}, {AccountID: there.Account},
		})
		if err != nil || len(named) != 1 {
			t.Fatalf("named are %+v, %v", named, err)
		}
		for _, p := range named {
			if p.User != "d1" || p.Template != "device" || p.Account != "ORDERS" || p.Operator != "acme" {
				t.Errorf("named is %+v", p)
			}
		}

		// The key of another account's template names nothing, though it is on record.
		did(h.CreateTemplate(t.Context(), op(), "OTHER", deviceTemplate())).well(t)
		theirs := h.keys(t, issuer.KeyOwner{Account: "OTHER", Template: "device"})[0].ID
		key := issuer.PartyKey{AccountID: here.Account, IssuerKey: theirs}
		if named, err = h.Parties(t.Context(), admin(here).Caller, []issuer.PartyKey{key}); err != nil || named[key].Template != "" {
			t.Errorf("by another account's key it is %+v, %v", named, err)
		}
	})
}
