package claims

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
)

// FieldChange is one thing that differs between two claims, in the field's words.
type FieldChange struct {
	// Pointer is the JSON pointer (RFC 6901) of what changed, below the nats body
	// of the JWT, or of a standard claim such as /exp. What is compared as a set
	// has the pointer of the whole list.
	Pointer string
	// Field names it for people: "Connections", "Template device: publish allow".
	Field string
	// Before and After are values for people: "unlimited", "10", "2 GiB"; empty
	// where there is none. They never hold an activation token.
	Before, After string

	sentence string
}

// Sentence returns the change in a line, without a full stop: "Connections: 10 → 5".
func (c FieldChange) Sentence() string {
	switch {
	case c.sentence != "":
		return c.sentence
	case c.Before == "":
		return c.Field + ": " + c.After
	case c.After == "":
		return c.Field + ": " + c.Before + " is removed"
	}
	return c.Field + ": " + c.Before + " → " + c.After
}

// DiffOperators returns what differs between two operator claims; nil stands for
// none at all. When and by whom they were signed is no difference.
func DiffOperators(before, after *jwt.OperatorClaims) []FieldChange {
	a, b := orNew(before), orNew(after)
	d := differ{fresh: before == nil}
	d.standard(&a.ClaimsData, &b.ClaimsData)
	d.set("/signing_keys", "Signing key", shortened(a.SigningKeys), shortened(b.SigningKeys))
	d.flag("/strict_signing_key_usage", "Strict signing key usage", a.StrictSigningKeyUsage, b.StrictSigningKeyUsage)
	d.text("/system_account", "System account", ShortKey(a.SystemAccount), ShortKey(b.SystemAccount))
	d.text("/account_server_url", "Account server URL", a.AccountServerURL, b.AccountServerURL)
	d.set("/operator_service_urls", "Service URL", a.OperatorServiceURLs, b.OperatorServiceURLs)
	d.text("/assert_server_version", "Oldest server version", a.AssertServerVersion, b.AssertServerVersion)
	d.set("/tags", "Tag", a.Tags, b.Tags)
	return d.changes
}

// DiffUsers returns what differs between two user claims; nil stands for none at
// all. When and by whom they were signed is no difference.
func DiffUsers(before, after *jwt.UserClaims) []FieldChange {
	a, b := orNew(before), orNew(after)
	d := differ{fresh: before == nil}
	d.standard(&a.ClaimsData, &b.ClaimsData)
	d.text("/issuer_account", "Issuer account", ShortKey(a.IssuerAccount), ShortKey(b.IssuerAccount))
	d.permissionLimits(a.UserPermissionLimits, b.UserPermissionLimits)
	d.set("/tags", "Tag", a.Tags, b.Tags)
	return d.changes
}

