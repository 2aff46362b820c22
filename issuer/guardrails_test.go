package issuer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// guard sets the guardrails of an operator or account, as whoever administers it.
func (h *house) guard(t testing.TB, level string, g claims.Guardrails) issuer.Guardrails {
	t.Helper()
	o := op()
	if level == "operator" {
		o.ExpectedVersion = h.operator(t, "acme").Version
		return did(h.SetOperatorGuardrails(t.Context(), o, "acme", g)).well(t)
	}
	o.ExpectedVersion = h.account(t, "ORDERS").Version
	return did(h.SetAccountGuardrails(t.Context(), o, "ORDERS", g)).well(t)
}

// permissionsOf returns permissions that f made.
func permissionsOf(f func(p *jwt.UserPermissionLimits)) *jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	p.Pub.Allow, p.Sub.Allow = jwt.StringList{"orders.new"}, jwt.StringList{"orders.>", "_INBOX.>"}
	f(&p)
	return &p
}

// outsider is a house with something outside of everything: a user and templates of its account, and of others.
type outsider struct {
	*house
	world
	// link makes a credential of the user later, credential is one that its holder has.
	link       claims.Secret
	holder     holder
	credential issuer.Issued
}

// newOutsider makes an outsider whose permissions are p.
func newOutsider(t testing.TB, h *house, w world, p *jwt.UserPermissionLimits) *outsider {
	t.Helper()
	x := &outsider{house: h, world: w, holder: newHolder(t)}
	in := issuer.TemplateInput{Body: claims.Template{Name: "wide", Permissions: *p}}
	h.furnishAs(t, "other", "ELSEWHERE")
	neighbour := claims.NewAccountSettings()
	neighbour.Tags = jwt.TagList{"owner:x"}
	did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: "NEIGHBOUR", Settings: neighbour})).well(t)
	did(h.CreateExport(t.Context(), op(), "ORDERS", jwt.Export{Subject: "old.>", Type: jwt.Stream})).well(t)
	did(h.CreateTemplate(t.Context(), op(), "ELSEWHERE", in)).well(t)
	for _, name := range []string{"shared", "carried"} {
		in.Body.Name = name
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", in)).well(t)
	}
	did(h.UseTemplate(t.Context(), op(), "ORDERS", "carried")).well(t)
	in.Body.Name = "own"
	did(h.CreateTemplate(t.Context(), op(), "ORDERS", in)).well(t)
	h.raw.Run(t, `UPDATE operators SET policy = '{"renewal_percent":90}' WHERE name = 'acme'`)
	for _, u := range []issuer.UserInput{
		{Name: "wide", Permissions: p}, {Name: "templated", Template: "own"},
	} {
		u.Issue = &issuer.IssueInput{TTL: 3 * time.Hour}
		if u.Name == "wide" {
			u.Issue.PublicKey, u.Issue.Proof = x.holder.key, h.proof(t, x.holder)
		}
		made := did(h.CreateUser(t.Context(), op(), "ORDERS", u)).well(t)
		if u.Name == "wide" {
			x.credential = *made.Issued
		}
	}
	x.link = did(h.Issue(t.Context(), op(), "ORDERS", "wide", issuer.IssueInput{TTL: 2 * time.Hour, Delivery: issuer.DeliverLink})).well(t).Link
	return x
}

// entryPoint is one way in which something could be made.
type entryPoint struct {
	name string
	do   func(t *testing.T, x *outsider, op issuer.Op) error
	// pointer is where the refusal points to.
	pointer string
	// only is the level that can refuse it; empty for both.
	only string
}

