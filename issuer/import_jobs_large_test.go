package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
	"chancery/store/storetest"
)

// A store of 500 accounts with ten users each is taken in within 30 seconds, and tells how far it is.
func TestLargeStore(t *testing.T) {
	for _, dialect := range storetest.Dialects() { // alone: it is timed
		h := newHouse(t, dialect)
		const accounts, users = 500, 10
		m := makeStore(t, "large", h.time())
		for n := range accounts {
			a := m.account(t, fmt.Sprintf("TEAM-%03d", n), func(c *jwt.AccountClaims) {
				_, key := m.pair(t, nkeys.PrefixByteAccount)
				c.SigningKeys.Add(key)
			})
			for k := range users {
				m.user(t, a, fmt.Sprintf("user-%d", k), nil)
			}
		}
		archive := m.archive(t, nil)
		start := time.Now()
		j := did(h.UploadStore(t.Context(), op(), archive)).well(t)
		read := time.Since(start)
		did(h.RunImport(t.Context(), op(), j.ID, issuer.RunImportInput{Mode: issuer.ImportAdopt, PlanHash: j.Report.PlanHash})).well(t)
		steps, last := 0, int64(0)
		for j.State != issuer.ImportDone {
			if err := h.Upkeep(t.Context()); err != nil {
				t.Fatal(err)
			}
			var err error
			if j, err = h.GetImportJob(t.Context(), owner, j.ID); err != nil || j.State == issuer.ImportFailed {
				t.Fatal(err, j.Error)
			}
			if j.Done <= last {
				t.Fatalf("no progress: %d after %d", j.Done, last)
			}
			steps, last = steps+1, j.Done
		}
		took := time.Since(start)
		if took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		if want := int64(1 + accounts + accounts*users); j.Done != want || j.Total != want {
			t.Errorf("done %d of %d, want %d", j.Done, j.Total, want)
		}
		t.Logf("%s: %d JWTs of %d accounts and %d users in %s (reading and reporting %s, %d steps of progress)", dialect, j.Total, accounts, accounts*users, took.Round(time.Millisecond), read.Round(time.Millisecond), steps)
		h.holds(t, "after the import")
	}
}
