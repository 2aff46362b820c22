package api_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"chancery/api"
	"chancery/issuer"
	"chancery/store/storetest"
)

// What an operation is asked about: what is the caller's, what lies beside it in the same account or above it, what is
// somebody else's, and what does not exist.
const (
	own, sibling, foreign, absent = "own", "sibling", "foreign", "missing"
)

// tenants is a house with two operators, furnished alike, and callers of every role on the first.
type tenants struct {
	*house
	// callers are tokens by who they are, in the order of who.
	callers map[string]string
	who     []string
	// places puts the names of objects into paths and bodies, ids identities into paths.
	places, ids map[string]place
}

// place is what the parameters of a path stand for. A key is of the operator, the account or the template.
type place struct {
	operator, account, template, shared, other, user, subject, token, person string
	operatorKey, accountKey, templateKey                                     string
	// more has the parameters of further nouns.
	more map[string]string
}

// strangers are who administers the other operator, and its account.
var strangers = map[string]string{
	"operator_admin_of_globex": `{"role":"operator_admin","operator":"globex"}`,
	"account_admin_of_parts":   `{"role":"account_admin","account":"PARTS"}`,
}

// global callers may read everything: nothing is foreign to them.
var global = []string{"owner", "auditor"}

func newTenants(h *house) *tenants {
	h.t.Helper()
	w := &tenants{house: h, callers: map[string]string{}, places: map[string]place{}, ids: map[string]place{}}
	h.want(post, "/operators", `{"name":"globex"}`, 201)
	h.want(post, accounts, `{"name":"PARTS","operator":"globex"}`, 201)
	h.want(post, accounts+"/PARTS/templates", `{"name":"widget","permissions":{"publish":{"allow":["widgets.{{name()}}.>"]}}}`, 201)
	h.want(post, "/operators/globex/templates", `{"name":"utility","permissions":{"publish":{"allow":["parts.>"]}}}`, 201)
	h.want(post, accounts+"/PARTS/users", `{"name":"f1","template":"widget"}`, 201)
	h.want(post, templates, `{"name":"gauge","permissions":{"publish":{"allow":["sensors.{{name()}}.>"]}}}`, 201)
	h.want(post, users, `{"name":"s1","template":"gauge"}`, 201)
	for _, u := range []string{users + "/d1", users + "/s1", accounts + "/PARTS/users/f1"} {
		h.want(post, u+"/credentials", `{}`, 201)
	}
	for _, a := range []string{"ORDERS", "PARTS"} {
		h.want(put, accounts+"/"+a+"/revocations/*", `{}`, 200)
	}
	for _, u := range []string{users + "/d1", users + "/s1", accounts + "/PARTS/users/f1"} {
		h.want(post, u+"/credentials", `{}`, 201)
	}
	h.want(post, accounts, `{"name":"SHIPPING","operator":"acme"}`, 201)
	h.want(post, accounts, `{"name":"STOCK","operator":"globex"}`, 201)
	job := h.importJob() // of an operator that is none of these
	w.places[own] = w.furnished(place{operator: "acme", account: "ORDERS", template: "device", shared: "service", other: "service", user: "d1", person: "olga"}, `"account":"ORDERS","operator":"acme"`)
	w.places[sibling] = w.furnished(place{operator: "acme", account: "ORDERS", template: "gauge", shared: "service", other: "service", user: "s1", person: "opal"}, `"operator":"acme"`)
	w.places[foreign] = w.furnished(place{operator: "globex", account: "PARTS", template: "widget", shared: "utility", other: "utility", user: "f1", person: "fred"}, `"account":"PARTS","operator":"globex"`)
	mine, theirs := w.shared("ORDERS", "SHIPPING"), w.shared("PARTS", "STOCK")
	for object, shared := range map[string]map[string]string{own: mine, sibling: mine, foreign: theirs} {
		p := w.places[object]
		p.more = maps.Clone(shared)
		p.more["job"], p.more["entry"] = job, "1"
		p.more["drift"] = h.drift(map[string]string{own: "ORDERS", sibling: "SHIPPING", foreign: "PARTS"}[object])
		p.more["enrolment"] = h.enrolment(p.operator)
		p.more["server"], p.more["cid"], p.more["denial"] = "n1", "7", "den_none" // no server tells of any
		w.places[object] = p
	}
	nobody := strings.Repeat("A", 55)
	w.places[absent] = place{
		operator: "none", account: "NONE", template: "none", shared: "none", other: "none", user: "none", subject: "*", token: "tok_none", person: "none",
		operatorKey: "O" + nobody, accountKey: "A" + nobody, templateKey: "A" + nobody,
		more: map[string]string{"export": "exp_none", "import": "imp_none", "activation": "act_none", "job": "job_none", "drift": "drf_none", "enrolment": "A" + nobody, "entry": "999999999", "server": "none", "cid": "8", "denial": "den_gone"},
	}
	w.ids[foreign], w.ids[own] = w.identified(w.places[foreign]), w.identified(w.places[own])
	w.ids[absent] = w.places[absent]
	h.want(post, "/challenges", `{"public_key":"`+someUserKey+`"}`, 201) // the first one makes the secret of all
	w.call("owner", `{"role":"owner"}`)
	w.call("operator_admin", `{"role":"operator_admin","operator":"acme"}`)
	w.call("account_admin", `{"role":"account_admin","account":"ORDERS"}`)
	w.call("issuer", `{"role":"issuer","account":"ORDERS","template":"device"}`)
	w.call("auditor", `{"role":"auditor"}`)
	w.call("account_auditor", `{"role":"auditor","account":"ORDERS"}`)
	w.call("no_grant", `{"role":"auditor"}`)
	storetest.OpenRaw(h.t, h.url).Run(h.t, `DELETE FROM grants WHERE holder IN (SELECT id FROM tokens WHERE name = 'no_grant')`)
	return w
}

