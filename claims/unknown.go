package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// maxDepth is how deep objects and arrays of a JWT may nest; the vocabulary of
// nats-io/jwt needs 7.
const maxDepth = 64

var (
	errRepeated = errors.New("the JWT repeats a field of one object, which two readers may read differently")
	errTooDeep  = errors.New("the JWT nests its fields too deeply")
	errNotJSON  = errors.New("the payload of the JWT is not JSON")
)

// The payloads of version 1 that differ: nats-io/jwt keeps its own types for them
// to itself. What it drops while lifting them to version 2 is left out here, and
// so counts as unknown.
type (
	payloadV1 struct {
		jwt.ClaimsData
		Type          jwt.ClaimType `json:"type"`
		Tags          jwt.TagList   `json:"tags"`
		IssuerAccount string        `json:"issuer_account"`
	}
	operatorV1 struct {
		payloadV1
		Nats struct {
			SigningKeys         jwt.StringList `json:"signing_keys"`
			AccountServerURL    string         `json:"account_server_url"`
			OperatorServiceURLs jwt.StringList `json:"operator_service_urls"`
			SystemAccount       string         `json:"system_account"`
		} `json:"nats"`
	}
	accountV1 struct {
		payloadV1
		Nats struct {
			Imports jwt.Imports `json:"imports"`
			Exports jwt.Exports `json:"exports"`
			Limits  struct {
				jwt.NatsLimits
				jwt.AccountLimits
			} `json:"limits"`
			SigningKeys jwt.StringList     `json:"signing_keys"`
			Revocations jwt.RevocationList `json:"revocations"`
		} `json:"nats"`
	}
	userV1 struct {
		payloadV1
		Nats struct {
			jwt.Permissions
			jwt.Limits
			BearerToken bool `json:"bearer_token"`
		} `json:"nats"`
	}
	activationV1 struct {
		payloadV1
		Nats struct {
			ImportSubject jwt.Subject    `json:"subject"`
			ImportType    jwt.ExportType `json:"type"`
		} `json:"nats"`
	}
)

// payloadType returns the type that a payload of the kind and version is decoded
// into, nil when there is none.
func payloadType(kind jwt.ClaimType, version int) reflect.Type {
	v1 := version == 1
	switch kind {
	case jwt.OperatorClaim:
		return either[operatorV1, jwt.OperatorClaims](v1)
	case jwt.AccountClaim:
		return either[accountV1, jwt.AccountClaims](v1)
	case jwt.UserClaim:
		return either[userV1, jwt.UserClaims](v1)
	case jwt.ActivationClaim:
		return either[activationV1, jwt.ActivationClaims](v1)
	case jwt.AuthorizationRequestClaim:
		return either[payloadV1, jwt.AuthorizationRequestClaims](v1)
	case jwt.AuthorizationResponseClaim:
		return either[payloadV1, jwt.AuthorizationResponseClaims](v1)
	}
	return nil
}

func either[A, B any](first bool) reflect.Type {
	if first {
		return reflect.TypeFor[A]()
	}
	return reflect.TypeFor[B]()
}

// unknownFields returns the pointers of what is lost when header and payload are
// decoded into nats-io/jwt's types and written again.
func unknownFields(head, payload []byte, kind jwt.ClaimType, version int) ([]string, []found, error) {
	h := walker{path: []any{headerField}, way: []any{headerField}}
	if err := h.document(head, reflect.TypeFor[jwt.Header]()); err != nil {
		return nil, nil, err
	}
	w := walker{unknown: h.unknown, found: h.found}
	if err := w.document(payload, payloadType(kind, version)); err != nil {
		return nil, nil, err
	}
	slices.Sort(w.unknown)
	return slices.Compact(w.unknown), w.found, nil
}

// walker goes through JSON beside the type it is decoded into.
type walker struct {
	dec     *json.Decoder
	path    []any
	unknown []string
	// way is path with the names that nats-io/jwt writes, and signing keys by their key;
	// found is what is unknown, with its values.
	way   []any
	found []found
	// scope tells that the walk is within a scoped signing key, whose numbers
	// nats-io/jwt reads as floating point first.
	scope bool
}

func (w *walker) document(raw []byte, t reflect.Type) error {
	w.dec = json.NewDecoder(bytes.NewReader(raw))
	w.dec.UseNumber()
	return w.value(t)
}

// lost notes where the walk is. A field's name is the JWT's own and may be anything.
func (w *walker) lost(raw json.RawMessage) {
	w.found = append(w.found, found{pointer: Redact(strings.ToValidUTF8(Point("", w.path...), "\ufffd")), way: slices.Clone(w.way), raw: raw})
	w.unknown = append(w.unknown, Redact(strings.ToValidUTF8(Point("", w.path...), "\ufffd")))
}

