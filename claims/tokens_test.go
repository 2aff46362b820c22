package claims_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// badToken is a text and what must be said of it: a part of the error, or the field that is named.
type badToken struct{ text, says, unknown string }

// TestBadTokens: whatever is read in place of a JWT gives a clear error that holds nothing of it, or a token that tells
// the truth.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	corpus := badTokens(t)
	right := 0
	for name, b := range corpus {
		ok := t.Run(name, func(t *testing.T) {
			got, err := claims.Read(b.text)
			if (err != nil) != (b.says != "") || err != nil && !strings.Contains(err.Error(), b.says) {
				t.Fatalf("%v, want %q", err, b.says)
			}
			if err != nil {
				noEchoOf(t, b.text, err.Error())
				return
			}
			if b.unknown != "" != (len(got.Unknown) > 0) || b.unknown != "" && !slices.Contains(got.Unknown, b.unknown) {
				t.Errorf("unknown %v, want %s", got.Unknown, b.unknown)
			}
			if theirs, err := jwt.Decode(got.Text); err != nil || theirs.Claims().Subject != got.Claims.Claims().Subject {
				t.Errorf("the library: %v", err)
			}
			_, problems := got.Checked()
			if b.unknown != "" && !problems.Blocking() {
				t.Error("ready to be signed anew, and a field would be lost")
			}
			for _, p := range problems {
				if strings.Contains(p.Detail, "MARKER") || !strings.HasSuffix(p.Detail, ".") {
					t.Errorf("%+v", p)
				}
			}
		})
		if ok {
			right++
		}
	}
	fmt.Printf("bad tokens: %d of %d\n", right, len(corpus))
	if len(corpus) < 120 {
		t.Errorf("%d tokens, want 120", len(corpus))
	}
}

// noEchoOf fails when a message holds a stretch of the text that is longer than a word.
func noEchoOf(t *testing.T, text, message string) {
	t.Helper()
	if strings.Contains(message, "MARKER") {
		t.Errorf("repeated: %s", message)
	}
	for i := 0; i+25 < len(text) && i < 4096; i += 7 {
		if strings.Contains(message, text[i:i+25]) {
			t.Errorf("repeated: %s", message)
		}
	}
}

