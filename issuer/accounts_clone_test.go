package issuer_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// settled gives ORDERS a setting of every kind, a share and a lifetime.
func (h *house) settled(t *testing.T) {
	t.Helper()
	did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) {
		e.Description, e.Tags, e.Lifetime = "Orders", jwt.TagList{"team:orders"}, 2*time.Hour
		e.Limits.Conn, e.Limits.JetStreamTieredLimits = 9, jwt.JetStreamTieredLimits{"R1": claims.UnlimitedJetStream()}
		e.DefaultPermissions.Pub.Deny = jwt.StringList{"admin.>"}
		e.Mappings = jwt.Mapping{"a": {{Subject: "b", Weight: 50}}}
		e.Trace = &jwt.MsgTrace{Destination: "trace", Sampling: 10}
		e.ClusterTraffic = jwt.ClusterTrafficOwner
	})).well(t)
}

// roles are the templates in an account's JWT.
func roles(c *jwt.AccountClaims) map[string]jwt.UserPermissionLimits {
	out := map[string]jwt.UserPermissionLimits{}
	for _, s := range c.SigningKeys {
		if u, ok := s.(*jwt.UserScope); ok {
			out[u.Role] = u.Template
		}
	}
	return out
}

// A copy has the settings, the end and the templates of its original, keys of its own, and nobody in it.
func TestCloneAccount(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.settled(t)
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", issuer.TemplateInput{Body: claims.Template{Name: "used", Permissions: claims.NewPermissionLimits()}})).well(t)
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", issuer.TemplateInput{Body: claims.Template{Name: "unused", Permissions: claims.NewPermissionLimits()}})).well(t)
		did(h.UseTemplate(t.Context(), op(), "ORDERS", "used")).well(t)
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		before := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		var plan issuer.Outcome[issuer.Account]
		h.unchanged(t, func() {
			var err error
			plan, err = h.CloneAccount(t.Context(), dryRun(), "ORDERS", issuer.AccountCloneInput{Name: "COPY"})
			if err != nil {
				t.Fatal(err)
			}
		})
		for _, path := range []string{"/limits/conn", "/cloned_from", "/templates/0", "/templates/1", "/lifetime_seconds"} {
			if !slices.ContainsFunc(plan.Plan.Changes, func(c issuer.Change) bool { return c.Path == path }) {
				t.Errorf("the plan does not say %s: %+v", path, plan.Plan.Changes)
			}
		}
		copied := did(h.CloneAccount(t.Context(), op(), "ORDERS", issuer.AccountCloneInput{Name: "COPY"})).well(t)
		after := decode[*jwt.AccountClaims](t, copied.JWT)
		if copied.ID == before.Subject || after.Name != "COPY" || after.Expires != after.IssuedAt+7200 || len(after.Revocations) != 0 {
			t.Errorf("%s ends at %d, with %d revocations", after.Name, after.Expires, len(after.Revocations))
		}
		if diff := cmp.Diff(roles(before), roles(after)); diff != "" || len(after.SigningKeys) != len(before.SigningKeys) {
			t.Errorf("templates (-original +copy):\n%s", diff)
		}
		for k := range after.SigningKeys {
			if before.SigningKeys.Contains(k) {
				t.Errorf("they share the key %s", k)
			}
		}
		if diff := cmp.Diff(before.Account, after.Account, cmpopts.IgnoreFields(jwt.Account{}, "SigningKeys", "Revocations"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("settings (-original +copy):\n%s", diff)
		}
		users, err := h.ListUsers(t.Context(), owner, "COPY", issuer.Page{Limit: 10})
		if err != nil || len(users) != 0 {
			t.Errorf("users %+v, %v", users, err)
		}
		// Its own template is its own; the shared one is followed.
		did(h.UpdateTemplate(t.Context(), op(), "COPY", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = 3 })).well(t)
		did(h.UpdateSharedTemplate(t.Context(), op(), "acme", "used", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = 4 })).well(t)
		h.upkeep(t)
		one, two := roles(decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)), roles(decode[*jwt.AccountClaims](t, h.account(t, "COPY").JWT))
		if one["device"].Subs != -1 || two["device"].Subs != 3 || one["used"].Subs != 4 || two["used"].Subs != 4 {
			t.Errorf("device %d and %d, used %d and %d", one["device"].Subs, two["device"].Subs, one["used"].Subs, two["used"].Subs)
		}
		if e := wants(t, second(h.CloneAccount(t.Context(), op(), "ORDERS", issuer.AccountCloneInput{Name: "COPY"})), issuer.KindConflict); e.Code != "name_taken" {
			t.Errorf("%+v", e)
		}
		h.verify(t)
	})
}

