package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What must never come back: a seed (the example of the nkeys documentation) and a
// word that no sentence of ours holds.
const (
	strayedSeed = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"
	marker      = "zqxMARKERxqz"
)

// badCase is a request that must be refused, and how.
type badCase struct {
	name, method, path, body string
	header                   map[string]string
	status                   int
	// code and pointer are those of the first field error, if pointer is not "-".
	code, pointer string
}

const (
	post, patch, put, get, del = http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodGet, http.MethodDelete
	accounts, orders           = "/accounts", "/accounts/ORDERS"
	users, templates           = orders + "/users", orders + "/templates"
	shared                     = "/operators/acme/templates"
	credentials                = users + "/d1/credentials"
	revocations                = orders + "/revocations"
)

func jsonForm() []badCase {
	deep := strings.Repeat(`{"limits":`, 40) + "1" + strings.Repeat("}", 40)
	deepArray := `{"name":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + "}"
	return []badCase{
		{"not json", post, accounts, marker, nil, 400, "invalid_json", ""},
		{"truncated", post, accounts, `{"name":"` + marker, nil, 400, "invalid_json", "/name"},
		{"trailing data", post, accounts, `{"name":"x"} ` + marker, nil, 400, "trailing_data", ""},
		{"two documents", post, accounts, `{"name":"x"}{"name":"y"}`, nil, 400, "trailing_data", ""},
		{"duplicate key", post, accounts, `{"name":"x","name":"` + marker + `"}`, nil, 400, "duplicate_key", "/name"},
		{"duplicate nested key", post, accounts, `{"name":"x","limits":{"connections":1,"connections":2}}`, nil, 400, "duplicate_key", "/limits/connections"},
		{"wrong case", post, accounts, `{"Name":"x"}`, nil, 400, "unknown_field", "/name"},
		{"wrong case nested", post, accounts, `{"name":"x","limits":{"Connections":1}}`, nil, 400, "unknown_field", "/limits/connections"},
		{"unknown key", post, accounts, `{"name":"x","` + marker + `":1}`, nil, 400, "unknown_field", ""},
		{"seed as a key", post, accounts, `{"name":"x","` + strayedSeed + `":1}`, nil, 400, "unknown_field", ""},
		{"unknown nested key", post, accounts, `{"name":"x","jetstream":{"` + marker + `":1}}`, nil, 400, "unknown_field", "/jetstream"},
		{"too deep objects", post, accounts, deep, nil, 400, "unknown_field", "/limits"},
		{"too deep arrays", post, accounts, deepArray, nil, 400, "too_deep", "-"},
		{"too large", post, accounts, `{"name":"` + strings.Repeat("x", 300<<10) + `"}`, nil, 413, "", "-"},
		{"ten megabytes", post, accounts, `{"name":"` + strings.Repeat("x", 10<<20) + `"}`, nil, 413, "", "-"},
		{"invalid utf-8", post, accounts, "{\"name\":\"\xff\xfe\"}", nil, 400, "invalid_utf8", ""},
		{"lone surrogate", post, accounts, `{"name":"\ud800x"}`, nil, 400, "invalid_utf8", ""},
		{"byte order mark", post, accounts, "\ufeff{\"name\":\"x\"}", nil, 400, "invalid_json", ""},
		{"empty body", post, accounts, " ", nil, 400, "required", ""},
		{"array for object", post, accounts, `[]`, nil, 422, "wrong_type", ""},
		{"string for object", post, accounts, `"` + marker + `"`, nil, 422, "wrong_type", ""},
		{"null body", post, accounts, `null`, nil, 422, "wrong_type", ""},
		{"not a number", post, accounts, `{"name":"x","limits":{"connections":NaN}}`, nil, 400, "invalid_json", "/limits/connections"},
		{"wrong content type", post, accounts, `{"name":"x"}`, map[string]string{"Content-Type": "text/plain"}, 415, "", "-"},
		{"form", post, accounts, `name=x`, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "", "-"},
	}
}

