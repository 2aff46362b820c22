package claims_test

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// building is one kind of claims, its signer and how to build it anew.
type building struct {
	name   string
	signer pair
	input  any
	build  func() (claims.Checked, claims.Problems)
}

func buildings(t *testing.T) []building {
	o, a, u := anOperator(t), anAccount(t), aUser(t)
	scoped := aUser(t)
	scoped.Permissions = nil
	leave := claims.Activation{
		Account: a.ID, Name: "orders", Exporter: u.Account, Subject: "a.*", Kind: jwt.Service, Tags: []string{"env:prod"}, Expires: 4_000_000_000, NotBefore: 1,
	}
	bare := claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "bare", Settings: claims.NewAccountSettings()}
	return []building{
		{"operator", newPair(t, claims.KindOperator), &o, func() (claims.Checked, claims.Problems) { return claims.BuildOperator(o) }},
		{"account", newPair(t, claims.KindOperator), &a, func() (claims.Checked, claims.Problems) { return claims.BuildAccount(a) }},
		{"bare account", newPair(t, claims.KindOperator), &bare, func() (claims.Checked, claims.Problems) { return claims.BuildAccount(bare) }},
		{"user", newPair(t, claims.KindAccount), &u, func() (claims.Checked, claims.Problems) { return claims.BuildUser(u) }},
		{"activation", newPair(t, claims.KindAccount), &leave, func() (claims.Checked, claims.Problems) { return claims.BuildActivation(leave) }},
		{"scoped user", newPair(t, claims.KindAccount), &scoped, func() (claims.Checked, claims.Problems) { return claims.BuildUser(scoped) }},
	}
}

func payload(t testing.TB, token string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What jwt/v2 decodes, written again, is what was signed: it dropped nothing, added nothing and read every
// field as it was meant.
func TestEncodeDecodesByteForByte(t *testing.T) {
	t.Parallel()
	for _, b := range buildings(t) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			signed := sign(t, checked(t)(b.build()), b.signer, 1_800_000_000)
			decoded, err := jwt.Decode(signed.Token)
			if err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(decoded)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(payload(t, signed.Token)), string(again)); diff != "" {
				t.Errorf("decoded and written again (-signed +again):\n%s", diff)
			}
			d := decoded.Claims()
			if d.IssuedAt != 1_800_000_000 || d.Issuer != b.signer.id || d.Subject != signed.Subject || d.ID != signed.ID || d.Expires != signed.Expires {
				t.Errorf("decoded %+v, signed %+v", d, signed)
			}
			vr := jwt.CreateValidationResults()
			decoded.Validate(vr)
			if len(vr.Errors()) > 0 {
				t.Errorf("a server would refuse it: %v", vr.Errors())
			}
		})
	}
}

// The library's own encoder writes the same claims, but for the two fields in which ours is better.
func TestEncodeAgreesWithLibrary(t *testing.T) {
	t.Parallel()
	for _, b := range buildings(t) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			ours := sign(t, checked(t)(b.build()), b.signer, 1_800_000_000)
			decoded, err := jwt.Decode(ours.Token)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := decoded.Encode(b.signer)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := strings.Split(ours.Token, ".")[0], strings.Split(theirs, ".")[0]; a != b {
				t.Errorf("header %s, the library writes %s", a, b)
			}
			if diff := cmp.Diff(withoutStamp(t, ours.Token), withoutStamp(t, theirs)); diff != "" {
				t.Errorf("-ours +library:\n%s", diff)
			}
		})
	}
}

func withoutStamp(t testing.TB, token string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(payload(t, token), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "iat")
	delete(m, "jti")
	return m
}

