package resolver_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestConnections lists the clients of one account on all servers, page by page,
// and makes no server load the account.
func TestConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Page: 2})
	servers := w.serve(3)
	a, b := w.account("a"), w.account("b")
	ua, ub := w.user(a, "ua"), w.user(b, "ub")
	want := []claims.Connection{}
	for i, n := range []int{0, 0, 0, 0, 0, 1} {
		name := "client-" + string(rune('a'+i))
		w.connect(servers[n], ua, nats.Name(name))
		want = append(want, claims.Connection{
			ServerID: servers[n].ID(), ServerName: servers[n].Name(), UserKey: ua.id, IssuerKey: a.id,
			Client: name, Host: "127.0.0.1", Type: "nats", Lang: "go", Version: nats.Version,
			User: &claims.ConnectedUser{Name: "ua", Subscriptions: -1},
		})
	}
	w.connect(servers[2], ub)
	got, err := r.Connections(t.Context(), a.id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(claims.Connection{}, "CID", "Since", "InMsgs", "OutMsg"), cmpopts.IgnoreFields(claims.ConnectedUser{}, "IssuedAt")); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	for _, c := range got {
		if c.CID == 0 || time.Since(c.Since) > patience || time.Since(time.Unix(c.User.IssuedAt, 0)) > patience {
			t.Errorf("connection %+v", c)
		}
	}
	if held := w.held(servers[2], a); held != "" {
		t.Error("listing connections made a server load the account")
	}
	_, stranger := newPair(t, claims.KindAccount)
	if _, err := r.Connections(t.Context(), stranger); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("connections of an unknown account: %v", err)
	}
	idle := w.account("idle")
	if got, err := r.Connections(t.Context(), idle.id); err != nil || len(got) != 0 {
		t.Errorf("connections of an idle account: %v, %v", got, err)
	}
	r.Stop()
	if _, err := r.Connections(t.Context(), a.id); !errors.Is(err, resolver.ErrNotConnected) {
		t.Errorf("connections without servers: %v", err)
	}
}

// TestConnectionsOfOtherKinds lists a leaf node, of which there may be no client
// beside, and a bearer, whose JWT a server keeps to itself.
func TestConnectionsOfOtherKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	hub := w.serverWith("hub", func(o *server.Options) { o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: -1} })
	w.await(1)
	a := w.account("a")
	node := w.user(a, "node")
	listens, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true,
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{
			URLs: []*url.URL{{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(listens.LeafNode.Port))}},
			SignatureCB: func(nonce []byte) (string, []byte, error) {
				signature, err := node.pair.Sign(nonce)
				return node.token, signature, err
			},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf.Start()
	t.Cleanup(func() { leaf.Shutdown(); leaf.WaitForShutdown() })
	eventually(t, "the leaf node is connected", func() bool { return hub.NumLeafNodes() == 1 })
	got, err := r.Connections(t.Context(), a.id)
	if err != nil || len(got) != 1 || got[0].Type != claims.TypeLeaf || got[0].UserKey != node.id || got[0].User == nil || got[0].User.Name != "node" {
		t.Fatalf("the leaf node is listed as %+v, %v", got, err)
	}

	pair, id := newPair(t, claims.KindUser)
	c := jwt.NewUserClaims(id)
	c.BearerToken = true
	token, err := c.Encode(a.pair)
	if err != nil {
		t.Fatal(err)
	}
	bearer := w.connect(hub, user{id: id, token: token, pair: pair})
	if _, err := bearer.SubscribeSync("x"); err != nil {
		t.Fatal(err)
	}
	if err := bearer.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err = r.Connections(t.Context(), a.id)
	if err != nil || len(got) != 2 || got[1].UserKey != id || got[1].User != nil || got[1].Subscriptions != 1 {
		t.Errorf("the bearer is listed as %+v, %v", got, err)
	}
}

// TestListingConnectionsLoads holds the reason why Connections asks for INFO first.
func TestListingConnectionsLoads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	a := w.account("a")
	if w.held(n1, a) != "" {
		t.Fatal("the account is loaded already")
	}
	if _, err := w.tool(n1).Request("$SYS.REQ.ACCOUNT."+a.id+".CONNZ", nil, patience); err != nil {
		t.Fatal(err)
	}
	if w.held(n1, a) == "" {
		t.Error("a nats-server no longer loads an account to list its connections; asking for INFO first may go")
	}
}

func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	_, stranger := newPair(t, claims.KindAccount)
	if _, err := r.Sync(t.Context(), stranger); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("sync: %v", err)
	}
	if _, err := r.Wait(t.Context(), stranger, 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("wait: %v", err)
	}
	if r.Servers("nobody") != nil {
		t.Error("an unknown operator has servers")
	}
}

