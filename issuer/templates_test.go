package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// serviceTemplate lets its users publish to what is named.
func serviceTemplate(name string, publish ...string) issuer.TemplateInput {
	p := claims.NewPermissionLimits()
	p.Pub.Allow, p.Sub.Allow = publish, jwt.StringList{"_INBOX.>"}
	return issuer.TemplateInput{Body: claims.Template{Name: name, Permissions: p}}
}

func (h *house) newAccount(t testing.TB, operator, name string) issuer.Account {
	t.Helper()
	return did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: operator, Name: name, Settings: claims.NewAccountSettings()})).well(t)
}

// member makes a user of the template with a credential.
func (h *house) member(t testing.TB, account, template, name string, tags ...string) claims.Secret {
	t.Helper()
	out := did(h.CreateUser(t.Context(), op(), account, issuer.UserInput{Name: name, Template: template, Tags: tags, Issue: &issuer.IssueInput{TTL: time.Hour}})).well(t)
	return out.Issued.Creds
}

// serving is a real server of an operator with accounts, as they are now.
func (h *house) serving(t *testing.T, operator issuer.Operator, accounts ...string) (*server.Server, *nats.Conn) {
	t.Helper()
	s := h.run(t, world{operator: operator, account: h.account(t, accounts[0])})
	system, err := h.SystemCredential(t.Context(), op(), operator.ID, "this test")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := connect(t, s, system.Creds)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts[1:] {
		if err := s.AccountResolver().Store(a, h.account(t, a).JWT); err != nil {
			t.Fatal(err)
		}
	}
	return s, admin
}

// publishes tells whether the holder of the credential may publish to the subject.
func publishes(t *testing.T, s *server.Server, creds claims.Secret, subject string) bool {
	t.Helper()
	nc, err := connect(t, s, creds)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(subject, nil); err != nil {
		t.Fatal(err)
	}
	_ = nc.FlushTimeout(patience)
	if err := nc.LastError(); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatal(err)
	}
	return nc.LastError() == nil
}

// An edit of a shared template reaches its users in every account, although the upkeep is stopped after the first
// hundred accounts: who comes next goes on with the rest.
func TestSharedTemplateReachesAllAccounts(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.advance(time.Since(h.time())) // a server has its own clock
		o := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "live"})).well(t)
		shared := did(h.CreateSharedTemplate(t.Context(), op(), "live", serviceTemplate("service", "orders.new"))).well(t)
		if shared.AccountID != "" || len(shared.Keys) != 0 {
			t.Errorf("%+v", shared)
		}
		const accounts = 203
		var ids []string
		creds := map[string]claims.Secret{}
		for n := range accounts {
			a := h.newAccount(t, "live", fmt.Sprintf("A%d", n))
			ids = append(ids, a.ID)
			if n < 3 {
				creds[a.ID] = h.member(t, a.ID, "service", "svc")
				continue
			}
			if out := did(h.UseTemplate(t.Context(), op(), a.ID, "service")).well(t); len(out.Keys) != 1 {
				t.Fatalf("%+v", out)
			}
		}
		s, admin := h.serving(t, o, ids[:3]...)
		for id, c := range creds {
			if !publishes(t, s, c, "orders.new") || publishes(t, s, c, "orders.paid") {
				t.Errorf("before the edit, %s", id)
			}
		}

		edit := func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow = jwt.StringList{"orders.paid"} }
		plan := did(h.UpdateSharedTemplate(t.Context(), dryRun(), "live", "service", edit))
		plan.well(t)
		if want := (issuer.TemplateUse{Accounts: accounts, Users: 3, Credentials: 3}); plan.Plan.Reach == nil || plan.Plan.Reach.TemplateUse != want {
			t.Errorf("%+v", plan.Plan.Reach)
		}
		did(h.UpdateSharedTemplate(t.Context(), op(), "live", "service", edit)).well(t)
		owing := func() int64 {
			x, err := h.GetSharedTemplate(t.Context(), owner, "live", "service")
			if err != nil {
				t.Fatal(err)
			}
			return x.Use.Owing
		}
		if n := owing(); n != accounts {
			t.Errorf("%d accounts owe a signature", n)
		}
		// The process ends as soon as one batch is stored.
		ctx, end := context.WithCancel(t.Context())
		h.store.OnCommit(end)
		if err := h.Upkeep(ctx); err == nil {
			t.Error("the upkeep came to its end")
		}
		if n := owing(); n != accounts-200 {
			t.Errorf("after the first batch %d accounts owe a signature", n)
		}
		next := h.open(t, h.store, h.kek)
		if err := next.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := owing(); n != 0 {
			t.Errorf("%d accounts still owe a signature", n)
		}
		for _, id := range ids {
			a := decode[*jwt.AccountClaims](t, h.account(t, id).JWT)
			carried := 0
			for _, scope := range a.SigningKeys {
				if s, ok := scope.(*jwt.UserScope); ok && s != nil && s.Role == "service" && cmp.Equal([]string(s.Template.Pub.Allow), []string{"orders.paid"}) {
					carried++
				}
			}
			if carried != 1 {
				t.Errorf("account %s carries the new template %d times", a.Name, carried)
			}
		}
		for id, c := range creds {
			h.push(t, admin, id)
			if publishes(t, s, c, "orders.new") || !publishes(t, s, c, "orders.paid") {
				t.Errorf("after the edit, %s", id)
			}
		}
	})
}

