package main

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
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

// mux is the inventory of paths of the main listener.
func (a *app) mux(rest, console, lookups http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", rest)
	mux.Handle("/jwt/", lookups)
	mux.Handle("/o/", lookups)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", loopbackOnly(promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{})))
	mux.Handle("/", console)
	if a.cfg.dev {
		return loopbackHost(mux)
	}
	return mux
}

// readyz says whether nats-servers can be answered, and how each part is. The
// resolver serves without the database, so that alone does not make it unready.
func (a *app) readyz(w http.ResponseWriter, r *http.Request) {
	parts := map[string]string{"resolver": "ok", "database": "ok", "signing": "ok"}
	status := http.StatusOK
	if err := a.resolver.Ready(); err != nil {
		parts["resolver"], status = "not ready", http.StatusServiceUnavailable
	}
	if err := a.store.Ping(r.Context()); err != nil {
		parts["database"] = "unreachable"
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
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "parts": parts})
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
