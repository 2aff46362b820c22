package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// outpost posts account JWTs to a plant as anybody may who reaches it: each request from another address, since refusals
// are counted by address.
type outpost struct {
	t        *testing.T
	p        *plant
	asu      string
	requests int
}

func newOutpost(t *testing.T) *outpost {
	t.Helper()
	p := newPlant(t, "sqlite")
	x := &outpost{t: t, p: p, asu: p.app.cfg.publicURL + "/jwt/v1"}
	x.enrol(issuer.EnrolOpen)
	return x
}

func (x *outpost) system() issuer.Op {
	return issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
}

func (x *outpost) enrol(mode string) string {
	x.t.Helper()
	out, err := x.p.app.issuer.SetEnrolmentPolicy(x.t.Context(), x.system(), "acme", issuer.EnrolmentInput{Mode: mode, NewToken: mode == issuer.EnrolToken})
	must(x.t, err)
	return out.Value.Token.Reveal()
}

// do sends a request from an address of its own, or from the one that is named.
func (x *outpost) do(method, url, body string, from ...string) (int, string) {
	x.t.Helper()
	x.requests++
	address := fmt.Sprintf("127.0.1.%d", x.requests%250+1)
	if len(from) > 0 {
		address = from[0]
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(x.t.Context(), method, url, strings.NewReader(body))
	must(x.t, err)
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error() // a server may stop reading a body that is too long
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		x.t.Error(err)
	}
	return res.StatusCode, string(raw)
}

// post posts a JWT for the account.
func (x *outpost) post(id, token string) (int, string) {
	x.t.Helper()
	return x.do(http.MethodPost, x.asu+"/accounts/"+id, token)
}

// served is the account's JWT as servers read it; empty where there is none.
func (x *outpost) served(id string) string {
	x.t.Helper()
	status, body := x.do(http.MethodGet, x.asu+"/accounts/"+id, "")
	if status != http.StatusOK {
		return ""
	}
	return body
}

// enrolled makes an account by posting it.
func (x *outpost) enrolled(name string) *managedStore {
	x.t.Helper()
	s := newManagedStore(x.t, x.asu, name)
	if status := s.add(); status != http.StatusOK {
		x.t.Fatalf("enrolling %s: %d %s", name, status, s.said)
	}
	return s
}

// edited is the store's JWT with a change, signed by the key, issued so many seconds from now.
func (x *outpost) edited(s *managedStore, by nkeys.KeyPair, in time.Duration, edit func(*jwt.AccountClaims)) string {
	x.t.Helper()
	c, err := jwt.DecodeAccountClaims(x.served(s.id))
	must(x.t, err)
	edit(c)
	token, err := c.Encode(by)
	must(x.t, err)
	return repacked(x.t, token, by, func(p map[string]any) { p["iat"] = time.Now().Add(in).Unix() })
}

