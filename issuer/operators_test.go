package issuer_test

import (
	"testing"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// setURLs replaces the service URLs of an operator.
func setURLs(urls []string) func(e *issuer.OperatorEdit) {
	return func(e *issuer.OperatorEdit) { e.ServiceURLs = urls }
}

// operator reads an operator or fails the test.
func (h *house) operator(t testing.TB, ref string) issuer.Operator {
	t.Helper()
	o, err := h.GetOperator(t.Context(), owner, ref)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// awaySeed is the identity of an operator whose keys are elsewhere.
const awaySeed = "SOAIMIESH2C5F5PQU3ZPUZK7ONECU5Y7SNAKK47L5XOWOQF4VNIGYLPPCU"

// away is the JWT of an operator that was made elsewhere.
func away(t testing.TB, issuedAt int64) string {
	t.Helper()
	pair := awayPair(t)
	id := public(t, pair)
	system, signing := public(t, newPair(t, nkeys.PrefixByteAccount)), public(t, newPair(t, nkeys.PrefixByteOperator))
	c := claims.Operator{ID: id, Name: "away", SigningKeys: []string{signing}}
	c.Settings.SystemAccount, c.Settings.StrictSigningKeyUsage = system, true
	return signOperator(t, c, pair, issuedAt)
}

// newAway is a later one, issued as late as a clock may say.
func newAway(t testing.TB, h *house) string {
	t.Helper()
	return away(t, h.operator(t, "away").IssuedAt+1)
}

func awayPair(t testing.TB) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.FromSeed([]byte(awaySeed))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func newPair(t testing.TB, prefix nkeys.PrefixByte) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.CreatePair(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func public(t testing.TB, pair nkeys.KeyPair) string {
	t.Helper()
	id, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// signOperator signs claims as somebody does who has the key.
func signOperator(t testing.TB, c claims.Operator, pair nkeys.KeyPair, issuedAt int64) string {
	t.Helper()
	checked, problems := claims.BuildOperator(c)
	if problems.Blocking() {
		t.Fatal(problems)
	}
	unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: public(t, pair), IssuedAt: issuedAt})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := pair.Sign(unsigned.SigningInput())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := unsigned.Sign(signature)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Token
}
