package web_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"chancery/claims"
	"chancery/issuer"
	"chancery/web"
)

var update = flag.Bool("update", false, "write testdata/matrix.txt as it is")

const matrixFile = "testdata/matrix.txt"

// tenants are the browsers of people of every role on the house's operator, beside another operator furnished alike.
type tenants struct {
	*house
	browsers map[string]*browser
	who      []string
	// names puts what is foreign, or missing, into paths.
	names map[string]*strings.Replacer
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	h := newHouse(t, "sqlite", web.Config{})
	h.share()
	h.user("d1")
	w := &tenants{house: h, browsers: map[string]*browser{}, names: map[string]*strings.Replacer{}}
	ctx := t.Context()
	o, err := h.issuer.CreateOperator(ctx, op, issuer.OperatorInput{Name: "globex"})
	must(t, err)
	a, err := h.issuer.CreateAccount(ctx, op, issuer.AccountInput{Operator: "globex", Name: "PARTS", Settings: claims.NewAccountSettings()})
	must(t, err)
	body := claims.Template{Name: "widget", Permissions: claims.NewPermissionLimits()}
	_, err = h.issuer.CreateTemplate(ctx, op, a.Value.ID, issuer.TemplateInput{Body: body})
	must(t, err)
	body.Name = "utility"
	_, err = h.issuer.CreateSharedTemplate(ctx, op, o.Value.ID, issuer.TemplateInput{Body: body})
	must(t, err)
	_, err = h.issuer.CreateUser(ctx, op, a.Value.ID, issuer.UserInput{Name: "f1", Template: "widget"})
	must(t, err)
	at := func(names ...string) (s issuer.Scope) {
		for n, name := range names {
			*[]*string{&s.Operator, &s.Account, &s.Template}[n] = name
		}
		return s
	}
	for _, p := range []struct {
		name string
		role issuer.Role
		at   issuer.Scope
	}{
		{"owner", issuer.RoleOwner, at()},
		{"operator_admin", issuer.RoleOperatorAdmin, at("acme")},
		{"account_admin", issuer.RoleAccountAdmin, at("acme", "ORDERS")},
		{"issuer", issuer.RoleIssuer, at("acme", "ORDERS", "device")},
		{"auditor", issuer.RoleAuditor, at()},
		{"account_auditor", issuer.RoleAuditor, at("acme", "ORDERS")},
		{"olga", issuer.RoleAuditor, at("acme", "ORDERS")},
		{"fred", issuer.RoleAuditor, at("globex", "PARTS")},
	} {
		_, err := h.issuer.CreatePerson(ctx, op, issuer.PersonInput{Name: p.name, Grants: []issuer.Grant{{Role: string(p.role), Scope: p.at}}})
		must(t, err)
		if p.name == "olga" || p.name == "fred" {
			continue
		}
		b := h.visitor()
		b.post(h.link(p.name), nil).want(303)
		w.browsers[p.name], w.who = b, append(w.who, p.name)
	}
	token := func(name string, scope issuer.Scope) string {
		k, err := h.issuer.CreateToken(ctx, op, issuer.TokenInput{Name: name, Grants: []issuer.Grant{{Role: string(issuer.RoleAuditor), Scope: scope}}, TTL: time.Hour})
		must(t, err)
		return k.Value.ID
	}
	export, activation, imported := h.edges("ORDERS")
	foreignExport, foreignActivation, foreignImport := h.edges("PARTS")
	mine, theirs := token("mine", at("acme", "ORDERS")), token("theirs", at("globex", "PARTS"))
	w.names["own"] = strings.NewReplacer("/tok_x", "/"+mine, "/exp_x", "/"+export, "/act_x", "/"+activation, "/imp_x", "/"+imported)
	w.names["foreign"] = strings.NewReplacer("/tok_x", "/"+theirs, "/exp_x", "/"+foreignExport, "/act_x", "/"+foreignActivation, "/imp_x", "/"+foreignImport, "/acme", "/globex", "/ORDERS", "/PARTS", "/device", "/widget", "/service", "/utility", "/d1", "/f1", "/olga", "/fred")
	w.names["missing"] = strings.NewReplacer("/tok_x", "/tok_none", "/exp_x", "/exp_none", "/act_x", "/act_none", "/imp_x", "/imp_none", "/acme", "/none", "/ORDERS", "/NONE", "/device", "/none", "/service", "/none", "/d1", "/none", "/olga", "/none")
	return w
}

