package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
)

// authority signs certificates of a test.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	c, err = x509.ParseCertificate(der)
	must(t, err)
	return &authority{t: t, key: key, cert: c, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), next: 2}
}

// pair returns a certificate for this machine and its key, with a serial number of its
// own, which is returned too.
func (a *authority) pair() (cert, key []byte, serial int64) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	serial = a.next
	a.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, private.Public(), a.key)
	must(a.t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	must(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), serial
}

// put writes a file of a folder and returns its path.
func put(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path+".new", text, 0o600))
	must(t, os.Rename(path+".new", path)) // nobody sees half of it
	return path
}

// secured is a control plane whose resolver has a listener of its own, with TLS, client
// certificates, users and a token.
type secured struct {
	*plant
	dir       string
	authority *authority
	base      string
	serial    int64
}

const packToken = "a-token-for-packs-of-the-tests"

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{dir: t.TempDir(), authority: newAuthority(t)}
	cert, key, serial := s.authority.pair()
	s.serial = serial
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.base = "https://" + l.Addr().String()
	s.plant = newPlantWith(t, "sqlite", func(cfg *appConfig) {
		c := &cfg.lookups
		c.listen, c.publicURL, cfg.lookupListener = l.Addr().String(), s.base, l
		c.tls, err = keyPair(put(t, s.dir, "cert", cert), put(t, s.dir, "key", key))
		must(t, err)
		c.clients, err = authorities(put(t, s.dir, "ca", s.authority.pem))
		must(t, err)
		c.users, err = credentials("users", resolver.ParseUsers, put(t, s.dir, "users", []byte("srv:to:k\n")))
		must(t, err)
		c.tokens, err = credentials("tokens", resolver.ParseTokens, put(t, s.dir, "tokens", []byte(packToken)))
		must(t, err)
		(config{lookups: *c}).tell(cfg.log)
	})
	return s
}

// client trusts the authority and shows a certificate of from, if there is one.
func (s *secured) client(from *authority) *http.Client {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.cert)
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if from != nil {
		cert, key, _ := from.pair()
		pair, err := tls.X509KeyPair(cert, key)
		must(s.t, err)
		c.Certificates = []tls.Certificate{pair}
	}
	t := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	return &http.Client{Transport: t}
}

// fetch returns the status, 0 when there is no connection, and the serial number of the
// server's certificate.
func (s *secured) fetch(c *http.Client, path, name, password string) (status int, serial int64) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+path, http.NoBody)
	must(s.t, err)
	switch {
	case name == "bearer":
		req.Header.Set("Authorization", "Bearer "+password)
	case name != "":
		req.SetBasicAuth(name, password)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.TLS.PeerCertificates[0].SerialNumber.Int64()
}

// TestResolverListener asks a secured listener with and without what it wants, starts a
// nats-server that has both, and finds nothing at the main listener.
func TestResolverListener(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	s.makeOrders()
	_, creds := s.issue()
	clients := map[string]*http.Client{"no certificate": s.client(nil), "a stranger's certificate": s.client(newAuthority(t)), "a certificate": s.client(s.authority)}
	shown := map[string][2]string{"nothing": {}, "the user": {"srv", "to:k"}, "a wrong user": {"srv", "tok"}, "the token": {"bearer", packToken}, "a wrong token": {"bearer", packToken + "x"}}
	paths := []string{"/jwt/v1/accounts/" + s.operator.Settings.SystemAccount, "/jwt/v1/accounts/", "/jwt/v1/operator", "/healthz", "/jwt/v1/pack"}
	passed, all := 0, 0
	for certificate, client := range clients {
		for name, x := range shown {
			for _, path := range paths {
				want := http.StatusUnauthorized
				switch {
				case certificate != "a certificate":
					want = 0 // no handshake
				case name == "the token":
					want = http.StatusOK
				case name == "the user" && path == "/jwt/v1/pack":
					want = http.StatusForbidden
				case name == "the user":
					want = http.StatusOK
				}
				all++
				if got, _ := s.fetch(client, path, x[0], x[1]); got != want {
					t.Errorf("%s with %s, %s: %d, want %d", path, certificate, name, got, want)
					continue
				}
				passed++
			}
		}
	}
	t.Logf("resolver listener: %d of %d", passed, all)
	if got := visit(t, http.DefaultClient, s.app.cfg.publicURL+"/jwt/v1/operator", nil); got.status != http.StatusNotFound {
		t.Errorf("at the main listener: %d", got.status)
	}

	conf, err := s.app.issuer.ServerConfig(t.Context(), drillOp.Caller, "acme", strings.Replace(s.base, "https://", "https://srv:to%3Ak@", 1))
	must(t, err)
	cert, key, _ := s.authority.pair()
	text := conf.Text + fmt.Sprintf("resolver_tls: { ca_file: %q, cert_file: %q, key_file: %q }\n",
		put(t, s.dir, "roots", s.authority.pem), put(t, s.dir, "server.cert", cert), put(t, s.dir, "server.key", key))
	server := s.startConfigured(claims.ResolverURL, text)
	s.mustConnect(server, creds)
}

