package custody_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/custody/custodytest"
)

// Every signer there is passes the same suite: an open key, one that was sealed and opened, one in another place.
func TestSigners(t *testing.T) {
	t.Parallel()
	t.Run("a key", func(t *testing.T) {
		custodytest.Test(t, func(t *testing.T) (custody.Signer, []string) {
			k := key(t, claims.KindAccount)
			t.Cleanup(k.Wipe)
			return k, []string{k.Public()}
		})
	})
	t.Run("a sealed key", func(t *testing.T) {
		custodytest.Test(t, func(t *testing.T) (custody.Signer, []string) {
			k, set := key(t, claims.KindOperator), ok(custody.NewKeyset())(t)
			at := custody.Identity{Kind: "operator", Role: "signing", Public: k.Public(), OperatorID: "O"}
			open := ok(set.Open(ok(set.Seal(k, at))(t), at))(t)
			k.Wipe()
			t.Cleanup(open.Wipe)
			return open, []string{open.Public()}
		})
	})
	t.Run("a signer elsewhere", func(t *testing.T) {
		custodytest.Test(t, func(t *testing.T) (custody.Signer, []string) {
			operator, account := key(t, claims.KindOperator), key(t, claims.KindAccount)
			return custodytest.Remote(t, operator, account), []string{operator.Public(), account.Public()}
		})
	})
}

// A key is the nkey of its seed: same public key, same signatures.
func TestKey(t *testing.T) {
	t.Parallel()
	for _, kind := range []claims.Kind{claims.KindOperator, claims.KindAccount, claims.KindUser} {
		random := bytes.Repeat([]byte{byte(len(kind))}, 32)
		k := ok(custody.NewKey(kind, bytes.NewReader(random)))(t)
		kp := ok(nkeys.FromRawSeed(kind.Prefix(), random))(t)
		if public := ok(kp.PublicKey())(t); k.Public() != public {
			t.Errorf("%s, want %s", k.Public(), public)
		}
		parsed := ok(custody.ParseKey(ok(kp.Seed())(t)))(t)
		for _, k := range []*custody.Key{k, parsed} {
			if got := ok(k.Sign(t.Context(), k.Public(), []byte("x")))(t); !bytes.Equal(got, ok(kp.Sign([]byte("x")))(t)) {
				t.Errorf("%s signs something else", kind)
			}
		}
	}
	if _, err := custody.NewKey(claims.KindAccount, bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key of 31 bytes")
	}
	for name, text := range map[string]string{
		"nothing": "", "a public key": key(t, claims.KindAccount).Public(), "not base32": "SA" + strings.Repeat("0", 56), "cut": "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3V",
	} {
		if _, err := custody.ParseKey([]byte(text)); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Once wiped a key neither signs nor can be sealed, and shows nothing of what it was.
func TestWipe(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{0x41}, 32)
	k := ok(custody.NewKey(claims.KindAccount, bytes.NewReader(raw)))(t)
	for range 2 {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, v := range []any{k, []*custody.Key{k}, struct{ k *custody.Key }{k}} {
				if out := fmt.Sprintf(verb, v); strings.Contains(out, "AAAA") || strings.Contains(out, "41414141") || strings.Contains(out, "65 65 65") {
					t.Errorf("%s shows the key: %s", verb, out)
				}
			}
		}
		k.Wipe()
	}
	if _, err := k.Sign(t.Context(), k.Public(), nil); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("a wiped key signs: %v", err)
	}
	if _, err := ok(custody.NewKeyset())(t).Seal(k, custody.Identity{Public: k.Public()}); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("a wiped key was sealed: %v", err)
	}
}

// The suite finds a signer that does wrong.
func TestSuiteCanFail(t *testing.T) {
	t.Parallel()
	k := ok(custody.NewKey(claims.KindAccount, rand.Reader))(t)
	other := key(t, claims.KindAccount)
	message := []byte("x")
	for name, signature := range map[string][]byte{
		"another key": ok(other.Sign(t.Context(), other.Public(), message))(t), "another message": ok(k.Sign(t.Context(), k.Public(), []byte("y")))(t), "nothing": nil, "zeros": make([]byte, 64),
	} {
		if !fails(func(t testing.TB) { custodytest.Verify(t, k.Public(), message, signature) }) {
			t.Errorf("the signature of %s passes", name)
		}
	}
}

// probe is a test that may fail.
type probe struct {
	testing.TB
	failed bool
}

func (p *probe) Helper()               {}
func (p *probe) Fatalf(string, ...any) { p.failed = true; panic(p) }

func fails(f func(t testing.TB)) bool {
	p := &probe{}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(p) {
				panic(r)
			}
		}()
		f(p)
	}()
	return p.failed
}
