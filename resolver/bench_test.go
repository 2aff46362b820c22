package resolver_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/resolver"
	"chancery/store"
)

// sink is a ResponseWriter that costs next to nothing.
type sink struct {
	header http.Header
	n      int
}

func (s *sink) Header() http.Header               { return s.header }
func (*sink) WriteHeader(int)                     {}
func (s *sink) Write(b []byte) (int, error)       { s.n += len(b); return len(b), nil }
func (s *sink) WriteString(b string) (int, error) { s.n += len(b); return len(b), nil }

// benchRounds is how often the two handlers take turns.
const benchRounds = 5

// BenchmarkResolverGet compares the resolver's handler with a bare net/http mux over
// a Go map, in turns, and reports how many times as many requests it answers
// (x_bare, the median). The entries share one token.
func BenchmarkResolverGet(b *testing.B) {
	for _, n := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) { benchmarkGet(b, n) })
	}
}

func benchmarkGet(b *testing.B, n int) {
	const operator = "OTEST"
	token := strings.Repeat("x", 1200)
	r, err := resolver.New(benchConfig())
	if err != nil {
		b.Fatal(err)
	}
	r.SetOperators(store.Operator{ID: operator, Name: "op", Default: true, JWT: token, JWTVersion: 1})
	bare := make(map[string]string, n)
	ids := make([]string, n)
	var raw [32]byte
	random := rand.NewChaCha8([32]byte{})
	for i := range ids {
		if _, err := random.Read(raw[:]); err != nil {
			b.Fatal(err)
		}
		id, err := nkeys.Encode(nkeys.PrefixByteAccount, raw[:])
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = string(id)
		bare[ids[i]] = token
		r.Put(store.Served{AccountID: ids[i], OperatorID: operator, Version: 1, Token: token})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwt/v1/accounts/{id}", func(w http.ResponseWriter, req *http.Request) {
		t, ok := bare[req.PathValue("id")]
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = io.WriteString(w, t)
	})
	// Requests to ids spread over all entries, made beforehand.
	requests := make([]*http.Request, min(n, 1<<14))
	for i := range requests {
		req, err := http.NewRequest(http.MethodGet, "/jwt/v1/accounts/"+ids[(i*61)%n], nil)
		if err != nil {
			b.Fatal(err)
		}
		requests[i] = req
	}
	ours := r.Handler()
	b.ReportAllocs()
	b.ResetTimer()
	var ratios []float64
	for range benchRounds {
		perRound := max(b.N/benchRounds/2, 1)
		ratios = append(ratios, float64(serveAll(mux, requests, perRound))/float64(serveAll(ours, requests, perRound)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[benchRounds/2], "x_bare")
	b.ReportMetric(ratios[0], "x_bare_min")
	b.ReportMetric(ratios[benchRounds-1], "x_bare_max")
}

// serveAll serves n requests and returns how long that took.
func serveAll(h http.Handler, requests []*http.Request, n int) time.Duration {
	w := &sink{header: http.Header{}}
	begin := time.Now()
	for i := range n {
		clear(w.header)
		h.ServeHTTP(w, requests[i%len(requests)])
	}
	return time.Since(begin)
}

// benchConfig is enough for a resolver that is never started.
func benchConfig() resolver.Config {
	return resolver.Config{
		Store: &store.Store{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Owner: "bench",
		Identity: func(context.Context, string, bool) (resolver.Identity, error) { return resolver.Identity{}, nil },
		URLs:     func(store.Operator) []string { return nil },
	}
}
