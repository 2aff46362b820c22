package issuer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
	"chancery/store/storetest"
)

// alive tells whether the account's current JWT lets the credential in.
func (h *house) alive(t testing.TB, w world, c issuer.Issued) bool {
	t.Helper()
	return !decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT).IsClaimRevoked(decode[*jwt.UserClaims](t, c.JWT.Reveal()))
}

func (h *house) issue(t testing.TB, w world, user string, in issuer.IssueInput) issuer.Issued {
	t.Helper()
	in.Waive = in.PublicKey != ""
	return did(h.Issue(t.Context(), because(), w.account.ID, user, in)).well(t)
}

func (h *house) revoke(t testing.TB, w world, subject string) issuer.Outcome[issuer.Revoked] {
	t.Helper()
	out, err := h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: subject})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each of these happens within one second, so that every comparison is at its border.
func TestRevoke(t *testing.T) {
	stories := map[string]func(t *testing.T, h *house, w world){
		"a key": func(t *testing.T, h *house, w world) {
			old := *w.device.Issued
			other := h.issue(t, w, "d1", issuer.IssueInput{})
			h.advance(time.Minute)
			h.issue(t, w, "ada@example.com", issuer.IssueInput{}) // a fast clock's, which is no matter of this key
			h.advance(-time.Minute)
			out := h.revoke(t, w, old.PublicKey)
			if h.alive(t, w, old) || !h.alive(t, w, other) || !h.alive(t, w, *w.ada.Issued) {
				t.Error("not what was meant is revoked")
			}
			if out.Plan.Credentials != 1 || len(out.Value.Revocations) != 1 || out.Value.ReissueNotBefore != h.unix()+1 || out.Value.JWTVersion != h.account(t, w.account.ID).JWTVersion {
				t.Errorf("%+v", out)
			}
		},
		"issued again in the same second": func(t *testing.T, h *house, w world) {
			old := *w.device.Issued
			out := h.revoke(t, w, old.PublicKey)
			again := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: old.PublicKey})
			if h.alive(t, w, old) || !h.alive(t, w, again) || again.IssuedAt < out.Value.ReissueNotBefore {
				t.Errorf("issued at %d, then revoked before %d, then issued at %d", old.IssuedAt, out.Value.ReissueNotBefore, again.IssuedAt)
			}
			if want := again.IssuedAt + 24*3600; again.Expires != want {
				t.Errorf("expires %d, want %d", again.Expires, want)
			}
			// And once more round.
			h.revoke(t, w, old.PublicKey)
			if h.alive(t, w, again) || !h.alive(t, w, h.issue(t, w, "d1", issuer.IssueInput{PublicKey: old.PublicKey})) {
				t.Error("the second round fails")
			}
		},
		"a user": func(t *testing.T, h *house, w world) {
			var all []issuer.Issued
			for range 3 {
				all = append(all, h.issue(t, w, "d1", issuer.IssueInput{TTL: time.Hour}))
			}
			short := h.issue(t, w, "d1", issuer.IssueInput{TTL: time.Minute})
			h.advance(2 * time.Minute)
			out := h.revoke(t, w, "d1")
			var revoked []string
			for _, v := range out.Value.Revocations {
				revoked = append(revoked, v.Subject)
			}
			want := []string{w.device.Issued.PublicKey}
			for _, c := range all {
				want = append(want, c.PublicKey)
				if h.alive(t, w, c) {
					t.Errorf("%s lives", c.PublicKey)
				}
			}
			if slices.Sort(want); !slices.Equal(sorted(revoked), want) || slices.Contains(revoked, short.PublicKey) || out.Plan.Credentials != 4 {
				t.Errorf("revoked %v (%d), want %v", revoked, out.Plan.Credentials, want)
			}
			if !h.alive(t, w, *w.ada.Issued) {
				t.Error("another user is revoked")
			}
			h.revoke(t, w, w.device.ID) // by identity as well as by name
		},
		"everybody": func(t *testing.T, h *house, w world) {
			out := h.revoke(t, w, issuer.Everybody)
			again := h.issue(t, w, "d1", issuer.IssueInput{})
			if h.alive(t, w, *w.device.Issued) || h.alive(t, w, *w.ada.Issued) || !h.alive(t, w, again) {
				t.Error("not what was meant is revoked")
			}
			if out.Plan.Credentials != 2 {
				t.Errorf("%d credentials", out.Plan.Credentials)
			}
			if out := h.revoke(t, w, issuer.Everybody); out.Plan.Credentials != 1 {
				t.Errorf("%d credentials stop working the second time, want the one that was issued since", out.Plan.Credentials)
			}
		},
		"a fast clock": func(t *testing.T, h *house, w world) {
			h.advance(300 * time.Second)
			ahead := h.issue(t, w, "d1", issuer.IssueInput{})
			h.advance(-300 * time.Second)
			out := h.revoke(t, w, ahead.PublicKey)
			if h.alive(t, w, ahead) || out.Value.Revocations[0].Before != ahead.IssuedAt {
				t.Errorf("issued at %d lives after a revocation before %d", ahead.IssuedAt, out.Value.Revocations[0].Before)
			}
			if again := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: ahead.PublicKey}); !h.alive(t, w, again) {
				t.Error("issued again, dead on arrival")
			}
		},
		"a fast clock, everybody": func(t *testing.T, h *house, w world) {
			h.advance(300 * time.Second)
			ahead := h.issue(t, w, "ada@example.com", issuer.IssueInput{})
			h.advance(-300 * time.Second)
			h.revoke(t, w, issuer.Everybody)
			if h.alive(t, w, ahead) {
				t.Error("what a fast clock issued survives everybody's revocation")
			}
			if again := h.issue(t, w, "d1", issuer.IssueInput{}); !h.alive(t, w, again) {
				t.Error("issued again, dead on arrival")
			}
		},
		"up to a time": func(t *testing.T, h *house, w world) {
			between := h.time().Add(30 * time.Second)
			h.advance(time.Minute)
			later := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey})
			did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1", Before: between})).well(t)
			if h.alive(t, w, *w.device.Issued) || !h.alive(t, w, later) {
				t.Error("not what was meant is revoked")
			}
			// A later revocation with an earlier time takes nothing back.
			h.revoke(t, w, "d1")
			did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1", Before: between})).well(t)
			if h.alive(t, w, later) {
				t.Error("an earlier time took a revocation back")
			}
		},
		"a key that was never issued here": func(t *testing.T, h *house, w world) {
			key := newUserKey(t)
			out := h.revoke(t, w, key)
			if out.Plan.Credentials != 0 || decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT).Revocations[key] != h.unix() {
				t.Errorf("%+v", out)
			}
			if first := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: key}); !h.alive(t, w, first) {
				t.Error("issued to a revoked key, dead on arrival")
			}
		},
		"nothing to revoke": func(t *testing.T, h *house, w world) {
			did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "empty", Permissions: ownPermissions()})).well(t)
			h.unchanged(t, func() {
				if e := wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "empty"})), issuer.KindConflict); e.Code != "nothing_to_revoke" {
					t.Errorf("%+v", e)
				}
				wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "nobody"})), issuer.KindNotFound)
			})
		},
		"the house itself": func(t *testing.T, h *house, w world) {
			system := w.operator.Settings.SystemAccount
			mine, err := h.SystemCredential(t.Context(), op(), w.operator.ID, "x")
			if err != nil {
				t.Fatal(err)
			}
			h.unchanged(t, func() {
				for _, op := range []issuer.Op{op(), dryRun()} {
					for _, subject := range []string{issuer.Everybody, issuer.SystemUserName, mine.UserID} {
						if e := wants(t, second(h.Revoke(t.Context(), op, system, issuer.RevokeInput{Subject: subject})), issuer.KindConflict); e.Code != "would_lock_out" {
							t.Errorf("%s: %+v", subject, e)
						}
					}
				}
			})
			// Its older keys can be revoked: it connects with the newest.
			h.advance(time.Second)
			if _, err := h.SystemCredential(t.Context(), op(), w.operator.ID, "x"); err != nil {
				t.Fatal(err)
			}
			did(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: mine.PublicKey})).well(t)
		},
	}
	each(t, func(t *testing.T, h *house) {
		for name, story := range stories {
			t.Run(name, func(t *testing.T) { story(t, h, h.furnishAs(t, name, "ORDERS")) })
		}
		h.verify(t)
	})
}