// TestPagesByRole opens every page as every role, about what is the visitor's, somebody else's and nobody's. Nothing
// fails, what is foreign looks like what is missing, and the statuses are those of testdata/matrix.txt.
func TestPagesByRole(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	var table bytes.Buffer
	table.WriteString("# What every page that is read answers to every role: the visitor's own object, and another operator's.\n# go test ./web -run TestPagesByRole -update writes this file: read the diff before it is committed.\n")
	tab := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "page\tobject\t"+strings.Join(w.who, "\t"))
	cells := 0
	for _, r := range pages {
		if r.public || r.method == "" {
			continue
		}
		rows := map[string][]string{}
		for _, who := range w.who {
			answers := map[string]page{}
			for _, object := range []string{"own", "foreign", "missing"} {
				path := w.names[object].Replace(r.path)
				if object != "own" && path == w.names["own"].Replace(r.path) || object == "own" && r.method == "POST" {
					continue // a form is sent about what is not the visitor's
				}
				var form url.Values
				if r.method == "POST" {
					form = url.Values{"plan": {"x"}}
				}
				p := w.browsers[who].do(r.method, path, form)
				cells++
				answers[object] = p
				rows[object] = append(rows[object], strconv.Itoa(p.status))
				if p.status >= 500 && p.status != 503 {
					t.Errorf("%s %s as %s: %d: %s", r.method, path, who, p.status, p.text())
				}
			}
			other, none := answers["foreign"], answers["missing"]
			if other.url == "" || who == "owner" || who == "auditor" {
				continue
			}
			if other.status != none.status || other.text() != none.text() || other.status != 404 && other.status != 403 {
				t.Errorf("%s %s as %s: foreign %d %s, missing %d %s", r.method, r.path, who, other.status, other.text(), none.status, none.text())
			}
			other.hasNot("PARTS", "globex", "widget")
		}
		if r.method != "GET" {
			continue
		}
		for _, object := range []string{"own", "foreign"} {
			if row := rows[object]; row != nil {
				fmt.Fprintln(tab, r.pattern+"\t"+object+"\t"+strings.Join(row, "\t"))
			}
		}
	}
	must(t, tab.Flush())
	if *update {
		must(t, os.WriteFile(matrixFile, table.Bytes(), 0o600))
	}
	want, err := os.ReadFile(matrixFile)
	must(t, err)
	got := strings.Split(table.String(), "\n")
	expected := strings.Split(string(want), "\n")
	for _, line := range got {
		if !slices.Contains(expected, line) {
			t.Errorf("not in %s: %s", matrixFile, line)
		}
	}
	if len(got) != len(expected) {
		t.Errorf("%d lines, want %d", len(got), len(expected))
	}
	t.Logf("%d of %d requests answered as expected", cells, cells)
}

// A page offers what its visitor may do there, and says of the rest whose it is.
func TestPagesOfferWhatIsAllowed(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	admin := w.browsers["account_admin"]
	admin.get("/accounts").want(200).has("ORDERS", "Account admin").hasNot("PARTS", "New account", `href="/operators"`, `href="/keys"`)
	admin.get("/accounts/ORDERS").want(200).has("New user").hasNot("/suspend", "/ORDERS/delete", `href="/operators/acme"`)
	admin.get("/accounts/ORDERS/limits").want(200).hasNot("Review the change")
	admin.get("/accounts/ORDERS/suspend").want(403).has("Your role does not allow this")
	admin.get("/settings/access").want(200).has("olga", "Auditor of account ORDERS of acme", "Who may sign in is up to an owner").hasNot("fred", ">owner<", "Let a person in")
	admin.get("/settings/tokens").want(200).has("mine", "New token").hasNot("theirs")
	one := w.browsers["issuer"]
	one.get("/accounts").want(200).has("ORDERS", "Issuer").hasNot("PARTS", "Access</a>")
	one.get("/accounts/ORDERS").want(200).has("d1", "New user").hasNot("/suspend")
	one.get("/accounts/ORDERS/users/d1").want(200).has("/issue").hasNot(`/revoke"`)
	one.get("/settings/access").want(403).has("Your role does not allow this")
	one.get("/settings/roles").want(200).has("Issuer of template device in account ORDERS of acme", "credentials:issue")
	w.browsers["account_auditor"].get("/settings/tokens").want(200).has("mine", "Your role does not allow making or revoking tokens").hasNot("New token", "/revoke")
}

