package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/api"
)

// makeOrders makes the account, the template and the user of these tests.
func (p *plant) makeOrders() {
	p.t.Helper()
	p.call("POST", "/accounts", `{"name":"ORDERS"}`, nil)
	p.call("POST", "/accounts/ORDERS/templates", `{"name":"device","permissions":{
		"publish":{"allow":["devices.{{tag(region)}}.{{name()}}.>"],"deny":["devices.*.*.secret"]},
		"subscribe":{"allow":["devices.{{tag(region)}}.>","_INBOX.>"]}}}`, nil)
	p.call("POST", "/accounts/ORDERS/users", `{"name":"d1","template":"device","tags":["region:eu"]}`, nil)
}

func TestThreeServers(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(3)
		p.makeOrders()
		first, creds := p.issue()
		var live []*session
		for _, s := range p.running() {
			live = append(live, p.mustConnect(s, creds))
		}
		for i, c := range live {
			p.checkPermissions(c, live[(i+1)%len(live)])
		}

		for path, refused := range map[string]int{"/accounts/ORDERS/revocations/d1": 3, "/accounts/ORDERS/templates/device": 0} {
			method, body := "PUT", "{}"
			if refused == 0 {
				method, body = "PATCH", `{"limits":{"subscriptions":50}}`
			}
			if e := p.foretell(method, path, body); e.Closed != 3 || e.Refused != refused || e.AtMost != 3 || len(e.Reasons) != 1 {
				p.t.Errorf("%s would do %+v", path, e)
			}
		}

		var revoked struct {
			Sync struct {
				State    string `json:"state"`
				Total    int    `json:"servers_total"`
				InEffect int    `json:"servers_in_effect"`
			} `json:"sync"`
		}
		p.call("PUT", "/accounts/ORDERS/revocations/d1", `{"reason":"left"}`, &revoked)
		if revoked.Sync.State != "in_effect" || revoked.Sync.InEffect != 3 || revoked.Sync.Total != 3 {
			p.t.Errorf("the revocation is %+v", revoked.Sync)
		}
		for _, c := range live {
			c.mustClose(p.t)
		}
		for _, s := range p.running() {
			p.mustRefuse(s, creds)
		}

		p.stopServer(p.running()[0])
		restarted := p.startServer()
		p.awaitRoster(3)
		p.mustRefuse(restarted, creds)

		again, newCreds := p.issue()
		if again.PublicKey == first.PublicKey {
			p.t.Error("the new credential has the revoked key")
		}
		for _, s := range p.running() {
			p.mustConnect(s, newCreds)
			p.mustRefuse(s, creds)
		}
	})
}

// checkPermissions publishes through from and receives through to, another server.
func (p *plant) checkPermissions(from, to *session) {
	p.t.Helper()
	sub, err := to.SubscribeSync("devices.eu.>")
	must(p.t, err)
	must(p.t, to.Flush())
	defer func() { must(p.t, sub.Unsubscribe()) }()
	eventually(p.t, "an allowed message crosses the cluster", func() bool {
		must(p.t, from.Publish("devices.eu.d1.temp", []byte("21")))
		must(p.t, from.Flush())
		m, err := sub.NextMsg(50 * time.Millisecond)
		return err == nil && m.Subject == "devices.eu.d1.temp"
	})
	for _, denied := range []string{"devices.us.d1.temp", "devices.eu.d2.temp", "devices.eu.d1", "devices.eu.d1.secret", "orders"} {
		p.mustDeny(from, denied, func() error { return from.Publish(denied, nil) })
	}
	p.mustDeny(from, "subscribing to orders", func() error { _, err := from.SubscribeSync("orders"); return err })
}

func (p *plant) mustDeny(c *session, what string, try func() error) {
	p.t.Helper()
	must(p.t, try())
	must(p.t, c.Flush())
	select {
	case err := <-c.errs:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			p.t.Errorf("%s: %v", what, err)
		}
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s was allowed", what)
	}
}

func TestAColdAccountLoadsWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.makeOrders()
		p.startServers(1)
		_, creds := p.issue()
		p.stopDatabase()
		if err := p.app.store.Ping(t.Context()); err == nil {
			p.t.Fatal("the database still answers")
		}
		c := p.mustConnect(p.running()[0], creds)
		must(p.t, c.Publish("devices.eu.d1.temp", nil))
		must(p.t, c.Flush())
		// A server that starts now needs the system account and the bare path.
		s := p.startServer()
		p.mustConnect(s, creds)
	})
}

