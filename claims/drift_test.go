package claims_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// TestJudge says of JWTs what they are, at the very seconds at which that changes.
func TestJudge(t *testing.T) {
	t.Parallel()
	operator, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := pair.PublicKey()
	signer, _ := operator.PublicKey()
	_, other := newKey(t)
	sign := func(by nkeys.KeyPair, subject string, expires int64) (string, int64) {
		c := jwt.NewAccountClaims(subject)
		c.Name, c.Expires = "a", expires
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token, c.IssuedAt
	}
	theirs, iat := sign(operator, id, 0)
	untrusted, _ := sign(stranger, id, 0)
	foreign, _ := sign(operator, other, 0)
	expiring, _ := sign(operator, id, iat+100)
	ours := "ours"
	cases := []struct {
		name, token, ours string
		oursAt, now       int64
		want              claims.DriftKind
	}{
		{"of the same second", theirs, ours, iat, iat, claims.DriftNewer},
		{"a second newer", theirs, ours, iat - 1, iat, claims.DriftNewer},
		{"a second older", theirs, ours, iat + 1, iat, claims.DriftOlder},
		{"ten minutes ahead of the clock", theirs, ours, iat - 1, iat - 600, claims.DriftNewer},
		{"a second more", theirs, ours, iat - 1, iat - 601, claims.DriftUntrusted},
		{"unknown here", theirs, "", 0, iat, claims.DriftUnknown},
		{"signed by a stranger", untrusted, ours, iat, iat, claims.DriftUntrusted},
		{"of another account", foreign, ours, iat, iat, claims.DriftUntrusted},
		{"in its last second", expiring, ours, iat, iat + 100, claims.DriftNewer},
		{"expired", expiring, ours, iat, iat + 101, claims.DriftUntrusted},
		{"cut off", theirs[:len(theirs)-4], ours, iat, iat, claims.DriftUntrusted},
		{"nothing", "", ours, iat, iat, claims.DriftUntrusted},
	}
	good := 0
	for _, c := range cases {
		j := claims.Judge(claims.Found{AccountID: id, Token: c.token, Ours: c.ours, OursIssuedAt: c.oursAt, Signers: []string{signer}}, time.Unix(c.now, 0))
		if j.Kind != c.want || (j.Kind == claims.DriftUntrusted) == (j.Detail == "") {
			t.Errorf("%s: it is %s, %q", c.name, j.Kind, j.Detail)
			continue
		}
		good++
	}
	t.Logf("judged: %d of %d", good, len(cases))
}

func newKey(t *testing.T) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	id, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, id
}
