package resolver_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

func get(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// TestHandler holds what a nats-server needs of its URL resolver, and what keeps
// operators apart.
func TestHandler(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		first := newWorld(t, s)
		second := newWorld(t, s)
		a, b := first.account("a"), second.account("b")
		metrics := prometheus.NewRegistry()
		cfg := first.config()
		cfg.Metrics = metrics
		h := first.startWith(cfg, resolver.Hurry{}).Handler()
		_, stranger := newPair(t, claims.KindAccount)
		name := "op-" + strings.ToLower(second.operator[1:9])

		for _, x := range []struct {
			path   string
			status int
			token  string
		}{
			{"/jwt/v1/accounts/" + a.id, 200, first.token(a)},
			{"/jwt/v1/accounts/" + first.system.id, 200, first.token(first.system)},
			{"/o/" + first.operator + "/jwt/v1/accounts/" + a.id, 200, first.token(a)},
			{"/o/" + second.operator + "/jwt/v1/accounts/" + b.id, 200, second.token(b)},
			{"/o/" + name + "/jwt/v1/accounts/" + b.id, 200, second.token(b)},
			{"/jwt/v1/accounts/" + b.id, 404, ""},
			{"/o/" + second.operator + "/jwt/v1/accounts/" + a.id, 404, ""},
			{"/jwt/v1/accounts/" + stranger, 404, ""},
			{"/jwt/v1/accounts/" + strings.ToLower(a.id), 404, ""},
			{"/jwt/v1/accounts/" + first.operator, 404, ""},
			{"/jwt/v1/accounts/x", 404, ""},
			{"/jwt/v1/accounts/" + a.id + "/", 301, ""},
			{"/jwt/v1/accounts//" + a.id, 301, ""},
			{"/jwt/v1/accounts/" + a.id + "/more", 404, ""},
			{"/jwt/v1/accounts", 200, ""},
			{"/jwt/v1/accounts/", 200, ""},
			{"/o/" + name + "/jwt/v1/accounts/", 200, ""},
			{"/o/nobody/jwt/v1/accounts/", 404, ""},
			{"/o/nobody/jwt/v1/accounts/" + a.id, 404, ""},
			{"/o//jwt/v1/operator", 404, ""},
			{"/o/" + name, 404, ""},
			{"/jwt/v1/", 404, ""},
			{"/jwt/v1", 404, ""},
			{"/", 404, ""},
		} {
			res := get(h, http.MethodGet, x.path)
			got := res.Body.String()
			if res.Code != x.status || x.token != "" && got != x.token {
				t.Errorf("GET %s: %d %.40q, want %d %.40q", x.path, res.Code, got, x.status, x.token)
			}
			wantType := "text/plain; charset=utf-8"
			if x.token != "" {
				wantType = "application/jwt"
			}
			if got := res.Header().Get("Content-Type"); got != wantType {
				t.Errorf("GET %s: type %q, want %q", x.path, got, wantType)
			}
			if !strings.HasPrefix(res.Header().Get("Cache-Control"), "no-cache") {
				t.Errorf("GET %s: may be cached", x.path)
			}
		}
		for path, o := range map[string]*world{"/jwt/v1/operator": first, "/o/" + name + "/jwt/v1/operator": second} {
			res := get(h, http.MethodGet, path)
			decoded, err := jwtOperator(res.Body.String())
			if err != nil || decoded != o.operator {
				t.Errorf("GET %s: operator %q, %v", path, decoded, err)
			}
		}
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "chancery_resolver_requests_total" && len(f.GetMetric()) == 5 {
				return
			}
		}
		t.Errorf("the requests are not counted by 5 outcomes: %v", families)
	})
}

func TestHandlerConditionsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	r := w.start(resolver.Hurry{})
	h, path := r.Handler(), "/jwt/v1/accounts/"+a.id
	res := get(h, http.MethodGet, path)
	token, tag := res.Body.String(), res.Header().Get("ETag")
	if len(tag) != 34 || tag[0] != '"' {
		t.Errorf("tag %q", tag)
	}
	for value, status := range map[string]int{
		tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200, "": 200,
	} {
		res := get(h, http.MethodGet, path, "If-None-Match", value)
		got := res.Body.String()
		if res.Code != status || status == 304 && (got != "" || res.Header().Get("ETag") != tag) || status == 200 && got != token {
			t.Errorf("If-None-Match %s: %d %.20q, want %d", value, res.Code, got, status)
		}
	}
	head := get(h, http.MethodHead, path)
	if got := head.Body.String(); got != "" || head.Code != 200 || head.Header().Get("ETag") != tag || head.Header().Get("Content-Length") != strconv.Itoa(len(token)) {
		t.Errorf("HEAD: %d %v %q", head.Code, head.Header(), got)
	}
	if got := get(h, http.MethodHead, "/jwt/v1/accounts/x").Body.String(); got != "" {
		t.Errorf("HEAD of nothing: %q", got)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		if res := get(h, method, path); res.Code != 405 || res.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: %d, Allow %q", method, res.Code, res.Header().Get("Allow"))
		}
	}
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 7 })
	eventually(t, "the next version in memory", func() bool { return r.Version(a.id) == version })
	if res := get(h, http.MethodGet, path, "If-None-Match", tag); res.Code != 200 || res.Header().Get("ETag") == tag {
		t.Errorf("after an edit: %d with tag %s", res.Code, res.Header().Get("ETag"))
	}
}

