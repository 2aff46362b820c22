package web

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// operatorPage is one operator: the root of trust, what hangs on it, and who trusts
// it.
type operatorPage struct {
	Name, URL, Key, KeyFingerprint, Custody string
	State                                   chip
	Default, Strict, Observed               bool
	System                                  *link
	ServiceURLs, Tags                       []string
	AccountServerURL                        string
	Created, Changed                        time.Time
	IssuedAt                                int64

	Policy []limitRow
	Switch switchView
	// Held are renewals that are due and not made.
	Held    issuer.HeldRenewals
	Pending *pendingView
	Keys    []operatorKeyRow
	Trust   trustView
	Chain   chainView

	Guardrails guardrailsView

	CanWrite bool
}

type switchView struct {
	On         bool
	By, Reason string
	Since      time.Time
}

// pendingView is what waits for the signature of an offline identity key.
type pendingView struct {
	First       bool
	Fingerprint string
	Changes     []planChange
	URL         string
}

type operatorKeyRow struct {
	Key, Custody string
	State        chip
	Since        time.Time
	Accounts     int
}

// trustView is the configuration of servers, and what each of them loaded.
type trustView struct {
	Config, Fingerprint string
	// URL is the page, Resolver how servers get accounts in Config; Chosen tells that
	// this was asked for.
	URL, Resolver string
	Chosen        bool
	Resolvers     []option
	// Note says why there is no configuration.
	Note    string
	Servers []serverTrustRow
	// Differ are the names of servers that trust something else.
	Differ []string
}

type serverTrustRow struct {
	Name, Version, Fingerprint string
	Chip                       chip
}

// operator is the page of one operator.
func (c *Console) operator(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	s, err := c.issuer.SigningSwitch(ctx, v.caller, o.ID)
	if err != nil {
		return answer{}, err
	}
	view := operatorPage{
		Name: o.Name, URL: url, Key: o.ID, KeyFingerprint: claims.KeyFingerprint(o.ID), Custody: custodyWords(o.Custody), State: operatorChip(o),
		Default: o.Default, Strict: o.Settings.StrictSigningKeyUsage, Observed: o.Custody == issuer.CustodyObserved, ServiceURLs: o.Settings.OperatorServiceURLs, Tags: o.Settings.Tags,
		AccountServerURL: o.Settings.AccountServerURL, Created: o.Created, Changed: o.Updated, IssuedAt: o.IssuedAt, Policy: policyRows(o.Policy),
		Switch:   switchView{s.Enabled, c.actor(ctx, map[string]string{}, s.By), s.Reason, s.Since},
		CanWrite: v.may(issuer.WriteOperators), Guardrails: c.operatorGuardrails(v, o, url),
	}
	if view.Pending, err = c.pending(ctx, v, o, url); err != nil {
		return answer{}, err
	}
	if view.Held, err = c.issuer.RenewalsHeld(ctx, v.caller, o.ID); err != nil {
		return answer{}, err
	}
	if err := c.hangsOn(ctx, v, &view, o); err != nil {
		return answer{}, err
	}
	if view.Trust, err = c.trust(r, v, o, url); err != nil {
		return answer{}, err
	}
	path := "/operators/" + r.PathValue("op")
	return answer{page: "operator", title: o.Name, crumbs: []link{{"Operators", "/operators"}}, body: view, calls: []apiCall{
		c.call("This operator", http.MethodGet, path, ""),
		c.call("What its nats-servers need", http.MethodGet, path+"/server-config", ""),
		c.call("Whom each server trusts", http.MethodGet, path+"/servers", ""),
	}}, nil
}

func (c *Console) pending(ctx context.Context, v *visit, o issuer.Operator, url string) (*pendingView, error) {
	if o.Custody != issuer.CustodyOffline {
		return nil, nil //nolint:nilnil // nothing waits, which is no error
	}
	r, err := c.issuer.OperatorRequest(ctx, v.caller, o.ID)
	if err != nil || !r.Pending {
		return nil, err
	}
	return &pendingView{First: o.JWT == "", Fingerprint: r.Fingerprint, Changes: describe(r.Changes), URL: url + "/signature"}, nil
}