// templating are the entry points of a template with these permissions; pointer is what is wrong with them.
func templating(p *jwt.UserPermissionLimits, pointer string) []entryPoint {
	in := issuer.TemplateInput{Body: claims.Template{Name: "another", Permissions: *p}}
	edit := func(in *issuer.TemplateInput) { in.Body.Permissions, in.Body.Description = *p, "edited" }
	return []entryPoint{
		{"create a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateTemplate(t.Context(), op, "ORDERS", in))
		}, pointer, ""},
		{"update a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UpdateTemplate(t.Context(), op, "ORDERS", "own", edit))
		}, pointer, ""},
		{"clone a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			from := issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ELSEWHERE"}, Template: "wide"}
			return second(x.CloneTemplate(t.Context(), op, issuer.CloneInput{From: from, To: issuer.TemplateHome{Account: "ORDERS"}}))
		}, pointer, ""},
		{"clone a template for all", func(t *testing.T, x *outsider, op issuer.Op) error {
			from := issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ELSEWHERE"}, Template: "wide"}
			return second(x.CloneTemplate(t.Context(), op, issuer.CloneInput{From: from, To: issuer.TemplateHome{Operator: "acme"}}))
		}, pointer, "operator"},
		{"use a shared template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UseTemplate(t.Context(), op, "ORDERS", "shared"))
		}, pointer, ""},
		{"create a shared template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateSharedTemplate(t.Context(), op, "acme", in))
		}, pointer, "operator"},
		{"update a shared template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UpdateSharedTemplate(t.Context(), op, "acme", "carried", edit))
		}, pointer, ""},
		{"create a user of a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "x", Template: "own"}))
		}, "/template", ""},
		{"create a user of a shared template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "x", Template: "carried"}))
		}, "/template", ""},
		{"move a user to a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UpdateUser(t.Context(), op, "ORDERS", "d1", func(e *issuer.UserEdit) { e.Template = "own" }))
		}, "/template", ""},
		{"issue to a user of a template", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Issue(t.Context(), op, "ORDERS", "templated", issuer.IssueInput{TTL: time.Minute}))
		}, "/template", ""},
	}
}

// owning are the entry points of users with these permissions of their own, and without tags.
func owning(p *jwt.UserPermissionLimits, pointer string) []entryPoint {
	in := issuer.UserInput{Name: "another", Permissions: p}
	return append([]entryPoint{
		{"create a user", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateUser(t.Context(), op, "ORDERS", in))
		}, pointer, ""},
		{"update a user", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UpdateUser(t.Context(), op, "ORDERS", "ada@example.com", func(e *issuer.UserEdit) { e.Permissions = p }))
		}, pointer, ""},
		{"create users in bulk", func(t *testing.T, x *outsider, op issuer.Op) error {
			return bulkError(x.CreateUsers(t.Context(), op, "ORDERS", []issuer.UserInput{in}))
		}, pointer, ""},
	}, issuing(issuer.IssueInput{TTL: time.Minute}, pointer)...)
}

// issuing are the entry points of credentials for the user called wide.
func issuing(in issuer.IssueInput, pointer string) []entryPoint {
	return []entryPoint{
		{"issue", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Issue(t.Context(), op, "ORDERS", "wide", in))
		}, pointer, ""},
		{"issue by a link", func(t *testing.T, x *outsider, op issuer.Op) error {
			in := in
			in.Delivery = issuer.DeliverLink
			return second(x.Issue(t.Context(), op, "ORDERS", "wide", in))
		}, pointer, ""},
		{"renew", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Renew(t.Context(), op, "ORDERS", "wide", issuer.RenewInput{TTL: in.TTL, NoExpiry: in.NoExpiry}))
		}, pointer, ""},
		{"roll", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Roll(t.Context(), op, "ORDERS", "wide", issuer.RollInput{IssueInput: in, Grace: time.Hour}))
		}, pointer, ""},
		{"reissue", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Reissue(t.Context(), op, "ORDERS", "wide", in))
		}, pointer, ""},
	}
}

// laterUses are what was agreed on before the guardrails and is done after them.
func laterUses(pointer string) []entryPoint {
	return []entryPoint{
		{"use a link", func(t *testing.T, x *outsider, o issuer.Op) error {
			if o.DryRun {
				o = op() // a link has no dry run; refused it stays
			}
			_, _, err := x.UseCredentialLink(t.Context(), o, x.link)
			return err
		}, pointer, ""},
	}
}

