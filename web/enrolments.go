package web

import (
	"net/http"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// mostEnrolments are listed on the page.
const mostEnrolments = 100

// enrolmentPage is how accounts come under an operator with nsc, and who asks.
type enrolmentPage struct {
	Name, URL string
	Mode      string
	Limits    string
	CanWrite  bool
	CanDecide bool
	// Token was made just now.
	Token claims.Secret
	// Unposted tells that the operator's JWT names no account server, so that nsc posts
	// nowhere; AccountServerURL is what to set.
	Unposted         bool
	AccountServerURL string
	Strict           bool
	Commands         string
	Asking           []askingRow
	More             bool
}

type askingRow struct {
	Name, Key, URL, Remote, State string
	Since                         time.Time
}

var enrolmentModes = []option{
	{issuer.EnrolClosed, "Closed: accounts are made here only"},
	{issuer.EnrolApproval, "Approval: whoever asks waits for an administrator"},
	{issuer.EnrolToken, "Token: who has the URL with the token"},
	{issuer.EnrolOpen, "Open: whoever reaches this server"},
}

func modeText(mode string) string {
	for _, o := range enrolmentModes {
		if o.Value == mode {
			return o.Text
		}
	}
	return mode
}

// enrolment shows the policy, how nsc is connected, and the accounts that ask.
func (c *Console) enrolment(r *http.Request, v *visit) (answer, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.enrolmentOf(r, v, o, url, claims.Secret{})
}

func (c *Console) enrolmentOf(r *http.Request, v *visit, o issuer.Operator, url string, token claims.Secret) (answer, error) {
	p, err := c.issuer.GetEnrolmentPolicy(r.Context(), v.caller, o.ID)
	if err != nil {
		return answer{}, err
	}
	rows, err := c.issuer.ListEnrolments(r.Context(), v.caller, o.ID, "", issuer.Page{Limit: mostEnrolments + 1})
	if err != nil {
		return answer{}, err
	}
	base := strings.TrimSuffix(c.resolverURL, "/")
	path := "/jwt/v1"
	if !o.Default {
		path = "/o/" + o.Name + path
	}
	if !token.Empty() {
		path = "/t/" + token.Reveal() + path
	}
	view := enrolmentPage{
		Name: o.Name, URL: url, Mode: modeText(p.Mode), Limits: p.Limits, Token: token, Unposted: p.AccountServerURL == "", AccountServerURL: base + path, Strict: p.Strict,
		CanWrite: o.Custody != issuer.CustodyObserved && v.may(issuer.WriteOperators), CanDecide: v.may(issuer.WriteLimits), More: len(rows) > mostEnrolments,
	}
	from := base + path
	if p.AccountServerURL != "" && token.Empty() {
		from = strings.TrimSuffix(p.AccountServerURL, "/")
	}
	view.Commands = "nsc add operator -u " + shellWord(from+"/operator") + "\nnsc add account NAME\nnsc add user -a NAME me"
	for _, e := range rows[:min(len(rows), mostEnrolments)] {
		view.Asking = append(view.Asking, askingRow{Name: e.Name, Key: e.AccountID, URL: url + "/enrolment/" + e.AccountID, Remote: e.Remote, State: e.State, Since: e.Updated})
	}
	return answer{page: "enrolment", title: "Enrolment with " + o.Name, crumbs: operatorCrumbs(o, url), body: view}, nil
}

// enrolmentStep is a change of the policy, or a decision on an account that asks.
func (c *Console) enrolmentStep(r *http.Request, v *visit) (step, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return step{}, err
	}
	home, api := url+"/enrolment", "/operators/"+r.PathValue("op")
	if r.PathValue("key") == "" {
		return c.policyStep(r, v, o, url)
	}
	account, decision := r.PathValue("key"), r.PathValue("decision")
	s := step{url: home + "/" + account + "/" + decision, crumbs: operatorCrumbs(o, url), agreed: []any{o.ID, account, decision}, plan: planView{Cancel: home}}
	s.form = &form{Action: s.url, Submit: "Review", Cancel: home, Groups: []group{{Fields: []*field{reasonField()}}}}
	var what string
	switch decision {
	case "approve":
		s.title, s.lead, what = "Let an account in", "It is signed by the operator, with the limits that enrolled accounts get, and what its holder asked for.", "approval"
		s.plan.Apply = "Let it in"
		s.run = func(op issuer.Op) (made, error) {
			out, err := c.issuer.ApproveEnrolment(r.Context(), op, o.ID, account)
			return made{out.Plan, out.Value.ID, out.Value.JWTVersion}, err
		}
	case "refuse":
		s.title, s.lead, what = "Keep an account out", "What its holder posts is refused from now on. It can be let in later all the same.", "refusal"
		s.plan.Apply, s.plan.Unpushed = "Keep it out", true
		s.plan.Changes = []planChange{{Field: "State", From: "asks", To: "kept out"}}
		s.run = func(op issuer.Op) (made, error) {
			out, err := c.issuer.RefuseEnrolment(r.Context(), op, o.ID, account)
			return made{plan: out.Plan}, err
		}
	default:
		return step{}, &issuer.Error{Kind: issuer.KindNotFound, Code: "no_such_page", Message: "There is no such page."}
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, map[string]string{"approve": "The account is let in.", "refuse": "The account is kept out."}[decision])
		return seeOther(home), nil
	}
	s.calls = []apiCall{c.call(s.title, http.MethodPut, api+"/enrolments/"+account+"/"+what, `{"reason":"a ticket"}`)}
	return s, nil
}

