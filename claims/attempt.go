package claims

import (
	"net/netip"
	"slices"
)

// CheckAttempt returns what is wrong with what is said of a connection: host is an
// IP address and kind a connection type of nats-io/jwt; both may be empty, not known.
func CheckAttempt(host, kind string) Problems {
	var out Problems
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		out = append(out, blocking("/host", "invalid_address", "The client's host is an IP address, such as 10.2.3.4 or 2001:db8::1."))
	}
	if kind != "" && !slices.Contains(connectionTypes, kind) {
		out = append(out, blocking("/type", "unknown_value", unknownTypeDetail))
	}
	return out
}
