package resolver

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// help is what GET help answers.
const help = `# Account JWTs over HTTP

Everything is under /jwt/v1 for the default operator, and under /o/{operator}/jwt/v1
for each one, by its name or public key. HEAD is answered wherever GET is.

## GET /jwt/v1/accounts/{public key}

The current JWT of the account (application/jwt), byte for byte as it was signed. 404
when there is none. The ETag is a hash of the bytes; If-None-Match answers 304.

* ?text=true     as text/plain
* ?decode=true   decoded, for people: header, claims, signature
* ?check=true    404 when the JWT has expired
* ?notify=true   also pushes the JWT to every server once more; needs a token

## GET /jwt/v1/accounts/

200. nats-servers ask for it when they start.

## GET /jwt/v1/operator

The JWT of the operator; ?text=true and ?decode=true as above.

## GET /jwt/v1/activations/{hash}

The newest unexpired activation token that was issued here under that hash, with or
without = at its end; ?text=true and ?decode=true as above.

## GET /jwt/v1/pack

All unexpired account JWTs, one "{public key}|{JWT}" on each line, by key; needs a token,
as Bearer or as the password of Basic.

* ?max=N         at most N, up to 10000, which is also the default
* ?after={key}   what comes after that key; the Link header of an answer that is not the
                 last one leads there (rel="next")

## GET /healthz

200 as long as the process answers.

Values are compared with "true" whatever their case.
`

// flag tells whether a parameter is "true", in any case.
func flag(q url.Values, name string) bool { return strings.EqualFold(q.Get(name), "true") }

// accountAs answers a read of an account with parameters. The first that is given of
// text, decode, check and notify decides, as in nats-account-server.
func (h *handler) accountAs(w http.ResponseWriter, r *http.Request, at place) {
	q := r.URL.Query()
	if q.Get("jti") != "" {
		text(w, r, http.StatusNotImplemented, "lookup by jti is no longer supported\n")
		return
	}
	e := h.account(r, at)
	if e == nil {
		h.missing(w, r)
		return
	}
	if h.readable(w, r, q, e.token) {
		return
	}
	if flag(q, "check") {
		if exp := expiryOf(e.token); exp > 0 && exp < h.now().Unix() {
			h.count.unknown.Inc()
			text(w, r, http.StatusNotFound, "")
			return
		}
	}
	// As with nats-account-server, what is not modified is not sent to servers either.
	if flag(q, "notify") && !matches(r.Header[headerIfNoneMatch], e.etag[0]) && !h.notify(w, r, at.id, e) {
		return
	}
	h.serve(w, r, &e.document)
}

// notify has the account pushed once more; false when it answered that it does not.
func (h *handler) notify(w http.ResponseWriter, r *http.Request, id string, e *entry) bool {
	if !h.trusts(w, r, "notify") {
		return false
	}
	if h.paths.Notify == nil {
		text(w, r, http.StatusForbidden, "notify is not possible here: this replica pushes nothing.\n")
		return false
	}
	if err := h.paths.Notify(r.Context(), e.operator.Value(), id); err != nil {
		text(w, r, http.StatusInternalServerError, "error sending notification of change\n")
		return false
	}
	return true
}

// operator answers with the operator's JWT.
func (h *handler) operator(w http.ResponseWriter, r *http.Request, at place) {
	switch {
	case at.served == nil || at.served.token == "":
		h.count.unknown.Inc()
		text(w, r, http.StatusNotFound, "404 page not found\n")
	case r.URL.RawQuery != "" && h.readable(w, r, r.URL.Query(), at.served.token):
	default:
		h.serve(w, r, &at.served.document)
	}
}

// readable answers with the JWT as people read it, if that is asked for.
func (h *handler) readable(w http.ResponseWriter, r *http.Request, q url.Values, token string) bool {
	switch {
	case flag(q, "text"):
		h.count.found.Inc()
		text(w, r, http.StatusOK, token)
	case flag(q, "decode"):
		if !begin(w, r, h.decoding) {
			return true
		}
		defer end(h.decoding)
		_ = http.NewResponseController(w).SetWriteDeadline(h.now().Add(decodedWait)) // else the server's own holds
		out, err := decoded(token)
		if err != nil {
			text(w, r, http.StatusInternalServerError, "error decoding claim\n")
			return true
		}
		h.count.found.Inc()
		text(w, r, http.StatusOK, out)
	default:
		return false
	}
	return true
}

// begin waits for a place among the costly answers, which end must give back; false when
// the client went away.
func begin(w http.ResponseWriter, r *http.Request, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-r.Context().Done():
		text(w, r, http.StatusServiceUnavailable, "")
		return false
	}
}

func end(places chan struct{}) { <-places }

// expiryOf reads when a JWT ends, 0 for never, without a check of its signature: it is
// one of ours.
func expiryOf(token string) int64 {
	var c struct {
		Expires int64 `json:"exp"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &c) // what is no JWT does not end
		}
	}
	return c.Expires
}
