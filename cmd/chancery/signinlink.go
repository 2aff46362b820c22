package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chancery/issuer"
	"chancery/store"
)

// signInLinkCommand works on the database itself: it is for whoever may read the
// configuration on the control plane's own machine. On SQLite the server has to be
// stopped, since one process holds the file.
type signInLinkCommand struct {
	configFlags
	Name string `arg:"" help:"Who signs in; made an owner if new."`
}

func (c *signInLinkCommand) run(ctx context.Context, env environment) error {
	cfg, err := c.load(env)
	if err != nil {
		return usage(err)
	}
	log := newLogger(env.stderr, slog.LevelWarn, false)
	s, err := store.Open(ctx, store.Config{URL: cfg.databaseURL, Now: time.Now, Logger: log})
	if errors.Is(err, store.ErrHeld) {
		return fmt.Errorf("%w: stop the server first", err)
	}
	if err != nil {
		return err
	}
	link, err := c.link(ctx, s, log)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "%s/login/%s\n", cfg.publicURL, link)
	return err
}

func (c *signInLinkCommand) link(ctx context.Context, s *store.Store, log *slog.Logger) (string, error) {
	if err := s.Migrate(ctx); err != nil {
		return "", err
	}
	i, err := issuer.Open(ctx, issuer.Config{Store: s, Now: time.Now, Logger: log})
	if err != nil {
		return "", err
	}
	link, err := i.SignInLink(ctx, issuer.Op{Caller: issuer.System("sign-in-link"), RequestID: "sign-in-link"}, c.Name)
	return link.Reveal(), err
}
