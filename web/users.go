package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// userRow is a user in a table.
type userRow struct {
	Name, URL string
	// Template is empty for a user with permissions of its own.
	Template string
	Tags     []string
	State    chip
	Changed  time.Time
}

// userView is one user.
type userView struct {
	Account, AccountURL, Name, URL, ID string
	Template, TemplateURL              string
	Publish, Subscribe                 rules
	Tags                               []string
	State                              chip
	Created                            time.Time
	Credentials                        []credentialRow
	Pager                              pager
	NoCredentials                      *emptyView
	Connections                        connectionsView
	CanIssue, CanRevoke, CanWrite      bool
	Disabled                           bool
	// AskURL asks what the user may do.
	AskURL string
	// Seen is when the user was connected last, as far as is known.
	Seen *claims.Seen
	// Revoked leads to the proof of the last revocation, if there was one.
	Revoked bool
}

func (c *Console) user(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	a, u := p.account, p.user
	view := userView{
		Account: a.Name, AccountURL: p.accountURL(), Name: u.Name, URL: p.userURL(), ID: u.ID, Tags: u.Tags,
		AskURL: inspectURL(url.Values{"as": {a.Name + "/" + u.Name}}), State: stateChip(u.State), Created: u.Created, CanIssue: v.may(issuer.IssueCredentials), CanRevoke: v.may(issuer.WriteRevocations),
		CanWrite: v.may(issuer.WriteUsers), Disabled: u.State == "disabled",
	}
	if u.TemplateID != "" {
		t, err := c.issuer.GetTemplate(ctx, v.caller, a.ID, u.TemplateID)
		if err != nil {
			return answer{}, err
		}
		row := newTemplateRow(t.Template)
		view.Template, view.Publish, view.Subscribe = row.Name, row.Publish, row.Subscribe
		if v.may(issuer.ReadTemplates) {
			view.TemplateURL = p.accountURL("templates", segment(row.Name, t.ID))
		}
	} else if u.Permissions != nil {
		own := u.Permissions.Permissions
		view.Publish, view.Subscribe = newRules(own.Pub.Allow, own.Pub.Deny), newRules(own.Sub.Allow, own.Sub.Deny)
	}
	keys, err := c.listCredentials(r, v, &view, p)
	if err != nil {
		return answer{}, err
	}
	view.Connections = c.connections(ctx, v, a.ID, func(x claims.Connection) bool { return keys[x.UserKey] })
	view.Seen = c.lastSeen(a.ID, keys)
	return answer{
		page: "user", title: u.Name, crumbs: p.accountCrumbs(), body: view,
		calls: []apiCall{
			c.call("This user", http.MethodGet, view.URL, ""),
			c.call("The ledger of its credentials", http.MethodGet, view.URL+"/credentials", ""),
			c.call("Issue credentials", http.MethodPost, view.URL+"/credentials", `{"ttl_seconds":2592000}`),
		},
	}, nil
}

// mostTemplates bounds the choice of templates in a form.
const mostTemplates = 200

// noTemplate is the choice of permissions without bounds inside the account; no
// template can have this name.
const noTemplate = "/none"

// userForm asks for a user. With a template chosen it has a field for each tag that
// the template uses, so that none is forgotten.
func (c *Console) userForm(ctx context.Context, v *visit, p place, chosen string) (*form, error) {
	templates, err := c.issuer.ListTemplates(ctx, v.caller, p.account.ID, issuer.Page{Limit: mostTemplates})
	if err != nil {
		return nil, err
	}
	choice := &field{
		Name: "template", Pointer: "/template", Label: "Template", Kind: kindSelect, Required: true, Value: chosen,
		Options: []option{{"", "Choose one"}}, Hint: "The permissions it gets.",
	}
	tags := &field{
		Name: "tags", Pointer: "/tags", Label: "Tags", Kind: kindText, Autocomplete: "off", Placeholder: "team:orders",
		Hint: "Optional. Written key or key:value, separated by spaces.",
	}
	fields := []*field{
		{
			Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off",
			Hint: "Who the credentials are for: a service, a device or a person. Up to 64 printable characters.",
		},
		choice,
	}
	var longest time.Duration
	var uses []string
	for _, t := range templates {
		choice.Options = append(choice.Options, option{t.Body.Name, t.Body.Name})
		used := tagsUsed(t.Body)
		if t.Body.Name == chosen {
			longest = t.MaxTTL
			fields = append(fields, tagFields(used)...)
			continue
		}
		if len(used) > 0 {
			var names []string
			for _, u := range used {
				names = append(names, u.Tag)
			}
			uses = append(uses, t.Body.Name+" uses "+strings.Join(names, ", "))
		}
	}
	choice.Options = append(choice.Options, option{noTemplate, "None: publish and subscribe to everything in the account"})
	if chosen == "" && len(uses) > 0 {
		tags.Hint += " Templates put them into subjects: " + strings.Join(uses, "; ") + "."
	} else if len(fields) > 2 {
		tags.Label = "Further tags"
	}
	b := c.boundsOf(ctx, v, p, longest)
	b.anyTemplate = chosen == "" && b.longest == 0
	fields = append(append(append(fields, tags, lifetimeField(b)), keyFields()...), issueReason())
	return &form{
		Action: p.accountURL("users", "new"), Submit: "Create user and issue credentials", Cancel: p.accountURL(),
		Groups: []group{{Fields: fields}}, Hidden: []hidden{{"once", newOnce()}}, Rules: c.userRules(ctx, v, p),
	}, nil
}

