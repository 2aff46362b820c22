package custody_test

import (
	"crypto/rand"
	"testing"

	"go.uber.org/goleak"

	"chancery/claims"
	"chancery/custody"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key makes a key of the kind.
func key(t testing.TB, kind claims.Kind) *custody.Key {
	t.Helper()
	k, err := custody.NewKey(kind, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// kek makes a key-encryption key.
func kek(t testing.TB) custody.KEK {
	t.Helper()
	k, err := custody.NewKEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ok returns v or fails the test.
func ok[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
