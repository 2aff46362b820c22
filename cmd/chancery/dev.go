package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"chancery/custody"
	"chancery/issuer"
)

// Ports that dev takes when they are free.
const (
	devPort     = 8080
	devNATSPort = 4222
)

type devCommand struct {
	Dir      string `help:"Where the data is kept between runs." default:".chancery" type:"path"`
	Port     *int   `help:"Port of console and API; 0 takes a free one. Without it 8080, or a free one when that is taken." placeholder:"PORT"`
	NATSPort *int   `help:"Port of the nats-server; 0 takes a free one. Without it 4222, or a free one when that is taken." name:"nats-port" placeholder:"PORT"`
	JSON     bool   `help:"Print what is ready as one JSON object on standard output." name:"json"`
	Check    bool   `help:"Run in a temporary folder on free ports, drive the whole loop with a real client, and exit."`
	Verbose  bool   `help:"Log what happens to standard error." short:"v"`
}

// devReady is what dev says when it is ready; --json prints it.
type devReady struct {
	APIURL     string `json:"api_url"`
	ConsoleURL string `json:"console_url"`
	SignInURL  string `json:"sign_in_url"`
	Token      string `json:"token"`
	NATSURL    string `json:"nats_url"`
	CredsFile  string `json:"creds_file"`
	DataDir    string `json:"data_dir"`
}

func (c *devCommand) run(ctx context.Context, env environment) error {
	if c.Check {
		return checkDev(ctx, env, c.logger(env))
	}
	started := time.Now()
	if !c.JSON {
		fmt.Fprintln(env.stderr, "starting…")
	}
	d, err := startDev(ctx, devOptions{dir: c.Dir, port: c.Port, natsPort: c.NATSPort, log: c.logger(env)})
	if err != nil {
		return unlessStopped(ctx, err)
	}
	if c.JSON {
		err = json.NewEncoder(env.stdout).Encode(d.ready)
	} else {
		err = d.greet(env.stdout, time.Since(started))
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-d.app.served:
		}
	}
	if !c.JSON {
		fmt.Fprintln(env.stderr, "\nstopping; the data stays in "+d.ready.DataDir)
	}
	return errors.Join(err, d.stop())
}

func (c *devCommand) logger(env environment) *slog.Logger {
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	return newLogger(env.stderr, level, false)
}

type devOptions struct {
	dir            string
	port, natsPort *int
	log            *slog.Logger
}

// dev is a control plane and a nats-server in one process.
type dev struct {
	app   *app
	nats  *server.Server
	ready devReady
	// natsURL is where the server listens, nil until it does.
	natsURL atomic.Pointer[string]
	// credsStatus is what has become of the credential in the creds file.
	credsStatus issuer.Status
	// sealed says why nothing can be signed, or is empty.
	sealed string
}