// A shared template and one of an account cannot have the same name, in whatever order they come.
func TestTemplateNamesAreNotShadowed(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		if _, err := h.CreateSharedTemplate(t.Context(), op(), "acme", deviceTemplate()); wants(t, err, issuer.KindConflict).Code != "name_taken" {
			t.Error(err)
		}
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate("service", "a"))).well(t)
		if _, err := h.CreateTemplate(t.Context(), op(), "ORDERS", serviceTemplate("service", "b")); wants(t, err, issuer.KindConflict).Code != "name_taken" {
			t.Error(err)
		}
		rename := func(name string) func(*issuer.TemplateInput) {
			return func(in *issuer.TemplateInput) { in.Body.Name = name }
		}
		_, err := h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", rename("service"))
		wants(t, err, issuer.KindConflict)
		_, err = h.UpdateSharedTemplate(t.Context(), op(), "acme", "service", rename("device"))
		wants(t, err, issuer.KindConflict)
		// What is shared is changed and deleted at the operator only.
		_, err = h.UpdateTemplate(t.Context(), op(), "ORDERS", "service", rename("x"))
		if wants(t, err, issuer.KindConflict).Code != "shared_template" {
			t.Error(err)
		}
		_, err = h.DeleteTemplate(t.Context(), op(), "ORDERS", "service")
		if wants(t, err, issuer.KindConflict).Code != "shared_template" {
			t.Error(err)
		}
		// Another operator's accounts do not see it.
		h.furnishAs(t, "other", "ELSEWHERE")
		_, err = h.GetTemplate(t.Context(), owner, "ELSEWHERE", "service")
		wants(t, err, issuer.KindNotFound)
		_, err = h.CreateUser(t.Context(), op(), "ELSEWHERE", issuer.UserInput{Name: "x", Template: "service"})
		wants(t, err, issuer.KindInvalid)
		_, err = h.UseTemplate(t.Context(), op(), "ELSEWHERE", "service")
		wants(t, err, issuer.KindNotFound)
		_ = w
	})
}

// The name is the role in the account's JWT, so a new name is signed; users stay.
func TestRenameTemplate(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		out := did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Name = "sensor" })).well(t)
		if out.Body.Name != "sensor" || out.ID != w.template.ID {
			t.Errorf("%+v", out)
		}
		a := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		scope, ok := a.SigningKeys[w.template.Keys[0].ID].(*jwt.UserScope)
		if !ok || scope.Role != "sensor" {
			t.Errorf("%+v", scope)
		}
		_, err := h.GetTemplate(t.Context(), owner, "ORDERS", "device")
		wants(t, err, issuer.KindNotFound)
		did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{TTL: time.Hour})).well(t)
		for _, name := range []string{"", ">", "*", "a/b", "x\u200b", strings.Repeat("x", 65), w.account.ID} {
			_, err := h.UpdateTemplate(t.Context(), op(), "ORDERS", out.ID, func(in *issuer.TemplateInput) { in.Body.Name = name })
			if name != ">" { // no subject holds it
				wants(t, err, issuer.KindInvalid)
			}
		}
	})
}

