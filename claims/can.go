package claims

import (
	"strconv"
	"strings"
)

// Access is the answer to whether a user may do something.
type Access string

// The three answers.
const (
	AccessAllowed Access = "allowed"
	// AccessFiltered: the subscription is accepted, but what matches a deny rule
	// is not delivered.
	AccessFiltered Access = "filtered"
	AccessDenied   Access = "denied"
)

// Decision says what a nats-server answers, and why.
type Decision struct {
	Access Access
	// Rule decided; nil when nothing restricts, or no allow rule matched.
	Rule *Rule
	// Filters are the deny rules that withhold deliveries, of AccessFiltered.
	Filters []Rule
	// RepliesOnly tells that what is denied may still be published as the reply to
	// a request that was received.
	RepliesOnly bool
	// Why is a sentence.
	Why string
	// Closest is, when no allow rule matched, the one that shares most tokens.
	Closest *Rule
}

// systemQueue is the queue group of a nats-server itself (sysGroup).
const systemQueue = "_sys_"

// reserved are prefixes that a nats-server keeps to itself, whatever is allowed:
// replies through gateways and the Raft groups of JetStream. The latter are open
// to the system account, which permissions do not tell.
var reserved = []string{"_GR_.", "$GR.", "$NRG."}

// Can tells whether the user may publish to subject, or subscribe to it in the
// queue group if queue is not empty. It is the answer for an ordinary client
// connection: leaf nodes and MQTT are given some more. A subject to publish to is
// literal. The rules in the answer are e's own and are not to be changed.
func (e Effective) Can(a Action, subject, queue string) (Decision, Problems) {
	if problems := checkQuestion(a, subject, queue); len(problems) > 0 {
		return Decision{}, problems
	}
	return e.decide(a, subject, queue), nil
}

func checkQuestion(a Action, subject, queue string) Problems {
	var out Problems
	switch {
	case a != Publish && a != Subscribe:
		out = append(out, blocking("/action", "unknown_value", "The action is publish or subscribe."))
	case a == Publish && queue != "":
		out = append(out, blocking("/queue", "invalid_queue", "A queue group is for subscriptions; a publisher has none."))
	}
	switch {
	case len(subject) > MaxSubjectLength:
		out = append(out, blocking("/subject", "too_long", "A subject may have at most 1,024 bytes."))
	case LooksLikeSeed(subject):
		out = append(out, CheckPublicKey("/subject", KindUser, subject)...)
	case !validSubject(subject):
		out = append(out, blocking("/subject", "invalid_subject", subjectFault(subject)))
	case a == Publish && hasWildcard(subject):
		out = append(out, blocking("/subject", "not_literal", "A message is published to one subject, without the wildcards * and >."))
	}
	switch {
	case len(queue) > MaxSubjectLength:
		out = append(out, blocking("/queue", "too_long", "A queue group may have at most 1,024 bytes."))
	case LooksLikeSeed(queue):
		out = append(out, CheckPublicKey("/queue", KindUser, queue)...)
	case strings.ContainsAny(queue, " \t\r\n"):
		out = append(out, blocking("/queue", "invalid_queue", "A queue group must not contain spaces."))
	}
	return out
}

// decide follows pubAllowedFullCheck and canSubscribeInternal of nats-server.
func (e Effective) decide(a Action, subject, queue string) Decision {
	if e.Refusal != nil {
		return Decision{Access: AccessDenied, Why: e.Refusal.Detail}
	}
	set := e.Subscribe
	if a == Publish {
		set = e.Publish
		for _, prefix := range reserved {
			if strings.HasPrefix(subject, prefix) {
				return Decision{Access: AccessDenied, Why: "A nats-server keeps what begins with " + prefix + " to itself."}
			}
		}
	} else if queue == systemQueue {
		return Decision{Access: AccessDenied, Why: "A nats-server keeps the queue group " + systemQueue + " to itself."}
	}
	d := set.decide(subject, queue)
	if a == Publish && d.Access == AccessDenied && e.Responses != nil {
		d.RepliesOnly = true
		d.Why += " Replies to requests that were received are allowed."
	}
	return d
}

