package issuer_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// Without the key that sealed the database everything goes on but signing, and the process says why.
func TestSealed(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		wrong, err := custody.NewKEK(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		open := h.Issuer
		damage := func(t *testing.T) { h.raw.Run(t, `UPDATE keysets SET wrapped = $1`, []byte("damaged")) }
		for _, c := range []struct {
			name   string
			kek    custody.KEK
			before func(t *testing.T)
			says   string
		}{
			{"no key", custody.KEK{}, func(*testing.T) {}, "no key-encryption key"},
			{"another key", wrong, func(*testing.T) {}, h.kek.ID()},
			{"a damaged keyset", h.kek, damage, "damaged"},
		} {
			t.Run(c.name, func(t *testing.T) {
				c.before(t)
				h.Issuer = h.open(t, h.store, c.kek)
				if !strings.Contains(h.Sealed(), c.says) {
					t.Errorf("it says %q, want %q", h.Sealed(), c.says)
				}
				woken := h.woken.Load()
				h.unchanged(t, func() {
					for name, u := range useCases() {
						if u.signs {
							for _, op := range []issuer.Op{op(), dryRun()} {
								// A preview of an edit needs no key; one that would make keys does.
								if err := u.run(t, h, op); err != nil || !op.DryRun {
									if e := wants(t, err, issuer.KindSealed); e.Code != "sealed" || e.Hint == "" {
										t.Errorf("%s: %+v", name, e)
									}
								}
							}
						} else if u.reads {
							if err := u.run(t, h, op()); err != nil {
								t.Errorf("%s: %v", name, err)
							}
						}
					}
				})
				if h.woken.Load() != woken {
					t.Error("the resolver was woken")
				}
			})
		}
		if open.Sealed() != "" {
			t.Errorf("the first one came to be sealed: %s", open.Sealed())
		}
	})
}

// What needs no signature works while sealed.
func TestSealedStillManages(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.Issuer = h.open(t, h.store, custody.KEK{})
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "later", Permissions: ownPermissions()})).well(t)
		token := h.token(t, "ci", issuer.RoleAuditor, time.Hour)
		if c, err := h.Authenticate(t.Context(), token, issuer.Origin{}); err != nil || !c.Allows(issuer.ReadAudit, issuer.Scope{}) {
			t.Errorf("%+v, %v", c, err)
		}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(*issuer.AccountEdit) {})).well(t) // changes nothing
	})
}

// A database that lost its keyset is no empty one: a new keyset would hide the loss.
func TestLostKeyset(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.raw.Run(t, `DELETE FROM keysets`)
		h.unchanged(t, func() {
			if i := h.open(t, h.store, h.kek); !strings.Contains(i.Sealed(), "restore it from a backup") {
				t.Errorf("sealed: %q", i.Sealed())
			}
		})
	})
}

// An empty database is sealed by the first key it meets; without one nothing is made up.
func TestFirstKey(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.raw.Run(t, `DELETE FROM keysets`)
		h.unchanged(t, func() {
			i := h.open(t, h.store, custody.KEK{})
			_, err := i.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "x"})
			wants(t, err, issuer.KindSealed)
		})
		second, err := custody.NewKEK(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if i := h.open(t, h.store, second); i.Sealed() != "" {
			t.Errorf("sealed: %s", i.Sealed())
		}
		if i := h.open(t, h.store, h.kek); i.Sealed() == "" {
			t.Error("a second key opens it too")
		}
		again, err := custody.ParseKEK(second.Text().Reveal() + "\n")
		if err != nil || again.ID() != second.ID() {
			t.Errorf("%s read again is %s, %v", second.ID(), again.ID(), err)
		}
		if i := h.open(t, h.store, again); i.Sealed() != "" {
			t.Errorf("sealed: %s", i.Sealed())
		}
	})
}

// T1: in the whole database there is no seed, token or link in clear, in any of the ways in which bytes are written
// down; nor in the files of SQLite, which also hold what was there before.
func TestNoSecretsAtRest(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := prepared(t, h)
		secrets := []string{h.kek.Text().Reveal()}
		for _, i := range []*issuer.Issued{w.device.Issued, w.ada.Issued} {
			_, seed, err := claims.ParseCreds(i.Creds)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, seed.Reveal(), i.JWT.Reveal())
		}
		did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})).well(t)
		for _, make := range []func() (claims.Secret, error){
			func() (claims.Secret, error) { return h.SignInLink(t.Context(), op(), "cy") },
			func() (claims.Secret, error) {
				out, err := h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "ci", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
				return out.Value.Text, err
			},
			func() (claims.Secret, error) {
				i, err := h.SystemCredential(t.Context(), op(), "acme", "x")
				return i.JWT, err
			},
		} {
			s, err := make()
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, s.Reveal())
		}
		// A seed in the wrong place is refused or leaves no trace of itself.
		for _, ref := range []string{aSeed, "x/" + aSeed, strings.Repeat("y", 100) + aSeed, "my_" + aSeed + "_key"} {
			_, _ = h.GetAccount(t.Context(), issuer.Caller{}, ref)
			_, _ = h.Revoke(t.Context(), issuer.Op{Caller: auditor}, "ORDERS", issuer.RevokeInput{Subject: ref})
			_, _ = h.SignInLink(t.Context(), op(), ref)
			_ = h.RevokeTokens(t.Context(), op(), ref)
			_, _ = h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "u", Permissions: ownPermissions(), Tags: []string{"k:" + ref}})
			_, _ = h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Description = ref })
		}
		secrets = append(secrets, aSeed[2:40], aSeed)
		h.sequence(t)
		search := storetest.NewSearch(secrets...)
		if found := search.Database(t, h.url); len(found) > 0 {
			t.Errorf("%d secrets in clear: %v", len(found), found)
		}
		t.Logf("0 of %d secrets in %d KiB", search.Secrets, search.Bytes>>10)
		// The search finds what it looks for.
		h.raw.Run(t, `UPDATE keysets SET wrapped = $1`, []byte("\x00"+aSeed+"\xff"))
		if len(storetest.NewSearch().Database(t, h.url)) == 0 {
			t.Errorf("a seed in a row of bytes would not be found")
		}
	})
}