// A stored test that fails keeps the template from being saved, in whatever way it is saved.
func TestFailingTestsBlock(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		tests := []claims.TemplateTest{{As: claims.TestUser{Name: "d1", Tags: []string{"region:eu"}}, CanPublish: []string{"devices.eu.d1.temp"}, CannotPublish: []string{"devices.us.d1.temp"}, CanSubscribe: []string{"cmd.d1"}}}
		keep := did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Tests = tests })).well(t)
		if keep.Version != 2 || len(keep.Results) != 3 || h.account(t, "ORDERS").JWTVersion != w.accountVersion(t, h) {
			t.Errorf("%+v", keep)
		}
		version := h.account(t, "ORDERS").JWTVersion
		blocked := func(err error, pointers ...string) {
			t.Helper()
			e := wants(t, err, issuer.KindInvalid)
			var got []string
			for _, p := range e.Problems {
				if p.Code == "test_failed" {
					got = append(got, p.Pointer)
				}
			}
			if e.Code != "template_tests_failed" || !cmp.Equal(pointers, got) {
				t.Errorf("%v: %v", err, got)
			}
		}
		h.unchanged(t, func() {
			_, err := h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) {
				in.Body.Permissions.Pub.Allow = jwt.StringList{"devices.us.{{name()}}.>"}
			})
			blocked(err, "/tests/0/can_publish/0", "/tests/0/cannot_publish/0")
			in := serviceTemplate("new", "a")
			in.Tests = tests
			_, err = h.CreateTemplate(t.Context(), op(), "ORDERS", in)
			blocked(err, "/tests/0/can_publish/0", "/tests/0/can_subscribe/0")
			_, err = h.CreateSharedTemplate(t.Context(), op(), "acme", in)
			blocked(err, "/tests/0/can_publish/0", "/tests/0/can_subscribe/0")
			// A preview says the same and blocks nothing.
			x, err := h.PreviewTemplate(t.Context(), owner, issuer.PreviewInput{
				Ref: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ORDERS"}, Template: "device"}, User: "d1",
				Edit: func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow = jwt.StringList{"devices.us.>"} },
			})
			if err != nil || len(claims.Failures(x.Results)) != 2 || len(x.Effective.Publish.Allow) != 1 || x.For.Key != w.device.Issued.PublicKey {
				t.Errorf("%+v, %v", x, err)
			}
		})
		// Tests are no part of the key: nothing was signed for them.
		if got := h.account(t, "ORDERS").JWTVersion; got != version {
			t.Errorf("version %d, want %d", got, version)
		}
		// What passes in one account may fail in another: a copy is tested where it goes.
		in := serviceTemplate("site", "sites.{{account-tag(site)}}.>")
		in.Tests = []claims.TemplateTest{{As: claims.TestUser{Name: "x"}, CanPublish: []string{"sites.b1.x"}}}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Tags.Add("site:b1") })).well(t)
		did(h.CreateTemplate(t.Context(), op(), "ORDERS", in)).well(t)
		h.newAccount(t, "acme", "OTHER")
		orders := issuer.TemplateHome{Account: "ORDERS"}
		_, err := h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: orders, Template: "site"}, To: issuer.TemplateHome{Account: "OTHER"}})
		blocked(err, "/tests/0/can_publish/0")
		// At the operator the tests keep the account that they were about.
		copied := did(h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: orders, Template: "site"}, To: issuer.TemplateHome{Operator: "acme"}, Name: "sites"})).well(t)
		if as := copied.Tests[0].As; as.Account != "ORDERS" || !cmp.Equal(as.AccountTags, []string{"site:b1"}) || copied.AccountID != "" {
			t.Errorf("%+v", as)
		}
	})
}

// accountVersion is how often the furnished account was signed: with its template and since.
func (w world) accountVersion(t testing.TB, h *house) int64 {
	t.Helper()
	return decodeVersion(t, h, w.account.ID)
}

func decodeVersion(t testing.TB, h *house, account string) int64 {
	t.Helper()
	var n int64
	h.in(t, func(ctx context.Context, tx *store.Tx) error {
		a, err := tx.GetAccount(ctx, account)
		n = a.JWTVersion
		return err
	})
	return n
}

// A copy works where it went: in another account, and in another operator's.
func TestClonedTemplateOnServer(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.advance(time.Since(h.time())) // a server has its own clock
		h.furnish(t)
		o := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "live"})).well(t)
		a := h.newAccount(t, "live", "ONE")
		b := h.newAccount(t, "live", "TWO")
		device := issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ORDERS"}, Template: "device"}
		first := did(h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: device, To: issuer.TemplateHome{Account: a.ID}})).well(t)
		if len(first.Keys) != 1 || first.OperatorID != o.ID || first.MaxTTL != 24*time.Hour {
			t.Errorf("%+v", first)
		}
		did(h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: device, To: issuer.TemplateHome{Operator: "live"}, Name: "gauge"})).well(t)
		did(h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Operator: "live"}, Template: "gauge"}, To: issuer.TemplateHome{Account: b.ID}, Name: "probe"})).well(t)
		creds := []claims.Secret{h.member(t, a.ID, "device", "d1", "region:eu"), h.member(t, b.ID, "gauge", "d1", "region:eu"), h.member(t, b.ID, "probe", "d2", "region:eu")}
		s, _ := h.serving(t, o, a.ID, b.ID)
		for n, subject := range []string{"devices.eu.d1.temp", "devices.eu.d1.temp", "devices.eu.d2.temp"} {
			if !publishes(t, s, creds[n], subject) || publishes(t, s, creds[n], "devices.us.d1.temp") {
				t.Errorf("%d: the copy does not hold", n)
			}
		}
		_, err := h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: device, To: issuer.TemplateHome{Account: a.ID}})
		wants(t, err, issuer.KindConflict)
	})
}

