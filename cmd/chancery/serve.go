package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"chancery/issuer"
)

type serveCommand struct {
	configFlags
	Role string `help:"all; resolver, which serves account JWTs without keys and needs no database; or api, which leaves serving and pushing to others. Default all." placeholder:"ROLE"`
}

func (c *serveCommand) run(ctx context.Context, env environment) error {
	cfg, err := c.loadWith(env, c.Role)
	if err != nil {
		return usage(err)
	}
	log := newLogger(env.stderr, cfg.level, cfg.jsonLogs)
	a, err := openServe(ctx, cfg, log, env)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	if err := a.start(ctx); err != nil {
		return errors.Join(unlessStopped(ctx, err), a.stop())
	}
	if a.parted.Load() && a.missing == nil {
		if err := greet(ctx, a, env); err != nil {
			return errors.Join(unlessStopped(ctx, err), a.stop())
		}
	}
	log.InfoContext(ctx, "ready", slog.String("listen", a.cfg.listener.Addr().String()), slog.String("public_url", cfg.publicURL), slog.String("role", string(cfg.role)))
	select {
	case <-ctx.Done():
		log.InfoContext(ctx, "stopping")
	case err = <-a.served:
	}
	return errors.Join(err, a.stop())
}

// unlessStopped drops the error of a start that a signal cut short: that is a clean
// end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// greet says what whoever started this should know once the database is reached.
func greet(ctx context.Context, a *app, env environment) error {
	if !a.cfg.role.manages() {
		return nil
	}
	if why := a.issuer.Sealed(); why != "" {
		a.cfg.log.WarnContext(ctx, "starting SEALED: serving and pushing what is signed, signing nothing", slog.String("reason", why))
	}
	return offerSetup(ctx, a, env)
}

func openServe(ctx context.Context, cfg config, log *slog.Logger, env environment) (*app, error) {
	if err := os.MkdirAll(cfg.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	l, err := listen(cfg.listen, "--listen")
	if err != nil {
		return nil, err
	}
	cfg.tell(log)
	ac := appConfig{
		databaseURL: cfg.databaseURL, dataDir: cfg.dataDir, kek: cfg.kek, publicURL: cfg.publicURL, listener: l, lookups: cfg.lookups, now: time.Now, log: log,
		auditCheckpoints: cfg.auditCheckpoints,
		trustedProxies:   cfg.trustedProxies,
		role:             cfg.role, anchors: cfg.trustedOperators, peer: cfg.peer,
		opened: func(ctx context.Context, a *app) error { return greet(ctx, a, env) },
	}
	if cfg.tls != nil {
		ac.tls = serverTLS(cfg.tls, nil)
	}
	if cfg.lookups.listen != "" {
		if ac.lookupListener, err = listen(cfg.lookups.listen, "--resolver-listen"); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if len(cfg.natsURLs) > 0 {
		ac.natsURLs = func() []string { return cfg.natsURLs }
	}
	a, err := openApp(ctx, ac)
	if err != nil {
		if ac.lookupListener != nil {
			err = errors.Join(err, ac.lookupListener.Close())
		}
		return nil, errors.Join(err, l.Close())
	}
	return a, nil
}

// offerSetup prints the link for the first owner while nobody owns the control
// plane. It goes to standard output, never to the log.
func offerSetup(ctx context.Context, a *app, env environment) error {
	needed, err := a.issuer.NeedsSetup(ctx)
	if err != nil || !needed {
		return err
	}
	link, err := a.issuer.SetupLink(ctx, issuer.Op{Caller: issuer.System("serve"), RequestID: "serve"})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "Nobody owns this control plane yet. Open this link once, within 24 hours:\n\n  %s/setup/%s\n\n", a.cfg.publicURL, link.Reveal())
	return err
}
