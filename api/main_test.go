package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chancery/api"
	"chancery/custody"
	"chancery/issuer"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// house is an API over a real issuer, store and resolver. No nats-server is
// connected; what servers do is tested with the binary.
type house struct {
	t       *testing.T
	server  *httptest.Server
	api     *api.API
	issuer  *issuer.Issuer
	store   *store.Store
	url     string
	log     *lockedBuffer
	metrics *prometheus.Registry
	owner   string
	auditor string
	// spare is the identity of a token that nobody uses.
	spare string
}

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

func eachHouse(t *testing.T, f func(h *house)) {
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			f(newHouse(t, storetest.URL(t, d)))
		})
	}
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	h := &house{t: t, url: url, log: &lockedBuffer{}, metrics: prometheus.NewRegistry()}
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := store.Open(t.Context(), store.Config{URL: url, Now: time.Now, Logger: log})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	h.store = s
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	checkpoints := issuer.NewFileLog(filepath.Join(t.TempDir(), "checkpoints"))
	t.Cleanup(func() { must(t, checkpoints.Close()) })
	h.issuer, err = issuer.Open(t.Context(), issuer.Config{Store: s, Now: time.Now, Logger: log, KEK: kek, Checkpoints: checkpoints})
	must(t, err)
	live, err := resolver.New(resolver.Config{
		Store: s, Now: time.Now, Logger: log, Owner: "test", Identity: noIdentity, URLs: func(store.Operator) []string { return nil },
	})
	must(t, err)
	a, err := api.New(api.Config{Issuer: h.issuer, Live: live, Now: time.Now, Logger: log, PublicURL: "http://chancery.test", Metrics: h.metrics})
	must(t, err)
	h.api = a
	mux := http.NewServeMux()
	mux.Handle("/api/", a.Handler())
	mux.Handle("/metrics", promhttp.HandlerFor(h.metrics, promhttp.HandlerOpts{}))
	h.server = httptest.NewServer(mux)
	t.Cleanup(h.server.Close)

	op := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	h.owner = h.token(op, "owner", issuer.RoleOwner)
	h.auditor = h.token(op, "auditor", issuer.RoleAuditor)
	_, err = h.issuer.CreateOperator(t.Context(), op, issuer.OperatorInput{Name: "acme"})
	must(t, err)
	h.want(http.MethodPost, "/accounts", `{"name":"ORDERS","tags":["team:orders"]}`, 201)
	h.want(http.MethodPost, "/accounts/ORDERS/templates", `{"name":"device","permissions":{"publish":{"allow":["devices.{{tag(region)}}.{{name()}}.>"]}}}`, 201)
	h.want(http.MethodPost, "/operators/acme/templates", `{"name":"service","permissions":{"publish":{"allow":["orders.>"]}}}`, 201)
	h.want(http.MethodPost, "/accounts/ORDERS/users", `{"name":"d1","template":"device","tags":["region:eu"]}`, 201)
	h.want(http.MethodPost, "/people", `{"name":"dora","grants":[{"role":"auditor"}]}`, 201)
	var spare api.NewToken
	h.want(http.MethodPost, "/tokens", `{"name":"spare","grants":[{"role":"auditor","operator":"acme"}],"ttl_seconds":60}`, 201).into(t, &spare)
	h.spare = spare.ID
	_, err = s.Sequence(t.Context())
	must(t, err)
	anchoring, end := context.WithCancel(t.Context())
	end()
	h.issuer.Anchor(anchoring) // writes one checkpoint
	_, err = s.Sequence(t.Context())
	must(t, err)
	must(t, live.Start(t.Context()))
	t.Cleanup(live.Stop)
	return h
}

func noIdentity(context.Context, string, bool) (resolver.Identity, error) {
	return resolver.Identity{}, errors.New("this test connects to no server")
}

func (h *house) token(op issuer.Op, name string, role issuer.Role) string {
	h.t.Helper()
	made, err := h.issuer.CreateToken(h.t.Context(), op, issuer.TokenInput{Name: name, Grants: issuer.Everything(role), TTL: time.Hour})
	must(h.t, err)
	return made.Value.Text.Reveal()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q, want a problem document: %s", got, a.body)
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Errorf("no problem document: %v: %s", err, a.body)
	}
	return p
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// request is one call of the API.
type request struct {
	method, path, body string
	token              string
	header             map[string]string
}

func (h *house) send(r request) answer {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), r.method, h.server.URL+"/api/v1"+r.path, strings.NewReader(r.body))
	must(h.t, err)
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(h.t, err)
	return answer{resp.StatusCode, resp.Header, body}
}

// want sends as the owner and fails on another status.
func (h *house) want(method, path, body string, status int) answer {
	h.t.Helper()
	a := h.send(request{method: method, path: path, body: body, token: h.owner})
	if a.status != status {
		h.t.Fatalf("%s %s answered %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// dump is everything in the database but what a request leaves by being made: the
// sequencer's numbering and its counter.
func (h *house) dump() string {
	h.t.Helper()
	return storetest.OpenRaw(h.t, h.url).Dump(h.t)
}

func (h *house) scrape() string {
	h.t.Helper()
	resp, err := http.Get(h.server.URL + "/metrics") //nolint:noctx // a test against this process
	must(h.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(h.t, err)
	return string(b)
}
