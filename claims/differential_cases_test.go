package claims_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// alphabet is every literal subject of up to three of the words a, b and c.
var alphabet = func() []string {
	words := []string{"a", "b", "c"}
	all, longest := words, words
	for range 2 {
		var next []string
		for _, s := range longest {
			for _, w := range words {
				next = append(next, s+"."+w)
			}
		}
		all, longest = append(all[:len(all):len(all)], next...), next
	}
	return all
}()

// generator draws from few words, so that rules and probes meet often.
type generator struct{ *rand.Rand }

func (g generator) of(list ...string) string { return list[g.IntN(len(list))] }

// once tells whether an event of one in n happens.
func (g generator) once(n int) bool { return g.IntN(n) == 0 }

func (g generator) literals(n int) []string {
	var out []string
	for _, i := range g.Perm(len(alphabet))[:n] {
		out = append(out, alphabet[i])
	}
	return out
}

func (g generator) join(words ...string) string {
	var tokens []string
	for range 1 + g.IntN(3) + g.IntN(2) {
		tokens = append(tokens, g.of(words...))
	}
	if g.once(4) {
		tokens[len(tokens)-1] = ">"
	}
	return strings.Join(tokens, ".")
}

func (g generator) subject() string { return g.join("a", "b", "c", "*") }

func (g generator) queue() string {
	return g.of("", "", "", "", "q", "q.x", "q.y", "w", "*", ">", "zz.y", "q.x.y", "_sys_", "a..b", "q.*")
}

// rule is an entry that nats-io/jwt lets pass, now and then a malformed one.
func (g generator) rule(queue bool) string {
	s := g.subject()
	switch {
	case g.once(40):
		return g.of("a.>.b", ">.a", "a.b*", "a.*b", "a\tb", "a\u00a0q", "\va.b")
	case g.once(400):
		return g.of("a..b", ".a", "", "a b c")
	case queue && g.once(4):
		s += " " + g.of("q", "q.x", "q.*", "*", ">", "*z.*", "w", "q.>", "q.x.*", "*.>")
	}
	return s
}

// template is an entry with functions, half of the time.
func (g generator) template(queue, deny bool) string {
	if g.once(2) {
		return g.rule(queue)
	}
	words := []string{
		"a", "b", "*", "{{tag(x)}}", "{{tag(x)}}", "{{tag(y)}}", "{{name()}}", "{{account-tag(x)}}", "{{account-name()}}", "{{ NAME() }}", "x{{tag(y)}}", "{{tag(X)}}",
		"{{Account-Tag(x)}}", "{{subject()}}", "{{account-subject()}}",
	}
	if !deny || g.once(20) {
		words = append(words, "{{tag(none)}}", "{{TAG(x)}}", "{{tag()}}")
	}
	if g.once(40) {
		words = append(words, "{{nope()}}", "{{}}", "{{{name()}}}", "{{tag(x}}")
	}
	s := g.join(words...)
	if g.once(30) {
		s += " q"
	}
	return s
}

// list is a list of entries, and often absent.
func (g generator) list(entry func() string) jwt.StringList {
	if g.once(3) {
		return nil
	}
	var out jwt.StringList
	for range 1 + g.IntN(4) {
		out = append(out, entry())
	}
	return out
}

func (g generator) permissions(entry func(queue, deny bool) string) jwt.Permissions {
	var p jwt.Permissions
	p.Pub.Allow = g.list(func() string { return entry(false, false) })
	p.Sub.Allow = g.list(func() string { return entry(true, false) })
	if !g.once(3) {
		p.Pub.Deny = g.list(func() string { return entry(false, true) })
	}
	if !g.once(3) {
		p.Sub.Deny = g.list(func() string { return entry(true, true) })
	}
	// Who may ask for its own permissions gets them compared.
	if !g.once(3) {
		if p.Pub.Allow != nil {
			p.Pub.Allow = append(p.Pub.Allow, userInfo)
		}
		if p.Sub.Allow != nil {
			p.Sub.Allow = append(p.Sub.Allow, "_INBOX.>")
		}
	}
	if g.once(4) {
		p.Resp = &jwt.ResponsePermission{MaxMsgs: g.IntN(4) - 1, Expires: time.Duration(g.IntN(2)) * time.Hour}
	}
	return p
}

func (g generator) value() string {
	if g.once(15) {
		return g.of("*", ">", "a.b", "a b", "", "a..b", "{{tag(y)}}")
	}
	return g.of("a", "b", "c", "d")
}

func (g generator) tags() jwt.TagList {
	out := jwt.TagList{"plain"}
	for _, key := range []string{"x:", "x:", "y:"} {
		if !g.once(8) {
			out = append(out, key+g.value())
		}
	}
	if g.once(50) {
		for i := range 65 {
			out = append(out, fmt.Sprintf("x:%x", i))
		}
	}
	return out
}

// scene is an account and its users.
type scene struct {
	account      *jwt.AccountClaims
	users        []probed
	admin, plain pair
}

type probed struct {
	kind   string
	claims *jwt.UserClaims
	key    pair
	signer pair
}

func (g generator) scene(t testing.TB) scene {
	s := scene{account: jwt.NewAccountClaims(newPair(t, claims.KindAccount).id), admin: newPair(t, claims.KindUser), plain: newPair(t, claims.KindAccount)}
	s.account.Name, s.account.Account.Tags = g.value(), g.tags()
	s.account.SigningKeys.Add(s.plain.id)
	if g.once(2) {
		s.account.DefaultPermissions = g.permissions(func(queue, _ bool) string { return g.valid(queue) })
	}
	add := func(kind string, signer pair) *jwt.UserClaims {
		u := probed{kind: kind, key: newPair(t, claims.KindUser), signer: signer}
		u.claims = jwt.NewUserClaims(u.key.id)
		u.claims.Name, u.claims.User.Tags, u.claims.IssuerAccount = g.value(), g.tags(), s.account.Subject
		s.users = append(s.users, u)
		return u.claims
	}
	add("own", s.plain).Permissions = g.permissions(func(queue, _ bool) string { return g.rule(queue) })
	add("default", s.plain)
	for range 2 {
		scope := jwt.NewUserScope()
		signer := newPair(t, claims.KindAccount)
		scope.Key = signer.id
		if !g.once(20) {
			scope.Template.Permissions = g.permissions(g.template)
		}
		s.account.SigningKeys.AddScopedSigner(scope)
		add("template", signer).SetScoped(true)
	}
	if g.once(4) {
		s.account.Authorization.AuthUsers.Add(s.admin.id)
		for _, u := range s.users {
			s.account.Authorization.AuthUsers.Add(u.key.id)
		}
	}
	return s
}

// valid is a rule that a server takes in an account's default permissions; it refuses the account for others.
func (g generator) valid(queue bool) string {
	for {
		if s := g.rule(queue); !strings.Contains(s, "..") && s != "" && s[0] != '.' && strings.Count(s, " ") < 2 {
			return s
		}
	}
}

// dialAdmin connects a user of the account that may do everything.
func (s scene) dialAdmin(t *testing.T, w *world) *client {
	t.Helper()
	u := jwt.NewUserClaims(s.admin.id)
	u.IssuerAccount = s.account.Subject
	u.Pub.Allow, u.Sub.Allow = jwt.StringList{">"}, jwt.StringList{">"}
	c, err := dialClient(t, w, encode(t, u, s.plain), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
