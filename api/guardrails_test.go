package api_test

import (
	"encoding/json"
	"testing"
)

// Guardrails are replaced as a whole, at the version that was read; what holds is the stricter of both.
func TestGuardrails(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		type view struct {
			MaxTTL   int64    `json:"credential_max_ttl_seconds"`
			NoBearer bool     `json:"no_bearer"`
			Subjects []string `json:"subject_prefixes"`
			Quotas   map[string]int64
		}
		type answered struct {
			view
			Effective view
			Summary   []string
		}
		set := func(path, tag, body string, status int) (answered, string) {
			r := request{method: put, path: path + "/guardrails", body: body, token: h.owner}
			if tag != "" {
				r.header = map[string]string{"If-Match": tag}
			}
			a := h.send(r)
			if a.status != status {
				h.t.Fatalf("PUT %s answered %d: %s", path, a.status, a.body)
			}
			var v answered
			must(h.t, json.Unmarshal(a.body, &v))
			return v, a.header.Get("ETag")
		}
		read := func(path string) (answered, string) {
			a := h.send(request{method: get, path: path + "/guardrails", token: h.auditor})
			var v answered
			must(h.t, json.Unmarshal(a.body, &v))
			return v, a.header.Get("ETag")
		}
		v, tag := read("/operators/acme")
		if v.Subjects != nil || v.Quotas["users_per_account"] != -1 || len(v.Summary) != 0 {
			h.t.Errorf("at first: %+v", v)
		}
		set("/operators/acme", "", `{}`, 428)
		v, newTag := set("/operators/acme", tag, `{"credential_max_ttl_seconds":3600,"subject_prefixes":["devices.","cmd.","inboxes"],"quotas":{"users_per_account":50,"total_connections":-1,"accounts":null}}`, 200)
		if v.MaxTTL != 3600 || v.Quotas["users_per_account"] != 50 || v.Quotas["accounts"] != -1 || len(v.Summary) != 3 || newTag == tag {
			h.t.Errorf("set: %+v %s", v, newTag)
		}
		set("/operators/acme", tag, `{}`, 412)
		var operator struct{ Policy view }
		must(h.t, json.Unmarshal(h.send(request{method: get, path: "/operators/acme", token: h.owner}).body, &operator))
		if operator.Policy.MaxTTL != 3600 {
			h.t.Errorf("the policy says %+v", operator.Policy)
		}
		h.want(patch, "/operators/acme", `{"policy":{"no_bearer":true}}`, 200)

		_, tag = read(orders)
		v, _ = set(orders, tag, `{"credential_max_ttl_seconds":86400,"subject_prefixes":["devices.eu.","orders."]}`, 200)
		if e := v.Effective; v.MaxTTL != 86400 || e.MaxTTL != 3600 || !e.NoBearer || len(e.Subjects) != 1 || e.Subjects[0] != "devices.eu." || e.Quotas["users_per_account"] != 50 {
			h.t.Errorf("of the account: %+v", v)
		}
		a := h.send(request{method: post, path: users, token: h.owner, body: `{"name":"x","permissions":{"publish":{"allow":["devices.eu.x"]},"subscribe":{"allow":["orders.>"]}}}`})
		p := a.problem(h.t)
		if a.status != 422 || len(p.Errors) != 1 || p.Errors[0].Pointer != "/permissions/subscribe/allow/0" || p.Errors[0].Code != "outside_guardrails" {
			h.t.Errorf("a user outside: %d %s", a.status, a.body)
		}
		// Replacing drops what is left out.
		_, tag = read(orders)
		if v, _ = set(orders, tag, `{}`, 200); v.MaxTTL != 0 || v.Subjects != nil || v.Effective.MaxTTL != 3600 {
			h.t.Errorf("dropped: %+v", v)
		}
	})
}
