package store_test

import (
	"context"
	"testing"
	"time"

	"chancery/store"
)

// What is known of an earlier version says nothing of the current one; what is owed is owed since the oldest change that
// is not proven, and names the oldest revocation since then.
func TestMarksAndSince(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		deliver := func(version int64, state string) {
			t.Helper()
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutDelivery(ctx, store.Delivery{AccountID: account, ServerID: "N1", Version: version, State: state})
			})
		}
		marked := func(want string) {
			t.Helper()
			list := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Marks, error) {
				return tx.ListMarks(ctx, store.MarksQuery{OperatorID: operator, Servers: []string{"N1"}, Within: []string{account}})
			})
			if len(list) != 1 || list[0].States[0] != want {
				t.Errorf("marked %+v, want %q", list, want)
			}
		}
		owed := func(since, revoked time.Time) {
			t.Helper()
			list := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.OwedSince, error) { return tx.ListOwed(ctx, operator) })
			if len(list) != 1 || !list[0].Since.Equal(since.Truncate(time.Microsecond)) || !list[0].Revoked.Equal(revoked.Truncate(time.Microsecond)) {
				t.Errorf("owed %+v, want since %v, revoked %v", list, since, revoked)
			}
		}
		first := d.time()
		d.signed(t, account, 100)
		o := d.claimOne(t, operator, 1)
		deliver(1, "in_effect")
		marked("in_effect")
		owed(first, time.Time{})

		d.advance(time.Second)
		second := d.time()
		d.signed(t, account, 200)
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateRevocations(ctx, []store.Revocation{{ID: "rev_1", AccountID: account, Subject: "U1", Before: 200, Actor: "me", RequestID: "req_1"}})
		})
		marked("")
		deliver(2, "sent")
		marked("sent")
		deliver(1, "in_effect")
		marked("sent")
		owed(first, second)
		d.advance(time.Second)
		d.signed(t, account, 300)

		prove := func(o store.Owed) {
			t.Helper()
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.ProveOwed(ctx, o) })
		}
		d.advance(time.Second)
		prove(o) // version 1, while 2 and 3 are not proven
		owed(second, second)
		d.postpone(t, o, 0)
		prove(d.claimOne(t, operator, 3))
		owed(d.time(), time.Time{})
	})
}
