package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/api"
	"chancery/claims"
	"chancery/claims/nsc"
)

type inspectCommand struct {
	sourceFlags
	JSON bool   `help:"Print one JSON object." name:"json"`
	File string `arg:"" help:"A creds file or a file with a JWT of any kind, a JWT itself, or - for standard input."`
}

// inspection is what is said of one JWT: the answer of the API, and what only who has
// the file can tell.
type inspection struct {
	// Valid tells whether it is a JWT with a good signature; Error says why not.
	Valid bool   `json:"valid"`
	Error string `json:"error,omitempty"`
	// Seed tells that the document holds a private key too.
	Seed bool `json:"seed"`
	// Source is where the account and the operator were looked up.
	Source string `json:"source,omitempty"`
	*api.Inspection
	sections []claims.Section
}

// Help is printed by --help.
func (inspectCommand) Help() string {
	return `Examples:

  chancery inspect client.creds
  chancery inspect ORDERS.jwt --json | jq .chain`
}

func (c *inspectCommand) run(ctx context.Context, env environment) error {
	document, err := readDocument(env, c.File)
	if err != nil {
		return err
	}
	text, seed, err := findJWT(document)
	if err != nil {
		return err
	}
	answer := inspection{Seed: seed}
	token, err := claims.Read(text)
	if err != nil {
		answer.Error = claims.Sentence(err)
	} else if err := c.inspect(ctx, env, token, &answer); err != nil {
		return err
	}
	return errors.Join(printAnswer(env, c.JSON, answer), no(!answer.Valid || answer.broken()))
}

// inspect looks up who issued the JWT. That there is nothing to look it up in is no
// error, unless a flag names something.
func (c *inspectCommand) inspect(ctx context.Context, env environment, token claims.Token, answer *inspection) error {
	answer.Valid, answer.sections = true, claims.Describe(token.Claims, env.now())
	s, err := c.source(env, signs(token.Claims))
	switch {
	case err != nil && (c.NSC != "" || c.URL != "" || c.TokenFile != "" || c.Operator != ""):
		return err
	case err != nil:
		s = &source{nsc: &nscSource{store: &nsc.Store{}}}
	default:
		answer.Source = s.words()
	}
	if s.api != nil {
		return s.api.post(ctx, "/inspections", map[string]string{"jwt": token.Text}, &answer.Inspection)
	}
	x, err := api.InspectionOf(s.nsc.inspect(token, env.now()), env.now())
	answer.Inspection = &x
	return err
}

// signs returns a function that tells whether a store has a say about claims: it has
// their account, or its operator signed them.
func signs(c jwt.Claims) func(*nsc.Store) bool {
	account := claims.Above(c)
	if account == "" {
		account = c.Claims().Subject
	}
	return func(s *nsc.Store) bool {
		o, issuer := s.Operator.Claims(), c.Claims().Issuer
		return knows(account)(s) || o.Subject == issuer || slices.Contains(o.SigningKeys, issuer)
	}
}

// broken tells whether somebody is known not to stand behind the JWT.
func (a inspection) broken() bool {
	return a.Inspection != nil && slices.ContainsFunc(a.Chain, func(l api.ChainLink) bool { return l.State == string(claims.LinkBroken) })
}

func (a inspection) print(p page) {
	if !a.Valid {
		p.line(p.paint(red, "not valid"), ": ", a.Error)
		a.printSeed(p)
		return
	}
	p.line(p.paint(bold, strings.TrimSpace(strings.ReplaceAll(a.Type, "_", " ")+" "+plain(a.Name))), "  ", plain(a.Subject))
	lines := []claims.Line{{Label: "signature", Value: p.paint(green, "right")}}
	for _, l := range a.Chain {
		lines = append(lines, p.link(l))
	}
	if a.Source != "" {
		lines = append(lines, claims.Line{Label: "looked up in", Value: a.Source})
	}
	p.rows(lines)
	a.printSeed(p)
	for _, s := range a.sections {
		p.section(s.Title, s.Lines)
	}
	if a.Permissions != nil && !a.broken() {
		p.effective(*a.Permissions)
	}
	p.problems(a.Problems)
}

func (a inspection) printSeed(p page) {
	if a.Seed {
		p.line("  ", p.paint(yellow, "The file holds a private key (seed) too; it is not shown."))
	}
}

