package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/store"
)

// issue adds a credential of the user to the ledger.
func (d *db) issue(t testing.TB, account, user, key string, iat, expires int64) store.Credential {
	t.Helper()
	c := store.Credential{
		UserID: user, AccountID: account, PublicKey: key, JTI: fmt.Sprint("jti ", key, iat), IssuedAt: iat, Expires: expires, Signer: "AS", SHA256: []byte{1, 0, 0xff},
		Bearer: true, KeyOrigin: "client", Delivery: "inline", DeliveredTo: "ada", Actor: "per_1", RequestID: "req_1", Reason: "new laptop", Created: d.time().Truncate(time.Microsecond),
	}
	d.write(t, func(ctx context.Context, tx *store.Tx) (err error) {
		if c.ID, err = tx.NewID("iss_"); err != nil {
			return err
		}
		return tx.CreateCredential(ctx, c)
	})
	d.advance(time.Millisecond) // identities of one millisecond are in no order
	return c
}

func TestCredentials(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		_, account := d.tenant(t, "x")
		_, other := d.tenant(t, "y")
		d.user(t, account, "usr_1")
		d.user(t, account, "usr_2")
		d.user(t, other, "usr_3")
		now := d.time().Unix()
		var all []store.Credential
		for n := range int64(5) {
			all = append([]store.Credential{d.issue(t, account, "usr_1", fmt.Sprint("U", n%2), now+n, 0)}, all...)
		}
		d.issue(t, account, "usr_2", "U9", now-100, now-1) // expired
		d.issue(t, account, "usr_2", "U8", now-100, now)   // in its last second
		d.issue(t, other, "usr_3", "U0", now+900, 0)       // the same key elsewhere

		list := func(before string, limit int) []store.Credential {
			return get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Credential, error) {
				return tx.ListCredentials(ctx, "usr_1", before, limit)
			})
		}
		if diff := cmp.Diff(all[:3], list("", 3)); diff != "" {
			t.Errorf("the newest: %s", diff)
		}
		if diff := cmp.Diff(all[3:], list(all[2].ID, 3)); diff != "" {
			t.Errorf("the rest: %s", diff)
		}
		numbers := map[string]struct {
			want int64
			f    func(context.Context, *store.Tx) (int64, error)
		}{
			"the highest iat of a key":   {now + 4, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.HighestIssuedAt(ctx, account, "U0") }},
			"the same key elsewhere":     {now + 900, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.HighestIssuedAt(ctx, other, "U0") }},
			"of a key that is not known": {0, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.HighestIssuedAt(ctx, account, "U7") }},
			"issued to a key": {3, func(ctx context.Context, tx *store.Tx) (int64, error) {
				return tx.CountIssued(ctx, account, "U0", now+4)
			}},
			"issued to a key before": {2, func(ctx context.Context, tx *store.Tx) (int64, error) {
				return tx.CountIssued(ctx, account, "U0", now+3)
			}},
			"issued to all": {6, func(ctx context.Context, tx *store.Tx) (int64, error) {
				return tx.CountIssued(ctx, account, "*", now+99)
			}},
			"issued to nobody": {0, func(ctx context.Context, tx *store.Tx) (int64, error) {
				return tx.CountIssued(ctx, account, "U7", now+99)
			}},
		}
		for name, n := range numbers {
			if got := get(t, d, n.f); got != n.want {
				t.Errorf("%s: %d, want %d", name, got, n.want)
			}
		}
		for user, want := range map[string][]string{"usr_1": {"U0", "U1"}, "usr_2": {"U8"}, "usr_9": nil} {
			got := get(t, d, func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.UserKeys(ctx, user) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("keys of %s: %s", user, diff)
			}
		}
		for key, want := range map[string]string{"U0": "usr_1", "U9": "usr_2", "U7": ""} {
			got := get(t, d, func(ctx context.Context, tx *store.Tx) (string, error) { return tx.OwnerOfKey(ctx, account, key) })
			if got != want {
				t.Errorf("the owner of %s is %q, want %q", key, got, want)
			}
		}
		// What is revoked already does not stop working once more.
		for _, r := range []struct {
			subject string
			want    int64
		}{{"U0", 4}, {"*", 1}} {
			d.revoke(t, account, r.subject, now+3)
			if got := get(t, d, func(ctx context.Context, tx *store.Tx) (int64, error) {
				return tx.CountIssued(ctx, account, "*", now+99)
			}); got != r.want {
				t.Errorf("after revoking %s %d are left, want %d", r.subject, got, r.want)
			}
		}
	})
}

func (d *db) revoke(t testing.TB, account, subject string, before int64) store.Revocation {
	t.Helper()
	v := store.Revocation{AccountID: account, Subject: subject, Before: before, Reason: "lost", Actor: "per_1", RequestID: "req_1", Created: d.time().Truncate(time.Microsecond)}
	d.write(t, func(ctx context.Context, tx *store.Tx) (err error) {
		if v.ID, err = tx.NewID("rev_"); err != nil {
			return err
		}
		return tx.CreateRevocations(ctx, []store.Revocation{v})
	})
	d.advance(time.Millisecond)
	return v
}

