package web

import (
	"net/http"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

func connectionsField() *field {
	return &field{
		Name: "connections", Pointer: "/limits/connections", Label: "Connections", Kind: kindText, Numeric: true, Placeholder: unlimited,
		Hint: "How many clients may be connected at once. Empty for no limit, 0 for none.",
	}
}

// jetStreamGroup are the fields of flat JetStream limits: a switch and sizes, since
// JetStream that is off because a number is zero confuses everyone.
func jetStreamGroup(counts bool) group {
	g := group{Legend: "JetStream", Fields: []*field{
		{Name: "jetstream", Pointer: "/jetstream/enabled", Label: "JetStream on", Kind: kindCheckbox, Hint: "Streams, key-value and object stores in this account."},
		{Name: "disk", Pointer: "/jetstream/disk_bytes", Label: "Disk", Kind: kindText, Placeholder: unlimited, Hint: "Such as 10 GiB. Empty for no limit, 0 for none."},
		{Name: "memory", Pointer: "/jetstream/memory_bytes", Label: "Memory", Kind: kindText, Placeholder: unlimited, Hint: "Such as 512 MiB. Empty for no limit, 0 for none."},
	}}
	if counts {
		g.Fields = append(g.Fields,
			&field{Name: "streams", Pointer: "/jetstream/streams", Label: "Streams", Kind: kindText, Numeric: true, Placeholder: unlimited, Hint: "Empty for no limit."},
			&field{Name: "consumers", Pointer: "/jetstream/consumers", Label: "Consumers", Kind: kindText, Numeric: true, Placeholder: unlimited, Hint: "Empty for no limit."})
	}
	return g
}

// setJetStream puts what the form says into the settings.
func setJetStream(f *form, settings *jwt.Account) {
	if f.field("jetstream") == nil {
		return
	}
	l := &settings.Limits.JetStreamLimits
	if !f.checked("jetstream") {
		*l = jwt.JetStreamLimits{}
		return
	}
	if l.DiskStorage == 0 && l.MemoryStorage == 0 {
		l.Streams, l.Consumer = jwt.NoLimit, jwt.NoLimit
	}
	l.DiskStorage, l.MemoryStorage = f.size("disk"), f.size("memory")
	if f.field("streams") != nil {
		l.Streams, l.Consumer = f.count("streams"), f.count("consumers")
	}
	if l.DiskStorage == 0 && l.MemoryStorage == 0 && f.ok() {
		f.fail("disk", "JetStream needs disk or memory: a server takes zero of both for off.")
	}
}

func limitsForm(p place) *form {
	l := p.account.Settings.Limits
	count := func(name, pointer, label, hint string, n int64) *field {
		return &field{Name: name, Pointer: pointer, Label: label, Hint: hint, Kind: kindText, Numeric: true, Placeholder: unlimited, Value: countInput(n)}
	}
	conn := connectionsField()
	conn.Value = countInput(l.Conn)
	f := &form{
		Action: p.accountURL("limits"), Submit: "Review the change", Cancel: p.accountURL(),
		Groups: []group{
			{Legend: "Connections", Fields: []*field{
				conn,
				count("leafs", "/limits/leaf_connections", "Leaf node connections", "How many leaf nodes may bind to the account. Empty for no limit, 0 for none.", l.LeafNodeConn),
			}},
			{Legend: "Data", Fields: []*field{
				count("subscriptions", "/limits/subscriptions", "Subscriptions", "Of all connections together. Empty for no limit.", l.Subs),
				{
					Name: "payload", Pointer: "/limits/payload_bytes", Label: "Largest message", Kind: kindText, Placeholder: unlimited, Value: sizeInput(l.Payload),
					Hint: "Such as 64 KiB. A server's own bound holds besides. Empty for no limit.",
				},
			}},
		},
	}
	if len(l.JetStreamTieredLimits) > 0 {
		f.Groups = append(f.Groups, group{Legend: "JetStream", Note: "This account has limits by replica count (tiers). Change them through the API."})
	} else {
		js := jetStreamGroup(true)
		for _, x := range js.Fields {
			switch x.Name {
			case "jetstream":
				x.Checked = l.IsJSEnabled()
			case "disk":
				x.Value = sizeInput(l.DiskStorage)
			case "memory":
				x.Value = sizeInput(l.MemoryStorage)
			case "streams":
				x.Value = countInput(l.Streams)
			case "consumers":
				x.Value = countInput(l.Consumer)
			}
		}
		if !l.IsJSEnabled() {
			// Switching it on must not start from four zeros.
			for _, x := range js.Fields[1:] {
				x.Value = ""
			}
		}
		f.Groups = append(f.Groups, js)
	}
	f.Groups = append(f.Groups, group{Fields: []*field{reasonField()}})
	return f
}

func reasonField() *field {
	return &field{Name: "reason", Label: "Reason", Kind: kindText, Autocomplete: "off", Max: 500, Hint: "Optional. Kept in the audit log beside your name."}
}

// edit returns the change that the form asks for. It fails the form where a value
// cannot be read.
func limitsEdit(f *form) func(*issuer.AccountEdit) {
	conn, leafs, subs, payload := f.count("connections"), f.count("leafs"), f.count("subscriptions"), f.size("payload")
	var probe jwt.Account
	setJetStream(f, &probe) // says what is wrong once, before anything is asked
	return func(s *issuer.AccountEdit) {
		l := &s.Limits
		l.Conn, l.LeafNodeConn, l.Subs, l.Payload = conn, leafs, subs, payload
		if f.ok() {
			setJetStream(f, &s.Account)
		}
	}
}

func (c *Console) editLimits(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.limitsPage(p, limitsForm(p)), nil
}

func (c *Console) limitsPage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Limits of " + p.account.Name, crumbs: p.accountCrumbs(),
		body:  formView{Title: "Limits", Lead: "Of account " + p.account.Name + ". You see what a change does before it is made.", Form: f},
		calls: []apiCall{c.call("Change limits", http.MethodPatch, p.accountURL(), `{"limits":{"connections":500}}`)},
	}
}

