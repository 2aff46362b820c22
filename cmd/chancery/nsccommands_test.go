package main

import (
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// addOperator is nsc add operator -u, and where else nsc fetches the operator.
func (x *nscReplay) addOperator() {
	x.show("add operator -u: a bare JWT of version 2 with the account server URL", func() bool {
		e := x.get("/jwt/v1/operator")
		c, err := jwt.DecodeOperatorClaims(e.body)
		return e.status == 200 && err == nil && c.Version == 2 && c.AccountServerURL == x.asu && c.Name == "acme"
	})
	x.show("add operator by a name of the environment: the URL up to its first =", func() bool {
		e := x.get("/jwt/v1/operator?t")
		return e.status == 200 && strings.HasPrefix(e.body, "eyJ")
	})
	x.show("operator under /o/", func() bool {
		e := x.get("/o/acme/jwt/v1/operator")
		return e.status == 200 && strings.HasPrefix(e.body, "eyJ")
	})
}

// initStore is nsc init -u, and nsc add account.
func (x *nscReplay) initStore() {
	a := x.orders
	x.show("init while enrolment is closed: refused, with the way", func() bool {
		return a.add() == 403 && a.exit == 1 && strings.Contains(a.said, "enrolment") && a.claims().Issuer == a.id
	})
	x.enrol(issuer.EnrolOpen)
	x.show("init -u: enrolled, signed and readable at once", func() bool {
		before := len(x.wire.since(0))
		ok := a.add() == 200 && a.exit == 0 && a.prints("[ OK ] push jwt to account server") && a.claims().Issuer != a.id && a.claims().Name == "ORDERS" && a.claims().Subject == a.id
		sent := x.wire.since(before)
		return ok && len(sent) == 2 && sent[0].method == http.MethodPost && sent[1].method == http.MethodGet && sent[0].url == sent[1].url
	})
	x.show("the operator's limits, for DiffAccountLimits to tell", func() bool {
		return a.claims().Limits.Conn == 250 && a.prints("> max connections changed from unlimited to 250")
	})
	x.show("202 while approval is pending, then pull", func() bool {
		x.enrol(issuer.EnrolApproval)
		defer x.enrol(issuer.EnrolOpen)
		c := x.store("LATER")
		first := c.add() == 202 && c.exit == 0 && strings.Contains(c.printed[0], "[WARN]") && strings.Contains(c.said, "nsc pull") && c.claims().Issuer == c.id
		none := c.get(c.account()).status
		_, err := x.p.app.issuer.ApproveEnrolment(x.t.Context(), x.because(), "acme", c.id)
		must(x.t, err)
		x.p.app.resolver.Wake()
		return first && none == 404 && c.pull(true) && c.claims().Issuer != c.id
	})
	x.show("a name that is taken: refused, not stored", func() bool {
		c := x.store("ORDERS")
		return c.add() == 409 && c.said != "" && c.get(c.account()).status == 404
	})
}

// editAccount is nsc edit account, add mapping and edit authcallout.
func (x *nscReplay) editAccount() {
	a := x.orders
	x.show("edit account --description", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Description = "orders" }) == 200 && a.claims().Description == "orders"
	})
	x.show("edit account --conns: 200, the limit stays, and nsc tells", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Limits.Conn = 100_000 }) == 200 && a.claims().Limits.Conn == 250 &&
			a.prints("[ OK ] account server modifications:") && a.prints("> max connections changed from 100000 to 250")
	})
	x.show("edit account --tag", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Tags.Add("team:a") }) == 200 && a.claims().Tags.Contains("team:a")
	})
	x.show("the issue time is never older than what was posted, and always newer than before", func() bool {
		before := a.claims().IssuedAt
		token := a.edited(a.pair, func(c *jwt.AccountClaims) { c.InfoURL = "https://example.com" })
		posted, err := jwt.DecodeAccountClaims(token)
		must(x.t, err)
		return a.stores(token) == 200 && a.claims().IssuedAt > before && a.claims().IssuedAt >= posted.IssuedAt
	})
	x.show("an edit by a clock that is ahead: what comes back is not older, so nsc stores it", func() bool {
		token := a.edited(a.pair, func(c *jwt.AccountClaims) { c.InfoURL = "https://example.org" })
		ahead := a.claims().IssuedAt + 5
		ok := a.stores(repacked(x.t, token, a.pair, func(p map[string]any) { p["iat"] = ahead })) == 200
		return ok && a.claims().IssuedAt >= ahead && a.claims().InfoURL == "https://example.org"
	})
	x.show("edit authcallout, and without it again", func() bool {
		user, err := nkeys.CreateUser()
		must(x.t, err)
		id, err := user.PublicKey()
		must(x.t, err)
		on := a.edit(func(c *jwt.AccountClaims) { c.Authorization.AuthUsers.Add(id) }) == 200 && a.claims().Authorization.AuthUsers.Contains(id)
		return on && a.edit(func(c *jwt.AccountClaims) { c.Authorization = jwt.ExternalAuthorization{} }) == 200 && !a.claims().HasExternalAuthorization()
	})
	x.show("add mapping, edit account with default permissions", func() bool {
		return a.edit(func(c *jwt.AccountClaims) {
			c.Mappings = jwt.Mapping{"old": {{Subject: "new", Weight: 100}}}
			c.DefaultPermissions.Pub.Allow = jwt.StringList{"events.>", "hello"}
		}) == 200 && len(a.claims().Mappings) == 1 && a.claims().DefaultPermissions.Pub.Allow.Contains("hello")
	})
	x.show("delete mapping", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Mappings = jwt.Mapping{} }) == 200 && len(a.claims().Mappings) == 0
	})
}

