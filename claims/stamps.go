package claims

import "time"

// NextIssuedAt returns the issue time, in Unix seconds, of the next JWT of a
// subject whose last one was issued at last (0: none). It is always later than
// last: a full resolver's merge skips an equal one, and jwt/v2 gives two account
// JWTs of one second the same iat and jti.
func NextIssuedAt(now time.Time, last int64) int64 {
	return max(now.Unix(), last+1)
}

// RevokedBefore returns the time, in Unix seconds, to put into a revocation at
// now of a subject whose latest JWT was issued at highest (0: none known). A
// nats-server refuses what was issued at or before that second; a JWT issued by a
// replica with a fast clock must not escape.
func RevokedBefore(now time.Time, highest int64) int64 {
	return max(now.Unix(), highest)
}

// MaxClockLead is how far, in seconds, the issue time of ordinary edits may run
// ahead of the clock before they are asked to slow down. A nats-server accepts
// account JWTs up to 600 s ahead; revocations are never held back.
const MaxClockLead = 60
