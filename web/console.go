package web

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Config is what the console needs.
type Config struct {
	Issuer *issuer.Issuer
	// Live is the picture of the running servers.
	Live claims.Live
	// Sessions keeps the sessions of people; tokens reach it hashed.
	Sessions scs.Store
	Now      func() time.Time
	Logger   *slog.Logger
	// Secure says that browsers reach the console over TLS, here or at a proxy.
	Secure bool
	// Dev shows that the identity key and the servers are on this machine.
	Dev bool
	// PublicURL is where the API is reached, without a path, for the commands
	// that pages show.
	PublicURL string
	// ResolverURL is where nats-servers fetch accounts, without a path; empty is
	// PublicURL.
	ResolverURL string
	// NATSURL returns where an operator's servers are reached, "" if that is not
	// known; nil knows none.
	NATSURL func(operatorID string) string
	// AuditExport writes an export of the audit log; nil offers none.
	AuditExport AuditExport
	// EventStream writes events as they happen; nil offers none.
	EventStream EventStream
}

// Console answers browsers. It is safe for concurrent use.
type Console struct {
	issuer       *issuer.Issuer
	live         claims.Live
	now          func() time.Time
	log          *slog.Logger
	sessions     *scs.SessionManager
	secure, dev  bool
	publicURL    string
	resolverURL  string
	natsURL      func(operatorID string) string
	exportAudit  AuditExport
	streamEvents EventStream
	assets       assets
	pages        map[string]*template.Template
	handler      http.Handler
	// uploads has room for those that are read.
	uploads chan struct{}
}

// New returns a console with every route mounted. It fails when a template or an
// asset that a page needs is missing or broken.
func New(cfg Config) (*Console, error) {
	if cfg.Issuer == nil || cfg.Live == nil || cfg.Sessions == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("making console: issuer, live picture, sessions, clock and logger are required")
	}
	c := &Console{
		issuer: cfg.Issuer, live: cfg.Live, now: cfg.Now, log: cfg.Logger, sessions: newSessions(cfg.Sessions, cfg.Secure),
		uploads: make(chan struct{}, mostUploads),
		secure:  cfg.Secure, dev: cfg.Dev, publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), natsURL: cfg.NATSURL, exportAudit: cfg.AuditExport, streamEvents: cfg.EventStream,
	}
	c.resolverURL = cmp.Or(cfg.ResolverURL, c.publicURL)
	if c.natsURL == nil {
		c.natsURL = func(string) string { return "" }
	}
	var err error
	if c.assets, c.pages, err = embedded(); err != nil {
		return nil, fmt.Errorf("making console: %w", err)
	}
	c.handler = c.mount()
	return c, nil
}

// Handler returns the handler of everything under / that is not another's: pages,
// /static/ and an HTML 404.
func (c *Console) Handler() http.Handler { return c.handler }
