package resolver

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// maxLoads bounds the accounts that wait to be looked at. What is above is left to the
// second reading of what was pushed, and to the sweep.
const maxLoads = 1 << 16

// loadTries is how often a server is asked again that has an account and no JWT of it: it
// tells of the account before it puts the JWT there (server.go: fetchAccount).
const loadTries = 3

// loads looks at what servers have just loaded. A fetch that began before a push can end
// after it, and a cache or a server with accounts in its configuration comes back with
// older ones: the account is then in force in a version that no push will replace, since
// none is owed. A server tells when it loads an account, by asking the others how many
// connections they have (events.go: enableAccountTracking), and is asked at once for what
// it has.
type loads struct {
	o     *operator
	work  bell
	owing trouble

	mu      sync.Mutex
	pending map[load]struct{}
}

// load is an account that a server has loaded.
type load struct{ server, account string }

func newLoads(o *operator) *loads {
	return &loads{
		o: o, work: newBell(), pending: map[load]struct{}{},
		owing: trouble{log: o.log, task: "owing accounts that servers loaded in another version"},
	}
}

// loadSubscriptions hear which server loads which account.
func (o *operator) loadSubscriptions() []subscription {
	if o.r.quiet {
		return nil
	}
	return []subscription{{subject: loadedSubject("*"), handle: func(_ context.Context, m *nats.Msg) {
		// $SYS.REQ.ACCOUNT.<account>.CONNS, with the reply subject $SYS._INBOX_.<server>
		subject := strings.Split(m.Subject, ".")
		server := m.Reply[strings.LastIndexByte(m.Reply, '.')+1:]
		if len(subject) == 5 && claims.IsPublicKey(claims.KindServer, server) && o.r.memory.operatorOf(subject[3]) == o.id {
			o.loads.add(load{server: server, account: subject[3]})
		}
	}}}
}

func (w *loads) add(l load) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) < maxLoads {
		w.pending[l] = struct{}{}
		w.work.ring()
	}
}

func (w *loads) take() map[load]struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.pending
	w.pending = map[load]struct{}{}
	return out
}

// run looks until ctx ends.
func (w *loads) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
		l := w.o.link.Load()
		if l == nil {
			w.take() // all servers are examined when they are reached again
			continue
		}
		var each sync.WaitGroup
		slots := make(chan struct{}, compareAtOnce)
		for x := range w.take() {
			slots <- struct{}{}
			each.Go(func() {
				defer func() { <-slots }()
				w.look(ctx, l, x)
			})
		}
		each.Wait()
	}
}

// look reads one account back from one server and makes it owed if it is not ours.
func (w *loads) look(ctx context.Context, l *link, x load) {
	o := w.o
	o.roster.loaded(x.server, x.account)
	a, err := o.readFrom(ctx, l, x.server, x.account)
	for n := 0; n < loadTries && err == nil && a.Data != nil && a.Data.JWT == ""; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(o.r.pace.quiet):
		}
		a, err = o.readFrom(ctx, l, x.server, x.account)
	}
	e := o.r.memory.get(x.account)
	if err != nil || e == nil || a.Data == nil || a.Data.JWT == "" || a.Data.JWT == e.token {
		return
	}
	if o.overtaken(x.account, a.Server, a.Data.JWT) {
		w.owing.note(ctx, o.leave(ctx, x.account, a.Server))
		return
	}
	err = o.r.oweAgain(ctx, []string{x.account})
	w.owing.note(ctx, err)
	o.wake.ring()
}

// readFrom asks one server what it has of an account in memory.
func (o *operator) readFrom(ctx context.Context, l *link, server, account string) (answer[accountInfo], error) {
	out, err := ask[accountInfo](ctx, o, l, question{
		subject: infoSubject(account), body: o.roster.only(server), expect: []string{server}, limit: o.r.pace.answer,
	})
	return out[server], err
}