// A template is deleted once nobody uses it; then its key is gone from the account.
func TestDeleteTemplate(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		_, err := h.DeleteTemplate(t.Context(), op(), "ORDERS", "device")
		if e := wants(t, err, issuer.KindConflict); e.Code != "template_in_use" || !strings.Contains(e.Message, "1 user") {
			t.Errorf("%+v", e)
		}
		did(h.CreateTemplate(t.Context(), op(), "ORDERS", serviceTemplate("idle", "a"))).well(t)
		x, err := h.GetTemplate(t.Context(), owner, "ORDERS", "idle")
		if err != nil {
			t.Fatal(err)
		}
		did(h.DeleteTemplate(t.Context(), op(), "ORDERS", "idle")).well(t)
		a := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		if _, there := a.SigningKeys[x.Keys[0].ID]; there {
			t.Error("the account still lists the key of the deleted template")
		}
		_, err = h.GetTemplate(t.Context(), owner, "ORDERS", x.ID)
		wants(t, err, issuer.KindNotFound)
		did(h.CreateTemplate(t.Context(), op(), "ORDERS", serviceTemplate("idle", "b"))).well(t)

		// Credentials of users that are gone hold it up, until somebody says so.
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate("service", "a"))).well(t)
		h.member(t, "ORDERS", "service", "gone")
		h.raw.Run(t, `UPDATE users SET deleted_us = 1 WHERE name = 'gone'`)
		_, err = h.DeleteSharedTemplate(t.Context(), op(), "acme", "service")
		if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardKeyInUse {
			t.Errorf("%+v", e)
		}
		force := op()
		force.Override = []issuer.Guard{issuer.GuardKeyInUse}
		did(h.DeleteSharedTemplate(t.Context(), force, "acme", "service")).well(t)
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		a = decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		for _, scope := range a.SigningKeys {
			if s, ok := scope.(*jwt.UserScope); ok && s != nil && s.Role == "service" {
				t.Error("the account still carries the deleted template")
			}
		}
	})
}

// An edit that puts into subjects what users do not have is refused where a server would refuse them, and is a
// warning where it would only drop the rule; users of other accounts count too.
func TestEditHurtsUsers(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate("service", "a"))).well(t)
		h.newAccount(t, "acme", "OTHER")
		h.member(t, "ORDERS", "service", "one", "region:eu")
		h.member(t, "OTHER", "service", ">") // harmless as long as no subject holds it
		h.member(t, "OTHER", "service", "three")
		for name, c := range map[string]struct {
			edit func(*jwt.Permissions)
			code string
			// blocks tells whether it is refused; otherwise it is a warning.
			blocks bool
			says   string
		}{
			"a name":               {func(p *jwt.Permissions) { p.Pub.Allow.Add("x.{{name()}}") }, "not_a_token", true, "1 user of the template, OTHER/>: "},
			"a tag to deny":        {func(p *jwt.Permissions) { p.Pub.Deny.Add("x.{{tag(region)}}") }, "missing_tag", true, "2 users of the template, such as OTHER/"},
			"a tag to allow":       {func(p *jwt.Permissions) { p.Pub.Allow.Add("x.{{tag(region)}}") }, "missing_tag", false, "2 users of the template, such as OTHER/"},
			"an account's tag":     {func(p *jwt.Permissions) { p.Sub.Deny.Add("x.{{account-tag(site)}}") }, "missing_tag", true, "3 users of the template"},
			"too many at a time":   {func(p *jwt.Permissions) { p.Sub.Allow.Add("x.{{nope()}}") }, "", true, ""},
			"a literal is no harm": {func(p *jwt.Permissions) { p.Sub.Allow.Add("x.y") }, "", false, ""},
		} {
			out, err := h.UpdateSharedTemplate(t.Context(), dryRun(), "acme", "service", func(in *issuer.TemplateInput) { c.edit(&in.Body.Permissions.Permissions) })
			problems := out.Plan.Warnings
			if (err != nil) != c.blocks {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil {
				problems = wants(t, err, issuer.KindInvalid).Problems
			}
			if c.code == "" {
				continue
			}
			if len(problems) != 1 || problems[0].Code != c.code || !strings.Contains(problems[0].Detail, c.says) {
				t.Errorf("%s: %+v", name, problems)
			}
		}
	})
}

