package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/store"
)

const lease = 10 * time.Second

func (d *db) claim(t testing.TB, operator, owner string) []store.Owed {
	t.Helper()
	var out []store.Owed
	d.write(t, func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = tx.ClaimOwed(ctx, operator, owner, lease, 10)
		return err
	})
	return out
}

// claimOne wants exactly one row, of the version.
func (d *db) claimOne(t testing.TB, operator string, version int64) store.Owed {
	t.Helper()
	got := d.claim(t, operator, "me")
	if len(got) != 1 || got[0].Version != version {
		t.Fatalf("claimed %+v, want version %d", got, version)
	}
	return got[0]
}

func (d *db) claimNone(t testing.TB, operator string) {
	t.Helper()
	if got := d.claim(t, operator, "other"); len(got) != 0 {
		t.Fatalf("claimed %+v", got)
	}
}

func (d *db) signed(t testing.TB, account string, iat int64) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, account, iat) })
}

func (d *db) settle(t testing.TB, o store.Owed) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.SettleOwed(ctx, o) })
}

func (d *db) postpone(t testing.TB, o store.Owed, by time.Duration) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.PostponeOwed(ctx, o, by) })
}

func (d *db) again(t testing.TB, account string) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.OweAgain(ctx, []string{account, "A-unknown"}) })
}

func (d *db) owed(t testing.TB, operator string) int64 {
	t.Helper()
	return get(t, d, func(ctx context.Context, tx *store.Tx) (int64, error) {
		n, _, err := tx.CountOwed(ctx, operator)
		return n, err
	})
}

