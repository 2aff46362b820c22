package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/claims/nsc"
)

type inspectCommand struct {
	sourceFlags
	JSON bool   `help:"Print one JSON object." name:"json"`
	File string `arg:"" help:"A JWT of any kind, or a creds file; - is standard input."`
}

// inspection is what is said of one JWT.
type inspection struct {
	Type      string `json:"type,omitempty"`
	Name      string `json:"name,omitempty"`
	PublicKey string `json:"public_key,omitempty"`
	// Valid tells whether it is a JWT with a good signature; Error says why not.
	Valid bool   `json:"valid"`
	Error string `json:"error,omitempty"`
	// Seed tells that the document holds a private key too.
	Seed          bool             `json:"seed"`
	Trust         claims.Trust     `json:"trust"`
	Chain         []chainLink      `json:"chain"`
	Source        string           `json:"source,omitempty"`
	Problems      []foundProblem   `json:"problems"`
	UnknownFields []string         `json:"unknown_fields"`
	Sections      []claims.Section `json:"sections"`
}

type chainLink struct {
	Of    string       `json:"of"`
	By    string       `json:"by,omitempty"`
	Trust claims.Trust `json:"trust"`
	Why   string       `json:"why"`
}

type foundProblem struct {
	Field  string `json:"field,omitempty"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Server tells that a nats-server refuses because of it.
	Server bool `json:"server"`
}

func (c *inspectCommand) run(ctx context.Context, env environment) error {
	document, err := readDocument(env, c.File)
	if err != nil {
		return err
	}
	text, seed, err := claims.FindJWT(document.Reveal())
	if err != nil {
		if seed {
			err = fmt.Errorf("%w, only a private key (seed)", err)
		}
		return err
	}
	answer := inspection{Seed: seed, Trust: claims.TrustUnknown, Chain: []chainLink{}, Problems: []foundProblem{}, UnknownFields: []string{}, Sections: []claims.Section{}}
	token, err := claims.Read(text)
	if err != nil {
		answer.Error = err.Error()
	} else if err := c.inspect(ctx, env, token, &answer); err != nil {
		return err
	}
	err = nil
	if c.JSON {
		err = printJSON(env, answer)
	} else {
		answer.print(newPage(env))
	}
	return errors.Join(err, no(!answer.Valid || answer.Trust == claims.TrustNo))
}

// inspect looks up who issued the JWT; that there is nothing to look it up in is no
// error, unless a flag asked for it.
func (c *inspectCommand) inspect(_ context.Context, env environment, token claims.Token, answer *inspection) error {
	at := env.now()
	data := token.Claims.Claims()
	answer.Valid, answer.Type, answer.Name, answer.PublicKey = true, string(token.Claims.ClaimType()), plain(data.Name), plain(data.Subject)
	answer.Sections = claims.Describe(token.Claims, at)
	answer.UnknownFields = append(answer.UnknownFields, token.Unknown...)
	for _, p := range token.Problems(at) {
		answer.Problems = append(answer.Problems, foundProblem{plain(p.Pointer), p.Code, p.Detail, p.Server})
	}
	var account *jwt.AccountClaims
	var operator *jwt.OperatorClaims
	suits := signs(token.Claims)
	s, err := c.source(env, suits)
	switch {
	case err != nil && (c.NSC != "" || c.URL != "" || c.Operator != ""):
		return err
	case err == nil && s.nsc != nil && (c.Operator != "" || suits(s.nsc.store)):
		answer.Source = s.nsc.words()
		account, operator = s.nsc.accountClaims(claims.Above(token.Claims)), s.nsc.store.Operator.Claims()
	}
	answer.Trust = claims.TrustYes
	for _, l := range claims.Chain(token.Claims, account, operator) {
		answer.Chain = append(answer.Chain, chainLink(l))
		if l.Trust != claims.TrustYes && answer.Trust != claims.TrustNo {
			answer.Trust = l.Trust
		}
	}
	if u, ok := token.Claims.(*jwt.UserClaims); ok && account != nil {
		answer.Sections = append(answer.Sections, claims.DescribeEffective(claims.EffectivePermissions(u, account))...)
	}
	return nil
}

// signs returns a function that tells whether a store has a say about claims: it has
// their account, or its operator signed them. Another operator's JWT is not refused
// for being nobody's here.
func signs(c jwt.Claims) func(*nsc.Store) bool {
	account := claims.Above(c)
	if account == "" {
		account = c.Claims().Subject
	}
	return func(s *nsc.Store) bool {
		o := s.Operator.Claims()
		issuer := c.Claims().Issuer
		return knows(account)(s) || o != nil && (o.Subject == issuer || slices.Contains(o.SigningKeys, issuer))
	}
}

func (a inspection) print(p page) {
	if !a.Valid {
		p.line(p.paint(red, "not valid"), ": ", a.Error, ".")
		a.printSeed(p)
		return
	}
	p.line(p.paint(bold, strings.TrimSpace(strings.ReplaceAll(a.Type, "_", " ")+" "+a.Name)), "  ", a.PublicKey)
	lines := []claims.Line{{Label: "signature", Value: p.paint(green, "valid")}}
	for _, l := range a.Chain {
		lines = append(lines, claims.Line{Label: l.Of, Value: p.trust(l.Trust) + " " + l.Why})
	}
	if a.Source != "" {
		lines = append(lines, claims.Line{Label: "looked up in", Value: a.Source})
	}
	p.rows(lines)
	a.printSeed(p)
	for _, s := range a.Sections {
		p.line()
		p.line(p.paint(bold, s.Title))
		p.rows(s.Lines)
	}
	p.line()
	if len(a.Problems) == 0 {
		p.line(p.paint(green, "No problems found."))
		return
	}
	p.line(p.paint(bold, "Problems"))
	for _, x := range a.Problems {
		who, c := "note", yellow
		if x.Server {
			who, c = "a nats-server refuses it", red
		}
		where := ""
		if x.Field != "" {
			where = x.Field + ": "
		}
		p.line("  ", p.paint(c, who), "  ", where, x.Detail)
	}
}

func (a inspection) printSeed(p page) {
	if a.Seed {
		p.line("  ", p.paint(yellow, "The file holds a private key (seed) too; it is not shown."))
	}
}

func (p page) trust(t claims.Trust) string {
	switch t {
	case claims.TrustYes:
		return p.paint(green, "trusted:")
	case claims.TrustNo:
		return p.paint(red, "not trusted:")
	default:
		return p.paint(yellow, "not known:")
	}
}

// maxDocument is the longest file that is read for a JWT: one JWT and what stands
// around it.
const maxDocument = 2 << 20

// readDocument reads a file, or standard input for -. Since it may hold a seed it is a
// secret.
func readDocument(env environment, name string) (claims.Secret, error) {
	in := env.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			// The name may be a seed that was taken for a file.
			return claims.Secret{}, fmt.Errorf("reading the JWT from %s: %w", plain(name), errors.Unwrap(err))
		}
		defer f.Close()
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
