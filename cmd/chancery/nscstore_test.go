package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// managedStore is a store of nsc that is managed by this operator, as far as its requests go: the keys, the JWT that it
// has of its account, and what the last command made of its answer.
type managedStore struct {
	t    *testing.T
	wire *nscWire
	// asu is the account server URL.
	asu  string
	name string
	pair nkeys.KeyPair
	id   string
	// local is what is in the store: the JWT of the operator, or the self-signed one that was refused.
	local string
	// said is the body of the last answer to a POST, printed what nsc shows of it, exit its exit code.
	said    string
	printed []string
	exit    int
}

func newManagedStore(t *testing.T, asu, name string) *managedStore {
	t.Helper()
	h := &managedStore{t: t, wire: &nscWire{}, asu: asu, name: name}
	h.pair, h.id = accountPair(t)
	return h
}

func accountPair(t *testing.T) (nkeys.KeyPair, string) {
	t.Helper()
	kp, err := nkeys.CreateAccount()
	must(t, err)
	id, err := kp.PublicKey()
	must(t, err)
	return kp, id
}

// copy is the same store on another machine.
func (h *managedStore) copy() *managedStore { c := *h; return &c }

// at is a path behind that of the account server URL, joined as nsc does it: a slash at its end is gone, its query and
// its user information stay.
func (h *managedStore) at(elem ...string) string {
	h.t.Helper()
	u, err := url.Parse(h.asu)
	must(h.t, err)
	u.Path = path.Join(append([]string{u.Path}, elem...)...)
	return u.String()
}

func (h *managedStore) account() string { return h.at("accounts", h.id) }

// get and post send what nsc sends.
func (h *managedStore) get(to string) *exchange {
	h.t.Helper()
	e, err := h.wire.send(h.t.Context(), http.MethodGet, to, "", func() {})
	must(h.t, err)
	return e
}

func (h *managedStore) post(to, body string) *exchange {
	h.t.Helper()
	e, err := h.wire.send(h.t.Context(), http.MethodPost, to, body, func() {})
	must(h.t, err)
	h.said, h.printed, h.exit = e.body, nil, 0
	switch e.status {
	case http.StatusOK:
		h.printed = []string{"[ OK ] push jwt to account server"}
	case http.StatusCreated, http.StatusAccepted:
		h.printed = []string{
			"[WARN] pushed account jwt was accepted by the account server",
			"[WARN] perform push/pull again or exchange self-signed JWT manually",
		}
	default:
		h.printed, h.exit = []string{"[ERR ] failed to push account to remote server"}, 1
	}
	for line := range strings.Lines(e.body) {
		h.printed = append(h.printed, "> "+strings.TrimSuffix(line, "\n"))
	}
	return e
}

// stores is what every command does that stores an account (store.go: StoreClaim): it posts, and fetches after exactly 200.
func (h *managedStore) stores(token string) int {
	h.t.Helper()
	status := h.post(h.account(), token).status
	if h.local = token; status != http.StatusOK {
		return status
	}
	e := h.get(h.account())
	if e.status != http.StatusOK {
		h.exit = 1
		return status
	}
	h.local = e.body
	if c := h.claims(); c.Name != h.name || c.Subject != h.id {
		h.t.Errorf("nsc has lost %s: it fetched an account of another name or key", h.name)
	}
	h.printed = append(h.printed, limitsChanged(h.t, token, e.body)...)
	return status
}

// limitsChanged is what nsc prints of a limit that the operator set otherwise (common.go: DiffAccountLimits).
func limitsChanged(t *testing.T, sent, got string) []string {
	t.Helper()
	a, err := jwt.DecodeAccountClaims(sent)
	must(t, err)
	b, err := jwt.DecodeAccountClaims(got)
	must(t, err)
	if a.Limits.Conn == b.Limits.Conn {
		return nil
	}
	text := func(n int64) string {
		if n == jwt.NoLimit {
			return "unlimited"
		}
		return strconv.FormatInt(n, 10)
	}
	return []string{"[ OK ] account server modifications:", fmt.Sprintf("> max connections changed from %s to %s", text(a.Limits.Conn), text(b.Limits.Conn))}
}

// pushes is nsc push: it posts what is in the store, and fetches nothing.
func (h *managedStore) pushes() int {
	h.t.Helper()
	return h.post(h.account(), h.local).status
}

// pull is nsc pull, with -F where it overwrites: an older JWT replaces no newer one (pull.go: maybeStoreJWT).
func (h *managedStore) pull(overwrite bool) bool {
	h.t.Helper()
	e := h.get(h.account())
	h.printed, h.exit = nil, 1
	if e.status != http.StatusOK {
		return false
	}
	c, err := jwt.DecodeAccountClaims(e.body)
	must(h.t, err)
	if !overwrite && h.local != "" && c.IssuedAt < h.claims().IssuedAt {
		h.printed = []string{fmt.Sprintf("local jwt for %q is newer than remote version - specify --overwrite-newer", h.name)}
		return false
	}
	h.local, h.exit = e.body, 0
	return true
}

// prints tells whether nsc printed the line.
func (h *managedStore) prints(line string) bool { return slices.Contains(h.printed, line) }

