package web

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// settingsView is the page of an account's settings: a form for who may change them.
type settingsView struct {
	Name string
	// Form is nil for who may not; Rows is what they see.
	Form *form
	Rows []limitRow
}

func settingsForm(p place, traffic bool) *form {
	s := p.account.Settings
	subjects := func(name, pointer, label, hint string, list []string) *field {
		return &field{Name: name, Pointer: "/default_permissions/" + pointer, Label: label, Kind: kindTextarea, Code: true, Max: maxSubjects, Value: strings.Join(list, "\n"), Hint: hint}
	}
	d := s.DefaultPermissions
	f := &form{Action: p.accountURL("settings"), Submit: "Review the change", Cancel: p.accountURL(), Groups: []group{
		{Legend: "About", Fields: []*field{
			{Name: "description", Pointer: "/description", Label: "Description", Kind: kindText, Autocomplete: "off", Value: s.Description, Hint: "What it is for, or whose it is."},
			{Name: "info_url", Pointer: "/info_url", Label: "More information", Kind: kindText, Autocomplete: "off", Value: s.InfoURL, Placeholder: "https://wiki.example.com/orders"},
			{Name: "tags", Pointer: "/tags", Label: "Tags", Kind: kindText, Autocomplete: "off", Value: strings.Join(s.Tags, " "), Placeholder: "team:orders env:prod", Hint: "Written key or key:value, separated by spaces. Templates can put them into subjects."},
		}},
		{Legend: "Default permissions", Note: "Of users without permissions of their own, and without a template. One subject on each line; without a line in allow, everything is allowed.", Fields: []*field{
			subjects("pub_allow", "publish/allow", "Publish: allow", "", d.Pub.Allow),
			subjects("pub_deny", "publish/deny", "Publish: deny", "Wins over allow.", d.Pub.Deny),
			subjects("sub_allow", "subscribe/allow", "Subscribe: allow", "A subject may be followed by a space and a queue group.", d.Sub.Allow),
			subjects("sub_deny", "subscribe/deny", "Subscribe: deny", "A subscription that is wider is accepted; what is denied is not delivered.", d.Sub.Deny),
			{Name: "responses", Pointer: "/default_permissions/responses", Label: "May reply to requests", Kind: kindCheckbox, Checked: d.Resp != nil, Hint: "On reply subjects that they could not publish to otherwise."},
			{Name: "responses_max", Pointer: "/default_permissions/responses/max", Label: "Replies to each request", Kind: kindText, Numeric: true, Placeholder: "1"},
			{Name: "responses_ttl", Pointer: "/default_permissions/responses/ttl_seconds", Label: "Time to reply, in seconds", Kind: kindText, Numeric: true, Placeholder: "120"},
		}},
		{Legend: "Subject mappings", Note: "What is published to a source goes to its destinations instead, by weight; what is left of 100 percent keeps its subject.", Fields: []*field{
			{Name: "mappings", Pointer: "/mappings", Label: "Mappings", Kind: kindTextarea, Code: true, Max: maxSubjects, Value: mappingsText(s.Mappings), Hint: "A line for each destination: source, destination, and if needed its weight in percent and a cluster. Such as: orders.* orders.v2.$1 10% eu"},
		}},
		{Legend: "Message trace", Note: "Where the paths of messages are reported that ask for it by their headers.", Fields: []*field{
			{Name: "trace", Pointer: "/trace/destination", Label: "Report to the subject", Kind: kindText, Autocomplete: "off", Code: true, Placeholder: "nowhere"},
			{Name: "sampling", Pointer: "/trace/sampling", Label: "Sampling, in percent", Kind: kindText, Numeric: true, Placeholder: "100"},
		}},
	}}
	if d.Resp != nil {
		f.field("responses_max").Value = strconv.Itoa(d.Resp.MaxMsgs)
		f.field("responses_ttl").Value = strconv.FormatInt(int64(d.Resp.Expires/time.Second), 10)
	}
	if t := s.Trace; t != nil {
		f.field("trace").Value = string(t.Destination)
		if t.Sampling != 0 {
			f.field("sampling").Value = strconv.Itoa(t.Sampling)
		}
	}
	if traffic {
		f.Groups = append(f.Groups, group{Legend: "Cluster traffic", Fields: []*field{{
			Name: "traffic", Pointer: "/cluster_traffic", Label: "JetStream's traffic between servers is carried by", Kind: kindSelect, Value: string(s.ClusterTraffic),
			Options: []option{{"", "the system account (default)"}, {string(jwt.ClusterTrafficSystem), "the system account, as said"}, {string(jwt.ClusterTrafficOwner), "connections of this account"}},
		}}})
	}
	f.Groups = append(f.Groups, group{Fields: []*field{reasonField()}})
	return f
}

