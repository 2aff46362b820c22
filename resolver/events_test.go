package resolver_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/issuer"
	"chancery/resolver"
	"chancery/store/storetest"
)

func allEvents(r *resolver.Resolver, types ...claims.EventType) []claims.Event {
	all := r.Events(claims.EventQuery{Sight: everything, Limit: 1 << 20}).Events
	return slices.DeleteFunc(all, func(e claims.Event) bool { return !slices.Contains(types, e.Type) })
}

func connectionsOf(r *resolver.Resolver, a *account) []claims.LiveConnection {
	return r.ListConnections(claims.ConnectionQuery{Sight: everything, AccountID: a.id, Limit: 1000}).Connections
}

// TestPicture holds what the events make of the connections against what clients do: they come, are kicked and go, a
// server dies, and the servers are lost for a while.
func TestPicture(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	servers := w.serve(2)
	a := w.account("a")
	u := w.user(a, "ua")
	var clients []*client
	for n := range 6 {
		clients = append(clients, w.connect(servers[n%2], u, nats.Name(fmt.Sprintf("c%d", n))))
	}
	eventually(t, "six clients are pictured", func() bool { return len(connectionsOf(r, a)) == 6 })
	for _, c := range connectionsOf(r, a) {
		if c.UserKey != u.id || c.User == nil || c.User.Name != "ua" || c.IssuerKey != a.id || c.Host != "127.0.0.1" || c.Type != "nats" || c.OperatorID != w.operator || time.Since(c.Since) > patience {
			t.Errorf("pictured is %+v", c)
		}
	}
	kicked := 0
	for _, c := range connectionsOf(r, a)[:3] {
		if err := r.Kick(t.Context(), w.operator, c.ServerID, c.CID); err != nil {
			t.Fatal(err)
		}
		n := 0
		fmt.Sscanf(c.Client, "c%d", &n) //nolint:errcheck // the index check shows it
		await(t, "the end of "+c.Client, clients[n].closed)
		kicked++
		if err := r.Kick(t.Context(), w.operator, c.ServerID, c.CID); err == nil || !strings.Contains(err.Error(), claims.ErrNoConnection.Error()) {
			t.Errorf("kicking twice: %v", err)
		}
	}
	t.Logf("kick: %d of %d", kicked, 3)
	eventually(t, "three clients are left", func() bool { return len(connectionsOf(r, a)) == 3 })
	eventually(t, "all is in the log", func() bool {
		reasons := map[string]int{}
		for _, e := range allEvents(r, claims.EventConnect, claims.EventDisconnect) {
			if e.AccountID == a.id {
				reasons[string(e.Type)+" "+e.Reason]++
			}
		}
		return cmp.Equal(map[string]int{"connect ": 6, "disconnect Kicked": 3}, reasons)
	})
	if seen := r.LastSeen(a.id, []string{u.id})[u.id]; seen.Now != 3 || time.Since(seen.At) > patience {
		t.Errorf("last seen %+v", seen)
	}
	eventually(t, "the servers told how many", func() bool {
		n := 0
		for _, u := range r.Usage(a.id) {
			n += u.Connections
		}
		return n == 3
	})

	// A server that dies takes its clients with it.
	gone, stays := servers[1], servers[0]
	on := 0
	for _, c := range connectionsOf(r, a) {
		if c.ServerID == gone.ID() {
			on++
		}
	}
	w.stop(gone)
	eventually(t, "the server's clients are gone", func() bool { return len(connectionsOf(r, a)) == 3-on })
	if down := allEvents(r, claims.EventServerDown); len(down) != 1 || down[0].ServerName != gone.Name() {
		t.Errorf("events of a server that stopped: %+v", down)
	}

	// What happens while the servers are out of reach is a gap, and the picture is put right afterwards.
	if !r.AwaitServers(t.Context(), w.operator, 1, 1) {
		t.Fatal("the other server is not reached")
	}
	w.setURLs() // leaves the servers
	r.Wake()
	eventually(t, "the servers are left", func() bool {
		gaps := allEvents(r, claims.EventGap)
		return len(gaps)%2 == 1
	})
	for _, c := range clients {
		c.Close()
	}
	late := w.connect(stays, u, nats.Name("late"))
	if page := r.ListConnections(claims.ConnectionQuery{Sight: everything, Limit: 1}); !strings.Contains(page.Incomplete, "out of reach") {
		t.Errorf("nobody is told that the picture is old: %q", page.Incomplete)
	}
	w.setURLs(stays.ClientURL())
	r.Wake()
	eventually(t, "the picture is right again", func() bool {
		list := connectionsOf(r, a)
		return len(list) == 1 && list[0].Client == "late"
	})
	gaps := allEvents(r, claims.EventGap)
	if n := len(gaps); n%2 != 0 || !strings.Contains(gaps[n-1].Text, "out of reach from") {
		t.Errorf("gaps: %+v", gaps)
	}
	late.Close()
}