// Somebody is let in, gets a role more, loses one, is disabled and comes back.
func TestAccessPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		form := b.get("/settings/access/new").want(200)
		b.submit(form, "name", "zoe", "role", "issuer", "account", "NONE", "template", "device").want(422).has("There is no such account.")
		b.submit(form, "name", "zoe", "role", "auditor", "template", "device").want(422)
		shown := b.submit(form, "name", "zoe", "role", "issuer", "account", "ORDERS", "template", "device").want(200).has("Shown once", "A link for zoe")
		_, rest, _ := strings.Cut(shown.body, "http://chancery.test/login/")
		link, _, _ := strings.Cut(rest, "<")
		b.post("/settings/access/new", formOf(form, "name", "zoe2", "role", "auditor")).want(409).has("This form was sent before")
		zoe := h.visitor()
		zoe.post("/login/"+link, nil).want(303)
		zoe.get("/accounts").want(200).has("ORDERS", "Issuer")
		b.get("/settings/access").want(200).has("zoe", "Issuer of template device in account ORDERS of acme")

		b.follow(b.submit(b.submit(b.get("/settings/access/zoe/grant"), "role", "auditor", "operator", "acme").want(200).has("Auditor of operator acme"))).want(200).has("Auditor of operator acme", "was changed")
		p := b.get("/settings/access/zoe").want(200)
		_, rest, _ = strings.Cut(p.body, "zoe/take?grant=")
		b.follow(b.submit(b.submit(b.get("/settings/access/zoe/take?grant=" + rest[:1]).want(200)).want(200))).want(200)
		b.get("/settings/access/zoe/take?grant=7").want(404)
		b.follow(b.submit(b.submit(b.get("/settings/access/zoe/disable")).want(200).has("active", "disabled"))).want(200).has("Disabled").hasNot("Make a sign-in link")
		zoe.get("/accounts").want(303)
		b.follow(b.submit(b.submit(b.get("/settings/access/zoe/enable")).want(200))).want(200).has("Active")
		again := b.get("/settings/access/zoe")
		_, rest, _ = strings.Cut(again.body, `name="once" value="`)
		once, _, _ := strings.Cut(rest, `"`)
		b.post("/settings/access/zoe/link", url.Values{"once": {once}}).want(200).has("A link for zoe")
		b.post("/settings/access/zoe/link", url.Values{"once": {once}}).want(409)
		b.submit(b.submit(b.get("/settings/access/ada/disable"))).want(409).has("last active owner")
	})
}

// A token is made after a look at its summary, shown once, listed and revoked.
func TestTokenPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		form := b.get("/settings/tokens/new").want(200)
		b.submit(form, "name", "ci", "role", "issuer", "account", "ORDERS", "template", "device", "networks", "10.0.0.0/8 here").want(422).has("This is a network such as")
		plan := b.submit(form, "name", "ci", "role", "issuer", "account", "ORDERS", "template", "device", "networks", "10.0.0.0/8").want(200).
			has("Issuer of template device in account ORDERS of acme", "10.0.0.0/8", "in 30 days").hasNot("chy_pat_")
		shown := b.submit(plan).want(200).has("Shown once", "chy_pat_", "/api/v1/me")
		_, rest, _ := strings.Cut(shown.body, `aria-label="API token">`)
		token, _, _ := strings.Cut(rest, "<")
		if !issuer.IsToken(token) {
			t.Errorf("shown is %q", token)
		}
		b.submit(plan).want(409).has("This form was sent before")
		list := b.get("/settings/tokens").want(200).has("ci", "10.0.0.0/8", "never").hasNot(token)
		_, rest, _ = strings.Cut(list.body, `href="/settings/tokens/tok_`)
		id, _, _ := strings.Cut(rest, "/")
		b.follow(b.submit(b.submit(b.get("/settings/tokens/tok_"+id+"/revoke").want(200)).want(200).has("revoked"))).want(200).has("Token ci is revoked.", "Revoked")
		if strings.Contains(h.log.String(), token) {
			t.Error("the token is in the log")
		}
	})
}