// At another operator shared templates become the copy's own, what that operator forbids is refused, and what cannot
// be copied is told.
func TestCloneToAnotherOperator(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "other"})).well(t)
		in := issuer.TemplateInput{Body: claims.Template{Name: "used", Permissions: claims.NewPermissionLimits()}}
		in.Body.Permissions.Pub.Allow = jwt.StringList{"{{account-name()}}.>"}
		in.Tests = []claims.TemplateTest{{As: claims.TestUser{Name: "x", Account: "ORDERS"}, CanPublish: []string{"ORDERS.new"}}}
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", in)).well(t)
		did(h.UseTemplate(t.Context(), op(), "ORDERS", "used")).well(t)
		over := op()
		over.Override = []issuer.Guard{issuer.GuardCalloutUnanswered}
		did(h.UpdateAccount(t.Context(), over, "ORDERS", func(e *issuer.AccountEdit) {
			e.Expires, e.Authorization.AuthUsers = h.unix()+60, jwt.StringList{newUserKey(t)}
		})).well(t)
		did(h.CreateExport(t.Context(), op(), "ORDERS", jwt.Export{Subject: "orders.>", Type: jwt.Stream})).well(t)
		h.advance(time.Hour)
		out, err := h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "ELSEWHERE", Operator: "other"})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, p := range out.Plan.Warnings {
			codes = append(codes, p.Pointer+" "+p.Code)
		}
		if diff := cmp.Diff([]string{"/exports not_copied", "/authorization not_copied", "/expires_at not_copied", "/templates tests_fail"}, codes); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
		c := decode[*jwt.AccountClaims](t, out.Value.JWT)
		if out.Value.OperatorID != other.ID || c.Expires != 0 || len(c.Authorization.AuthUsers) != 0 || len(roles(c)) != 2 {
			t.Errorf("%+v", c)
		}
		used, err := h.GetTemplate(t.Context(), owner, out.Value.ID, "used")
		if err != nil || used.Shared() || used.OperatorID != other.ID {
			t.Errorf("%+v, %v", used.Template, err)
		}
		h.verify(t)

		// Policy and names of the other operator hold.
		did(h.UpdateTemplate(t.Context(), op(), w.account.ID, "device", func(in *issuer.TemplateInput) { in.Body.Permissions.BearerToken = true })).well(t)
		did(h.UpdateOperator(t.Context(), op(), "other", func(e *issuer.OperatorEdit) { e.Policy.NoBearer = true })).well(t)
		wants(t, second(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "NEXT", Operator: "other"})), issuer.KindInvalid)
		did(h.UpdateOperator(t.Context(), op(), "other", func(e *issuer.OperatorEdit) { e.Policy.NoBearer = false })).well(t)
		// Its guardrails come along, and hold with those of the other operator.
		guards := op()
		guards.ExpectedVersion = h.account(t, w.account.ID).Version
		did(h.SetAccountGuardrails(t.Context(), guards, w.account.ID, claims.Guardrails{MaxTTL: 3600})).well(t)
		guarded := did(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "GUARDED"})).well(t)
		if guarded.Guardrails.MaxTTL != 3600 {
			t.Errorf("the guardrails of the copy are %+v", guarded.Guardrails)
		}
		for q, n := range map[claims.Quota]int64{claims.QuotaTemplates: 1, claims.QuotaSigningKeys: 2, claims.QuotaAccounts: 1} {
			limits := op()
			limits.ExpectedVersion = h.operator(t, "other").Version
			did(h.SetOperatorGuardrails(t.Context(), limits, "other", claims.Guardrails{Quotas: map[claims.Quota]int64{q: n}})).well(t)
			wants(t, second(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "NEXT", Operator: "other"})), issuer.KindInvalid)
		}
		limits := op()
		limits.ExpectedVersion = h.operator(t, "other").Version
		did(h.SetOperatorGuardrails(t.Context(), limits, "other", claims.Guardrails{})).well(t)
		did(h.CreateSharedTemplate(t.Context(), op(), "other", issuer.TemplateInput{Body: claims.Template{Name: "elsewhere", Permissions: claims.NewPermissionLimits()}})).well(t)
		did(h.CreateTemplate(t.Context(), op(), w.account.ID, issuer.TemplateInput{Body: claims.Template{Name: "elsewhere", Permissions: claims.NewPermissionLimits()}})).well(t)
		wants(t, second(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "NEXT", Operator: "other"})), issuer.KindConflict)
		wants(t, second(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "NEXT", Operator: "nobody"})), issuer.KindNotFound)
	})
}

