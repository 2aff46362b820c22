package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// accountServerCase is one request as a client of nats-account-server 1.x sends it, and
// what it relies on in the answer.
type accountServerCase struct {
	name, method, path string
	// header holds pairs.
	header []string
	status int
	// body is the whole of it, contains a part; both empty: anything.
	body, contains string
	// empty demands an empty body.
	empty bool
	// want holds pairs of headers; "" as a value is absent, "*" any.
	want []string
	// bare asks a process that pushes nothing and has no tokens.
	bare bool
}

const packToken = "a-token-for-packs-of-the-tests"

// TestAccountServerReads replays what clients of nats-account-server 1.x read, case by
// case over real HTTP. Where ours is better than theirs the case says "better".
func TestAccountServerReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	now := time.Now()
	expired := w.account("expired")
	w.edit(expired, func(c *claims.Account) { c.Expires = now.Add(time.Hour).Unix() })
	activation, hash := w.activation(a, "orders.*")
	cfg := w.config()
	cfg.Now = func() time.Time { return now.Add(2 * time.Hour) }
	r := w.startWith(cfg, resolver.Hurry{})
	r.Put(store.Served{AccountID: a.id + "BROKEN", OperatorID: w.operator, Version: 1, Token: "no.jwt"})
	broken := a.id + "BROKEN"
	tokens, err := resolver.ParseTokens([]byte(packToken))
	if err != nil {
		t.Fatal(err)
	}
	rich := w.rich(r)
	var notified []string
	front := httptest.NewServer(r.HandlerWith(resolver.Paths{
		Tokens: func() *resolver.Credentials { return tokens },
		Notify: func(_ context.Context, operator, id string) error {
			notified = append(notified, operator, id)
			if id == expired.id {
				return errors.New("nobody answers")
			}
			return nil
		},
	}))
	defer front.Close()
	bare := httptest.NewServer(r.HandlerWith(resolver.Paths{Tokens: func() *resolver.Credentials { return tokens }}))
	defer bare.Close()

	base, bearer := "/jwt/v1", []string{"Authorization", "Bearer " + packToken}
	account := base + "/accounts/" + a.id
	token, etag := w.token(a), get(r.Handler(), http.MethodGet, account).Header().Get("ETag")
	_, stranger := newPair(t, claims.KindAccount)
	operator := get(r.Handler(), http.MethodGet, base+"/operator").Body.String()
	plain := []string{"Content-Type", "text/plain*"}
	list := []accountServerCase{
		{name: "test point", path: base + "/accounts", status: 200, empty: true, want: []string{"Cache-Control", "no-cache, no-store, must-revalidate", "Pragma", "no-cache", "Expires", "0", "Vary", "Origin"}},
		{name: "test point with a slash", path: base + "/accounts/", status: 200, empty: true, want: []string{"Cache-Control", "no-cache, no-store, must-revalidate", "Pragma", "no-cache", "Expires", "0"}},
		{name: "account", path: account, status: 200, body: token, want: []string{"Content-Type", "application/jwt", "ETag", etag, "Vary", "Origin", "Cache-Control", "no-cache"}},
		{name: "better: HEAD of an account", method: "HEAD", path: account, status: 200, empty: true, want: []string{"Content-Type", "application/jwt", "ETag", etag, "Content-Length", fmt.Sprint(len(token))}},
		{name: "not modified", path: account, header: []string{"If-None-Match", etag}, status: 304, empty: true},
		{name: "not modified, weak", path: account, header: []string{"If-None-Match", "W/" + etag}, status: 304, empty: true},
		{name: "not modified, list", path: account, header: []string{"If-None-Match", `"x", ` + etag}, status: 304, empty: true},
		{name: "better: * matches", path: account, header: []string{"If-None-Match", "*"}, status: 304, empty: true},
		{name: "better: what is not modified has its tag and its rule for caches", path: account, header: []string{"If-None-Match", etag}, status: 304, empty: true, want: []string{"ETag", etag, "Cache-Control", "no-cache"}},
		{name: "modified", path: account, header: []string{"If-None-Match", `"x"`}, status: 200, body: token},
		{name: "text", path: account + "?text=true", status: 200, body: token, want: append(plain, "ETag", "")},
		{name: "text in capitals", path: account + "?text=TRUE", status: 200, body: token, want: plain},
		{name: "text=1 is no", path: account + "?text=1", status: 200, body: token, want: []string{"Content-Type", "application/jwt"}},
		{name: "TEXT is another name", path: account + "?TEXT=true", status: 200, body: token, want: []string{"Content-Type", "application/jwt"}},
		{name: "text wins over the others", path: account + "?decode=true&text=true&check=true&notify=true", status: 200, body: token, want: plain},
		{name: "decode", path: account + "?decode=true", status: 200, contains: `"sub": "` + a.id + `"`, want: plain},
		{name: "decode with dates", path: account + "?decode=true", status: 200, contains: " (" + now.UTC().Format("2006-"), want: plain},
		{name: "decode with the header", path: account + "?decode=true", status: 200, contains: `"alg": "ed25519-nkey"`, want: plain},
		{name: "decode with 4 spaces and the keys sorted", path: account + "?decode=true", status: 200, contains: "{\n    \"alg\": \"ed25519-nkey\",\n    \"typ\": \"JWT\"\n}\n", want: append(plain, "ETag", "")},
		{name: "decode with the signature", path: account + "?decode=true", status: 200, contains: "\n" + token[strings.LastIndexByte(token, '.')+1:] + "\n"},
		{name: "decode without escapes for HTML", path: base + "/accounts/" + rich + "?decode=true", status: 200, contains: `"description": "a<b>&c"`},
		{name: "decode with activation tokens inlined", path: base + "/accounts/" + rich + "?decode=true", status: 200, contains: `"type": "activation"`},
		{name: "what is no JWT, which nothing here stores: not looked at", path: base + "/accounts/" + broken, status: 200, body: "no.jwt"},
		{name: "better: decode of what is no JWT", path: base + "/accounts/" + broken + "?decode=true", status: 500, body: "error decoding claim\n", want: plain},
		{name: "text of what is no JWT", path: base + "/accounts/" + broken + "?text=true", status: 200, body: "no.jwt", want: plain},
		{name: "check of a valid one", path: account + "?check=true", status: 200, body: token, want: []string{"Content-Type", "application/jwt"}},
		{name: "check of an expired one", path: base + "/accounts/" + expired.id + "?check=TRUE", status: 404, empty: true},
		{name: "an expired one without check", path: base + "/accounts/" + expired.id, status: 200, body: w.token(expired), want: []string{"Cache-Control", "no-cache"}},
		{name: "notify", path: account + "?notify=true", header: bearer, status: 200, body: token, want: []string{"Content-Type", "application/jwt"}},
		{name: "notify of what is not modified: nothing is sent", path: account + "?notify=true", header: append([]string{"If-None-Match", etag}, bearer...), status: 304, empty: true},
		{name: "notify that fails", path: base + "/accounts/" + expired.id + "?notify=true", header: bearer, status: 500, body: "error sending notification of change\n", want: plain},
		{name: "better: notify where nothing is pushed says so", path: account + "?notify=true", header: bearer, status: 403, contains: "pushes nothing", bare: true},
		{name: "better: notify without a token", path: account + "?notify=true", status: 401, contains: "needs a token", want: append(plain, "WWW-Authenticate", "*")},
		{name: "better: notify with a wrong token", path: account + "?notify=true", header: []string{"Authorization", "Bearer x"}, status: 403, contains: "needs a token"},
		{name: "jti", path: account + "?jti=x", status: 501, contains: "lookup by jti is no longer supported", want: plain},
		{name: "unknown", path: base + "/accounts/" + stranger, status: 404, body: "no matching account JWT\n", want: plain},
		{name: "malformed", path: base + "/accounts/x", status: 404, body: "no matching account JWT\n", want: plain},
		{name: "unknown with parameters", path: base + "/accounts/" + stranger + "?decode=true", status: 404, body: "no matching account JWT\n", want: plain},
		{name: "system account", path: base + "/accounts/" + w.system.id, status: 200, body: w.token(w.system)},
		{name: "operator", path: base + "/operator", status: 200, body: operator, want: []string{"Content-Type", "application/jwt"}},
		{name: "operator as text", path: base + "/operator?text=true", status: 200, body: operator, want: plain},
		{name: "operator decoded", path: base + "/operator?decode=true", status: 200, contains: `"type": "operator"`, want: plain},
		{name: "pack", path: base + "/pack", header: bearer, status: 200, contains: a.id + "|" + token, want: append(plain, "Link", "")},
		{name: "pack: a line for each that has not expired, and no newline at the end", path: base + "/pack", header: bearer, status: 200, body: packLines(r, a.id, broken, rich, w.system.id)},
		{name: "pack with Basic", path: base + "/pack", header: []string{"Authorization", basic("any", packToken)}, status: 200, contains: a.id + "|" + token},
		{name: "pack of none", path: base + "/pack?max=0", header: bearer, status: 200, empty: true, want: plain},
		{name: "pack of one", path: base + "/pack?max=1", header: bearer, status: 200, want: []string{"Link", "*"}},
		{name: "pack of no number", path: base + "/pack?max=x", header: bearer, status: 400},
		{name: "pack of too many", path: base + "/pack?max=10001", header: bearer, status: 400, body: "no more than 10000 are allowed\n"},
		{name: "better: pack of less than nothing", path: base + "/pack?max=-1", header: bearer, status: 400},
		{name: "better: pack without a token", path: base + "/pack", status: 401, want: []string{"WWW-Authenticate", "*"}},
		{name: "better: activation with padding", path: base + "/activations/" + hash, status: 200, body: activation, want: []string{"Content-Type", "application/jwt", "ETag", "*"}},
		{name: "better: activation without padding", path: base + "/activations/" + strings.TrimRight(hash, "="), status: 200, body: activation},
		{name: "better: activation as text", path: base + "/activations/" + hash + "?text=true", status: 200, body: activation, want: plain},
		{name: "better: activation decoded", path: base + "/activations/" + hash + "?decode=true", status: 200, contains: `"type": "activation"`, want: plain},
		{name: "better: HEAD of an activation", method: "HEAD", path: base + "/activations/" + hash, status: 200, empty: true},
		{name: "unknown activation", path: base + "/activations/" + strings.Repeat("A", 52) + "====", status: 404, contains: "No Matching JWT", want: plain},
		{name: "malformed activation", path: base + "/activations/x", status: 404, contains: "No Matching JWT"},
		{name: "activations without a hash", path: base + "/activations", status: 405, want: []string{"Allow", "OPTIONS"}},
		{name: "healthz", path: "/healthz", status: 200, empty: true},
		{name: "better: HEAD of healthz", method: "HEAD", path: "/healthz", status: 200, empty: true},
		{name: "help", path: base + "/help", status: 200, contains: "/jwt/v1/accounts", want: plain},
		{name: "better: HEAD of help", method: "HEAD", path: base + "/help", status: 200, empty: true},
		{name: "OPTIONS", method: "OPTIONS", path: account, status: 200, want: []string{"Allow", "GET, HEAD, OPTIONS"}},
		{name: "preflight", method: "OPTIONS", path: account, header: []string{"Origin", "https://page.example", "Access-Control-Request-Method", "GET"}, status: 204, empty: true, want: []string{"Access-Control-Allow-Origin", "*", "Access-Control-Allow-Methods", "GET"}},
		{name: "another origin", path: account, header: []string{"Origin", "https://page.example"}, status: 200, body: token, want: []string{"Access-Control-Allow-Origin", "*", "Vary", "Origin"}},
		{name: "no origin", path: account, status: 200, want: []string{"Access-Control-Allow-Origin", ""}},
		{name: "trailing slash", path: account + "/", status: 301, want: []string{"Location", account}},
		{name: "trailing slash of operator", path: base + "/operator/", status: 301, want: []string{"Location", base + "/operator"}},
		{name: "wrong case", path: "/JWT/v1/Accounts/" + a.id, status: 301, want: []string{"Location", account}},
		{name: "wrong case with parameters", path: "/Jwt/V1/OPERATOR?text=true", status: 301, want: []string{"Location", base + "/operator?text=true"}},
		{name: "wrong case of a POST", method: "POST", path: "/JWT/v1/accounts/" + a.id, status: 404},
		{name: "wrong method", method: "DELETE", path: account, status: 405, want: []string{"Allow", "GET, HEAD, OPTIONS"}},
		{name: "wrong method of operator", method: "POST", path: base + "/operator", status: 405, want: []string{"Allow", "GET, HEAD, OPTIONS"}},
		{name: "POST of accounts", method: "POST", path: base + "/accounts/", status: 405},
		{name: "wrong method of a pack", method: "POST", path: base + "/pack", header: bearer, status: 405, want: []string{"Allow", "GET, HEAD, OPTIONS"}},
		{name: "POST where nobody takes it", method: "POST", path: account, status: 405, bare: true},
		{name: "another version", path: "/jwt/v2/operator", status: 404, body: "404 page not found\n", want: plain},
		{name: "another path", path: "/jwt/v1/nothing", status: 404, body: "404 page not found\n", want: plain},
		{name: "no path", path: "/", status: 404, body: "404 page not found\n", want: plain},
	}
	passed := 0
	for _, c := range list {
		at := front.URL
		if c.bare {
			at = bare.URL
		}
		if c.holds(t, at) {
			passed++
		}
	}
	t.Logf("account-server: %d of %d cases", passed, len(list))
	if !slices.Equal(notified, []string{w.operator, a.id, w.operator, expired.id}) {
		t.Errorf("notified %v", notified)
	}
}

