package issuer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
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
		token, err := h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "ci", Role: issuer.RoleAuditor, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := h.Authenticate(t.Context(), token); err != nil || c.Role != issuer.RoleAuditor {
			t.Errorf("%+v, %v", c, err)
		}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(*jwt.Account) {})).well(t) // changes nothing
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
	for name, text := range map[string]string{
		"nothing": "", "too short": "c2hvcnQ=", "too long": base64.StdEncoding.EncodeToString(make([]byte, 33)), "no base64": "MARKER!" + strings.Repeat("A", 37), "hex": strings.Repeat("ab", 32),
	} {
		if _, err := custody.ParseKEK(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := custody.NewKEK(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key of 31 bytes")
	}
	kek, err := custody.NewKEK(bytes.NewReader(bytes.Repeat([]byte{0x41}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{kek, &kek, issuer.Config{KEK: kek}} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, "AAAA") || strings.Contains(out, "41414141") || strings.Contains(out, "65 65 65") {
				t.Errorf("%s shows the key: %s", verb, out)
			}
		}
	}
}

var (
	seedRE   = regexp.MustCompile(`(?i)S[OAUNCX][A-Z2-7]{56}`)
	base64RE = regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}`)
	hexRE    = regexp.MustCompile(`(?i)[0-9a-f]{80,}`)
)

// leaks returns what of text is, or decodes to, a seed or one of the secrets.
func leaks(text string, secrets []string) []string {
	forms := []string{text}
	for _, run := range base64RE.FindAllString(text, -1) {
		run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for _, from := range []int{0, 1, 2, 3} { // a run may begin with what does not belong to it
			if b, err := base64.RawStdEncoding.DecodeString(run[from : from+(len(run)-from)/4*4]); err == nil {
				forms = append(forms, string(b))
			}
		}
	}
	for _, run := range hexRE.FindAllString(text, -1) {
		if b, err := hex.DecodeString(run[:len(run)/2*2]); err == nil {
			forms = append(forms, string(b))
		}
	}
	var out []string
	for _, f := range forms {
		out = append(out, seeds(f)...)
		for _, s := range secrets {
			if strings.Contains(f, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// seeds returns the private keys in text: what has the shape of one and a checksum that is right. In a database
// file the columns stand side by side, so the shape alone proves nothing.
func seeds(text string) (out []string) {
	for {
		at := seedRE.FindStringIndex(text)
		if at == nil {
			return out
		}
		if _, err := nkeys.FromSeed([]byte(strings.ToUpper(text[at[0]:at[1]]))); err == nil {
			out = append(out, text[at[0]:at[1]])
		}
		text = text[at[0]+1:]
	}
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
				return h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: "ci", Role: issuer.RoleOwner, TTL: time.Hour})
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
			_, _ = h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *jwt.Account) { s.Description = ref })
		}
		secrets = append(secrets, aSeed[2:40])
		h.sequence(t)
		found := func() (out []string) {
			h.raw.Cells(t, func(table string, _ int, column string, value any) {
				for _, leak := range leaks(asText(value), secrets) {
					out = append(out, fmt.Sprintf("%s.%s: %s", table, column, leak))
				}
			})
			return out
		}
		if out := found(); len(out) > 0 {
			t.Errorf("%d secrets in clear: %v", len(out), out)
		}
		if path, ok := strings.CutPrefix(h.url, "sqlite://"); ok {
			files, err := filepath.Glob(path + "*")
			if err != nil || len(files) < 3 {
				t.Fatalf("files %v, %v", files, err)
			}
			for _, f := range files {
				content, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if out := seeds(string(content)); len(out) > 0 {
					t.Errorf("%s holds %v", filepath.Base(f), out)
				}
				for _, s := range secrets {
					if bytes.Contains(content, []byte(s)) {
						t.Errorf("%s holds %s", filepath.Base(f), s)
					}
				}
			}
		}
		// The search finds what it looks for.
		for n, form := range []string{aSeed, base64.StdEncoding.EncodeToString([]byte(aSeed)), base64.RawURLEncoding.EncodeToString([]byte(`{"seed":"` + aSeed + `"}`)), hex.EncodeToString([]byte(aSeed)), strings.ToLower(aSeed), secrets[1]} {
			if len(leaks("x "+form+" y", secrets)) == 0 {
				t.Errorf("the form %d of a secret would not be found", n)
			}
		}
		h.raw.Run(t, `UPDATE keysets SET wrapped = $1`, []byte("\x00"+aSeed+"\xff"))
		if len(found()) == 0 {
			t.Errorf("a seed in a row of bytes would not be found")
		}
	})
}

func asText(value any) string {
	if b, ok := value.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(value)
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
							return second(h.UpdateAccount(t.Context(), op(), account, func(s *jwt.Account) { s.Limits.Conn = n }))
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
			`UPDATE keys SET id = 'A' || substr(id, 2, 54) || 'X' WHERE id = $1`,
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
