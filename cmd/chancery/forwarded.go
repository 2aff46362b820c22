package main

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded gives requests the address of their client where a proxy stands before
// Chancery: the last one in X-Forwarded-For that is no trusted proxy's. Each proxy
// appends whom it was asked by, so what stands before that could be anybody's word.
// Without a trusted peer the header means nothing.
func forwarded(h http.Handler, trusted []netip.Prefix) http.Handler {
	if len(trusted) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err == nil && isTrusted(peer.Addr(), trusted) {
			r = r.Clone(r.Context())
			r.RemoteAddr = remote(clientOf(peer.Addr(), r.Header.Values("X-Forwarded-For"), trusted))
		}
		h.ServeHTTP(w, r)
	})
}

// clientOf goes from the peer backwards through the header's addresses as long as they
// are trusted. What is no address ends it: nobody knows then who the client is.
func clientOf(peer netip.Addr, headers []string, trusted []netip.Prefix) netip.Addr {
	client := peer
	for _, header := range slices.Backward(headers) {
		for _, part := range slices.Backward(strings.Split(header, ",")) {
			a, ok := hop(strings.TrimSpace(part))
			if !ok {
				return netip.Addr{}
			}
			if client = a; !isTrusted(a, trusted) {
				return a
			}
		}
	}
	return client
}

// hop reads an address, which some proxies write with a port.
func hop(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	at, err := netip.ParseAddrPort(text)
	return at.Addr().Unmap().WithZone(""), err == nil
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// remote writes an address as http.Request.RemoteAddr has it; empty for one that is
// not known.
func remote(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return net.JoinHostPort(a.String(), "0")
}
