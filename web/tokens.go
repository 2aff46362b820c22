package web

import (
	"net/http"
	"strings"
	"time"

	"chancery/issuer"
)

// tokensView is the list of API tokens.
type tokensView struct {
	Rows     []tokenRow
	Pager    pager
	CanWrite bool
	Why      string
	Empty    *emptyView
}

type tokenRow struct {
	ID, Name, RevokeURL, By string
	Grants, Networks        []string
	State                   chip
	Expires, Used           time.Time
	From                    string
}

func (c *Console) tokenRow(r *http.Request, names map[string]string, k issuer.Token) tokenRow {
	row := tokenRow{ID: k.ID, Name: k.Name, Grants: grantWords(k.Held), Expires: k.Expires, Used: k.LastUsed, From: k.LastUsedFrom, By: c.actor(r.Context(), names, k.CreatedBy)}
	for _, n := range k.Networks {
		row.Networks = append(row.Networks, n.String())
	}
	switch k.State(c.now()) {
	case "active":
		row.State, row.RevokeURL = chip{toneGood, "Active"}, tokenURL(k, "revoke")
	case "revoked":
		row.State = chip{toneBad, "Revoked"}
	default:
		row.State = chip{toneOff, "Expired"}
	}
	return row
}

func tokenURL(k issuer.Token, rest ...string) string {
	return joinURL(append([]string{"settings", "tokens", k.ID}, rest...))
}

func (c *Console) tokens(r *http.Request, v *visit) (answer, error) {
	before := searchText(r.URL.Query().Get("before"))
	list, err := c.issuer.ListTokens(r.Context(), v.caller, issuer.TokenFilter{}, issuer.LedgerPage{Before: before, Limit: pageSize + 1})
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view := tokensView{CanWrite: v.may(issuer.WriteTokens), Why: "Your role does not allow making or revoking tokens. Ask an admin of the account or operator."}
	names := map[string]string{}
	for _, k := range list {
		view.Rows = append(view.Rows, c.tokenRow(r, names, k))
	}
	if before != "" {
		view.Pager.First = tokensPath
	}
	if more {
		view.Pager.Next = withQuery(tokensPath, "before", list[len(list)-1].ID)
	}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "No API tokens here", Text: "A token lets a program use the API: with a role, on a place, until a day. You see tokens all of whose grants lie within your own."}
		if view.CanWrite {
			view.Empty.Action = &link{"New token", tokensPath + "/new"}
		}
	}
	return answer{page: "tokens", title: "API tokens", crumbs: accessCrumbs(), tabs: accessTabs(v, tokensPath), body: view, calls: []apiCall{c.call("These tokens", http.MethodGet, "/tokens", "")}}, nil
}

