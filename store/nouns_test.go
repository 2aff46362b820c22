package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// created is the time that rows carry which were written at epoch.
var created = epoch.Truncate(time.Microsecond)

func TestOperators(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		settings := jwt.Operator{StrictSigningKeyUsage: true, SystemAccount: "A", OperatorServiceURLs: jwt.StringList{"nats://a", "tls://ü"}}
		first := store.Operator{ID: "O1", Name: "acme", State: "active", Custody: "sealed", Signing: true, Settings: settings}
		second := store.Operator{ID: "O2", Name: "Beta's", State: "active", Custody: "offline"}
		for _, o := range []store.Operator{first, second} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateOperator(ctx, o) })
		}
		first.Default, first.Version, first.Created, first.Updated = true, 1, created, created
		second.Version, second.Created, second.Updated = 1, created, created
		byRef := func(ref string) func(context.Context, *store.Tx) (store.Operator, error) {
			return func(ctx context.Context, tx *store.Tx) (store.Operator, error) { return tx.GetOperator(ctx, ref) }
		}
		for ref, want := range map[string]store.Operator{"O1": first, "acme": first, "O2": second, "Beta's": second} {
			if diff := cmp.Diff(want, get(t, d, byRef(ref))); diff != "" {
				t.Errorf("%s: %s", ref, diff)
			}
		}
		if _, err := try(t, d, byRef("nobody")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v, want not found", err)
		}
		for _, taken := range []store.Operator{{ID: "O3", Name: "acme"}, {ID: "O1", Name: "other"}} {
			d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateOperator(ctx, taken) })
		}

		d.advance(time.Second)
		second.Settings.OperatorServiceURLs = jwt.StringList{"ws://b"}
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateOperator(ctx, second) })
		second.Version, second.Updated = 2, created.Add(time.Second)
		if diff := cmp.Diff(second, get(t, d, byRef("O2"))); diff != "" {
			t.Errorf("an update: %s", diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			o, err := tx.LockOperatorForEdit(ctx, "O2")
			if diff := cmp.Diff(second, o); diff != "" {
				t.Errorf("a lock to edit counted something: %s", diff)
			}
			return err
		})
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			o, err := tx.LockOperator(ctx, "O2")
			if o.JWTVersion != 1 || o.Version != 2 {
				t.Errorf("a lock to sign: version %d, signed %d", o.Version, o.JWTVersion)
			}
			return err
		})
		for name, f := range map[string]func(context.Context, *store.Tx) error{
			"update": func(ctx context.Context, tx *store.Tx) error { return tx.UpdateOperator(ctx, store.Operator{ID: "O9"}) },
			"lock":   func(ctx context.Context, tx *store.Tx) error { _, err := tx.LockOperator(ctx, "O9"); return err },
			"edit":   func(ctx context.Context, tx *store.Tx) error { _, err := tx.LockOperatorForEdit(ctx, "O9"); return err },
		} {
			t.Run(name+" of what is not there", func(t *testing.T) { d.fails(t, store.ErrNotFound, f) })
		}
	})
}

