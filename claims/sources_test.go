package claims_test

import (
	"testing"

	"chancery/claims"
)

// One machine is one source, whichever of its addresses it takes.
func TestSourceOf(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7",
		"::ffff:192.0.2.7":     "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9":      "2001:db8:1:2::/64",
		"2001:db8:1:3::9":      "2001:db8:1:3::/64",
		"fe80::1%eth0":         "fe80::/64",
		"2001:db8:1:2::/64":    "2001:db8:1:2::/64",
		"invalid IP":           "invalid IP",
		"":                     "",
	} {
		if got := claims.SourceOf(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
