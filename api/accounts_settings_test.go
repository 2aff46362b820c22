package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/api"
	"chancery/claims"
)

// everything is a patch of every setting that an account has.
const everything = `{
	"description":"Orders of the shop","info_url":"https://wiki.acme.example/orders","tags":["Team:Orders","env:prod"],
	"limits":{"connections":11,"leaf_connections":2,"subscriptions":300,"data_bytes":4000,"payload_bytes":5000,"imports":6,"exports":7,"wildcard_exports":false,"disallow_bearer":true},
	"jetstream":{"enabled":true,"tiers":{
		"R1":{"memory_bytes":1,"disk_bytes":2,"streams":3,"consumers":4,"max_ack_pending":5,"memory_max_stream_bytes":6,"disk_max_stream_bytes":7,"max_bytes_required":true},
		"R3":{"memory_bytes":0}}},
	"default_permissions":{"publish":{"allow":["orders.>"],"deny":["orders.secret"]},"subscribe":{"allow":["orders.> workers"],"deny":["x"]},"responses":{"max":2,"ttl_seconds":3}},
	"mappings":[{"source":"orders.*","destinations":[{"subject":"orders.v2.$1","weight":10},{"subject":"orders.v3.$1","weight":20,"cluster":"eu"}]},{"source":"a","destinations":[{"subject":"b"}]}],
	"trace":{"destination":"trace.orders","sampling":25},
	"cluster_traffic":"owner",
	"lifetime_seconds":7200}`

// signed is what everything makes of the JWT.
func signed() jwt.Account {
	s := claims.NewAccountSettings()
	s.Description, s.InfoURL, s.Tags = "Orders of the shop", "https://wiki.acme.example/orders", jwt.TagList{"team:orders", "env:prod"}
	s.Limits = jwt.OperatorLimits{
		NatsLimits:    jwt.NatsLimits{Subs: 300, Data: 4000, Payload: 5000},
		AccountLimits: jwt.AccountLimits{Imports: 6, Exports: 7, DisallowBearer: true, Conn: 11, LeafNodeConn: 2},
		JetStreamTieredLimits: jwt.JetStreamTieredLimits{
			"R1": {MemoryStorage: 1, DiskStorage: 2, Streams: 3, Consumer: 4, MaxAckPending: 5, MemoryMaxStreamBytes: 6, DiskMaxStreamBytes: 7, MaxBytesRequired: true},
			"R3": {DiskStorage: -1, Streams: -1, Consumer: -1},
		},
	}
	s.DefaultPermissions = jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{"orders.>"}, Deny: jwt.StringList{"orders.secret"}}, Sub: jwt.Permission{Allow: jwt.StringList{"orders.> workers"}, Deny: jwt.StringList{"x"}},
		Resp: &jwt.ResponsePermission{MaxMsgs: 2, Expires: 3 * time.Second},
	}
	s.Mappings = jwt.Mapping{"orders.*": {{Subject: "orders.v2.$1", Weight: 10}, {Subject: "orders.v3.$1", Weight: 20, Cluster: "eu"}}, "a": {{Subject: "b"}}}
	s.Trace, s.ClusterTraffic = &jwt.MsgTrace{Destination: "trace.orders", Sampling: 25}, jwt.ClusterTrafficOwner
	return s
}

// served returns the claims that servers get of the account, as nats-io/jwt reads them, without what is not a setting.
func (h *house) served(path string) *jwt.AccountClaims {
	h.t.Helper()
	c, err := jwt.DecodeAccountClaims(string(h.want(get, path+"/jwt", "", 200).body))
	must(h.t, err)
	c.SigningKeys, c.Revocations, c.GenericFields = nil, nil, jwt.GenericFields{Tags: c.Tags}
	return c
}

// compared tells how the settings of two JWTs differ; lists and maps may be empty in either way.
func compared(want, got jwt.Account) string {
	raw := func(a jwt.Account) (out map[string]any) {
		text, err := json.Marshal(a)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		return out
	}
	return cmp.Diff(raw(want), raw(got))
}

