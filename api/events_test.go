package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"chancery/api"
	"chancery/claims"
	"chancery/issuer"
	"chancery/store/storetest"
)

// listening is an open stream of events; over is closed when the server ended it.
type listening struct {
	status int
	lines  chan string
	over   chan struct{}
}

func (h *house) listen(ctx context.Context, token string) listening {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.server.URL+api.Base+"/events", nil)
	must(h.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // the reader below closes it
	must(h.t, err)
	l := listening{status: resp.StatusCode, lines: make(chan string, 1000), over: make(chan struct{})}
	go func() {
		defer resp.Body.Close()
		defer close(l.over)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	return l
}

// A stream ends soon after its token was taken back, holds nothing that its reader may
// not see, and gives its place back; a reader has no more than eight.
func TestStreamRights(t *testing.T) {
	t.Parallel()
	h := newHouse(t, storetest.URL(t, storetest.Dialects()[0]))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	op := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	orders, err := h.issuer.GetAccount(ctx, op.Caller, "ORDERS")
	must(t, err)
	made, err := h.issuer.CreateToken(ctx, op, issuer.TokenInput{
		Name: "tenant", TTL: time.Hour,
		Grants: []issuer.Grant{{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: orders.OperatorID, Account: orders.ID}}},
	})
	must(t, err)
	tenant := made.Value.Text.Reveal()

	var open []listening
	for range 8 {
		l := h.listen(ctx, tenant)
		if l.status != http.StatusOK {
			t.Fatalf("stream %d answered %d", len(open)+1, l.status)
		}
		open = append(open, l)
	}
	if l := h.listen(ctx, tenant); l.status != http.StatusTooManyRequests {
		t.Errorf("the ninth stream answered %d", l.status)
	}
	// More tokens are no more streams for its tenant.
	refused := 0
	for n := range 4 {
		more, err := h.issuer.CreateToken(ctx, op, issuer.TokenInput{Name: fmt.Sprint("more ", n), TTL: time.Hour, Grants: made.Value.Token.Grants})
		must(t, err)
		for range 8 {
			if h.listen(ctx, more.Value.Text.Reveal()).status == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	if refused != 8 {
		t.Errorf("of 40 streams of a tenant %d are refused, want 8", refused)
	}
	if l := h.listen(ctx, h.owner); l.status != http.StatusOK {
		t.Errorf("another reader is answered %d", l.status)
	}

	h.want(http.MethodPost, "/accounts", `{"name":"FOREIGN","operator":"acme"}`, 201)
	h.want(http.MethodPatch, "/accounts/ORDERS", `{"description":"news"}`, 200)
	for {
		line := ""
		select {
		case line = <-open[0].lines:
		case <-ctx.Done():
			t.Fatal("no event came")
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if ok && !strings.Contains(data, orders.ID) {
			t.Fatalf("a tenant is told %s", data)
		}
		if ok {
			break
		}
	}
	h.want(http.MethodDelete, "/tokens/"+made.Value.Token.ID, "", 200)
	began := time.Now()
	for _, l := range open {
		select {
		case <-l.over:
		case <-ctx.Done():
			t.Fatal("a stream goes on though its token was taken back")
		}
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("streams ended %v after their token was taken back", took)
	} else {
		t.Logf("streams of a token that was taken back: %d of %d ended, within %v", len(open), len(open), took.Round(time.Millisecond))
	}
	if l := h.listen(ctx, tenant); l.status != http.StatusUnauthorized {
		t.Errorf("the token is answered %d", l.status)
	}
}

// slowWriter is a reader who takes nothing: what is written to it ends at the deadline,
// which it must have.
type slowWriter struct {
	header   http.Header
	deadline time.Time
}

func (w *slowWriter) Header() http.Header                { return w.header }
func (*slowWriter) WriteHeader(int)                      {}
func (*slowWriter) Flush()                               {}
func (*slowWriter) SetReadDeadline(time.Time) error      { return nil }
func (w *slowWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }
func (w *slowWriter) Write([]byte) (int, error)          { return 0, os.ErrDeadlineExceeded }

// A reader who takes nothing is cut off within ten seconds, and no place stays taken.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	h := newHouse(t, storetest.URL(t, storetest.Dialects()[0]))
	for range 20 { // more than the places of a reader
		w := &slowWriter{header: http.Header{}}
		err := h.api.StreamEvents(t.Context(), w, claims.EventStream{
			Reader: "slow", Query: claims.EventQuery{Newest: true}, Sight: func(context.Context) (claims.Sight, error) { return claims.Sight{}, nil },
		})
		must(t, err)
		if in := time.Until(w.deadline); in <= 0 || in > 10*time.Second {
			t.Fatalf("the reader has %v", in)
		}
	}
}
