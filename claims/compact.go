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
	some := false
	for _, x := range issued {
		if x.IssuedAt > at {
			continue
		}
		some = true
		if x.Expires == 0 || now.Unix() <= x.Expires {
			return false
		}
	}
	return some
}
