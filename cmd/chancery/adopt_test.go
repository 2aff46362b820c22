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

// TestAdoptAndKick has somebody with a key that the servers trust push a newer JWT: until
// somebody decides, nobody is told that ours is in effect; what is adopted is then, signed
// by us. It also closes a client's connection by the API, which the client feels.
func TestAdoptAndKick(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "sqlite")
	pair, err := nkeys.CreateOperator()
	must(t, err)
	key, err := pair.PublicKey()
	must(t, err)
	p.call("POST", "/operators/acme/signing-keys", `{"public_key":"`+key+`","make_current":false}`, nil)
	p.makeOrders()
	p.startServers(2)
	first := p.running()[0]
	_, creds := p.issue()
	client := p.mustConnect(first, creds)

	var list struct {
		Items []struct {
			ServerID string `json:"server_id"`
			CID      uint64 `json:"cid"`
			Account  string `json:"account"`
		} `json:"items"`
	}
	eventually(t, "the client is on the list", func() bool {
		p.call("GET", "/connections?account=ORDERS", "", &list)
		return len(list.Items) == 1 && list.Items[0].Account == "ORDERS"
	})
	p.call("DELETE", fmt.Sprintf("/connections/%s/%d?reason=a+drill", list.Items[0].ServerID, list.Items[0].CID), "", nil)
	client.mustClose(t)
	again := p.mustConnect(first, creds) // it keeps nobody out

	// Somebody else signs a newer one.
	type account struct {
		ID          string `json:"id"`
		JWT         string `json:"jwt"`
		Description string `json:"description"`
	}
	var ours account
	p.call("PATCH", "/accounts/ORDERS", `{"description":"ours"}`, &ours)
	p.call("GET", "/accounts/ORDERS", "", &ours)
	served, err := p.app.issuer.GetAccount(t.Context(), issuer.System("test"), "ORDERS")
	must(t, err)
	theirs, err := jwt.DecodeAccountClaims(served.JWT)
	must(t, err)
	theirs.Description, theirs.Limits.Conn = "theirs", 7
	for last := theirs.IssuedAt; time.Now().Unix() <= last; {
		<-time.After(20 * time.Millisecond) // Encode stamps whole seconds
	}
	token, err := theirs.Encode(pair)
	must(t, err)
	p.call("POST", "/accounts/SYS/users", `{"name":"tool","permissions":{"publish":{"allow":["$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"]},"subscribe":{"allow":["_INBOX.>"]}}}`, nil)
	var tool issued
	p.call("POST", "/accounts/SYS/users/tool/credentials", "{}", &tool)
	path := t.TempDir() + "/tool.creds"
	must(t, writeSecret(path, claims.NewSecret(tool.Creds)))
	_, err = p.mustConnect(first, path).Request("$SYS.REQ.ACCOUNT."+served.ID+".CLAIMS.UPDATE", []byte(token), 5*time.Second)
	must(t, err)

	var drifts struct {
		Items []struct {
			ID, Kind, State, Decision string
		} `json:"items"`
	}
	eventually(t, "the drift is on record", func() bool {
		p.call("GET", "/operators/acme/drifts", "", &drifts)
		return len(drifts.Items) == 1 && drifts.Items[0].Kind == "foreign_newer" && drifts.Items[0].State == "open"
	})
	var sync struct {
		State   string `json:"state"`
		Servers []struct {
			State string `json:"state"`
		} `json:"servers"`
	}
	eventually(t, "nobody is told that ours is in effect", func() bool {
		p.call("GET", "/accounts/ORDERS/sync", "", &sync)
		return sync.State == "error" && len(sync.Servers) == 2 && sync.Servers[0].State == "error" && sync.Servers[1].State == "error"
	})
	p.call("POST", "/drifts/"+drifts.Items[0].ID+"/decision", `{"decision":"adopt","reason":"they know better"}`, nil)
	eventually(t, "the drift is adopted", func() bool {
		p.call("GET", "/operators/acme/drifts", "", &drifts)
		return len(drifts.Items) == 1 && drifts.Items[0].State == "adopted"
	})
	eventually(t, "it is in effect", func() bool {
		p.call("GET", "/accounts/ORDERS/sync", "", &sync)
		return sync.State == "in_effect"
	})
	p.call("GET", "/accounts/ORDERS", "", &ours)
	served, err = p.app.issuer.GetAccount(t.Context(), issuer.System("test"), "ORDERS")
	must(t, err)
	now, err := jwt.DecodeAccountClaims(served.JWT)
	must(t, err)
	if ours.Description != "theirs" || now.Limits.Conn != 7 || now.Issuer == key || now.IssuedAt <= theirs.IssuedAt {
		t.Errorf("adopted is %q with %d connections, signed by %s", ours.Description, now.Limits.Conn, now.Issuer)
	}
	if err := again.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("a client with good credentials was closed: %v", err)
	}
}