func (p page) section(title string, lines []claims.Line) {
	p.line()
	p.line(p.paint(bold, title))
	p.rows(lines)
}

func (p page) link(l api.ChainLink) claims.Line {
	state := map[string]string{
		string(claims.LinkTrusted): p.paint(green, "trusted"), string(claims.LinkBroken): p.paint(red, "not trusted"), string(claims.LinkUnknown): p.paint(yellow, "not known"),
	}[l.State]
	label := strings.TrimSpace("by the " + l.Kind + " " + plain(l.Name))
	return claims.Line{Label: label, Value: state + ": " + l.Why, Note: strings.TrimSpace(plain(l.Role) + " " + l.Signer)}
}

// effective prints what a user may do once a nats-server has expanded its template and
// taken the account's defaults.
func (p page) effective(e api.EffectivePermView) {
	if e.Refusal != "" {
		p.section("Permissions in effect", []claims.Line{{Label: "Refused", Value: e.Refusal}})
		return
	}
	lines := []claims.Line{{Label: "They are", Value: origins[e.Origin]}}
	for _, x := range []struct {
		verb string
		api.RulesView
	}{{"publish to", e.Publish}, {"subscribe to", e.Subscribe}} {
		allowed := "everything"
		if x.Restricted {
			allowed = cmp.Or(subjects(x.Allow), "nothing")
		}
		lines = append(lines, claims.Line{Label: "May " + x.verb, Value: allowed})
		if len(x.Deny) > 0 {
			lines = append(lines, claims.Line{Label: "May not " + x.verb, Value: subjects(x.Deny)})
		}
		for _, d := range x.Dropped {
			lines = append(lines, claims.Line{Label: "Left out", Value: plain(d.Source), Note: d.Why})
		}
	}
	p.section("Permissions in effect", lines)
	lines = nil
	for _, c := range e.Capabilities {
		lines = append(lines, claims.Line{Label: map[bool]string{true: "yes", false: "no"}[c.Can], Value: plain(c.Text)})
	}
	p.section("What they are good for", lines)
}

// origins tell in words whose permissions are in effect.
var origins = map[string]string{
	string(claims.OriginUser):     "the user's own",
	string(claims.OriginTemplate): "the template's",
	string(claims.OriginDefault):  "the account's defaults",
	string(claims.OriginNone):     "unrestricted",
}

func subjects(rules []api.RuleView) string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = strings.TrimSpace(plain(r.Subject) + " " + plain(r.Queue))
	}
	return strings.Join(out, ", ")
}

func (p page) problems(problems []api.ClaimsProblem) {
	p.line()
	if len(problems) == 0 {
		p.line(p.paint(green, "No problems found in the JWT itself."))
		return
	}
	p.line(p.paint(bold, "Problems"))
	for _, x := range problems {
		who := p.paint(yellow, "note")
		if x.Server {
			who = p.paint(red, "a nats-server refuses it")
		}
		p.line("  ", who, ": ", x.Detail, "  ", p.paint(faint, plain(x.Pointer)))
	}
}

// maxDocument is the longest file that is read for a JWT: one JWT and what stands
// around it.
const maxDocument = 2 << 20

// readDocument takes a JWT as it is, reads a file, or standard input for -. Since it may
// hold a seed it is a secret.
func readDocument(env environment, name string) (claims.Secret, error) {
	if strings.HasPrefix(name, "eyJ") && strings.Count(name, ".") == 2 {
		return claims.NewSecret(name), nil
	}
	in := env.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			// The name may be a seed that was taken for a file.
			return claims.Secret{}, fmt.Errorf("reading the JWT from %s: %w", plain(name), errors.Unwrap(err))
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	switch {
	case err != nil:
		return claims.Secret{}, fmt.Errorf("reading the JWT: %w", err)
	case len(text) > maxDocument:
		return claims.Secret{}, errors.New("the file has more than 2 MiB, so it is no JWT and no creds file")
	}
	return claims.NewSecret(string(text)), nil
}

// findJWT returns the one JWT of a document, and whether a seed is in there too. Who
// took the wrong file, that of a key, is told so.
func findJWT(document claims.Secret) (text string, seed bool, err error) {
	text, seed, err = claims.FindJWT(document.Reveal())
	if errors.Is(err, claims.ErrNoJWT) && seed {
		err = fmt.Errorf("%w, only a private key (seed)", err)
	}
	return text, seed, err
}
