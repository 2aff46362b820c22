package resolver_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// ghost is a server with a full resolver of which the test says what its disk has. It
// answers in order, as a server does.
type ghost struct {
	*client
	id string
	// disk returns what it answers to a lookup of the account that it holds in memory.
	disk chan func(memory string) []string
	// manner is how it answers otherwise: "busy" does not tell what it holds, "broken" not
	// what it has of an account, and "mute" not even that.
	manner chan string
}

// haunt lets a ghost join the roster.
func (w *world) haunt(c *client, name, manner string) *ghost {
	w.t.Helper()
	_, id := newPair(w.t, claims.KindServer)
	g := &ghost{client: c, id: id, disk: make(chan func(string) []string, 1), manner: make(chan string, 1)}
	g.manner <- manner
	asked := make(chan *nats.Msg, 10_000)
	for _, subject := range []string{
		"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", "$SYS.REQ.ACCOUNT.*.INFO", "$SYS.REQ.CLAIMS.LIST",
		"$SYS.REQ.SERVER." + id + ".ACCOUNTZ", "$SYS.REQ.SERVER.PING",
	} {
		if _, err := c.ChanSubscribe(subject, asked); err != nil {
			w.t.Fatal(err)
		}
	}
	self := map[string]string{"id": id, "name": name, "cluster": "c", "ver": "2.15.2"}
	go g.answer(w.t.Context(), asked, self)
	stats, err := json.Marshal(map[string]any{"server": self, "statsz": map[string]any{}})
	if err == nil {
		err = c.Publish("$SYS.SERVER."+id+".STATSZ", stats)
	}
	if err == nil {
		err = c.FlushTimeout(patience)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (g *ghost) answer(ctx context.Context, asked <-chan *nats.Msg, self map[string]string) {
	memory, disk := map[string]string{}, func(memory string) []string { return []string{memory} }
	manner := <-g.manner
	for {
		var m *nats.Msg
		select {
		case <-ctx.Done():
			return
		case disk = <-g.disk:
			continue
		case manner = <-g.manner:
			continue
		case m = <-asked:
		}
		say := func(key string, data any) {
			if body, err := json.Marshal(map[string]any{"server": self, key: data}); err == nil && m.Reply != "" {
				_ = m.Respond(body)
			}
		}
		account := strings.Split(m.Subject, ".")[3:]
		switch {
		case strings.HasSuffix(m.Subject, ".PING"):
			say("statsz", map[string]any{})
		case strings.HasSuffix(m.Subject, ".LIST"):
			say("data", []string{})
		case strings.HasSuffix(m.Subject, ".ACCOUNTZ") && manner == "busy":
		case strings.HasSuffix(m.Subject, ".INFO") && manner == "mute":
		case strings.HasSuffix(m.Subject, ".INFO") && manner == "broken":
			say("error", map[string]any{"code": 500, "description": "out of memory"})
		case strings.HasSuffix(m.Subject, ".ACCOUNTZ"):
			say("data", map[string]any{"accounts": []string{}})
		case strings.HasSuffix(m.Subject, ".UPDATE"):
			memory[account[0]] = strings.TrimSpace(string(m.Data))
			say("data", map[string]any{"code": 200, "message": "jwt updated"})
		case strings.HasSuffix(m.Subject, ".LOOKUP"):
			for _, token := range disk(memory[account[0]]) {
				_ = m.Respond([]byte(token))
			}
		default:
			say("data", map[string]any{"jwt": memory[account[0]]})
		}
	}
}

// TestProofNeedsEveryDisk holds that nothing is proven on full resolvers while one of
// them does not say what is on its disk, or anybody says that a disk has something else,
// though all have the right JWT in memory.
func TestProofNeedsEveryDisk(t *testing.T) {
	t.Parallel()
	p := newCluster(t, "full")
	n1 := p.up("n1")
	p.await(1)
	a := p.account("a")
	p.wait(a, a.version)
	g := p.haunt(p.tool(n1), "ghost", "")
	p.awaitRoster(2, 2)
	for _, x := range []struct {
		name, says string
		disk       func(memory string) []string
	}{
		{"one is silent", "Not every full resolver said what is on its disk.", func(string) []string { return nil }},
		{"one has another", "One of the full resolvers has another version on its disk.", func(string) []string { return []string{"other"} }},
		{"one has none", "One of the full resolvers does not have the account on its disk.", func(string) []string { return []string{""} }},
		{"as many as there are, and another", "One of the full resolvers has another version on its disk.", func(m string) []string { return []string{m, "other"} }},
	} {
		g.disk <- x.disk
		version := p.edit(a, func(c *claims.Account) { c.Settings.Description = x.name })
		eventually(t, x.name, func() bool {
			s := p.sync(a)
			if s.Done() || states(s)["ghost"].Satisfied() {
				t.Fatalf("%s: proven is %+v", x.name, s)
			}
			return len(s.Servers) == 2 && s.Version == version && s.Servers[0].Error == x.says
		})
	}
	g.disk <- func(m string) []string { return []string{m} }
	p.wait(a, a.version)
}

// TestJoinsWhileWaiting lets a server that holds something else join while a change
// waits for another one: the wait is not over before that server has the change too.
func TestJoinsWhileWaiting(t *testing.T) {
	t.Parallel()
	p := newCluster(t, "full")
	n1 := p.up("n1")
	p.await(1)
	a := p.account("a")
	p.wait(a, a.version)
	slow := p.haunt(p.tool(n1), "slow", "")
	slow.disk <- func(string) []string { return []string{"other"} }
	p.awaitRoster(2, 2)
	version := p.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 7 })
	over := make(chan claims.Sync, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		s, err := p.r.Load().Wait(ctx, a.id, version)
		if err != nil {
			t.Error(err)
		}
		over <- s
	}()
	late := p.haunt(p.tool(n1), "late", "")
	late.disk <- func(string) []string { return []string{"older"} }
	eventually(t, "both are behind", func() bool {
		s := states(p.sync(a))
		return len(s) == 3 && !s["slow"].Satisfied() && !s["late"].Satisfied()
	})
	slow.disk <- func(m string) []string { return []string{m} }
	select {
	case s := <-over:
		t.Fatalf("the wait ended with %+v", s)
	case <-time.After(300 * time.Millisecond):
	}
	late.disk <- func(m string) []string { return []string{m} }
	if s := receive(t, over); s.InEffect() != 3 {
		t.Errorf("the wait ended with %+v", s)
	}
}

