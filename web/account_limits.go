package web

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// limitsView is the page of an account's limits: a form for who may change them.
type limitsView struct {
	Name string
	// Form is nil for who may not; Rows is what they see.
	Form *form
	Rows []limitRow
	// Presets lead to this page with the form filled in.
	Presets []recipeCard
	// Preset is the one that the form is filled with.
	Preset string
	// Use are limits beside what is used of them now.
	Use []limitUse
}

// limitUse is how much of a limit is used.
type limitUse struct {
	Name        string
	Used, Limit int64
	// Percent of a limit that there is.
	Percent int
}

// presetCards lead to url with the form filled in.
func presetCards(url string) []recipeCard {
	var out []recipeCard
	for _, p := range claims.AccountPresets() {
		out = append(out, recipeCard{Title: p.Title, Text: p.Description, URL: withQuery(url, "preset", p.Name)})
	}
	return out
}

func connectionsField() *field {
	return &field{
		Name: "connections", Pointer: "/limits/connections", Label: "Connections", Kind: kindText, Numeric: true, Placeholder: unlimited,
		Hint: "How many clients may be connected at once. Empty for no limit, 0 for none.",
	}
}

func countField(name, pointer, label, hint string, n int64) *field {
	return &field{Name: name, Pointer: pointer, Label: label, Hint: hint, Kind: kindText, Numeric: true, Placeholder: unlimited, Value: countInput(n)}
}

func sizeField(name, pointer, label, hint string, n int64) *field {
	return &field{Name: name, Pointer: pointer, Label: label, Hint: hint, Kind: kindText, Placeholder: unlimited, Value: sizeInput(n)}
}

func reasonField() *field {
	return &field{Name: "reason", Label: "Reason", Kind: kindText, Autocomplete: "off", Max: 500, Hint: "Optional. Kept in the audit log beside your name."}
}

// The ways to limit JetStream.
const (
	limitsTogether = "together"
	limitsByTier   = "tiers"
)

// limitsForm is filled with the limits l and the account's end.
func limitsForm(p place, l jwt.OperatorLimits) *form {
	conn := connectionsField()
	conn.Value = countInput(l.Conn)
	mode := limitsTogether
	if len(l.JetStreamTieredLimits) > 0 {
		mode = limitsByTier
	}
	f := &form{
		Action: p.accountURL("limits"), Submit: "Review the change", Cancel: p.accountURL(),
		Groups: []group{
			{Legend: "Connections", Fields: []*field{
				conn,
				countField("leafs", "/limits/leaf_connections", "Leaf node connections", "How many leaf nodes may bind to the account. Empty for no limit, 0 for none.", l.LeafNodeConn),
				{Name: "no_bearer", Pointer: "/limits/disallow_bearer", Label: "Refuse bearer tokens", Kind: kindCheckbox, Checked: l.DisallowBearer, Hint: "Whoever has a bearer token may connect, without a key."},
			}},
			{Legend: "Data", Fields: []*field{
				countField("subscriptions", "/limits/subscriptions", "Subscriptions", "Of all connections together. Empty for no limit.", l.Subs),
				sizeField("payload", "/limits/payload_bytes", "Largest message", "Such as 64 KiB. A server's own bound holds besides. Empty for no limit.", l.Payload),
				sizeField("data", "/limits/data_bytes", "Data", "A number that no nats-server enforces. Empty for no limit.", l.Data),
			}},
			{Legend: "Sharing", Fields: []*field{
				countField("exports", "/limits/exports", "Exports", "Empty for no limit, 0 for none.", l.Exports),
				countField("imports", "/limits/imports", "Imports", "Empty for no limit, 0 for none.", l.Imports),
				{Name: "wildcards", Pointer: "/limits/wildcard_exports", Label: "Exports with wildcards", Kind: kindCheckbox, Checked: l.WildcardExports, Hint: "Whether an export may hold * or >."},
			}},
			{Legend: "JetStream", Fields: []*field{
				{Name: "jetstream", Pointer: "/jetstream/enabled", Label: "JetStream on", Kind: kindCheckbox, Checked: l.IsJSEnabled(), Hint: "Streams, key-value and object stores in this account."},
				{
					Name: "mode", Pointer: "/jetstream/tiers", Label: "Limits", Kind: kindSelect, Value: mode, Hint: "The one or the other: below, only what is chosen here counts.",
					Options: []option{{limitsTogether, "For all streams together"}, {limitsByTier, "By replica count (tiers)"}},
				},
			}},
		},
	}
	together := l.JetStreamLimits
	if together == (jwt.JetStreamLimits{}) {
		together = claims.UnlimitedJetStream() // switching it on must not start from zeros
	}
	f.Groups = append(f.Groups, group{Legend: "All streams together", Fold: true, Open: mode == limitsTogether && l.IsJSEnabled(), Fields: jetStreamFields("", "/jetstream", together)})
	for _, tier := range tiersOf(l) {
		t, on := l.JetStreamTieredLimits[tier]
		if !on {
			t = claims.UnlimitedJetStream()
		}
		fields := append([]*field{{Name: tier + "_on", Pointer: claims.Point("/jetstream/tiers", tier), Label: "Streams with " + replicas(tier) + " are allowed", Kind: kindCheckbox, Checked: on}},
			jetStreamFields(tier+"_", claims.Point("/jetstream/tiers", tier), t)...)
		f.Groups = append(f.Groups, group{Legend: "Tier " + tier + ": streams with " + replicas(tier), Fold: true, Open: on, Fields: fields})
	}
	f.Groups = append(f.Groups, endGroup(p.account), group{Fields: []*field{reasonField()}})
	return f
}

