package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/api"
)

// TestLatePush lets a push arrive after a newer one: a replica makes an edit, and what it publishes stays on its way, for
// the network keeps it. The replica dies, or is stopped until its lease is over. Meanwhile the other one revokes a user,
// which is proven everywhere and settled. Then the network delivers. Nothing on the servers' side can keep the older JWT
// out, and its sender believes that it was right: it must be found and healed.
func TestLatePush(t *testing.T) {
	t.Parallel()
	alone(t)
	late(t, resolverURL, func(y *yard, victim *replica) (goOn func()) {
		victim.kill()
		victim.start(y.token)
		return func() {}
	})
}

// TestDrillLatePush is TestLatePush with a replica that is stopped and goes on, on each kind of resolver.
func TestDrillLatePush(t *testing.T) {
	rounds := drillRounds(t)
	for _, kind := range []resolverKind{resolverURL, resolverFull} {
		var times spread
		good := 0
		for range rounds {
			if t.Run(string(kind), func(t *testing.T) {
				times = append(times, late(t, kind, func(_ *yard, victim *replica) (goOn func()) {
					victim.pause()
					return victim.resume
				}))
			}) {
				good++
			}
		}
		t.Logf("%s: %d of %d late pushes healed: %v", kind, good, rounds, times)
	}
}

// late returns how long after the late push every server had the newest JWT again.
func late(t *testing.T, kind resolverKind, fault func(y *yard, victim *replica) (goOn func())) time.Duration {
	t.Helper()
	var way *slowWay
	y := newYard(t, yardPlan{kind: kind, tenants: 1, leavers: 1, way: func(n int, direct []string) []string {
		if n != 0 {
			return direct
		}
		way = newSlowWay(t, direct[0])
		return []string{way.url}
	}})
	x := y.accounts[0]
	victim, other := y.replicas[0], y.replicas[1]

	way.hold([]byte("CLAIMS.UPDATE"))
	// The other replica may be faster to push what the victim signed: then there is one more edit.
	isHeld := func() bool {
		select {
		case <-way.held:
			return true
		case <-time.After(time.Second):
			return false
		}
	}
	for limit := 1001; ; limit++ {
		body := fmt.Sprintf(`{"limits":{"subscriptions":%d}}`, limit)
		must(t, callAPI(t.Context(), victim.base, y.token, request{"PATCH", "/accounts/" + x.name, body, ""}, nil))
		if isHeld() {
			break
		}
		if limit == 1030 {
			t.Fatal("no edit is published by the replica that made it")
		}
	}
	goOn := fault(y, victim)
	y.revokeFirst(other)

	heard := make(chan struct{})
	var once sync.Once
	_, err := y.witness.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		// What was held is one of the edits, and knows of no revocation.
		if c, err := jwt.DecodeAccountClaims(string(m.Data)); err == nil && c.Subject == x.id && len(c.Revocations) == 0 {
			once.Do(func() { close(heard) })
		}
	})
	must(t, err)
	must(t, y.witness.Flush())
	released := time.Now()
	way.release()
	select {
	case <-heard:
	case <-time.After(convergence):
		t.Fatal("the late push never arrives")
	}
	goOn()
	took := y.converge(released)
	t.Logf("%s: healed %v after the late push", kind, took.Round(time.Millisecond))
	y.refuseFirst()
	return took
}

// revokeFirst revokes the first leaver by one replica and waits until that is proven on every server, and settled: nobody
// has a reason to push the account again.
func (y *yard) revokeFirst(by *replica) {
	y.t.Helper()
	var revoked api.Revoked
	must(y.t, callAPI(y.t.Context(), by.base, y.token, request{"PUT", "/accounts/" + y.accounts[0].name + "/revocations/leaver0", `{"reason":"left"}`, "wait=20"}, &revoked))
	if revoked.Sync == nil || revoked.Sync.State != "in_effect" || revoked.Sync.InEffect != len(y.servers) {
		y.t.Fatalf("the revocation is %+v", revoked.Sync)
	}
	y.accounts[0].leaving[0].mustClose(y.t)
	y.settled()
}

// refuseFirst tries to connect the first leaver to each server.
func (y *yard) refuseFirst() {
	y.t.Helper()
	for _, s := range y.servers {
		if again, err := connect(s, y.accounts[0].leaves[0]); err == nil {
			again.Close()
			y.t.Errorf("%s admits the revoked user", s.Name())
		}
	}
}

// slowWay stands between a replica and a server, and can keep what the replica sends.
type slowWay struct {
	url    string
	behind string
	l      net.Listener
	done   sync.WaitGroup
	// held is closed when what hold waits for is kept.
	held chan struct{}

	mu    sync.Mutex
	conns []net.Conn
	open  []*lane
	want  []byte
}

// lane is one connection's direction to the server.
type lane struct {
	out     net.Conn
	holding bool
	kept    []byte
}

func newSlowWay(t *testing.T, direct string) *slowWay {
	t.Helper()
	u, err := url.Parse(direct)
	must(t, err)
	w := &slowWay{behind: u.Host, held: make(chan struct{})}
	w.l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.url = "nats://" + w.l.Addr().String()
	w.done.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

func (w *slowWay) accept() {
	for {
		in, err := w.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.behind)
		if err != nil { // the servers are not there yet
			_ = in.Close()
			continue
		}
		x := &lane{out: out}
		w.mu.Lock()
		w.conns, w.open = append(w.conns, in, out), append(w.open, x)
		w.mu.Unlock()
		w.done.Go(func() { w.carry(in, x) })
		w.done.Go(func() {
			_, _ = io.Copy(in, out)
			_ = in.Close()
		})
	}
}

// carry takes what the replica sends to the server, or keeps it. The end of the replica does not end what is kept.
func (w *slowWay) carry(in net.Conn, x *lane) {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		w.mu.Lock()
		switch {
		case x.holding:
			x.kept = append(x.kept, buf[:n]...)
			if w.want != nil && bytes.Contains(x.kept, w.want) {
				close(w.held)
				w.want = nil
			}
		case n > 0:
			_, _ = x.out.Write(buf[:n])
		}
		end := err != nil && !x.holding
		w.mu.Unlock()
		if end {
			_ = x.out.Close()
		}
		if err != nil {
			return
		}
	}
}

// hold keeps from now on what comes on the connections that are open, and closes held when want is in it.
func (w *slowWay) hold(want []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = want
	for _, x := range w.open {
		x.holding = true
	}
}

// release delivers what was kept.
func (w *slowWay) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.open {
		if x.holding {
			_, _ = x.out.Write(x.kept)
			x.holding, x.kept = false, nil
		}
	}
}

func (w *slowWay) close() {
	_ = w.l.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.done.Wait()
}
