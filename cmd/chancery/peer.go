package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"chancery/resolver"
)

// peerTime bounds one request to a peer.
const peerTime = 30 * time.Second

// peer types the settings of who feeds a resolver without a database; nil for none.
func (s *settings) peer(as role) *resolver.Peer {
	address, file := strings.TrimSuffix(s.values["peer_url"], "/"), s.values["peer_token_file"]
	if address == "" && file == "" {
		return nil
	}
	if as != roleResolver {
		s.wrong("peer_url", "is for the resolver role: others have a database")
	}
	if s.values["database_url"] != "" || s.values["database_url_file"] != "" {
		s.wrong("peer_url", "and database_url exclude each other: a resolver is fed by one of them")
	}
	if address == "" || file == "" {
		s.wrong("peer_url", "and peer_token_file must be given together")
		return nil
	}
	if !isBase(address) {
		s.wrong("peer_url", "must be http:// or https:// and a host, without a path")
	}
	token, err := reload("token of the peer", parsePeerToken, file)
	if err != nil {
		s.wrong("peer_token_file", "cannot be used: %s", err)
		return nil
	}
	return &resolver.Peer{
		URL:   address,
		Token: func() (string, error) { return token.get(), nil },
		Client: &http.Client{
			Timeout: peerTime,
			// The token is for the peer alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func parsePeerToken(texts [][]byte) (string, error) {
	token := strings.TrimSpace(string(texts[0]))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", errors.New("one token of at least 16 characters is expected")
	}
	return token, nil
}
