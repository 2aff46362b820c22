package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"chancery/store"
)

// role is which parts of the control plane a process runs.
type role string

// The roles. What pushes is roleAll; any number of processes of any role may share a
// PostgreSQL.
const (
	// roleAll runs everything.
	roleAll role = "all"
	// roleResolver serves account JWTs and nothing else: it holds no key, writes to no
	// database and needs none.
	roleResolver role = "resolver"
	// roleAPI runs API and console, and leaves serving and pushing to others.
	roleAPI role = "api"
)

// serves tells whether nats-servers are answered.
func (r role) serves() bool { return r != roleAPI }

// manages tells whether there are API and console.
func (r role) manages() bool { return r != roleResolver }

// How long to wait for a database that does not answer: one attempt, and between two.
const (
	attemptTime = 10 * time.Second
	firstRetry  = 250 * time.Millisecond
	lastRetry   = 5 * time.Second
)

// openLater tries to take in the database until that works or ctx ends, and starts the
// parts that need it. Lookups are answered from the snapshot meanwhile.
func (a *app) openLater(ctx context.Context, first error) {
	a.cfg.log.WarnContext(ctx, "the database is not reached; account JWTs are served from the snapshot meanwhile", slog.Any("error", first))
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // spreading load needs no secret
		}
		err := a.openStore(ctx)
		if err == nil {
			err = a.startParts(ctx)
		}
		if err == nil {
			a.cfg.log.InfoContext(ctx, "the database is reached", slog.String("database", a.store.Dialect()))
			if a.cfg.opened != nil {
				err = a.cfg.opened(ctx, a)
			}
		}
		switch {
		case ctx.Err() != nil, err == nil:
			return
		case a.parted.Load():
			a.served <- fmt.Errorf("starting late: %w", err)
			return
		case errors.Is(err, store.ErrNewerSchema):
			a.cfg.log.ErrorContext(ctx, "the database is of a newer version of Chancery; this one goes on serving its snapshot", slog.Any("error", err))
			return
		}
	}
}

// lobby answers until the database was reached, and for the resolver role always: from
// memory, and nothing else.
func (a *app) lobby() *doors {
	closed := http.HandlerFunc(notYet)
	if !a.cfg.role.manages() {
		closed = notHere
	}
	return a.makeDoors(closed, closed, closed)
}

// notHere answers what a resolver role does not do, whether it has a database or not.
func notHere(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "This process only serves account JWTs (role resolver). Nothing can be posted here; API and console are where Chancery runs with the role all or api.", http.StatusServiceUnavailable)
}

func notYet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "Account JWTs are served here; API and console are not, as long as the database is not reached.", http.StatusServiceUnavailable)
}

// entrance leads requests to what answers now at the main listener.
func (a *app) entrance(w http.ResponseWriter, r *http.Request) { a.doors.Load().main.ServeHTTP(w, r) }

// lookupEntrance is entrance for the resolver's own listener.
func (a *app) lookupEntrance(w http.ResponseWriter, r *http.Request) {
	a.doors.Load().lookups.ServeHTTP(w, r)
}
