package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/store"
)

func TestPeople(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		people := []store.Person{
			{ID: "per_1", Name: "ada", Grants: []store.Grant{{Role: "owner"}}, State: "active"}, {ID: "per_2", Name: "bob", Grants: []store.Grant{{Role: "auditor"}}, State: "active"}, {ID: "per_3", Name: "cy", Grants: []store.Grant{{Role: "owner"}}, State: "disabled"},
		}
		for n, p := range people {
			if got := get(t, d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.CountOwners(ctx) }); got != int64(min(n, 1)) {
				t.Errorf("%d owners before the person %d", got, n)
			}
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreatePerson(ctx, p, "test") })
			for _, ref := range []string{p.ID, p.Name} {
				got := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Person, error) { return tx.GetPerson(ctx, ref) })
				p.Version, p.Created, p.Updated = 1, d.time().Truncate(time.Microsecond), d.time().Truncate(time.Microsecond)
				if diff := cmp.Diff(p, got); diff != "" {
					t.Errorf("%s: %s", ref, diff)
				}
			}
		}
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreatePerson(ctx, store.Person{ID: "per_9", Name: "ada"}, "test")
		})
		d.fails(t, store.ErrNotFound, func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetPerson(ctx, "dan"); return err })
	})
}

// A link works once and until its time.
func TestLinks(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		make := func(id, purpose string) {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.CreateLink(ctx, store.Link{ID: id, Hash: []byte(id), Purpose: purpose, PersonID: "per_1", Expires: d.time().Add(time.Hour)})
			})
		}
		peek := func(ctx context.Context, tx *store.Tx, id string) (store.Link, error) {
			return tx.PeekLink(ctx, []byte(id))
		}
		use := func(ctx context.Context, tx *store.Tx, id string) (store.Link, error) {
			return tx.UseLink(ctx, []byte(id))
		}
		gone := func(id string) {
			t.Helper()
			for what, f := range map[string]func(context.Context, *store.Tx, string) (store.Link, error){"seen": peek, "used": use} {
				if err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { _, err := f(ctx, tx, id); return err }); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s can be %s: %v", id, what, err)
				}
			}
		}
		make("lnk_once", "sign_in")
		want := store.Link{ID: "lnk_once", Purpose: "sign_in", PersonID: "per_1", Expires: created.Add(time.Hour)}
		for what, f := range map[string]func(context.Context, *store.Tx, string) (store.Link, error){"seeing": peek, "seeing again": peek} {
			got := get(t, d, func(ctx context.Context, tx *store.Tx) (store.Link, error) { return f(ctx, tx, "lnk_once") })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			got, err := use(ctx, tx, "lnk_once")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			return err
		})
		gone("lnk_once")
		gone("lnk_none")

		make("lnk_late", "sign_in")
		d.advance(time.Hour)
		gone("lnk_late")

		make("lnk_dropped", "sign_in")
		make("lnk_kept", "setup")
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.DropLinksOf(ctx, "sign_in", "per_1") })
		gone("lnk_dropped")
		get(t, d, func(ctx context.Context, tx *store.Tx) (store.Link, error) { return peek(ctx, tx, "lnk_kept") })
		// A use that is rolled back is none.
		_ = d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, _ = use(ctx, tx, "lnk_kept")
			return errors.New("no")
		})
		d.write(t, func(ctx context.Context, tx *store.Tx) error { _, err := use(ctx, tx, "lnk_kept"); return err })
	})
}

// Of many that use one link at once exactly one gets in.
func TestLinkIsUsedByOne(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateLink(ctx, store.Link{ID: "lnk_1", Hash: []byte("h"), Purpose: "setup", Expires: d.time().Add(time.Hour)})
		})
		errs := make(chan error)
		for range 8 {
			go func() {
				errs <- d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { _, err := tx.UseLink(ctx, []byte("h")); return err })
			}()
		}
		used := 0
		for range 8 {
			switch err := <-errs; {
			case err == nil:
				used++
			case !errors.Is(err, store.ErrNotFound):
				t.Error(err)
			}
		}
		if used != 1 {
			t.Errorf("used %d times", used)
		}
	})
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		token := func(id, name string) store.Token {
			k := store.Token{ID: id, Name: name, Hash: []byte(id), Grants: []store.Grant{{Role: "owner"}}, CreatedBy: "per_1", Expires: d.time().Truncate(time.Microsecond).Add(time.Hour)}
			d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.CreateToken(ctx, k) })
			k.Created = d.time().Truncate(time.Microsecond)
			return k
		}
		ci, again, other := token("tok_1", "ci"), token("tok_2", "ci"), token("tok_3", "other")
		read := func(k store.Token) (store.Token, error) {
			return try(t, d, func(ctx context.Context, tx *store.Tx) (store.Token, error) { return tx.TokenByHash(ctx, k.Hash) })
		}
		for _, k := range []store.Token{ci, again, other} {
			if got, err := read(k); err != nil || !cmp.Equal(k, got) {
				t.Errorf("%s: %v %s", k.ID, err, cmp.Diff(k, got))
			}
		}
		d.fails(t, store.ErrExists, func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateToken(ctx, store.Token{ID: "tok_9", Name: "x", Hash: ci.Hash})
		})
		d.write(t, func(ctx context.Context, tx *store.Tx) error { return tx.RevokeTokens(ctx, "ci", "per_2") })
		for _, k := range []store.Token{ci, again} {
			if _, err := read(k); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s after its revocation: %v", k.ID, err)
			}
		}
		d.advance(time.Hour - time.Microsecond)
		if _, err := read(other); err != nil {
			t.Errorf("in its last microsecond: %v", err)
		}
		d.advance(time.Microsecond)
		if _, err := read(other); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after its time: %v", err)
		}
	})
}

func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		s := d.Sessions()
		find := func(token, want string) {
			t.Helper()
			data, found, err := s.Find(token)
			if err != nil || found != (want != "") || string(data) != want {
				t.Errorf("%s: %q, %v, %v; want %q", token, data, found, err, want)
			}
		}
		commit := func(token, data string, ttl time.Duration) {
			t.Helper()
			if err := s.Commit(token, []byte(data), d.time().Add(ttl)); err != nil {
				t.Fatal(err)
			}
		}
		find("a", "")
		commit("a", "one", time.Minute)
		commit("b", "two\x00\xff", time.Hour)
		find("a", "one")
		find("b", "two\x00\xff")
		commit("a", "three", time.Minute)
		find("a", "three")
		if err := s.Delete("b"); err != nil {
			t.Fatal(err)
		}
		find("b", "")
		if err := s.Delete("b"); err != nil {
			t.Errorf("deleting what is gone: %v", err)
		}
		d.advance(time.Minute)
		find("a", "")
		// The next commit sweeps what expired.
		commit("c", "four", time.Minute)
		var rows int
		if err := d.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM sessions`).Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%d sessions are kept, %v", rows, err)
		}
	})
}
