package claims

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
)

// MaxSubjectLength is the longest subject, in bytes. A nats-server has no such
// bound but refuses a protocol line over 4,096 bytes.
const MaxSubjectLength = 1024

var functionRE = regexp.MustCompile(`\{\{([^{}]*)\}\}`)

// Function is one template function in a subject, such as name() or tag(region).
type Function struct {
	// Name is the function without its argument: name, subject, account-name,
	// account-subject, tag, account-tag.
	Name string
	// Tag is the tag key of tag(…) and account-tag(…), lower-cased.
	Tag string
}

// Functions returns the template functions in subject, in order. ok is false when
// one is unknown, has no argument where it needs one, or braces are left over: a
// nats-server refuses every connection of such a template.
// The list is that of nats-server's processUserPermissionsTemplate.
func Functions(subject string) (fns []Function, ok bool) {
	for _, m := range functionRE.FindAllStringSubmatch(subject, -1) {
		op := strings.TrimSpace(m[1])
		switch strings.ToLower(op) {
		case "name()", "subject()", "account-name()", "account-subject()":
			fns = append(fns, Function{Name: strings.TrimSuffix(strings.ToLower(op), "()")})
			continue
		}
		name, arg, found := strings.Cut(op, "(")
		arg, closed := strings.CutSuffix(arg, ")")
		// nats-server matches the word case-insensitively but strips it in lower
		// case only, so TAG(x) never finds a tag.
		if !found || !closed || (name != "tag" && name != "account-tag") || !IsToken(arg) {
			return nil, false
		}
		fns = append(fns, Function{Name: name, Tag: strings.ToLower(arg)})
	}
	if strings.ContainsAny(functionRE.ReplaceAllString(subject, ""), "{}") {
		return nil, false
	}
	return fns, true
}

// CheckSubject returns what is wrong with s as a permission subject. With queue,
// `subject queue` is allowed; with template, template functions are.
func CheckSubject(pointer, s string, queue, template bool) Problems {
	out := checkSubject(pointer, s, queue, template)
	if template {
		// No server validates a template; it gives up on a function it does not know.
		return out.server(unknownFunction(s))
	}
	p := jwt.Permission{Allow: jwt.StringList{s}}
	return out.server(libraryRefuses(func(vr *jwt.ValidationResults) { p.Validate(vr, queue) }))
}

func checkSubject(pointer, s string, queue, template bool) Problems {
	if len(s) > MaxSubjectLength {
		return Problems{blocking(pointer, "too_long", "A subject may have at most 1,024 bytes.")}
	}
	if LooksLikeSeed(s) {
		return seedIn(pointer)
	}
	plain := s
	if strings.ContainsAny(s, "{}") {
		if !template {
			return Problems{blocking(pointer, "invalid_subject", "Template functions are allowed in templates only.")}
		}
		if _, ok := Functions(s); !ok {
			return Problems{blocking(pointer, "unknown_function", functionsDetail)}
		}
		plain = functionRE.ReplaceAllString(s, "x")
	}
	subject, group, hasQueue := strings.Cut(plain, " ")
	if hasQueue && !queue {
		return Problems{blocking(pointer, "invalid_subject", "A subject must not contain spaces; a queue group is allowed in subscribe permissions only.")}
	}
	if hasQueue && plain != s {
		return Problems{blocking(pointer, "invalid_subject", noQueueDetail)}
	}
	if why := subjectFault(subject); why != "" {
		return Problems{blocking(pointer, "invalid_subject", why)}
	}
	if hasQueue {
		if why := subjectFault(group); why != "" {
			return Problems{blocking(pointer, "invalid_queue", "The queue group: "+why)}
		}
	}
	return nil
}

const functionsDetail = "The template functions are {{name()}}, {{subject()}}, {{account-name()}}, {{account-subject()}}, {{tag(x)}} and {{account-tag(x)}}."

const noQueueDetail = "In a list that uses template functions a nats-server drops what has a queue group, or refuses the connection if it is a deny list. Write the subject without its queue group."

// checkQueues finds the queue groups that CheckSubject has nothing against but
// that share a list with a template function: a nats-server then treats the whole
// list as templates, and a template has no queue group.
func checkQueues(pointer string, list []string) Problems {
	if !slices.ContainsFunc(list, functionRE.MatchString) {
		return nil
	}
	var out Problems
	for i, s := range list {
		if strings.Contains(s, " ") && !functionRE.MatchString(s) {
			out = append(out, blocking(Point(pointer, i), "invalid_subject", noQueueDetail))
		}
	}
	return out
}

// tagOfRE is what a nats-server takes for a template function with a tag.
var tagOfRE = regexp.MustCompile(`(?i)^(account-)?tag\(.*\)$`)

// unknownFunction tells whether a nats-server refuses every connection of a
// template that holds s.
func unknownFunction(s string) bool {
	for _, m := range mustacheRE.FindAllStringSubmatch(s, -1) {
		switch op := strings.TrimSpace(m[1]); strings.ToLower(op) {
		case "name()", "subject()", "account-name()", "account-subject()":
		default:
			if !tagOfRE.MatchString(op) {
				return true
			}
		}
	}
	return false
}

// refuseDenied marks the problems of a template's deny list: once one subject of
// it holds a function, a nats-server refuses the connection for every subject that
// comes out invalid, where it would drop one that is allowed.
func refuseDenied(problems Problems, pointer string, list []string) {
	if !slices.ContainsFunc(list, mustacheRE.MatchString) {
		return
	}
	invalid := map[string]bool{}
	for i, s := range list {
		expanded := mustacheRE.ReplaceAllStringFunc(s, func(m string) string {
			if _, ok := Functions(m); ok {
				return "x"
			}
			return " " // a tag that nobody can have
		})
		invalid[Point(pointer, i)] = !validSubject(expanded)
	}
	for i := range problems {
		if invalid[problems[i].Pointer] {
			problems[i].Server = true
		}
	}
}

func subjectFault(s string) string {
	if s == "" {
		return "A subject must not be empty."
	}
	if !utf8.ValidString(s) {
		return "A subject must be valid UTF-8."
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return "A subject must not start or end with a dot, nor hold two in a row."
		case t == ">" && i != len(tokens)-1:
			return "The wildcard > may only be the last token."
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return "A wildcard must be a whole token; inside a word it would match itself only."
		}
		for _, r := range t {
			if unicode.IsSpace(r) || unicode.IsControl(r) {
				return "A subject must not contain spaces or control characters."
			}
		}
	}
	return ""
}

// validSubject tells whether a nats-server takes s as a subject (IsValidSubject),
// which is less than CheckSubject asks: a wildcard within a token matches itself.
func validSubject(s string) bool {
	for more := true; more; {
		var t string
		if t, s, more = strings.Cut(s, "."); t == "" || t == ">" && more || strings.ContainsAny(t, "\t\n\f\r ") {
			return false
		}
	}
	return true
}
