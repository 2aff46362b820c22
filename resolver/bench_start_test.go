package resolver_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/nats-io/nkeys"

	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// startChild makes the test binary a server that BenchmarkStart measures; its value is
// what from, a colon, and where that is.
const startChild = "CHANCERY_BENCH_START"

// startRounds is how often each way to start is measured, in turns; with a million accounts
// millionRounds, since verifying them takes a minute each time.
const startRounds, millionRounds = 5, 3

// BenchmarkStart starts a process that serves account JWTs and measures the time until
// it has answered for one account, and its memory (RSS) when everything is loaded and
// verified: from the snapshot, from PostgreSQL, and, for comparison, with a bare Go map
// that is read from one file of the same JWTs. Every process is a new one, the files
// are in the page cache. x_snapshot, x_postgres and x_memory are times the bare map,
// medians of rounds in turns. CHANCERY_BENCH_ACCOUNTS chooses one size.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		if only := os.Getenv("CHANCERY_BENCH_ACCOUNTS"); only != "" && only != strconv.Itoa(n) {
			continue
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) { benchmarkStart(b, n) })
	}
}

func benchmarkStart(b *testing.B, n int) {
	dir := b.TempDir()
	world := newWorld(b, storetest.SQLite(b))
	list := manyAccounts(b, world, n)
	writeBare(b, filepath.Join(dir, "bare"), list)
	if err := resolver.WriteSnapshot(filepath.Join(dir, "snapshot"), world.operatorToken(), each(list)); err != nil {
		b.Fatal(err)
	}
	dsn := storetest.URL(b, "postgres")
	fillPostgres(b, dsn, world, list)
	ask := "/jwt/v1/accounts/" + list[n/3].AccountID
	clear(list)
	runtime.GC()
	times, memory := map[string][]float64{}, map[string][]float64{}
	rounds := startRounds
	if n >= 1_000_000 {
		rounds = millionRounds
	}
	b.ResetTimer()
	for range rounds {
		for _, way := range []string{"bare:" + filepath.Join(dir, "bare"), "snapshot:" + filepath.Join(dir, "snapshot"), "postgres:" + dsn} {
			name, _, _ := strings.Cut(way, ":")
			took, rss := startOnce(b, way, ask)
			times[name], memory[name] = append(times[name], took.Seconds()), append(memory[name], rss)
			b.Logf("%d accounts, %s: first answer after %v, %.0f MiB when all is loaded and verified", n, name, took.Round(time.Millisecond), rss)
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, name := range []string{"snapshot", "postgres"} {
		ratios(b, "x_"+name, times[name], times["bare"])
		ratios(b, "x_memory_"+name, memory[name], memory["bare"])
	}
	for name := range times {
		spread(b, "s_"+name, times[name])
		spread(b, "MiB_"+name, memory[name])
	}
}

func ratios(b *testing.B, unit string, ours, bare []float64) {
	var all []float64
	for i := range ours {
		all = append(all, ours[i]/bare[i])
	}
	spread(b, unit, all)
}

// spread reports the median with the lowest and the highest beside it.
func spread(b *testing.B, unit string, all []float64) {
	b.ReportMetric(median(all), unit)
	b.ReportMetric(slices.Min(all), unit+"_min")
	b.ReportMetric(slices.Max(all), unit+"_max")
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func each(list []store.Served) iter.Seq[store.Served] { return slices.Values(list) }

// startOnce starts a child and returns when it first answered and what it holds when
// it is done.
func startOnce(b *testing.B, way, path string) (first time.Duration, mebibytes float64) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), startChild+"="+way)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatalf("%s: the child did not start", way)
	}
	resp, err := http.Get("http://" + lines.Text() + path) //nolint:noctx // a benchmark against a child of this process
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	first = time.Since(begun)
	if err != nil || resp.StatusCode != http.StatusOK || len(body) == 0 {
		b.Fatalf("%s: answered with %d %v", way, resp.StatusCode, err)
	}
	_ = resp.Body.Close()
	if !lines.Scan() {
		b.Fatalf("%s: the child did not finish", way)
	}
	mebibytes, err = strconv.ParseFloat(lines.Text(), 64)
	if err != nil {
		b.Fatal(err)
	}
	return first, mebibytes
}

