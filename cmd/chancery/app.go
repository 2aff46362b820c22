package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"chancery/api"
	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/resolver"
	"chancery/store"
	"chancery/web"
)

// appConfig is what dev and serve decide; everything is typed and valid.
type appConfig struct {
	databaseURL string
	dataDir     string
	kek         custody.KEK
	publicURL   string
	listener    net.Listener
	tls         *tls.Config
	dev         bool
	lookups     lookupConfig
	// lookupListener is the resolver's own; nil serves its paths on listener.
	lookupListener net.Listener
	// role is empty for roleAll.
	role role
	// anchors are the public keys of the operators that are believed without a database;
	// nil believes those of the snapshot.
	anchors []string
	// peer feeds a resolver role without a database; nil for none.
	peer *resolver.Peer
	// opened is called when the database was reached after the start; may be nil.
	opened func(ctx context.Context, a *app) error
	// auditCheckpoints is the file for checkpoints of the audit log; empty for none.
	auditCheckpoints string
	// trustedProxies are those whose X-Forwarded-For is believed.
	trustedProxies []netip.Prefix
	// natsURLs overrides the service URLs of every operator; may be nil.
	natsURLs func() []string
	now      func() time.Time
	log      *slog.Logger
}

// app is a running control plane: the inventory of its parts, in the order they
// are started.
type app struct {
	cfg       appConfig
	store     *store.Store
	sequencer *store.Sequencer
	issuer    *issuer.Issuer
	resolver  *resolver.Resolver
	// managed answers everything, once the parts that need the database are made.
	managed    *doors
	identities *systemIdentities
	metrics    *prometheus.Registry
	http       *http.Server
	// lookups serves the resolver's paths where they have a listener of their own; else
	// it is nil.
	lookups *http.Server
	served  chan error
	// doors are what answers now; see lobby. parted tells that the parts that need the
	// database run.
	doors  atomic.Pointer[doors]
	parted atomic.Bool
	// whole tells that everything of this role is answered.
	whole   atomic.Bool
	serving sync.Once
	// late ends the attempts to reach the database, opening waits for them. missing is
	// why the first one failed, nil when it did not.
	late    context.CancelFunc
	opening sync.WaitGroup
	missing error
	// snapshot tells that there was one to serve from at the start.
	snapshot bool
	// deafen ends the listening to other replicas; hearing tells that it ended.
	deafen  context.CancelFunc
	hearing sync.WaitGroup
	// keep ends the upkeep; kept tells that it ended.
	keep context.CancelFunc
	kept sync.WaitGroup
	// checkpoints is the file for those of the audit log; nil for none. anchor ends the
	// writing to it; anchored tells that it ended.
	checkpoints *issuer.FileLog
	anchor      context.CancelFunc
	anchored    sync.WaitGroup
	// release gives the data folder free.
	release func() error
}

// openApp makes the parts and hands each what it needs. Nothing runs yet but the
// connection to the database; close ends that.
func openApp(ctx context.Context, cfg appConfig) (*app, error) {
	a := &app{cfg: cfg, metrics: prometheus.NewRegistry(), served: make(chan error, 2)}
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *app) open(ctx context.Context) (err error) {
	cfg := a.cfg
	if a.cfg.role == "" {
		a.cfg.role = roleAll
	}
	if a.release, err = store.HoldFile(filepath.Join(cfg.dataDir, "lock")); err != nil {
		return fmt.Errorf("taking the data folder %s: %w", cfg.dataDir, err)
	}
	a.identities = &systemIdentities{dir: cfg.dataDir, now: cfg.now, log: cfg.log}
	snapshot := ""
	if a.cfg.role.serves() {
		snapshot = filepath.Join(cfg.dataDir, "snapshot")
	}
	a.resolver, err = resolver.New(resolver.Config{
		Now: cfg.now, Logger: cfg.log, Owner: replicaName(cfg.dataDir), Identity: a.identities.get, URLs: a.natsURLs, Metrics: a.metrics,
		Snapshot: snapshot, Anchors: cfg.anchors, Awaits: cfg.databaseURL != "" || cfg.peer != nil, Peer: cfg.peer, Follow: a.cfg.role == roleResolver, Quiet: a.cfg.role == roleAPI,
		Settle: a.settleDrift,
	})
	if err != nil {
		return err
	}
	a.doors.Store(a.lobby())
	a.http = newHTTPServer(forwarded(http.HandlerFunc(a.entrance), cfg.trustedProxies), cfg.tls, cfg.log)
	if cfg.lookupListener != nil {
		a.lookups = newHTTPServer(http.HandlerFunc(a.lookupEntrance), lookupTLS(cfg.lookups), cfg.log)
	}
	found, err := a.resolver.OpenSnapshot(ctx)
	if err != nil {
		cfg.log.ErrorContext(ctx, "the snapshot cannot be used; only the database can tell what to serve", slog.Any("error", err))
	}
	a.snapshot = found
	if found { // nats-servers need not wait for the database
		a.serve()
	}
	err = a.openStore(ctx)
	if err != nil && a.mayWait(found, err) {
		a.missing, err = err, nil
	}
	return err
}