// Building and encoding twice in the same second is the same JWT, and the input is as it was: exports in the
// caller's order, the trace sampling unset, no issuer.
func TestEncodeLeavesInputAlone(t *testing.T) {
	t.Parallel()
	for _, b := range buildings(t) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			before := deepCopy(t, b.input)
			c := checked(t)(b.build())
			first := sign(t, c, b.signer, 1_800_000_000)
			second := sign(t, c, b.signer, 1_800_000_000)
			rebuilt := sign(t, checked(t)(b.build()), b.signer, 1_800_000_000)
			if first.Token != second.Token || first.Token != rebuilt.Token {
				t.Error("the same claims and stamp gave different JWTs")
			}
			if diff := cmp.Diff(before, b.input); diff != "" {
				t.Errorf("the input changed (-before +after):\n%s", diff)
			}
		})
	}
}

func deepCopy(t testing.TB, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := reflect.New(reflect.TypeOf(v).Elem())
	if err := json.Unmarshal(raw, out.Interface()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, out.Interface()); diff != "" {
		t.Fatalf("the copy differs:\n%s", diff)
	}
	return out.Interface()
}

// Two edits of an account in one second: later iat, other jti. That is what makes a full resolver's merge take
// the second one. Even with the same iat, the jti tells them apart, which the library's does not.
func TestTwoEditsInOneSecond(t *testing.T) {
	t.Parallel()
	operator, a := newPair(t, claims.KindOperator), anAccount(t)
	const now = 1_800_000_000
	first := sign(t, checked(t)(claims.BuildAccount(a)), operator, now)
	a.Settings.Limits.Conn = 99
	second := sign(t, checked(t)(claims.BuildAccount(a)), operator, now+1)
	sameSecond := sign(t, checked(t)(claims.BuildAccount(a)), operator, now)
	if second.IssuedAt <= first.IssuedAt || second.ID == first.ID {
		t.Errorf("iat %d then %d, jti %s then %s", first.IssuedAt, second.IssuedAt, first.ID, second.ID)
	}
	if sameSecond.ID == first.ID {
		t.Error("the jti does not cover the body")
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	operator, account, user := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount), newPair(t, claims.KindUser)
	oc := checked(t)(claims.BuildOperator(anOperator(t)))
	ac := checked(t)(claims.BuildAccount(anAccount(t)))
	uc := checked(t)(claims.BuildUser(aUser(t)))
	xc := checked(t)(claims.BuildActivation(claims.Activation{Account: account.id, Exporter: account.id, Subject: "a", Kind: jwt.Stream}))
	for name, c := range map[string]struct {
		checked claims.Checked
		stamp   claims.Stamp
	}{
		"claims that were not checked":  {claims.Checked{}, claims.Stamp{Issuer: operator.id, IssuedAt: 1}},
		"no issue time":                 {ac, claims.Stamp{Issuer: operator.id}},
		"a negative issue time":         {ac, claims.Stamp{Issuer: operator.id, IssuedAt: -1}},
		"no issuer":                     {ac, claims.Stamp{IssuedAt: 1}},
		"an issuer that is no key":      {ac, claims.Stamp{Issuer: "O" + strings.Repeat("A", 55), IssuedAt: 1}},
		"an operator by an account":     {oc, claims.Stamp{Issuer: account.id, IssuedAt: 1}},
		"an operator by a user":         {oc, claims.Stamp{Issuer: user.id, IssuedAt: 1}},
		"an account by a user":          {ac, claims.Stamp{Issuer: user.id, IssuedAt: 1}},
		"a user by an operator":         {uc, claims.Stamp{Issuer: operator.id, IssuedAt: 1}},
		"an activation by an operator":  {xc, claims.Stamp{Issuer: operator.id, IssuedAt: 1}},
		"an activation by a user":       {xc, claims.Stamp{Issuer: user.id, IssuedAt: 1}},
		"a user by a user":              {uc, claims.Stamp{Issuer: user.id, IssuedAt: 1}},
		"a user by a server":            {uc, claims.Stamp{Issuer: newPair(t, claims.KindServer).id, IssuedAt: 1}},
		"an issuer that is a seed":      {uc, claims.Stamp{Issuer: account.seed(t).Reveal(), IssuedAt: 1}},
		"an issuer in the wrong letter": {uc, claims.Stamp{Issuer: strings.ToLower(account.id), IssuedAt: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := claims.Encode(c.checked, c.stamp); err == nil {
				t.Error("encoded")
			} else if c.stamp.Issuer != "" && strings.Contains(err.Error(), c.stamp.Issuer) {
				t.Errorf("the error repeats the issuer: %v", err)
			}
		})
	}
}