// furnished gives the place keys, a token and a person, who has a grant on what scope names.
func (w *tenants) furnished(p place, scope string) place {
	w.t.Helper()
	p.subject = "*"
	key := func(owner string) string {
		var k struct {
			ID string `json:"id"`
		}
		w.want(post, owner, `{"make_current":false}`, 201).into(w.t, &k)
		return k.ID
	}
	p.operatorKey = key("/operators/" + p.operator + "/signing-keys")
	p.accountKey = key(accounts + "/" + p.account + "/signing-keys")
	p.templateKey = key(accounts + "/" + p.account + "/templates/" + p.template + "/keys")
	w.want(post, "/people", `{"name":"`+p.person+`","grants":[{"role":"auditor",`+scope+`}]}`, 201)
	var k api.NewToken
	w.want(post, "/tokens", `{"name":"of `+p.person+`","grants":[{"role":"auditor",`+scope+`}],"ttl_seconds":600}`, 201).into(w.t, &k)
	p.token = k.ID
	return p
}

// shared has the account share with its neighbour, and the other way round.
func (w *tenants) shared(account, neighbour string) map[string]string {
	w.t.Helper()
	share := func(exporter, importer string) api.SharedPair {
		var s api.Shared
		w.want(post, "/shares", `{"exporter":"`+exporter+`","importer":"`+importer+`","kind":"stream","subject":"`+strings.ToLower(exporter)+`.out.>"}`, 201).into(w.t, &s)
		return s.Shares[0]
	}
	out, in := share(account, neighbour), share(neighbour, account)
	return map[string]string{"export": out.Export.ID, "activation": out.Activation.ID, "import": in.Import.ID}
}

// identified is the place by identities instead of names.
func (w *tenants) identified(p place) place {
	w.t.Helper()
	id := func(path string) string {
		var x map[string]any
		w.want(get, path, "", 200).into(w.t, &x)
		for _, field := range []string{"public_key", "id"} {
			if s, ok := x[field].(string); ok && s != "" {
				return s
			}
		}
		w.t.Fatalf("no identity of %s: %v", path, x)
		return ""
	}
	op, acct := "/operators/"+p.operator, accounts+"/"+p.account
	out := p
	out.template, out.shared, out.user = id(acct+"/templates/"+p.template), id(op+"/templates/"+p.shared), id(acct+"/users/"+p.user)
	out.other, out.person = out.shared, id("/people/"+p.person)
	out.operator, out.account = id(op), id(acct)
	return out
}

func (w *tenants) call(who, grant string) {
	w.t.Helper()
	var k api.NewToken
	w.want(post, "/tokens", `{"name":"`+who+`","grants":[`+grant+`],"ttl_seconds":3600}`, 201).into(w.t, &k)
	w.callers[who], w.who = k.Text, append(w.who, who)
}

// fill puts a place into a path of the contract.
func (p place) fill(t *testing.T, path string) string {
	t.Helper()
	segments := strings.Split(strings.TrimPrefix(path, "/api/v1"), "/")
	of := segments[1]
	for n, s := range segments {
		name, ok := strings.CutPrefix(s, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		value, known := p.more[name]
		switch {
		case known:
		case name == "template" && of == "operators":
			value = p.shared
		case name == "key" && of == "operators":
			value = p.operatorKey
		case name == "key" && strings.Contains(path, "{template}"):
			value = p.templateKey
		default:
			value = map[string]string{
				"operator": p.operator, "account": p.account, "template": p.template, "other": p.other, "user": p.user, "subject": p.subject,
				"token": p.token, "person": p.person, "key": p.accountKey,
			}[name]
		}
		if value == "" {
			t.Fatalf("%s: say in matrix_world_test.go what {%s} stands for", path, name)
		}
		segments[n] = value
	}
	return strings.Join(segments, "/")
}

// body puts a place into the example of an operation, which speaks of the own one.
func (w *tenants) body(t *testing.T, op *openapi3.Operation, p place) string {
	t.Helper()
	o := w.places[own]
	quoted := func(from, to string) []string { return []string{`"` + from + `"`, `"` + to + `"`} }
	var pairs []string
	for _, x := range [][2]string{{o.operator, p.operator}, {o.account, p.account}, {o.template, p.template}, {o.shared, p.shared}, {o.user, p.user}, {o.person, p.person}} {
		pairs = append(pairs, quoted(x[0], x[1])...)
	}
	return strings.NewReplacer(pairs...).Replace(exampleOf(t, op))
}

// operation is one line of the contract.
type operation struct {
	*openapi3.Operation
	method, path string
}

// permission is what the route table names.
func (o operation) permission() issuer.Permission {
	p, _ := o.Extensions["x-permission"].(string)
	return issuer.Permission(p)
}

// about is the request of an operation on a place: a dry run, if it would change something.
func (w *tenants) about(o operation, path, body place, token string) request {
	r := request{method: o.method, path: path.fill(w.t, o.path), body: w.body(w.t, o.Operation, body), token: token, header: mediaOf(o.Operation)}
	var query []string
	if o.method != http.MethodGet && o.Parameters.GetByInAndName("query", "dry_run") != nil {
		query = append(query, "dry_run=true")
	}
	if o.method != http.MethodGet && o.Parameters.GetByInAndName("query", "reason") != nil {
		query = append(query, "reason=because")
	}
	if len(query) > 0 {
		r.path += "?" + strings.Join(query, "&")
	}
	return r
}
