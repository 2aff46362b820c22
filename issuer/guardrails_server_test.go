package issuer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// What a prefix means to a client: on a real server the users that can be made under it reach nothing else, while
// the permissions that it refuses would. Responses are refused for a reason: who may answer publishes anywhere by
// asking itself.
func TestPrefixOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		guard := func(g claims.Guardrails) {
			o := op()
			o.ExpectedVersion = h.account(t, w.account.ID).Version
			did(h.SetAccountGuardrails(t.Context(), o, w.account.ID, g)).well(t)
		}
		responder := permissionsOf(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: 1} })
		member := func(name string, p *jwt.UserPermissionLimits, template string) (issuer.UserWithCredential, error) {
			in := issuer.UserInput{Name: name, Permissions: p, Template: template, Issue: &issuer.IssueInput{TTL: time.Hour}}
			out, err := h.CreateUser(t.Context(), op(), w.account.ID, in)
			return out.Value, err
		}
		before, err := member("before", responder, "")
		if err != nil {
			t.Fatal(err)
		}
		guard(claims.Guardrails{Subjects: []string{"orders.", claims.Inboxes}})
		if _, err := member("responder", responder, ""); !refusedBy(err, "account", "/permissions/responses") {
			t.Errorf("responses: %v", err)
		}
		in := issuer.TemplateInput{Body: claims.Template{Name: "mine", Permissions: claims.NewPermissionLimits()}}
		in.Body.Permissions.Pub.Allow = jwt.StringList{"orders.{{name()}}.>"}
		in.Body.Permissions.Sub.Allow = jwt.StringList{"orders.>", "_INBOX_{{name()}}.>"}
		did(h.CreateTemplate(t.Context(), op(), w.account.ID, in)).well(t)
		templated, err := member("templated", nil, "mine")
		if err != nil {
			t.Fatal(err)
		}
		own, err := member("own", permissionsOf(func(*jwt.UserPermissionLimits) {}), "")
		if err != nil {
			t.Fatal(err)
		}
		s := h.run(t, w)
		cases, kept := 0, 0
		for _, c := range []struct {
			who     issuer.UserWithCredential
			subject string
			allowed bool
		}{
			{own, "orders.new", true},
			{own, "billing.new", false},
			{own, "orders", false},
			{templated, "orders.templated.x", true},
			{templated, "billing.templated", false},
			{templated, "orders.own.x", false},
		} {
			cases++
			nc, err := connect(t, s, c.who.Issued.Creds)
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(nc.Publish(c.subject, nil), nc.FlushTimeout(patience))
			if denied := errors.Is(nc.LastError(), nats.ErrPermissionViolation); err != nil || denied == c.allowed {
				t.Errorf("%s publishes to %s: %v, %v", c.who.Name, c.subject, nc.LastError(), err)
				continue
			}
			kept++
		}
		cases++
		nc, err := connect(t, s, before.Issued.Creds)
		if err != nil {
			t.Fatal(err)
		}
		if asks(t, nc) {
			kept++
		} else {
			t.Error("who may answer could not publish to a subject of its choice: the guardrail need not care")
		}
		t.Logf("%d of %d as the prefix says", kept, cases)
	})
}

// asks tells whether a user who may answer on orders can publish outside by asking itself.
func asks(t *testing.T, nc *nats.Conn) bool {
	t.Helper()
	asked, err := nc.SubscribeSync("orders.new")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nc.PublishRequest("orders.new", "billing.secret", nil), nc.FlushTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := asked.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nc.Publish("billing.secret", []byte("here")), nc.FlushTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	return nc.LastError() == nil
}
