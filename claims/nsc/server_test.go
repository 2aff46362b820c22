package nsc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
)

// serve starts a nats-server that knows the operator and the accounts of a store.
func serve(t *testing.T, s *nsc.Store) *server.Server {
	t.Helper()
	resolver := &server.MemAccResolver{}
	for _, a := range s.Accounts {
		if err := resolver.Store(a.Claims().Subject, a.Token.Text); err != nil {
			t.Fatal(err)
		}
	}
	o := s.Operator.Claims()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AuthTimeout: 4, // a callout that nobody answers takes as long
		TrustedOperators: []*jwt.OperatorClaims{o}, SystemAccount: o.SystemAccount, AccountResolver: resolver,
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(5 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return srv
}

func dial(t *testing.T, srv *server.Server, creds claims.Secret) error {
	t.Helper()
	token, seed, err := claims.ParseCreds(creds)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(srv.ClientURL(), nats.NoReconnect(), nats.Timeout(20*time.Second), nats.UserJWT(
		func() (string, error) { return token, nil },
		func(nonce []byte) ([]byte, error) {
			pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
			if err != nil {
				return nil, err
			}
			return pair.Sign(nonce)
		},
	))
	if err == nil {
		nc.Close()
	}
	return err
}

// What was read, written and read again works on a nats-server as its names say.
func TestServerTakesTheStore(t *testing.T) {
	t.Parallel()
	refused := map[string]string{
		"acme/ORDERS/leaver": "revoked",
		"acme/ORDERS/office": "WebSocket only, from 10.0.0.0/8 only",
		"acme/AUTH/sentinel": "handed to the auth callout, which nobody answers",
	}
	right, total := 0, 0
	for operator := range archives {
		s := read(t, write(t, read(t, unpack(t, operator), operator)), operator)
		srv := serve(t, s)
		for _, a := range s.Accounts {
			for _, u := range a.Users {
				name := operator + "/" + a.Name + "/" + u.Name
				total++
				why, want := refused[name]
				if exp := u.Claims().Expires; exp > 0 && time.Now().Unix() > exp {
					why, want = "expired", true
				}
				err := dial(t, srv, u.Creds)
				if want && !errors.Is(err, nats.ErrAuthorization) || !want && err != nil {
					t.Errorf("%s: %v, want a refusal: %v (%s)", name, err, want, why)
					continue
				}
				right++
			}
		}
	}
	t.Logf("creds: %d of %d connect or are refused as their JWTs say", right, total)
}