// T9 with two replicas on one database: what the one with the fast clock issues, the other one revokes.
func TestRevokeAcrossReplicas(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "postgres")
	w := h.furnish(t)
	fast := &clock{now: h.time().Add(300 * time.Second)}
	replica := h.open(t, h.openStore(t, fast), h.kek)
	for range 10 {
		ahead := did(replica.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})).well(t)
		if ahead.IssuedAt < h.unix()+300 {
			t.Fatalf("the fast replica issued at %d", ahead.IssuedAt)
		}
		h.revoke(t, w, ahead.PublicKey)
		again := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: ahead.PublicKey})
		if h.alive(t, w, ahead) || !h.alive(t, w, again) {
			t.Fatalf("issued at %d and again at %d", ahead.IssuedAt, again.IssuedAt)
		}
	}
	h.verify(t)
}

// The ledger tells what has become of each credential.
func TestStatus(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		statuses := func() (out []issuer.Status) {
			list, err := h.ListCredentials(t.Context(), auditor, w.account.ID, "d1", issuer.LedgerPage{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				out = append(out, c.Status)
			}
			return out
		}
		check := func(want ...issuer.Status) {
			t.Helper()
			if got := statuses(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		check(issuer.StatusActive)
		h.advance(time.Hour) // in its last second it is still let in
		check(issuer.StatusActive)
		h.advance(time.Second)
		check(issuer.StatusExpired)
		h.issue(t, w, "d1", issuer.IssueInput{})
		check(issuer.StatusActive, issuer.StatusExpired)
		h.revoke(t, w, issuer.Everybody)
		check(issuer.StatusRevoked, issuer.StatusRevoked)
		h.advance(time.Second)
		h.issue(t, w, "d1", issuer.IssueInput{})
		check(issuer.StatusActive, issuer.StatusRevoked, issuer.StatusRevoked)
		h.raw.Run(t, `UPDATE keys SET state = 'retiring' WHERE id = $1`, w.template.Keys[0].ID)
		check(issuer.StatusActive, issuer.StatusRevoked, issuer.StatusRevoked)
		h.raw.Run(t, `UPDATE keys SET state = 'retired' WHERE id = $1`, w.template.Keys[0].ID)
		check(issuer.StatusKeyRetired, issuer.StatusRevoked, issuer.StatusRevoked)
		if e := wants(t, second(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})), issuer.KindConflict); e.Code != "no_signing_key" {
			t.Errorf("%+v", e)
		}
	})
}

