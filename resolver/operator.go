package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/store"
)

// link is a connection on an operator's system account whose servers are known.
type link struct {
	nc    *nats.Conn
	inbox *inbox
}

// operator is the connection, the roster and the pusher of one operator.
type operator struct {
	r      *Resolver
	id     string
	log    *slog.Logger
	roster *roster
	// current is the operator as the store has it.
	current atomic.Pointer[store.Operator]
	// link is nil while the servers are not reached.
	link atomic.Pointer[link]
	// linking makes link and what the roster says of it change together.
	linking sync.Mutex
	// refused tells that a server refused the credentials since they were asked for.
	refused atomic.Bool
	// wake makes the pusher look at the outbox, recheck the connection at the URLs.
	wake, recheck bell
	// done is closed when run has returned, which cancel asks for.
	done     chan struct{}
	cancel   context.CancelFunc
	pushing  *pusher
	drifting *drifter
	packing  *packer
	// loads are the accounts that servers have just loaded.
	loads *loads
	// lookups are about accounts that memory does not have yet.
	lookups chan *nats.Msg
	// watch takes in what the servers tell of their clients.
	watch *watcher
	// asking counts the questions to new servers under way.
	asking     sync.WaitGroup
	identity   trouble
	connecting trouble
	rows       trouble
	examining  trouble
}

func newOperator(r *Resolver, o store.Operator) *operator {
	log := r.log.With(slog.String("operator", o.ID))
	op := &operator{
		r: r, id: o.ID, log: log, roster: newRoster(log, r.now), wake: newBell(), recheck: newBell(), done: make(chan struct{}),
		identity:   trouble{log: log, task: "getting the system user's credentials"},
		connecting: trouble{log: log, task: "connecting to the servers"},
		rows:       trouble{log: log, task: "storing the roster"},
		examining:  trouble{log: log, task: "owing accounts to a server that joined"},
	}
	op.current.Store(&o)
	op.pushing = newPusher(op)
	op.drifting, op.packing = newDrifter(op), newPacker(op)
	op.loads, op.lookups = newLoads(op), make(chan *nats.Msg, maxWaiting)
	op.watch = newWatcher(op)
	op.roster.onServer, op.roster.onReach = op.watch.server, op.watch.reach
	return op
}

// run keeps the operator connected until ctx ends.
func (o *operator) run(ctx context.Context) {
	defer close(o.done)
	var wg sync.WaitGroup
	if !o.r.quiet {
		wg.Go(func() { o.pushing.run(ctx) })
		wg.Go(func() { o.drifting.run(ctx) })
		wg.Go(func() { o.packing.run(ctx) })
		wg.Go(func() { o.loads.run(ctx) })
		wg.Go(func() { o.watch.run(ctx) })
	}
	wg.Go(func() { o.answerLate(ctx) })
	defer wg.Wait()
	for ctx.Err() == nil {
		if urls := o.urls(); len(urls) > 0 {
			err := o.session(ctx, urls)
			o.connecting.note(ctx, err)
			if err == nil {
				continue // there are other URLs, and no reason to wait
			}
		}
		select {
		case <-ctx.Done():
		case <-o.recheck:
		case <-time.After(o.r.pace.poll):
		}
	}
}

func (o *operator) urls() []string { return o.r.urls(*o.current.Load()) }

// session is one connection, kept through reconnects until the URLs change or ctx
// ends. An error tells that there was none.
func (o *operator) session(ctx context.Context, urls []string) error {
	ctx, end := context.WithCancel(ctx) // of what is asked of servers meanwhile
	defer end()
	l, up, closed := &link{}, newBell(), newBell()
	nc, err := nats.Connect(strings.Join(urls, ","), o.options(ctx, l, up, closed)...)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer o.asking.Wait()
	defer nc.Close()
	defer end()
	defer o.lost(ctx, l)
	in, err := newInbox(nc)
	if err != nil {
		return err
	}
	l.nc, l.inbox = nc, in
	if err := o.listen(ctx, nc); err != nil {
		return err
	}
	ping := time.NewTicker(o.r.pace.ping)
	defer ping.Stop()
	poll := time.NewTicker(o.r.pace.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
			return errors.New("the connection was closed")
		case <-up:
			o.discover(ctx, l)
		case <-ping.C:
			if nc.IsConnected() {
				o.discover(ctx, l)
			}
		case <-o.roster.work:
			o.tend(ctx, l)
		case <-o.recheck:
			if !slices.Equal(o.urls(), urls) {
				return nil
			}
		case <-poll.C:
			if !slices.Equal(o.urls(), urls) {
				return nil
			}
			if o.link.Load() == nil && nc.IsConnected() {
				o.discover(ctx, l) // nobody answered in time when it connected
			}
			o.tend(ctx, l)
		}
	}
}

