package claims

import (
	"net"
	"time"

	"github.com/nats-io/jwt/v2"
)

// SourceAllowed tells whether a nats-server lets a user with these source networks
// connect from host, an IP address as the server sees it. An empty list allows all;
// otherwise a host that is no IP address, such as that of an in-process connection,
// is refused, and so is everybody from the first malformed network on. The rule is
// that of nats-server's validateSrc.
func SourceAllowed(cidrs []string, host string) bool {
	if len(cidrs) == 0 {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	for _, c := range cidrs {
		_, network, err := net.ParseCIDR(c)
		if err != nil {
			return false
		}
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// HoursAllowed tells whether a nats-server lets a user with these connect hours in
// at a moment, and for how long: until then, since the server closes the connection
// when the hours end. An empty list allows always, with until 0. location is the
// user's times_location; when that is "" or Local at is taken in its own time zone, as
// the server takes its own. A malformed range or location refuses everything.
//
// The rule is that of nats-server's validateTimesAt: both ends are exclusive, an
// end before its start crosses midnight, and equal ends allow nothing. The ends
// are wall-clock times of the day of at, so that a day with a change of the clock
// has one hour more or less.
func HoursAllowed(times []jwt.TimeRange, location string, at time.Time) (ok bool, until time.Duration) {
	if len(times) == 0 {
		return true, 0
	}
	if !serverZone(location) {
		zone, err := time.LoadLocation(location)
		if err != nil {
			return false, 0
		}
		at = at.In(zone)
	}
	for _, r := range times {
		start, err := onDay(r.Start, at)
		if err != nil {
			return false, 0
		}
		end, err := onDay(r.End, at)
		if err != nil {
			return false, 0
		}
		if left, in := within(start, end, at); in {
			ok, until = true, max(until, left)
		}
	}
	return ok, until
}

// serverZone tells whether connect hours are in the time zone of whichever server
// is asked: time.LoadLocation, which reads the location there, takes Local for it.
func serverZone(location string) bool { return location == "" || location == "Local" }

// onDay returns the moment of a wall-clock time HH:MM:SS on the day of at.
func onDay(clock string, at time.Time) (time.Time, error) {
	t, err := time.Parse(time.TimeOnly, clock)
	if err != nil {
		return time.Time{}, err
	}
	y, m, d := at.Date()
	return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, at.Location()), nil
}

// within tells whether at lies between start and end, both of its own day, and how
// long it still does.
func within(start, end, at time.Time) (left time.Duration, ok bool) {
	if start.After(end) {
		if end.After(at) {
			return end.Sub(at), true
		}
		end = end.AddDate(0, 0, 1)
	}
	if start.Before(at) && end.After(at) {
		return end.Sub(at), true
	}
	return 0, false
}
