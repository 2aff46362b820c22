package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chancery/claims"
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

type tokenCommand struct {
	hostCommand
	Name     string        `arg:"" help:"What the token is for, such as ci."`
	Role     string        `help:"owner, operator_admin, account_admin, issuer or auditor." default:"owner"`
	Operator string        `help:"Only this operator, by name or public key."`
	Account  string        `help:"Only this account, by name or public key."`
	Template string        `help:"Only this template of the account, by name or id."`
	Network  []string      `help:"CIDR or address from which alone it can be used; may be repeated." placeholder:"CIDR"`
	TTL      time.Duration `help:"Lifetime, at most 366 days." default:"720h"`
	Out      string        `help:"File to write it to, readable by you only; without it the token is printed." short:"o" type:"path" placeholder:"FILE"`
}

func (c *tokenCommand) run(ctx context.Context, env environment) error {
	return c.with(ctx, env, func(i *issuer.Issuer, _ config) error {
		made, err := i.CreateToken(ctx, issuer.Op{Caller: issuer.System("token"), RequestID: "token"}, issuer.TokenInput{
			Name: c.Name, TTL: c.TTL, Networks: c.Network,
			Grants: []issuer.Grant{{Role: c.Role, Scope: issuer.Scope{Operator: c.Operator, Account: c.Account, Template: c.Template}}},
		})
		if err != nil {
			return err
		}
		text := claims.NewSecret(made.Value.Text.Reveal() + "\n")
		if c.Out != "" {
			return writeSecret(c.Out, text)
		}
		_, err = fmt.Fprint(env.stdout, text.Reveal())
		return err
	})
}
