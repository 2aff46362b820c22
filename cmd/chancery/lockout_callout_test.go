package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// callout is an account whose clients an auth-callout service admits.
type callout struct {
	*lockout
	account string
	// key is the service's user key, signing one of the account's.
	key     string
	seed    string
	signing nkeys.KeyPair
}

// answered makes the account CALL, whose callout is answered by its user service.
func answered(l *lockout) *callout {
	l.t.Helper()
	l.creds = l.client("CALL", "u")
	service := l.client("CALL", "service")
	a, err := l.app.issuer.GetAccount(l.t.Context(), drillOp.Caller, "CALL")
	must(l.t, err)
	c := &callout{lockout: l, account: a.ID}
	c.key, c.seed = keyIn(l, service)
	var k struct{ Seed string }
	l.call("POST", "/accounts/CALL/signing-keys", `{"custody":"shown_once","make_current":false}`, &k)
	c.signing, err = nkeys.FromSeed([]byte(k.Seed))
	must(l.t, err)
	must(l.t, c.answeredBy(c.key)(nil))
	l.pushes("CALL")
	return c
}

// keyIn returns the user key of a creds file and its seed.
func keyIn(l *lockout, path string) (public, seed string) {
	l.t.Helper()
	text, err := os.ReadFile(path)
	must(l.t, err)
	_, secret, err := claims.ParseCreds(claims.NewSecret(string(text)))
	must(l.t, err)
	pair, err := nkeys.FromSeed([]byte(secret.Reveal()))
	must(l.t, err)
	public, err = pair.PublicKey()
	must(l.t, err)
	return public, secret.Reveal()
}

// answeredBy returns the change that has the callout answered by the user with the key.
func (c *callout) answeredBy(keys ...string) func([]issuer.Guard) error {
	return func(override []issuer.Guard) error {
		op := drillOp
		op.Override = override
		_, err := c.app.issuer.UpdateAccount(c.t.Context(), op, "CALL", func(s *issuer.AccountEdit) {
			s.Authorization = jwt.ExternalAuthorization{AuthUsers: keys}
		})
		return err
	}
}

// serve answers the callout with the JWT of the service until the test ends.
func (c *callout) serve(creds string) *session {
	c.t.Helper()
	live := c.mustConnect(c.running()[0], creds)
	_, err := live.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		asked, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			c.t.Errorf("the request of the server: %v", err)
			return
		}
		u := jwt.NewUserClaims(asked.UserNkey)
		u.IssuerAccount = c.account
		token, err := u.Encode(c.signing)
		if err != nil {
			c.t.Error(err)
			return
		}
		answer := jwt.NewAuthorizationResponseClaims(asked.UserNkey)
		answer.Audience, answer.IssuerAccount, answer.Jwt = asked.Server.ID, c.account, token
		signed, err := answer.Encode(c.signing)
		if err != nil {
			c.t.Error(err)
			return
		}
		_ = m.Respond([]byte(signed))
	})
	must(c.t, err)
	must(c.t, live.Flush())
	return live
}

// fileOf puts a JWT beside the seed of the service.
func (c *callout) fileOf(token string) string {
	c.t.Helper()
	text, err := jwt.FormatUserConfig(token, []byte(c.seed))
	must(c.t, err)
	path := filepath.Join(c.t.TempDir(), "service.creds")
	must(c.t, writeSecret(path, claims.NewSecret(string(text))))
	return path
}

// issueAgain issues to the key that the service has.
func (c *callout) issueAgain() string {
	c.t.Helper()
	var out struct{ JWT string }
	c.tell("POST", "/accounts/CALL/users/service/credentials", `{"public_key":"`+c.key+`"}`, &out)
	return c.fileOf(out.JWT)
}

// Everybody is refused, the service too. It is issued to anew with the key that it has, then its clients. A server
// tells none of them that it is revoked: it asks the callout in the global account, where nobody answers.
func lockCalloutEverybody(l *lockout) {
	c := answered(l)
	first := c.issueAgain()
	live := c.serve(first)
	l.works()
	l.insist(l.byAPI("PUT", "/accounts/CALL/revocations/*", `{"reason":"by mistake"}`))
	live.mustClose(l.t)
	l.unanswered()
	c.serve(c.issueAgain())
	l.unanswered() // their own JWTs stay revoked
	l.creds = l.issueTo("CALL", "u")
}

// The service is refused, so that nobody answers. It is issued to anew; or another user answers.
func lockCalloutUser(l *lockout) {
	c := answered(l)
	first := c.issueAgain()
	live := c.serve(first)
	l.works()
	l.insist(l.byAPI("PUT", "/accounts/CALL/revocations/service", `{"reason":"by mistake"}`))
	live.mustClose(l.t)
	l.unanswered()
	c.serve(c.issueAgain())
	l.works()
}

// A user without credentials is to answer: nobody does. It is issued to, or the setting is taken back.
func lockCalloutUnanswered(l *lockout) {
	c := answered(l)
	live := c.serve(c.issueAgain())
	l.works()
	pair, err := nkeys.CreateUser()
	must(l.t, err)
	key, err := pair.PublicKey()
	must(l.t, err)
	seed, err := pair.Seed()
	must(l.t, err)
	l.insist(c.answeredBy(key))
	l.pushes("CALL")
	l.admits(l.creds) // who is connected goes on answering
	live.Close()
	l.unanswered()
	l.tell("POST", "/accounts/CALL/users", `{"name":"other","permissions":{}}`, nil)
	var out struct{ JWT string }
	l.tell("POST", "/accounts/CALL/users/other/credentials", `{"public_key":"`+key+`","proof":{"waived":true},"reason":"the callout's own key"}`, &out)
	c.seed = strings.TrimSpace(string(seed))
	c.serve(c.fileOf(out.JWT))
	l.works()
	must(l.t, c.answeredBy()(nil))
}

// unanswered wants clients to wait in vain for the callout.
func (l *lockout) unanswered() {
	l.t.Helper()
	l.failsWith(l.creds, os.ErrDeadlineExceeded, nats.ErrTimeout, nats.ErrAuthorization)
}
