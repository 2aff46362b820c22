package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

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

// explanation is why a client is, or would be, admitted or refused.
type explanation struct {
	Verdict     claims.Verdict `json:"verdict"`
	Summary     string         `json:"summary"`
	Account     string         `json:"account,omitempty"`
	AccountName string         `json:"account_name,omitempty"`
	User        string         `json:"user,omitempty"`
	UserName    string         `json:"user_name,omitempty"`
	Source      string         `json:"source"`
	// Failed is the id of the first check that fails, the reason of a refusal.
	Failed string           `json:"failed,omitempty"`
	Checks []explainedCheck `json:"checks"`
}

type explainedCheck struct {
	ID        string        `json:"id"`
	Title     string        `json:"title"`
	Result    claims.Result `json:"result"`
	Evidence  string        `json:"evidence,omitempty"`
	Fixes     []string      `json:"fixes,omitempty"`
	ServerLog string        `json:"server_log,omitempty"`
}

func (c *explainCommand) run(_ context.Context, env environment) error {
	attempt, err := c.attempt(env)
	if err != nil {
		return err
	}
	account := claims.AccountLookedUp(attempt.Token, "")
	s, err := c.source(env, knows(account))
	if err != nil {
		return err
	}
	if s.api != nil {
		return errNotThroughAPI
	}
	answer := explained(claims.Explain(attempt, s.nsc.view(account)))
	answer.Source = s.nsc.words()
	if c.JSON {
		err = printJSON(env, answer)
	} else {
		answer.print(newPage(env))
	}
	return errors.Join(err, no(answer.Verdict == claims.VerdictRefused))
}

// errNotThroughAPI stands where the answer of a running Chancery will be asked for.
var errNotThroughAPI = errors.New("this cannot be asked of a running Chancery yet; name a directory of nsc with --nsc")

var connectionTypes = []string{
	jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS,
	jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS, jwt.ConnectionTypeInProcess,
}

// attempt is the connection that the flags describe.
func (c *explainCommand) attempt(env environment) (claims.Attempt, error) {
	a := claims.Attempt{Host: c.Host, Type: c.Type, At: env.now()}
	if c.Type != "" && !slices.Contains(connectionTypes, c.Type) {
		return a, usage(errors.New("--type is one of " + strings.Join(connectionTypes, ", ")))
	}
	if c.At != "" {
		at, err := time.Parse(time.RFC3339, c.At)
		if err != nil {
			return a, usage(errors.New("--at is written like 2026-11-21T09:00:00Z or 2026-11-21T09:00:00+01:00"))
		}
		a.At = at
	}
	if _, err := netip.ParseAddr(c.Host); c.Host != "" && err != nil {
		return a, usage(errors.New("--host is an IP address, as the server sees it, without a port"))
	}
	document := claims.NewSecret(c.File)
	if !strings.HasPrefix(c.File, "eyJ") {
		var err error
		if document, err = readDocument(env, c.File); err != nil {
			return a, err
		}
	}
	token, _, err := claims.FindJWT(document.Reveal())
	if err != nil {
		return a, fmt.Errorf("reading the creds: %w", err)
	}
	a.Token = token
	if _, seed, err := claims.ParseCreds(document); err == nil {
		a.SignedBy = publicKey(seed)
	}
	return a, nil
}

// publicKey returns the public key of a seed, "" of what is none.
func publicKey(seed claims.Secret) string {
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return ""
	}
	defer pair.Wipe()
	key, err := pair.PublicKey()
	if err != nil {
		return ""
	}
	return key
}

func explained(e claims.Explanation) explanation {
	out := explanation{
		Verdict: e.Verdict, Summary: e.Summary,
		Account: e.Account, AccountName: plain(e.AccountName), User: e.User, UserName: plain(e.UserName),
	}
	if e.Failed != nil {
		out.Failed = e.Failed.ID
	}
	for _, c := range e.Checks {
		x := explainedCheck{ID: c.ID, Title: c.Title, Result: c.Result, Evidence: plain(c.Evidence)}
		if c.Result == claims.ResultFail {
			x.Fixes, x.ServerLog = c.Fixes, c.ServerLog
		}
		out.Checks = append(out.Checks, x)
	}
	return out
}

// marks are what stands before a check, by its result.
var marks = map[claims.Result]struct {
	word string
	colour
}{
	claims.ResultPass:       {"pass   ", green},
	claims.ResultFail:       {"FAIL   ", red},
	claims.ResultUnknown:    {"?      ", yellow},
	claims.ResultNotReached: {"-      ", faint},
}

func (e explanation) print(p page) {
	c := map[claims.Verdict]colour{claims.VerdictAdmitted: green, claims.VerdictRefused: red}[e.Verdict]
	p.line(p.paint(c, strings.ReplaceAll(string(e.Verdict), "_", " ")), ": ", e.Summary)
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
			evidence = strings.Repeat(" ", width-len(x.Title)+2) + x.Evidence
		}
		p.line("  ", p.paint(m.colour, m.word), x.Title, evidence)
		if x.ID != e.Failed {
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
