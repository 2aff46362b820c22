package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/issuer"
	"chancery/store"
)

func lifetime(d time.Duration) func(*issuer.AccountEdit) {
	return func(e *issuer.AccountEdit) { e.Lifetime = d }
}

// ends is the end of the account's JWT, which the rows must agree with.
func (h *house) ends(t *testing.T, ref string) int64 {
	t.Helper()
	a := h.account(t, ref)
	c := decode[*jwt.AccountClaims](t, a.JWT)
	if c.Expires != a.Expires || a.Expires != a.ExpiryOf(c.IssuedAt) {
		t.Errorf("the JWT ends at %d, by the rows at %d and %d", c.Expires, a.Expires, a.ExpiryOf(c.IssuedAt))
	}
	if a.Lifetime > 0 && !a.Renewal.Equal(time.Unix(c.IssuedAt, 0).Add(a.Lifetime/2)) {
		t.Errorf("issued at %d, it is renewed at %v", c.IssuedAt, a.Renewal)
	}
	return c.Expires
}

// A lifetime is renewed at half of it and moved on by every other signing; a fixed end stays. The rows make the JWT all
// the while.
func TestLifetimeIsRenewed(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		const day = 24 * time.Hour
		start := h.unix()
		plan, err := h.UpdateAccount(t.Context(), dryRun(), "ORDERS", lifetime(day))
		if err != nil || len(plan.Plan.Changes) != 1 || plan.Value.Lifetime != day || plan.Value.Expires < start+86400 || plan.Value.Renewal.IsZero() {
			t.Errorf("the plan is %+v of %+v, %v", plan.Plan.Changes, plan.Value, err)
		}
		if s := plan.Plan.Summary; len(s) != 1 || s[0].Sentence() != "Lifetime of each JWT: no end → 1 day" {
			t.Errorf("in words: %+v", s)
		}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", lifetime(day))).well(t)
		first := h.ends(t, "ORDERS")
		version, etag := h.account(t, "ORDERS").JWTVersion, h.account(t, "ORDERS").Version
		h.upkeep(t)
		h.advance(day/2 - time.Minute)
		h.upkeep(t)
		if a := h.account(t, "ORDERS"); a.JWTVersion != version {
			t.Error("renewed before half of the lifetime")
		}
		h.advance(time.Minute + 10*time.Second)
		h.upkeep(t)
		h.upkeep(t)
		a := h.account(t, "ORDERS")
		if a.JWTVersion != version+1 || a.Version != etag || h.ends(t, "ORDERS") < first+43200 {
			t.Errorf("after half of the lifetime: version %d to %d, end %d to %d", version, a.JWTVersion, first, a.Expires)
		}
		if n := h.count(t, `SELECT count(*) FROM outbox o JOIN accounts a ON a.id = o.account_id WHERE a.name = 'ORDERS' AND o.want_jwt_version = a.jwt_version`); n != 1 {
			t.Error("the renewal is not pushed")
		}
		h.verify(t)

		// Another signing moves it on.
		h.advance(time.Hour)
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "ada@example.com"})).well(t)
		if end := h.ends(t, "ORDERS"); end != h.unix()+86400 {
			t.Errorf("revoked at %d, it ends at %d", h.unix(), end)
		}
		did(h.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})).well(t)
		h.advance(time.Hour)
		h.upkeep(t)
		if end := h.ends(t, "ORDERS"); end != h.unix()+86400 {
			t.Errorf("signed anew at %d, it ends at %d", h.unix(), end)
		}
		h.verify(t)

		// A fixed end takes its place, and stays.
		end := h.unix() + 7200
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Expires, e.Lifetime = end, 0 })).well(t)
		h.advance(time.Minute)
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Description = "x" })).well(t)
		if got := h.ends(t, "ORDERS"); got != end || !h.account(t, "ORDERS").Renewal.IsZero() {
			t.Errorf("it ends at %d, not %d, and is renewed at %v", got, end, h.account(t, "ORDERS").Renewal)
		}
		h.advance(3 * time.Hour)
		h.upkeep(t)
		if h.ends(t, "ORDERS") != end {
			t.Error("a fixed end moved")
		}
		// What has expired can still be edited, and be given a later end.
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Description = "y" })).well(t)
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Expires = 0 })).well(t)
		if h.ends(t, "ORDERS") != 0 {
			t.Error("the end is still there")
		}
		h.verify(t)
	})
}

