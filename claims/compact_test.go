package claims_test

import (
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
)

// Q4: compaction changes for no JWT that is known and has not expired whether it is revoked.
func TestCompactionRevivesNothing(t *testing.T) {
	t.Parallel()
	subjects := []string{newPair(t, claims.KindUser).id, newPair(t, claims.KindUser).id, newPair(t, claims.KindUser).id}
	var removals atomic.Int64
	tenThousand(t, "Q4 compaction revives nothing", func(r *rapid.T) {
		at := rapid.Int64Range(1, 40)
		issued := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) claims.Issued {
			x := claims.Issued{Subject: rapid.SampledFrom(subjects).Draw(r, "subject"), IssuedAt: at.Draw(r, "iat")}
			if rapid.IntRange(0, 3).Draw(r, "expires") > 0 {
				x.Expires = at.Draw(r, "exp")
			}
			return x
		}), 0, 8).Draw(r, "issued")
		revocations := map[string]int64{}
		for _, s := range append(slices.Clone(subjects), jwt.All) {
			if rapid.Bool().Draw(r, "revoked") {
				revocations[s] = at.Draw(r, "revoked at")
			}
		}
		now := time.Unix(at.Draw(r, "now"), 0)
		before := maps.Clone(revocations)
		kept, removed := claims.CompactRevocations(revocations, issued, now)
		if diff := cmp.Diff(before, revocations); diff != "" {
			r.Fatalf("the input changed: %s", diff)
		}
		if len(kept)+len(removed) != len(revocations) || !slices.IsSorted(removed) {
			r.Fatalf("kept %v, removed %v of %v", kept, removed, revocations)
		}
		removals.Add(int64(len(removed)))
		was, is := jwt.AccountClaims{Account: jwt.Account{Revocations: revocations}}, jwt.AccountClaims{Account: jwt.Account{Revocations: kept}}
		for _, x := range issued {
			if !expired(x, now) && was.IsClaimRevoked(user2(x)) != is.IsClaimRevoked(user2(x)) {
				r.Fatalf("%+v at %d: kept %v of %v", x, now.Unix(), kept, revocations)
			}
		}
		// Of whom nothing is known, everything stays as it was, whatever may have been issued by others.
		for _, s := range subjects {
			if !slices.ContainsFunc(issued, func(x claims.Issued) bool { return x.Subject == s }) && revocations[s] > 0 && was.IsClaimRevoked(user(s, revocations[s])) != is.IsClaimRevoked(user(s, revocations[s])) {
				r.Fatalf("a revocation of an unknown subject is gone: kept %v of %v", kept, revocations)
			}
		}
		if again, more := claims.CompactRevocations(kept, issued, now); len(more) > 0 {
			r.Fatalf("a second compaction removes %v and keeps %v", more, again)
		}
	})
	if removals.Load() == 0 {
		t.Error("nothing was ever removed")
	}
}

func TestCompaction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		revocations map[string]int64
		issued      []claims.Issued
		removed     []string
	}{
		"nothing":                        {nil, nil, nil},
		"of somebody unknown":            {map[string]int64{"u": 50}, nil, nil},
		"all expired":                    {map[string]int64{"u": 50}, []claims.Issued{{"u", 40, 99}, {"u", 50, 98}}, []string{"u"}},
		"one lives":                      {map[string]int64{"u": 50}, []claims.Issued{{"u", 40, 99}, {"u", 41, 100}}, nil},
		"one never expires":              {map[string]int64{"u": 50}, []claims.Issued{{"u", 40, 99}, {"u", 41, 0}}, nil},
		"a later one lives":              {map[string]int64{"u": 50}, []claims.Issued{{"u", 40, 99}, {"u", 51, 0}}, []string{"u"}},
		"only a later one is known":      {map[string]int64{"u": 50}, []claims.Issued{{"u", 51, 99}}, nil},
		"covered":                        {map[string]int64{"u": 50, "*": 50}, []claims.Issued{{"v", 1, 0}}, []string{"u"}},
		"not covered":                    {map[string]int64{"u": 50, "*": 49}, []claims.Issued{{"v", 1, 0}}, nil},
		"everybody, all expired":         {map[string]int64{"*": 50}, []claims.Issued{{"u", 40, 99}, {"v", 50, 60}}, nil},
		"everybody, one lives":           {map[string]int64{"*": 50}, []claims.Issued{{"u", 40, 99}, {"v", 50, 100}}, nil},
		"everybody, nothing known":       {map[string]int64{"*": 50}, nil, nil},
		"everybody and somebody unknown": {map[string]int64{"*": 50, "w": 60}, []claims.Issued{{"u", 40, 99}}, nil},
		"everybody and one expired":      {map[string]int64{"*": 50, "u": 60}, []claims.Issued{{"u", 40, 99}}, []string{"u"}},
	} {
		if _, removed := claims.CompactRevocations(c.revocations, c.issued, time.Unix(100, 0)); !slices.Equal(removed, c.removed) {
			t.Errorf("%s: removed %v, want %v", name, removed, c.removed)
		}
	}
	now := time.Unix(1000, 0)
	if p := claims.CheckRevocationTimes("/r", map[string]int64{"u": 1060, "*": 5}, now); len(p) > 0 {
		t.Errorf("%+v", p)
	}
	if p := claims.CheckRevocationTimes("/r", map[string]int64{"u": 1061}, now); len(p) != 1 || p[0].Code != "in_the_future" || p[0].Blocking || p[0].Server {
		t.Errorf("%+v", p)
	}
}
