package api

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Omit is a field of a request that may be absent, null or a value. In a merge
// patch (RFC 7396) the three mean: leave it, put it back to its default, set it.
type Omit[T any] struct {
	Set, Null bool
	Value     T
}

// UnmarshalJSON implements json.Unmarshaler; it is not called for an absent field.
func (o *Omit[T]) UnmarshalJSON(b []byte) error {
	o.Set = true
	if bytes.Equal(b, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.Value)
}

// Schema implements huma.SchemaProvider.
func (o Omit[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), false, "") // a reference could not be null
	s.Nullable = true
	return &s
}

// onto writes the field onto dst as a merge patch would.
func (o Omit[T]) onto(dst *T, reset T) {
	switch {
	case !o.Set:
	case o.Null:
		*dst = reset
	default:
		*dst = o.Value
	}
}