// repacked is a JWT with another payload, signed anew.
func repacked(t *testing.T, token string, by nkeys.KeyPair, edit func(map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var payload map[string]any
	must(t, json.Unmarshal(raw, &payload))
	edit(payload)
	raw, err = json.Marshal(payload)
	must(t, err)
	input := parts[0] + "." + base64.RawURLEncoding.EncodeToString(raw)
	sig, err := by.Sign([]byte(input))
	must(t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestPostAttacks is what somebody tries who reaches the account server, and what the holder of one account tries against
// others or against what its operator set: the victim's JWT stays, byte for byte.
func TestPostAttacks(t *testing.T) { //nolint:maintidx // one list of attacks
	t.Parallel()
	x := newOutpost(t)
	base := x.p.app.cfg.publicURL
	victim, mallory := x.enrolled("VICTIM"), x.enrolled("MALLORY")
	scoped, scopedID := accountPair(t)
	callout, err := nkeys.CreateUser()
	must(t, err)
	calloutID, err := callout.PublicKey()
	must(t, err)
	must(t, ok200(victim.edit(func(c *jwt.AccountClaims) {
		s := jwt.NewUserScope()
		s.Key, s.Role, s.Template.Pub.Allow = scopedID, "sensor", jwt.StringList{"sensor.>"}
		c.SigningKeys.AddScopedSigner(s)
		c.Exports.Add(&jwt.Export{Name: "private", Subject: "private.>", Type: jwt.Stream, TokenReq: true})
	})))
	early := victim.local
	must(t, ok200(victim.edit(func(c *jwt.AccountClaims) { c.Authorization.AuthUsers = jwt.StringList{calloutID} })))
	other, err := x.p.app.issuer.CreateOperator(t.Context(), x.system(), issuer.OperatorInput{Name: "other"})
	must(t, err)
	stranger, strangerID := accountPair(t)
	foreignOperator, err := nkeys.CreateOperator()
	must(t, err)
	nothing := func(*jwt.AccountClaims) {}
	describe := func(c *jwt.AccountClaims) { c.Description = "taken over" }
	changed := func(edit func(*jwt.AccountClaims)) string { return x.edited(victim, victim.pair, 0, edit) }
	theirs := func(edit func(*jwt.AccountClaims)) string { return x.edited(mallory, mallory.pair, 0, edit) }
	activation := func(by nkeys.KeyPair, to string) string {
		a := jwt.NewActivationClaims(to)
		a.ImportSubject, a.ImportType = "private.>", jwt.Stream
		token, err := a.Encode(by)
		must(t, err)
		return token
	}
	importing := func(token string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Name: "private", Subject: "private.>", Account: victim.id, Type: jwt.Stream, Token: token})
		}
	}
	newcomer := func(id string, by nkeys.KeyPair, name string) string {
		c := jwt.NewAccountClaims(id)
		c.Name = name
		token, err := c.Encode(by)
		must(t, err)
		return token
	}
	lines := func(n int) string { return strings.Repeat("x", n) }
	user := jwt.NewUserClaims(calloutID)
	userToken, err := user.Encode(victim.pair)
	must(t, err)

	attacks := []struct {
		name   string
		id     string
		token  string
		status int
		says   string
	}{
		{"signed by a key of nobody", victim.id, x.edited(victim, stranger, 0, describe), 403, "neither"},
		{"signed by another account", victim.id, x.edited(victim, mallory.pair, 0, describe), 403, "neither"},
		{"signed by a key that comes with it", victim.id, x.edited(victim, stranger, 0, func(c *jwt.AccountClaims) { c.SigningKeys.Add(strangerID) }), 403, "neither"},
		{"signed by a scoped key", victim.id, x.edited(victim, scoped, 0, describe), 403, "scoped"},
		{"a scoped key makes itself plain", victim.id, x.edited(victim, scoped, 0, func(c *jwt.AccountClaims) { delete(c.SigningKeys, scopedID); c.SigningKeys.Add(scopedID) }), 403, "scoped"},
		{"signed by the key of an operator that is not known", victim.id, x.edited(victim, foreignOperator, 0, describe), 403, "neither"},
		{"another account's JWT", victim.id, theirs(describe), 422, "another account"},
		{"a signature that is not its own", victim.id, swapped(changed(describe), changed(nothing)), 422, ""},
		{"no signature", victim.id, cutSignature(changed(describe)), 422, ""},
		{"an algorithm called none", victim.id, headed(changed(describe), `{"typ":"JWT","alg":"none"}`), 422, ""},
		{"a user's JWT", victim.id, userToken, 422, "not an account's"},
		{"the operator's JWT", victim.id, x.p.operator.JWT, 422, "not an account's"},
		{"an activation", victim.id, activation(victim.pair, mallory.id), 422, "not an account's"},
		{"issued in an hour", victim.id, x.edited(victim, victim.pair, time.Hour, describe), 422, "future"},
		{"a holder's JWT of an hour ago", victim.id, x.edited(victim, victim.pair, -time.Hour, describe), 412, "newer"},
		{"an earlier JWT of the operator's", victim.id, early, 200, "nothing is rolled back"},
		{"another name", victim.id, changed(func(c *jwt.AccountClaims) { c.Name = "MALLORY" }), 409, "name"},
		{"an end in a minute", victim.id, changed(func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 60 }), 409, "deleted"},
		{"an end in the past", victim.id, repacked(t, changed(describe), victim.pair, func(p map[string]any) { p["exp"] = 1 }), 422, ""},
		{"a revocation in the future", victim.id, changed(func(c *jwt.AccountClaims) { c.RevokeAt(strangerUser(t), time.Now().Add(48*time.Hour)) }), 422, "future"},
		{"everybody revoked, the auth callout too", victim.id, changed(func(c *jwt.AccountClaims) { c.RevokeAt("*", time.Now()) }), 409, "nsc pull -a VICTIM -F"},
		{"the auth callout's user revoked", victim.id, changed(func(c *jwt.AccountClaims) { c.RevokeAt(calloutID, time.Now()) }), 409, "callout"},
		{"a field that is not known", victim.id, repacked(t, changed(describe), victim.pair, func(p map[string]any) { p["nats"].(map[string]any)["quantum"] = 1 }), 422, "quantum"},
		{"a key of another account", mallory.id, theirs(func(c *jwt.AccountClaims) { c.SigningKeys.Add(victim.id) }), 422, "another account"},
		{"a scoped key of another account", mallory.id, theirs(func(c *jwt.AccountClaims) { c.SigningKeys.Add(scopedID) }), 422, "another account"},
		{"a private export with an activation of its own", mallory.id, theirs(importing(activation(mallory.pair, mallory.id))), 422, ""},
		{"a private export with another's activation", mallory.id, theirs(importing(activation(victim.pair, strangerID))), 422, ""},
		{"an unknown account that an operator signed", strangerID, newcomer(strangerID, foreignOperator, "NEW"), 403, "identity key"},
		{"an unknown account that another account signed", strangerID, newcomer(strangerID, mallory.pair, "NEW"), 403, "identity key"},
		{"an unknown account of a name that is taken", strangerID, newcomer(strangerID, stranger, "VICTIM"), 409, ""},
		{"an unknown account called as no account may be", strangerID, newcomer(strangerID, stranger, "a/../b"), 422, ""},
		{"another account's signing key as an account", scopedID, newcomer(scopedID, scoped, "NEW"), 409, ""},
		{"the system account", x.p.operator.Settings.SystemAccount, newcomer(x.p.operator.Settings.SystemAccount, stranger, "SYS"), 403, "system account"},
		{"100,000 revocations", victim.id, changed(func(c *jwt.AccountClaims) { c.Revocations = manyRevocations(100_000) }), 413, "1 MiB"},
		{"no JWT, longer than any", victim.id, lines(claims.MaxAccountJWT + 2048), 413, "1 MiB"},
		{"nothing", victim.id, "", 422, ""},
		{"no public key", "A", newcomer(strangerID, stranger, "NEW"), 422, ""},
	}
	before := map[string]string{victim.id: x.served(victim.id), mallory.id: x.served(mallory.id)}
	good, all := 0, 0
	stands := func(name string, held bool, say string) {
		t.Helper()
		all++
		for id, want := range before {
			if x.served(id) != want {
				held = false
				say += "; the JWT changed"
				before[id] = x.served(id)
			}
		}
		if x.served(strangerID) != "" {
			held = false
			say += "; the stranger is in"
		}
		if held {
			good++
			return
		}
		t.Errorf("%s: %s", name, say)
	}
	for _, a := range attacks {
		status, said := x.post(a.id, a.token)
		stands(a.name, status == a.status && strings.Contains(said, a.says), fmt.Sprintf("%d %q, want %d", status, said, a.status))
	}
	// What everybody can read can be posted for ever: it is not even on record.
	recorded := x.recorded()
	for _, token := range []string{early, before[victim.id], early, before[victim.id]} {
		status, said := x.post(victim.id, token)
		stands("a JWT that is public", status == 200 && x.recorded() == recorded, fmt.Sprintf("%d %s, %d entries", status, said, x.recorded()-recorded))
	}
	// What is the operator's.
	status, said := x.post(mallory.id, theirs(func(c *jwt.AccountClaims) { c.Limits.Conn = 1 << 30; c.Expires = time.Now().Unix() + 1<<30 }))
	c, err := jwt.DecodeAccountClaims(x.served(mallory.id))
	must(t, err)
	before[mallory.id] = x.served(mallory.id) // signed anew, as late as what was posted
	stands("limits and an end of its own", status == 200 && c.Limits.Conn == jwt.NoLimit && c.Expires == 0, said)
	// Under another operator's path.
	for _, path := range []string{"/o/other/jwt/v1", "/o/" + other.Value.ID + "/jwt/v1"} {
		status, said = x.do(http.MethodPost, base+path+"/accounts/"+victim.id, changed(describe))
		stands("under another operator", status == 404, said)
	}
	// Tokens that are guessed, and paths that are to be taken for others.
	token := x.enrol(issuer.EnrolToken)
	asking := newcomer(strangerID, stranger, "NEW")
	for _, path := range []string{
		"/t/x/jwt/v1/accounts/", "/t/" + token[:len(token)-1] + "/jwt/v1/accounts/", "/jwt/v1/accounts/", "/t/" + token + "x/jwt/v1/accounts/",
		"/t/" + token + "/o/other/jwt/v1/accounts/", "/t/x/t/" + token + "/jwt/v1/accounts/", "/t//jwt/v1/accounts/", "/t/" + token + "%2F/jwt/v1/accounts/",
		"/o/acme/t/" + token + "/jwt/v1/accounts/", "/t/" + token + "/o/other/../acme/jwt/v1/accounts/", "/o/acme%2F..%2Fother/jwt/v1/accounts/", "//jwt/v1/accounts/", "/jwt/v1//accounts/",
	} {
		status, said := x.do(http.MethodPost, base+path+strangerID, asking)
		stands(path, status >= 300 && status < 500, fmt.Sprintf("%d %s", status, said))
	}
	if status, said := x.do(http.MethodPost, x.asu+"/accounts/"+strangerID+"?t=", asking); true {
		stands("an empty token", status == 403, said)
	}
	stands("reading tokens in the log", !strings.Contains(x.p.log.String(), token), "the log has the enrolment token")
	x.enrol(issuer.EnrolApproval)
	big := jwt.NewAccountClaims(strangerID)
	big.Name, big.Description = "BIG", lines(4000)
	for n := range 3000 {
		big.Exports.Add(&jwt.Export{Subject: jwt.Subject(fmt.Sprintf("an.export.of.many.%d", n)), Type: jwt.Stream})
	}
	bigToken, err := big.Encode(stranger)
	must(t, err)
	status, said = x.post(strangerID, bigToken)
	stands("asking with a huge JWT", status == 422 && strings.Contains(said, "KiB"), fmt.Sprintf("%d %s", status, said))
	stopped, many := x.asks("127.0.3.1", 21)
	stands("filling the list of those who wait", stopped == 21 && strings.Contains(many, "20 accounts from this address wait for approval.\nAsk whoever runs the operator"), fmt.Sprintf("after %d: %s", stopped, many))
	x.enrol(issuer.EnrolOpen)
	status, said = x.post(strangerID, bigToken)
	stands("enrolling with thousands of exports", status == 422, fmt.Sprintf("%d %s", status, said))
	for _, n := range []int{499, 6500} {
		begin := time.Now()
		status, said = x.post(mallory.id, theirs(func(c *jwt.AccountClaims) {
			for k := range n {
				c.Exports.Add(&jwt.Export{Subject: jwt.Subject(fmt.Sprintf("an.export.of.many.%d", k)), Type: jwt.Stream})
			}
		}))
		t.Logf("an edit with %d exports: %d after %v", n, status, time.Since(begin).Round(time.Millisecond))
		if n > 500 {
			stands("thousands of exports", status == 422 && strings.Contains(said, "/exports"), fmt.Sprintf("%d %s", status, said))
		}
		before[mallory.id] = x.served(mallory.id)
	}

	// The operator's brakes.
	brake := func(name string, status int, set func() error) {
		t.Helper()
		must(t, set())
		x.p.refresh()
		before[victim.id] = x.served(victim.id)
		got, said := x.post(victim.id, x.edited(victim, victim.pair, time.Second, describe))
		stands(name, got == status, fmt.Sprintf("%d %s", got, said))
	}
	signing := func(on bool) func() error {
		return func() error { _, err := x.p.app.issuer.SetSigning(t.Context(), x.because(), "acme", on); return err }
	}
	brake("signing is switched off", 409, signing(false))
	must(t, signing(true)())
	brake("a tombstone", 409, func() error {
		_, err := x.p.app.issuer.SuspendAccount(t.Context(), x.because(), victim.id)
		must(t, err)
		a, err := x.p.app.issuer.GetAccount(t.Context(), x.system().Caller, victim.id)
		must(t, err)
		op := x.because()
		op.ExpectedVersion = a.Version
		_, err = x.p.app.issuer.DeleteAccount(t.Context(), op, victim.id)
		must(t, err)
		eventually(t, "the tombstone", func() bool {
			c, err := jwt.DecodeAccountClaims(x.served(victim.id))
			return err == nil && len(c.Exports) == 0
		})
		return nil
	})
	// Guessing stops.
	x.enrol(issuer.EnrolToken)
	for range 60 {
		status, _ = x.do(http.MethodPost, base+"/t/guess/jwt/v1/accounts/"+strangerID, asking, "127.0.2.1")
	}
	last, _ := x.do(http.MethodPost, base+"/t/guess/jwt/v1/accounts/"+strangerID, asking, "127.0.2.1")
	stands("guessing for long", status == 403 && last == 429, fmt.Sprint(status, last))
	t.Logf("attacks by POST: %d of %d stopped", good, all)
}

