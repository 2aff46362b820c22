package issuer_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// revoked is the revocations that the account's JWT carries.
func (h *house) revoked(t testing.TB, w world) jwt.RevocationList {
	t.Helper()
	return decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT).Revocations
}

// because is op with a reason.
// fill issues n credentials to the device, in a few statements: signing thousands would tell nothing more.
func (h *house) fill(t testing.TB, w world, n int, ttl time.Duration) (keys []string) {
	t.Helper()
	values := make([]string, n)
	now := h.unix()
	for i := range n {
		raw := make([]byte, 32)
		if _, err := rand.Read(raw); err != nil {
			t.Fatal(err)
		}
		encoded, err := nkeys.Encode(nkeys.PrefixByteUser, raw) // of a key that nobody has
		if err != nil {
			t.Fatal(err)
		}
		key := string(encoded)
		keys = append(keys, key)
		expires := int64(0)
		if ttl > 0 {
			expires = now + int64(ttl/time.Second)
		}
		values[i] = fmt.Sprintf("('iss_x%s%d', '%s', '%s', '%s', 'jti%d', %d, %d, '%s', '%s', '', FALSE, 'client', 'inline', 'per_1', 'req_1', 1)",
			key[1:20], i, w.device.ID, w.account.ID, key, i, now, expires, w.template.Keys[0].ID, w.template.ID)
	}
	for part := range slices.Chunk(values, 500) {
		h.raw.Run(t, `INSERT INTO credentials (id, user_id, account_id, public_key, jti, iat, expires_s, signer, template_id, sha256, bearer, key_origin, delivery, actor, request_id, created_us)
			VALUES `+strings.Join(part, ", "))
	}
	h.analyze(t)
	h.raw.Run(t, fmt.Sprintf(`UPDATE accounts SET last_user_iat = %d WHERE id = '%s'`, now, w.account.ID))
	return keys
}

// analyze has the database look at many new rows, as it does by itself in a while.
func (h *house) analyze(t testing.TB) {
	t.Helper()
	if strings.HasPrefix(h.url, "postgres") {
		h.raw.Run(t, `ANALYZE`)
	}
}

// Everything of a template, or of a key, goes at once; what others were issued with stays.
func TestRevokeByCause(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for _, kind := range []string{"template", "key"} {
			w := h.furnishAs(t, "op "+kind, "ORDERS")
			other := h.issue(t, w, "d1", issuer.IssueInput{})
			subject := map[string]string{"template": "template:device", "key": "key:" + w.template.Keys[0].ID}[kind]
			cause := map[string]string{"template": "template:" + w.template.ID, "key": "key:" + w.template.Keys[0].ID}[kind]
			plan := did(h.Revoke(t.Context(), dryRun(), w.account.ID, issuer.RevokeInput{Subject: subject}))
			if plan.err != nil || plan.Plan.Credentials != 2 || plan.Value.Count != 2 {
				t.Fatalf("%+v", plan)
			}
			out := did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: subject})).well(t)
			if h.alive(t, w, *w.device.Issued) || h.alive(t, w, other) || !h.alive(t, w, *w.ada.Issued) {
				t.Errorf("%s: not what was meant is revoked", kind)
			}
			if out.Revocations[0].Cause != cause {
				t.Errorf("cause %q", out.Revocations[0].Cause)
			}
			list, err := h.ListRevocations(t.Context(), auditor, w.account.ID, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}, Cause: subject})
			if err != nil || len(list) != 2 || list[0].User != "d1" || list[0].Issuances != 1 || list[0].Unexpired != 1 {
				t.Errorf("%+v, %v", list, err)
			}
			// What was revoked as such is taken back as such.
			key := other.PublicKey
			did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: key})).well(t)
			back := did(h.Unrevoke(t.Context(), because(), w.account.ID, subject)).well(t)
			if back.Lifted != 2 || back.Revived != 1 || back.StillRefused != 1 || !h.alive(t, w, *w.device.Issued) || h.alive(t, w, other) {
				t.Errorf("%+v", back)
			}
			for subject, kind := range map[string]issuer.Kind{
				"template:none": issuer.KindNotFound, "key:none": issuer.KindInvalid, "key:" + key: issuer.KindInvalid, "key:" + w.account.ID: issuer.KindConflict,
			} {
				wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: subject})), kind)
			}
		}
		h.verify(t)
	})
}