// A signature by another key, or over other bytes, never becomes a token.
func TestSignRefusesForeignSignatures(t *testing.T) {
	t.Parallel()
	signer, other := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	u, err := claims.Encode(checked(t)(claims.BuildUser(aUser(t))), claims.Stamp{Issuer: signer.id, IssuedAt: 1_800_000_000})
	if err != nil {
		t.Fatal(err)
	}
	good, err := signer.Sign(u.SigningInput())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Sign(u.SigningInput())
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good...)
	flipped[10] ^= 1
	for name, signature := range map[string][]byte{"of another key": foreign, "with a flipped bit": flipped, "cut short": good[:63], "missing": nil} {
		if _, err := u.Sign(signature); err == nil {
			t.Errorf("a signature %s was accepted", name)
		}
	}
	if _, err := u.Sign(good); err != nil {
		t.Errorf("the right signature: %v", err)
	}
}

// What a check refuses yields nothing to encode.
func TestRefusedClaimsAreNotBuilt(t *testing.T) {
	t.Parallel()
	o, a, u := anOperator(t), anAccount(t), aUser(t)
	o.Name, a.Name, u.Name = "", "", ""
	for name, b := range map[string]func() (claims.Checked, claims.Problems){
		"operator":                     func() (claims.Checked, claims.Problems) { return claims.BuildOperator(o) },
		"account":                      func() (claims.Checked, claims.Problems) { return claims.BuildAccount(a) },
		"user":                         func() (claims.Checked, claims.Problems) { return claims.BuildUser(u) },
		"operator without an identity": func() (claims.Checked, claims.Problems) { return claims.BuildOperator(claims.Operator{Name: "x"}) },
		"account without an identity": func() (claims.Checked, claims.Problems) {
			return claims.BuildAccount(claims.Account{Name: "x", Settings: claims.NewAccountSettings()})
		},
		"user without a key": func() (claims.Checked, claims.Problems) { return claims.BuildUser(claims.User{Name: "x"}) },
	} {
		c, problems := b()
		if !problems.Blocking() {
			t.Errorf("%s: nothing blocks: %+v", name, problems)
		}
		if _, err := claims.Encode(c, claims.Stamp{Issuer: newPair(t, claims.KindOperator).id, IssuedAt: 1}); err == nil {
			t.Errorf("%s: encoded all the same", name)
		}
	}
}

// A tag is written as a nats-server compares it: lower-cased, once.
func TestTagsAreWrittenNormalized(t *testing.T) {
	t.Parallel()
	u, a, o := aUser(t), anAccount(t), anOperator(t)
	messy, want := []string{" Region:EU ", "region:eu", "", "Beta"}, jwt.TagList{"region:eu", "beta"}
	u.Tags, a.Settings.Tags, o.Settings.Tags = messy, messy, messy
	uc, err := jwt.DecodeUserClaims(sign(t, checked(t)(claims.BuildUser(u)), newPair(t, claims.KindAccount), 1).Token)
	if err != nil {
		t.Fatal(err)
	}
	ac, err := jwt.DecodeAccountClaims(sign(t, checked(t)(claims.BuildAccount(a)), newPair(t, claims.KindOperator), 1).Token)
	if err != nil {
		t.Fatal(err)
	}
	oc, err := jwt.DecodeOperatorClaims(sign(t, checked(t)(claims.BuildOperator(o)), newPair(t, claims.KindOperator), 1).Token)
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]jwt.TagList{"user": uc.User.Tags, "account": ac.Account.Tags, "operator": oc.Operator.Tags} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}