// editSharing is nsc add export, delete export and revocations add_activation.
func (x *nscReplay) editSharing() {
	a := x.orders
	x.show("add export", func() bool {
		return a.edit(func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Name: "events", Subject: "events.>", Type: jwt.Stream, TokenReq: true})
		}) == 200 && len(a.claims().Exports) == 1
	})
	x.show("delete export and add it again", func() bool {
		e := a.claims().Exports[0]
		gone := a.edit(func(c *jwt.AccountClaims) { c.Exports = nil })
		return gone == 200 && len(a.claims().Exports) == 0 && a.edit(func(c *jwt.AccountClaims) { c.Exports.Add(e) }) == 200 && len(a.claims().Exports) == 1
	})
	x.show("revocations add_activation", func() bool {
		_, id := accountPair(x.t)
		return a.edit(func(c *jwt.AccountClaims) { c.Exports[0].Revoke(id) }) == 200 && len(a.claims().Exports[0].Revocations) == 1
	})
}

// generateActivation is nsc generate activation --push, and add import -u of its URL.
func (x *nscReplay) generateActivation() {
	a, b := x.orders, x.billing
	act := jwt.NewActivationClaims(b.id)
	act.ImportSubject, act.ImportType = "events.>", jwt.Stream
	token, err := act.Encode(a.pair)
	must(x.t, err)
	hash, err := act.HashID()
	must(x.t, err)
	x.activation = token
	x.show("generate activation --push", func() bool { return a.post(a.at("activations"), token).status == 200 })
	x.show("add import -u of the URL that nsc prints, with the = of the hash", func() bool {
		e := b.get(b.at("activations", hash))
		if !strings.HasSuffix(e.url, "=") || e.status != 200 || e.body != token || b.add() != 200 {
			return false
		}
		return b.edit(func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Name: "events", Subject: "events.>", Account: a.id, Type: jwt.Stream, Token: e.body})
		}) == 200 && len(b.claims().Imports) == 1
	})
	x.show("delete import and add it again", func() bool {
		i := b.claims().Imports[0]
		gone := b.edit(func(c *jwt.AccountClaims) { c.Imports = nil })
		return gone == 200 && len(b.claims().Imports) == 0 && b.edit(func(c *jwt.AccountClaims) { c.Imports.Add(i) }) == 200 && len(b.claims().Imports) == 1
	})
	x.show("describe jwt -f of an activation that is not there", func() bool {
		return x.get("/jwt/v1/activations/"+strings.Repeat("A", 52)+"====").status == 404
	})
	x.show("generate activation --push by an account that is not known", func() bool {
		kp, _ := accountPair(x.t)
		act := jwt.NewActivationClaims(b.id)
		act.ImportSubject, act.ImportType = "x", jwt.Stream
		token, err := act.Encode(kp)
		must(x.t, err)
		e := a.post(a.at("activations"), token)
		return e.status == 404 && e.body != ""
	})
}