// sharing are the entry points of an export of billing.
func sharing(pointer string) []entryPoint {
	return []entryPoint{
		{"update an export", func(t *testing.T, x *outsider, op issuer.Op) error {
			list, err := x.ListExports(t.Context(), owner, "ORDERS", issuer.Page{Limit: 1})
			if err != nil || len(list) != 1 {
				t.Fatalf("%d exports, %v", len(list), err)
			}
			return second(x.UpdateExport(t.Context(), op, "ORDERS", list[0].ID, func(e *jwt.Export) { e.Subject = "billing.new" }))
		}, pointer, ""},
		{"create an export", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.CreateExport(t.Context(), op, "ORDERS", jwt.Export{Subject: "billing.>", Type: jwt.Service}))
		}, pointer, ""},
		{"share", func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.Share(t.Context(), op, issuer.ShareInput{Exporter: "ORDERS", Importer: "NEIGHBOUR", Flows: []claims.Flow{{Kind: jwt.Service, Subject: "billing.ask"}}}))
		}, pointer, ""},
	}
}

func cloneOrders(t *testing.T, x *outsider, op issuer.Op) error {
	return second(x.CloneAccount(t.Context(), op, "ORDERS", issuer.AccountCloneInput{Name: "COPY"}))
}

// strayAccount is an account that nobody here knows.
const strayAccount = "AAO77KCK72ZJXZMYLR65MCGXMPYBMVDFQIDNJBY2IJI3ZNXDUK2YMQNJ"

func bulkError(list []issuer.BulkResult, err error) error {
	for _, r := range list {
		if err == nil {
			err = r.Err
		}
	}
	return err
}

func quota(q claims.Quota, n int64) claims.Guardrails {
	return claims.Guardrails{Quotas: map[claims.Quota]int64{q: n}}
}

// rule is guardrails and what they refuse.
type rule struct {
	name string
	g    claims.Guardrails
	// outside are permissions that the guardrails refuse; nil for ones they do not care about.
	outside *jwt.UserPermissionLimits
	entries []entryPoint
}

