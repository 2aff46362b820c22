package claims

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/jwt/v2"
)

// Section is a part of what a JWT says, in words.
type Section struct {
	Title string `json:"title"`
	Lines []Line `json:"lines"`
}

// Line is one fact of a JWT.
type Line struct {
	Label string `json:"label"`
	Value string `json:"value"`
	// Note says what the value means, such as how long ago a time is.
	Note string `json:"note,omitempty"`
}

// maxListed is how many entries of a list that may be long are shown.
const maxListed = 100

// Describe says in words what claims of any type hold. Every field that is there is
// named; of what is a secret, such as a password or the JWT within another one, only
// that it is there. at is what times are compared with.
func Describe(c jwt.Claims, at time.Time) []Section {
	d := describer{at: at}
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		d.identity(v, v.GenericFields, "")
		d.operator(v)
	case *jwt.AccountClaims:
		d.identity(v, v.GenericFields, "")
		d.account(v)
	case *jwt.UserClaims:
		d.identity(v, v.GenericFields, v.IssuerAccount)
		d.user(v)
	case *jwt.ActivationClaims:
		d.identity(v, v.GenericFields, v.IssuerAccount)
		d.section("Activation")
		d.line("Allows to import", v.ImportType.String()+" "+string(v.ImportSubject), "")
		d.line("For the account", v.Subject, "")
	case *jwt.AuthorizationRequestClaims:
		d.identity(v, v.GenericFields, "")
		d.calloutRequest(v)
	case *jwt.AuthorizationResponseClaims:
		d.identity(v, v.GenericFields, v.IssuerAccount)
		d.section("Answer of the auth callout")
		d.secret("User JWT", v.Jwt)
		d.text("Error", v.Error)
	}
	return d.out
}

// describer collects sections; a section without lines is left out.
type describer struct {
	at    time.Time
	out   []Section
	title string
}

func (d *describer) section(title string) { d.title = shownText(title) }

func (d *describer) line(label, value, note string) {
	if last := len(d.out) - 1; last < 0 || d.out[last].Title != d.title {
		d.out = append(d.out, Section{Title: d.title})
	}
	s := &d.out[len(d.out)-1]
	s.Lines = append(s.Lines, Line{Label: shownText(label), Value: shownText(value), Note: shownText(note)})
}

// shownText makes what somebody wrote into a claim fit for a page and a terminal.
func shownText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
	return Redact(s)
}

// text is a line of what need not be there.
func (d *describer) text(label, value string) {
	if value != "" {
		d.line(label, value, "")
	}
}

func (d *describer) list(label string, values []string) { d.text(label, strings.Join(values, ", ")) }

// secret tells only that something is there.
func (d *describer) secret(label, value string) {
	if value != "" {
		d.line(label, "given", "It is not shown.")
	}
}

func (d *describer) flag(label string, v bool, note string) {
	if v {
		d.line(label, "yes", note)
	}
}

// count and size show limits of which 0 allows nothing.
func (d *describer) count(label string, n int64) {
	if n == 0 {
		d.line(label, "0", "none are allowed")
		return
	}
	d.line(label, count(n), "")
}

func (d *describer) size(label string, n int64, note string) {
	value, exact := roughSize(n)
	d.line(label, value, cmp.Or(note, exact))
}

// roughSize shows bytes with a unit, and beside it exactly where the unit rounds.
func roughSize(n int64) (value, exact string) {
	value = size(n)
	unit := 0
	f := float64(n)
	for ; f >= 1024 && unit < 4; unit++ {
		f /= 1024
	}
	if unit == 0 || !strings.HasSuffix(value, " B") && len(value) <= len("1,023 KiB") {
		return value, ""
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + [...]string{"", " KiB", " MiB", " GiB", " TiB"}[unit], count(n) + " bytes"
}

func (d *describer) identity(c jwt.Claims, g jwt.GenericFields, issuerAccount string) {
	data := c.Claims()
	d.section("JWT")
	d.line("Type", strings.ReplaceAll(string(cmp.Or(g.Type, "unknown")), "_", " "), "version "+strconv.Itoa(g.Version))
	d.text("Name", data.Name)
	d.line("Public key", data.Subject, "")
	note := ""
	if data.Issuer == data.Subject {
		note = "signed by itself"
	}
	d.line("Signed by", data.Issuer, note)
	if issuerAccount != "" {
		d.line("Account", issuerAccount, "the signer is to be one of its signing keys")
	}
	d.line("Issued", cmp.Or(moment(data.IssuedAt), "not told"), d.distance(data.IssuedAt, "in the future: "))
	d.text("Not valid before", moment(data.NotBefore))
	switch {
	case data.Expires == 0:
		d.line("Expires", "never", "")
	case d.at.Unix() > data.Expires:
		d.line("Expires", moment(data.Expires), "expired "+d.distance(data.Expires, ""))
	default:
		d.line("Expires", moment(data.Expires), d.distance(data.Expires, ""))
	}
	d.list("Tags", g.Tags)
	d.text("Audience", data.Audience)
	d.text("JWT ID", data.ID)
}

// distance says how far a time is from now; ahead stands before one to come.
func (d *describer) distance(unix int64, ahead string) string {
	if unix == 0 {
		return ""
	}
	seconds := d.at.Unix() - unix
	switch {
	case seconds == 0:
		return "now"
	case seconds < 0:
		return ahead + "in " + lasting(-seconds)
	}
	return lasting(seconds) + " ago"
}

// lasting shows a span by its largest unit.
func lasting(seconds int64) string {
	for _, u := range []struct {
		name    string
		seconds int64
	}{{"year", 365 * 86400}, {"day", 86400}, {"hour", 3600}, {"minute", 60}} {
		if n := seconds / u.seconds; n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return count(n) + " " + u.name + "s"
		}
	}
	if seconds == 1 {
		return "1 second"
	}
	return count(seconds) + " seconds"
}

func (d *describer) operator(c *jwt.OperatorClaims) {
	d.section("Operator")
	d.line("Strict signing keys", yesNo(c.StrictSigningKeyUsage), strictNote(c.StrictSigningKeyUsage))
	for _, k := range c.SigningKeys {
		d.line("Signing key", k, "")
	}
	d.text("System account", c.SystemAccount)
	d.text("Account server", c.AccountServerURL)
	d.list("Service URLs", c.OperatorServiceURLs)
	d.text("Oldest server version", c.AssertServerVersion)
}

func strictNote(strict bool) string {
	if strict {
		return "identity keys sign nothing that a server accepts"
	}
	return ""
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// revocations are shown newest first.
func (d *describer) revocations(label string, list jwt.RevocationList) {
	keys := slices.SortedFunc(maps.Keys(list), func(a, b string) int {
		return cmp.Or(cmp.Compare(list[b], list[a]), strings.Compare(a, b))
	})
	for _, k := range keys[:min(len(keys), maxListed)] {
		who := k
		if k == jwt.All {
			who = "everybody"
		}
		d.line(label, who, "what was issued up to "+cmp.Or(moment(list[k]), "1970-01-01 00:00:00 UTC"))
	}
	if more := len(keys) - maxListed; more > 0 {
		d.line(label, count(int64(more))+" more", "older than these")
	}
}