// A tombstone has no end: the servers are to hold it for ever.
func TestTombstoneDoesNotExpire(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", lifetime(time.Hour))).well(t)
		named := op()
		named.ExpectedVersion = h.account(t, "ORDERS").Version
		a := did(h.DeleteAccount(t.Context(), named, "ORDERS")).well(t)
		if a.Expires != 0 || a.Lifetime != 0 || !a.Renewal.IsZero() || decode[*jwt.AccountClaims](t, a.JWT).Expires != 0 {
			t.Errorf("the tombstone ends at %d", a.Expires)
		}
		h.advance(2 * time.Hour)
		h.upkeep(t)
		if h.account(t, w.account.ID).JWTVersion != a.JWTVersion {
			t.Error("the tombstone was renewed")
		}
		h.verify(t)
	})
}

// Renewals wait while the signing switch is off, and are made up for.
func TestSigningSwitchHoldsRenewalsUp(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", lifetime(time.Hour))).well(t)
		before := h.ends(t, "ORDERS")
		did(h.SetSigning(t.Context(), because(), "acme", false)).well(t)
		if held, err := h.RenewalsHeld(t.Context(), owner, "acme"); err != nil || held.Accounts != 0 {
			t.Errorf("%+v, %v", held, err)
		}
		h.advance(45 * time.Minute)
		h.upkeep(t)
		if h.ends(t, "ORDERS") != before {
			t.Error("renewed with signing off")
		}
		if held, err := h.RenewalsHeld(t.Context(), owner, "acme"); err != nil || held.Accounts != 1 || held.First.Unix() != before {
			t.Errorf("%+v, %v", held, err)
		}
		did(h.SetSigning(t.Context(), because(), "acme", true)).well(t)
		h.upkeep(t)
		if h.ends(t, "ORDERS") != h.unix()+3600 {
			t.Error("not renewed when signing was on again")
		}
	})
}

// A crash between what a renewal does loses none: of 120 accounts each is renewed exactly once.
func TestRenewalSurvivesACrash(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		const crowd = 120
		h.crowd(t, w, crowd)
		h.raw.Run(t, `UPDATE accounts SET lifetime_s = 3600, resign_us = 1 WHERE name LIKE 'C0%'`)
		h.upkeep(t)
		h.advance(31 * time.Minute)
		// Owed and not yet signed: the process dies here.
		if err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.OweRenewals(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.Upkeep(ctx); err == nil {
			t.Error("the upkeep went on")
		}
		other := h.open(t, h.store, h.kek)
		if err := other.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.upkeep(t)
		if n := h.count(t, `SELECT count(*) FROM accounts WHERE name LIKE 'C0%' AND jwt_version = 3 AND expires_s = $1 AND resign_us = 0`, h.unix()+3600); n != crowd {
			t.Errorf("%d of %d are renewed once", n, crowd)
		}
		h.verify(t)
	})
}