// newTokenStep is making a token: form, summary, and the token.
func (c *Console) newTokenStep(r *http.Request, v *visit) step {
	once := r.FormValue("once")
	if once == "" {
		once = newOnce()
	}
	life := &field{Name: "ttl", Pointer: "/ttl_seconds", Label: "Lifetime", Kind: kindSelect, Required: true, Value: "720h", Options: []option{
		{"1h", "1 hour"}, {"24h", "1 day"}, {"168h", "7 days"}, {"720h", "30 days"}, {"2160h", "90 days"}, {"8760h", "1 year"},
	}}
	s := step{
		url: tokensPath + "/new", title: "New API token", crumbs: append(accessCrumbs(), link{"API tokens", tokensPath}),
		lead: "For a program. It is shown once; what it may do does not change with what you may do.",
		plan: planView{Title: "New API token", Lead: "Nothing has happened yet. This is the token that will be made.", Cancel: tokensPath, Apply: "Make the token", Unpushed: true, Untold: untold},
		form: &form{
			Action: tokensPath + "/new", Submit: "Look at the summary", Cancel: tokensPath, Hidden: []hidden{{"once", once}},
			Groups: []group{
				{Fields: []*field{{Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off", Hint: "What it is for, such as ci."}}},
				grantFields(),
				{Legend: "Bounds", Fields: []*field{life, {
					Name: "networks", Pointer: "/networks", Label: "Networks", Kind: kindText, Autocomplete: "off", Code: true, Placeholder: "10.0.0.0/8 2001:db8::/32",
					Hint: "Optional: from where alone it can be used, separated by spaces. Elsewhere it is answered as if nobody knew it.",
				}}},
				{Fields: []*field{reasonField()}},
			},
		},
		calls: []apiCall{c.call("Make a token", http.MethodPost, "/tokens", `{"name":"ci","grants":[{"role":"issuer","account":"ORDERS","template":"device"}],"ttl_seconds":2592000}`)},
	}
	var out issuer.Outcome[issuer.NewToken]
	s.run = func(op issuer.Op) (made, error) {
		ttl, err := time.ParseDuration(s.form.value("ttl"))
		if err != nil {
			ttl = 0
		}
		if !op.DryRun {
			if c.spent(r, once) {
				return made{}, errSpent
			}
			c.spend(r, v, once)
		}
		out, err = c.issuer.CreateToken(r.Context(), op, issuer.TokenInput{
			Name: s.form.value("name"), Grants: []issuer.Grant{s.form.grant()}, TTL: ttl, Networks: strings.Fields(s.form.value("networks")),
		})
		// When it ends moves with the clock, and is no reason to look again.
		for n, f := range out.Plan.Summary {
			if f.Pointer == "/expires_at" {
				out.Plan.Summary[n].After = "in " + ttlText(ttl)
			}
		}
		return made{plan: out.Plan}, misplaced(err)
	}
	s.done = func(made) (answer, error) {
		k := out.Value
		return answer{page: "shown", title: "Token " + k.Name, crumbs: s.crumbs, body: shownView{
			Title: "Token " + k.Name, Lead: strings.Join(grantWords(k.Held), "; ") + ".", Warning: "Whoever has it may use it. Chancery keeps no copy; when it is lost, revoke it and make another.",
			What: "API token", Secret: k.Text, Until: k.Expires, Done: link{"Done, go to the tokens", tokensPath},
			Verify: "export CHANCERY_TOKEN=chy_pat_…   # the token above\n" + c.call("", http.MethodGet, "/me", "").Command,
		}}, nil
	}
	return s
}

func (c *Console) newToken(r *http.Request, v *visit) (answer, error) {
	return c.newTokenStep(r, v).page(), nil
}

func (c *Console) planToken(r *http.Request, v *visit) (answer, error) {
	return c.look(r, v, c.newTokenStep(r, v))
}

func (c *Console) createToken(r *http.Request, v *visit) (answer, error) {
	return c.apply(r, v, c.newTokenStep(r, v))
}

// revokeTokenStep is revoking one.
func (c *Console) revokeTokenStep(r *http.Request, v *visit) (step, error) {
	k, err := c.issuer.GetToken(r.Context(), v.caller, r.PathValue("token"))
	if err != nil {
		return step{}, err
	}
	s := step{
		url: tokenURL(k, "revoke"), title: "Revoke " + k.Name, lead: strings.Join(grantWords(k.Held), "; ") + ". Its next request is refused. This cannot be undone.",
		crumbs: append(accessCrumbs(), link{"API tokens", tokensPath}), agreed: []any{k.ID},
		plan: planView{Cancel: tokensPath, Apply: "Revoke now", Danger: true, Lead: "Nothing has happened yet. It holds from the next request on, on all replicas.", Unpushed: true, Untold: untold},
	}
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: tokensPath, Groups: []group{{Fields: []*field{reasonField()}}}}
	s.run = func(op issuer.Op) (made, error) {
		out, err := c.issuer.RevokeToken(r.Context(), op, k.ID)
		return made{plan: out.Plan}, err
	}
	s.done = func(made) (answer, error) {
		c.notify(r, v, "Token "+k.Name+" is revoked.")
		return seeOther(tokensPath), nil
	}
	s.calls = []apiCall{c.call("Revoke it", http.MethodDelete, joinURL([]string{"tokens", k.ID}), "")}
	return s, nil
}

func (c *Console) newTokenRevocation(r *http.Request, v *visit) (answer, error) {
	s, err := c.revokeTokenStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return s.page(), nil
}

func (c *Console) planTokenRevocation(r *http.Request, v *visit) (answer, error) {
	s, err := c.revokeTokenStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.look(r, v, s)
}

func (c *Console) revokeToken(r *http.Request, v *visit) (answer, error) {
	s, err := c.revokeTokenStep(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.apply(r, v, s)
}