func rules() []rule {
	prefixed := claims.Guardrails{Subjects: []string{"orders.", claims.Inboxes}}
	subjects := func(name, pointer string, f func(p *jwt.UserPermissionLimits)) rule {
		p := permissionsOf(f)
		return rule{name, prefixed, p, slices.Concat(templating(p, pointer), owning(p, pointer), laterUses(pointer))}
	}
	bearer := permissionsOf(func(p *jwt.UserPermissionLimits) { p.BearerToken = true })
	account := func(f func(s *jwt.Account)) func(t *testing.T, x *outsider, op issuer.Op) error {
		return func(t *testing.T, x *outsider, op issuer.Op) error {
			s := claims.NewAccountSettings()
			f(&s)
			return second(x.CreateAccount(t.Context(), op, issuer.AccountInput{Operator: "acme", Name: "NEW", Settings: s}))
		}
	}
	update := func(f func(s *jwt.Account)) func(t *testing.T, x *outsider, op issuer.Op) error {
		return func(t *testing.T, x *outsider, op issuer.Op) error {
			return second(x.UpdateAccount(t.Context(), op, "ORDERS", func(e *issuer.AccountEdit) { f(&e.Account) }))
		}
	}
	defaults := func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"billing.>"} }
	twice := func(t *testing.T, x *outsider, op issuer.Op) error {
		return bulkError(x.CreateUsers(t.Context(), op, "ORDERS", []issuer.UserInput{{Name: "a", Permissions: ownPermissions()}, {Name: "b", Permissions: ownPermissions()}}))
	}
	endless := issuer.IssueInput{NoExpiry: true}
	ttl := claims.Guardrails{MaxTTL: 3600}
	return []rule{
		subjects("a subject to publish to", "/permissions/publish/allow/0", func(p *jwt.UserPermissionLimits) { p.Pub.Allow = jwt.StringList{"billing.>"} }),
		subjects("everything to publish to", "/permissions/publish/allow", func(p *jwt.UserPermissionLimits) { p.Pub = jwt.Permission{} }),
		subjects("all but something to publish to", "/permissions/publish/allow", func(p *jwt.UserPermissionLimits) { p.Pub = jwt.Permission{Deny: jwt.StringList{"billing.>"}} }),
		subjects("a subject to subscribe to", "/permissions/subscribe/allow/1", func(p *jwt.UserPermissionLimits) {
			p.Sub.Allow = jwt.StringList{"orders.> workers", "*.new workers"}
		}),
		subjects("everything to subscribe to", "/permissions/subscribe/allow", func(p *jwt.UserPermissionLimits) { p.Sub = jwt.Permission{} }),
		subjects("responses", "/permissions/responses", func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: 1} }),
		subjects("no permissions at all", "/permissions", func(p *jwt.UserPermissionLimits) { p.Permissions = jwt.Permissions{} }),
		{"bearer", claims.Guardrails{NoBearer: true}, bearer, slices.Concat(templating(bearer, "/bearer"), owning(bearer, "/bearer"), laterUses("/bearer"))},
		{"a user's tag", claims.Guardrails{UserTags: []string{"team"}}, nil, slices.Concat(owning(ownPermissions(), "/tags"), laterUses("/tags"))},
		{"a lifetime", ttl, nil, slices.Concat(issuing(issuer.IssueInput{TTL: 2 * time.Hour}, "/ttl_seconds"), laterUses("/ttl_seconds"), []entryPoint{
			{"create a user with a credential", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{TTL: 3601 * time.Second}}))
			}, "/ttl_seconds", ""},
			{"create users with credentials", func(t *testing.T, x *outsider, op issuer.Op) error {
				return bulkError(x.CreateUsers(t.Context(), op, "ORDERS", []issuer.UserInput{{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{TTL: 3601 * time.Second}}}))
			}, "/ttl_seconds", ""},
		})},
		{"no expiry", ttl, nil, issuing(endless, "/no_expiry")},
		{"users", quota(claims.QuotaUsers, 4), nil, []entryPoint{
			{"create a user", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "x", Permissions: ownPermissions()}))
			}, "", ""},
			{"create users in bulk", twice, "", ""},
		}},
		{"templates", quota(claims.QuotaTemplates, 2), nil, templating(permissionsOf(func(*jwt.UserPermissionLimits) {}), "")[:1]},
		{"templates to clone", quota(claims.QuotaTemplates, 2), nil, templating(ownPermissions(), "")[2:3]},
		{"signing keys", quota(claims.QuotaSigningKeys, 4), nil, append([]entryPoint{
			{"add a key", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.AddKey(t.Context(), op, issuer.KeyOwner{Account: "ORDERS", Template: "own"}, issuer.KeyInput{}))
			}, "", ""},
			{"create a user of a shared template", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "x", Template: "shared"}))
			}, "", ""},
		}, templating(ownPermissions(), "")[0], templating(ownPermissions(), "")[4])},
		{"credentials", quota(claims.QuotaCredentials, 1), nil, append(issuing(issuer.IssueInput{TTL: time.Minute}, "")[:2], laterUses("")...)},
		{"no credentials at all", quota(claims.QuotaCredentials, 0), nil, []entryPoint{
			{"create users with credentials", func(t *testing.T, x *outsider, op issuer.Op) error {
				return bulkError(x.CreateUsers(t.Context(), op, "ORDERS", []issuer.UserInput{{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}}))
			}, "", ""},
		}},
		{"an exported subject", prefixed, nil, sharing("/subject")},
		{"exports", quota(claims.QuotaExports, 0), nil, sharing("")[1:]},
		{"imports", quota(claims.QuotaImports, 0), nil, []entryPoint{
			{"create an import", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.CreateImport(t.Context(), op, "ORDERS", jwt.Import{Account: strayAccount, Subject: "a.>", Type: jwt.Stream}))
			}, "", ""},
			{"share", func(t *testing.T, x *outsider, op issuer.Op) error {
				return second(x.Share(t.Context(), op, issuer.ShareInput{Exporter: "NEIGHBOUR", Importer: "ORDERS", Flows: []claims.Flow{{Kind: jwt.Service, Subject: "orders.ask"}}}))
			}, "", ""},
		}},
		{"signing keys to copy", quota(claims.QuotaSigningKeys, 3), nil, []entryPoint{{"clone an account", cloneOrders, "/templates", "operator"}}},
		{"templates to copy", quota(claims.QuotaTemplates, 1), nil, []entryPoint{{"clone an account", cloneOrders, "/templates", "operator"}}},
		{"an account's default permissions", claims.Guardrails{Subjects: []string{"orders."}}, nil, []entryPoint{
			{"create an account", account(defaults), "/default_permissions/publish/allow/0", "operator"},
			{"update an account", update(defaults), "/default_permissions/publish/allow/0", ""},
		}},
		{"an account's tag", claims.Guardrails{AccountTags: []string{"team"}}, nil, []entryPoint{
			{"create an account", account(func(s *jwt.Account) { s.Tags = jwt.TagList{"env:prod"} }), "/tags", "operator"},
			{"update an account", update(func(s *jwt.Account) { s.Limits.Conn = 3 }), "/tags", "operator"},
		}},
		{"accounts", quota(claims.QuotaAccounts, 2), nil, []entryPoint{{"create an account", account(func(*jwt.Account) {}), "", "operator"}}},
		{"connections", quota(claims.TotalConnections, 100), nil, []entryPoint{
			{"create an account", account(func(*jwt.Account) {}), "/limits/connections", "operator"},
			{"create one beside an unlimited one", account(func(s *jwt.Account) { s.Limits.Conn = 1 }), "/limits/connections", "operator"},
		}},
		{"disk", quota(claims.TotalDisk, 1<<30), nil, []entryPoint{
			{"create an account", account(func(s *jwt.Account) { s.Limits.DiskStorage = 1<<30 + 1 }), "/jetstream/disk_bytes", "operator"},
			{"create one without limit", account(func(s *jwt.Account) { s.Limits.DiskStorage = -1 }), "/jetstream/disk_bytes", "operator"},
			{"create one with three replicas", account(func(s *jwt.Account) {
				s.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R3": {DiskStorage: 400 << 20}}
			}), "/jetstream/disk_bytes", "operator"},
			{"update an account", update(func(s *jwt.Account) { s.Limits.DiskStorage = 2 << 30 }), "/jetstream/disk_bytes", "operator"},
		}},
		{"memory", quota(claims.TotalMemory, 1<<30), nil, []entryPoint{
			{"update an account", update(func(s *jwt.Account) { s.Limits.MemoryStorage = 2 << 30 }), "/jetstream/memory_bytes", "operator"},
		}},
	}
}

