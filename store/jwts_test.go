package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/store"
)

// Of every JWT ever signed the facts stay; the bodies of the last 20 stay too.
func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		_, other := d.tenant(t, "y")
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, other, 5) })
		const versions = store.KeptBodies + 5
		for n := range int64(versions) {
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, account, 1000+n) })
		}
		rows, err := d.raw.QueryContext(t.Context(), `SELECT jwt_version, iat, jti, sha256, signer, actor, request_id, jwt FROM jwts WHERE subject = $1 ORDER BY jwt_version`, account)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		count := int64(0)
		for ; rows.Next(); count++ {
			var version, iat int64
			var jti, signer, actor, request, body string
			var sum []byte
			if err := rows.Scan(&version, &iat, &jti, &sum, &signer, &actor, &request, &body); err != nil {
				t.Fatal(err)
			}
			token := fmt.Sprint("jwt of ", 1000+count)
			want := sha256.Sum256([]byte(token))
			if version != count+1 || iat != 1000+count || jti != fmt.Sprint("jti", iat) || string(sum) != string(want[:]) || signer != "OS" || actor != "per_1" || request != "req" {
				t.Errorf("version %d: iat %d, jti %s, by %s for %s in %s", version, iat, jti, signer, actor, request)
			}
			if kept := version > versions-store.KeptBodies; kept && body != token || !kept && body != "" {
				t.Errorf("the body of version %d of %d is %q", version, versions, body)
			}
		}
		if err := rows.Err(); err != nil || count != versions {
			t.Errorf("%d versions, %v", count, err)
		}

		served := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Served, error) { return tx.GetServed(ctx, account) })
		want := store.Served{AccountID: account, OperatorID: operator, Version: versions, IssuedAt: 1000 + versions - 1, Token: fmt.Sprint("jwt of ", 1000+versions-1)}
		if diff := cmp.Diff(want, served); diff != "" {
			t.Error(diff)
		}
		// The whole of what is served, page by page, without accounts that were never signed.
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateAccount(ctx, anAccount(operator, "A-unsigned", "u"))
		})
		var ids []string
		for after := ""; ; {
			page := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Served, error) { return tx.ListServed(ctx, after, 1) })
			if len(page) == 0 {
				break
			}
			after = page[0].AccountID
			ids = append(ids, after)
		}
		if diff := cmp.Diff([]string{account, other}, ids); diff != "" {
			t.Error(diff)
		}
	})
}

// No two JWTs of a subject share an issue time or a version, and none is stored for a version that was overtaken.
func TestJWTsAreUnique(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, account, 1000) })
		t.Run("issue time", func(t *testing.T) {
			d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, account, 1000) })
		})
		put := func(version, iat int64) func(context.Context, *store.Tx) error {
			return func(ctx context.Context, tx *store.Tx) error {
				return tx.PutJWT(ctx, store.JWT{Subject: account, Kind: "account", OperatorID: operator, Version: version, IssuedAt: iat, Token: "x"})
			}
		}
		t.Run("version", func(t *testing.T) { d.fails(t, store.ErrExists, put(1, 2000)) })
		t.Run("a version that was not locked", func(t *testing.T) { d.fails(t, store.ErrNotFound, put(2, 2000)) })
		t.Run("a subject that is not there", func(t *testing.T) {
			d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutJWT(ctx, store.JWT{Subject: "O9", Kind: "operator", OperatorID: "O9", Version: 1, IssuedAt: 1, Token: "x"})
			})
		})
	})
}

// An operator's JWT is a change but nothing to push; an account's is both.
func TestJWTsAreChanges(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			o, err := tx.LockOperator(ctx, operator)
			if err != nil {
				return err
			}
			return tx.PutJWT(ctx, store.JWT{Subject: operator, Kind: "operator", OperatorID: operator, Version: o.JWTVersion, IssuedAt: 7, JTI: "j", Token: "t"})
		})
		owed := func() int64 {
			return get(t, d, func(ctx context.Context, tx *store.Tx) (int64, error) {
				n, _, err := tx.CountOwed(ctx, operator)
				return n, err
			})
		}
		if owed() != 0 {
			t.Error("an operator's JWT is owed to servers")
		}
		o := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Operator, error) { return tx.GetOperator(ctx, operator) })
		if o.JWT != "t" || o.JTI != "j" || o.IssuedAt != 7 || o.JWTVersion != 1 || o.Version != 1 {
			t.Errorf("%+v", o)
		}
		for iat := range int64(2) {
			d.advance(time.Millisecond) // changes of one millisecond are numbered in no order
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return sign(ctx, tx, account, 8+iat) })
		}
		if owed() != 1 {
			t.Errorf("%d rows are owed for one account", owed())
		}
		d.sequence(t)
		changes := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.Change, error) { return tx.ListChanges(ctx, 0, 10) })
		want := []store.Change{{Seq: 1, Kind: "operator", OperatorID: operator, Subject: operator, JWTVersion: 1}}
		for n := range int64(2) {
			want = append(want, store.Change{Seq: 2 + n, Kind: "account", OperatorID: operator, AccountID: account, Subject: account, JWTVersion: 1 + n})
		}
		if diff := cmp.Diff(want, changes); diff != "" {
			t.Error(diff)
		}
	})
}
