package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

const (
	// mostWaiting messages wait to be read, of some 2 KB each: a cluster of 10,000 clients
	// that restarts sends as many at once. What does not fit is dropped, and is a gap.
	mostWaiting = 16_384
	// countsDiffer is how long a server's count may differ from ours: the count and the
	// connect it counts are two messages.
	countsDiffer = 2 * time.Second
	// recountAgain is how long an account is not listed again for counts that differ.
	recountAgain = 20 * time.Second
	// recounts is how many accounts are listed at once.
	recounts = 4
	// refusedWithin is how long a connection lives at most that is refused for a full
	// account: one that was let in and is evicted later is no denial.
	refusedWithin = 10 * time.Second
)

// watcher takes in what an operator's servers tell of their clients. Messages of all
// subjects go through one channel, in the order in which they were sent: a
// disconnect never overtakes its connect.
type watcher struct {
	o       *operator
	log     *eventLog
	in      chan *nats.Msg
	picture *picture
	denials *denials
	explain *explainer

	mu sync.Mutex
	// waiting are the accounts to list, counting how many are being listed; due rings when
	// there are some.
	waiting  map[string]struct{}
	counting int
	due      bell
	// differ holds since when a server's count is not ours, recounted when an account was
	// listed for that.
	differ    map[where]time.Time
	recounted map[string]time.Time
	// lost is since when the servers are out of reach, zero while they are reached.
	lost    time.Time
	reached bool
	// survey says that the servers are to be asked for all accounts that they hold:
	// connections may have been made that nobody told of.
	survey bool
}

func newWatcher(o *operator) *watcher {
	return &watcher{
		o: o, log: o.r.events, in: make(chan *nats.Msg, mostWaiting), picture: newPicture(), denials: newDenials(), explain: newExplainer(o),
		waiting: map[string]struct{}{}, due: newBell(), differ: map[where]time.Time{}, recounted: map[string]time.Time{},
	}
}

// clientSubscriptions hear what the servers tell of their clients.
func (o *operator) clientSubscriptions() []subscription {
	var out []subscription
	for _, subject := range []string{connectSubject, disconnectSubject, refusedSubject, usageSubject, lameDuckSubject} {
		out = append(out, subscription{subject: subject, into: o.watch.in})
	}
	return out
}

// emit puts an event of the operator into the log. Any goroutine may call it.
func (o *operator) emit(e claims.Event) claims.EventID {
	e.OperatorID = o.id
	return o.r.events.append(e)
}

// run takes messages in until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range recounts {
		wg.Go(func() { w.recounter(ctx) })
	}
	defer wg.Wait()
	tick := time.NewTicker(w.o.r.pace.poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-w.in:
			w.take(ctx, m)
		case <-tick.C:
			w.compare()
		}
	}
}

// take reads one message.
func (w *watcher) take(ctx context.Context, m *nats.Msg) {
	switch {
	case strings.HasSuffix(m.Subject, ".SERVER.CONNS"):
		if u, ok := decodeUsage(m.Data); ok {
			w.used(&u)
		}
	case strings.HasSuffix(m.Subject, ".LAMEDUCK"):
		if a, ok := decode[struct{}](m.Data); ok {
			w.o.emit(claims.Event{Type: claims.EventLameDuck, Client: claims.Client{ServerID: a.Server.ID, ServerName: errorText(a.Server.Name)}, Text: "The server sends its clients away and is going to stop."})
		}
	default:
		c, ok := decodeClient(m.Data)
		if !ok {
			return
		}
		w.o.roster.observe(ctx, c.Server)
		switch {
		case strings.HasSuffix(m.Subject, ".CLIENT.AUTH.ERR"):
			w.refused(&c)
		case strings.HasSuffix(m.Subject, ".DISCONNECT"):
			w.disconnected(&c)
		case strings.HasSuffix(m.Subject, ".CONNECT"):
			w.connected(&c)
		}
	}
}

// account returns the account of a message, "" for what is bound to none of the
// operator's: clients that were not let in are in $G.
func (w *watcher) account(id string) string {
	owner := w.o.r.memory.operatorOf(id)
	if !claims.IsPublicKey(claims.KindAccount, id) || owner != "" && owner != w.o.id {
		return ""
	}
	return id
}

