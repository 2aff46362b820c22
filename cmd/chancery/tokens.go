package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chancery/api"
	"chancery/claims"
	"chancery/issuer"
)

// tokenCommand makes, lists and takes back API tokens.
type tokenCommand struct {
	Create tokenCreateCommand `cmd:"" help:"Make a token; it is shown once."`
	Ls     tokenListCommand   `cmd:"" help:"List tokens, the newest first: those all of whose rights lie within your own."`
	Revoke tokenRevokeCommand `cmd:"" help:"Take a token back. Its next request is refused, by every replica."`
}

type tokenCreateCommand struct {
	clientFlags
	configFlags
	Local    bool          `help:"In the database of a configuration, without a server; one that holds the SQLite file has to be stopped."`
	Name     string        `arg:"" help:"What the token is for, such as ci."`
	Role     string        `help:"owner, operator_admin, account_admin, issuer or auditor." required:"" placeholder:"ROLE"`
	Operator string        `help:"Only this operator, by name or public key."`
	Account  string        `help:"Only this account, by name or public key."`
	Template string        `help:"Only this template of the account, by name or id."`
	Network  []string      `help:"CIDR or address from which alone it can be used; may be repeated." placeholder:"CIDR"`
	TTL      time.Duration `help:"Lifetime in whole seconds, at most 366 days." default:"720h"`
	Out      string        `help:"File to write it to, readable by you only; without it the token is printed." short:"o" type:"path" placeholder:"FILE"`
	DryRun   bool          `help:"Say what would be made, and make nothing."`
	Reason   string        `help:"Kept in the audit log." placeholder:"TEXT"`
}

// Help is printed by --help.
func (tokenCreateCommand) Help() string {
	return `Examples:

  chancery token create ci --role issuer --account ORDERS --template device --network 10.0.0.0/8 -o ci.token
  chancery token create --local --config chancery.yaml admin --role owner -o token`
}

func (c *tokenCreateCommand) run(ctx context.Context, env environment) error {
	if c.TTL%time.Second != 0 {
		return usage(errors.New("--ttl takes whole seconds, such as 720h"))
	}
	if c.Local && c.DryRun {
		return usage(errors.New("--dry-run asks a running control plane: leave --local out"))
	}
	ask := c.remote
	if c.Local {
		ask = c.local
	}
	k, err := ask(ctx, env)
	if err != nil {
		return err
	}
	p := newPage(env)
	if c.DryRun {
		p.planned(k.Plan)
		return nil
	}
	text := claims.NewSecret(k.Text + "\n")
	if c.Out == "" {
		_, err = fmt.Fprint(env.stdout, text.Reveal())
	} else {
		err = writeSecret(c.Out, text)
	}
	if err != nil {
		return fmt.Errorf("%w; nobody has the token that was made: chancery token revoke %s", err, k.ID)
	}
	// What is printed to standard output is the token alone.
	p.w, p.coloured = env.stderr, false
	p.tokenLine(k.Token, 0)
	p.line("To take it back: chancery token revoke ", k.ID)
	return nil
}

// remote has a running control plane make it.
func (c *tokenCreateCommand) remote(ctx context.Context, env environment) (k api.NewToken, err error) {
	cl, err := c.client(env)
	if err != nil {
		return k, err
	}
	return k, cl.post(ctx, "/tokens?dry_run="+strconv.FormatBool(c.DryRun), api.TokenInput{
		Name: c.Name, TTLSeconds: int64(c.TTL / time.Second), Networks: c.Network, Reason: c.Reason,
		Grants: []api.GrantInput{{Role: c.Role, Operator: c.Operator, Account: c.Account, Template: c.Template}},
	}, &k)
}

// local makes it in the database.
func (c *tokenCreateCommand) local(ctx context.Context, env environment) (k api.NewToken, err error) {
	host := hostCommand{c.configFlags}
	err = host.with(ctx, env, func(i *issuer.Issuer, _ config) error {
		made, err := i.CreateToken(ctx, issuer.Op{Caller: issuer.System("token"), RequestID: "token", Reason: c.Reason}, issuer.TokenInput{
			Name: c.Name, TTL: c.TTL, Networks: c.Network,
			Grants: []issuer.Grant{{Role: c.Role, Scope: issuer.Scope{Operator: c.Operator, Account: c.Account, Template: c.Template}}},
		})
		k = api.NewToken{Token: api.ViewToken(made.Value.Token, env.now()), Text: made.Value.Text.Reveal()}
		return err
	})
	return k, err
}