// writable is what a PATCH takes of a GET of ORDERS.
func (h *house) writable() string {
	h.t.Helper()
	var all map[string]any
	h.want(get, orders, "", 200).into(h.t, &all)
	out := map[string]any{}
	for _, field := range []string{
		"description", "info_url", "tags", "limits", "jetstream", "default_permissions", "mappings", "trace", "cluster_traffic", "authorization", "expires_at", "lifetime_seconds",
	} {
		if v, ok := all[field]; ok {
			out[field] = v
		}
	}
	raw, err := json.Marshal(out)
	must(h.t, err)
	return string(raw)
}

// Every setting goes through the API into the JWT that servers get, as nats-io/jwt reads it; what is read can be
// written again and changes nothing; null puts every one back.
func TestEverySettingReachesTheJWT(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		fresh := h.writable()
		h.unsigned(fresh)
		h.want(patch, orders, everything, 200)
		c := h.served(orders)
		if diff := compared(signed(), c.Account); diff != "" {
			h.t.Errorf("the JWT (-want +got):\n%s", diff)
		}
		if c.Expires != c.IssuedAt+7200 {
			h.t.Errorf("issued at %d, it ends at %d", c.IssuedAt, c.Expires)
		}
		var a api.Account
		h.want(get, orders, "", 200).into(h.t, &a)
		if a.ExpiresAt != nil || a.LifetimeSeconds != 7200 || a.ValidUntil.Unix() != c.Expires || a.RenewAt.Unix() != c.IssuedAt+3600 {
			h.t.Errorf("the end is shown as %v %d %v %v", a.ExpiresAt, a.LifetimeSeconds, a.ValidUntil, a.RenewAt)
		}
		if a.JetStream.Tiers["R3"].Streams != -1 || a.JetStream.Tiers["R3"].MaxAckPending != -1 {
			h.t.Errorf("tier R3 is shown as %+v", a.JetStream.Tiers["R3"])
		}
		h.unsigned(h.writable())

		h.want(patch, orders, `{"description":null,"info_url":null,"tags":null,"limits":null,"jetstream":null,"default_permissions":null,"mappings":null,"trace":null,
			"cluster_traffic":null,"authorization":null,"expires_at":null,"lifetime_seconds":null}`, 200)
		c = h.served(orders)
		if diff := compared(claims.NewAccountSettings(), c.Account); diff != "" || c.Expires != 0 {
			h.t.Errorf("put back, it ends at %d (-want +got):\n%s", c.Expires, diff)
		}

		// In a new account too.
		h.want(post, accounts, `{"name":"ALL",`+everything[1:], 201)
		if diff := compared(signed(), h.served(accounts+"/ALL").Account); diff != "" {
			h.t.Errorf("of a new account (-want +got):\n%s", diff)
		}
	})
}

// unsigned sends a patch of ORDERS that must change nothing.
func (h *house) unsigned(body string) {
	h.t.Helper()
	var before, after api.Account
	h.want(get, orders, "", 200).into(h.t, &before)
	h.want(patch, orders, body, 200).into(h.t, &after)
	if before.Revision != after.Revision {
		h.t.Errorf("what was read and written again was signed anew: %s", body)
	}
}

