package resolver

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// decoded writes a JWT for people: header and claims with their keys in order, dates
// behind times, activation tokens inlined; then the signature.
func decoded(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("a JWT has 3 parts, not %d", len(parts))
	}
	var b strings.Builder
	for _, part := range parts[:2] {
		v, err := decodePart(part)
		if err != nil {
			return "", err
		}
		writeValue(&b, v, "", 0)
		b.WriteString("\n\r\n")
	}
	b.WriteString(parts[2] + "\n")
	return b.String(), nil
}

func decodePart(part string) (any, error) {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("reading base64: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return v, nil
}

// mostNested bounds tokens within tokens; a real one is at the first level.
const mostNested = 2

// writeValue writes a value of JSON, indented; nested counts the tokens around it.
func writeValue(b *strings.Builder, v any, indent string, nested int) {
	inner := indent + "    "
	switch x := v.(type) {
	case map[string]any:
		if len(x) == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteString("{\n")
		for i, key := range slices.Sorted(maps.Keys(x)) {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteString(inner)
			writeScalar(b, key)
			b.WriteString(": ")
			writeMember(b, key, x[key], inner, nested)
		}
		b.WriteString("\n" + indent + "}")
	case []any:
		if len(x) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteString("[\n")
		for i, item := range x {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteString(inner)
			writeValue(b, item, inner, nested)
		}
		b.WriteString("\n" + indent + "]")
	default:
		writeScalar(b, v)
	}
}

// writeMember writes the value of a key: a time with its date, a token decoded.
func writeMember(b *strings.Builder, key string, v any, indent string, nested int) {
	switch x := v.(type) {
	case json.Number:
		b.WriteString(x.String())
		if n, err := x.Int64(); err == nil && n > 0 && (key == "iat" || key == "exp" || key == "nbf") {
			b.WriteString(" (" + time.Unix(n, 0).UTC().Format(time.DateOnly) + ")")
		}
		return
	case string:
		if parts := strings.Split(x, "."); key == "token" && len(parts) == 3 && nested < mostNested {
			if inner, err := decodePart(parts[1]); err == nil {
				writeValue(b, inner, indent, nested+1)
				return
			}
		}
	}
	writeValue(b, v, indent, nested)
}

func writeScalar(b *strings.Builder, v any) {
	e := json.NewEncoder(&trimmed{b})
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a scalar that was read as JSON is written as such
}

// trimmed drops the newline that an encoder puts behind each value.
type trimmed struct{ b *strings.Builder }

func (t *trimmed) Write(p []byte) (int, error) {
	t.b.Write(bytes.TrimSuffix(p, []byte("\n")))
	return len(p), nil
}