// Up to a time in the past only what was issued by then is chosen, and what came after stays.
func TestRevokeByCauseBefore(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		between := h.time().Add(30 * time.Second)
		h.advance(time.Minute)
		later := h.issue(t, w, "d1", issuer.IssueInput{})
		same := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey})
		out := did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device", Before: between}))
		if out.err != nil || out.Value.Count != 1 || out.Plan.Credentials != 1 || out.Value.Revocations[0].Before != between.Unix() {
			t.Fatalf("%+v", out)
		}
		if h.alive(t, w, *w.device.Issued) || !h.alive(t, w, later) || !h.alive(t, w, same) {
			t.Error("not what was meant is revoked")
		}
		if e := wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1", Before: between.Add(-time.Hour)})), issuer.KindConflict); e.Code != "nothing_to_revoke" {
			t.Errorf("%+v", e)
		}
		everybody := did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: issuer.Everybody, Before: between}))
		if everybody.err != nil || everybody.Plan.Credentials != 1 || h.alive(t, w, *w.ada.Issued) || !h.alive(t, w, later) {
			t.Errorf("%+v", everybody)
		}
	})
}

// Thousands of one template are one plan, one JWT, and one entry of the audit log, which stays short.
func TestRevokeThousands(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		const n = 2000
		keys := h.fill(t, w, n, time.Hour)
		out := did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"}))
		if out.err != nil || out.Value.Count != n+1 || len(out.Value.Revocations) != 100 || out.Plan.Credentials != n+1 || len(out.Plan.Changes) != 1 {
			t.Fatalf("%d revoked, %d named, %d credentials, %v", out.Value.Count, len(out.Value.Revocations), out.Plan.Credentials, out.err)
		}
		revoked := h.revoked(t, w)
		if len(revoked) != n+1 || revoked[keys[0]] != h.unix() {
			t.Errorf("%d entries", len(revoked))
		}
		if !slices.ContainsFunc(h.audited(t), func(e store.AuditEntry) bool {
			return e.Action == "revoke" && strings.Contains(e.Detail, "2001") && len(e.Detail) < 1000
		}) {
			t.Error("the revocation is not on record, or at length")
		}
		back := did(h.Unrevoke(t.Context(), because(), w.account.ID, "template:device")).well(t)
		if back.Lifted != n+1 || back.Revived != n+1 || len(back.Users) != 1 || len(h.revoked(t, w)) != 0 {
			t.Errorf("%+v", back)
		}
	})
}

