package claims

import (
	"iter"
	"regexp"
	"slices"
	"strings"
)

// maxExpansions is into how many subjects a nats-server expands one list
// (maxPermTemplateSubjectExpansions).
const maxExpansions = 4096

const expandsTooFarDetail = "With these tags the template stands for more than 4,096 subjects in one list, which a nats-server refuses. Use fewer values of a tag."

// mustacheRE finds template functions as a nats-server does. It takes more than
// functionRE: what it finds and is no function gets the connection refused.
var mustacheRE = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// expander puts what is known of one user into the subjects of a template, as
// nats-server's processUserPermissionsTemplate does when the user connects.
type expander struct {
	name, subject, accountName, accountSubject string
	tags, accountTags                          []string
}

// entry is one subject on its way from a list into a rule.
type entry struct{ subject, source, pointer string }

// expansion is what one list of a template comes to.
type expansion struct {
	entries []entry
	dropped []Dropped
	// count is how many subjects the template functions stand for.
	count   int
	refusal *Problem
}

// entries returns a list as it is written.
func entries(pointer string, list []string) []entry {
	out := make([]entry, 0, len(list))
	for i, s := range list {
		out = append(out, entry{s, s, Point(pointer, i)})
	}
	return out
}

// expand expands a list. One function makes templates of the whole list: from
// then on what is no valid subject is dropped, or refused in a deny list, and that
// goes for a subject with its queue group as well.
func (x expander) expand(pointer string, list []string, deny bool) expansion {
	if !slices.ContainsFunc(list, mustacheRE.MatchString) {
		return expansion{entries: entries(pointer, list)}
	}
	var out expansion
	for _, e := range entries(pointer, list) {
		if out.refusal = x.expandOne(&out, e, deny); out.refusal != nil {
			return out
		}
	}
	return out
}

// expandOne adds the subjects of one entry, and returns why a nats-server refuses
// the connection instead.
func (x expander) expandOne(out *expansion, e entry, deny bool) *Problem {
	refusal := func(code, detail string) *Problem {
		p := blocking(e.pointer, code, detail)
		return &p
	}
	functions := mustacheRE.FindAllString(e.source, -1)
	values := make([][]string, len(functions))
	tagged, why := false, "With this user's values it is no valid subject, so a nats-server drops it."
	if _, queue, ok := splitQueue(e.source); ok && queue != "" {
		why = noQueueDetail
	}
	for i, f := range functions {
		v, tag, known := x.values(f)
		switch {
		case !known:
			return refusal("unknown_function", "The template uses a function that no nats-server knows, so it refuses every connection. "+functionsDetail)
		case tag == nil:
		case len(v) == 0 && deny:
			return refusal("missing_tag", tag.missing(true))
		case len(v) == 0:
			v, why = []string{" "}, tag.missing(false)
		}
		values[i], tagged = v, tagged || tag != nil
	}
	count := 1
	if tagged {
		// The server asks before it drops anything, and only where a tag is used.
		if count = product(values); count > maxExpansions || len(out.entries) > maxExpansions-count {
			return refusal("too_many", expandsTooFarDetail)
		}
	}
	if len(functions) > 0 {
		out.count += count
	}
	dropped := false
	for subject := range fill(e.source, functions, values) {
		switch {
		case validSubject(subject):
			out.entries = append(out.entries, entry{subject, e.source, e.pointer})
		case deny:
			return refusal("invalid_subject", "With this user's values a deny rule of the template is no valid subject, so a nats-server refuses the connection.")
		case !dropped:
			dropped = true
			out.dropped = append(out.dropped, Dropped{Source: e.source, Pointer: e.pointer, Why: why})
		}
	}
	return nil
}

// tagUse is a use of tag(key) or account-tag(key).
type tagUse struct{ key, whose string }

func (t tagUse) missing(deny bool) string {
	if deny {
		return "The template needs the tag " + Redact(t.key) + ":… of the " + t.whose + " in a deny rule; without it a nats-server refuses the connection."
	}
	return "The template uses the tag " + Redact(t.key) + ":… of the " + t.whose + "; without it the allow rules that use it are dropped."
}

// values returns what a function, with its braces, stands for; tag is not nil for
// tag(…) and account-tag(…), whose values may be none or many. Letters match in
// either case, but TAG(x) asks for a tag of the key "tag(x".
func (x expander) values(function string) (values []string, tag *tagUse, known bool) {
	op := strings.TrimSpace(function[2 : len(function)-2])
	for _, f := range []struct{ name, value string }{
		{"name()", x.name}, {"subject()", x.subject}, {"account-name()", x.accountName}, {"account-subject()", x.accountSubject},
	} {
		if strings.EqualFold(f.name, op) {
			return []string{f.value}, nil, true
		}
	}
	for _, f := range []struct {
		prefix, whose string
		tags          []string
	}{{"tag(", "user", x.tags}, {"account-tag(", "account", x.accountTags}} {
		if n := len(f.prefix); len(op) > n && strings.EqualFold(f.prefix, op[:n]) && strings.HasSuffix(op, ")") {
			key := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(op, f.prefix), ")"))
			return TagValues(f.tags, key), &tagUse{key, f.whose}, true
		}
	}
	return nil, nil, false
}

// product is how many subjects the values make together, or more than
// maxExpansions.
func product(values [][]string) int {
	n := 1
	for _, v := range values {
		if n *= len(v); n > maxExpansions {
			return n
		}
	}
	return n
}

// fill yields template with every combination of values, the last varying
// fastest. A function is replaced wherever it stands, and in what came of the
// ones before it: a value is not escaped.
func fill(template string, functions []string, values [][]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		at := make([]int, len(functions))
		for {
			subject := template
			for i, f := range functions {
				subject = strings.ReplaceAll(subject, f, values[i][at[i]])
			}
			if !yield(subject) {
				return
			}
			i := len(at) - 1
			for ; i >= 0; i-- {
				if at[i]++; at[i] < len(values[i]) {
					break
				}
				at[i] = 0
			}
			if i < 0 {
				return
			}
		}
	}
}