func badTokens(t *testing.T) map[string]badToken {
	operator, account, user, server := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount), newPair(t, claims.KindUser), newPair(t, claims.KindServer)
	good := sign(t, checked(t)(claims.BuildUser(aUser(t))), account, 1_800_000_000).Token
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	standard := fmt.Sprintf(`"iat":1,"iss":"%s","jti":"J","name":"n","sub":"%s"`, account.id, user.id)
	body := func(nats string) string {
		return compose(t, `{`+standard+`,"nats":`+nats+`}`, account)
	}
	head := func(header string) string {
		return composeWith(t, header, string(payload(t, good)), account)
	}
	raw := func(p string) string { return compose(t, p, account) }
	acc := func(nats string) string {
		return compose(t, fmt.Sprintf(`{"iat":1,"iss":"%s","name":"n","sub":"%s","nats":{%s"type":"account","version":2}}`, operator.id, account.id, nats), operator)
	}
	v1 := func(kind, top, nats string, by pair, sub string) string {
		p := b64([]byte(fmt.Sprintf(`{"iat":1,"iss":"%s","name":"n","sub":"%s","type":"%s"%s,"nats":%s}`, by.id, sub, kind, top, nats)))
		signature, err := by.Sign([]byte(p))
		if err != nil {
			t.Fatal(err)
		}
		return b64([]byte(`{"typ":"jwt","alg":"ed25519"}`)) + "." + p + "." + b64(signature)
	}
	const u2 = `"type":"user","version":2`
	const wrongSignature, wrongKind, notJSON, three, repeated = "the signature of the JWT is wrong", "wrong kind or out of range", "not JSON", "three parts", "repeats a field"
	out := map[string]badToken{
		"nothing": {"", "empty", ""}, "white space": {" \r\n\t", "empty", ""}, "a word": {"MARKER", three, ""}, "a dot": {".", three, ""}, "two dots": {"..", "header", ""},
		"two parts": {parts[0] + "." + parts[1], three, ""}, "four parts": {good + ".x", three, ""}, "a dot before": {"." + good, three, ""}, "a dot behind": {good + ".", three, ""},
		"no header": {"." + parts[1] + "." + parts[2], "header", ""}, "no payload": {parts[0] + ".." + parts[2], "payload", ""}, "no signature": {parts[0] + "." + parts[1] + ".", wrongSignature, ""},
		"a header that is not base64": {"%MARKER%." + parts[1] + "." + parts[2], "header", ""}, "a payload that is not base64": {parts[0] + ".%MARKER%." + parts[2], "payload", ""},
		"a signature that is not base64": {parts[0] + "." + parts[1] + ".%MARKER%", "base64url", ""}, "padding": {parts[0] + "." + parts[1] + "." + parts[2] + "==", "base64url", ""},
		"standard base64": {parts[0] + "." + strings.Repeat("+/", 20) + "." + parts[2], "base64url", ""}, "a blank within": {parts[0] + ". " + parts[1] + "." + parts[2], "white space", ""},
		"a line end within": {parts[0] + "." + parts[1][:10] + "\n" + parts[1][10:] + "." + parts[2], "white space", ""}, "a NUL within": {parts[0] + "\x00." + parts[1] + "." + parts[2], "header", ""},
		"a byte order mark": {"\ufeff" + good, "header", ""}, "no UTF-8": {"\xff\xfe" + good, "header", ""}, "quoted": {`"` + good + `"`, "header", ""}, "Bearer": {"Bearer " + good, "white space", ""},
		"CRLF around": {"\r\n" + good + "\r\n", "", ""}, "white space around": {"  " + good + "\t", "", ""},
		"a creds file":  {claims.FormatCreds(good, user.seed(t)).Reveal(), "creds file", ""},
		"a decorated":   {"-----BEGIN NATS USER JWT-----\n" + good + "\n------END NATS USER JWT------\n", "creds file", ""},
		"a seed":        {user.seed(t).Reveal(), "private key", ""},
		"a public key":  {user.id, three, ""},
		"a PEM key":     {"-----BEGIN PRIVATE KEY-----\nMARKER\n-----END PRIVATE KEY-----", "creds file", ""},
		"1 MiB and one": {strings.Repeat("a", jwt.MaxTokenSize+1), "1 MiB", ""}, "1 MiB": {strings.Repeat("a", jwt.MaxTokenSize), three, ""},
		"a header of null": {head(`null`), "typ", ""}, "a header that is a list": {head(`[]`), "header", ""}, "a header cut off": {head(`{"typ":"JWT"`), "header", ""}, "an empty header": {head(`{}`), "typ", ""},
		"alg none": {head(`{"typ":"JWT","alg":"none"}`), "alg none", ""}, "alg HS256": {head(`{"typ":"JWT","alg":"HS256"}`), "alg HS256", ""}, "alg RS256": {head(`{"typ":"JWT","alg":"RS256"}`), "alg RS256", ""},
		"alg EdDSA": {head(`{"typ":"JWT","alg":"EdDSA"}`), "alg EdDSA", ""}, "no alg": {head(`{"typ":"JWT"}`), "alg unreadable", ""}, "alg that is a seed": {head(`{"typ":"JWT","alg":"` + aSeed + `"}`), "alg unreadable", ""},
		"alg that is a number": {head(`{"typ":"JWT","alg":1}`), "header", ""}, "alg ed25519x": {head(`{"typ":"JWT","alg":"ed25519x"}`), "alg ed25519x", ""}, "alg in capitals": {head(`{"typ":"jwt","alg":"ED25519-NKEY"}`), "", ""},
		"alg ed25519 over version 2": {head(`{"typ":"jwt","alg":"ed25519"}`), "", ""}, "typ JWS": {head(`{"typ":"JWS","alg":"ed25519-nkey"}`), "typ JWS", ""}, "typ that is long": {head(`{"typ":"MARKER MARKER MARKER","alg":"x"}`), "typ unreadable", ""},
		"a key in the header": {head(`{"typ":"JWT","alg":"ed25519-nkey","kid":"MARKER"}`), "", "/header/kid"}, "alg twice": {head(`{"typ":"JWT","alg":"none","alg":"ed25519-nkey"}`), repeated, ""},
		"a payload of null": {raw(`null`), "type", ""}, "a payload that is a list": {raw(`["MARKER"]`), wrongKind, ""}, "a payload that is text": {raw(`"MARKER"`), wrongKind, ""}, "an empty payload": {raw(`{}`), "type", ""},
		"a payload cut off": {raw(`{"iss":"MARKER`), notJSON, ""}, "two payloads": {raw(`{} {"a":"MARKER"}`), notJSON, ""}, "a payload that is no JSON": {raw(`MARKER`), notJSON, ""}, "NaN": {raw(`{"iat":NaN}`), notJSON, ""},
		"no nats": {raw(`{` + standard + `}`), "type", ""}, "nats of null": {body(`null`), "type", ""}, "nats as text": {body(`"MARKER"`), wrongKind, ""}, "nats as a list": {body(`[]`), wrongKind, ""},
		"no type": {body(`{"version":2}`), "type", ""}, "an unknown type": {body(`{"type":"robot","version":2}`), "type robot", ""}, "a generic type": {body(`{"type":"generic","version":2}`), "type generic", ""},
		"a cluster": {body(`{"type":"cluster","version":2}`), "type cluster", ""}, "a server": {body(`{"type":"server","version":2}`), "type server", ""}, "a type that is a seed": {body(`{"type":"` + aSeed + `","version":2}`), "type unreadable", ""},
		"a type in capitals": {body(`{"type":"User","version":2}`), "type User", ""}, "a type of a number": {body(`{"type":1,"version":2}`), wrongKind, ""}, "version 3": {body(`{"type":"user","version":3}`), "newer version", ""},
		"version 0": {body(`{"type":"user"}`), "version", ""}, "version -1": {body(`{"type":"user","version":-1}`), "version", ""}, "version 1.5": {body(`{"type":"user","version":1.5}`), wrongKind, ""}, "version as text": {body(`{"type":"user","version":"2"}`), wrongKind, ""},
		"version 1 in nats": {body(`{"type":"user","version":1}`), wrongSignature, ""}, "a later version of no type": {body(`{"version":9}`), "newer version", ""},
		"a user said to be an account": {body(`{"type":"account","version":2}`), "", ""}, "a user said to be an operator": {body(`{"type":"operator","version":2}`), "a kind that cannot issue", ""},
		"an account by a user":     {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"account","version":2}}`, user.id, account.id), user), "a kind that cannot issue", ""},
		"a user by an operator":    {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{%s}}`, operator.id, user.id, u2), operator), "a kind that cannot issue", ""},
		"a user by a server":       {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{%s}}`, server.id, user.id, u2), server), "a kind that cannot issue", ""},
		"an issuer in small":       {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, account.id, strings.ToLower(account.id), 1)), wrongSignature, ""},
		"an issuer that is a seed": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, account.id, aSeed, 1)), wrongSignature, ""}, "no issuer": {raw(`{"sub":"` + user.id + `","nats":{` + u2 + `}}`), wrongSignature, ""},
		"another issuer":         {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, account.id, newPair(t, claims.KindAccount).id, 1)), wrongSignature, ""},
		"a subject of no kind":   {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"MARKER","nats":{%s}}`, account.id, u2), account), "", ""},
		"no subject":             {compose(t, fmt.Sprintf(`{"iss":"%s","nats":{%s}}`, account.id, u2), account), "", ""},
		"a signature cut short":  {good[:len(good)-2], wrongSignature, ""},
		"a signature of another": {parts[0] + "." + parts[1] + "." + strings.Split(body(`{`+u2+`}`), ".")[2], wrongSignature, ""},
		"a payload of another":   {parts[0] + "." + strings.Split(body(`{`+u2+`}`), ".")[1] + "." + parts[2], wrongSignature, ""},
		"a header of another":    {b64([]byte(`{"alg":"ed25519-nkey","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2], wrongSignature, ""},
		"iss twice":              {raw(`{"iss":"` + account.id + `",` + standard + `,"nats":{` + u2 + `}}`), repeated, ""}, "sub in two spellings": {raw(`{"SUB":"` + user.id + `",` + standard + `,"nats":{` + u2 + `}}`), repeated, ""},
		"a limit twice": {body(`{"subs":1,"subs":2,` + u2 + `}`), repeated, ""}, "an unknown field twice": {body(`{"x":{"y":1,"y":2},` + u2 + `}`), repeated, ""}, "a revocation twice": {acc(`"revocations":{"*":1,"*":2},`), repeated, ""},
		"nats twice": {raw(`{` + standard + `,"nats":{},"nats":{` + u2 + `}}`), repeated, ""}, "a field in capitals": {body(`{"Subs":1,` + u2 + `}`), "", ""},
		"iat of zero": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, `"iat":1`, `"iat":0`, 1)), "", ""}, "iat below zero": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, `"iat":1`, `"iat":-1`, 1)), "", ""},
		"iat of 2^63": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, `"iat":1`, `"iat":9223372036854775808`, 1)), wrongKind, ""}, "iat of 1e400": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, `"iat":1`, `"iat":1e400`, 1)), wrongKind, ""},
		"iat of 1.5": {raw(strings.Replace(`{`+standard+`,"nats":{`+u2+`}}`, `"iat":1`, `"iat":1.5`, 1)), wrongKind, ""}, "exp as text": {raw(`{"exp":"MARKER",` + standard + `,"nats":{` + u2 + `}}`), "field exp", ""}, "exp before iat": {raw(`{"exp":-7,` + standard + `,"nats":{` + u2 + `}}`), "", ""},
		"an unknown field": {body(`{"MARKER":1,` + u2 + `}`), "", "/nats/MARKER"}, "an unknown field at the top": {raw(`{"x":null,` + standard + `,"nats":{` + u2 + `}}`), "", "/x"}, "a field that is a seed": {body(`{"` + aSeed + `":1,` + u2 + `}`), "", "/nats/[seed redacted]"},
		"an unknown field deep down": {acc(`"limits":{"tiered_limits":{"R1":{"mem_storage":1,"nvme":2}}},`), "", "/nats/limits/tiered_limits/R1/nvme"}, "an unknown field of an export": {acc(`"exports":[{"subject":"a","type":"stream","later":1}],`), "", "/nats/exports/0/later"},
		"tags at the top": {raw(`{"tags":["x"],` + standard + `,"nats":{` + u2 + `}}`), "", "/tags"}, "flat limits beside tiers": {acc(`"limits":{"disk_storage":5,"tiered_limits":{"R1":{"disk_storage":1}}},`), "", "/nats/limits/disk_storage"},
		"a signing key that is null": {acc(`"signing_keys":[null],`), "", "/nats/signing_keys/0"}, "a signing key that is a number": {acc(`"signing_keys":[7],`), "", "/nats/signing_keys/0"}, "a signing key twice": {acc(`"signing_keys":["` + account.id + `","` + account.id + `"],`), "", "/nats/signing_keys/1"},
		"a scope of no kind": {acc(`"signing_keys":[{"kind":"MARKER","key":"x"}],`), "does not know", ""}, "a scope's unknown field": {acc(`"signing_keys":[{"kind":"user_scope","key":"` + account.id + `","template":{"later":1}}],`), "", "/nats/signing_keys/0/template/later"},
		"a scope's large number": {acc(`"signing_keys":[{"kind":"user_scope","key":"` + account.id + `","template":{"subs":9007199254740993}}],`), "", "/nats/signing_keys/0/template/subs"}, "a scope's largest number": {acc(`"signing_keys":[{"kind":"user_scope","key":"` + account.id + `","template":{"subs":` + strconv.Itoa(math.MaxInt64) + `}}],`), wrongKind, ""},
		"a scope with a field twice": {acc(`"signing_keys":[{"kind":"user_scope","kind":"user_scope","key":"` + account.id + `"}],`), repeated, ""}, "signing keys as an object": {acc(`"signing_keys":{},`), wrongKind, ""},
		"an export of no kind": {acc(`"exports":[{"subject":"a","type":"MARKER"}],`), "does not know", ""}, "an export that is null": {acc(`"exports":[null],`), "", ""}, "an import that is null": {acc(`"imports":[null],`), "", ""}, "an account without limits": {acc(``), "", ""},
		"limits as text": {acc(`"limits":"MARKER",`), wrongKind, ""}, "a mapping's weight of 300": {acc(`"mappings":{"a":[{"subject":"b","weight":300}]},`), wrongKind, ""}, "a source as text": {body(`{"src":"10.0.0.0/8",` + u2 + `}`), "", ""}, "a source as a number": {body(`{"src":7,` + u2 + `}`), wrongKind, ""},
		"10,000 deep": {body(`{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `,` + u2 + `}`), "", ""}, "9,000 deep": {body(`{"x":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `,` + u2 + `}`), "too deeply", ""}, "100 objects deep": {body(`{"x":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100) + `,` + u2 + `}`), "too deeply", ""},
		"60 deep":         {body(`{"x":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `,` + u2 + `}`), "", "/nats/x"},
		"version 1, user": {v1("user", "", `{"pub":{"allow":["a"]},"src":"10.0.0.0/8","bearer_token":true}`, account, user.id), "", ""}, "version 1, user's lost limit": {v1("user", "", `{"max":7}`, account, user.id), "", "/nats/max"},
		"version 1, account": {v1("account", `,"tags":["x"],"issuer_account":"x"`, `{"limits":{"conn":1},"signing_keys":["`+account.id+`"]}`, operator, account.id), "", ""}, "version 1, account of version 2": {v1("account", "", `{"default_permissions":{}}`, operator, account.id), "", "/nats/default_permissions"},
		"version 1, operator": {v1("operator", "", `{"account_server_url":"https://x"}`, operator, operator.id), "", ""}, "version 1, activation": {v1("activation", "", `{"subject":"a","type":"stream"}`, account, account.id), "", ""}, "version 1, activation's lost limit": {v1("activation", "", `{"subject":"a","type":"stream","max":7}`, account, account.id), "", "/nats/max"},
		"version 1, a cluster": {v1("cluster", "", `{}`, operator, account.id), "type cluster", ""}, "version 1 signed as version 2": {raw(`{"type":"user",` + standard + `,"nats":{}}`), wrongSignature, ""},
		"an authorization request":  {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"server_id":{"name":"","host":"","id":""},"user_nkey":"x","client_info":{},"connect_opts":{"protocol":1},"type":"authorization_request","version":2}}`, server.id, account.id), server), "", ""},
		"an authorization response": {compose(t, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"error":"x","type":"authorization_response","version":2}}`, account.id, user.id), account), "", ""},
	}
	deep := out["10,000 deep"]
	deep.says = notJSON
	out["10,000 deep"] = deep
	// Every bit of the signature counts, those that base64 has to spare too.
	for i := range 10 {
		b := []byte(parts[2])
		at := len(b) - 1 - i*9
		b[at] = base64url[(strings.IndexByte(base64url, b[at])+1)%64]
		says := wrongSignature
		if i == 0 {
			says = "base64url"
		}
		out[fmt.Sprintf("a flipped signature %d", i)] = badToken{parts[0] + "." + parts[1] + "." + string(b), says, ""}
	}
	return out
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// A JWT for one connection is read and not signed anew; an edit of the claims does not reach what is signed.
func TestChecked(t *testing.T) {
	t.Parallel()
	server, account := newPair(t, claims.KindServer), newPair(t, claims.KindAccount)
	request := jwt.NewAuthorizationRequestClaims(account.id)
	request.UserNkey = newPair(t, claims.KindUser).id
	token, err := request.Encode(server)
	if err != nil {
		t.Fatal(err)
	}
	read, err := claims.Read(token)
	if err != nil || len(read.Unknown) > 0 {
		t.Fatalf("%v, %v", read.Unknown, err)
	}
	if _, problems := read.Checked(); len(problems) != 1 || problems[0].Code != "unsupported_type" {
		t.Errorf("%+v", problems)
	}
	u := aUser(t)
	signed := sign(t, checked(t)(claims.BuildUser(u)), account, 5)
	if read, err = claims.Read(signed.Token); err != nil {
		t.Fatal(err)
	}
	read.Claims.(*jwt.UserClaims).Name = "mallory"
	again := sign(t, checked(t)(read.Checked()), account, 6)
	var name struct{ Name string }
	if err := json.Unmarshal(payload(t, again.Token), &name); err != nil || name.Name != u.Name {
		t.Errorf("%q, %v", name.Name, err)
	}
	if _, problems := (claims.Token{Text: "x"}).Checked(); len(problems) != 1 || problems[0].Code != "invalid_jwt" {
		t.Errorf("%+v", problems)
	}
}
