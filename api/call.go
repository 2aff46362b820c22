package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"chancery/claims"
	"chancery/issuer"
)

// call is who asks, and under which request id.
type call struct {
	caller issuer.Caller
	*record
}

type callKey struct{}

// record is what the access log says of a request.
type record struct {
	requestID, operation, callerID string
	// address is the client's.
	address string
	// fingerprint is a hash of all that was asked.
	fingerprint [sha256.Size]byte
}

type recordKey struct{}

func recordOf(ctx context.Context) *record {
	r, ok := ctx.Value(recordKey{}).(*record)
	if !ok {
		return &record{}
	}
	return r
}

// handle mounts a handler: it describes the operation, checks the token and the
// body's form before, and maps the error after.
func handle[I, O any](h func(*API, context.Context, call, *I) (*O, error)) func(*API, route) {
	return func(a *API, r route) {
		problems := []int{400, 401, 403, 404, 409, 412, 413, 415, 429, 503}
		if r.method == http.MethodDelete {
			problems = append(problems, http.StatusPreconditionRequired)
		}
		op := huma.Operation{
			OperationID: r.id, Method: r.method, Path: Base + r.path, Summary: r.summary, DefaultStatus: r.status,
			Tags: []string{strings.SplitN(r.path, "/", 3)[1]}, Security: []map[string][]string{{"token": {}}},
			MaxBodyBytes: max(r.body, 1), BodyReadTimeout: r.deadline,
			Errors:      problems,
			Middlewares: huma.Middlewares{a.begin(r), a.authenticate, a.strict(r.body)},
			Extensions:  map[string]any{"x-permission": string(r.permission)},
		}
		if takesBinary[I]() {
			op.Middlewares = huma.Middlewares{a.begin(r), a.authenticate, a.binary(r)}
		}
		if r.permission == anybody {
			op.Security, op.Middlewares = []map[string][]string{}, huma.Middlewares{a.begin(r), a.unnamed, a.strict(r.body)}
		}
		if r.id == bulkOperation {
			op.Middlewares = huma.Middlewares{a.begin(r), a.authenticate, a.bulk, a.strict(r.body)}
		}
		huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
			c, ok := ctx.Value(callKey{}).(call)
			if !ok {
				return nil, a.problem(ctx, &issuer.Error{Kind: issuer.KindUnauthenticated, Code: "token_required", Message: "A token is needed."})
			}
			out, err := h(a, ctx, c, in)
			if err != nil {
				return nil, a.problem(ctx, err)
			}
			return out, nil
		})
	}
}

// begin names the operation for the log and sets the deadline.
func (a *API) begin(r route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		rec, at := recordOf(hc.Context()), hc.URL()
		rec.operation, rec.fingerprint = r.id, sha256.Sum256([]byte(r.method+" "+at.RequestURI()))
		if r.deadline > waiting {
			_, w := humachi.Unwrap(hc)
			_ = http.NewResponseController(w).SetWriteDeadline(a.now().Add(r.deadline)) // else the server's own holds
		}
		ctx, cancel := context.WithTimeout(hc.Context(), r.deadline)
		defer cancel()
		next(huma.WithContext(hc, ctx))
	}
}

// unnamed lets a request pass that says by itself what it may do.
func (a *API) unnamed(hc huma.Context, next func(huma.Context)) {
	next(huma.WithValue(hc, callKey{}, call{issuer.Caller{}, recordOf(hc.Context())}))
}

// authenticate finds the caller of a bearer token.
func (a *API) authenticate(hc huma.Context, next func(huma.Context)) {
	ctx := hc.Context()
	rec := recordOf(ctx)
	caller, err := a.caller(ctx, hc.Header("Authorization"), hc.RemoteAddr(), rec.requestID)
	if err != nil {
		a.refuse(hc, err)
		return
	}
	rec.callerID = caller.ID
	if from := address(hc.RemoteAddr()); from.IsValid() {
		rec.address = from.Unmap().String()
	}
	next(huma.WithValue(hc, callKey{}, call{caller, rec}))
}

// caller finds who an Authorization header stands for.
func (a *API) caller(ctx context.Context, authorization, remote, requestID string) (issuer.Caller, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return issuer.Caller{}, &issuer.Error{
			Kind: issuer.KindUnauthenticated, Code: "token_required", Message: "A token is needed.",
			Hint: "Send an API token as Authorization: Bearer chy_pat_…",
		}
	}
	return a.issuer.Authenticate(ctx, claims.NewSecret(strings.TrimSpace(token)), issuer.Origin{Address: address(remote), RequestID: requestID})
}

// address returns the client's address of host and port; the zero value for none. Who
// the client is behind a proxy is decided before a request comes here.
func address(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// refuse answers an error before huma reads the request.
func (a *API) refuse(hc huma.Context, err error) {
	p := a.problem(hc.Context(), err)
	hc.SetHeader("Content-Type", problemType)
	if p.Status == http.StatusUnauthorized {
		hc.SetHeader("WWW-Authenticate", `Bearer realm="chancery"`)
	}
	hc.SetStatus(p.Status)
	p.writeTo(hc.BodyWriter())
}

// observe is around every request: an id, headers, one line in the log, and a
// problem document where a handler panics. The log holds the operation, never the
// path: people paste secrets into paths.
func (a *API) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := a.now()
		rec := &record{requestID: newRequestID()}
		ctx := context.WithValue(r.Context(), recordKey{}, rec)
		h := w.Header()
		h.Set("X-Request-Id", rec.requestID)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				a.log.ErrorContext(ctx, "request panicked", slog.String("request_id", rec.requestID), slog.Any("panic", v))
				if sw.status == 0 {
					a.writeProblem(sw, r.WithContext(ctx), &issuer.Error{Kind: issuer.KindInternal, Code: "internal", Message: "Something went wrong on our side."})
				}
			}
			took := a.now().Sub(started)
			a.requests.WithLabelValues(rec.operation, strconv.Itoa(sw.status)).Observe(took.Seconds())
			a.log.InfoContext(ctx, "request", slog.String("request_id", rec.requestID), slog.String("operation", rec.operation), slog.String("method", method(r)),
				slog.Int("status", sw.status), slog.String("caller", rec.callerID), slog.Duration("took", took.Round(time.Microsecond)))
		}()
		next.ServeHTTP(sw, r.WithContext(ctx))
	})
}

// method bounds what a client can put into the log.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "OTHER"
}

func newRequestID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	return "req_" + hex.EncodeToString(b[:])
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	a.writeProblem(w, r, &issuer.Error{Kind: issuer.KindNotFound, Code: "no_such_path", Message: "There is nothing at this path.", Hint: "The operations are listed in /api/openapi.json."})
}

func (a *API) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if a.router.Match(chi.NewRouteContext(), m, r.URL.Path) {
			allowed = append(allowed, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	p := a.problem(r.Context(), &issuer.Error{Kind: issuer.KindInvalid, Code: "method_not_allowed", Message: "This path does not take that method."})
	p.Status = http.StatusMethodNotAllowed
	p.write(w)
}
