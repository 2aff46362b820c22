package web

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chancery/claims"
)

const unlimited = "Unlimited"

// formatCount shows a limit that counts things.
func formatCount(n int64) string {
	if n < 0 {
		return unlimited
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// formatSize shows a limit in bytes exactly, with a unit where one fits.
func formatSize(n int64) string {
	if n < 0 {
		return unlimited
	}
	for _, u := range sizeUnits {
		if n > 0 && n%u.bytes == 0 {
			return formatCount(n/u.bytes) + " " + u.name
		}
	}
	return formatCount(n) + " B"
}

var (
	errCount = errors.New("Write a whole number, or leave the field empty for no limit.")                   //nolint:staticcheck,revive // a sentence for people
	errSize  = errors.New("Write a size such as 512 MiB or 10 GiB, or leave the field empty for no limit.") //nolint:staticcheck,revive // a sentence for people
)

// parseCount reads a limit as a person writes it; empty is unlimited.
func parseCount(s string) (int64, error) {
	s = strings.NewReplacer(",", "", " ", "", "_", "").Replace(strings.TrimSpace(s))
	if s == "" || strings.EqualFold(s, unlimited) || s == "-1" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errCount
	}
	return n, nil
}

// parseSize reads a size as a person writes it; empty is unlimited. KB counts as
// KiB: nobody means 24 bytes less.
func parseSize(s string) (int64, error) {
	digits := strings.ToUpper(strings.Join(strings.Fields(s), ""))
	factor := int64(1)
	for _, u := range sizeUnits {
		letter := u.name[:1]
		for _, suffix := range []string{letter + "IB", letter + "B", letter} {
			if rest, ok := strings.CutSuffix(digits, suffix); ok && factor == 1 {
				digits, factor = rest, u.bytes
			}
		}
	}
	if factor == 1 {
		digits = strings.TrimSuffix(digits, "B")
	} else if digits == "" {
		return 0, errSize
	}
	n, err := parseCount(digits)
	if err != nil || (n > 0 && n > math.MaxInt64/factor) || (n < 0 && factor > 1) {
		return 0, errSize
	}
	if n < 0 {
		return n, nil
	}
	return n * factor, nil
}

// countInput and sizeInput are limits as a field holds them.
func countInput(n int64) string {
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func sizeInput(n int64) string {
	if n < 0 {
		return ""
	}
	return formatSize(n)
}

// plural returns n with the noun it counts.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(int64(n)) + " " + many
}

// many is plural for counts of a database.
func many(n int64, one, many string) string { return plural(int(n), one, many) }

func isoTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stamp is a point in time that the script may show relative to now.
func stamp(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, isoTime(t), t.UTC().Format("2 Jan 2006, 15:04:05 UTC"))) //nolint:gosec // digits and letters of a time only
}

// exact is a second that matters by itself and stays as it is.
func exact(s int64) template.HTML {
	return template.HTML(strings.Replace(string(unixStamp(s)), "<time ", "<time data-exact ", 1)) //nolint:gosec // of a time only
}

// day is the day of a calendar, in UTC.
func day(t time.Time) template.HTML {
	return template.HTML(fmt.Sprintf(`<time data-exact datetime="%s">%s</time>`, t.UTC().Format(time.DateOnly), t.UTC().Format("2 Jan 2006"))) //nolint:gosec // digits and letters of a day only
}

// unixStamp is stamp for the seconds of a JWT, where 0 means never.
func unixStamp(s int64) template.HTML {
	if s == 0 {
		return "never"
	}
	return stamp(time.Unix(s, 0))
}

// breakable lets a line break after the dots of a subject, but not before a wildcard.
func breakable(subject string) template.HTML {
	s := strings.ReplaceAll(template.HTMLEscapeString(subject), ".", ".<wbr>")
	return template.HTML(strings.NewReplacer(".<wbr>&gt;", ".&gt;", ".<wbr>*", ".*").Replace(s)) //nolint:gosec // escaped
}

// segment returns what stands for an object in a path: its name, or its identity
// where the name is a page of its own.
func segment(name, id string) string {
	if name == "new" {
		return id
	}
	return name
}

// accountURL and userURL build paths; names may hold spaces and the like.
func accountURL(account string, rest ...string) string {
	return joinURL(append([]string{"accounts", account}, rest...))
}

func userURL(account, user string, rest ...string) string {
	return accountURL(account, append([]string{"users", user}, rest...)...)
}

func joinURL(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// withQuery adds the parameters that are not empty.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// splitTags reads tags separated by commas or spaces.
func splitTags(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

// holdsSeed tells whether a document that may hold a JWT also holds a seed.
func holdsSeed(s string) bool {
	_, hasSeed, _ := claims.FindJWT(s)
	return hasSeed
}

// carriesSecret tells whether text holds a private key, a token or a JWT, none of
// which may be shown, stored or sent on.
func carriesSecret(s string) bool { return claims.LooksLikeSeed(s) || claims.Redact(s) != s }

// formatVersion writes a version for a form.
func formatVersion(n int64) string { return strconv.FormatInt(n, 10) }
