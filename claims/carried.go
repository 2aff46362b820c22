package claims

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"
)

// Carried is what a JWT from elsewhere holds that nats-io/jwt has no words for, so
// that a JWT which takes its place holds it too. It is stored as JSON.
type Carried []CarriedField

// CarriedField is one unknown field.
type CarriedField struct {
	// Pointer is where it stood, as Token.Unknown has it.
	Pointer string `json:"pointer"`
	// Steps lead to it from the payload, or from the header after a first step header.
	Steps []CarriedStep `json:"steps"`
	// Value is null for what cannot be written again: a number in a scoped signing key
	// with more digits than are kept, or a signing key that is none.
	Value json.RawMessage `json:"value,omitempty"`
}

// CarriedStep is a step into an object, or into an element of a list.
type CarriedStep struct {
	// Field is a member of an object.
	Field string `json:"field,omitempty"`
	// Element is a signing key, or a hash of what is known of the element: places in a
	// list move, and what belonged to another element must not come to this one.
	Element string `json:"element,omitempty"`
}

// headerField leads to the header of a JWT instead of its payload.
const headerField = "header"

// element is a step of a walk to the signing key of that name.
type element string

// found is an unknown field as a walk found it.
type found struct {
	pointer string
	// way holds fields as string, places in lists as int, signing keys as element.
	way []any
	raw json.RawMessage
}

// Carried returns what the JWT holds beside its claims; nil if there is nothing.
func (t Token) Carried() (Carried, error) {
	if len(t.Unknown) == 0 {
		return nil, nil
	}
	c, err := jwt.Decode(t.Text)
	if err != nil {
		return nil, errors.New("the JWT cannot be read")
	}
	chunks, err := split(t.Text)
	if err != nil {
		return nil, err
	}
	head, errHead := encoding.DecodeString(chunks[0])
	payload, errPayload := encoding.DecodeString(chunks[1])
	if err := errors.Join(errHead, errPayload); err != nil {
		return nil, errors.New("the JWT cannot be read")
	}
	return carriedIn(head, payload, c)
}

// carriedIn is Carried of the parts of a JWT and its claims.
func carriedIn(head, payload []byte, c jwt.Claims) (Carried, error) {
	kind, version, err := identify(payload)
	if err != nil {
		return nil, err
	}
	_, list, err := unknownFields(head, payload, kind, version)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return carriedOf(list, c)
}

// carriedOf turns places in lists into what is known of the elements there.
func carriedOf(list []found, c jwt.Claims) (Carried, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding claims: %w", err)
	}
	known, err := parseTree(raw)
	if err != nil {
		return nil, err
	}
	var out Carried
	for _, f := range list {
		field := CarriedField{Pointer: f.pointer, Value: compact(f.raw)}
		at := known
		for _, step := range f.way {
			switch s := step.(type) {
			case string:
				field.Steps = append(field.Steps, CarriedStep{Field: s})
				at = at.member(s)
			case element:
				field.Steps = append(field.Steps, CarriedStep{Element: string(s)})
				at = at.element(string(s))
			case int:
				if at == nil || s >= len(at.elements) {
					at, field.Value = nil, nil
					continue
				}
				at = at.elements[s]
				field.Steps = append(field.Steps, CarriedStep{Element: at.fingerprint()})
			}
		}
		out = append(out, field)
	}
	return out, nil
}

func compact(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}

// text writes the fields, to be compared.
func (c Carried) text() (string, error) {
	if len(c) == 0 {
		return "", nil
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("writing unknown fields: %w", err)
	}
	return string(raw), nil
}

// Pointers returns where the fields stood.
func (c Carried) Pointers() []string {
	var out []string
	for _, f := range c {
		out = append(out, f.Pointer)
	}
	return out
}

// Carrying returns the claims with the unknown fields of the JWT that theirs takes the
// place of. lost are the pointers of those that have no place in it: of an entry of a
// list that is not in it any more, or not as it was.
func (c Checked) Carrying(carried Carried) (out Checked, lost []string, err error) {
	if len(carried) == 0 {
		return c, nil, nil
	}
	bare, _ := stamped(c.claims, Stamp{})
	payload, err := marshal(bare)
	if err != nil {
		return c, nil, fmt.Errorf("encoding claims: %w", err)
	}
	c.carried = carried
	_, _, lost, err = carried.merge(payload)
	return c, lost, err
}

