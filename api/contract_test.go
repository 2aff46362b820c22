package api_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"chancery/api"
)

// contract is what api.OpenAPI says, read once for all tests: watched by the race detector that takes seconds. The
// tests do not change it.
func contract(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	c, err := readContract()
	must(t, err)
	return c.doc, c.router
}

type contractRead struct {
	raw    []byte
	doc    *openapi3.T
	router routers.Router
}

var readContract = sync.OnceValues(func() (c contractRead, err error) {
	if c.raw, err = api.OpenAPI(); err != nil {
		return c, err
	}
	if c.doc, err = openapi3.NewLoader().LoadFromData(c.raw); err != nil {
		return c, err
	}
	c.router, err = gorillamux.NewRouter(c.doc)
	return c, err
})

func TestOpenAPIFileIsWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	c, err := readContract()
	must(t, err)
	got, err := os.ReadFile("../openapi.yaml")
	must(t, err)
	if !bytes.Equal(got, c.raw) {
		t.Error("openapi.yaml is not what the code says: run make generate")
	}
}

// huma passes over embedded inputs of unexported types, and a path parameter would
// silently stay empty.
func TestEveryPathParameterIsDescribed(t *testing.T) {
	t.Parallel()
	doc, _ := contract(t)
	n := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for _, segment := range strings.Split(path, "/") {
				name, ok := strings.CutPrefix(segment, "{")
				if !ok {
					continue
				}
				n++
				if op.Parameters.GetByInAndName("path", strings.TrimSuffix(name, "}")) == nil {
					t.Errorf("%s %s does not take %s", method, path, segment)
				}
			}
			if _, ok := op.Extensions["x-permission"]; !ok {
				t.Errorf("%s %s names no permission", method, path)
			}
			if method != http.MethodGet && !reads(op) && !open(op) && op.Parameters.GetByInAndName("query", "dry_run") == nil {
				t.Errorf("%s %s has no dry_run", method, path)
			}
		}
	}
	if n == 0 {
		t.Error("no path parameters were found")
	}
}

