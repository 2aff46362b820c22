package web

import (
	"context"
	"net/http"
	"strings"

	"chancery/issuer"
)

func operatorURL(ref string, rest ...string) string {
	return joinURL(append([]string{"operators", ref}, rest...))
}

// operatorsView is the list of operators.
type operatorsView struct {
	Rows      []operatorRow
	CanCreate bool
	// CanImport and SeesImports lead to the stores of nsc that were uploaded.
	CanImport, SeesImports bool
}

type operatorRow struct {
	Name, URL, Key, Custody string
	State                   chip
	Servers                 int
}

func (c *Console) operators(r *http.Request, v *visit) (answer, error) {
	list, err := c.issuer.ListOperators(r.Context(), v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return answer{}, err
	}
	view := operatorsView{CanCreate: v.may(issuer.WriteOperators), CanImport: v.imports(), SeesImports: v.caller.Allows(issuer.ReadAdoption, issuer.Scope{})}
	for _, o := range list {
		view.Rows = append(view.Rows, operatorRow{
			Name: o.Name, URL: operatorURL(segment(o.Name, o.ID)), Key: o.ID, Custody: custodyWords(o.Custody), State: operatorChip(o), Servers: len(c.live.Servers(o.ID)),
		})
	}
	return answer{page: "operators", title: "Operators", body: view, calls: []apiCall{c.call("This list", http.MethodGet, "/operators", "")}}, nil
}

func operatorChip(o issuer.Operator) chip {
	switch {
	case o.State == "awaiting_signature":
		return chip{toneWait, "Awaiting signature"}
	case !o.Signing:
		return chip{toneBad, "Signing is off"}
	case o.Custody == issuer.CustodyObserved:
		return chip{toneOff, "Observed"}
	}
	return stateChip(o.State)
}

func custodyWords(custody string) string {
	switch custody {
	case issuer.CustodySealed:
		return "here, sealed"
	case issuer.CustodyOffline:
		return "offline"
	case issuer.CustodyObserved:
		return "elsewhere: read-only here"
	}
	return custody
}

func operatorForm() *form {
	return &form{
		Action: "/operators/new", Submit: "Create operator", Cancel: "/operators",
		Groups: []group{{Fields: []*field{
			{
				Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Autocomplete: "off", Placeholder: "acme",
				Hint: "Up to 64 printable characters: the deployment or the company. Leave it empty for an observed operator.",
			},
			{
				Name: "service_urls", Pointer: "/service_urls", Label: "Addresses of its nats-servers", Kind: kindText, Autocomplete: "off",
				Placeholder: "nats://n1.acme.example:4222", Hint: "Optional, separated by spaces. Chancery connects there to push changes and to read them back.",
			},
		}}, {Legend: "Identity key", Fields: []*field{
			{
				Name: "custody", Pointer: "/custody", Label: "Where it is kept", Kind: kindSelect, Required: true, Value: issuer.CustodySealed,
				Options: []option{
					{issuer.CustodySealed, "Here, sealed: made now, operator changes are signed at once"},
					{issuer.CustodyOffline, "Offline: made on another machine, operator changes are signed there"},
					{issuer.CustodyObserved, "Elsewhere: only look at an operator by its public JWT"},
				},
				Hint: "Offline is safest: a stolen server cannot change whom your nats-servers trust.",
			},
			{
				Name: "public_key", Pointer: "/public_key", Label: "Public key, when it is offline", Kind: kindText, Code: true, Autocomplete: "off", Placeholder: "O…", Max: 64,
				Hint: "chancery operator init --offline FILE makes the key and prints this.",
			},
			{Name: "jwt", Pointer: "/jwt", Label: "Operator JWT, when it is observed", Kind: kindTextarea, Code: true, JWT: true},
		}}},
	}
}

func (c *Console) newOperator(_ *http.Request, _ *visit) (answer, error) {
	return c.operatorFormPage(operatorForm()), nil
}

func (c *Console) operatorFormPage(f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "New operator", crumbs: []link{{"Operators", "/operators"}},
		body: formView{
			Title: "New operator", Form: f,
			Lead: "The root of trust of a NATS deployment. It gets a signing key, a system account and strict signing keys; the seeds made here are sealed.",
		},
		calls: []apiCall{
			c.call("Create an operator", http.MethodPost, "/operators", `{"name":"acme"}`),
			c.call("Create one whose identity key is offline", http.MethodPost, "/operators", `{"name":"acme","custody":"offline","public_key":"O…"}`),
		},
	}
}

func (c *Console) createOperator(r *http.Request, v *visit) (answer, error) {
	f := operatorForm()
	f.read(r.PostForm)
	op := v.op("")
	op.DryRun = !f.ok() // to say everything that is wrong at once
	out, err := c.issuer.CreateOperator(r.Context(), op, issuer.OperatorInput{
		Name: f.value("name"), Custody: f.value("custody"), PublicKey: f.value("public_key"), JWT: f.value("jwt"), ServiceURLs: strings.Fields(f.value("service_urls")),
	})
	if err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() {
		return c.operatorFormPage(f), nil
	}
	next := "Give each nats-server the configuration below, then make the first account."
	if out.Value.Custody == issuer.CustodyOffline {
		next = "Its JWT has to be signed where the identity key is."
	}
	c.notify(r, v, "Operator "+out.Value.Name+" was created. "+next)
	return seeOther(operatorURL(segment(out.Value.Name, out.Value.ID))), nil
}

// findOperator finds the operator of the path, and its address.
func (c *Console) findOperator(r *http.Request, v *visit) (issuer.Operator, string, error) {
	ref := r.PathValue("op")
	o, err := c.issuer.GetOperator(r.Context(), v.caller, ref)
	if err == nil {
		v.at = issuer.Scope{Operator: o.ID}
	}
	return o, operatorURL(ref), err
}

func operatorCrumbs(o issuer.Operator, url string) []link {
	return []link{{"Operators", "/operators"}, {o.Name, url}}
}

// signingOff is an operator whose switch is off, for the banner of every page.
type signingOff struct{ Operator, URL, Reason string }

// switchedOff returns the operators whose signing switch is off; a banner must not
// take a page down.
func (c *Console) switchedOff(ctx context.Context, v *visit, list []issuer.Operator) []signingOff {
	var out []signingOff
	for _, o := range list {
		if o.Signing {
			continue
		}
		row := signingOff{Operator: o.Name, URL: operatorURL(segment(o.Name, o.ID), "signing")}
		if s, err := c.issuer.SigningSwitch(ctx, v.caller, o.ID); err == nil {
			row.Reason = s.Reason
		}
		out = append(out, row)
	}
	return out
}
