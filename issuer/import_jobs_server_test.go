package issuer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/issuer"
)

// readStore reads an operator's store from an archive.
func readStore(t testing.TB, archive []byte, operator string) *nsc.Store {
	t.Helper()
	a, err := nsc.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	s, err := nsc.Read(a.Dirs, operator)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pack makes an archive of files.
func pack(t testing.TB, files []nsc.File, more map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	put := func(name, text string) {
		if err := w.WriteHeader(&tar.Header{Name: "nsc/" + name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		put(f.Path, f.Data.Reveal())
	}
	for name, text := range more {
		put(name, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// serveJWTs starts a nats-server that trusts an operator and knows accounts by their JWTs.
func serveJWTs(t testing.TB, operator string, accounts map[string]string) *server.Server {
	t.Helper()
	o, err := jwt.DecodeOperatorClaims(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := new(server.MemAccResolver)
	for id, text := range accounts {
		if err := resolver.Store(id, text); err != nil {
			t.Fatal(err)
		}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AuthTimeout: 4, TrustedOperators: []*jwt.OperatorClaims{o},
		SystemAccount: o.SystemAccount, AccountResolver: resolver,
	})
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

// letsIn tells whether the server lets the holder of the JWT and the seed in.
func letsIn(t testing.TB, s *server.Server, token string, seed claims.Secret) bool {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.NoReconnect(), nats.Timeout(patience), nats.UserJWT(
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
	return err == nil
}

// servedBy are the JWTs of an operator's accounts as the resolver serves them.
func (h *house) servedBy(t testing.TB, operator string) (o issuer.Operator, accounts map[string]string) {
	t.Helper()
	o, err := h.GetOperator(t.Context(), owner, operator)
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.ListAccounts(t.Context(), owner, operator, issuer.Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	accounts = map[string]string{}
	for _, a := range list {
		accounts[a.ID] = a.JWT
	}
	return o, accounts
}

// Every user of both stores connects with its original creds to a server that resolves through what is served here,
// exactly when nsc's own configuration would let it in: as it was taken in, and after every account was edited and
// signed anew.
func TestOriginalCredsConnect(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		right, total, in := 0, 0, 0
		for name, operator := range map[string]string{acmeStore: "acme", vaultStore: "vault"} {
			archive := archiveOf(t, name)
			s := readStore(t, archive, operator)
			own := map[string]string{}
			for _, a := range s.Accounts {
				own[a.Claims().Subject] = a.Token.Text
			}
			reference := serveJWTs(t, s.Operator.Token.Text, own)
			h.takeIn(t, archive, issuer.ImportAdopt)
			o, accounts := h.servedBy(t, operator)
			for id, text := range own {
				if accounts[id] != text {
					t.Errorf("%s: %s is not served as it came", name, id)
				}
			}
			adopted := serveJWTs(t, o.JWT, accounts)
			for id := range own {
				did(h.UpdateAccount(t.Context(), op(), id, func(s *issuer.AccountEdit) { s.Description = "edited" })).well(t)
			}
			_, accounts = h.servedBy(t, operator)
			edited := serveJWTs(t, o.JWT, accounts)
			for _, a := range s.Accounts {
				for _, u := range a.Users {
					token, seed, err := claims.ParseCreds(u.Creds)
					if err != nil {
						t.Fatal(err)
					}
					want := letsIn(t, reference, token, seed)
					if want {
						in++
					}
					for n, server := range []*server.Server{adopted, edited} {
						total++
						if got := letsIn(t, server, token, seed); got != want {
							t.Errorf("%s/%s/%s, server %d: let in %v, nsc's own configuration %v", operator, a.Name, u.Name, n, got, want)
							continue
						}
						right++
					}
				}
			}
		}
		t.Logf("original creds: %d of %d connect or are refused as with nsc's own configuration; %d of %d users are let in", right, total, in, total/2)
	})
}
