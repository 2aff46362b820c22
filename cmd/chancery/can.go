package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"chancery/claims"
	"chancery/claims/nsc"
)

// questionFlags are what can and who ask about.
type questionFlags struct {
	sourceFlags
	JSON    bool   `help:"Print one JSON object." name:"json"`
	Queue   string `help:"Subscribe in this queue group." placeholder:"GROUP"`
	Action  string `arg:"" help:"pub or sub." enum:"pub,sub,publish,subscribe"`
	Subject string `arg:"" help:"Subject; one to publish to has no wildcards."`
}

func (q questionFlags) action() claims.Action {
	if strings.HasPrefix(q.Action, "pub") {
		return claims.Publish
	}
	return claims.Subscribe
}

type canCommand struct {
	questionFlags
	As string `help:"The user: names or public keys." required:"" placeholder:"ACCOUNT/USER"`
}

type whoCommand struct{ questionFlags }

// permission is what one user may do.
type permission struct {
	Account string        `json:"account"`
	User    string        `json:"user"`
	Access  claims.Access `json:"access"`
	Why     string        `json:"why"`
	// Rule decided, Filters withhold deliveries.
	Rule        *permissionRule  `json:"rule,omitempty"`
	Filters     []permissionRule `json:"filters,omitempty"`
	RepliesOnly bool             `json:"replies_only,omitempty"`
	// Closest is, when no allow rule matched, the one that nearly did.
	Closest *permissionRule `json:"closest,omitempty"`
	// Refused tells why a nats-server refuses the connection itself.
	Refused string `json:"refused,omitempty"`
}

type permissionRule struct {
	Subject string        `json:"subject"`
	Queue   string        `json:"queue,omitempty"`
	Deny    bool          `json:"deny"`
	Origin  claims.Origin `json:"origin"`
	// Source is the rule as written, with its template functions.
	Source string `json:"source"`
	Field  string `json:"field,omitempty"`
}

// question is what was asked, in the answers of can and who.
type question struct {
	Action  claims.Action `json:"action"`
	Subject string        `json:"subject"`
	Queue   string        `json:"queue,omitempty"`
	Source  string        `json:"source"`
}

type canAnswer struct {
	question
	permission
}

type whoAnswer struct {
	question
	// Users are those who may, of Total; Allowed includes those with filters.
	Allowed int          `json:"allowed"`
	Total   int          `json:"total"`
	Users   []permission `json:"users"`
}

func (c *canCommand) run(_ context.Context, env environment) error {
	if account, user, ok := strings.Cut(c.As, "/"); !ok || account == "" || user == "" {
		return usage(errors.New("--as is written ACCOUNT/USER, such as ORDERS/svc"))
	}
	q, all, err := c.ask(env, c.As)
	if err != nil {
		return err
	}
	answer := canAnswer{q, all[0]}
	if c.JSON {
		err = printJSON(env, answer)
	} else {
		answer.print(newPage(env))
	}
	return errors.Join(err, no(answer.Access == claims.AccessDenied))
}

func (c *whoCommand) run(_ context.Context, env environment) error {
	q, all, err := c.ask(env, "")
	if err != nil {
		return err
	}
	answer := whoAnswer{question: q, Total: len(all), Users: []permission{}}
	for _, p := range all {
		if p.Access != claims.AccessDenied {
			answer.Users = append(answer.Users, p)
		}
	}
	answer.Allowed = len(answer.Users)
	if c.JSON {
		err = printJSON(env, answer)
	} else {
		answer.print(newPage(env))
	}
	return errors.Join(err, no(answer.Allowed == 0))
}

