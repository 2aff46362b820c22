package claims

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Action is what permissions are about.
type Action string

// The two actions.
const (
	Publish   Action = "publish"
	Subscribe Action = "subscribe"
)

// Origin tells where a rule, or a whole permission set, comes from.
type Origin string

// The origins. A set is never mixed: a user has its own permissions, or its
// template's, or its account's defaults; only the server adds to any of them.
const (
	// OriginUser is the user's own JWT.
	OriginUser Origin = "user"
	// OriginTemplate is the template of the scoped key that issued the user.
	OriginTemplate Origin = "template"
	// OriginDefault is the account's default permissions.
	OriginDefault Origin = "account_default"
	// OriginServer is a rule that the nats-server adds by itself.
	OriginServer Origin = "server"
	// OriginNone says that nothing restricts the user.
	OriginNone Origin = "none"
)

// Rule is one subject of a permission list in the form a nats-server enforces.
type Rule struct {
	Subject string
	// Queue narrows a subscribe rule to queue groups; it may hold wildcards.
	Queue  string
	Deny   bool
	Origin Origin
	// Source is the entry as written, such as devices.{{tag(region)}}.>.
	Source string
	// Pointer is the entry's JSON pointer: /permissions/publish/allow/0 in a user
	// or template, /default_permissions/… in an account.
	Pointer string
}

// Dropped is an entry that a nats-server leaves out, and why.
type Dropped struct{ Source, Pointer, Why string }

// RuleSet is what holds for one action.
type RuleSet struct {
	// Restricted tells that an allow list is in force: what it does not name, and
	// an empty one names nothing, is refused.
	Restricted  bool
	Allow, Deny []Rule
	Dropped     []Dropped
	// Expansions is how many subjects the template functions of both lists stand
	// for, before any is dropped. Above 4,096 in one list a nats-server refuses.
	Expansions int
}

// Effective is what a user may really do once it is connected.
type Effective struct {
	// Origin tells whose permissions they are.
	Origin             Origin
	Publish, Subscribe RuleSet
	// Responses allows replies to requests that were received, on subjects that
	// could not be published to otherwise; defaults are filled in as a server does.
	Responses *jwt.ResponsePermission
	// Refusal tells why a nats-server refuses the connection because of the
	// permissions; then nothing else is set but Origin.
	Refusal *Problem
}

// calloutSubject is where a nats-server asks the auth callout of an account
// (AuthCalloutSubject); nobody in that account may publish to it.
const calloutSubject = "$SYS.REQ.USER.AUTH"

// EffectivePermissions returns what a nats-server makes of the permissions when
// user connects to account: template functions are expanded, the account's
// defaults taken where the user has no permissions at all, and what the server
// adds is added. The claims are read as decoded from a JWT: there an empty allow
// list beside another list allows nothing, an absent one everything.
// user.Issuer decides whether a template rules. Where an auth callout decides about
// a user, user is what the callout answered. Neither claims may be nil; that
// the server accepts them otherwise is not asked. Rules may be shared with other
// results and are not to be changed.
func EffectivePermissions(user *jwt.UserClaims, account *jwt.AccountClaims) Effective {
	return newAccountRules(account).effective(user)
}

// accountRules is what all users of an account have in common.
type accountRules struct {
	claims   *jwt.AccountClaims
	defaults Effective
	// fixed are the templates without functions, by signing key.
	fixed map[string]Effective
}

func newAccountRules(account *jwt.AccountClaims) accountRules {
	a := accountRules{account, Effective{Origin: OriginNone}, map[string]Effective{}}
	if p := account.DefaultPermissions; !isEmpty(p) {
		a.defaults = origin{OriginDefault, "/default_permissions", nil}.install(p)
		a.defaults.Refusal = libraryRefusal("/default_permissions", p)
	}
	return a
}

// effective follows processClientOrLeafAuthentication, buildInternalNkeyUser and
// setPermissions of nats-server.
func (a accountRules) effective(user *jwt.UserClaims) Effective {
	e := a.chosen(user)
	if e.Refusal != nil {
		return Effective{Origin: e.Origin, Refusal: e.Refusal}
	}
	added := Rule{Subject: calloutSubject, Deny: true, Origin: OriginServer, Source: calloutSubject}
	there := func(r Rule) bool { return r.Subject == calloutSubject }
	if a.claims.HasExternalAuthorization() && !slices.ContainsFunc(e.Publish.Deny, there) {
		e.Publish.Deny = append(slices.Clip(e.Publish.Deny), added)
	}
	return e
}

// chosen is the permission set that holds: a server refuses the whole account
// when its defaults are malformed, whoever connects.
func (a accountRules) chosen(user *jwt.UserClaims) Effective {
	if a.defaults.Refusal != nil {
		return a.defaults
	}
	if scope, ok := a.claims.SigningKeys[user.Issuer].(*jwt.UserScope); ok && scope != nil {
		if isEmpty(scope.Template.Permissions) {
			return a.defaults
		}
		e, known := a.fixed[user.Issuer]
		if known {
			return e
		}
		e = origin{OriginTemplate, "/permissions", a.expander(user)}.install(scope.Template.Permissions)
		if e.Refusal == nil && e.Publish.Expansions+e.Subscribe.Expansions == 0 {
			a.fixed[user.Issuer] = e
		}
		return e
	}
	if isEmpty(user.Permissions) {
		return a.defaults
	}
	if refusal := libraryRefusal("/permissions", user.Permissions); refusal != nil {
		return Effective{Origin: OriginUser, Refusal: refusal}
	}
	return origin{OriginUser, "/permissions", nil}.install(user.Permissions)
}

