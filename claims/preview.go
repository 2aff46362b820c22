package claims

import "strings"

// Preview is what a template comes to for one user, before anybody uses it.
type Preview struct {
	Effective    Effective
	Capabilities []Capability
	// Problems are of the template for this user, blocking ones first: what a server
	// refuses or drops, and what clients have to know.
	Problems Problems
}

// PreviewTemplate works out what template t comes to for user u of account.
func PreviewTemplate(t Template, account Account, u TestUser) Preview {
	e := EffectiveOf(t, account, u)
	out := Preview{Effective: e, Capabilities: e.Capabilities()}
	out.Problems = CheckTemplateUse(t, livesIn(account, u), u.Name, NormalizeTags(u.Tags))
	if e.Refusal != nil {
		return out
	}
	for _, set := range []RuleSet{e.Publish, e.Subscribe} {
		for _, d := range set.Dropped {
			out.Problems = append(out.Problems, warning(d.Pointer, "dropped", d.Why))
		}
	}
	c := capabilities{Effective: e}
	reply := c.openInbox()
	switch {
	case reply.Can && c.prefix != "_INBOX":
		out.Problems = append(out.Problems, warning("", "no_default_inbox", "Clients must set the inbox prefix "+Redact(c.prefix)+": requests fail with the default one."))
	case !reply.Can && strings.HasSuffix(reply.Text, noInbox) && summary("", e.Publish).Can:
		out.Problems = append(out.Problems, warning("", "no_inbox", "No inbox can be subscribed to, so requests, JetStream and key-value stores do not work. Allow to subscribe to _INBOX.> or to an inbox of its own."))
	}
	return out
}
