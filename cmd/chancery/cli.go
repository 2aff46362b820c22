package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"chancery/api"
)

// cli is the command line; every subcommand is one field.
type cli struct {
	Dev          devCommand          `cmd:"" help:"Everything in one process, to try: an embedded nats-server, a first operator, account, template and user. Data is kept in ./.chancery."`
	Serve        serveCommand        `cmd:"" help:"The control plane for production: API, console and resolver on PostgreSQL or SQLite."`
	Inspect      inspectCommand      `cmd:"" help:"Say in words what a JWT or a creds file holds, who stands behind it and what is wrong with it. Exit code 2: the signature is wrong, or nobody trusted signed it."`
	Explain      explainCommand      `cmd:"" help:"Replay the checks of a nats-server for a client and say which one refuses it. Exit code 2: refused."`
	Can          canCommand          `cmd:"" help:"Tell whether a user may publish or subscribe, and by which rule. Exit code 2: denied."`
	Who          whoCommand          `cmd:"" help:"List the users of all accounts who may publish or subscribe. Exit code 2: nobody."`
	Operator     operatorCommand     `cmd:"" help:"An operator whose identity key is kept offline: make the key, sign its changes."`
	ServerConfig serverConfigCommand `cmd:"" help:"Print what a nats-server's configuration needs, from a running Chancery."`
	SignInLink   signInLinkCommand   `cmd:"" help:"Make a one-time sign-in link for an owner, directly in the database of a configuration."`
	Import       importCommand       `cmd:"" help:"Take over what another tool keeps: the store of nsc."`
	Export       exportCommand       `cmd:"" help:"Write out what Chancery keeps, for another tool: as a store of nsc."`
	Key          keyCommand          `cmd:"" help:"The keys under which seeds are stored, directly in the database of a configuration."`
	Server       serverCommand       `cmd:"" help:"The nats-servers of an operator."`
	Sync         syncCommand         `cmd:"" help:"How far accounts got on the nats-servers: status, push."`
	Audit        auditCommand        `cmd:"" help:"The audit log: list, export, verify."`
	Token        tokenCommand        `cmd:"" help:"API tokens: create, list, revoke."`
	OpenAPI      openAPICommand      `cmd:"" name:"openapi" help:"Print the REST API's contract as YAML."`
	Version      versionCommand      `cmd:"" help:"Print the version."`
}

// runner is what every subcommand implements.
type runner interface {
	run(ctx context.Context, env environment) error
}

// dispatch parses the command line and runs the command it names.
func dispatch(ctx context.Context, env environment) error {
	var c cli
	exited := false
	parser, err := kong.New(&c, kong.Name("chancery"), kong.Description("The control plane for NATS decentralized auth."), kong.UsageOnError(),
		kong.Writers(env.stdout, env.stderr), kong.Exit(func(int) { exited = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return fmt.Errorf("describing the command line: %w", err)
	}
	args := env.args
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited {
		return nil
	}
	if err != nil {
		return usage(fmt.Errorf("%w; try chancery --help", err))
	}
	command, ok := parsed.Selected().Target.Addr().Interface().(runner)
	if !ok {
		return fmt.Errorf("%s cannot be run", parsed.Command())
	}
	return command.run(ctx, env)
}

type openAPICommand struct{}

func (*openAPICommand) run(_ context.Context, env environment) error {
	contract, err := api.OpenAPI()
	if err != nil {
		return err
	}
	_, err = env.stdout.Write(contract)
	return err
}

type versionCommand struct{}

func (*versionCommand) run(_ context.Context, env environment) error {
	_, err := fmt.Fprintln(env.stdout, "chancery "+version())
	return err
}

// version is the module's version or the commit, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return s.Value
		}
	}
	return info.Main.Version
}
