package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
)

// TestSlowClients holds connections open as somebody does who wants to take all places: with bodies that do not come,
// from more addresses than JWTs are worked on at once, and with headers that do not end or are too long.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	x := newOutpost(t)
	a := x.enrolled("ORDERS")
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait) // after the connections are closed
	host := strings.TrimPrefix(x.p.app.cfg.publicURL, "http://")
	open := func(address, text string) net.Conn {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(t.Context(), "tcp", host)
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, err = io.WriteString(c, text)
		must(t, err)
		return c
	}
	head := fmt.Sprintf("POST /jwt/v1/accounts/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\neyJ0", a.id, host)
	const slow = 80
	var stalled []net.Conn
	for n := range slow {
		stalled = append(stalled, open(fmt.Sprintf("127.0.3.%d", n+1), head))
	}
	// A header that does not end, and one that is too long.
	unfinished := open("127.0.4.1", "GET /jwt/v1/operator HTTP/1.1\r\nHost: "+host+"\r\nX-Slow: ")
	long := open("127.0.4.2", "GET /jwt/v1/operator?"+strings.Repeat("x", 30<<10)+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	answer := make([]byte, 12)
	if n, _ := io.ReadFull(long, answer); strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") { // 431, or cut off at once
		t.Error("a request line of 30 KiB is read")
	}

	status, said := x.post(a.id, x.edited(a, a.pair, 0, func(c *jwt.AccountClaims) { c.Description = "between" }))
	if status != http.StatusOK {
		t.Errorf("between them a JWT is answered %d %s", status, said)
	}
	waiting := 0
	for _, c := range stalled {
		must(t, c.SetReadDeadline(time.Now().Add(5*time.Millisecond))) // one that is past already would hide an answer
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			waiting++
		}
	}
	if waiting != slow {
		t.Errorf("%d of %d bodies are still waited for", waiting, slow)
	}
	// One address has 32 places, and is told so.
	answers := make(chan string, 40)
	for range 40 {
		c := open("127.0.5.1", head)
		reading.Go(func() {
			line := make([]byte, len("HTTP/1.1 429"))
			n, _ := io.ReadFull(c, line)
			answers <- string(line[:n])
		})
	}
	refused, late := 0, time.After(10*time.Second)
	for n := 0; refused < 8 && n < 40; n++ {
		select {
		case line := <-answers:
			if line == "HTTP/1.1 429" {
				refused++
			}
		case <-late:
			n = 40
		}
	}
	if refused != 8 {
		t.Errorf("of 40 bodies from one address %d are refused, want 8", refused)
	}
	must(t, unfinished.SetReadDeadline(time.Now().Add(15*time.Second)))
	if _, err := unfinished.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a header that does not end is waited for without end")
	}
	t.Logf("%d of %d slow bodies held nobody up, %d of 8 more than one address may were refused", waiting, slow, refused)
}