// tiersOf returns the tiers that the form asks for: the usual ones, and what is there.
func tiersOf(l jwt.OperatorLimits) []string {
	tiers := append(slices.Collect(maps.Keys(l.JetStreamTieredLimits)), "R1", "R3")
	slices.Sort(tiers)
	return slices.Compact(tiers)
}

func replicas(tier string) string {
	if n := strings.TrimPrefix(tier, "R"); n != "1" {
		return n + " replicas"
	}
	return "one replica"
}

func jetStreamFields(prefix, pointer string, l jwt.JetStreamLimits) []*field {
	bound := func(n int64) int64 { // but for storage, a server takes 0 for no limit
		if n == 0 {
			return jwt.NoLimit
		}
		return n
	}
	return []*field{
		sizeField(prefix+"disk", pointer+"/disk_bytes", "Disk", "Such as 10 GiB. Empty for no limit, 0 for none.", l.DiskStorage),
		sizeField(prefix+"memory", pointer+"/memory_bytes", "Memory", "Such as 512 MiB. Empty for no limit, 0 for none.", l.MemoryStorage),
		countField(prefix+"streams", pointer+"/streams", "Streams", "", bound(l.Streams)),
		countField(prefix+"consumers", pointer+"/consumers", "Consumers", "", bound(l.Consumer)),
		countField(prefix+"ack_pending", pointer+"/max_ack_pending", "Unacknowledged messages", "Of one consumer.", bound(l.MaxAckPending)),
		sizeField(prefix+"disk_stream", pointer+"/disk_max_stream_bytes", "Largest stream on disk", "", bound(l.DiskMaxStreamBytes)),
		sizeField(prefix+"memory_stream", pointer+"/memory_max_stream_bytes", "Largest stream in memory", "", bound(l.MemoryMaxStreamBytes)),
		{Name: prefix + "bounded", Pointer: pointer + "/max_bytes_required", Label: "Every stream needs a size of its own", Kind: kindCheckbox, Checked: l.MaxBytesRequired},
	}
}

// readJetStream reads what jetStreamFields was sent, onto what there was.
func (f *form) readJetStream(prefix string, was jwt.JetStreamLimits) jwt.JetStreamLimits {
	kept := func(n, was int64) int64 {
		if n < 0 && was == 0 {
			return 0 // no limit, written either way
		}
		return n
	}
	return jwt.JetStreamLimits{
		DiskStorage: f.size(prefix + "disk"), MemoryStorage: f.size(prefix + "memory"),
		Streams: kept(f.count(prefix+"streams"), was.Streams), Consumer: kept(f.count(prefix+"consumers"), was.Consumer),
		MaxAckPending:        kept(f.count(prefix+"ack_pending"), was.MaxAckPending),
		DiskMaxStreamBytes:   kept(f.size(prefix+"disk_stream"), was.DiskMaxStreamBytes),
		MemoryMaxStreamBytes: kept(f.size(prefix+"memory_stream"), was.MemoryMaxStreamBytes),
		MaxBytesRequired:     f.checked(prefix + "bounded"),
	}
}

