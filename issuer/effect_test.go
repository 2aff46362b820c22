package issuer_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// stage is a real server with the world's account on it, and an issuer that asks that server for connections.
type stage struct {
	*house
	issuer *issuer.Issuer
	world  world
	server *server.Server
	admin  *nats.Conn
	creds  []claims.Secret
}

func newStage(t *testing.T, h *house) *stage {
	t.Helper()
	h.advance(time.Since(h.time())) // a server has its own clock
	s := &stage{house: h, world: h.furnishAs(t, "live", "LIVE")}
	bearer := ownPermissions()
	bearer.BearerToken = true
	bob := did(h.CreateUser(t.Context(), op(), s.world.account.ID, issuer.UserInput{Name: "bob", Permissions: bearer, Issue: &issuer.IssueInput{}})).well(t)
	device, ada := s.world.device.Issued.Creds, s.world.ada.Issued.Creds
	s.creds = []claims.Secret{device, ada, device, bob.Issued.Creds}
	s.server = h.run(t, s.world)
	system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
	if err != nil {
		t.Fatal(err)
	}
	if s.admin, err = connect(t, s.server, system.Creds); err != nil {
		t.Fatal(err)
	}
	config := h.config(h.store, h.kek)
	config.Connections = func(_ context.Context, account string) ([]claims.Connection, error) { return s.listed(t, account), nil }
	if s.issuer, err = issuer.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return s
}

// listed is the account's connections as the server lists them.
func (s *stage) listed(t *testing.T, account string) []claims.Connection {
	t.Helper()
	page, err := s.server.Connz(&server.ConnzOptions{Username: true, Account: account})
	if err != nil {
		t.Fatal(err)
	}
	var out []claims.Connection
	for _, c := range page.Conns {
		out = append(out, claims.Connection{
			CID: c.Cid, ServerID: s.server.ID(), UserKey: c.AuthorizedUser, IssuerKey: c.IssuerKey, Host: c.IP, Type: c.Type, Since: c.Start,
			Subscriptions: int64(c.NumSubs), User: claims.NewConnectedUser(c.JWT),
		})
	}
	return out
}

// client is a connection with the credential that it came with.
type client struct {
	*nats.Conn
	creds  claims.Secret
	closed chan struct{}
}

// enter connects with each credential that still works.
func (s *stage) enter(t *testing.T) map[uint64]*client {
	t.Helper()
	clients := map[uint64]*client{}
	for _, creds := range s.creds {
		c := &client{creds: creds, closed: make(chan struct{})}
		var err error
		if c.Conn, err = connect(t, s.server, creds, nats.ClosedHandler(func(*nats.Conn) { close(c.closed) })); err != nil {
			continue
		}
		id, err := c.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		clients[id] = c
	}
	return clients
}

// leave returns when the server has forgotten the clients.
func (s *stage) leave(t *testing.T, clients map[uint64]*client) {
	t.Helper()
	for _, c := range clients {
		c.Close()
	}
	for end := time.Now().Add(patience); len(s.listed(t, s.world.account.ID)) > 0; {
		if time.Now().After(end) {
			t.Fatal("the server still lists who left")
		}
	}
}

func (s *stage) account(t *testing.T, edit func(*issuer.AccountEdit)) func(issuer.Op) (issuer.Plan, error) {
	return func(op issuer.Op) (issuer.Plan, error) {
		out, err := s.issuer.UpdateAccount(t.Context(), op, s.world.account.ID, edit)
		return out.Plan, err
	}
}

func (s *stage) template(t *testing.T, edit func(*jwt.UserPermissionLimits)) func(issuer.Op) (issuer.Plan, error) {
	return func(op issuer.Op) (issuer.Plan, error) {
		out, err := s.issuer.UpdateTemplate(t.Context(), op, s.world.account.ID, "device", func(in *issuer.TemplateInput) { edit(&in.Body.Permissions) })
		return out.Plan, err
	}
}