// TestAnswersFollowTheContract sends one good and one bad request to operations of
// every kind and checks what comes back against openapi.yaml.
func TestAnswersFollowTheContract(t *testing.T) {
	t.Parallel()
	doc, router := contract(t)
	eachHouse(t, func(h *house) {
		seen := map[string]bool{}
		keys := h.spareKeys()
		const sharing = "/accounts/{account}"
		ofOp, ofAcct, ofTpl := "/operators/{operator}/signing-keys", "/accounts/{account}/signing-keys", "/accounts/{account}/templates/{template}/keys"
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{get, "/operators", "", 200},
			{post, "/operators", `{"name":"other"}`, 201},
			{get, "/operators/acme", "", 200},
			{patch, "/operators/acme", `{"service_urls":["nats://127.0.0.1:4222"]}`, 200},
			{patch, "/operators/acme", `{"policy":{"credential_max_ttl_seconds":1}}`, 422},
			{get, "/operators/acme/jwt", "", 200},
			{put, "/operators/acme/jwt", `{"jwt":"nonsense"}`, 422},
			{get, "/operators/acme/unsigned-claims", "", 200},
			{get, "/operators/acme/signing", "", 200},
			{put, "/operators/acme/signing", `{"enabled":true,"reason":"it was on"}`, 200},
			{get, "/operators/acme/guardrails", "", 200},
			{put, "/operators/acme/guardrails", `{}`, 428},
			{put, "/operators/acme/guardrails?dry_run=true", `{"required_user_tags":["team"],"quotas":{"users_per_account":1}}`, 200},
			{put, "/operators/acme/guardrails?dry_run=true", `{"subject_prefixes":["orders.*."]}`, 422},
			{get, orders + "/guardrails", "", 200},
			{put, orders + "/guardrails", `{}`, 428},
			{put, orders + "/guardrails?dry_run=true", `{"subject_prefixes":["orders.","inboxes"]}`, 200},
			{put, orders + "/guardrails?dry_run=true", `{"quotas":{"accounts":1}}`, 422},
			{del, "/operators/other", "", 428},
			{del, "/operators/other?dry_run=true", "", 200},
			{get, "/operators/acme/servers", "", 200},
			{get, "/operators/acme/server-config", "", 200},
			{get, "/operators/acme/server-config?resolver=memory", "", 200},
			{get, "/operators/acme/deliveries?all=true&limit=1", "", 200},
			{get, "/operators/acme/deliveries?state=maybe", "", 422},
			{post, "/operators/acme/sync", `{"accounts":["ORDERS"]}`, 202},
			{post, "/operators/acme/sync?dry_run=true", `{"all":true}`, 200},
			{post, "/operators/acme/sync", `{"all":true,"accounts":["ORDERS"]}`, 422},
			{post, "/operators/acme/sync", `{"accounts":["NOBODY"]}`, 404},
			{get, "/operators/acme/enrolment-policy", "", 200},
			{put, "/operators/acme/enrolment-policy", `{"mode":"token","limits":"team"}`, 200},
			{put, "/operators/acme/enrolment-policy", `{"mode":"closed","new_token":true}`, 422},
			{get, "/operators/acme/enrolments?state=pending", "", 200},
			{put, "/operators/acme/enrolments/" + someAccountKey + "/approval", `{}`, 404},
			{put, "/operators/acme/enrolments/" + someAccountKey + "/refusal", `{}`, 404},
			{get, "/operators/acme/drifts", "", 200},
			{get, "/operators/acme/drifts?state=closed", "", 422},
			{get, "/drifts/{drift}", "", 200},
			{post, "/drifts/{drift}/decision", `{"decision":"ignore"}`, 200},
			{patch, "/operators/acme", `{"policy":{"foreign_newer":"keep"}}`, 200},
			{get, accounts, "", 200},
			{post, accounts, `{"name":"BILLING","operator":"acme","jetstream":{"enabled":true}}`, 201},
			{post, accounts, `{"name":"BILLING","operator":"acme"}`, 409},
			{get, orders, "", 200},
			{patch, orders, `{"limits":{"connections":7,"payload_bytes":null},"tags":null}`, 200},
			{patch, orders, `{"limits":{"connections":-7}}`, 422},
			{patch, accounts + "/SYS", `{"limits":{"connections":0}}`, 409},
			{get, orders + "/jwt", "", 200},
			{put, accounts + "/BILLING/suspension", `{"reason":"a drill"}`, 200},
			{del, accounts + "/BILLING/suspension", "", 200},
			{del, accounts + "/BILLING", "", 428},
			{del, accounts + "/BILLING?dry_run=true", "", 200},
			{get, "/account-presets", "", 200},
			{post, orders + "/clone", `{"name":"ORDERS-2"}`, 201},
			{post, orders + "/clone", `{"name":"ORDERS-2"}`, 409},
			{get, accounts + "/ORDERS-2", "", 200},
			{patch, accounts + "/ORDERS-2", `{"preset":"prod-streams","trace":{"destination":"trace.x"},"lifetime_seconds":86400}`, 200},
			{get, orders + "/sync", "", 200},
			{get, orders + "/connections", "", 503}, // no server is connected here
			{get, templates, "", 200},
			{post, templates, `{"name":"t2","permissions":{"responses":{"max":2,"ttl_seconds":3}},"times":[{"start":"08:00:00","end":"09:00:00"}]}`, 201},
			{get, templates + "/t2", "", 200},
			{patch, templates + "/t2", `{"bearer":true,"max_ttl_seconds":60}`, 200},
			{get, templates + "/t2/comparisons/device", "", 200},
			{post, templates + "/t2/clone", `{"name":"t3"}`, 201},
			{post, templates + "/t2/clone", `{"operator":"acme","name":"shared-t2"}`, 201},
			{post, templates + "/t2/preview", `{"as":{"name":"d1","tags":["region:eu"]},"template":{"permissions":{"publish":{"allow":["a.{{tag(region)}}"]}}}}`, 200},
			{post, templates + "/device/preview", `{"user":"d1"}`, 200},
			{post, templates + "/device/preview", `{"user":"nobody"}`, 404},
			{post, orders + "/template-previews", `{"template":{"name":"new","tests":[{"as":{"name":"x"},"can_publish":["a"]}]},"as":{"name":"x"}}`, 200},
			{patch, templates + "/t2", `{"tests":[{"as":{"name":"x"},"can_publish":["a"]}]}`, 422},
			{del, templates + "/t2", "", 200},
			{del, templates + "/device", "", 409},
			{get, shared, "", 200},
			{post, shared, `{"name":"s2","tests":[{"as":{"name":"x","account":"ORDERS"},"can_publish":["a"]}]}`, 201},
			{get, shared + "/s2", "", 200},
			{patch, shared + "/s2", `{"name":"s3","bearer":true}`, 200},
			{post, templates + "/s3/use", "", 200},
			{post, shared + "/s3/clone", `{"account":"BILLING"}`, 409},
			{post, shared + "/s3/clone", `{"account":"BILLING","name":"s4"}`, 201},
			{post, shared + "/s3/preview", `{"as":{"name":"x"}}`, 200},
			{post, "/operators/acme/template-previews", `{"template":{"name":"new"}}`, 200},
			{del, shared + "/s3", "", 200},
			{get, users, "", 200},
			{post, users, `{"name":"own","permissions":{"publish":{"allow":["a.>"]}}}`, 201},
			{get, users + "/own", "", 200},
			{post, users + "/own/credentials", `{"ttl_seconds":60,"delivered_to":"ann"}`, 201},
			{get, users + "/own/credentials", "", 200},
			{patch, users + "/own", `{"tags":["region:eu"]}`, 200},
			{post, users + "/own/credentials/renew", `{}`, 201},
			{post, users + "/own/credentials/roll", `{"grace_seconds":3600,"delivery":"one_time_link"}`, 201},
			{post, users + "/own/credentials/reissue", `{"no_expiry":true,"reason":"a device in a shaft"}`, 201},
			{put, users + "/own/disablement", `{"reason":"on leave"}`, 200},
			{del, users + "/own/disablement", "", 200},
			{get, orders + "/credentials?status=active&signed_by=A", "", 200},
			{get, "/users?tag=region:eu&no_expiry=true", "", 200},
			{post, users, `{"name":"gone","key":"generate","template":"device","tags":["region:eu"],"delivery":"sealed","sealed_to":"` + someXKey + `"}`, 201},
			{del, users + "/gone", "", 200},
			{post, "/challenges", `{"public_key":"` + someUserKey + `"}`, 201},
			{post, "/renewals", `{"jwt":"` + someJWT + `","nonce":"x","signature":"x"}`, 403},
			{post, "/credential-links", `{"link":"chy_cred_x"}`, 401},
			{put, revocations + "/own", `{"reason":"lost"}`, 200},
			{get, revocations, "", 200},
			{get, revocations + "/*", "", 404},
			{put, revocations + "/*", `{}`, 200},
			{get, revocations + "/*?include=proof", "", 200},
			{get, revocations + "?user=own&state=removed", "", 200},
			{post, credentials, `{}`, 201},
			{put, revocations + "/template:device", `{}`, 200},
			{put, revocations + "/template:nothing", `{}`, 404},
			{del, revocations + "/*", "", 422},
			{post, revocations + "/compaction", "", 200},
			{del, revocations + "/*?reason=by+mistake", "", 200},
			{del, revocations + "/*?reason=by+mistake", "", 404},
			{get, sharing + "/exports", "", 200},
			{post, sharing + "/exports", `{"kind":"service","subject":"ask.*.price","account_token_position":2,"response_threshold_ms":500,"latency_results":"lat","latency_sampling":50}`, 201},
			{post, sharing + "/exports", `{"kind":"service","subject":"ask..price"}`, 422},
			{post, sharing + "/exports", `{"kind":"stream","subject":"shared.more"}`, 422},
			{get, sharing + "/exports/{export}", "", 200},
			{get, sharing + "/exports/none", "", 404},
			{patch, sharing + "/exports/{export}", `{"advertise":true,"latency_results":null}`, 200},
			{get, sharing + "/exports/{export}/activations", "", 200},
			{post, sharing + "/exports/{export}/activations", `{"target_account":"` + someAccountKey + `","ttl_seconds":3600}`, 201},
			{post, sharing + "/exports/{export}/activations", `{"target_account":"x"}`, 422},
			{get, sharing + "/exports/{export}/activations/{activation}", "", 200},
			{del, sharing + "/exports/{export}/activations/" + someAccountKey, "", 200},
			{get, sharing + "/imports", "", 200},
			{post, sharing + "/imports", `{"exporter":"` + someAccountKey + `","kind":"stream","subject":"a.*","local_subject":"b.$1"}`, 201},
			{post, sharing + "/imports", `{"exporter":"ORDERS","kind":"stream","subject":"a.*"}`, 422},
			{get, sharing + "/imports/{import}", "", 200},
			{patch, sharing + "/imports/{import}", `{"local_subject":"in.shared.>"}`, 200},
			{post, sharing + "/imports/{import}/renewal", `{"ttl_seconds":60}`, 200},
			{post, "/shares", `{"exporter":"ORDERS","importer":"BILLING","kind":"service","subject":"ask.me"}`, 201},
			{post, "/shares", `{"exporter":"ORDERS","importer":"BILLING","recipe":{"kind":"kv","name":"settings","access":"read_write","domain":"orders"}}`, 201},
			{post, "/shares", `{"exporter":"ORDERS","importer":"BILLING","recipe":{"kind":"kv","name":"a b","domain":"orders"}}`, 422},
			{post, "/shares", `{"exporter":"ORDERS","importer":"ORDERS","kind":"service","subject":"ask.me"}`, 422},
			{get, "/operators/acme/sharing-graph?limit=2", "", 200},
			{get, sharing + "/sharing-graph", "", 200},
			{del, sharing + "/imports/{import}", "", 200},
			{del, sharing + "/exports/{export}?reason=over", "", 200},
			{get, "/operators/acme/expirations", "", 200},
			{get, ofOp, "", 200},
			{post, ofOp, `{"custody":"shown_once"}`, 201},
			{post, ofOp, `{"public_key":"x"}`, 422},
			{get, ofOp + "/{key}", "", 200},
			{get, ofOp + "/none", "", 404},
			{patch, ofOp + "/{key}", `{"state":"disabled","reason":"a test"}`, 200},
			{patch, ofOp + "/{key}", `{"state":"prepared"}`, 422},
			{post, ofOp + "/{key}/compromise", `{"reason":"a test"}`, 200},
			{del, ofOp + "/{key}", "", 200},
			{get, ofAcct, "", 200},
			{post, ofAcct, `{"retire_previous_after_seconds":3600}`, 201},
			{get, ofAcct + "/{key}", "", 200},
			{patch, ofAcct + "/{key}", `{"state":"current"}`, 200},
			{del, ofAcct + "/{key}", "", 200},
			{patch, ofAcct + "/{key}", `{"state":"current"}`, 409},
			{post, ofAcct + "/{key}/compromise", `{}`, 200},
			{get, ofTpl, "", 200},
			{post, ofTpl, `{"previous_state":"retired"}`, 201},
			{get, ofTpl + "/{key}", "", 200},
			{patch, ofTpl + "/{key}", `{"state":"disabled"}`, 200},
			{post, ofTpl + "/{key}/compromise?dry_run=true", `{}`, 200},
			{del, ofTpl + "/{key}", "", 200},
			{get, "/tokens", "", 200},
			{post, "/tokens", `{"name":"scoped","grants":[{"role":"issuer","account":"ORDERS","template":"device"}],"ttl_seconds":60,"networks":["10.0.0.0/8","192.0.2.1"]}`, 201},
			{post, "/tokens", `{"name":"scoped","grants":[{"role":"issuer","account":"nobody's"}],"ttl_seconds":60}`, 404},
			{post, "/tokens", `{"name":"scoped","grants":[{"role":"auditor","template":"device"}],"ttl_seconds":60,"networks":["here"]}`, 422},
			{get, "/tokens/{token}", "", 200},
			{get, "/tokens/tok_none", "", 404},
			{del, "/tokens/{token}?reason=found+in+a+log", "", 200},
			{del, "/tokens/{token}", "", 409},
			{get, "/people", "", 200},
			{post, "/people", `{"name":"eli","grants":[{"role":"account_admin","account":"ORDERS"}]}`, 201},
			{post, "/people", `{"name":"eli","grants":[{"role":"auditor"}]}`, 409},
			{get, "/people/eli", "", 200},
			{patch, "/people/eli", `{"state":"disabled","reason":"on leave"}`, 200},
			{post, "/people/eli/sign-in-links", "", 409},
			{post, "/people/dora/sign-in-links", "", 201},
			{get, "/roles", "", 200},
			{get, "/me", "", 200},
			{get, "/operators/acme/nsc-store", "", 200},
			{get, "/operators/nobody/nsc-store", "", 404},
			{get, "/import-jobs", "", 200},
			{post, "/import-jobs", someArchive(h.t), 201},
			{post, "/import-jobs", "no archive", 422},
			{post, "/import-jobs?dry_run=true", someArchive(h.t), 200},
			{get, "/import-jobs/{job}", "", 200},
			{get, "/import-jobs/job_none", "", 404},
			{put, "/import-jobs/{job}/run", `{"mode":"observe","plan_hash":"x"}`, 412},
			{put, "/import-jobs/{job}/run", `{"mode":"take","plan_hash":"x"}`, 422},
			{put, "/import-jobs/{job}/run?dry_run=true", `{"mode":"adopt","plan_hash":"x"}`, 200},
			{del, "/import-jobs/{job}", "", 200},
			{get, "/import-jobs/{job}", "", 404},
			{post, "/inspections", `{"jwt":"` + someJWT + `"}`, 200},
			{post, "/inspections", `{"jwt":"nonsense"}`, 422},
			{get, "/audit?account=ORDERS&limit=2", "", 200},
			{get, "/audit?outcome=maybe", "", 422},
			{get, "/audit/1", "", 200},
			{get, "/audit/999999", "", 404},
			{get, "/audit/export?format=csv&action=create", "", 200},
			{get, "/audit/checkpoint", "", 200},
			{post, "/audit/verification", `{"checkpoints":[{"seq":1,"hash":"` + strings.Repeat("0", 64) + `","at":"2026-11-21T12:00:00Z"}]}`, 200},
			{post, "/explanations", `{"jwt":"` + someJWT + `","host":"127.0.0.1","type":"STANDARD","at":"2026-11-21T12:00:00Z"}`, 200},
			{post, "/explanations", `{"event_id":"evt_1_1"}`, 404},
			{get, "/connections?account=ORDERS&user=d1", "", 200},
			{get, "/connections?account=NONE", "", 404},
			{get, "/connections/n1/7", "", 404},
			{get, "/connections/n1/x", "", 422},
			{del, "/connections/n1/7?reason=a+drill", "", 404},
			{get, orders + "/usage", "", 200},
			{get, "/denials?class=not_revoked&since=2026-11-21T12:00:00Z", "", 200},
			{get, "/denials/den_none", "", 404},
			{get, "/events?types=denial,sync&account=ORDERS&limit=2", "", 200},
			{get, "/events?types=weather", "", 422},
			{get, "/events?after=yesterday", "", 422},
			{post, "/permission-checks", `{"op":"publish","subject":"devices.eu.d1.temp"}`, 200},
			{post, "/permission-checks", `{"op":"publish","subject":"devices.>"}`, 422},
		} {
			c.path = fill(keys.Replace(c.path))
			r := request{method: c.method, path: c.path, body: c.body, token: h.owner}
			if c.method == post && strings.HasPrefix(c.path, "/import-jobs") {
				r.header = archiveHeader
			}
			a := h.send(r)
			if a.status != c.status {
				h.t.Errorf("%s %s answered %d, want %d: %s", c.method, c.path, a.status, c.status, a.body)
				continue
			}
			req, err := http.NewRequestWithContext(h.t.Context(), c.method, "http://chancery/api/v1"+c.path, strings.NewReader(c.body))
			must(h.t, err)
			route, params, err := router.FindRoute(req)
			must(h.t, err)
			seen[route.Operation.OperationID] = true
			in := &openapi3filter.ResponseValidationInput{
				RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
				Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
				Options: &openapi3filter.Options{ExcludeResponseBody: !strings.Contains(a.header.Get("Content-Type"), "json")},
			}
			if err := openapi3filter.ValidateResponse(h.t.Context(), in); err != nil {
				h.t.Errorf("%s %s: %v", c.method, c.path, err)
			}
		}
		for _, item := range doc.Paths.Map() {
			for _, op := range item.Operations() {
				if !seen[op.OperationID] {
					h.t.Errorf("no answer of %s was checked", op.OperationID)
				}
			}
		}
	})
}