// TestStreamIsResumed cuts a stream of events at random 20 times while 500 happen: every one comes exactly once.
func TestStreamIsResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	s := w.serve(1)[0]
	u := w.user(w.account("a"), "ua")
	i, err := issuer.Open(t.Context(), issuer.Config{Store: w.store, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := api.New(api.Config{Issuer: i, Live: r, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	types := []claims.EventType{claims.EventConnect, claims.EventDisconnect}
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		after, _ := claims.ParseEventID(req.Header.Get("Last-Event-ID"))
		err := rest.StreamEvents(req.Context(), rw, claims.EventStream{
			Reader: "test", Sight: func(context.Context) (claims.Sight, error) { return everything, nil },
			Query: claims.EventQuery{After: after, Types: types},
		})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(front.Close)
	go func() {
		for range 250 {
			nc, err := nats.Connect(s.ClientURL(), u.option(), nats.Timeout(patience))
			if err != nil {
				return // the test shows it
			}
			nc.Close()
		}
	}()
	const want, cuts = 500, 20
	var got []string
	last, gaps := "", 0
	for n := 0; len(got) < want; n++ {
		stop := want
		if n < cuts {
			stop = len(got) + 1 + rand.IntN(2*want/cuts-1)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		id := ""
		for len(got) < min(stop, want) && lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			case line == "event: gap":
				gaps++
			case strings.HasPrefix(line, "data: "):
				got, last = append(got, id), id
			}
		}
		cancel()
		resp.Body.Close()
		if n > cuts && len(got) < want {
			t.Fatalf("the stream ended after %d events", len(got))
		}
	}
	var all []string
	for _, e := range allEvents(r, types...) {
		all = append(all, e.ID.String())
	}
	if diff := cmp.Diff(all[:want], got); diff != "" {
		t.Errorf("events (-happened +streamed):\n%s", diff)
	}
	t.Logf("resumed: %d of %d events exactly once over %d cuts, %d gaps", len(got), want, cuts, gaps)

	// A stream that stands open does not hold up the end.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", "evt_1_1") // of another run
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && lines.Text() != "event: gap" {
		if strings.HasPrefix(lines.Text(), "event: ") {
			t.Fatalf("whoever comes from another run gets %q first", lines.Text())
		}
	}
	rest.EndStreams()
	for lines.Scan() { // until the stream ends
		_ = lines.Text()
	}
	if ctx.Err() != nil {
		t.Error("the stream did not end")
	}
}

// TestBearerIsNotKept connects and refuses bearers, and looks for their JWTs in all that is kept, and in the log.
func TestBearerIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	logged := &strings.Builder{}
	cfg := w.config()
	cfg.Logger = slog.New(slog.NewTextHandler(&lockedWriter{b: logged}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := w.startWith(cfg, resolver.Hurry{})
	s := w.serve(1)[0]
	a := w.account("a")
	bearer := w.custom(a, func(c *jwt.UserClaims) { c.BearerToken = true })
	refused := w.custom(a, func(c *jwt.UserClaims) { c.BearerToken, c.Src = true, jwt.CIDRList{"10.0.0.0/8"} })
	// A client may name itself by what it must not tell.
	nc := w.connect(s, bearer, nats.Name(bearer.token))
	if err := bare(s, refused.option()); err == nil {
		t.Error("the bearer was let in")
	}
	nc.Close()
	eventually(t, "all is on record", func() bool { return len(allEvents(r, claims.EventDisconnect, claims.EventDenial)) >= 2 })
	r.Stop() // what is remembered is read without its locks
	hits := 0
	strs := 0
	seen := map[uintptr]bool{}
	for _, part := range resolver.Kept(r, w.operator) {
		walk(reflect.ValueOf(part), seen, func(text string) {
			strs++
			for _, u := range []user{bearer, refused} {
				signature := u.token[strings.LastIndex(u.token, ".")+1:]
				if strings.Contains(text, signature) {
					hits++
				}
			}
		})
	}
	for _, u := range []user{bearer, refused} {
		if strings.Contains(logged.String(), u.token[strings.LastIndex(u.token, ".")+1:]) {
			hits++
		}
	}
	if hits != 0 || strs < 50 {
		t.Errorf("%d of %d strings hold a bearer's JWT", hits, strs)
	}
	t.Logf("bearer's JWT: %d hits in %d strings", hits, strs)
}

type lockedWriter struct{ b *strings.Builder }

func (l *lockedWriter) Write(p []byte) (int, error) { return l.b.Write(p) } // slog's handler locks

// walk calls f with every string that is reached from v.
func walk(v reflect.Value, seen map[uintptr]bool, f func(string)) {
	switch v.Kind() {
	case reflect.String:
		f(v.String())
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.Pointer()] {
			seen[v.Pointer()] = true
			walk(v.Elem(), seen, f)
		}
	case reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), seen, f)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Len() > 0 {
			f(unsafe.String((*byte)(v.UnsafePointer()), v.Len()))
			return
		}
		for n := range v.Len() {
			walk(v.Index(n), seen, f)
		}
	case reflect.Array:
		for n := range v.Len() {
			walk(v.Index(n), seen, f)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			walk(v.Field(n), seen, f)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			walk(it.Key(), seen, f)
			walk(it.Value(), seen, f)
		}
	default:
	}
}

// TestFlood sends 50,000 denials and connects: all is bounded, the newest is kept, and the counters are right.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r, err := resolver.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	sizes := resolver.Flood(r, w.operator, 50_000)
	if sizes.Events != 16_384 || sizes.Denials != 1_536 || sizes.Connections > 50_000 {
		t.Errorf("kept are %+v", sizes)
	}
	events := r.Events(claims.EventQuery{Sight: everything, Newest: true, Limit: 1}).Events
	if len(events) != 1 || events[0].Reason != "newest" {
		t.Errorf("the newest event is %+v", events)
	}
	page := r.Events(claims.EventQuery{Sight: everything, After: claims.EventID{Epoch: events[0].ID.Epoch, Seq: 1}, Limit: 3})
	if len(page.Events) != 3 || page.Events[0].Type != claims.EventGap || page.Events[1].ID.Seq != page.Events[0].ID.Seq+1 {
		t.Errorf("a reader who was overtaken gets %+v", page.Events)
	}
	same := sizes.Same
	if same.Count != 25_000 || same.Recent != 25_000 {
		t.Errorf("25,000 times the same is counted as %d, %d in the last hour", same.Count, same.Recent)
	}
	t.Logf("flood: %+v", sizes)
}
