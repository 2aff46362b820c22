package claims_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
)

// Q1: whatever the replicas' clocks say and in whatever order they sign, the issue times of an account increase
// and no jti repeats.
func TestIssueTimesIncrease(t *testing.T) {
	t.Parallel()
	operator, base := newPair(t, claims.KindOperator), claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings()}
	var built []claims.Checked
	for conn := range int64(4) {
		base.Settings.Limits.Conn = conn - 1
		built = append(built, checked(t)(claims.BuildAccount(base)))
	}
	tenThousand(t, "Q1 iat increases, jti is unique", func(r *rapid.T) {
		var last int64
		seen := map[string]bool{}
		clocks := rapid.SliceOfN(rapid.Int64Range(-3600, 3600), 1, 4).Draw(r, "offset of each replica's clock")
		now := time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(2, 6).Draw(r, "edits") {
			now = now.Add(time.Duration(rapid.Int64Range(-2e9, 5e9).Draw(r, "time passes")))
			clock := rapid.SampledFrom(clocks).Draw(r, "replica")
			c := built[rapid.IntRange(0, len(built)-1).Draw(r, "conn")]
			at := now.Add(time.Duration(clock) * time.Second)
			issuedAt := claims.NextIssuedAt(at, last)
			u, err := claims.Encode(c, claims.Stamp{Issuer: operator.id, IssuedAt: issuedAt})
			if err != nil {
				r.Fatal(err)
			}
			var signed jwt.ClaimsData // what the signature will be over
			if err := json.Unmarshal(payload(t, string(u.SigningInput())), &signed); err != nil {
				r.Fatal(err)
			}
			if signed.IssuedAt <= last || signed.IssuedAt < at.Unix() {
				r.Fatalf("iat %d after %d, at %d", signed.IssuedAt, last, at.Unix())
			}
			if seen[signed.ID] {
				r.Fatalf("jti %s twice", signed.ID)
			}
			seen[signed.ID], last = true, signed.IssuedAt
		}
	})
}

// Q3: a revocation reaches everything ever issued to its subject, also by a fast clock, and the next issuance is
// the first that lives. The library's own verdict is what a nats-server's is.
func TestRevocationReachesEverythingIssued(t *testing.T) {
	t.Parallel()
	subject := newPair(t, claims.KindUser).id
	tenThousand(t, "Q3 a revocation reaches everything issued", func(r *rapid.T) {
		now := time.Unix(1_800_000_000, 0)
		clock := rapid.Int64Range(-600, 600)
		var issued []int64
		var highest int64
		for range rapid.IntRange(0, 8).Draw(r, "issuances") {
			at := now.Add(time.Duration(clock.Draw(r, "issuer's clock")) * time.Second)
			highest = claims.NextIssuedAt(at, highest)
			issued = append(issued, highest)
		}
		revoker := now.Add(time.Duration(clock.Draw(r, "revoker's clock")) * time.Second)
		before := claims.RevokedBefore(revoker, highest)
		if before < revoker.Unix() {
			r.Fatalf("revoked before %d at %d", before, revoker.Unix())
		}
		for _, key := range []string{subject, jwt.All} {
			a := jwt.AccountClaims{Account: jwt.Account{Revocations: jwt.RevocationList{key: before}}}
			for _, iat := range issued {
				if !a.IsClaimRevoked(user(subject, iat)) {
					r.Fatalf("issued at %d lives after a revocation of %s before %d", iat, key, before)
				}
			}
			next := claims.NextIssuedAt(now.Add(time.Duration(clock.Draw(r, "reissuer's clock"))*time.Second), max(highest, before))
			if a.IsClaimRevoked(user(subject, next)) {
				r.Fatalf("re-issued at %d is dead on arrival, revoked before %d", next, before)
			}
		}
	})
}

func user(subject string, issuedAt int64) *jwt.UserClaims {
	return &jwt.UserClaims{ClaimsData: jwt.ClaimsData{Subject: subject, IssuedAt: issuedAt}}
}

func TestStampsAtTheEdges(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 999_999_999)
	for name, c := range map[string]struct{ got, want int64 }{
		"first of a subject":                {claims.NextIssuedAt(at, 0), 1000},
		"after an older one":                {claims.NextIssuedAt(at, 999), 1000},
		"in the same second":                {claims.NextIssuedAt(at, 1000), 1001},
		"after one of a fast clock":         {claims.NextIssuedAt(at, 1300), 1301},
		"revoking what was never issued":    {claims.RevokedBefore(at, 0), 1000},
		"revoking in the second of issuing": {claims.RevokedBefore(at, 1000), 1000},
		"revoking what a fast clock issued": {claims.RevokedBefore(at, 1300), 1300},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
}