// asks has new accounts ask to be let in from one address, and returns at which one it was told to slow down: 0 for none.
func (x *outpost) asks(from string, times int) (int, string) {
	x.t.Helper()
	for n := range times {
		pair, err := nkeys.CreateAccount()
		must(x.t, err)
		id, err := pair.PublicKey()
		must(x.t, err)
		c := jwt.NewAccountClaims(id)
		c.Name = fmt.Sprintf("WAITS-%d", n)
		token, err := c.Encode(pair)
		must(x.t, err)
		switch status, said := x.do(http.MethodPost, x.asu+"/accounts/"+id, token, from); status {
		case http.StatusAccepted:
		case http.StatusTooManyRequests:
			return n + 1, said
		default:
			x.t.Fatalf("asking to be let in: %d %s", status, said)
		}
	}
	return 0, ""
}

// recorded is how many entries the audit log has, numbered or not yet.
func (x *outpost) recorded() (n int) {
	x.t.Helper()
	_, err := x.p.app.store.Sequence(x.t.Context())
	must(x.t, err)
	list, err := x.p.app.issuer.ListAudit(x.t.Context(), x.system().Caller, issuer.AuditQuery{}, issuer.AuditPage{Limit: 1})
	must(x.t, err)
	if len(list) == 0 {
		return 0
	}
	return int(list[0].Seq)
}

func (x *outpost) because() issuer.Op {
	op := x.system()
	op.Reason = "a ticket"
	return op
}

func ok200(status int) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return nil
}

func strangerUser(t *testing.T) string {
	t.Helper()
	kp, err := nkeys.CreateUser()
	must(t, err)
	id, err := kp.PublicKey()
	must(t, err)
	return id
}

func manyRevocations(n int) jwt.RevocationList {
	out := jwt.RevocationList{}
	for k := range n {
		out[fmt.Sprintf("U%055d", k)] = 1
	}
	return out
}

// swapped is the JWT with the signature of another one.
func swapped(token, other string) string {
	return token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
}

func cutSignature(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

func headed(token, header string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}
