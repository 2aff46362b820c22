package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"chancery/store"
)

// room is a Pusher with so much room that notes what becomes of it.
type room struct {
	free   int
	pushed []store.Owed
	served []store.Served
	until  []time.Time
}

func (r *room) Reserve(string) (store.Room, bool) {
	if r.free == 0 {
		return nil, false
	}
	r.free--
	return r, true
}

func (*room) Lease() (owner string, d time.Duration) { return "me", lease }

func (r *room) Push(o store.Owed, s store.Served, until time.Time) {
	r.pushed, r.served, r.until = append(r.pushed, o), append(r.served, s), append(r.until, until)
}

func (r *room) Release() { r.free++ }

// What is signed here is leased to the pusher of this process by the same transaction:
// only after the commit, never when somebody else holds the row, and until the lease ends.
func TestSignedIsHandedOver(t *testing.T) {
	stories := map[string]func(t *testing.T, d *db, r *room, operator, account string){
		"pushed and settled": func(t *testing.T, d *db, r *room, operator, account string) {
			d.signed(t, account, 100)
			if len(r.pushed) != 1 || r.pushed[0].Version != 1 || r.pushed[0].Epoch != 1 || r.pushed[0].Since.IsZero() || r.served[0].IssuedAt != 100 {
				t.Fatalf("pushed %+v of %+v", r.pushed, r.served)
			}
			if want := d.time().Add(lease).Truncate(time.Microsecond); !r.until[0].Equal(want.UTC()) {
				t.Errorf("until %v, want %v", r.until[0], want)
			}
			d.claimNone(t, operator)
			d.settle(t, r.pushed[0])
			if d.owed(t, operator) != 0 {
				t.Error("still owed")
			}
		},
		"signed again meanwhile": func(t *testing.T, d *db, r *room, operator, account string) {
			d.signed(t, account, 100)
			d.signed(t, account, 200)
			if len(r.pushed) != 1 || r.free != 1 {
				t.Fatalf("pushed %+v, room for %d", r.pushed, r.free)
			}
			d.claimNone(t, operator)
			d.settle(t, r.pushed[0])
			if o := d.claimOne(t, operator, 2); o.Epoch != 2 {
				t.Errorf("epoch %d", o.Epoch)
			}
		},
		"held by another": func(t *testing.T, d *db, r *room, operator, account string) {
			r.free = 0
			d.signed(t, account, 100)
			o := d.claimOne(t, operator, 1)
			r.free = 2
			d.signed(t, account, 200)
			if len(r.pushed) != 0 || r.free != 2 {
				t.Fatalf("pushed %+v, room for %d", r.pushed, r.free)
			}
			d.postpone(t, o, time.Hour)
			d.claimOne(t, operator, 2)
		},
		"the lease ran out": func(t *testing.T, d *db, r *room, operator, account string) {
			d.signed(t, account, 100)
			d.advance(lease + time.Second)
			o := d.claimOne(t, operator, 1)
			d.settle(t, r.pushed[0]) // too late: it is overtaken
			if o.Epoch != 2 || d.owed(t, operator) != 1 {
				t.Errorf("claimed %+v, owed %d", o, d.owed(t, operator))
			}
			d.advance(lease + time.Second)
			d.signed(t, account, 200)
			if len(r.pushed) != 2 || r.pushed[1].Epoch != 3 || r.pushed[1].Version != 2 {
				t.Errorf("pushed %+v", r.pushed)
			}
		},
		"rolled back": func(t *testing.T, d *db, r *room, operator, account string) {
			no := errors.New("no")
			err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { return errors.Join(sign(ctx, tx, account, 100), no) })
			if !errors.Is(err, no) || len(r.pushed) != 0 || r.free != 2 || d.owed(t, operator) != 0 {
				t.Errorf("%v, pushed %+v, room for %d", err, r.pushed, r.free)
			}
		},
		"twice in one transaction": func(t *testing.T, d *db, r *room, operator, account string) {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(sign(ctx, tx, account, 100), sign(ctx, tx, account, 200))
			})
			if len(r.pushed) != 1 || r.pushed[0].Version != 2 || r.served[0].IssuedAt != 200 {
				t.Errorf("pushed %+v of %+v", r.pushed, r.served)
			}
		},
	}
	each(t, func(t *testing.T, d *db) {
		for name, story := range stories {
			t.Run(name, func(t *testing.T) {
				operator, account := d.tenant(t, name)
				r := &room{free: 2}
				defer d.PushBy(r)()
				story(t, d, r, operator, account)
				if len(r.until) != len(r.pushed) || slices.ContainsFunc(r.served, func(s store.Served) bool { return s.AccountID != account || s.Token == "" }) {
					t.Errorf("served %+v", r.served)
				}
			})
		}
	})
}