// Every guardrail, of operator and account, refuses at every entry point, says which it is and whose, and nothing
// is stored; without it the same goes well.
func TestGuardrailsRefuse(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.leave(t)
		ready := map[*jwt.UserPermissionLimits]*outsider{} // nil is where most rules start
		refused, cells := 0, 0
		for _, r := range rules() {
			from := ready[r.outside]
			if from == nil {
				p := r.outside
				if p == nil {
					p = ownPermissions()
				}
				from = newOutsider(t, h.copied(t), w, p)
				from.leave(t)
				ready[r.outside] = from
			}
			t.Run(r.name, func(t *testing.T) { // in a test of its own, which ends with its house
				x := *from
				x.house = from.copied(t)
				good, tried := r.refuses(t, &x)
				refused, cells = refused+good, cells+tried
			})
		}
		t.Logf("%d of %d refused", refused, cells)
	})
}

// refuses holds the rule against each of its entry points, and tells how many refused, of how many.
func (r rule) refuses(t *testing.T, x *outsider) (refused, cells int) {
	for _, level := range []string{"operator", "account"} {
		var todo []entryPoint
		for _, a := range r.entries {
			if a.only == "" || a.only == level {
				todo = append(todo, a)
			}
		}
		if len(todo) == 0 {
			continue
		}
		x.guard(t, level, r.g)
		x.unchanged(t, func() { // a batch is on record, whoever of it is made
			for _, a := range todo {
				for _, o := range []issuer.Op{because(), dryOf(because())} {
					cells++
					err := a.do(t, x, o)
					if refusedBy(err, level, a.pointer) {
						refused++
						continue
					}
					t.Errorf("%s of the %s: %v: %+v", a.name, level, err, issuer.AsError(err))
				}
			}
		}, "audit")
		x.guard(t, level, claims.Guardrails{})
	}
	for _, a := range r.entries {
		if err := a.do(t, x, dryOf(because())); err != nil {
			t.Errorf("%s without guardrails: %v %+v", a.name, err, issuer.AsError(err).Problems)
		}
		if strings.HasPrefix(a.name, "use a link") {
			x.link = did(x.Issue(t.Context(), op(), "ORDERS", "wide", issuer.IssueInput{Delivery: issuer.DeliverLink})).well(t).Link
		}
	}
	return refused, cells
}