// TestSilenceIsNoProof has a server join that does not tell which accounts it holds, and
// then, what it has of one: nothing is taken to be in effect on it, neither what was
// pushed long ago nor what is pushed now.
func TestSilenceIsNoProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
	n1 := w.serve(1)[0]
	a := w.account("a")
	w.wait(a, a.version)
	w.settled()
	g := w.haunt(w.tool(n1), "ghost", "busy")
	w.awaitRoster(2, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if s, err := r.Wait(ctx, a.id, a.version); err != nil || s.Reached() || states(s)["ghost"] != claims.DeliveryPending {
		t.Errorf("of a server that does not tell what it holds: %+v, %v", s, err)
	}
	g.manner <- "broken"
	version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 7 })
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if s, err := r.Wait(ctx, a.id, version); err != nil || s.Reached() || states(s)["ghost"].Satisfied() {
		t.Errorf("of a server that does not tell what it has: %+v, %v", s, err)
	}
	if w.owed() == 0 {
		t.Error("nothing is owed to a server that does not tell what it has")
	}
	g.manner <- ""
	w.wait(a, version)
}

// TestNothingIsProvenWithoutServers waits for a change when there is no server, or none
// is reached.
func TestNothingIsProvenWithoutServers(t *testing.T) {
	t.Parallel()
	for _, s := range []claims.Sync{
		{Connected: true},
		{Expected: 3, Connected: true},
		{Servers: []claims.Delivery{{State: claims.DeliveryInEffect}}},
		{Connected: true, Version: 2, Servers: []claims.Delivery{{State: claims.DeliveryInEffect, Version: 1}}},
	} {
		if s.Reached() || s.Done() || s.State() == "in_effect" {
			t.Errorf("%+v is taken for proven", s)
		}
	}
}