// options of the connection. The reconnect buffer is off: a push that was held
// back in it would arrive after a newer one.
func (o *operator) options(ctx context.Context, l *link, up, closed bell) []nats.Option {
	p := o.r.pace
	opts := []nats.Option{
		nats.Name("chancery"), o.credentials(ctx),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(p.reconnect), nats.ReconnectJitter(p.reconnect/2, p.reconnect/2),
		nats.PingInterval(p.keepalive), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(*nats.Conn) { o.connecting.note(ctx, nil); up.ring() }),
		nats.ReconnectHandler(func(*nats.Conn) { o.connecting.note(ctx, nil); up.ring() }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { o.connecting.note(ctx, err) }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { o.lost(ctx, l) }),
		nats.ClosedHandler(func(*nats.Conn) { closed.ring() }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			if isRefusal(err) {
				o.refused.Store(true)
				return // the attempt to connect says so, once
			}
			if errors.Is(err, nats.ErrSlowConsumer) && s != nil && s.Type() == nats.ChanSubscription {
				o.watch.overflowed()
			}
			o.log.WarnContext(ctx, "the connection to the servers reports an error", slog.String("subject", subject), slog.Any("error", err))
		}),
	}
	if o.r.dialer != nil {
		opts = append(opts, nats.SetCustomDialer(o.r.dialer))
	}
	return opts
}

// isRefusal tells whether a server said that it does not admit us.
func isRefusal(err error) bool {
	for _, refusal := range []error{nats.ErrAuthorization, nats.ErrAuthRevoked, nats.ErrAuthExpired, nats.ErrAccountAuthExpired} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// credentials asks for the system user anew at each connect and reconnect, since
// its JWT may have been replaced meanwhile.
func (o *operator) credentials(ctx context.Context) nats.Option {
	var mu sync.Mutex
	var id Identity
	return nats.UserJWT(func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		var err error
		token := ""
		if id, err = o.r.identity(ctx, o.id, o.refused.Swap(false)); err == nil {
			token, err = id.JWT()
		}
		o.identity.note(ctx, err)
		return token, err
	}, func(nonce []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if id.Sign == nil {
			return nil, errors.New("there are no credentials to sign with")
		}
		return id.Sign(nonce)
	})
}

// subscription is a subject of the system account that an operator's connection
// listens to, and what is done with a message. Handlers of one subscription run one
// after the other and must not block: what takes time rings a bell.
type subscription struct {
	subject string
	// queue is shared with the other replicas; empty: each hears every message.
	queue  string
	handle func(ctx context.Context, m *nats.Msg)
	// into takes the messages instead of handle, in one order with those of other
	// subjects; what does not fit is dropped, see options.
	into chan *nats.Msg
}

// subscriptions are all that an operator's connection listens to, besides answers.
func (o *operator) subscriptions() []subscription {
	return slices.Concat(o.lifeSubscriptions(), o.driftSubscriptions(), o.lookupSubscriptions(), o.loadSubscriptions(), o.clientSubscriptions())
}

// listen subscribes; nats.go renews the subscriptions at each reconnect.
func (o *operator) listen(ctx context.Context, nc *nats.Conn) error {
	for _, s := range o.subscriptions() {
		handle := func(m *nats.Msg) { s.handle(ctx, m) }
		var err error
		if s.into != nil {
			_, err = nc.ChanSubscribe(s.subject, s.into)
		} else if s.queue == "" {
			_, err = nc.Subscribe(s.subject, handle)
		} else {
			_, err = nc.QueueSubscribe(s.subject, s.queue, handle)
		}
		if err != nil {
			return fmt.Errorf("subscribing to %s: %w", s.subject, err)
		}
	}
	return nil
}

// lifeSubscriptions hear the servers' signs of life.
func (o *operator) lifeSubscriptions() []subscription {
	return []subscription{
		{subject: statsSubject, handle: func(ctx context.Context, m *nats.Msg) {
			if a, ok := decode[struct{}](m.Data); ok {
				o.roster.observe(ctx, a.Server)
				if a.Stats != nil {
					o.roster.started(a.Server.ID, a.Stats.Start)
				}
			}
		}},
		{subject: lameDuckSubject, handle: func(_ context.Context, m *nats.Msg) {
			// $SYS.SERVER.<id>.LAMEDUCK
			if tokens := strings.Split(m.Subject, "."); len(tokens) == 4 {
				o.roster.leaving(tokens[2])
			}
		}},
		{subject: shutdownSubject, handle: func(ctx context.Context, m *nats.Msg) {
			// $SYS.SERVER.<id>.SHUTDOWN
			if tokens := strings.Split(m.Subject, "."); len(tokens) == 4 {
				o.roster.depart(ctx, tokens[2])
			}
		}},
	}
}

// found opens the way to n servers, unless the connection was lost meanwhile; nats.go
// says that it is not connected before it calls what calls lost.
func (o *operator) found(ctx context.Context, l *link, n int) bool {
	o.linking.Lock()
	defer o.linking.Unlock()
	if !l.nc.IsConnected() {
		return false
	}
	o.link.Store(l)
	if o.roster.setConnected(true) {
		o.log.InfoContext(ctx, "connected to the servers", slog.Int("servers", n))
	}
	return true
}

// lost records that the servers are out of reach by this link. Nothing is pushed until
// they are found again. A connection that was replaced may tell late that it is gone: the
// link of the next one stays.
func (o *operator) lost(ctx context.Context, l *link) {
	o.linking.Lock()
	defer o.linking.Unlock()
	if o.link.CompareAndSwap(l, nil) && o.roster.setConnected(false) {
		o.log.InfoContext(ctx, "disconnected from the servers")
	}
}