// Settings do on a real server what they say: a mapping moves messages, default permissions bind users without their
// own, and a copy admits users of its own and nobody of the original.
func TestSettingsOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(e *issuer.AccountEdit) {
			e.Mappings = jwt.Mapping{"orders.new": {{Subject: "orders.v2.new"}}}
			e.DefaultPermissions.Pub.Allow = jwt.StringList{"free.>"}
			e.Trace, e.ClusterTraffic = &jwt.MsgTrace{Destination: "trace.live"}, jwt.ClusterTrafficOwner
			small := claims.UnlimitedJetStream()
			small.DiskStorage, small.MemoryStorage, small.MaxBytesRequired = 1<<20, 0, true
			e.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": small, "R3": claims.UnlimitedJetStream()}
		})).well(t)
		copied := did(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "COPY"})).well(t)
		plain := claims.NewPermissionLimits()
		all := did(h.CreateUser(t.Context(), op(), copied.ID, issuer.UserInput{Name: "all", Permissions: &plain, Issue: &issuer.IssueInput{}})).well(t)
		own := claims.NewPermissionLimits()
		own.Pub.Allow, own.Sub.Allow = jwt.StringList{">"}, jwt.StringList{">"}
		free := did(h.CreateUser(t.Context(), op(), copied.ID, issuer.UserInput{Name: "free", Permissions: &own, Issue: &issuer.IssueInput{}})).well(t)
		s := h.runWith(t, w, func(o *server.Options) { o.JetStream, o.StoreDir = true, t.TempDir() }, copied.ID)
		for _, id := range []string{w.account.ID, copied.ID} {
			a, err := s.LookupAccount(id)
			if err != nil || a.IsExpired() {
				t.Errorf("the server says of %s: %v", id, err)
			}
		}
		nc, err := connect(t, s, free.Issued.Creds)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := nc.SubscribeSync("orders.v2.new")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(nc.Publish("orders.new", []byte("x")), nc.FlushTimeout(patience)); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "x" {
			t.Errorf("the mapping: %v", err)
		}
		// Tier R1 takes what it has room for, and nothing without a bound.
		js, err := nc.JetStream()
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			bytes int64
			fits  bool
		}{"FITS": {1 << 19, true}, "TOO-LARGE": {1 << 21, false}, "BOUNDLESS": {0, false}} {
			_, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name + ".>"}, MaxBytes: c.bytes})
			if (err == nil) != c.fits {
				t.Errorf("stream %s: %v", name, err)
			}
		}
		// What asks for it is traced to the account's destination.
		traces, err := nc.SubscribeSync("trace.live")
		if err != nil {
			t.Fatal(err)
		}
		asks := nats.NewMsg("traced")
		asks.Header["traceparent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
		if err := errors.Join(nc.PublishMsg(asks), nc.FlushTimeout(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := traces.NextMsg(patience); err != nil {
			t.Errorf("the trace: %v", err)
		}
		bound, err := connect(t, s, all.Issued.Creds)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(bound.Publish("orders.new", nil), bound.FlushTimeout(patience)); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(bound.LastError(), nats.ErrPermissionViolation) {
			t.Errorf("without permissions of its own a user may publish anything: %v", bound.LastError())
		}
		_, seed, err := claims.ParseCreds(w.ada.Issued.Creds)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, s, claims.FormatCreds(all.Issued.JWT.Reveal(), seed)); err == nil {
			t.Error("a user of the original is admitted with a JWT of the copy")
		}
	})
}

