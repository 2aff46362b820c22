package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"
)

// hedge is how long a reader waits for one replica before it asks the other one as well.
const hedge = 500 * time.Millisecond

// read is what became of one reading.
type read struct {
	replica int
	status  int
	body    []byte
	begun   time.Time
	took    time.Duration
	err     error
}

// ask reads from both replicas as what stands before two addresses does: the first one is asked, and when it does not
// answer within hedge, or fails, the other one too. The first good answer counts. A replica that is dead or stopped
// cannot answer; the promise is that the other one does before a nats-server gives up.
func (y *yard) ask(ctx context.Context, first int, path string) read {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	answers := make(chan read, 2)
	get := func(n int) { answers <- y.get(ctx, n, path) }
	go get(first)
	late := time.NewTimer(hedge)
	defer late.Stop()
	out, asked, heard := read{err: errors.New("nobody answered")}, 1, 0
	for heard < asked {
		second := false
		select {
		case <-late.C:
			second = asked == 1
		case a := <-answers:
			heard++
			if out = a; a.err == nil && a.status == http.StatusOK {
				heard = asked
				break
			}
			second = asked == 1
		}
		if second {
			asked = 2
			go get(1 - first)
		}
	}
	out.begun, out.took = begun, time.Since(begun)
	return out
}

// get reads from one replica.
func (y *yard) get(ctx context.Context, n int, path string) read {
	out := read{replica: n}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, y.replicas[n].base+path, http.NoBody)
	if err != nil {
		out.err = err
		return out
	}
	resp, err := y.reads.Do(req)
	if err != nil {
		out.err = err
		return out
	}
	defer resp.Body.Close()
	out.status = resp.StatusCode
	out.body, out.err = io.ReadAll(resp.Body)
	return out
}

// balance is the address that the servers know.
func (y *yard) balance(w http.ResponseWriter, r *http.Request) {
	var a read
	if sent := y.pinned.Load(); sent != nil {
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { (*sent)() }}
		a = y.get(httptrace.WithClientTrace(r.Context(), trace), 0, r.URL.Path)
	} else {
		a = y.ask(r.Context(), int(time.Now().UnixMilli()%2), r.URL.Path)
	}
	if a.err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// mustRead returns what is served at a path, in the end: on a busy machine a replica may take a moment to take in what it made.
func (y *yard) mustRead(path string) string {
	y.t.Helper()
	var a read
	eventually(y.t, path+" is served", func() bool {
		a = y.ask(y.t.Context(), 0, path)
		return a.err == nil && a.status == http.StatusOK
	})
	return string(bytes.TrimSpace(a.body))
}

// reader reads accounts at a steady rate for as long as the drill goes on.
type reader struct {
	y    *yard
	stop context.CancelFunc
	all  sync.WaitGroup

	mu sync.Mutex
	// seen is the newest issue time that a replica has answered with, and when that answer was there.
	seen map[answerer][]sighting
	// acked are the issue times that were acknowledged, by account.
	acked map[string][]sighting

	reads, good int
	// behind are answers of a replica that had just come back with something older than lag allows, the last one so long
	// after it ran again.
	behind   int
	last     time.Duration
	longest  time.Duration
	failures []string
}

type answerer struct {
	replica int
	account string
}

// sighting is when an issue time was known.
type sighting struct {
	at       time.Time
	issuedAt int64
}

// read begins to read, rate times a second.
func (y *yard) read(rate int) *reader {
	ctx, stop := context.WithCancel(y.t.Context())
	r := &reader{y: y, stop: stop, seen: map[answerer][]sighting{}, acked: map[string][]sighting{}}
	r.all.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// One after the other, each from both.
			account := y.accounts[n/2%len(y.accounts)]
			r.all.Go(func() { r.judge(account, y.ask(context.WithoutCancel(ctx), n%2, "/jwt/v1/accounts/"+account.id)) })
		}
	})
	return r
}

// end waits for what is under way.
func (r *reader) end() {
	r.stop()
	r.all.Wait()
}

// acknowledge takes in that an edit was answered which is in the JWT of that time.
func (r *reader) acknowledge(account string, issuedAt int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked[account] = append(r.acked[account], sighting{time.Now(), issuedAt})
}

// judge holds an answer against what was known before it was asked for.
func (r *reader) judge(account *resident, a read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.longest = max(r.longest, a.took)
	issuedAt := tokenTime(a.body)
	if a.err != nil || a.status != http.StatusOK || a.took >= fetchLimit || issuedAt == 0 {
		r.fail("%s: %d after %v: %v", account.name, a.status, a.took, a.err)
		return
	}
	key := answerer{a.replica, account.id}
	if before := newest(r.seen[key], a.begun); issuedAt < before {
		r.fail("%s: replica %d went back from %d to %d", account.name, a.replica, before, issuedAt)
		return
	}
	r.seen[key] = append(r.seen[key], sighting{time.Now(), issuedAt})
	if issuedAt < newest(r.acked[account.id], a.begun.Add(-lag)) {
		from := r.y.replicas[a.replica]
		if from.survives(a.begun) {
			r.fail("%s: replica %d serves %d, which is older than what was acknowledged %v before", account.name, a.replica, issuedAt, lag)
			return
		}
		// What was done to it kept it from knowing; how long that lasts is told.
		r.behind++
		if began := from.began(); !began.IsZero() {
			r.last = max(r.last, a.begun.Add(a.took).Sub(began))
		}
	}
	r.good++
}

func (r *reader) fail(format string, args ...any) {
	if len(r.failures) < 10 {
		r.failures = append(r.failures, fmt.Sprintf(format, args...))
	}
}

// newest returns the newest issue time that was known by then.
func newest(known []sighting, by time.Time) int64 {
	best := int64(0)
	for _, m := range known {
		if !m.at.After(by) {
			best = max(best, m.issuedAt)
		}
	}
	return best
}

// tokenTime reads the issue time of a JWT, 0 of what is none.
func tokenTime(token []byte) int64 {
	parts := bytes.Split(bytes.TrimSpace(token), []byte("."))
	if len(parts) != 3 {
		return 0
	}
	raw, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
	if err != nil {
		return 0
	}
	var c struct {
		IssuedAt int64 `json:"iat"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return 0
	}
	return c.IssuedAt
}

// spread is the least, the middle and the largest of some durations.
type spread []time.Duration

// String implements fmt.Stringer.
func (s spread) String() string {
	if len(s) == 0 {
		return "none"
	}
	all := slices.SortedFunc(slices.Values(s), cmp.Compare)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("min %v, median %v, max %v", round(all[0]), round(all[len(all)/2]), round(all[len(all)-1]))
}