// DiffTemplates returns what differs between two templates; pointers are those of
// Template. An empty before stands for none at all.
func DiffTemplates(before, after Template) []FieldChange {
	d := differ{fresh: before.Name == ""}
	d.text("/name", "Name", before.Name, after.Name)
	label := "Template " + cmp.Or(after.Name, before.Name) + ": "
	d.part("", label, func(p *differ) { p.text("/description", "description", before.Description, after.Description) })
	d.part("", label, func(p *differ) { p.text("/role", "role", deref(before.Role), deref(after.Role)) })
	d.part("/permissions", label, func(p *differ) { p.template(before.Permissions, after.Permissions) })
	return d.changes
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orNew[T any](v *T) *T {
	if v == nil {
		return new(T)
	}
	return v
}

// differ collects changes below a pointer; label goes before the names of fields.
type differ struct {
	pointer, label string
	// fresh tells that there was nothing before, not even limits of 0.
	fresh   bool
	changes []FieldChange
}

// part compares a part with a pointer and a label of its own.
func (d *differ) part(pointer, label string, compare func(*differ)) {
	p := differ{pointer: d.pointer + pointer, label: d.label + label, fresh: d.fresh}
	compare(&p)
	d.changes = append(d.changes, p.changes...)
}

func (d *differ) add(pointer, field, before, after, sentence string) {
	d.changes = append(d.changes, FieldChange{d.pointer + pointer, capital(d.label + field), before, after, capital(sentence)})
}

func (d *differ) standard(a, b *jwt.ClaimsData) {
	d.text("/sub", "Identity", ShortKey(a.Subject), ShortKey(b.Subject))
	d.text("/name", "Name", a.Name, b.Name)
	d.text("/exp", "Expires", moment(a.Expires), moment(b.Expires))
	d.text("/nbf", "Not before", moment(a.NotBefore), moment(b.NotBefore))
	d.text("/aud", "Audience", a.Audience, b.Audience)
}

// text compares what people wrote; only the beginning of a long text is shown.
func (d *differ) text(pointer, field, a, b string) {
	if a == b {
		return
	}
	a, b = brief(a), brief(b)
	sentence := ""
	if a == b {
		sentence = d.label + field + ": the end of the text changes"
	}
	d.add(pointer, field, a, b, sentence)
}

func (d *differ) flag(pointer, field string, a, b bool) {
	if a != b {
		d.add(pointer, field, d.was(onOff(a)), onOff(b), "")
	}
}

// limit compares limits of which 0 allows nothing.
func (d *differ) limit(pointer, field string, a, b int64, show func(int64) string) {
	if a != b {
		d.add(pointer, field, d.was(show(a)), show(b), "")
	}
}

// was is the value before, where there was anything.
func (d *differ) was(value string) string {
	if d.fresh {
		return ""
	}
	return value
}

// set compares lists whose order means nothing, one change for each entry.
func (d *differ) set(pointer, field string, a, b []string) {
	d.entries(pointer, field, a, b, func(x string, added bool) string {
		if added {
			return d.label + field + ": " + x + " is added"
		}
		return d.label + field + ": " + x + " is removed"
	})
}

func (d *differ) entries(pointer, field string, a, b []string, say func(entry string, added bool) string) {
	removed, added := apart(a, b)
	for _, x := range removed {
		d.add(pointer, field, x, "", say(x, false))
	}
	for _, x := range added {
		d.add(pointer, field, "", x, say(x, true))
	}
}

// apart returns what only a, and what only b holds, sorted.
func apart(a, b []string) (removed, added []string) {
	only := func(x, y []string) []string {
		out := slices.DeleteFunc(slices.Clone(x), func(s string) bool { return slices.Contains(y, s) })
		slices.Sort(out)
		return slices.Compact(out)
	}
	return only(a, b), only(b, a)
}

// same tells whether two values say the same when written as JSON: a list that is
// absent is as good as one that is empty.
func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

// count shows a number in groups of three digits; negative is unlimited.
func count(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size shows bytes exactly, with a unit where one fits; negative is unlimited.
func size(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{" TiB", 1 << 40}, {" GiB", 1 << 30}, {" MiB", 1 << 20}, {" KiB", 1 << 10}} {
		if n > 0 && n%u.bytes == 0 {
			return count(n/u.bytes) + u.name
		}
	}
	if n < 0 {
		return count(n)
	}
	return count(n) + " B"
}

// unlessSet shows a limit of which 0 means none, as show shows others.
func unlessSet(show func(int64) string) func(int64) string {
	return func(n int64) string {
		if n == 0 {
			return "unlimited (0)"
		}
		return show(n)
	}
}

// moment shows Unix seconds; 0 is nothing.
func moment(unix int64) string {
	if unix == 0 {
		return ""
	}
	return stamp(unix)
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func brief(s string) string {
	const most = 100
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// ShortKey shows a key as its first four and last four characters.
func ShortKey(key string) string {
	if len(key) <= 12 {
		return key
	}
	return key[:4] + "…" + key[len(key)-4:]
}

func shortened(keys []string) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = ShortKey(k)
	}
	return out
}

func capital(s string) string {
	if s == "" {
		return s
	}
	r, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(string(r)) + s[n:]
}

func number[T ~int | ~uint | ~uint8 | ~int64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
