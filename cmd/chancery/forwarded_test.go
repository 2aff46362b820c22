package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestForwarded tries to pass for somebody else through headers.
func TestForwarded(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	cases := map[string]struct {
		peer    string
		headers []string
		want    string
	}{
		"nobody in between":                       {"192.0.2.7:1234", nil, "192.0.2.7:1234"},
		"a header of the client's own":            {"192.0.2.7:1234", []string{"10.1.1.1"}, "192.0.2.7:1234"},
		"a trusted proxy":                         {"10.0.0.1:80", []string{"192.0.2.7"}, "192.0.2.7:0"},
		"a trusted proxy and a forged header":     {"10.0.0.1:80", []string{"10.9.9.9, 198.51.100.1, 192.0.2.7"}, "192.0.2.7:0"},
		"two trusted proxies":                     {"10.0.0.1:80", []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7:0"},
		"two headers, the first of them forged":   {"10.0.0.1:80", []string{"10.5.5.5", "192.0.2.7"}, "192.0.2.7:0"},
		"a proxy that sent no header":             {"10.0.0.1:80", nil, "10.0.0.1:0"},
		"only trusted ones":                       {"10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		"what is no address":                      {"10.0.0.1:80", []string{"10.2.2.2, unknown"}, ""},
		"an empty header":                         {"10.0.0.1:80", []string{""}, ""},
		"with ports":                              {"10.0.0.1:80", []string{"192.0.2.7:5555"}, "192.0.2.7:0"},
		"IPv6":                                    {"[fd00::1]:80", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		"IPv6 with a port":                        {"[fd00::1]:80", []string{"[2001:db8::7]:99"}, "[2001:db8::7]:0"},
		"an IPv4 proxy that was reached by IPv6":  {"[::ffff:10.0.0.1]:80", []string{"192.0.2.7"}, "192.0.2.7:0"},
		"an IPv4 client written as IPv6":          {"10.0.0.1:80", []string{"::ffff:192.0.2.7"}, "192.0.2.7:0"},
		"a trusted address written as IPv6":       {"10.0.0.1:80", []string{"192.0.2.7, ::ffff:10.0.0.2"}, "192.0.2.7:0"},
		"a proxy with a zone that is not trusted": {"[fe80::1%eth0]:80", []string{"10.0.0.9"}, "[fe80::1%eth0]:80"},
	}
	for name, c := range cases {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		for _, h := range c.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		var got string
		forwarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }), trusted).ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		forwarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }), nil).ServeHTTP(httptest.NewRecorder(), r)
		if got != c.peer {
			t.Errorf("%s, and nobody is trusted: %q", name, got)
		}
	}
}
