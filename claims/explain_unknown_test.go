package claims_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
)

// restricted is an attempt of a user with whom everything depends on something, and the view of the server.
func restricted(t testing.TB, edits ...func(*jwt.UserClaims, *jwt.AccountClaims)) (claims.Attempt, claims.ServerView) {
	t.Helper()
	operator, account, signer := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	key, now := newPair(t, claims.KindUser), time.Unix(1_790_000_000, 0)
	o := jwt.NewOperatorClaims(operator.id)
	o.Name = "acme"
	a := jwt.NewAccountClaims(account.id)
	a.Name, a.Account = "orders", claims.NewAccountSettings()
	a.Limits.Conn, a.Limits.LeafNodeConn = 5, 5
	a.SigningKeys = jwt.SigningKeys{signer.id: nil}
	u := jwt.NewUserClaims(key.id)
	u.IssuerAccount = account.id
	u.Name, u.ProxyRequired, u.Src = "ada", true, jwt.CIDRList{"10.0.0.0/8"}
	u.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard}
	u.Times = []jwt.TimeRange{{Start: "00:00:00", End: "23:59:59"}}
	u.Pub.Allow.Add(strings.Repeat("a", 2100))
	u.Subs = 5
	for _, edit := range edits {
		edit(u, a)
	}
	token, err := u.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	proxied := true
	return claims.Attempt{Token: token, SignedBy: key.id, Host: "10.1.2.3", Type: jwt.ConnectionTypeStandard, Proxied: &proxied, At: now},
		claims.ServerView{Operators: []*jwt.OperatorClaims{o}, Account: text, Zone: time.UTC, MaxControlLine: 8192}
}

// A check that needs what an outsider was not told says so, and only such a check.
func TestExplainUnknown(t *testing.T) {
	t.Parallel()
	var names []string
	for id, forget := range map[string]func(*claims.Attempt, *claims.ServerView){
		"connect_line":            func(_ *claims.Attempt, v *claims.ServerView) { v.MaxControlLine = 0 },
		"proxy_required":          func(a *claims.Attempt, _ *claims.ServerView) { a.Proxied = nil },
		"account_trusted":         func(_ *claims.Attempt, v *claims.ServerView) { v.Operators = nil },
		"connection_type_allowed": func(a *claims.Attempt, _ *claims.ServerView) { a.Type = "" },
		"nonce_signed":            func(a *claims.Attempt, _ *claims.ServerView) { a.SignedBy = "" },
		"source_network":          func(a *claims.Attempt, _ *claims.ServerView) { a.Host = "" },
		"connect_hours":           func(_ *claims.Attempt, v *claims.ServerView) { v.Zone = nil },
		"connection_limit":        func(_ *claims.Attempt, v *claims.ServerView) { v.Connections = -1 },
	} {
		names = append(names, id)
		a, v := restricted(t)
		if e := claims.Explain(a, v); e.Verdict != claims.VerdictAdmitted {
			t.Errorf("%s: %s: %s", id, e.Verdict, e.Summary)
		}
		forget(&a, &v)
		e := claims.Explain(a, v)
		if e.Verdict != claims.VerdictUnknown || e.Failed != nil {
			t.Errorf("%s: %s: %s", id, e.Verdict, e.Summary)
		}
		for _, c := range e.Checks {
			if (c.Result == claims.ResultUnknown) != (c.ID == id) {
				t.Errorf("without %s: %+v", id, c)
			}
		}
	}
	slices.Sort(names)
	t.Logf("explain: %d cannot be known by an outsider (%s)", len(names), strings.Join(names, ", "))
}

// With nothing but a token and nothing of the server, what can be said is said.
func TestExplainLittleKnown(t *testing.T) {
	t.Parallel()
	a, v := restricted(t)
	signer := newPair(t, claims.KindUser)
	for name, c := range map[string]struct {
		edit    func()
		verdict claims.Verdict
		failed  string
	}{
		"no account":              {func() { v.Account = "" }, claims.VerdictRefused, "account_found"},
		"nothing":                 {func() { a, v = claims.Attempt{}, claims.ServerView{} }, claims.VerdictRefused, "jwt_present"},
		"a sentinel that is none": {func() { a.Token, v.DefaultSentinel = "", "x" }, claims.VerdictRefused, "jwt_decodes"},
		"no type, limits differ":  {func() { a.Type, v.LeafNodes = "", 5 }, claims.VerdictUnknown, ""},
		"no type, no room at all": {func() { a.Type, v.LeafNodes, v.Connections = "", 5, 5 }, claims.VerdictRefused, "connection_limit"},
		"no type, a long JWT":     {func() { a.Type, v.MaxControlLine = "", 1000 }, claims.VerdictUnknown, ""},
		"an enormous account":     {func() { v.Account = strings.Repeat("a", jwt.MaxTokenSize+1) }, claims.VerdictRefused, "account_decodes"},
		"a user of a user": {func() {
			a.Token = resigned(t, tampered(a.Token, func(m map[string]any) { m["iss"] = signer.id }), signer)
		}, claims.VerdictRefused, "jwt_decodes"},
		"an issuer that is no key": {func() { a.Token = tampered(a.Token, func(m map[string]any) { m["iss"] = "x" }) }, claims.VerdictRefused, "jwt_decodes"},
	} {
		a, v = restricted(t)
		c.edit()
		e := claims.Explain(a, v)
		if e.Verdict != c.verdict || (e.Failed == nil) != (c.failed == "") || e.Failed != nil && e.Failed.ID != c.failed {
			t.Errorf("%s: %s: %s", name, e.Verdict, e.Summary)
		}
	}
}