func (w *watcher) connected(m *clientMessage) {
	facts, account := claims.ReadTokenFacts(m.Client.JWT), w.account(m.Client.Account)
	c := m.client(facts)
	w.picture.connect(m.connection(w.o.id, account, c, facts), w.o.r.now().UTC())
	w.o.emit(claims.Event{Type: claims.EventConnect, AccountID: account, Client: c})
}

func (w *watcher) disconnected(m *clientMessage) {
	account := w.account(m.Client.Account)
	known := w.picture.disconnect(seat{m.Server.ID, m.Client.CID}, w.o.r.now().UTC())
	if !known {
		switch m.Reason {
		case reasonFailure, reasonProxyRequired, reasonProxyUnknown:
			return // the server tells of it on another subject as well
		case reasonTimeout, reasonTLS, reasonServerFull:
			w.refused(m)
			return
		case reasonAccountFull:
			if m.Client.Stop.Sub(m.Client.Start) < refusedWithin {
				w.refused(m)
				return
			}
		}
		if account == "" {
			return // it went before it said who it is
		}
	}
	w.o.emit(claims.Event{Type: claims.EventDisconnect, AccountID: account, Client: m.client(claims.ReadTokenFacts(m.Client.JWT)), Reason: errorText(m.Reason)})
}

func (w *watcher) refused(m *clientMessage) {
	d, told := w.denials.place(w.denial(m))
	if told {
		text := "It was refused."
		if d.Explanation != nil {
			text = d.Explanation.Summary
		}
		if d.Claimed() && d.AccountID != "" {
			text = "Claimed, not proven: no key of the account signed this JWT. " + text
		}
		d.LastEvent = w.o.emit(claims.Event{Type: claims.EventDenial, AccountID: d.AccountID, Client: d.Client, Reason: d.Class, Text: text, DenialID: d.ID})
	}
	w.denials.add(d)
}

func (w *watcher) used(m *usageMessage) {
	account := w.account(m.Account)
	if account == "" {
		return
	}
	now := w.o.r.now()
	agrees := w.picture.note(account, claims.AccountUsage{
		ServerID: m.Server.ID, ServerName: errorText(m.Server.Name), Connections: m.Conns, LeafNodes: m.Leafs, Subscriptions: m.Subscriptions,
		SentMsgs: m.Sent.Msgs, SentBytes: m.Sent.Bytes, ReceivedMsgs: m.Received.Msgs, ReceivedBytes: m.Received.Bytes, SlowConsumers: m.SlowConsumers, At: now.UTC(),
	})
	key := where{m.Server.ID, account}
	w.mu.Lock()
	defer w.mu.Unlock()
	if agrees {
		delete(w.differ, key)
	} else if _, since := w.differ[key]; !since && len(w.differ) < mostUsages {
		w.differ[key] = now
	}
}

// compare has the accounts listed whose counts differ for too long: a message was
// lost, which is the one sign of it that there is.
func (w *watcher) compare() {
	now := w.o.r.now()
	w.picture.forget(now.Add(-refusedWithin))
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, since := range w.differ {
		switch {
		case w.picture.agrees(key):
			delete(w.differ, key)
		case now.Sub(since) > countsDiffer && now.Sub(w.recounted[key.account]) > recountAgain:
			delete(w.differ, key)
			w.recounted[key.account] = now
			w.waiting[key.account] = struct{}{}
			w.due.ring()
		}
	}
	for account, at := range w.recounted {
		if now.Sub(at) > recountAgain {
			delete(w.recounted, account)
		}
	}
}

// recount has accounts listed.
func (w *watcher) recount(accounts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range accounts {
		w.waiting[a] = struct{}{}
	}
	w.due.ring()
}

