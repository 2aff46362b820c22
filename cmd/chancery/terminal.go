package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"chancery/claims"
)

// colour is an escape sequence of a terminal.
type colour string

const (
	noColour colour = ""
	bold     colour = "\x1b[1m"
	red      colour = "\x1b[31m"
	green    colour = "\x1b[32m"
	yellow   colour = "\x1b[33m"
	faint    colour = "\x1b[2m"
)

// page prints for people; colours only to a terminal that wants them.
type page struct {
	w        io.Writer
	coloured bool
}

func newPage(env environment) page {
	f, ok := env.stdout.(*os.File)
	if !ok || env.getenv("NO_COLOR") != "" || env.getenv("TERM") == "dumb" {
		return page{w: env.stdout}
	}
	info, err := f.Stat()
	return page{env.stdout, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p page) paint(c colour, s string) string {
	if !p.coloured || c == noColour {
		return s
	}
	return string(c) + s + "\x1b[0m"
}

// line prints one line. Whatever it was made of, a seed in it is not printed.
func (p page) line(parts ...string) { fmt.Fprintln(p.w, claims.Redact(strings.Join(parts, ""))) }

// rows prints labels and values below each other; a note stands in parentheses.
func (p page) rows(lines []claims.Line) {
	width := 0
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l.Label))
	}
	for _, l := range lines {
		note := ""
		if l.Note != "" {
			note = p.paint(faint, "  ("+l.Note+")")
		}
		p.line("  ", l.Label, strings.Repeat(" ", width-utf8.RuneCountInString(l.Label)+2), l.Value, note)
	}
}

// plain makes text that somebody else wrote fit for a terminal.
func plain(s string) string {
	return claims.Redact(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s))
}

// printAnswer writes an answer at once, for people or as one JSON object, so that a
// failure to write it is noticed.
func printAnswer(env environment, asJSON bool, answer interface{ print(p page) }) error {
	if asJSON {
		return printJSON(env, answer)
	}
	var b strings.Builder
	p := newPage(env)
	p.w = &b
	answer.print(p)
	_, err := io.WriteString(env.stdout, b.String())
	return err
}

// printJSON writes one object. Claims hold what somebody wrote into them: seeds and
// JWTs in it are not printed.
func printJSON(env environment, v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(env.stdout, claims.Redact(b.String()))
	return err
}

// no is the exit code of an answer that is no, when the answer itself was printed.
func no(is bool) error {
	if is {
		return &exitError{nil, exitNo}
	}
	return nil
}
