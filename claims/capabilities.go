package claims

import (
	"slices"
	"strconv"
	"strings"
)

// Capability is one thing that people want to know of a user.
type Capability struct {
	Can bool
	// Text is a sentence without its subject: "can use request/reply".
	Text string
	// Because is the rule that allows or denies it, nil when none does.
	Because *Rule
}

// Capabilities tells in plain words what the permissions are good for. What
// nats.go does under the hood is counted in: a request needs an inbox, and to open
// a bucket is to ask for its stream. A stream or bucket is named where a rule
// names it, unless what can be done with it can be done with all. Whether
// JetStream is on, and what exists, is not known here.
func (e Effective) Capabilities() []Capability {
	if e.Refusal != nil {
		return []Capability{{Text: "cannot connect: " + e.Refusal.Detail}}
	}
	c := capabilities{Effective: e}
	reply := c.openInbox()
	out := []Capability{
		summary("publish to", e.Publish), summary("subscribe to", e.Subscribe), reply, c.answer(),
		c.ask("see account info", "$JS.API.INFO"),
		c.ask("create streams", "$JS.API.STREAM.CREATE.*"),
	}
	for _, k := range kinds {
		every := k.ask(c, anyName, k.every)
		for _, x := range every {
			if x.Can {
				out = append(out, x)
			}
		}
		named := c
		named.partly = true
		for _, name := range k.names(e.Publish) {
			for i, x := range k.ask(named, name, k.one+Redact(name)) {
				if same := strings.Replace(x.Text, k.one+Redact(name), k.every, 1); !x.Can || same != every[i].Text {
					out = append(out, x)
				}
			}
		}
	}
	return out
}

// anyName stands for the streams, buckets, keys and inboxes that no rule names.
const anyName = "any-name"

// capabilities is an Effective and how it is asked.
type capabilities struct {
	Effective
	// prefix is of the inbox, which may be the user's own.
	prefix string
	// inbox is whether the answers of requests can be received.
	inbox Decision
	// partly takes yes for an answer when a rule allows some of what is asked for.
	partly bool
}

// kind is a kind of thing that JetStream keeps.
type kind struct {
	every, one string
	// prefixes are what stands before a name in subjects.
	prefixes []string
	ask      func(c capabilities, name, label string) []Capability
}

var kinds = []kind{
	{"every stream", "stream ", []string{
		"$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET.", "$JS.API.DIRECT.GET.", "$JS.API.CONSUMER.INFO.", "$JS.API.CONSUMER.CREATE.",
		"$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.CONSUMER.DURABLE.CREATE.", "$JS.ACK.",
	}, capabilities.streams},
	{"every KV bucket", "KV bucket ", []string{"$KV.", "KV_"}, capabilities.buckets},
	{"every object store", "object store ", []string{"$O.", "OBJ_"}, capabilities.objects},
}

func (c capabilities) streams(stream, label string) []Capability {
	consume := c.listen("consume from "+label, "$JS.API.CONSUMER.INFO."+stream+".*", "$JS.API.CONSUMER.MSG.NEXT."+stream+".*")
	if !consume.Can {
		return []Capability{consume}
	}
	if ack := c.ask("", "$JS.ACK."+stream+".>"); !ack.Can && c.Responses == nil {
		consume.Text += ", but not acknowledge"
	}
	return []Capability{consume}
}

func (c capabilities) buckets(bucket, label string) []Capability {
	stream, keys := "KV_"+bucket, "$KV."+bucket+".>"
	info := "$JS.API.STREAM.INFO." + stream
	read := c.ask("read "+label, info, "$JS.API.DIRECT.GET."+stream+"."+keys)
	if !read.Can {
		if old := c.ask("read "+label+" if made without direct get", info, "$JS.API.STREAM.MSG.GET."+stream); old.Can {
			read = old
		}
	}
	return []Capability{read, c.listen("watch "+label, info, "$JS.API.CONSUMER.CREATE."+stream+".*."+keys), c.ask("write to "+label, info, keys)}
}

func (c capabilities) objects(bucket, label string) []Capability {
	stream, objects := "OBJ_"+bucket, "$O."+bucket
	info, get := "$JS.API.STREAM.INFO."+stream, "$JS.API.DIRECT.GET."+stream+"."+objects+".M.*"
	return []Capability{
		c.listen("read "+label, info, get, "$JS.API.CONSUMER.CREATE."+stream+".*."+objects+".C.*"),
		c.ask("write to "+label, info, get, objects+".C.*", objects+".M.*"),
	}
}