// mappingsText writes mappings as the form takes them.
func mappingsText(m jwt.Mapping) string {
	var b strings.Builder
	for _, source := range slices.Sorted(maps.Keys(m)) {
		for _, d := range m[source] {
			b.WriteString(string(source) + " " + string(d.Subject))
			if d.GetWeight() != 100 || d.Cluster != "" {
				b.WriteString(" " + strconv.Itoa(int(d.GetWeight())) + "%")
			}
			if d.Cluster != "" {
				b.WriteString(" " + d.Cluster)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

var errMapping = errors.New("Write a source, a destination, and if needed a weight such as 10% and a cluster.") //nolint:revive,staticcheck // a sentence for people

// parseMappings reads what mappingsText writes. What means the same as before is left
// as it was written.
func parseMappings(text string, was jwt.Mapping) (jwt.Mapping, error) {
	out := jwt.Mapping{}
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		d := jwt.WeightedMapping{}
		ok := len(words) > 1 && len(words) < 5
		if ok {
			d.Subject = jwt.Subject(words[1])
		}
		if len(words) > 2 {
			weight, err := strconv.ParseUint(strings.TrimSuffix(words[2], "%"), 10, 7)
			ok, d.Weight = ok && err == nil && weight > 0, uint8(weight) //nolint:gosec // of 7 bits
		}
		if !ok {
			return nil, errors.New("Line " + strconv.Itoa(n+1) + ": " + errMapping.Error())
		}
		if len(words) > 3 {
			d.Cluster = words[3]
		}
		out[jwt.Subject(words[0])] = append(out[jwt.Subject(words[0])], d)
	}
	for source, list := range out {
		same := func(a, b jwt.WeightedMapping) bool {
			return a.Subject == b.Subject && a.Cluster == b.Cluster && a.GetWeight() == b.GetWeight()
		}
		if slices.EqualFunc(list, was[source], same) {
			out[source] = was[source]
		}
	}
	if len(out) == 0 {
		return nil, nil //nolint:nilnil // none, which is no error
	}
	return out, nil
}

// settingsEdit returns the change that the form asks for. It fails the form where a
// value cannot be read.
func settingsEdit(f *form, was issuer.Account) func(*issuer.AccountEdit) {
	s := was.Settings
	s.Description, s.InfoURL, s.Tags = f.value("description"), f.value("info_url"), splitTags(f.value("tags"))
	s.DefaultPermissions = jwt.Permissions{
		Pub: jwt.Permission{Allow: lines(f.value("pub_allow")), Deny: lines(f.value("pub_deny"))},
		Sub: jwt.Permission{Allow: lines(f.value("sub_allow")), Deny: lines(f.value("sub_deny"))},
	}
	if f.checked("responses") {
		s.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: int(f.number("responses_max")), Expires: time.Duration(f.number("responses_ttl")) * time.Second}
	}
	var err error
	if s.Mappings, err = parseMappings(f.value("mappings"), s.Mappings); err != nil {
		f.fail("mappings", err.Error())
	}
	sampling := int(f.number("sampling"))
	switch destination := f.value("trace"); {
	case destination != "":
		s.Trace = &jwt.MsgTrace{Destination: jwt.Subject(destination), Sampling: sampling}
	case sampling != 0:
		f.fail("trace", "Say where to report to, or leave the sampling empty too.")
	default:
		s.Trace = nil
	}
	if f.field("traffic") != nil {
		s.ClusterTraffic = jwt.ClusterTraffic(f.value("traffic"))
	}
	return func(e *issuer.AccountEdit) {
		e.Info, e.Tags, e.DefaultPermissions, e.Mappings, e.Trace, e.ClusterTraffic = s.Info, s.Tags, s.DefaultPermissions, s.Mappings, s.Trace, s.ClusterTraffic
	}
}

// settingsStep is a change of settings.
func (c *Console) settingsStep(r *http.Request, v *visit, p place) step {
	a := p.account
	s := step{
		url: p.accountURL("settings"), title: "Settings of " + a.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Settings"), agreed: []any{a.ID, a.Version}, closes: true,
		form: settingsForm(p, v.mayIn(a, issuer.WriteLimits)), template: "account_settings",
		calls: []apiCall{c.call("Change settings", http.MethodPatch, p.accountURL(), `{"tags":["team:orders"],"default_permissions":{"publish":{"deny":["admin.>"]}}}`)},
		done: func(made) (answer, error) {
			c.notify(r, v, "The settings of "+a.Name+" were changed.")
			return seeOther(p.accountURL()), nil
		},
	}
	s.plan = planView{Servers: serverNames(c.live.Servers(a.OperatorID)), Cancel: p.accountURL("settings"), Apply: "Apply"}
	var edit func(*issuer.AccountEdit)
	s.check = func(f *form) { edit = settingsEdit(f, a) }
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = a.Version
		out, err := c.issuer.UpdateAccount(r.Context(), op, a.ID, edit)
		numbered(err, s.form)
		return made{out.Plan, a.ID, out.Value.JWTVersion}, err
	}
	s.body = func() any {
		view := settingsView{Name: a.Name, Form: s.form}
		if a.State == "deleted" || !v.mayIn(a, issuer.WriteAccounts) {
			view.Form, view.Rows = nil, settingRows(a.Settings)
		}
		return view
	}
	return s
}

// numbered says which line of a list of subjects, or which mapping, a problem is about.
func numbered(err error, f *form) {
	e, ok := errors.AsType[*issuer.Error](err)
	if !ok {
		return
	}
	mappings, _ := parseMappings(f.value("mappings"), nil)
	sources := slices.Sorted(maps.Keys(mappings))
	for n, p := range e.Problems {
		parts := strings.Split(p.Pointer, "/")
		switch {
		case strings.HasPrefix(p.Pointer, "/default_permissions/") && len(parts) == 5:
			if line, err := strconv.Atoi(parts[4]); err == nil {
				e.Problems[n].Detail = "Line " + strconv.Itoa(line+1) + ": " + p.Detail
			}
		case strings.HasPrefix(p.Pointer, "/mappings/"):
			if i, err := strconv.Atoi(parts[2]); err == nil && i < len(sources) {
				e.Problems[n].Detail = "Source " + claims.Redact(string(sources[i])) + ": " + p.Detail
			}
		}
	}
}

// settingRows shows settings to who may not change them.
func settingRows(s jwt.Account) []limitRow {
	none := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	rows := []limitRow{
		{"Description", none(s.Description, "none")},
		{"More information", none(s.InfoURL, "none")},
		{"Tags", none(strings.Join(s.Tags, " "), "none")},
	}
	for _, x := range []struct {
		name string
		list jwt.StringList
	}{
		{"Default: publish", s.DefaultPermissions.Pub.Allow},
		{"Default: never publish", s.DefaultPermissions.Pub.Deny},
		{"Default: subscribe", s.DefaultPermissions.Sub.Allow},
		{"Default: never subscribe", s.DefaultPermissions.Sub.Deny},
	} {
		if len(x.list) > 0 {
			rows = append(rows, limitRow{x.name, strings.Join(x.list, ", ")})
		}
	}
	trace := "nowhere"
	if t := s.Trace; t != nil {
		trace = string(t.Destination)
	}
	return append(rows,
		limitRow{"Mappings", none(strings.ReplaceAll(strings.TrimSpace(mappingsText(s.Mappings)), "\n", ", "), "none")},
		limitRow{"Message trace", trace},
		limitRow{"Cluster traffic", none(string(s.ClusterTraffic), string(jwt.ClusterTrafficSystem))})
}
