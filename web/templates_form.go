package web

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// maxSubjects bounds the text of one list of subjects, in characters.
const maxSubjects = 20000

// templateForm asks for a template; in is what it is filled with.
func templateForm(in issuer.TemplateInput) *form {
	p := in.Body.Permissions
	subjects := func(name, pointer, label, hint string, list []string) *field {
		return &field{Name: name, Pointer: "/permissions/" + pointer, Label: label, Kind: kindTextarea, Code: true, Max: maxSubjects, Value: strings.Join(list, "\n"), Hint: hint}
	}
	f := &form{Groups: []group{
		{Fields: []*field{
			{Name: "name", Pointer: "/name", Label: "Name", Kind: kindText, Required: true, Autocomplete: "off", Value: in.Body.Name, Hint: "It is the role in the account's JWT. Up to 64 printable characters."},
			{Name: "description", Pointer: "/description", Label: "Description", Kind: kindText, Autocomplete: "off", Value: in.Body.Description, Hint: "Optional."},
		}},
		{Legend: "Publish", Note: "One subject on each line. * stands for one token, > for the rest. Without a line in allow, everything is allowed.", Fields: []*field{
			subjects("pub_allow", "publish/allow", "Allow", "", p.Pub.Allow),
			subjects("pub_deny", "publish/deny", "Deny", "Wins over allow.", p.Pub.Deny),
		}},
		{Legend: "Subscribe", Note: "A subject may be followed by a space and a queue group, where no line uses a template function.", Fields: []*field{
			subjects("sub_allow", "subscribe/allow", "Allow", "Requests, JetStream and key-value stores need an inbox: _INBOX.> or one of its own.", p.Sub.Allow),
			subjects("sub_deny", "subscribe/deny", "Deny", "A subscription that is wider is accepted; what is denied is not delivered.", p.Sub.Deny),
		}},
		{Legend: "Replies", Fields: []*field{
			{Name: "responses", Pointer: "/permissions/responses", Label: "May reply to requests", Kind: kindCheckbox, Checked: p.Resp != nil, Hint: "On reply subjects that it could not publish to otherwise. Without subjects to publish to, it may publish replies only."},
			{Name: "responses_max", Pointer: "/permissions/responses/max", Label: "Replies to each request", Kind: kindText, Numeric: true, Placeholder: "1"},
			{Name: "responses_ttl", Pointer: "/permissions/responses/ttl_seconds", Label: "Time to reply, in seconds", Kind: kindText, Numeric: true, Placeholder: "120"},
		}},
		{Legend: "Limits of one connection", Fields: []*field{
			{Name: "subs", Pointer: "/limits/subscriptions", Label: "Subscriptions", Kind: kindText, Numeric: true, Placeholder: unlimited, Value: countInput(p.Subs), Hint: "Empty for no limit."},
			{Name: "payload", Pointer: "/limits/payload_bytes", Label: "Largest message", Kind: kindText, Placeholder: unlimited, Value: sizeInput(p.Payload), Hint: "Such as 64 KiB. Empty for no limit."},
			{Name: "data", Pointer: "/limits/data_bytes", Label: "Data", Kind: kindText, Placeholder: unlimited, Value: sizeInput(p.Data), Hint: "Such as 10 MiB. Empty for no limit."},
		}},
		{Legend: "From where, when and how", Fields: []*field{
			{Name: "types", Pointer: "/connection_types", Label: "Connection types", Kind: kindText, Autocomplete: "off", Value: strings.Join(p.AllowedConnectionTypes, " "), Hint: "Empty allows all. Separated by spaces: " + strings.Join(claims.ConnectionTypes(), ", ") + "."},
			{Name: "cidrs", Pointer: "/source_cidrs", Label: "Source networks", Kind: kindText, Autocomplete: "off", Value: strings.Join(p.Src, " "), Hint: "Empty allows all. Such as 10.0.0.0/8 2001:db8::/32."},
			{Name: "hours", Pointer: "/times", Label: "Connect hours", Kind: kindText, Autocomplete: "off", Value: hoursText(p.Times), Hint: "Empty allows always. Such as 08:00:00-18:00:00; it may cross midnight."},
			{Name: "zone", Pointer: "/times_location", Label: "Time zone of the hours", Kind: kindText, Autocomplete: "off", Value: p.Locale, Placeholder: "Europe/Berlin"},
			{Name: "bearer", Pointer: "/bearer", Label: "Bearer: no key is asked for", Kind: kindCheckbox, Checked: p.BearerToken, Hint: "Whoever has the JWT may connect. For clients that cannot sign, such as MQTT ones."},
			{Name: "max_ttl", Pointer: "/max_ttl_seconds", Label: "Longest lifetime of credentials", Kind: kindText, Autocomplete: "off", Placeholder: "no bound", Value: ttlText(in.MaxTTL), Hint: "Such as 30 days or 12 hours. Empty for no bound."},
		}},
		{Legend: "Tests", Fields: []*field{
			{Name: "tests", Pointer: "/tests", Label: "Expectations", Kind: kindTextarea, Code: true, Max: maxSubjects, Value: formatTests(in.Tests), Hint: testsHint},
		}},
	}}
	if p.Resp != nil {
		f.field("responses_max").Value = countInput(int64(p.Resp.MaxMsgs))
		f.field("responses_ttl").Value = strconv.FormatInt(int64(p.Resp.Expires/time.Second), 10)
		if p.Resp.MaxMsgs < 0 {
			f.field("responses_max").Value = "-1"
		}
	}
	return f
}