// settleDrift signs for the sake of a drift. The resolver calls it for what it reads in
// the database, which comes with the issuer.
func (a *app) settleDrift(ctx context.Context, id string) error {
	if a.issuer == nil {
		return nil
	}
	return a.issuer.SettleDrift(ctx, id)
}

// mayWait tells whether to go on without the database.
func (a *app) mayWait(found bool, err error) bool {
	return (found || a.cfg.role == roleResolver) && !errors.Is(err, store.ErrNewerSchema) && !errors.Is(err, store.ErrHeld) && !errors.Is(err, context.Canceled)
}

// openStore reaches the database and makes the parts that need it. After an error it
// may be called again.
func (a *app) openStore(ctx context.Context) (err error) {
	cfg := a.cfg
	if cfg.databaseURL == "" {
		return nil
	}
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	if a.store, err = store.Open(attempt, store.Config{URL: cfg.databaseURL, Now: cfg.now, Logger: cfg.log}); err != nil {
		a.store = nil
		return err
	}
	// Lookups come before everything else: they wait for this.
	a.resolver.Use(a.store)
	if err := a.resolver.CatchUp(attempt); err != nil && a.snapshot { // without one there is nothing to catch up
		cfg.log.WarnContext(ctx, "what changed since the snapshot was written cannot be read yet", slog.Any("error", err))
	}
	if a.cfg.role.manages() {
		err = a.openParts(ctx)
	}
	if err != nil {
		a.resolver.Use(nil)
		err = errors.Join(err, a.store.Close())
		a.store = nil
		return err
	}
	return nil
}

// openParts makes what a resolver role has not. What may fail for the database's sake
// comes first.
func (a *app) openParts(ctx context.Context) (err error) {
	cfg := a.cfg
	if err := a.store.Migrate(ctx); err != nil {
		return err
	}
	a.sequencer = store.NewSequencer(a.store)
	var checkpoints issuer.CheckpointLog
	if cfg.auditCheckpoints != "" {
		a.checkpoints = issuer.NewFileLog(cfg.auditCheckpoints)
		checkpoints = a.checkpoints
	}
	a.issuer, err = issuer.Open(ctx, issuer.Config{
		Store: a.store, Now: cfg.now, Logger: cfg.log, KEK: cfg.kek, SystemPermissions: resolver.SystemPermissions(),
		Connections: func(ctx context.Context, account string) ([]claims.Connection, error) {
			return a.resolver.Connections(ctx, account)
		},
		Trusts: func(_ context.Context, operator, key string) ([]string, bool) {
			return a.resolver.Untrusting(operator, key)
		},
		Connection: func(server string, cid uint64) (claims.LiveConnection, bool) {
			return a.resolver.FindConnection(server, cid)
		},
		Kick: func(ctx context.Context, operator, server string, cid uint64) error {
			return a.resolver.Kick(ctx, operator, server, cid)
		},
		Sync:        func(ctx context.Context, account string) (claims.Sync, error) { return a.resolver.Sync(ctx, account) },
		Wake:        func() { a.resolver.Wake() },
		Checkpoints: checkpoints,
	})
	if err != nil {
		return err
	}
	a.identities.issuer = a.issuer
	a.anchorMetrics()
	rest, err := api.New(api.Config{Issuer: a.issuer, Live: a.resolver, Now: cfg.now, Logger: cfg.log, PublicURL: cfg.publicURL, ResolverURL: cfg.lookups.publicURL, Metrics: a.metrics})
	if err != nil {
		return err
	}
	console, err := web.New(web.Config{
		Issuer: a.issuer, Live: a.resolver, Sessions: a.store.Sessions(), Now: cfg.now, Logger: cfg.log,
		Secure: strings.HasPrefix(cfg.publicURL, "https://"), Dev: cfg.dev, PublicURL: cfg.publicURL, ResolverURL: cfg.lookups.publicURL, NATSURL: a.firstNATSURL,
		AuditExport: rest.WriteAudit, EventStream: rest.StreamEvents,
	})
	if err != nil {
		return err
	}
	a.http.RegisterOnShutdown(rest.EndStreams)
	a.managed = a.makeDoors(rest.Handler(), console.Handler(), rest.Submissions(a.resolver.Readable))
	return nil
}

// replicaName names this replica in leases. It is the same after a restart, so
// that what was under way when the process was killed is taken up at once; the
// data folder belongs to one process at a time.
func replicaName(dataDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + dataDir
}

// natsURLs returns where the operator's servers are. Those of an observed operator are
// left alone: nobody here could sign a user of their system account.
func (a *app) natsURLs(o store.Operator) []string {
	if o.Custody == issuer.CustodyObserved {
		return nil
	}
	// The server of chancery dev trusts the operator made there and no other one.
	if a.cfg.natsURLs != nil && (o.Default || !a.cfg.dev) {
		return a.cfg.natsURLs()
	}
	return o.Settings.OperatorServiceURLs
}

