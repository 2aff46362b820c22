package claims

import (
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
