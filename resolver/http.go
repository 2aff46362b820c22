package resolver

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
)

// Header values that are the same in every answer. They are shared between answers
// and never written to; net/http only reads them.
var (
	jwtType  = []string{"application/jwt"}
	textType = []string{"text/plain; charset=utf-8"}
	noCache  = []string{"no-cache"}
	noStore  = []string{"no-cache, no-store, must-revalidate"}
	noSniff  = []string{"nosniff"}
	byOrigin = []string{"Origin"}
	anywhere = []string{"*"}
	soon     = []string{"1"}
)

// Keys as http.Header stores them; indexing with them skips the canonical form.
const (
	headerAllow         = "Allow"
	headerAllowMethods  = "Access-Control-Allow-Methods"
	headerAllowOrigin   = "Access-Control-Allow-Origin"
	headerAsksFor       = "Access-Control-Request-Method"
	headerAuthorization = "Authorization"
	headerCacheControl  = "Cache-Control"
	headerChallenge     = "Www-Authenticate"
	headerExpires       = "Expires"
	headerIfNoneMatch   = "If-None-Match"
	headerLength        = "Content-Length"
	headerLink          = "Link"
	headerLocation      = "Location"
	headerOrigin        = "Origin"
	headerPragma        = "Pragma"
	headerRetryAfter    = "Retry-After"
	headerSniff         = "X-Content-Type-Options"
	headerTag           = "Etag"
	headerType          = "Content-Type"
	headerVary          = "Vary"
)

// Paths is what the HTTP paths do beside answering reads from memory. The zero value
// is read only and open to everybody.
type Paths struct {
	// Submissions answers POST of accounts/{id} and of activations under every base;
	// nil refuses them. The request keeps its path and carries two path values:
	// "operator", the name or public key from the path, empty under the default base,
	// and "account", what stands for the account's key, empty for activations. Neither
	// is checked. Reading the body within bounds, and the decision, are up to it.
	Submissions http.Handler
	// Readers returns who may use the paths at all, submissions and the probes of
	// servers included; a nil function lets everybody. It is asked at each request.
	Readers func() *Credentials
	// Tokens returns the tokens that open everything, and without which nobody packs or
	// notifies; a nil function is no tokens. It is asked at each request.
	Tokens func() *Credentials
	// Notify has the account's JWT pushed to all servers once more. Nil refuses to.
	Notify func(ctx context.Context, operatorID, accountID string) error
}

// Values of the path that a submission carries; see Paths.
const (
	operatorValue = "operator"
	accountValue  = "account"
)

// handler serves the JWTs in memory. It is the hot path: a nats-server gives up
// after 1.9 s and asks once for each client that connects to an account it does not
// hold, so there is no SQL, no lock and no middleware between it and memory.
type handler struct {
	memory *memory
	ready  *atomic.Bool
	// gate is asked only about what is not in memory.
	gate *gate
	// pulse is asked about everything.
	pulse *pulse
	count requestCounters
	now   func() time.Time
	paths Paths
	// activations finds tokens that were issued here.
	activations *activations
	// late is how long to wait after the process stood still.
	late time.Duration
	// packing, finding and decoding bound the answers that are made at a cost: packs,
	// activations, which are in the store, and decoded ones, until they are sent, since each
	// is a copy of its own. None of them waits for another: a store that hangs, or who reads
	// slowly, holds up no pack.
	packing, finding, decoding chan struct{}
}

const (
	// missWait bounds how long an unknown account waits for commits to reach memory.
	// It takes a millisecond; this much only while the database hangs.
	missWait = 250 * time.Millisecond
	// mostBusy is how many costly answers of each kind are made at once.
	mostBusy = 4
	// decodedWait bounds how long a decoded answer is sent.
	decodedWait = 10 * time.Second
)

// counted is the longest answer of which net/http finds the length itself, for less than
// another header costs (server.go: bufferBeforeChunkingSize).
const counted = 2048

// requestCounters are resolved once; a request only adds one.
type requestCounters struct {
	found, unmodified, unknown, probe, refused prometheus.Counter
}

// Handler serves the JWTs over HTTP, under /jwt/v1 for the default operator and
// under /o/{operator}/jwt/v1 for each, by name or public key: accounts/{id},
// operator, pack, activations/{hash}, help, and the bare accounts/ that nats-servers
// probe at boot; also /healthz. All but activations comes from memory alone. It
// needs no particular prefix stripped.
func (r *Resolver) Handler() http.Handler { return r.HandlerWith(Paths{}) }

// HandlerWith is Handler with what else its paths do.
func (r *Resolver) HandlerWith(p Paths) http.Handler {
	h := &handler{
		memory: r.memory, ready: &r.ready, gate: &r.gate, pulse: r.pulse, late: r.pace.catchUp, count: r.metrics.requests, now: r.now, paths: p,
		activations: r.activations, packing: make(chan struct{}, mostBusy), finding: make(chan struct{}, mostBusy), decoding: make(chan struct{}, mostBusy),
	}
	return &timed{next: h, now: r.now, took: r.metrics.lookups}
}

