package claims_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"

	"chancery/claims"
)

// destination draws what people write as the destination of a mapping, and what is close to it.
func destination(r *rapid.T) string {
	token := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "b", "*", ">", "$1", "$2", "$3", "$0", "$SYS", "", "$", "{{}}", "{a}", "x{{wildcard(1)}}", "{{wildcard(1)}}", "{{Wildcard(2)}}", "{{WILDCARD(1)}}"}),
		rapid.Custom(func(r *rapid.T) string {
			name := rapid.SampledFrom([]string{"wildcard", "partition", "split", "splitfromleft", "SplitFromRight", "sliceFromLeft", "SliceFromRight", "left", "right", "Random", "sLeft", "reverse"}).Draw(r, "function")
			args := rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "3", "-", "", "x", "0", "-1", "99999999999"}), 0, 4).Draw(r, "arguments")
			return "{{" + name + "(" + strings.Join(args, ",") + ")}}"
		}),
	)
	return strings.Join(rapid.SliceOfN(token, 1, 4).Draw(r, "destination"), ".")
}

// TestMappingsAreThoseOfAServer: a mapping that we let through is one that a server installs; what a server installs
// we refuse only for what it then does not do as written.
func TestMappingsAreThoseOfAServer(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		source := rapid.SampledFrom([]string{"a", "a.*", "a.*.*", "a.>", "*.b.>", "*", ">"}).Draw(r, "source")
		to := destination(r)
		a := claims.Account{Name: "a", Settings: claims.NewAccountSettings()}
		a.Settings.Mappings = jwt.Mapping{jwt.Subject(source): {{Subject: jwt.Subject(to)}}}
		problems := claims.CheckAccount(a)
		err := server.NewAccount("a").AddMapping(source, to)
		if !problems.Blocking() && err != nil {
			r.Fatalf("%s to %s: the server says %v", source, to, err)
		}
		if problems.Blocking() && err == nil && !ours(source, to) {
			r.Fatalf("%s to %s: the server takes it, we say %+v", source, to, problems)
		}
		if problems.Blocking() {
			refused++
		} else {
			accepted++
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// ours tells whether a destination holds what a server installs and then reads otherwise: a wildcard 0 or below is the
// first token, no partition or value at all, braces within a word or a lone $ are literal.
func ours(source, to string) bool {
	for token := range strings.SplitSeq(to, ".") {
		if to == "" {
			return true // nats-io/jwt refuses it
		}
		function := strings.HasPrefix(token, "{{") && strings.HasSuffix(token, "}}") && len(token) > 4
		switch {
		case strings.HasPrefix(token, "{{partition(") && !strings.ContainsAny(source, "*>"):
			return true // a server forgets the wildcards
		case token == "$0", !function && strings.ContainsAny(token, "{}"):
			return true
		case function && (strings.Contains(token, "(0") || strings.Contains(token, "-1") || strings.Contains(token, ",0") || strings.Contains(token, "99999999999")):
			return true
		case function && strings.Contains(token, "sLeft"):
			return true // a server finds left in it
		}
	}
	return false
}
