package web_test

import (
	"bytes"
	"context"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
	"chancery/web"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is what was logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// house is a console over a real issuer, store and resolver, with the operator
// acme, the account ORDERS and its template device.
type house struct {
	t      *testing.T
	store  *store.Store
	issuer *issuer.Issuer
	live   *resolver.Resolver
	front  *httptest.Server
	log    *lockedBuffer
	// operator and account are public keys.
	operator, account string
	// nats is where the operator's server is, once there is one.
	nats atomic.Pointer[string]
	// url is that of its database.
	url string
}

var op = issuer.Op{Caller: issuer.System("test"), RequestID: "test"}

func eachHouse(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			f(t, newHouse(t, d, web.Config{}))
		})
	}
}

// newHouse builds a house; of cfg it takes Secure and Dev.
func newHouse(t *testing.T, dialect string, cfg web.Config) *house {
	t.Helper()
	h := &house{t: t, log: &lockedBuffer{}}
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	h.url = storetest.URL(t, dialect)
	h.store, err = store.Open(t.Context(), store.Config{URL: h.url, Now: time.Now, Logger: log})
	must(t, err)
	opened := h.store // a test may put another in its place
	t.Cleanup(func() { must(t, opened.Close()) })
	h.issuer, err = issuer.Open(t.Context(), issuer.Config{
		Store: h.store, Now: time.Now, Logger: log, KEK: kek, SystemPermissions: resolver.SystemPermissions(),
		Connections: func(ctx context.Context, account string) ([]claims.Connection, error) {
			return h.live.Connections(ctx, account)
		},
		Wake: func() { h.live.Wake() },
	})
	must(t, err)
	h.live, err = resolver.New(resolver.Config{
		Store: h.store, Now: time.Now, Logger: log, Owner: "test", Identity: h.identity, URLs: func(store.Operator) []string { return h.natsURLs() },
	})
	must(t, err)
	cfg.Issuer, cfg.Live, cfg.Sessions, cfg.Now, cfg.Logger, cfg.PublicURL = h.issuer, h.live, h.store.Sessions(), time.Now, log, "http://chancery.test"
	cfg.NATSURL = func(string) string { return strings.Join(h.natsURLs(), "") }
	console, err := web.New(cfg)
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle("/jwt/", h.live.Handler())
	mux.Handle("/", console.Handler())
	h.front = httptest.NewServer(mux)
	t.Cleanup(h.front.Close)
	h.furnish()
	_, err = h.store.Sequence(t.Context())
	must(t, err)
	must(t, h.live.Start(t.Context()))
	t.Cleanup(h.live.Stop)
	return h
}

func (h *house) furnish() {
	ctx := h.t.Context()
	o, err := h.issuer.CreateOperator(ctx, op, issuer.OperatorInput{Name: "acme"})
	must(h.t, err)
	h.operator = o.Value.ID
	a, err := h.issuer.CreateAccount(ctx, op, issuer.AccountInput{Name: "ORDERS", Settings: claims.NewAccountSettings()})
	must(h.t, err)
	h.account = a.Value.ID
	body := claims.Template{Name: "device", Permissions: claims.NewPermissionLimits()}
	body.Permissions.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
	body.Permissions.Sub.Allow = jwt.StringList{"cmd.{{name()}}", "_INBOX.>"}
	_, err = h.issuer.CreateTemplate(ctx, op, h.account, issuer.TemplateInput{Body: body, MaxTTL: 30 * 24 * time.Hour})
	must(h.t, err)
}

// share makes the template service, which acme shares.
func (h *house) share() {
	h.t.Helper()
	service := claims.Template{Name: "service", Permissions: claims.NewPermissionLimits()}
	service.Permissions.Pub.Allow = jwt.StringList{"orders.>"}
	_, err := h.issuer.CreateSharedTemplate(h.t.Context(), op, h.operator, issuer.TemplateInput{Body: service})
	must(h.t, err)
}

// user makes a user of ORDERS with a credential.
func (h *house) user(name string) issuer.UserWithCredential {
	h.t.Helper()
	out, err := h.issuer.CreateUser(h.t.Context(), op, h.account, issuer.UserInput{Name: name, Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{TTL: time.Hour}})
	must(h.t, err)
	return out.Value
}

func (h *house) natsURLs() []string {
	if u := h.nats.Load(); u != nil {
		return []string{*u}
	}
	return nil
}

// identity issues Chancery's own credentials on the system account.
func (h *house) identity(ctx context.Context, operatorID string, _ bool) (resolver.Identity, error) {
	issued, err := h.issuer.SystemCredential(ctx, op, operatorID, "test")
	if err != nil {
		return resolver.Identity{}, err
	}
	_, seed, err := claims.ParseCreds(issued.Creds)
	return resolver.Identity{
		JWT: func() (string, error) { return issued.JWT.Reveal(), nil },
		Sign: func(nonce []byte) ([]byte, error) {
			pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
			if err != nil {
				return nil, errors.New("no seed")
			}
			return pair.Sign(nonce)
		},
	}, err
}

