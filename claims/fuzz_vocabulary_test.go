package claims_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// signedAnew decodes a payload as its type, signs it by our encoder and returns both views; ok is false when it is
// refused on the way.
func signedAnew(t *testing.T, by map[claims.Kind]pair, raw []byte) (ours, theirs []byte, ok bool) {
	t.Helper()
	for _, signer := range by {
		read, err := claims.Read(compose(t, string(raw), signer))
		if err != nil {
			continue
		}
		c, problems := read.Checked()
		if problems.Blocking() {
			return nil, nil, false
		}
		u, err := claims.Encode(c, claims.Stamp{Issuer: signer.id, IssuedAt: 1_800_000_000})
		if err != nil {
			return nil, nil, false
		}
		signature, err := signer.Sign(u.SigningInput())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := u.Sign(signature)
		if err != nil {
			t.Fatalf("what passed the check cannot be signed: %v", err)
		}
		decoded, err := jwt.Decode(signed.Token)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(decoded)
		if err != nil {
			t.Fatal(err)
		}
		return payload(t, signed.Token), again, true
	}
	return nil, nil, false
}

// FuzzEncodeDecode: what we sign is what nats-io/jwt decodes, byte for byte. The issuer in the input is put in place
// of ISSUER, so that the signature can be right.
func FuzzEncodeDecode(f *testing.F) {
	operator, account := newPair(f, claims.KindOperator), newPair(f, claims.KindAccount)
	o, a, u := anOperator(f), anAccount(f), aUser(f)
	for _, c := range []func() (claims.Checked, claims.Problems){
		func() (claims.Checked, claims.Problems) { return claims.BuildOperator(o) },
		func() (claims.Checked, claims.Problems) { return claims.BuildAccount(a) },
		func() (claims.Checked, claims.Problems) { return claims.BuildUser(u) },
	} {
		checked, _ := c()
		for _, issuer := range []string{operator.id, account.id} {
			if e, err := claims.Encode(checked, claims.Stamp{Issuer: issuer, IssuedAt: 1}); err == nil {
				f.Add(bytes.ReplaceAll(payload(f, string(e.SigningInput())), []byte(issuer), []byte("ISSUER")))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, signer := range []pair{operator, account} {
			by := map[claims.Kind]pair{claims.KindAccount: signer}
			ours, theirs, ok := signedAnew(t, by, bytes.ReplaceAll(raw, []byte("ISSUER"), []byte(signer.id)))
			if ok && !bytes.Equal(ours, theirs) {
				t.Error(cmp.Diff(string(ours), string(theirs)))
			}
		}
	})
}

// FuzzAccountClaims: settings in JSON never make the builder panic; what it accepts passes nats-io/jwt's validation
// and comes back as it went in.
func FuzzAccountClaims(f *testing.F) {
	operator, base := newPair(f, claims.KindOperator), anAccount(f)
	for _, s := range []jwt.Account{base.Settings, claims.NewAccountSettings(), {}} {
		raw, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, s := range []string{
		`{"exports":[null]}`, `{"imports":[null,{}]}`, `{"exports":[{"type":"stream","subject":">"},{"type":"service","subject":"a.*","service_latency":{"sampling":"headers","results":"x"}}]}`,
		`{"mappings":{"a.*":[{"subject":"{{partition(3,1)}}.$1","weight":255}],"":null}}`, `{"trace":{"dest":"a"},"cluster_traffic":"owner","authorization":{"auth_users":["x"],"xkey":"x"}}`,
		`{"limits":{"tiered_limits":{"R1":{"streams":-1}},"mem_storage":1}}`, `{"imports":[{"type":"service","subject":"a.*","local_subject":"b.$1","to":"x","token":"e.y.j"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a := base
		a.Settings = jwt.Account{}
		if json.Unmarshal(raw, &a.Settings) != nil {
			return
		}
		c, problems := claims.BuildAccount(a)
		for _, p := range problems {
			if p.Server && !p.Blocking || p.Detail == "" || p.Code == "" {
				t.Errorf("%+v", p)
			}
		}
		if problems.Blocking() {
			return
		}
		token := sign(t, c, operator, 1_800_000_000).Token
		decoded, err := jwt.DecodeAccountClaims(token)
		if err != nil {
			t.Fatal(err)
		}
		vr := jwt.CreateValidationResults()
		decoded.Validate(vr)
		if len(vr.Errors()) > 0 {
			t.Errorf("a server refuses what we accept: %v", vr.Errors())
		}
		rebuilds(t, token, operator)
	})
}

// rebuilds fails unless the claims of a token, taken apart and built again, are the same bytes.
func rebuilds(t *testing.T, token string, by pair) {
	t.Helper()
	c, err := jwt.Decode(token)
	if err != nil {
		t.Fatal(err)
	}
	again, problems := rebuilt(c)
	if problems.Blocking() {
		t.Fatalf("accepted once and not again: %+v", problems)
	}
	if diff := cmp.Diff(string(payload(t, token)), string(payload(t, sign(t, again, by, 1_800_000_000).Token))); diff != "" {
		t.Errorf("-first +again:\n%s", diff)
	}
}

// FuzzUserClaims does the same for users with permissions of their own, and for templates.
func FuzzUserClaims(f *testing.F) {
	operator, account, base := newPair(f, claims.KindOperator), newPair(f, claims.KindAccount), aUser(f)
	holder := claims.Account{ID: newPair(f, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings()}
	key := newPair(f, claims.KindAccount).id
	for _, p := range []jwt.UserPermissionLimits{*base.Permissions, claims.NewPermissionLimits(), aTemplate().Permissions, {}} {
		raw, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "ada", "region:eu")
	}
	f.Add([]byte(`{"src":"10.0.0.0/8, ::/0","times":[{}],"resp":{"max":-1,"ttl":9223372036854775807},"subs":9223372036854775807}`), ">", "")
	f.Fuzz(func(t *testing.T, raw []byte, name, tag string) {
		var p jwt.UserPermissionLimits
		if json.Unmarshal(raw, &p) != nil {
			return
		}
		u := base
		u.Name, u.Tags, u.Permissions = name, []string{tag}, &p
		if c, problems := claims.BuildUser(u); !problems.Blocking() {
			token := sign(t, c, account, 1_800_000_000).Token
			rebuilds(t, token, account)
		}
		a := holder
		a.Keys = []claims.SigningKey{{ID: key, Template: &claims.Template{Name: "t", Permissions: p}}}
		if c, problems := claims.BuildAccount(a); !problems.Blocking() {
			rebuilds(t, sign(t, c, operator, 1_800_000_000).Token, operator)
		}
	})
}

// FuzzCreds: neither the seed of a creds file nor a part of it leaves by a token, an error or the redactor.
func FuzzCreds(f *testing.F) {
	user := newPair(f, claims.KindUser)
	token := sign(f, checked(f)(claims.BuildUser(aUser(f))), newPair(f, claims.KindAccount), 1).Token
	creds := claims.FormatCreds(token, user.seed(f)).Reveal()
	for _, s := range []string{
		"", token, creds, strings.ReplaceAll(creds, "\n", "\r\n"), "\ufeff" + creds, strings.ReplaceAll(creds, "\n", " "), user.seed(f).Reveal(), "eyJ." + user.seed(f).Reveal() + ".x", creds + creds,
		"-----BEGIN X-----\n" + user.seed(f).Reveal() + "\n------END X------\n", strings.ToLower(user.seed(f).Reveal()),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		found, hasSeed, err := claims.FindJWT(s)
		if err != nil {
			noSeed(t, err.Error())
			if found != "" {
				t.Error("a token beside an error")
			}
		}
		noSeed(t, found)
		if !hasSeed && err == nil {
			noSeed(t, strings.ReplaceAll(s, found, " "))
		}
		noSeed(t, claims.Redact(s))
		if read, err := claims.Read(s); err != nil {
			noSeed(t, err.Error())
		} else {
			noSeed(t, strings.Join(read.Unknown, " "))
		}
		jwtText, seed, err := claims.ParseCreds(claims.NewSecret(s))
		switch {
		case err == nil:
			noSeed(t, jwtText)
			if _, err := nkeys.FromSeed([]byte(seed.Reveal())); err != nil {
				t.Errorf("a seed that is none: %v", err)
			}
		case jwtText != "" || !seed.Empty():
			t.Error("something came back beside the error")
		default:
			noSeed(t, err.Error())
		}
	})
}

// noSeed fails when a text holds a private key, by its checksum.
func noSeed(t *testing.T, text string) {
	t.Helper()
	for i := 0; i+58 <= len(text); i++ {
		if text[i] != 'S' || !strings.ContainsRune("OAUNCX", rune(text[i+1])) {
			continue
		}
		if _, err := nkeys.FromSeed([]byte(text[i : i+58])); err == nil {
			t.Fatal("a private key is left")
		}
	}
}