// An account's JWT that has no room left is compacted by the revocation that needs it, and if that does not help
// everybody can still be revoked.
func TestRevokeAtTheLimit(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		// An export of 670 kB leaves room for less than 2,000 revocations.
		did(h.CreateExport(t.Context(), op(), w.account.ID, jwt.Export{Name: strings.Repeat("x", 670_000), Subject: "e", Type: jwt.Stream})).well(t)
		h.fill(t, w, 1000, time.Hour)
		full := did(h.Revoke(t.Context(), dryRun(), w.account.ID, issuer.RevokeInput{Subject: "template:device"}))
		if full.err != nil || len(full.Plan.Warnings) != 1 || full.Plan.Warnings[0].Code != "half_full" || full.Plan.Warnings[0].Blocking {
			t.Fatalf("%v %+v", full.err, full.Plan.Warnings)
		}
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"})).well(t)
		size, err := h.AccountSize(t.Context(), auditor, w.account.ID)
		if err != nil || size.Revocations != 1001 || size.Bytes < size.Limit*9/10 || size.RevocationBytes < 90_000 || size.Moot != 0 || len(size.Warnings) != 1 {
			t.Fatalf("%+v, %v", size, err)
		}
		h.fill(t, w, 1000, 0) // these never expire
		for _, op := range []issuer.Op{op(), dryRun()} {
			h.unchanged(t, func() {
				if e := wants(t, second(h.Revoke(t.Context(), op, w.account.ID, issuer.RevokeInput{Subject: "template:device"})), issuer.KindConflict); e.Code != "too_many_revocations" || !strings.Contains(e.Hint, "everybody") {
					t.Errorf("%+v", e)
				}
			})
		}
		// Once the first have expired, they make room.
		h.advance(time.Hour + claims.CompactionSlack + 2*time.Second)
		if size, err := h.AccountSize(t.Context(), auditor, w.account.ID); err != nil || size.Moot != 1001 {
			t.Errorf("%+v, %v", size, err)
		}
		out := did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"})).well(t)
		if out.Count != 1000 || out.Compacted != 1001 || len(h.revoked(t, w)) != 1000 {
			t.Errorf("%d revoked, %d compacted, %d in the JWT", out.Count, out.Compacted, len(h.revoked(t, w)))
		}
		// And everybody's is always possible: it replaces them all.
		h.fill(t, w, 1000, 0)
		wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "template:device"})), issuer.KindConflict)
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
		if left := h.revoked(t, w); len(left) != 1 || left["*"] == 0 {
			t.Errorf("%d entries are left", len(left))
		}
	})
}

// An entry goes when all that it revokes has expired, an hour later, or when everybody's covers it; it stays on record.
func TestCompact(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		short := h.issue(t, w, "d1", issuer.IssueInput{TTL: time.Minute})
		unknown := newUserKey(t)
		for _, key := range []string{short.PublicKey, w.device.Issued.PublicKey, w.ada.Issued.PublicKey, unknown} {
			h.revoke(t, w, key)
		}
		when := func(key string) time.Time {
			t.Helper()
			e, err := h.GetRevocation(t.Context(), auditor, w.account.ID, key)
			if err != nil {
				t.Fatal(err)
			}
			return e.CompactFrom
		}
		if from := when(short.PublicKey); from.Unix() != short.Expires+1+3600 {
			t.Errorf("can be compacted from %v, expires %d", from, short.Expires)
		}
		if !when(unknown).IsZero() {
			t.Error("what nobody knows can never be compacted")
		}
		compact := func(removed, kept int) {
			t.Helper()
			version := h.account(t, w.account.ID).JWTVersion
			plan := did(h.Compact(t.Context(), dryRun(), w.account.ID)).well(t)
			out := did(h.Compact(t.Context(), op(), w.account.ID)).well(t)
			if out.Removed != removed || out.Kept != kept || plan.Removed != removed || len(h.revoked(t, w)) != kept {
				t.Errorf("at %v: %+v, planned %+v, %d in the JWT", h.time(), out, plan, len(h.revoked(t, w)))
			}
			if (removed > 0) != (h.account(t, w.account.ID).JWTVersion > version) {
				t.Error("signed without need, or not at all")
			}
		}
		compact(0, 4)
		h.advance(when(short.PublicKey).Sub(h.time()) - time.Second)
		compact(0, 4)
		h.advance(time.Second)
		compact(1, 3)
		gone, err := h.ListRevocations(t.Context(), auditor, w.account.ID, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}, Removed: true})
		if err != nil || len(gone) != 1 || gone[0].Subject != short.PublicKey || gone[0].Removal != "compacted" || gone[0].RemovedBy != owner.ID || !gone[0].Removed.Equal(h.time()) {
			t.Errorf("%+v, %v", gone, err)
		}
		wants(t, second(h.GetRevocation(t.Context(), auditor, w.account.ID, short.PublicKey)), issuer.KindNotFound)
		h.revoke(t, w, issuer.Everybody)
		if from := when(unknown); !from.Equal(h.time()) {
			t.Errorf("covered, and can be compacted from %v", from)
		}
		compact(3, 1)
		// Lifting everybody's brings back what it covered, but for what is moot by now.
		h.advance(24 * time.Hour)
		back := did(h.Unrevoke(t.Context(), because(), w.account.ID, issuer.Everybody)).well(t)
		left := h.revoked(t, w)
		if back.Restored != 2 || back.Revived != 0 || len(left) != 2 || left[unknown] == 0 || left[w.ada.Issued.PublicKey] == 0 {
			t.Errorf("%+v, in the JWT is %v", back, left)
		}
		if h.alive(t, w, *w.ada.Issued) {
			t.Error("lifting everybody's revived what was revoked by itself")
		}
		h.verify(t)
	})
}