// Each patch changes what it names and leaves the rest, as RFC 7396 says.
func TestSettingsAreMerged(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		for n, c := range []struct {
			patch string
			want  func(s *jwt.Account)
		}{
			{`{"jetstream":{"enabled":true}}`, func(s *jwt.Account) { s.Limits.JetStreamLimits = claims.UnlimitedJetStream() }},
			{`{"jetstream":{"disk_bytes":5,"memory_bytes":0,"max_ack_pending":-1}}`, func(s *jwt.Account) { s.Limits.DiskStorage, s.Limits.MemoryStorage = 5, 0 }},
			{`{"jetstream":{"tiers":{"R1":{"disk_bytes":9}}}}`, func(s *jwt.Account) {
				s.Limits.JetStreamLimits = jwt.JetStreamLimits{}
				s.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {MemoryStorage: -1, DiskStorage: 9, Streams: -1, Consumer: -1}}
			}},
			{`{"jetstream":{"tiers":{"R1":{"streams":2},"R3":{"memory_bytes":0,"disk_bytes":1}}}}`, func(s *jwt.Account) {
				s.Limits.JetStreamTieredLimits["R1"] = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: 9, Streams: 2, Consumer: -1}
				s.Limits.JetStreamTieredLimits["R3"] = jwt.JetStreamLimits{DiskStorage: 1, Streams: -1, Consumer: -1}
			}},
			{`{"jetstream":{"tiers":{"R1":null}}}`, func(s *jwt.Account) { delete(s.Limits.JetStreamTieredLimits, "R1") }},
			{`{"jetstream":{"tiers":null,"enabled":true,"disk_bytes":7}}`, func(s *jwt.Account) {
				s.Limits.JetStreamTieredLimits = nil
				s.Limits.JetStreamLimits = claims.UnlimitedJetStream()
				s.Limits.DiskStorage = 7
			}},
			{`{"jetstream":{"enabled":false}}`, func(s *jwt.Account) { s.Limits.JetStreamLimits = jwt.JetStreamLimits{} }},
			{`{"default_permissions":{"publish":{"allow":["a"]}}}`, func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a"} }},
			{`{"default_permissions":{"publish":{"deny":["b"]},"responses":{}}}`, func(s *jwt.Account) {
				s.DefaultPermissions.Pub.Deny, s.DefaultPermissions.Resp = jwt.StringList{"b"}, &jwt.ResponsePermission{}
			}},
			{`{"default_permissions":{"publish":{"allow":null},"responses":null}}`, func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow, s.DefaultPermissions.Resp = nil, nil }},
			{`{"default_permissions":{"publish":null}}`, func(s *jwt.Account) { s.DefaultPermissions.Pub = jwt.Permission{} }},
			{`{"trace":{"destination":"t"}}`, func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "t"} }},
			{`{"trace":{"sampling":5}}`, func(s *jwt.Account) { s.Trace.Sampling = 5 }},
			{`{"trace":null}`, func(s *jwt.Account) { s.Trace = nil }},
			{`{"cluster_traffic":"system"}`, func(*jwt.Account) {}},
			{`{"cluster_traffic":"owner"}`, func(s *jwt.Account) { s.ClusterTraffic = "owner" }},
			{`{"cluster_traffic":"system"}`, func(s *jwt.Account) { s.ClusterTraffic = "system" }},
			{`{"cluster_traffic":null}`, func(s *jwt.Account) { s.ClusterTraffic = "" }},
			{`{"preset":"dev","limits":{"connections":21}}`, func(s *jwt.Account) {
				p, _ := claims.AccountPreset("dev")
				s.Limits = p.Limits
				s.Limits.Conn = 21
			}},
			{`{"limits":null}`, func(s *jwt.Account) {
				js := s.Limits.JetStreamLimits
				s.Limits = claims.NewAccountSettings().Limits
				s.Limits.JetStreamLimits = js
			}},
			{`{"expires_at":"` + end.Format(time.RFC3339) + `"}`, func(*jwt.Account) {}},
		} {
			if n == 0 {
				h.want(patch, orders, `{"tags":null}`, 200)
			}
			want := h.served(orders).Account
			c.want(&want)
			h.want(patch, orders, c.patch, 200)
			if diff := compared(want, h.served(orders).Account); diff != "" {
				h.t.Errorf("%s (-want +got):\n%s", c.patch, diff)
			}
			h.unsigned(h.writable())
		}
		if c := h.served(orders); c.Expires != end.Unix() {
			h.t.Errorf("it ends at %d, not %d", c.Expires, end.Unix())
		}
		h.want(patch, orders, `{"expires_at":null,"lifetime_seconds":3600}`, 200)
		if c := h.served(orders); c.Expires != c.IssuedAt+3600 {
			h.t.Errorf("issued at %d, it ends at %d", c.IssuedAt, c.Expires)
		}
	})
}

