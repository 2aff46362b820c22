package claims

import (
	"cmp"
	"strings"

	"github.com/nats-io/jwt/v2"
)

func (d *describer) user(c *jwt.UserClaims) {
	if c.HasEmptyPermissions() {
		d.section("Permissions")
		d.line("Template", "of the signing key", "a scoped signing key sets permissions and limits; they are in the account's JWT")
		return
	}
	d.permissionLimits(c.UserPermissionLimits)
}

// permissionLimits adds to the section of a template, or makes the user's own.
func (d *describer) permissionLimits(p jwt.UserPermissionLimits) {
	template := strings.HasPrefix(d.title, "Template ")
	if !template {
		d.section("Permissions")
	}
	if isEmpty(p.Permissions) {
		d.line("Permissions", "the account's defaults", "everything, where the account has none")
	} else {
		d.permissions(p.Permissions)
	}
	if !template {
		d.section("Connecting")
	}
	d.line("Bearer", yesNo(p.BearerToken), bearerNote(p.BearerToken))
	d.flag("Through a proxy only", p.ProxyRequired, "")
	d.text("Connection types", strings.Join(p.AllowedConnectionTypes, ", "))
	d.text("From", strings.Join(p.Src, ", "))
	d.text("Hours", strings.Join(hours(p.Times), ", "))
	if p.Locale != "" {
		d.line("Time zone", p.Locale, "of the hours")
	}
	if !template {
		d.section("Limits")
	}
	d.natsLimits(p.NatsLimits)
}

func bearerNote(bearer bool) string {
	if bearer {
		return "the JWT alone connects, without the seed: it is a secret"
	}
	return ""
}

func (d *describer) permissions(p jwt.Permissions) {
	d.subjects("publish", p.Pub, p.Resp != nil)
	d.subjects("subscribe to", p.Sub, false)
	if p.Resp != nil {
		d.line("Replies", responseCount(p.Resp, p.Resp.MaxMsgs)+" for each request", "within "+answerTime(p.Resp, p.Resp.Expires))
	}
}

// subjects says what an absent list stands for: replies need no publish list.
func (d *describer) subjects(verb string, p jwt.Permission, replies bool) {
	switch {
	case len(p.Allow) > 0:
		d.line("May "+verb, strings.Join(p.Allow, ", "), "")
	case replies:
		d.line("May "+verb, "nothing but replies", "")
	default:
		d.line("May "+verb, "everything", "")
	}
	if len(p.Deny) > 0 {
		d.line("May not "+verb, strings.Join(p.Deny, ", "), "")
	}
}

// DescribeEffective says in words what permissions come to once a nats-server has
// expanded templates and taken the account's defaults, and what they are good for.
func DescribeEffective(e Effective) []Section {
	d := describer{}
	d.section("Permissions in effect")
	if e.Refusal != nil {
		d.line("Refused", e.Refusal.Detail, e.Refusal.Pointer)
		return d.out
	}
	d.line("They are", map[Origin]string{
		OriginUser: "the user's own", OriginTemplate: "the template's", OriginDefault: "the account's defaults", OriginNone: "unrestricted",
	}[e.Origin], "")
	d.ruleSet("publish", e.Publish)
	d.ruleSet("subscribe to", e.Subscribe)
	if r := e.Responses; r != nil {
		d.line("Replies", responseCount(r, r.MaxMsgs)+" for each request", "within "+answerTime(r, r.Expires))
	}
	d.section("What they are good for")
	for _, c := range e.Capabilities() {
		d.line(yesNo(c.Can), c.Text, "")
	}
	return d.out
}

func (d *describer) ruleSet(verb string, s RuleSet) {
	allowed := "everything"
	if s.Restricted {
		allowed = cmp.Or(rulesInWords(s.Allow), "nothing")
	}
	d.line("May "+verb, allowed, "")
	d.text("May not "+verb, rulesInWords(s.Deny))
	for _, x := range s.Dropped {
		d.line("Left out", x.Source, x.Why)
	}
}

func rulesInWords(rules []Rule) string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = strings.TrimSpace(r.Subject + " " + r.Queue)
	}
	return strings.Join(out, ", ")
}