// editSigningKey is nsc edit account --sk generate, and edit signing-key.
func (x *nscReplay) editSigningKey() {
	a := x.orders
	var keyID, scopedID string
	x.key, keyID = accountPair(x.t)
	x.scoped, scopedID = accountPair(x.t)
	x.show("edit account --sk generate", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(keyID) }) == 200 && a.claims().SigningKeys.Contains(keyID)
	})
	x.show("edit signing-key --role", func() bool {
		s := jwt.NewUserScope()
		s.Key, s.Role, s.Template.Pub.Allow = scopedID, "sensor", jwt.StringList{"sensor.>"}
		return a.edit(func(c *jwt.AccountClaims) { c.SigningKeys.AddScopedSigner(s) }) == 200 && a.claims().SigningKeys.Contains(scopedID)
	})
}

// renameAccount is nsc rename account.
func (x *nscReplay) renameAccount() {
	x.show("rename account: the name stays, with the command", func() bool {
		c := x.orders.copy()
		return c.edit(func(c *jwt.AccountClaims) { c.Name = "OTHER" }) == 409 && strings.Contains(c.said, "nsc pull -a ORDERS -F") && x.served() == x.orders.local
	})
}

// refusedEdit is an edit that is refused, and what nsc pull makes of the store that kept it.
func (x *nscReplay) refusedEdit() {
	a := x.orders
	c := a.copy()
	x.show("refused edit: what was refused is in the store all the same, and the command says how to be rid of it", func() bool {
		token := c.edited(c.pair, func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "bad subject", Type: jwt.Stream}) })
		newer := a.claims().IssuedAt + 1 // as the clock of a store is that rests between two edits
		status := c.stores(repacked(x.t, token, c.pair, func(p map[string]any) { p["iat"] = newer }))
		return status == 422 && c.exit == 1 && c.prints("> nsc pull -a ORDERS -F") && c.claims().Issuer == a.id
	})
	x.show("pull after it: what is served is older, and refused", func() bool {
		return !c.pull(false) && c.claims().Issuer == a.id && c.prints(`local jwt for "ORDERS" is newer than remote version - specify --overwrite-newer`)
	})
	x.show("pull -F after it: what is in force", func() bool { return c.pull(true) && c.local == a.local })
}

// bodies are what a POST may carry besides a bare JWT.
func (x *nscReplay) bodies() {
	a := x.orders
	x.show("a decorated JWT: refused in words", func() bool {
		e := a.copy().post(a.account(), "-----BEGIN NATS ACCOUNT JWT-----\n"+a.local+"\n------END NATS ACCOUNT JWT------\n")
		return e.status == 422 && strings.Contains(e.body, "decorated")
	})
	x.show("a trailing newline: taken, and served without it", func() bool {
		return a.copy().post(a.account(), a.local+"\n").status == 200 && x.served() == a.local
	})
	x.show("a body that is too long", func() bool {
		e := a.copy().post(a.account(), strings.Repeat("x", claims.MaxAccountJWT+2048))
		return e.status == 413 && strings.Contains(e.body, "1 MiB")
	})
	x.show("pull of an account that is not there: 404, and nothing is stored", func() bool {
		c := x.store("X")
		return !c.pull(false) && c.exit == 1 && c.local == ""
	})
}