// TestAnswersSayTheirLength holds that no answer comes in chunks, whoever finds its length: net/http of short ones.
func TestAnswersSayTheirLength(t *testing.T) {
	t.Parallel()
	r, err := resolver.New(benchConfig())
	if err != nil {
		t.Fatal(err)
	}
	r.SetOperators(store.Operator{ID: "OTEST", Name: "op", Default: true, JWTVersion: 1})
	front := httptest.NewServer(r.Handler())
	defer front.Close()
	defer front.Client().CloseIdleConnections()
	_, id := newPair(t, claims.KindAccount)
	for n, length := range []int{5, 2047, 2048, 2049, 5000, 1 << 20} {
		r.Put(store.Served{AccountID: id, OperatorID: "OTEST", Version: int64(n + 1), Token: strings.Repeat("x", length)})
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequestWithContext(t.Context(), method, front.URL+"/jwt/v1/accounts/"+id, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := front.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.ContentLength != int64(length) || method == http.MethodGet && len(body) != length {
				t.Errorf("%s of %d bytes: %d of %d bytes, %v", method, length, len(body), res.ContentLength, err)
			}
		}
	}
}

// TestNewAccountIsServedAtOnce asks for accounts right after their commits: whoever
// was told of an account may already connect to it.
//
// It runs before the parallel tests: who asks waits for memory for a quarter of a second, which a crowded machine exceeds.
func TestNewAccountIsServedAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		h := w.start(resolver.Hurry{}).Handler()
		for i := range 20 {
			a := w.account("a" + strconv.Itoa(i))
			if res := get(h, http.MethodGet, "/jwt/v1/accounts/"+a.id); res.Code != 200 {
				t.Fatalf("account %d: %d", i, res.Code)
			}
		}
	})
}

// TestNewOperatorIsServed adds an operator while the resolver runs.
func TestNewOperatorIsServed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		first := newWorld(t, s)
		r := first.start(resolver.Hurry{})
		second := newWorld(t, s)
		path := "/o/" + second.operator + "/jwt/v1/"
		for _, x := range []string{"operator", "accounts/" + second.system.id} {
			// A lookup waits for a commit that is being taken in, for a second, which a busy machine may need more than.
			eventually(t, x+" of the new operator", func() bool { return get(r.Handler(), http.MethodGet, path+x).Code == http.StatusOK })
		}
		eventually(t, "the operator's roster", func() bool { return r.Servers(second.operator) != nil })
	})
}

func TestBeforeLoad(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	w := newWorld(t, s)
	r, err := resolver.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	r.Wake()
	for _, path := range []string{"/jwt/v1/accounts/", "/jwt/v1/accounts/" + w.system.id, "/jwt/v1/operator"} {
		if res := get(r.Handler(), http.MethodGet, path); res.Code != 503 || res.Header().Get("Retry-After") == "" {
			t.Errorf("%s before Start: %d", path, res.Code)
		}
	}
	if r.Ready() == nil {
		t.Error("ready before Start")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil || r.Ready() == nil {
		t.Errorf("started without a store: %v", err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	r.Stop()
	r.Stop()
}

func TestNewChecksItsConfig(t *testing.T) {
	t.Parallel()
	_, err := resolver.New(resolver.Config{Logger: slog.New(slog.DiscardHandler)})
	for _, name := range []string{"clock", "owner", "identity", "URLs"} {
		if err == nil || !strings.Contains(err.Error(), name+" is required") {
			t.Errorf("no word about the %s: %v", name, err)
		}
	}
}

// TestServingWithoutStore closes the store under a running resolver: servers start,
// and accounts they never saw load.
func TestServingWithoutStore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		a := w.account("cold")
		r := w.start(resolver.Hurry{})
		running := w.serve(1)[0]
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		u := w.user(a, "u")
		w.connect(running, u)
		w.connect(w.server("late", running), u)
		w.awaitRoster(2, 1) // what the late one holds cannot be made owed
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		if _, err := r.Sync(t.Context(), a.id); err == nil {
			t.Error("a sync without a store")
		}
	})
}

