package web

import (
	"context"
	"net/http"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// What can be shared: a subject, or what JetStream needs for a stream or a bucket.
const (
	shareSubject = "subject"
	shareStream  = string(claims.RecipeStream)
	shareKV      = string(claims.RecipeKV)
)

// shareView is the form of a share, with what else can be shared.
type shareView struct {
	formView
	Others []recipeCard
}

// shareKinds are the forms, each with what it is for.
func shareKinds() []recipeCard {
	return []recipeCard{
		{Title: "A subject", Text: "Messages of a stream, or requests to a service.", URL: shareSubject},
		{Title: "A JetStream stream", Text: "The importer reads a stream, with consumers of its own or with one that you made.", URL: shareStream},
		{Title: "A key-value bucket", Text: "The importer reads a bucket, or writes it too.", URL: shareKV},
	}
}

// mostChoices is how many accounts are offered one by one; of more, the name is typed.
const mostChoices = 100

// shareAccounts returns the accounts that the visitor may share, and whether these are all.
func (c *Console) shareAccounts(ctx context.Context, v *visit) ([]option, bool, error) {
	list, err := c.issuer.FindAccounts(ctx, v.caller, issuer.AccountFilter{}, issuer.Page{Limit: mostChoices + 1})
	if err != nil || len(list) > mostChoices {
		return nil, false, err
	}
	operators, err := c.operatorNames(ctx, v)
	out := []option{{"", "Choose an account"}}
	for _, a := range list {
		if !v.mayIn(a.Account, issuer.WriteSharing) {
			continue
		}
		o := option{c.accountRef(a.Account, len(operators)), a.Name}
		if len(operators) > 1 {
			o.Text += " of " + operators[a.OperatorID]
		}
		out = append(out, o)
	}
	return out, true, err
}

// sideField asks for an account at one side; before is who a link named.
func sideField(name, label, hint, before string, accounts []option, all bool) *field {
	f := &field{Name: name, Pointer: "/" + name, Label: label, Hint: hint, Required: true, Autocomplete: "off", Kind: kindText, Value: before}
	if all {
		f.Kind, f.Options = kindSelect, accounts
		if !f.offers(before) {
			f.Value = ""
		}
	} else {
		f.Hint += " Write its name or public key."
	}
	return f
}

// shareForm asks what is to cross between which accounts.
func (c *Console) shareForm(r *http.Request, v *visit, what string) (*form, error) {
	accounts, all, err := c.shareAccounts(r.Context(), v)
	if err != nil {
		return nil, err
	}
	exporter, importer := searchText(r.FormValue("exporter")), searchText(r.FormValue("importer"))
	f := &form{Action: sharingPath + "/new", Submit: "Review the change", Cancel: sharingPath, Hidden: []hidden{{"what", what}}}
	f.Groups = []group{{Fields: []*field{
		sideField("exporter", "From", "The account whose clients publish, or answer.", exporter, accounts, all),
		sideField("importer", "To", "The account whose clients receive, or ask.", importer, accounts, all),
	}}}
	access := &field{
		Name: "access", Pointer: "/access", Label: "Who else may import it", Kind: kindSelect,
		Hint: "Counts for what has to be exported first. Where an export covers it already, that one decides.",
		Options: []option{
			{"", "As the export that is there says; or nobody without an activation"},
			{string(issuer.AccessActivation), "Nobody without an activation token of the exporter"},
			{string(issuer.AccessPublic), "Every account of the operator"},
		},
	}
	life := activationLifeField()
	switch what {
	case shareStream, shareKV:
		f.Groups = append(f.Groups, recipeGroup(what), group{Legend: "Access", Fields: []*field{access, life}})
	default:
		access.Options = append(access.Options, option{string(issuer.AccessTokenPosition), "Every account, each under its own key in the subject"})
		f.Groups = append(f.Groups, group{Legend: "What is shared", Fields: []*field{
			kindField(), subjectField("As the exporter calls it. Where it exports more than this already, nothing is added to its exports."),
			{Name: "local", Pointer: "/local_subject", Label: "Local subject", Kind: kindText, Code: true, Autocomplete: "off", Max: 1024, Hint: "Optional. What the importer calls it; $1 is the first wildcard of the subject."},
		}}, group{Legend: "Access", Fields: []*field{access, positionField(), life}}, group{Legend: "More", Fold: true, Fields: []*field{
			{Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Autocomplete: "off", Hint: "Optional. What export and import are called."},
			responseField(),
			{Name: "share", Label: "The exporter learns who asks", Kind: kindCheckbox, Hint: "Of a service: requests carry the importer's account and user."},
			{Name: "trace", Label: "Traces of messages cross", Kind: kindCheckbox},
		}})
	}
	f.Groups = append(f.Groups, group{Fields: []*field{reasonField()}})
	return f, nil
}

// recipeGroup asks for a stream or a bucket.
func recipeGroup(what string) group {
	domain := &field{
		Name: "domain", Pointer: "/recipe/domain", Label: "What the importer calls this JetStream", Kind: kindText, Required: true, Code: true, Autocomplete: "off", Placeholder: "orders", Max: 64,
		Hint: "One word. Clients of the importer set it as their JetStream domain; it must not be one that they use already.",
	}
	name := &field{Name: "stream", Pointer: "/recipe/name", Label: "Stream", Kind: kindText, Required: true, Code: true, Autocomplete: "off", Placeholder: "ORDERS", Max: 64, Hint: "Its name, in the exporter's JetStream."}
	if what == shareKV {
		name.Label, name.Placeholder = "Bucket", "settings"
		return group{Legend: "Which bucket", Fields: []*field{name, {
			Name: "recipe_access", Pointer: "/recipe/access", Label: "The importer may", Kind: kindSelect, Value: string(claims.RecipeRead),
			Options: []option{{string(claims.RecipeRead), "Read and watch it"}, {string(claims.RecipeReadWrite), "Read, watch and write it"}},
		}, domain}}
	}
	return group{Legend: "Which stream", Fields: []*field{name, {
		Name: "consumer", Pointer: "/recipe/consumer", Label: "Only with this consumer", Kind: kindText, Code: true, Autocomplete: "off", Max: 64,
		Hint: "Optional. A durable pull consumer that the exporter made. Without it the importer makes consumers of its own, and reads everything in the stream.",
	}, domain}}
}

// shareInput reads the form.
func (f *form) shareInput(what string) issuer.ShareInput {
	in := issuer.ShareInput{
		Exporter: f.value("exporter"), Importer: f.value("importer"), Access: issuer.Access(f.value("access")), TTL: f.duration("ttl"),
		ShareRequester: f.checked("share"), AllowTrace: f.checked("trace"),
	}
	if what != shareSubject {
		in.Recipe = &claims.Recipe{
			Kind: claims.RecipeKind(what), Name: f.value("stream"), Access: claims.RecipeAccess(f.value("recipe_access")), Consumer: f.value("consumer"), Domain: f.value("domain"),
		}
		return in
	}
	flow := claims.Flow{
		Name: f.value("name"), Kind: exportKind(f.value("kind")), Subject: f.value("subject"), LocalSubject: f.value("local"), Response: jwt.ResponseType(f.value("response")),
	}
	if in.Access == issuer.AccessTokenPosition {
		flow.TokenPosition = f.position()
	}
	in.Flows = []claims.Flow{flow}
	return in
}

// shareStep makes both sides of a flow between two accounts.
func (c *Console) shareStep(r *http.Request, v *visit) (step, error) {
	ctx, what := r.Context(), r.FormValue("what")
	if what != shareStream && what != shareKV {
		what = shareSubject
	}
	f, err := c.shareForm(r, v, what)
	if err != nil {
		return step{}, err
	}
	s := step{
		form: f, url: sharingPath + "/new", title: "Share a subject", crumbs: []link{{"Sharing", sharingPath}}, template: "share",
		lead:  "Both sides are made in one step and checked against each other: the export, the activation if one is needed, and the import. The exporter's servers are told first.",
		plan:  planView{Cancel: sharingPath, Apply: "Share", Impact: []impact{noneClose()}},
		calls: []apiCall{c.call("Share a subject", http.MethodPost, "/shares", `{"exporter":"ORDERS","importer":"BILLING","kind":"stream","subject":"orders.paid.>"}`)},
	}
	switch what {
	case shareStream:
		s.title = "Share a JetStream stream"
		s.calls = []apiCall{c.call("Share a stream", http.MethodPost, "/shares", `{"exporter":"ORDERS","importer":"BILLING","recipe":{"kind":"stream","name":"ORDERS","domain":"orders"}}`)}
	case shareKV:
		s.title = "Share a key-value bucket"
		s.calls = []apiCall{c.call("Share a bucket", http.MethodPost, "/shares", `{"exporter":"ORDERS","importer":"BILLING","recipe":{"kind":"kv","name":"settings","access":"read","domain":"orders"}}`)}
	}
	c.saySides(r, v, &s.plan)
	s.agreed = []any{what, r.PostForm.Get("exporter"), r.PostForm.Get("importer")}
	s.body = func() any { return shareView{formView{s.title, s.lead, f}, otherShares(what, f)} }
	var out issuer.Outcome[issuer.Shared]
	s.run = func(op issuer.Op) (made, error) {
		in := f.shareInput(what)
		if !f.ok() {
			return made{}, errLookAgain
		}
		var err error
		if out, err = c.issuer.Share(ctx, op, in); err != nil {
			return made{}, sideways(err, "")
		}
		sayLife(&out.Plan, in.TTL)
		out.Plan.Summary = append(out.Plan.Summary, sayLinks(out.Value)...)
		return made{out.Plan, out.Value.Importer.ID, out.Value.ImporterJWTVersion}, nil
	}
	s.done = func(made) (answer, error) { return c.sharedPage(r, v, out.Value, f.shareInput(what).Recipe) }
	return s, nil
}

// sayLinks says of what is new what the JWTs do not say by themselves.
func sayLinks(x issuer.Shared) []claims.FieldChange {
	var out []claims.FieldChange
	for _, l := range x.Links {
		what := l.Export.Body.Type.String() + " " + string(l.Export.Body.Subject)
		if l.NewExport {
			out = append(out, claims.FieldChange{Field: "Access to " + what, Pointer: "/access", After: accessWord(issuer.AccessOf(&l.Export.Body))})
		}
		if local := localSubject(&l.Import.Body); l.NewImport && local != claims.ImportedSubject(&l.Import.Body) {
			out = append(out, claims.FieldChange{Field: "What " + x.Importer.Name + " calls " + what, Pointer: "/local_subject", After: local})
		}
	}
	return out
}

// otherShares leads to the other forms, with the accounts that were chosen.
func otherShares(what string, f *form) []recipeCard {
	var out []recipeCard
	for _, k := range shareKinds() {
		if k.URL != what {
			k.URL = withQuery(sharingPath+"/new", "what", k.URL, "exporter", f.value("exporter"), "importer", f.value("importer"))
			out = append(out, k)
		}
	}
	return out
}

// saySides names the accounts that were chosen, and the exporter's servers, in the plan.
// Who is not found is what the change itself refuses.
func (c *Console) saySides(r *http.Request, v *visit, plan *planView) {
	var names []string
	for _, side := range []string{"exporter", "importer"} {
		ref := r.PostForm.Get(side)
		if ref == "" || carriesSecret(ref) {
			return
		}
		a, err := c.issuer.GetAccount(r.Context(), v.caller, ref)
		if err != nil {
			return
		}
		names = append(names, a.Name)
		plan.Servers = serverNames(c.live.Servers(a.OperatorID))
	}
	plan.Lead = "Nothing has happened yet. This is what " + names[0] + " exports and " + names[1] + " imports."
}

// sharedView is what came of it, and what clients of the importer do with it.
type sharedView struct {
	Exporter, Importer         accountName
	ExporterSync, ImporterSync deliveryView
	Rows                       edgeRows
	// Setup is what clients have to set to reach a stream or bucket; nil for a subject.
	Setup    *claims.RecipeSetup
	Try      string
	Snippets []snippet
	ListURL  string
}

func (c *Console) sharedPage(r *http.Request, v *visit, x issuer.Shared, recipe *claims.Recipe) (answer, error) {
	ctx := r.Context()
	n, err := c.namesOf(ctx, v)
	if err != nil {
		return answer{}, err
	}
	from, to := n.account(x.Exporter), n.account(x.Importer)
	view := sharedView{
		Exporter: from, Importer: to, ExporterSync: newDelivery(c.sync(ctx, v, x.Exporter.ID)), ImporterSync: newDelivery(c.sync(ctx, v, x.Importer.ID)), ListURL: pairURL(from, to),
	}
	for _, l := range x.Links {
		e, err := c.issuer.GetImport(ctx, v.caller, x.Importer.ID, l.Import.ID)
		if err != nil {
			return answer{}, err
		}
		view.Rows = append(view.Rows, n.row(e))
	}
	if recipe != nil {
		setup := recipe.Setup(x.Importer.ID)
		view.Setup, view.Snippets = &setup, recipeSnippets(*recipe, setup)
	} else {
		view.Try = trySubject(x.Links[0].Import.Body)
	}
	return answer{page: "share_done", title: from.text() + " shares with " + to.text(), crumbs: []link{{"Sharing", sharingPath}}, body: view, calls: []apiCall{
		c.call("What both share", http.MethodGet, accountURL(x.Importer.ID, "sharing-graph"), ""),
	}}, nil
}

// trySubject is what a client of the importer does to see messages cross.
func trySubject(m jwt.Import) string {
	if m.Type == jwt.Service {
		return "nats --creds importer.creds request " + shellQuote(localSubject(&m)) + " 'hello'"
	}
	return "nats --creds importer.creds subscribe " + shellQuote(localSubject(&m))
}

// recipeSnippets is what clients of the importer set.
func recipeSnippets(r claims.Recipe, s claims.RecipeSetup) []snippet {
	inbox := func(text string) string {
		if s.InboxPrefix == "" {
			return ""
		}
		return text
	}
	flags := "nats --js-domain " + s.Domain + inbox(" --inbox-prefix "+s.InboxPrefix)
	use := map[string]string{
		"cli": "stream info " + s.Stream, "go": "stream, err := js.Stream(ctx, \"" + s.Stream + "\")",
		"python": "info = await js.stream_info(\"" + s.Stream + "\")", "js": "const stream = await js.streams.get(\"" + s.Stream + "\");",
	}
	jsPackage := "import { jetstream } from \"@nats-io/jetstream\";\n\n"
	switch {
	case r.Kind == claims.RecipeKV:
		use = map[string]string{
			"cli": "kv watch " + r.Name, "go": "kv, err := js.KeyValue(ctx, \"" + r.Name + "\")", "python": "kv = await js.key_value(\"" + r.Name + "\")",
			"js": "const kv = await new Kvm(js).open(\"" + r.Name + "\");",
		}
		jsPackage = "import { jetstream } from \"@nats-io/jetstream\";\nimport { Kvm } from \"@nats-io/kv\";\n\n"
	case r.Consumer != "":
		use = map[string]string{
			"cli": "consumer next " + s.Stream + " " + r.Consumer, "go": "cons, err := js.Consumer(ctx, \"" + s.Stream + "\", \"" + r.Consumer + "\")",
			"python": "sub = await js.pull_subscribe_bind(\"" + r.Consumer + "\", \"" + s.Stream + "\")", "js": "const consumer = await js.consumers.get(\"" + s.Stream + "\", \"" + r.Consumer + "\");",
		}
	}
	return []snippet{
		{"nats CLI", flags + " --creds importer.creds " + use["cli"]},
		{"Go", "nc, err := nats.Connect(url, nats.UserCredentials(\"importer.creds\")" + inbox(",\n\tnats.CustomInboxPrefix(\""+s.InboxPrefix+"\")") + ")\njs, err := jetstream.NewWithDomain(nc, \"" + s.Domain + "\")\n" + use["go"]},
		{"Python", "nc = await nats.connect(url, user_credentials=\"importer.creds\"" + inbox(",\n                        inbox_prefix=\""+s.InboxPrefix+"\"") + ")\njs = nc.jetstream(domain=\"" + s.Domain + "\")\n" + use["python"]},
		{"JavaScript", jsPackage + "const nc = await connect({ servers, authenticator" + inbox(",\n  inboxPrefix: \""+s.InboxPrefix+"\"") + " });\nconst js = jetstream(nc, { domain: \"" + s.Domain + "\" });\n" + use["js"]},
	}
}