func wrongTypes() []badCase {
	var out []badCase
	for field, values := range map[string][]string{
		"/name":                      {`1`, `true`, `null`, `[]`, `{}`},
		"/description":               {`1`, `{}`, `["` + marker + `"]`},
		"/tags":                      {`"` + marker + `"`, `{}`, `1`},
		"/tags/0":                    {`[1]`, `[null]`, `[{}]`},
		"/limits":                    {`1`, `"` + marker + `"`, `[]`},
		"/limits/connections":        {`{"connections":"` + marker + `"}`, `{"connections":1.5}`, `{"connections":1e400}`, `{"connections":[]}`, `{"connections":true}`},
		"/jetstream/enabled":         {`{"enabled":"yes"}`, `{"enabled":1}`},
		"/jetstream/disk_bytes":      {`{"disk_bytes":"1GiB"}`},
		"/limits/wildcard_exports":   {`{"wildcard_exports":0}`},
		"/limits/subscriptions":      {`{"subscriptions":99999999999999999999}`},
		"/limits/payload_bytes":      {`{"payload_bytes":{}}`},
		"/jetstream/memory_bytes":    {`{"memory_bytes":"` + strayedSeed + `"}`},
		"/limits/leaf_connections":   {`{"leaf_connections":"-1"}`},
		"/limits/data_bytes":         {`{"data_bytes":0.1}`},
		"/jetstream/consumers":       {`{"consumers":[1]}`},
		"/jetstream/streams":         {`{"streams":false}`},
		"/limits/disallow_bearer":    {`{"disallow_bearer":"` + marker + `"}`},
		"/limits/imports":            {`{"imports":"x"}`},
		"/limits/exports":            {`{"exports":"x"}`},
		"/operator":                  {`7`, `["` + marker + `"]`},
		"/limits/connections#digits": {`{"connections":123456789012345678901234567890}`},
	} {
		field, _, _ = strings.Cut(field, "#")
		top, _, _ := strings.Cut(field[1:], "/")
		for _, v := range values {
			body := fmt.Sprintf(`{"name":"x",%q:%s}`, top, v)
			if top == "name" {
				body = fmt.Sprintf(`{"name":%s}`, v)
			}
			out = append(out, badCase{field + " " + v, post, accounts, body, nil, 422, "*", field})
		}
	}
	return out
}

func names() []badCase {
	var out []badCase
	for _, n := range []struct{ name, code string }{
		{"", "required"},
		{strings.Repeat("x", 65), "too_long"},
		{" lead", "invalid_name"},
		{"trail ", "invalid_name"},
		{`a\nb`, "invalid_name"},
		{`a\u0000b`, "invalid_name"},
		{`a\u202eb`, "invalid_name"},
		{`a\u200bb`, "invalid_name"},
		{`a\tb`, "invalid_name"},
		{"a/b", "invalid_name"},
		{"*", "invalid_name"},
		{"..", "invalid_name"},
		{".", "invalid_name"},
		{`a\\b`, "invalid_name"},
		{"a?b", "invalid_name"},
		{"a#b", "invalid_name"},
		{"a%2fb", "invalid_name"},
		{"ABIQ6UJX2FQ6JWDKMHB3JRPQ7SGFYJJ2T5M3XXP7RO3DI4VW5PNZQNQM", "invalid_name"},
		{strayedSeed, "seed_not_accepted"},
	} {
		out = append(out,
			badCase{"account name " + n.name, post, accounts, `{"name":"` + n.name + `"}`, nil, 422, n.code, "/name"},
			badCase{"template name " + n.name, post, templates, `{"name":"` + n.name + `"}`, nil, 422, n.code, "/name"},
			badCase{"user name " + n.name, post, users, `{"name":"` + n.name + `","permissions":{}}`, nil, 422, n.code, "/name"},
			badCase{"operator name " + n.name, post, "/operators", `{"name":"` + n.name + `"}`, nil, 422, n.code, "/name"},
		)
	}
	// A template that uses name() takes names that are single subject tokens only.
	for _, n := range []string{">", "a.b", "a b", "ann@acme.example", "é", "{{name()}}", "$SYS", "a>", "*x"} {
		out = append(out, badCase{"token " + n, post, users, `{"name":"` + n + `","template":"device","tags":["region:eu"]}`, nil, 422, "not_a_token", "/name"})
	}
	for _, tag := range []string{"region:>", "region:*", "region:a.b", "region:a b", "a b:c", ">", "region:{{x}}", "region:eu:west", ":"} {
		out = append(out,
			badCase{"user tag " + tag, post, users, `{"name":"x","template":"device","tags":["` + tag + `"]}`, nil, 422, "invalid_tag", "/tags/0"},
			badCase{"account tag " + tag, patch, orders, `{"tags":["` + tag + `"]}`, nil, 422, "invalid_tag", "/tags/0"},
		)
	}
	return out
}

