package issuer_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// hostileSubjects are no subjects of a template, or would mean something else to a server.
var hostileSubjects = []string{
	"", " ", ".", "a..b", ".a", "a.", "a.>.b", ">.a", "a b", "a\tb", "a\nb", "a\x00b", "\xff", "{{", "}}", "a.{{", "a.{{}}", "a.{{nope()}}", "a.{{name}}", "a.{{name(}}",
	"a.{{name()", "a.{{tag()}}", "a.{{tag(x}}", "a.{{TAG(x)}}", "a.{{tag({{name()}})}}", "{{{{name()}}}}", strings.Repeat("a.", 600) + "a", "a.{{tag(x y)}}", "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}

// hostileTokens are names and values of tags that would be more than one token of a subject.
var hostileTokens = []string{">", "*", "a.b", "a b", "{{name()}}", "{{tag(x)}}", ".", "..", "a..b", "\u00a0", "a*", "a>", "\u200b", "a\u2024b", "a,b"}

// Every way into a template refuses what is no subject, and every way to a user of one refuses what is no token.
func TestTemplatesTakeNothingHostile(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		orders, acme := issuer.TemplateHome{Account: "ORDERS"}, issuer.TemplateHome{Operator: "acme"}
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate("service", "a"))).well(t)
		ways := map[string]func(in issuer.TemplateInput) error{
			"create": func(in issuer.TemplateInput) error {
				_, err := h.CreateTemplate(t.Context(), op(), "ORDERS", in)
				return err
			},
			"share": func(in issuer.TemplateInput) error {
				_, err := h.CreateSharedTemplate(t.Context(), op(), "acme", in)
				return err
			},
			"update": func(in issuer.TemplateInput) error {
				_, err := h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(x *issuer.TemplateInput) { *x = in })
				return err
			},
			"update shared": func(in issuer.TemplateInput) error {
				_, err := h.UpdateSharedTemplate(t.Context(), op(), "acme", "service", func(x *issuer.TemplateInput) { *x = in })
				return err
			},
			"preview": func(in issuer.TemplateInput) error {
				_, err := h.PreviewTemplate(t.Context(), owner, issuer.PreviewInput{Ref: issuer.TemplateRef{TemplateHome: orders}, As: claims.TestUser{Name: "x"}, Edit: func(x *issuer.TemplateInput) { *x = in }})
				return err
			},
			"preview shared": func(in issuer.TemplateInput) error {
				_, err := h.PreviewTemplate(t.Context(), owner, issuer.PreviewInput{Ref: issuer.TemplateRef{TemplateHome: acme, Template: "service"}, As: claims.TestUser{Name: "x"}, Edit: func(x *issuer.TemplateInput) { *x = in }})
				return err
			},
		}
		tried := 0
		h.unchanged(t, func() {
			for way, f := range ways {
				for _, s := range hostileSubjects {
					for list, set := range map[string]func(p *jwt.Permissions){
						"pub allow": func(p *jwt.Permissions) { p.Pub.Allow = jwt.StringList{s} }, "pub deny": func(p *jwt.Permissions) { p.Pub.Deny = jwt.StringList{s} },
						"sub deny": func(p *jwt.Permissions) { p.Sub.Deny = jwt.StringList{s + "."} },
					} {
						in := serviceTemplate("evil", "a")
						set(&in.Body.Permissions.Permissions)
						tried++
						if e := wants(t, f(in), issuer.KindInvalid); strings.Contains(e.Error(), s) && len(s) > 4 {
							t.Errorf("%s, %s: the answer repeats %q", way, list, s)
						}
					}
				}
			}
			for _, name := range []string{"", "*", "a/b", "a?b", "a#b", "a\\b", "a%b", ".", "..", " a", "a ", "\x00", "\xff", "\u200b", strings.Repeat("x", 65), w.account.ID, w.template.ID} {
				for way, f := range map[string]func() error{
					"create": func() error {
						_, err := h.CreateTemplate(t.Context(), op(), "ORDERS", serviceTemplate(name, "a"))
						return err
					},
					"share": func() error {
						_, err := h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate(name, "a"))
						return err
					},
					"rename": func() error {
						_, err := h.UpdateSharedTemplate(t.Context(), op(), "acme", "service", func(x *issuer.TemplateInput) { x.Body.Name = name })
						return err
					},
				} {
					tried++
					if err := f(); err == nil || issuer.AsError(err).Kind != issuer.KindInvalid {
						t.Errorf("%s as %q: %v", way, name, err)
					}
				}
				if name != "" { // which keeps the name
					tried++
					_, err := h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: orders, Template: "device"}, To: acme, Name: name})
					if err == nil || issuer.AsError(err).Kind != issuer.KindInvalid {
						t.Errorf("clone as %q: %v", name, err)
					}
				}
			}
		})
		// Whoever would use a shared template with such a name or tag is refused; so is such a test.
		in := serviceTemplate("personal", "p.{{name()}}.{{tag(region)}}.>")
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", in)).well(t)
		h.unchanged(t, func() {
			for _, s := range hostileTokens {
				for way, user := range map[string]issuer.UserInput{
					"a name": {Name: s, Template: "personal", Tags: []string{"region:eu"}}, "a tag": {Name: "x", Template: "personal", Tags: []string{"region:" + s}},
				} {
					tried++
					if _, err := h.CreateUser(t.Context(), op(), "ORDERS", user); err == nil || issuer.AsError(err).Kind != issuer.KindInvalid {
						t.Errorf("a user with %s of %q: %v", way, s, err)
					}
				}
				for _, as := range []claims.TestUser{{Name: "x", Tags: []string{"region:" + s}}, {Name: "x", Account: "A", AccountTags: []string{"region:" + s}}} {
					tried++
					_, err := h.UpdateSharedTemplate(t.Context(), op(), "acme", "personal", func(x *issuer.TemplateInput) {
						x.Tests = []claims.TemplateTest{{As: as, CannotPublish: []string{"a"}}}
					})
					if err == nil || issuer.AsError(err).Kind != issuer.KindInvalid {
						t.Errorf("a test as %+v: %v", as, err)
					}
				}
			}
		})
		// An account whose name is no token is given no template that puts it into subjects.
		odd := h.newAccount(t, "acme", "ODD.NAME")
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", serviceTemplate("named", "n.{{account-name()}}.>"))).well(t)
		h.unchanged(t, func() {
			_, err := h.UseTemplate(t.Context(), op(), odd.ID, "named")
			wants(t, err, issuer.KindInvalid)
			_, err = h.CreateUser(t.Context(), op(), odd.ID, issuer.UserInput{Name: "x", Template: "named"})
			wants(t, err, issuer.KindInvalid)
			_, err = h.CloneTemplate(t.Context(), op(), issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: acme, Template: "named"}, To: issuer.TemplateHome{Account: odd.ID}, Name: "copy"})
			wants(t, err, issuer.KindInvalid)
			_, err = h.CreateTemplate(t.Context(), op(), odd.ID, serviceTemplate("own", "n.{{account-name()}}.>"))
			wants(t, err, issuer.KindInvalid)
		})
		tried += 4
		t.Logf("%d of %d hostile inputs refused", tried, tried)
	})
}