// What is wrong with an end says so at its field; the system account has none without an override.
func TestExpiryIsChecked(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for name, c := range map[string]struct {
			edit    func(*issuer.AccountEdit)
			pointer string
		}{
			"past":      {func(e *issuer.AccountEdit) { e.Expires = h.unix() }, "/expires_at"},
			"too short": {lifetime(time.Hour - time.Second), "/lifetime_seconds"},
			"too long":  {lifetime(11 * 366 * 24 * time.Hour), "/lifetime_seconds"},
			"fraction":  {lifetime(time.Hour + time.Millisecond), "/lifetime_seconds"},
			"both":      {func(e *issuer.AccountEdit) { e.Expires, e.Lifetime = h.unix()+9, time.Hour }, "/lifetime_seconds"},
		} {
			e := wants(t, second(h.UpdateAccount(t.Context(), op(), "ORDERS", c.edit)), issuer.KindInvalid)
			if len(e.Problems) != 1 || e.Problems[0].Pointer != c.pointer {
				t.Errorf("%s: %+v", name, e.Problems)
			}
		}
		for _, edit := range []func(*issuer.AccountEdit){lifetime(time.Hour), func(e *issuer.AccountEdit) { e.Expires = h.unix() + 9 }} {
			if e := wants(t, second(h.UpdateAccount(t.Context(), op(), "SYS", edit)), issuer.KindConflict); e.Guard != issuer.GuardSystemAccount {
				t.Errorf("%+v", e)
			}
		}
		// A lifetime does not keep other edits waiting for a fixed end, and the other way round.
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", lifetime(time.Hour))).well(t)
		wants(t, second(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Expires = h.unix() + 9 })), issuer.KindInvalid)
	})
}

// On a real server: an account whose end comes loses its connections; one with a lifetime is renewed before, and
// keeps them.
func TestExpiryOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for left := 4 * time.Second; !h.expiresOnServer(t, left); left *= 2 {
			t.Logf("%s was over before the server was told of a renewal", left)
			if left > patience {
				t.Fatal("this machine is too slow")
			}
		}
	})
}

// expiresOnServer has an account end on a server in so long, and another be renewed before; false when the machine was
// too slow for that.
func (h *house) expiresOnServer(t *testing.T, left time.Duration) bool {
	// The house is behind the servers' clock, so that a lifetime of an hour ends in a few seconds.
	h.advance(time.Since(h.time()) - time.Hour + left)
	operator := fmt.Sprint("live ", left)
	w := h.furnishAs(t, operator, "LIVE")
	ending := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: operator, Name: "ENDING", Settings: w.account.Settings, AccountExpiry: issuer.AccountExpiry{Lifetime: time.Hour}})).well(t)
	did(h.UpdateAccount(t.Context(), op(), w.account.ID, lifetime(time.Hour))).well(t)
	ada := did(h.CreateUser(t.Context(), op(), ending.ID, issuer.UserInput{Name: "ada", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
	first, end := h.ends(t, w.account.ID), h.ends(t, ending.ID)
	s := h.run(t, w, ending.ID)
	system, err := h.SystemCredential(t.Context(), op(), operator, "this test")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := connect(t, s, system.Creds)
	if err != nil {
		t.Fatal(err)
	}
	dropped, kept := make(chan struct{}), make(chan struct{})
	_, endingErr := connect(t, s, ada.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(dropped) }))
	nc, err := connect(t, s, w.ada.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(kept) }))
	h.advance(31 * time.Minute)
	h.upkeep(t)
	h.push(t, admin, w.account.ID) // and not ENDING
	if time.Now().Unix() >= min(first, end) {
		return false
	}
	if err := errors.Join(endingErr, err); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, "expired", dropped)
	if _, err := connect(t, s, ada.Issued.Creds); err == nil {
		t.Error("admitted to an expired account")
	}
	for time.Now().Unix() <= first {
		if err := nc.FlushTimeout(patience); err != nil {
			t.Fatalf("the renewed account: %v", err)
		}
		select {
		case <-kept:
			t.Fatal("the connection of a renewed account was closed")
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := nc.FlushTimeout(patience); err != nil || errors.Is(nc.LastError(), nats.ErrAuthExpired) {
		t.Errorf("after its first end: %v, %v", err, nc.LastError())
	}
	// Its renewal brings the other one back.
	h.push(t, admin, ending.ID)
	if _, err := connect(t, s, ada.Issued.Creds); err != nil {
		t.Errorf("renewed after its end: %v", err)
	}
	return true
}
