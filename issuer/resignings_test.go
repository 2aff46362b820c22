package issuer_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

// After a rotation of the operator's key every account has exactly one new version, by
// the new key, with everything that it had, an audit entry, a change and a delivery
// owed. Several replicas share the work.
func TestResignAll(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		const crowd = 450
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		h.crowd(t, w, crowd)
		before := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		version := h.account(t, "ORDERS").JWTVersion
		h.settle(t)
		h.sequence(t)
		entries := len(h.audited(t))
		h.advance(time.Minute)
		next := did(h.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})).well(t)
		if next.Owing != crowd+2 {
			t.Errorf("%d accounts owe a signature", next.Owing)
		}
		var wait sync.WaitGroup
		for _, i := range []*issuer.Issuer{h.Issuer, h.open(t, h.store, h.kek), h.open(t, h.store, h.kek)} {
			wait.Go(func() {
				if err := i.Upkeep(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		h.upkeep(t)
		if n := h.count(t, `SELECT count(*) FROM accounts WHERE signer = $1 AND resign_us = 0 AND jwt_version = 2`, next.ID); n < crowd {
			t.Errorf("%d of %d accounts have exactly one new version", n, crowd)
		}
		a := h.account(t, "ORDERS")
		after := decode[*jwt.AccountClaims](t, a.JWT)
		if a.JWTVersion != version+1 || after.IssuedAt <= before.IssuedAt || after.Issuer != next.ID {
			t.Errorf("ORDERS went from version %d to %d", version, a.JWTVersion)
		}
		before.ClaimsData, after.ClaimsData = jwt.ClaimsData{}, jwt.ClaimsData{}
		if before.String() != after.String() {
			t.Errorf("the account says something else:\n%s\n%s", before, after)
		}
		for what, query := range map[string]string{
			"deliveries owed": `SELECT count(*) FROM outbox o JOIN accounts a ON a.id = o.account_id WHERE o.want_jwt_version = a.jwt_version`,
			"versions kept":   `SELECT count(*) FROM jwts j JOIN accounts a ON a.id = j.subject WHERE j.jwt_version = a.jwt_version AND j.jwt = a.jwt AND j.jti = a.jti AND j.iat = a.iat`,
			"changes":         `SELECT count(*) FROM changes c JOIN accounts a ON a.id = c.account_id WHERE c.jwt_version = a.jwt_version`,
		} {
			if n := h.count(t, query); n != crowd+2 {
				t.Errorf("%s: %d of %d", what, n, crowd+2)
			}
		}
		h.sequence(t)
		signed := map[string]int{}
		for _, e := range h.audited(t)[entries:] {
			if e.Action == "resign" && e.Outcome == "done" {
				signed[e.Target]++
			}
		}
		if len(signed) != crowd+2 || len(h.audited(t)) != entries+crowd+3 {
			t.Errorf("%d accounts on record in %d entries", len(signed), len(h.audited(t))-entries)
		}
	})
}

// An account that cannot be signed, or stored, keeps its debt and holds up nobody; when
// the fault is mended it is signed.
func TestResignOfOneFails(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.crowd(t, w, 30)
		// C00003 says what no server takes; of C00007 the next version is there already.
		settings := h.text(t, `SELECT settings FROM accounts WHERE name = 'C00003'`)
		h.raw.Run(t, `UPDATE accounts SET settings = '{"limits":{"conn":-7}}' WHERE name = 'C00003'`)
		h.raw.Run(t, `UPDATE jwts SET jwt_version = 2 WHERE subject = (SELECT id FROM accounts WHERE name = 'C00007')`)
		h.advance(time.Minute)
		next := did(h.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})).well(t)
		err := h.Upkeep(t.Context())
		if err == nil || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("the upkeep says %v", err)
		}
		if n := h.count(t, `SELECT count(*) FROM accounts WHERE signer = $1`, next.ID); n != 30 {
			t.Errorf("%d of 30 are signed", n)
		}
		h.raw.Run(t, `UPDATE accounts SET settings = $1 WHERE name = 'C00003'`, settings)
		h.raw.Run(t, `UPDATE jwts SET jwt_version = 1 WHERE subject = (SELECT id FROM accounts WHERE name = 'C00007')`)
		h.upkeep(t)
		if n := h.count(t, `SELECT count(*) FROM accounts WHERE signer = $1 AND resign_us = 0`, next.ID); n != 32 {
			t.Errorf("%d of 32 are signed", n)
		}
	})
}

// Of an account's JWT the bodies of the last versions are kept, as with every signing.
func TestResignKeepsTheLastBodies(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for range 25 {
			h.raw.Run(t, `UPDATE accounts SET resign_us = 1 WHERE name = 'ORDERS'`)
			h.upkeep(t)
		}
		kept := h.count(t, `SELECT count(*) FROM jwts j JOIN accounts a ON a.id = j.subject WHERE a.name = 'ORDERS' AND j.jwt <> ''`)
		all := h.count(t, `SELECT count(*) FROM jwts j JOIN accounts a ON a.id = j.subject WHERE a.name = 'ORDERS'`)
		if kept != 20 || all <= 25 {
			t.Errorf("%d of %d bodies are kept", kept, all)
		}
	})
}