func startDev(ctx context.Context, o devOptions) (*dev, error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, fmt.Errorf("finding the data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	kek, err := devKEK(dir)
	if err != nil {
		return nil, err
	}
	listener, err := listenLoopback(o.port, devPort, "console and API", "--port")
	if err != nil {
		return nil, err
	}
	d := &dev{}
	url := "http://" + listener.Addr().String()
	d.app, err = openApp(ctx, appConfig{
		databaseURL: "sqlite://" + filepath.Join(dir, "chancery.db"), dataDir: dir, kek: kek, publicURL: url, listener: listener, dev: true,
		natsURLs: d.natsURLs, now: time.Now, log: o.log, auditCheckpoints: filepath.Join(dir, "audit-checkpoints.ndjson"),
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	d.sealed = d.app.issuer.Sealed()
	d.ready = devReady{APIURL: url + "/api/v1", ConsoleURL: url + "/", DataDir: dir}
	if err := d.bringUp(ctx, o); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// bringUp makes the operator, starts the parts, which load it, and then the
// nats-server, which can only start when its system account is served.
func (d *dev) bringUp(ctx context.Context, o devOptions) error {
	objects := &devObjects{app: d.app, dir: d.ready.DataDir}
	operator, err := objects.operator(ctx)
	if err != nil {
		return err
	}
	if err := d.app.start(ctx); err != nil {
		return err
	}
	natsPort, err := freePort(o.natsPort, devNATSPort, "the nats-server", "--nats-port")
	if err != nil {
		return err
	}
	d.nats, err = startNATS(natsServerConfig{
		name: "dev", operatorJWT: operator.JWT, resolverURL: d.app.cfg.publicURL + "/jwt/v1/accounts/", port: natsPort,
		storeDir: filepath.Join(d.ready.DataDir, "jetstream"), log: o.log,
	})
	if err != nil {
		return err
	}
	d.ready.NATSURL = d.nats.ClientURL()
	d.natsURL.Store(&d.ready.NATSURL)
	d.app.resolver.Wake()
	if err := objects.rest(ctx, d); err != nil {
		return err
	}
	return d.awaitServer(ctx, operator.Settings.SystemAccount)
}

// awaitServer waits until the control plane sees its server, so that the first
// change is already proven.
func (d *dev) awaitServer(ctx context.Context, systemAccount string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := d.app.resolver.Wait(ctx, systemAccount, 1)
	if err == nil && !s.Done() && d.sealed == "" {
		err = errors.New("the nats-server runs, but the control plane cannot reach it; --verbose tells more")
	}
	return err
}

// natsURLs is empty until the server listens.
func (d *dev) natsURLs() []string {
	url := d.natsURL.Load()
	if url == nil {
		return nil
	}
	return []string{*url}
}

func (d *dev) stop() error {
	if d.nats != nil {
		stopNATS(d.nats)
	}
	return d.app.stop()
}

// devKEK reads the key-encryption key, or makes one when there is no database yet:
// a new key for an old database would only look like one that fits.
func devKEK(dir string) (custody.KEK, error) {
	path := filepath.Join(dir, "kek")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		kek, err := fromFile(path, custody.ParseKEK)
		if err != nil {
			return kek, fmt.Errorf("reading the key-encryption key %s: %w", path, err)
		}
		return kek, nil
	}
	if _, err := os.Stat(filepath.Join(dir, "chancery.db")); err == nil {
		return custody.KEK{}, nil
	}
	kek, err := custody.NewKEK(rand.Reader)
	if err != nil {
		return kek, err
	}
	return kek, writeSecret(path, kek.Text())
}

// listenLoopback listens on the port asked for, else on the usual one, else, when
// that is taken, on a free one.
func listenLoopback(asked *int, usual int, what, flag string) (net.Listener, error) {
	port := usual
	if asked != nil {
		port = *asked
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) && asked == nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d for %s is taken by another program; choose one with %s, or 0 for a free one", port, what, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", what, err)
	}
	return l, nil
}

// freePort is listenLoopback for a server that opens the port itself.
func freePort(asked *int, usual int, what, flag string) (int, error) {
	l, err := listenLoopback(asked, usual, what, flag)
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// greet tells what is there and what to try.
func (d *dev) greet(w io.Writer, took time.Duration) error {
	r := d.ready
	if d.sealed != "" {
		_, err := fmt.Fprintf(w, `
Chancery is SEALED: %s.
What was signed is served and pushed; nothing new can be signed.
Put the key back at %s and restart.

  Console     %s
  Data        %s
`, d.sealed, filepath.Join(r.DataDir, "kek"), r.ConsoleURL, r.DataDir)
		return err
	}
	creds := r.CredsFile
	if d.credsStatus != issuer.StatusActive {
		creds += "   (" + string(d.credsStatus) + ": issue new ones in the console)"
	}
	_, err := fmt.Fprintf(w, `
Chancery is ready (%.1f s). A real nats-server trusts the operator made here.

  Console     %s
  Sign in     %s   (once)
  NATS        %s
  Creds       %s
  API token   %s
  Data        %s

Try it: %s may publish below devices.eu.%s and read its commands, nothing else.

  nats --server %s --creds %s pub devices.eu.%s.temp 21
  nats --server %s --creds %s pub devices.us.%s.temp 21     # refused

Or in Go:

  nc, err := nats.Connect("%s", nats.UserCredentials("%s"))
  …
  err = nc.Publish("devices.eu.%s.temp", []byte("21"))

Then revoke %s in the console and watch its connection close. Ctrl-C stops; the data is kept.
`, took.Seconds(), r.ConsoleURL, r.SignInURL, r.NATSURL, creds, filepath.Join(r.DataDir, "token"), r.DataDir,
		devUser, devUser, r.NATSURL, r.CredsFile, devUser, r.NATSURL, r.CredsFile, devUser, r.NATSURL, r.CredsFile, devUser, devUser)
	return err
}