// What an operator grants an account, its own administrator cannot change; what the account says of itself, they can.
func TestLimitsNeedTheirPermission(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Limits.Conn = 7 })).well(t)
		admin := issuer.Op{RequestID: "req_1", Caller: issuer.Caller{
			ID: "per_admin", Name: "eve", Kind: issuer.CallerPerson,
			Grants: []issuer.Grant{{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}}},
		}}
		refused := func(what string, err error) {
			t.Helper()
			e := wants(t, err, issuer.KindForbidden)
			if want := issuer.Forbidden(issuer.WriteLimits); e.Hint != want.Hint {
				t.Errorf("%s: %+v", what, e)
			}
		}
		for what, edit := range map[string]func(*issuer.AccountEdit){
			"a limit":   func(e *issuer.AccountEdit) { e.Limits.Conn = 8 },
			"a flag":    func(e *issuer.AccountEdit) { e.Limits.DisallowBearer = true },
			"JetStream": func(e *issuer.AccountEdit) { e.Limits.DiskStorage = -1 },
			"a tier": func(e *issuer.AccountEdit) {
				e.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": claims.UnlimitedJetStream()}
			},
			"cluster traffic": func(e *issuer.AccountEdit) { e.ClusterTraffic = jwt.ClusterTrafficOwner },
			"the end":         func(e *issuer.AccountEdit) { e.Expires = h.unix() + 60 },
			"a lifetime":      lifetime(time.Hour),
			"both":            func(e *issuer.AccountEdit) { e.Description, e.Limits.Conn = "mine", -1 },
		} {
			refused(what, second(h.UpdateAccount(t.Context(), admin, "ORDERS", edit)))
			refused(what+", planned", second(h.UpdateAccount(t.Context(), dryOf(admin), "ORDERS", edit)))
		}
		refused("suspension", second(h.SuspendAccount(t.Context(), admin, "ORDERS")))
		refused("resumption", second(h.ResumeAccount(t.Context(), admin, "ORDERS")))
		refused("deletion", second(h.DeleteAccount(t.Context(), admin, "ORDERS")))
		refused("a copy", second(h.CloneAccount(t.Context(), admin, "ORDERS", issuer.AccountCloneInput{Name: "N"})))
		refused("a new account", second(h.CreateAccount(t.Context(), admin, issuer.AccountInput{Operator: "acme", Name: "N", Settings: claims.NewAccountSettings()})))
		a := did(h.UpdateAccount(t.Context(), admin, "ORDERS", func(e *issuer.AccountEdit) {
			e.Description, e.InfoURL, e.Tags, e.Limits.Conn = "ours", "https://x.example", jwt.TagList{"a:b"}, 7
			e.DefaultPermissions.Pub.Deny, e.Mappings, e.Trace = jwt.StringList{"x"}, jwt.Mapping{"a": {{Subject: "b"}}}, &jwt.MsgTrace{Destination: "t"}
		})).well(t)
		if a.Settings.Description != "ours" || a.Settings.Limits.Conn != 7 {
			t.Errorf("%+v", a.Settings)
		}
		wants(t, second(h.UpdateAccount(t.Context(), admin, "SYS", func(e *issuer.AccountEdit) { e.Description = "mine" })), issuer.KindNotFound)
	})
}
