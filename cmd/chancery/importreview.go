package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"chancery/api"
	"chancery/claims"
	"chancery/claims/nsc"
)

// importAnswer is the review of a store: what it holds, and what becomes of it.
type importAnswer struct {
	api.ImportJob
	// left is what was not packed.
	left []nsc.Problem
	// unsent tells that seeds were not looked for: none of them is missing.
	unsent bool
}

// doubtful tells whether somebody should look before going on.
func (a importAnswer) doubtful() bool {
	if a.leavesOut() || len(a.left) > 0 || len(a.Report.Problems) > 0 {
		return true
	}
	for _, o := range a.Report.Operators {
		if len(o.Problems) > 0 || o.State == "newer_here" || slices.ContainsFunc(o.Accounts, func(x api.ImportedAccount) bool { return len(x.Problems) > 0 || x.State == "newer_here" }) {
			return true
		}
	}
	return false
}

// leavesOut tells whether something is not taken in.
func (a importAnswer) leavesOut() bool {
	kept := func(state string) bool { return state == "left_out" || state == "differs" }
	for _, o := range a.Report.Operators {
		if kept(o.State) || slices.ContainsFunc(o.Accounts, func(x api.ImportedAccount) bool { return kept(x.State) }) {
			return true
		}
	}
	return false
}

// importStates are the states in words.
var importStates = map[string]string{
	"new": "new", "unchanged": "as it is here", "newer": "newer", "newer_here": "newer here: stays", "differs": "CONFLICT: stays", "left_out": "LEFT OUT",
}

func (a importAnswer) print(p page) {
	for _, o := range a.Report.Operators {
		p.line("")
		p.line(p.paint(bold, plain(o.Name)), "  ", p.paint(faint, o.ID), "  ", importStates[o.State])
		p.rows(a.operatorLines(o))
		a.accounts(p, o)
		problems(p, o)
	}
	if len(a.Report.Problems)+len(a.left) > 0 {
		p.line("")
		p.line("Files:")
	}
	for _, x := range a.Report.Problems {
		p.line("  ", problemText(x))
	}
	for _, x := range a.left[:min(len(a.left), mostWarnings)] {
		p.line("  not packed: ", plain(x.Path), ": ", x.Detail)
	}
	if more := len(a.left) - mostWarnings; more > 0 {
		p.line("  ", counted(more, "more file"), " not packed")
	}
}

func (a importAnswer) operatorLines(o api.ImportedOperator) []claims.Line {
	signing := 0
	for _, k := range o.SigningKeys {
		if k.Seed {
			signing++
		}
	}
	lines := []claims.Line{
		{Label: "identity seed", Value: foundWord(o.IdentitySeed), Note: "it signs the operator's own JWT"},
		{Label: "signing keys", Value: strconv.Itoa(signing) + " of " + strconv.Itoa(len(o.SigningKeys)) + " with their seed", Note: "one is enough to sign accounts"},
	}
	if a.unsent {
		lines = []claims.Line{{Label: "seeds", Value: "stay there", Note: "none was packed"}}
	}
	if o.Strict {
		lines = append(lines, claims.Line{Label: "strict", Value: "yes", Note: "servers accept only what signing keys signed"})
	}
	if o.Managed {
		lines = append(lines, claims.Line{Label: "managed", Value: "yes", Note: "nsc had its accounts signed by somebody else"})
	}
	if o.Custody != "" {
		lines = append(lines, claims.Line{Label: "here already", Value: o.Custody})
	}
	if len(o.Unknown) > 0 {
		lines = append(lines, claims.Line{Label: "unknown fields", Value: strconv.Itoa(len(o.Unknown)), Note: "kept as they are"})
	}
	return lines
}

func foundWord(found bool) string {
	if found {
		return "found"
	}
	return "missing"
}

// mostAccounts is how many accounts without anything to say about are listed.
const mostAccounts = 20

// accounts prints the table: all that somebody should look at, and some of the rest.
func (a importAnswer) accounts(p page, o api.ImportedOperator) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tSTATE\tFROM\tSEEDS\tUSERS\tNOTES")
	quiet, hidden := 0, 0
	for _, x := range o.Accounts {
		if remarkable := (x.State != "new" && x.State != "unchanged") || len(x.Problems) > 0 || x.From == "server" || !a.unsent && !seedsComplete(x); !remarkable {
			if quiet++; quiet > mostAccounts {
				hidden++
				continue
			}
		}
		from := "the store"
		if x.From == "server" {
			from = "the servers, newer"
		}
		fmt.Fprintln(w, strings.Join([]string{plain(x.Name), importStates[x.State], from, a.seedWords(x), strconv.Itoa(x.Users), notes(x)}, "\t"))
	}
	_ = w.Flush() // into memory
	p.line("")
	for n, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		line = "  " + strings.TrimRight(line, " ")
		if n == 0 {
			line = p.paint(faint, line)
		}
		p.line(line)
	}
	if hidden > 0 {
		p.line("  and ", counted(hidden, "more account"), " of which nothing special is to be said; --json lists them all")
	}
	users, accounts := 0, len(o.Accounts)
	for _, x := range o.Accounts {
		users += x.Users
	}
	p.line("  ", counted(accounts, "account"), ", ", counted(users, "user"))
}

func seedsComplete(x api.ImportedAccount) bool {
	return x.IdentitySeed && x.SigningSeeds == x.SigningKeys
}

func (a importAnswer) seedWords(x api.ImportedAccount) string {
	if a.unsent {
		return "stay there"
	}
	words := "identity"
	if !x.IdentitySeed {
		words = "no identity"
	}
	if x.SigningKeys > 0 {
		words += fmt.Sprintf(", %d of %d keys", x.SigningSeeds, x.SigningKeys)
	}
	return words
}

func notes(x api.ImportedAccount) string {
	var out []string
	if x.System {
		out = append(out, "system account")
	}
	if len(x.Templates) > 0 {
		out = append(out, plain("templates "+strings.Join(x.Templates, ", ")))
	}
	for _, n := range []struct {
		n    int
		what string
	}{{x.Bearer, "bearer"}, {x.Expired, "expired"}, {x.Revoked, "revoked"}, {len(x.Unknown), "unknown fields"}} {
		if n.n > 0 {
			out = append(out, strconv.Itoa(n.n)+" "+n.what)
		}
	}
	if x.AddedRevocations > 0 {
		out = append(out, counted(x.AddedRevocations, "revocation")+" to add: signed anew")
	}
	return strings.Join(out, "; ")
}

// problems prints what is wrong, an account's below its name.
func problems(p page, o api.ImportedOperator) {
	first := true
	say := func(who string, list []api.ImportProblem, more []string) {
		for _, x := range list {
			more = append(more, problemText(x))
		}
		for _, s := range more {
			if first {
				p.line("")
				first = false
			}
			p.line("  ", p.paint(yellow, who), s)
		}
	}
	say("", o.Problems, nil)
	for _, x := range o.Accounts {
		var differences []string
		for _, d := range x.Differences {
			differences = append(differences, plain(d))
		}
		say(plain(x.Name)+": ", x.Problems, differences)
	}
}

func problemText(x api.ImportProblem) string {
	text := plain(x.Detail)
	if x.Count > 1 {
		text += " (" + strconv.Itoa(x.Count) + " times)"
	}
	if x.Path != "" {
		text = plain(x.Path) + ": " + text
	}
	return text
}