// foretell is what a dry run says of the live connections.
func (p *plant) foretell(method, path, body string) api.PlanEffect {
	p.t.Helper()
	var answer struct{ Plan api.Plan }
	// A server is on the roster a moment before it can be asked.
	eventually(p.t, "the plan knows the live connections", func() bool {
		p.call(method, path+"?dry_run=true", body, &answer)
		return answer.Plan.Effect != nil
	})
	if n := answer.Plan.Affected.LiveConnections; n == nil || *n != answer.Plan.Effect.AtLeast {
		p.t.Errorf("%s %s: the plan is %+v", method, path, answer.Plan)
	}
	return *answer.Plan.Effect
}

func TestLoweringConnectionsEvictsTheNewest(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.makeOrders()
		p.startServers(1)
		_, creds := p.issue()
		var all []*session
		for range 4 {
			all = append(all, p.mustConnect(p.running()[0], creds))
		}
		want := api.PlanEffect{Closed: 2, Refused: 2, AtLeast: 2, AtMost: 2, Reasons: []api.PlanReason{{
			Fate: "refused", Connections: 2, Why: "The account may have no more than 2 connections; the oldest stay.", ServerSays: "maximum account active connections exceeded",
		}}}
		if diff := cmp.Diff(want, p.foretell("PATCH", "/accounts/ORDERS", `{"limits":{"connections":2}}`)); diff != "" {
			p.t.Error(diff)
		}
		p.call("PATCH", "/accounts/ORDERS", `{"limits":{"connections":2}}`, nil)
		all[2].mustClose(p.t)
		all[3].mustClose(p.t)
		for i, c := range all[:2] {
			if err := c.FlushTimeout(30 * time.Second); err != nil {
				p.t.Errorf("connection %d, one of the oldest, was closed: %v", i, err)
			}
		}
	})
}

// TestNoServerGoesBack edits one account from several clients at once, while every
// server's copy is watched: its issue time must never decrease.
func TestNoServerGoesBack(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.makeOrders()
		p.startServers(3)
		_, creds := p.issue()
		var account struct {
			ID string `json:"id"`
		}
		p.call("GET", "/accounts/ORDERS", "", &account)
		for _, s := range p.running() {
			p.mustConnect(s, creds) // so that the account is loaded
		}
		const writers, edits = 4, 5
		stop := make(chan struct{})
		watched := make(chan error, 3)
		for _, s := range p.running() {
			go func() { watched <- neverBack(s, account.ID, stop) }()
		}
		failed := make(chan error, writers)
		for w := range writers {
			go func() {
				var err error
				for e := range edits {
					body := fmt.Sprintf(`{"limits":{"connections":%d}}`, 100+w*edits+e)
					if err = callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{"PATCH", "/accounts/ORDERS", body, ""}, nil); err != nil {
						break
					}
				}
				failed <- err
			}()
		}
		for range writers {
			must(p.t, <-failed)
		}
		var sync struct {
			State    string    `json:"state"`
			IssuedAt time.Time `json:"issued_at"`
		}
		p.call("GET", "/accounts/ORDERS/sync", "", &sync)
		close(stop)
		for range 3 {
			if err := <-watched; err != nil {
				p.t.Error(err)
			}
		}
		if sync.State != "in_effect" {
			p.t.Errorf("the account is %s", sync.State)
		}
		for _, s := range p.running() {
			if got := issuedAt(s, account.ID); got != sync.IssuedAt.Unix() {
				p.t.Errorf("%s holds iat %d, want %d", s.Name(), got, sync.IssuedAt.Unix())
			}
		}
	})
}

func neverBack(s *server.Server, account string, stop <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := int64(0)
	for {
		if now := issuedAt(s, account); now < last {
			return fmt.Errorf("%s went back from iat %d to %d", s.Name(), last, now)
		} else {
			last = now
		}
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}

// issuedAt returns the issue time of the account's JWT in the server's memory.
func issuedAt(s *server.Server, account string) int64 {
	z, err := s.Accountz(&server.AccountzOptions{Account: account})
	if err != nil || z.Account == nil || z.Account.Claim == nil {
		return 0
	}
	return z.Account.Claim.IssuedAt
}
