package claims_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"chancery/claims"
)

// rich is an account with something in every list that holds objects.
func rich(t testing.TB, id string) *jwt.AccountClaims {
	t.Helper()
	c := jwt.NewAccountClaims(id)
	c.Name = "ORDERS"
	c.Exports = jwt.Exports{
		{Name: "b", Subject: "b.>", Type: jwt.Stream},
		{Name: "a", Subject: "a.*", Type: jwt.Service, Latency: &jwt.ServiceLatency{Sampling: 50, Results: "lat.a"}},
	}
	_, exporter := freshPair(t, nkeys.PrefixByteAccount)
	c.Imports = jwt.Imports{{Name: "i", Subject: "x.>", Account: exporter, Type: jwt.Stream}}
	c.Mappings = jwt.Mapping{"m.*": {{Subject: "n.{{wildcard(1)}}", Weight: 80}}}
	c.Trace = &jwt.MsgTrace{Destination: "trace", Sampling: 10}
	c.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {DiskStorage: 1000, Streams: 5, Consumer: -1}}
	_, key := freshPair(t, nkeys.PrefixByteAccount)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = key, "device"
	scope.Template.Times = []jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}
	c.SigningKeys.AddScopedSigner(scope)
	_, plain := freshPair(t, nkeys.PrefixByteAccount)
	c.SigningKeys.Add(plain)
	return c
}

func freshPair(t testing.TB, prefix nkeys.PrefixByte) (nkeys.KeyPair, string) {
	t.Helper()
	kp, err := nkeys.CreatePair(prefix)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return kp, public
}

// payloadIn decodes what a JWT holds.
func payloadIn(t testing.TB, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func signPayload(t testing.TB, p map[string]any, by nkeys.KeyPair) string {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + base64.RawURLEncoding.EncodeToString(raw)
	signature, err := by.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// objectsIn returns every object of a payload but maps of the vocabulary, whose members are not fields.
func objectsIn(v any, at string) map[string]map[string]any {
	out := map[string]map[string]any{}
	switch x := v.(type) {
	case map[string]any:
		if !slices.Contains([]string{"#/nats/mappings", "#/nats/limits/tiered_limits", "#/nats/revocations"}, at) {
			out[at] = x
		}
		for k, e := range x {
			for p, o := range objectsIn(e, at+"/"+k) {
				out[p] = o
			}
		}
	case []any:
		for i, e := range x {
			for p, o := range objectsIn(e, fmt.Sprint(at, "/", i)) {
				out[p] = o
			}
		}
	}
	return out
}

// Q9: unknown fields anywhere in an account's JWT are in the JWT that takes its place, in the object they were in,
// whatever else was edited; where their object is gone, the edit is refused unless it takes rights away.
func TestUnknownFieldsAreCarried(t *testing.T) {
	t.Parallel()
	operator, _ := freshPair(t, nkeys.PrefixByteOperator)
	issuer, _ := operator.PublicKey()
	n, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		_, id := freshPair(t, nkeys.PrefixByteAccount)
		token, err := rich(t, id).Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		p := payloadIn(t, token)
		places := objectsIn(p, "#")
		var paths []string
		for at := range places {
			paths = append(paths, at)
		}
		slices.Sort(paths)
		marks := map[string]any{}
		for k := range rapid.IntRange(1, 6).Draw(r, "fields") {
			at := rapid.SampledFrom(paths).Draw(r, "place")
			name := fmt.Sprintf("future_%d", k)
			value := rapid.SampledFrom([]any{"text <&>", 1.5, true, nil, []any{"a", 1.0}, map[string]any{"iat": 5.0, "x": map[string]any{"y": "z"}}}).Draw(r, "value")
			places[at][name] = value
			marks[name] = value
		}
		from, err := claims.Read(signPayload(t, p, operator))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := claims.ForeignAccount(from, "ORDERS")
		if err != nil {
			t.Fatal(err)
		}
		text, err := foreign.Text()
		if err != nil {
			t.Fatal(err)
		}
		if foreign, err = claims.ParseForeign(text); err != nil {
			t.Fatal(err)
		}
		parts := claims.AccountOf(from.Claims.(*jwt.AccountClaims))
		parts.Foreign = foreign
		if len(foreign.Fields) != len(marks) {
			r.Errorf("%d fields are kept, want %d", len(foreign.Fields), len(marks))
		}
		gone := ""
		switch rapid.SampledFrom([]string{"nothing", "description", "limits", "revocation", "another export", "no exports", "no imports"}).Draw(r, "edit") {
		case "nothing":
			checked, problems := claims.BuildAccount(parts)
			if problems.Blocking() || !checked.SameClaims(from.Text) {
				t.Errorf("unedited it is not the same: %+v", problems)
			}
		case "description":
			parts.Settings.Description = "edited"
		case "limits":
			parts.Settings.Limits.Conn = 7
		case "revocation":
			_, user := freshPair(t, nkeys.PrefixByteUser)
			parts.Revocations = map[string]int64{user: 5}
		case "another export":
			parts.Settings.Exports = append(jwt.Exports{{Name: "0", Subject: "0.>", Type: jwt.Stream}}, parts.Settings.Exports...)
		case "no exports":
			parts.Settings.Exports, gone = nil, "/nats/exports/"
		case "no imports":
			parts.Settings.Imports, gone = nil, "/nats/imports/"
		}
		lost := slices.ContainsFunc(from.Unknown, func(p string) bool { return gone != "" && strings.HasPrefix(p, gone) })
		checked, problems := claims.BuildAccount(parts)
		if problems.Blocking() != lost {
			r.Fatalf("refused %v, want %v: %+v", problems.Blocking(), lost, problems)
		}
		if lost {
			refused++
			f := *foreign
			f.MayLose = true
			parts.Foreign = &f
			if checked, problems = claims.BuildAccount(parts); problems.Blocking() {
				r.Fatalf("held up: %+v", problems)
			}
		}
		unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: issuer, IssuedAt: 1_800_000_000})
		if err != nil {
			t.Fatal(err)
		}
		signature, err := operator.Sign(unsigned.SigningInput())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := unsigned.Sign(signature)
		if err != nil {
			t.Fatal(err)
		}
		after := objectsIn(payloadIn(t, signed.Token), "#")
		for name, value := range marks {
			was, is := holder(places, name), holder(after, name)
			if gone != "" && strings.HasPrefix(was, "#"+gone) {
				continue
			}
			if is == "" || !reflect.DeepEqual(after[is][name], value) || is != was && !strings.Contains(was, "/nats/exports/") && !strings.Contains(was, "/nats/signing_keys/") {
				r.Errorf("%s was in %q, is in %q", name, was, is)
				continue
			}
			for _, identity := range []string{"subject", "key", "sampling", "start"} {
				if places[was][identity] != after[is][identity] {
					r.Errorf("%s came to another object: %v, was with %v", name, after[is], places[was])
				}
			}
		}
		n++
	})
	t.Logf("Q9: unknown fields are carried or refused: %d of %d cases, %d refused", n, n, refused)
}

// holder returns the object that has the field.
func holder(all map[string]map[string]any, name string) string {
	for at, o := range all {
		if _, ok := o[name]; ok {
			return at
		}
	}
	return ""
}