// rich puts an account into memory whose JWT has what is hard to show, and returns its key.
func (w *world) rich(r *resolver.Resolver) string {
	w.t.Helper()
	pair, id := newPair(w.t, claims.KindAccount)
	act := jwt.NewActivationClaims(id)
	act.ImportSubject, act.ImportType = "orders.>", jwt.Stream
	token, err := act.Encode(pair)
	if err != nil {
		w.t.Fatal(err)
	}
	c := jwt.NewAccountClaims(id)
	c.Name, c.Description = "rich", "a<b>&c"
	c.Imports.Add(&jwt.Import{Subject: "orders.>", Account: id, Type: jwt.Stream, Token: token})
	if token, err = c.Encode(w.pair); err != nil {
		w.t.Fatal(err)
	}
	r.Put(store.Served{AccountID: id, OperatorID: w.operator, Version: 1, Token: token})
	return id
}

// packLines is what is served of accounts, as a pack has it.
func packLines(r *resolver.Resolver, ids ...string) string {
	slices.Sort(ids)
	lines := make([]string, len(ids))
	for n, id := range ids {
		lines[n] = id + "|" + get(r.Handler(), http.MethodGet, "/jwt/v1/accounts/"+id).Body.String()
	}
	return strings.Join(lines, "\n")
}

