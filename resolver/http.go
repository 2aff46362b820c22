package resolver

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Header values that are the same in every answer. They are shared between answers
// and never written to; net/http only reads them.
var (
	jwtType   = []string{"application/jwt"}
	textType  = []string{"text/plain; charset=utf-8"}
	noCache   = []string{"no-cache"}
	noSniff   = []string{"nosniff"}
	readsOnly = []string{"GET, HEAD"}
	soon      = []string{"1"}
)

// Keys as http.Header stores them; indexing with them skips the canonical form.
const (
	headerAllow        = "Allow"
	headerCacheControl = "Cache-Control"
	headerLength       = "Content-Length"
	headerType         = "Content-Type"
	headerTag          = "Etag"
	headerIfNoneMatch  = "If-None-Match"
	headerRetryAfter   = "Retry-After"
	headerSniff        = "X-Content-Type-Options"
)

// pathOf the default operator and of all of them.
const (
	standardBase = "/jwt/v1/"
	operatorBase = "/o/"
)

// Paths is what the HTTP paths do beside answering reads from memory. The zero value
// is read only.
type Paths struct {
	// Submissions answers POST of accounts/{id} and of activations under every base;
	// nil refuses them. The request keeps its path and carries two path values:
	// "operator", the name or public key from the path, empty under the default base,
	// and "account", what stands for the account's key, empty for activations. Neither
	// is checked. Reading the body within bounds, and the decision, are up to it.
	Submissions http.Handler
}

// Values of the path that a submission carries; see Paths.
const (
	operatorValue = "operator"
	accountValue  = "account"
)

// handler serves the JWTs in memory. It is the hot path: a nats-server gives up
// after 1.9 s and asks once for each client that connects to an account it does not
// hold, so there is no SQL, no lock and no middleware here.
type handler struct {
	memory *memory
	ready  *atomic.Bool
	// gate is asked only about what is not in memory.
	gate  *gate
	count requestCounters
	paths Paths
}

// missWait bounds how long an unknown account waits for commits to reach memory.
// It takes a millisecond; this much only while the database hangs.
const missWait = 250 * time.Millisecond

// requestCounters are resolved once; a request only adds one.
type requestCounters struct {
	found, unmodified, unknown, probe, refused prometheus.Counter
}

// ServeHTTP answers GET and HEAD of accounts/{id}, of the bare accounts and
// accounts/, which a nats-server probes at boot and without which it does not
// start (server.go: NewServer), and of operator.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && h.submit(w, r) {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.count.refused.Inc()
		w.Header()[headerAllow] = readsOnly
		text(w, r, http.StatusMethodNotAllowed, "Use GET or HEAD.\n")
		return
	}
	d, probe := h.find(r.URL.Path)
	if d == nil && !probe && h.ready.Load() && h.gate.pass(r.Context(), missWait) {
		d, probe = h.find(r.URL.Path)
	}
	switch {
	case d != nil:
		h.serve(w, r, d)
	case probe && h.ready.Load():
		h.count.probe.Inc()
		text(w, r, http.StatusOK, "Account JWTs are served here, by public key.\n")
	default:
		h.missing(w, r)
	}
}

// submit hands a POST on; false when it is of nothing that can be posted.
func (h *handler) submit(w http.ResponseWriter, r *http.Request) bool {
	if h.paths.Submissions == nil {
		return false
	}
	operator, rest := "", ""
	path, ok := strings.CutPrefix(r.URL.Path, standardBase)
	if ok {
		rest = path
	} else if path, ok = strings.CutPrefix(r.URL.Path, operatorBase); ok {
		if operator, rest, ok = strings.Cut(path, standardBase); !ok || operator == "" {
			return false
		}
	}
	account, isAccount := strings.CutPrefix(rest, "accounts/")
	if rest != "activations" && (!isAccount || account == "" || strings.Contains(account, "/")) {
		return false
	}
	if !isAccount {
		account = ""
	}
	r.SetPathValue(operatorValue, operator)
	r.SetPathValue(accountValue, account)
	h.paths.Submissions.ServeHTTP(w, r)
	return true
}

// find returns the JWT at a path, or tells that the path is the one that servers
// probe.
func (h *handler) find(path string) (d *document, probe bool) {
	op, rest, ok := h.memory.operators.Load().route(path)
	if !ok {
		return nil, false
	}
	if id, isAccount := strings.CutPrefix(rest, "accounts/"); isAccount && id != "" {
		// Only valid keys are in the map, so one look-up is the check of the key too.
		if e := h.memory.get(id); e != nil && op != nil && e.operator == op.handle {
			return &e.document, false
		}
		return nil, false
	}
	if rest == "operator" && op != nil && op.token != "" {
		return &op.document, false
	}
	return nil, rest == "accounts" || rest == "accounts/"
}

// route splits a path into its operator and the rest. The operator is nil for the
// default base while there is no operator.
func (d *directory) route(path string) (op *servedOperator, rest string, ok bool) {
	if rest, ok := strings.CutPrefix(path, standardBase); ok {
		return d.standard, rest, true
	}
	path, ok = strings.CutPrefix(path, operatorBase)
	if !ok {
		return nil, "", false
	}
	name, rest, ok := strings.Cut(path, standardBase)
	if !ok {
		return nil, "", false
	}
	op, ok = d.byName[name]
	return op, rest, ok
}

// serve sends the exact signed bytes: a server compares what it fetched with what is
// pushed to it byte for byte.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, d *document) {
	if match := r.Header[headerIfNoneMatch]; match != nil && matches(match, d.etag[0]) {
		h.count.unmodified.Inc()
		header := w.Header()
		header[headerTag] = d.etag[:]
		header[headerCacheControl] = noCache
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.count.found.Inc()
	header := w.Header()
	header[headerType] = jwtType
	header[headerLength] = d.length[:]
	header[headerTag] = d.etag[:]
	header[headerCacheControl] = noCache
	if r.Method == http.MethodHead {
		return
	}
	_, _ = io.WriteString(w, d.token) // the client went away; nobody is left to tell
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
	text(w, r, http.StatusNotFound, "Not found.\n")
}

func text(w http.ResponseWriter, r *http.Request, status int, body string) {
	header := w.Header()
	header[headerType] = textType
	header[headerCacheControl] = noCache
	header[headerSniff] = noSniff
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// matches tells whether an If-None-Match names the tag. Tags are quoted hashes, so
// one cannot be part of another.
func matches(header []string, tag string) bool {
	for _, v := range header {
		if v == "*" || strings.Contains(v, tag) {
			return true
		}
	}
	return false
}
