package web

import (
	"errors"
	"strconv"
	"strings"

	"chancery/claims"
)

// Tests are written as lines: who it is about, then what that user can and cannot do.
//
//	as d1 region:eu
//	can publish devices.eu.d1.temp
//	cannot subscribe cmd.d2
//
// A name with spaces is quoted; a public key U… stands for subject(); of a shared
// template, the account and its tags follow after an @.

const testsHint = "Run whenever the template is saved; one that fails keeps it from being saved. Each starts with a line such as “as d1 region:eu”, a name and its tags; then lines such as “can publish devices.eu.d1.temp”, “cannot publish x”, “can subscribe cmd.d1” or “cannot subscribe jobs workers”."

func formatTests(tests []claims.TemplateTest) string {
	var b strings.Builder
	for n := range tests {
		t := &tests[n]
		if n > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("as " + quoted(t.As.Name))
		for _, w := range append([]string{t.As.Key}, t.As.Tags...) {
			if w != "" {
				b.WriteString(" " + w)
			}
		}
		if t.As.Account != "" || len(t.As.AccountTags) > 0 {
			b.WriteString(" @ " + strings.Join(append([]string{quoted(t.As.Account)}, t.As.AccountTags...), " "))
		}
		b.WriteByte('\n')
		for _, l := range []struct {
			words string
			list  []string
		}{{"can publish ", t.CanPublish}, {"cannot publish ", t.CannotPublish}, {"can subscribe ", t.CanSubscribe}, {"cannot subscribe ", t.CannotSubscribe}} {
			for _, s := range l.list {
				b.WriteString(l.words + s + "\n")
			}
		}
	}
	return b.String()
}

func quoted(name string) string {
	if name == "" || strings.ContainsAny(name, " @") {
		return `"` + name + `"`
	}
	return name
}

// parseTests reads what formatTests writes; an error is a sentence with the line.
func parseTests(text string) ([]claims.TemplateTest, error) {
	var out []claims.TemplateTest
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		what, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if strings.EqualFold(what, "as") {
			out = append(out, claims.TemplateTest{As: parseTestUser(rest)})
			continue
		}
		verb, subject, _ := strings.Cut(rest, " ")
		if len(out) == 0 {
			return nil, errors.New("Line " + strconv.Itoa(n+1) + ": begin with a line such as “as d1 region:eu”.")
		}
		list := listOf(&out[len(out)-1], strings.ToLower(what+" "+verb))
		if list == nil {
			return nil, errors.New("Line " + strconv.Itoa(n+1) + ": write “can publish”, “cannot publish”, “can subscribe” or “cannot subscribe” and a subject.")
		}
		*list = append(*list, strings.TrimSpace(subject))
	}
	return out, nil
}

func listOf(t *claims.TemplateTest, words string) *[]string {
	switch words {
	case "can publish":
		return &t.CanPublish
	case "cannot publish":
		return &t.CannotPublish
	case "can subscribe":
		return &t.CanSubscribe
	case "cannot subscribe":
		return &t.CannotSubscribe
	}
	return nil
}

// parseTestUser reads a name, tags and perhaps a key, and an account after an @.
func parseTestUser(s string) claims.TestUser {
	user, account, there := s, "", false
	if i := strings.LastIndex(s, " @ "); i >= 0 {
		user, account, there = s[:i], strings.TrimSpace(s[i+3:]), true
	}
	var u claims.TestUser
	var words []string
	u.Name, words = nameAndWords(user)
	for _, w := range words {
		if strings.HasPrefix(w, "U") && claims.LooksLikeKey(w) {
			u.Key = w
			continue
		}
		u.Tags = append(u.Tags, w)
	}
	if there {
		u.Account, u.AccountTags = nameAndWords(account)
	}
	return u
}

func nameAndWords(s string) (name string, words []string) {
	s = strings.TrimSpace(s)
	if inside, ok := strings.CutPrefix(s, `"`); ok {
		if name, rest, ok := strings.Cut(inside, `"`); ok {
			return name, splitTags(rest)
		}
	}
	name, rest, _ := strings.Cut(s, " ")
	return name, splitTags(rest)
}
