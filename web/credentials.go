package web

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chancery/issuer"
)

// credentialRow is an entry of the ledger.
type credentialRow struct {
	ID, Key string
	Status  chip
	// IssuedAt and Expires are Unix seconds; Expires 0 is never.
	IssuedAt, Expires int64
	By, Delivered     string
	Bearer            bool
	Occasion, Reason  string
	// RollsOff is when its key is revoked; zero for never.
	RollsOff time.Time
	// Lived is how much of its lifetime is over, in percent; -1 if it never ends.
	Lived int
}

const (
	ledgerSize = 20
	// knownKeys is how many of the newest credentials are searched for the
	// user's keys.
	knownKeys = 200
)

// listCredentials fills one page of the ledger and returns the keys of the user.
func (c *Console) listCredentials(r *http.Request, v *visit, view *userView, p place) (map[string]bool, error) {
	ctx, before := r.Context(), r.URL.Query().Get("before")
	newest, err := c.issuer.ListCredentials(ctx, v.caller, p.account.ID, p.user.ID, issuer.LedgerPage{Limit: knownKeys})
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for _, x := range newest {
		keys[x.PublicKey] = true
		view.Revoked = view.Revoked || x.Status == issuer.StatusRevoked
	}
	list := newest
	if before = searchText(before); before != "" {
		if list, err = c.issuer.ListCredentials(ctx, v.caller, p.account.ID, p.user.ID, issuer.LedgerPage{Before: before, Limit: ledgerSize + 1}); err != nil {
			return nil, err
		}
		view.Pager.First = view.URL
	}
	list, more := cut(list, ledgerSize)
	names := map[string]string{}
	for _, x := range list {
		view.Credentials = append(view.Credentials, credentialRow{
			ID: x.ID, Key: x.PublicKey, Status: statusChip(x.Status), IssuedAt: x.IssuedAt, Expires: x.Expires,
			By: c.actor(ctx, names, x.Actor), Delivered: delivered(x.Credential), Bearer: x.Bearer, Occasion: occasion(x.Occasion), Reason: x.Reason,
			RollsOff: x.RollsOff, Lived: lived(x.Credential, c.now()),
		})
	}
	if more {
		view.Pager.Next = withQuery(view.URL, "before", list[len(list)-1].ID)
	}
	if len(newest) == 0 {
		view.NoCredentials = &emptyView{Title: "No credentials yet", Text: "Nobody can connect as this user."}
		if view.CanIssue {
			view.NoCredentials.Action = &link{"Issue credentials", view.URL + "/issue"}
		}
	}
	return keys, nil
}

func statusChip(s issuer.Status) chip {
	switch s {
	case issuer.StatusActive:
		return chip{toneGood, "Active"}
	case issuer.StatusExpired:
		return chip{toneOff, "Expired"}
	case issuer.StatusRevoked:
		return chip{toneBad, "Revoked"}
	case issuer.StatusKeyDisabled:
		return chip{toneBad, "Signing key disabled"}
	case issuer.StatusKeyRetired:
		return chip{toneOff, "Signing key retired"}
	}
	return chip{toneOff, string(s)}
}

// lived is how much of a credential's lifetime is over, in percent.
func lived(x issuer.Credential, now time.Time) int {
	if x.Expires <= x.IssuedAt {
		return -1
	}
	return int(max(0, min(100, (now.Unix()-x.IssuedAt)*100/(x.Expires-x.IssuedAt))))
}

func occasion(s string) string {
	switch s {
	case "renew":
		return "renewed"
	case "roll":
		return "rolled"
	}
	return ""
}

func delivered(x issuer.Credential) string {
	to := ""
	if x.DeliveredTo != "" {
		to = ", " + x.DeliveredTo
	}
	switch {
	case x.Delivery == string(issuer.DeliverLink):
		return "one-time link" + to
	case x.Delivery == string(issuer.DeliverSealed):
		return "sealed" + to
	case x.KeyOrigin == "unproven":
		return "key of the holder, not proven" + to
	case x.KeyOrigin == "client":
		return "key of the holder" + to
	case x.DeliveredTo != "":
		return x.DeliveredTo
	}
	return x.Delivery
}