// sampleField asks for whom to preview a template.
func sampleField(value string) *field {
	return &field{Name: "sample", Label: "Preview for", Kind: kindText, Autocomplete: "off", Value: value, Placeholder: "d1 region:eu", Hint: "A name and its tags. A name alone that a user of the account has stands for that user."}
}

// sampleOf reads what sampleField was sent.
func (c *Console) sampleOf(s site, v *visit, r requestContext, value string) (as claims.TestUser, user string) {
	as = parseTestUser(value)
	if !s.shared() && as.Name != "" && len(as.Tags) == 0 && as.Key == "" {
		if u, err := c.issuer.GetUser(r.Context(), v.caller, s.account.ID, as.Name); err == nil {
			return claims.TestUser{}, u.ID
		}
	}
	return as, ""
}

// templateEdit returns the template that the form asks for, as a change to one. It
// fails the form where a value cannot be read.
func templateEdit(f *form) func(*issuer.TemplateInput) {
	var set issuer.TemplateInput
	p := claims.NewPermissionLimits()
	p.Pub.Allow, p.Pub.Deny = lines(f.value("pub_allow")), lines(f.value("pub_deny"))
	p.Sub.Allow, p.Sub.Deny = lines(f.value("sub_allow")), lines(f.value("sub_deny"))
	if f.checked("responses") {
		p.Resp = &jwt.ResponsePermission{MaxMsgs: int(f.number("responses_max")), Expires: time.Duration(f.number("responses_ttl")) * time.Second}
	}
	p.Subs, p.Payload, p.Data = f.count("subs"), f.size("payload"), f.size("data")
	p.AllowedConnectionTypes, p.Src = splitTags(strings.ToUpper(f.value("types"))), splitTags(f.value("cidrs"))
	p.Times, p.Locale, p.BearerToken = f.hours("hours"), f.value("zone"), f.checked("bearer")
	var err error
	if set.MaxTTL, err = parseTTL(f.value("max_ttl")); err != nil {
		f.fail("max_ttl", err.Error())
	}
	if set.Tests, err = parseTests(f.value("tests")); err != nil {
		f.fail("tests", err.Error())
	}
	return func(in *issuer.TemplateInput) {
		proxy := in.Body.Permissions.ProxyRequired // the form does not ask for it
		in.Body.Name, in.Body.Description, in.Body.Permissions = f.value("name"), f.value("description"), p
		in.Body.Permissions.ProxyRequired = proxy
		in.MaxTTL, in.Tests = set.MaxTTL, set.Tests
	}
}

// lines reads one entry from each line.
func lines(text string) []string {
	var out []string
	for _, s := range strings.Split(text, "\n") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// number reads an optional whole number; empty is 0.
func (f *form) number(name string) int64 {
	s := f.value(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		f.fail(name, "Write a whole number.")
	}
	return n
}

func (f *form) hours(name string) []jwt.TimeRange {
	var out []jwt.TimeRange
	for _, s := range splitTags(f.value(name)) {
		start, end, ok := strings.Cut(s, "-")
		if !ok {
			f.fail(name, "Write connect hours such as 08:00:00-18:00:00.")
			return nil
		}
		out = append(out, jwt.TimeRange{Start: start, End: end})
	}
	return out
}

func hoursText(times []jwt.TimeRange) string {
	var out []string
	for _, t := range times {
		out = append(out, t.Start+"-"+t.End)
	}
	return strings.Join(out, " ")
}

func ttlText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return spell(d)
}

var errLifetime = errors.New("Write a number and days, hours, minutes or seconds, such as 30 days.") //nolint:revive,staticcheck // a sentence for people

// parseTTL reads what spell writes.
func parseTTL(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimSpace(digits), ",", ""), 10, 32)
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	for name, d := range map[string]time.Duration{"day": 24 * time.Hour, "hour": time.Hour, "minute": time.Minute, "second": time.Second} {
		if err == nil && n > 0 && n <= 1<<31/int64(d/time.Second)*100 && slices.Contains([]string{name, name + "s", name[:1]}, unit) {
			return time.Duration(n) * d, nil
		}
	}
	return 0, errLifetime
}

// acceptTemplate is accept, and says which line of a list a problem is about.
func (f *form) acceptTemplate(err error) bool {
	if e := issuer.AsError(err); e.Kind == issuer.KindInvalid {
		for n, p := range e.Problems {
			rest, list := strings.CutPrefix(p.Pointer, "/permissions/")
			if parts := strings.Split(rest, "/"); list && len(parts) == 3 {
				if line, err := strconv.Atoi(parts[2]); err == nil {
					e.Problems[n].Detail = "Line " + strconv.Itoa(line+1) + ": " + p.Detail
				}
			}
			if test, rest, ok := strings.Cut(strings.TrimPrefix(p.Pointer, "/tests/"), "/"); ok && strings.HasPrefix(p.Pointer, "/tests/") {
				if number, err := strconv.Atoi(test); err == nil {
					what, _, _ := strings.Cut(strings.ReplaceAll(rest, "_", " "), "/")
					e.Problems[n].Detail = "Test " + strconv.Itoa(number+1) + ", " + what + ": " + p.Detail
				}
			}
		}
	}
	return f.accept(err)
}