func subjects() []badCase {
	var out []badCase
	for _, s := range []struct{ subject, code string }{
		{"", "invalid_subject"},
		{".", "invalid_subject"},
		{"..", "invalid_subject"},
		{"a..b", "invalid_subject"},
		{".a", "invalid_subject"},
		{"a.", "invalid_subject"},
		{"a b", "invalid_subject"},
		{`a\tb`, "invalid_subject"},
		{`a\u0000b`, "invalid_subject"},
		{"foo.>.bar", "invalid_subject"},
		{">.a", "invalid_subject"},
		{"a.*b", "invalid_subject"},
		{"a>", "invalid_subject"},
		{"{{", "unknown_function"},
		{"{{nope()}}", "unknown_function"},
		{"{{tag()}}", "unknown_function"},
		{"{{TAG(x)}}", "unknown_function"},
		{"{{tag(a.b)}}", "unknown_function"},
		{"a.{{name()}", "unknown_function"},
		{"a.{{ {{name()}} }}", "unknown_function"},
		{strings.Repeat("x.", 600) + "x", "too_long"},
		{strayedSeed, "seed_not_accepted"},
	} {
		body := `{"name":"t","permissions":{"publish":{"allow":["ok","` + s.subject + `"]}}}`
		out = append(out, badCase{"subject " + s.subject[:min(len(s.subject), 20)], post, templates, body, nil, 422, s.code, "/permissions/publish/allow/1"})
	}
	return append(out,
		badCase{"queue in publish", post, templates, `{"name":"t","permissions":{"publish":{"deny":["a q"]}}}`, nil, 422, "invalid_subject", "/permissions/publish/deny/0"},
		badCase{"queue with dots", post, templates, `{"name":"t","permissions":{"subscribe":{"allow":["a q..r"]}}}`, nil, 422, "invalid_queue", "/permissions/subscribe/allow/0"},
		badCase{"two queues", post, templates, `{"name":"t","permissions":{"subscribe":{"deny":["a q r"]}}}`, nil, 422, "invalid_queue", "/permissions/subscribe/deny/0"},
		badCase{"template with queue", post, templates, `{"name":"t","permissions":{"subscribe":{"allow":["a.{{name()}} q"]}}}`, nil, 422, "invalid_subject", "/permissions/subscribe/allow/0"},
		badCase{"function in a user's own", post, users, `{"name":"u","permissions":{"publish":{"allow":["{{name()}}"]}}}`, nil, 422, "invalid_subject", "/permissions/publish/allow/0"},
		badCase{"501 subjects", post, templates, `{"name":"t","permissions":{"publish":{"allow":["a"` + strings.Repeat(`,"a"`, 500) + `]}}}`, nil, 422, "too_many", "/permissions/publish/allow"},
	)
}