// recounter lists accounts that wait for it until ctx ends.
func (w *watcher) recounter(ctx context.Context) {
	again := time.NewTicker(w.o.r.pace.poll)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.due:
		case <-again.C:
		}
		for ctx.Err() == nil {
			l := w.o.link.Load()
			if l != nil && w.takeSurvey() {
				w.surveyAll(ctx, l)
			}
			account, ok := w.next(l != nil)
			if !ok || !w.list(ctx, l, account) {
				break
			}
		}
	}
}

func (w *watcher) next(reached bool) (account string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for account := range w.waiting {
		if !reached {
			return "", false
		}
		delete(w.waiting, account)
		w.counting++
		if len(w.waiting) > 0 {
			w.due.ring() // for another one
		}
		return account, true
	}
	return "", false
}

// takeSurvey tells whether there is a survey to make, and counts it as under way.
func (w *watcher) takeSurvey() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.survey {
		return false
	}
	w.survey = false
	w.counting++
	return true
}

// surveyAll has all accounts listed that some server holds. One that does not answer
// tells of them by itself within 30 s (events.go: eventsHBInterval).
func (w *watcher) surveyAll(ctx context.Context, l *link) {
	members, _, _ := w.o.roster.snapshot()
	for _, m := range members {
		out, err := ask[loadedAccounts](ctx, w.o, l, question{subject: accountsSubject(m.ID), expect: []string{m.ID}, limit: w.o.r.pace.answer})
		if a := out[m.ID]; err == nil && a.Data != nil {
			w.recount(slices.DeleteFunc(a.Data.Accounts, func(id string) bool { return w.account(id) == "" })...)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting--
}

// list takes the connections of an account from the servers. It returns false when that
// has to be done again.
func (w *watcher) list(ctx context.Context, l *link, account string) bool {
	stamp := w.picture.begin()
	ctx, cancel := context.WithTimeout(ctx, w.o.r.pace.answer)
	lists, err := w.o.connections(ctx, l, account)
	cancel()
	w.picture.merge(w.o.id, account, stamp, lists, w.o.r.now().UTC())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting--
	if err != nil {
		w.waiting[account] = struct{}{}
	}
	return err == nil
}

// reach records that the servers are reached, or are not any more.
func (w *watcher) reach(yes bool) {
	now := w.o.r.now().UTC()
	w.mu.Lock()
	lost := w.lost
	first := yes && !w.reached
	w.reached = w.reached || yes
	if yes {
		w.lost, w.survey = time.Time{}, !first
	} else {
		w.lost = now
	}
	w.mu.Unlock()
	switch {
	case first:
	case yes:
		w.o.emit(claims.Event{Type: claims.EventGap, Reason: "unreachable", Text: fmt.Sprintf(
			"Events are missing here: the servers were out of reach from %s to %s.", lost.Format(time.RFC3339), now.Format(time.RFC3339))})
		w.recount(w.picture.busy()...)
	default:
		w.o.emit(claims.Event{Type: claims.EventGap, Reason: "unreachable", Text: "Events are missing from here on: the servers are out of reach."})
	}
}

// overflowed records that messages were dropped before they were read.
func (w *watcher) overflowed() {
	w.o.emit(claims.Event{Type: claims.EventGap, Reason: "overflow", Text: "Events are missing here: the servers sent more at once than could be read."})
	w.recount(w.picture.busy()...)
}

// server records that a server joined or left the roster.
func (w *watcher) server(s claims.Server, up bool, why string) {
	e := claims.Event{Type: claims.EventServerUp, Client: claims.Client{ServerID: s.ID, ServerName: s.Name}, Text: "The server answers on the system account."}
	if !up {
		e.Type, e.Reason, e.Text = claims.EventServerDown, why, "The server is gone."
		w.picture.serverGone(s.ID, w.o.r.now().UTC())
	}
	w.o.emit(e)
}

// incomplete says why there may be connections that the picture does not hold, ""
// when there is no such reason.
func (w *watcher) incomplete() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.lost.IsZero():
		return "The servers are out of reach since " + w.lost.Format(time.RFC3339) + ": this is how it was then."
	case !w.reached:
		return "No server was reached yet."
	case w.survey || len(w.waiting)+w.counting > 0:
		return "The servers are being asked for their connections."
	}
	return ""
}
