package api_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"chancery/api"
)

// exampleOf is the body that the contract shows for an operation; empty for one that takes none.
func exampleOf(t *testing.T, op *openapi3.Operation) string {
	t.Helper()
	if op.RequestBody == nil {
		return ""
	}
	for kind, media := range op.RequestBody.Value.Content {
		if strings.Contains(kind, "ndjson") {
			continue
		}
		if kind == "application/gzip" {
			return someArchive(t)
		}
		if kind == "application/zip" || kind == "application/octet-stream" {
			continue
		}
		if media.Example == nil {
			t.Errorf("%s has no example", op.OperationID)
			return "{}"
		}
		if err := media.Schema.Value.VisitJSON(media.Example); err != nil {
			t.Errorf("the example of %s is not what it asks for: %v", op.OperationID, err)
		}
		raw, err := json.Marshal(media.Example)
		must(t, err)
		return string(raw)
	}
	return ""
}

// TestWhoMayDoWhat sends every operation of the contract as nobody, with a broken
// token, as an auditor and as an owner (a dry run), and holds the answer against
// the permission that the route table names.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	doc, _ := contract(t)
	eachHouse(t, func(h *house) {
		h.want(post, credentials, `{}`, 201)
		h.want(put, revocations+"/*", `{}`, 200)
		h.want(post, credentials, `{}`, 201)
		h.want(post, "/challenges", `{"public_key":"`+someUserKey+`"}`, 201) // the first one makes the secret of all
		keys := h.spareKeys()
		before := storedObjects(h)
		cells := 0
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				for _, who := range []struct {
					name, token string
					status      int
				}{
					{"nobody", "", strangerStatus(op)},
					{"a broken token", broken(h.owner), strangerStatus(op)},
					{"a token that was never issued", "chy_pat_" + strings.Repeat("0", 49), strangerStatus(op)},
					{"an auditor", h.auditor, auditorStatus(op)},
					{"an owner", h.owner, ownerStatus(op)},
				} {
					r := request{method: method, path: fill(keys.Replace(path)), body: exampleOf(h.t, op), token: who.token, header: mediaOf(op)}
					if method != http.MethodGet && !reads(op) && !open(op) {
						r.path += "?dry_run=true"
					}
					if op.Parameters.GetByInAndName("query", "reason") != nil {
						r.path += "&reason=because"
					}
					a := h.send(r)
					cells++
					if a.status != who.status {
						h.t.Errorf("%s as %s answered %d, want %d: %s", op.OperationID, who.name, a.status, who.status, a.body)
					}
					if who.status == 401 && !open(op) && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
						h.t.Errorf("%s as %s: no WWW-Authenticate", op.OperationID, who.name)
					}
				}
			}
		}
		if after := storedObjects(h); after != before {
			h.t.Error("refused and dry requests changed something beside the audit log")
		}
		h.t.Logf("%d of %d cells as expected", cells, cells)
	})
}

// broken returns the token with another last character.
func broken(token string) string {
	last := "x"
	if strings.HasSuffix(token, last) {
		last = "y"
	}
	return token[:len(token)-1] + last
}

// open tells whether the operation needs no token: what it is sent is the proof.
func open(op *openapi3.Operation) bool { return op.Extensions["x-permission"] == "none" }

// strangerStatus is that of a request without a valid token.
func strangerStatus(op *openapi3.Operation) int {
	if open(op) {
		return ownerStatus(op)
	}
	return 401
}

func auditorStatus(op *openapi3.Operation) int {
	if reads(op) || open(op) || op.Extensions["x-permission"] == "token" {
		return ownerStatus(op)
	}
	return 403
}

// reads tells whether the operation changes nothing although it is no GET: what it is asked about is too long, or
// too secret, for an address.
func reads(op *openapi3.Operation) bool {
	permission, _ := op.Extensions["x-permission"].(string)
	return strings.HasSuffix(permission, ":read")
}

// ownerStatus is that of success, where that is possible here: no server is connected
// that could list its connections.
func ownerStatus(op *openapi3.Operation) int {
	switch op.OperationID {
	case "listConnections":
		return 503
	case "uploadOperatorJWT": // nonsense
		return 422
	case "deleteOperator", "deleteTemplate": // the one has an account, the other a user
		return 409
	case "createChallenge":
		return 201
	case "renewByHolder":
		return 403 // a credential of another house
	case "useCredentialLink":
		return 401 // a link that nobody made
	case "getConnection", "kickConnection", "getDenial": // no server tells of any
		return 404
	case "enableUser":
		return 409 // it is not disabled
	}
	return 200
}

func fill(path string) string {
	path = strings.TrimPrefix(path, "/api/v1")
	path = strings.Replace(path, "{operator}/templates/{template}", "{operator}/templates/service", 1)
	return strings.NewReplacer("{operator}", "acme", "{account}", "ORDERS", "{template}", "device", "{other}", "service", "{user}", "d1", "{subject}", "*", "{entry}", "1", "{person}", "dora", "{server}", "n1", "{cid}", "7", "{denial}", "den_none").Replace(path)
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		a := h.send(request{method: del, path: accounts, token: h.owner})
		if a.status != 405 || a.header.Get("Allow") != "GET, POST" {
			h.t.Errorf("DELETE answered %d, Allow %q", a.status, a.header.Get("Allow"))
		}
		a = h.send(request{method: get, path: "/nothing", token: h.owner})
		if p := a.problem(h.t); a.status != 404 || p.Code != "no_such_path" {
			h.t.Errorf("unknown path answered %d %s", a.status, a.body)
		}
		for _, name := range []string{"Cache-Control", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "X-Request-Id"} {
			if a.header.Get(name) == "" {
				h.t.Errorf("no %s", name)
			}
		}
	})
}