// link makes a sign-in link for a person and returns its path.
func (h *house) link(name string) string {
	h.t.Helper()
	secret, err := h.issuer.SignInLink(h.t.Context(), op, name)
	must(h.t, err)
	return "/login/" + secret.Reveal()
}

// browser keeps cookies and says where its forms come from, as browsers do.
type browser struct {
	h      *house
	client *http.Client
	header http.Header
}

func (h *house) visitor() *browser {
	jar, err := cookiejar.New(nil)
	must(h.t, err)
	return &browser{h: h, header: http.Header{"Sec-Fetch-Site": {"same-origin"}}, client: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn returns the browser of an owner.
func (h *house) signedIn() *browser {
	h.t.Helper()
	b := h.visitor()
	b.post(h.link("ada"), nil).want(http.StatusSeeOther)
	return b
}

// auditor returns the browser of somebody who may only read.
func (h *house) auditor() *browser {
	h.t.Helper()
	must(h.t, h.store.Write(h.t.Context(), func(ctx context.Context, t *store.Tx) error {
		return t.CreatePerson(ctx, store.Person{ID: "per_auditor", Name: "otto", Grants: issuer.Everything(issuer.RoleAuditor), State: "active"}, "test")
	}))
	b := h.visitor()
	b.post(h.link("otto"), nil).want(http.StatusSeeOther)
	return b
}

// page is an answer that was read.
type page struct {
	t      *testing.T
	url    string
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, path string, form url.Values) page {
	t := b.h.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.h.front.URL+path, strings.NewReader(form.Encode()))
	must(t, err)
	for k, v := range b.header {
		req.Header[k] = v
	}
	if form != nil || method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := b.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return page{t: t, url: path, status: res.StatusCode, header: res.Header, body: string(body)}
}

func (b *browser) get(path string) page { b.h.t.Helper(); return b.do(http.MethodGet, path, nil) }

func (b *browser) post(path string, form url.Values) page {
	b.h.t.Helper()
	return b.do(http.MethodPost, path, form)
}

// follow opens where a redirect leads.
func (b *browser) follow(p page) page {
	b.h.t.Helper()
	p.want(http.StatusSeeOther)
	return b.get(p.header.Get("Location"))
}

// submit sends the form of a page, with values in place of its own, to where its
// button leads.
func (b *browser) submit(p page, values ...string) page {
	b.h.t.Helper()
	action := regexp.MustCompile(`<form class="(?:form|plan-end)" method="post" action="([^"]+)"`).FindStringSubmatch(p.body)
	if action == nil {
		b.h.t.Fatalf("%s has no form: %s", p.url, p.text())
	}
	return b.post(html.UnescapeString(action[1]), formOf(p, values...))
}

// unchecked is the value of a box from which the mark is taken.
const unchecked = "\x00"

// formOf returns what the form of a page would send, with values in place of its own.
func formOf(p page, values ...string) url.Values {
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="(?:hidden|text)"[^>]* name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(p.body, -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	for _, m := range regexp.MustCompile(`(?s)<select[^>]* name="([^"]+)".*?</select>`).FindAllStringSubmatch(p.body, -1) {
		if chosen := regexp.MustCompile(`<option value="([^"]*)" selected>`).FindStringSubmatch(m[0]); chosen != nil {
			form.Set(m[1], html.UnescapeString(chosen[1]))
		}
	}
	for _, m := range regexp.MustCompile(`(?s)<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>`).FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for _, m := range regexp.MustCompile(`<input type="checkbox"[^>]* name="([^"]+)" checked`).FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], "on")
	}
	for i := 0; i+1 < len(values); i += 2 {
		if values[i+1] == unchecked {
			form.Del(values[i])
			continue
		}
		form.Set(values[i], values[i+1])
	}
	return form
}

// text is the page without markup, for messages.
func (p page) text() string {
	_, main, _ := strings.Cut(p.body, "<main")
	main, _, _ = strings.Cut(main, "<footer")
	main = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(main, " ")
	return strings.Join(strings.Fields(html.UnescapeString(main)), " ")
}

func (p page) want(status int) page {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s: status %d, want %d: %s", p.url, p.status, status, p.text())
	}
	return p
}

// has wants each text on the page, as a person reads it.
func (p page) has(texts ...string) page {
	p.t.Helper()
	for _, s := range texts {
		if !strings.Contains(html.UnescapeString(p.body), s) && !strings.Contains(p.text(), s) {
			p.t.Errorf("%s does not say %q: %s", p.url, s, p.text())
		}
	}
	return p
}

func (p page) hasNot(texts ...string) page {
	p.t.Helper()
	for _, s := range texts {
		if strings.Contains(p.body, s) {
			p.t.Errorf("%s says %q", p.url, s)
		}
	}
	return p
}