func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		o1, id := d.tenant(t, "x")
		o2, _ := d.tenant(t, "y")
		a := anAccount(o1, id, "x")
		a.Version, a.Created, a.Updated = 1, created, created
		byID := func(ctx context.Context, tx *store.Tx) (store.Account, error) { return tx.GetAccount(ctx, id) }
		if diff := cmp.Diff(a, get(t, d, byID)); diff != "" {
			t.Error(diff)
		}
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateAccount(ctx, anAccount(o1, "A-other", "x"))
		})
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateAccount(ctx, anAccount(o2, id, "z")) })
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateAccount(ctx, anAccount(o2, "A-twin", "x"))
		})
		for operator, want := range map[string]int{"": 2, o1: 1, o2: 1, "O-none": 0} {
			found := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Account, error) {
				return tx.FindAccounts(ctx, operator, "x")
			})
			if len(found) != want {
				t.Errorf("%d accounts called x in %q, want %d", len(found), operator, want)
			}
		}

		d.advance(time.Minute)
		a.Settings.Limits.Conn, a.Settings.Tags, a.Expires = 7, jwt.TagList{"env:prod"}, 4_000_000_000
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateAccount(ctx, a) })
		a.Version, a.Updated = 2, created.Add(time.Minute)
		if diff := cmp.Diff(a, get(t, d, byID)); diff != "" {
			t.Errorf("an update: %s", diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			if got, err := tx.LockAccountForIssue(ctx, id); err != nil || !cmp.Equal(a, got) {
				t.Errorf("a lock to issue counted something: %s, %v", cmp.Diff(a, got), err)
			}
			got, _, err := tx.LockAccount(ctx, id)
			a.JWTVersion = 1
			if diff := cmp.Diff(a, got); diff != "" {
				t.Errorf("a lock to sign: %s", diff)
			}
			return err
		})
		for _, iat := range []int64{100, 50, 100, 300, 200} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.SetLastUserIAT(ctx, id, iat) })
		}
		if got := get(t, d, byID).LastUserIAT; got != 300 {
			t.Errorf("the highest iat is %d", got)
		}
		for n, lifetime := range []time.Duration{0, 3 * time.Hour, 0} { // what is put without waiting is what is read then
			var put store.Account
			d.advance(time.Minute)
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				read, err := tx.GetAccount(ctx, id)
				if err != nil {
					return err
				}
				held, _, err := tx.HoldAccount(ctx, read)
				if diff := cmp.Diff(read, held); diff != "" {
					t.Errorf("a lock: %s", diff)
				}
				if err != nil {
					return err
				}
				held.Settings.Limits.Conn, held.Lifetime = int64(100+n), lifetime
				j := store.JWT{Subject: id, Kind: "account", OperatorID: o1, Version: held.JWTVersion + 1, IssuedAt: 1_800_000_000 + int64(n), JTI: fmt.Sprint("jti", n), Signer: "OS", Token: fmt.Sprint("jwt", n)}
				put, err = tx.PutHeldAccount(ctx, held, j)
				return err
			})
			if diff := cmp.Diff(put, get(t, d, byID)); diff != "" {
				t.Errorf("put %d: %s", n, diff)
			}
			if want := map[bool]time.Time{true: time.Unix(1_800_000_000+int64(n), 0).Add(lifetime / 2).UTC()}[lifetime > 0]; !put.Renewal.Equal(want) {
				t.Errorf("put %d: renewed at %s, want %s", n, put.Renewal, want)
			}
		}
		for name, f := range map[string]func(context.Context, *store.Tx) error{
			"update": func(ctx context.Context, tx *store.Tx) error { return tx.UpdateAccount(ctx, anAccount(o1, "A9", "q")) },
			"lock":   func(ctx context.Context, tx *store.Tx) error { _, _, err := tx.LockAccount(ctx, "A9"); return err },
			"issue":  func(ctx context.Context, tx *store.Tx) error { _, err := tx.LockAccountForIssue(ctx, "A9"); return err },
			"get":    func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetAccount(ctx, "A9"); return err },
			"served": func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetServed(ctx, "A9"); return err },
			"hold": func(ctx context.Context, tx *store.Tx) error {
				_, _, err := tx.HoldAccountUnder(ctx, store.Account{ID: "A9", OperatorID: "O9"})
				return err
			},
		} {
			t.Run(name+" of what is not there", func(t *testing.T) { d.fails(t, store.ErrNotFound, f) })
		}
	})
}