// The upkeep compacts accounts with many moot entries, once an hour, and leaves the others alone.
func TestUpkeepCompacts(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		few := h.furnishAs(t, "few", "PAYMENTS")
		h.fill(t, w, 150, time.Minute)
		h.fill(t, few, 50, time.Minute)
		for _, x := range []world{w, few} {
			did(h.Revoke(t.Context(), op(), x.account.ID, issuer.RevokeInput{Subject: "template:device"})).well(t)
		}
		counts := func(want, wantFew int) {
			t.Helper()
			if err := h.Upkeep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, m := len(h.revoked(t, w)), len(h.revoked(t, few)); n != want || m != wantFew {
				t.Errorf("%d and %d entries, want %d and %d", n, m, want, wantFew)
			}
		}
		counts(151, 51)
		h.advance(59 * time.Minute)
		counts(151, 51) // not yet
		h.advance(10 * time.Minute)
		counts(1, 51) // the one that is left has an hour to live
		h.verify(t)
	})
}

func TestUnrevoke(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := w.device.Issued.PublicKey
		expired := h.issue(t, w, "d1", issuer.IssueInput{PublicKey: key, TTL: time.Second})
		h.advance(time.Minute)
		h.revoke(t, w, "d1")
		h.revoke(t, w, issuer.Everybody)
		h.unchanged(t, func() {
			if e := wants(t, second(h.Unrevoke(t.Context(), op(), w.account.ID, key)), issuer.KindInvalid); e.Problems[0].Pointer != "/reason" {
				t.Errorf("%+v", e)
			}
			wants(t, second(h.Unrevoke(t.Context(), because(), w.account.ID, newUserKey(t))), issuer.KindNotFound)
			plan := because()
			plan.DryRun = true
			out := did(h.Unrevoke(t.Context(), plan, w.account.ID, key))
			if out.err != nil || out.Value.Revived != 0 || out.Value.StillRefused != 1 || len(out.Plan.Warnings) != 1 {
				t.Errorf("%+v", out)
			}
		})
		// By the user's name as by the key; everybody's still covers it.
		out := did(h.Unrevoke(t.Context(), because(), w.account.ID, "d1")).well(t)
		if out.Lifted != 1 || h.alive(t, w, *w.device.Issued) {
			t.Errorf("%+v", out)
		}
		all := did(h.Unrevoke(t.Context(), because(), w.account.ID, issuer.Everybody))
		if all.err != nil || all.Plan.Revived != 2 || len(all.Value.Users) != 2 || !h.alive(t, w, *w.device.Issued) || !h.alive(t, w, *w.ada.Issued) {
			t.Errorf("%+v", all)
		}
		if !slices.ContainsFunc(all.Plan.Summary, func(f claims.FieldChange) bool { return f.Field == "User d1" }) {
			t.Errorf("the plan does not name whose: %+v", all.Plan.Summary)
		}
		_ = expired // is not among the revived
		gone, err := h.ListRevocations(t.Context(), auditor, w.account.ID, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}, Removed: true})
		if err != nil || len(gone) != 2 || gone[0].Removal != "lifted" || gone[0].RemovedBy != owner.ID {
			t.Errorf("%+v, %v", gone, err)
		}
		if !slices.ContainsFunc(h.audited(t), func(e store.AuditEntry) bool {
			return e.Action == "unrevoke" && e.Reason == "a ticket" && e.RequestID == "req_1"
		}) {
			t.Error("taking back is not on record")
		}
		h.raw.Run(t, `UPDATE accounts SET state = 'deleted' WHERE id = $1`, w.account.ID)
		if e := wants(t, second(h.Unrevoke(t.Context(), because(), w.account.ID, issuer.Everybody)), issuer.KindConflict); e.Code != "account_deleted" {
			t.Errorf("%+v", e)
		}
	})
}

