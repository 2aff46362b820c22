package issuer_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
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
		h.verified(t)
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
		h.advance(time.Hour)
		out, err := h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "ELSEWHERE", Operator: "other"})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, p := range out.Plan.Warnings {
			codes = append(codes, p.Pointer+" "+p.Code)
		}
		if diff := cmp.Diff([]string{"/authorization not_copied", "/expires_at not_copied", "/templates tests_fail"}, codes); diff != "" {
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
		h.verified(t)

		// Policy and names of the other operator hold.
		did(h.UpdateTemplate(t.Context(), op(), w.account.ID, "device", func(in *issuer.TemplateInput) { in.Body.Permissions.BearerToken = true })).well(t)
		did(h.UpdateOperator(t.Context(), op(), "other", func(e *issuer.OperatorEdit) { e.Policy.NoBearer = true })).well(t)
		wants(t, second(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "NEXT", Operator: "other"})), issuer.KindInvalid)
		did(h.UpdateOperator(t.Context(), op(), "other", func(e *issuer.OperatorEdit) { e.Policy.NoBearer = false })).well(t)
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
			e.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": claims.UnlimitedJetStream(), "R3": claims.UnlimitedJetStream()}
		})).well(t)
		copied := did(h.CloneAccount(t.Context(), op(), w.account.ID, issuer.AccountCloneInput{Name: "COPY"})).well(t)
		plain := claims.NewPermissionLimits()
		all := did(h.CreateUser(t.Context(), op(), copied.ID, issuer.UserInput{Name: "all", Permissions: &plain, Issue: &issuer.IssueInput{}})).well(t)
		own := claims.NewPermissionLimits()
		own.Pub.Allow, own.Sub.Allow = jwt.StringList{">"}, jwt.StringList{">"}
		free := did(h.CreateUser(t.Context(), op(), copied.ID, issuer.UserInput{Name: "free", Permissions: &own, Issue: &issuer.IssueInput{}})).well(t)
		s := h.run(t, w, copied.ID)
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
		if err := errors.Join(nc.Publish("orders.new", []byte("x")), nc.FlushTimeout(5*time.Second)); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.NextMsg(5 * time.Second); err != nil || string(m.Data) != "x" {
			t.Errorf("the mapping: %v", err)
		}
		bound, err := connect(t, s, all.Issued.Creds)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(bound.Publish("orders.new", nil), bound.FlushTimeout(5*time.Second)); err != nil {
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

// What an operator grants needs another permission than what an account says of itself.
func TestLimitsNeedTheirPermission(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		for _, do := range []func(issuer.Op) error{
			func(o issuer.Op) error {
				return second(h.CreateAccount(t.Context(), o, issuer.AccountInput{Operator: "acme", Name: "N", Settings: claims.NewAccountSettings()}))
			},
			func(o issuer.Op) error { return second(h.SuspendAccount(t.Context(), o, "ORDERS")) },
			func(o issuer.Op) error { return second(h.ResumeAccount(t.Context(), o, "ORDERS")) },
			func(o issuer.Op) error { return second(h.DeleteAccount(t.Context(), o, "ORDERS")) },
			func(o issuer.Op) error {
				return second(h.CloneAccount(t.Context(), o, "ORDERS", issuer.AccountCloneInput{Name: "N"}))
			},
		} {
			e := wants(t, do(issuer.Op{Caller: auditor, RequestID: "req_1"}), issuer.KindForbidden)
			if want := issuer.Forbidden(issuer.WriteLimits); e.Hint != want.Hint {
				t.Errorf("%+v", e)
			}
		}
	})
}