// TestMemoryNeverGoesBack loads versions of some accounts in any order, from several
// goroutines, while others read.
func TestMemoryNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	w := newWorld(t, s)
	cfg := w.config()
	rapid.Check(t, func(t *rapid.T) {
		r, err := resolver.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"A1", "A2", "A3"}
		loads := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Served {
			v := rapid.Int64Range(1, 50).Draw(t, "version")
			return store.Served{AccountID: rapid.SampledFrom(ids).Draw(t, "account"), OperatorID: "O", Version: v, Token: strconv.FormatInt(v, 10)}
		}), 1, 60).Draw(t, "loads")
		highest := map[string]int64{}
		for _, l := range loads {
			highest[l.AccountID] = max(highest[l.AccountID], l.Version)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var readers, writers sync.WaitGroup
		back := make(chan string, len(ids))
		for _, id := range ids {
			readers.Go(func() {
				for last := int64(0); ctx.Err() == nil; {
					v := r.Version(id)
					if v < last {
						back <- id
						return
					}
					last = v
					runtime.Gosched()
				}
			})
		}
		for i := range 3 {
			writers.Go(func() {
				for j := i; j < len(loads); j += 3 {
					r.Put(loads[j])
				}
			})
		}
		writers.Wait()
		cancel()
		readers.Wait()
		if len(back) > 0 {
			t.Fatalf("account %s went back", <-back)
		}
		for id, v := range highest {
			if r.Version(id) != v {
				t.Fatalf("account %s has version %d, want %d", id, r.Version(id), v)
			}
		}
	})
}

// TestUnknownDoesNotWaitForAStore asks for an unknown account while the follower
// cannot read the store.
func TestUnknownDoesNotWaitForAStore(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	w := newWorld(t, s)
	r := w.start(resolver.Hurry{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 50 {
		r.Wake()
		if res := get(r.Handler(), http.MethodGet, "/jwt/v1/accounts/x"); res.Code != 404 {
			t.Fatalf("unknown account: %d", res.Code)
		}
	}
	t.Logf("50 unknown accounts with the store closed: %v", time.Since(begin))
}

// jwtOperator returns the subject of an operator JWT.
func jwtOperator(token string) (string, error) {
	c, err := jwt.DecodeOperatorClaims(token)
	if err != nil {
		return "", err
	}
	return c.Subject, nil
}

// TestSubmissionsAreHandedOn posts to every path: what can be posted arrives with its
// operator and account, all else is refused.
func TestSubmissionsAreHandedOn(t *testing.T) {
	t.Parallel()
	r, err := resolver.New(benchConfig())
	if err != nil {
		t.Fatal(err)
	}
	h := r.HandlerWith(resolver.Paths{Submissions: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Got", r.PathValue("operator")+"|"+r.PathValue("account"))
	})})
	for path, want := range map[string]string{
		"/jwt/v1/accounts/AX": "|AX", "/o/acme/jwt/v1/accounts/AX": "acme|AX", "/jwt/v1/activations": "|", "/o/acme/jwt/v1/activations": "acme|",
		"/jwt/v1/accounts": "", "/jwt/v1/accounts/": "", "/jwt/v1/accounts/AX/y": "", "/jwt/v1/operator": "", "/o//jwt/v1/accounts/AX": "", "/o/acme": "", "/": "",
	} {
		res := get(h, http.MethodPost, path)
		if got := res.Header().Get("Got"); got != want || want == "" && res.Code != http.StatusMethodNotAllowed && res.Code != http.StatusNotFound {
			t.Errorf("POST %s: %d %q, want %q", path, res.Code, got, want)
		}
	}
	if res := get(r.Handler(), http.MethodPost, "/jwt/v1/accounts/AX"); res.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST without submissions: %d", res.Code)
	}
}

// TestJunkDuringWrites asks for accounts that do not exist while commits go on without
// end: those that are there are answered all the same, and junk that is no key at all
// waits for nothing.
func TestJunkDuringWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	r := w.start(resolver.Hurry{})
	h := r.Handler()
	_, stranger := newPair(t, claims.KindAccount)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		for ctx.Err() == nil {
			r.Wake()
			runtime.Gosched()
		}
	})
	var junk atomic.Int64
	for range 8 {
		background.Go(func() {
			for ctx.Err() == nil {
				get(h, http.MethodGet, "/jwt/v1/accounts/"+stranger)
				junk.Add(1)
			}
		})
	}
	slowest := map[string]time.Duration{}
	for _, x := range []struct {
		name, path string
		status     int
	}{{"known", "/jwt/v1/accounts/" + a.id, 200}, {"no key", "/jwt/v1/accounts/junk", 404}, {"unknown", "/jwt/v1/accounts/" + stranger, 404}} {
		for range 200 {
			begin := time.Now()
			if res := get(h, http.MethodGet, x.path); res.Code != x.status {
				t.Errorf("%s: %d", x.name, res.Code)
			}
			slowest[x.name] = max(slowest[x.name], time.Since(begin))
		}
	}
	cancel()
	background.Wait()
	t.Logf("the slowest of 200 each, beside %d requests for junk: %v", junk.Load(), slowest)
}
