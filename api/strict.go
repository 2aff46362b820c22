package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"chancery/claims"
)

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 32

// strict reads the body before huma does and refuses what Go's decoder lets pass:
// keys that are repeated, unknown or in another case, trailing data, text that is
// not UTF-8, and depth without end. Without a limit the route takes no body.
func (a *API) strict(limit int64) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		op := hc.Operation()
		if limit == 0 || op.RequestBody == nil {
			next(hc)
			return
		}
		if p := a.checkType(hc, op); p != nil {
			a.refuseProblem(hc, p)
			return
		}
		raw, err := io.ReadAll(io.LimitReader(hc.BodyReader(), limit+1))
		if err != nil {
			a.refuseProblem(hc, newProblem(hc.Context(), http.StatusBadRequest, "unreadable", "The request body could not be read."))
			return
		}
		if int64(len(raw)) > limit {
			p := newProblem(hc.Context(), http.StatusRequestEntityTooLarge, "too_large", "The request body is too large.")
			p.Detail = fmt.Sprintf("At most %d bytes are accepted here.", limit)
			a.refuseProblem(hc, p)
			return
		}
		if f := checkJSON(raw, bodySchema(op), a.huma.OpenAPI().Components.Schemas); f != nil {
			p := newProblem(hc.Context(), http.StatusBadRequest, "malformed", "The request body is not the JSON that is expected here.")
			if f.Code == codeType {
				p = newProblem(hc.Context(), http.StatusUnprocessableEntity, "invalid", "The request cannot be accepted as it is.")
			}
			p.Errors = []FieldError{*f}
			a.refuseProblem(hc, p)
			return
		}
		rec := recordOf(hc.Context())
		rec.fingerprint = sha256.Sum256(append(rec.fingerprint[:], raw...))
		next(&bodyContext{humaContext: hc, body: bytes.NewReader(raw)})
	}
}

// bodyContext is a huma.Context whose body was read already.
type bodyContext struct {
	humaContext
	body io.Reader
}

// humaContext has another name than its method Context.
type humaContext = huma.Context

// BodyReader implements huma.Context.
func (c *bodyContext) BodyReader() io.Reader { return c.body }

func (a *API) refuseProblem(hc huma.Context, p *Problem) {
	hc.SetHeader("Content-Type", problemType)
	hc.SetStatus(p.Status)
	p.writeTo(hc.BodyWriter())
}

func (a *API) checkType(hc huma.Context, op *huma.Operation) *Problem {
	media, _, err := mime.ParseMediaType(hc.Header("Content-Type"))
	if err == nil && (media == "application/json" || op.RequestBody.Content[media] != nil) {
		return nil
	}
	p := newProblem(hc.Context(), http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be JSON.")
	p.Hint = "Send Content-Type: application/json."
	return p
}

func bodySchema(op *huma.Operation) *huma.Schema {
	for _, m := range op.RequestBody.Content {
		return m.Schema
	}
	return nil
}

// reader walks over one JSON document.
type reader struct {
	d        *json.Decoder
	registry huma.Registry
}

// checkJSON returns the first fault of the document's form, or nil. What the
// values may be is checked against the schema afterwards.
func checkJSON(raw []byte, schema *huma.Schema, registry huma.Registry) *FieldError {
	if !utf8.Valid(raw) {
		return &FieldError{Code: "invalid_utf8", Detail: "The body must be UTF-8."}
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return &FieldError{Code: "required", Detail: "A JSON body is needed."}
	}
	if hasLoneSurrogate(raw) {
		return &FieldError{Code: "invalid_utf8", Detail: "A string holds half of a surrogate pair."}
	}
	r := &reader{d: json.NewDecoder(bytes.NewReader(raw)), registry: registry}
	r.d.UseNumber()
	if f := r.value("", schema, 0); f != nil {
		return f
	}
	if _, err := r.d.Token(); !errors.Is(err, io.EOF) {
		return &FieldError{Code: "trailing_data", Detail: "Something follows the JSON document."}
	}
	return nil
}

func (r *reader) value(pointer string, schema *huma.Schema, depth int) *FieldError {
	if depth > maxDepth {
		return &FieldError{Pointer: pointer, Code: "too_deep", Detail: "Objects and arrays may be nested 32 deep."}
	}
	t, err := r.d.Token()
	if err != nil {
		return &FieldError{Pointer: pointer, Code: "invalid_json", Detail: "This is not valid JSON."}
	}
	for schema != nil && schema.Ref != "" {
		schema = r.registry.SchemaFromRef(schema.Ref)
	}
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			return r.object(pointer, schema, depth)
		}
		return r.array(pointer, schema, depth)
	case json.Number:
		return number(pointer, v, schema)
	case nil:
		if schema != nil && !schema.Nullable {
			return &FieldError{Pointer: pointer, Code: codeType, Detail: "This cannot be null; leave the field out instead."}
		}
	}
	return nil
}

