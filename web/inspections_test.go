package web_test

import (
	"net/url"
	"strings"
	"testing"

	"chancery/claims"
	"chancery/issuer"
	"chancery/web"
)

func TestInspector(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		d1 := h.user("d1")
		token := d1.Issued.JWT.Reveal()
		b := h.signedIn()
		b.get("/inspect").want(200).has("Read and explain", "Who may do what", "neither stored nor logged", "Who may subscribe to everything?")

		p := b.post("/inspect", url.Values{"jwt": {token}, "host": {"127.0.0.1"}, "type": {"STANDARD"}}).want(200)
		p.has("User d1", "Nothing speaks against this connection", "Chain of trust", "ORDERS", "acme", "by its key for device", "Trusted", "A trusted operator signed the account",
			"What it may really do", "devices.<wbr>eu.<wbr>d1.>", "devices.<wbr>{{tag(region)}}.<wbr>{{name()}}.>", "The claims", "region:eu")

		if _, err := h.issuer.Revoke(t.Context(), op, h.account, issuer.RevokeInput{Subject: "d1"}); err != nil {
			t.Fatal(err)
		}
		p = b.post("/inspect", url.Values{"jwt": {token}, "host": {"127.0.0.1"}, "type": {"STANDARD"}}).want(200)
		p.has("A server refuses this connection", "The user is not revoked", "In the server's log", "User authentication revoked")

		account, err := h.issuer.GetAccount(t.Context(), op.Caller, h.account)
		must(t, err)
		b.post("/inspect", url.Values{"jwt": {account.JWT}}).want(200).has("Account ORDERS", "Trusted", "unlimited").hasNot("The server's checks")
		if strings.Contains(h.log.String(), token) || strings.Contains(h.log.String(), account.JWT) {
			t.Error("the log holds what was inspected")
		}
	})
}

// What cannot be read is said beside its field; a seed that arrives is not shown again.
func TestInspectorRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	d1 := h.user("d1")
	creds, token := d1.Issued.Creds.Reveal(), d1.Issued.JWT.Reveal()
	_, seed, err := claims.ParseCreds(d1.Issued.Creds)
	must(t, err)
	b := h.signedIn()
	b.post("/inspect", url.Values{"jwt": {creds}}).want(422).has("private key (seed) and was thrown away").hasNot(seed.Reveal(), token)
	b.post("/inspect", url.Values{"jwt": {""}}).want(422).has("Paste a JWT or a creds file.")
	b.post("/inspect", url.Values{"jwt": {"nonsense"}}).want(422).has("The document holds no JWT.")
	b.post("/inspect", url.Values{"jwt": {token[:len(token)-4] + "AAAA"}}).want(422).has("The signature of the JWT is wrong")
	b.post("/inspect", url.Values{"jwt": {token}, "host": {"localhost"}}).want(422).has("The client's host is an IP address")
	b.post("/inspect", url.Values{"jwt": {token}, "type": {"PIGEON"}}).want(422).has("Choose one of the entries.")
	b.post("/inspect", url.Values{"jwt": {token}, "at": {"yesterday"}}).want(422).has("Write the time as")
	b.post("/inspect", url.Values{"jwt": {strings.Repeat("x", 3<<20)}}).want(413).has("longer than 2 MiB")
	if strings.Contains(h.log.String(), seed.Reveal()) {
		t.Error("the log holds the seed")
	}
}

func TestWhoMay(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.get("/inspect/can?op=publish&subject=a").want(200).has("There is no user yet.")
		for _, name := range []string{"d1", "d2"} {
			h.user(name)
		}
		b.get("/inspect/can?op=publish&subject=devices.eu.d1.temp").want(200).has("Who may publish to devices.eu.d1.temp?", "ORDERS/d1", "Allowed", "ORDERS/d2", "Denied", "Closest")
		b.get("/inspect/can?op=publish&subject=devices.eu.d1.temp&as=ORDERS/d1").want(200).has("May ORDERS/d1 publish to devices.eu.d1.temp?", "Allowed").hasNot("ORDERS/d2")
		b.get("/inspect/can?op=subscribe&subject=cmd.d1&queue=q&as=ORDERS%2Fd2").want(200).has("in the queue group q", "Denied")
		b.get("/accounts/ORDERS/users/d1").want(200).has(`href="/inspect/can?as=ORDERS%2Fd1"`)
		b.get("/inspect/can?as=ORDERS%2Fd1").want(200).has(`value="ORDERS/d1"`)
		b.get("/inspect/can?op=publish&subject=").want(422).has("Name a subject.")
		b.get("/inspect/can?op=publish&subject=orders.%3E").want(422)
		b.get("/inspect/can?op=sing&subject=a").want(422).has("Choose one of the entries.")
		b.get("/inspect/can?op=publish&subject=a&as=d1").want(422).has("such as ORDERS/d1")
		b.get("/inspect/can?op=publish&subject=a&as=ORDERS/nobody").want(422).has("There is no such user.")
		b.get("/inspect/can?op=publish&subject=a&after=AAAA").want(200)
		h.auditor().get("/inspect/can?op=publish&subject=a").want(200).has("ORDERS/d1")
	})
}

func TestWhoMayInPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	for i := range 60 {
		_, err := h.issuer.CreateUser(t.Context(), op, h.account, issuer.UserInput{Name: "u" + string(rune('a'+i/10)) + string(rune('0'+i%10)), Template: "device", Tags: []string{"region:eu"}})
		must(t, err)
	}
	b := h.signedIn()
	first := b.get("/inspect/can?op=publish&subject=devices.eu.ub3.x").want(200).has("ORDERS/ua0", "ORDERS/ue9", "Next page").hasNot("ORDERS/uf0", "Back to the start")
	_, rest, _ := strings.Cut(first.body, `class="next" href="`)
	next, _, _ := strings.Cut(rest, `"`)
	b.get(strings.ReplaceAll(next, "&amp;", "&")).want(200).has("ORDERS/uf0", "ORDERS/uf9", "Back to the start").hasNot("ORDERS/ue9", "Next page")
}