// policyStep changes who is let in.
func (c *Console) policyStep(r *http.Request, v *visit, o issuer.Operator, url string) (step, error) {
	home := url + "/enrolment"
	p, err := c.issuer.GetEnrolmentPolicy(r.Context(), v.caller, o.ID)
	if err != nil {
		return step{}, err
	}
	limits := []option{{"", "None: without limits"}}
	for _, x := range claims.AccountPresets() {
		limits = append(limits, option{x.Name, x.Title})
	}
	s := step{url: home + "/policy", crumbs: operatorCrumbs(o, url), agreed: []any{o.ID, p.Version, "enrolment"}, plan: planView{Cancel: home, Apply: "Set the policy", Unpushed: true}}
	s.title, s.lead = "Enrolment with "+o.Name, "Whether accounts come under this operator that their holders make with nsc. Accounts that are here already can always be changed by who holds their key."
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: home, Groups: []group{{Fields: []*field{
		{Name: "mode", Pointer: "/mode", Label: "Who is let in", Kind: kindSelect, Value: p.Mode, Options: enrolmentModes},
		{Name: "limits", Pointer: "/limits", Label: "Limits of enrolled accounts", Kind: kindSelect, Value: p.Limits, Options: limits},
		{Name: "new_token", Pointer: "/new_token", Label: "Make another token", Kind: kindCheckbox, Hint: "The one before lets nobody in any more. The first token is made with the mode."},
		reasonField(),
	}}}}
	var out issuer.Outcome[issuer.EnrolmentPolicy]
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = p.Version
		var err error
		out, err = c.issuer.SetEnrolmentPolicy(r.Context(), op, o.ID, issuer.EnrolmentInput{Mode: s.form.value("mode"), Limits: s.form.value("limits"), NewToken: s.form.checked("new_token")})
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		if !out.Value.Token.Empty() {
			return c.enrolmentOf(r, v, o, url, out.Value.Token)
		}
		c.notify(r, v, "The enrolment policy of "+o.Name+" was set.")
		return seeOther(home), nil
	}
	api := "/operators/" + r.PathValue("op") + "/enrolment-policy"
	s.calls = []apiCall{c.call("The policy", http.MethodGet, api, ""), c.call("Set it", http.MethodPut, api, `{"mode":"approval","limits":"team"}`)}
	return s, nil
}

// enrolmentForm, planEnrolment and setEnrolment are the three pages of a change.
func (c *Console) enrolmentForm(r *http.Request, v *visit) (answer, error) {
	s, err := c.enrolmentStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return s.page(), nil
}

func (c *Console) planEnrolment(r *http.Request, v *visit) (answer, error) {
	s, err := c.enrolmentStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.look(r, v, s)
}

func (c *Console) setEnrolment(r *http.Request, v *visit) (answer, error) {
	s, err := c.enrolmentStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.apply(r, v, s)
}
