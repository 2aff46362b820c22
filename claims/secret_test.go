package claims_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"chancery/claims"
)

// However a secret is printed, alone or inside of something, it does not show.
func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	const text = "SUACSECRETxyz"
	s := claims.NewSecret(text)
	type holder struct {
		Name   string
		Secret claims.Secret
		inner  claims.Secret
	}
	h := holder{"n", s, s}
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10v", "%-20s", "%+q", "%t", "%e", "%c", "%U"} {
		for name, v := range map[string]any{"value": s, "pointer": &s, "struct": h, "pointer to a struct": &h, "slice": []claims.Secret{s}, "map": map[string]claims.Secret{"k": s}, "any": []any{s}} {
			outputs[verb+" of a "+name] = fmt.Sprintf(verb, v)
		}
	}
	for name, v := range map[string]any{"value": s, "pointer": &s, "struct": h, "map": map[string]any{"k": s}, "slice": []any{s}} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		outputs["json of a "+name] = string(raw)
	}
	outputs["a key of JSON"] = marshal(t, map[claims.Secret]int{s: 1})
	outputs["print"] = fmt.Sprint(s, h) + fmt.Sprintln(s, &h)
	outputs["an error"] = fmt.Errorf("signing with %v: %w", s, errors.New("no")).Error()
	outputs["a panic"] = panicText(s)
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		l := slog.New(handler)
		l.InfoContext(t.Context(), "x", slog.Any("secret", s), slog.Any("pointer", &s), slog.Any("struct", h), slog.Any("list", []claims.Secret{s}), slog.Group("g", slog.Any("s", s)))
		l.With(slog.Any("secret", s)).InfoContext(t.Context(), "y", slog.Any("key", s))
	}
	outputs["slog"] = log.String()
	for name, out := range outputs {
		for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), strings.Trim(fmt.Sprint([]int{83, 85, 65}), "[]")} {
			if strings.Contains(out, form) {
				t.Errorf("%s shows it: %s", name, out)
			}
		}
	}
	if s.Reveal() != text || s.Empty() || !claims.NewSecret("").Empty() {
		t.Error("the secret itself is lost")
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func panicText(s claims.Secret) (out string) {
	defer func() { out = fmt.Sprint(recover()) }()
	panic(s)
}
