package claims_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"chancery/claims"
)

// requestOf exports o as its holder is to sign it.
func requestOf(t *testing.T, o claims.Operator, issuedAt int64) (claims.SigningRequest, claims.Unsigned) {
	t.Helper()
	unsigned, err := claims.Encode(checked(t)(claims.BuildOperator(o)), claims.Stamp{Issuer: o.ID, IssuedAt: issuedAt})
	if err != nil {
		t.Fatal(err)
	}
	return claims.SigningRequest{SigningInput: string(unsigned.SigningInput())}, unsigned
}

// What is exported, carried as JSON and signed elsewhere is what was meant, and nothing else is.
func TestSigningRequest(t *testing.T) {
	t.Parallel()
	pair, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	o := anOperator(t)
	if o.ID, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	request, unsigned := requestOf(t, o, 1_800_000_000)
	raw, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	carried, err := claims.ParseSigningRequest(raw)
	if err != nil || carried != request {
		t.Fatalf("%+v, %v", carried, err)
	}
	token, err := carried.Sign(pair)
	if err != nil {
		t.Fatal(err)
	}
	if !unsigned.SameIntent(token) {
		t.Error("the signed JWT is another one")
	}
	later, _ := requestOf(t, o, 1_800_000_005)
	again, err := later.Sign(pair)
	if err != nil || again == token || !unsigned.SameIntent(again) {
		t.Errorf("signed later: %v", err)
	}
	o.Settings.Tags = append(o.Settings.Tags, "other")
	other, _ := requestOf(t, o, 1_800_000_000)
	other.CurrentJWT = token
	after, before, err := other.Claims()
	if err != nil || len(claims.DiffOperators(before, after)) != 1 {
		t.Errorf("%+v %+v %v", before, after, err)
	}
	otherToken, err := other.Sign(pair)
	if err != nil || unsigned.SameIntent(otherToken) || unsigned.SameIntent("") || unsigned.SameIntent("a.b.c") {
		t.Errorf("another intent counts as the same: %v", err)
	}
	stranger, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Sign(stranger); err == nil {
		t.Error("a stranger signed")
	}
}

// A request that holds more than the claims can show, or other claims than an operator's own, is never signed.
func TestSigningRequestsRefused(t *testing.T) {
	t.Parallel()
	pair, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	o := anOperator(t)
	if o.ID, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	good, _ := requestOf(t, o, 1_800_000_000)
	token, err := good.Sign(pair)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(good.SigningInput, ".")
	edited := func(edit func(c map[string]any)) claims.SigningRequest {
		c, err := jwt.DecodeOperatorClaims(token)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		if raw, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		return claims.SigningRequest{SigningInput: head + "." + base64.RawURLEncoding.EncodeToString(raw)}
	}
	body := func(m map[string]any) map[string]any { return m["nats"].(map[string]any) }
	cases := map[string]claims.SigningRequest{
		"nothing":            {},
		"one part":           {SigningInput: head},
		"no JSON":            {SigningInput: head + "." + base64.RawURLEncoding.EncodeToString([]byte("x"))},
		"another header":     {SigningInput: "e30" + good.SigningInput[len(head):]},
		"an unknown field":   edited(func(m map[string]any) { body(m)["hidden"] = "x" }),
		"an unknown claim":   edited(func(m map[string]any) { m["hidden"] = "x" }),
		"a user":             edited(func(m map[string]any) { body(m)["type"] = "user" }),
		"an account":         edited(func(m map[string]any) { body(m)["type"] = "account" }),
		"another issuer":     edited(func(m map[string]any) { m["iss"] = o.SigningKeys[0] }),
		"another subject":    edited(func(m map[string]any) { m["sub"] = o.SigningKeys[0] }),
		"no time":            edited(func(m map[string]any) { delete(m, "iat") }),
		"a wrong id":         edited(func(m map[string]any) { m["jti"] = "X" }),
		"a key of no kind":   edited(func(m map[string]any) { body(m)["signing_keys"] = []string{"x"} }),
		"a JWT before of no": {SigningInput: good.SigningInput, CurrentJWT: "x.y.z"},
	}
	for name, r := range cases {
		if signed, err := r.Sign(pair); err == nil {
			t.Errorf("%s was signed: %s", name, signed)
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: what was sent comes back: %v", name, err)
		}
	}
	t.Logf("%d of %d requests refused", len(cases), len(cases))
	if _, err := claims.ParseSigningRequest([]byte("[]")); err == nil {
		t.Error("a list was read")
	}
}

// The fingerprint changes with all that decides about trust, and with nothing else; the order of keys is nothing.
func TestOperatorFingerprint(t *testing.T) {
	t.Parallel()
	keys := []string{newPair(t, claims.KindOperator).id, newPair(t, claims.KindOperator).id, newPair(t, claims.KindOperator).id}
	base := jwt.NewOperatorClaims(newPair(t, claims.KindOperator).id)
	base.SystemAccount, base.StrictSigningKeyUsage, base.SigningKeys = newPair(t, claims.KindAccount).id, true, slices.Clone(keys)
	want := claims.OperatorFingerprint(base)
	same := map[string]func(c *jwt.OperatorClaims){
		"tags": func(c *jwt.OperatorClaims) { c.Tags.Add("x") }, "URLs": func(c *jwt.OperatorClaims) { c.OperatorServiceURLs.Add("nats://x") },
		"time": func(c *jwt.OperatorClaims) { c.IssuedAt++ }, "id": func(c *jwt.OperatorClaims) { c.ID = "x" }, "name": func(c *jwt.OperatorClaims) { c.Name = "x" },
	}
	differs := map[string]func(c *jwt.OperatorClaims){
		"identity": func(c *jwt.OperatorClaims) { c.Subject = keys[0] }, "strict": func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = false },
		"system": func(c *jwt.OperatorClaims) { c.SystemAccount = "" }, "one key less": func(c *jwt.OperatorClaims) { c.SigningKeys = c.SigningKeys[1:] },
		"no keys": func(c *jwt.OperatorClaims) { c.SigningKeys = nil },
	}
	for name, edit := range same {
		c := *base
		edit(&c)
		if got := claims.OperatorFingerprint(&c); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, edit := range differs {
		c := *base
		edit(&c)
		if got := claims.OperatorFingerprint(&c); got == want || len(got) != 19 {
			t.Errorf("%s: %s", name, got)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := *base
		c.SigningKeys = rapid.Permutation(keys).Draw(rt, "keys")
		if got := claims.OperatorFingerprint(&c); got != want {
			rt.Errorf("in another order: %s", got)
		}
	})
	if got := claims.AccountSigners(base); !slices.Equal(got, slices.Sorted(slices.Values(keys))) {
		t.Errorf("strict: %v", got)
	}
	base.StrictSigningKeyUsage = false
	if got := claims.AccountSigners(base); len(got) != 4 || !slices.Contains(got, base.Subject) {
		t.Errorf("not strict: %v", got)
	}
}
