package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// Eight edit one account at once, each with a step that needs the one before: none is lost, each has a version
// and an issue time of its own, and the last is what is served.
func TestConcurrentEdits(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		const editors, edits = 8, 6
		before := h.account(t, "ORDERS")
		var wg sync.WaitGroup
		for e := range editors {
			wg.Go(func() {
				for n := range edits {
					h.advance(time.Second) // so that nobody is asked to slow down
					out, err := h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) {
						s.Limits.Conn++
						s.Tags.Add(fmt.Sprintf("e:%d-%d", e, n))
					})
					if err != nil {
						t.Errorf("editor %d: %v", e, err)
						continue
					}
					// The answer is the editor's own edit, not somebody else's later one.
					if c := decode[*jwt.AccountClaims](t, out.Value.JWT); !c.Tags.Contains(fmt.Sprintf("e:%d-%d", e, n)) || c.Limits.Conn != out.Value.Settings.Limits.Conn {
						t.Errorf("editor %d got a JWT without its edit", e)
					}
				}
			})
		}
		wg.Wait()
		after := h.account(t, "ORDERS")
		if steps := after.Settings.Limits.Conn - before.Settings.Limits.Conn; steps != editors*edits || len(after.Settings.Tags) != editors*edits {
			t.Errorf("%d steps and %d tags, want %d", steps, len(after.Settings.Tags), editors*edits)
		}
		if after.Version != before.Version+editors*edits || after.JWTVersion != before.JWTVersion+editors*edits {
			t.Errorf("version %d signed %d, before %d signed %d", after.Version, after.JWTVersion, before.Version, before.JWTVersion)
		}
		h.verifyHistory(t)
	})
}

// Of several who edit the same version exactly one succeeds.
func TestConcurrentEditsOfOneVersion(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		edits := map[string]func(op issuer.Op, n int) error{
			"account": func(op issuer.Op, n int) error {
				return second(h.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = int64(n) }))
			},
			"template": func(op issuer.Op, n int) error {
				return second(h.UpdateTemplate(t.Context(), op, "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = int64(n) + 1 }))
			},
			"operator": func(op issuer.Op, n int) error {
				return second(h.UpdateOperator(t.Context(), op, "acme", setURLs([]string{fmt.Sprint("nats://h", n)})))
			},
		}
		for name, edit := range edits {
			errs := make(chan error)
			for n := range 8 {
				go func() { errs <- edit(issuer.Op{Caller: owner, ExpectedVersion: 1}, n) }()
			}
			succeeded := 0
			for range 8 {
				if err := <-errs; err == nil {
					succeeded++
				} else {
					wants(t, err, issuer.KindStale)
				}
			}
			if succeeded != 1 {
				t.Errorf("%s: %d of 8 changed version 1", name, succeeded)
			}
		}
		h.verify(t)
	})
}

// Everything at once on one account. Each of the kinds of change works on what the others left.
func TestConcurrentEverything(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		var wg sync.WaitGroup
		start := func(f func(n int) error) {
			wg.Go(func() {
				for n := range 4 {
					h.advance(time.Second)
					if err := f(n); err != nil {
						t.Error(err)
					}
				}
			})
		}
		start(func(int) error {
			return second(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn++ }))
		})
		start(func(int) error {
			return second(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs += 2 }))
		})
		start(func(n int) error {
			in := deviceTemplate()
			in.Body.Name = fmt.Sprint("t", n)
			return second(h.CreateTemplate(t.Context(), op(), "ORDERS", in))
		})
		start(func(n int) error {
			return second(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: fmt.Sprint("u", n), Template: "device", Tags: []string{"region:us"}, Issue: &issuer.IssueInput{}}))
		})
		start(func(int) error { return second(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})) })
		start(func(int) error {
			return second(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "ada@example.com"}))
		})
		start(func(int) error { return second(h.SystemCredential(t.Context(), op(), "acme", "x")) })
		wg.Wait()
		h.verify(t)
		template, err := h.GetTemplate(t.Context(), owner, "ORDERS", "device")
		if err != nil || template.Body.Permissions.Subs != 7 { // from -1 by 2: a template has no limit of 0
			t.Errorf("the template was edited %d times, %v", (template.Body.Permissions.Subs+1)/2, err)
		}
		if scope := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT).SigningKeys[template.Keys[0].ID].(*jwt.UserScope); scope.Template.Subs != 7 {
			t.Errorf("the JWT has the edit %d", (scope.Template.Subs+1)/2)
		}
	})
}

// What was issued before a revocation of everybody is dead, what is issued after it lives, and what was issued at
// the same time is one or the other: nothing is issued under a revocation and survives it. The same key is issued
// to again and again within one second, which drives its issue times ahead of the clock.
func TestIssuingBesideRevocation(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		type span struct{ start, end time.Time }
		type issued struct {
			span
			c issuer.Issued
		}
		var mu sync.Mutex
		var all []issued
		var revocations []span
		var before []int64
		var wg sync.WaitGroup
		for range 4 {
			key := newUserKey(t)
			name := fmt.Sprint("user ", key[:8])
			did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: name, Permissions: ownPermissions()})).well(t)
			wg.Go(func() {
				for range 8 {
					start := time.Now()
					out, err := h.Issue(t.Context(), because(), "ORDERS", name, issuer.IssueInput{PublicKey: key, Waive: true})
					end := time.Now()
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					all = append(all, issued{span{start, end}, out.Value})
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for range 4 {
				start := time.Now()
				out, err := h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody})
				end := time.Now()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				revocations, before = append(revocations, span{start, end}), append(before, out.Value.Revocations[0].Before)
				mu.Unlock()
			}
		})
		wg.Wait()
		for _, i := range all {
			for n, r := range revocations {
				switch survives := i.c.IssuedAt > before[n]; {
				case i.end.Before(r.start) && survives:
					t.Errorf("issued at %d, done before the revocation %d of %d began: survives it", i.c.IssuedAt, n, before[n])
				case i.start.After(r.end) && !survives:
					t.Errorf("issued at %d after the revocation %d of %d was done: dead on arrival", i.c.IssuedAt, n, before[n])
				}
			}
		}
		h.verify(t)
	})
}

