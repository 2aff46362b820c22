package web

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"chancery/issuer"
)

// personView is one person.
type personView struct {
	Name, URL, ID string
	State         chip
	Grants        []heldRow
	Tokens        []tokenRow
	You           bool
	Disabled      bool
	CanWrite      bool
	Why           string
	// Once names the showing of the button that makes a link.
	Once             string
	Created, Changed time.Time
}

// heldRow is a grant and where it is taken away.
type heldRow struct{ Words, TakeURL string }

func (c *Console) findPerson(r *http.Request, v *visit) (issuer.Person, error) {
	return c.issuer.GetPerson(r.Context(), v.caller, r.PathValue("person"))
}

func (c *Console) person(r *http.Request, v *visit) (answer, error) {
	p, err := c.findPerson(r, v)
	if err != nil {
		return answer{}, err
	}
	view := personView{
		Name: p.Name, URL: personURL(p), ID: p.ID, State: stateChip(p.State), You: p.ID == v.caller.ID, Disabled: p.State == "disabled",
		CanWrite: v.may(issuer.WritePeople), Why: notYours("What a person may do"), Once: newOnce(), Created: p.Created, Changed: p.Updated,
	}
	for n, h := range p.Held {
		view.Grants = append(view.Grants, heldRow{h.Words(), personURL(p, "take") + "?grant=" + strconv.Itoa(n)})
	}
	if v.may(issuer.ReadTokens) {
		list, err := c.issuer.ListTokens(r.Context(), v.caller, issuer.TokenFilter{CreatedBy: p.ID, InUse: true}, issuer.LedgerPage{Limit: ledgerSize})
		if err != nil {
			return answer{}, err
		}
		for _, k := range list {
			view.Tokens = append(view.Tokens, c.tokenRow(r, map[string]string{}, k))
		}
	}
	return answer{page: "person", title: p.Name, crumbs: accessCrumbs(), body: view, calls: []apiCall{
		c.call("This person", http.MethodGet, joinURL([]string{"people", segment(p.Name, p.ID)}), ""),
	}}, nil
}

// personLink makes a sign-in link and shows it.
func (c *Console) personLink(r *http.Request, v *visit) (answer, error) {
	p, err := c.findPerson(r, v)
	if err != nil {
		return answer{}, err
	}
	once := r.PostForm.Get("once")
	if c.spent(r, once) {
		return answer{}, errSpent
	}
	a, err := c.invite(r, v, p)
	if err == nil {
		c.spend(r, v, once)
	}
	return a, err
}

// personStep is a change of a person.
func (c *Console) personStep(r *http.Request, v *visit, kind string) (step, error) {
	p, err := c.findPerson(r, v)
	if err != nil {
		return step{}, err
	}
	url := personURL(p)
	s := step{url: personURL(p, kind), crumbs: append(accessCrumbs(), link{p.Name, url}), agreed: []any{p.ID, p.Version, kind}}
	s.plan = planView{Cancel: url, Lead: "Nothing has happened yet. It holds from the next request on, on all replicas.", Unpushed: true, Untold: untold}
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: url, Groups: []group{{Fields: []*field{reasonField()}}}}
	var edit func(*issuer.PersonEdit)
	switch kind {
	case "grant":
		s.title, s.lead, s.plan.Apply = "Give "+p.Name+" a role", "Beside what they have.", "Give the role"
		s.form.Groups = append([]group{grantFields()}, s.form.Groups...)
		edit = func(e *issuer.PersonEdit) { e.Grants = append([]issuer.Grant{s.form.grant()}, e.Grants...) }
	case "take":
		n, err := strconv.Atoi(r.FormValue("grant"))
		if err != nil || n < 0 || n >= len(p.Grants) {
			return step{}, &issuer.Error{Kind: issuer.KindNotFound, Code: "grant_not_found", Message: "There is no such grant any more."}
		}
		s.title, s.lead, s.plan.Apply, s.plan.Danger = "Take from "+p.Name, p.Held[n].Words()+".", "Take it away", true
		s.form.Hidden = []hidden{{"grant", strconv.Itoa(n)}}
		taken := p.Grants[n]
		edit = func(e *issuer.PersonEdit) {
			e.Grants = slices.DeleteFunc(e.Grants, func(g issuer.Grant) bool { return g == taken })
		}
	case "disable":
		s.title, s.lead, s.plan.Apply, s.plan.Danger = "Disable "+p.Name, "They are signed out at their next request, and their unused links end.", "Disable", true
		edit = func(e *issuer.PersonEdit) { e.State = "disabled" }
	default:
		s.title, s.lead, s.plan.Apply = "Enable "+p.Name, "They may sign in again, with a new link.", "Enable"
		edit = func(e *issuer.PersonEdit) { e.State = "active" }
	}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = p.Version
		out, err := c.issuer.UpdatePerson(r.Context(), op, p.ID, edit)
		return made{plan: out.Plan}, misplaced(err)
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "What "+p.Name+" may do was changed.")
		return seeOther(url), nil
	}
	return s, nil
}

// personStepForm, personStepPlan and personStepApply return the three pages of a change.
func personStepForm(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.personStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return s.page(), nil
	}
}

func personStepPlan(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.personStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.look(r, v, s)
	}
}

func personStepApply(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.personStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.apply(r, v, s)
	}
}
