package web

import (
	"net/http"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// ownPermissions is the choice of leaving a user the permissions of its own; no
// template can have this name.
const ownPermissions = "/own"

// editStep is a change of a user's template and tags: what is issued later carries it.
func (c *Console) editStep(r *http.Request, v *visit, p place, s step) (step, error) {
	u := p.user
	templates, err := c.issuer.ListTemplates(r.Context(), v.caller, p.account.ID, issuer.Page{Limit: mostTemplates})
	if err != nil {
		return s, err
	}
	choice := &field{Name: "template", Pointer: "/template", Label: "Template", Kind: kindSelect, Required: true, Value: ownPermissions, Hint: "The permissions it gets."}
	for _, t := range templates {
		choice.Options = append(choice.Options, option{t.Body.Name, t.Body.Name})
		if t.ID == u.TemplateID {
			choice.Value = t.Body.Name
		}
	}
	if u.Permissions != nil {
		choice.Options = append(choice.Options, option{ownPermissions, "None: permissions of its own, as they are"})
	} else {
		choice.Options = append(choice.Options, option{noTemplate, "None: publish and subscribe to everything in the account"})
	}
	before := choice.Value
	tags := &field{
		Name: "tags", Pointer: "/tags", Label: "Tags", Kind: kindText, Autocomplete: "off", Value: strings.Join(u.Tags, " "), Placeholder: "region:eu",
		Hint: "Written key or key:value, separated by spaces. Templates may put them into subjects.",
	}
	s.title, s.lead = "Change "+u.Name, "What was issued to this user says what it said. Credentials that are issued or renewed from now on carry the change."
	s.form.Groups, s.closes = append([]group{{Fields: []*field{choice, tags}}}, s.form.Groups...), false
	s.form.Rules = c.userRules(r.Context(), v, p)
	s.plan.Apply, s.plan.Unpushed = "Change", true
	s.calls = []apiCall{c.call("Change the user", http.MethodPatch, p.userURL(), `{"template":"device","tags":["region:eu"]}`)}
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = u.Version
		chosen := s.form.value("template")
		out, err := c.issuer.UpdateUser(r.Context(), op, p.account.ID, u.ID, func(e *issuer.UserEdit) {
			e.Tags = splitTags(s.form.value("tags"))
			switch chosen {
			case ownPermissions:
			case noTemplate:
				all := claims.NewPermissionLimits()
				e.Template, e.Permissions = "", &all
			default:
				e.Template, e.Permissions = chosen, nil
			}
		})
		if chosen != before && err == nil {
			name := func(choice string) string {
				if strings.HasPrefix(choice, "/") {
					return "none"
				}
				return choice
			}
			out.Plan.Summary = append([]claims.FieldChange{{Field: "Template", Before: name(before), After: name(chosen)}}, out.Plan.Summary...)
		}
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "User "+u.Name+" was changed.")
		return seeOther(p.userURL()), nil
	}
	return s, nil
}