// actor returns what people call who did something; names remembers the answers.
func (c *Console) actor(ctx context.Context, names map[string]string, id string) string {
	if name, ok := names[id]; ok {
		return name
	}
	name := id
	switch {
	case strings.HasPrefix(id, "per_"):
		if p, err := c.issuer.Person(ctx, id); err == nil && p.Name != "" {
			name = p.Name
		}
	case strings.HasPrefix(id, "user:"):
		name = "its holder"
	case strings.HasPrefix(id, "system/"):
		name = "Chancery"
	case strings.HasPrefix(id, "tok_"):
		name = "API token"
	}
	names[id] = name
	return name
}

// shownTo is what the ledger says about a secret that a page showed.
func shownTo(v *visit) string { return "shown to " + v.caller.Name }

// newOnce names one showing of a form, see spent.
func newOnce() string { return rand.Text() }

// The lifetimes a form offers.
var lifetimes = []struct {
	name string
	ttl  time.Duration
}{
	{"1 hour", time.Hour},
	{"1 day", 24 * time.Hour},
	{"30 days", 30 * 24 * time.Hour},
	{"1 year", 365 * 24 * time.Hour},
}

// noExpiry is the choice of a credential that never expires.
const noExpiry = "never"

// bounds is what template, guardrails and policy say about lifetimes.
type bounds struct {
	// longest is the longest one, 0 for no bound; usual the one without a wish.
	longest, usual time.Duration
	// template says that the template sets the longest, anyTemplate that it is not
	// chosen yet.
	template, anyTemplate bool
}

// boundsOf reads the bounds for users of a template that allows most, 0 for any.
func (c *Console) boundsOf(ctx context.Context, v *visit, p place, most time.Duration) bounds {
	b := bounds{longest: most, template: most > 0}
	var guarded time.Duration
	if guarded, b.usual = c.guardedTTL(ctx, v, p); guarded > 0 && (b.longest == 0 || guarded < b.longest) {
		b.longest, b.template = guarded, false
	}
	if b.longest > 0 && (b.template || b.usual > b.longest) {
		b.usual = b.longest
	}
	return b
}

// lifetimeField offers the lifetimes within the bounds.
func lifetimeField(b bounds) *field {
	f := &field{
		Name: "lifetime", Pointer: "/ttl_seconds", Label: "Lifetime", Kind: kindSelect, Required: true,
		Hint: "When it has passed, servers refuse the credentials by themselves.",
	}
	for _, l := range lifetimes {
		if b.longest == 0 || l.ttl <= b.longest {
			f.Options = append(f.Options, option{seconds(l.ttl), l.name})
			if l.ttl <= 30*24*time.Hour {
				f.Value = seconds(l.ttl)
			}
		}
	}
	usual := option{"0", "The usual: " + spell(b.usual)}
	if b.template {
		usual.Text = "The longest the template allows: " + spell(b.longest)
	} else if b.anyTemplate {
		usual.Text = "The longest the template allows, or " + spell(b.usual)
	}
	f.Options = append(f.Options, usual)
	if b.longest == 0 {
		f.Options = append(f.Options, option{noExpiry, "No expiry: say why below"})
	}
	if f.Value == "" {
		f.Value = "0"
	}
	return f
}

// keyFields ask whose key the credentials are for and how they get to their holder.
func keyFields() []*field {
	return []*field{
		{
			Name: "public_key", Pointer: "/public_key", Label: "Public key of the holder", Kind: kindText, Code: true, Autocomplete: "off", Placeholder: "U…", Max: 56,
			Hint: "Recommended for services: the holder makes the key and Chancery never sees the seed. Say below how the key got here. Empty makes a key here.",
		},
		{
			Name: "delivery", Pointer: "/delivery", Label: "Hand over", Kind: kindSelect, Value: string(issuer.DeliverInline),
			Options: []option{{string(issuer.DeliverInline), "Show once, here"}, {string(issuer.DeliverLink), "One-time link for somebody else: the key is made when it is used"}},
		},
		{
			Name: "link_lifetime", Pointer: "/link_ttl_seconds", Label: "A link can be used for", Kind: kindSelect, Value: seconds(issuer.DefaultLinkTTL),
			Options: []option{{seconds(issuer.DefaultLinkTTL), "1 hour"}, {seconds(24 * time.Hour), "1 day"}, {seconds(issuer.MaxLinkTTL), "7 days"}},
		},
	}
}