// TestLedgerOfReplicas holds what this process saw of a server against what another one
// stored: the later counts, whether it is a proof or a failure.
func TestLedgerOfReplicas(t *testing.T) {
	t.Parallel()
	const proven, failed, sent = claims.DeliveryInEffect, claims.DeliveryFailed, claims.DeliverySent
	good := 0
	cases := []struct {
		here, row claims.DeliveryState
		later     bool
		want      claims.DeliveryState
	}{
		{failed, proven, false, failed},
		{failed, proven, true, proven},
		{proven, failed, true, failed},
		{proven, failed, false, proven},
		{sent, proven, false, proven},
		{proven, sent, true, proven},
	}
	for _, c := range cases {
		if got := resolver.Merged(c.here, c.row, c.later); got != c.want {
			t.Errorf("%s here, %s in the store, later %t: it is %s", c.here, c.row, c.later, got)
			continue
		}
		good++
	}
	t.Logf("ledger: %d of %d", good, len(cases))
}

// TestLedgerOfReports holds that neither silence nor a late word about an earlier version
// changes what is known, and that a failure does.
func TestLedgerOfReports(t *testing.T) {
	t.Parallel()
	type said struct {
		version int64
		state   claims.DeliveryState
	}
	const proven, failed, sent = claims.DeliveryInEffect, claims.DeliveryFailed, claims.DeliverySent
	for _, c := range []struct {
		reports []said
		row     said
		want    said
	}{
		{[]said{{3, proven}, {3, sent}}, said{}, said{3, proven}},
		{[]said{{3, proven}, {3, failed}}, said{}, said{3, failed}},
		{[]said{{3, failed}, {3, proven}}, said{}, said{3, proven}},
		{[]said{{3, sent}, {2, proven}}, said{}, said{3, sent}},
		{[]said{{3, proven}, {2, failed}}, said{}, said{3, proven}},
		{[]said{{2, proven}, {3, sent}}, said{}, said{3, sent}},
		{[]said{{3, sent}}, said{2, proven}, said{3, sent}},
		{[]said{{2, proven}}, said{3, sent}, said{3, sent}},
	} {
		var reports []claims.Delivery
		for _, r := range c.reports {
			reports = append(reports, claims.Delivery{Version: r.version, State: r.state})
		}
		got := resolver.Known(store.Delivery{Version: c.row.version, State: string(c.row.state)}, reports...)
		if got.Version != c.want.version || got.State != c.want.state {
			t.Errorf("%v, in the store %v: it is %d, %s", c.reports, c.row, got.Version, got.State)
		}
	}
	if !resolver.Proven(2, 2) || resolver.Proven(1, 2) {
		t.Error("a version counts as seen everywhere since another one was")
	}
}

// TestForeignLookups has somebody else answer lookups beside a cache resolver, as
// nats-account-server does: the cache is not taken for a full resolver.
func TestForeignLookups(t *testing.T) {
	t.Parallel()
	p := newCluster(t, "cache")
	n1 := p.up("n1")
	p.await(1)
	other, answer := p.tool(n1), []byte(p.token(p.system)) // a lookup may still come after the test's end
	if _, err := other.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", func(m *nats.Msg) { _ = m.Respond(answer) }); err != nil {
		t.Fatal(err)
	}
	if err := other.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	a := p.account("a")
	p.wait(a, a.version)
	p.r.Load().Stop()
	r := p.start(resolver.Hurry{Settle: 300 * time.Millisecond})
	p.await(1)
	p.wait(a, p.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 7 }))
	if list := r.Servers(p.operator); list[0].Resolver != claims.ResolverCache {
		t.Errorf("it is taken for %s", list[0].Resolver)
	}
}
