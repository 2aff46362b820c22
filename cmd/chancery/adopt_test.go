package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// TestAdoptAndKick has somebody with a key that the servers trust push a newer JWT, and then one of the same second as ours:
// until somebody decides, nobody is told that ours is in effect; what is adopted is then, signed by us. It also closes a
// client's connection by the API, which the client feels.
func TestAdoptAndKick(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "sqlite")
	pair, err := nkeys.CreateOperator()
	must(t, err)
	key, err := pair.PublicKey()
	must(t, err)
	p.call("POST", "/operators/acme/signing-keys", `{"public_key":"`+key+`","make_current":false}`, nil)
	p.operator, err = p.app.issuer.GetOperator(t.Context(), issuer.System("test"), "acme") // which the servers trust from their start on
	must(t, err)
	p.makeOrders()
	p.startServers(2)
	first := p.running()[0]
	_, creds := p.issue()
	clients := []*session{p.mustConnect(first, creds), p.mustConnect(p.running()[1], creds)}

	var list struct {
		Items []struct {
			ServerID string `json:"server_id"`
			CID      uint64 `json:"cid"`
			Account  string `json:"account"`
		} `json:"items"`
	}
	eventually(t, "the client is on the list", func() bool {
		p.call("GET", "/connections?account=ORDERS", "", &list)
		return len(list.Items) == len(clients) && list.Items[0].Account == "ORDERS"
	})
	for _, c := range list.Items {
		p.call("DELETE", fmt.Sprintf("/connections/%s/%d?reason=a+drill", c.ServerID, c.CID), "", nil)
	}
	for _, c := range clients {
		c.mustClose(t)
	}
	again := p.mustConnect(first, creds) // it keeps nobody out

	p.call("POST", "/accounts/SYS/users", `{"name":"tool","permissions":{"publish":{"allow":["$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"]},"subscribe":{"allow":["_INBOX.>"]}}}`, nil)
	var tool issued
	p.call("POST", "/accounts/SYS/users/tool/credentials", "{}", &tool)
	path := t.TempDir() + "/tool.creds"
	must(t, writeSecret(path, claims.NewSecret(tool.Creds)))
	rival := p.mustConnect(first, path)
	for n, later := range []int64{1, 0} {
		p.adopted(pair, rival, n+1, later)
	}
	if err := again.FlushTimeout(30 * time.Second); err != nil {
		t.Errorf("a client with good credentials was closed: %v", err)
	}
}

// adopted has a rival push ORDERS with n connections more than 6, signed some seconds later than ours, and adopts that; it is
// the nth drift.
func (p *plant) adopted(pair nkeys.KeyPair, rival *session, n int, later int64) {
	t := p.t
	t.Helper()
	p.call("PATCH", "/accounts/ORDERS", `{"description":"ours"}`, nil)
	current := func() *jwt.AccountClaims {
		t.Helper()
		a, err := p.app.issuer.GetAccount(t.Context(), issuer.System("test"), "ORDERS")
		must(t, err)
		c, err := jwt.DecodeAccountClaims(a.JWT)
		must(t, err)
		return c
	}
	theirs := current()
	theirs.Description, theirs.Limits.Conn = "theirs", int64(6+n)
	at := theirs.IssuedAt + later
	token, err := theirs.Encode(pair) // which makes it the issuer
	must(t, err)
	token = repacked(t, token, pair, func(c map[string]any) { c["iat"] = at })
	_, err = rival.Request("$SYS.REQ.ACCOUNT."+theirs.Subject+".CLAIMS.UPDATE", []byte(token), 30*time.Second)
	must(t, err)

	type drift struct{ ID, Kind, State string }
	var drifts struct{ Items []drift }
	latest := func() drift {
		p.call("GET", "/operators/acme/drifts", "", &drifts)
		if len(drifts.Items) != n {
			return drift{}
		}
		return drifts.Items[0]
	}
	eventually(t, "the drift is on record", func() bool { d := latest(); return d.Kind == "foreign_newer" && d.State == "open" })
	var sync struct {
		State   string
		Servers []struct{ State, Error string }
	}
	defer func() {
		if t.Failed() {
			t.Logf("drift %+v, sync %+v", drifts, sync)
		}
	}()
	eventually(t, "nobody is told that ours is in effect", func() bool {
		must(t, callAPI(t.Context(), p.app.cfg.publicURL, p.token, request{"GET", "/accounts/ORDERS/sync", "", ""}, &sync)) // without waiting for it
		return sync.State == "error" && len(sync.Servers) == 2 && sync.Servers[0].State == "error" && sync.Servers[1].State == "error"
	})
	p.call("POST", "/drifts/"+latest().ID+"/decision", `{"decision":"adopt","reason":"they know better"}`, nil)
	eventually(t, "it is adopted on the servers", func() bool { return latest().State == "adopted" })
	eventually(t, "it is in effect", func() bool {
		p.call("GET", "/accounts/ORDERS/sync", "", &sync)
		return sync.State == "in_effect"
	})
	now := current()
	if now.Description != "theirs" || now.Limits.Conn != theirs.Limits.Conn || now.Issuer == theirs.Issuer || now.IssuedAt <= at {
		t.Errorf("adopted is %q with %d connections, signed by %s, %d s after theirs", now.Description, now.Limits.Conn, now.Issuer, now.IssuedAt-at)
	}
}