// runStartChild is the child. It prints its address when it answers, and its memory when
// it is done.
func runStartChild(way string) error {
	name, where, _ := strings.Cut(way, ":")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var h http.Handler
	wait := func() {}
	switch name {
	case "bare":
		h, err = bareStart(where)
	default:
		cfg := benchConfig()
		cfg.Store = nil
		if name == "snapshot" {
			cfg.Snapshot = where
		} else if cfg.Store, err = store.Open(context.Background(), store.Config{URL: where, Now: time.Now, Logger: cfg.Logger}); err != nil {
			return err
		}
		var r *resolver.Resolver
		if r, err = resolver.New(cfg); err != nil {
			return err
		}
		if name == "snapshot" {
			_, err = r.OpenSnapshot(context.Background())
		} else {
			err = r.Start(context.Background())
		}
		h = r.Handler()
		wait = func() {
			for r.Snapshot().Unverified {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, h) }() //nolint:gosec // a benchmark on loopback
	fmt.Println(l.Addr())
	wait()
	runtime.GC()
	time.Sleep(200 * time.Millisecond)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 64)
			fmt.Println(kib / 1024)
			return err
		}
	}
	return nil
}

// bareStart is what one would write in a minute: a line for each account, a map, a
// handler.
func bareStart(path string) (http.Handler, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	all := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 2<<20)
	for lines.Scan() {
		id, token, _ := strings.Cut(lines.Text(), "|")
		all[strings.Clone(id)] = token
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwt/v1/accounts/{id}", func(w http.ResponseWriter, r *http.Request) {
		token, ok := all[r.PathValue("id")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, token)
	})
	return mux, lines.Err()
}

func writeBare(b *testing.B, path string, list []store.Served) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	for _, s := range list {
		fmt.Fprintf(w, "%s|%s\n", s.AccountID, s.Token)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// manyAccounts signs accounts as the operator does, without building each by hand: the
// claims of one, with another key in them.
func manyAccounts(b *testing.B, w *world, n int) []store.Served {
	b.Helper()
	model := w.account("model")
	parts := strings.Split(w.token(model), ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		b.Fatal(err)
	}
	before, after, _ := strings.Cut(string(payload), model.id)
	_, iat, _ := strings.Cut(string(payload), `"iat":`)
	issued, err := strconv.ParseInt(iat[:strings.IndexAny(iat, ",}")], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	seed, err := w.pair.Seed()
	if err != nil {
		b.Fatal(err)
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		b.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(raw)
	list := make([]store.Served, n)
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(c)})
			var public [32]byte
			for i := c; i < n; i += 4 {
				_, _ = random.Read(public[:])
				id, err := nkeys.Encode(nkeys.PrefixByteAccount, public[:])
				if err != nil {
					panic(err)
				}
				input := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(before+string(id)+after))
				token := input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(input)))
				list[i] = store.Served{AccountID: string(id), OperatorID: w.operator, Version: 1, IssuedAt: issued, Token: token}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(list, func(a, b store.Served) int { return strings.Compare(a.AccountID, b.AccountID) })
	return list
}

// operatorToken returns the operator's JWT.
func (w *world) operatorToken() (o store.Operator) {
	w.t.Helper()
	err := w.store.Read(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		o, err = tx.GetOperator(ctx, w.operator)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// fillPostgres copies the accounts in, as they would be after as many use cases.
func fillPostgres(b *testing.B, dsn string, w *world, list []store.Served) {
	b.Helper()
	raw := storetest.OpenRaw(b, dsn)
	raw.Run(b, `INSERT INTO operators (id, name, is_default, state, custody, settings, policy, jwt_version, iat, jwt, created_us, updated_us)
		VALUES ($1, 'acme', TRUE, 'active', 'sealed', '{}', '{}', 1, 1, $2, 0, 0)`, w.operator, w.operatorToken().JWT)
	c, err := raw.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // back to the pool
	columns := []string{"id", "operator_id", "name", "state", "is_system", "settings", "jwt_version", "iat", "jwt", "created_us", "updated_us"}
	err = c.Raw(func(driver any) error {
		_, err := driver.(*stdlib.Conn).Conn().CopyFrom(b.Context(), pgx.Identifier{"accounts"}, columns, pgx.CopyFromSlice(len(list), func(i int) ([]any, error) {
			s := list[i]
			return []any{s.AccountID, s.OperatorID, s.AccountID, "active", false, "{}", s.Version, s.IssuedAt, s.Token, int64(0), int64(0)}, nil
		}))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	raw.Run(b, `ANALYZE accounts`)
}