// beside runs f while a transaction holds the account, which does what another replica would and commits once f
// is seen to wait for it.
func (h *house) beside(t *testing.T, account string, other func(ctx context.Context, tx *store.Tx) error, f func() error) {
	t.Helper()
	h.besideLock(t, func(ctx context.Context, tx *store.Tx) error { return second(tx.LockAccountForIssue(ctx, account)) }, other, f)
}

// besideLock is beside with what the transaction holds.
func (h *house) besideLock(t *testing.T, lock, other func(ctx context.Context, tx *store.Tx) error, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		go func() { done <- f() }()
		for waiting := 0; waiting == 0; {
			select {
			case err := <-done:
				return fmt.Errorf("it did not wait: %w", err)
			default:
			}
			if err := h.raw.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.datname = current_database() WHERE NOT l.granted
				AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE datid = d.oid)`).Scan(&waiting); err != nil {
				return err
			}
		}
		return other(ctx, tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A revocation waits for whoever is issuing and then covers what was issued; an issuance waits for whoever is
// revoking and then outlives it. SQLite has one writer at a time anyway.
func TestRevocationAndIssuanceWait(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "postgres")
	w := h.furnish(t)
	ahead := h.unix()
	issueAhead := func(ctx context.Context, tx *store.Tx) error {
		ahead += 10
		id, err := tx.NewID("iss_")
		if err != nil {
			return err
		}
		c := w.device.Issued.Credential
		c.ID, c.IssuedAt = id, ahead
		return errors.Join(tx.CreateCredential(ctx, c), tx.SetLastUserIAT(ctx, w.account.ID, ahead))
	}
	for _, subject := range []string{issuer.Everybody, w.device.Issued.PublicKey, "d1"} {
		h.beside(t, w.account.ID, issueAhead, func() error {
			out, err := h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: subject})
			if err == nil && out.Value.Revocations[0].Before < ahead {
				t.Errorf("%s is revoked before %d, while one was issued at %d", subject, out.Value.Revocations[0].Before, ahead)
			}
			return err
		})
	}
	for _, subject := range []string{issuer.Everybody, w.device.Issued.PublicKey} {
		revokeAhead := func(ctx context.Context, tx *store.Tx) error {
			ahead += 10
			id, err := tx.NewID("rev_")
			if err != nil {
				return err
			}
			return tx.CreateRevocations(ctx, []store.Revocation{{ID: id, AccountID: w.account.ID, Subject: subject, Before: ahead}})
		}
		h.beside(t, w.account.ID, revokeAhead, func() error {
			out, err := h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey})
			if err == nil && out.Value.IssuedAt <= ahead {
				t.Errorf("issued at %d, while %s was revoked before %d", out.Value.IssuedAt, subject, ahead)
			}
			return err
		})
	}
}

// Whoever edits faster than once a second for a minute is asked to slow down; revoking and issuing never wait.
func TestSlowDown(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		edit := func(op issuer.Op) map[string]error {
			in := deviceTemplate()
			in.Body.Name = "one more"
			return map[string]error{
				"edit":     second(h.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn++ })),
				"template": second(h.UpdateTemplate(t.Context(), op, "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs += 2 })),
				"another":  second(h.CreateTemplate(t.Context(), op, "ORDERS", in)),
			}
		}
		lead := h.account(t, "ORDERS").IssuedAt - h.unix()
		h.advance(-time.Duration(60-lead) * time.Second) // 60 s ahead is allowed
		for name, err := range edit(dryRun()) {
			if err != nil {
				t.Errorf("%s, 60 s ahead: %v", name, err)
			}
		}
		h.advance(-time.Second)
		h.unchanged(t, func() {
			for name, err := range edit(op()) {
				if e := wants(t, err, issuer.KindTooFast); e.Hint == "" {
					t.Errorf("%s: %+v", name, e)
				}
			}
		})
		did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})).well(t)
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "x", Permissions: ownPermissions()})).well(t)
		for range 3 {
			did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
		}
		h.advance(time.Minute)
		for name, err := range edit(op()) {
			if err != nil {
				t.Errorf("%s, a minute later: %v", name, err)
			}
		}
		h.verify(t)
	})
}

// An account that is made while an operator's key is dropped is signed by the next one: it cannot be among those
// that are signed anew.
func TestNewAccountWaitsForItsOperator(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "postgres")
	w := h.furnish(t)
	h.besideLock(t, func(ctx context.Context, tx *store.Tx) error {
		return second(tx.LockOperatorForEdit(ctx, w.operator.ID))
	},
		func(ctx context.Context, tx *store.Tx) error {
			keys, err := tx.ListKeys(ctx, w.operator.ID, "")
			if err != nil {
				return err
			}
			for _, k := range keys {
				if k.Role == "signing" {
					err = errors.Join(err, tx.SetKeyState(ctx, k.ID, issuer.KeyRetired, time.Time{}))
				}
			}
			return err
		}, func() error {
			_, err := h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "LATE", Settings: claims.NewAccountSettings()})
			if e := wants(t, err, issuer.KindConflict); e.Code != "no_signing_key" {
				t.Errorf("signed by a key that was dropped: %+v", e)
			}
			return nil
		})
}
