package claims

import "net/netip"

// SourceOf returns what the hosts of one sender have in common: an IPv4 address as it is,
// of an IPv6 address the network of which one machine has all addresses, a /64 as in RFC
// 4291 §2.5.4. What is no address is returned as it is.
func SourceOf(host string) string {
	const network = 64
	at, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if at = at.Unmap().WithZone(""); at.Is4() {
		return at.String()
	}
	p, err := at.Prefix(network)
	if err != nil {
		return host
	}
	return p.String()
}
