package claims

import (
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// The names that stand for more than one prefix, or for none, among the subjects of
// guardrails.
const (
	// Inboxes are the subjects of replies: _INBOX. and what a client's own inbox prefix
	// begins with, _INBOX_….
	Inboxes = "inboxes"
	// Responses allow what is published to the reply subject of a message that was
	// received. It is a name of its own since whoever sends a request to itself chooses
	// that subject freely.
	Responses = "responses"
)

// inboxWord begins the first token of an inbox.
const inboxWord = "_INBOX"

// CheckPermissions returns what is wrong with permissions, a user's or a template's,
// in an account with these default permissions. Those hold for a user without any.
// A template function stands for one token. Deny rules are not asked: they only take
// away.
func (l Levels) CheckPermissions(p jwt.UserPermissionLimits, defaults jwt.Permissions) Problems {
	var out Problems
	for _, x := range l {
		if p.BearerToken && x.NoBearer {
			out = out.further(x.outside("/bearer", "refuse bearer users: whoever sees such a JWT can connect with it."))
		}
		for _, found := range x.checkPermissions(p.Permissions, defaults) {
			out = out.further(found)
		}
	}
	return out
}

// further adds a problem unless the field has one: that of the operator counts more.
func (p Problems) further(x Problem) Problems {
	if slices.ContainsFunc(p, func(o Problem) bool { return o.Pointer == x.Pointer }) {
		return p
	}
	return append(p, x)
}

// CheckDefaults returns what is wrong with an account's default permissions, which
// were before; what does not change is not asked.
func (l Levels) CheckDefaults(before, after jwt.Permissions) Problems {
	var out Problems
	for _, x := range l {
		switch {
		case len(x.Subjects) == 0:
		case isEmpty(after) && !isEmpty(before):
			out = out.further(x.outside("/default_permissions", x.below()+" Without default permissions a user that has none of its own may use every subject."))
		case !isEmpty(after):
			for _, found := range x.checkLists("/default_permissions", after) {
				out = out.further(found)
			}
		}
	}
	return out
}

// CheckExport returns what is wrong with a subject that an account exports.
func (l Levels) CheckExport(pointer, subject string) Problems {
	for _, x := range l {
		if len(x.Subjects) > 0 && !slices.ContainsFunc(x.Subjects, func(prefix string) bool { return prefix != Inboxes && below(subject, prefix) }) {
			return Problems{x.outside(pointer, x.below())}
		}
	}
	return nil
}

func (l Level) checkPermissions(p, defaults jwt.Permissions) Problems {
	switch {
	case len(l.Subjects) == 0:
		return nil
	case !isEmpty(p):
		return l.checkLists("/permissions", p)
	case isEmpty(defaults):
		return Problems{l.outside("/permissions", l.below()+" Without permissions every subject is allowed: say which.")}
	case len(l.checkLists("", defaults)) > 0:
		return Problems{l.outside("/permissions", l.below()+" Without permissions the account's defaults hold, and they go further: say which subjects.")}
	}
	return nil
}

// checkLists follows what a nats-server makes of the lists, see origin.install.
func (l Level) checkLists(pointer string, p jwt.Permissions) Problems {
	out := l.checkList(pointer+"/publish", p.Pub, p.Resp != nil)
	out = append(out, l.checkList(pointer+"/subscribe", p.Sub, false)...)
	if p.Resp != nil && !slices.Contains(l.Subjects, Responses) {
		out = append(out, l.outside(pointer+"/responses", "do not name "+Responses+": who answers a request publishes to whatever subject it names."))
	}
	return out
}

func (l Level) checkList(pointer string, p jwt.Permission, restricted bool) Problems {
	if len(p.Allow) == 0 {
		if restricted || slices.Contains(p.Deny, ">") {
			return nil
		}
		return Problems{l.outside(pointer+"/allow", l.below()+" An empty list allows every subject: say which.")}
	}
	var out Problems
	for n, s := range p.Allow {
		if !slices.ContainsFunc(l.Subjects, func(prefix string) bool { return below(s, prefix) }) {
			out = append(out, l.outside(Point(pointer+"/allow", n), l.below()))
		}
	}
	return out
}

// below says what is allowed.
func (l Level) below() string {
	var prefixes, also []string
	for _, s := range l.Subjects {
		switch s {
		case Inboxes:
			also = append(also, "inboxes")
		case Responses:
		default:
			prefixes = append(prefixes, s+">")
		}
	}
	const most = 8
	if len(prefixes) > most {
		prefixes = append(prefixes[:most], "…")
	}
	if also = append(prefixes, also...); len(also) == 0 {
		return "allow no subject."
	}
	return "allow subjects within " + strings.Join(also, ", ") + " only."
}

// below tells whether everything that a subject with template functions, and maybe a
// queue group, can stand for lies below a prefix or is what its name stands for.
func below(subject, prefix string) bool {
	// A brace is in no prefix, so that a function equals none of its tokens.
	subject, _, _ = strings.Cut(strings.TrimSpace(mustacheRE.ReplaceAllString(subject, "{}")), " ")
	switch prefix {
	case Responses:
		return false
	case Inboxes:
		first, _, more := strings.Cut(subject, ".")
		return more && (first == inboxWord || strings.HasPrefix(first, inboxWord+"_"))
	}
	return len(subject) > len(prefix) && strings.HasPrefix(subject, prefix)
}

// meetPrefixes returns what two lists allow both; an empty list allows everything.
// Two prefixes are one within the other or have nothing in common.
func meetPrefixes(a, b []string) []string {
	switch {
	case len(a) == 0:
		return slices.Clone(b)
	case len(b) == 0:
		return slices.Clone(a)
	}
	out := []string{}
	for _, lists := range [][2][]string{{a, b}, {b, a}} {
		for _, s := range lists[0] {
			if slices.ContainsFunc(lists[1], func(o string) bool { return s == o || below(s+">", o) }) {
				out = append(out, s)
			}
		}
	}
	return sortedSet(out)
}
