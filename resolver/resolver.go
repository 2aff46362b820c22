package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/store"
)

// Config is what a Resolver needs.
type Config struct {
	// Store holds what is served and pushed. It may be nil, and handed over later by
	// Use; before that, a snapshot can be served.
	Store *store.Store
	// Snapshot is the folder that keeps what is served, so that it can be served again
	// without the store; no other process uses it. Empty keeps nothing.
	Snapshot string
	// Anchors are the public keys of the operators that are believed without a store;
	// nil believes those of the snapshot.
	Anchors []string
	// Awaits tells that a store will be handed over by Use, or that a peer feeds: what the
	// snapshot has is not answered before CatchUp, or the peer's first answers, or before
	// that took too long.
	Awaits bool
	// Peer feeds a resolver that has no store, once Feed is called; nil for none. It needs
	// Anchors.
	Peer *Peer
	// Follow tells to only follow the store and serve: nothing is written to it, no
	// server is connected to and nothing is pushed.
	Follow bool
	// Quiet tells to push nothing; servers are connected to all the same.
	Quiet bool
	// Now is the clock. Required.
	Now func() time.Time
	// Logger receives what changes in the background. Required.
	Logger *slog.Logger
	// Owner names this replica in leases; no two replicas share a name. A replica
	// that keeps its name over a restart takes up at once what it held when it was
	// killed, instead of waiting for its leases to run out. Required.
	Owner string
	// Identity returns the credentials of Chancery's user on the operator's system
	// account. It is called at each connect and reconnect; refused tells that a server
	// refused what it returned last. An error means "not yet", and it is asked again.
	// Required.
	Identity func(ctx context.Context, operatorID string, refused bool) (Identity, error)
	// URLs returns the addresses of the operator's nats-servers; none leaves it
	// unconnected. It is asked again every second, must not block, and a changed
	// answer reconnects. Required.
	URLs func(o store.Operator) []string
	// Settle asks whoever may sign to end a drift that only a new signature ends, by its
	// record: to put ours above a newer one by somebody else, or to take that over, as
	// the operator's policy or a person says. Nil where nobody signs.
	Settle func(ctx context.Context, driftID string) error
	// Metrics is where metrics are registered; nil keeps them private.
	Metrics prometheus.Registerer
	// Dialer replaces the network in tests; nil uses it.
	Dialer nats.CustomDialer
}

// Identity is a user of a system account without its seed.
type Identity struct {
	// JWT returns the user's JWT.
	JWT func() (string, error)
	// Sign signs a server's nonce with the user's key.
	Sign func(nonce []byte) ([]byte, error)
}

// Resolver serves, pushes and proves account JWTs. It is safe for concurrent use.
type Resolver struct {
	store    *store.Store
	now      func() time.Time
	log      *slog.Logger
	owner    string
	identity func(ctx context.Context, operatorID string, refused bool) (Identity, error)
	urls     func(o store.Operator) []string
	settle   func(ctx context.Context, driftID string) error
	dialer   nats.CustomDialer
	pace     pace
	// pageSize is how many connections are asked for at once.
	pageSize int

	memory *memory
	// snapshot is nil without a folder for it.
	snapshot  *snapshot
	anchors   []string
	awaits    bool
	follows   bool
	quiet     bool
	rewriting trouble
	behind    behind
	// loaded tells that memory was loaded from the store.
	loaded atomic.Bool

	// activations finds activation tokens in the store.
	activations *activations

	ledger  *ledger
	events  *eventLog
	metrics *metrics
	// surveyed is what the metrics tell of operators.
	surveyed *survey
	ready    atomic.Bool
	// changes wakes the follower; gate is closed until it has followed.
	changes bell
	gate    gate
	// pulse tells when even known accounts must wait for the follower.
	pulse *pulse
	// followed is the number of the last change in memory; only the follower, and
	// Start before it, touch it.
	followed int64
	// uncounted tells that memory was loaded and not compared in number yet; as followed.
	uncounted bool
	// directing is held by who reads the operators.
	directing sync.Mutex
	// feeder is nil without a peer.
	feeder *feeder
	// trailing ends what CatchUp began; only who starts the resolver touches it.
	trailing context.CancelFunc

	mu        sync.RWMutex
	started   bool
	stopped   bool
	opened    bool
	operators map[string]*operator

	// background ends with cancel, which is nil before the first work begins.
	background context.Context
	cancel     context.CancelFunc
	running    sync.WaitGroup
}

var _ claims.Live = (*Resolver)(nil)