// refusedBy tells whether guardrails of the level refused, and pointed to the field.
func refusedBy(err error, level, pointer string) bool {
	if err == nil {
		return false
	}
	e := issuer.AsError(err)
	return e.Kind == issuer.KindInvalid && slices.ContainsFunc(e.Problems, func(p claims.Problem) bool {
		return p.Code == claims.OutsideGuardrails && p.Pointer == pointer && p.Blocking &&
			strings.Contains(p.Detail, "The "+level+"'s guardrails ") && strings.Contains(p.Detail, "Whoever administers the operator can change them.")
	})
}

// A holder's renewal keeps within the guardrails too: its lifetime is cut, and what they refuse is not renewed.
func TestGuardrailsBoundRenewals(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		x := newOutsider(t, h, w, permissionsOf(func(p *jwt.UserPermissionLimits) { p.Pub.Allow.Add("billing.new") }))
		renew := func() (issuer.Issued, error) {
			h.advance(30 * time.Minute)
			return h.RenewByHolder(t.Context(), issuer.Op{RequestID: "req_r"}, issuer.RenewalInput{JWT: x.credential.JWT, Proof: *h.proof(t, x.holder)})
		}
		h.guard(t, "account", claims.Guardrails{MaxTTL: 600})
		out, err := renew()
		if err != nil || out.Expires-out.IssuedAt != 600 {
			t.Fatalf("renewed for %d seconds, %v", out.Expires-out.IssuedAt, err)
		}
		for _, g := range []claims.Guardrails{{Subjects: []string{"orders."}}, {UserTags: []string{"team"}}} {
			for _, level := range []string{"operator", "account"} {
				h.guard(t, level, g)
				if _, err := renew(); issuer.AsError(err).Code != "renewal_refused" {
					t.Errorf("%s %+v: %v", level, g, err)
				}
				h.guard(t, level, claims.Guardrails{})
			}
		}
		if _, err := renew(); err != nil {
			t.Errorf("without guardrails: %v", err)
		}
	})
}

