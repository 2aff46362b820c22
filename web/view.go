package web

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"chancery/claims"
	"chancery/issuer"
)

// tone is how a status looks: a shape and a colour beside its word.
type tone string

// The tones. Each has a shape of its own in templates/shared/bits.html.
const (
	toneGood tone = "good"
	tonePart tone = "part"
	toneWait tone = "wait"
	toneBad  tone = "bad"
	toneOff  tone = "off"
)

// chip is a status: a word with a shape and a colour.
type chip struct {
	Tone tone
	Text string
}

// clip is text with a button that copies it, in full where the page shows a part.
type clip struct{ Shown, Full, What string }

func newClip(shown, full, what string) clip { return clip{shown, full, what} }

// searchView is a search field.
type searchView struct{ URL, Label, Query string }

func newSearch(url, label, query string) searchView { return searchView{url, label, query} }

// initial is the first letter of a person's name.
func initial(name string) string {
	for _, r := range name {
		return strings.ToUpper(string(r))
	}
	return ""
}

// emptyView stands where a list would, and says the next step.
type emptyView struct {
	Title, Text string
	Action      *link
	Command     string
}

// pager leads through a list that is read from a cursor on.
type pager struct {
	// First leads back to the start; empty on the first page.
	First string
	// Next is empty on the last page.
	Next string
}

// pageSize is how many rows a list shows.
const pageSize = 50

// cut keeps one page of rows; one more was asked for to know whether more follow.
func cut[T any](rows []T, size int) (page []T, more bool) {
	if len(rows) > size {
		return rows[:size], true
	}
	return rows, false
}

// newPage reads ?q= and ?after= for a list of size rows.
func newPage(q, after string, size int) issuer.Page {
	p := issuer.Page{Limit: size + 1, Search: q}
	raw, err := base64.RawURLEncoding.DecodeString(after)
	if name, id, ok := strings.Cut(string(raw), "\x00"); err == nil && ok && utf8.Valid(raw) && !strings.ContainsRune(id, 0) {
		p.AfterName, p.AfterID = name, id
	}
	return p
}

// cursor is the opposite of newPage.
func cursor(name, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(name + "\x00" + id))
}

// searchText cleans what was typed into a search field. A private key that was
// pasted by mistake is dropped: the page would repeat it.
func searchText(s string) string {
	if carriesSecret(s) || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return ""
	}
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > claims.MaxNameLength {
		s = string(r[:claims.MaxNameLength])
	}
	return s
}

func stateChip(state string) chip {
	switch state {
	case "active":
		return chip{toneGood, "Active"}
	case "suspended", "disabled":
		return chip{toneOff, strings.ToUpper(state[:1]) + state[1:]}
	case "deleted":
		return chip{toneBad, "Deleted"}
	}
	return chip{toneOff, state}
}
