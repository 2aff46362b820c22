package issuer_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// run starts a real nats-server that trusts the operator alone and knows the accounts, further ones too, as they are now.
func (h *house) run(t *testing.T, w world, further ...string) *server.Server {
	t.Helper()
	return h.runWith(t, w, func(*server.Options) {}, further...)
}

// runWith is run with further options.
func (h *house) runWith(t *testing.T, w world, edit func(*server.Options), further ...string) *server.Server {
	t.Helper()
	resolver := new(server.MemAccResolver)
	for _, id := range append(further, w.account.ID, w.operator.Settings.SystemAccount) {
		if err := resolver.Store(id, h.account(t, id).JWT); err != nil {
			t.Fatal(err)
		}
	}
	opts := &server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AuthTimeout: patience.Seconds(), SystemAccount: w.operator.Settings.SystemAccount, AccountResolver: resolver,
		TrustedOperators: []*jwt.OperatorClaims{decode[*jwt.OperatorClaims](t, w.operator.JWT)},
	}
	edit(opts)
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	return s
}

// connect uses the creds file as its holder would.
func connect(t *testing.T, s *server.Server, creds claims.Secret, opts ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.creds")
	if err := os.WriteFile(file, []byte(creds.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL(), append([]nats.Option{nats.UserCredentials(file), nats.NoReconnect(), nats.Timeout(patience), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// push brings the account's current JWT to the server with the issuer's own credential, and nothing else it may.
func (h *house) push(t *testing.T, nc *nats.Conn, account string) {
	t.Helper()
	answer, err := nc.Request("$SYS.REQ.ACCOUNT."+account+".CLAIMS.UPDATE", []byte(h.account(t, account).JWT), patience)
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Error *struct{ Description string } }
	if err := json.Unmarshal(answer.Data, &body); err != nil || body.Error != nil {
		t.Fatalf("%s, %v", answer.Data, err)
	}
}

// What the issuer makes works on a real server; a revocation closes the connection, and what is issued again in
// the same second gets in while the old credential does not.
func TestOnServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "live", "LIVE")
		s := h.run(t, w)
		system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
		if err != nil {
			t.Fatal(err)
		}
		admin, err := connect(t, s, system.Creds)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		nc, err := connect(t, s, w.device.Issued.Creds, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
		if err != nil {
			t.Fatal(err)
		}
		for subject, allowed := range map[string]bool{"devices.eu.d1.temp": true, "devices.eu.d2.temp": false} {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			_ = nc.FlushTimeout(patience)
			if denied := errors.Is(nc.LastError(), nats.ErrPermissionViolation); denied == allowed {
				t.Errorf("%s: %v", subject, nc.LastError())
			}
			if !allowed {
				break // the client keeps its last error
			}
		}

		old := *w.device.Issued
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: old.PublicKey})).well(t)
		again := did(h.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{PublicKey: old.PublicKey})).well(t)
		h.push(t, admin, w.account.ID)
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("the revoked connection is still open")
		}
		if _, err := connect(t, s, old.Creds); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the revoked credential: %v", err)
		}
		_, seed, err := claims.ParseCreds(old.Creds)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, s, claims.FormatCreds(again.JWT.Reveal(), seed)); err != nil {
			t.Errorf("issued again in the same second: %v", err)
		}

		// An edit of the same second is taken too.
		did(h.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) { s.Limits.Conn = 0 })).well(t)
		h.push(t, admin, w.account.ID)
		if _, err := connect(t, s, w.ada.Issued.Creds); err == nil {
			t.Error("connected to an account that allows no connections")
		}
	})
}