// settingsInvalid are settings that are refused, with a pointer to the field as the request has it.
func settingsInvalid() []badCase {
	bad := func(name, body, code, pointer string) badCase {
		return badCase{name, patch, orders, body, nil, 422, code, pointer}
	}
	return []badCase{
		bad("a tier below -1", `{"jetstream":{"tiers":{"R3":{"disk_bytes":-2}}}}`, "out_of_range", "/jetstream/tiers/R3/disk_bytes"),
		bad("no such tier", `{"jetstream":{"tiers":{"`+marker+`":{"disk_bytes":2}}}}`, "invalid_tier", "/jetstream/tiers"),
		bad("tiers and flat limits", `{"jetstream":{"disk_bytes":1,"tiers":{"R3":{"disk_bytes":2}}}}`, "exclusive", "/jetstream/tiers"),
		bad("on without storage", `{"jetstream":{"enabled":true,"disk_bytes":0,"memory_bytes":0}}`, "contradictory", "/jetstream/enabled"),
		bad("off with storage", `{"jetstream":{"enabled":false,"disk_bytes":1}}`, "contradictory", "/jetstream/enabled"),
		bad("unknown field of a tier", `{"jetstream":{"tiers":{"R3":{"disk_bytes":"x"}}}}`, "*", "/jetstream/tiers/R3/disk_bytes"),
		bad("default subject", `{"default_permissions":{"publish":{"deny":["a","b..c"]}}}`, "*", "/default_permissions/publish/deny/1"),
		bad("default responses", `{"default_permissions":{"responses":{"max":-5}}}`, "*", "/default_permissions/responses/max"),
		bad("trace without destination", `{"trace":{"sampling":3}}`, "*", "/trace/destination"),
		bad("trace to a wildcard", `{"trace":{"destination":"a.>"}}`, "invalid_subject", "/trace/destination"),
		bad("too much sampling", `{"trace":{"destination":"a","sampling":101}}`, "out_of_range", "/trace/sampling"),
		bad("cluster traffic", `{"cluster_traffic":"mine"}`, "unknown_value", "/cluster_traffic"),
		bad("information URL", `{"info_url":"`+marker+`"}`, "invalid_url", "/info_url"),
		bad("mapping of the second source", `{"mappings":[{"source":"z","destinations":[{"subject":"a..b"}]},{"source":"a","destinations":[{"subject":"b"}]}]}`, "*", "/mappings/0/destinations/0/subject"),
		bad("mapping of the first source", `{"mappings":[{"source":"z","destinations":[{"subject":"b"}]},{"source":"a..","destinations":[{"subject":"b"}]}]}`, "*", "/mappings/1/source"),
		bad("mapping twice", `{"mappings":[{"source":"z","destinations":[]},{"source":"a","destinations":[]},{"source":"z","destinations":[]}]}`, "duplicate", "/mappings/2/source"),
		bad("too heavy", `{"mappings":[{"source":"z","destinations":[{"subject":"a","weight":60},{"subject":"b","weight":50}]}]}`, "too_heavy", "/mappings/0/destinations"),
		bad("weight", `{"mappings":[{"source":"z","destinations":[{"subject":"a","weight":300}]}]}`, "*", "/mappings/0/destinations/0/weight"),
		bad("callout user", `{"authorization":{"auth_users":["`+marker+`"]}}`, "*", "/authorization/auth_users/0"),
		bad("callout account", `{"authorization":{"auth_users":["`+someUserKey+`"],"allowed_accounts":["x"]}}`, "*", "/authorization/allowed_accounts/0"),
		bad("callout key", `{"authorization":{"auth_users":["`+someUserKey+`"],"xkey":"x"}}`, "invalid_key", "/authorization/xkey"),
		bad("end in the past", `{"expires_at":"2020-01-01T00:00:00Z"}`, "in_the_past", "/expires_at"),
		bad("end that is no time", `{"expires_at":"`+marker+`"}`, "*", "/expires_at"),
		bad("lifetime too short", `{"lifetime_seconds":3599}`, "out_of_range", "/lifetime_seconds"),
		bad("both ends", `{"lifetime_seconds":3600,"expires_at":"2999-01-01T00:00:00Z"}`, "exclusive", "/lifetime_seconds"),
		bad("preset", `{"preset":"`+marker+`"}`, "unknown_value", "/preset"),
		{"preset of a new account", post, accounts, `{"name":"n","preset":"x"}`, nil, 422, "unknown_value", "/preset"},
		{"name of a copy", post, orders + "/clone", `{"name":"` + strayedSeed + `"}`, nil, 422, "*", "/name"},
		{"copy of the name", post, orders + "/clone", `{"name":"ORDERS"}`, nil, 409, "", "-"},
		{"copy of nothing", post, accounts + "/NONE/clone", `{"name":"n"}`, nil, 404, "", "-"},
	}
}

