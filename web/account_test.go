package web_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
	"chancery/web"
)

// settings are those of ORDERS as they are stored.
func (h *house) settings() jwt.Account {
	h.t.Helper()
	a, err := h.issuer.GetAccount(h.t.Context(), op.Caller, "ORDERS")
	must(h.t, err)
	return a.Settings
}

// Every setting and limit can be made on the pages, by a plan; a form that is sent as it came changes nothing.
func TestAccountForms(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		want := h.settings()
		for _, tab := range []string{"limits", "settings"} {
			b.submit(b.get("/accounts/ORDERS/" + tab)).want(200).has("Nothing would change")
		}
		limits := b.submit(b.get("/accounts/ORDERS/limits"), "connections", "1,000", "leafs", "2", "no_bearer", "on", "subscriptions", "3", "payload", "4 KiB", "data", "5", "exports", "6", "imports", "7",
			"wildcards", unchecked, "jetstream", "on", "disk", "8 GiB", "memory", "0", "streams", "9", "consumers", "10", "ack_pending", "11", "disk_stream", "12 MiB", "memory_stream", "13", "bounded", "on",
			"lifetime", "30 days")
		limits.want(200).has("Connections", "1,000", "Lifetime of each JWT", "30 days", "JetStream streams must have a bound")
		b.follow(b.submit(limits)).want(200).has("The limits of ORDERS were changed.", "30 days after each signing")
		want.Limits = jwt.OperatorLimits{
			NatsLimits:      jwt.NatsLimits{Subs: 3, Payload: 4096, Data: 5},
			AccountLimits:   jwt.AccountLimits{Conn: 1000, LeafNodeConn: 2, DisallowBearer: true, Exports: 6, Imports: 7},
			JetStreamLimits: jwt.JetStreamLimits{DiskStorage: 8 << 30, Streams: 9, Consumer: 10, MaxAckPending: 11, DiskMaxStreamBytes: 12 << 20, MemoryMaxStreamBytes: 13, MaxBytesRequired: true},
		}
		settings := b.submit(b.get("/accounts/ORDERS/settings"), "description", "Orders", "info_url", "https://x.example/y", "tags", "team:orders env:prod",
			"pub_allow", "a.>\nb", "pub_deny", "a.c", "sub_allow", "q workers", "sub_deny", "z", "responses", "on", "responses_max", "2", "responses_ttl", "3",
			"mappings", "o.* p.$1 10% eu\no.* p.$1.x 20\nm n", "trace", "t.x", "sampling", "50", "traffic", "owner")
		settings.want(200).has("Mapping of o.*", "Trace destination", "Cluster traffic", "Users without permissions of their own")
		b.follow(b.submit(settings)).want(200).has("The settings of ORDERS were changed.", "https://x.example/y")
		want.Info, want.Tags = jwt.Info{Description: "Orders", InfoURL: "https://x.example/y"}, jwt.TagList{"team:orders", "env:prod"}
		want.DefaultPermissions = jwt.Permissions{
			Pub: jwt.Permission{Allow: jwt.StringList{"a.>", "b"}, Deny: jwt.StringList{"a.c"}}, Sub: jwt.Permission{Allow: jwt.StringList{"q workers"}, Deny: jwt.StringList{"z"}},
			Resp: &jwt.ResponsePermission{MaxMsgs: 2, Expires: 3 * time.Second},
		}
		want.Mappings = jwt.Mapping{"o.*": {{Subject: "p.$1", Weight: 10, Cluster: "eu"}, {Subject: "p.$1.x", Weight: 20}}, "m": {{Subject: "n"}}}
		want.Trace, want.ClusterTraffic = &jwt.MsgTrace{Destination: "t.x", Sampling: 50}, jwt.ClusterTrafficOwner
		if diff := cmp.Diff(want, h.settings(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
		for _, tab := range []string{"limits", "settings"} {
			b.submit(b.get("/accounts/ORDERS/" + tab)).want(200).has("Nothing would change")
		}
		for _, c := range []struct{ tab, field, value, says string }{
			{"limits", "expires", "tomorrow", "Write a day such as"},
			{"limits", "expires", "2020-01-01", "expired at once"},
			{"limits", "lifetime", "5 minutes", "at least an hour"},
			{"limits", "memory_stream", "x", "Write a size"},
			{"settings", "mappings", "a", "Line 1"},
			{"settings", "mappings", "a b 300", "Line 1"},
			{"settings", "mappings", "z z\na.* b.$2", "Source a.*"},
			{"settings", "pub_deny", "fine\nb..c", "Line 2"},
			{"settings", "trace", "a.*", "must not hold wildcards"},
			{"settings", "info_url", "x", "needs a scheme"},
		} {
			b.submit(b.get("/accounts/ORDERS/"+c.tab), c.field, c.value).want(422).has(c.says)
		}
		fixed := b.submit(b.get("/accounts/ORDERS/limits"), "expires", "2999-01-31", "lifetime", "").want(200).has("Expires", "2999-01-31")
		b.follow(b.submit(fixed)).want(200).has("31 Jan 2999")
	})
}

