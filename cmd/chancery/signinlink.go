package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
)

// hostCommand works on the database itself: it is for whoever may read the
// configuration on the control plane's own machine. On SQLite the server has to be
// stopped, since one process holds the file.
type hostCommand struct{ configFlags }

// with runs f on an issuer that cannot sign.
func (c *hostCommand) with(ctx context.Context, env environment, f func(i *issuer.Issuer, cfg config) error) error {
	cfg, err := c.load(env)
	if err != nil {
		return usage(err)
	}
	cfg.kek = custody.KEK{}
	return onDatabase(ctx, env, cfg, f)
}

// withKEK runs f on an issuer that has the key-encryption key of the configuration.
func (c *hostCommand) withKEK(ctx context.Context, env environment, f func(i *issuer.Issuer, cfg config) error) error {
	cfg, err := c.load(env)
	if err != nil {
		return usage(err)
	}
	return onDatabase(ctx, env, cfg, f)
}

func onDatabase(ctx context.Context, env environment, cfg config, f func(i *issuer.Issuer, cfg config) error) error {
	log := newLogger(env.stderr, slog.LevelWarn, false)
	s, err := store.Open(ctx, store.Config{URL: cfg.databaseURL, Now: time.Now, Logger: log})
	if errors.Is(err, store.ErrHeld) {
		return fmt.Errorf("%w: stop the server first", err)
	}
	if err != nil {
		return err
	}
	if err = s.Migrate(ctx); err == nil {
		var i *issuer.Issuer
		var checkpoints issuer.CheckpointLog
		if cfg.auditCheckpoints != "" {
			checkpoints = issuer.NewFileLog(cfg.auditCheckpoints) // to be read
		}
		if i, err = issuer.Open(ctx, issuer.Config{Store: s, Now: time.Now, Logger: log, KEK: cfg.kek, Checkpoints: checkpoints}); err == nil {
			err = f(i, cfg)
		}
	}
	return errors.Join(err, s.Close())
}

type signInLinkCommand struct {
	hostCommand
	Name string `arg:"" help:"Who signs in; made an owner if new."`
}

func (c *signInLinkCommand) run(ctx context.Context, env environment) error {
	return c.with(ctx, env, func(i *issuer.Issuer, cfg config) error {
		link, err := i.SignInLink(ctx, issuer.Op{Caller: issuer.System("sign-in-link"), RequestID: "sign-in-link"}, c.Name)
		if err == nil {
			_, err = fmt.Fprintf(env.stdout, "%s/login/%s\n", cfg.publicURL, link.Reveal())
		}
		return err
	})
}
