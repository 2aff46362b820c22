package claims_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
)

// What we sign is read back whole, and can be signed anew without an edit.
func TestReadWhatWeSign(t *testing.T) {
	t.Parallel()
	for _, b := range buildings(t) {
		signed := sign(t, checked(t)(b.build()), b.signer, 1_800_000_000)
		got, err := claims.Read(" \r\n" + signed.Token + "\n")
		if err != nil {
			t.Fatalf("%s: %v", b.name, err)
		}
		if got.Text != signed.Token || len(got.Unknown) > 0 || got.Version != 2 || got.Claims.Claims().ID != signed.ID {
			t.Errorf("%s: %+v", b.name, got)
		}
		again := sign(t, checked(t)(got.Checked()), b.signer, 1_800_000_000)
		if diff := cmp.Diff(string(payload(t, signed.Token)), string(payload(t, again.Token))); diff != "" {
			t.Errorf("%s signed anew (-first +anew):\n%s", b.name, diff)
		}
	}
}

// A JWT is found in what people have at hand; the seed beside it is noticed and stays there.
func TestFindJWT(t *testing.T) {
	t.Parallel()
	user := newPair(t, claims.KindUser)
	seed := user.seed(t).Reveal()
	token := sign(t, checked(t)(claims.BuildUser(aUser(t))), newPair(t, claims.KindAccount), 1).Token
	creds := claims.FormatCreds(token, user.seed(t)).Reveal()
	decorated := "-----BEGIN NATS ACCOUNT JWT-----\n" + token + "\n------END NATS ACCOUNT JWT------\n"
	for name, c := range map[string]struct {
		document string
		found    bool
		seed     bool
	}{
		"a bare JWT":             {token, true, false},
		"with white space":       {"\r\n  " + token + "\n\n", true, false},
		"decorated":              {decorated, true, false},
		"decorated with CRLF":    {strings.ReplaceAll(decorated, "\n", "\r\n"), true, false},
		"a creds file":           {creds, true, true},
		"creds with CRLF":        {strings.ReplaceAll(creds, "\n", "\r\n"), true, true},
		"with a byte order mark": {"\ufeff" + creds, true, true},
		"a mark before a JWT":    {"\ufeff" + token, true, false},
		"the same twice":         {token + "\n" + token, true, false},
		"two JWTs":               {token + "\n" + token + "x", false, false},
		"two JWTs and a seed":    {creds + "\n" + token + "x", false, true},
		"a seed":                 {seed, false, true},
		"nothing":                {"", false, false},
		"prose":                  {"hello there", false, false},
		"a seed within a JWT":    {"eyJ." + seed + ".x", false, true},
		"a seed after a JWT":     {token + " " + strings.ToLower(seed), true, true},
	} {
		got, hasSeed, err := claims.FindJWT(c.document)
		if (err == nil) != c.found || c.found && got != token || !c.found && got != "" || hasSeed != c.seed {
			t.Errorf("%s: found %v, seed %v, %v", name, got != "", hasSeed, err)
		}
		if err != nil && (strings.Contains(err.Error(), seed[:20]) || strings.Contains(err.Error(), token[:20])) {
			t.Errorf("%s: the error holds a part of it: %v", name, err)
		}
	}
}