// ServeHTTP answers what nats-servers and the clients of nats-account-server ask for.
// The fast way is first: a known account without parameters.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header[headerVary] = byOrigin
	if r.Header[headerOrigin] != nil {
		header[headerAllowOrigin] = anywhere
	}
	if !h.admits(r) {
		h.refuse(w, r)
		return
	}
	if h.pulse.late() {
		h.pulse.wait(r.Context(), h.late)
	}
	at := h.memory.operators.Load().locate(r.URL.Path)
	if at.kind == atAccount && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.RawQuery == "" {
		if e := h.account(r, at); e != nil {
			h.serve(w, r, &e.document)
			return
		}
		h.missing(w, r)
		return
	}
	h.serveRest(w, r, at)
}

// serveRest answers everything but a plain read of an account.
func (h *handler) serveRest(w http.ResponseWriter, r *http.Request, at place) {
	switch {
	case at.kind == atNothing:
		h.astray(w, r)
	case r.Method == http.MethodOptions:
		h.options(w, r, at)
	case r.Method == http.MethodPost && h.submittable(at):
		r.SetPathValue(operatorValue, at.operator)
		r.SetPathValue(accountValue, at.id)
		h.paths.Submissions.ServeHTTP(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead || at.kind == atSubmissions:
		h.count.refused.Inc()
		w.Header()[headerAllow] = []string{h.methods(at)}
		text(w, r, http.StatusMethodNotAllowed, "Method Not Allowed\n")
	case at.kind == atHealth:
		text(w, r, http.StatusOK, "")
	case at.kind == atHelp:
		text(w, r, http.StatusOK, help)
	case at.kind == atAccount:
		h.accountAs(w, r, at)
	case !h.knows(r, &at):
		h.missing(w, r)
	case at.kind == atProbe:
		h.probe(w, r)
	case at.kind == atOperator:
		h.operator(w, r, at)
	case at.kind == atPack:
		h.pack(w, r, at)
	default:
		h.activation(w, r, at)
	}
}

// account returns the account at a place, nil when there is none. One that was not
// found may have been committed just now.
func (h *handler) account(r *http.Request, at place) *entry {
	if e := h.memory.at(at); e != nil {
		return e
	}
	if !h.ready.Load() || !claims.IsPublicKey(claims.KindAccount, at.id) || !h.gate.pass(r.Context(), missWait) {
		return nil
	}
	return h.memory.at(h.memory.operators.Load().locate(r.URL.Path))
}

// knows tells whether memory is loaded and has the operator of the place, which may
// have been committed just now.
func (h *handler) knows(r *http.Request, at *place) bool {
	if !h.ready.Load() {
		return false
	}
	if at.served == nil && at.operator != "" && h.gate.pass(r.Context(), missWait) {
		*at = h.memory.operators.Load().locate(r.URL.Path)
	}
	return at.served != nil || at.operator == ""
}

// at returns the account at a place, nil when the operator has none of that key. Only
// valid keys are in the map, so one look-up is the check of the key too.
func (m *memory) at(p place) *entry {
	if e := m.get(p.id); e != nil && p.served != nil && e.operator == p.served.handle {
		return e
	}
	return nil
}

// serve sends the exact signed bytes: a server compares what it fetched with what is
// pushed to it byte for byte.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, d *document) {
	header := w.Header()
	header[headerTag] = d.etag[:]
	header[headerCacheControl] = noCache
	if match := r.Header[headerIfNoneMatch]; match != nil && matches(match, d.etag[0]) {
		h.count.unmodified.Inc()
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.count.found.Inc()
	header[headerType] = jwtType
	if r.Method == http.MethodHead || len(d.token) > counted {
		header[headerLength] = d.length[:]
	}
	if r.Method == http.MethodHead {
		return
	}
	_, _ = io.WriteString(w, d.token) // the client went away; nobody is left to tell
}

// probe answers the bare path, without which a nats-server does not start
// (server.go: NewServer).
func (h *handler) probe(w http.ResponseWriter, r *http.Request) {
	h.count.probe.Inc()
	header := w.Header()
	header[headerCacheControl], header[headerPragma], header[headerExpires] = noStore, noCache, []string{"0"}
	text(w, r, http.StatusOK, "")
}

// missing answers what is unknown, malformed or of another operator, all alike;
// before memory is loaded nothing is known to be unknown.
func (h *handler) missing(w http.ResponseWriter, r *http.Request) {
	h.count.unknown.Inc()
	if !h.ready.Load() {
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "Starting.\n")
		return
	}
	if h.memory.withholds(r.URL.Path) {
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "The copy on disk is damaged, and the database was not reached yet.\n")
		return
	}
	if h.memory.damaged.has(r.URL.Path) {
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "The JWT is damaged in the database.\n")
		return
	}
	text(w, r, http.StatusNotFound, "no matching account JWT\n")
}

func text(w http.ResponseWriter, r *http.Request, status int, body string) {
	header := w.Header()
	header[headerType] = textType
	if header[headerCacheControl] == nil {
		header[headerCacheControl] = noCache
	}
	header[headerSniff] = noSniff
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// matches tells whether an If-None-Match names the tag, as a weak one or in a list
// too. Tags are quoted hashes, so one cannot be part of another.
func matches(header []string, tag string) bool {
	for _, v := range header {
		if v == "*" || strings.Contains(v, tag) {
			return true
		}
	}
	return false
}