// A callout is demanded only when somebody can answer it.
func TestCalloutIsGuarded(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		a := h.want(patch, orders, `{"authorization":{"auth_users":["`+someUserKey+`"]}}`, 409)
		if p := a.problem(h.t); p.Code != "would_lock_out" || p.Guard != "callout_unanswered" {
			h.t.Errorf("%s", a.body)
		}
		h.want(patch, orders+"?override=callout_unanswered", `{"authorization":{"auth_users":["`+someUserKey+`"],"xkey":"`+someXKey+`"}}`, 200)
		want := jwt.ExternalAuthorization{AuthUsers: jwt.StringList{someUserKey}, XKey: someXKey}
		if diff := cmp.Diff(want, h.served(orders).Authorization); diff != "" {
			h.t.Errorf("(-want +got):\n%s", diff)
		}
		h.unsigned(h.writable())
	})
}

// A preset is what its list says, and fields that are given override it.
func TestPresets(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		var list api.Page[api.AccountPreset]
		h.want(get, "/account-presets", "", 200).into(h.t, &list)
		if len(list.Items) < 5 {
			h.t.Errorf("%d presets", len(list.Items))
		}
		for _, p := range list.Items {
			var a api.Account
			h.want(post, accounts, `{"name":"P-`+p.Name+`","preset":"`+p.Name+`","limits":{"exports":3}}`, 201).into(h.t, &a)
			p.Limits.Exports = 3
			if diff := cmp.Diff(p.Limits, a.Limits) + cmp.Diff(p.JetStream, a.JetStream); diff != "" {
				h.t.Errorf("%s (-want +got):\n%s", p.Name, diff)
			}
			h.want(patch, orders+"?dry_run=true", `{"preset":"`+p.Name+`"}`, 200).into(h.t, &a)
			if a.Plan == nil || len(a.Plan.Changes) == 0 {
				h.t.Errorf("%s: the plan is %+v", p.Name, a.Plan)
			}
		}
	})
}

// Accounts are found by state and tag, in pages that keep to it, and say how many users they have.
func TestAccountsAreFound(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		for _, name := range []string{"EU-1", "EU-2", "EU-3"} {
			h.want(post, accounts, `{"name":"`+name+`","tags":["region:eu","x"],"description":"region:us"}`, 201)
		}
		h.want("PUT", accounts+"/EU-2/suspension", `{}`, 200)
		names := func(query string) (out []string) {
			var page api.Page[api.Account]
			h.want(get, accounts+"?"+query, "", 200).into(h.t, &page)
			for _, a := range page.Items {
				out = append(out, a.Name)
			}
			if page.NextCursor != "" {
				h.want(get, accounts+"?"+query+"&cursor="+page.NextCursor, "", 200).into(h.t, &page)
				for _, a := range page.Items {
					out = append(out, "then "+a.Name)
				}
			}
			return out
		}
		for query, want := range map[string][]string{
			"tag=region:eu":              {"EU-1", "EU-2", "EU-3"},
			"tag=Region:EU&limit=2":      {"EU-1", "EU-2", "then EU-3"},
			"tag=region":                 nil,
			"tag=region:us":              nil,
			"tag=x&state=active":         {"EU-1", "EU-3"},
			"state=suspended":            {"EU-2"},
			"q=eu-3&tag=x&operator=acme": {"EU-3"},
		} {
			if diff := cmp.Diff(want, names(query)); diff != "" {
				h.t.Errorf("%s (-want +got):\n%s", query, diff)
			}
		}
		var page api.Page[api.Account]
		h.want(get, accounts+"?q=ORDERS", "", 200).into(h.t, &page)
		if n := page.Items[0].Users; n == nil || *n != 1 {
			h.t.Errorf("ORDERS has %v users", n)
		}
	})
}