// The identity key signs for some operators and not for others.
func TestExplainUnknownOperator(t *testing.T) {
	t.Parallel()
	account, key := newPair(t, claims.KindAccount), newPair(t, claims.KindUser)
	a := jwt.NewAccountClaims(account.id)
	a.Account = claims.NewAccountSettings()
	text, err := a.Encode(newPair(t, claims.KindOperator))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewUserClaims(key.id).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	e := claims.Explain(claims.Attempt{Token: token, SignedBy: key.id, Type: jwt.ConnectionTypeStandard, At: time.Unix(1_790_000_000, 0)}, claims.ServerView{Account: text})
	var open []string
	for _, c := range e.Checks {
		if c.Result == claims.ResultUnknown {
			open = append(open, c.ID)
		}
	}
	if e.Verdict != claims.VerdictUnknown || !slices.Equal(open, []string{"account_trusted", "issuer_known"}) {
		t.Errorf("%s: %v", e.Summary, open)
	}
}

// The evidence has the facts, and neither tokens nor what claims would smuggle in.
func TestExplainEvidence(t *testing.T) {
	t.Parallel()
	operator, signer, key := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount), newPair(t, claims.KindUser)
	seed := key.seed(t).Reveal()
	account := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	account.Account = claims.NewAccountSettings()
	account.Name = seed
	o := jwt.NewOperatorClaims(operator.id)
	o.Name = seed
	user := jwt.NewUserClaims(key.id)
	user.IssuerAccount, user.BearerToken, user.Name = account.Subject, true, seed
	evidence := func(id string, edit func(*jwt.UserClaims, *jwt.AccountClaims, *claims.Attempt)) string {
		u, a, at := *user, *account, claims.Attempt{At: time.Unix(1_790_000_000, 0), Host: "10.0.0.1", Type: jwt.ConnectionTypeStandard, SignedBy: key.id}
		a.SigningKeys = jwt.SigningKeys{signer.id: nil}
		edit(&u, &a, &at)
		var err error
		if at.Token, err = u.Encode(signer); err != nil {
			t.Fatal(err)
		}
		text, err := a.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		e := claims.Explain(at, claims.ServerView{Operators: []*jwt.OperatorClaims{o}, Account: text})
		all, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(all), seed) || strings.Contains(string(all), at.Token) {
			t.Errorf("%s holds a secret: %s", id, all)
		}
		i := slices.IndexFunc(e.Checks, func(c claims.Check) bool { return c.ID == id })
		return e.Checks[i].Evidence
	}
	for want, got := range map[string]string{
		"The user JWT expired at 2026-09-21 13:06:40 UTC, 6 min 40 s before.": evidence("jwt_valid", func(u *jwt.UserClaims, _ *jwt.AccountClaims, a *claims.Attempt) {
			u.Expires, a.At = 1_789_996_000, time.Unix(1_789_996_400, 0)
		}),
		"The user JWT expired at 2026-09-21 13:06:40 UTC, 1 h 6 min before.": evidence("jwt_valid", func(u *jwt.UserClaims, _ *jwt.AccountClaims, a *claims.Attempt) {
			u.Expires = 1_789_996_000
		}),
		"The user JWT is not valid before 2026-09-24 13:06:40 UTC, which is 2 d 22 h ahead.": evidence("jwt_valid", func(u *jwt.UserClaims, _ *jwt.AccountClaims, a *claims.Attempt) {
			u.NotBefore = 1_790_255_200
		}),
		"Revoked for all users of the account up to 2100-01-01 00:00:00 UTC; this JWT was issued at " + time.Now().UTC().Format("2006-01-02"): evidence("not_revoked", func(_ *jwt.UserClaims, a *jwt.AccountClaims, _ *claims.Attempt) {
			a.RevokeAt(jwt.All, time.Unix(4_102_444_800, 0))
		}),
		"The client connects from 10.0.0.1, and allowed is 1.0.0.0/8, 2.0.0.0/8, 3.0.0.0/8, 4.0.0.0/8, 5.0.0.0/8 and 2 more.": evidence("source_network", func(u *jwt.UserClaims, _ *jwt.AccountClaims, _ *claims.Attempt) {
			u.Src = jwt.CIDRList{"1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8", "5.0.0.0/8", "6.0.0.0/8", "7.0.0.0/8"}
		}),
		"The user may have no subscription, which only MQTT survives; how the client connects is not known.": evidence("subscription_limit", func(u *jwt.UserClaims, _ *jwt.AccountClaims, a *claims.Attempt) {
			u.Subs, a.Type = 0, ""
		}),
		"2 of 3 are known; the server overlooks the others.": evidence("connection_types_known", func(u *jwt.UserClaims, _ *jwt.AccountClaims, _ *claims.Attempt) {
			u.AllowedConnectionTypes = jwt.StringList{"STANDARD", "PIGEON", "mqtt"}
		}),
		"It does, but 1 of its allow rules are dropped.": evidence("template_expands", func(u *jwt.UserClaims, a *jwt.AccountClaims, _ *claims.Attempt) {
			u.SetScoped(true)
			scope := jwt.NewUserScope()
			scope.Key, scope.Role = signer.id, seed
			scope.Template.Pub.Allow = jwt.StringList{"a.{{tag(x)}}", "b"}
			a.SigningKeys.AddScopedSigner(scope)
		}),
		"The issuer account in the user JWT is no public key of an account, and a server does not look it up.": evidence("account_found", func(u *jwt.UserClaims, _ *jwt.AccountClaims, _ *claims.Attempt) {
			u.IssuerAccount = seed
		}),
	} {
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// mutant draws what a JWT may be turned into by accident or on purpose, signed again by by so that it is read.
func mutant(t *rapid.T, token string, by pair) string {
	if rapid.Bool().Draw(t, "text") {
		b := []byte(token)
		for range rapid.IntRange(0, 3).Draw(t, "edits") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		return string(b[:rapid.IntRange(0, len(b)).Draw(t, "length")])
	}
	value := rapid.SampledFrom([]any{nil, "", "x", "*", -1, 0, 1, 1 << 40, true, []any{}, []any{nil}, []any{""}, []any{map[string]any{}}, map[string]any{}, map[string]any{"*": 1}})
	keys := rapid.SampledFrom([]string{
		"sub", "iss", "exp", "nbf", "iat", "name", "nats", "issuer_account", "times", "src", "times_location", "subs", "bearer_token", "pub", "sub", "resp",
		"allowed_connection_types", "signing_keys", "revocations", "limits", "default_permissions", "authorization", "imports", "exports", "mappings", "tags", "type", "version",
	})
	out := tampered(token, func(m map[string]any) {
		for range rapid.IntRange(1, 3).Draw(t, "fields") {
			where := m
			if inner, ok := m["nats"].(map[string]any); ok && rapid.Bool().Draw(t, "inside") {
				where = inner
			}
			where[keys.Draw(t, "field")] = value.Draw(t, "value")
		}
		if rapid.Bool().Draw(t, "issuer") {
			m["iss"] = by.id
		}
	})
	return resigned(t, out, by)
}

// Whatever is sent and whatever is stored, there is an explanation.
func TestExplainNeverPanics(t *testing.T) {
	t.Parallel()
	a, v := restricted(t)
	accountSigner, signer := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount)
	rapid.Check(t, func(t *rapid.T) {
		a, v := a, v
		if rapid.Bool().Draw(t, "token") {
			a.Token = mutant(t, a.Token, signer)
		}
		if rapid.Bool().Draw(t, "account") {
			v.Account = mutant(t, v.Account, accountSigner)
		}
		a.Type = rapid.SampledFrom([]string{"", jwt.ConnectionTypeStandard, jwt.ConnectionTypeMqtt, jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeInProcess, "x"}).Draw(t, "type")
		e := claims.Explain(a, v)
		if (e.Verdict == claims.VerdictRefused) != (e.Failed != nil) || e.Summary == "" || len(e.Checks) != 26 {
			t.Fatalf("%+v", e)
		}
	})
}

// foreign is a JWT of another system, as they are everywhere.
const foreign = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"

// Who sends a whole JWT of the wrong sort is not told to copy it again.
func TestExplainWrongSort(t *testing.T) {
	t.Parallel()
	a, v := restricted(t)
	for token, want := range map[string]string{
		v.Account: "it is a JWT of another kind.",
		foreign:   "it is not a JWT of NATS.",
		"eyJ0eXAiOiJYIiwiYWxnIjoiZWQyNTUxOS1ua2V5In0.e30.AA": "it is not a JWT of NATS.",
		ruined(a.Token): "changed or cut.",
	} {
		e := claims.Explain(claims.Attempt{Token: token}, v)
		i := slices.IndexFunc(e.Checks, func(c claims.Check) bool { return c.Result == claims.ResultFail })
		again := strings.Contains(strings.Join(e.Checks[i].Fixes, " "), "copied whole")
		if !strings.HasSuffix(e.Summary, want) || again != (token == ruined(a.Token)) {
			t.Errorf("%s, %v", e.Summary, e.Checks[i].Fixes)
		}
	}
}
