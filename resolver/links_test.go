package resolver_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// slowDial is a network that says when a connection is begun, and holds it back while gate
// is not closed and the test lasts.
type slowDial struct {
	begun, gate chan struct{}
	over        <-chan struct{}
}

func (d *slowDial) Dial(network, address string) (net.Conn, error) {
	d.begun <- struct{}{}
	select {
	case <-d.gate:
	case <-d.over:
	}
	return net.DialTimeout(network, address, patience)
}

// TestKickWhileTheWayIsReplaced has an operator's URLs change: the way by the new ones is sought at once, whatever else is
// looked for from time to time; a kick meanwhile waits for it; and what the old connection tells later changes nothing.
func TestKickWhileTheWayIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.start(resolver.Hurry{})
	servers := w.serve(2)
	a := w.account("a")
	urls := w.urls
	w.setURLs(urls[0])
	cfg := w.config()
	dial := &slowDial{begun: make(chan struct{}, 100), gate: make(chan struct{}), over: t.Context().Done()}
	cfg.Dialer, cfg.Owner = dial, "second" // nobody wakes it but this test
	r, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Hurry(resolver.Hurry{Poll: time.Hour})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	await(t, "the first connection", dial.begun)
	close(dial.gate)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !r.AwaitServers(ctx, w.operator, 2, 2) {
		t.Fatal("the servers are not reached")
	}
	c := w.connect(servers[0], w.user(a, "u"))
	eventually(t, "the client is pictured", func() bool { return len(connectionsOf(r, a)) == 1 })
	at := connectionsOf(r, a)[0]

	dial.gate = make(chan struct{}) // nothing is dialled now, and by the wake it is seen
	w.setURLs(urls[1], urls[0])
	r.Wake()
	await(t, "the connection by the new URLs", dial.begun)
	kicked := make(chan error, 1)
	go func() { kicked <- r.Kick(t.Context(), w.operator, at.ServerID, at.CID) }()
	close(dial.gate)
	if err := receive(t, kicked); err != nil {
		t.Errorf("a kick while the way to the servers is replaced: %v", err)
	}
	await(t, "the end of the connection", c.closed)
	if !r.LoseReplaced(t.Context(), w.operator) {
		t.Error("the end of a connection that was replaced took the next one's place away")
	}
}

// lostQuestion is a network that garbles the first most messages to a subject.
type lostQuestion struct {
	subject string
	most    int32
	asked   atomic.Int32
}

func (d *lostQuestion) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return &garbled{c, d}, nil
}

type garbled struct {
	net.Conn
	of *lostQuestion
}

func (c *garbled) Write(p []byte) (int, error) {
	question := []byte(c.of.subject + " ")
	if bytes.Contains(p, question) && c.of.asked.Add(1) <= c.of.most {
		p = bytes.ReplaceAll(p, question, []byte(strings.Repeat("x", len(c.of.subject))+" "))
	}
	return c.Conn.Write(p)
}

// TestNobodyAnswersAtFirst connects, and is answered by no server: they are found all the same, by the same connection.
func TestNobodyAnswersAtFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	wire := &lostQuestion{subject: "$SYS.REQ.SERVER.PING", most: 1}
	cfg := w.config()
	cfg.Dialer = wire
	r := w.startWith(cfg, resolver.Hurry{Poll: 50 * time.Millisecond})
	w.serve(1)
	a := w.account("a")
	w.wait(a, a.version)
	if n := wire.asked.Load(); n < 2 || !w.sync(a).Connected {
		t.Errorf("asked %d times, the servers are %v", n, r.Servers(w.operator))
	}
}

// TestListThatDoesNotCome has a server say that an account has clients, and not in time which: those that are pictured stay.
func TestListThatDoesNotCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	wire := &lostQuestion{subject: a.id + ".CONNZ", most: 1000}
	cfg := w.config()
	cfg.Dialer = wire
	r := w.startWith(cfg, resolver.Hurry{})
	servers := w.serve(2)
	w.connect(servers[0], w.user(a, "u"))
	eventually(t, "the client is pictured", func() bool { return len(connectionsOf(r, a)) == 1 })
	w.setURLs(w.urls[1], w.urls[0]) // all is asked for after a loss
	r.Wake()
	eventually(t, "the list is asked for in vain", func() bool {
		page := r.ListConnections(claims.ConnectionQuery{Sight: everything, Limit: 1})
		return wire.asked.Load() > 0 && page.Incomplete == ""
	})
	if n := len(connectionsOf(r, a)); n != 1 {
		t.Errorf("%d clients are pictured, want the one that is connected", n)
	}
}
