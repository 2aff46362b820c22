package claims_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// responder is the auth callout service of an account.
type responder struct {
	trial *trial // its account and its own user
	curve nkeys.KeyPair
	seen  chan *jwt.AuthorizationRequestClaims
}

// newResponder makes an account with a callout and connects its service, which admits everybody whose name is not
// eve. With answers false nobody listens.
func (s *stage) newResponder(t *testing.T, encrypted, answers bool) *responder {
	t.Helper()
	r := &responder{trial: s.newTrial(t), seen: make(chan *jwt.AuthorizationRequestClaims, 10)}
	r.trial.account.EnableExternalAuthorization(r.trial.user.Subject)
	if encrypted {
		var err error
		r.curve = newCurve(t)
		if r.trial.account.Authorization.XKey, err = r.curve.PublicKey(); err != nil {
			t.Fatal(err)
		}
	}
	s.admitted(t, r.trial, "auth_callout")
	if !answers {
		return r
	}
	token, _ := r.trial.encode(t)
	nc, err := s.dial(t, token, r.trial.holder)
	if err != nil {
		t.Fatal(err)
	}
	known, wrong := []string{s.server.ID()}, newCurve(t)
	_, err = nc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		request, err := claims.ReadCalloutRequest(m.Data, m.Header.Get(server.AuthRequestXKeyHeader), r.curve)
		if err != nil {
			t.Errorf("reading the request: %v", err)
			return
		}
		if p := claims.CheckCalloutRequest(request, time.Now(), known); p != nil {
			t.Errorf("%+v", p)
		}
		if _, err := claims.ReadCalloutRequest(m.Data, m.Header.Get(server.AuthRequestXKeyHeader), wrong); err == nil {
			t.Error("the request is read with the wrong key")
		}
		r.seen <- request
		_ = m.Respond(r.answer(t, request)) // the server is told or gives up
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	return r
}

func newCurve(t testing.TB) nkeys.KeyPair {
	t.Helper()
	curve, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	return curve
}

func (r *responder) answer(t *testing.T, request *jwt.AuthorizationRequestClaims) []byte {
	t.Helper()
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	response.IssuerAccount = r.trial.account.Subject
	if request.ConnectOptions.Username == "eve" {
		response.Error = "not today"
	} else {
		user := jwt.NewUserClaims(request.UserNkey)
		user.Name, user.IssuerAccount = "guest", r.trial.account.Subject
		token, err := user.Encode(r.trial.signer)
		if err != nil {
			t.Error(err)
		}
		response.Jwt = token
	}
	text, err := response.Encode(r.trial.signer)
	if err != nil {
		t.Error(err)
	}
	return []byte(text)
}

// sentinel is a trial of a bearer in the responder's account, which the callout decides about.
func (s *stage) sentinel(t *testing.T, r *responder) *trial {
	t.Helper()
	c := s.newTrial(t)
	c.account, c.signer, c.identity = r.trial.account, r.trial.signer, r.trial.identity
	c.user.IssuerAccount, c.user.BearerToken = c.account.Subject, true
	c.user.Pub.Deny.Add(">")
	c.user.Sub.Deny.Add(">")
	return c
}

// The callout decides about who passes all else, and about nobody who does not.
func TestExplainCallout(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(o *server.Options) { o.AuthTimeout = 1 })
	for name, encrypted := range map[string]bool{"plain": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			r := s.newResponder(t, encrypted, true)
			c := s.sentinel(t, r)
			token, _ := c.encode(t)
			e, o := s.attempt(t, c, token)
			if e.Verdict != claims.VerdictDelegated || o.err != nil || e.Permissions != nil {
				t.Errorf("%v and %s: %s", o.err, e.Verdict, e.Summary)
			}
			wellFormed(t, e, c)
			if request := <-r.seen; request.ConnectOptions.JWT != token || request.Subject != c.account.Subject {
				t.Errorf("the request is about %s", request.Subject)
			}

			_, err := nats.Connect(s.server.ClientURL(), nats.NoReconnect(), nats.UserInfo("eve", "secret"),
				nats.UserJWT(func() (string, error) { return token, nil }, c.holder.Sign))
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("refused by the callout: %v", err)
			}
			<-r.seen
		})
	}
	t.Run("after a failure", func(t *testing.T) {
		r := s.newResponder(t, false, true)
		c := s.sentinel(t, r)
		c.user.Src = jwt.CIDRList{"10.0.0.0/8"}
		token, _ := c.encode(t)
		e, o := s.attempt(t, c, token)
		s.wasRefused(t, c, e, o, "source_network")
		// The server asks all the same, but in the global account, where nobody answers.
		if s.log.wait(o.from, `response not received in time on account "\$G"`) == "" {
			t.Error("the server does not ask in the global account")
		}
		if len(r.seen) != 0 {
			t.Error("the callout was asked")
		}
	})
	t.Run("without a responder", func(t *testing.T) {
		r := s.newResponder(t, false, false)
		c := s.sentinel(t, r)
		token, _ := c.encode(t)
		e, o := s.attempt(t, c, token)
		i := len(e.Checks) - 1
		if e.Verdict != claims.VerdictDelegated || o.err == nil || s.log.wait(o.from, e.Checks[i].ServerLog) == "" {
			t.Errorf("%v and %s: %s", o.err, e.Verdict, e.Summary)
		}
	})
	t.Run("in a full account", func(t *testing.T) {
		r := s.newResponder(t, false, false)
		c := s.sentinel(t, r)
		c.account = jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
		c.account.Account = r.trial.account.Account
		c.account.Limits.Conn, c.user.IssuerAccount = 0, c.account.Subject
		from := s.log.len()
		s.refused(t, c, "connection_limit")
		// The connection is closed, and the callout is asked nevertheless. A server that is shut down meanwhile panics.
		if s.log.wait(from, "response not received in time on account "+strconv.Quote(c.account.Subject)) == "" {
			t.Error("the callout is not asked")
		}
	})
}