// endGroup asks when the account ends.
func endGroup(a issuer.Account) group {
	g := group{
		Legend: "Validity", Note: "At its end servers close every connection of the account. Leave both empty for no end.",
		Fields: []*field{
			{Name: "expires", Pointer: "/expires_at", Label: "Ends on", Kind: kindText, Autocomplete: "off", Placeholder: "never", Hint: "A fixed day, such as 2027-01-31 or 2027-01-31T12:00:00Z; times are in UTC."},
			{Name: "lifetime", Pointer: "/lifetime_seconds", Label: "Lifetime of each JWT", Kind: kindText, Autocomplete: "off", Placeholder: "none", Value: ttlText(a.Lifetime), Hint: "Such as 30 days, at least 1 hour. It is renewed and pushed at half of it: the account ends only when nobody signs any more."},
		},
	}
	if s := a.FixedEnd(); s != 0 {
		g.Fields[0].Value = isoTime(time.Unix(s, 0))
	}
	return g
}

// limitsEdit returns the change that the form asks for. It fails the form where a value
// cannot be read.
func limitsEdit(f *form, was issuer.Account) func(*issuer.AccountEdit) {
	l := was.Settings.Limits
	l.Conn, l.LeafNodeConn, l.DisallowBearer = f.count("connections"), f.count("leafs"), f.checked("no_bearer")
	l.Subs, l.Payload, l.Data = f.count("subscriptions"), f.size("payload"), f.size("data")
	l.Exports, l.Imports, l.WildcardExports = f.count("exports"), f.count("imports"), f.checked("wildcards")
	l.JetStreamLimits, l.JetStreamTieredLimits = jwt.JetStreamLimits{}, nil
	switch on := f.checked("jetstream"); {
	case on && f.value("mode") == limitsByTier:
		f.readTiers(&l, was.Settings.Limits)
	case on:
		l.JetStreamLimits = f.readJetStream("", was.Settings.Limits.JetStreamLimits)
	case !was.Settings.Limits.IsJSEnabled():
		l.JetStreamLimits, l.JetStreamTieredLimits = was.Settings.Limits.JetStreamLimits, was.Settings.Limits.JetStreamTieredLimits
	}
	if f.checked("jetstream") && !l.IsJSEnabled() && f.ok() {
		f.fail("jetstream", "JetStream needs disk or memory: a server takes zero of both for off.")
	}
	end := issuer.AccountExpiry{Expires: f.day("expires")}
	var err error
	if end.Lifetime, err = parseTTL(f.value("lifetime")); err != nil {
		f.fail("lifetime", err.Error())
	}
	return func(e *issuer.AccountEdit) { e.Limits, e.AccountExpiry = l, end }
}

func (f *form) readTiers(l *jwt.OperatorLimits, was jwt.OperatorLimits) {
	l.JetStreamTieredLimits = jwt.JetStreamTieredLimits{}
	for _, g := range f.Groups {
		tier, ok := strings.CutSuffix(g.Fields[0].Name, "_on")
		if !ok || !g.Fields[0].Checked {
			continue
		}
		l.JetStreamTieredLimits[tier] = f.readJetStream(tier+"_", was.JetStreamTieredLimits[tier])
	}
	if len(l.JetStreamTieredLimits) == 0 {
		f.fail("mode", "Allow streams of at least one tier below, or choose limits for all streams together.")
	}
}

// day reads a day or a time as Unix seconds, 0 for none.
func (f *form) day(name string) int64 {
	s := f.value(name)
	if s == "" {
		return 0
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Unix()
		}
	}
	f.fail(name, "Write a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z.")
	return 0
}

