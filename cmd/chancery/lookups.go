package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"

	"chancery/resolver"
)

// lookupConfig is how nats-servers get at the account JWTs. The zero value is the main
// listener, open to everybody.
type lookupConfig struct {
	// listen is the address of a listener of its own, publicURL where servers reach it;
	// both empty: the main one.
	listen, publicURL string
	// tls and clients are of that listener; nil for plain HTTP, and for clients without
	// certificates.
	tls     *reloaded[*tls.Certificate]
	clients *reloaded[*x509.CertPool]
	// users are those who may read, nil for everybody; tokens those who may pack, nil
	// for nobody.
	users, tokens *reloaded[*resolver.Credentials]
}

// lookups types the settings of the resolver's paths.
func (s *settings) lookups(as role) lookupConfig {
	v := s.values
	c := lookupConfig{listen: v["resolver_listen"], publicURL: strings.TrimSuffix(v["resolver_public_url"], "/"), tls: s.tls("resolver_tls_cert_file", "resolver_tls_key_file")}
	if c.listen == "" {
		for _, name := range []string{"resolver_public_url", "resolver_tls_cert_file", "resolver_client_ca_file"} {
			if v[name] != "" {
				s.wrong(name, "is for a listener of its own: give resolver_listen too")
			}
		}
	} else {
		if _, _, err := net.SplitHostPort(c.listen); err != nil {
			s.wrong("resolver_listen", "must be HOST:PORT, such as 127.0.0.1:8081 or :8443")
		}
		if (c.publicURL != "" || as.manages()) && !isBase(c.publicURL) {
			s.wrong("resolver_public_url", "is required with resolver_listen: http:// or https:// and a host, without a path; nats-servers fetch accounts from there")
		}
	}
	if file := v["resolver_client_ca_file"]; file != "" {
		if v["resolver_tls_cert_file"] == "" {
			s.wrong("resolver_client_ca_file", "needs resolver_tls_cert_file: certificates of clients are a part of TLS")
		}
		var err error
		if c.clients, err = authorities(file); err != nil {
			s.wrong("resolver_client_ca_file", "cannot be used: %s", err)
		}
	}
	c.users = s.credentials("resolver_users_file", resolver.ParseUsers)
	c.tokens = s.credentials("resolver_pack_token_file", resolver.ParseTokens)
	return c
}

func (s *settings) credentials(name string, parse func([]byte) (*resolver.Credentials, error)) *reloaded[*resolver.Credentials] {
	file := s.values[name]
	if file == "" {
		return nil
	}
	c, err := credentials(name, parse, file)
	if err != nil {
		s.wrong(name, "cannot be used: %s", err)
	}
	return c
}

// tell has what is read anew logged.
func (c config) tell(log *slog.Logger) {
	for _, f := range []interface{ tell(log *slog.Logger) }{c.tls, c.lookups.tls, c.lookups.clients, c.lookups.users, c.lookups.tokens} {
		f.tell(log)
	}
}

// paths is what the resolver's paths do under this configuration.
func (c lookupConfig) paths() resolver.Paths {
	var p resolver.Paths
	if c.users != nil {
		p.Readers = c.users.get
	}
	if c.tokens != nil {
		p.Tokens = c.tokens.get
	}
	return p
}