// claims reads what is in the store.
func (h *managedStore) claims() *jwt.AccountClaims {
	h.t.Helper()
	c, err := jwt.DecodeAccountClaims(h.local)
	must(h.t, err)
	return c
}

// add is nsc add account.
func (h *managedStore) add() int {
	h.t.Helper()
	c := jwt.NewAccountClaims(h.id)
	c.Name = h.name
	token, err := c.Encode(h.pair)
	must(h.t, err)
	return h.stores(token)
}

// edit changes the JWT of the store, signs it with the account's key and posts it.
func (h *managedStore) edit(f func(*jwt.AccountClaims)) int {
	h.t.Helper()
	return h.editBy(h.pair, f)
}

func (h *managedStore) editBy(key nkeys.KeyPair, f func(*jwt.AccountClaims)) int {
	h.t.Helper()
	return h.stores(h.edited(key, f))
}

func (h *managedStore) edited(key nkeys.KeyPair, f func(*jwt.AccountClaims)) string {
	h.t.Helper()
	c := h.claims()
	f(c)
	token, err := c.Encode(key)
	must(h.t, err)
	return token
}

// nscWire sends what nsc sends, and keeps what went over the wire.
type nscWire struct {
	mu    sync.Mutex
	clock int
	all   []*exchange
}

// exchange is one request as it was written, and its answer as it was read.
type exchange struct {
	method, url, sent string
	// header has every field that was written, Host and what Go's client adds included; from is the client's end of the
	// connection.
	header http.Header
	from   string
	// begun and ended order the exchanges: before the request, after the last byte of the answer.
	begun, ended int

	status int
	got    http.Header
	body   string
}

// send is Go's default client without anything of its own, which is what nsc uses; it follows nothing, so that a redirect
// is seen. held is called between the header of the answer and its body.
func (w *nscWire) send(ctx context.Context, method, to, body string, held func()) (*exchange, error) {
	e := &exchange{method: method, url: to, sent: body, header: http.Header{}}
	w.record(func() { e.begun, w.all = w.tick(), append(w.all, e) })
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { w.record(func() { e.from = i.Conn.LocalAddr().String() }) },
		WroteHeaderField: func(key string, values []string) {
			w.record(func() { e.header[key] = slices.Clone(values) })
		},
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, to, strings.NewReader(body))
	if err != nil {
		held()
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/jwt")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	held()
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	w.record(func() { e.status, e.got, e.body, e.ended = res.StatusCode, res.Header, string(raw), w.tick() })
	return e, err
}

func (w *nscWire) record(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *nscWire) tick() int { w.clock++; return w.clock }

// since are the exchanges that began after as many.
func (w *nscWire) since(n int) []*exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all[n:])
}

// wrongly returns what the check says of the first exchange that it does not let pass; empty when there is none.
func (w *nscWire) wrongly(check func(*exchange) string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.all {
		if said := check(e); said != "" {
			return fmt.Sprintf("%s %s: %s", e.method, e.url, said)
		}
	}
	return ""
}

// asNscAsks compares a request's header with that of nsc: nothing but what Go's client adds, the content type of a POST,
// and the user information of the URL.
func (e *exchange) asNscAsks() string {
	u, err := url.Parse(e.url)
	if err != nil {
		return err.Error()
	}
	want := http.Header{"Host": {u.Host}, "User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"}}
	if e.method == http.MethodPost {
		want["Content-Type"], want["Content-Length"] = []string{"application/jwt"}, []string{strconv.Itoa(len(e.sent))}
	}
	if u.User != nil {
		want["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.String()))}
	}
	return cmp.Diff(want, e.header)
}

// asNscReads tells what nsc would stumble over in an answer: a status that it takes for something else, a JWT with
// anything around it, a page, a message that is not lines of text.
func (e *exchange) asNscReads() string {
	for key := range e.got {
		if strings.HasPrefix(key, "X-Nats") || key == "Set-Cookie" || key == "Location" {
			return "the answer has " + key
		}
	}
	kind := e.got.Get("Content-Type")
	switch {
	case e.status != http.StatusOK && e.status != http.StatusAccepted && e.status < 400:
		return "status " + strconv.Itoa(e.status)
	case e.method == http.MethodGet && e.status == http.StatusOK && !strings.HasSuffix(e.url, "/"):
		if kind != "application/jwt" || strings.Count(e.body, ".") != 2 || strings.Contains(e.body, "-----BEGIN") || strings.ContainsAny(e.body, " \r\n\t") {
			return fmt.Sprintf("%s is no bare JWT: %q", kind, e.body)
		}
	case kind != "text/plain; charset=utf-8" || strings.ContainsAny(e.body, "<\r\x00"):
		return fmt.Sprintf("%s is no plain text: %q", kind, e.body)
	case e.body == "" && e.method == http.MethodGet && e.status == http.StatusOK: // the probe
	case !strings.HasSuffix(e.body, "\n") || strings.HasPrefix(e.body, "\n") || strings.Contains(e.body, "\n\n"):
		return fmt.Sprintf("not lines of text: %q", e.body)
	}
	return ""
}
