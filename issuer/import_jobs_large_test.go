package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
)

// A store that takes more than one step tells how far it is. How long a large one may take is measured where the
// command is tested, without the race detector.
func TestLargeStore(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		const accounts, users = 60, largeUsers
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
		if steps < 2 {
			t.Errorf("%d steps", steps)
		}
		if want := int64(1 + accounts + accounts*users); j.Done != want || j.Total != want {
			t.Errorf("done %d of %d, want %d", j.Done, j.Total, want)
		}
		t.Logf("%d of %d JWTs of %d accounts and %d users in %s (reading and reporting %s, %d steps of progress)", j.Done, j.Total, accounts, accounts*users, took.Round(time.Millisecond), read.Round(time.Millisecond), steps)
		h.holds(t, "after the import")
	})
}
