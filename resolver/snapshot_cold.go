package resolver

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// cold is a snapshot as it was read: nothing in it is served before its signature was
// verified. It never changes.
type cold struct {
	base base
	// fresh holds the accounts of the journals, and all of them where the base file has
	// no index that can be trusted.
	fresh map[string]store.Served
	// lost holds accounts of which a line that was on the disk is damaged: what is left
	// of them may be older than what was served.
	lost map[string]bool
	// damaged counts damaged lines, nameless those whose account cannot be read.
	damaged, nameless int
	operators         []savedOperator
	// saved is the last time at which it was in step with the database.
	saved time.Time
	// followed is the number of the last change that is in it, 0 when it is not known.
	followed int64
	// journal is the number of the next journal.
	journal int64
	// grown is how many bytes the journals have.
	grown int64
}

// readCold reads the snapshot in a folder. The error is fs.ErrNotExist when there is
// none.
func readCold(dir string) (*cold, error) {
	b, err := readBase(dir)
	if err != nil {
		return nil, err
	}
	c := &cold{base: b, fresh: map[string]store.Served{}, lost: map[string]bool{}, operators: b.operators, journal: b.journal, followed: b.followed}
	saved := b.saved
	if b.bad {
		c.damaged, c.nameless = 1, 1 // lines may be missing at its end
	}
	for i := range b.chunks {
		if b.chunks[i].bad {
			saved = max(saved, c.replay(b.chunks[i].text, true))
			b.chunks[i].text = ""
		}
	}
	numbers, err := listJournals(dir)
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		if n < b.journal {
			continue // the base file covers it
		}
		text, err := os.ReadFile(journalPath(dir, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the snapshot's journal: %w", err)
		}
		saved = max(saved, c.replay(string(text), false))
		c.grown += int64(len(text))
		c.journal = n + 1
	}
	c.saved = time.UnixMicro(saved).UTC()
	return c, nil
}

// replay takes in the lines of a text and returns the time of its last mark. Damaged
// lines below the last mark, or anywhere where all was flushed, were once served.
// Those above it are of a write that was cut short: nobody was ever answered from it.
func (c *cold) replay(text string, flushed bool) (saved int64) {
	var suspects []string
	for len(text) > 0 {
		line, rest, whole := strings.Cut(text, "\n")
		text = rest
		kind, body, err := checkLine(line)
		if err == nil && whole {
			err = c.take(kind, line, body)
		}
		switch {
		case err != nil || !whole:
			suspects = append(suspects, line)
			if endsInMark(line) {
				c.lose(suspects)
				suspects = nil
			}
		case kind == lineMark:
			if at, _, err := parseNumbers(body, 1); err == nil {
				saved = max(saved, at[0])
			}
			c.lose(suspects)
			suspects = nil
		case kind == lineAccount:
			// A later line of the account makes good an earlier one that is damaged.
			delete(c.lost, line[accountStart:accountStart+keyLength])
		}
	}
	if flushed {
		c.lose(suspects)
	}
	return saved
}

// endsInMark tells whether the line end before a mark was damaged. The time in a mark
// has 16 digits until the year 2286.
func endsInMark(line string) bool {
	const length = crcLength + len(" m ") + 16
	if len(line) <= length {
		return false
	}
	kind, _, err := checkLine(line[len(line)-length:])
	return err == nil && kind == lineMark
}

// take takes in one line.
func (c *cold) take(kind byte, line, body string) error {
	switch kind {
	case lineAccount:
		s, err := parseAccount(line)
		if err != nil {
			return err
		}
		if old, ok := c.fresh[s.AccountID]; !ok || old.Version < s.Version {
			c.fresh[s.AccountID] = s
		}
	case lineOperators:
		list, err := parseOperators(body)
		if err != nil {
			return err
		}
		c.operators = list
	case lineFollowed:
		n, _, err := parseNumbers(body, 1)
		if err != nil {
			return err
		}
		c.followed = n[0]
	}
	return nil
}

// keyRE is what may be an account's public key; the key carries a checksum of its own.
var keyRE = regexp.MustCompile(`A[A-Z2-7]{55}`)

// lose notes damaged lines. The accounts that they may have been of are those whose
// keys can still be read in them, or else the subject of the JWT.
func (c *cold) lose(lines []string) {
	for _, line := range lines {
		c.damaged++
		named := false
		for _, key := range keyRE.FindAllString(line, -1) {
			if claims.IsPublicKey(claims.KindAccount, key) {
				c.lost[key], named = true, true
			}
		}
		if named {
			continue
		}
		read, err := claims.Read(line[strings.LastIndexByte(line, ' ')+1:])
		if a, ok := read.Claims.(*jwt.AccountClaims); ok && err == nil {
			c.lost[a.Subject] = true
			continue
		}
		c.nameless++
	}
}

// get returns the account as it was saved; not where a later version is damaged.
func (c *cold) get(account string) (s store.Served, ok bool) {
	if c.lost[account] {
		return s, false
	}
	s, ok = c.fresh[account]
	if line := c.base.line(account); line != "" {
		if old, err := parseAccount(line); err == nil && (!ok || old.Version > s.Version) {
			s, ok = old, true
		}
	}
	return s, ok
}

// line returns the line of an account in the base file, "" if it has none.
func (b *base) line(account string) string {
	i, found := slices.BinarySearchFunc(b.chunks, account, func(c chunk, id string) int { return cmp.Compare(c.first, id) })
	if !found {
		i--
	}
	if i < 0 {
		return ""
	}
	return b.chunks[i].line(account)
}

// each calls f with every account of the snapshot that is not lost, some twice; it
// ends when f returns false.
func (c *cold) each(f func(account string) bool) {
	for account := range maps.Keys(c.fresh) {
		if !f(account) {
			return
		}
	}
	for i := range c.base.chunks {
		for line := range strings.SplitSeq(c.base.chunks[i].text, "\n") {
			if len(line) > restStart && !f(line[accountStart:accountStart+keyLength]) {
				return
			}
		}
	}
}
