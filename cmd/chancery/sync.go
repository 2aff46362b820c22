package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/api"
)

// serverCommand is about nats-servers.
type serverCommand struct {
	Ls serverListCommand `cmd:"" help:"List the nats-servers, those that answer and those that are missing. Exit code 3: not all have every account in effect."`
}

// syncCommand is about what is on the nats-servers.
type syncCommand struct {
	Status syncStatusCommand `cmd:"" help:"Say how far accounts got on every server. Exit code 3: not everywhere, or a server is missing."`
	Push   syncPushCommand   `cmd:"" help:"Read accounts back from every server, and push them where one has something else."`
}

// fleetFlags say whose servers are meant.
type fleetFlags struct {
	clientFlags
	Operator string `help:"Name or public key; may be left out when there is only one." placeholder:"OPERATOR"`
}

// path returns the path of the operator.
func (f fleetFlags) path(ctx context.Context, cl *client) (string, error) {
	name, err := f.Operator, error(nil)
	if name == "" {
		name, err = onlyOperator(ctx, cl)
	}
	return "/operators/" + url.PathEscape(name), err
}

// open returns a client, and the path of the operator.
func (f fleetFlags) open(ctx context.Context, env environment) (cl *client, path string, err error) {
	if cl, err = f.client(env); err == nil {
		path, err = f.path(ctx, cl)
	}
	return cl, path, err
}

type serverListCommand struct {
	fleetFlags
	JSON bool `help:"Print one JSON object." name:"json"`
}

func (c *serverListCommand) run(ctx context.Context, env environment) error {
	cl, path, err := c.open(ctx, env)
	if err != nil {
		return err
	}
	var f fleet
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: path + "/servers"}, &f.Fleet); err != nil {
		return err
	}
	return errors.Join(printAnswer(env, c.JSON, f), partial(f.State != "in_step"))
}

// partial is the end of a command that answers for some servers or accounts only.
func partial(yes bool) error {
	if yes {
		return &exitError{nil, exitPartial}
	}
	return nil
}

// fleet is the servers of an operator as they are printed.
type fleet struct{ api.Fleet }

func (f fleet) print(p page) {
	for _, s := range f.Items {
		tone := map[string]colour{"in_step": green, "missing": red, "untrusting": red}[s.State]
		if tone == noColour {
			tone = yellow
		}
		has := fmt.Sprintf("%d of %d accounts in effect", f.Accounts-s.Behind, f.Accounts)
		if s.State == "missing" {
			has = "what it has is not known"
		}
		p.line(fmt.Sprintf("%-20s  ", plain(s.Name)), p.paint(tone, fmt.Sprintf("%-10s", strings.ReplaceAll(s.State, "_", " "))),
			"  "+has, p.paint(faint, fmt.Sprintf("  %s %s  seen %s", plain(s.Cluster), plain(s.Version), s.LastSeen.Format(time.DateTime))))
	}
	expected := ""
	if f.Expected > 0 {
		expected = fmt.Sprintf(" of %d expected", f.Expected)
	}
	p.line(fmt.Sprintf("%d%s servers answer; %d of %d accounts are in effect on all of them.", f.Reachable, expected, f.Confirmed, f.Accounts))
	if r := f.OldestRevocation; r != nil {
		p.line(p.paint(red, "A revocation waits to be proven since "+r.Since.Format(time.DateTime)), ", of account ", plain(r.Account), ".")
	}
}

type syncStatusCommand struct {
	fleetFlags
	JSON    bool   `help:"Print one JSON object." name:"json"`
	Watch   bool   `help:"Print again whenever something changes, until all of it is in effect."`
	All     bool   `help:"Accounts that are in effect on every server too."`
	Account string `arg:"" optional:"" help:"Name or public key; without it all that are not in effect on every server."`
}

func (c *syncStatusCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	last := ""
	for {
		answer, done, err := c.ask(ctx, cl)
		if err != nil {
			return err
		}
		var b strings.Builder
		answer.print(page{w: &b})
		if now := b.String(); now != last {
			if err := printAnswer(env, c.JSON, answer); err != nil {
				return err
			}
			last = now
		}
		if done || !c.Watch {
			return partial(!done)
		}
		select {
		case <-ctx.Done():
			return partial(true)
		case <-time.After(tailEvery):
		}
	}
}

