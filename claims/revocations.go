package claims

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// checkRevocations checks a list of revocations of keys of the kind. A nats-server
// takes any list; what it cannot match it ignores.
func checkRevocations(pointer string, kind Kind, revocations map[string]int64) Problems {
	var out Problems
	for subject, at := range revocations {
		if subject != jwt.All && !IsPublicKey(kind, subject) {
			out = append(out, blocking(pointer, "invalid_key", "What is revoked is the public key of "+article(kind)+", or * for everybody."))
		}
		if at < 0 {
			out = append(out, blocking(pointer, "out_of_range", "A revocation holds from a time after 1970."))
		}
	}
	return out
}

// CheckRevocationTimes returns a warning for revocations later than now by more
// than what clocks may differ (MaxClockLead): they also refuse what will be issued
// until then.
func CheckRevocationTimes(pointer string, revocations map[string]int64, now time.Time) Problems {
	for _, at := range revocations {
		if at > now.Unix()+MaxClockLead {
			return Problems{warning(pointer, "in_the_future", "A revocation is later than now: what is issued to that subject before then is refused too.")}
		}
	}
	return nil
}