type tokenListCommand struct {
	clientFlags
	Active    bool   `help:"Leave out those that have ended or are revoked."`
	CreatedBy string `help:"Only those that this person or token made." placeholder:"ID"`
	Limit     int    `help:"How many, at most 500." default:"50"`
	Cursor    string `help:"Go on where a list ended." placeholder:"CURSOR"`
	JSON      bool   `help:"Print one JSON object." name:"json"`
}

func (c *tokenListCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	for name, value := range map[string]string{"created_by": c.CreatedBy, "cursor": c.Cursor, "state": map[bool]string{true: "active"}[c.Active]} {
		if value != "" {
			q.Set(name, value)
		}
	}
	var l tokenList
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: "/tokens?" + q.Encode()}, &l); err != nil {
		return err
	}
	return printAnswer(env, c.JSON, l)
}

// tokenList is a page of tokens as it is printed.
type tokenList api.Page[api.Token]

func (l tokenList) print(p page) {
	width := 0
	for _, k := range l.Items {
		width = max(width, len([]rune(plain(k.Name))))
	}
	for _, k := range l.Items {
		p.tokenLine(k, width)
	}
	switch {
	case len(l.Items) == 0:
		p.line("No tokens that you may see.")
	case l.NextCursor != "":
		p.line(p.paint(faint, "There are more: --cursor "+l.NextCursor))
	}
}

// tokenLine prints what is known of a token, its name in so many columns.
func (p page) tokenLine(k api.Token, width int) {
	tone := map[string]colour{"active": green, "revoked": red}[k.State]
	ends := "until " + k.ExpiresAt.Format(time.DateTime)
	if k.RevokedAt != nil {
		ends = "since " + k.RevokedAt.Format(time.DateTime)
	}
	var may []string
	for _, g := range k.Grants {
		may = append(may, plain(g.Text))
	}
	from := ""
	if len(k.Networks) > 0 {
		from = ", from " + strings.Join(k.Networks, " ")
	}
	p.line(k.ID, fmt.Sprintf("  %-*s  ", width, plain(k.Name)), p.paint(tone, fmt.Sprintf("%-7s", k.State)), "  ", ends, p.paint(faint, "  "+lastUse(k)), "  ", strings.Join(may, "; "), from)
}

func lastUse(k api.Token) string {
	if k.LastUsedAt == nil {
		return "never used"
	}
	return "used " + k.LastUsedAt.Format(time.DateTime) + " from " + cmp.Or(plain(k.LastUsedFrom), "nowhere known")
}

type tokenRevokeCommand struct {
	clientFlags
	ID     string `arg:"" help:"The token's id, tok_…"`
	DryRun bool   `help:"Say what would be done, and do nothing."`
	Reason string `help:"Kept in the audit log." placeholder:"TEXT"`
	JSON   bool   `help:"Print one JSON object." name:"json"`
}

func (c *tokenRevokeCommand) run(ctx context.Context, env environment) error {
	// Names are not unique, and a token itself must not get into an address.
	if !strings.HasPrefix(c.ID, "tok_") {
		return usage(errors.New("a token is named by its id, tok_…, which chancery token ls tells"))
	}
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	out := revokedToken{dry: c.DryRun}
	q := url.Values{"dry_run": {strconv.FormatBool(c.DryRun)}, "reason": {c.Reason}}
	err = cl.ask(ctx, apiCall{method: http.MethodDelete, path: "/tokens/" + url.PathEscape(c.ID) + "?" + q.Encode()}, &out.Token)
	if e, ok := errors.AsType[*exitError](err); ok && e.code == exitUsage {
		return usage(fmt.Errorf("%w Which there are: chancery token ls", e.error))
	}
	if err != nil {
		return err
	}
	return printAnswer(env, c.JSON, out)
}

// revokedToken is a token that is taken back as it is printed.
type revokedToken struct {
	api.Token
	dry bool
}

func (k revokedToken) print(p page) {
	if !k.dry {
		p.tokenLine(k.Token, 0)
		p.line("Its next request is refused, by every replica.")
		return
	}
	p.planned(k.Plan)
	p.line("  It is ", k.ID, ", ", plain(k.Name), ", ", lastUse(k.Token), ".")
}

// planned prints a plan in words.
func (p page) planned(plan *api.Plan) {
	if plan == nil {
		return
	}
	p.line("Nothing was done. This would be:")
	for _, c := range plan.Changes {
		p.line("  ", plain(cmp.Or(c.Text, c.Path)))
	}
	for _, w := range plan.Warnings {
		p.line(p.paint(yellow, "  "+plain(w.Detail)))
	}
}