func (c *Console) planLimits(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	f := limitsForm(p)
	f.read(r.PostForm)
	edit := limitsEdit(f)
	if !f.ok() || r.PostForm.Get("back") != "" {
		return c.limitsPage(p, f), nil
	}
	out, err := c.issuer.UpdateAccount(r.Context(), v.dryRun(f.value("reason")), p.account.ID, edit)
	if err != nil {
		if f.accept(err) {
			return c.limitsPage(p, f), nil
		}
		return answer{}, err
	}
	if len(out.Plan.Changes) == 0 {
		f.Message, f.Hint = "Nothing would change", "These are the limits it has."
		return c.limitsPage(p, f), nil
	}
	return c.limitsPlan(p, f, out, false), nil
}

func (c *Console) limitsPlan(p place, f *form, out issuer.Outcome[issuer.Account], moved bool) answer {
	view := planView{
		Title: "Change the limits of " + p.account.Name, Moved: moved, Changes: describe(out.Plan.Summary), Warnings: sentences(out.Plan.Warnings),
		Impact: connectionsImpact(out.Plan.Blast), Reasons: why(out.Plan.Blast),
		Servers: serverNames(c.live.Servers(p.account.OperatorID)),
		Action:  p.accountURL("limits", "apply"), Back: p.accountURL("limits"), Cancel: p.accountURL(), Apply: "Apply",
		Hidden: append(f.carried(), hidden{"plan", limitsHash(p.account, out.Plan)}),
	}
	return answer{page: "plan", title: view.Title, crumbs: append(p.accountCrumbs(), link{"Limits", p.accountURL("limits")}), body: view}
}

func limitsHash(a issuer.Account, p issuer.Plan) string { return planHash(a.ID, a.Version, p.Changes) }

func (c *Console) applyLimits(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	// A second round is for an account that changed between plan and apply.
	for range 2 {
		p, err := c.findAccount(r, v)
		if err != nil {
			return answer{}, err
		}
		f := limitsForm(p)
		f.read(r.PostForm)
		edit := limitsEdit(f)
		if !f.ok() {
			return c.limitsPage(p, f), nil
		}
		out, err := c.issuer.UpdateAccount(ctx, v.dryRun(f.value("reason")), p.account.ID, edit)
		if err == nil && limitsHash(p.account, out.Plan) != r.PostForm.Get("plan") {
			if len(out.Plan.Changes) == 0 {
				c.notify(r, v, "The limits are already what you asked for. Somebody else may have set them.")
				return seeOther(p.accountURL()), nil
			}
			return c.limitsPlan(p, f, out, true), nil
		}
		if err == nil {
			op := v.op(f.value("reason"))
			op.ExpectedVersion = p.account.Version
			out, err = c.issuer.UpdateAccount(ctx, op, p.account.ID, edit)
		}
		switch {
		case err == nil:
			c.await(ctx, v, p.account.ID, out.Value.JWTVersion, waitChange)
			c.notify(r, v, "The limits of "+p.account.Name+" were changed.")
			return seeOther(p.accountURL()), nil
		case issuer.AsError(err).Kind == issuer.KindStale:
			continue
		case f.accept(err):
			return c.limitsPage(p, f), nil
		}
		return answer{}, err
	}
	return answer{}, &issuer.Error{Kind: issuer.KindBusy, Code: "busy", Message: "The account keeps changing.", Hint: "Open its limits again in a moment."}
}