// Who answers the callout for everybody else is not refused by the way.
func TestRevokeCallout(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		service := *w.ada.Issued
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) {
			s.Authorization.AuthUsers = jwt.StringList{service.PublicKey}
		})).well(t)
		refused := func(subject string, guard issuer.Guard) {
			t.Helper()
			h.unchanged(t, func() {
				e := wants(t, second(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: subject})), issuer.KindConflict)
				if e.Code != "would_lock_out" || e.Guard != guard {
					t.Errorf("%s: %+v", subject, e)
				}
			})
		}
		refused(issuer.Everybody, issuer.GuardCalloutEverybody)
		refused("ada@example.com", issuer.GuardCalloutUser)
		refused(service.PublicKey, issuer.GuardCalloutUser)
		h.revoke(t, w, "template:device") // has nothing to do with it
		// Up to a time before it was issued, and while another one answers, it may be.
		h.advance(time.Minute)
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: issuer.Everybody, Before: time.Unix(service.IssuedAt-1, 0)})).well(t)
		other := h.issue(t, w, "d1", issuer.IssueInput{})
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) {
			s.Authorization.AuthUsers = jwt.StringList{service.PublicKey, other.PublicKey}
		})).well(t)
		h.revoke(t, w, service.PublicKey)
		refused(other.PublicKey, issuer.GuardCalloutUser)
		over := op()
		over.Override = []issuer.Guard{issuer.GuardCalloutEverybody}
		did(h.Revoke(t.Context(), over, w.account.ID, issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
	})
}

// On the system account everybody may be revoked up to a time before Chancery's own newest credential.
func TestRevokeOnTheSystemAccount(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		system := w.operator.Settings.SystemAccount
		before := h.time()
		h.advance(time.Minute)
		own, err := h.SystemCredential(t.Context(), op(), w.operator.ID, "x")
		if err != nil {
			t.Fatal(err)
		}
		for subject, guard := range map[string]issuer.Guard{issuer.Everybody: issuer.GuardSystemEverybody, issuer.SystemUserName: issuer.GuardSystemUser, "key:" + own.Signer: issuer.GuardSystemUser} {
			if e := wants(t, second(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: subject})), issuer.KindConflict); e.Guard != guard {
				t.Errorf("%s: %+v", subject, e)
			}
		}
		did(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: issuer.Everybody, Before: before})).well(t)
		// One key after the other comes to the same as all of them.
		refused := func(what string, err error) {
			t.Helper()
			if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardSystemUser {
				t.Errorf("%s: %+v", what, e)
			}
		}
		refused("its key", second(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: own.PublicKey})))
		refused("rolling it", second(h.Roll(t.Context(), op(), system, issuer.SystemUserName, issuer.RollInput{Grace: time.Hour})))
		h.advance(time.Minute)
		next, err := h.SystemCredential(t.Context(), op(), w.operator.ID, "x")
		if err != nil {
			t.Fatal(err)
		}
		did(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: own.PublicKey})).well(t)
		refused("its next key", second(h.Revoke(t.Context(), op(), system, issuer.RevokeInput{Subject: next.PublicKey})))
		// A template of its user is none of its credential.
		did(h.CreateTemplate(t.Context(), op(), system, deviceTemplate())).well(t)
		did(h.UpdateUser(t.Context(), op(), system, issuer.SystemUserName, func(e *issuer.UserEdit) {
			e.Template, e.Permissions, e.Tags = "device", nil, []string{"region:eu"}
		})).well(t)
		third, err := h.SystemCredential(t.Context(), op(), w.operator.ID, "x")
		if err != nil || third.Signer != next.Signer {
			t.Errorf("%+v, %v", third.Credential, err)
		}
		over := op()
		over.Override = []issuer.Guard{issuer.GuardSystemEverybody}
		did(h.Revoke(t.Context(), over, system, issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
	})
}
