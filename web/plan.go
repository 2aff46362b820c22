package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// planView is the one plan component: what a change does, to whom, and where it
// goes, before it is made.
type planView struct {
	Title, Lead string
	// Moved says that the plan is not the one that was looked at.
	Moved    bool
	Changes  []planChange
	Impact   []impact
	Warnings []string
	// Servers are the names of those that will be told.
	Servers []string
	// Action applies it; Back is sent the same fields to change them.
	Action, Back string
	Cancel       string
	Apply        string
	Danger       bool
	Hidden       []hidden
}

// planChange is one field, before and after, in words.
type planChange struct{ Field, From, To string }

// impact is a number with what it counts.
type impact struct {
	Number string
	Text   string
	Note   string
	Tone   tone
}

// unknownCount is what a plan says where nobody could be asked.
const unknownCount = -1

func connectionsImpact(n int, verb string) impact {
	switch n {
	case unknownCount:
		return impact{"?", "live connections", "They could not be counted: no server answered.", toneWait}
	case 0:
		return impact{"0", "live connections " + verb, "Nobody is thrown out.", toneOff}
	case 1:
		return impact{"1", "live connection " + closes(verb), "", toneBad}
	}
	return impact{formatCount(int64(n)), "live connections " + verb, "", toneBad}
}

// closes is the verb as one connection does it.
func closes(verb string) string { return strings.Replace(verb, "close", "closes", 1) }

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

// settingNames are the fields of an account's settings in words, by their place in
// the JWT.
var settingNames = map[string]struct {
	name string
	size bool
}{
	"/description":                 {"Description", false},
	"/limits/conn":                 {"Connections", false},
	"/limits/leaf":                 {"Leaf node connections", false},
	"/limits/subs":                 {"Subscriptions", false},
	"/limits/payload":              {"Largest message", true},
	"/limits/data":                 {"Data", true},
	"/limits/imports":              {"Imports", false},
	"/limits/exports":              {"Exports", false},
	"/limits/mem_storage":          {"JetStream memory", true},
	"/limits/disk_storage":         {"JetStream disk", true},
	"/limits/streams":              {"JetStream streams", false},
	"/limits/consumer":             {"JetStream consumers", false},
	"/limits/max_ack_pending":      {"JetStream pending acknowledgements", false},
	"/limits/mem_max_stream_bytes": {"JetStream memory of one stream", true},
	"/limits/disk_max_stream_bytes": {
		"JetStream disk of one stream", true,
	},
}

// describe puts the changes of a plan into words. A limit that is absent from a JWT
// means zero.
func describe(changes []issuer.Change) []planChange {
	out := make([]planChange, 0, len(changes))
	for _, c := range changes {
		n, known := settingNames[c.Path]
		row := planChange{Field: n.name}
		if !known {
			row.Field = c.Path
		}
		isLimit := strings.HasPrefix(c.Path, "/limits/")
		row.From, row.To = settingValue(c.From, isLimit, n.size), settingValue(c.To, isLimit, n.size)
		out = append(out, row)
	}
	return out
}

func settingValue(v any, limit, size bool) string {
	if v == nil && !limit {
		return "–"
	}
	text := fmt.Sprint(v)
	if v == nil {
		text = "0"
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || !limit:
		return text
	case size:
		return formatSize(n)
	}
	return formatCount(n)
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
