package claims_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"chancery/claims"
)

const aSeed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"

// refusedNames are hostile or useless as the name of anything.
var refusedNames = map[string][]string{
	"nothing or blanks": {"", " ", "  ", "\t", "\n", " a", "a ", "\u00a0a", "a\u00a0", "\u2003a"},
	"control characters": {
		"a\x00b", "\x00", "a\tb", "a\nb", "a\rb", "a\r\nb", "a\x1b[31mb", "a\x7fb", "a\u0085b", "a\x01", "\x08\x08\x08root",
		"ok\nlevel=ERROR msg=forged", "x\r\nSet-Cookie: a=b", "\ufeffa", "a\ufffb",
	},
	"invisible characters": {
		"a\u200bb", "\u200b", "a\u200cb", "a\u200db", "a\u2060b", "a\u00adb", "\u3164", "a\u115fb", "\u1160", "\uffa0", "\u2800",
		"a\ufe0f", "a\ufe00b", "a\U000e0100", "a\u034fb", "a\u17b4b", "a\u180bb", "a\U000e0061", "a\u2028b", "a\u2029b", "a\u2063b",
	},
	"text direction": {"a\u202eb", "a\u202db", "a\u202a", "a\u2066b", "a\u2067", "a\u200eb", "a\u200f", "a\u061cb", "invoice\u202egnp.exe"},
	"no UTF-8":       {"a\xff", "\xc0\xaf", "\xed\xa0\x80", "a\xc3", "\xf8\x88\x80\x80\x80", string([]byte{0xfe, 0xff, 'a'})},
	"no path segment": {
		".", "..", "../..", "a/b", "/", "/etc/passwd", `a\b`, `..\..\x`, "a?b", "a#b", "50%", "%2e%2e", "a%00", "a%2fb", "%s%n", "https://example.com/",
		"<script>alert(1)</script>", "</title><img src=x>", "javascript:alert(1)//", "file:///etc", `C:\x`, `\\host\share`, "a?x=1&y=2",
	},
	"too long": {strings.Repeat("a", 65), strings.Repeat("a", 300), strings.Repeat("ä", 65), strings.Repeat("🙂", 65), strings.Repeat("a", 1<<20)},
	"like a key": {
		aSeed, strings.ToLower(aSeed), "SOACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", "x" + aSeed,
		"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", "udxu4rcsjnzoiqhznwxhxordprtgnjahahfrgzneejcpqtt2m7nlcnf4",
		"A" + strings.Repeat("A", 55), "O" + strings.Repeat("B", 55), "N" + strings.Repeat("C", 55), "X" + strings.Repeat("D", 55), "P" + strings.Repeat("E", 55),
	},
	"like an identity": {"usr_0123456789abcdefghijklmnop", "tpl_0123456789abcdefghijklmnop", "USR_0123456789ABCDEFGHIJKLMNOP", "iss_vvvvvvvvvvvvvvvvvvvvvvvvvv"},
	"everybody":        {"*"},
}

// acceptedNames look hostile and are accepted; why stands beside each group. What makes them harmless is that
// nothing puts a name anywhere unescaped: SQL takes parameters, HTML is escaped by its template, logs are
// structured, and a template that uses names wants single tokens (CheckTemplateUse).
var acceptedNames = map[string][]string{
	"e-mail addresses are names": {"ada@example.com", "ada+nats@example.co.uk", "\"ada lovelace\"@example.com"},
	"other alphabets":            {"Łódź", "東京", "Ελλάδα", "Аda", "עברית", "العربية", "ไทย", "ﬀ", "ǅ"},
	"emoji of one code point":    {"🙂", "🚀 rockets", "❤"},
	"combining marks are how some languages are written; two spellings of é are two names": {"e\u0301", "é", "हिन्दी"},
	"subjects' own signs; refused where a template uses the name":                          {">", "a.*", "a.>", "{{name()}}", "$SYS", "_INBOX.x", "a b"},
	"SQL is never built from names":                                                        {"'; DROP TABLE users; --", "a' OR '1'='1", "_", "__", "x'00'", "1;SELECT", "NULL", "$1"},
	"HTML is escaped where it is shown; a slash is refused above":                          {"<b>", "<img src=x onerror=alert(1)>", "\"><svg onload=x>", "&lt;", "'\"`"},
	"spreadsheets are not written":                                                         {"=1+1", "+cmd|' -C calc'!A0", "@SUM(1)", "-1"},
	"no file is named after one":                                                           {"CON", "NUL", "aux.txt", "-rf", "--help", ".hidden", "~root", "a.b"},
	"no shell sees one":                                                                    {"$(id)", "`id`", "a;b", "a|b", "a&&b", "${HOME}"},
	"templates of logs and expressions are not run":                                        {"${jndi:ldap:x}", "{0}", "{{.}}", "[[a]]"},
	"words of this house":                                                                  {"SYS", "everybody", "null", "undefined", "true", "0", "-0", "1e400", "usr_1", "user_0123456789abcdefghijklmnop"},
	"the longest":                                                                          {strings.Repeat("a", 64), strings.Repeat("🙂", 64)},
	"almost a key":                                                                         {"U" + strings.Repeat("A", 54), "Z" + strings.Repeat("A", 55), "A" + strings.Repeat("1", 55), aSeed[:57]},
}

func TestNames(t *testing.T) {
	t.Parallel()
	count := 0
	for class, names := range refusedNames {
		for _, name := range names {
			count++
			problems := claims.CheckName("/name", name)
			if !problems.Blocking() || problems[0].Pointer != "/name" {
				t.Errorf("%s: %+q is accepted: %+v", class, name, problems)
			}
		}
	}
	for why, names := range acceptedNames {
		for _, name := range names {
			count++
			if problems := claims.CheckName("/name", name); len(problems) > 0 {
				t.Errorf("%s: %+q is refused: %+v", why, name, problems)
			}
		}
	}
	if count < 120 {
		t.Errorf("%d names, want 120", count)
	}
}