// The operator's policy refuses bearer templates wherever one could come in.
func TestNoBearerTemplates(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		bearer := serviceTemplate("bearer", "a")
		bearer.Body.Permissions.BearerToken = true
		h.furnishAs(t, "other", "ELSEWHERE")
		did(h.CreateTemplate(t.Context(), op(), "ELSEWHERE", bearer)).well(t)
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", func() issuer.TemplateInput { in := bearer; in.Body.Name = "old"; return in }())).well(t)
		h.raw.Run(t, `UPDATE operators SET policy = '{"no_bearer":true}' WHERE name = 'acme'`)
		for name, f := range map[string]func() error{
			"create": func() error { _, err := h.CreateTemplate(t.Context(), op(), "ORDERS", bearer); return err },
			"share":  func() error { _, err := h.CreateSharedTemplate(t.Context(), op(), "acme", bearer); return err },
			"update": func() error {
				_, err := h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.BearerToken = true })
				return err
			},
			"clone": func() error {
				_, err := h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ELSEWHERE"}, Template: "bearer"}, To: issuer.TemplateHome{Account: "ORDERS"}})
				return err
			},
			"use": func() error { _, err := h.UseTemplate(t.Context(), op(), "ORDERS", "old"); return err },
			"user": func() error {
				_, err := h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "b", Template: "old"})
				return err
			},
		} {
			e := wants(t, f(), issuer.KindInvalid)
			if len(e.Problems) == 0 || e.Problems[0].Code != claims.OutsideGuardrails {
				t.Errorf("%s: %+v", name, e)
			}
		}
		_ = w
	})
}

// What a dry run says of the connections of a shared template's users is what happens once the upkeep has signed.
func TestSharedPlanComesTrue(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		s := newStage(t, h)
		did(h.CreateSharedTemplate(t.Context(), op(), "live", serviceTemplate("service", "orders.new"))).well(t)
		s.creds = []claims.Secret{h.member(t, s.world.account.ID, "service", "svc"), s.world.ada.Issued.Creds}
		if err := s.server.AccountResolver().Store(s.world.account.ID, h.account(t, "LIVE").JWT); err != nil {
			t.Fatal(err)
		}
		clients := s.enter(t)
		edit := func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow.Add("orders.paid") }
		out, err := s.issuer.UpdateSharedTemplate(t.Context(), dryRun(), "live", "service", edit)
		if err != nil || out.Plan.Blast == nil || len(out.Plan.Blast.Impacts) != 2 || len(clients) != 2 {
			t.Fatalf("%d clients, %+v, %+v, %v", len(clients), out.Plan.Reach, out.Plan.Blast, err)
		}
		if p := out.Plan; p.Connections != 1 || p.Blast.Closed != 1 || p.Blast.Refused != 0 || p.Reach.Asked != 1 || p.Reach.Accounts != 1 {
			t.Errorf("%+v %+v", p.Blast, p.Reach)
		}
		if _, err := s.issuer.UpdateSharedTemplate(t.Context(), op(), "live", "service", edit); err != nil {
			t.Fatal(err)
		}
		if err := s.issuer.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.push(t, s.admin, s.world.account.ID)
		for _, x := range out.Plan.Blast.Impacts {
			s.happens(t, "a shared edit", clients[x.Connection.CID], x)
		}
	})
}

// An edit that puts names into subjects and a user with a name that is no token come at the same time: one of the two
// is refused, always.
func TestSharedEditAgainstNewUser(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for n := range 8 {
			name := fmt.Sprintf("t%d", n)
			did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate(name, "a"))).well(t)
			did(h.UseTemplate(t.Context(), op(), "ORDERS", name)).well(t)
			h.advance(5 * time.Second)
			var edited, made error
			var both sync.WaitGroup
			both.Go(func() {
				_, edited = h.UpdateSharedTemplate(t.Context(), op(), "acme", name, func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow = jwt.StringList{"a.{{name()}}"} })
			})
			both.Go(func() {
				_, made = h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: fmt.Sprintf("u.%d", n), Template: name})
			})
			both.Wait()
			if (edited == nil) == (made == nil) {
				t.Errorf("the edit: %v; the user: %v", edited, made)
			}
			for _, err := range []error{edited, made} {
				if err != nil && issuer.AsError(err).Kind != issuer.KindInvalid && issuer.AsError(err).Kind != issuer.KindBusy {
					t.Error(err)
				}
			}
		}
	})
}
