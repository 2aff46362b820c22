package issuer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
)

// What an audit entry quotes of a request is short, printable text without a seed, whatever was sent.
func TestBounded(t *testing.T) {
	t.Parallel()
	const seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
	for in, want := range map[string]string{
		"": "", "ORDERS/ada@example.com": "ORDERS/ada@example.com", "a\x00b\nc\x1b[2J": "a\ufffdb\ufffdc\ufffd[2J", "a\xffb": "a\ufffdb",
		seed: "[seed redacted]", strings.Repeat("x", 100) + seed: strings.Repeat("x", 100) + "[seed redacted]", strings.Repeat("x", 120) + seed: strings.Repeat("x", 120) + "[seed re",
		strings.Repeat("ä", 80): strings.Repeat("ä", 64), "x" + strings.Repeat("ä", 80): "x" + strings.Repeat("ä", 63),
	} {
		if got := bounded(in); got != want {
			t.Errorf("%+q became %+q, want %+q", in, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.StringN(0, 200, -1), rapid.Just(seed), rapid.Just("\xff"), rapid.Just("\x00")), 0, 5).Draw(r, "parts")
		out := bounded(strings.Join(parts, ""))
		if len(out) > 128 || !utf8.ValidString(out) || strings.ContainsAny(out, "\x00\n\r\x1b") || strings.Contains(out, seed[:20]) {
			r.Fatalf("%+q", out)
		}
	})
}

// A diff names each field that differs, once, and nothing else.
func TestDiff(t *testing.T) {
	t.Parallel()
	type body struct {
		A int64
		B []string
		C map[string]any
	}
	for name, c := range map[string]struct {
		before, after any
		want          []Change
	}{
		"nothing":          {body{A: 1}, body{A: 1}, nil},
		"a number":         {body{A: 1 << 60}, body{A: 1<<60 + 1}, []Change{{Path: "/A", From: json.Number("1152921504606846976"), To: json.Number("1152921504606846977")}}},
		"more of a list":   {body{B: []string{"x"}}, body{B: []string{"x", "y"}}, []Change{{Path: "/B/1", From: nil, To: "y"}}},
		"less of a list":   {body{B: []string{"x", "y"}}, body{B: []string{"y"}}, []Change{{Path: "/B/0", From: "x", To: "y"}, {Path: "/B/1", From: "y", To: nil}}},
		"a key to escape":  {body{C: map[string]any{"a/b~": true}}, body{C: map[string]any{"a/b~": false}}, []Change{{Path: "/C/a~1b~0", From: true, To: false}}},
		"out of nothing":   {nil, map[string]any{"x": "y", "z": map[string]any{}}, []Change{{Path: "/x", From: nil, To: "y"}}},
		"a text to a list": {map[string]any{"x": "y"}, map[string]any{"x": []string{"y"}}, []Change{{Path: "/x", From: "y", To: nil}, {Path: "/x/0", From: nil, To: "y"}}},
	} {
		got, err := diff(c.before, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := diff(nil, func() {}); err == nil {
		t.Error("a function was compared")
	}
}

// Each sentence stands beside one change: by its value where entries of a list have moved, else beside the first field.
func TestNarrate(t *testing.T) {
	t.Parallel()
	var before, after jwt.Account
	before.DefaultPermissions.Pub.Allow = jwt.StringList{"a", "b", "c"}
	after.DefaultPermissions.Pub.Allow = jwt.StringList{"b", "c"}
	before.Tags, after.Tags = jwt.TagList{"x", "y"}, jwt.TagList{"y", "x"}
	after.DefaultPermissions.Sub.Allow = jwt.StringList{"d", "e"}
	after.Limits.Conn = 5
	changes, err := diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range narrate(changes, claims.DiffAccounts(settingsOf(before), settingsOf(after))) {
		got[c.Path] = c.Text
	}
	want := map[string]string{
		"/default_permissions/pub/allow/0": "Users without permissions of their own: may no longer publish a", "/default_permissions/pub/allow/1": "", "/default_permissions/pub/allow/2": "",
		"/default_permissions/sub/allow/0": "Users without permissions of their own: may only subscribe to d, e from now on, it was everything", "/default_permissions/sub/allow/1": "",
		"/limits/conn": "Connections: 0 → 5", "/tags/0": "", "/tags/1": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Secrets are never the same twice, and their checksum is part of them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	i := &Issuer{rand: strings.NewReader(strings.Repeat("\xff", 32) + strings.Repeat("\x00", 32))}
	highest, err := i.newSecret(TokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	lowest, err := i.newSecret(TokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []claims.Secret{highest, lowest} {
		if !validSecret(TokenPrefix, s.Reveal()) || validSecret(linkPrefix, s.Reveal()) {
			t.Errorf("%s", s.Reveal())
		}
	}
	if body := lowest.Reveal()[len(TokenPrefix):][:secretLength]; body != strings.Repeat("0", secretLength) {
		t.Errorf("32 zero bytes are %s", body)
	}
	if _, err := i.newSecret(TokenPrefix); err == nil {
		t.Error("a secret without randomness")
	}
}
