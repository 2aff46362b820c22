package claims

import (
	"strconv"
	"time"
)

// The shortest and the longest lifetime of an account's JWTs. They are renewed at half
// of it: with an hour there is half an hour to mend what hinders the renewal, before
// nats-servers close every connection of the account.
const (
	MinAccountLifetime = time.Hour
	MaxAccountLifetime = 10 * 366 * 24 * time.Hour
)

// CheckAccountExpiry returns the problems of an account's end, in Unix seconds with 0
// for never, and of the lifetime of its JWTs, 0 for none. At the end a nats-server
// closes the account's connections and admits nobody (accounts.go: expiredTimeout).
func CheckAccountExpiry(expires int64, lifetime time.Duration, now time.Time) Problems {
	var out Problems
	if expires != 0 && expires <= now.Unix() {
		out = append(out, blocking("/expires_at", "in_the_past", "The account would be expired at once. To refuse everybody now, suspend it."))
	}
	if lifetime != 0 && (lifetime < MinAccountLifetime || lifetime > MaxAccountLifetime || lifetime%time.Second != 0) {
		out = append(out, blocking("/lifetime_seconds", "out_of_range", "A lifetime is at least an hour (3,600 seconds) and at most ten years, in whole seconds; 0 is none."))
	}
	if expires != 0 && lifetime != 0 {
		out = append(out, blocking("/lifetime_seconds", "exclusive", "An account ends on a fixed day or has a lifetime that is renewed, not both. Clear the one that is not meant."))
	}
	return out
}

// DiffLifetime returns what differs between two lifetimes of an account's JWTs.
func DiffLifetime(before, after time.Duration) []FieldChange {
	if before == after {
		return nil
	}
	return []FieldChange{{Pointer: "/lifetime_seconds", Field: "Lifetime of each JWT", Before: whole(before), After: whole(after)}}
}

// whole writes a lifetime in the largest unit that fits.
func whole(d time.Duration) string {
	if d == 0 {
		return "no end"
	}
	for _, u := range []struct {
		unit      time.Duration
		one, many string
	}{{24 * time.Hour, " day", " days"}, {time.Hour, " hour", " hours"}, {time.Minute, " minute", " minutes"}, {time.Second, " second", " seconds"}} {
		if d%u.unit == 0 {
			n := int64(d / u.unit)
			if n == 1 {
				return "1" + u.one
			}
			return strconv.FormatInt(n, 10) + u.many
		}
	}
	return d.String()
}