func (s *stage) revoke(t *testing.T, subject string) func(issuer.Op) (issuer.Plan, error) {
	return func(op issuer.Op) (issuer.Plan, error) {
		out, err := s.issuer.Revoke(t.Context(), op, s.world.account.ID, issuer.RevokeInput{Subject: subject})
		return out.Plan, err
	}
}

// What a dry run says of the live connections is what the same change then does to them on a real server.
func TestPlanComesTrue(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		s := newStage(t, h)
		for _, step := range []struct {
			name   string
			change func(issuer.Op) (issuer.Plan, error)
			// back undoes it for the next step.
			back func(*issuer.AccountEdit)
			// closed and refused are how many of four clients, or of those that are left.
			closed, refused int
			path, text      string
		}{
			{"an edit of a template", s.template(t, func(p *jwt.UserPermissionLimits) { p.Pub.Allow.Add("x") }), nil, 2, 0, "/permissions/pub/allow/1", "Template device: may now publish x"},
			{"fewer connections", s.account(t, func(a *issuer.AccountEdit) { a.Limits.Conn = 1 }), func(a *issuer.AccountEdit) { a.Limits.Conn = -1 }, 3, 3, "/limits/conn", "Connections: unlimited → 1"},
			{"no bearers", s.account(t, func(a *issuer.AccountEdit) { a.Limits.DisallowBearer = true }), func(a *issuer.AccountEdit) { a.Limits.DisallowBearer = false }, 1, 1, "/limits/disallow_bearer", "Bearer tokens refused: off → on"},
			{"a description", s.account(t, func(a *issuer.AccountEdit) { a.Description = "x" }), nil, 0, 0, "/description", "Description: x"},
			{"a revocation", s.revoke(t, "d1"), nil, 2, 2, "/revocations/" + s.world.device.Issued.PublicKey, ""},
			{"a revocation of everybody", s.revoke(t, issuer.Everybody), nil, 2, 2, "/revocations/*", ""},
		} {
			clients := s.enter(t)
			h.advance(time.Since(h.time())) // nobody connects after the revocation's time
			plan, err := step.change(dryRun())
			if err != nil || plan.Blast == nil || len(plan.Blast.Impacts) != len(clients) {
				t.Fatalf("%s: %+v, %v", step.name, plan, err)
			}
			if b := plan.Blast; b.Closed != step.closed || b.Refused != step.refused || b.Uncertain != 0 || plan.Connections != step.closed {
				t.Errorf("%s: predicted %+v", step.name, b)
			}
			if c := plan.Changes; len(c) != 1 || c[0].Path != step.path || c[0].Text == "" || step.text != "" && c[0].Text != step.text {
				t.Errorf("%s: %+v", step.name, c)
			}
			if _, err := step.change(op()); err != nil {
				t.Fatal(err)
			}
			h.push(t, s.admin, s.world.account.ID)
			for _, x := range plan.Blast.Impacts {
				s.happens(t, step.name, clients[x.Connection.CID], x)
			}
			if step.back != nil {
				if _, err := s.account(t, step.back)(op()); err != nil {
					t.Fatal(err)
				}
				h.push(t, s.admin, s.world.account.ID)
			}
			s.leave(t, clients)
		}
	})
}

// happens compares a prediction with what becomes of the client.
func (s *stage) happens(t *testing.T, step string, c *client, x claims.Impact) {
	t.Helper()
	if x.Fate == claims.FateStays {
		if err := c.FlushTimeout(patience); err != nil {
			t.Errorf("%s: closed, predicted to stay: %v", step, err)
		}
		return
	}
	select {
	case <-c.closed:
	case <-time.After(patience):
		t.Errorf("%s: open, predicted %+v", step, x.Effect)
	}
	again, err := connect(t, s.server, c.creds)
	if (err == nil) != (x.Fate == claims.FateReconnects) {
		t.Errorf("%s: connecting again: %v, predicted %+v", step, err, x.Effect)
	}
	if err == nil {
		again.Close()
	}
}
