package web

import (
	"net/http"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// keyOwner is whose keys a page is about.
type keyOwner struct {
	owner issuer.KeyOwner
	// name is of the operator, account or template; url and api are the paths of its
	// keys in the console and in the API.
	name, lead, url, api   string
	operatorID, accountRef string
	crumbs                 []link
	needs                  issuer.Permission
	// tabs are there on the account's own keys.
	tabs []navItem
}

// findKeyOwner finds the operator, account or template of the path.
func (c *Console) findKeyOwner(r *http.Request, v *visit) (keyOwner, error) {
	if r.PathValue("op") != "" {
		o, url, err := c.findOperator(r, v)
		return keyOwner{
			owner: issuer.KeyOwner{Operator: o.ID}, name: o.Name, url: url + "/keys", api: url + "/signing-keys", operatorID: o.ID, needs: issuer.WriteOperators,
			crumbs: operatorCrumbs(o, url), lead: "They sign the operator's accounts. Servers learn of a new one when they start, so it is prepared first and signs when all of them trust it.",
		}, err
	}
	p, err := c.findAccount(r, v)
	if err != nil {
		return keyOwner{}, err
	}
	k := keyOwner{
		owner: issuer.KeyOwner{Account: p.account.ID}, name: p.account.Name, url: p.accountURL("keys"), api: p.accountURL("signing-keys"),
		operatorID: p.account.OperatorID, accountRef: p.accountRef, crumbs: p.accountCrumbs(), needs: issuer.WriteAccounts,
		lead: "They sign users who have permissions of their own.",
	}
	ref := r.PathValue("tpl")
	if ref == "" {
		k.tabs = p.tabs(v, "Keys")
		return k, nil
	}
	x, err := c.issuer.GetTemplate(r.Context(), v.caller, p.account.ID, ref)
	k.owner.Template, k.name, k.needs = x.ID, x.Body.Name+" in "+p.account.Name, issuer.WriteTemplates
	k.url, k.api, k.lead = p.accountURL("templates", ref, "keys"), p.accountURL("templates", ref, "keys"), "They carry the template in the account's JWT and sign its users."
	k.crumbs = append(k.crumbs, link{"Keys", p.accountURL("keys")}, link{"Template " + x.Body.Name, p.accountURL("templates", ref)})
	return k, err
}

// keyStep is one thing to do with a key, in words.
type keyStep struct {
	link, title, lead, apply, notice string
	state                            string
	danger                           bool
}

// keySteps is what can be done with a key, by the last part of the path.
func keySteps() map[string]keyStep {
	return map[string]keyStep{
		"current": {
			link: "Make current", title: "Make current", apply: "Make it current", notice: "The key is current.", state: issuer.KeyCurrent,
			lead: "The key signs from now on. The one that did stays trusted until nothing hangs on it.",
		},
		"disable": {
			link: "Disable", title: "Disable", apply: "Disable it", notice: "The key is disabled.", state: issuer.KeyDisabled, danger: true,
			lead: "What the key signed is refused until it is brought back. Who is connected with it is closed.",
		},
		"retire": {
			link: "Retire", title: "Retire", apply: "Retire for ever", notice: "The key is retired.", state: issuer.KeyRetired, danger: true,
			lead: "What the key signed is refused for ever.",
		},
		"compromise": {
			link: "In wrong hands", title: "In wrong hands:", apply: "Refuse everything it signed", notice: "Everything that the key signed is refused.", danger: true,
			lead: "Everything that the key signed is refused for ever, and revoked besides. If it is current, another key takes its place at once.",
		},
	}
}

// keyStepOf is the change of a key that the path names.
func (c *Console) keyStepOf(r *http.Request, v *visit) (step, error) {
	what, known := keySteps()[r.PathValue("step")]
	if !known {
		return step{}, &issuer.Error{Kind: issuer.KindNotFound, Code: "no_such_page", Message: noSuchPage}
	}
	k, err := c.findKeyOwner(r, v)
	if err != nil {
		return step{}, err
	}
	key, err := c.issuer.GetKey(r.Context(), v.caller, k.owner, r.PathValue("key"))
	if err != nil {
		return step{}, err
	}
	s := k.step(c, k.url+"/"+key.ID+"/"+r.PathValue("step"))
	s.title, s.lead, s.agreed = what.title+" "+shortKeyName(key.ID)+" of "+k.name, what.lead, []any{key.ID, key.Version, what.title}
	s.plan.Apply, s.plan.Danger, s.form.Danger = what.apply, what.danger, what.danger
	s.done = k.done(c, r, v, what.notice)
	if what.state == issuer.KeyRetired || what.state == "" {
		name := claims.ShortKey(key.ID)
		s.form.Groups = append([]group{{Fields: []*field{{
			Name: "typed", Label: "The last four letters of the key, " + name[len(name)-4:], Kind: kindText, Required: true, Autocomplete: "off", Code: true, Hint: "Type them to say that you mean it.",
		}}}}, s.form.Groups...)
		s.check = func(f *form) {
			if f.value("typed") != key.ID[len(key.ID)-4:] {
				f.fail("typed", "These are not the letters.")
			}
		}
	}
	if what.state == "" {
		s.run = k.run(func(op issuer.Op) (issuer.Outcome[issuer.KeyChange], error) {
			return c.issuer.CompromiseKey(r.Context(), op, k.owner, key.ID)
		})
		s.calls = []apiCall{c.call("The same", http.MethodPost, k.api+"/"+key.ID+"/compromise", `{"reason":"the seed leaked"}`)}
		return s, nil
	}
	s.run = k.run(func(op issuer.Op) (issuer.Outcome[issuer.KeyChange], error) {
		op.ExpectedVersion = key.Version
		return c.issuer.SetKeyState(r.Context(), op, k.owner, key.ID, issuer.KeyStateInput{State: what.state})
	})
	s.calls = []apiCall{c.call("The same", http.MethodPatch, k.api+"/"+key.ID, `{"state":"`+what.state+`"}`)}
	return s, nil
}

// step is what all changes of the owner's keys have in common.
func (k keyOwner) step(c *Console, url string) step {
	return step{
		url: url, crumbs: append(k.crumbs, link{"Keys of " + k.name, k.url}), closes: k.owner.Operator == "",
		form: &form{Action: url, Submit: "Review the change", Cancel: k.url, Groups: []group{{Fields: []*field{reasonField()}}}},
		plan: planView{Servers: serverNames(c.live.Servers(k.operatorID)), Cancel: k.url},
	}
}

func (k keyOwner) done(c *Console, r *http.Request, v *visit, notice string) func(made) (answer, error) {
	return func(made) (answer, error) {
		c.notify(r, v, notice)
		return seeOther(k.url), nil
	}
}

// run makes a change of keys one of a step. What differs at every look, such as the
// identity of a key that is yet to be made, is put in words that stay.
func (k keyOwner) run(do func(op issuer.Op) (issuer.Outcome[issuer.KeyChange], error)) func(issuer.Op) (made, error) {
	return func(op issuer.Op) (made, error) {
		out, err := do(op)
		for n, f := range out.Plan.Summary {
			if f.Before == "" {
				f = claims.FieldChange{Field: "A new key", After: f.After}
			}
			if strings.HasPrefix(f.After, "retiring, until 2") {
				f.After = "retiring, until the overlap ends"
			}
			out.Plan.Summary[n] = f
		}
		return made{out.Plan, k.owner.Account, out.Value.JWTVersion}, err
	}
}

// rotation is the change that begins a rotation: of an account's or a template's key
// it is the whole of it, an operator's is prepared.
func (c *Console) rotation(r *http.Request, v *visit) (step, error) {
	k, err := c.findKeyOwner(r, v)
	if err != nil {
		return step{}, err
	}
	s := k.step(c, k.url+"/rotate")
	s.agreed, s.plan.Apply = []any{k.owner, "rotate"}, "Rotate"
	in := func(f *form) issuer.KeyInput { return issuer.KeyInput{} }
	if k.owner.Operator != "" {
		s.title, s.plan.Apply = "Next key of "+k.name, "Add the key"
		s.lead = "A new key joins the operator's JWT and signs nothing yet. Restart the servers with that JWT one after the other; then make the key current, and all accounts are signed anew."
		s.calls = []apiCall{c.call("The same", http.MethodPost, k.api, `{}`)}
		s.done = k.done(c, r, v, "The key is prepared. Give the servers the operator's new JWT and restart them one after the other, then make it current.")
	} else {
		s.title = "Rotate the key of " + k.name
		s.lead = "A new key signs from now on. What the old key signed stays good while it is retiring, so nobody is dropped."
		s.form.Groups = append([]group{{Fields: []*field{{
			Name: "overlap", Label: "Keep the old key trusted", Kind: kindSelect,
			Options: []option{{"", "As the operator's policy says"}, {"0s", "Until nothing hangs on it"}, {"1d", "1 day"}, {"7d", "7 days"}, {"14d", "14 days"}, {"30d", "30 days"}, {"90d", "90 days"}},
		}}}}, s.form.Groups...)
		s.calls = []apiCall{c.call("The same", http.MethodPost, k.api, `{"retire_previous_after_seconds":1209600}`)}
		s.done = k.done(c, r, v, "The new key signs. The old one retires by itself.")
		in = func(f *form) issuer.KeyInput {
			out := issuer.KeyInput{MakeCurrent: true}
			if f.value("overlap") != "" {
				d := time.Duration(f.seconds("overlap")) * time.Second
				out.Previous.RetireAfter = &d
			}
			return out
		}
	}
	s.run = k.run(func(op issuer.Op) (issuer.Outcome[issuer.KeyChange], error) {
		return c.issuer.AddKey(r.Context(), op, k.owner, in(s.form))
	})
	return s, nil
}

// keyPages returns the three pages of a change of keys: its form, its plan, and making it.
func keyPages(find func(*Console, *http.Request, *visit) (step, error)) (show, look, apply handler) {
	at := func(then func(*Console, *http.Request, *visit, step) (answer, error)) handler {
		return func(c *Console, r *http.Request, v *visit) (answer, error) {
			s, err := find(c, r, v)
			if err != nil {
				return answer{}, err
			}
			return then(c, r, v, s)
		}
	}
	return at(func(_ *Console, _ *http.Request, _ *visit, s step) (answer, error) { return s.page(), nil }), at((*Console).look), at((*Console).apply)
}

// keyRoutes is the part of the route table about keys.
func keyRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	out := []route{{get, "/keys", (*Console).keys, signedIn, issuer.ReadOperators}}
	show, look, apply := keyPages((*Console).keyStepOf)
	begin, plan, rotate := keyPages((*Console).rotation)
	for _, o := range []struct {
		path         string
		reads, needs issuer.Permission
	}{
		{"/operators/{op}/keys", issuer.ReadOperators, issuer.WriteOperators},
		{"/accounts/{acct}/keys", issuer.ReadAccounts, issuer.WriteAccounts},
		{"/accounts/{acct}/templates/{tpl}/keys", issuer.ReadTemplates, issuer.WriteTemplates},
	} {
		out = append(
			out,
			route{get, o.path, (*Console).ownerKeys, signedIn, o.reads},
			route{get, o.path + "/rotate", begin, signedIn, o.needs},
			route{post, o.path + "/rotate", plan, signedIn, ""},
			route{post, o.path + "/rotate/apply", rotate, signedIn, ""},
			route{get, o.path + "/{key}/{step}", show, signedIn, o.needs},
			route{post, o.path + "/{key}/{step}", look, signedIn, ""},
			route{post, o.path + "/{key}/{step}/apply", apply, signedIn, ""},
		)
	}
	return out
}
