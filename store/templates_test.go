package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/store"
)

// An account may use its own templates and those of its operator, and no others.
func TestSharedTemplates(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		elsewhere, stranger := d.tenant(t, "y")
		for _, x := range []store.Template{
			{ID: "tpl_own", OperatorID: operator, AccountID: account, Body: claims.Template{Name: "device"}},
			{ID: "tpl_twin", OperatorID: operator, Body: claims.Template{Name: "device"}},
			{ID: "tpl_shared", OperatorID: operator, Body: claims.Template{Name: "service"}},
			{ID: "tpl_other", OperatorID: elsewhere, Body: claims.Template{Name: "other"}},
		} {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateTemplate(ctx, x) })
		}
		find := func(account, ref string) string {
			x, err := try(t, d, func(ctx context.Context, tx *store.Tx) (store.Template, error) {
				return tx.GetTemplate(ctx, account, ref)
			})
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			return x.ID
		}
		for _, c := range []struct{ account, ref, want string }{
			{account, "device", "tpl_own"},
			{account, "tpl_twin", "tpl_twin"},
			{account, "service", "tpl_shared"},
			{account, "other", ""},
			{stranger, "service", ""},
			{stranger, "tpl_shared", ""},
			{stranger, "other", "tpl_other"},
		} {
			if got := find(c.account, c.ref); got != c.want {
				t.Errorf("%s of %s is %q, want %q", c.ref, c.account, got, c.want)
			}
		}
		ids := func(list []store.Template) (out []string) {
			for _, x := range list {
				out = append(out, x.ID)
			}
			return out
		}
		page := store.Page{Limit: 9}
		lists := map[string][]string{}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			of, err := tx.ListTemplates(ctx, account, page)
			shared, err2 := tx.ListSharedTemplates(ctx, operator, page)
			all, err3 := tx.ListAllTemplates(ctx, page)
			lists["account"], lists["shared"], lists["all"] = ids(of), ids(shared), ids(all)
			return errors.Join(err, err2, err3)
		})
		want := map[string][]string{
			"account": {"tpl_own", "tpl_twin", "tpl_shared"}, "shared": {"tpl_twin", "tpl_shared"}, "all": {"tpl_own", "tpl_twin", "tpl_other", "tpl_shared"},
		}
		if diff := cmp.Diff(want, lists); diff != "" {
			t.Error(diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			if n, err := tx.CountTemplatesNamed(ctx, operator, "device"); n != 1 || err != nil {
				t.Errorf("%d accounts have one called device, %v", n, err)
			}
			return tx.DeleteTemplate(ctx, "tpl_own")
		})
		if got := find(account, "device"); got != "tpl_twin" {
			t.Errorf("after the own one was deleted, device is %q", got)
		}
		for _, f := range []func(ctx context.Context, tx *store.Tx) error{
			func(ctx context.Context, tx *store.Tx) error { return tx.DeleteTemplate(ctx, "tpl_own") },
			func(ctx context.Context, tx *store.Tx) error { _, err := tx.LockTemplate(ctx, "tpl_own"); return err },
		} {
			d.fails(t, store.ErrNotFound, f)
		}
	})
}

// Who uses a template is counted by keys, users and what of their credentials still works.
func TestTemplateUse(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, one := d.tenant(t, "x")
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			err := tx.CreateAccount(ctx, anAccount(operator, "A-two", "two"))
			return errors.Join(err, tx.CreateTemplate(ctx, store.Template{ID: "tpl_1", OperatorID: operator, Body: claims.Template{Name: "device"}}))
		})
		two := "A-two"
		for n, account := range []string{one, two} {
			d.signed(t, account, 1)
			id := string(rune('a' + n))
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(
					tx.CreateKey(ctx, store.Key{ID: "K" + id, Kind: "account", Role: "signing", OperatorID: operator, AccountID: account, TemplateID: "tpl_1", State: "current", Custody: "sealed"}),
					tx.CreateUser(ctx, store.User{ID: "usr_" + id, AccountID: account, Name: id, TemplateID: "tpl_1", State: "active"}))
			})
			now := d.time().Unix()
			for k, expires := range map[string]int64{"live": now + 60, "forever": 0, "over": now - 1, "revoked": now + 60} {
				c := store.Credential{ID: "iss_" + id + k, UserID: "usr_" + id, AccountID: account, PublicKey: "U" + id + k, IssuedAt: now, Expires: expires, Signer: "K" + id, TemplateID: "tpl_1", SHA256: []byte{1}}
				d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateCredential(ctx, c) })
			}
			d.revoke(t, account, "U"+id+"revoked", now)
		}
		count := func(account string) store.TemplateUse {
			return get(t, d, func(ctx context.Context, tx *store.Tx) (store.TemplateUse, error) {
				return tx.CountTemplateUse(ctx, "tpl_1", account)
			})
		}
		if diff := cmp.Diff(store.TemplateUse{Accounts: 2, Users: 2, Credentials: 4}, count("")); diff != "" {
			t.Error(diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.OweResigning(ctx, operator, "tpl_1")
			if n != 2 {
				t.Errorf("%d accounts owe a signature", n)
			}
			return err
		})
		d.advance(time.Minute)
		if diff := cmp.Diff(store.TemplateUse{Accounts: 1, Owing: 1, Users: 1, Credentials: 1}, count(two)); diff != "" {
			t.Error(diff)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.RetireKeysOfTemplate(ctx, "tpl_1") })
		if diff := cmp.Diff(store.TemplateUse{Users: 2}, count("")); diff != "" {
			t.Error(diff)
		}
	})
}
