package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
)

// postCase is one rule of nats-account-server 1.x for a POST of an account JWT, and what comes of the same request here.
type postCase struct {
	// rule is its number in the order of the rules, or what the table of paths has of POST.
	rule, name string
	// send makes the request when it is its turn.
	send func() postAnswer
	// theirs and ours are the status. says is a part of our text.
	theirs, ours int
	says         string
	// better tells why ours is another answer; empty where it is the same, or the same kind: for a client that is not
	// told of 200 or 202 each refusal is alike, ours have the status of their reason.
	better string
	// then holds afterwards of the JWT that was served before, and the one that is; nil asks for nothing.
	then func(before, now string) bool
}

// TestAccountServerPosts replays the rules that nats-account-server 1.x has for POST, in their order and over real HTTP.
func TestAccountServerPosts(t *testing.T) {
	t.Parallel()
	x := newPostHouse(t)
	a := x.enrolled("ORDERS")
	list := append(x.paths(a), x.rules(a)...)
	list = append(append(list, x.issuers(a)...), x.unchecked(a)...)
	list = append(list, x.failing(a)...)
	good := 0
	for _, c := range list {
		if c.holds(t, func() string { return x.served(a.id) }) {
			good++
		}
	}
	t.Logf("account-server POST: %d of %d cases", good, len(list))
}

// paths is what the table of paths has of POST.
func (x *postHouse) paths(a *managedStore) []postCase {
	current := func() string { return x.served(a.id) }
	describe := func(text string) string {
		return x.edited(a, a.pair, 0, func(c *jwt.AccountClaims) { c.Description = text })
	}
	to := "/jwt/v1/accounts/" + a.id
	return []postCase{
		{rule: "path", name: "the JWT of the account", send: x.sends("POST", to, func() string { return describe("as a JWT") }, "Content-Type", "application/jwt"), theirs: 200, ours: 200, says: "signed by the operator", then: describes("as a JWT")},
		{rule: "path", name: "the content type is ignored: text", send: x.sends("POST", to, func() string { return describe("as text") }, "Content-Type", "text/plain"), theirs: 200, ours: 200, then: describes("as text")},
		{rule: "path", name: "the content type is ignored: JSON", send: x.sends("POST", to, func() string { return describe("as JSON") }, "Content-Type", "application/json"), theirs: 200, ours: 200, then: describes("as JSON")},
		{rule: "path", name: "the content type is ignored: none", send: x.sends("POST", to, func() string { return describe("as nothing") }), theirs: 200, ours: 200, then: describes("as nothing")},
		{rule: "path", name: "from a page of another origin", send: x.sends("POST", to, func() string { return describe("a page") }, "Origin", "https://page.example"), theirs: 200, ours: 200, then: describes("a page")},
		{rule: "path", name: "POST of accounts", send: x.sends("POST", "/jwt/v1/accounts", current), theirs: 405, ours: 405},
		{rule: "path", name: "POST of accounts with a slash", send: x.sends("POST", "/jwt/v1/accounts/", current), theirs: 405, ours: 405},
		{rule: "path", name: "a slash too many", send: x.sends("POST", to+"/", current), theirs: 301, ours: 404, better: "a client makes a GET of a redirected POST"},
		{rule: "path", name: "the wrong case", send: x.sends("POST", "/jwt/V1/Accounts/"+a.id, current), theirs: 301, ours: 404, better: "a client makes a GET of a redirected POST"},
		{rule: "path", name: "POST of the operator", send: x.sends("POST", "/jwt/v1/operator", current), theirs: 405, ours: 405},
		{rule: "path", name: "POST of a pack", send: x.sends("POST", "/jwt/v1/pack", current), theirs: 405, ours: 405},
		{rule: "path", name: "POST of activations", send: x.sends("POST", "/jwt/v1/activations", x.activation(a)), theirs: 404, ours: 200, better: "nsc still posts there"},
		{rule: "path", name: "there is no DELETE", send: x.sends("DELETE", to, current), theirs: 405, ours: 405},
		{rule: "path", name: "there is no PUT", send: x.sends("PUT", to, current), theirs: 405, ours: 405},
		{rule: "path", name: "a body without end", send: x.sends("POST", to, func() string { return strings.Repeat("x", 3<<20) }), theirs: 400, ours: 413, says: "1 MiB", better: "theirs reads all of it"},
	}
}