// A request is refused for every way in which it differs from what a server sends.
func TestCalloutRequests(t *testing.T) {
	t.Parallel()
	node, now := newPair(t, claims.KindServer), time.Unix(1_800_000_000, 0)
	right := func() *jwt.AuthorizationRequestClaims {
		r := jwt.NewAuthorizationRequestClaims(newPair(t, claims.KindAccount).id)
		r.Audience, r.Server.ID, r.UserNkey = claims.CalloutAudience, node.id, newPair(t, claims.KindUser).id
		r.Expires = now.Unix()
		return r
	}
	for name, c := range map[string]struct {
		edit    func(*jwt.AuthorizationRequestClaims)
		by      pair
		servers []string
		code    string
	}{
		"right":            {func(*jwt.AuthorizationRequestClaims) {}, node, nil, ""},
		"of a known":       {func(*jwt.AuthorizationRequestClaims) {}, node, []string{newPair(t, claims.KindServer).id, node.id}, ""},
		"of an unknown":    {func(*jwt.AuthorizationRequestClaims) {}, node, []string{}, "unknown_server"},
		"audience":         {func(r *jwt.AuthorizationRequestClaims) { r.Audience = "x" }, node, nil, "wrong_audience"},
		"by another":       {func(*jwt.AuthorizationRequestClaims) {}, newPair(t, claims.KindServer), nil, "wrong_issuer"},
		"for ever":         {func(r *jwt.AuthorizationRequestClaims) { r.Expires = 0 }, node, nil, "required"},
		"expired":          {func(r *jwt.AuthorizationRequestClaims) { r.Expires-- }, node, nil, "expired"},
		"of tomorrow":      {func(r *jwt.AuthorizationRequestClaims) { r.NotBefore = now.Unix() + 1 }, node, nil, "not_yet_valid"},
		"no user":          {func(r *jwt.AuthorizationRequestClaims) { r.UserNkey = "" }, node, nil, "invalid_key"},
		"an account, user": {func(r *jwt.AuthorizationRequestClaims) { r.UserNkey = r.Subject }, node, nil, "invalid_key"},
	} {
		request := right()
		c.edit(request)
		text, err := request.Encode(c.by)
		if err != nil {
			t.Fatal(err)
		}
		request, err = claims.ReadCalloutRequest([]byte(text), "", nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := claims.CheckCalloutRequest(request, now, c.servers)
		if c.code == "" && p != nil || c.code != "" && (len(p) != 1 || p[0].Code != c.code || !p.Blocking()) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// What cannot be read is refused with an error that does not repeat it.
func TestCalloutUnreadable(t *testing.T) {
	t.Parallel()
	key, sender := newCurve(t), newCurve(t)
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	from, err := sender.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sender.Seal([]byte(`MARKER`), public)
	if err != nil {
		t.Fatal(err)
	}
	user := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
	user.Name = "MARKER"
	token, err := user.Encode(newPair(t, claims.KindAccount))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		message string
		from    string
		key     nkeys.KeyPair
		want    error
	}{
		"nothing":             {"", "", nil, claims.ErrCalloutFormat},
		"nothing, encrypted":  {"", from, key, claims.ErrCalloutEncrypted},
		"a user":              {token, "", nil, claims.ErrCalloutFormat},
		"plain":               {token, from, key, claims.ErrCalloutPlain},
		"of another":          {string(sealed), public, key, claims.ErrCalloutEncrypted},
		"of nobody":           {string(sealed), "MARKER", key, claims.ErrCalloutEncrypted},
		"of a long key":       {string(sealed), from + "AAAAAAAA", key, claims.ErrCalloutEncrypted},
		"encrypted nonsense":  {string(sealed), from, key, claims.ErrCalloutFormat},
		"cannot be decrypted": {string(sealed), "", nil, claims.ErrCalloutFormat},
		"large":               {strings.Repeat("MARKER", claims.MaxCalloutRequest/6+1), "", nil, claims.ErrCalloutSize},
	} {
		request, err := claims.ReadCalloutRequest([]byte(c.message), c.from, c.key)
		if !errors.Is(err, c.want) || request != nil || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