// limitsStep is a change of limits.
func (c *Console) limitsStep(r *http.Request, v *visit, p place) step {
	a := p.account
	l, preset := a.Settings.Limits, claims.Preset{}
	if x, ok := claims.AccountPreset(r.URL.Query().Get("preset")); ok && r.Method == http.MethodGet {
		l, preset = x.Limits, x
	}
	s := step{
		url: p.accountURL("limits"), title: "Limits of " + a.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Limits"), agreed: []any{a.ID, a.Version}, closes: true,
		form: limitsForm(p, l), template: "account_limits",
		calls: []apiCall{
			c.call("Change limits", http.MethodPatch, p.accountURL(), `{"limits":{"connections":500}}`),
			c.call("Apply a preset", http.MethodPatch, p.accountURL(), `{"preset":"team"}`),
		},
		done: func(made) (answer, error) {
			c.notify(r, v, "The limits of "+a.Name+" were changed.")
			return seeOther(p.accountURL()), nil
		},
	}
	s.plan = planView{Servers: serverNames(c.live.Servers(a.OperatorID)), Cancel: p.accountURL("limits"), Apply: "Apply"}
	var edit func(*issuer.AccountEdit)
	s.check = func(f *form) { edit = limitsEdit(f, a) }
	s.run = func(op issuer.Op) (made, error) {
		op.ExpectedVersion = a.Version
		out, err := c.issuer.UpdateAccount(r.Context(), op, a.ID, edit)
		return made{out.Plan, a.ID, out.Value.JWTVersion}, err
	}
	s.body = func() any {
		view := limitsView{Name: a.Name, Form: s.form, Presets: presetCards(s.url), Preset: preset.Title, Use: c.limitUses(r, v, a)}
		if a.State == "deleted" || !v.mayIn(a, issuer.WriteLimits) {
			view.Form, view.Presets, view.Rows = nil, nil, limitRows(a.Settings.Limits)
		}
		return view
	}
	return s
}

// limitUses counts what is known to be used.
func (c *Console) limitUses(r *http.Request, v *visit, a issuer.Account) []limitUse {
	live := c.connections(r.Context(), v, a.ID, func(claims.Connection) bool { return true })
	if live.Unknown {
		return nil
	}
	u := limitUse{Name: "Connections", Used: int64(live.Count()), Limit: a.Settings.Limits.Conn}
	if u.Limit > 0 {
		u.Percent = int(min(100, 100*u.Used/u.Limit))
	}
	return []limitUse{u}
}

func limitRows(l jwt.OperatorLimits) []limitRow {
	yes := map[bool]string{true: "Yes", false: "No"}
	rows := []limitRow{
		{"Connections", formatCount(l.Conn)},
		{"Leaf node connections", formatCount(l.LeafNodeConn)},
		{"Bearer tokens refused", yes[l.DisallowBearer]},
		{"Subscriptions", formatCount(l.Subs)},
		{"Largest message", formatSize(l.Payload)},
		{"Data", formatSize(l.Data)},
		{"Exports", formatCount(l.Exports)},
		{"Imports", formatCount(l.Imports)},
		{"Exports with wildcards", yes[l.WildcardExports]},
	}
	return append(rows, jetStreamRows(l)...)
}

func jetStreamRows(l jwt.OperatorLimits) []limitRow {
	switch {
	case !l.IsJSEnabled():
		return []limitRow{{"JetStream", "Off"}}
	case len(l.JetStreamTieredLimits) > 0:
		rows := []limitRow{{"JetStream", "On, " + plural(len(l.JetStreamTieredLimits), "tier", "tiers")}}
		for _, tier := range slices.Sorted(maps.Keys(l.JetStreamTieredLimits)) {
			t := l.JetStreamTieredLimits[tier]
			rows = append(rows, limitRow{tier + " disk", formatSize(t.DiskStorage)}, limitRow{tier + " memory", formatSize(t.MemoryStorage)})
		}
		return rows
	}
	rows := []limitRow{{"JetStream", "On"}, {"JetStream disk", formatSize(l.DiskStorage)}, {"JetStream memory", formatSize(l.MemoryStorage)}}
	for _, x := range []limitRow{{"Streams", formatCount(l.Streams)}, {"Consumers", formatCount(l.Consumer)}} {
		if x.Value == "0" {
			x.Value = unlimited
		}
		rows = append(rows, x)
	}
	return rows
}
