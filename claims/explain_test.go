package claims_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

// Every check of the server is made to fail on a real server, which must refuse the client, log what the check
// says it logs, and admit the client when nothing is spoiled.
func TestExplain(t *testing.T) {
	t.Parallel()
	provoked := &sync.Map{} // by the id of the check
	t.Run("provoked", func(t *testing.T) {
		for name, f := range map[string]func(*testing.T, *sync.Map){
			"one by one": explainOneByOne, "strict usage": explainStrictUsage, "pinned": explainPinned, "expiry": explainExpiry,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, provoked)
			})
		}
	})
	n, all := 0, 0
	for _, c := range claims.Explain(claims.Attempt{}, claims.ServerView{}).Checks {
		if c.ID == "auth_callout" { // asks somebody else, and refuses nobody itself
			continue
		}
		all++
		if _, ok := provoked.Load(c.ID); !ok {
			t.Errorf("%s was not made to fail", c.ID)
			continue
		}
		n++
	}
	t.Logf("explain: %d of %d provoked", n, all)
}

func explainOneByOne(t *testing.T, provoked *sync.Map) {
	s := newStage(t)
	s.provoked = provoked
	all := provocations()
	for _, kind := range []string{jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess, jwt.ConnectionTypeMqtt, jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS} {
		all["not as "+kind] = provocation{"connection_type_allowed", func(_ *testing.T, c *trial) {
			c.user.BearerToken, c.kind = true, kind // MQTT cannot sign
			c.user.AllowedConnectionTypes = jwt.StringList{kind}
		}, func(_ *testing.T, c *trial) { c.user.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeMqttWS} }}
	}
	for name, p := range all {
		t.Run(name, func(t *testing.T) { s.provoke(t, p) })
	}
}

func (s *stage) provoke(t *testing.T, p provocation) {
	t.Helper()
	c := s.newTrial(t)
	p.prepare(t, c)
	s.admitted(t, c, p.check)
	c = s.newTrial(t)
	p.prepare(t, c)
	p.spoil(t, c)
	s.refused(t, c, p.check)
}

// What strict_signing_key_usage refuses, an operator without it lets pass.
func explainStrictUsage(t *testing.T, provoked *sync.Map) {
	strict := newStage(t)
	strict.provoked = provoked
	lax := newStage(t, func(o *server.Options) { o.TrustedOperators[0].StrictSigningKeyUsage = false })
	for check, spoil := range map[string]func(*stage, *trial){
		"account_trusted": func(s *stage, c *trial) { c.accountSigner = s.operator },
		"issuer_known":    func(_ *stage, c *trial) { c.signer, c.user.IssuerAccount = c.identity, "" },
	} {
		c := lax.newTrial(t)
		spoil(lax, c)
		lax.admitted(t, c, check)
		c = strict.newTrial(t)
		spoil(strict, c)
		strict.refused(t, c, check)
	}
	// The identity key may be listed as well; without strict usage its scope is overwritten.
	for _, s := range []*stage{strict, lax} {
		c := s.newTrial(t)
		c.account.SigningKeys.Add(c.identity.id)
		c.signer = c.identity
		s.admitted(t, c, "issuer_known")
	}
	// With strict usage it rules.
	c := strict.newTrial(t)
	c.signer = c.identity
	by := claims.NewPermissionLimits()
	by.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeMqtt}
	c.scoped(by)
	strict.refused(t, c, "connection_type_allowed")
	// Of two operators only the one that signed the account counts.
	other := newPair(t, claims.KindOperator)
	two := newStage(t, func(o *server.Options) {
		o.TrustedOperators[0].StrictSigningKeyUsage = false
		second := jwt.NewOperatorClaims(other.id)
		second.StrictSigningKeyUsage, second.SystemAccount = true, o.SystemAccount
		second.SigningKeys.Add(newPair(t, claims.KindOperator).id)
		o.TrustedOperators = append(o.TrustedOperators, second)
	})
	c = two.newTrial(t)
	c.signer, c.user.IssuerAccount = c.identity, ""
	two.admitted(t, c, "issuer_known")
	c = lax.newTrial(t)
	c.signer = c.identity
	p := claims.NewPermissionLimits()
	p.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeMqtt}
	c.scoped(p)
	c.user.SetScoped(false)
	lax.admitted(t, c, "scope_empty")
}

