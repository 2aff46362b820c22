package issuer_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// keyed stores a key whose seed is elsewhere.
func (h *house) keyed(t testing.TB, prefix nkeys.PrefixByte, k store.Key) nkeys.KeyPair {
	t.Helper()
	pair, id := pairOf(t, prefix)
	k.ID, k.Custody = id, "public_only"
	if err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.CreateKey(ctx, k) }); err != nil {
		t.Fatal(err)
	}
	return pair
}

// Who may not sign what is merged: keys that are not trusted any more, keys of a role, an identity where the operator
// is strict; and what a key of the operator brings is not for those who may not set limits.
func TestMergeSigners(t *testing.T) {
	h := newHouse(t, "sqlite")
	w := h.furnish(t)
	x := h.tenant(t, w)
	h.advance(time.Minute)
	account := store.Key{Kind: "account", Role: "signing", OperatorID: w.operator.ID, AccountID: w.account.ID, State: "retired"}
	operator := store.Key{Kind: "operator", Role: "signing", OperatorID: w.operator.ID, State: "retired"}
	scoped, identity, disabled := account, operator, account
	scoped.State, scoped.TemplateID, disabled.State = "current", w.template.ID, "disabled"
	identity.State, identity.Role = "current", "identity"
	cases := []struct {
		name string
		pair nkeys.KeyPair
		code string
	}{
		{"a retired key of the account", h.keyed(t, nkeys.PrefixByteAccount, account), "untrusted_issuer"},
		{"a disabled key of the account", h.keyed(t, nkeys.PrefixByteAccount, disabled), "untrusted_issuer"},
		{"a key of a role", h.keyed(t, nkeys.PrefixByteAccount, scoped), "scoped_issuer"},
		{"a retired key of the operator", h.keyed(t, nkeys.PrefixByteOperator, operator), "untrusted_issuer"},
		{"the identity of a strict operator", h.keyed(t, nkeys.PrefixByteOperator, identity), "untrusted_issuer"},
	}
	c := x.copy(t)
	c.Description = "changed"
	for _, y := range cases {
		h.unchanged(t, func() {
			if err := x.send(t, op(), signedAt(t, c, y.pair, h.unix())).err; err == nil || issuer.AsError(err).Code != y.code {
				t.Errorf("%s: %v, want %s", y.name, err, y.code)
			}
		}, "audit")
	}
	rival := signedAt(t, c, h.rival(t), h.unix())
	admin := may(issuer.Grant{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}})
	wants(t, x.send(t, admin, rival).err, issuer.KindForbidden)
	found := issuer.MergeInput{Account: w.account.ID, Token: signedAt(t, c, x.pair, h.unix()), Source: issuer.MergeFound}
	wants(t, did(h.MergeAccount(t.Context(), op(), found)).err, issuer.KindForbidden)
	system := h.account(t, w.operator.Settings.SystemAccount)
	s := h.outsider(t, system, newPair(t, nkeys.PrefixByteAccount))
	if e := wants(t, s.merge(t, op(), s.copy(t)).err, issuer.KindForbidden); e.Code != "system_account" {
		t.Errorf("the system account: %+v", e)
	}
	x.send(t, op(), rival).well(t)
}

// A copy that its holder forgot, and the same copy sent again, undo nothing.
func TestMergeForgotten(t *testing.T) {
	h := newHouse(t, "sqlite")
	w := h.furnish(t)
	x := h.tenant(t, w)
	h.advance(time.Minute)
	c := x.copy(t)
	c.Description = "first"
	first, forgotten := signedAt(t, c, x.pair, h.unix()), h.unix()-3600
	x.send(t, op(), first).well(t)
	h.advance(5 * time.Minute)
	c = x.copy(t)
	c.Description = "second"
	x.merge(t, op(), c).well(t)
	h.advance(time.Minute)
	if out := x.send(t, op(), first).well(t); out.Result != issuer.MergeReplay || x.copy(t).Description != "second" {
		t.Errorf("sent again: %+v, %q", out, x.copy(t).Description)
	}
	c.Description = "forgotten"
	if e := wants(t, x.send(t, op(), signedAt(t, c, x.pair, forgotten)).err, issuer.KindStale); e.Code != "older_jwt" {
		t.Errorf("forgotten: %+v", e)
	}
}