// rules are 1 to 3, 7 and 9.
func (x *postHouse) rules(a *managedStore) []postCase {
	current := func() string { return x.served(a.id) }
	stranger, strangerID := accountPair(x.t)
	user, err := nkeys.CreateUser()
	must(x.t, err)
	describe := func(c *jwt.AccountClaims) { c.Description = "rules" }
	own := func(edit func(*jwt.AccountClaims)) func() string {
		return func() string { return x.edited(a, a.pair, 0, edit) }
	}
	// as is the account's JWT with an edit of its payload, signed by a key whatever it says.
	as := func(by nkeys.KeyPair, edit func(map[string]any)) func() string {
		return func() string { return repacked(x.t, x.edited(a, a.pair, 0, describe), by, edit) }
	}
	keyed := func(field string, of nkeys.KeyPair) func(map[string]any) {
		id, err := of.PublicKey()
		must(x.t, err)
		return func(p map[string]any) { p[field] = id }
	}
	to := "/jwt/v1/accounts/" + a.id
	post := func(token func() string) func() postAnswer { return x.sends("POST", to, token) }
	userJWT := func() string {
		id, err := user.PublicKey()
		must(x.t, err)
		token, err := jwt.NewUserClaims(id).Encode(a.pair)
		must(x.t, err)
		return token
	}
	return []postCase{
		{rule: "1", name: "a body that breaks off", send: func() postAnswer { return x.cutShort(to) }, theirs: 400, ours: 400, says: "not read to its end", then: stays},
		{rule: "1", name: "nothing", send: post(func() string { return "" }), theirs: 400, ours: 422, then: stays},
		{rule: "1", name: "no JWT", send: post(func() string { return "bad.jwt" }), theirs: 400, ours: 422, says: "cannot be read as a JWT", then: stays},
		{rule: "1", name: "a user's JWT", send: post(userJWT), theirs: 400, ours: 422, says: "not an account's", then: stays},
		{rule: "1", name: "the operator's JWT", send: post(func() string { return x.p.operator.JWT }), theirs: 400, ours: 422, says: "not an account's", then: stays},
		{rule: "1", name: "another JWT's signature", send: post(func() string { return swapped(own(describe)(), current()) }), theirs: 400, ours: 422, then: stays},
		{rule: "1", name: "a signature by another key than its issuer", send: post(as(stranger, func(map[string]any) {})), theirs: 400, ours: 422, then: stays},
		{
			rule: "1", name: "a trailing newline is accepted, and not stored", theirs: 200, ours: 200, better: "what is served is what was signed",
			send: post(func() string { return own(func(c *jwt.AccountClaims) { c.Description = "newline" })() + "\n" }),
			then: func(before, now string) bool {
				return describes("newline")(before, now) && strings.TrimSpace(now) == now
			},
		},
		{rule: "2", name: "the path names another account", send: x.sends("POST", "/jwt/v1/accounts/"+strangerID, own(describe)), theirs: 400, ours: 422, says: "of another account than the path", then: stays},
		{rule: "3", name: "the issuer is a user", send: post(as(user, keyed("iss", user))), theirs: 400, ours: 422, then: stays},
		{rule: "3", name: "the subject is a user", send: post(as(a.pair, keyed("sub", user))), theirs: 400, ours: 422, then: stays},
		{rule: "7", name: "it has expired", send: post(as(a.pair, func(p map[string]any) { p["exp"] = 1 })), theirs: 400, ours: 422, says: "expired", then: stays},
		{rule: "7", name: "one line for each issue", send: post(own(func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Subject: "a..b", Type: jwt.Stream}, &jwt.Export{Subject: "c d", Type: jwt.Stream})
		})), theirs: 400, ours: 422, says: "/exports/1", then: stays},
		{rule: "7", name: "the issues are blocking ones: a warning is none", send: post(own(func(c *jwt.AccountClaims) { c.Limits.Conn = 3 })), theirs: 200, ours: 200, then: becomes(func(c *jwt.AccountClaims) bool { return c.Limits.Conn != 3 })},
		{rule: "9", name: "accepted: the answer comes when it can be read", send: post(own(func(c *jwt.AccountClaims) { c.Description = "nine" })), theirs: 200, ours: 200, says: "signed by the operator", then: describes("nine")},
		{rule: "9", name: "accepted, to be signed later", send: func() postAnswer {
			x.enrol(issuer.EnrolApproval)
			defer x.enrol(issuer.EnrolOpen)
			return x.sends("POST", "/jwt/v1/accounts/"+strangerID, x.newcomer(strangerID, stranger, "LATER"))()
		}, theirs: 202, ours: 202, says: "approval", then: func(string, string) bool { return x.served(strangerID) == "" }},
	}
}

