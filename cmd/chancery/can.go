package main

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"

	"chancery/api"
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

// Help is printed by --help.
func (canCommand) Help() string {
	return `Examples:

  chancery can pub orders.new --as ORDERS/svc
  chancery can sub 'orders.>' --as ORDERS/svc --queue workers`
}

// Help is printed by --help.
func (whoCommand) Help() string {
	return `Each account has subjects of its own: orders.new in ORDERS is not orders.new in BILLING.

Examples:

  chancery who sub 'orders.>'
  chancery who pub '$JS.API.STREAM.CREATE.x' --json | jq -r '.users[].user'`
}

// question is what was asked, in the answers of can and who.
type question struct {
	Op      claims.Action `json:"op"`
	Subject string        `json:"subject"`
	Queue   string        `json:"queue,omitempty"`
	Source  string        `json:"source"`
}

// permission is what one user may do.
type permission struct {
	api.PermissionCheck
	// Refused tells why a nats-server would refuse the connection itself, as far as a
	// store of nsc shows that.
	Refused string `json:"refused,omitempty"`
}

type canAnswer struct {
	question
	permission
}

type whoAnswer struct {
	question
	// Users are those who may, with or without filters, of Total.
	Total int          `json:"total"`
	Users []permission `json:"users"`
}

func (c *canCommand) run(ctx context.Context, env environment) error {
	if account, user, ok := strings.Cut(c.As, "/"); !ok || account == "" || user == "" {
		return usage(errors.New("--as is written ACCOUNT/USER, such as ORDERS/svc"))
	}
	q, all, err := c.ask(ctx, env, c.As)
	if err != nil {
		return err
	}
	answer := canAnswer{q, all[0]}
	return errors.Join(printAnswer(env, c.JSON, answer), no(answer.Access == denied))
}

func (c *whoCommand) run(ctx context.Context, env environment) error {
	q, all, err := c.ask(ctx, env, "")
	if err != nil {
		return err
	}
	answer := whoAnswer{question: q, Total: len(all), Users: []permission{}}
	for _, p := range all {
		if p.Access != denied {
			answer.Users = append(answer.Users, p)
		}
	}
	return errors.Join(printAnswer(env, c.JSON, answer), no(len(answer.Users) == 0))
}

// denied is the access of whom who does not list.
const denied = string(claims.AccessDenied)

// ask puts the question for one user, or for all of them when who is "".
func (q questionFlags) ask(ctx context.Context, env environment, who string) (question, []permission, error) {
	var suits func(*nsc.Store) bool
	if account, _, ok := strings.Cut(who, "/"); ok {
		suits = knows(account)
	}
	s, err := q.source(env, suits)
	if err != nil {
		return question{}, nil, err
	}
	asked := question{Op: q.action(), Subject: plain(q.Subject), Queue: plain(q.Queue), Source: s.words()}
	if s.api != nil {
		all, err := q.askAPI(ctx, s.api, who)
		return asked, all, err
	}
	members, tokens, err := s.nsc.members(who)
	if err != nil {
		return asked, nil, err
	}
	standings, problems := claims.Who(members, asked.Op, q.Subject, q.Queue)
	if len(problems) > 0 {
		return asked, nil, usage(errors.New(problems[0].Detail))
	}
	out := make([]permission, len(standings))
	for i, st := range standings {
		out[i].PermissionCheck = api.PermissionCheckOf(st)
		if out[i].Access == denied && who == "" {
			continue // who does not list it
		}
		e := claims.Explain(claims.Attempt{Token: tokens[i].Text, At: env.now()}, s.nsc.view(claims.Above(st.UserClaims)))
		if e.Verdict == claims.VerdictRefused {
			out[i].Refused = e.Summary
		}
	}
	return asked, out, nil
}

// askAPI collects the answer of a running Chancery, page by page.
func (q questionFlags) askAPI(ctx context.Context, c *client, who string) ([]permission, error) {
	var out []permission
	body := map[string]string{"op": string(q.action()), "subject": q.Subject, "queue": q.Queue, "user": who}
	maps.DeleteFunc(body, func(_, v string) bool { return v == "" })
	for {
		var page api.Page[api.PermissionCheck]
		if err := c.post(ctx, "/permission-checks", body, &page); err != nil {
			return nil, err
		}
		for _, p := range page.Items {
			out = append(out, permission{PermissionCheck: p})
		}
		if page.NextCursor == "" {
			break
		}
		body["cursor"] = page.NextCursor
	}
	if who != "" && len(out) != 1 {
		return nil, errors.New("the control plane does not know one user of this name")
	}
	return out, nil
}

var accessWords = map[string]struct {
	word string
	colour
}{
	string(claims.AccessAllowed):  {"allowed", green},
	string(claims.AccessFiltered): {"allowed but filtered", yellow},
	denied:                        {"denied", red},
}

func (a canAnswer) print(p page) {
	w := accessWords[a.Access]
	p.line(p.paint(w.colour, w.word), ": ", plain(a.Why))
	lines := []claims.Line{{Label: "user", Value: plain(a.User)}, {Label: string(a.Op), Value: a.words()}}
	add := func(label string, r *api.RuleView) {
		if r != nil {
			lines = append(lines, claims.Line{Label: label, Value: ruleWords(*r), Note: r.From})
		}
	}
	add("rule", a.Rule)
	add("closest rule", a.Closest)
	for i := range a.Filters {
		add("withheld", &a.Filters[i])
	}
	if a.Refused != "" {
		lines = append(lines, claims.Line{Label: "but", Value: p.paint(yellow, "a nats-server would refuse the connection: "+plain(a.Refused))})
	}
	p.rows(append(lines, claims.Line{Label: "looked up in", Value: a.Source}))
}

func (q question) words() string {
	if q.Queue != "" {
		return q.Subject + " in the queue group " + q.Queue
	}
	return q.Subject
}

// ruleWords shows a rule as a nats-server has it, and as it is written where a template
// made it.
func ruleWords(r api.RuleView) string {
	s := r.Subject
	if r.Queue != "" {
		s += " in the queue group " + r.Queue
	} else if r.Source != "" && r.Source != r.Subject {
		s += ", written " + r.Source
	}
	return plain(s)
}

func (a whoAnswer) print(p page) {
	verb := map[claims.Action]string{claims.Publish: " may publish to ", claims.Subscribe: " may subscribe to "}[a.Op]
	p.line(p.paint(bold, strconv.Itoa(len(a.Users))+" of "+strconv.Itoa(a.Total)+" users"), verb, a.words(), p.paint(faint, "  (looked up in "+a.Source+")"))
	var lines []claims.Line
	for _, u := range a.Users {
		w := accessWords[u.Access]
		note := ""
		if u.Refused != "" {
			note = "but a nats-server would refuse the connection: " + plain(u.Refused)
		}
		lines = append(lines, claims.Line{Label: plain(u.User), Value: p.paint(w.colour, w.word) + ": " + plain(u.Why), Note: note})
	}
	p.rows(lines)
}