func values() []badCase {
	var out []badCase
	for _, c := range []string{"10.0.0.0/33", "10.0.0.0", "127.1/8", "010.0.0.0/8", "fe80::1%eth0/64", "x/8", "10.0.0.0/-1", "/8", "", strayedSeed} {
		out = append(out, badCase{"cidr " + c, post, templates, `{"name":"t","source_cidrs":["` + c + `"]}`, nil, 422, "invalid_cidr", "/source_cidrs/0"})
	}
	for _, h := range []string{`"start":"25:00:00","end":"26:00:00"`, `"start":"8:00","end":"9:00"`, `"start":"08:00:00","end":"08:00:00"`, `"start":"","end":""`, `"start":"` + marker[:8] + `","end":"09:00:00"`} {
		out = append(out, badCase{"times " + h, post, templates, `{"name":"t","times":[{` + h + `}]}`, nil, 422, "invalid_time", "/times/0"})
	}
	for _, k := range []string{"x", marker, "UABC", strings.ToLower("UDXB7GW2QPL3NJ54SG5FGM5UYI5QEBGYWVFV3KHOV6EWSOE6YDQGSJVY"), "ABIQ6UJX2FQ6JWDKMHB3JRPQ7SGFYJJ2T5M3XXP7RO3DI4VW5PNZQNQM"} {
		out = append(out, badCase{"user key " + k, post, credentials, `{"public_key":"` + k + `"}`, nil, 422, "invalid_key", "/public_key"})
	}
	return append(out,
		badCase{"seed in a tag", post, users, `{"name":"x","template":"device","tags":["` + strayedSeed + `"]}`, nil, 422, "seed_not_accepted", "/tags/0"},
		badCase{"seed in an account's tag", patch, orders, `{"tags":["` + strayedSeed + `"]}`, nil, 422, "seed_not_accepted", "/tags/0"},
		badCase{"seed for a key", post, credentials, `{"public_key":"` + strayedSeed + `"}`, nil, 422, "seed_not_accepted", "/public_key"},
		badCase{"seed for a new user's key", post, users, `{"name":"n","permissions":{},"public_key":"` + strayedSeed + `"}`, nil, 422, "seed_not_accepted", "/public_key"},
		badCase{"seed in a service url", post, "/operators", `{"name":"o","service_urls":["nats://` + strayedSeed + `:4222"]}`, nil, 422, "invalid_url", "/service_urls/0"},
		badCase{"credentials in a service url", patch, "/operators/acme", `{"service_urls":["nats://u:` + marker + `@h:4222"]}`, nil, 422, "invalid_url", "/service_urls/0"},
		badCase{"http service url", post, "/operators", `{"name":"o","service_urls":["http://h"]}`, nil, 422, "invalid_url", "/service_urls/0"},
		badCase{"time zone", post, templates, `{"name":"t","times_location":"Mars/` + marker + `"}`, nil, 422, "invalid_time_zone", "/times_location"},
		badCase{"connection type", post, templates, `{"name":"t","connection_types":["` + marker + `"]}`, nil, 422, "unknown_value", "/connection_types/0"},
		badCase{"limit below -1", patch, orders, `{"limits":{"connections":-2}}`, nil, 422, "out_of_range", "/limits/connections"},
		badCase{"jetstream below -1", patch, orders, `{"jetstream":{"enabled":true,"disk_bytes":-5}}`, nil, 422, "out_of_range", "/jetstream/disk_bytes"},
		badCase{"jetstream on the system account", patch, "/accounts/SYS", `{"jetstream":{"enabled":true}}`, nil, 422, "not_allowed", "/jetstream/enabled"},
		badCase{"negative lifetime", post, credentials, `{"ttl_seconds":-1}`, nil, 422, "out_of_range", "/ttl_seconds"},
		badCase{"lifetime of a million years", post, credentials, `{"ttl_seconds":99999999999999}`, nil, 422, "out_of_range", "/ttl_seconds"},
		badCase{"neither template nor permissions", post, users, `{"name":"n"}`, nil, 422, "required", "/template"},
		badCase{"template and permissions", post, users, `{"name":"n","template":"device","permissions":{}}`, nil, 422, "required", "/template"},
		badCase{"no such template", post, users, `{"name":"n","template":"` + marker + `"}`, nil, 422, "not_found", "/template"},
		badCase{"revocation in the future", put, revocations + "/d1", `{"before":"2999-01-01T00:00:00Z"}`, nil, 422, "*", "-"},
		badCase{"revocation before nonsense", put, revocations + "/d1", `{"before":"` + marker + `"}`, nil, 422, "invalid_time", "/before"},
		badCase{"revocation of a seed", put, revocations + "/" + strayedSeed, `{}`, nil, 422, "seed_not_accepted", "/subject"},
		badCase{"revocation of a foreign key", put, revocations + "/ABIQ6UJX2FQ6JWDKMHB3JRPQ7SGFYJJ2T5M3XXP7RO3DI4VW5PNZQNQM", `{}`, nil, 422, "invalid_key", "/subject"},
		badCase{"revoking everybody on SYS", put, "/accounts/SYS/revocations/*", `{}`, nil, 409, "", "-"},
		badCase{"unknown operator", post, accounts, `{"name":"n","operator":"` + marker + `"}`, nil, 404, "", "-"},
		badCase{"name taken", post, accounts, `{"name":"ORDERS"}`, nil, 409, "", "-"},
		badCase{"user taken", post, users, `{"name":"d1","template":"device","tags":["region:eu"]}`, nil, 409, "", "-"},
		badCase{"template taken", post, templates, `{"name":"device"}`, nil, 409, "", "-"},
		badCase{"stale", patch, orders, `{"description":"x"}`, map[string]string{"If-Match": `"r99"`}, 412, "", "-"},
		badCase{"no etag", patch, orders, `{"description":"x"}`, map[string]string{"If-Match": marker}, 412, "", "-"},
	)
}

