package resolver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
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

const (
	// benchRounds is how often what is compared takes turns; with many short ones, what
	// else the machine does falls on all alike.
	benchRounds = 21
	// benchClients is how many connections ask at the same time.
	benchClients = 32
	// benchTurn is how many requests a turn has.
	benchTurn = 3200
	// benchOperator serves all of them.
	benchOperator = "OTEST"
)

// BenchmarkLookups asks over loopback HTTP, 32 connections at a time, for random accounts
// out of n, in turns: the resolver, a bare net/http handler over a Go map, and the
// resolver with one account. The load generator runs in the same process on the same
// processors, so it dilutes all ratios alike. Each account has a JWT of 1,200 bytes of its own.
//
//   - x_bare: requests a second, of those of the bare handler (goal 0.95)
//   - x_bare_cpu: processor time a request, generator included, of that with the bare handler
//   - x_one: requests a second, of those of the same handler with 1 account (goal 0.9)
//   - x_unknown: requests a second for accounts that are not there, of those for known ones
//   - B/account: memory an account needs, JWT included; x_bare_B: of that in the map
//
// What nats-account-server, the only other server of this kind, answered elsewhere is in
// scripts/benchtable.
func BenchmarkLookups(b *testing.B) {
	one := served(b, benchAccounts(b, 1))
	for _, n := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) { benchmarkLookups(b, n, one) })
	}
}

// station is a handler behind a listener, and the ids that are asked for.
type station struct {
	address string
	ids     []string
	// status is how every answer begins.
	status string
}

// The answers that stations give.
const (
	benchKnown   = "HTTP/1.1 200 "
	benchUnknown = "HTTP/1.1 404 "
)

func benchmarkLookups(b *testing.B, n int, one station) {
	ids := benchAccounts(b, n)
	empty := heap()
	ours := served(b, ids)
	full := heap()
	bare := bareMap(b, ids)
	inMap := heap() - full
	unknown := station{ours.address, benchAccounts(b, 1<<12+1), benchUnknown}
	stations := []station{ours, bare, one, unknown}
	rates, costs := make([][]float64, len(stations)), make([][]float64, len(stations))
	// One run is long enough, whatever b.N is.
	b.ResetTimer()
	for range benchRounds {
		for i, s := range stations {
			rate, cost := s.load(b, benchTurn)
			rates[i], costs[i] = append(rates[i], rate), append(costs[i], cost)
		}
	}
	b.StopTimer()
	report := func(unit string, of, to []float64) {
		var ratios []float64
		for i := range of {
			ratios = append(ratios, of[i]/to[i])
		}
		spread(b, unit, ratios)
	}
	report("x_bare", rates[0], rates[1])
	report("x_bare_cpu", costs[0], costs[1])
	report("x_one", rates[0], rates[2])
	report("x_unknown", rates[3], rates[0])
	spread(b, "req/s", rates[0])
	if n > 1 {
		b.ReportMetric(float64(full-empty)/float64(n), "B/account")
		b.ReportMetric(float64(full-empty)/float64(inMap), "x_bare_B")
	}
	runtime.KeepAlive(ids)
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // memory fits
}

// benchToken is what every account has.
var benchToken = strings.Repeat("x", 1200)

// benchAccounts makes n random ids.
func benchAccounts(b *testing.B, n int) []string {
	b.Helper()
	ids := make([]string, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	var raw [32]byte
	for i := range ids {
		_, _ = random.Read(raw[:])
		id, err := nkeys.Encode(nkeys.PrefixByteAccount, raw[:])
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = string(id)
	}
	return ids
}

// served is a resolver with the accounts.
func served(b *testing.B, ids []string) station {
	b.Helper()
	r, err := resolver.New(benchConfig())
	if err != nil {
		b.Fatal(err)
	}
	r.SetOperators(store.Operator{ID: benchOperator, Name: "op", Default: true, JWT: benchToken, JWTVersion: 1})
	for _, id := range ids {
		r.Put(store.Served{AccountID: id, OperatorID: benchOperator, Version: 1, Token: strings.Clone(benchToken)})
	}
	return open(b, r.Handler(), ids)
}

// bareMap is the least that a server of accounts can do.
func bareMap(b *testing.B, ids []string) station {
	b.Helper()
	tokens := make(map[string]string, len(ids))
	for _, id := range ids {
		tokens[id] = strings.Clone(benchToken)
	}
	return open(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := tokens[strings.TrimPrefix(r.URL.Path, "/jwt/v1/accounts/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = io.WriteString(w, token)
	}), ids)
}

func open(b *testing.B, h http.Handler, ids []string) station {
	b.Helper()
	s := httptest.NewServer(h)
	b.Cleanup(s.Close)
	return station{s.Listener.Addr().String(), ids, benchKnown}
}

// load sends n requests and returns how many a second were answered, and the seconds of
// processor time that each took.
func (s station) load(b *testing.B, n int) (rate, cost float64) {
	b.Helper()
	var clients sync.WaitGroup
	before, begin := usage(b), time.Now()
	for c := range benchClients {
		clients.Go(func() {
			if err := s.client(c, n/benchClients); err != nil {
				b.Error(err)
			}
		})
	}
	clients.Wait()
	total := float64(n / benchClients * benchClients)
	return total / time.Since(begin).Seconds(), (usage(b) - before).Seconds() / total
}

// client asks n times over one connection. It does no more than it must to find the end
// of an answer.
func (s station) client(seed, n int) error {
	conn, err := net.Dial("tcp", s.address) //nolint:noctx // on loopback
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	random := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // which account is asked for is no secret
	var request []byte
	for range n {
		request = append(request[:0], "GET /jwt/v1/accounts/"...)
		request = append(request, s.ids[random.IntN(len(s.ids))]...)
		request = append(request, " HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"...)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := s.skipAnswer(in); err != nil {
			return err
		}
	}
	return nil
}

func (s station) skipAnswer(in *bufio.Reader) error {
	length := 0
	first, err := in.ReadSlice('\n')
	if err != nil || !strings.HasPrefix(string(first), s.status) {
		return fmt.Errorf("answered with %q: %w", first, err)
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			_, err = in.Discard(length)
			return err
		}
		if digits, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if _, err := fmt.Sscan(digits, &length); err != nil {
				return err
			}
		}
	}
}

// usage is the processor time that this process took so far.
func usage(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchConfig is enough for a resolver that is never started.
func benchConfig() resolver.Config {
	return resolver.Config{
		Store: &store.Store{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Owner: "bench",
		Identity: func(context.Context, string, bool) (resolver.Identity, error) { return resolver.Identity{}, nil },
		URLs:     func(store.Operator) []string { return nil },
	}
}
