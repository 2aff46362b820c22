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
			By: c.actor(ctx, names, x.Actor), Delivered: delivered(x.Credential), Bearer: x.Bearer,
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
	case issuer.StatusKeyRetired:
		return chip{toneOff, "Signing key retired"}
	}
	return chip{toneOff, string(s)}
}

func delivered(x issuer.Credential) string {
	if x.KeyOrigin == "client" {
		return "key of the holder"
	}
	if x.DeliveredTo != "" {
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

// lifetimeField offers the lifetimes that a template with the bound longest allows;
// anyTemplate says that the template is not chosen yet.
func lifetimeField(longest time.Duration, anyTemplate bool) *field {
	f := &field{
		Name: "lifetime", Pointer: "/ttl_seconds", Label: "Lifetime", Kind: kindSelect, Required: true,
		Hint: "When it has passed, servers refuse the credentials by themselves.",
	}
	for _, l := range lifetimes {
		if longest == 0 || l.ttl <= longest {
			f.Options = append(f.Options, option{seconds(l.ttl), l.name})
			if l.ttl <= 30*24*time.Hour {
				f.Value = seconds(l.ttl)
			}
		}
	}
	last := option{"0", "No expiry"}
	if longest > 0 {
		last.Text = "The longest the template allows: " + spell(longest)
	} else if anyTemplate {
		last.Text = "No expiry, or the longest the template allows"
	}
	f.Options = append(f.Options, last)
	if f.Value == "" {
		f.Value = "0"
	}
	return f
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

// lifetime reads the chosen lifetime; 0 is the template's bound, or none.
func (f *form) lifetime() time.Duration {
	n, err := strconv.ParseInt(f.value("lifetime"), 10, 64)
	if err != nil && f.ok() {
		f.fail("lifetime", "Choose one of the entries.")
	}
	return time.Duration(n) * time.Second
}

func (c *Console) issueForm(ctx context.Context, v *visit, p place) (*form, error) {
	var longest time.Duration
	if p.user.TemplateID != "" {
		t, err := c.issuer.GetTemplate(ctx, v.caller, p.account.ID, p.user.TemplateID)
		if err != nil {
			return nil, err
		}
		longest = t.MaxTTL
	}
	return &form{
		Action: p.userURL("issue"), Submit: "Issue credentials", Cancel: p.userURL(),
		Groups: []group{{Fields: []*field{lifetimeField(longest, false), reasonField()}}}, Hidden: []hidden{{"once", newOnce()}},
	}, nil
}

func (c *Console) issuePage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Issue credentials to " + p.user.Name, crumbs: p.userCrumbs(),
		body: formView{Title: "Issue credentials", Lead: "To user " + p.user.Name + " of account " + p.account.Name +
			". A new key is made for them; what was issued before goes on working until it expires or is revoked.", Form: f},
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
	ttl := f.lifetime()
	if !f.ok() {
		return c.issuePage(p, f), nil
	}
	out, err := c.issuer.Issue(ctx, v.op(f.value("reason")), p.account.ID, p.user.ID, issuer.IssueInput{TTL: ttl, DeliveredTo: shownTo(v)})
	if err != nil {
		if f.accept(err) {
			return c.issuePage(p, f), nil
		}
		return answer{}, err
	}
	c.spend(r, v, once)
	return c.secretPage(ctx, v, p, out.Value), nil
}