// merge writes the fields into a payload and the header of its JWT.
func (c Carried) merge(payload []byte) (head string, merged []byte, lost []string, err error) {
	body, err := parseTree(payload)
	if err != nil {
		return "", nil, nil, err
	}
	top, err := parseTree([]byte(joseHeader))
	if err != nil {
		return "", nil, nil, err
	}
	// The places are all found before anything is added, which would change elements.
	type addition struct {
		to    *tree
		name  string
		value json.RawMessage
	}
	var list []addition
	for _, f := range c {
		to, steps := body, f.Steps
		if len(steps) > 0 && steps[0].Field == headerField {
			to, steps = top, steps[1:]
		}
		gone := false
		for len(steps) > 1 && to != nil {
			to, gone = to.step(steps[0]), IsPublicKey(KindAccount, steps[0].Element)
			steps = steps[1:]
		}
		if to == nil && gone {
			continue // with its signing key, as a whole
		}
		if to == nil || !to.object || f.Value == nil || len(steps) == 0 || steps[0].Field == "" {
			lost = append(lost, f.Pointer)
			continue
		}
		list = append(list, addition{to, steps[0].Field, f.Value})
	}
	for _, a := range list {
		if a.to.member(a.name) == nil { // else nats-io/jwt knows it by now
			a.to.members = append(a.to.members, member{a.name, &tree{leaf: a.value}})
		}
	}
	return encoding.EncodeToString(top.append(nil)), body.append(nil), lost, nil
}

// tree is JSON whose objects keep their order.
type tree struct {
	object, list bool
	members      []member
	elements     []*tree
	leaf         json.RawMessage
}

type member struct {
	name  string
	value *tree
}

func parseTree(raw json.RawMessage) (*tree, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, errNotJSON
	}
	t := &tree{object: raw[0] == '{', list: raw[0] == '['}
	if !t.object && !t.list {
		t.leaf = raw
		return t, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	for dec.More() {
		name := ""
		if t.object {
			token, err := dec.Token()
			if err != nil {
				return nil, errNotJSON
			}
			name, _ = token.(string)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotJSON
		}
		below, err := parseTree(value)
		if err != nil {
			return nil, err
		}
		if t.object {
			t.members = append(t.members, member{name, below})
		} else {
			t.elements = append(t.elements, below)
		}
	}
	return t, nil
}

// append writes the tree without white space.
func (t *tree) append(out []byte) []byte {
	switch {
	case t.object:
		out = append(out, '{')
		for n, m := range t.members {
			if n > 0 {
				out = append(out, ',')
			}
			name, _ := json.Marshal(m.name) // a string always can be
			out = m.value.append(append(append(out, name...), ':'))
		}
		return append(out, '}')
	case t.list:
		out = append(out, '[')
		for n, e := range t.elements {
			if n > 0 {
				out = append(out, ',')
			}
			out = e.append(out)
		}
		return append(out, ']')
	}
	return append(out, t.leaf...)
}

func (t *tree) member(name string) *tree {
	if t == nil {
		return nil
	}
	if n := slices.IndexFunc(t.members, func(m member) bool { return m.name == name }); n >= 0 {
		return t.members[n].value
	}
	return nil
}

// element returns the signing key of that name, or the element of that fingerprint.
func (t *tree) element(which string) *tree {
	if t == nil {
		return nil
	}
	n := slices.IndexFunc(t.elements, func(e *tree) bool {
		if key := e.member("key"); key != nil && IsPublicKey(KindAccount, which) {
			return string(key.leaf) == `"`+which+`"`
		}
		return e.fingerprint() == which
	})
	if n < 0 {
		return nil
	}
	return t.elements[n]
}

func (t *tree) step(s CarriedStep) *tree {
	if s.Field != "" {
		return t.member(s.Field)
	}
	return t.element(s.Element)
}

// fingerprint names what the tree holds, whatever the order of its fields.
func (t *tree) fingerprint() string {
	sum := sha256.Sum256(t.sorted().append(nil))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

func (t *tree) sorted() *tree {
	out := &tree{object: t.object, list: t.list, leaf: t.leaf}
	for _, m := range t.members {
		out.members = append(out.members, member{m.name, m.value.sorted()})
	}
	slices.SortFunc(out.members, func(a, b member) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	for _, e := range t.elements {
		out.elements = append(out.elements, e.sorted())
	}
	return out
}