// A server serves pinned accounts only.
func explainPinned(t *testing.T, provoked *sync.Map) {
	pinned := newPair(t, claims.KindAccount)
	file := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(file, []byte("resolver_pinned_accounts: ["+pinned.id+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, func(o *server.Options) {
		read.Host, read.Port, read.NoLog, read.NoSigs = o.Host, o.Port, o.NoLog, o.NoSigs
		read.TrustedOperators, read.SystemAccount, read.AccountResolver = o.TrustedOperators, o.SystemAccount, o.AccountResolver
		*o = *read
	})
	s.pinned, s.provoked = []string{pinned.id}, provoked
	c := s.newTrial(t)
	c.account.Subject, c.user.IssuerAccount = pinned.id, pinned.id
	s.admitted(t, c, "account_pinned")
	s.refused(t, s.newTrial(t), "account_pinned")
	// The server adds the system account by itself, and goes on to what is wrong after it.
	c = s.newTrial(t)
	c.user.IssuerAccount = s.options.SystemAccount
	token, _ := c.encode(t)
	e, o := s.attempt(t, c, token)
	s.wasRefused(t, c, e, o, "issuer_known")
}

// An account expires in the second of its exp; its JWT is valid until the next.
func explainExpiry(t *testing.T, provoked *sync.Map) {
	s := newStage(t)
	s.provoked = provoked
	c := s.newTrial(t)
	c.account.Expires = time.Now().Unix() + 60
	s.admitted(t, c, "account_not_expired")
	for done := false; !done; { // until it all happens within one second
		c = s.newTrial(t)
		now := time.Now()
		second := now.Truncate(time.Second).Add(time.Second)
		<-time.After(second.Sub(now))
		c.account.Expires = second.Unix()
		e, o := s.play(t, c)
		if done = time.Now().Unix() == second.Unix(); done {
			s.wasRefused(t, c, e, o, "account_not_expired")
		}
	}

	// The account of a connection that is there expires: the server asks the resolver again, gets the same and goes
	// by what it had.
	c = s.newTrial(t)
	c.account.Expires = time.Now().Unix() + 2
	token, text := c.encode(t)
	s.store(t, c.account.Subject, text)
	e, o := s.attempt(t, c, token)
	s.wasAdmitted(t, c, e, o, "account_valid")
	if s.log.wait(o.from, "Account Authentication Expired") == "" {
		t.Fatal("the account does not expire")
	}
	<-time.After(time.Until(time.Unix(c.account.Expires+1, 0)))
	e, o = s.attempt(t, c, token)
	s.wasRefused(t, c, e, o, "account_valid")
	if s.log.wait(o.from, "Account JWT has expired") == "" {
		t.Error("the loaded account is not found expired")
	}
}

// A server without a JWT from the client goes by its default sentinel.
func TestExplainDefaultSentinel(t *testing.T) {
	t.Parallel()
	signer := newPair(t, claims.KindAccount)
	account := newPair(t, claims.KindAccount)
	sentinel := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
	sentinel.BearerToken, sentinel.IssuerAccount = true, account.id
	text, err := sentinel.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, func(o *server.Options) { o.DefaultSentinel = text })
	for _, sent := range []string{"", "nonsense"} {
		c := s.newTrial(t)
		c.account.Subject, c.account.SigningKeys = account.id, jwt.SigningKeys{signer.id: nil}
		c.mangleToken = func(string) string { return sent }
		e, o := s.play(t, c)
		s.wasAdmitted(t, c, e, o, "jwt_decodes")
		if e.User != sentinel.Subject || e.Account != account.id {
			t.Errorf("user %s of %s", e.User, e.Account)
		}
	}
}

// Leaf nodes on the same server count as connections too, those elsewhere do not.
func TestExplainLeafNodesCount(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c := s.newTrial(t)
	c.account.Limits.Conn, c.kind = 1, jwt.ConnectionTypeLeafnode
	s.admitted(t, c, "connection_limit")
	token, _ := c.encode(t)
	c.kind = jwt.ConnectionTypeStandard
	e, o := s.attempt(t, c, token)
	if o.err == nil || e.Verdict != claims.VerdictUnknown {
		t.Errorf("%v and %s: %s", o.err, e.Verdict, e.Summary)
	}
}

// admitted fails the test unless the server lets the client in and Explain knows it; the check passes.
func (s *stage) admitted(t *testing.T, c *trial, check string) {
	t.Helper()
	e, o := s.play(t, c)
	s.wasAdmitted(t, c, e, o, check)
}

func (s *stage) wasAdmitted(t *testing.T, c *trial, e claims.Explanation, o outcome, check string) {
	t.Helper()
	if o.err != nil || e.Verdict != claims.VerdictAdmitted || e.Failed != nil || e.Permissions == nil {
		t.Errorf("unspoiled: %v, and %s: %s", o.err, e.Verdict, e.Summary)
	}
	i := slices.IndexFunc(e.Checks, func(x claims.Check) bool { return x.ID == check })
	if e.Checks[i].Result != claims.ResultPass {
		t.Errorf("unspoiled: %+v", e.Checks[i])
	}
	wellFormed(t, e, c)
}