// Whatever is accepted shows on one line, is one path segment and can be told from a key.
func TestNamesAreWhatTheyPromise(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringN(1, 70, -1), rapid.StringMatching(`[a-zA-Z0-9 ./%{}*>_-]{1,66}`)).Draw(r, "name")
		if claims.CheckName("/name", s).Blocking() {
			return
		}
		if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 64 || strings.TrimSpace(s) != s || s == "" || strings.ContainsAny(s, "/\\?#%") ||
			claims.LooksLikeKey(s) || claims.LooksLikeSeed(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			r.Fatalf("%+q is accepted", s)
		}
	})
}

// What a template puts into a subject is one token, and nothing of the corpora above slips through.
func TestTokens(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "A9", "_", "-", "d-1_x", strings.Repeat("x", 64)} {
		if !claims.IsToken(s) {
			t.Errorf("%q is no token", s)
		}
	}
	hostile := []string{
		"", ".", "*", ">", "a.b", "a*", "a>", "{", "}", "{{name()}}", " ", "a b", "a\t", "a\n", "\na", "a\x00", "a\x7f", "ä", "а", "é", "🙂", "a:b", "a/b", "a,b", "$SYS",
		"a@b", "a+b", "a=b", "a;b", "a'b", `a"b`, "a\\b", "a|b", "a&b", "a!", "a~", "a^b", "a(b)", "[a]", "#a", "%41", "a\u200b", "ａ", "\u212a", strings.Repeat("x", 65),
		"a.>", "*.a", "_INBOX.>", "$JS.API.>", "{{tag(x)}}", "a{", "}a", "a..b", ".a", "a.", "\r\nPUB a 0", "a\u00a0", "ﬁ", "ß", "ı", "½",
	}
	for _, groups := range []map[string][]string{refusedNames, acceptedNames} {
		for _, names := range groups {
			hostile = append(hostile, names...)
		}
	}
	kept := slices.DeleteFunc(hostile, func(s string) bool {
		return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == ""
	})
	for _, s := range kept {
		if claims.IsToken(s) {
			t.Errorf("%+q is taken for a token", s)
		}
	}
	if len(kept) < 200 {
		t.Errorf("%d hostile values, want 200", len(kept))
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		tags    []string
		pointer string // of the one problem; "" for none
		code    string
	}{
		{"none", nil, "", ""},
		{"plain and pairs", []string{"beta", "region:eu", "Site:B-7_x"}, "", ""},
		{"what normalizing drops or trims", []string{"", "  ", " region:eu ", "region:eu"}, "", ""},
		{"a dot in the value", []string{"ok", "", "region:eu.west"}, "/tags/2", "invalid_tag"},
		{"a wildcard", []string{"region:*"}, "/tags/0", "invalid_tag"},
		{"everything below", []string{"region:>"}, "/tags/0", "invalid_tag"},
		{"no value", []string{"region:"}, "/tags/0", "invalid_tag"},
		{"no key", []string{":eu"}, "/tags/0", "invalid_tag"},
		{"two colons", []string{"a:b:c"}, "/tags/0", "invalid_tag"},
		{"a space", []string{"region:eu west"}, "/tags/0", "invalid_tag"},
		{"a function", []string{"region:{{name()}}"}, "/tags/0", "invalid_tag"},
		{"a control character", []string{"region:e\nu"}, "/tags/0", "invalid_tag"},
		{"other letters", []string{"région:eu"}, "/tags/0", "invalid_tag"},
		{"a letter that lower-cases to k", []string{"region:\u212a"}, "/tags/0", "invalid_tag"},
		{"too long a value", []string{"a:" + strings.Repeat("x", 65)}, "/tags/0", "invalid_tag"},
		{"a seed", []string{"key:" + aSeed}, "/tags/0", "seed_not_accepted"},
		{"a seed in small letters", []string{"ok", strings.ToLower(aSeed)}, "/tags/1", "seed_not_accepted"},
		{"too many", slices.Repeat([]string{"a"}, 65), "/tags", "too_many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			problems := claims.CheckTags("/tags", c.tags)
			if c.pointer == "" && len(problems) == 0 {
				return
			}
			if len(problems) != 1 || problems[0].Pointer != c.pointer || problems[0].Code != c.code || !problems[0].Blocking {
				t.Errorf("%+v, want %s at %q", problems, c.code, c.pointer)
			}
		})
	}
	if got := claims.TagValues([]string{"region:eu", "regions:x", "region:us", "region"}, "Region"); !slices.Equal(got, []string{"eu", "us"}) {
		t.Errorf("the values of region are %v", got)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		code string
	}{
		"nothing":            {"", ""},
		"several lines":      {"first\r\n\tsecond", ""},
		"any language":       {"für Łódź 🙂", ""},
		"the longest":        {strings.Repeat("a", 100), ""},
		"too long":           {strings.Repeat("a", 101), "too_long"},
		"no UTF-8":           {"a\xff", "invalid_text"},
		"a NUL":              {"a\x00", "invalid_text"},
		"a terminal's":       {"a\x1b[2J", "invalid_text"},
		"a seed in the text": {"my key is " + aSeed, "seed_not_accepted"},
	} {
		problems := claims.CheckText("/reason", c.text, 100)
		if c.code == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Code == c.code && problems[0].Pointer == "/reason" && problems[0].Blocking {
			continue
		}
		t.Errorf("%s: %+v, want %q", name, problems, c.code)
	}
}