// firstNATSURL returns an address to show in commands, or "".
func (a *app) firstNATSURL(operatorID string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	o, err := a.issuer.GetOperator(ctx, issuer.System("console"), operatorID)
	if err != nil {
		return ""
	}
	if urls := a.natsURLs(o); len(urls) > 0 {
		return urls[0]
	}
	return ""
}

// start brings the parts up in the order in which each needs the ones before: the
// resolver has loaded what it serves before the port answers, unless a snapshot could
// be served before. A database that was not reached is tried again beside.
func (a *app) start(ctx context.Context) error {
	if a.missing != nil {
		late, cancel := context.WithCancel(context.WithoutCancel(ctx))
		a.late = cancel
		a.serve()
		a.opening.Go(func() { a.openLater(late, a.missing) })
		return nil
	}
	if err := a.startParts(ctx); err != nil {
		return err
	}
	a.serve()
	return nil
}

// startParts starts what needs the database.
func (a *app) startParts(ctx context.Context) error {
	if a.store == nil {
		a.resolver.Feed(ctx) // a resolver that has none
		return nil
	}
	a.parted.Store(true)
	if !a.cfg.role.manages() {
		if err := a.resolver.Start(ctx); err != nil {
			return err
		}
		a.hear(ctx)
		a.whole.Store(true)
		return nil
	}
	a.sequencer.Start()
	if err := a.resolver.Start(ctx); err != nil {
		return err
	}
	a.hear(ctx)
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.keep = stop
	a.kept.Go(func() { a.issuer.Keep(keep) })
	anchor, stopAnchor := context.WithCancel(context.WithoutCancel(ctx))
	a.anchor = stopAnchor
	a.anchored.Go(func() { a.issuer.Anchor(anchor) })
	a.doors.Store(a.managed)
	a.whole.Store(true)
	return nil
}

// hear wakes the resolver when another replica commits.
func (a *app) hear(ctx context.Context) {
	hear, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.deafen = stop
	a.hearing.Go(func() { a.store.Listen(hear, a.resolver.Wake) })
}

// serve answers at the port from now on. It may be called more than once.
func (a *app) serve() {
	a.serving.Do(func() {
		go a.serveAt(a.http, a.cfg.listener)
		if a.lookups != nil {
			go a.serveAt(a.lookups, a.cfg.lookupListener)
		}
	})
}

// serveAt answers at a listener until the server is shut down; served has what else
// ends it.
func (a *app) serveAt(s *http.Server, l net.Listener) {
	var err error
	if l = bounded(l, mostConnections); s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		a.served <- fmt.Errorf("serving HTTP: %w", err)
	}
}

// shutdownTime is how long requests under way may take to end.
const shutdownTime = 10 * time.Second

// stop ends the parts in the opposite order; nothing that was accepted is dropped.
func (a *app) stop() error {
	if a.late != nil {
		a.late()
		a.opening.Wait()
	}
	err := a.endRequests()
	_ = a.cfg.listener.Close() // Shutdown closes it only once it was served from
	if a.cfg.lookupListener != nil {
		_ = a.cfg.lookupListener.Close()
	}
	if a.keep != nil {
		a.keep()
		a.kept.Wait()
	}
	if a.deafen != nil {
		a.deafen()
		a.hearing.Wait()
	}
	a.resolver.Stop()
	if a.sequencer != nil {
		a.sequencer.Stop()
	}
	if a.anchor != nil { // the last checkpoint is of what was numbered last
		a.anchor()
		a.anchored.Wait()
	}
	return errors.Join(err, a.close())
}

func (a *app) endRequests() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var errs []error
	for _, s := range a.servers() {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("ending requests: %w", err), s.Close())
		}
	}
	return errors.Join(errs...)
}

// servers are those that were made.
func (a *app) servers() []*http.Server {
	return slices.DeleteFunc([]*http.Server{a.http, a.lookups}, func(s *http.Server) bool { return s == nil })
}

func (a *app) close() error {
	var errs []error
	for _, s := range a.servers() { // a failed start may have served from the snapshot
		errs = append(errs, s.Close())
	}
	if a.resolver != nil {
		a.resolver.Stop()
	}
	if a.checkpoints != nil {
		errs = append(errs, a.checkpoints.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.release != nil {
		errs = append(errs, a.release())
	}
	return errors.Join(errs...)
}

// anchorMetrics tells how far the checkpoints of the audit log are.
func (a *app) anchorMetrics() {
	if a.checkpoints == nil {
		return
	}
	a.metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chancery_audit_checkpoint_behind", Help: "Audit entries that no checkpoint of this process covers yet.",
		}, func() float64 { return float64(a.issuer.AnchorState().Behind) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "chancery_audit_checkpoint_failing", Help: "1 while no checkpoint of the audit log can be written.",
		}, func() float64 {
			if a.issuer.AnchorState().Error != "" {
				return 1
			}
			return 0
		}),
	)
}
