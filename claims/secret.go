package claims

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that must not reach a log, an error, an event or an answer by
// accident: every way of printing it shows "[redacted]". Reveal is the one way out.
// A Secret in an unexported field of a struct is out of its methods' reach when
// fmt prints the struct, so the text stands behind a pointer, which fmt does not
// follow.
type Secret struct{ text *string }

const redacted = "[redacted]"

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal returns the text. Each call is a place to review.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells whether nothing is held.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalJSON implements json.Unmarshaler: a secret does not survive being
// written, so what is read is empty.
func (s *Secret) UnmarshalJSON([]byte) error {
	s.text = nil
	return nil
}