// names returns the names that rules give to things of this kind.
func (k kind) names(s RuleSet) []string {
	var out []string
	for _, r := range slices.Concat(s.Allow, s.Deny) {
		for _, prefix := range k.prefixes {
			_, rest, found := strings.Cut("."+r.Subject, "."+prefix)
			name, _, _ := strings.Cut(rest, ".")
			bucket := strings.HasPrefix(prefix, "$JS.") && (strings.HasPrefix(name, "KV_") || strings.HasPrefix(name, "OBJ_"))
			if found && !bucket && name != "*" && name != ">" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// ask answers whether requests can be sent to all of these subjects. The last is
// what it is about.
func (c capabilities) ask(text string, patterns ...string) Capability {
	if c.inbox.Access == AccessDenied {
		return Capability{Text: "cannot " + text + ": " + noInbox, Because: c.inbox.Rule}
	}
	out, only := Capability{Can: true}, ""
	for _, p := range patterns {
		d := c.some(p)
		if d.Access == AccessDenied {
			return Capability{Text: "cannot " + text + ": may not publish to " + Redact(p), Because: d.Rule}
		}
		if out.Because = d.Rule; d.Closest != nil {
			only = ", only " + d.Closest.written()
		}
	}
	out.Text = "can " + text + only
	return out
}

// listen is ask for what delivers messages: nats.go has them sent to an inbox of
// two tokens, where answers come to one of three.
func (c capabilities) listen(text string, patterns ...string) Capability {
	out := c.ask(text, patterns...)
	if d := c.decide(Subscribe, c.prefix+"."+anyName, ""); out.Can && d.Access == AccessDenied {
		return Capability{Text: "cannot " + text + ": " + noInbox, Because: d.Rule}
	}
	return out
}

// some decides about a subject that is like pattern. Where that is denied, it looks
// for an allow rule that narrows the pattern, and names it as the closest.
func (c capabilities) some(pattern string) Decision {
	d := c.decide(Publish, literal(pattern), "")
	if d.Access != AccessDenied || !c.partly {
		return d
	}
	for i := range c.Publish.Allow {
		r := &c.Publish.Allow[i]
		if !overlap(r.Subject, pattern) {
			continue
		}
		if narrow := c.decide(Publish, literal(meet(pattern, r.Subject)), ""); narrow.Access == AccessAllowed {
			narrow.Closest = r
			return narrow
		}
	}
	return d
}

const noInbox = "may not subscribe to _INBOX.>"

// openInbox finds out whether replies can be received, and tells it as the
// capability to send requests. Users are often given an inbox of their own.
func (c *capabilities) openInbox() Capability {
	may := summary("publish to", c.Publish)
	c.prefix = "_INBOX"
	if c.inbox = c.decide(Subscribe, c.prefix+"."+anyName+".*", ""); c.inbox.Access != AccessDenied {
		if !may.Can {
			return Capability{Text: "cannot use request/reply: may not publish", Because: may.Because}
		}
		return Capability{Can: true, Text: "can use request/reply", Because: c.inbox.Rule}
	}
	for _, r := range c.Subscribe.Allow {
		prefix, open := strings.CutSuffix(r.Subject, ".>")
		if !open || !strings.HasPrefix(prefix, "_INBOX") || hasWildcard(prefix) || !may.Can {
			continue
		}
		if d := c.decide(Subscribe, prefix+"."+anyName+".*", ""); d.Access != AccessDenied {
			c.inbox, c.prefix = d, prefix
			return Capability{Can: true, Text: "can use request/reply, with the inbox prefix " + Redact(prefix), Because: d.Rule}
		}
	}
	return Capability{Text: "cannot use request/reply: " + noInbox, Because: c.inbox.Rule}
}

// answer tells whether requests can be received on other subjects than the inbox,
// and replied to.
func (c capabilities) answer() Capability {
	requests := c.Subscribe
	requests.Allow = slices.DeleteFunc(slices.Clone(requests.Allow), func(r Rule) bool { return strings.HasPrefix(r.Subject, "_INBOX") })
	if s := summary("", requests); !s.Can {
		return Capability{Text: "cannot answer requests: may not subscribe to any", Because: s.Because}
	}
	d := c.decide(Publish, "_INBOX."+anyName+"."+anyName, "")
	switch {
	case d.Access == AccessAllowed:
		return Capability{Can: true, Text: "can answer requests", Because: d.Rule}
	case d.RepliesOnly && c.Responses.Expires > 0 && c.Responses.MaxMsgs > 0:
		return Capability{Can: true, Text: "can answer requests, with " + counted(c.Responses.MaxMsgs, "reply", "replies") + " within " + c.Responses.Expires.String()}
	case d.RepliesOnly:
		return Capability{Can: true, Text: "can answer requests"}
	}
	return Capability{Text: "cannot answer requests: may not publish to _INBOX.>", Because: d.Rule}
}

// summary says how many subjects a rule set leaves open.
func summary(verb string, s RuleSet) Capability {
	open := map[string]bool{}
	shut := map[string]bool{}
	for _, d := range s.Deny {
		shut[d.Subject] = true
	}
	out := Capability{Can: true}
	if !s.Restricted {
		s.Allow = []Rule{{Subject: ">"}}
	}
	for i := range s.Allow {
		r := &s.Allow[i]
		deny := slices.IndexFunc(s.Deny, func(d Rule) bool {
			return d.Queue == "" && matches(d.Subject, r.Subject) && covers(d.Subject, r.Subject)
		})
		switch {
		case deny >= 0 && len(open) == 0:
			out.Because = &s.Deny[deny]
		case deny < 0:
			if len(open) == 0 && s.Restricted {
				out.Because = r
			}
			open[r.Subject] = true
		}
	}
	switch n := len(open); {
	case n == 0:
		return Capability{Text: "cannot " + verb + " anything", Because: out.Because}
	case open[">"] && len(shut) == 0:
		out.Text = "can " + verb + " anything"
	case open[">"]:
		out.Text = "can " + verb + " anything but " + counted(len(shut), "subject", "subjects")
	default:
		out.Text = "can " + verb + " " + counted(n, "subject", "subjects")
	}
	return out
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
