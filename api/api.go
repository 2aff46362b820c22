package api

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/issuer"
)

// Base is the path of every operation.
const Base = "/api/v1"

// Config is what the API needs.
type Config struct {
	Issuer *issuer.Issuer
	// Live is the picture of the running servers.
	Live   claims.Live
	Now    func() time.Time
	Logger *slog.Logger
	// PublicURL is where nats-servers and people reach Chancery, without a path.
	PublicURL string
	// ResolverURL is where nats-servers fetch accounts, without a path; empty is
	// PublicURL.
	ResolverURL string
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// API answers requests. It is safe for concurrent use.
type API struct {
	issuer    *issuer.Issuer
	live      claims.Live
	now       func() time.Time
	log       *slog.Logger
	publicURL string
	// resolverURL is where nats-servers fetch accounts.
	resolverURL string
	requests    *prometheus.HistogramVec
	huma        huma.API
	router      chi.Router
	// uploads has room for those that are read.
	uploads chan struct{}
	streams *streams
}

// New returns the API with every route of the table mounted.
func New(cfg Config) (*API, error) {
	if cfg.Issuer == nil || cfg.Live == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("making API: issuer, live picture, clock and logger are required")
	}
	a := newAPI()
	a.issuer, a.live, a.now, a.log, a.publicURL = cfg.Issuer, cfg.Live, cfg.Now, cfg.Logger, cfg.PublicURL
	a.resolverURL = cmp.Or(cfg.ResolverURL, cfg.PublicURL)
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(a.requests); err != nil {
			return nil, errors.Join(errors.New("making API: registering metrics"), err)
		}
	}
	return a, nil
}

// OpenAPI returns the contract as YAML; it depends on the code alone.
func OpenAPI() ([]byte, error) { return newAPI().huma.OpenAPI().YAML() }

// Handler returns the handler of everything under /api.
func (a *API) Handler() http.Handler { return a.router }

var problemsInstalled sync.Once

func newAPI() *API {
	// huma's own errors repeat the offending value; ours replace them everywhere.
	problemsInstalled.Do(func() {
		huma.NewErrorWithContext = humaProblem
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return humaProblem(nil, status, message, errs...)
		}
		huma.DefaultArrayNullable = false
	})
	a := &API{
		router: chi.NewRouter(), uploads: make(chan struct{}, mostUploads), streams: newStreams(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chancery_api_seconds", Help: "Time to answer an API request, by operation and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation", "status"}),
	}
	a.router.Use(a.observe)
	a.router.NotFound(a.notFound)
	a.router.MethodNotAllowed(a.methodNotAllowed)
	cfg := huma.DefaultConfig("Chancery", "1.0.0")
	cfg.Info.Description = "The control plane for NATS decentralized auth. Errors are problem documents (RFC 9457)."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "/api/openapi", "", "", nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "An API token, chy_pat_…"},
	}
	a.huma = humachi.New(a.router, cfg)
	for _, r := range routes() {
		r.mount(a, r)
		exemplify(a.huma.OpenAPI(), r)
	}
	a.describeBulk()
	a.describeExport()
	a.describeEvents()
	a.describeArchives("createImportJob")
	return a
}
