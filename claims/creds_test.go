package claims_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// A creds file of our making is the one that nats-io/jwt writes, and comes back as it was.
func TestCredsRoundTrip(t *testing.T) {
	t.Parallel()
	key := newPair(t, claims.KindUser)
	u := aUser(t)
	u.ID = key.id
	token := sign(t, checked(t)(claims.BuildUser(u)), newPair(t, claims.KindAccount), 1_800_000_000).Token
	text := claims.FormatCreds(token, key.seed(t))

	theirs, err := jwt.FormatUserConfig(token, []byte(key.seed(t).Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	if text.Reveal() != string(theirs) {
		t.Errorf("we write\n%s\nnats-io/jwt writes\n%s", text.Reveal(), theirs)
	}
	for name, form := range map[string]string{
		"as written":      text.Reveal(),
		"with CRLF":       strings.ReplaceAll(text.Reveal(), "\n", "\r\n"),
		"with text above": "some notes\n\n" + text.Reveal(),
	} {
		gotToken, gotSeed, err := claims.ParseCreds(claims.NewSecret(form))
		if err != nil || gotToken != token || gotSeed.Reveal() != key.seed(t).Reveal() {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := nkeys.ParseDecoratedUserNKey([]byte(text.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := got.PublicKey(); err != nil || id != key.id {
		t.Errorf("nkeys reads %s, %v", id, err)
	}
}

// What is not a creds file is refused in words that hold nothing of it.
func TestCredsRefused(t *testing.T) {
	t.Parallel()
	user, account := newPair(t, claims.KindUser), newPair(t, claims.KindAccount)
	u := aUser(t)
	token := sign(t, checked(t)(claims.BuildUser(u)), account, 1).Token
	good := claims.FormatCreds(token, user.seed(t)).Reveal()
	for name, text := range map[string]string{
		"nothing":              "",
		"only a JWT":           token,
		"only a seed":          user.seed(t).Reveal(),
		"an account's seed":    claims.FormatCreds(token, account.seed(t)).Reveal(),
		"no JWT":               strings.Replace(good, token, "", 1),
		"something else":       strings.Replace(good, token, "MARKER", 1),
		"no seed":              strings.Replace(good, user.seed(t).Reveal(), "", 1),
		"a broken seed":        strings.Replace(good, user.seed(t).Reveal(), broken(user.seed(t).Reveal()), 1),
		"a public key":         strings.Replace(good, user.seed(t).Reveal(), user.id, 1),
		"binary":               "\x00\xff" + strings.Repeat("\x01", 500),
		"a very long line":     strings.Repeat("A", 1<<17),
		"a private key of PEM": "-----BEGIN PRIVATE KEY-----\nMARKER\n-----END PRIVATE KEY-----\n",
	} {
		gotToken, gotSeed, err := claims.ParseCreds(claims.NewSecret(text))
		if err == nil {
			t.Errorf("%s was read", name)
			continue
		}
		if gotToken != "" || !gotSeed.Empty() {
			t.Errorf("%s: something came back beside the error", name)
		}
		for _, part := range []string{token, user.seed(t).Reveal()[:20], account.seed(t).Reveal()[:20], user.id, "MARKER", "\x00"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error holds a part of it: %v", name, err)
			}
		}
	}
}

// broken exchanges two neighbours in the middle, or changes one if they are equal: the checksum is wrong.
func broken(seed string) string {
	b := []byte(seed)
	if b[30] == b[31] {
		b[30] = 'A' + (b[30]-'A'+1)%26
	}
	b[30], b[31] = b[31], b[30]
	return string(b)
}

// nats.go reads the file and a server lets it in.
func TestCredsFileConnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer, key := newPair(t, claims.KindAccount), newPair(t, claims.KindUser)
	a := claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: signer.id}}}
	w.serve(t, a)
	p := claims.NewPermissionLimits()
	token := sign(t, checked(t)(claims.BuildUser(claims.User{ID: key.id, Name: "ada", Account: a.ID, Permissions: &p})), signer, time.Now().Unix()).Token
	file := filepath.Join(t.TempDir(), "ada.creds")
	if err := os.WriteFile(file, []byte(claims.FormatCreds(token, key.seed(t)).Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(w.server.ClientURL(), nats.UserCredentials(file), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if !mayPublish(t, nc, "a.b") {
		t.Error("connected but refused")
	}
}
