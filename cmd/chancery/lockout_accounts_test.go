package main

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
)

// Chancery gets itself a new credential; whoever else is on the system account is issued to anew.
func lockSystemEverybody(l *lockout) {
	admin := l.client("SYS", "admin")
	live := l.mustConnect(l.running()[0], admin)
	before := l.losses()
	l.insist(l.byAPI("PUT", "/accounts/SYS/revocations/*", `{"reason":"by mistake"}`))
	l.cutOff(before)
	live.mustClose(l.t)
	l.refuses(admin)
	l.works()
	l.admits(l.issueTo("SYS", "admin"))
}

// Revoked, Chancery gets itself a new credential. Disabled, its user gets none until it is enabled again; deleted,
// it is made anew.
func lockSystemUser(l *lockout) {
	before := l.losses()
	l.insist(l.byAPI("PUT", "/accounts/SYS/revocations/chancery", `{"reason":"by mistake"}`))
	l.cutOff(before)
	l.works()

	before = l.losses()
	must(l.t, l.byAPI("PUT", "/accounts/SYS/users/chancery/disablement", `{}`)([]issuer.Guard{l.guard}))
	l.cutOff(before)
	eventually(l.t, "Chancery is told why", func() bool { return strings.Contains(l.log.String(), "could not be renewed") })
	l.tell("DELETE", "/accounts/SYS/users/chancery/disablement", "", nil)
	l.works()

	before = l.losses()
	must(l.t, l.byAPI("DELETE", "/accounts/SYS/users/chancery", "")([]issuer.Guard{l.guard}))
	l.cutOff(before)
}

// The system account has no key left on the servers: its own comes back, and they are restarted.
func lockSystemKey(l *lockout) {
	key := l.keyOf("/accounts/SYS")
	before := l.losses()
	l.insist(l.byAPI("PATCH", key, toDisabled), issuer.GuardKeyInUse)
	l.cutOff(before)
	l.tell("PATCH", key, toCurrent, nil)
	l.staysAway()
	l.reboot()
	l.works()

	// With another key in its place nobody needs to do anything.
	before = l.losses()
	must(l.t, l.byAPI("POST", l.keyOf("/accounts/SYS")+"/compromise", `{}`)([]issuer.Guard{l.guard, issuer.GuardKeyInUse}))
	l.cutOff(before)
}

// Servers that were told to admit nobody to the system account hear nothing any more, until they are restarted.
func lockSystemAccount(l *lockout) {
	before := l.losses()
	l.insist(l.byAPI("PUT", "/accounts/SYS/suspension", `{"reason":"by mistake"}`))
	l.cutOff(before)
	l.tell("DELETE", "/accounts/SYS/suspension", "", nil)
	l.staysAway()
	l.reboot()
}

// staysAway wants Chancery to be refused still, after some more attempts to connect.
func (l *lockout) staysAway() {
	l.t.Helper()
	attempts := func() uint64 {
		v, err := l.running()[0].Varz(nil)
		must(l.t, err)
		return v.TotalConnections
	}
	before := attempts()
	eventually(l.t, "Chancery has tried a few times more", func() bool { return attempts() >= before+5 })
	if s, err := l.app.resolver.Sync(l.t.Context(), l.operator.Settings.SystemAccount); err != nil || s.Connected {
		l.t.Errorf("Chancery is let in: connected %v, %v", s.Connected, err)
	}
}

// The clients of a key are closed and refused. A disabled key comes back; after a retired one they are issued to anew.
func lockKeyInUse(l *lockout) {
	key := l.keyOf("/accounts/ORDERS")
	live := l.mustConnect(l.running()[0], l.creds)
	l.insist(l.byAPI("PATCH", key, toDisabled))
	live.mustClose(l.t)
	l.refuses(l.creds)
	l.tell("PATCH", key, toCurrent, nil)
	l.works()

	must(l.t, l.byAPI("PATCH", key, `{"state":"retired"}`)([]issuer.Guard{l.guard}))
	l.refuses(l.creds)
	l.tell("POST", "/accounts/ORDERS/signing-keys", `{}`, nil)
	l.creds = l.issueTo("ORDERS", "u")
}

// An account that the identity key signed is refused by servers that start with the strict JWT, until it is signed anew.
func lockStrict(l *lockout) {
	l.tell("PATCH", "/operators/acme", `{"strict_signing_keys":false}`, nil)
	l.signByIdentity("ORDERS")
	l.reboot()
	l.admits(l.creds)
	l.insist(l.byAPI("PATCH", "/operators/acme", `{"strict_signing_keys":true}`))
	l.reboot()
	l.refuses(l.creds)
	l.tell("PATCH", "/accounts/ORDERS", `{"description":"signed anew"}`, nil)
}

// signByIdentity has the operator's identity key sign the account, as an import may bring it.
func (l *lockout) signByIdentity(account string) {
	l.t.Helper()
	a, err := l.app.issuer.GetAccount(l.t.Context(), drillOp.Caller, account)
	must(l.t, err)
	c, err := jwt.DecodeAccountClaims(a.JWT)
	must(l.t, err)
	eventually(l.t, "the next second", func() bool { return time.Now().Unix() > a.IssuedAt })
	must(l.t, l.app.store.Write(l.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.GetKeyset(ctx, "seeds")
		must(l.t, err)
		kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
		must(l.t, err)
		keys, err := custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}.Open(kek)
		must(l.t, err)
		k, err := tx.GetKey(ctx, l.operator.ID)
		must(l.t, err)
		open, err := keys.Open(k.Sealed, custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: k.OperatorID, AccountID: k.AccountID})
		must(l.t, err)
		defer open.Wipe()
		seed, err := open.Seed()
		must(l.t, err)
		pair, err := nkeys.FromSeed(seed)
		must(l.t, err)
		a, _, err := tx.LockAccount(ctx, a.ID)
		must(l.t, err)
		token, err := c.Encode(pair)
		must(l.t, err)
		return tx.PutJWT(ctx, store.JWT{
			Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: c.IssuedAt, JTI: c.ID,
			Signer: l.operator.ID, Actor: "test", RequestID: "import", Token: token,
		})
	}))
	l.app.resolver.Wake()
}