func tagFields(used []tagUse) []*field {
	var out []*field
	for _, u := range used {
		f := &field{
			Name: "tag." + u.Tag, Label: "Tag " + u.Tag, Kind: kindText, Autocomplete: "off", Required: u.Required,
			Hint: "The template puts it into subjects. Several values are separated by spaces; without one, the rules that use it are dropped.",
		}
		if u.Required {
			f.Hint = "The template uses it in a deny rule: without it a server refuses the user. Several values are separated by spaces."
		}
		out = append(out, f)
	}
	return out
}

// formTags collects the tags of a form: the free ones and those with a field.
func formTags(f *form) []string {
	out := splitTags(f.value("tags"))
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if key, ok := strings.CutPrefix(x.Name, "tag."); ok {
				for _, value := range splitTags(x.Value) {
					out = append(out, key+":"+value)
				}
			}
		}
	}
	return out
}

func (c *Console) newUser(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	chosen := searchText(r.URL.Query().Get("template"))
	f, err := c.userForm(r.Context(), v, p, chosen)
	if err != nil {
		return answer{}, err
	}
	if x := f.field("template"); !x.offers(chosen) {
		x.Value = ""
	}
	return c.userFormPage(p, f), nil
}

func (c *Console) userFormPage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "New user", crumbs: p.accountCrumbs(),
		body: formView{Title: "New user", Lead: "In account " + p.account.Name + ". Its first credentials are issued at once.", Form: f},
		calls: []apiCall{
			c.call("Create a user", http.MethodPost, p.accountURL("users"), `{"name":"d1","template":"device","tags":["region:eu"]}`),
			c.call("Issue its first credentials", http.MethodPost, p.accountURL("users", "d1", "credentials"), `{"ttl_seconds":2592000}`),
		},
	}
}

func (c *Console) createUser(r *http.Request, v *visit) (answer, error) {
	ctx, once := r.Context(), r.PostForm.Get("once")
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	if c.spent(r, once) {
		return answer{}, errSpent
	}
	f, err := c.userForm(ctx, v, p, r.PostForm.Get("template"))
	if err != nil {
		return answer{}, err
	}
	f.read(r.PostForm)
	in := issuer.UserInput{Name: f.value("name"), Template: f.value("template"), Tags: formTags(f)}
	issue := f.issueInput(v)
	in.Issue = &issue
	if in.Template == noTemplate {
		all := claims.NewPermissionLimits()
		in.Template, in.Permissions = "", &all
	}
	// The dry run says everything that is wrong at once, and what to look at.
	plan, err := c.issuer.CreateUser(ctx, v.dryRun(f.value("reason")), p.account.ID, in)
	if err != nil && !f.accept(err) {
		return answer{}, err
	}
	if !f.ok() || !agreed(f, r, plan.Plan.Warnings) {
		return c.userFormPage(p, f), nil
	}
	out, err := c.issuer.CreateUser(ctx, v.op(f.value("reason")), p.account.ID, in)
	if err != nil {
		if f.accept(err) {
			return c.userFormPage(p, f), nil
		}
		return answer{}, err
	}
	c.spend(r, v, once)
	p.user, p.userRef = out.Value.User, segment(out.Value.Name, out.Value.ID)
	return c.secretPage(ctx, v, p, *out.Value.Issued), nil
}

// agreed tells whether the person has seen the warnings; if not, the form shows
// them and asks once more.
func agreed(f *form, r *http.Request, warnings claims.Problems) bool {
	if len(warnings) == 0 {
		return true
	}
	raw, err := json.Marshal(sentences(warnings))
	hash := planHash(string(raw))
	if err == nil && r.PostForm.Get("agreed") == hash {
		return true
	}
	f.Warnings, f.Submit = sentences(warnings), "Create it anyway"
	f.Hidden = append(f.Hidden, hidden{"agreed", hash})
	return false
}