func (c accountServerCase) holds(t *testing.T, base string) bool {
	t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	status, header, body := ask(t, method, base+c.path, c.header...)
	ok := status == c.status && (c.body == "" || body == c.body) && strings.Contains(body, c.contains) && (!c.empty || body == "") && strings.HasPrefix(header.Get("Vary"), "Origin")
	for i := 0; i+1 < len(c.want); i += 2 {
		got, want := header.Get(c.want[i]), c.want[i+1]
		if prefix, open := strings.CutSuffix(want, "*"); open {
			ok = ok && got != "" && strings.HasPrefix(got, prefix)
		} else {
			ok = ok && got == want
		}
	}
	if !ok {
		t.Errorf("%s: %s %s: %d %v %.300q", c.name, method, c.path, status, header, body)
	}
	return ok
}

// ask sends a request over the network and follows nothing.
func ask(t testing.TB, method, address string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

func basic(name, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header.Get("Authorization")
}

// activation stores an activation token of the account for a stranger, and an older one
// under the same hash; it returns the token and the hash that nsc would print.
func (w *world) activation(a *account, subject string) (token, hash string) {
	w.t.Helper()
	_, importer := newPair(w.t, claims.KindAccount)
	for i := range 2 {
		c := jwt.NewActivationClaims(importer)
		c.ImportSubject, c.ImportType, c.Name = jwt.Subject(subject), jwt.Stream, fmt.Sprint("token ", i)
		var err error
		if token, err = c.Encode(a.pair); err != nil {
			w.t.Fatal(err)
		}
		if hash, err = c.HashID(); err != nil {
			w.t.Fatal(err)
		}
		w.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateActivation(ctx, store.Activation{
				ID: fmt.Sprintf("act_0000%d", i), AccountID: a.id, ExportID: "exp_1", Importer: importer, Kind: jwt.Stream, Subject: subject,
				JTI: c.ID, IssuedAt: c.IssuedAt, Signer: a.id, Token: token, Actor: "test", RequestID: "test",
			})
		})
	}
	return token, hash
}
