package issuer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"chancery/claims"
)

// CallerKind tells how a caller proved who they are.
type CallerKind string

// The kinds of caller. System is Chancery itself: dev's first objects, and its own
// credentials on the system account.
const (
	CallerPerson CallerKind = "person"
	CallerToken  CallerKind = "token"
	CallerSystem CallerKind = "system"
	// CallerUser is the holder of a user key who renews, CallerLink whoever used a link.
	CallerUser CallerKind = "user"
	CallerLink CallerKind = "link"
	// CallerHolder is the holder of an account's or operator's key, by what it signed.
	CallerHolder CallerKind = "holder"
)

// Caller is who asks. The zero value may do nothing.
type Caller struct {
	// ID is per_… or tok_…, Name what people call it.
	ID, Name string
	Kind     CallerKind
	Grants   []Grant
	// RequestID is the request in which the caller asks to read something: a denial is
	// put on record with it. A change has its own, see Op.
	RequestID string
}

// Tenant is the first place, in their order, that the caller has a grant on, as a key for
// counting what tenants use; empty for who has a grant on everything.
func (c Caller) Tenant() string {
	out := ""
	for _, g := range c.Grants {
		if g.Operator == "" {
			return ""
		}
		if at := g.Operator + "/" + g.Account; out == "" || at < out {
			out = at
		}
	}
	return out
}

// System returns the caller that is Chancery itself.
func System(name string) Caller {
	return Caller{ID: "system/" + name, Name: name, Kind: CallerSystem, Grants: Everything(RoleOwner)}
}

// Op is the circumstances of one change; every mutating method takes one.
type Op struct {
	Caller    Caller
	RequestID string
	// ExpectedVersion is the version the caller saw (If-Match); 0 does not ask.
	ExpectedVersion int64
	// DryRun stops after the plan: everything is checked, nothing is stored.
	DryRun bool
	// IdempotencyKey names the request: repeated within a day it is not done again but
	// answered as it was, without secrets. Fingerprint is a hash of what was asked, so
	// that another request with the key is refused.
	IdempotencyKey string
	Fingerprint    []byte
	// Override names the guards that are not to hold this change up.
	Override []Guard
	// Reason is free text for the audit log.
	Reason string
}

// maxNote is the longest note to an audit or ledger entry, in bytes.
const maxNote = 1024

// check returns the problems of what goes on record as it was sent.
func (o Op) check() claims.Problems {
	for _, g := range o.Override {
		if _, ok := guardText[g]; !ok {
			return claims.Problems{{Code: "unknown_guard", Detail: "A guard to override is one that a refusal named.", Blocking: true}}
		}
	}
	return append(claims.CheckText("/reason", o.Reason, maxNote), claims.CheckText("", o.IdempotencyKey, maxNote)...)
}

// Outcome is what a change came to.
type Outcome[T any] struct {
	// Value is the object after the change; of a dry run, as it would be.
	Value T
	Plan  Plan
	// Replayed tells that the request was answered before: Value is what it was then,
	// without secrets, and there is no plan.
	Replayed bool
}

// Plan says what a change does and to whom.
type Plan struct {
	// Changes is every field that changes, Summary the same for people.
	Changes []Change
	Summary []claims.FieldChange
	// Connections is how many live connections are closed at least, -1 if not known.
	Connections int
	// Blast is what becomes of the live connections; nil if not known.
	Blast *claims.Blast
	// Credentials is how many unexpired credentials stop working.
	Credentials int64
	// Reach is whom the edit of a template concerns; nil for other changes.
	Reach *Reach
	// Revived is how many unexpired credentials are accepted again.
	Revived  int64
	Warnings claims.Problems
}

// Change is one field that changes, in the words of the JWT.
type Change struct {
	// Path is a JSON pointer into the object.
	Path string `json:"path"`
	From any    `json:"from"`
	To   any    `json:"to"`
	// Text says it in a sentence, beside the first field that it speaks of.
	Text string `json:"text,omitempty"`
}

// narrate gives each change its sentence, if it has one: a list that only got
// another order is no change in words.
func narrate(changes []Change, summary []claims.FieldChange) []Change {
	for _, f := range summary {
		if n := spoken(changes, f); n >= 0 {
			changes[n].Text = strings.TrimPrefix(changes[n].Text+"; "+f.Sentence(), "; ")
		}
	}
	return changes
}

// spoken returns the place of the change that f speaks of, -1 for none: an entry of
// a list is found by its value, since removing one moves those after it.
func spoken(changes []Change, f claims.FieldChange) int {
	first := -1
	for n, c := range changes {
		if c.Path != f.Pointer && !strings.HasPrefix(c.Path, f.Pointer+"/") {
			continue
		}
		if first < 0 {
			first = n
		}
		if from, to := c.From, c.To; f.Before != "" && from == f.Before || f.After != "" && to == f.After {
			return n
		}
	}
	return first
}

// diff lists the fields in which two values differ when written as JSON.
func diff(before, after any) ([]Change, error) {
	a, err := flatten(before)
	if err != nil {
		return nil, err
	}
	b, err := flatten(after)
	if err != nil {
		return nil, err
	}
	paths := make([]string, 0, len(a)+len(b))
	for p := range a {
		paths = append(paths, p)
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var out []Change
	for _, p := range paths {
		if a[p] != b[p] {
			out = append(out, Change{Path: p, From: a[p], To: b[p]})
		}
	}
	return out, nil
}

func flatten(v any) (map[string]any, error) {
	out := map[string]any{}
	if v == nil {
		return out, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	walk(out, "", tree)
	return out, nil
}

func walk(out map[string]any, path string, v any) {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			walk(out, claims.Point(path, k), e)
		}
	case []any:
		for i, e := range x {
			walk(out, claims.Point(path, i), e)
		}
	default:
		out[path] = x
	}
}