// What there is goes on; a plan counts it, and says in words what changes.
func TestGuardrailsPlan(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		wide := permissionsOf(func(p *jwt.UserPermissionLimits) { p.BearerToken = true; p.Pub.Allow.Add("billing.new") })
		newOutsider(t, h, w, wide)
		g := claims.Guardrails{
			MaxTTL: 3600, NoBearer: true, UserTags: []string{"Team "}, AccountTags: []string{"owner"}, Subjects: []string{"orders.>", "inboxes"},
			Quotas: map[claims.Quota]int64{claims.QuotaUsers: 2, claims.QuotaAccounts: 0, claims.TotalConnections: 10, claims.QuotaCredentials: 0},
		}
		o := dryRun()
		var plan issuer.Plan
		h.unchanged(t, func() {
			out, err := h.SetOperatorGuardrails(t.Context(), o, "acme", g)
			if err != nil {
				t.Fatal(err)
			}
			plan = out.Plan
		})
		text := ""
		for _, p := range plan.Warnings {
			if p.Blocking || p.Code != "outside_now" {
				t.Errorf("%+v", p)
			}
			text += p.Pointer + " " + p.Detail + "\n"
		}
		for _, want := range []string{
			"/subject_prefixes 4 templates are outside the new guardrails: ORDERS/device, ORDERS/own, carried, shared.",
			"/required_user_tags 4 users lack a tag: ORDERS/ada@example.com, ORDERS/d1, ORDERS/templated, ORDERS/wide.",
			"/subject_prefixes 1 user has permissions of its own outside the new guardrails: ORDERS/wide.",
			"/credential_max_ttl_seconds 3 credentials live longer: ORDERS/ada@example.com, ORDERS/templated, ORDERS/wide.",
			"/no_bearer 2 bearer credentials are in use: ORDERS/templated, ORDERS/wide.",
			"/quotas/users_per_account Users of an account: 1 account has more: ORDERS (4).",
			"/quotas/credentials_per_user Credentials of a user: 4 users have more: ORDERS/ada@example.com (1), ORDERS/d1 (1), ORDERS/templated (1), ORDERS/wide (1).",
			"/required_account_tags 1 account lacks a tag: ORDERS.",
			"/quotas/accounts The operator has 2 accounts already.",
			"/quotas/total_connections Connections of all accounts: 2 accounts have no limit: NEIGHBOUR, ORDERS.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no warning says %q in\n%s", want, text)
			}
		}
		var words []string
		for _, c := range plan.Summary {
			words = append(words, c.Sentence())
		}
		for _, want := range []string{"Longest lifetime of credentials: no bound → 1 hour", "Tags of users: none needed → team", "Subjects: all → inboxes, orders.", "Users of an account: no bound → 2"} {
			if !slices.Contains(words, want) {
				t.Errorf("no change says %q: %q", want, words)
			}
		}
	})
}

// An account tightens and cannot loosen, the version has to be named, and the system account is not bound.
func TestGuardrailsLevels(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		loose := claims.Guardrails{MaxTTL: 7200, Subjects: []string{"orders.eu.", "billing."}, Quotas: map[claims.Quota]int64{claims.QuotaUsers: 100}}
		if _, err := h.SetAccountGuardrails(t.Context(), op(), "ORDERS", loose); issuer.AsError(err).Kind != issuer.KindUnconditional {
			t.Errorf("without a version: %v", err)
		}
		stale := op()
		stale.ExpectedVersion = h.account(t, "ORDERS").Version + 1
		if _, err := h.SetAccountGuardrails(t.Context(), stale, "ORDERS", loose); issuer.AsError(err).Kind != issuer.KindStale {
			t.Errorf("with an old version: %v", err)
		}
		h.guard(t, "operator", claims.Guardrails{MaxTTL: 3600, Subjects: []string{"orders."}, UserTags: []string{"team"}, Quotas: map[claims.Quota]int64{claims.QuotaUsers: 50}})
		out, err := h.SetAccountGuardrails(t.Context(), dryRun(), "ORDERS", loose)
		if err != nil {
			t.Fatal(err)
		}
		var without []string
		for _, p := range out.Plan.Warnings {
			if p.Code == "no_effect" {
				without = append(without, p.Pointer)
			}
		}
		if !slices.Equal(without, []string{"/credential_max_ttl_seconds", "/quotas/users_per_account", "/subject_prefixes"}) {
			t.Errorf("without effect are %q", without)
		}
		set := h.guard(t, "account", loose)
		e := set.Effective
		if set.Own.MaxTTL != 7200 || e.MaxTTL != 3600 || !slices.Equal(e.Subjects, []string{"orders.eu."}) || e.Quotas[claims.QuotaUsers] != 50 || !slices.Equal(e.UserTags, []string{"team"}) {
			t.Errorf("%+v", set)
		}
		read, err := h.AccountGuardrails(t.Context(), auditor, "ORDERS")
		if err != nil || !read.Effective.Equal(e) || read.Version != h.account(t, "ORDERS").Version || read.Version != set.Version {
			t.Errorf("%+v, %v", read, err)
		}
		if _, err := h.SystemCredential(t.Context(), op(), "acme", "a file"); err != nil {
			t.Errorf("Chancery's own credential: %v", err)
		}
		did(h.CreateUser(t.Context(), op(), w.operator.Settings.SystemAccount, issuer.UserInput{Name: "admin", Permissions: ownPermissions(), Issue: &issuer.IssueInput{TTL: 24 * time.Hour}})).well(t)
		o := op()
		o.ExpectedVersion = 1
		if _, err := h.SetAccountGuardrails(t.Context(), o, w.operator.Settings.SystemAccount, loose); issuer.AsError(err).Code != "system_account" {
			t.Errorf("of the system account: %v", err)
		}
		// The operator's policy is the same thing.
		did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Policy.MaxTTL, e.Policy.NoBearer = 1800, true })).well(t)
		if g, err := h.OperatorGuardrails(t.Context(), auditor, "acme"); err != nil || g.Own.MaxTTL != 1800 || !g.Own.NoBearer || !slices.Equal(g.Own.Subjects, []string{"orders."}) {
			t.Errorf("%+v, %v", g, err)
		}
	})
}