func (a accountRules) expander(user *jwt.UserClaims) *expander {
	return &expander{
		name: user.Name, subject: user.Subject, accountName: a.claims.Name, accountSubject: user.IssuerAccount,
		tags: user.User.Tags, accountTags: a.claims.Account.Tags,
	}
}

func isEmpty(p jwt.Permissions) bool {
	return len(p.Pub.Allow)+len(p.Pub.Deny)+len(p.Sub.Allow)+len(p.Sub.Deny) == 0 && p.Resp == nil
}

// origin is what the rules of one permission set have in common.
type origin struct {
	origin  Origin
	pointer string
	// template expands the subjects, if they are a template's.
	template *expander
}

// install turns a permission set into rules.
func (o origin) install(p jwt.Permissions) Effective {
	e := Effective{Origin: o.origin, Responses: responses(p.Resp)}
	// The server's order decides which of several refusals is told.
	if e.Subscribe, e.Refusal = o.rules(Subscribe, p.Sub); e.Refusal != nil {
		return e
	}
	if e.Publish, e.Refusal = o.rules(Publish, p.Pub); e.Refusal != nil {
		return e
	}
	e.Subscribe.Restricted = len(p.Sub.Allow) > 0
	// For publishing the server looks for nil, once there is any list, and makes
	// an empty list where replies are allowed.
	e.Publish.Restricted = p.Resp != nil || p.Pub.Allow != nil && len(p.Pub.Allow)+len(p.Pub.Deny) > 0
	return e
}

// rules makes the rules for one action, or returns why the server refuses.
func (o origin) rules(action Action, p jwt.Permission) (RuleSet, *Problem) {
	pointer := o.pointer + "/" + string(action)
	allow, deny := o.expand(pointer+"/allow", p.Allow, false), o.expand(pointer+"/deny", p.Deny, true)
	for _, x := range []expansion{allow, deny} {
		if x.refusal != nil {
			return RuleSet{}, x.refusal
		}
	}
	s := RuleSet{Dropped: allow.dropped, Expansions: allow.count + deny.count}
	s.add(action, o.origin, allow.entries, false)
	s.add(action, o.origin, deny.entries, true)
	everything := func(e entry) bool { return e.subject == ">" }
	if len(p.Allow) > 0 && len(allow.entries) == 0 && !slices.ContainsFunc(deny.entries, everything) {
		s.Deny = append(s.Deny, Rule{Subject: ">", Deny: true, Origin: OriginServer, Source: ">", Pointer: pointer + "/allow"})
	}
	return s, nil
}

func (o origin) expand(pointer string, list []string, deny bool) expansion {
	if o.template == nil {
		return expansion{entries: entries(pointer, list)}
	}
	return o.template.expand(pointer, list, deny)
}

// add installs entries; nothing checks a template before, so here is where a
// server leaves out what is malformed and logs it.
func (s *RuleSet) add(action Action, origin Origin, list []entry, deny bool) {
	if len(list) == 0 {
		return
	}
	rules := make([]Rule, 0, len(list))
	for _, e := range list {
		r := Rule{Subject: e.subject, Deny: deny, Origin: origin, Source: e.source, Pointer: e.pointer}
		valid := action == Publish && validSubject(e.subject)
		if !valid && (action == Subscribe || deny) {
			// A queue group means nothing to a publisher, yet a deny rule stands.
			if r.Subject, r.Queue, valid = splitQueue(e.subject); action == Publish {
				r.Queue = ""
			}
		}
		if !valid {
			s.Dropped = append(s.Dropped, Dropped{e.source, e.pointer, "It is no valid subject, so a nats-server ignores it."})
			continue
		}
		rules = append(rules, r)
	}
	if deny {
		s.Deny = rules
	} else {
		s.Allow = rules
	}
}

// splitQueue splits `subject queue`, at any white space, as splitSubjectQueue of
// nats-server does.
func splitQueue(s string) (subject, queue string, ok bool) {
	f := strings.Fields(s)
	switch {
	case len(f) == 1:
		return f[0], "", validSubject(f[0])
	case len(f) == 2:
		return f[0], f[1], validSubject(f[0]) && validSubject(f[1])
	}
	return "", "", false
}

// responses fills in the defaults of validateResponsePermissions: one message
// within two minutes. Below zero there is no bound.
func responses(r *jwt.ResponsePermission) *jwt.ResponsePermission {
	if r == nil {
		return nil
	}
	out := *r
	if out.MaxMsgs == 0 {
		out.MaxMsgs = 1
	}
	if out.Expires == 0 {
		out.Expires = 2 * time.Minute
	}
	return &out
}

// libraryRefusal is the first thing that nats-io/jwt has against permissions that
// are no template's; a nats-server asks it, and refuses.
func libraryRefusal(pointer string, p jwt.Permissions) *Problem {
	found := jwt.CreateValidationResults()
	for _, l := range []struct {
		pointer string
		list    jwt.StringList
		queue   bool
	}{
		{"/subscribe/allow", p.Sub.Allow, true},
		{"/subscribe/deny", p.Sub.Deny, true},
		{"/publish/allow", p.Pub.Allow, false},
		{"/publish/deny", p.Pub.Deny, false},
	} {
		for i := range l.list {
			one := jwt.Permission{Allow: l.list[i : i+1]}
			if one.Validate(found, l.queue); found.IsBlocking(false) {
				out := blocking(Point(pointer+l.pointer, i), "refused_by_server", sentence(found.Issues[0].Description))
				return &out
			}
		}
	}
	return nil
}
