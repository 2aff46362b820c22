package web

import (
	"slices"

	"chancery/claims"
	"chancery/issuer"
)

// templateRow is a template in a table.
type templateRow struct {
	ID, Name, Description string
	Publish, Subscribe    rules
	// Key is the current scoped signing key.
	Key           string
	URL, IssueURL string
	Shared        bool
}

// rules are what may be published or subscribed to.
type rules struct {
	Allow, Deny []string
	// More counts what a table leaves out.
	More int
}

// shownRules is how many subjects a table shows of one list.
const shownRules = 4

func newRules(allow, deny []string) rules {
	r := rules{Allow: allow, Deny: deny}
	if len(allow) > shownRules {
		r.Allow, r.More = allow[:shownRules], len(allow)-shownRules
	}
	if len(deny) > shownRules {
		r.Deny, r.More = deny[:shownRules], r.More+len(deny)-shownRules
	}
	return r
}

// allRules are rules that are shown in full.
func allRules(allow, deny []string) rules { return rules{Allow: allow, Deny: deny} }

func newTemplateRow(t issuer.Template) templateRow {
	p := t.Body.Permissions.Permissions
	return templateRow{
		ID: t.ID, Name: t.Body.Name, Description: t.Body.Description, Shared: t.Shared(),
		Publish: newRules(p.Pub.Allow, p.Pub.Deny), Subscribe: newRules(p.Sub.Allow, p.Sub.Deny),
	}
}

// tagUse is a tag of the user that a template puts into subjects.
type tagUse struct {
	Tag string
	// Required is a tag in a deny rule: without it a server refuses the user.
	Required bool
}

// tagsUsed returns the user's tags that a template uses, in the order of its rules.
func tagsUsed(t claims.Template) []tagUse {
	var out []tagUse
	p := t.Permissions.Permissions
	for _, l := range []struct {
		subjects []string
		deny     bool
	}{{p.Pub.Allow, false}, {p.Pub.Deny, true}, {p.Sub.Allow, false}, {p.Sub.Deny, true}} {
		for _, s := range l.subjects {
			functions, _ := claims.Functions(s)
			for _, f := range functions {
				if f.Name != "tag" {
					continue
				}
				i := slices.IndexFunc(out, func(u tagUse) bool { return u.Tag == f.Tag })
				if i < 0 {
					out, i = append(out, tagUse{Tag: f.Tag}), len(out)
				}
				out[i].Required = out[i].Required || l.deny
			}
		}
	}
	return out
}
