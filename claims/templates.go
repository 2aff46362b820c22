package claims

import (
	"net/netip"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
)

// MaxSubjects is how many subjects one list of permissions may hold.
const MaxSubjects = 500

// Template is a permission set for many users, carried in an account JWT by
// scoped signing keys.
type Template struct {
	Name        string                   `json:"name"`
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

// CheckPermissionLimits returns every problem of a user's or template's
// permissions and limits; template allows template functions in subjects.
func CheckPermissionLimits(p jwt.UserPermissionLimits, template bool) Problems {
	problems := checkPermissions("/permissions", p.Permissions, template)
	problems = append(problems, checkLimit("/limits/subscriptions", p.Subs)...)
	problems = append(problems, checkLimit("/limits/data_bytes", p.Data)...)
	problems = append(problems, checkLimit("/limits/payload_bytes", p.Payload)...)
	for i, c := range p.Src {
		if _, err := netip.ParsePrefix(c); err != nil {
			problems = append(problems, blocking(Point("/source_cidrs", i), "invalid_cidr",
				"A source network is written as address/bits, such as 10.0.0.0/8 or 2001:db8::/32."))
		}
	}
	problems = append(problems, checkTimes(p.UserLimits)...)
	for i, c := range p.AllowedConnectionTypes {
		if !slices.Contains(connectionTypes, c) {
			problems = append(problems, blocking(Point("/connection_types", i), "unknown_value",
				"The connection types are STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS and IN_PROCESS."))
		}
	}
	return problems
}

var connectionTypes = []string{
	jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS,
	jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS, jwt.ConnectionTypeInProcess,
}

func checkTimes(l jwt.UserLimits) Problems {
	var out Problems
	for i, t := range l.Times {
		start, err1 := time.Parse(time.TimeOnly, t.Start)
		end, err2 := time.Parse(time.TimeOnly, t.End)
		if err1 != nil || err2 != nil {
			out = append(out, blocking(Point("/times", i), "invalid_time", "Connect hours are written HH:MM:SS, from 00:00:00 to 23:59:59."))
		} else if start.Equal(end) {
			out = append(out, blocking(Point("/times", i), "invalid_time", "Start and end of connect hours must differ; an end before the start crosses midnight."))
		}
	}
	if l.Locale != "" {
		// Local is whatever zone the server happens to run in.
		if _, err := time.LoadLocation(l.Locale); err != nil || l.Locale == "Local" {
			out = append(out, blocking("/times_location", "invalid_time_zone", "The time zone must be an IANA name, such as Europe/Berlin."))
		}
	}
	return out
}

func checkPermissions(pointer string, p jwt.Permissions, template bool) Problems {
	var out Problems
	for _, l := range []struct {
		pointer string
		list    []string
		queue   bool
	}{
		{pointer + "/publish/allow", p.Pub.Allow, false},
		{pointer + "/publish/deny", p.Pub.Deny, false},
		{pointer + "/subscribe/allow", p.Sub.Allow, true},
		{pointer + "/subscribe/deny", p.Sub.Deny, true},
	} {
		if len(l.list) > MaxSubjects {
			out = append(out, blocking(l.pointer, "too_many", "At most 500 subjects are allowed in one list."))
			continue
		}
		for i, s := range l.list {
			out = append(out, CheckSubject(Point(l.pointer, i), s, l.queue, template)...)
		}
		if l.queue && template {
			out = append(out, checkQueues(l.pointer, l.list)...)
		}
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
			out = append(out, blocking("/tags", r.Code, r.Detail))
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
	return Problems{{Pointer: pointer, Code: "missing_tag", Detail: tagUse{f.Tag, whose}.missing(deny), Blocking: deny}}
}
