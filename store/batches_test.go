package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/store"
)

// More rows than one statement carries come back as they were, and of what is asked for in a batch everything is found
// that is there: repeated, unknown and unstorable values do not mind.
func TestBatches(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		const n = 501
		operator, account := d.tenant(t, "a")
		permissions := claims.NewPermissionLimits()
		var users []store.User
		var ledger []store.Credential
		names, keys := []string{"nobody", "\x00", "\xff"}, []string{"\xff", "U-none"}
		for i := range n {
			u := store.User{ID: fmt.Sprintf("usr_%03d", i), AccountID: account, Name: fmt.Sprintf("n'%03d\\\"{,}é", i), State: "active", Version: 1, Tags: []string{"a:b"}}
			if i%2 == 0 {
				u.Permissions, u.Tags = &permissions, nil
			} else {
				u.TemplateID = "tpl_x"
			}
			users, names = append(users, u), append(names, u.Name, u.Name)
			c := store.Credential{
				ID: fmt.Sprintf("iss_%03d", i), UserID: u.ID, AccountID: account, PublicKey: fmt.Sprintf("U-%03d", i), IssuedAt: int64(i + 1), Bearer: i%3 == 0,
				SHA256: []byte{0, byte(i), '\\', '"'}, KeyOrigin: "generated", Occasion: "issue", Delivery: "inline", Actor: "x", RequestID: "req", Created: d.time(),
			}
			ledger, keys = append(ledger, c), append(keys, c.PublicKey)
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.CreateTemplate(ctx, store.Template{ID: "tpl_x", OperatorID: operator, AccountID: account, Body: claims.Template{Name: "x", Permissions: permissions}}); err != nil {
				return err
			}
			if err := tx.CreateUsers(ctx, users); err != nil {
				return err
			}
			return tx.CreateCredentials(ctx, ledger)
		})
		found := get(t, d, func(ctx context.Context, tx *store.Tx) (map[string]store.User, error) {
			list, err := tx.UsersNamed(ctx, account, names)
			out := map[string]store.User{}
			for _, u := range list {
				out[u.ID] = u
			}
			return out, err
		})
		histories := get(t, d, func(ctx context.Context, tx *store.Tx) (map[string]store.KeyHistory, error) {
			return tx.KeyHistories(ctx, account, keys)
		})
		if len(found) != n || len(histories) != n {
			t.Fatalf("%d users, %d keys", len(found), len(histories))
		}
		for i, u := range users {
			got := found[u.ID]
			u.Created, u.Updated = got.Created, got.Updated
			if diff := cmp.Diff(u, got); diff != "" {
				t.Fatal(diff)
			}
			list := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Credential, error) {
				return tx.ListCredentials(ctx, u.ID, "", 2)
			})
			ledger[i].Created = list[0].Created
			if diff := cmp.Diff([]store.Credential{ledger[i]}, list); diff != "" {
				t.Fatal(diff)
			}
			if h := histories[ledger[i].PublicKey]; h.UserID != u.ID || h.IssuedAt != int64(i+1) {
				t.Fatalf("%+v of %s", h, u.ID)
			}
		}
		for what, f := range map[string]func(ctx context.Context, tx *store.Tx) error{
			"a text that cannot be stored": func(ctx context.Context, tx *store.Tx) error {
				return tx.CreateUsers(ctx, []store.User{{ID: "usr_a", AccountID: account, Name: "a"}, {ID: "usr_b", AccountID: account, Name: "\x00"}})
			},
			"a name that is taken": func(ctx context.Context, tx *store.Tx) error {
				return tx.CreateUsers(ctx, []store.User{{ID: "usr_a", AccountID: account, Name: "a"}, {ID: "usr_b", AccountID: account, Name: users[0].Name}})
			},
		} {
			if err := d.Write(t.Context(), f); err == nil {
				t.Errorf("%s was stored", what)
			}
		}
	})
}