// issuers are 4 to 6: the self-signed flow, and who may sign at all.
func (x *postHouse) issuers(a *managedStore) []postCase {
	stranger, strangerID := accountPair(x.t)
	key, keyID := accountPair(x.t)
	foreign, err := nkeys.CreateOperator()
	must(x.t, err)
	to := "/jwt/v1/accounts/" + a.id
	by := func(kp nkeys.KeyPair, edit func(*jwt.AccountClaims)) func() postAnswer {
		return x.sends("POST", to, func() string { return x.after(a, kp, edit) })
	}
	text := func(s string) func(*jwt.AccountClaims) { return func(c *jwt.AccountClaims) { c.Description = s } }
	strict := func(on bool, send func() postAnswer) func() postAnswer {
		return func() postAnswer {
			_, err := x.p.app.issuer.UpdateOperator(x.t.Context(), x.system(), "acme", func(e *issuer.OperatorEdit) { e.Strict = on })
			must(x.t, err)
			signOffline(x.t, x.p, x.identity)
			return send()
		}
	}
	return []postCase{
		{rule: "4", name: "unknown, and signed by itself", send: x.sends("POST", "/jwt/v1/accounts/"+strangerID, x.newcomer(strangerID, stranger, "NEW")), theirs: 200, ours: 200, says: "enrolled", then: func(string, string) bool { return x.served(strangerID) != "" }},
		{rule: "4", name: "unknown, and signed by another account", send: func() postAnswer {
			_, id := accountPair(x.t)
			return x.sends("POST", "/jwt/v1/accounts/"+id, x.newcomer(id, stranger, "NEWER"))()
		}, theirs: 400, ours: 403, says: "its own identity key"},
		{rule: "4", name: "known, by its identity key", send: by(a.pair, func(c *jwt.AccountClaims) { c.Description = "four"; c.SigningKeys.Add(keyID) }), theirs: 200, ours: 200, then: describes("four")},
		{rule: "4", name: "known, by a signing key of the stored and of the new one", send: by(key, text("by a key")), theirs: 200, ours: 200, then: describes("by a key")},
		{rule: "4", name: "known, by a signing key of the new one only", send: by(stranger, func(c *jwt.AccountClaims) { id, _ := stranger.PublicKey(); c.SigningKeys.Add(id) }), theirs: 400, ours: 403, says: "neither", then: stays},
		{rule: "4", name: "known, by a signing key that the new one gives up", send: by(key, func(c *jwt.AccountClaims) { delete(c.SigningKeys, keyID); c.Description = "given up" }), theirs: 400, ours: 200, better: "it is held against what is stored alone, where it may sign", then: describes("given up")},
		{rule: "4", name: "known, by the key that was given up", send: by(key, text("again")), theirs: 400, ours: 403, says: "neither", then: stays},
		{rule: "5", name: "by an account, where there is no signing service", send: func() postAnswer {
			x.switchSigning(false)
			defer x.switchSigning(true)
			return by(a.pair, text("unsigned"))()
		}, theirs: 400, ours: 409, says: "Signing is switched off", then: stays},
		{rule: "6", name: "by a signing key of the operator", send: by(x.signing, text("by the operator")), theirs: 200, ours: 200, then: describes("by the operator")},
		{rule: "6", name: "by a signing key that the operator retired", send: by(x.retired, text("retired")), theirs: 400, ours: 403, says: "neither", then: stays},
		{rule: "6", name: "by an operator that is not known", send: by(foreign, text("foreign")), theirs: 400, ours: 403, says: "neither", then: stays},
		{rule: "6", name: "by the identity key of a strict operator", send: by(x.identity, text("strict")), theirs: 200, ours: 403, says: "neither", better: "nats-server refuses such an account", then: stays},
		{rule: "6", name: "by the identity key of one that is not strict", send: strict(false, by(x.identity, text("lax"))), theirs: 200, ours: 200, then: describes("lax")},
		{rule: "6", name: "where no operator is configured", send: x.withoutOperator, theirs: 400, ours: 404, says: "operator"},
	}
}