// codeType is the code of a fault of type: the form is right, so the answer is 422
// and not 400.
const codeType = "wrong_type"

// number refuses where a whole number is expected what Go would fail to store.
func number(pointer string, n json.Number, schema *huma.Schema) *FieldError {
	if schema == nil || schema.Type != huma.TypeInteger {
		return nil
	}
	if _, err := strconv.ParseInt(n.String(), 10, 64); err != nil {
		return &FieldError{Pointer: pointer, Code: codeType, Detail: "This must be a whole number of at most 63 bits, written without exponent."}
	}
	return nil
}

func (r *reader) object(pointer string, schema *huma.Schema, depth int) *FieldError {
	var seen []string
	for r.d.More() {
		t, err := r.d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return &FieldError{Pointer: pointer, Code: "invalid_json", Detail: "This is not valid JSON."}
		}
		child, f := property(pointer, key, schema)
		if f != nil {
			return f
		}
		at := claims.Point(pointer, key)
		if slices.Contains(seen, key) {
			return &FieldError{Pointer: at, Code: "duplicate_key", Detail: "This field is there twice."}
		}
		seen = append(seen, key)
		if f := r.value(at, child, depth+1); f != nil {
			return f
		}
	}
	return r.end(pointer)
}

// property returns the schema of a field. A key that is not known is the caller's
// own text and is not repeated: the pointer leads to the object that holds it.
func property(pointer, key string, schema *huma.Schema) (*huma.Schema, *FieldError) {
	if schema == nil || len(schema.Properties) == 0 {
		if s, ok := additional(schema); ok {
			return s, nil
		}
		return nil, nil
	}
	if child, ok := schema.Properties[key]; ok {
		return child, nil
	}
	for name := range schema.Properties {
		if strings.EqualFold(name, key) {
			return nil, &FieldError{Pointer: claims.Point(pointer, name), Code: "unknown_field", Detail: "Field names are written in lower case: this one is " + name + "."}
		}
	}
	return nil, &FieldError{Pointer: pointer, Code: "unknown_field", Detail: "This object has a field that does not exist here; it takes " + strings.Join(fieldNames(schema), ", ") + "."}
}

func additional(schema *huma.Schema) (*huma.Schema, bool) {
	if schema == nil {
		return nil, false
	}
	s, ok := schema.AdditionalProperties.(*huma.Schema)
	return s, ok
}

func fieldNames(schema *huma.Schema) []string {
	names := make([]string, 0, len(schema.Properties))
	for n := range schema.Properties {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (r *reader) array(pointer string, schema *huma.Schema, depth int) *FieldError {
	var items *huma.Schema
	if schema != nil {
		items = schema.Items
	}
	for n := 0; r.d.More(); n++ {
		if f := r.value(claims.Point(pointer, n), items, depth+1); f != nil {
			return f
		}
	}
	return r.end(pointer)
}

func (r *reader) end(pointer string) *FieldError {
	if _, err := r.d.Token(); err != nil {
		return &FieldError{Pointer: pointer, Code: "invalid_json", Detail: "This is not valid JSON."}
	}
	return nil
}

// hasLoneSurrogate tells whether a \u escape is half of a pair, which Go's decoder
// replaces silently.
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i+5 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if raw[i+1] != 'u' {
			i++
			continue
		}
		switch surrogate(raw[i+2]|0x20, raw[i+3]|0x20) {
		case 'h':
			if i+11 >= len(raw) || raw[i+6] != '\\' || raw[i+7] != 'u' || surrogate(raw[i+8]|0x20, raw[i+9]|0x20) != 'l' {
				return true
			}
			i += 11
		case 'l':
			return true
		default:
			i += 5
		}
	}
	return false
}

func surrogate(a, b byte) byte {
	switch {
	case a != 'd':
		return 0
	case b == '8' || b == '9' || b == 'a' || b == 'b':
		return 'h'
	case b >= 'c' && b <= 'f':
		return 'l'
	}
	return 0
}