// Revoked and issued again in the second in which it was issued: the ledger tells the two apart.
func TestStatusWithinASecond(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		h.revoke(t, w, key)
		again := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: key})
		list, err := h.ListCredentials(t.Context(), auditor, w.account.ID, "d1", issuer.LedgerPage{Limit: 10})
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, c := range list {
			if want := map[string]issuer.Status{w.device.Issued.ID: issuer.StatusRevoked, again.ID: issuer.StatusActive}[c.ID]; c.Status != want {
				t.Errorf("issued at %d: %s, want %s", c.IssuedAt, c.Status, want)
			}
		}
	})
}

// The revocations in force are listed with who and why, the newest first.
func TestListRevocations(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		why := issuer.Op{Caller: owner, RequestID: "req_9", Reason: "laptop lost"}
		did(h.Revoke(t.Context(), why, w.account.ID, issuer.RevokeInput{Subject: "d1"})).well(t)
		h.advance(time.Second)
		h.revoke(t, w, issuer.Everybody)
		list, err := h.ListRevocations(t.Context(), auditor, w.account.ID, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}})
		if err != nil || len(list) != 2 || list[0].Subject != issuer.Everybody || list[1].Subject != w.device.Issued.PublicKey || list[1].Reason != "laptop lost" || list[1].Actor != owner.ID || list[1].RequestID != "req_9" {
			t.Errorf("%+v, %v", list, err)
		}
		rest, err := h.ListRevocations(t.Context(), auditor, w.account.ID, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Before: list[0].ID, Limit: 10}})
		if err != nil || len(rest) != 1 || rest[0].ID != list[1].ID {
			t.Errorf("%+v, %v", rest, err)
		}
		one, err := h.GetRevocation(t.Context(), auditor, w.account.ID, w.device.Issued.PublicKey)
		if err != nil || one.ID != list[1].ID {
			t.Errorf("%+v, %v", one, err)
		}
	})
}

// A key belongs to one user of an account; in another account it may be somebody else's.
func TestKeyOfAnotherUser(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		h.unchanged(t, func() {
			for name, err := range map[string]error{
				"planning": second(h.Issue(t.Context(), dryRun(), w.account.ID, "ada@example.com", issuer.IssueInput{PublicKey: key})),
				"issuing":  second(h.Issue(t.Context(), op(), w.account.ID, "ada@example.com", issuer.IssueInput{PublicKey: key})),
				"creating": second(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{PublicKey: key}})),
			} {
				if e := wants(t, err, issuer.KindConflict); e.Code != "key_in_use" {
					t.Errorf("%s: %+v", name, e)
				}
			}
		})
		h.issue(t, w, "d1", issuer.IssueInput{PublicKey: key})
		other := h.furnishAs(t, "zeta", "PAYMENTS")
		h.issue(t, other, "ada@example.com", issuer.IssueInput{PublicKey: key})
	})
}

// An account or a user that is not active gets no credentials.
func TestNotActive(t *testing.T) {
	t.Parallel()
	h := newHouse(t, storetest.Dialects()[0])
	w := h.furnish(t)
	for _, table := range []string{"users", "accounts"} {
		h.raw.Run(t, `UPDATE `+table+` SET state = 'suspended'`)
		h.unchanged(t, func() {
			if e := wants(t, second(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})), issuer.KindConflict); e.Code != "not_active" {
				t.Errorf("%+v", e)
			}
		})
		h.raw.Run(t, `UPDATE `+table+` SET state = 'active'`)
	}
}
