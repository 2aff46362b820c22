package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/store"
)

// lists are the four lists that are paged by name; fill makes an object of each name in it.
func lists(operator, account string) map[string]struct {
	fill func(ctx context.Context, tx *store.Tx, id, name string) error
	page func(ctx context.Context, tx *store.Tx, p store.Page) ([][2]string, error)
} {
	type list = struct {
		fill func(ctx context.Context, tx *store.Tx, id, name string) error
		page func(ctx context.Context, tx *store.Tx, p store.Page) ([][2]string, error)
	}
	return map[string]list{
		"operators": {
			func(ctx context.Context, tx *store.Tx, id, name string) error {
				return tx.CreateOperator(ctx, store.Operator{ID: id, Name: name})
			},
			func(ctx context.Context, tx *store.Tx, p store.Page) (out [][2]string, err error) {
				all, err := tx.ListOperators(ctx, p)
				for _, x := range all {
					out = append(out, [2]string{x.Name, x.ID})
				}
				return out, err
			},
		},
		"accounts": {
			func(ctx context.Context, tx *store.Tx, id, name string) error {
				return tx.CreateAccount(ctx, anAccount(operator, id, name))
			},
			func(ctx context.Context, tx *store.Tx, p store.Page) (out [][2]string, err error) {
				all, err := tx.ListAccounts(ctx, operator, p)
				for _, x := range all {
					out = append(out, [2]string{x.Name, x.ID})
				}
				return out, err
			},
		},
		"templates": {
			func(ctx context.Context, tx *store.Tx, id, name string) error {
				return tx.CreateTemplate(ctx, store.Template{ID: id, OperatorID: operator, AccountID: account, Body: claims.Template{Name: name}})
			},
			func(ctx context.Context, tx *store.Tx, p store.Page) (out [][2]string, err error) {
				all, err := tx.ListTemplates(ctx, account, p)
				for _, x := range all {
					out = append(out, [2]string{x.Body.Name, x.ID})
				}
				return out, err
			},
		},
		"users": {
			func(ctx context.Context, tx *store.Tx, id, name string) error {
				return tx.CreateUser(ctx, store.User{ID: id, AccountID: account, Name: name})
			},
			func(ctx context.Context, tx *store.Tx, p store.Page) (out [][2]string, err error) {
				all, err := tx.ListUsers(ctx, account, p)
				for _, x := range all {
					out = append(out, [2]string{x.Name, x.ID})
				}
				return out, err
			},
		},
	}
}

// Every row is on exactly one page, in an order that the next page goes on from.
func TestPages(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		for kind, list := range lists(operator, account) {
			names := map[string]bool{}
			for n := range 23 {
				name := fmt.Sprintf("%s-%02d", []string{"b", "a", "Ä", "c d"}[n%4], n)
				names[name] = true
				d.write(t, func(ctx context.Context, tx *store.Tx) error { return list.fill(ctx, tx, fmt.Sprint(kind, n), name) })
			}
			for _, limit := range []int{1, 7, 100} {
				seen := map[string]bool{}
				var page store.Page
				for page.Limit = limit; ; {
					rows := get(t, d, func(ctx context.Context, tx *store.Tx) ([][2]string, error) { return list.page(ctx, tx, page) })
					if len(rows) > limit {
						t.Fatalf("%s: %d rows on a page of %d", kind, len(rows), limit)
					}
					for _, r := range rows {
						if seen[r[0]] {
							t.Errorf("%s: %s twice", kind, r[0])
						}
						seen[r[0]] = true
					}
					if len(rows) == 0 {
						break
					}
					page.AfterName, page.AfterID = rows[len(rows)-1][0], rows[len(rows)-1][1]
				}
				for name := range names {
					if !seen[name] {
						t.Errorf("%s by %d: %s is on no page", kind, limit, name)
					}
				}
			}
		}
	})
}

// A search finds what contains it, letter for letter but for capitals; the signs of LIKE are letters too.
func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "zz")
		all := []string{"100%", "100x", "a_b", "axb", `back\slash`, "Back", "Ada", "ada@x", "o'neil", "日本語"}
		for kind, list := range lists(operator, account) {
			for n, name := range all {
				d.write(t, func(ctx context.Context, tx *store.Tx) error { return list.fill(ctx, tx, fmt.Sprint(kind, n), name) })
			}
			for search, want := range map[string][]string{
				"%": {"100%"}, "0%": {"100%"}, "_": {"a_b"}, "a_b": {"a_b"}, `\`: {`back\slash`}, `k\s`: {`back\slash`}, "%%": nil, `\%`: nil, "ADA": {"Ada", "ada@x"}, "back": {"Back", `back\slash`},
				"'": {"o'neil"}, "本": {"日本語"}, "nothing": nil, "100": {"100%", "100x"}, "' OR 1=1 --": nil, "$1": nil,
			} {
				rows := get(t, d, func(ctx context.Context, tx *store.Tx) ([][2]string, error) {
					return list.page(ctx, tx, store.Page{Limit: 50, Search: search})
				})
				var got []string
				for _, r := range rows {
					got = append(got, r[0])
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s with %q: %s", kind, search, diff)
				}
			}
		}
	})
}

// PostgreSQL refuses a statement with text that is no UTF-8 or holds a NUL; no row can have it, so nothing is
// found, on both databases, and nothing is stored.
func TestTextThatCannotBeStored(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "x")
		for _, bad := range []string{"a\x00b", "\x00", "a\xff", "\xc3"} {
			for name, f := range map[string]func(context.Context, *store.Tx) error{
				"operator": func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetOperator(ctx, bad); return err },
				"account":  func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetAccount(ctx, bad); return err },
				"template": func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetTemplate(ctx, account, bad); return err },
				"user":     func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetUser(ctx, account, bad); return err },
				"person":   func(ctx context.Context, tx *store.Tx) error { _, err := tx.GetPerson(ctx, bad); return err },
			} {
				t.Run(name, func(t *testing.T) { d.fails(t, store.ErrNotFound, f) })
			}
			for kind, list := range lists(operator, account) {
				for _, p := range []store.Page{{Limit: 5, Search: bad}, {Limit: 5, AfterName: bad}, {Limit: 5, AfterID: bad, AfterName: "a"}} {
					if rows, err := try(t, d, func(ctx context.Context, tx *store.Tx) ([][2]string, error) { return list.page(ctx, tx, p) }); err != nil || len(rows) > 0 {
						t.Errorf("%s with %+v: %v, %v", kind, p, rows, err)
					}
				}
				if kind == "templates" {
					continue // names stand in JSON too, which replaces what is no UTF-8
				}
				before := d.raw.Dump(t)
				err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { return list.fill(ctx, tx, "id", bad) })
				if err == nil || errors.Is(err, store.ErrNotFound) || strings.Contains(err.Error(), bad) || d.raw.Dump(t) != before {
					t.Errorf("%s: storing %+q: %v", kind, bad, err)
				}
			}
		}
	})
}