// TestSystemPermissions holds the list, and that what is not on it is refused. That
// everything works with it is held by all other tests: they connect with it.
func TestSystemPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	a := w.account("a")
	permissions := resolver.SystemPermissions()
	want := jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{
			"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.*.ACCOUNTZ", "$SYS.REQ.SERVER.*.VARZ", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.ACCOUNT.*.CLAIMS.UPDATE",
			"$SYS.REQ.ACCOUNT.*.INFO", "$SYS.REQ.ACCOUNT.*.CONNZ", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.CLAIMS.PACK",
			"$SYS.REQ.SERVER.*.KICK", "$SYS._INBOX.>",
		}},
		Sub: jwt.Permission{Allow: jwt.StringList{
			"_INBOX.>", "$SYS.SERVER.*.STATSZ", "$SYS.SERVER.*.SHUTDOWN", "$SYS.SERVER.*.LAMEDUCK",
			"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE",
			"$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", "$SYS.REQ.CLAIMS.PACK", "$SYS.REQ.ACCOUNT.*.CONNS",
			"$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.CLIENT.AUTH.ERR", "$SYS.ACCOUNT.*.SERVER.CONNS",
		}},
	}
	if diff := cmp.Diff(want, permissions); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	refused := make(chan string, 10)
	c := w.connect(n1, w.userWith(w.system, "chancery", permissions), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		refused <- err.Error()
	}))
	server, account := "$SYS.REQ.SERVER."+n1.ID()+".", "$SYS.REQ.ACCOUNT."+a.id+"."
	denied := []string{
		server + "RELOAD", server + "LDM", server + "CONNZ", server + "ROUTEZ", server + "GATEWAYZ", server + "LEAFZ", server + "SUBSZ",
		server + "STATSZ", server + "JSZ", server + "HEALTHZ", server + "PROFILEZ", server + "EXPVARZ", server + "IPQUEUESZ", server + "RAFTZ", server + "IDZ",
		"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.STATSZ", "$SYS.REQ.SERVER.PING.PROFILEZ",
		"$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.UPDATE", account + "SUBSZ", account + "LEAFZ", account + "JSZ", account + "STATZ", account + "CONNS", "$SYS.REQ.ACCOUNT.PING.STATZ",
		"$SYS.REQ.ACCOUNT.NSUBS", "$SYS.REQ.USER.INFO", "$SYS.REQ.JS.RELOAD", "$SYS.SERVER." + n1.ID() + ".SHUTDOWN", "$SYS.SERVER." + n1.ID() + ".STATSZ",
		"$SYS.ACCOUNT." + a.id + ".CONNECT", "$SYS.ACCOUNT." + a.id + ".DISCONNECT", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE." + a.id, "anything.else",
	}
	for _, subject := range denied {
		if err := c.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publishing "+subject, subject)
	}
	listened := []string{">", "$SYS.>", "$SYS.REQ.>", "$SYS.ACCOUNT.>", "$SYS.SERVER.>", "$SYS.REQ.USER.AUTH", "$SYS.REQ.ACCOUNT.*.INFO", "$SYS._INBOX.>"}
	for _, subject := range listened {
		if _, err := c.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "subscribing to "+subject, subject)
	}
	t.Logf("%d of %d subjects refused to publish to, %d of %d to subscribe to", len(denied), len(denied), len(listened), len(listened))
}

func wantRefusal(t *testing.T, refused <-chan string, what, subject string) {
	t.Helper()
	select {
	case msg := <-refused:
		if !strings.Contains(strings.ToLower(msg), "permissions violation") || !strings.Contains(msg, subject) {
			t.Errorf("%s: %s", what, msg)
		}
	case <-time.After(patience):
		t.Errorf("%s is allowed", what)
	}
}

// TestServerAnswers holds the answers of a nats-server that the code relies on.
func TestServerAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{})
	n1 := w.serve(1)[0]
	loaded, cold := w.account("loaded"), w.account("cold")
	w.connect(n1, w.user(loaded, "u"))
	c := w.tool(n1)
	ask := func(subject, body string) (out map[string]any) {
		t.Helper()
		m, err := c.Request(subject, []byte(body), patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, &out); err != nil {
			t.Fatal(err)
		}
		server, _ := out["server"].(map[string]any)
		if server["id"] != n1.ID() || server["name"] != "n1" {
			t.Errorf("%s: answered by %v", subject, server)
		}
		return out
	}
	update := func(id, token string) (data, failure map[string]any) {
		t.Helper()
		out := ask("$SYS.REQ.ACCOUNT."+id+".CLAIMS.UPDATE", token)
		data, _ = out["data"].(map[string]any)
		failure, _ = out["error"].(map[string]any)
		return data, failure
	}
	for _, x := range []struct{ id, token, message string }{
		{loaded.id, w.token(loaded), "jwt updated"},
		{cold.id, w.token(cold), "jwt update skipped"},
	} {
		if data, failure := update(x.id, x.token); data["code"] != 200.0 || data["message"] != x.message || failure != nil {
			t.Errorf("update: %v %v, want %s", data, failure, x.message)
		}
	}
	for _, x := range []struct{ id, token, message string }{
		{loaded.id, w.token(cold), "jwt update resulted in error - subject does not match jwt content"},
		{loaded.id, "", "jwt update error - request body is empty"},
		{cold.id, "x", "jwt update resulted in error - expected 3 chunks"},
	} {
		if data, failure := update(x.id, x.token); failure["code"] != 500.0 || failure["description"] != x.message || data != nil {
			t.Errorf("update: %v %v, want %s", data, failure, x.message)
		}
	}
	info := ask("$SYS.REQ.ACCOUNT."+loaded.id+".INFO", "")
	if data, _ := info["data"].(map[string]any); data["jwt"] != w.token(loaded) || data["client_connections"] != 1.0 {
		t.Errorf("info of a loaded account: %v", info)
	}
	info = ask("$SYS.REQ.ACCOUNT."+cold.id+".INFO", "")
	if failure, _ := info["error"].(map[string]any); failure["description"] != "Account "+cold.id+" does not exist" {
		t.Errorf("info of a cold account: %v", info)
	}
	accounts := ask("$SYS.REQ.SERVER."+n1.ID()+".ACCOUNTZ", "")
	data, _ := accounts["data"].(map[string]any)
	list, _ := data["accounts"].([]any)
	has := map[any]bool{}
	for _, id := range list {
		has[id] = true
	}
	if !has[loaded.id] || !has[w.system.id] || has[cold.id] {
		t.Errorf("accounts: %v", list)
	}
}