// TestFilesAreReadAnew replaces a certificate, users and the certificates of clients
// under a running listener, with good and with broken ones.
func TestFilesAreReadAnew(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	client := s.client(s.authority)
	fetch := func() (int, int64) { return s.fetch(client, "/jwt/v1/operator", "srv", "to:k") }
	if status, serial := fetch(); status != http.StatusOK || serial != s.serial {
		t.Fatalf("%d with certificate %d", status, serial)
	}
	put(t, s.dir, "cert", []byte("broken"))
	eventually(t, "the broken certificate is told", func() bool {
		if status, serial := fetch(); status != http.StatusOK || serial != s.serial {
			t.Fatalf("%d with certificate %d", status, serial)
		}
		return strings.Contains(s.log.String(), "cannot be used")
	})
	cert, key, serial := s.authority.pair()
	put(t, s.dir, "key", key)
	put(t, s.dir, "cert", cert)
	eventually(t, "the new certificate is in force", func() bool {
		status, got := fetch()
		return status == http.StatusOK && got == serial
	})
	put(t, s.dir, "users", []byte("srv:other\n"))
	eventually(t, "the new users are in force", func() bool {
		status, _ := fetch()
		return status == http.StatusUnauthorized
	})
	put(t, s.dir, "ca", newAuthority(t).pem)
	eventually(t, "the new client CA is in force", func() bool {
		status, _ := fetch()
		return status == 0
	})
	if n := strings.Count(s.log.String(), "cannot be used"); n > 2 { // the new key may be seen beside the broken certificate
		t.Errorf("told %d times", n)
	}
}

// TestResolverSettings holds what is said about settings that do not fit.
func TestResolverSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	short := put(t, dir, "short", []byte("secret"))
	for name, x := range map[string]struct {
		flags configFlags
		want  []string
	}{
		"without a listener":      {configFlags{ResolverPublicURL: "http://x", ResolverClientCAFile: short}, []string{"resolver_public_url: is for a listener", "resolver_client_ca_file: is for a listener", "needs resolver_tls_cert_file", "no certificate (PEM)"}},
		"without an address":      {configFlags{ResolverListen: "here"}, []string{"resolver_listen: must be HOST:PORT", "resolver_public_url: is required"}},
		"half a pair":             {configFlags{ResolverListen: ":1", ResolverPublicURL: "http://x", ResolverTLSCertFile: short}, []string{"resolver_tls_cert_file: and resolver_tls_key_file must"}},
		"broken pair":             {configFlags{ResolverListen: ":1", ResolverPublicURL: "http://x", ResolverTLSCertFile: short, ResolverTLSKeyFile: short}, []string{"resolver_tls_cert_file: certificate and key cannot"}},
		"bad users and token":     {configFlags{ResolverUsersFile: short, ResolverPackTokenFile: short}, []string{"resolver_users_file: cannot be used: line 1: name:password", "resolver_pack_token_file: cannot be used: line 1: a token has"}},
		"files that do not exist": {configFlags{ResolverUsersFile: dir + "/none", ResolverPackTokenFile: dir}, []string{"resolver_users_file: cannot be used: reading file", "resolver_pack_token_file: cannot be used: reading file"}},
	} {
		_, err := x.flags.load(environment{getenv: func(string) string { return "" }})
		for _, want := range x.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: not reported: %s\n%v", name, want, err)
			}
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), dir)) {
			t.Errorf("%s: repeats what is in a file, or its path: %v", name, err)
		}
	}
}

// TestBoundedListener holds that a full listener accepts again once a connection ended,
// and that closing it ends the waiting.
func TestBoundedListener(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := bounded(inner, 1)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String()) //nolint:noctx // on loopback
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("two connections are open")
	case <-time.After(50 * time.Millisecond):
	}
	must(t, first.Close())
	_ = first.Close()
	second := <-accepted
	must(t, l.Close())
	if err := <-ended; err == nil {
		t.Error("accepting goes on")
	}
	must(t, second.Close())
}
