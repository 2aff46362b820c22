package claims_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// Both ends are excluded, ranges add up, midnight is crossed, and a change of the clock makes a range shorter or
// longer: a wall-clock time that is skipped counts as the one an hour later, one that comes twice as the second.
func TestHoursAllowed(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	ranges := func(s ...string) []jwt.TimeRange {
		var out []jwt.TimeRange
		for i := 0; i < len(s); i += 2 {
			out = append(out, jwt.TimeRange{Start: s[i], End: s[i+1]})
		}
		return out
	}
	const berlin = "Europe/Berlin"
	for name, c := range map[string]struct {
		times    []jwt.TimeRange
		location string
		at       string
		ok       bool
		until    time.Duration
	}{
		"none":                           {nil, berlin, "2026-11-21T12:00:00Z", true, 0},
		"none, in no zone":               {nil, "Nowhere", "2026-11-21T12:00:00Z", true, 0},
		"the start":                      {ranges("08:00:00", "17:00:00"), "UTC", "2026-11-21T08:00:00Z", false, 0},
		"just after the start":           {ranges("08:00:00", "17:00:00"), "UTC", "2026-11-21T08:00:00.000000001Z", true, 9*time.Hour - 1},
		"just before the end":            {ranges("08:00:00", "17:00:00"), "UTC", "2026-11-21T16:59:59.5Z", true, time.Second / 2},
		"the end":                        {ranges("08:00:00", "17:00:00"), "UTC", "2026-11-21T17:00:00Z", false, 0},
		"the longest of two":             {ranges("08:00:00", "17:00:00", "12:00:00", "18:00:00"), "UTC", "2026-11-21T16:00:00Z", true, 2 * time.Hour},
		"the first of two is longer":     {ranges("08:00:00", "18:00:00", "12:00:00", "17:00:00"), "UTC", "2026-11-21T16:00:00Z", true, 2 * time.Hour},
		"between two":                    {ranges("08:00:00", "12:00:00", "13:00:00", "17:00:00"), "UTC", "2026-11-21T12:30:00Z", false, 0},
		"before midnight":                {ranges("22:00:00", "06:00:00"), "UTC", "2026-11-21T23:00:00Z", true, 7 * time.Hour},
		"midnight":                       {ranges("22:00:00", "06:00:00"), "UTC", "2026-11-22T00:00:00Z", true, 6 * time.Hour},
		"after midnight":                 {ranges("22:00:00", "06:00:00"), "UTC", "2026-11-22T05:00:00Z", true, time.Hour},
		"after midnight, over":           {ranges("22:00:00", "06:00:00"), "UTC", "2026-11-22T06:00:00Z", false, 0},
		"until midnight":                 {ranges("22:00:00", "00:00:00"), "UTC", "2026-11-21T23:00:00Z", true, time.Hour},
		"an empty range":                 {ranges("08:00:00", "08:00:00"), "UTC", "2026-11-21T12:00:00Z", false, 0},
		"another zone":                   {ranges("08:00:00", "17:00:00"), berlin, "2026-11-21T16:30:00Z", false, 0},
		"another day there":              {ranges("00:00:00", "01:00:00"), berlin, "2026-11-21T23:30:00Z", true, 30 * time.Minute},
		"no location":                    {ranges("08:00:00", "17:00:00"), "", "2026-11-21T16:30:00+02:00", true, 30 * time.Minute},
		"a zone that is none":            {ranges("00:00:00", "23:59:59"), "Nowhere", "2026-11-21T12:00:00Z", false, 0},
		"a start that is none":           {ranges("08:00", "17:00:00"), "UTC", "2026-11-21T12:00:00Z", false, 0},
		"an end that is none":            {ranges("08:00:00", "24:00:00"), "UTC", "2026-11-21T12:00:00Z", false, 0},
		"one of two that is none":        {ranges("08:00:00", "17:00:00", "x", "y"), "UTC", "2026-11-21T12:00:00Z", false, 0},
		"summer time":                    {ranges("08:00:00", "17:00:00"), berlin, "2026-07-01T14:30:00Z", true, 30 * time.Minute},
		"the night that loses an hour":   {ranges("01:00:00", "05:00:00"), berlin, "2026-03-29T00:30:00Z", true, 2*time.Hour + 30*time.Minute},
		"the night that gains an hour":   {ranges("01:00:00", "05:00:00"), berlin, "2026-10-24T23:30:00Z", true, 4*time.Hour + 30*time.Minute},
		"midnight, the night that loses": {ranges("22:00:00", "06:00:00"), berlin, "2026-03-28T22:00:00Z", true, 6 * time.Hour},
		"midnight, the night that gains": {ranges("22:00:00", "06:00:00"), berlin, "2026-10-24T21:00:00Z", true, 8 * time.Hour},
		"the server's own location":      {ranges("08:00:00", "17:00:00"), "Local", "2026-11-21T16:30:00+02:00", true, 30 * time.Minute},
		"an end that is skipped":         {ranges("01:00:00", "02:30:00"), berlin, "2026-03-29T00:59:00Z", true, 31 * time.Minute},
		"an end that is skipped, 03:15":  {ranges("01:00:00", "02:30:00"), berlin, "2026-03-29T01:15:00Z", true, 15 * time.Minute},
		"an end that comes twice":        {ranges("01:00:00", "02:30:00"), berlin, "2026-10-25T00:15:00Z", true, 75 * time.Minute},
		"an end that comes twice, again": {ranges("01:00:00", "02:30:00"), berlin, "2026-10-25T01:15:00Z", true, 15 * time.Minute},
	} {
		ok, until := claims.HoursAllowed(c.times, c.location, at(c.at))
		if ok != c.ok || until != c.until {
			t.Errorf("%s: %v for %s, want %v for %s", name, ok, until, c.ok, c.until)
		}
	}
}

func TestSourceAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cidrs []string
		host  string
		ok    bool
	}{
		"no networks":               {nil, "", true},
		"no host":                   {[]string{"0.0.0.0/0", "::/0"}, "", false},
		"a name":                    {[]string{"0.0.0.0/0"}, "localhost", false},
		"inside":                    {[]string{"10.0.0.0/8"}, "10.255.255.255", true},
		"outside":                   {[]string{"10.0.0.0/8"}, "11.0.0.0", false},
		"host bits are cut":         {[]string{"10.1.2.3/8"}, "10.9.9.9", true},
		"the second":                {[]string{"10.0.0.0/8", "192.168.0.0/16"}, "192.168.1.1", true},
		"after one that is none":    {[]string{"10.0.0.0", "192.168.0.0/16"}, "192.168.1.1", false},
		"before one that is none":   {[]string{"192.168.0.0/16", "x"}, "192.168.1.1", true},
		"IPv6":                      {[]string{"2001:db8::/32"}, "2001:db8::1", true},
		"IPv4 is not in all of 6":   {[]string{"::/0"}, "10.0.0.1", false},
		"IPv4 written as IPv6":      {[]string{"10.0.0.0/8"}, "::ffff:10.0.0.1", true},
		"an IPv6 zone is not taken": {[]string{"fe80::/10"}, "fe80::1%eth0", false},
	} {
		if got := claims.SourceAllowed(c.cidrs, c.host); got != c.ok {
			t.Errorf("%s: %v, want %v", name, got, c.ok)
		}
	}
}
