package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// natsServerConfig describes an embedded nats-server in operator mode.
type natsServerConfig struct {
	name        string
	operatorJWT string
	// resolverURL ends in /accounts/.
	resolverURL string
	// port 0 takes a free one.
	port int
	// storeDir is where JetStream keeps its data.
	storeDir string
	log      *slog.Logger
	// adjust changes the options before the start; may be nil.
	adjust func(*server.Options)
}

// startNATS starts a real nats-server in this process. The resolver must answer
// already: the server asks it once when it starts and refuses to start without.
func startNATS(cfg natsServerConfig) (*server.Server, error) {
	o, err := jwt.DecodeOperatorClaims(cfg.operatorJWT)
	if err != nil {
		return nil, fmt.Errorf("reading the operator: %w", err)
	}
	accounts, err := server.NewURLAccResolver(cfg.resolverURL)
	if err != nil {
		return nil, fmt.Errorf("preparing the account resolver: %w", err)
	}
	port := cfg.port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName: cfg.name, Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{o}, SystemAccount: o.SystemAccount, AccountResolver: accounts,
		JetStream: true, StoreDir: cfg.storeDir,
	}
	if cfg.adjust != nil {
		cfg.adjust(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("starting the nats-server: %w", err)
	}
	s.SetLoggerV2(natsLogger{cfg.log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		stopNATS(s)
		return nil, errors.New("the nats-server did not become ready")
	}
	return s, nil
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// natsLogger brings the server's own log into ours.
type natsLogger struct{ log *slog.Logger }

func (l natsLogger) say(level slog.Level, f string, v []any) {
	l.log.Log(context.Background(), level, "nats-server", slog.String("says", fmt.Sprintf(f, v...)))
}

// What a server calls a warning is mostly a client's mistake, which dev shows on
// purpose.
func (l natsLogger) Noticef(f string, v ...any) { l.say(slog.LevelDebug, f, v) }
func (l natsLogger) Warnf(f string, v ...any)   { l.say(slog.LevelDebug, f, v) }
func (l natsLogger) Errorf(f string, v ...any)  { l.say(slog.LevelInfo, f, v) }
func (l natsLogger) Fatalf(f string, v ...any)  { l.say(slog.LevelError, f, v) }
func (natsLogger) Debugf(string, ...any)        {}
func (natsLogger) Tracef(string, ...any)        {}
