package claims

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength is the longest name, in characters.
const MaxNameLength = 64

// MaxTags is how many tags one object may carry.
const MaxTags = 64

// MaxTextLength is the longest free text, such as a description, in bytes.
const MaxTextLength = 8 * 1024

var (
	tokenRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	// identityRE is the shape of the identities that store makes: usr_…, tpl_….
	identityRE = regexp.MustCompile(`(?i)^[a-z]{3}_[0-9a-v]{26}$`)
)

// IsToken tells whether s is safe as one token of a subject: a nats-server puts a
// user's name and tags into template subjects unescaped, so a name `>` would
// widen `app.{{name()}}` to `app.>`.
func IsToken(s string) bool { return tokenRE.MatchString(s) }

// CheckName returns what is wrong with s as the name of an operator, account,
// template or user. Names are printable, at most 64 characters, may be e-mail
// addresses, never look like a key or an identity, are not *, which stands for
// everybody, and can be a segment of a path.
func CheckName(pointer, s string) Problems {
	switch {
	case s == "":
		return Problems{blocking(pointer, "required", "A name is needed.")}
	case utf8.RuneCountInString(s) > MaxNameLength:
		return Problems{blocking(pointer, "too_long", "The name may have at most 64 characters.")}
	case LooksLikeSeed(s):
		return seedIn(pointer)
	case !utf8.ValidString(s):
		return Problems{blocking(pointer, "invalid_name", "The name must be valid UTF-8.")}
	case LooksLikeKey(s):
		return Problems{blocking(pointer, "invalid_name", "A name must not look like a NATS key.")}
	case identityRE.MatchString(s):
		return Problems{blocking(pointer, "invalid_name", "A name must not look like an identity, such as usr_… or tpl_….")}
	case s == "*":
		return Problems{blocking(pointer, "invalid_name", "A name must not be *, which stands for everybody in a revocation.")}
	case strings.TrimSpace(s) != s:
		return Problems{blocking(pointer, "invalid_name", "A name must not start or end with a space.")}
	case s == "." || s == ".." || strings.ContainsAny(s, `/\?#%`):
		return Problems{blocking(pointer, "invalid_name", `A name must not contain / \ ? # or %, nor be . or ..`)}
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || invisible(r) {
			return Problems{blocking(pointer, "invalid_name", "A name may hold printable characters only, no control or invisible ones.")}
		}
	}
	return nil
}

// invisible tells whether r, although it counts as printable, shows nothing:
// fillers, joiners, variation selectors and the empty Braille pattern.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == '\u2800'
}

// CheckText returns what is wrong with s as free text of at most most bytes: a
// description, a reason. Line ends and tabs are allowed.
func CheckText(pointer, s string, most int) Problems {
	switch {
	case len(s) > most:
		return Problems{blocking(pointer, "too_long", "The text may have at most "+strconv.Itoa(most)+" bytes.")}
	case LooksLikeSeed(s):
		return seedIn(pointer)
	case !utf8.ValidString(s):
		return Problems{blocking(pointer, "invalid_text", "The text must be valid UTF-8.")}
	}
	for _, r := range s {
		if unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) {
			return Problems{blocking(pointer, "invalid_text", "The text must not hold control characters.")}
		}
	}
	return nil
}

// NormalizeTags lower-cases and trims tags and drops repeats and empty ones, as
// nats-io/jwt does when a tag is added. The order of first appearance is kept.
func NormalizeTags(tags []string) []string {
	var out []string
	for _, t := range tags {
		t = strings.ToLower(strings.TrimSpace(t))
		if t != "" && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// CheckTags returns what is wrong with tags. A tag is `key` or `key:value`, both
// single subject tokens, because templates put the value into subjects.
func CheckTags(pointer string, tags []string) Problems {
	var out Problems
	if len(tags) > MaxTags {
		out = append(out, blocking(pointer, "too_many", "At most 64 tags are allowed."))
	}
	for i, t := range tags {
		if LooksLikeSeed(t) {
			out = append(out, seedIn(Point(pointer, i))...)
			continue
		}
		key, value, pair := strings.Cut(strings.TrimSpace(t), ":")
		if key == "" && !pair {
			continue // dropped by NormalizeTags
		}
		if !IsToken(key) || (pair && !IsToken(value)) {
			out = append(out, blocking(Point(pointer, i), "invalid_tag",
				"A tag is key or key:value; each part holds letters, digits, _ and - only, up to 64 characters."))
		}
	}
	return out
}

// TagValues returns the values of the tags `key:value`, as tag(key) would see them.
func TagValues(tags []string, key string) []string {
	var out []string
	for _, t := range tags {
		if v, ok := strings.CutPrefix(t, strings.ToLower(key)+":"); ok {
			out = append(out, v)
		}
	}
	return out
}
