package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"chancery/claims/nsc"
	"chancery/store/storetest"
)

// grownServers is a generated store, and running servers that have a newer JWT of its
// first account.
type grownServers struct {
	g     *generator
	newer string
	key   string
}

// renew signs the first account anew, a second later: the time of a JWT has seconds.
func (s *grownServers) renew(t *testing.T) {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(s.g.store.Accounts[0].Token.Text)
	must(t, err)
	signer, err := nkeys.FromSeed([]byte(s.g.store.Keys[c.Issuer].Reveal()))
	must(t, err)
	before := c.IssuedAt
	c.Limits.Conn = 7
	eventually(t, "a later second", func() bool { return time.Now().Unix() > before })
	s.newer, err = c.Encode(signer)
	must(t, err)
	s.key = c.Subject
}

// jwts are what servers have, by the account's public key.
func (s *grownServers) jwts() map[string]string {
	out := map[string]string{}
	for _, a := range s.g.store.Accounts {
		out[a.Claims().Subject] = a.Token.Text
	}
	out[s.key] = s.newer
	return out
}

// accountServer answers as nsc's account server does.
func (s *grownServers) accountServer() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := s.jwts()[path.Base(r.URL.Path)]
		switch {
		case !strings.HasPrefix(r.URL.Path, "/jwt/v1/accounts"):
			http.NotFound(w, r)
		case text == "" && path.Base(r.URL.Path) != "accounts":
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, text)
		}
	})
}

// What running servers have is asked of the account server, and of nats-servers of
// both kinds of resolver; what is newer there is what comes over.
func TestImportFromServers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"account server", "full resolver", "URL resolver"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := &grownServers{g: newGenerator(t)}
			http := httptest.NewServer(s.accountServer())
			t.Cleanup(http.Close)
			of := generated{accounts: 4, users: 8}
			vacant, err := net.ResolveTCPAddr("tcp", freeAddress(t))
			must(t, err)
			if kind == "account server" {
				of.serverURL = http.URL + "/jwt/v1"
			} else {
				of.natsURLs = []string{"nats://" + vacant.String()}
			}
			s.g.make(of)
			s.renew(t)
			home := t.TempDir()
			s.g.writeTo(home)
			if kind != "account server" {
				n, err := startNATS(natsServerConfig{
					name: "n1", operatorJWT: s.g.store.Operator.Token.Text, resolverURL: http.URL + "/jwt/v1/accounts/", port: vacant.Port, log: slog.New(slog.DiscardHandler),
					adjust: func(o *server.Options) {
						o.JetStream, o.AuthTimeout = false, 20
						if kind == "full resolver" {
							o.AccountResolver = fullResolver(t, s.jwts())
						}
					},
				})
				must(t, err)
				t.Cleanup(func() { stopNATS(n) })
				// A URL resolver tells of accounts in use only.
				creds := t.TempDir() + "/u.creds"
				must(t, os.WriteFile(creds, []byte(s.g.store.Accounts[0].Users[1].Creds.Reveal()), 0o600))
				c, err := connect(n, creds)
				must(t, err)
				t.Cleanup(c.Close)
			}
			m := newMoved(t, storetest.Dialects()[0], home)
			code, out, errs := m.chancery("", "import", "nsc", "--from-servers", "--yes")
			if code != exitOK || !strings.Contains(errs, "Asked: ") || !strings.Contains(out, "the servers, newer") {
				t.Fatalf("exit code %d: %s%s", code, errs, out)
			}
			t.Log(errs)
			var account struct {
				Limits struct {
					Connections int64 `json:"connections"`
				} `json:"limits"`
			}
			m.call("GET", "/accounts/"+s.key, "", &account)
			if account.Limits.Connections != 7 {
				t.Errorf("what came over has %d connections, want 7 as the servers have it", account.Limits.Connections)
			}
		})
	}
}

func fullResolver(t *testing.T, jwts map[string]string) server.AccountResolver {
	t.Helper()
	r, err := server.NewDirAccResolver(t.TempDir(), 0, time.Minute, server.NoDelete)
	must(t, err)
	for key, text := range jwts {
		must(t, r.Store(key, text))
	}
	return r
}

// Servers that are not there, or talk nonsense, are no reason not to import.
func TestServersThatFail(t *testing.T) {
	t.Parallel()
	nonsense := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
	t.Cleanup(nonsense.Close)
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(failing.Close)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", nsc.MaxJWTFile+1))
	}))
	t.Cleanup(endless.Close)
	for name, c := range map[string]struct {
		of   generated
		want string
	}{
		"nobody listens":       {generated{serverURL: "http://" + freeAddress(t) + "/jwt/v1"}, "did not answer"},
		"an error":             {generated{serverURL: failing.URL}, "418"},
		"nonsense":             {generated{serverURL: nonsense.URL}, "has 0 of 3 accounts"},
		"without end":          {generated{serverURL: endless.URL}, "too long"},
		"no server":            {generated{}, "names no server to ask"},
		"no URL":               {generated{serverURL: "http:///x"}, "in the operator's JWT is none"},
		"no nats-server":       {generated{natsURLs: []string{"nats://" + freeAddress(t)}}, "were not asked: nats: no servers"},
		"a resolver's":         {generated{serverURL: "nats://" + freeAddress(t)}, "were not asked: nats: no servers"},
		"an address of no use": {generated{natsURLs: []string{"http://x"}}, "were not asked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGenerator(t)
			c.of.accounts, c.of.users = 3, 3
			g.make(c.of)
			h := fromServers(t.Context(), g.store, func(int64, int64) {})
			if said := strings.Join(append(h.asked, h.notes...), "\n"); !strings.Contains(said, c.want) || len(h.texts()) != 0 {
				t.Errorf("it says %q, want %q", said, c.want)
			}
		})
	}
}