// ask puts the question for one user, or for all of them when who is "".
func (q questionFlags) ask(env environment, who string) (question, []permission, error) {
	var suits func(*nsc.Store) bool
	if account, _, ok := strings.Cut(who, "/"); ok {
		suits = knows(account)
	}
	s, err := q.source(env, suits)
	if err != nil {
		return question{}, nil, err
	}
	if s.api != nil {
		return question{}, nil, errNotThroughAPI
	}
	asked := question{Action: q.action(), Subject: plain(q.Subject), Queue: plain(q.Queue), Source: s.nsc.words()}
	members, tokens, err := s.nsc.members(who)
	if err != nil {
		return asked, nil, err
	}
	standings, problems := claims.Who(members, asked.Action, q.Subject, q.Queue)
	if len(problems) > 0 {
		return asked, nil, usage(errors.New(strings.TrimSuffix(problems[0].Detail, ".")))
	}
	at := env.now()
	out := make([]permission, len(standings))
	for i, st := range standings {
		out[i] = permissionOf(st)
		if out[i].Access == claims.AccessDenied && who == "" {
			continue // who does not name it
		}
		e := claims.Explain(claims.Attempt{Token: tokens[i].Text, At: at}, s.nsc.view(claims.Above(st.UserClaims)))
		if e.Verdict == claims.VerdictRefused {
			out[i].Refused = plain(e.Summary)
		}
	}
	return asked, out, nil
}

func permissionOf(s claims.Standing) permission {
	p := permission{
		Account: plain(s.Account), User: plain(s.User), Access: s.Access, Why: s.Why,
		Rule: ruleOf(s.Rule), RepliesOnly: s.RepliesOnly, Closest: ruleOf(s.Closest),
	}
	for i := range s.Filters {
		p.Filters = append(p.Filters, *ruleOf(&s.Filters[i]))
	}
	return p
}

func ruleOf(r *claims.Rule) *permissionRule {
	if r == nil {
		return nil
	}
	return &permissionRule{plain(r.Subject), plain(r.Queue), r.Deny, r.Origin, plain(r.Source), r.Pointer}
}

// origins tell in words where a rule comes from.
var origins = map[claims.Origin]string{
	claims.OriginUser:     "the user's own permissions",
	claims.OriginTemplate: "the template of its signing key",
	claims.OriginDefault:  "the account's default permissions",
	claims.OriginServer:   "the nats-server itself",
}

var accessWords = map[claims.Access]struct {
	word string
	colour
}{
	claims.AccessAllowed:  {"allowed", green},
	claims.AccessFiltered: {"allowed but filtered", yellow},
	claims.AccessDenied:   {"denied", red},
}

func (a canAnswer) print(p page) {
	w := accessWords[a.Access]
	p.line(p.paint(w.colour, w.word), ": ", a.Why)
	var lines []claims.Line
	add := func(label string, r *permissionRule) {
		if r != nil {
			lines = append(lines, claims.Line{Label: label, Value: r.words(), Note: origins[r.Origin]})
		}
	}
	lines = append(lines, claims.Line{Label: "user", Value: a.Account + "/" + a.User}, claims.Line{Label: string(a.Action), Value: a.words()})
	add("rule", a.Rule)
	add("closest rule", a.Closest)
	for i := range a.Filters {
		add("withheld", &a.Filters[i])
	}
	if a.Refused != "" {
		lines = append(lines, claims.Line{Label: "but", Value: p.paint(yellow, "a nats-server would refuse the connection: "+a.Refused)})
	}
	p.rows(append(lines, claims.Line{Label: "looked up in", Value: a.Source}))
}

func (q question) words() string {
	if q.Queue != "" {
		return q.Subject + " in the queue group " + q.Queue
	}
	return q.Subject
}

func (r permissionRule) words() string {
	s := "allow " + r.Subject
	if r.Deny {
		s = "deny " + r.Subject
	}
	if r.Queue != "" {
		s += " in the queue group " + r.Queue
	}
	if r.Source != r.Subject && r.Queue == "" {
		s += ", written " + r.Source
	}
	return s
}

func (a whoAnswer) print(p page) {
	verb := map[claims.Action]string{claims.Publish: " may publish to ", claims.Subscribe: " may subscribe to "}[a.Action]
	p.line(p.paint(bold, strconv.Itoa(a.Allowed)+" of "+strconv.Itoa(a.Total)+" users"), verb, a.words(), p.paint(faint, "  (looked up in "+a.Source+")"))
	var lines []claims.Line
	for _, u := range a.Users {
		w := accessWords[u.Access]
		note := ""
		if u.Refused != "" {
			note = "but a nats-server would refuse the connection: " + u.Refused
		}
		lines = append(lines, claims.Line{Label: u.Account + "/" + u.User, Value: p.paint(w.colour, w.word) + ": " + u.Why, Note: note})
	}
	p.rows(lines)
}