// The life of a row: owed, claimed, settled; what is claimed is nobody else's until its lease ends.
func TestOutbox(t *testing.T) {
	stories := map[string]func(t *testing.T, d *db, operator, account string){
		"settled": func(t *testing.T, d *db, operator, account string) {
			since, all := d.time().Truncate(time.Microsecond), d.owed(t, "")
			d.signed(t, account, 100)
			if d.owed(t, "") != all+1 {
				t.Error("not owed")
			}
			d.claimNone(t, "O-another")
			o := d.claimOne(t, operator, 1)
			if o.AccountID != account || o.OperatorID != operator || o.Attempts != 0 || !o.Since.Equal(since) {
				t.Errorf("%+v", o)
			}
			d.claimNone(t, operator)
			d.settle(t, o)
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"the latest state wins": func(t *testing.T, d *db, operator, account string) {
			for n := range int64(5) {
				d.signed(t, account, 100+n)
			}
			d.settle(t, d.claimOne(t, operator, 5))
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"a newer version while leased": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			o := d.claimOne(t, operator, 1)
			d.signed(t, account, 101)
			d.claimNone(t, operator) // two pushes of an account never overlap
			d.settle(t, o)
			d.settle(t, d.claimOne(t, operator, 2))
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"a newer version while leased, postponed": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			o := d.claimOne(t, operator, 1)
			d.signed(t, account, 101)
			d.postpone(t, o, time.Hour)
			if o = d.claimOne(t, operator, 2); o.Attempts != 0 {
				t.Errorf("%d attempts at the new version", o.Attempts)
			}
		},
		"owed again while leased": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			o := d.claimOne(t, operator, 1)
			d.again(t, account) // a server joined that may hold an older JWT
			d.claimNone(t, operator)
			d.settle(t, o)
			d.settle(t, d.claimOne(t, operator, 1))
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"owed again while postponed": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			d.postpone(t, d.claimOne(t, operator, 1), time.Hour)
			d.claimNone(t, operator)
			d.again(t, account)
			d.claimOne(t, operator, 1)
		},
		"owed again when settled": func(t *testing.T, d *db, operator, account string) {
			d.again(t, account) // never signed: nothing to push
			if d.owed(t, operator) != 0 {
				t.Error("an account without a JWT is owed")
			}
			d.signed(t, account, 100)
			d.settle(t, d.claimOne(t, operator, 1))
			d.again(t, account)
			d.claimOne(t, operator, 1)
		},
		"postponed": func(t *testing.T, d *db, operator, account string) {
			since := d.time().Truncate(time.Microsecond)
			d.signed(t, account, 100)
			for n := range int64(3) {
				o := d.claimOne(t, operator, 1)
				if o.Attempts != n || !o.Since.Equal(since) {
					t.Errorf("attempt %d since %v, want %d", o.Attempts, o.Since, n)
				}
				d.postpone(t, o, time.Minute)
				d.advance(time.Minute - time.Microsecond)
				d.claimNone(t, operator)
				d.advance(time.Microsecond)
			}
		},
		"a lease that ran out": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			dead := d.claimOne(t, operator, 1)
			d.advance(lease)
			d.claimNone(t, operator)
			d.advance(time.Microsecond)
			heir := d.claimOne(t, operator, 1)
			if heir.Epoch <= dead.Epoch {
				t.Errorf("epoch %d after %d", heir.Epoch, dead.Epoch)
			}
			// The one that was believed dead wakes up: what it does counts no more.
			d.settle(t, dead)
			d.postpone(t, dead, 0)
			d.claimNone(t, operator)
			d.settle(t, heir)
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"settled and owed anew while a holder stood still": func(t *testing.T, d *db, operator, account string) {
			other := d.Store
			if strings.HasPrefix(d.url, "postgres") { // a SQLite file is one process's
				other = open(t, d.url, d.clock)
			}
			d.signed(t, account, 100)
			paused := d.claimOne(t, operator, 1)
			d.advance(lease + time.Microsecond)
			write := func(f func(ctx context.Context, tx *store.Tx) error) {
				t.Helper()
				if err := other.Write(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
			for _, owner := range []string{"heir", "me"} {
				write(func(ctx context.Context, tx *store.Tx) error {
					heir, err := tx.ClaimOwedOf(ctx, account, owner, lease)
					if err != nil {
						return err
					}
					return tx.SettleOwed(ctx, heir)
				})
				d.again(t, account)
				d.advance(time.Microsecond)
			}
			current := d.claimOne(t, operator, 1)
			thief := current
			thief.Owner = "other"
			for what, stale := range map[string]store.Owed{"an earlier claim of the same process": paused, "the epoch of another process": thief} {
				d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.ProveOwed(ctx, stale) })
				d.settle(t, stale)
				d.postpone(t, stale, 0)
				d.claimNone(t, operator)
				if d.owed(t, operator) != 1 {
					t.Fatalf("%s settles what is owed", what)
				}
			}
			if d.settle(t, current); d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"renewed": func(t *testing.T, d *db, operator, account string) {
			renew := func(o store.Owed, want error) {
				t.Helper()
				err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.RenewOwed(ctx, o, lease) })
				if !errors.Is(err, want) {
					t.Errorf("renewing: %v, want %v", err, want)
				}
			}
			d.signed(t, account, 100)
			o := d.claimOne(t, operator, 1)
			for range 3 {
				d.advance(lease)
				renew(o, nil)
				d.claimNone(t, operator)
			}
			d.again(t, account)
			renew(o, nil) // what came to be owed meanwhile is not forgotten
			if d.settle(t, o); d.owed(t, operator) != 1 {
				t.Error("settled what came later")
			}
			o = d.claimOne(t, operator, 1)
			renew(o, nil)
			d.advance(lease + time.Microsecond)
			renew(o, store.ErrNotFound)
			other := d.claimOne(t, operator, 1)
			renew(o, store.ErrNotFound)
			if d.settle(t, other); d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"a run that was killed": func(t *testing.T, d *db, operator, account string) {
			d.signed(t, account, 100)
			d.claimOne(t, operator, 1)
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.FreeOwed(ctx, "somebody else") })
			d.claimNone(t, operator)
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.FreeOwed(ctx, "me") })
			d.claimOne(t, operator, 1)
		},
		"when the next is due": func(t *testing.T, d *db, operator, account string) {
			next := func() string {
				return get(t, d, func(ctx context.Context, tx *store.Tx) (string, error) {
					due, ok, err := tx.NextOwed(ctx, operator)
					if ok && due.After(tx.Now()) {
						return fmt.Sprint("in ", due.Sub(tx.Now())), err
					}
					return map[bool]string{true: "now", false: "nothing"}[ok], err
				})
			}
			want := func(w string) {
				t.Helper()
				if got := next(); got != w {
					t.Errorf("due %s, want %s", got, w)
				}
			}
			want("nothing")
			d.signed(t, account, 100)
			want("now")
			o := d.claimOne(t, operator, 1)
			want("nothing")
			d.postpone(t, o, time.Minute)
			want("in 1m0s")
			d.again(t, account)
			want("now")
		},
	}
	each(t, func(t *testing.T, d *db) {
		for name, story := range stories {
			t.Run(name, func(t *testing.T) {
				operator, account := d.tenant(t, name)
				story(t, d, operator, account)
			})
		}
	})
}

// However many claim at once, no row is held by two, and all are held by somebody.
func TestClaimersNeverShare(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, _ := d.tenant(t, "x")
		const accounts, claimers = 60, 6
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			for n := range accounts {
				id := fmt.Sprintf("A%02d", n)
				if err := tx.CreateAccount(ctx, anAccount(operator, id, id)); err != nil {
					return err
				}
				if err := sign(ctx, tx, id, 100); err != nil {
					return err
				}
			}
			return nil
		})
		for range 3 {
			var mu sync.Mutex
			var wg sync.WaitGroup
			holder := map[string]string{}
			for c := range claimers {
				wg.Go(func() {
					owner := fmt.Sprint("claimer ", c)
					for idle := 0; idle < 3; {
						var got []store.Owed
						err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
							got, err = tx.ClaimOwed(ctx, operator, owner, lease, 7)
							return err
						})
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						for _, o := range got {
							if other := holder[o.AccountID]; other != "" {
								t.Errorf("%s is claimed by %s and %s", o.AccountID, other, owner)
							}
							holder[o.AccountID] = owner
						}
						mu.Unlock()
						if len(got) == 0 {
							idle++
						}
					}
				})
			}
			wg.Wait()
			if len(holder) != accounts {
				t.Errorf("%d of %d are claimed", len(holder), accounts)
			}
			d.advance(lease + time.Second)
		}
	})
}
