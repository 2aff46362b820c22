package issuer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
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
		"a number":         {body{A: 1 << 60}, body{A: 1<<60 + 1}, []Change{{"/A", json.Number("1152921504606846976"), json.Number("1152921504606846977")}}},
		"more of a list":   {body{B: []string{"x"}}, body{B: []string{"x", "y"}}, []Change{{"/B/1", nil, "y"}}},
		"less of a list":   {body{B: []string{"x", "y"}}, body{B: []string{"y"}}, []Change{{"/B/0", "x", "y"}, {"/B/1", "y", nil}}},
		"a key to escape":  {body{C: map[string]any{"a/b~": true}}, body{C: map[string]any{"a/b~": false}}, []Change{{"/C/a~1b~0", true, false}}},
		"out of nothing":   {nil, map[string]any{"x": "y", "z": map[string]any{}}, []Change{{"/x", nil, "y"}}},
		"a text to a list": {map[string]any{"x": "y"}, map[string]any{"x": []string{"y"}}, []Change{{"/x", "y", nil}, {"/x/0", nil, "y"}}},
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