// The highest time of a subject holds, in whatever order they came; earlier ones stay on record.
func TestRevocations(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		_, account := d.tenant(t, "x")
		_, other := d.tenant(t, "y")
		d.revoke(t, account, "U1", 100)
		u1 := d.revoke(t, account, "U1", 300)
		d.revoke(t, account, "U1", 200)
		all := d.revoke(t, account, "*", 50)
		d.revoke(t, account, "U2", 400)
		u2 := d.revoke(t, account, "U2", 400) // of two at the same time the later one
		d.revoke(t, other, "U1", 900)

		effective := get(t, d, func(ctx context.Context, tx *store.Tx) (map[string]int64, error) {
			return tx.EffectiveRevocations(ctx, account)
		})
		if diff := cmp.Diff(map[string]int64{"U1": 300, "U2": 400, "*": 50}, effective); diff != "" {
			t.Error(diff)
		}
		list := func(before string, limit int) []store.Revocation {
			return get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Revocation, error) {
				return tx.ListRevocations(ctx, account, store.RevocationFilter{}, before, limit)
			})
		}
		if diff := cmp.Diff([]store.Revocation{u2, all}, list("", 2)); diff != "" {
			t.Errorf("the newest: %s", diff)
		}
		if diff := cmp.Diff([]store.Revocation{u1}, list(all.ID, 2)); diff != "" {
			t.Errorf("the rest: %s", diff)
		}
		for subject, want := range map[string]store.Revocation{"U1": u1, "U2": u2, "*": all} {
			got := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Revocation, error) {
				return tx.GetRevocation(ctx, account, subject)
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", subject, diff)
			}
		}
		if _, err := try(t, d, func(ctx context.Context, tx *store.Tx) (store.Revocation, error) {
			return tx.GetRevocation(ctx, account, "U9")
		}); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		// What was taken back does not count any more.
		d.raw.Run(t, `UPDATE revocations SET removed_us = 1 WHERE id = $1`, u1.ID)
		effective = get(t, d, func(ctx context.Context, tx *store.Tx) (map[string]int64, error) {
			return tx.EffectiveRevocations(ctx, account)
		})
		if effective["U1"] != 200 {
			t.Errorf("U1 is revoked before %d, want 200", effective["U1"])
		}
	})
}

func TestServersAndDeliveries(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		put := func(id, name, state string) {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutServer(ctx, store.Server{ID: id, OperatorID: operator, Name: name, Cluster: "c", Version: "2.15.2", State: state})
			})
			d.advance(time.Second)
		}
		put("N2", "n2", "up")
		put("N1", "n1", "up")
		put("N3", "n3", "up")
		put("N2", "n2 renamed", "up")
		put("N3", "n3", "gone")
		servers := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Server, error) { return tx.ListServers(ctx, operator) })
		want := []store.Server{
			{ID: "N1", OperatorID: operator, Name: "n1", Cluster: "c", Version: "2.15.2", State: "up", FirstSeen: created.Add(time.Second), LastSeen: created.Add(time.Second)},
			{ID: "N2", OperatorID: operator, Name: "n2 renamed", Cluster: "c", Version: "2.15.2", State: "up", FirstSeen: created, LastSeen: created.Add(3 * time.Second)},
		}
		if diff := cmp.Diff(want, servers); diff != "" {
			t.Error(diff)
		}

		// A delivery never goes back to an earlier version, whoever reports late; within a version it moves.
		for _, v := range []struct {
			version int64
			state   string
			want    string
		}{{3, "sent", "3 sent"}, {3, "in_effect", "3 in_effect"}, {2, "in_effect", "3 in_effect"}, {1, "error", "3 in_effect"}, {4, "sent", "4 sent"}, {3, "in_effect", "4 sent"}, {4, "error", "4 error"}, {4, "acknowledged", "4 acknowledged"}} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutDelivery(ctx, store.Delivery{AccountID: account, ServerID: "N1", ServerName: "n1", Version: v.version, State: v.state, Sent: d.time()})
			})
			got := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Delivery, error) {
				return tx.ListDeliveries(ctx, account)
			})
			if len(got) != 1 || fmt.Sprint(got[0].Version, " ", got[0].State) != v.want {
				t.Errorf("after %d %s: %+v, want %s", v.version, v.state, got, v.want)
			}
		}
		full := store.Delivery{AccountID: account, ServerID: "N2", ServerName: "a2", Version: 5, State: "error", Error: "no", Sent: created, Acknowledged: created.Add(1000), Proven: created.Add(2000)}
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.PutDelivery(ctx, full) })
		full.Updated = d.time().Truncate(time.Microsecond)
		got := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Delivery, error) {
			return tx.ListDeliveries(ctx, account)
		})
		if diff := cmp.Diff(full, got[0]); diff != "" {
			t.Errorf("by name: %s", diff)
		}
	})
}