// A preset fills the forms and is a plan like any other; what is typed over it counts.
func TestPresetForms(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		for _, p := range claims.AccountPresets() {
			b.get("/accounts/new").want(200).has(p.Title, p.Description)
			b.follow(b.submit(b.get("/accounts/new?preset="+p.Name).want(200), "name", "P-"+p.Name)).want(200)
			a, err := h.issuer.GetAccount(t.Context(), op.Caller, "P-"+p.Name)
			must(t, err)
			if diff := cmp.Diff(p.Limits, a.Settings.Limits, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", p.Name, diff)
			}
			b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/limits?preset=" + p.Name).want(200).has(p.Title + ".")).want(200).has("Nothing has happened yet"))).want(200)
			if diff := cmp.Diff(p.Limits, h.settings().Limits, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s onto ORDERS (-want +got):\n%s", p.Name, diff)
			}
		}
		b.follow(b.submit(b.get("/accounts/new?preset=prod-streams"), "name", "OVER", "connections", "3", "jetstream", unchecked))
		a, err := h.issuer.GetAccount(t.Context(), op.Caller, "OVER")
		must(t, err)
		if l := a.Settings.Limits; l.Conn != 3 || l.IsJSEnabled() || !l.DisallowBearer {
			t.Errorf("%+v", l)
		}
	})
}

// The pages of an account lead to each other, and show what they are about.
func TestAccountTabs(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	h.user("d1")
	b := h.signedIn()
	for path, says := range map[string]string{
		"": "Limits", "/limits": "Start from a preset", "/settings": "Subject mappings", "/templates": "device", "/users": "d1", "/connections": "could not be asked",
		"/keys": "Keys of ORDERS", "/revocations": "Revocations", "/jwt": "Chain of trust",
	} {
		p := b.get("/accounts/ORDERS"+path).want(200).has(says, `aria-label="Beside this page"`, `href="/accounts/ORDERS`+path+`" aria-current="page"`)
		p.has(`href="/accounts/ORDERS/limits"`, `href="/accounts/ORDERS/jwt"`)
	}
	a, err := h.issuer.GetAccount(t.Context(), op.Caller, "ORDERS")
	must(t, err)
	b.get("/accounts/ORDERS/jwt").has(a.JWT, "unlimited", "Template device")
}

// An account is copied by a plan, and found by its tag and state.
func TestCopyAndFind(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		_, err := h.issuer.UpdateAccount(t.Context(), op, "ORDERS", func(e *issuer.AccountEdit) { e.Tags = jwt.TagList{"env:prod"} })
		must(t, err)
		b.submit(b.get("/accounts/ORDERS/clone"), "name", "a/b").want(422)
		b.submit(b.get("/accounts/ORDERS/clone"), "name", "ORDERS").want(409)
		plan := b.submit(b.get("/accounts/ORDERS/clone"), "name", "COPY").want(200).has("Template device", "copied", "Connections")
		b.follow(b.submit(plan)).want(200).has("Account COPY is a copy of ORDERS.", "device", "env:prod")
		_, err = h.issuer.SuspendAccount(t.Context(), op, "COPY")
		must(t, err)
		h.user("d1")
		for query, want := range map[string][]string{
			"?tag=env:prod": {"COPY", "ORDERS"}, "?tag=Env:Prod&state=active": {"ORDERS"}, "?state=suspended": {"COPY"}, "?state=nonsense": {"COPY", "ORDERS", "SYS"}, "?tag=none": nil,
		} {
			p := b.get("/accounts" + query).want(200)
			for _, name := range []string{"COPY", "ORDERS", "SYS"} {
				if link := `<a href="/accounts/` + name + `">`; slices.Contains(want, name) {
					p.has(link)
				} else {
					p.hasNot(link)
				}
			}
		}
		b.get("/accounts?tag=none").has("No account matches", "Clear the filters")
		b.get("/accounts").has(`<a href="/accounts/ORDERS/users">1</a>`, `href="/accounts?tag=env%3Aprod"`)
	})
}

// signedBefore makes the JWT of ORDERS as old as d.
func (h *house) signedBefore(d time.Duration) {
	h.t.Helper()
	must(h.t, h.store.Write(h.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		a, _, err := tx.LockAccount(ctx, h.account)
		if err != nil {
			return err
		}
		return tx.PutJWT(ctx, store.JWT{
			Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: tx.Now().Add(-d).Unix(), JTI: "old", Signer: a.Signer, Token: a.JWT,
		})
	}))
}

// A renewal that waits for the signing switch says so, where the account and its operator are shown.
func TestHeldRenewalIsShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	_, err := h.issuer.UpdateAccount(t.Context(), op, "ORDERS", func(e *issuer.AccountEdit) { e.Lifetime = time.Hour })
	must(t, err)
	_, err = h.issuer.SetSigning(t.Context(), op, "acme", false)
	must(t, err)
	b.get("/accounts/ORDERS").want(200).has("1 hour after each signing").hasNot("held up")
	h.signedBefore(40 * time.Minute)
	b.get("/accounts/ORDERS").want(200).has("The renewal is held up.", "Signing is switched off")
	b.get("/operators/acme").want(200).has("1 account waits to be renewed")
	h.signedBefore(80 * time.Minute)
	b.get("/accounts/ORDERS").want(200).has("Expired.")
	b.get("/accounts").want(200).has("Expired")
}