// step reads one value one step further down; called is what nats-io/jwt calls it.
func (w *walker) step(name, called any, read func() error) error {
	if len(w.path) >= maxDepth {
		return errTooDeep
	}
	w.path, w.way = append(w.path, name), append(w.way, called)
	err := read()
	w.path, w.way = w.path[:len(w.path)-1], w.way[:len(w.way)-1]
	return err
}

// value reads one value whose type is t, nil when nobody knows it.
func (w *walker) value(t reflect.Type) error {
	token, err := w.dec.Token()
	if err != nil {
		return errNotJSON
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return w.object(t)
		}
		return w.array(t)
	case json.Number:
		if w.scope && !exact(v) {
			w.lost(nil)
		}
	}
	return nil
}

// exact tells whether an integer survives being read as floating point.
func exact(n json.Number) bool {
	i, err := n.Int64()
	return err == nil && exactInt(i)
}

func exactInt(i int64) bool {
	f := float64(i)
	return f < math.MaxInt64 && int64(f) == i
}

func (w *walker) array(t reflect.Type) error {
	var elem reflect.Type
	keys := t == reflect.TypeFor[jwt.SigningKeys]()
	if t != nil && t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	seen := map[string]bool{}
	for i := 0; w.dec.More(); i++ {
		err := w.step(i, i, func() error {
			if keys {
				return w.signingKey(seen)
			}
			return w.value(elem)
		})
		if err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return notJSON(err)
}

// signingKey reads a key or a scope; of one key twice only the last is kept, and
// what is neither text nor an object is dropped.
func (w *walker) signingKey(seen map[string]bool) error {
	var raw json.RawMessage
	if err := w.dec.Decode(&raw); err != nil {
		return errNotJSON
	}
	var scope struct {
		Key string `json:"key"`
	}
	switch raw[0] {
	case '"':
		_ = json.Unmarshal(raw, &scope.Key) // it is JSON: the decoder read it
	case '{':
		_ = json.Unmarshal(raw, &scope) // likewise, and nats-io/jwt has read the key
		inner := walker{path: w.path, way: append(slices.Clone(w.way[:len(w.way)-1]), element(scope.Key)), scope: true}
		if err := inner.document(raw, reflect.TypeFor[jwt.UserScope]()); err != nil {
			return err
		}
		w.unknown, w.found = append(w.unknown, inner.unknown...), append(w.found, inner.found...)
	default:
		w.lost(nil)
		return nil
	}
	if seen[scope.Key] {
		w.lost(nil)
	}
	seen[scope.Key] = true
	return nil
}

func (w *walker) object(t reflect.Type) error {
	fields := jsonFields(t)
	seen := map[string]bool{}
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return errNotJSON
		}
		name, _ := token.(string)
		f, known := fields.find(name)
		key, next := name, f.t
		switch {
		case known:
			key = f.name // two spellings of one field are one field to encoding/json
		case t != nil && t.Kind() == reflect.Map:
			next, known = t.Elem(), true
		}
		if seen[key] {
			return errRepeated
		}
		seen[key] = true
		err = w.step(name, key, func() error {
			if t == nil || known {
				return w.value(next)
			}
			return w.keep()
		})
		if err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return notJSON(err)
}

// keep takes note of a value that nobody knows, and looks for what must not be in one.
func (w *walker) keep() error {
	var raw json.RawMessage
	if err := w.dec.Decode(&raw); err != nil {
		return errNotJSON
	}
	w.lost(raw)
	inner := walker{path: w.path, way: w.way, scope: w.scope}
	err := inner.document(raw, nil)
	// A number in a scope that loses digits goes with the value that it is in.
	w.unknown = append(w.unknown, inner.unknown...)
	return err
}

func notJSON(err error) error {
	if err != nil {
		return errNotJSON
	}
	return nil
}

type jsonField struct {
	name string
	t    reflect.Type
}

type fieldList []jsonField

// find prefers the exact name and else takes any case, as encoding/json does.
func (l fieldList) find(name string) (jsonField, bool) {
	for _, f := range l {
		if f.name == name {
			return f, true
		}
	}
	for _, f := range l {
		if strings.EqualFold(f.name, name) {
			return f, true
		}
	}
	return jsonField{}, false
}

// jsonFields returns the fields of a struct under their names in JSON, those of
// embedded structs after its own, which hide them.
func jsonFields(t reflect.Type) fieldList {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var own, embedded fieldList
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			embedded = append(embedded, jsonFields(f.Type)...)
			continue
		}
		own = append(own, jsonField{name, f.Type})
	}
	return append(own, embedded...)
}