// What a copy lacks, or has otherwise, of what is revoked and held here: all of it stays, and what is revoked later is.
func TestMergeKeeps(t *testing.T) {
	h := newHouse(t, "sqlite")
	w := h.furnish(t)
	retired := h.plainKey(t, w.account.ID)
	x := h.tenant(t, w)
	_, importer := pairOf(t, nkeys.PrefixByteAccount)
	did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Policy.AccountTags = []string{"env"} })).well(t)
	did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Tags = jwt.TagList{"env:prod"} })).well(t)
	e := did(h.CreateExport(t.Context(), op(), "ORDERS", jwt.Export{Subject: "orders.*", Type: jwt.Stream, TokenReq: true})).well(t)
	did(h.RevokeActivation(t.Context(), op(), "ORDERS", e.ID, importer)).well(t)
	did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1"})).well(t)
	before := x.copy(t)
	of := issuer.KeyOwner{Account: w.account.ID}
	did(h.AddKey(t.Context(), op(), of, issuer.KeyInput{MakeCurrent: true})).well(t)
	did(h.SetKeyState(t.Context(), overriding(issuer.GuardKeyInUse), of, retired, issuer.KeyStateInput{State: issuer.KeyRetired})).well(t)
	if !before.SigningKeys.Contains(retired) || x.copy(t).SigningKeys.Contains(retired) {
		t.Fatal("the key did not leave")
	}

	h.advance(time.Minute)
	c := x.copy(t)
	c.Tags, c.Exports[0].Revocations, c.SigningKeys = jwt.TagList{"env:dev"}, nil, before.SigningKeys
	wide := jwt.NewUserScope()
	wide.Key, wide.Role, wide.Template.Pub.Allow = h.templateKey(t), "device", jwt.StringList{">"}
	c.SigningKeys.AddScopedSigner(wide)
	later := h.unix()
	c.Revocations[w.device.Issued.PublicKey] = later
	x.merge(t, op(), c).well(t)
	after := x.copy(t)
	if !after.Tags.Contains("env:prod") || after.Tags.Contains("env:dev") {
		t.Errorf("the operator's tag: %v", after.Tags)
	}
	if after.Exports[0].Revocations[importer] == 0 {
		t.Error("a revoked activation is good again")
	}
	if after.SigningKeys.Contains(retired) {
		t.Error("a key that was retired here is back")
	}
	if got, _ := after.SigningKeys.GetScope(wide.Key); got == nil || got.(*jwt.UserScope).Template.Pub.Allow.Contains(">") {
		t.Errorf("the role of a key that is held here became %+v", got)
	}
	if got := after.Revocations[w.device.Issued.PublicKey]; got != later {
		t.Errorf("revoked again at %d, in force is %d", later, got)
	}

	h.advance(time.Minute)
	c = x.copy(t)
	c.Exports[0] = &jwt.Export{Name: "all", Subject: "orders.>", Type: jwt.Stream, TokenReq: true}
	x.merge(t, op(), c).well(t)
	if after = x.copy(t); after.Exports[0].Subject != "orders.>" || after.Exports[0].Revocations[importer] == 0 {
		t.Errorf("what takes the place of an export: %+v", after.Exports[0])
	}
}

// The system account is Chancery's own way in: what somebody else revoked there is not united when ours is kept.
func TestKeepTheSystemAccount(t *testing.T) {
	h := newHouse(t, "sqlite")
	w := h.furnish(t)
	system := h.account(t, w.operator.Settings.SystemAccount)
	c := decode[*jwt.AccountClaims](t, system.JWT)
	c.Revocations = jwt.RevocationList{jwt.All: h.unix()}
	rec := store.Drift{
		OperatorID: w.operator.ID, AccountID: system.ID, AccountName: system.Name, Kind: claims.DriftNewer, Seen: claims.SeenPushed,
		JWT: signedAt(t, c, h.rival(t), system.IssuedAt+5), IssuedAt: system.IssuedAt + 5,
	}
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		rec, _, err = tx.PutDrift(ctx, rec)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := may(issuer.Grant{Role: string(issuer.RoleOperatorAdmin), Scope: issuer.Scope{Operator: "O-ELSEWHERE"}})
	wants(t, second(h.GetDrift(t.Context(), elsewhere.Caller, rec.ID)), issuer.KindNotFound)
	did(h.DecideDrift(t.Context(), op(), rec.ID, claims.DriftKeep)).well(t)
	if got := decode[*jwt.AccountClaims](t, h.account(t, system.ID).JWT); len(got.Revocations) != 0 || got.IssuedAt <= rec.IssuedAt {
		t.Errorf("%+v", got)
	}
}
