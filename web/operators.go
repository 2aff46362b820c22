package web

import (
	"net/http"
	"strings"

	"chancery/issuer"
)

func operatorForm() *form {
	return &form{
		Action: "/operators/new", Submit: "Create operator", Cancel: "/accounts",
		Groups: []group{{Fields: []*field{
			{
				Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off", Placeholder: "acme",
				Hint: "Up to 64 printable characters: the deployment or the company.",
			},
			{
				Name: "service_urls", Pointer: "/service_urls", Label: "Addresses of its nats-servers", Kind: kindText, Autocomplete: "off",
				Placeholder: "nats://n1.acme.example:4222", Hint: "Optional, separated by spaces. Chancery connects there to push changes and to read them back.",
			},
		}}},
	}
}

func (c *Console) newOperator(_ *http.Request, _ *visit) (answer, error) {
	return c.operatorFormPage(operatorForm()), nil
}

func (c *Console) operatorFormPage(f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "New operator", crumbs: []link{{"Accounts", "/accounts"}},
		body: formView{
			Title: "New operator", Form: f,
			Lead: "The root of trust of a NATS deployment. It gets a signing key, a system account and strict signing keys; the seeds are sealed here.",
		},
		calls: []apiCall{c.call("Create an operator", http.MethodPost, "/operators", `{"name":"acme"}`)},
	}
}

func (c *Console) createOperator(r *http.Request, v *visit) (answer, error) {
	f := operatorForm()
	f.read(r.PostForm)
	op := v.op("")
	op.DryRun = !f.ok() // to say everything that is wrong at once
	out, err := c.issuer.CreateOperator(r.Context(), op, issuer.OperatorInput{Name: f.value("name"), ServiceURLs: strings.Fields(f.value("service_urls"))})
	if err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() {
		return c.operatorFormPage(f), nil
	}
	c.notify(r, v, "Operator "+out.Value.Name+" was created. Give each nats-server what `chancery server-config` prints, then make the first account.")
	return seeOther("/accounts"), nil
}