// unchecked is what theirs does not check.
func (x *postHouse) unchecked(a *managedStore) []postCase {
	current := func() string { return x.served(a.id) }
	user := strangerUser(x.t)
	to := "/jwt/v1/accounts/" + a.id
	post := func(token func() string) func() postAnswer { return x.sends("POST", to, token) }
	early := a.local
	const better = "an older JWT is not taken for a newer one"
	return []postCase{
		{rule: "iat", name: "an earlier JWT of the operator's", send: post(func() string {
			must(x.t, ok200(a.edit(func(c *jwt.AccountClaims) { c.RevokeAt(user, time.Now()); c.Description = "late" })))
			return early
		}), theirs: 200, ours: 200, says: "nothing is rolled back", better: better, then: becomes(func(c *jwt.AccountClaims) bool { return c.Description == "late" && len(c.Revocations) == 1 })},
		{rule: "iat", name: "an older JWT that the operator signed elsewhere", send: post(func() string {
			return x.edited(a, x.signing, -time.Hour, func(c *jwt.AccountClaims) { c.Limits.Conn = 100_000; c.Revocations = nil })
		}), theirs: 200, ours: 412, says: "nsc pull -a ORDERS -F", better: better, then: stays},
		{rule: "iat", name: "an older JWT of the holder's", send: post(func() string {
			return x.edited(a, a.pair, -time.Hour, func(c *jwt.AccountClaims) { c.Revocations = nil })
		}), theirs: 200, ours: 412, says: "nsc pull -a ORDERS -F", better: better, then: stays},
		{rule: "iat", name: "a newer one without the revocation", send: post(func() string {
			return x.edited(a, a.pair, time.Second, func(c *jwt.AccountClaims) { c.Revocations = nil })
		}), theirs: 200, ours: 200, says: "Revocations", better: "what is revoked stays so", then: becomes(func(c *jwt.AccountClaims) bool { return len(c.Revocations) == 1 })},
		{rule: "iat", name: "issued in an hour", send: post(func() string {
			return x.edited(a, a.pair, time.Hour, func(c *jwt.AccountClaims) { c.Description = "future" })
		}), theirs: 200, ours: 422, says: "future", better: "nothing newer could follow for that long", then: stays},
		{rule: "same", name: "the same bytes again: not written anew", send: post(current), theirs: 200, ours: 200, says: "Nothing changes", then: stays},
		{rule: "delete", name: "a JWT that expires in a minute", send: post(func() string {
			return x.edited(a, a.pair, 0, func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 60 })
		}), theirs: 200, ours: 409, says: "deleted", better: "a JWT that has expired takes the revocations along", then: stays},
	}
}

// failing is 8. It takes the database away.
func (x *postHouse) failing(a *managedStore) []postCase {
	to := "/jwt/v1/accounts/" + a.id
	edit := func() string {
		return x.edited(a, a.pair, time.Second, func(c *jwt.AccountClaims) { c.Description = "eight" })
	}
	away, says := x.p.away()
	return []postCase{
		{rule: "8", name: "no server can be told: it is saved, and they are told later", send: x.sends("POST", to, edit), theirs: 500, ours: 200, better: "lost notifications are repeated", then: describes("eight")},
		{rule: "8", name: "it cannot be saved", send: func() postAnswer {
			token := edit()
			x.p.stopDatabase()
			return x.sends("POST", to, func() string { return token })()
		}, theirs: 500, ours: away, says: says, then: stays},
	}
}

// holds makes the request and compares.
func (c postCase) holds(t *testing.T, served func() string) bool {
	t.Helper()
	before := served()
	got := c.send()
	ok := got.status == c.ours && strings.Contains(got.body, c.says)
	ok = ok && got.header.Get("Vary") == "Origin" && got.header.Get("Content-Type") == "text/plain; charset=utf-8" && strings.HasSuffix(got.body, "\n")
	if refused := func(status int) bool { return status >= 300 }; c.better == "" && (refused(c.theirs) != refused(c.ours) || !refused(c.ours) && c.theirs != c.ours) {
		t.Errorf("rule %s, %s: %d is not %d, and nothing says why", c.rule, c.name, c.ours, c.theirs)
		return false
	}
	after := c.then == nil || c.then(before, served())
	if !ok || !after {
		t.Errorf("rule %s, %s: %d %v %q, want %d %q; afterwards as it should be: %t", c.rule, c.name, got.status, got.header, got.body, c.ours, c.says, after)
	}
	return ok && after
}
