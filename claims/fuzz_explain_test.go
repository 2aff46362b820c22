package claims_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// FuzzConnect holds source networks against net/netip, and connect hours of days without a change of the clock
// against arithmetic in seconds.
func FuzzConnect(f *testing.F) {
	for _, x := range []struct {
		cidrs, host, start, end, location string
		offset                            int
		at                                int64
	}{
		{"10.0.0.0/8,::/0", "10.1.2.3", "08:00:00", "17:00:00", "", 0, 1_790_000_000},
		{"::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "22:00:00", "06:00:00", "UTC", 3600, 1_790_028_000},
		{"10.0.0.0/33", "10.0.0.1%eth0", "06:00:00", "06:00:00", "Asia/Kolkata", -19_800, 1_790_000_001},
		{"fe80::/10", "fe80::1%eth0", "23:59:59", "00:00:00", "Nowhere/Else", 50_400, -1},
		{"010.0.0.0/8", "010.0.0.1", "24:00:00", "6:00:00", "Local", 1, 0},
		{"", "", "", "", "", 0, 0},
	} {
		f.Add(x.cidrs, x.host, x.start, x.end, x.location, x.offset, x.at)
	}
	f.Fuzz(func(t *testing.T, cidrs, host, start, end, location string, offset int, at int64) {
		networks := strings.Split(cidrs, ",")
		if got, want := claims.SourceAllowed(networks, host), sourceAllowed(networks, host); got != want {
			t.Errorf("%q from %q: %v, want %v", networks, host, got, want)
		}
		ranges := []jwt.TimeRange{{Start: start, End: end}}
		if got, until := claims.HoursAllowed(ranges, location, time.Unix(at%1e11, 0)); got != (until > 0) || until > 25*time.Hour {
			t.Errorf("%v in %q: %v for %s", ranges, location, got, until)
		}
		// A fixed zone has no change of the clock.
		local := time.Unix(at%1e11, 0).In(time.FixedZone("", offset%50_400))
		want := hoursAllowed(start, end, local)
		if got, until := claims.HoursAllowed(ranges, "", local); int64(until.Seconds()) != want || got != (want > 0) {
			t.Errorf("%v at %s: %v for %s, want %d s", ranges, local, got, until, want)
		}
	})
}

// sourceAllowed says the same in terms of net/netip, which has no IPv4 in IPv6 and takes zones.
func sourceAllowed(networks []string, host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return false
	}
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return false
		}
		addr, bits := p.Addr(), p.Bits()
		if addr.Is4In6() && bits >= 96 {
			addr, bits = addr.Unmap(), bits-96
		}
		if netip.PrefixFrom(addr, bits).Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// hoursAllowed returns for how many seconds the hours last at a moment of a zone without a change of the clock.
func hoursAllowed(start, end string, at time.Time) int64 {
	s, ok1 := secondsOfDay(start)
	e, ok2 := secondsOfDay(end)
	if !ok1 || !ok2 {
		return 0
	}
	const day = 24 * 60 * 60
	now := int64(at.Hour()*3600 + at.Minute()*60 + at.Second())
	switch {
	case s < now && now < e:
		return e - now
	case s > e && now < e:
		return e - now
	case s > e && now > s:
		return e + day - now
	}
	return 0
}

func secondsOfDay(s string) (int64, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	parts[2], _, _ = strings.Cut(strings.Replace(parts[2], ",", ".", 1), ".") // fractions are read and forgotten
	var total int64
	for i, most := range []int{24, 60, 60} {
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 0 || n >= most || strings.ContainsAny(parts[i], "+-") || len(parts[i]) > 2 || i > 0 && len(parts[i]) < 2 {
			return 0, false
		}
		total = total*60 + int64(n)
	}
	if _, err := time.Parse(time.TimeOnly, s); err != nil { // what follows the seconds
		return 0, false
	}
	return total, true
}

// FuzzCalloutRequest reads arbitrary messages, as they are and encrypted. What is read was signed by a server.
func FuzzCalloutRequest(f *testing.F) {
	node, err := nkeys.CreateServer()
	if err != nil {
		f.Fatal(err)
	}
	id, err := node.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	request := jwt.NewAuthorizationRequestClaims(newPair(f, claims.KindAccount).id)
	request.Audience, request.Server.ID, request.UserNkey = claims.CalloutAudience, id, newPair(f, claims.KindUser).id
	request.ConnectOptions.Password = "MARKER"
	text, err := request.Encode(node)
	if err != nil {
		f.Fatal(err)
	}
	user := jwt.NewUserClaims(newPair(f, claims.KindUser).id)
	token, err := user.Encode(newPair(f, claims.KindAccount))
	if err != nil {
		f.Fatal(err)
	}
	key, sender := newCurve(f), newCurve(f)
	to, err := key.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	from, err := sender.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := sender.Seal([]byte(text), to)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(text), from)
	f.Add(sealed, from)
	f.Add([]byte(token), "")
	f.Add([]byte("xkv1"), to)
	f.Add(sealed[:20], "X")
	f.Fuzz(func(t *testing.T, message []byte, header string) {
		sealed, err := sender.Seal(message, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			message []byte
			header  string
			key     nkeys.KeyPair
		}{{message, header, nil}, {message, header, key}, {sealed, from, key}, {sealed, header, key}} {
			c, err := claims.ReadCalloutRequest(x.message, x.header, x.key)
			if (c == nil) == (err == nil) {
				t.Fatalf("%v, %v", c, err)
			}
			if err != nil && strings.Contains(err.Error(), "MARKER") {
				t.Errorf("the error holds a password: %v", err)
			}
			if err == nil && !claims.IsPublicKey(claims.KindServer, strings.TrimSpace(c.Issuer)) {
				t.Errorf("read from %q", c.Issuer)
			}
			if err == nil {
				claims.CheckCalloutRequest(c, time.Unix(1_790_000_000, 0), nil)
			}
		}
	})
}
