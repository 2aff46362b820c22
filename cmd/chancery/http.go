package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chancery/api"
	"chancery/issuer"
)

// newHTTPServer bounds what a client can hold open. Without a configuration of TLS it
// serves plain HTTP.
func newHTTPServer(h http.Handler, secured *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: secured, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 60 * time.Second,
		MaxHeaderBytes: 16 << 10, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
}

// lookupTLS is that of the resolver's own listener, nil for plain HTTP.
func lookupTLS(c lookupConfig) *tls.Config {
	if c.tls == nil {
		return nil
	}
	return serverTLS(c.tls, c.clients)
}

// doors are what answers at the listeners.
type doors struct {
	main, lookups http.Handler
}

// makeDoors is the inventory of paths. submissions takes what holders post.
func (a *app) makeDoors(rest, console, submissions http.Handler) *doors {
	paths := a.cfg.lookups.paths()
	paths.Submissions = submissions
	if a.issuer != nil {
		paths.Notify = a.notify
	}
	lookups := alsoWithToken(a.resolver.HandlerWith(paths))
	mux := http.NewServeMux()
	mux.Handle("/api/", rest)
	if a.cfg.role.serves() {
		here := lookups
		if a.cfg.lookupListener != nil {
			here = http.NotFoundHandler() // a real 404: they are at the other listener
		}
		mux.Handle("/jwt/", here)
		mux.Handle("/o/", here)
		mux.Handle("/t/", here)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", loopbackOnly(promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{})))
	mux.Handle("/", console)
	if a.cfg.dev {
		return &doors{loopbackHost(mux), lookups}
	}
	return &doors{mux, lookups}
}

// notify has an account pushed once more, for who has a token of the resolver's.
func (a *app) notify(ctx context.Context, operatorID, accountID string) error {
	op := issuer.Op{Caller: issuer.System("resolver"), RequestID: "notify", Reason: "asked for with ?notify=true and a token of the resolver"}
	_, err := a.issuer.PushAgain(ctx, op, operatorID, issuer.PushInput{Accounts: []string{accountID}})
	return err
}

// alsoWithToken serves the same paths below an enrolment token too: nsc sends no
// credentials but what is in the URL that an operator's JWT names.
func alsoWithToken(h http.Handler) http.Handler {
	tokens := http.NewServeMux()
	tokens.HandleFunc("/t/{"+api.EnrolmentValue+"}/", func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix("/t/"+r.PathValue(api.EnrolmentValue), h).ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/t/") {
			tokens.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// readyz says whether this role can do its work, and how each part is. The resolver
// serves without the database, so that alone makes unready only who serves nothing.
func (a *app) readyz(w http.ResponseWriter, r *http.Request) {
	parts := map[string]string{"role": string(a.cfg.role)}
	status := http.StatusOK
	if a.cfg.role.serves() {
		ready := false
		if parts["resolver"], ready = a.resolverState(); !ready {
			status = http.StatusServiceUnavailable
		}
	}
	switch {
	case a.cfg.databaseURL == "":
		parts["database"] = "none is configured"
	case !a.whole.Load():
		parts["database"] = "not reached since the start"
	case a.store.Ping(r.Context()) != nil:
		parts["database"] = "unreachable"
	default:
		parts["database"] = "ok"
	}
	if a.cfg.role == roleAPI && parts["database"] != "ok" {
		status = http.StatusServiceUnavailable
	}
	if a.cfg.role.manages() && a.whole.Load() {
		parts["signing"] = "ok"
		if missing, expected := a.resolver.Short(); expected > 0 {
			parts["servers"] = fmt.Sprintf("%d of %d expected answer", expected-missing, expected)
		}
		if why := a.issuer.Sealed(); why != "" {
			parts["signing"] = "sealed: " + why
		}
		if a.checkpoints != nil {
			parts["audit checkpoints"] = "ok"
			if why := a.issuer.AnchorState().Error; why != "" {
				parts["audit checkpoints"] = "not written: " + why
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "parts": parts})
}

// resolverState says what is served, and what an operator of it should know.
func (a *app) resolverState() (text string, ready bool) {
	if a.resolver.Ready() != nil {
		return "not ready: there is neither a snapshot nor a database yet", false
	}
	s := a.resolver.Snapshot()
	text = "ok"
	switch {
	case !s.PeerSeen.IsZero():
		text = "ok, fed by a peer, last at " + s.PeerSeen.Format(time.RFC3339)
	case !s.FromStore:
		text = "serving from the snapshot of " + s.Saved.Format(time.RFC3339)
	}
	if s.PeerRefused > 0 {
		text += fmt.Sprintf("; THE PEER IS OLDER than what was served (%d JWTs): it was probably restored from a backup. Nothing older is served", s.PeerRefused)
	}
	if s.Refused > 0 {
		text += fmt.Sprintf("; %d accounts of the snapshot are damaged or do not verify and are not served", s.Refused)
	} else if s.Damaged > 0 && !s.FromStore {
		text += fmt.Sprintf("; %d lines of the snapshot are damaged", s.Damaged)
	}
	if s.Behind > 0 {
		text += fmt.Sprintf("; THE DATABASE IS OLDER than what was served (%d operators and accounts): it was probably restored from a backup. Nothing older is served", s.Behind)
	}
	if s.Failing != "" {
		text += "; the snapshot on disk lags behind: " + s.Failing
	}
	return text, true
}

// loopbackOnly hides h from other machines: metrics name accounts and servers.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// loopbackHost refuses requests that a page of another origin made by pointing its
// name at this machine (DNS rebinding): dev listens without TLS.
func loopbackHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if host != "127.0.0.1" && host != "localhost" && host != "::1" {
			http.Error(w, "chancery dev answers on 127.0.0.1 and localhost only", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}