// issueReason is the reason of an issuance.
func issueReason() *field {
	f := reasonField()
	f.Pointer, f.Hint = "/reason", "Kept in the ledger. Needed for a public key of the holder and for credentials without expiry."
	return f
}

// issueInput reads what keyFields and lifetimeField asked.
func (f *form) issueInput(v *visit) issuer.IssueInput {
	in := issuer.IssueInput{PublicKey: f.value("public_key"), DeliveredTo: shownTo(v)}
	in.Waive = in.PublicKey != ""
	if f.value("lifetime") == noExpiry {
		in.NoExpiry = true
	} else {
		in.TTL = f.duration("lifetime")
	}
	if f.value("delivery") == string(issuer.DeliverLink) {
		in.Delivery, in.LinkTTL, in.DeliveredTo = issuer.DeliverLink, f.duration("link_lifetime"), ""
	}
	return in
}

// duration reads a chosen number of seconds.
func (f *form) duration(name string) time.Duration {
	n, err := strconv.ParseInt(f.value(name), 10, 64)
	if err != nil && f.ok() {
		f.fail(name, "Choose one of the entries.")
	}
	return time.Duration(n) * time.Second
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// spell writes a lifetime in the largest unit that fits.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return plural(int(d/day), "day", "days")
	case d%time.Hour == 0:
		return plural(int(d/time.Hour), "hour", "hours")
	case d%time.Minute == 0:
		return plural(int(d/time.Minute), "minute", "minutes")
	}
	return plural(int(d/time.Second), "second", "seconds")
}

// templateBound is the longest lifetime of the user's template, 0 for none.
func (c *Console) templateBound(ctx context.Context, v *visit, p place) (time.Duration, error) {
	if p.user.TemplateID == "" {
		return 0, nil
	}
	t, err := c.issuer.GetTemplate(ctx, v.caller, p.account.ID, p.user.TemplateID)
	return t.MaxTTL, err
}

func (c *Console) issueForm(ctx context.Context, v *visit, p place) (*form, error) {
	longest, err := c.templateBound(ctx, v, p)
	if err != nil {
		return nil, err
	}
	fields := append([]*field{lifetimeField(c.boundsOf(ctx, v, p, longest))}, keyFields()...)
	return &form{
		Action: p.userURL("issue"), Submit: "Issue credentials", Cancel: p.userURL(),
		Groups: []group{{Fields: append(fields, issueReason())}}, Hidden: []hidden{{"once", newOnce()}}, Rules: c.userRules(ctx, v, p),
	}, nil
}

func (c *Console) issuePage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Issue credentials to " + p.user.Name, crumbs: p.userCrumbs(),
		body: formView{Title: "Issue credentials", Lead: "To user " + p.user.Name + " of account " + p.account.Name +
			". What was issued before goes on working until it expires or is revoked.", Form: f},
		calls: []apiCall{c.call("Issue credentials", http.MethodPost, p.userURL("credentials"), `{"ttl_seconds":2592000}`)},
	}
}

func (c *Console) newCredential(r *http.Request, v *visit) (answer, error) {
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	f, err := c.issueForm(r.Context(), v, p)
	if err != nil {
		return answer{}, err
	}
	return c.issuePage(p, f), nil
}

func (c *Console) issueCredential(r *http.Request, v *visit) (answer, error) {
	ctx, once := r.Context(), r.PostForm.Get("once")
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	if c.spent(r, once) {
		return answer{}, errSpent
	}
	f, err := c.issueForm(ctx, v, p)
	if err != nil {
		return answer{}, err
	}
	f.read(r.PostForm)
	in := f.issueInput(v)
	if !f.ok() {
		return c.issuePage(p, f), nil
	}
	out, err := c.issuer.Issue(ctx, v.op(f.value("reason")), p.account.ID, p.user.ID, in)
	if err != nil {
		if f.accept(err) {
			return c.issuePage(p, f), nil
		}
		return answer{}, err
	}
	c.spend(r, v, once)
	return c.secretPage(ctx, v, p, out.Value), nil
}
