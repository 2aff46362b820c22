package issuer_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// The signing switch holds up batches, and enabling a user who has nothing to be lifted.
func TestSwitchHoldsUpTheRest(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "idle", Permissions: ownPermissions()})).well(t)
		did(h.DisableUser(t.Context(), op(), w.account.ID, "idle")).well(t)
		h.raw.Run(t, `UPDATE operators SET signing = FALSE`)
		results, err := h.CreateUsers(t.Context(), op(), w.account.ID, []issuer.UserInput{{Name: "b1", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}})
		if err != nil || len(results) != 1 || issuer.AsError(results[0].Err).Code != "signing_off" {
			t.Errorf("%+v, %v", results, err)
		}
		if e := wants(t, second(h.EnableUser(t.Context(), op(), w.account.ID, "idle")), issuer.KindConflict); e.Code != "signing_off" {
			t.Errorf("%+v", e)
		}
	})
}

// A revocation of everybody reaches what a fast clock's batch issued.
func TestRevokeReachesBatches(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.advance(time.Minute)
		results, err := h.CreateUsers(t.Context(), op(), w.account.ID, []issuer.UserInput{{Name: "b1", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}})
		if err != nil || results[0].Err != nil {
			t.Fatalf("%+v, %v", results, err)
		}
		h.advance(-time.Minute)
		h.revoke(t, w, issuer.Everybody)
		if h.alive(t, w, *results[0].Issued) {
			t.Error("what the batch issued is accepted")
		}
	})
}

// Revoking a user withdraws the user's links by itself, and un-revoking minds the version that was seen.
func TestRevokeWithdrawsLinks(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		link := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{Delivery: issuer.DeliverLink})).well(t).Link
		h.revoke(t, w, "d1")
		if _, _, err := h.UseCredentialLink(t.Context(), issuer.Op{}, link); err == nil {
			t.Error("the link lets the user in again")
		}
		stale := because()
		stale.ExpectedVersion = 77
		wants(t, second(h.Unrevoke(t.Context(), stale, w.account.ID, "d1")), issuer.KindStale)
	})
}

// At the border of a second: a key that was revoked in the second of its issuance is not renewed.
func TestRenewWithinTheSecondOfARevocation(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.revoke(t, w, w.device.Issued.PublicKey)
		if e := wants(t, second(h.Renew(t.Context(), op(), w.account.ID, "d1", issuer.RenewInput{})), issuer.KindConflict); e.Code != "key_revoked" {
			t.Errorf("%+v", e)
		}
	})
}

// Each single thing that speaks against a renewal does so alone.
func TestRenewalsRefusedForOneReason(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.policy(t, `{"renewal_percent":100}`)
		me := newHolder(t)
		mine := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me), TTL: time.Hour})).well(t)
		renew := func(token claims.Secret, proof *issuer.Proof) error {
			h.advance(10 * time.Second)
			_, err := h.RenewByHolder(t.Context(), issuer.Op{}, issuer.RenewalInput{JWT: token, Proof: *proof})
			return err
		}
		// Another's JWT with the identity of one that is on record.
		pair, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		issuerKey, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(mine.JWT.Reveal(), ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), mine.Signer, issuerKey, 1)))
		signature, err := pair.Sign([]byte(forged))
		if err != nil {
			t.Fatal(err)
		}
		forged += "." + base64.RawURLEncoding.EncodeToString(signature)
		wants(t, renew(claims.NewSecret(forged), h.proof(t, me)), issuer.KindForbidden)

		h.advance(time.Minute)
		ahead := h.proof(t, me) // of a replica whose clock is fast
		h.advance(-30 * time.Second)
		wants(t, renew(mine.JWT, ahead), issuer.KindForbidden)
		h.advance(30 * time.Second)
		if err := renew(mine.JWT, h.proof(t, me)); err != nil {
			t.Errorf("nothing speaks against it: %v", err)
		}
		h.advance(2 * time.Hour)
		wants(t, renew(mine.JWT, h.proof(t, me)), issuer.KindForbidden) // expired
		again := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{PublicKey: me.key, TTL: time.Hour})).well(t)
		h.revoke(t, w, me.key)
		wants(t, renew(again.JWT, h.proof(t, me)), issuer.KindForbidden)
	})
}

// A key with a credential that never expires stays revoked, whatever else of it has expired.
func TestCompactKeepsWhatNeverExpires(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		ever := did(h.Issue(t.Context(), because(), w.account.ID, "ada@example.com", issuer.IssueInput{NoExpiry: true})).well(t)
		h.issue(t, w, "ada@example.com", issuer.IssueInput{PublicKey: ever.PublicKey, TTL: time.Minute})
		h.revoke(t, w, ever.PublicKey)
		h.advance(48 * time.Hour)
		if out := did(h.Compact(t.Context(), op(), w.account.ID)).well(t); out.Removed != 0 || h.alive(t, w, ever) {
			t.Errorf("%+v", out)
		}
	})
}

// What the upkeep signs carries the highest of a subject's revocations, and none that was lifted.
func TestBatchCarriesRevocations(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		h.revoke(t, w, key)
		h.advance(time.Minute)
		want := h.revoke(t, w, key).Value.Revocations[0].Before
		h.revoke(t, w, w.ada.Issued.PublicKey)
		did(h.Unrevoke(t.Context(), because(), w.account.ID, w.ada.Issued.PublicKey)).well(t)
		before := h.account(t, w.account.ID).JWTVersion
		h.raw.Run(t, `UPDATE accounts SET resign_us = 1 WHERE id = '`+w.account.ID+`'`)
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.account(t, w.account.ID).JWTVersion != before+1 {
			t.Fatal("it was not signed anew")
		}
		if r := h.revoked(t, w); len(r) != 1 || r[key] != want {
			t.Errorf("%v, want %s at %d", r, key, want)
		}
	})
}
