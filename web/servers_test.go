package web_test

import (
	"strings"
	"testing"
	"time"

	"chancery/issuer"
	"chancery/web"
)

// The servers of an operator: none yet, one, and one less than expected.
func TestServersPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	b.get("/servers").want(200).has("No server has answered", "chancery server-config acme", "resolver: URL(", "Set the addresses").hasNot("http-equiv=\"refresh\"")

	h.startNATS()
	h.awaitText(b, "/servers", "All 2 accounts are in effect")
	p := b.get("/servers?all=on").want(200).has("In step", "All 2 accounts are in effect on 1 server.", "nats-1", "ORDERS", "2 of 2", "No number of servers is expected", "Say that 1 server is expected")
	p.has(`http-equiv="refresh"`, "Stop that")
	b.get("/servers?live=off").want(200).has("Every account is in effect on every server that answers").hasNot(`http-equiv="refresh"`)
	b.get("/servers?q=nobody").want(200).has("No account matches")
	b.get("/servers?server=nats-1&state=error&all=on").want(200).has("No account matches")

	plan := b.submit(b.get("/operators/acme/push?account="+h.account).want(200)).want(200).has("ORDERS (1)", "nats-1")
	b.follow(b.submit(plan)).want(200).has("1 account is read back, and pushed where a server has something else.")
	b.submit(b.get("/operators/acme/push").want(200), "accounts", "NOBODY", "all", unchecked).want(404)

	_, err := h.issuer.UpdateOperator(t.Context(), op, "acme", func(e *issuer.OperatorEdit) { e.Policy.Servers = 2 })
	must(t, err)
	h.live.Wake()
	h.awaitText(b, "/servers", "1 server missing")
	p = b.get("/servers").want(200).has("1/2 servers", "1 server that is expected does not answer: nobody knows what is in force there.")
	p.hasNot("No number of servers is expected")
	h.awaitText(b, "/accounts/ORDERS", "In effect on 1 of 2 expected") // seen at the next poll
	b.get("/operators/acme").want(200).has("Servers expected")
	h.auditor().get("/servers").want(200).hasNot("Push again")
}

// awaitText returns when a page says so.
func (h *house) awaitText(b *browser, path, text string) {
	h.t.Helper()
	for until := time.Now().Add(patience); !strings.Contains(b.get(path).body, text); {
		if time.Now().After(until) {
			h.t.Fatalf("%s never says %q: %s", path, text, b.get(path).text())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
