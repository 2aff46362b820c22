package claims_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// signedSize returns what CheckSize says, and how long the token is once it is signed.
func signedSize(t *testing.T, c claims.Checked, by pair) (claims.Problems, int) {
	t.Helper()
	u, err := claims.Encode(c, claims.Stamp{Issuer: by.id, IssuedAt: 1_800_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return u.CheckSize(), len(u.SigningInput()) + len(".") + 86 // 64 bytes in base64; the tests compare with a real one
}

// border builds with more and more padding around the limit and checks that the verdict is the token's length.
func border(t *testing.T, limit int, by pair, build func(padding int) claims.Checked) {
	t.Helper()
	_, size := signedSize(t, build(0), by)
	padding := (limit - size) * 3 / 4 // base64 writes 4 bytes for 3
	longest, shortest := 0, 2*limit
	for n := padding - 4; n < padding+8; n++ {
		c := build(n)
		problems, size := signedSize(t, c, by)
		switch {
		case problems.Blocking() && size <= limit, !problems.Blocking() && size > limit:
			t.Errorf("%d bytes, the limit is %d: %+v", size, limit, problems)
		case problems.Blocking():
			shortest = min(shortest, size)
			if problems[0].Code != "too_large" {
				t.Errorf("code %s", problems[0].Code)
			}
		case size > longest:
			longest = size
			if limit-size < 2 {
				if signed := sign(t, c, by, 1_800_000_000); len(signed.Token) != size {
					t.Errorf("signed %d bytes, counted %d", len(signed.Token), size)
				}
			}
		}
	}
	// Not every length can be reached: a last group of one byte is two characters.
	if longest < limit-1 || shortest > limit+2 {
		t.Errorf("accepted up to %d, refused from %d on; the limit is %d", longest, shortest, limit)
	}
}

func TestUserSizeAtTheBorder(t *testing.T) {
	t.Parallel()
	u := aUser(t)
	border(t, claims.MaxUserJWT, newPair(t, claims.KindAccount), func(padding int) claims.Checked {
		u.Permissions.Pub.Allow = jwt.StringList{strings.Repeat("a", 800), strings.Repeat("b", 1+padding/2), strings.Repeat("c", 1+padding-padding/2)}
		return checked(t)(claims.BuildUser(u))
	})
}

// The longest account is one that jwt/v2 still decodes: signing it decodes it.
func TestAccountSizeAtTheBorder(t *testing.T) {
	t.Parallel()
	a := anAccount(t)
	border(t, claims.MaxAccountJWT, newPair(t, claims.KindOperator), func(padding int) claims.Checked {
		a.Settings.Exports = jwt.Exports{{Name: strings.Repeat("n", 1+padding), Subject: "a.b", Type: jwt.Stream}}
		return checked(t)(claims.BuildAccount(a))
	})
}
