package web_test

import (
	"context"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/web"
)

// patience bounds what must happen; a test never waits that long when it passes.
const patience = 20 * time.Second

// startNATS starts a real nats-server of the operator, which resolves through the
// house, and returns when the control plane sees it. stop may be called more than once.
func (h *house) startNATS() (stop func()) {
	h.t.Helper()
	o, err := h.issuer.GetOperator(h.t.Context(), op.Caller, h.operator)
	must(h.t, err)
	claims, err := jwt.DecodeOperatorClaims(o.JWT)
	must(h.t, err)
	accounts, err := server.NewURLAccResolver(h.front.URL + "/jwt/v1/accounts/")
	must(h.t, err)
	s, err := server.NewServer(&server.Options{
		ServerName: "nats-1", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{claims}, SystemAccount: claims.SystemAccount, AccountResolver: accounts,
	})
	must(h.t, err)
	s.Start()
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	// Before the server goes, or reconnecting to it would hold up the end.
	h.t.Cleanup(func() { h.live.Stop(); stop() })
	if !s.ReadyForConnections(patience) {
		h.t.Fatal("the nats-server did not become ready")
	}
	url := s.ClientURL()
	h.nats.Store(&url)
	h.live.Wake()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for {
		sync, err := h.live.Wait(ctx, h.account, 1)
		must(h.t, err)
		if sync.Done() {
			return stop
		}
		if ctx.Err() != nil {
			h.t.Fatalf("the control plane does not see the server: %+v", sync)
		}
	}
}

// credsFile saves the credentials that a page shows.
func credsFile(p page) string {
	p.t.Helper()
	m := regexp.MustCompile(`(?s)<pre id="creds"[^>]*>(.*?)</pre>`).FindStringSubmatch(p.body)
	if m == nil {
		p.t.Fatalf("%s shows no credentials: %s", p.url, p.text())
	}
	file := filepath.Join(p.t.TempDir(), "user.creds")
	must(p.t, os.WriteFile(file, []byte(html.UnescapeString(m[1])), 0o600))
	return file
}

// connect connects with a creds file; closed tells when the server ended it.
func (h *house) connect(creds string) (nc *nats.Conn, closed <-chan struct{}) {
	h.t.Helper()
	over := make(chan struct{})
	nc, err := nats.Connect(*h.nats.Load(), nats.UserCredentials(creds), nats.Name("checkout"), nats.ReconnectWait(20*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(over) }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(h.t, err)
	h.t.Cleanup(nc.Close)
	return nc, over
}

// The whole loop by hand: issue, connect, revoke, proof, refused, issue again.
func TestLoop(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.startNATS()
		b := h.signedIn()
		b.get("/accounts").want(200).has("1 server", "In effect on 1/1")

		secret := b.submit(b.get("/accounts/ORDERS/users/new?template=device"), "name", "d1", "tag.region", "eu").want(200)
		secret.has("nats --server "+*h.nats.Load()+" --creds acme-ORDERS-d1.creds account info", "nats.Connect")
		creds := credsFile(secret)
		nc, closed := h.connect(creds)
		must(t, nc.Flush())

		const user = "/accounts/ORDERS/users/d1"
		b.get(user).want(200).has("checkout", "nats-1", "Active")
		plan := b.submit(b.get(user+"/revoke"), "reason", "laptop lost").want(200)
		plan.has("1 live connection will be refused", "1 credential stops working", "1 server is told", "nats-1")
		proof := b.follow(b.submit(plan)).want(200)
		proof.has("Proven: in effect on 1 of 1 server, 0 connections left.", "nats-1", "In effect", "laptop lost", "ada", "Connections left: 0", "Nobody is connected.", "accepted again")
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("the client is still connected")
		}
		if _, err := nats.Connect(*h.nats.Load(), nats.UserCredentials(creds), nats.MaxReconnects(0)); err == nil {
			t.Fatal("revoked credentials connect")
		}
		b.get(user).want(200).has("Revoked", "Proof of the revocation")

		again, _ := h.connect(credsFile(b.submit(b.get(user + "/issue")).want(200)))
		must(t, again.Flush())
		b.get(user).want(200).has("Active", "Revoked", "checkout")
		// Who came in with new credentials is no connection left over.
		b.get(user+"/revocation").want(200).has("Proven", "0 connections left")
	})
}

// A limit below the live connections says beforehand who is thrown out.
func TestLimitEvicts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.startNATS()
	b := h.signedIn()
	creds := credsFile(b.submit(b.get("/accounts/ORDERS/users/new?template=device"), "name", "d1", "tag.region", "eu").want(200))
	h.connect(creds)
	_, closed := h.connect(creds)
	plan := b.submit(b.get("/accounts/ORDERS/limits"), "connections", "1").want(200).has("1 live connection will be refused", "are refused",
		"The account may have no more than 1 connection; the oldest stay.", "maximum account active connections exceeded")
	b.follow(b.submit(plan)).want(200).has("The limits of ORDERS were changed.", "In effect on 1/1")
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("the connection above the limit is still there")
	}
	if got := b.get("/accounts/ORDERS/users/d1").want(200); strings.Count(got.body, "<code>127.0.0.1") > 1 {
		t.Errorf("more connections than the limit: %s", got.text())
	}
}
