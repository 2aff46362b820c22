package claims_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"

	"chancery/claims"
)

// where tells in which of the three kinds of list a subject stands.
type where struct{ queue, template bool }

var (
	inPublish   = where{}
	inSubscribe = where{queue: true}
	inTemplate  = where{queue: true, template: true}
)

var acceptedSubjects = map[string]map[where][]string{
	"plain": {inPublish: {
		"a", "a.b", "A.b.C", "1.2.3", "a-b_c", "orders.created", "*", ">", "*.a", "a.*", "a.*.c", "a.>", "*.*", "*.>", "$SYS.>", "$JS.API.>", "$KV.b.>", "_INBOX.>",
		"_R_.>", "$G", "ünï.cödé", "東京.x", "🙂", "a.b!", "a=b", "a:b", "a,b", "a;b", "a'b", `a"b`, `a\b`, "a/b", "a|b", "a&b", "(a)", "[a]", "a@b.c", "a+b", "~", "^", "#", "%41", "<a",
		strings.Repeat("a.", 299) + "a", strings.Repeat("x", 1024), "-", "_", "$$", "a.$1", "a$b", "a?b",
	}},
	"with a queue group": {inSubscribe: {"a q", "a.> workers", "* q", "a q.r", "> >", "a *"}},
	"with functions": {inTemplate: {
		"{{name()}}", "a.{{name()}}", "a.{{name()}}.>", "{{tag(a)}}.{{tag(b)}}", "x{{name()}}y", "{{ name() }}", "a.{{account-tag(env)}}.*", "{{subject()}}.{{account-subject()}}",
		"{{Name()}}", "{{account-name()}}-{{name()}}", "a q",
	}},
}

var refusedSubjects = map[string]map[where][]string{
	"empty tokens":              {inPublish: {"", ".", "..", ".a", "a.", "a..b", "a...b", "..a", "a.b.", ".>", "a..>", "*..*"}},
	"> before the end":          {inPublish: {">.a", "a.>.b", "foo.>.bar", ">.>", ">.*"}},
	"a wildcard within a token": {inPublish: {"a*", "*a", "a.b*", "a.*b.c", "a>", ">a", "a.b>", "**", ">>", "*>", "a.**", "a.b>.c"}},
	"white space and control": {inPublish: {
		" ", "a b", " a", "a ", "a. .b", "a\tb", "\t", "a\n", "a\r\nPUB x 0", "a\fb", "a\vb", "a\x00b", "\x00", "a\x1b", "a\x7f", "a\u00a0b", "a\u2028b", "a\u0085b", "a\u3000b",
	}},
	"no UTF-8":                    {inPublish: {"a\xff", "\xc0\xaf", "a.\xed\xa0\x80"}},
	"too long":                    {inPublish: {strings.Repeat("x", 1025), strings.Repeat("a.", 5120) + "a"}},
	"a queue group to publish":    {inPublish: {"a q", "a.> workers"}},
	"a bad queue group":           {inSubscribe: {"a ", "a  q", " q", "a q r", "a .q", "a q..r", "a\tq", "a q*", "a >.q", "a \x00"}},
	"functions outside templates": {inSubscribe: {"{{name()}}", "a.{{tag(x)}}", "{{", "}}", "{a}", "a.{", "a}"}},
	"functions that are none": {inTemplate: {
		"{{", "}}", "{{}}", "{{ }}", "{{nope()}}", "{{name}}", "{{name( )}}", "{{name()}", "{name()}", "{{{name()}}}", "{{name(){{tag(x)}}}}", "{{tag()}}", "{{tag( x )}}", "{{tag(a.b)}}",
		"{{tag(*)}}", "{{tag(a}}", "{{TAG(x)}}", "{{account-tag()}}", "{{subject()}}{", "a.{{tag(" + strings.Repeat("x", 65) + ")}}",
	}},
	"functions beside wildcards": {inTemplate: {"*{{name()}}", "{{name()}}>", "a.>{{name()}}", ">.{{name()}}", "a..{{name()}}", "{{name()}}."}},
	"functions with a queue":     {inTemplate: {"{{name()}} q", "a {{name()}}", "a.{{name()}} workers"}},
	"a seed":                     {inTemplate: {aSeed, "a." + aSeed, "a." + strings.ToLower(aSeed)}},
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	count := 0
	for class, groups := range acceptedSubjects {
		for in, subjects := range groups {
			for _, s := range subjects {
				count++
				if problems := claims.CheckSubject("/s", s, in.queue, in.template); len(problems) > 0 {
					t.Errorf("%s: %.80q is refused: %+v", class, s, problems)
				}
				if !serverAccepts(s) {
					t.Errorf("%s: a server refuses %.80q", class, s)
				}
			}
		}
	}
	for class, groups := range refusedSubjects {
		for in, subjects := range groups {
			for _, s := range subjects {
				count++
				problems := claims.CheckSubject("/s", s, in.queue, in.template)
				if !problems.Blocking() || problems[0].Pointer != "/s" {
					t.Errorf("%s: %.80q is accepted: %+v", class, s, problems)
				}
			}
		}
	}
	if count < 150 {
		t.Errorf("%d subjects, want 150", count)
	}
}

var functions = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// serverAccepts splits as a server does and asks its own check, with functions already expanded.
func serverAccepts(s string) bool {
	parts := strings.Fields(functions.ReplaceAllString(s, "x"))
	if len(parts) == 0 || len(parts) > 2 || strings.Join(parts, " ") != functions.ReplaceAllString(s, "x") {
		return false
	}
	for _, p := range parts {
		if !server.IsValidSubject(p) {
			return false
		}
	}
	return true
}

// Whatever we accept a server accepts. The other way round is not promised: we refuse what would be accepted
// and then mean something else, such as a wildcard within a token.
func TestAcceptedSubjectsAreValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.OneOf(
			rapid.StringMatching(`[a*>. \t{}]{0,12}`),
			rapid.StringMatching(`((a|\*|>|b c|\{\{name\(\)\}\}|\{\{tag\(x\)\}\}|\{\{ ?[a-z(){}]{0,4}\}\})\.?){0,5}`),
			rapid.String(),
		).Draw(r, "subject")
		in := where{rapid.Bool().Draw(r, "queue"), rapid.Bool().Draw(r, "template")}
		if claims.CheckSubject("", s, in.queue, in.template).Blocking() {
			return
		}
		if !serverAccepts(s) {
			r.Fatalf("a server refuses %q", s)
		}
		if !in.queue && strings.Contains(functions.ReplaceAllString(s, "x"), " ") || !in.template && strings.ContainsAny(s, "{}") {
			r.Fatalf("%q in %+v", s, in)
		}
	})
}