// decide names the deny rule first: an allow rule more would change nothing.
func (s RuleSet) decide(subject, queue string) Decision {
	var filters []Rule
	for i := range s.Deny {
		r := &s.Deny[i]
		if r.Queue != "" && (queue == "" || !queueMatches(queue, r.Queue)) {
			continue
		}
		if matches(r.Subject, subject) {
			return Decision{Access: AccessDenied, Rule: r, Why: r.says() + "."}
		}
		if overlap(r.Subject, subject) {
			filters = append(filters, *r)
		}
	}
	d := Decision{Access: AccessAllowed, Why: "Nothing restricts it."}
	if s.Restricted {
		d = s.allowed(subject, queue)
	}
	if len(filters) == 0 || d.Access == AccessDenied {
		return d
	}
	d.Access, d.Filters = AccessFiltered, filters
	d.Why += " What matches " + Redact(filters[0].Subject)
	if more := len(filters) - 1; more > 0 {
		d.Why += ", or one of " + strconv.Itoa(more) + " more deny rules,"
	}
	d.Why += " is not delivered."
	return d
}

// allowed asks the allow list. As soon as it names queue groups for a subject, a
// subscription in any other group is refused, even if the subject alone is in the
// list too.
func (s RuleSet) allowed(subject, queue string) Decision {
	var plain, group, other *Rule
	for i := range s.Allow {
		r := &s.Allow[i]
		at := &plain
		if r.Queue != "" {
			if at = &other; queue != "" && queueMatches(queue, r.Queue) {
				at = &group
			}
		}
		if *at == nil && matches(r.Subject, subject) {
			*at = r
		}
	}
	switch {
	case group != nil:
		return group.allow(subject)
	case plain != nil && (queue == "" || other == nil):
		return plain.allow(subject)
	case other != nil && queue == "":
		return Decision{Access: AccessDenied, Closest: other, Why: "It is allowed in the queue group " + Redact(other.Queue) + " only."}
	case other != nil:
		return Decision{Access: AccessDenied, Closest: other, Why: "For this subject the allow list names other queue groups, such as " + Redact(other.Queue) + ", so this one is refused."}
	}
	d := Decision{Access: AccessDenied, Closest: s.closest(subject), Why: "No allow rule matches."}
	if d.Closest != nil {
		d.Why = "No allow rule matches; the closest is " + d.Closest.written() + "."
	}
	return d
}

// allow is the decision that r allows subject.
func (r *Rule) allow(subject string) Decision {
	d := Decision{Access: AccessAllowed, Rule: r, Why: r.says() + "."}
	if !covers(r.Subject, subject) {
		d.Why += " A nats-server takes that to cover " + Redact(subject) + ", so deeper subjects are delivered too."
	}
	return d
}

// says tells whose rule it is and what it does, without the full stop.
func (r *Rule) says() string {
	verb := " allow "
	if r.Deny {
		verb = " deny "
	}
	switch r.Origin {
	case OriginTemplate:
		return "The template's permissions" + verb + r.written()
	case OriginDefault:
		return "The account's default permissions" + verb + r.written()
	case OriginServer:
		if r.Subject == ">" {
			return "Nothing was left of the allow list, so the nats-server denies everything"
		}
		return "The nats-server itself denies " + r.written()
	default:
		return "The user's own permissions" + verb + r.written()
	}
}

// written is the rule as it is written, and what became of it.
func (r *Rule) written() string {
	s := r.Subject
	if r.Queue != "" {
		s += " " + r.Queue
	}
	if s != r.Source {
		s = r.Source + ", here " + s
	}
	return Redact(s)
}

// closest returns the allow rule that has most tokens in common with subject, at
// least a literal one; those count twice as much as a wildcard.
func (s RuleSet) closest(subject string) *Rule {
	var best *Rule
	most := 0
	for i := range s.Allow {
		literal, wild := inCommon(s.Allow[i].Subject, subject)
		if n := 2*literal + wild; literal > 0 && n > most {
			best, most = &s.Allow[i], n
		}
	}
	return best
}
