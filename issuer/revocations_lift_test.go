package issuer_test

import (
	"testing"
	"time"

	"chancery/issuer"
)

// What disabling a user revoked is compacted under everybody's, and lifted when the user is enabled: taking
// everybody's back later must not refuse the user again, and revives nothing else.
func TestEnablingLiftsCompactedRevocations(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := h.issue(t, w, "ada@example.com", issuer.IssueInput{})
		did(h.DisableUser(t.Context(), op(), w.account.ID, "d1")).well(t)
		h.revoke(t, w, other.PublicKey)
		h.advance(time.Minute)
		h.revoke(t, w, issuer.Everybody)
		if c := did(h.Compact(t.Context(), op(), w.account.ID)).well(t); c.Removed != 2 {
			t.Fatalf("%+v", c)
		}
		did(h.EnableUser(t.Context(), op(), w.account.ID, "d1")).well(t)
		if h.alive(t, w, *w.device.Issued) {
			t.Fatal("enabling took everybody's revocation back")
		}
		back := did(h.Unrevoke(t.Context(), because(), w.account.ID, issuer.Everybody)).well(t)
		if !h.alive(t, w, *w.device.Issued) || h.alive(t, w, other) || back.Restored != 1 {
			t.Errorf("%+v, %v", back, h.revoked(t, w))
		}
		h.verify(t)
	})
}

// What a subject's revocations were before they were compacted does not come back once they were taken back.
func TestUnrevokingLiftsCompactedRevocations(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.ada.Issued.PublicKey
		h.revoke(t, w, key)
		h.advance(time.Minute)
		h.revoke(t, w, issuer.Everybody)
		did(h.Compact(t.Context(), op(), w.account.ID)).well(t)
		h.advance(time.Minute)
		h.revoke(t, w, key)
		did(h.Unrevoke(t.Context(), because(), w.account.ID, key)).well(t)
		if h.alive(t, w, *w.ada.Issued) {
			t.Fatal("everybody's is gone too")
		}
		did(h.Unrevoke(t.Context(), because(), w.account.ID, issuer.Everybody)).well(t)
		if !h.alive(t, w, *w.ada.Issued) {
			t.Error("a revocation that was taken back is in force again")
		}
	})
}

// What a disabled or deleted user had stays refused, whatever else is taken back: only enabling lifts it.
func TestUnrevokingLeavesDisabledUsers(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		h.revoke(t, w, key)
		did(h.DisableUser(t.Context(), op(), w.account.ID, "d1")).well(t)
		for _, subject := range []string{key, "d1"} {
			h.revoke(t, w, subject)
			if out, err := h.Unrevoke(t.Context(), because(), w.account.ID, subject); err != nil || out.Value.Revived != 0 || out.Value.StillRefused != 1 {
				t.Errorf("%s: %+v, %v", subject, out, err)
			}
			if h.alive(t, w, *w.device.Issued) {
				t.Errorf("%s: a disabled user's credential is accepted", subject)
			}
			if e := wants(t, second(h.Unrevoke(t.Context(), because(), w.account.ID, subject)), issuer.KindConflict); e.Code != "user_disabled" {
				t.Errorf("%+v", e)
			}
		}
		did(h.EnableUser(t.Context(), op(), w.account.ID, "d1")).well(t)
		if !h.alive(t, w, *w.device.Issued) {
			t.Error("enabling does not let the user in")
		}
		did(h.DeleteUser(t.Context(), op(), w.account.ID, "d1")).well(t)
		wants(t, second(h.Unrevoke(t.Context(), because(), w.account.ID, key)), issuer.KindConflict)
		if h.alive(t, w, *w.device.Issued) {
			t.Error("a deleted user's credential is accepted")
		}
		h.verify(t)
	})
}

// A key that was rolled is revoked at the end of its grace, whatever was taken back meanwhile.
func TestUnrevokingLeavesWhatIsScheduled(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		did(h.Roll(t.Context(), op(), w.account.ID, "d1", issuer.RollInput{Grace: time.Minute})).well(t)
		h.revoke(t, w, key)
		did(h.Unrevoke(t.Context(), because(), w.account.ID, key)).well(t)
		if !h.alive(t, w, *w.device.Issued) {
			t.Fatal("the grace is not over")
		}
		h.advance(time.Minute)
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.alive(t, w, *w.device.Issued) {
			t.Error("the old key outlives its grace")
		}
	})
}

// Nothing that is scheduled for an account, and nothing moot in it, disturbs the upkeep once the account is deleted.
func TestUpkeepOfDeletedAccounts(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.Roll(t.Context(), op(), w.account.ID, "d1", issuer.RollInput{Grace: time.Minute})).well(t)
		h.fill(t, w, 150, time.Minute)
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1"})).well(t)
		o := op()
		o.ExpectedVersion = h.account(t, w.account.ID).Version
		did(h.DeleteAccount(t.Context(), o, w.account.ID)).well(t)
		h.advance(48 * time.Hour)
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.verify(t)
	})
}
