package resolver_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

func TestPushIsProvenOnEachServer(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Parallel()
		w := newWorld(t, s)
		r := w.start(resolver.Hurry{Settle: 300 * time.Millisecond})
		servers := w.serve(3)
		a := w.account("demo")
		u := w.user(a, "u")
		w.connect(servers[0], u)
		w.connect(servers[1], u)

		begin := time.Now()
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs = 10 })
		sync := w.wait(a, version)
		t.Logf("edit to proof on three servers: %v", time.Since(begin))

		want := map[string]claims.DeliveryState{"n1": claims.DeliveryInEffect, "n2": claims.DeliveryInEffect, "n3": claims.DeliveryNotLoaded}
		if diff := cmp.Diff(want, states(sync)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		for _, d := range sync.Servers {
			if d.Version != version || d.Sent.IsZero() || d.Acknowledged.IsZero() || d.Proven.IsZero() || d.Error != "" {
				t.Errorf("delivery %+v", d)
			}
		}
		w.settled()
		again, err := r.Sync(t.Context(), a.id)
		if err != nil || !again.Done() || again.State() != "in_effect" || again.IssuedAt == 0 {
			t.Errorf("sync after settling: %+v, %v", again, err)
		}
	})
}