func TestTemplates(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		_, other := d.tenant(t, "y")
		x := store.Template{ID: "tpl_1", OperatorID: operator, AccountID: account, Body: claims.Template{Name: "device", Permissions: claims.NewPermissionLimits()}, MaxTTL: time.Hour}
		x.Tests = []claims.TemplateTest{{As: claims.TestUser{Name: "d1", Tags: []string{"a:b"}}, CanPublish: []string{"a.d1"}}}
		x.Body.Permissions.Pub.Allow = jwt.StringList{"a.{{name()}}", "b.>"}
		x.Body.Permissions.Resp = &jwt.ResponsePermission{MaxMsgs: 3, Expires: time.Second}
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, x) })
		x.Version, x.Created, x.Updated = 1, created, created
		read := func(account, ref string) (store.Template, error) {
			return try(t, d, func(ctx context.Context, tx *store.Tx) (store.Template, error) {
				return tx.GetTemplate(ctx, account, ref)
			})
		}
		for _, ref := range []string{"tpl_1", "device"} {
			if got, err := read(account, ref); err != nil || !cmp.Equal(x, got) {
				t.Errorf("%s: %v %s", ref, err, cmp.Diff(x, got))
			}
			if _, err := read(other, ref); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s of another account: %v", ref, err)
			}
		}
		twin := x
		twin.ID = "tpl_2"
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, twin) })
		twin.AccountID = other
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, twin) })
		// A template of the operator has no account; its name is taken once in the operator.
		twin.AccountID, twin.ID = "", "tpl_3"
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, twin) })
		twin.ID = "tpl_4"
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, twin) })

		d.advance(time.Second)
		x.Body.Description, x.MaxTTL, x.Tests = "changed", 0, nil
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			version, err := tx.UpdateTemplate(ctx, x)
			if version != 2 {
				t.Errorf("version %d", version)
			}
			return err
		})
		x.Version, x.Updated = 2, created.Add(time.Second)
		if got, err := read(account, "device"); err != nil || !cmp.Equal(x, got) {
			t.Errorf("an update: %v %s", err, cmp.Diff(x, got))
		}
		x.ID = "tpl_9"
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := tx.UpdateTemplate(ctx, x); return err })
	})
}

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		keys := []store.Key{
			{ID: "OI", Kind: "operator", Role: "identity", OperatorID: operator, State: "current", Custody: "sealed", Sealed: []byte{0, 1, 0xff}},
			{ID: "OS", Kind: "operator", Role: "signing", OperatorID: operator, State: "current", Custody: "sealed", Sealed: []byte("x")},
			{ID: "AI", Kind: "account", Role: "identity", OperatorID: operator, AccountID: account, State: "current", Custody: "public_only"},
			{ID: "AS", Kind: "account", Role: "signing", OperatorID: operator, AccountID: account, TemplateID: "tpl_1", State: "retiring", Custody: "sealed", Sealed: []byte("y")},
		}
		for n := range keys {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateKey(ctx, keys[n]) })
			at := d.time().Truncate(time.Microsecond)
			keys[n].Version, keys[n].Since, keys[n].Created, keys[n].Updated = 1, at, at, at
			d.advance(time.Millisecond)
			got := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Key, error) { return tx.GetKey(ctx, keys[n].ID) })
			if diff := cmp.Diff(keys[n], got); diff != "" {
				t.Errorf("%s: %s", keys[n].ID, diff)
			}
		}
		for owner, want := range map[string][]store.Key{"": keys[:2], account: keys[2:], "A9": nil} {
			got := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Key, error) { return tx.ListKeys(ctx, operator, owner) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the keys of %q: %s", owner, diff)
			}
		}
		retire := d.time().Add(time.Hour).Truncate(time.Microsecond)
		for _, until := range []time.Time{retire, {}} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.SetKeyState(ctx, "OS", "retiring", until) })
			keys[1].State, keys[1].RetireAt, keys[1].Version, keys[1].Updated = "retiring", until, keys[1].Version+1, d.time().Truncate(time.Microsecond)
			if !until.IsZero() {
				keys[1].Since = keys[1].Updated
			}
			got := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Key, error) { return tx.GetKey(ctx, "OS") })
			if diff := cmp.Diff(keys[1], got); diff != "" {
				t.Error(diff)
			}
			d.advance(time.Millisecond)
		}
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error {
			return tx.SetKeyState(ctx, "O9", "retired", time.Time{})
		})
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateKey(ctx, keys[0]) })
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetKey(ctx, "O9"); return err })
	})
}

func TestUsers(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		_, other := d.tenant(t, "y")
		own := claims.NewPermissionLimits()
		own.Src, own.Times = jwt.CIDRList{"10.0.0.0/8"}, []jwt.TimeRange{{Start: "01:00:00", End: "02:00:00"}}
		users := []store.User{
			{ID: "usr_1", AccountID: account, Name: "ada@example.com", Permissions: &own, Tags: []string{"a", "b:c"}, State: "active"},
			{ID: "usr_2", AccountID: account, Name: "d1", TemplateID: "tpl_1", State: "disabled"},
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateTemplate(ctx, store.Template{ID: "tpl_1", OperatorID: operator, AccountID: account, Body: claims.Template{Name: "t"}})
		})
		read := func(account, ref string) (store.User, error) {
			return try(t, d, func(ctx context.Context, tx *store.Tx) (store.User, error) { return tx.GetUser(ctx, account, ref) })
		}
		for _, u := range users {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateUser(ctx, u) })
			u.Version, u.Created, u.Updated = 1, created, created
			for _, ref := range []string{u.ID, u.Name} {
				if got, err := read(account, ref); err != nil || !cmp.Equal(u, got) {
					t.Errorf("%s: %v %s", ref, err, cmp.Diff(u, got))
				}
				if _, err := read(other, ref); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s of another account: %v", ref, err)
				}
			}
		}
		twin := users[0]
		twin.ID = "usr_3"
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return tx.CreateUser(ctx, twin) })
		twin.AccountID = other
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateUser(ctx, twin) })

		names := func(after string, limit int) (names []string) {
			for _, u := range get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.User, error) {
				return tx.ListUsersOfTemplate(ctx, "tpl_1", account, after, limit)
			}) {
				names = append(names, u.Name)
			}
			return names
		}
		for _, id := range []string{"e1", "c1", "f1"} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.CreateUser(ctx, store.User{ID: "usr_" + id, AccountID: account, Name: id, TemplateID: "tpl_1", State: "active"})
			})
		}
		if diff := cmp.Diff([]string{"d1", "c1"}, names("", 2)); diff != "" {
			t.Errorf("users of the template: %s", diff)
		}
		if diff := cmp.Diff([]string{"e1", "f1"}, names("usr_c1", 9)); diff != "" {
			t.Errorf("the rest of them: %s", diff)
		}
	})
}