// ask returns what is to be printed, and whether everything is in effect.
func (c *syncStatusCommand) ask(ctx context.Context, cl *client) (answer interface{ print(p page) }, done bool, err error) {
	if c.Account != "" {
		var s accountSync
		s.Account = c.Account
		err := cl.ask(ctx, apiCall{method: http.MethodGet, path: "/accounts/" + url.PathEscape(c.Account) + "/sync"}, &s.Sync)
		return s, s.State == "in_effect", err
	}
	path, err := c.path(ctx, cl)
	if err != nil {
		return nil, false, err
	}
	var out deliveries
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: path + "/servers"}, &out.Fleet); err != nil {
		return nil, false, err
	}
	query := url.Values{"limit": {"500"}}
	if c.All {
		query.Set("all", "true")
	}
	err = cl.ask(ctx, apiCall{method: http.MethodGet, path: path + "/deliveries?" + query.Encode()}, &out.Deliveries)
	return out, out.Fleet.State == "in_step", err
}

// accountSync is how far one account got as it is printed.
type accountSync api.AccountDelivery

func (s accountSync) print(p page) {
	p.line(p.paint(bold, plain(s.Account)), fmt.Sprintf("  revision %d  %s  in effect on %d of %d", s.Revision, strings.ReplaceAll(s.State, "_", " "), s.InEffect, max(s.Total, s.Expected)))
	for _, d := range s.Servers {
		tone := yellow
		switch d.State {
		case "in_effect", "not_loaded", "stored":
			tone = green
		case "error":
			tone = red
		}
		said := ""
		if d.Error != "" {
			said = "  “" + plain(d.Error) + "”"
		}
		p.line(fmt.Sprintf("  %-20s  ", plain(d.Name)), p.paint(tone, strings.ReplaceAll(d.State, "_", " ")), said)
	}
	if s.Missing > 0 {
		p.line(p.paint(red, fmt.Sprintf("  %d of %d expected servers do not answer", s.Missing, s.Expected)))
	}
}

// deliveries is how far all accounts got as it is printed.
type deliveries struct {
	Fleet      api.Fleet                     `json:"servers"`
	Deliveries api.Page[api.AccountDelivery] `json:"deliveries"`
}

func (d deliveries) print(p page) {
	for _, a := range d.Deliveries.Items {
		accountSync(a).print(p)
	}
	if d.Deliveries.NextCursor != "" {
		p.line(p.paint(faint, "There are more accounts."))
	}
	fleet{d.Fleet}.print(p)
}

type syncPushCommand struct {
	fleetFlags
	JSON     bool     `help:"Print one JSON object." name:"json"`
	All      bool     `help:"All accounts of the operator."`
	DryRun   bool     `help:"Say what would be done, and do nothing."`
	Reason   string   `help:"Kept in the audit log." placeholder:"TEXT"`
	Accounts []string `arg:"" optional:"" help:"Names or public keys."`
}

func (c *syncPushCommand) run(ctx context.Context, env environment) error {
	if c.All == (len(c.Accounts) > 0) {
		return usage(errors.New("name accounts, or use --all"))
	}
	cl, path, err := c.open(ctx, env)
	if err != nil {
		return err
	}
	path += "/sync"
	if c.DryRun {
		path += "?dry_run=true"
	}
	out := pushedAgain{dry: c.DryRun}
	if err := cl.post(ctx, path, api.PushInput{All: c.All, Accounts: c.Accounts, Reason: c.Reason}, &out.Pushed); err != nil {
		return err
	}
	return printAnswer(env, c.JSON, out)
}

// pushedAgain is what is pushed again as it is printed.
type pushedAgain struct {
	api.Pushed
	dry bool
}

func (o pushedAgain) print(p page) {
	verb := "are"
	if o.dry {
		verb = "would be"
	}
	p.line(fmt.Sprintf("Accounts that %s read back, and pushed where a server has something else: %d. Servers that answer: %d", verb, o.Accounts, o.Reachable), map[bool]string{true: fmt.Sprintf(" of %d expected", o.Expected)}[o.Expected > 0], ".")
	if !o.dry {
		p.line(p.paint(faint, "How far it got: chancery sync status --watch"))
	}
}
