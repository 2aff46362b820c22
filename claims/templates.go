package claims

import (
	"slices"

	"github.com/nats-io/jwt/v2"
)

// MaxSubjects is how many subjects one list of permissions may hold.
const MaxSubjects = 500

// Template is a permission set for many users, carried in an account JWT by
// scoped signing keys.
type Template struct {
	Name string `json:"name"`
	// Role is what its signing keys are called in the JWT where that is not Name: the
	// role of a key from elsewhere may be no name, or another template's.
	Role        *string                  `json:"role,omitempty"`
	Description string                   `json:"description,omitempty"`
	Permissions jwt.UserPermissionLimits `json:"permissions"`
}

// NewPermissionLimits returns user permissions without any limit.
func NewPermissionLimits() jwt.UserPermissionLimits {
	var p jwt.UserPermissionLimits
	p.NatsLimits = jwt.NatsLimits{Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit}
	return p
}

func (t *Template) scope(key string) *jwt.UserScope {
	s := jwt.NewUserScope()
	s.Key, s.Role, s.Description, s.Template = key, t.Name, t.Description, t.Permissions
	if t.Role != nil {
		s.Role = *t.Role
	}
	return s
}

// Uses tells whether a subject of the template holds the function called name,
// such as account-name.
func (t *Template) Uses(name string) bool {
	p := t.Permissions.Permissions
	for _, s := range slices.Concat(p.Pub.Allow, p.Pub.Deny, p.Sub.Allow, p.Sub.Deny) {
		fns, _ := Functions(s)
		for _, f := range fns {
			if f.Name == name {
				return true
			}
		}
	}
	return false
}

// CheckTemplate returns every problem of a template.
func CheckTemplate(t Template) Problems {
	problems := CheckName("/name", t.Name)
	problems = append(problems, CheckText("/description", t.Description, MaxTextLength)...)
	return append(problems, CheckPermissionLimits(t.Permissions, true)...)
}

func checkPermissions(pointer string, p jwt.Permissions, template bool) Problems {
	var out Problems
	for _, l := range []struct {
		pointer string
		list    []string
		queue   bool
		deny    bool
	}{
		{pointer + "/publish/allow", p.Pub.Allow, false, false},
		{pointer + "/publish/deny", p.Pub.Deny, false, true},
		{pointer + "/subscribe/allow", p.Sub.Allow, true, false},
		{pointer + "/subscribe/deny", p.Sub.Deny, true, true},
	} {
		if len(l.list) > MaxSubjects {
			out = append(out, blocking(l.pointer, "too_many", "At most 500 subjects are allowed in one list."))
			continue
		}
		var found Problems
		for i, s := range l.list {
			found = append(found, CheckSubject(Point(l.pointer, i), s, l.queue, template)...)
		}
		if l.queue && template {
			found = append(found, checkQueues(l.pointer, l.list)...)
		}
		if l.deny && template {
			refuseDenied(found, l.pointer, l.list)
		}
		out = append(out, found...)
	}
	if p.Resp != nil && p.Resp.MaxMsgs < -1 {
		out = append(out, blocking(pointer+"/responses/max", "out_of_range", "The number of responses is -1 (unlimited) or more; 0 means 1."))
	}
	if p.Resp != nil && p.Resp.Expires < 0 {
		out = append(out, blocking(pointer+"/responses/ttl_seconds", "out_of_range", "The time for responses is 0 (2 minutes) or more seconds."))
	}
	return out
}

// CheckTemplateUse returns what is wrong with a user of a template: a name that
// is no single token where the template uses name(), tags that are missing, and
// tags with so many values that the server gives up. A missing tag in a deny
// subject makes a nats-server refuse the connection, in an allow subject it
// silently drops that subject.
func CheckTemplateUse(t Template, account Account, userName string, userTags []string) Problems {
	var out Problems
	seen := map[Function]bool{}
	x := expander{name: userName, accountName: account.Name, tags: userTags, accountTags: account.Settings.Tags}
	p := t.Permissions.Permissions
	for _, l := range []struct {
		list []string
		deny bool
	}{{p.Pub.Deny, true}, {p.Sub.Deny, true}, {p.Pub.Allow, false}, {p.Sub.Allow, false}} {
		// What a deny list lacks is found below.
		if r := x.expand("", l.list, false).refusal; r != nil && r.Code == "too_many" {
			out = append(out, refused("/tags", r.Code, r.Detail))
		}
		for _, s := range l.list {
			fns, _ := Functions(s)
			for _, f := range fns {
				if !seen[f] {
					seen[f] = true
					out = append(out, checkFunctionUse(f, l.deny, account, userName, userTags)...)
				}
			}
		}
	}
	return out
}

func checkFunctionUse(f Function, deny bool, account Account, userName string, userTags []string) Problems {
	tags, whose, pointer := userTags, "user", "/tags"
	switch f.Name {
	case "name":
		if !IsToken(userName) {
			return Problems{blocking("/name", "not_a_token", "The template puts the user's name into subjects, so it may hold letters, digits, _ and - only.")}
		}
		return nil
	case "account-name":
		if !IsToken(account.Name) {
			return Problems{blocking("/template", "not_a_token", "The template puts the account's name into subjects, so that name may hold letters, digits, _ and - only.")}
		}
		return nil
	case "tag":
	case "account-tag":
		tags, whose, pointer = account.Settings.Tags, "account", "/template"
	default:
		return nil
	}
	if len(TagValues(tags, f.Tag)) > 0 {
		return nil
	}
	missing := tagUse{f.Tag, whose}.missing(deny)
	if deny {
		return Problems{refused(pointer, "missing_tag", missing)}
	}
	return Problems{warning(pointer, "missing_tag", missing)}
}