// New checks the configuration and returns a resolver that is not running. It
// reaches neither the store nor the network.
func New(cfg Config) (*Resolver, error) {
	var errs []error
	for _, x := range []struct {
		name    string
		missing bool
	}{
		{"clock", cfg.Now == nil},
		{"logger", cfg.Logger == nil},
		{"owner", cfg.Owner == ""},
		{"identity", cfg.Identity == nil},
		{"URLs", cfg.URLs == nil},
	} {
		if x.missing {
			errs = append(errs, errors.New(x.name+" is required"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making the resolver: %w", err)
	}
	kept := newSnapshot(cfg.Snapshot, cfg.Now, cfg.Logger)
	m := newMemory(kept)
	m.damaged.log = cfg.Logger
	counters, err := newMetrics(cfg.Metrics, m)
	if err != nil {
		return nil, err
	}
	surveyed := newSurvey(cfg.Now)
	if err := counters.add(surveyed); err != nil {
		return nil, err
	}
	r := &Resolver{
		snapshot: kept, anchors: cfg.Anchors, awaits: cfg.Awaits, follows: cfg.Follow, quiet: cfg.Quiet, rewriting: trouble{log: cfg.Logger, task: "writing the snapshot"},
		store: cfg.Store, now: cfg.Now, log: cfg.Logger, owner: cfg.Owner, identity: cfg.Identity, urls: cfg.URLs, dialer: cfg.Dialer, settle: cfg.Settle,
		pace: standardPace(), pageSize: connectionsLimit, memory: m, ledger: newLedger(cfg.Now), events: newEventLog(cfg.Now), metrics: counters, surveyed: surveyed, changes: newBell(), operators: map[string]*operator{},
	}
	r.ledger.told = r.deliveryTold
	r.behind.log = cfg.Logger
	if cfg.Peer != nil {
		r.feeder = &feeder{r: r, peer: *cfg.Peer, failing: trouble{log: cfg.Logger, task: "taking in what the peer has"}}
	}
	r.pulse = newPulse(cfg.Now, r.changes.ring)
	r.activations = newActivations(cfg.Store, &r.gate)
	if err := r.registerSnapshot(cfg.Metrics); err != nil {
		return nil, err
	}
	return r, nil
}

// Use hands the store over that Config had none of; nil takes it back, and returns when
// it is not used any more. It is called before Start.
func (r *Resolver) Use(s *store.Store) {
	r.endTrail()
	r.store = s
	r.activations.store.Store(s)
}

// Start loads every JWT into memory and begins to follow, connect and push. It
// fails when the store cannot be read, or when it was called before. ctx bounds the
// loading only; Stop ends the rest.
func (r *Resolver) Start(ctx context.Context) error {
	r.mu.Lock()
	if r.started || r.store == nil {
		r.mu.Unlock()
		return errors.New("starting the resolver: it was started before, or has no store")
	}
	r.started = true
	running := r.begin(ctx)
	r.mu.Unlock()

	if err := r.openSnapshot(ctx); err != nil {
		// Serving goes on without it: a disk that is full must not keep servers waiting.
		r.log.ErrorContext(ctx, "the snapshot cannot be used; without the database nothing can be served after a restart", slog.Any("error", err))
	}
	covered := r.pulse.begin(r.pace.catchUp)
	operators, err := r.load(ctx)
	r.endTrail()
	if err != nil {
		return fmt.Errorf("starting the resolver: %w", err)
	}
	r.loaded.Store(true)
	r.ready.Store(true)
	r.pulse.release(covered)
	r.pulse.start()
	r.running.Go(func() { r.pulse.run(running, r.pace.catchUp) })
	r.running.Go(func() { r.follow(running, operators) })
	r.running.Go(func() { r.survey(running) })
	return nil
}

// begin returns the context of all background work. The caller holds mu.
func (r *Resolver) begin(ctx context.Context) context.Context {
	if r.background == nil {
		r.background, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if r.stopped {
			r.cancel()
		}
	}
	return r.background
}

// Stop ends all background work and waits for it. Serving from memory goes on. It
// may be called more than once, and before Start.
func (r *Resolver) Stop() {
	r.mu.Lock()
	cancel := r.cancel
	r.started, r.stopped = true, true
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	r.running.Wait()
	if err := r.snapshot.close(); err != nil {
		r.log.WarnContext(context.Background(), "closing the snapshot failed", slog.Any("error", err))
	}
}

// Wake tells that something was committed. It never blocks. A lost wake costs a
// second, no more.
func (r *Resolver) Wake() {
	r.gate.shut()
	r.changes.ring()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, o := range r.operators {
		o.wake.ring()
		o.recheck.ring()
	}
}

// Ready returns nil once memory is loaded, from the store or from the snapshot.
func (r *Resolver) Ready() error {
	if !r.ready.Load() {
		return errors.New("the account JWTs are not loaded yet")
	}
	return nil
}

// getServed reads the current JWT of an account.
func (r *Resolver) getServed(ctx context.Context, accountID string) (s store.Served, err error) {
	err = r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		s, err = t.GetServed(ctx, accountID)
		return err
	})
	return s, err
}

// operator returns the connection to an operator's servers, nil if there is none.
func (r *Resolver) operator(id string) *operator {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.operators[id]
}