// Who administers an account reads what bounds it and cannot set it, neither beside nor through another use case.
func TestGuardrailsAreTheOperators(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		for role, may := range map[issuer.Role]bool{issuer.RoleAccountAdmin: false, issuer.RoleIssuer: false, issuer.RoleAuditor: false, issuer.RoleOperatorAdmin: true} {
			at := issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}
			if may {
				at.Account = ""
			}
			o := op()
			o.Caller = issuer.Caller{ID: "per_x", Name: "x", Kind: issuer.CallerPerson, Grants: []issuer.Grant{{Role: string(role), Scope: at}}}
			if _, err := h.AccountGuardrails(t.Context(), o.Caller, "ORDERS"); err != nil {
				t.Errorf("%s reading: %v", role, err)
			}
			o.ExpectedVersion = h.account(t, "ORDERS").Version
			if _, err := h.SetAccountGuardrails(t.Context(), o, "ORDERS", claims.Guardrails{MaxTTL: 3600}); (err == nil) != may {
				t.Errorf("%s setting: %v", role, err)
			}
			o.ExpectedVersion = h.operator(t, "acme").Version
			if _, err := h.SetOperatorGuardrails(t.Context(), o, "acme", claims.Guardrails{MaxTTL: 3600}); (err == nil) != may {
				t.Errorf("%s setting the operator's: %v", role, err)
			}
		}
	})
}

func TestGuardrailsInvalid(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		o := dryRun()
		for pointer, g := range map[string]claims.Guardrails{
			"/credential_max_ttl_seconds": {MaxTTL: 59},
			"/required_user_tags/0":       {UserTags: []string{"team:orders"}},
			"/required_account_tags":      {AccountTags: []string{"team"}},
			"/subject_prefixes/0":         {Subjects: []string{"orders"}},
			"/subject_prefixes/1":         {Subjects: []string{"a.", "b.*."}},
			"/quotas":                     quota(claims.QuotaAccounts, 1),
			"/quotas/users_per_account":   quota(claims.QuotaUsers, -1),
		} {
			_, err := h.SetAccountGuardrails(t.Context(), o, "ORDERS", g)
			if e := wants(t, err, issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Pointer != pointer {
				t.Errorf("%s: %+v", pointer, e.Problems)
			}
		}
		did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Policy.DefaultTTL = 7200 })).well(t)
		_, err := h.SetOperatorGuardrails(t.Context(), o, "acme", claims.Guardrails{MaxTTL: 3600})
		if e := wants(t, err, issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Pointer != "/credential_max_ttl_seconds" {
			t.Errorf("%+v", e.Problems)
		}
	})
}