// signers are who may sign an edit, and who may not.
func (x *nscReplay) signers() {
	a := x.orders
	x.show("a plain signing key that is stored may sign", func() bool {
		return a.editBy(x.key, func(c *jwt.AccountClaims) { c.Description = "by a key" }) == 200 && a.claims().Description == "by a key"
	})
	x.show("a scoped key may not", func() bool {
		c := a.copy()
		return c.editBy(x.scoped, func(c *jwt.AccountClaims) { c.Description = "by a role" }) == 403 && strings.Contains(c.said, "scoped")
	})
	x.show("a key that comes with the JWT may not", func() bool {
		c := a.copy()
		kp, id := accountPair(x.t)
		return c.editBy(kp, func(c *jwt.AccountClaims) { c.SigningKeys.Add(id) }) == 403 && !strings.Contains(c.said, "ORDERS")
	})
}

// strictOperator is an operator with strict signing key usage, for as long as it takes.
func (x *nscReplay) strictOperator() {
	x.strict(true)
	defer x.strict(false)
	x.show("strict, with a key: accepted", func() bool {
		return x.orders.editBy(x.key, func(c *jwt.AccountClaims) { c.Description = "strict" }) == 200
	})
	x.show("strict, without keys: the way out is signed by the account itself", func() bool {
		_, id := accountPair(x.t)
		b := x.billing
		return b.edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(id) }) == 200 && b.claims().SigningKeys.Contains(id)
	})
}

// revocations is nsc revocations add-user and delete-user, and what a store does that knows nothing of them.
func (x *nscReplay) revocations() {
	a := x.orders
	stale := a.copy()
	user, err := nkeys.CreateUser()
	must(x.t, err)
	userID, err := user.PublicKey()
	must(x.t, err)
	x.show("revocations add-user", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { c.Revoke(userID) }) == 200 && len(a.claims().Revocations) == 1
	})
	x.show("stale nsc push: an earlier JWT of the operator rolls nothing back, and the command is named", func() bool {
		c := stale.copy()
		return c.pushes() == 200 && c.local == stale.local && x.served() == a.local && c.prints("> nsc pull -a ORDERS -F")
	})
	x.show("pull after it: the revocation is there", func() bool {
		c := stale.copy()
		return c.pull(false) && c.local == a.local
	})
	x.show("stale nsc edit: the revocation stays, and that is said", func() bool {
		c := stale.copy()
		ok := c.edit(func(c *jwt.AccountClaims) { c.Description = "stale" }) == 200
		a.local = c.local
		return ok && len(c.claims().Revocations) == 1 && strings.Contains(c.said, "Revocations")
	})
	x.show("revocations delete-user: it stays, and that is said", func() bool {
		return a.edit(func(c *jwt.AccountClaims) { delete(c.Revocations, userID) }) == 200 && len(a.claims().Revocations) == 1 && strings.Contains(a.said, "lift")
	})
}

// deleteAccount is nsc delete account: a JWT that expires in a minute.
func (x *nscReplay) deleteAccount() {
	x.show("delete account: refused, with the way, and nothing expires", func() bool {
		c := x.orders.copy()
		status := c.edit(func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 60 })
		return status == 409 && strings.Contains(c.said, "deleted") && x.served() == x.orders.local
	})
}

// load is nsc load --profile, of which nsc makes the URL of the account by hand.
func (x *nscReplay) load() {
	a := x.orders
	x.show("load: GET the operator and the account, post the same JWT, GET it again", func() bool {
		c := a.copy()
		if x.get("/jwt/v1/operator").status != 200 {
			return false
		}
		e := c.get(c.asu + "/accounts/" + c.id)
		return e.status == 200 && c.stores(e.body) == 200 && c.local == e.body
	})
	x.show("load with a query in the account server URL: nsc's own URL is wrong, and finds no page", func() bool {
		return a.get(a.asu+"?x=y/accounts/"+a.id).status == 404
	})
}
