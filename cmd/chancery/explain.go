package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/api"
	"chancery/claims"
)

type explainCommand struct {
	sourceFlags
	JSON bool   `help:"Print one JSON object." name:"json"`
	Host string `help:"IP address that the client connects from." placeholder:"ADDR"`
	Type string `help:"How it connects: STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS or IN_PROCESS." placeholder:"TYPE"`
	At   string `help:"When it connects, such as 2026-11-21T09:00:00Z; now if left out." placeholder:"TIME"`
	File string `arg:"" name:"creds" help:"A creds file or a file with a user JWT, a JWT itself, or - for standard input."`
}

// explanation is why a client is, or would be, admitted or refused: the answer of the
// API, and where it comes from.
type explanation struct {
	api.Explanation
	Source string `json:"source"`
}

// Help is printed by --help.
func (explainCommand) Help() string {
	return `Examples:

  chancery explain client.creds
  chancery explain client.creds --host 10.2.3.4 --type WEBSOCKET --at 2026-11-21T20:00:00Z
  chancery explain client.creds --url https://chancery.acme.example --token-file token`
}

func (c *explainCommand) run(ctx context.Context, env environment) error {
	attempt, err := c.attempt(env)
	if err != nil {
		return err
	}
	account := claims.AccountLookedUp(attempt.Token, "")
	s, err := c.source(env, knows(account))
	if err != nil {
		return err
	}
	answer := explanation{Source: s.words()}
	if _, unread := jwt.DecodeUserClaims(attempt.Token); unread != nil {
		// No server gets further, whatever it serves; the API takes only what it can read.
		answer.Explanation = api.ExplanationOf(claims.Explain(attempt, claims.ServerView{}))
	} else if s.api != nil {
		err = s.api.post(ctx, "/explanations", explainQuestion(attempt), &answer.Explanation)
	} else {
		answer.Explanation = api.ExplanationOf(claims.Explain(attempt, s.nsc.view(account)))
	}
	if err != nil {
		return err
	}
	return errors.Join(printAnswer(env, c.JSON, answer), no(answer.Verdict == string(claims.VerdictRefused)))
}

// attempt is the connection that the flags describe. Of a creds file's seed only the
// public key is taken.
func (c *explainCommand) attempt(env environment) (claims.Attempt, error) {
	a := claims.Attempt{Host: c.Host, Type: strings.ToUpper(c.Type), At: env.now()}
	if problems := claims.CheckAttempt(a.Host, a.Type); len(problems) > 0 {
		return a, usage(errors.New(problems[0].Detail))
	}
	if c.At != "" {
		at, err := time.Parse(time.RFC3339, c.At)
		if err != nil {
			return a, usage(errors.New("--at is written like 2026-11-21T09:00:00Z or 2026-11-21T09:00:00+01:00"))
		}
		a.At = at
	}
	document, err := readDocument(env, c.File)
	if err != nil {
		return a, err
	}
	token, _, err := findJWT(document)
	if err != nil {
		return a, fmt.Errorf("reading the creds: %w", err)
	}
	a.Token = token
	if _, seed, err := claims.ParseCreds(document); err == nil {
		a.SignedBy = publicKey(seed)
	}
	return a, nil
}

// explainQuestion is what the API is asked.
func explainQuestion(a claims.Attempt) map[string]string {
	q := map[string]string{"jwt": a.Token, "at": a.At.Format(time.RFC3339)}
	if a.Host != "" {
		q["host"] = a.Host
	}
	if a.Type != "" {
		q["type"] = a.Type
	}
	if a.SignedBy != "" {
		q["signed_by"] = a.SignedBy
	}
	return q
}

// publicKey returns the public key of a seed that was read from creds.
func publicKey(seed claims.Secret) string {
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return ""
	}
	defer pair.Wipe()
	key, _ := pair.PublicKey() // "" where there is an error
	return key
}

// marks are what stands before a check, by its result.
var marks = map[string]struct {
	word string
	colour
}{
	string(claims.ResultPass):       {"pass   ", green},
	string(claims.ResultFail):       {"FAIL   ", red},
	string(claims.ResultUnknown):    {"?      ", yellow},
	string(claims.ResultNotReached): {"-      ", faint},
}

func (e explanation) print(p page) {
	c := map[string]colour{string(claims.VerdictAdmitted): green, string(claims.VerdictRefused): red}[e.Verdict]
	p.line(p.paint(c, strings.ReplaceAll(e.Verdict, "_", " ")), ": ", plain(e.Summary))
	p.line(p.paint(faint, "looked up in "+e.Source))
	p.line()
	width := 0
	for _, x := range e.Checks {
		width = max(width, len(x.Title))
	}
	for _, x := range e.Checks {
		m := marks[x.Result]
		evidence := ""
		if x.Evidence != "" {
			evidence = strings.Repeat(" ", width-len(x.Title)+2) + plain(x.Evidence)
		}
		p.line("  ", p.paint(m.colour, m.word), x.Title, evidence)
		if x.ID != e.FailedCheck {
			continue
		}
		for _, fix := range x.Fixes {
			p.line("         ", p.paint(bold, "→ "+fix))
		}
		if x.ServerLog != "" {
			p.line("         ", p.paint(faint, "in the server's log: "+strings.TrimSpace(x.ServerLog)))
		}
	}
}
