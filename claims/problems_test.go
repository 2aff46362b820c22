package claims_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// texts returns every string that can be set below v, which is a pointer.
func texts(v reflect.Value) []reflect.Value {
	var out []reflect.Value
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			out = append(out, v)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			out = texts(v.Elem())
		}
	case reflect.Struct:
		for n := range v.NumField() {
			out = append(out, texts(v.Field(n))...)
		}
	case reflect.Slice:
		for n := range v.Len() {
			out = append(out, texts(v.Index(n))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			out = append(out, texts(v.MapIndex(key))...)
		}
	}
	return out
}

// markers are what is sent in place of everything: a seed, and text that tries to get out of the quotation marks
// and colons of the library's messages.
func markers(seed string) []string {
	return []string{
		seed, "x." + seed, strings.ToLower(seed), "MARKER", "MARKER MARKER MARKER", `a"MARKER"b`, `"MARKER`, `MARKER"`, "a'MARKER'b", " 'MARKER", "x: MARKER", "MARKER: x", "..MARKER",
		"MARKER\x00", "MARKER\n", "\xffMARKER", "MARKER..", ".MARKER", "{{MARKER()}}", "{{tag(MARKER", "*MARKER.>", "$1.MARKER", "http://MARKER:MARKER", "http://[MARKER", "nats://MARKER@x/y",
		"MARKER://x", "1.MARKER.2", strings.Repeat("MARKER", 200), "%!MARKER%s%d", "10.0.0.0/MARKER",
	}
}

// No sentence, code or pointer repeats what was sent, whatever is sent in whatever field: a seed pasted into the
// wrong one comes back in no answer and no log.
func TestProblemsNeverRepeatInput(t *testing.T) {
	t.Parallel()
	seed := newPair(t, claims.KindUser).seed(t).Reveal()
	o, a, u, x := anOperator(t), anAccount(t), aUser(t), aTemplate()
	v := claims.Activation{Account: a.ID, Name: "n", Exporter: u.Account, Subject: "a.*", Kind: jwt.Service, Tags: []string{"t"}, Audience: "x"}
	use := struct {
		Name string
		Tags []string
	}{"d1", []string{"region:eu"}}
	inputs := map[string]struct {
		input any
		check func(any) claims.Problems
	}{
		"CheckOperator":   {&o, func(v any) claims.Problems { return claims.CheckOperator(*v.(*claims.Operator)) }},
		"BuildOperator":   {&o, func(v any) claims.Problems { _, p := claims.BuildOperator(*v.(*claims.Operator)); return p }},
		"CheckAccount":    {&a, func(v any) claims.Problems { return claims.CheckAccount(*v.(*claims.Account)) }},
		"BuildAccount":    {&a, func(v any) claims.Problems { _, p := claims.BuildAccount(*v.(*claims.Account)); return p }},
		"CheckUser":       {&u, func(v any) claims.Problems { return claims.CheckUser(*v.(*claims.User)) }},
		"BuildUser":       {&u, func(v any) claims.Problems { _, p := claims.BuildUser(*v.(*claims.User)); return p }},
		"CheckActivation": {&v, func(v any) claims.Problems { return claims.CheckActivation(*v.(*claims.Activation)) }},
		"BuildActivation": {&v, func(v any) claims.Problems { _, p := claims.BuildActivation(*v.(*claims.Activation)); return p }},
		"CheckTemplate":   {&x, func(v any) claims.Problems { return claims.CheckTemplate(*v.(*claims.Template)) }},
		"CheckTemplateUse": {&use, func(v any) claims.Problems {
			in := v.(*struct {
				Name string
				Tags []string
			})
			return claims.CheckTemplateUse(x, a, in.Name, in.Tags)
		}},
	}
	tried := 0
	for name, in := range inputs {
		for field := range texts(reflect.ValueOf(in.input)) {
			for _, marker := range markers(seed) {
				v := copied(t, in.input)
				texts(reflect.ValueOf(v))[field].SetString(marker)
				tried++
				noEcho(t, fmt.Sprintf("%s with %.40q", name, marker), in.check(v), seed)
			}
		}
	}
	if tried < 3000 {
		t.Errorf("%d combinations", tried)
	}
}

func copied(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := reflect.New(reflect.TypeOf(v).Elem()).Interface()
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The same for what is the key of a map, and for the checks of single values.
func TestProblemsNeverRepeatKeys(t *testing.T) {
	t.Parallel()
	seed := newPair(t, claims.KindUser).seed(t).Reveal()
	for _, m := range markers(seed) {
		a := anAccount(t)
		a.Settings.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{m: {Streams: -5}}
		a.Revocations = map[string]int64{m: 1}
		noEcho(t, "keys of an account", claims.CheckAccount(a), seed)
		b := anAccount(t)
		b.Settings.Mappings = jwt.Mapping{jwt.Subject(m): {{Subject: "a..b", Weight: 200, Cluster: m}}}
		b.Settings.Exports = jwt.Exports{{Subject: jwt.Subject(m), Type: jwt.Service, AccountTokenPosition: 9, ResponseType: jwt.ResponseType(m)}, {Subject: jwt.Subject(m), Type: jwt.Service}}
		b.Settings.Imports = jwt.Imports{{Subject: jwt.Subject(m), LocalSubject: jwt.RenamingSubject("$4." + m), Account: m, Type: jwt.Service, Token: m}, {Subject: jwt.Subject(m), Account: m, Type: jwt.Service}}
		b.Settings.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{m}, AllowedAccounts: jwt.StringList{m, "*"}, XKey: m}
		b.Settings.ClusterTraffic = jwt.ClusterTraffic(m)
		_, problems := claims.BuildAccount(b)
		noEcho(t, "sharing of an account", problems, seed)
		if !problems.Blocking() {
			t.Errorf("an account of %.40q is built", m)
		}
		noEcho(t, "a name", claims.CheckName("/x", m), seed)
		noEcho(t, "tags", claims.CheckTags("/x", []string{m}), seed)
		noEcho(t, "a text", claims.CheckText("/x", m, 10), seed)
		noEcho(t, "a key", claims.CheckPublicKey("/x", claims.KindServer, m), seed)
		noEcho(t, "a subject", claims.CheckSubject("/x", m, true, true), seed)
	}
}

// noEcho fails when a problem holds the marker or any stretch of the seed.
func noEcho(t *testing.T, what string, problems claims.Problems, seed string) {
	t.Helper()
	for _, p := range problems {
		text := p.Pointer + " " + p.Code + " " + p.Detail
		if strings.Contains(strings.ToUpper(text), "MARKER") || strings.Contains(strings.ToUpper(text), seed[2:20]) {
			t.Errorf("%s: %+v", what, p)
		}
		if p.Code == "" || p.Detail == "" || !strings.HasSuffix(p.Detail, ".") && !strings.HasSuffix(p.Detail, "..") {
			t.Errorf("%s: no sentence: %+v", what, p)
		}
	}
}

func TestPointers(t *testing.T) {
	t.Parallel()
	if got := claims.Point("/a", "b/c", 3, "d~e"); got != "/a/b~1c/3/d~0e" {
		t.Error(got)
	}
	p := claims.Problems{{Pointer: "/x"}, {Pointer: "", Blocking: true}}.At("/user")
	if p[0].Pointer != "/user/x" || p[1].Pointer != "/user" || !p.Blocking() || p[:1].Blocking() {
		t.Errorf("%+v", p)
	}
}
