package claims

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Issued is a JWT that is known to have been issued.
type Issued struct {
	// Subject is the public key it was issued to.
	Subject string
	// IssuedAt and Expires are Unix seconds; Expires 0 is never.
	IssuedAt, Expires int64
}

// CompactRevocations drops the revocations that revoke nothing any more: kept is
// the rest, removed the subjects dropped, sorted. Nothing that was issued comes to
// life by it, however often it is done:
//
//   - An entry goes when JWTs that it revokes are known and all of them have
//     expired (now > exp, as nats-io/jwt has it), or when the entry of everybody
//     (*) covers it. Of a subject of whom nothing is known it stays: somebody else
//     may have issued it.
//   - The entry * always stays. It stands for whatever the account's keys signed,
//     here and elsewhere, and for the entries that it covered and that went before.
//
// The given map is not changed.
func CompactRevocations(revocations map[string]int64, issued []Issued, now time.Time) (kept map[string]int64, removed []string) {
	kept = maps.Clone(revocations)
	known := map[string][]Issued{}
	for _, x := range issued {
		known[x.Subject] = append(known[x.Subject], x)
	}
	all, everybody := revocations[jwt.All]
	for subject, at := range revocations {
		if subject == jwt.All {
			continue
		}
		if everybody && at <= all || spent(known[subject], at, now) {
			delete(kept, subject)
			removed = append(removed, subject)
		}
	}
	slices.Sort(removed)
	return kept, removed
}

// spent tells whether a revocation at that second revokes something known, and all
// of that has expired.
func spent(issued []Issued, at int64, now time.Time) bool {
	last, ok := LastExpiry(issued, at)
	return ok && now.Unix() > last
}

// LastExpiry returns the Unix second in which the last of what a revocation at the
// second at revokes expires: later than that it is moot. ok is false where it never
// is, since nothing is known of its subject or something known never expires.
func LastExpiry(issued []Issued, at int64) (last int64, ok bool) {
	for _, x := range issued {
		if x.IssuedAt > at {
			continue
		}
		if x.Expires == 0 {
			return 0, false
		}
		last, ok = max(last, x.Expires), true
	}
	return last, ok
}

// CompactionSlack is how much longer than necessary a revocation is kept: the clock
// of a nats-server may be behind by less than that, and would take for valid what
// expired elsewhere.
const CompactionSlack = time.Hour
