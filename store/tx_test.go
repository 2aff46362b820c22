package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/store"
)

func TestRollbackLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		reason := errors.New("changed my mind")
		everything := func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(
				tx.CreateAccount(ctx, anAccount(operator, "A2", "second")),
				tx.CreateKey(ctx, store.Key{ID: "K", OperatorID: operator}),
				tx.CreateUser(ctx, store.User{ID: "usr_1", AccountID: account, Name: "u"}),
				tx.CreateRevocations(ctx, []store.Revocation{{ID: "rev_1", AccountID: account, Subject: "*"}}),
				tx.AppendAudit(ctx, store.AuditEntry{Action: "create"}),
				sign(ctx, tx, account, 1_800_000_000),
			)
		}
		d.fails(t, reason, func(ctx context.Context, tx *store.Tx) error { return errors.Join(everything(ctx, tx), reason) })
		t.Run("of a panic", func(t *testing.T) {
			before := d.raw.Dump(t)
			func() {
				defer func() { _ = recover() }()
				_ = d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { panic(everything(ctx, tx)) })
			}()
			if d.raw.Dump(t) != before {
				t.Error("a panic left something")
			}
		})
		t.Run("of a caller who hung up", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			before := d.raw.Dump(t)
			err := d.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
				err := everything(ctx, tx)
				cancel()
				return err
			})
			if !errors.Is(err, context.Canceled) || d.raw.Dump(t) != before {
				t.Errorf("%v", err)
			}
		})
		d.write(t, everything) // and nothing is held
	})
}

// sign stores a next JWT of the account, as the issuer does.
func sign(ctx context.Context, tx *store.Tx, account string, iat int64) error {
	a, _, err := tx.LockAccount(ctx, account)
	if err != nil {
		return err
	}
	return tx.PutJWT(ctx, store.JWT{
		Subject: account, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: iat, JTI: fmt.Sprint("jti", iat), Signer: "OS", Actor: "per_1", RequestID: "req", Token: fmt.Sprint("jwt of ", iat),
	})
}

func TestReadCannotWrite(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		before := d.raw.Dump(t)
		for name, f := range map[string]func(context.Context, *store.Tx) error{
			"insert": func(ctx context.Context, tx *store.Tx) error {
				return tx.CreateAccount(ctx, anAccount(operator, "A2", "second"))
			},
			"update": func(ctx context.Context, tx *store.Tx) error { return tx.SetLastUserIAT(ctx, account, 5) },
			"lock":   func(ctx context.Context, tx *store.Tx) error { _, _, err := tx.LockAccount(ctx, account); return err },
			"audit":  func(ctx context.Context, tx *store.Tx) error { return tx.AppendAudit(ctx, store.AuditEntry{}) },
		} {
			if err := d.Read(t.Context(), f); err == nil {
				t.Errorf("%s in a read-only transaction went through", name)
			}
		}
		if d.raw.Dump(t) != before {
			t.Error("something was stored")
		}
	})
}

// What nobody waited for is stored by whatever goes through: a statement that fails with it cannot be overlooked.
func TestNothingPendingIsLost(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		_, account := d.tenant(t, "x")
		before := d.raw.Dump(t)
		err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.AppendAudit(ctx, store.AuditEntry{Action: "pending", Detail: "{}"}); err != nil {
				return err
			}
			gone, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := tx.GetAccount(gone, account); err == nil {
				t.Error("read after its context ended")
			}
			return nil
		})
		after := d.raw.Dump(t)
		if stored := strings.Contains(after, "pending"); stored != (err == nil) || !stored && after != before {
			t.Errorf("stored: %v, told: %v", stored, err)
		}
	})
}

// A reader neither waits for a writer nor sees what is not committed.
func TestReadBesideWrite(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		_, account := d.tenant(t, "x")
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.SetLastUserIAT(ctx, account, 77); err != nil {
				return err
			}
			if a, err := tx.GetAccount(ctx, account); err != nil || a.LastUserIAT != 77 { // now the database has it
				t.Errorf("%+v, %v", a, err)
			}
			readCtx, cancel := context.WithTimeout(ctx, 4*time.Second) // a waiting reader gives up later
			defer cancel()
			return d.Read(readCtx, func(ctx context.Context, tx *store.Tx) error {
				a, err := tx.GetAccount(ctx, account)
				if a.LastUserIAT != 0 {
					t.Error("read what is not committed")
				}
				return err
			})
		})
	})
}

// The time is read once, in UTC, to the microsecond, and what is announced has been committed.
func TestTimeAndAnnouncements(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		var calls atomic.Int64
		d.OnCommit(func() { calls.Add(1) })
		d.OnCommit(func() { calls.Add(100) })
		d.write(t, func(_ context.Context, tx *store.Tx) error {
			first := tx.Now()
			d.advance(time.Hour)
			if tx.Now() != first || first != epoch.Truncate(time.Microsecond) || first.Location() != time.UTC {
				t.Errorf("the time is %v, then %v", first, tx.Now())
			}
			if calls.Load() != 0 {
				t.Error("announced before the commit")
			}
			return nil
		})
		if calls.Load() != 101 {
			t.Errorf("announced %d", calls.Load())
		}
		_ = d.Write(t.Context(), func(context.Context, *store.Tx) error { return errors.New("no") })
		_ = d.Read(t.Context(), func(context.Context, *store.Tx) error { return nil })
		if calls.Load() != 101 {
			t.Errorf("announced %d: what was rolled back or read is no news", calls.Load())
		}
	})
}

func TestIdentities(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		seen, last := map[string]bool{}, ""
		for range 200 {
			d.write(t, func(_ context.Context, tx *store.Tx) error {
				id, err := tx.NewID("usr_")
				if len(id) != 30 || id[:4] != "usr_" || seen[id] || id < last {
					t.Errorf("%s after %s", id, last)
				}
				seen[id], last = true, id
				return err
			})
			d.advance(time.Millisecond)
		}
	})
}

// Many writers at once are all served: none is told that the database is busy, none loses a step.
func TestConcurrentWriters(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		_, account := d.tenant(t, "x")
		const writers, commits = 16, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for n := range commits {
					err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
						a, _, err := tx.LockAccount(ctx, account)
						if err != nil {
							return err
						}
						a.Settings.Limits.Conn++ // read and written: a lost update would show
						if err := tx.UpdateAccount(ctx, a); err != nil {
							return err
						}
						return tx.AppendAudit(ctx, store.AuditEntry{Action: fmt.Sprint(w, "/", n)})
					})
					if err != nil {
						t.Errorf("writer %d: %v", w, err)
					}
					if _, err := try(t, d, func(ctx context.Context, tx *store.Tx) (store.Account, error) { return tx.GetAccount(ctx, account) }); err != nil {
						t.Errorf("reader %d: %v", w, err)
					}
				}
			})
		}
		wg.Wait()
		a := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Account, error) { return tx.GetAccount(ctx, account) })
		if a.Settings.Limits.Conn != -1+writers*commits || a.JWTVersion != writers*commits || a.Version != 1+writers*commits {
			t.Errorf("%d steps, version %d, signed %d", a.Settings.Limits.Conn+1, a.Version, a.JWTVersion)
		}
	})
}
