package web

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"chancery/claims"
)

// planView is the one plan component: what a change does, to whom, and where it
// goes, before it is made.
type planView struct {
	Title, Lead string
	// Moved says that the plan is not the one that was looked at.
	Moved    bool
	Changes  []planChange
	Impact   []impact
	Reasons  []reason
	Warnings []string
	// Servers are the names of those that will be told.
	Servers []string
	// Unpushed says that no server is told: what is issued later carries the change.
	Unpushed bool
	// Untold says why no server is told, where it is about Chancery's own callers.
	Untold string
	// Action applies it; Back is sent the same fields to change them.
	Action, Back string
	Cancel       string
	Apply        string
	Danger       bool
	Hidden       []hidden
}

// planChange is one field, before and after, in words. Text is a sentence where it
// says more.
type planChange struct{ Field, From, To, Text string }

// reason is why something becomes of a number of connections.
type reason struct{ Number, Fate, Why, Says string }

// impact is a number with what it counts.
type impact struct {
	Number string
	Text   string
	Note   string
	Tone   tone
}

// connectionsImpact is what becomes of the live connections.
func connectionsImpact(b *claims.Blast) []impact {
	if b == nil {
		return []impact{{"?", "live connections", "They could not be counted: no server answered.", toneWait}}
	}
	var out []impact
	add := func(n int, text, note string, t tone) {
		noun := "live connections "
		if n == 1 {
			noun = "live connection "
		}
		if n > 0 {
			out = append(out, impact{formatCount(int64(n)), noun + text, note, t})
		}
	}
	add(b.Closed-b.Refused, "will reconnect", "Closed, and free to come back at once.", toneWait)
	add(b.Refused, "will be refused", "Closed, and kept out with the credentials they have.", toneBad)
	if b.Uncertain > 0 {
		out = append(out, impact{formatCount(int64(b.AtLeast)) + " to " + formatCount(int64(b.AtMost)), "live connections close in the end", "Which ones is up to the servers.", toneBad})
	}
	if len(out) == 0 {
		out = append(out, impact{"0", "live connections close", "Nobody is thrown out.", toneOff})
	}
	return out
}

// planHash names what a person agreed to. It leaves out what changes by itself,
// such as the time and the number of connections: a busy account would never be
// agreed on.
func planHash(parts ...any) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	for _, p := range parts {
		if err := e.Encode(p); err != nil {
			// Nothing here can fail to encode; a hash that never matches is safe.
			return ""
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// describe lays the changes of a plan out. Where a value stands on one side only, a
// sentence says more than the two.
func describe(summary []claims.FieldChange) []planChange {
	out := make([]planChange, 0, len(summary))
	for _, c := range summary {
		row := planChange{Field: c.Field, From: cmp.Or(c.Before, "–"), To: cmp.Or(c.After, "–")}
		s := strings.TrimPrefix(c.Sentence(), c.Field+": ")
		if whose, _, ok := strings.Cut(c.Field, ": "); ok {
			s = strings.TrimPrefix(s, whose+": ")
		}
		switch s {
		case c.Before + " → " + c.After, c.After, c.After + " is added", c.Before + " is removed":
		default:
			row.Text = s
		}
		out = append(out, row)
	}
	return out
}

// why lays out the reasons of what becomes of live connections.
func why(b *claims.Blast) []reason {
	if b == nil {
		return nil
	}
	fates := map[claims.Fate]string{
		claims.FateStays: "stay", claims.FateReconnects: "reconnect", claims.FateRefused: "are refused", claims.FateUncertain: "may be closed",
	}
	var out []reason
	for _, r := range b.Reasons() {
		out = append(out, reason{formatCount(int64(r.Connections)), fates[r.Fate], r.Why, r.ServerSays})
	}
	return out
}

// sentences returns the details of problems that do not block.
func sentences(problems claims.Problems) []string {
	var out []string
	for _, p := range problems {
		if !p.Blocking && !slices.Contains(out, p.Detail) {
			out = append(out, p.Detail)
		}
	}
	return out
}

func serverNames(servers []claims.Server) []string {
	out := make([]string, len(servers))
	for i, s := range servers {
		out[i] = s.Name
	}
	return out
}