// someJWT is a user's JWT of an account that nobody here knows.
const someJWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiI1RkJXRlgzRkpDRTRGSUJVVVhTVTVTNVpNUE1NVlJXTlRYV1pOQUVaR1RNM0c1SlRBQkFRIiwiaWF0IjoxNzk1MjI2NjI4LCJpc3MiOiJBQ0NPRjJNVENVMzdCNUVLQjJURE5MNjRURkQ1UzJIQjdSWkROS1pBRkJNWVVMSkRYQVI0V0tVWiIsIm5hbWUiOiJkMSIsInN1YiI6IlVBQkI0VFpZUkJISUFYTkNRWjJFS1VRQ1pZQkJKWDJHMlVSTEpaN00yQUZaVEZZS1ZCTEpHTDRYIiwibmF0cyI6eyJwdWIiOnt9LCJzdWIiOnt9LCJpc3N1ZXJfYWNjb3VudCI6IkFBTzc3S0NLNzJaSlhaTVlMUjY1TUNHWE1QWUJNVkRGUUlETkpCWTJJSkkzWk5YRFVLMllNUU5KIiwidGFncyI6WyJyZWdpb246ZXUiXSwidHlwZSI6InVzZXIiLCJ2ZXJzaW9uIjoyfX0.hFqgChW0w33WUHTg-m7CJiBPWMSMnMP9BZnklrJ0NM0jOkW_b7I9i99a388MVKDUOOIHoJf-ecs3BzxxXQZnCw"

// Keys of strangers.
const (
	someUserKey    = "UDVMBCBNO4VCEHPU7BTHAZGND2TMRMTMHINE34SPWCK7I7QENA22ZXV7"
	someAccountKey = "AD7YRUYKEZ2YJPSKF5ARJ6H4T2Q6NB4AAF2D5SHNXBRRMA6ODNX32YKT"
	someXKey       = "XBJRLZJEEFYPNXAPCTQ7Q3NYOMIRXLUOWVAUBXS55BK23DFHDO5BMIBA"
)

// spareKeys makes a prepared signing key of each owner and returns what puts them into
// paths.
func (h *house) spareKeys() *strings.Replacer {
	h.t.Helper()
	var pairs []string
	for _, owner := range []string{"/operators/{operator}/signing-keys", "/accounts/{account}/signing-keys", "/accounts/{account}/templates/{template}/keys"} {
		var k struct {
			ID string `json:"id"`
		}
		a := h.send(request{method: post, path: fill(owner), body: `{"make_current":false}`, token: h.owner})
		if err := json.Unmarshal(a.body, &k); err != nil || a.status != 201 {
			h.t.Fatalf("%d %s %v", a.status, a.body, err)
		}
		pairs = append(pairs, owner+"/{key}", owner+"/"+k.ID)
	}
	pairs = append(pairs, "/import-jobs/{job}", "/import-jobs/"+h.importJob(), "{drift}", h.drift("ORDERS"), "{enrolment}", h.enrolment("acme"))
	return strings.NewReplacer(append(append(pairs, "{token}", h.spare), h.sharedPaths()...)...)
}

// sharedPaths shares something between ORDERS and another account, and returns what puts it into paths.
func (h *house) sharedPaths() []string {
	h.t.Helper()
	h.want(post, "/accounts", `{"name":"SHIPPING"}`, 201)
	var s api.Shared
	h.want(post, "/shares", `{"exporter":"ORDERS","importer":"SHIPPING","kind":"stream","subject":"shared.>"}`, 201).into(h.t, &s)
	x := s.Shares[0]
	const export, imported = "/accounts/{account}/exports/", "/accounts/{account}/imports/"
	return []string{
		export + "{export}/activations/{activation}", "/accounts/ORDERS/exports/" + x.Export.ID + "/activations/" + x.Activation.ID,
		export + "{export}", "/accounts/ORDERS/exports/" + x.Export.ID, imported + "{import}", "/accounts/SHIPPING/imports/" + x.Import.ID,
	}
}

// importJob uploads a store of nsc and returns the id of its job.
func (h *house) importJob() string {
	h.t.Helper()
	var j api.ImportJob
	a := h.send(request{method: post, path: "/import-jobs", body: someArchive(h.t), token: h.owner, header: archiveHeader})
	if a.status != 201 {
		h.t.Fatalf("%d %s", a.status, a.body)
	}
	a.into(h.t, &j)
	return j.ID
}

var archiveHeader = map[string]string{"Content-Type": "application/gzip"}

// mediaOf is the Content-Type of a body that is no JSON.
func mediaOf(op *openapi3.Operation) map[string]string {
	if op.RequestBody == nil || op.RequestBody.Value.Content["application/gzip"] == nil {
		return nil
	}
	return archiveHeader
}

// someArchive is a store of nsc whose operator is called vault.
func someArchive(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../claims/nsc/testdata/nsc-vault-strict.tgz")
	must(t, err)
	return string(raw)
}
