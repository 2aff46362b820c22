package issuer_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/custody"
	"chancery/custody/custodytest"
	"chancery/issuer"
	"chancery/store"
)

// external puts a new key that only its maker has in the place of a key, and returns it.
func (h *house) external(t testing.TB, old store.Key) *custody.Key {
	t.Helper()
	k, err := custody.NewKey(claims.Kind(old.Kind), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	err = h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		anew := old
		anew.ID, anew.Custody, anew.Sealed, anew.DataKey = k.Public(), "external", nil, 0
		return errors.Join(tx.SetKeyState(ctx, old.ID, "retired", time.Time{}), tx.CreateKey(ctx, anew))
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keysOf returns the signing keys of an operator, or of its account.
func (h *house) keysOf(t testing.TB, operator, account string) (out []store.Key) {
	t.Helper()
	h.in(t, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.ListKeys(ctx, operator, account)
		for _, k := range all {
			if k.Role == "signing" && k.State == "current" {
				out = append(out, k)
			}
		}
		return err
	})
	return out
}

// withSigner returns an issuer with the external signer.
func (h *house) withSigner(t testing.TB, s custody.Signer) *issuer.Issuer {
	t.Helper()
	cfg := h.config(h.store, h.kek)
	cfg.External = s
	i, err := issuer.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Keys that another process holds work as sealed ones do, and nobody above the signer notices: what they sign is let
// in by a real server.
func TestExternalCustody(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		var keys []*custody.Key
		for _, k := range append(h.keysOf(t, w.operator.ID, ""), h.keysOf(t, w.operator.ID, w.account.ID)...) {
			keys = append(keys, h.external(t, k))
		}
		if len(keys) != 3 { // the operator's, and the account's plain and scoped ones
			t.Fatalf("%d keys", len(keys))
		}
		h.Issuer = h.withSigner(t, custodytest.Remote(t, keys...))
		// The operator's new key comes into its JWT, the accounts' keys into theirs, signed by it.
		w.operator = did(h.UpdateOperator(t.Context(), op(), "live", setURLs([]string{"nats://127.0.0.1:4223"}))).well(t)
		w.account = did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) { s.Limits.Conn = 9 })).well(t)
		did(h.UpdateAccount(t.Context(), op(), w.operator.Settings.SystemAccount, func(s *issuer.AccountEdit) { s.Limits.Conn = 9 })).well(t)
		if by := decode[*jwt.AccountClaims](t, w.account.JWT).Issuer; by != keys[0].Public() {
			t.Errorf("the account is signed by %s", by)
		}
		s := h.run(t, w)
		for _, user := range []string{"d1", "ada@example.com"} {
			did(h.Issue(t.Context(), dryRun(), w.account.ID, user, issuer.IssueInput{})).well(t)
			issued := did(h.Issue(t.Context(), op(), w.account.ID, user, issuer.IssueInput{})).well(t)
			nc, err := connect(t, s, issued.Creds)
			if err != nil {
				t.Errorf("%s is refused: %v", user, err)
				continue
			}
			if err := nc.FlushTimeout(patience); err != nil {
				t.Error(err)
			}
		}
		// The data key is nothing to them.
		if st := did(h.RotateDataKey(t.Context(), op(), nil)).well(t); len(st.DataKeys) != 1 {
			t.Errorf("%+v", st)
		}
		did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})).well(t)
	})
}

// signerFunc is a signer that does something wrong.
type signerFunc func(ctx context.Context, public string, message []byte) ([]byte, error)

// Sign implements custody.Signer.
func (f signerFunc) Sign(ctx context.Context, public string, message []byte) ([]byte, error) {
	return f(ctx, public, message)
}

// What a signer does wrong is told, and never stored.
func TestWrongSigner(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := h.external(t, h.keysOf(t, w.operator.ID, "")[0])
		good := custodytest.Remote(t, key)
		stranger, err := custody.NewKey(claims.KindOperator, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		defer cancel()
		for name, c := range map[string]struct {
			ctx    context.Context
			signer custody.Signer
			kind   issuer.Kind
			code   string
		}{
			"there is none":     {t.Context(), nil, issuer.KindConflict, "no_signer"},
			"it has other keys": {t.Context(), custodytest.Remote(t, stranger), issuer.KindConflict, "no_signer"},
			"it signs with another key": {t.Context(), signerFunc(func(ctx context.Context, _ string, m []byte) ([]byte, error) {
				return stranger.Sign(ctx, stranger.Public(), m)
			}), issuer.KindInternal, "bad_signature"},
			"it signs something else": {t.Context(), signerFunc(func(ctx context.Context, p string, m []byte) ([]byte, error) {
				return good.Sign(ctx, p, append(m, '.'))
			}), issuer.KindInternal, "bad_signature"},
			"it bends a bit": {t.Context(), signerFunc(func(ctx context.Context, p string, m []byte) ([]byte, error) {
				s, err := good.Sign(ctx, p, m)
				s[63] ^= 1
				return s, err
			}), issuer.KindInternal, "bad_signature"},
			"it says nothing": {t.Context(), signerFunc(func(context.Context, string, []byte) ([]byte, error) { return nil, nil }), issuer.KindInternal, "bad_signature"},
			"it says too much": {t.Context(), signerFunc(func(ctx context.Context, p string, m []byte) ([]byte, error) {
				s, err := good.Sign(ctx, p, m)
				return append(s, 0), err
			}), issuer.KindInternal, "bad_signature"},
			"it is out of reach": {t.Context(), signerFunc(func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("connection refused") }), issuer.KindBusy, "signer_unavailable"},
			"it hangs":           {t.Context(), signerFunc(func(ctx context.Context, _ string, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }), issuer.KindBusy, "signer_unavailable"},
			"the caller hangs up": {cancelled, signerFunc(func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}), issuer.KindBusy, "timeout"},
		} {
			t.Run(name, func(t *testing.T) {
				i := h.withSigner(t, c.signer)
				h.unchanged(t, func() {
					_, err := i.UpdateAccount(c.ctx, op(), w.account.ID, func(s *issuer.AccountEdit) { s.Limits.Conn = 7 })
					if e := wants(t, err, c.kind); e.Code != c.code || e.Message == "" || e.Hint == "" {
						t.Errorf("%+v", e)
					}
				})
			})
		}
		h.Issuer = h.withSigner(t, good)
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) { s.Limits.Conn = 7 })).well(t)
	})
}