// T2: sealed seeds that change places are of no use: every signing with either key of a pair is refused.
func TestSwappedSeeds(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := h.furnishAs(t, "zeta", "PAYMENTS")
		n := int64(0)
		uses := map[string]func() error{} // what signs with a key
		for _, x := range []world{w, other} {
			operator, account := x.operator.ID, x.account.ID
			h.in(t, func(ctx context.Context, tx *store.Tx) error {
				own, err := tx.ListKeys(ctx, operator, "")
				if err != nil {
					return err
				}
				system, err := tx.ListKeys(ctx, operator, x.operator.Settings.SystemAccount)
				if err != nil {
					return err
				}
				users, err := tx.ListKeys(ctx, operator, account)
				for _, k := range append(append(own, system...), users...) {
					switch {
					case k.Kind == "operator" && k.Role == "identity":
						uses[k.ID] = func() error {
							n++
							return second(h.UpdateOperator(t.Context(), op(), operator, setURLs([]string{fmt.Sprint("nats://h", n)})))
						}
					case k.Kind == "operator":
						uses[k.ID] = func() error {
							n++
							return second(h.UpdateAccount(t.Context(), op(), account, func(s *issuer.AccountEdit) { s.Limits.Conn = n }))
						}
					case k.Role == "identity": // its seed is not kept
					case k.AccountID != account:
						uses[k.ID] = func() error { return second(h.SystemCredential(t.Context(), op(), operator, "x")) }
					case k.TemplateID != "":
						uses[k.ID] = func() error { return second(h.Issue(t.Context(), op(), account, "d1", issuer.IssueInput{})) }
					default:
						uses[k.ID] = func() error {
							return second(h.Issue(t.Context(), op(), account, "ada@example.com", issuer.IssueInput{}))
						}
					}
				}
				return err
			})
		}
		if len(uses) != 10 {
			t.Fatalf("%d keys with a seed, want 10", len(uses))
		}
		for key, use := range uses {
			if err := use(); err != nil {
				t.Fatalf("%s as it is: %v", key, err)
			}
		}
		h.raw.Run(t, `CREATE TABLE kept AS SELECT id, sealed FROM keys`)
		tried, refused := 0, 0
		h.unchanged(t, func() {
			for a := range uses {
				for b := range uses {
					if a == b {
						continue
					}
					// With b's seed in a's row nothing is signed as a. The pair comes round the other way, too.
					h.raw.Run(t, `UPDATE keys SET sealed = (SELECT sealed FROM kept WHERE id = $2) WHERE id = $1`, a, b)
					tried++
					if e := issuer.AsError(uses[a]()); e.Kind != issuer.KindInternal || !strings.Contains(e.Error(), "opening the seed of "+a) {
						t.Errorf("%s signs with the seed of %s: %v", a, b, e)
					} else {
						refused++
					}
					h.raw.Run(t, `UPDATE keys SET sealed = (SELECT sealed FROM kept WHERE id = $1) WHERE id = $1`, a)
				}
			}
		})
		if tried != 90 {
			t.Errorf("%d swaps", tried)
		}
		t.Logf("%d of %d swaps refused", refused, tried)
		// Nor with a seed that was cut, bent or moved to another account's name.
		key := w.template.Keys[0].ID
		for _, statement := range []string{
			`UPDATE keys SET sealed = substr(sealed, 1, 40) WHERE id = $1`,
			`UPDATE keys SET sealed = NULL WHERE id = $1`,
			`UPDATE keys SET custody = 'public_only' WHERE id = $1`,
			`UPDATE keys SET role = 'identity' WHERE id = $1`,
			`UPDATE keys SET kind = 'operator' WHERE id = $1`,
			`UPDATE keys SET operator_id = (SELECT max(id) FROM operators WHERE id <> keys.operator_id) WHERE id = $1`,
			`UPDATE keys SET account_id = (SELECT max(id) FROM accounts WHERE id <> keys.account_id) WHERE id = $1`,
			`UPDATE keys SET id = substr(id, 1, 55) || CASE substr(id, 56) WHEN 'X' THEN 'Y' ELSE 'X' END WHERE id = $1`,
			`UPDATE keys SET state = 'disabled' WHERE id = $1`,
		} {
			h.raw.Run(t, `CREATE TABLE saved AS SELECT * FROM keys`)
			h.raw.Run(t, statement, key)
			if err := uses[key](); err == nil {
				t.Errorf("signed after %s", statement)
			}
			h.raw.Run(t, `DELETE FROM keys`)
			h.raw.Run(t, `INSERT INTO keys SELECT * FROM saved`)
			h.raw.Run(t, `DROP TABLE saved`)
		}
		if err := uses[key](); err != nil {
			t.Errorf("as it was: %v", err)
		}
	})
}

// anotherKEK is a key-encryption key, always the same, that no house begins with.
func anotherKEK(t testing.TB) custody.KEK {
	t.Helper()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("r", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return kek
}