// trust compares what servers loaded with the JWT in force.
func (c *Console) trust(r *http.Request, v *visit, o issuer.Operator, url string) (trustView, error) {
	out := trustView{URL: url, Resolver: r.URL.Query().Get("resolver"), Resolvers: resolverOptions}
	conf, err := c.issuer.ServerConfig(r.Context(), v.caller, o.ID, c.resolverURL)
	if e := issuer.AsError(err); err != nil && e.Kind == issuer.KindConflict {
		out.Note = e.Message
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Config, out.Fingerprint = conf.Text, conf.Fingerprint
	if out.Chosen = slices.Contains(claims.ServerResolvers(), claims.ResolverKind(out.Resolver)); !out.Chosen {
		out.Resolver = string(claims.ResolverURL)
	} else if err := c.configOf(r, v, o, &out); err != nil {
		return out, err
	}
	for _, s := range c.live.Servers(o.ID) {
		row := serverTrustRow{Name: s.Name, Version: s.Version, Chip: chip{toneWait, "Not told yet"}}
		if s.Trust != nil {
			row.Fingerprint, row.Chip = s.Trust.Fingerprint, chip{toneGood, "Matches"}
			if s.Trust.Fingerprint != conf.Fingerprint {
				row.Chip = chip{toneBad, "Differs"}
				out.Differ = append(out.Differ, s.Name)
			}
		}
		out.Servers = append(out.Servers, row)
	}
	return out, nil
}

// resolverOptions are claims.ServerResolvers in words.
var resolverOptions = []option{
	{string(claims.ResolverURL), "Fetch each account from Chancery (URL)"},
	{string(claims.ResolverFull), "Keep all accounts on disk (full)"},
	{string(claims.ResolverCache), "Keep the last thousand on disk (cache)"},
	{string(claims.ResolverMemory), "Know the accounts in the file (memory)"},
}

// mostConfig is how long a configuration may be to be shown on a page.
const mostConfig = 256 << 10

// configOf replaces the configuration by that of the chosen resolver, or by the reason
// why there is none.
func (c *Console) configOf(r *http.Request, v *visit, o issuer.Operator, out *trustView) error {
	conf, err := c.issuer.ServerConfigWith(r.Context(), v.caller, o.ID, issuer.ServerConfigInput{BaseURL: c.resolverURL, Resolver: claims.ResolverKind(out.Resolver)})
	if err != nil {
		e := issuer.AsError(err)
		if e.Kind != issuer.KindConflict && e.Kind != issuer.KindForbidden {
			return err
		}
		out.Config, out.Note = "", strings.TrimSpace(e.Message+" "+e.Hint)
		return nil
	}
	if out.Config = conf.Text; len(conf.Text) > mostConfig {
		out.Config, out.Note = "", "The configuration is too long for a page. Write it to a file: chancery server-config --resolver "+out.Resolver
	}
	return nil
}

func policyRows(p issuer.Policy) []limitRow {
	never := func(n int64, none string) string { return cmp.Or(lifetimeInput(n), none) }
	renewal := "Never"
	if p.Renewal > 0 {
		renewal = "In the last " + formatCount(p.Renewal) + " %"
	}
	servers := "Not set"
	if p.Servers > 0 {
		servers = formatCount(p.Servers)
	}
	return []limitRow{
		{"Lifetime of credentials", never(p.DefaultTTL, "90 days")},
		{"Operator keys rotated after", never(p.OperatorKeyAge, "Never by itself")},
		{"Account keys rotated after", never(p.AccountKeyAge, "Never by itself")},
		{"Template keys rotated after", never(p.TemplateKeyAge, "Never by itself")},
		{"Overlap of rotated keys", never(p.Overlap, "Not set")},
		{"Renewed by holders", renewal},
		{"Servers expected", servers},
		{"Newer JWTs by others", issuer.ForeignWords(p.ForeignNewer)},
	}
}

// mostChained bounds the accounts that the trust chain looks at.
const mostChained = 300

// hangsOn fills in keys and accounts, and the picture of both.
func (c *Console) hangsOn(ctx context.Context, v *visit, view *operatorPage, o issuer.Operator) error {
	keys, err := c.issuer.OperatorKeys(ctx, v.caller, o.ID)
	if err != nil {
		return err
	}
	accounts, err := c.issuer.ListAccounts(ctx, v.caller, o.ID, issuer.Page{Limit: mostChained + 1})
	if err != nil {
		return err
	}
	accounts, more := cut(accounts, mostChained)
	bySigner := map[string][]chainAccount{}
	for _, a := range accounts {
		row := chainAccount{Name: a.Name, URL: accountURL(a.ID), System: a.System}
		bySigner[a.Signer] = append(bySigner[a.Signer], row)
		if a.System {
			view.System = &link{a.Name, row.URL}
		}
	}
	if view.System == nil && o.Settings.SystemAccount != "" {
		view.System = &link{claims.ShortKey(o.Settings.SystemAccount), ""}
	}
	chain := chainView{Operator: o.Name, More: more}
	for _, k := range keys {
		if k.Role != "signing" {
			continue
		}
		view.Keys = append(view.Keys, operatorKeyRow{Key: k.ID, Custody: strings.ReplaceAll(k.Custody, "_", " "), State: keyChip(k.State), Since: k.Since, Accounts: len(bySigner[k.ID])})
		if k.State != "retired" || len(bySigner[k.ID]) > 0 {
			chain.add(chainKey{Key: k.ID, State: keyChip(k.State), Broken: k.State == "retired" || k.State == "disabled", Accounts: bySigner[k.ID]})
		}
		delete(bySigner, k.ID)
	}
	if list := bySigner[o.ID]; len(list) > 0 {
		chain.add(chainKey{Key: o.ID, State: chip{toneOff, "Identity key"}, Broken: o.Settings.StrictSigningKeyUsage, Accounts: list})
		delete(bySigner, o.ID)
	}
	for _, signer := range slices.Sorted(maps.Keys(bySigner)) {
		chain.add(chainKey{Key: signer, State: chip{toneBad, "Signed by removed key"}, Broken: true, Accounts: bySigner[signer]})
	}
	chain.draw()
	view.Chain = chain
	return nil
}

// signatureView is what is carried to the machine with the identity key, and back.
type signatureView struct {
	Name, Lead string
	Pending    *pendingView
	// Export is the file to carry there.
	Export, Commands string
	Form             *form
}

func (c *Console) signature(r *http.Request, v *visit) (answer, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.signaturePage(r, v, o, url, signatureForm(url))
}

func signatureForm(url string) *form {
	return &form{Action: url + "/signature", Submit: "Upload", Cancel: url, Groups: []group{{Fields: []*field{
		{Name: "jwt", Pointer: "/jwt", Label: "Signed JWT", Kind: kindTextarea, Required: true, Code: true, JWT: true},
		reasonField(),
	}}}}
}

func (c *Console) signaturePage(r *http.Request, v *visit, o issuer.Operator, url string, f *form) (answer, error) {
	view := signatureView{Name: o.Name, Form: f, Lead: "Upload a newer JWT of this operator. Its identity key must have signed it."}
	path := "/operators/" + r.PathValue("op")
	if o.Custody == issuer.CustodyOffline {
		request, err := c.issuer.OperatorRequest(r.Context(), v.caller, o.ID)
		if err != nil {
			return answer{}, err
		}
		raw, err := json.MarshalIndent(request.SigningRequest, "", "  ")
		if err != nil {
			return answer{}, err
		}
		if view.Pending, err = c.pending(r.Context(), v, o, url); err != nil {
			return answer{}, err
		}
		view.Lead = "The identity key is offline. Carry the claims to it, sign them there, and bring the JWT back. Until then the JWT in force stays."
		view.Export, view.Commands = string(raw), "chancery operator sign --offline --seed-file operator.seed claims.json > signed.jwt"
	}
	return answer{
		status: f.status(), page: "signature", title: "Signature of " + o.Name, crumbs: operatorCrumbs(o, url), body: view,
		calls: []apiCall{
			c.call("Export the claims", http.MethodGet, path+"/unsigned-claims", ""),
			c.call("Upload the JWT", http.MethodPut, path+"/jwt", `{"jwt":"…"}`),
		},
	}, nil
}

func (c *Console) uploadSignature(r *http.Request, v *visit) (answer, error) {
	o, url, err := c.findOperator(r, v)
	if err != nil {
		return answer{}, err
	}
	f := signatureForm(url)
	f.read(r.PostForm)
	if f.ok() {
		var out issuer.Outcome[issuer.Operator]
		out, err = c.issuer.UploadOperatorJWT(r.Context(), v.op(f.value("reason")), o.ID, f.value("jwt"))
		if err == nil {
			c.notify(r, v, "The JWT of "+out.Value.Name+" is in force. Servers take it when they are restarted with it.")
			return seeOther(url), nil
		}
		if !f.accept(err) {
			return answer{}, err
		}
		for _, p := range issuer.AsError(err).Problems {
			f.Warnings = append(f.Warnings, p.Detail)
		}
	}
	return c.signaturePage(r, v, o, url, f)
}
