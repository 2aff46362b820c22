package api

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"chancery/issuer"
)

// binaryBody is the name of the field by which an input takes its body as it is.
const binaryBody = "RawBody"

// mostUploads is how many uploads are read at once: each is held in memory.
const mostUploads = 2

// takesBinary tells whether an operation's body is no JSON.
func takesBinary[I any]() bool {
	_, ok := reflect.TypeFor[I]().FieldByName(binaryBody)
	return ok
}

// describeArchives puts the kinds of archive into the contract.
func (a *API) describeArchives(operations ...string) {
	for _, item := range a.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put} {
			if op == nil || !slices.Contains(operations, op.OperationID) {
				continue
			}
			for _, m := range op.RequestBody.Content {
				op.RequestBody.Content = map[string]*huma.MediaType{"application/gzip": m, "application/zip": m, "application/octet-stream": m}
				break
			}
		}
	}
}

// binary reads a body that is no JSON before huma does. What may be sent is long and
// arrives slowly, so it has the deadline of its route, and few are read at once.
func (a *API) binary(rt route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		media, _, err := mime.ParseMediaType(hc.Header("Content-Type"))
		if op := hc.Operation(); err != nil || op.RequestBody.Content[media] == nil {
			var kinds []string
			for kind := range op.RequestBody.Content {
				kinds = append(kinds, kind)
			}
			slices.Sort(kinds)
			p := newProblem(hc.Context(), http.StatusUnsupportedMediaType, "unsupported_media_type", "The body is of a kind that is not taken here.")
			p.Hint = "Send Content-Type: " + strings.Join(kinds, ", ") + "."
			a.refuseProblem(hc, p)
			return
		}
		if by, ok := hc.Context().Value(callKey{}).(call); ok && !by.caller.Allows(rt.permission, issuer.Scope{}) {
			// What is refused in any case is not read; issuer refuses it and puts it on record.
			next(&bodyContext{humaContext: hc, body: strings.NewReader("-")})
			return
		}
		select {
		case a.uploads <- struct{}{}:
			defer func() { <-a.uploads }()
		default:
			a.refuse(hc, &issuer.Error{Kind: issuer.KindBusy, Code: "busy", Message: "Other uploads are being read.", Hint: "Try again in some seconds."})
			return
		}
		_, w := humachi.Unwrap(hc)
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(a.now().Add(rt.deadline))
		_ = control.SetWriteDeadline(a.now().Add(rt.deadline))
		raw, err := io.ReadAll(io.LimitReader(hc.BodyReader(), rt.body+1))
		switch {
		case err != nil:
			a.refuseProblem(hc, newProblem(hc.Context(), http.StatusBadRequest, "unreadable", "The request body could not be read."))
			return
		case int64(len(raw)) > rt.body:
			p := newProblem(hc.Context(), http.StatusRequestEntityTooLarge, "too_large", "The request body is too large.")
			p.Detail = fmt.Sprintf("At most %d bytes are accepted here.", rt.body)
			a.refuseProblem(hc, p)
			return
		}
		rec := recordOf(hc.Context())
		sum := sha256.Sum256(raw)
		rec.fingerprint = sha256.Sum256(append(rec.fingerprint[:], sum[:]...))
		next(&bodyContext{humaContext: hc, body: bytes.NewReader(raw)})
	}
}
