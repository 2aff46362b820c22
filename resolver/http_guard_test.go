package resolver_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestCredentialsMatrix asks for everything with every kind of credentials, under every
// protection.
func TestCredentialsMatrix(t *testing.T) {
	t.Parallel()
	r, err := resolver.New(benchConfig())
	if err != nil {
		t.Fatal(err)
	}
	const operator, account = "OTEST", "ATEST"
	r.SetOperators(store.Operator{ID: operator, Name: "op", Default: true, JWT: "o.o.o", JWTVersion: 1})
	r.Put(store.Served{AccountID: account, OperatorID: operator, Version: 1, Token: "a.a.a"})
	sum := sha256.Sum256([]byte("other-secret"))
	users, err := resolver.ParseUsers([]byte("# servers\n\nsrv:to:k\nhashed:sha256:" + hex.EncodeToString(sum[:]) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := resolver.ParseTokens([]byte(packToken + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	give := func(c *resolver.Credentials) func() *resolver.Credentials {
		return func() *resolver.Credentials { return c }
	}
	posted := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	guards := map[string]resolver.Paths{
		"open": {Submissions: posted}, "tokens": {Submissions: posted, Tokens: give(tokens)},
		"users": {Submissions: posted, Readers: give(users)}, "both": {Submissions: posted, Readers: give(users), Tokens: give(tokens)},
	}
	shown := map[string]string{
		"nothing": "", "user": basic("srv", "to:k"), "hashed user": basic("hashed", "other-secret"), "wrong password": basic("srv", "tok"),
		"wrong name": basic("hashed", "to:k"), "token as password": basic("x", packToken), "bearer": "bearer " + packToken,
		"password as bearer": "Bearer to:k", "wrong bearer": "Bearer " + packToken + "x", "no base64": "Basic %%%", "another scheme": "Digest " + packToken,
	}
	isUser := func(s string) bool { return s == "user" || s == "hashed user" }
	isToken := func(s string) bool { return s == "token as password" || s == "bearer" }
	readable := func(s string) bool { return s != "nothing" && s != "no base64" && s != "another scheme" }
	// pack is what needs a token, read what needs a user or a token where there are users.
	read := []string{"GET /jwt/v1/accounts/" + account, "GET /jwt/v1/accounts/", "GET /jwt/v1/accounts", "GET /jwt/v1/operator", "GET /jwt/v1/help", "GET /healthz", "POST /jwt/v1/accounts/" + account, "OPTIONS /jwt/v1/operator"}
	passed, all := 0, 0
	for g, paths := range guards {
		h := r.HandlerWith(paths)
		for s, value := range shown {
			header := []string{"Authorization", value}
			if value == "" {
				header = nil
			}
			want := http.StatusOK
			if paths.Readers != nil && !isUser(s) && (paths.Tokens == nil || !isToken(s)) {
				want = http.StatusUnauthorized
			}
			for _, x := range append(read, "GET /jwt/v1/pack") {
				method, path, _ := strings.Cut(x, " ")
				expect := want
				switch {
				case path != "/jwt/v1/pack" || want != http.StatusOK:
				case paths.Tokens == nil:
					expect = http.StatusForbidden
				case isToken(s):
				case readable(s):
					expect = http.StatusForbidden
				default:
					expect = http.StatusUnauthorized
				}
				res := get(h, method, path, header...)
				challenge := res.Header().Get("WWW-Authenticate") != ""
				all++
				if res.Code != expect || challenge != (res.Code == http.StatusUnauthorized) || strings.Contains(res.Body.String(), "a.a.a") && expect != 200 {
					t.Errorf("%s, %s, %s: %d with challenge %v, want %d", g, s, x, res.Code, challenge, expect)
					continue
				}
				passed++
			}
		}
	}
	t.Logf("credentials: %d of %d", passed, all)
}

func TestCredentialFiles(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("a-token-of-the-tests\n", 1001)
	for name, x := range map[string]struct {
		text  string
		users bool
		want  string
	}{
		"empty": {"", true, "names nobody"}, "comments": {"# x\n\n", false, "names nobody"}, "no colon": {"a:b\nsecret", true, "line 2: name:password"},
		"no name": {":secret", true, "line 1: name:password"}, "no password": {"name:", true, "line 1: name:password"}, "short token": {"secret", false, "line 1: a token has at least 16"},
		"bad hash": {"sha256:zz", false, "line 1: after sha256: come 64"}, "short hash": {"a:sha256:00", true, "line 1: after sha256: come 64"}, "too many": {many, false, "more than 1000"},
		"long line": {strings.Repeat("x", 70_000), false, "line is too long"},
	} {
		parse := resolver.ParseTokens
		if x.users {
			parse = resolver.ParseUsers
		}
		if _, err := parse([]byte(x.text)); err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPackPages reads all accounts of one operator page by page while others and
// expired ones lie between.
func TestPackPages(t *testing.T) {
	t.Parallel()
	r, err := resolver.New(benchConfig())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := resolver.ParseTokens([]byte(packToken))
	if err != nil {
		t.Fatal(err)
	}
	r.SetOperators(store.Operator{ID: "OA", Name: "a", Default: true, JWT: "x", JWTVersion: 1}, store.Operator{ID: "OB", Name: "b", JWT: "x", JWTVersion: 1})
	var want []string
	for i := range 50 {
		s := store.Served{AccountID: fmt.Sprintf("A%02d", i), OperatorID: "OA", Version: 1, Token: "h.e30.s"} // {}
		switch i % 5 {
		case 1:
			s.OperatorID = "OB"
		case 2:
			s.Token = "h.eyJleHAiOjF9.s" // {"exp":1}
		default:
			want = append(want, s.AccountID+"|"+s.Token)
		}
		r.Put(s)
	}
	h := r.HandlerWith(resolver.Paths{Tokens: func() *resolver.Credentials { return tokens }})
	var got []string
	pages := 0
	for path := "/jwt/v1/pack?max=7"; path != ""; pages++ {
		res := get(h, http.MethodGet, path, "Authorization", "Bearer "+packToken)
		body := res.Body.String()
		if res.Code != http.StatusOK || strings.HasSuffix(body, "\n") {
			t.Fatalf("%s: %d %q", path, res.Code, body)
		}
		got = append(got, strings.Split(body, "\n")...)
		if pages == 0 { // an account that comes while they are read
			r.Put(store.Served{AccountID: "A99", OperatorID: "OA", Version: 1, Token: "h.e30.s"})
			want = append(want, "A99|h.e30.s")
		}
		path = ""
		if next := res.Header().Get("Link"); next != "" {
			path = strings.TrimPrefix(next[:strings.Index(next, ">")], "<")
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || pages != 5 {
		t.Errorf("%d pages: %v, want %v", pages, got, want)
	}
	if res := get(h, http.MethodGet, "/o/b/jwt/v1/pack", "Authorization", "Bearer "+packToken); strings.Count(res.Body.String(), "\n") != 9 {
		t.Errorf("the other operator: %q", res.Body.String())
	}
	if res := get(h, http.MethodGet, "/o/c/jwt/v1/pack", "Authorization", "Bearer "+packToken); res.Code != http.StatusNotFound {
		t.Errorf("no operator: %d", res.Code)
	}
}

// TestLookupsAllocateNothing holds the hot path: nothing is allocated for an account
// that is there, nor for one that is not.
func TestLookupsAllocateNothing(t *testing.T) {
	r, err := resolver.New(benchConfig())
	if err != nil {
		t.Fatal(err)
	}
	const known, unknown = "ACMUUTR4FP3SVBIQNRYMIEB2PFZTXGQXLMLGFPSAX3YNJ6GFPJBXPSZH", "ADX3NVRZ5H6X3FAHL2OPRZQ3KWX3PVLPA6KFQGSD7GT4MFLMZC5HXMX7"
	r.SetOperators(store.Operator{ID: "OTEST", Name: "op", Default: true, JWT: "x", JWTVersion: 1})
	r.Put(store.Served{AccountID: known, OperatorID: "OTEST", Version: 1, Token: "a.b.c"})
	h := r.Handler()
	for _, x := range []struct{ name, path, header string }{
		{"known", "/jwt/v1/accounts/" + known, ""},
		{"unknown", "/jwt/v1/accounts/" + unknown, ""},
		{"malformed", "/jwt/v1/accounts/x", ""},
		{"by name", "/o/op/jwt/v1/accounts/" + known, ""},
		{"not modified", "/jwt/v1/accounts/" + known, "*"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if x.header != "" {
			req.Header.Set("If-None-Match", x.header)
		}
		w := &sink{header: http.Header{}}
		if n := testing.AllocsPerRun(1000, func() { clear(w.header); h.ServeHTTP(w, req) }); n > 0 {
			t.Errorf("%s: %v allocations", x.name, n)
		}
	}
}

// stuckWriter is a reader who takes nothing until it is let go.
type stuckWriter struct {
	httptest.ResponseRecorder
	reached, let chan struct{}
}

func (w *stuckWriter) Write(b []byte) (int, error) { return w.WriteString(string(b)) }

func (w *stuckWriter) WriteString(string) (int, error) {
	w.reached <- struct{}{}
	<-w.let
	return 0, io.ErrClosedPipe
}

// Whoever reads decoded accounts slowly holds up others who want one, and no pack and no lookup.
func TestSlowReadersHoldUpNoPack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	tokens, err := resolver.ParseTokens([]byte(packToken))
	if err != nil {
		t.Fatal(err)
	}
	h := w.start(resolver.Hurry{}).HandlerWith(resolver.Paths{Tokens: func() *resolver.Credentials { return tokens }})
	slow := &stuckWriter{reached: make(chan struct{}), let: make(chan struct{})}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			h.ServeHTTP(&stuckWriter{reached: slow.reached, let: slow.let}, httptest.NewRequest(http.MethodGet, "/jwt/v1/accounts/"+a.id+"?decode=true", nil))
		})
		<-slow.reached
	}
	if res := get(h, http.MethodGet, "/jwt/v1/pack", "Authorization", "Bearer "+packToken); res.Code != 200 {
		t.Errorf("a pack is answered %d", res.Code)
	}
	if res := get(h, http.MethodGet, "/jwt/v1/accounts/"+a.id); res.Code != 200 {
		t.Errorf("an account is answered %d", res.Code)
	}
	close(slow.let)
	all.Wait()
}