func paths() []badCase {
	return []badCase{
		{"unknown account", get, "/accounts/" + marker, "", nil, 404, "", "-"},
		{"seed as an account", get, "/accounts/" + strayedSeed, "", nil, 404, "", "-"},
		{"seed as a user", get, users + "/" + strayedSeed, "", nil, 404, "", "-"},
		{"malformed key as an account", get, "/accounts/ABIQ", "", nil, 404, "", "-"},
		{"long name in the path", get, "/accounts/" + strings.Repeat("x", 100), "", nil, 422, "too_long", "-"},
		{"encoded slash", get, "/accounts/..%2f..%2fetc", "", nil, 404, "", "-"},
		{"encoded nul", get, "/accounts/a%00b", "", nil, 404, "", "-"},
		{"no such path", get, "/" + marker, "", nil, 404, "", "-"},
		{"method", "DELETE", accounts, "", nil, 405, "", "-"},
		{"trace", "TRACE", accounts, "", nil, 405, "", "-"},
		{"unknown query", get, accounts + "?" + marker + "=1", "", nil, 422, "unknown_parameter", "-"},
		{"limit no number", get, accounts + "?limit=" + marker, "", nil, 422, "wrong_type", "-"},
		{"limit zero", get, accounts + "?limit=0", "", nil, 422, "out_of_range", "-"},
		{"foreign cursor", get, accounts + "?cursor=" + marker, "", nil, 422, "invalid_cursor", "-"},
		{"dry run no boolean", post, accounts + "?dry_run=" + marker, `{"name":"n"}`, nil, 422, "wrong_type", "-"},
	}
}

func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	all := slices.Concat(jsonForm(), wrongTypes(), names(), subjects(), values(), settingsInvalid(), paths())
	eachHouse(t, func(h *house) {
		h.want(post, credentials, `{}`, 201) // something that could be revoked
		before := h.dump()
		for _, c := range all {
			h.refuses(c)
		}
		if after := h.dump(); after != before {
			h.t.Errorf("the database changed")
		}
		for where, text := range map[string]string{"log": h.log.String(), "metrics": h.scrape()} {
			for _, secret := range []string{strayedSeed, marker} {
				if strings.Contains(text, secret) {
					h.t.Errorf("the %s holds what a request sent", where)
				}
			}
		}
		h.t.Logf("%d of %d bad requests refused, nothing stored, nothing repeated", len(all), len(all))
	})
}

func (h *house) refuses(c badCase) {
	h.t.Helper()
	a := h.send(request{method: c.method, path: c.path, body: c.body, token: h.owner, header: c.header})
	if a.status != c.status {
		h.t.Errorf("%s: answered %d, want %d: %.300s", c.name, a.status, c.status, a.body)
		return
	}
	if strings.Contains(string(a.body), strayedSeed) || strings.Contains(string(a.body), marker) {
		h.t.Errorf("%s: the answer repeats the request: %s", c.name, a.body)
	}
	p := a.problem(h.t)
	if p.Title == "" || p.Code == "" || p.RequestID == "" || p.Status != c.status || a.header.Get("X-Request-Id") != p.RequestID {
		h.t.Errorf("%s: the problem document is incomplete: %s", c.name, a.body)
	}
	if c.pointer == "-" {
		return
	}
	if len(p.Errors) == 0 {
		h.t.Errorf("%s: no field is named: %s", c.name, a.body)
		return
	}
	e := p.Errors[0]
	if (c.code != "*" && e.Code != c.code) || e.Pointer != c.pointer || !strings.HasSuffix(e.Detail, ".") {
		h.t.Errorf("%s: %+v, want %s at %q and a sentence", c.name, e, c.code, c.pointer)
	}
}