// refused fails the test unless the server refuses the client because of the check and Explain knows it.
func (s *stage) refused(t *testing.T, c *trial, check string) {
	t.Helper()
	e, o := s.play(t, c)
	s.wasRefused(t, c, e, o, check)
}

func (s *stage) wasRefused(t *testing.T, c *trial, e claims.Explanation, o outcome, check string) {
	t.Helper()
	if o.err == nil || e.Verdict != claims.VerdictRefused || e.Failed == nil {
		t.Fatalf("spoiled: %v, and %s: %s", o.err, e.Verdict, e.Summary)
	}
	if e.Failed.ID != check {
		t.Errorf("spoiled: %+v, want %s", *e.Failed, check)
	}
	line := s.log.wait(o.from, e.Failed.ServerLog)
	if line == "" {
		t.Errorf("spoiled: no line %q in\n%s", e.Failed.ServerLog, strings.Join(s.log.lines[o.from:], "\n"))
	}
	if s.provoked != nil && !t.Failed() {
		s.provoked.Store(check, true)
	}
	wellFormed(t, e, c)
}

// wellFormed checks what holds for every explanation.
func wellFormed(t *testing.T, e claims.Explanation, c *trial) {
	t.Helper()
	seed := c.holder.seed(t).Reveal()
	sentence := func(what, s string) {
		if !strings.HasSuffix(s, ".") || !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) || strings.Contains(s, "eyJ") || strings.Contains(s, seed) {
			t.Errorf("%s: %q", what, s)
		}
	}
	sentence("summary", e.Summary)
	for _, x := range e.Checks {
		if x.ID == "" || x.Title == "" || x.ServerLog == "" || x.Result == claims.ResultFail != (len(x.Fixes) > 0) {
			t.Errorf("%+v", x)
		}
		if x.Result == claims.ResultNotReached {
			if x.Evidence != "" {
				t.Errorf("not reached: %+v", x)
			}
			continue
		}
		sentence(x.ID, x.Evidence)
		for _, f := range x.Fixes {
			sentence(x.ID, f)
		}
	}
}

// Connect hours and source networks are those of the server, wherever it is now.
func TestExplainPlaceAndTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	n := 0
	for _, zone := range []string{"", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Marquesas", "Australia/Lord_Howe", "Etc/GMT+12"} {
		for _, minutes := range [][2]time.Duration{{-5, 5}, {5, 10}, {5, -5}, {-5, -10}, {-10, -5}, {5, 5}, {-720, 715}, {-715, 720}} {
			c := s.newTrial(t)
			now := time.Now()
			if zone != "" {
				l, err := time.LoadLocation(zone)
				if err != nil {
					t.Fatal(err)
				}
				now = now.In(l)
			}
			c.user.Locale = zone
			c.user.Times = []jwt.TimeRange{{Start: now.Add(minutes[0] * time.Minute).Format(time.TimeOnly), End: now.Add(minutes[1] * time.Minute).Format(time.TimeOnly)}}
			s.agrees(t, c)
			n++
		}
	}
	for _, src := range []string{"127.0.0.1/32", "127.0.0.2/32", "127.0.0.2/31", "::ffff:127.0.0.1/128", "::ffff:0:0/96", "::1/128", "0.0.0.0/0", "::/0", "10.0.0.0/8,127.0.0.0/8", "127.0.0.1"} {
		for _, kind := range []string{jwt.ConnectionTypeStandard, jwt.ConnectionTypeInProcess} {
			c := s.newTrial(t)
			c.user.Src, c.kind = strings.Split(src, ","), kind
			s.agrees(t, c)
			n++
		}
	}
	t.Logf("place and time: %d of %d", n, n)
}

// Odd but right connections.
func TestExplainOddities(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for name, edit := range map[string]func(*trial){
		"MQTT without subscriptions": func(c *trial) { c.kind, c.user.BearerToken, c.user.Subs = jwt.ConnectionTypeMqtt, true, 0 },
		"a template with a limit of 0, which becomes -1 when it is read": func(c *trial) {
			p := claims.NewPermissionLimits()
			p.Subs = 0
			c.scoped(p)
		},
		"a long MQTT password": func(c *trial) {
			c.kind, c.user.BearerToken = jwt.ConnectionTypeMqtt, true
			c.user.Pub.Deny.Add(strings.Repeat("a", 5000))
		},
		"a leaf node's long CONNECT": func(c *trial) {
			c.kind = jwt.ConnectionTypeLeafnode
			c.user.Pub.Deny.Add(strings.Repeat("a", 5000))
		},
		"a bearer with the seed of another": func(c *trial) {
			c.user.BearerToken, c.holder = true, newPair(t, claims.KindUser)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.newTrial(t)
			edit(c)
			s.admitted(t, c, "auth_callout")
		})
	}
}
